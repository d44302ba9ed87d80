"""Answers to probes: is the process alive, is the tree ready, was it ever.

Readiness is asked of the running tree and not of a copy: it must hold at the moment of the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import trio

from trio_supervisor._events.events import ChildUnresponsive
from trio_supervisor._events.snapshot import ChildState
from trio_supervisor._text import one_line
from trio_supervisor.control._names import slots_below
from trio_supervisor.control._readiness import Missing, missing_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_supervisor._runtime.child_slot import Slot
    from trio_supervisor._runtime.supervisor import Supervisor

_MOST_LINES: Final = 100


@final
class Probes:
    """The three answers, each a verdict and lines of text.

    Args:
        live_after: Seconds for which the event loop may not turn, or a child may be unresponsive,
            before the process counts as stuck.
        optional: Paths of children that the tree can be ready without.
    """

    def __init__(self, live_after: float, optional: frozenset[str]) -> None:
        self.live_after = live_after
        self.optional = optional
        self.supervisor: Supervisor | None = None
        self.draining = ""
        self._was_ready = False

    def live_by_thread(self, blocked: float) -> tuple[bool, str]:
        """Judge the event loop alone; safe in any thread."""
        if blocked >= self.live_after:
            return False, f"the event loop has not turned for {blocked:.1f}s"
        if blocked >= 1:
            return True, f"alive; the event loop has not turned for {blocked:.1f}s"
        return True, "alive"

    def live(self) -> tuple[bool, list[str]]:
        """Judge the tree, in a loop that turns: only children that cannot be ended count."""
        stuck = [] if self.supervisor is None else list(self._stuck(self.supervisor))
        return not stuck, stuck or ["alive"]

    def _stuck(self, supervisor: Supervisor) -> Iterator[str]:
        flagged = [s for s in slots_below(supervisor._shell) if s.life.is_unresponsive]
        if not flagged:
            return
        reported = {
            (event.path, event.attempt): event.time
            for event in supervisor.journal.events
            if isinstance(event, ChildUnresponsive)
        }
        now = trio.current_time()
        for slot in flagged:
            # An event that is no longer kept happened long ago.
            since = reported.get((slot.life.path, slot.life.attempt), slot.life.since)
            if now - since >= self.live_after:
                yield f"{slot.life.path} unresponsive for {now - since:.0f}s after its cancel"

    def ready(self) -> tuple[bool, list[str]]:
        """Judge the tree: the lines say which child is not ready, and why."""
        if self.supervisor is None:
            return False, ["the tree has not been opened yet"]
        if self.draining:
            return False, [f"draining: {self.draining}"]
        missing = [
            _line(each) for each in missing_in(self.supervisor._shell, optional=self.optional)
        ]
        if missing:
            more = len(missing) - _MOST_LINES
            return False, missing[:_MOST_LINES] + ([f"and {more} more"] if more > 0 else [])
        self._was_ready = True
        return True, ["ready"]

    def started(self) -> tuple[bool, list[str]]:
        """Judge the first start: complete once means complete for ever."""
        supervisor = self.supervisor
        if supervisor is not None and supervisor._shell.machine.is_started:
            self._was_ready = True
        if self._was_ready:
            return True, ["started"]
        ready, lines = self.ready()
        return ready, lines


def _line(missing: Missing) -> str:
    if missing.slot is not None:
        return line_of(missing.slot)
    why = f": {one_line(missing.why)}" if missing.why else ""
    return f"{missing.path} is {missing.state}{why}"


def line_of(slot: Slot) -> str:
    """Say in one line how a child is, and why."""
    life = slot.life
    now = trio.current_time()
    words = [life.path, life.reported.value.replace("_", " ")]
    machine = slot.shell.machine
    if life.reported is ChildState.WAITING and machine.accepts:
        words.append(f"for {', '.join(machine.ordering.waits_for(life))}")
    if life.reported_until is not None:
        words.append(f"next start in {max(0.0, life.reported_until - now):.1f}s")
    if life.window is not None and life.window.used(now):
        limit = life.window.limit
        words.append(f"({life.window.used(now)}/{limit.max_restarts} in {limit.within:g}s)")
    if life.is_unresponsive:
        words.append("unresponsive")
    why = life.reported_reason or life.last_exit
    return " ".join(words) + (f": {one_line(why)[:300]}" if why else "")
