"""Text for terminals, pipes and ``--json``."""

from __future__ import annotations

import os
import sys

from trio_supervisor._lazy import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from trio_supervisor.control.client import ControlClient

_COLOURS = {
    "ready": "32",
    "running": "32",
    "done": "36",
    "starting": "33",
    "waiting": "33",
    "not_ready": "33",
    "stopping": "33",
    "backing_off": "31",
    "quarantined": "31;1",
    "stopped": "35",
    "finished": "36",
}
_GLYPHS = {
    "ready": "●",
    "running": "●",
    "done": "✓",
    "starting": "◐",
    "waiting": "○",
    "not_ready": "◑",
    "stopping": "◒",
    "backing_off": "↻",
    "quarantined": "✗",
    "stopped": "■",
    "finished": "✓",
}


def connect(args: Any, timeout: float | None = 30.0) -> ControlClient:
    """Connect to the daemon that the options name."""
    from trio_supervisor.control.client import ControlClient

    return ControlClient(args.socket, timeout=timeout)


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    import json

    print(json.dumps(value))


def clean(text: object, *, aligned: bool = False) -> str:
    """``text`` on one line, without anything that could drive a terminal.

    Several spaces become one, unless they align the line with others.
    """
    line = str(text) if aligned else " ".join(str(text).split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else "?" for c in line)
    encoding = sys.stdout.encoding or "ascii"
    return line.encode(encoding, "replace").decode(encoding)


class Style:
    """The looks of lines here: colour, width and symbols only where they can be shown.

    Attributes:
        width: Columns of the terminal; `None` for a pipe or file, where nothing is cut off.
        symbols: Whether the output can show more than ASCII.
    """

    def __init__(self) -> None:
        terminal = sys.stdout.isatty()
        self.colour = (
            terminal
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM", "") not in {"", "dumb"}
        )
        self.width = os.get_terminal_size(sys.stdout.fileno()).columns or None if terminal else None
        encoding = (sys.stdout.encoding or "").lower().replace("-", "")
        self.symbols = encoding == "utf8"

    def state(self, state: str, width: int = 0) -> str:
        """A state in its colour, padded to ``width``."""
        shown = state.ljust(width)
        return (
            f"\x1b[{_COLOURS[state]}m{shown}\x1b[0m" if self.colour and state in _COLOURS else shown
        )

    def glyph(self, state: str) -> str:
        """A symbol for a state; nothing where there is only ASCII."""
        if not self.symbols:
            return ""
        glyph = _GLYPHS.get(state, "?")
        return (
            f"\x1b[{_COLOURS[state]}m{glyph}\x1b[0m "
            if self.colour and state in _COLOURS
            else f"{glyph} "
        )

    def strong(self, text: str) -> str:
        """``text`` in bold."""
        return f"\x1b[1m{text}\x1b[0m" if self.colour else text
