"""Who may use a data folder, and what small secrets lie in it? One launcher at a time, and only its owner."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.errors import LocalServerError

_LOCK_NAME = "in-use.lock"


@contextmanager
def claim_data_folder(path: Path) -> Iterator[Path]:
    """Create `path` (mode 0700) and hold it for this process; yields its absolute path.

    Raises:
        LocalServerError: another process holds it (named), or it cannot be created.
    """
    folder = path.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _open_private(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise LocalServerError(f"data folder {folder} cannot be used: {error.strerror}") from error
    try:
        _take_lock(lock, folder)
        yield folder
    finally:
        os.close(lock)


def read_or_create_secret(path: Path) -> str:
    """The secret kept in `path` (mode 0600); generated the first time."""
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        secret = secrets.token_urlsafe(24)
        write_private_file(path, f"{secret}\n")
        return secret


def write_private_file(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all, readable by its owner only."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(_open_private(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def open_log(path: Path, *, keep_bytes: int = 10_000_000) -> int:
    """A descriptor that appends to `path` (mode 0600); a log past `keep_bytes` is set aside as `….old`."""
    if path.exists() and path.stat().st_size > keep_bytes:
        path.replace(path.with_name(f"{path.name}.old"))
    return _open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def _open_private(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _take_lock(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise LocalServerError(
            f"data folder {folder} is in use by process {holder}: stop that one, or choose another folder"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
