"""The output of a program: always read, split into lines, and logged as far as the log keeps up.

A program whose output is not read blocks for ever in a write. So reading never waits for the log:
lines wait in a buffer of bounded size, and when it is full, the oldest are dropped and counted. The
log gets at most about a fifth of the loop's time, and a second after the program's end.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Final, final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES: Final = 4096
"""Length of a line in the log; the rest of a longer one is cut off, and its length given."""
MOST_LINES: Final = 1000
"""How many lines may wait for the log."""
_TAIL: Final = 10
_LONGEST_BATCH: Final = 0.002
_LONGEST_END: Final = 1.0
_CHUNK: Final = 65536
_MOST_AT_END: Final = 16
_TELL_DROPPED_EVERY: Final = 1.0

_log = logging.getLogger("trio_supervisor.output")


@final
class Output:
    """The lines of one program, from both of its streams.

    Args:
        path: The path of the child, for the log.
        attempt: The number of the attempt, for the log.
        level: The level of the log lines.
        pid: The id of the process, for the log.
    """

    def __init__(self, path: str, attempt: int, level: int, pid: int) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL)
        """The last lines of standard error."""
        self.on_line: Callable[[str], None] | None = None
        """Called with each line, until it is taken away again."""
        self._level = level
        self._path = path
        self._fields = {"path": path, "attempt": attempt, "pid": pid}
        self._waiting: deque[tuple[str, bytes]] = deque(maxlen=MOST_LINES)
        self._arrived = trio.Event()
        self._dropped = 0
        self._told_at = -_TELL_DROPPED_EVERY
        self.streams: list[_Stream] = []
        """The pipes that are read."""

    def add(self, name: str, descriptor: int) -> _Stream:
        """Have one more stream read."""
        stream = _Stream(self, name, descriptor)
        self.streams.append(stream)
        return stream

    def take(self, name: str, lines: list[bytes]) -> None:
        """Keep lines for the log."""
        waiting = self._waiting
        over = len(waiting) + len(lines) - MOST_LINES
        self._dropped += max(over, 0)
        if self.on_line is not None:
            for line in lines:
                if self.on_line is not None:
                    self.on_line(_text(line))
        waiting.extend([(name, _cut(line)) for line in lines[-MOST_LINES:]])
        if name == "stderr":
            self.tail.extend([_text(_cut(line)) for line in lines[-_TAIL:]])
        self._arrived.set()

    async def write(self) -> None:
        """Write lines to the log as they come. Runs until it is cancelled."""
        while True:
            await self._arrived.wait()
            await self._write_some()
            if not self._waiting:
                self._arrived = trio.Event()

    async def finish(self) -> None:  # noqa: ASYNC910 - there may be nothing to wait for
        """Read what is left in the pipes, without waiting, close them, and log what is left."""
        for stream in self.streams:
            stream.finish()
        with trio.move_on_after(_LONGEST_END):  # noqa: ASYNC912 - likewise
            while self._waiting:
                await self._write_some()
        self._dropped += len(self._waiting)
        self._tell_dropped()

    async def _write_some(self) -> None:
        if self._dropped and trio.current_time() - self._told_at >= _TELL_DROPPED_EVERY:
            self._tell_dropped()
        began = perf_counter()
        while self._waiting:
            name, line = self._waiting.popleft()
            self._say(self._level, "%s: %s", self._path, _text(line), stream=name)
            took = perf_counter() - began
            if took > _LONGEST_BATCH:
                await trio.sleep(4 * took)
                return
        await trio.lowlevel.checkpoint()

    def _tell_dropped(self) -> None:
        if self._dropped:
            text = "%s: %d lines of output dropped: the program writes faster than the log"
            self._say(logging.WARNING, text, self._path, self._dropped)
            self._dropped = 0
            self._told_at = trio.current_time()

    def _say(self, level: int, text: str, *args: object, **fields: object) -> None:
        # What a handler raises is the child's crash: nothing else knows of this line.
        _log.log(level, text, *args, extra=self._fields | fields)


@final
class _Stream:
    """One pipe: bytes in, lines out."""

    def __init__(self, output: Output, name: str, descriptor: int) -> None:
        self._output = output
        self._name = name
        self._descriptor = descriptor
        self._rest = b""
        self._cut_off = 0  # bytes of the present line that were not kept

    async def read(self) -> None:
        """Read until the program, and all that have inherited the pipe, have closed it."""
        while True:
            await trio.lowlevel.wait_readable(self._descriptor)
            if not self._read_once():
                return

    def _read_once(self) -> bool:
        try:
            data = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return True
        self._feed(data)
        return bool(data)

    def finish(self) -> None:
        """Take what is in the pipe; a process that escaped may hold it open, so do not wait."""
        for _ in range(_MOST_AT_END):
            try:
                data = os.read(self._descriptor, _CHUNK)
            except BlockingIOError:
                break
            self._feed(data)
            if not data:
                break
        if self._rest:
            self._feed(b"\n")
        os.close(self._descriptor)

    def _feed(self, data: bytes) -> None:
        if self._cut_off:
            end = data.find(b"\n")
            if end < 0:
                self._cut_off += len(data)
                return
            self._rest += b" [and %d bytes more]" % (self._cut_off + end)
            data = data[end:]
            self._cut_off = 0
        *lines, rest = (self._rest + data).split(b"\n")
        if len(rest) > MOST_BYTES:
            self._cut_off = len(rest) - MOST_BYTES
            rest = rest[:MOST_BYTES]
        self._rest = rest
        if lines:
            self._output.take(self._name, lines)


def _cut(line: bytes) -> bytes:
    if len(line) <= MOST_BYTES + 40:  # room for the note of what was cut off already
        return line
    return line[:MOST_BYTES] + b" [and %d bytes more]" % (len(line) - MOST_BYTES)


def _text(line: bytes) -> str:
    """``line`` as text without what would break a line or drive a terminal."""
    text = line.rstrip().decode("utf-8", "replace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "  " if c == "\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
