"""Listening sockets that are handed to another library's server, and stay under control here.

The server keeps its connections where they cannot be reached; the operating system lists them.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
import tempfile
from contextlib import suppress
from fcntl import ioctl
from select import POLLIN, poll
from termios import FIONREAD
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trio

_BYTES_RECEIVED: Final = 128  # where Linux's `struct tcp_info` has this number


@final
class Held:
    """A listening socket that is handed to a server by its descriptor.

    Args:
        listening: The socket; it is taken over.
        send_timeout: Seconds until a connection is given up whose client acknowledges nothing.

    Attributes:
        descriptor: What the server gets.
    """

    def __init__(self, listening: trio.socket.SocketType, send_timeout: float) -> None:
        self._family = listening.family
        if self._family in {socket.AF_INET, socket.AF_INET6} and hasattr(
            socket, "TCP_USER_TIMEOUT"
        ):
            milliseconds = int(send_timeout * 1000)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        self._address = listening.getsockname()
        self.descriptor = listening.detach()
        self._inode = os.fstat(self.descriptor).st_ino

    def close(self) -> None:
        """Close the socket if the server never came so far as to take it."""
        if self._is_open():
            os.close(self.descriptor)

    def _is_open(self) -> bool:
        try:
            return os.fstat(self.descriptor).st_ino == self._inode
        except OSError:
            return False

    def has_waiting(self) -> bool:
        """Whether a client has connected and the server has not accepted the connection yet."""
        if not self._is_open():
            return False
        waiting = poll()
        waiting.register(self.descriptor, POLLIN)
        return bool(waiting.poll(0))

    def stop_accepting(self) -> None:
        """Put a socket to which no client can connect in the place of the listening one.

        The server goes on as before, and finds no further connection. Clients that connect from now
        on are refused, or wait where another process or child holds the same socket.
        """
        if not self._is_open():
            return
        with (
            tempfile.TemporaryDirectory(prefix="trio-supervisor-") as place,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as unreachable,
        ):
            unreachable.bind(os.path.join(place, "s"))  # noqa: PTH118 - the path is gone at once
            unreachable.listen(1)
            unreachable.setblocking(False)
            os.dup2(unreachable.fileno(), self.descriptor, inheritable=False)
        self._inode = os.fstat(self.descriptor).st_ino

    def has_unread(self) -> bool:
        """Whether a client has sent what the server has not read, or has only just connected."""
        return any(_is_unread(each) for each in self._connections())

    def cut_connections(self) -> None:
        """Shut down each connection that was accepted from this socket."""
        for each in self._connections():
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _connections(self) -> Iterator[socket.socket]:
        """Duplicates of the connections; each is closed when the next one is asked for."""
        for name in os.listdir("/dev/fd"):  # noqa: PTH208
            try:
                found = _socket_at(int(name))
            except (OSError, ValueError):
                continue
            if found is None:
                continue
            with found:
                if self._is_ours(found):
                    yield found

    def _is_ours(self, found: socket.socket) -> bool:
        if found.family != self._family or found.type != socket.SOCK_STREAM:
            return False
        try:
            here = found.getsockname()
            found.getpeername()  # raises for the listening socket itself
        except OSError:
            return False
        if isinstance(here, tuple) and isinstance(self._address, tuple):
            return bool(here[1] == self._address[1])
        return bool(here == self._address)


def _socket_at(descriptor: int) -> socket.socket | None:
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return None
    return socket.socket(fileno=os.dup(descriptor))


def _is_unread(connection: socket.socket) -> bool:
    try:
        unread = ioctl(connection.fileno(), FIONREAD, b"\0" * 4)
        if int.from_bytes(unread, sys.byteorder):
            return True
        if sys.platform != "linux" or connection.family == socket.AF_UNIX:
            return False
        facts = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED + 8)
        # The first request is on its way, unless the client has gone again.
        is_new = (
            len(facts) >= _BYTES_RECEIVED + 8
            and not struct.unpack_from("Q", facts, _BYTES_RECEIVED)[0]
        )
        return is_new and facts[0] == _ESTABLISHED
    except OSError:
        return False


_ESTABLISHED: Final = 1
