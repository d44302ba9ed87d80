"""Talk to systemd: the sending side of ``sd_notify``, without a dependency and without waiting.

A datagram goes to the socket that ``NOTIFY_SOCKET`` names. Its lines are fields, in UTF-8. The
socket never blocks: if its buffer is full, the datagram is dropped and `Notifier.send` says so.
"""

from __future__ import annotations

import array
import os
import socket
import time
from typing import TYPE_CHECKING, Final, Self, final

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

_VSOCK_TYPES: Final = {
    "vsock": socket.SOCK_SEQPACKET,
    "vsock-stream": socket.SOCK_STREAM,
    "vsock-dgram": socket.SOCK_DGRAM,
    "vsock-seqpacket": socket.SOCK_SEQPACKET,
}

_PATIENCE: Final = 0.5  # seconds for the connection; a socket of this machine answers at once


@final
class Notifier:
    """The connection to the service manager.

    Args:
        address: A path, ``@name`` for an abstract socket, or ``vsock:CID:PORT``.
        watchdog: Seconds within which the manager wants to hear of the process; `None` if it does
            not watch.
        keeps: How many open files the manager keeps for the next start of the service.

    Raises:
        OSError: Nothing is there, or the address has an unknown form.
    """

    def __init__(self, address: str, watchdog: float | None = None, keeps: int = 0) -> None:
        self.address = address
        self.watchdog = watchdog
        self.keeps = keeps
        self._socket = _connected(address)

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Self | None:
        """Take address and watchdog out of the environment, so that no child inherits them.

        Returns:
            `None` where no service manager listens.

        Raises:
            OSError: As for the class.
        """
        address = environment.pop("NOTIFY_SOCKET", "")
        interval = environment.pop("WATCHDOG_USEC", "")
        wanted = environment.pop("WATCHDOG_PID", "")
        room = environment.pop("FDSTORE", "")
        if not address:
            return None
        watchdog = None
        if interval.isdecimal() and int(interval) > 0 and wanted in ("", str(os.getpid())):
            watchdog = int(interval) / 1e6
        return cls(address, watchdog, int(room) if room.isdecimal() else 0)

    def send(self, *fields: str, descriptors: Iterable[int] = ()) -> bool:
        """Send one datagram with these fields, such as ``"READY=1"``.

        Args:
            *fields: Without newlines; a newline in a value becomes a space.
            descriptors: Open files to hand over.

        Returns:
            Whether the manager's socket took it.
        """
        data = "\n".join(field.replace("\n", " ") for field in fields)
        ancillary = []
        if passed := list(descriptors):
            rights = array.array("i", passed)
            ancillary.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, rights))
        try:
            self._socket.sendmsg([data.encode("utf-8", "replace")], ancillary)
        except OSError:  # full, or the manager is gone: it will ask its own questions
            return False
        return True

    def barrier(self, seconds: float) -> bool:
        """Wait until the manager has processed everything that was sent before; blocks the thread.

        Returns:
            Whether it has within ``seconds``.
        """
        reading, writing = os.pipe()
        try:
            sent = self.send("BARRIER=1", descriptors=[writing])
        finally:
            os.close(writing)
        try:
            # The manager closes its copy, and then there is no writer left.
            return sent and _is_at_end(reading, seconds)
        finally:
            os.close(reading)

    def store(self, name: str, descriptors: Iterable[int]) -> bool:
        """Ask the manager to keep open files for the next start of the service, under ``name``.

        Returns:
            Whether it took them; not if it has no room for files (``$FDSTORE``): it would close
            them without a word.
        """
        wanted = list(descriptors)
        return len(wanted) <= self.keeps and self.send(
            "FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", descriptors=wanted
        )

    def remove(self, name: str) -> bool:
        """Ask the manager to keep the files under ``name`` no longer."""
        return self.send("FDSTOREREMOVE=1", f"FDNAME={name}")

    def reloading(self) -> bool:
        """Say that a reload begins; ``READY=1`` ends it."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self.send("RELOADING=1", f"MONOTONIC_USEC={now}")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _is_at_end(descriptor: int, seconds: float) -> bool:
    import select  # noqa: PLC0415 - seldom used

    poll = select.poll()
    poll.register(descriptor, select.POLLHUP)
    return bool(poll.poll(seconds * 1000))


def _connected(address: str) -> socket.socket:
    kind, _, rest = address.partition(":")
    if address[0] in "/@":
        # A leading NUL stands for the abstract namespace.
        target: str | tuple[int, int] = "\0" + address[1:] if address[0] == "@" else address
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | _CLOEXEC)
    elif kind in _VSOCK_TYPES and hasattr(socket, "AF_VSOCK"):
        host, _, port = rest.partition(":")
        if not (host.isdecimal() and port.isdecimal()):
            raise OSError(f"NOTIFY_SOCKET={address!r}; expected vsock:CID:PORT")
        target = int(host), int(port)
        made = socket.socket(socket.AF_VSOCK, _VSOCK_TYPES[kind] | _CLOEXEC)
    else:
        raise OSError(f"NOTIFY_SOCKET={address!r}; expected a path, @name or vsock:CID:PORT")
    try:
        made.settimeout(_PATIENCE)  # a host that does not answer, over vsock
        made.connect(target)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


_CLOEXEC: Final = getattr(socket, "SOCK_CLOEXEC", 0)
