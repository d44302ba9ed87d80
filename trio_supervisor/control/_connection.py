"""One client's connection: complete lines in, answers out, both with a time limit."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, final

import trio

from trio_supervisor.control.protocol import LineReader, ProtocolError, error_line, item_line

READ_TIMEOUT = 30.0
"""Seconds in which a client has to complete its next request."""
SEND_TIMEOUT = 10.0
"""Seconds in which a client has to take the next piece of an answer."""
_PIECE = 1 << 16
_MOST_EARLY = 1000


@final
class Incoming:
    """The requests of one client, as complete lines."""

    def __init__(self, connection: trio.socket.SocketType) -> None:
        self._connection = connection
        self._reader = LineReader()
        self._early: list[bytes] = []  # lines that came while one was being answered

    async def next_lines(self) -> list[bytes] | None:
        """Return the next lines, at least one; `None` at the end.

        Raises:
            ProtocolError: A line is too long, or is not complete in time.
        """
        if self._early:
            lines, self._early = self._early, []
            return lines
        with trio.move_on_after(READ_TIMEOUT):
            while True:
                data = await self._connection.recv(_PIECE)
                if not data:
                    return None
                lines = list(self._reader.feed(data))
                if lines:
                    return lines
        raise ProtocolError("timed_out", f"no complete request within {READ_TIMEOUT:g}s")

    async def while_connected(self, work: Any) -> Any:
        """Run ``work`` until it is finished, or until the client has closed the connection.

        Raises:
            BrokenPipeError: The client is gone; what it wanted to wait for is not waited for.
        """
        async with trio.open_nursery() as nursery:
            result: list[Any] = []

            async def watch() -> None:
                with suppress(ProtocolError):
                    while (
                        len(self._early) < _MOST_EARLY
                    ):  # beyond that, it is not listened to meanwhile
                        data = await self._connection.recv(_PIECE)
                        if not data:
                            break
                        self._early.extend(self._reader.feed(data))
                    else:
                        await trio.sleep_forever()
                nursery.cancel_scope.cancel("the client is gone")

            nursery.start_soon(watch)
            try:
                result.append(await work())
            except Exception as error:  # raised below, outside of the nursery, which would wrap it
                result.append(error)
            nursery.cancel_scope.cancel("answered")
        if not result:
            raise BrokenPipeError
        if isinstance(result[0], Exception):
            raise result[0]
        return result[0]


@final
class Answers:
    """The answers to one client: collected, then sent in pieces, each with a time limit."""

    def __init__(
        self,
        connection: trio.socket.SocketType,
        request_id: int | str | None,
        share: Answers | None = None,
    ) -> None:
        self._connection = connection
        self._id = request_id
        self._waiting: list[bytes] = [] if share is None else share._waiting
        self._size = 0

    def add(self, line: bytes) -> None:
        """Collect one line."""
        self._waiting.append(line)
        self._size += len(line)

    async def __call__(self, item: Any) -> None:
        """Collect one item of a stream; now and then, send what there is."""
        self.add(item_line(self._id, item))
        if self._size > _PIECE:
            await self.flush()

    async def flush(self) -> None:
        """Send what was collected.

        Raises:
            trio.TooSlowError: The client does not take it.
            OSError: The client is gone.
        """
        data = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        self._size = 0
        while data:
            with trio.fail_after(SEND_TIMEOUT):
                sent = await self._connection.send(data[:_PIECE])
            data = data[sent:]

    async def fail(self, error: ProtocolError) -> None:
        """Say why the connection is about to be closed."""
        self.add(error_line(error))
        await self.flush()


@final
class Collected:
    """Takes the place of a connection for requests of the same program."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    async def __call__(self, item: Any) -> None:
        self.items.append(item)
        await trio.lowlevel.checkpoint()

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint()
