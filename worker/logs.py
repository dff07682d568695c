"""How the product logs: past-tense facts with ids, one line each, and never a value of a row or a key.

Celery's, Alembic's and our own lines all go through here. An exception is logged as its type and where it happened: its
text and the values around it may hold lead data (a KeyError names a field, psycopg quotes rows).
"""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from worker.errors import LeadResolverError

_OURS = str(Path(__file__).parent)

# Celery says of every tick that it was sent, received and done; our own lines say what came of it.
_NOISY = (
    "celery.worker.strategy",
    "celery.app.trace",
    "celery.beat",
    "kombu",
    "amqp",
    "urllib3",
    "alembic",
    "celery.redirected",
    "tornado.access",
)


def set_up_logging(level: str, style: str, stream: TextIO | None = None) -> None:
    """Send every log line of this process to `stream` (default stderr) in one style, `text` or `json`."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _say_exception,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(style)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel("WARNING")


def describe_exception(error: BaseException) -> str:
    """What went wrong without any value: our own errors by their text, all others by type and place."""
    if isinstance(error, LeadResolverError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(_OURS)] or frames
    where = f" at {ours[-1].name}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}{where}"


def _renderer(style: str) -> structlog.typing.Processor:
    if style == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(
        colors=False, pad_event_to=0, timestamp_key="at", exception_formatter=lambda *_: None
    )


def _say_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    info: Any = event.pop("exc_info", None)
    record = event.get("_record")
    if record is not None and record.exc_info:
        info, record.exc_info, record.exc_text = record.exc_info, None, None
    error = (
        info
        if isinstance(info, BaseException)
        else info[1]
        if isinstance(info, tuple)
        else sys.exception()
        if info
        else None
    )
    if error is not None:
        event["error"] = describe_exception(error)
    return event
