"""Log lines: one each, with ids, and never a value of a row or a key."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterator

import pytest
import structlog

from worker.domain.queue_id import parse_queue_id
from worker.domain.values import read_text
from worker.errors import InvalidQueueId, SettingsError
from worker.logs import describe_exception, set_up_logging

SECRET = "s3cr3t-key-123"
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def listen(style: str, level: str = "INFO") -> io.StringIO:
    stream = io.StringIO()
    set_up_logging(level, style, stream)
    return stream


def fail() -> None:
    raise KeyError(SECRET)


def test_our_lines_and_others_are_json_with_a_moment() -> None:
    stream = listen("json")
    structlog.get_logger("worker.x").info("polls_settled", claim=7)
    logging.getLogger("somebody").warning("hello %s", "there")
    ours, others = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (ours["event"], ours["claim"], ours["level"]) == ("polls_settled", 7, "info")
    assert (others["event"], others["level"]) == ("hello there", "warning")
    assert ours["at"].endswith("Z")


def test_text_lines_are_for_people() -> None:
    stream = listen("text")
    structlog.get_logger("worker.x").info("polls_settled", claim=7)
    logging.getLogger("somebody").warning("hello %s", "there")
    ours, others = stream.getvalue().splitlines()
    assert re.fullmatch(rf"{MOMENT} \[info *\] polls_settled +.*claim=7.*", ours)
    assert re.fullmatch(rf"{MOMENT} \[warning *\] hello there.*", others)
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("style", ["json", "text"])
def test_an_exception_is_logged_by_its_type_and_place_alone(style: str) -> None:
    stream = listen(style)
    try:
        fail()
    except KeyError as error:
        structlog.get_logger("worker.x").exception("a")
        structlog.get_logger("worker.x").error("b", exc_info=error)
        logging.getLogger("somebody").exception("c")
        logging.getLogger("somebody").warning("d", exc_info=(type(error), error, error.__traceback__))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert all("KeyError at fail:" in line for line in lines)
    assert SECRET not in stream.getvalue()


def test_a_line_without_an_exception_says_none() -> None:
    stream = listen("json")
    structlog.get_logger("worker.x").error("a", exc_info=True)
    structlog.get_logger("worker.x").error("b", exc_info=False)
    assert all("error" not in json.loads(line) for line in stream.getvalue().splitlines())


def test_levels_are_kept_and_chatter_is_left_out() -> None:
    stream = listen("text", "WARNING")
    structlog.get_logger("worker.x").info("quiet")
    assert not stream.getvalue()
    stream = listen("text", "DEBUG")
    for name in ("celery.beat", "kombu", "urllib3"):
        logging.getLogger(name).info("chatter")
    assert not stream.getvalue()


def catch(kind: type[Exception], provoke: Callable[[], object]) -> Exception:
    with pytest.raises(kind) as caught:
        provoke()
    return caught.value


def test_our_own_errors_are_told_in_their_words() -> None:
    assert describe_exception(SettingsError("REDIS_URL is not set")) == "REDIS_URL is not set"
    assert "it is empty" in describe_exception(catch(InvalidQueueId, lambda: parse_queue_id("")))


def test_others_are_told_by_the_innermost_place_of_ours() -> None:
    class Odd(str):
        __slots__ = ()

        def casefold(self) -> str:
            raise ValueError(SECRET)

    said = describe_exception(catch(ValueError, lambda: read_text(Odd("x"))))
    assert said.startswith("ValueError at _read_whole_text:")
    assert describe_exception(catch(KeyError, fail)).startswith("KeyError at fail:")
    assert describe_exception(KeyError(SECRET)) == "KeyError"
