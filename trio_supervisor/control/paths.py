"""The places of control sockets, by the same rules for the daemon and its clients.

In this order: the path that is given (``--socket``, ``control=``); ``$TRIO_SUPERVISOR_SOCKET``; a
socket named after the tree in the directory of sockets. That directory is ``$RUNTIME_DIRECTORY``
(systemd sets it for the daemon alone), ``$XDG_RUNTIME_DIR/trio-supervisor``, or else a directory of
mode 0700 of the user's own, ``/run/trio-supervisor`` for root and ``/tmp/trio-supervisor-UID`` for
others. A directory that belongs to another user, that others may enter, or that is a symbolic link
is never used: another user may have laid it there.
"""

from __future__ import annotations

import os
import stat

from trio_supervisor._lazy import TYPE_CHECKING, public

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "TRIO_SUPERVISOR_SOCKET"
LONGEST = 107
"""Bytes of a socket's path, at most: what the kernel's address structure has room for."""


@public
class UnsafeDirectory(Exception):
    """The directory of sockets cannot be trusted; the message says why."""


def directory_of_sockets(environ: Mapping[str, str] = os.environ) -> str:
    """Return the directory in which sockets of this user lie; it need not exist."""
    runtime = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if runtime.startswith("/"):
        return runtime
    of_user = environ.get("XDG_RUNTIME_DIR", "")
    if of_user.startswith("/"):
        return f"{of_user}/trio-supervisor"
    uid = os.geteuid()
    return "/run/trio-supervisor" if uid == 0 else f"/tmp/trio-supervisor-{uid}"  # noqa: S108


def make_directory(path: str) -> None:
    """Make the directory of sockets if it is missing, with mode 0700, and check that it is safe.

    Raises:
        UnsafeDirectory: It is not safe.
        OSError: It cannot be made.
    """
    try:  # noqa: SIM105 - contextlib and pathlib cost a client more than all the rest
        os.mkdir(path, 0o700)  # noqa: PTH102
    except FileExistsError:
        pass
    check_directory(path)


def check_directory(path: str) -> None:
    """Check that no other user can have put anything into a directory.

    Raises:
        UnsafeDirectory: It is not safe.
        OSError: It cannot be looked at.
    """
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeDirectory(f"{path} is not a directory")
    if found.st_uid not in {os.geteuid(), 0}:
        raise UnsafeDirectory(f"{path} belongs to user {found.st_uid}")
    if found.st_mode & 0o022:
        raise UnsafeDirectory(
            f"{path} can be written by others (mode {stat.S_IMODE(found.st_mode):04o})"
        )


def sockets_of_user(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the sockets in the directory of sockets, alive or not, in alphabetical order."""
    directory = directory_of_sockets(environ)
    try:
        check_directory(directory)
        names = sorted(os.listdir(directory))  # noqa: PTH208
    except (OSError, UnsafeDirectory):
        return []
    return [f"{directory}/{name}" for name in names if name.endswith(".sock")]


def file_name_of(tree: str) -> str:
    """Return the file name of the socket of a tree of that name."""
    safe = "".join(c if c.isalnum() and c.isascii() else "_" for c in tree)[:40]
    return f"{safe or 'tree'}.sock"
