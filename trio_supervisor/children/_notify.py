"""Receive what a program says to its service manager: systemd's notification protocol.

A program that systemd runs may report ``READY=1`` and ``WATCHDOG=1`` to the socket that the
environment variable ``NOTIFY_SOCKET`` names. `NotifySocket` is such a socket for one attempt.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from typing import TYPE_CHECKING, Final, final

import trio

from trio_supervisor._record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGEST: Final = 4096
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid
_MOST_DESCRIPTORS: Final = 253  # what one datagram can carry (SCM_MAX_FD)


@final
class Notification(Record):
    """One datagram: its fields, and the process that sent it."""

    fields: dict[str, str]
    pid: int


@final
class NotifySocket:
    """A datagram socket with an abstract address of its own; close it after use."""

    def __init__(self, token: str) -> None:
        self.address = f"@trio-supervisor/{os.getpid()}/{token}"
        """For ``NOTIFY_SOCKET``."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._socket.bind("\0" + self.address[1:])
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Close the socket; what is sent to it from now on is refused."""
        self._socket.close()

    async def wait(self) -> None:
        """Wait until something can be received."""
        await trio.lowlevel.wait_readable(self._socket)

    def receive(self) -> Iterator[Notification]:
        """Take what has arrived.

        Descriptors that come with a datagram are closed. That answers ``BARRIER=1``, because its
        sender waits for it, and refuses ``FDSTORE=1``.
        """
        room = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(4 * _MOST_DESCRIPTORS)
        while True:
            try:
                data, extras, _, _ = self._socket.recvmsg(_LARGEST, room, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            pid = 0
            descriptors: array.array[int] = array.array("i")
            for level, kind, payload in extras:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    descriptors.frombytes(payload[: len(payload) - len(payload) % 4])
                elif level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                    pid = _CREDENTIALS.unpack(payload[: _CREDENTIALS.size])[0]
            try:
                yield Notification(parse(data), pid)
            finally:  # after the datagram, and all before it, have had their effect
                for descriptor in descriptors:
                    os.close(descriptor)


def parse(datagram: bytes) -> dict[str, str]:
    """Return the ``NAME=value`` lines of a datagram; lines of another form are left out."""
    text = datagram.decode("utf-8", "replace")
    pairs = (line.partition("=") for line in text.split("\n"))
    return {name: value for name, is_pair, value in pairs if is_pair and name}
