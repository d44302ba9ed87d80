"""The information desk: answers queries over TCP, a line each, so that ``nc`` will do as client.

Every answer ends with an empty line. What comes from a log, a name or a client is spelled out where
a terminal would act upon it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from . import store as db
from .follow import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor import ChildContext, ChildSpec

    from .sabotage import Saboteur

HELP: Final = """\
count               how many lines are stored
count level         ... of each level
count program       ... of each program
last [N]            the N lines stored last (10)
files               the log files, and how far each is stored
sabotage NAME       crash a child of the tree, and see it come back
quit                close this connection"""

_LONGEST_COMMAND: Final = 1000
_MOST_LINES: Final = 1000
_WIDEST: Final = 2000  # characters of a line in an answer


class Desk:
    """What the answers are made from."""

    def __init__(self, child: ChildContext, store: db.Store, saboteur: Saboteur) -> None:
        self._child = child
        self._store = store
        self._saboteur = saboteur

    async def serve(self, stream: trio.SocketStream) -> None:
        """Talk to one client until it, or somebody else, has had enough."""
        try:
            async with stream:
                await self._converse(stream)
        except trio.BrokenResourceError:
            pass  # it went away in the middle of an answer

    async def _converse(self, stream: trio.SocketStream) -> None:
        buffer = bytearray()
        while (command := await self._next_command(stream, buffer)) is not None:
            words = command.split()
            if not words:
                continue
            if words == ["quit"]:
                return
            await _say(stream, await self._answer(words))
            if words[0] == "sabotage" and len(words) == 2:
                self._saboteur.strike(words[1])
        if self._child.stop_requested:
            await _say(stream, "goodbye: the desk is closing")

    async def _next_command(self, stream: trio.SocketStream, buffer: bytearray) -> str | None:
        """The next line; None if there is none to come, or none to be answered."""
        while b"\n" not in buffer:
            if len(buffer) > _LONGEST_COMMAND:
                await _say(stream, f"a command is no longer than {_LONGEST_COMMAND} bytes")
                return None
            data = b""
            # A stop request ends the waiting for commands, never an answer that is on its way.
            with self._child.stop_scope():
                data = await stream.receive_some(4096)
            if self._child.stop_requested or not (data or buffer):
                return None
            buffer += data or b"\n"
        line, _, rest = bytes(buffer).partition(b"\n")
        buffer[:] = rest
        return line.decode("utf-8", "replace")

    async def _answer(self, words: list[str]) -> str:
        try:
            match words:
                case ["help" | "?"]:
                    return HELP
                case ["count"]:
                    return str(await self._store.call(db.count_lines))
                case ["count", "level" | "program" as column]:
                    counts = await self._store.call(partial(db.count_by, column=column))
                    return "\n".join(f"{number:>9}  {_one_line(name)}" for name, number in counts)
                case ["last"]:
                    return await self._last(10)
                case ["last", number] if number.isdecimal() and 0 < int(number) <= _MOST_LINES:
                    return await self._last(int(number))
                case ["last", _]:
                    return f"last takes a number from 1 to {_MOST_LINES}"
                case ["files"]:
                    rows = await self._store.call(db.sources)
                    return "\n".join(
                        f"{x.lines:>9} lines {x.offset:>12} bytes  {printable(x.path)}"
                        for x in rows
                    )
                case ["sabotage", name] if name in self._saboteur.victims:
                    return f"crashing {name}"
                case ["sabotage", *_]:
                    return "sabotage one of: " + " ".join(self._saboteur.victims)
                case _:
                    return "unknown command; try: help"
        except db.StoreGone:
            return "the store is not running just now; try again"

    async def _last(self, number: int) -> str:
        rows = await self._store.call(partial(db.last_lines, number=number))
        return "\n".join(
            f"{at or '-':<19.19} {level:<8} {program}: {_one_line(message)}"
            for at, level, program, message in rows
        )


def _one_line(message: str) -> str:
    return message.replace("\n", "\\n")


async def _say(stream: trio.SocketStream, text: str) -> None:
    lines = [_shown(line) for line in text.split("\n") if line.strip()]
    await stream.send_all("".join(f"{line}\n" for line in [*lines, ""]).encode())


def _shown(line: str) -> str:
    # Longer than any terminal is wide: the rest is in the database.
    rest = len(line) - _WIDEST
    return printable(line[:_WIDEST]) + (f"... [{rest} more characters]" if rest > 0 else "")


async def answer_queries(
    child: ChildContext,
    listener: ChildSpec[list[trio.SocketListener]],
    store: ChildSpec[db.Store],
    saboteur: Saboteur,
    announce: Callable[[str, int], None],
) -> None:
    """The desk's body: serve clients who connect to the listener until asked to stop."""
    desk = Desk(child, child.value(store), saboteur)
    # Duplicates: serving closes its sockets, and the listener's are to outlive this attempt.
    sockets = [trio.SocketListener(each.socket.dup()) for each in child.value(listener)]
    announce(*sockets[0].socket.getsockname()[:2])
    async with saboteur.haunts(child.name), trio.open_nursery() as clients:
        child.ready()
        with child.stop_scope():
            await trio.serve_listeners(desk.serve, sockets, handler_nursery=clients)
        # Out of the stop scope, the clients are told, and have the grace to hear it.
