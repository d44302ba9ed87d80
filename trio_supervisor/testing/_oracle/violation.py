"""The promises that are checked, and how a broken one is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, final

import attrs

from trio_supervisor._events import events as ev
from trio_supervisor._lazy import public

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

INVARIANTS: Final[dict[str, str]] = {
    "one_live_attempt": "a child has at most one live attempt; the next waits for its end",
    "nothing_left": "when a supervisor has finished, none of its children is alive",
    "start_order": "a child starts when its requirements are ready and its predecessors settled",
    "stop_order": "children stop in reverse order, except at the shutdown deadline",
    "radius": "only a command, a fault of its own, its group or a shutdown touches a child",
    "stuck": "a waiting child has a reason to wait; an unrelated child never keeps it down",
    "limits": "no window holds more restarts than allowed; the next one escalates or quarantines",
    "table": "what follows an exit is what was declared, decided exactly once",
    "backoff": "a restart waits for as long as its backoff says, and no longer",
    "stop_time": "a stop ends within its grace, or is cancelled, or is reported",
    "timeouts": "an attempt that takes too long is ended",
    "blame": "our stop is no failure of the child's, and what we did not stop was not stopped",
    "operators_wish": "a child that a command took down stays down; commands take effect at once",
    "shutdown": "a stopping supervisor starts no child, stops every child, and says why it stops",
    "auto_shutdown": "a supervisor ends because of its children exactly as it was declared",
    "events": "each attempt starts once and ends once; every event fits to those before it",
    "fold_is_state": "folding the events gives the state (checked only while a tree runs)",
    "answered": "a command is answered at once, and returns when it has taken effect (likewise)",
    "woken": "when a tree ends, every task that waits for it is told, not cancelled (likewise)",
    "errors": "what a body raises is in its report, and in what the tree fails with (likewise)",
    "through": "outer cancellation and KeyboardInterrupt come out, at once in order (likewise)",
}


@public
@final
@attrs.frozen
class Violation:
    """A promise that was broken.

    Attributes:
        invariant: The promise's name, one of `INVARIANTS`.
        text: What is wrong.
        event: The event at which that became visible.
        excerpt: The events that show it, that one included.
    """

    invariant: str
    text: str
    event: ev.Event
    excerpt: tuple[ev.Event, ...]

    def render(self) -> str:
        """Show the broken promise and the events that prove it, for people."""
        lines = [
            f"{self.invariant}: {self.text}",
            f"  promised: {INVARIANTS.get(self.invariant, '')}",
            *(f"  {line}" for line in show_events(self.excerpt)),
        ]
        return "\n".join(lines)


@public
@final
class InvariantViolated(AssertionError):
    """A supervision tree has broken a promise: a fault of this library, not of your program.

    The message names each broken promise and shows the events that prove it.

    Attributes:
        violations: All that were found, the earliest first.
    """

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations: tuple[Violation, ...] = tuple(violations)
        super().__init__("\n\n".join(violation.render() for violation in self.violations))


def show_events(events: Iterable[ev.Event]) -> Iterator[str]:
    """Yield one line for each event."""
    common = len(attrs.fields(ev.Event))
    for event in events:
        fields = attrs.fields(type(event))[common:]
        values = (getattr(event, field.name) for field in fields)
        shown = [
            f"{field.name}={value!r}"
            for field, value in zip(fields, values, strict=True)
            if value not in ("", (), None)
        ]
        subject = f"{event.path}#{event.attempt}" if event.attempt else event.path
        kind = type(event).__name__
        yield f"#{event.sequence:<4} {event.time:<10.6g} {subject:<20} {kind} {' '.join(shown)}"
