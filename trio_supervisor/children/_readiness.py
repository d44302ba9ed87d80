"""Learn from outside that a program is ready: a port, a socket, a line, or a file."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import trio

from trio_supervisor._record import Record
from trio_supervisor.children._failures import ProcessFailed

if TYPE_CHECKING:
    from trio_supervisor.children._output import Output

_LOOK_EVERY: Final = 0.05
_LONGEST_CONNECT: Final = 5.0


@final
class Answers(Record):
    """Ready when the address accepts a connection."""

    address: tuple[str, int] | str
    """Host and port, or the path of a Unix socket."""

    async def before(self) -> None:
        """Check that nothing else accepts connections there: it would pass for the program.

        Raises:
            ProcessFailed: Something does.
        """
        if await self._accepts():
            raise ProcessFailed(
                f"{self._where()} accepts connections before the program is started: another "
                "process uses that address",
                category="start",
            )

    async def wait(self, output: Output) -> None:
        """Return when the address accepts a connection."""
        while not await self._accepts():  # noqa: ASYNC110 - another process makes it true
            await trio.sleep(_LOOK_EVERY)

    async def _accepts(self) -> bool:
        try:
            with trio.fail_after(_LONGEST_CONNECT):
                if isinstance(self.address, str):
                    stream: trio.SocketStream = await trio.open_unix_socket(self.address)
                else:
                    stream = await trio.open_tcp_stream(*self.address)
        except (OSError, trio.TooSlowError):
            return False  # noqa: ASYNC910 - the attempt to connect was a checkpoint
        # A connection that is reset, not closed in order, leaves nothing behind.
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await trio.aclose_forcefully(stream)
        return True

    def _where(self) -> str:
        return self.address if isinstance(self.address, str) else "{}:{}".format(*self.address)


@final
class Writes(Record):
    """Ready when a line of the program's output matches."""

    pattern: str

    async def before(self) -> None:
        """Nothing can be wrong before."""
        await trio.lowlevel.checkpoint()

    async def wait(self, output: Output) -> None:
        """Return when a line matches."""
        matches = re.compile(self.pattern).search
        found = trio.Event()

        def look(line: str) -> None:
            if matches(line):
                output.on_line = None
                found.set()

        output.on_line = look
        await found.wait()


class Makes:
    """Ready when the program has made a file, or replaced the one that was there."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._old = self._mark()

    async def before(self) -> None:
        """Remember the file that is there already, if any."""
        self._old = self._mark()
        await trio.lowlevel.checkpoint()

    async def wait(self, output: Output) -> None:  # noqa: ASYNC910 - it may be there already
        """Return when the file is another one, or has been written to."""
        while self._mark() in (None, self._old):  # noqa: ASYNC110 - likewise
            await trio.sleep(_LOOK_EVERY)

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns
