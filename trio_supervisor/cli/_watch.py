"""``watch``: the tree, live, with keys that stop, restart and quarantine a child.

Rendering and keys are this process's affair alone: the daemon answers ``tree`` once per interval.
"""

from __future__ import annotations

import os
import select
import sys
import time
from contextlib import contextmanager

from trio_supervisor._lazy import TYPE_CHECKING
from trio_supervisor.cli._output import Style, clean, connect
from trio_supervisor.cli._tree import lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from trio_supervisor.control.client import ControlClient

_KEYS = {"s": "stop", "r": "restart", "q": "quarantine", "t": "start"}
_HELP = "up/down: choose   s: stop   t: start   r: restart   q: quarantine   x: leave"


def run(_verb: str, args: Any) -> int:
    """Show the tree until the operator leaves, or once."""
    with connect(args) as client:
        if args.once:
            for line in lines_of(client.request("tree", names=args.names), Style()):
                print(line)
            return 0
        return _live(client, args)


def _live(client: ControlClient, args: Any) -> int:
    from trio_supervisor.cli._main import Failure

    try:
        from rich.live import Live
    except ImportError:
        needs = "watch needs rich: pip install 'trio-supervisor[cli]'; or use watch --once"
        raise Failure(1, needs, kind="missing") from None
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Failure(2, "watch needs a terminal; use watch --once", kind="usage")
    view = View(client, args.names)
    with _raw_terminal(), Live(view.draw(), screen=True, auto_refresh=False) as live:
        due = 0.0
        while not view.is_over:
            if time.monotonic() >= due:
                view.refresh()
                due = time.monotonic() + max(0.1, args.interval)
            live.update(view.draw(), refresh=True)
            if select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
                view.press(os.read(sys.stdin.fileno(), 16).decode(errors="ignore"))
    return 0


class View:
    """The picture, the chosen child, and the command that waits for its confirmation."""

    def __init__(self, client: ControlClient, names: list[str]) -> None:
        self._client = client
        self._names = names
        self._tree: dict[str, Any] = client.request("tree", names=names)
        self._at = 0
        self._asking = ""  # the verb that waits for a yes
        self._note = ""
        self.is_over = False

    @property
    def paths(self) -> list[str]:
        """The children in the order in which they are shown."""
        found: list[str] = []
        pending = [self._tree["children"]]
        while pending:
            children = pending.pop()
            for number, child in enumerate(children):
                found.append(child["path"])
                below = (child.get("supervisor") or {}).get("children")
                if below:
                    pending.append(children[number + 1 :])
                    pending.append(below)
                    break
        return found

    def refresh(self) -> None:
        """Ask the daemon for the tree as it is now."""
        self._tree = self._client.request("tree", names=self._names)
        self._at = min(self._at, max(0, len(self.paths) - 1))

    def press(self, keys: str) -> None:
        """React to what was typed."""
        if self._asking:
            verb, self._asking = self._asking, ""
            self._note = self._command(verb) if keys[:1] in {"y", "Y"} else "nothing was done"
        elif keys in {"\x1b[A", "k"}:
            self._at = max(0, self._at - 1)
        elif keys in {"\x1b[B", "j"}:
            self._at = min(max(0, len(self.paths) - 1), self._at + 1)
        elif keys[:1] in {"x", "\x03", "\x04"} or keys == "\x1b":
            self.is_over = True
        elif keys[:1] in _KEYS and self.paths:
            self._asking = _KEYS[keys[0]]

    def _command(self, verb: str) -> str:
        from trio_supervisor.control.client import ControlError

        path = self.paths[self._at]
        try:
            self._client.request(verb, names=[path], wait=False, reason="by hand, in watch")
        except ControlError as error:
            return clean(error)
        return f"{verb} {clean(path)}: accepted"

    def draw(self) -> Any:
        """Return the picture: the tree with the chosen child marked, and a line about the keys."""
        from rich.text import Text

        style = Style()
        whole = not self._names
        lines = list(lines_of(self._tree, style, whole=whole))
        paths = self.paths
        text = Text(no_wrap=True, overflow="ellipsis")
        for number, line in enumerate(lines):
            chosen = number - whole == self._at and paths
            text.append_text(Text.from_ansi(line))
            text.append("  <--\n" if chosen else "\n")
        if self._asking:
            text.append(f"\n{self._asking} {clean(paths[self._at])}? y/n", style="bold")
        else:
            text.append(f"\n{_HELP}\n{self._note}")
        return text


@contextmanager
def _raw_terminal() -> Iterator[None]:
    """Read keys at once and without echo; restores the terminal, whatever happens."""
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
