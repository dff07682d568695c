"""How does a child process begin? Run as a script: `exec_child.py PARENT_PID DEATH_SIGNAL IDENTITY ARGV…`.

It becomes ARGV, bound to its parent's life and, for Postgres, under another identity than root's. A script
rather than a `preexec_fn`, which may deadlock in a process with threads; it imports nothing but the stdlib.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys

CANNOT_START = 126  # the shell's word for "found, but could not be run"

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
_CLONE_NEWUSER = 0x10000000
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_CAPABILITY_VERSION_3 = 0x20080522
_OVERFLOW_ID = 65534


def nobody_ids() -> tuple[int, int]:
    """User and group id of `nobody`."""
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return _OVERFLOW_ID, _OVERFLOW_ID
    return nobody.pw_uid, nobody.pw_gid


def enter_user_namespace() -> None:
    """Look like `nobody` from inside while staying ourselves for files: Postgres refuses uid 0."""
    uid, gid = os.geteuid(), os.getegid()
    _call("unshare", _CLONE_NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{_OVERFLOW_ID} {uid} 1"),
        ("gid_map", f"{_OVERFLOW_ID} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123 -- pathlib costs start-up time
            file.write(text)


def become_nobody() -> None:
    """Give up root for good, keeping one right: to enter the (private) folders that lead to our files."""
    held = _held_capabilities()
    kept = next((cap for cap in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE) if held >> cap & 1), None)
    _call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
    uid, gid = nobody_ids()
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if kept is not None:
        _keep_capability(kept)


def die_with_parent(parent_pid: int, death_signal: int) -> None:
    """Have the kernel send `death_signal` when the parent dies; end now if it is dead already."""
    if sys.platform == "linux":
        _call("prctl", _PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(CANNOT_START)


IDENTITIES = {"same": lambda: None, "namespace": enter_user_namespace, "nobody": become_nobody}


def main(arguments: list[str]) -> None:
    """Become the program; on failure say why in one line and end with CANNOT_START."""
    parent_pid, death_signal, identity, *argv = arguments
    try:
        IDENTITIES[identity]()
        # After the change of identity, which clears it.
        die_with_parent(int(parent_pid), int(death_signal))
        # What our parent or this interpreter blocked or ignored must not be inherited.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(ignored, signal.SIG_DFL)
        os.execvp(argv[0], argv)  # noqa: S606 -- no shell is the point
    except OSError as error:
        sys.stderr.write(f"cannot start {argv[0]} (identity: {identity}): {error}\n")
        sys.exit(CANNOT_START)


def _call(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*(ctypes.c_ulong(argument) for argument in arguments)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _held_capabilities() -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123 -- as above
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm:"))


def _keep_capability(capability: int) -> None:
    # struct __user_cap_header {version, pid}; struct __user_cap_data[2] {effective, permitted, inheritable}
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(*[1 << capability] * 3, 0, 0, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, data) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"capset: {os.strerror(number)}")
    _call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
