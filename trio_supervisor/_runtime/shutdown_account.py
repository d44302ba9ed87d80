"""Keeps what a `ShutdownReport` will say about each child, from the beginning of the stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from trio_supervisor._events.shutdown import ChildShutdown, ShutdownReport

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_supervisor._brain.lifecycle import ChildLife
    from trio_supervisor._brain.messages import Outcome


@final
class ShutdownAccount:
    """The exits of one supervisor's children since its stop began.

    Attributes:
        since: When the stop began; `None` before that.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self._entries: list[ChildShutdown] = []
        self._stacks: dict[str, tuple[str, ...]] = {}
        self._cut_off: set[str] = set()

    def __len__(self) -> int:
        """The number of entries and stacks that are held."""
        return len(self._entries) + len(self._stacks) + len(self._cut_off)

    def begin(self, now: float) -> None:
        """Count the seconds of each child from ``now`` on."""
        self.since = now

    def note_unresponsive(self, path: str, stack: tuple[str, ...]) -> None:
        """Keep where an attempt hangs, until it ends."""
        self._stacks[path] = stack

    def note_cut_off(self, path: str) -> None:
        """The grace of an attempt is over, and it is cancelled: it was not stopped."""
        self._cut_off.add(path)

    def note_exit(
        self,
        path: str,
        attempt: int,
        kind: str,
        detail: str,
        now: float,
        below: ShutdownReport | None,
    ) -> None:
        """Note the end of an attempt; ``below`` is the report of a nested supervisor in it."""
        stack = self._stacks.pop(path, ())
        cut_off = path in self._cut_off
        self._cut_off.discard(path)
        if self.since is None:
            return
        if below is not None:
            self.note_below(below)
        entry = ChildShutdown(path, attempt, kind, detail, now - self.since, stack, cut_off)
        self._entries.append(entry)

    def note_below(self, report: ShutdownReport) -> None:
        """Take over the entries of a supervisor further down that has ended."""
        if self.since is not None:
            self._entries.extend(report.children)

    def report(
        self, path: str, run: int, outcome: Outcome, children: Iterable[ChildLife], now: float
    ) -> ShutdownReport:
        """Return the report of a supervisor that has finished, with ``children`` left in it."""
        began = now if self.since is None else self.since
        ended = {entry.path for entry in self._entries}
        at_rest = [
            ChildShutdown(life.path, life.attempt, life.state.value, life.last_exit)
            for life in children
            if life.path not in ended
        ]
        entries = (*at_rest, *self._entries)
        seconds = now - began
        return ShutdownReport(path, run, outcome.kind.value, outcome.reason, seconds, entries)
