"""The user at the other end of a connection, and what that user may do."""

from __future__ import annotations

import os
import socket
import struct
from typing import Final, final

from trio_supervisor._record import Record

_CREDENTIALS = struct.Struct("iII")
_FROM: Final = getattr(socket, "SO_PEERCRED", None)


@final
class Peer(Record):
    """The user and process at the other end, as the kernel knows them.

    Attributes:
        pid: The process that connected; 0 where the kernel does not say.
        uid: Its effective user.
        gid: Its effective group.
        user: The user's login name, or the number as text.
        may_read: Whether this user may look at the tree.
        may_write: Whether this user may change it.
    """

    pid: int
    uid: int
    gid: int
    user: str
    may_read: bool
    may_write: bool


def credentials_of(connection: socket.socket) -> tuple[int, int, int]:
    """Return pid, uid and gid of the process that connected.

    Where the kernel does not tell (it does on Linux), the mode of the socket's file has let only
    this user and root connect; the answer is then this user.
    """
    if _FROM is None:
        return 0, os.geteuid(), os.getegid()
    pid, uid, gid = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, _FROM, _CREDENTIALS.size)
    )
    return pid, uid, gid


def peer_of(credentials: tuple[int, int, int], group: int | None) -> Peer:
    """Return name and rights of a user. May ask a directory service: call it in a thread."""
    pid, uid, gid = credentials
    user, groups = _look_up(uid, gid)
    writes = uid in {os.geteuid(), 0}
    reads = writes or (group is not None and group in groups)
    return Peer(pid, uid, gid, user, reads, writes)


def _look_up(uid: int, gid: int) -> tuple[str, set[int]]:
    import pwd  # noqa: PLC0415 - not on every platform

    try:
        name = pwd.getpwuid(uid).pw_name
        return name, {gid, *os.getgrouplist(name, gid)}
    except (KeyError, OSError):
        return str(uid), {gid}
