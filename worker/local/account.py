"""As whom does Postgres run? As us; as root, which it refuses, in a user namespace or as `nobody`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

from worker.errors import LocalServerError
from worker.local import exec_child

Identity = Literal["same", "namespace", "nobody"]

# Run under the identity in question. It tries in earnest: access(2) would not count a kept capability.
_PROBE = "import os, sys; os.chdir(sys.argv[2]); os.execv(sys.argv[1], [sys.argv[1], '--version'])"


def choose_identity(program: Path, folder: Path) -> Identity:
    """The first identity under which `program` can work in `folder`.

    Raises:
        LocalServerError: we are root and none of them is possible here.
    """
    if os.geteuid() != 0:
        return "same"
    # The namespace first: files stay root's, and nothing needs to change hands.
    candidates: tuple[Identity, ...] = ("namespace", "nobody")
    for identity in candidates:
        if _is_possible(identity, program, folder):
            return identity
    raise LocalServerError(
        "Postgres refuses to run as root, and neither a user namespace nor the user nobody can work "
        f"in {folder}: start this as an ordinary user, or set DATABASE_URL"
    )


def give_tree(tree: Path, identity: Identity) -> None:
    """Make `tree` belong to whom `identity` is for the file system; does nothing if it does already."""
    uid, gid = exec_child.nobody_ids() if identity == "nobody" else (os.geteuid(), os.getegid())
    if tree.stat().st_uid == uid:
        return
    for folder, _, names in os.walk(tree):
        for path in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118 -- thousands
            os.chown(path, uid, gid, follow_symlinks=False)


def _is_possible(identity: Identity, program: Path, folder: Path) -> bool:
    child = [sys.executable, "-I", "-S", exec_child.__file__, str(os.getpid()), "9", identity]
    probe = [sys.executable, "-I", "-S", "-c", _PROBE, str(program), str(folder)]
    ended = subprocess.run([*child, *probe], check=False, capture_output=True)  # noqa: S603 -- words of ours
    return ended.returncode == 0
