"""The record of a simulated run."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Generic, TypeVar, final

import attrs

from trio_supervisor._events.events import ChildExited, Event
from trio_supervisor._lazy import public
from trio_supervisor._specs.supervisor import SupervisorSpec
from trio_supervisor.testing._errors import UnprovokedFailure
from trio_supervisor.testing._oracle.violation import (
    INVARIANTS,
    InvariantViolated,
    Violation,
    show_events,
)
from trio_supervisor.testing._oracle.watch import Note
from trio_supervisor.testing._run.injection import Fault
from trio_supervisor.testing._sim.drift import Lateness
from trio_supervisor.testing._sim.schedule import Picks

_MOST_LATE = 5

T_co = TypeVar("T_co", covariant=True)


@public
@final
@attrs.frozen
class TreeTrace:
    """One tree of a run: its declaration and all its events."""

    spec: SupervisorSpec
    events: tuple[Event, ...]
    added: Mapping[int, Any] = attrs.field(repr=False)
    """The specs of children added at run time, by `Event.sequence` of their `ChildAdded`."""


@public
@final
@attrs.frozen(eq=False)
class Trace(Generic[T_co]):
    """One run of a scenario: its events, its schedule, its result, and what is wrong with it.

    Attributes:
        result: The return value of the scenario; `None` if it raised.
        error: The exception of the scenario, or `LiveLock` or `Stuck` if it was ended from outside.
        trees: Every tree that was opened, in that order.
        violations: The broken promises.
        schedule: The choices made, one for each time that several tasks could run; give it to
            `simulate` to repeat the run. Trailing zeros are left out.
        sizes: The number of tasks among which each choice was made.
        seed: The seed of everything random.
        seconds: Virtual time at the end.
        steps: Number of steps of tasks.
        unprovoked: The exits of children that failed by themselves: neither the kit nor a
            `Behaviour` made them fail.
        allow_crashes: Whether such exits are allowed.
        drift: By how much each deadline of a body was late; give it to `simulate` to repeat the
            run. Trailing zeros are left out.
        faults: The faults that were injected.
        late: The deadlines that were late.
        history: The events of all trees, and the calls of `note`, in the order of time.
    """

    result: T_co | None
    error: BaseException | None
    trees: tuple[TreeTrace, ...]
    violations: tuple[Violation, ...]
    schedule: tuple[int, ...]
    sizes: tuple[int, ...] = attrs.field(repr=False)
    seed: int | None
    seconds: float
    steps: int
    unprovoked: tuple[ChildExited, ...] = ()
    allow_crashes: bool = True
    drift: tuple[int, ...] = ()
    faults: tuple[Fault, ...] = ()
    late: tuple[Lateness, ...] = attrs.field(default=(), repr=False)
    history: tuple[Event | Note, ...] = attrs.field(default=(), repr=False)

    @property
    def events(self) -> tuple[Event, ...]:
        """The events of all trees, one tree after the other."""
        return tuple(event for tree in self.trees for event in tree.events)

    @property
    def ok(self) -> bool:
        """True if the scenario raised nothing, and nothing is wrong with its trees."""
        if self.unprovoked and not self.allow_crashes:
            return False
        return self.error is None and not self.violations

    @property
    def verdicts(self) -> dict[str, str]:
        """For each invariant ``"holds"``, or the text of its violation."""
        found = {violation.invariant: violation.text for violation in reversed(self.violations)}
        return {name: found.get(name, "holds") for name in INVARIANTS}

    @property
    def replay(self) -> str:
        """The arguments of `simulate` that repeat this run."""
        arguments = [f"schedule={Picks(self.schedule)}"]
        if self.seed is not None:
            arguments.append(f"seed={self.seed}")
        if self.drift:
            arguments.append(f"drift={Picks(self.drift)}")
        if len(self.faults) == 1:
            arguments.insert(0, f"fault={str(self.faults[0])!r}")
        elif self.faults:
            arguments.insert(0, f"fault={list(map(str, self.faults))!r}")
        return ", ".join(arguments)

    @property
    def notes(self) -> tuple[Note, ...]:
        """The calls of `note` in the run."""
        return tuple(one for one in self.history if isinstance(one, Note))

    @property
    def digest(self) -> str:
        """A hash of everything in the run: equal for two runs if and only if they are the same."""
        error = None if self.error is None else (type(self.error).__name__, str(self.error))
        whole = (self.events, self.sizes, self.schedule, self.drift, self.seconds, error)
        return sha256(repr(whole).encode()).hexdigest()[:16]

    @property
    def signature(self) -> tuple[str, ...]:
        """The kind of failure, without circumstances: two runs with the same one fail alike."""
        if self.error is not None:
            return (type(self.error).__name__,)
        if self.violations:
            return tuple(sorted({violation.invariant for violation in self.violations}))
        if self.unprovoked and not self.allow_crashes:
            return (UnprovokedFailure.__name__, *sorted({e.path for e in self.unprovoked}))
        return ()

    def check(self, *, allow_crashes: bool | None = None) -> None:
        """Raise if anything is wrong with the run.

        Args:
            allow_crashes: Whether children may fail by themselves. Default: as the run was made,
                and there `True`.

        Raises:
            InvariantViolated: A promise was broken.
            UnprovokedFailure: A child failed by itself, and that is not allowed.
            BaseException: The exception of the scenario, with a note on how to repeat the run.
        """
        if allow_crashes is None:
            allow_crashes = self.allow_crashes
        error = self.error
        if error is None:
            if self.violations:
                error = InvariantViolated(self.violations)
            elif self.unprovoked and not allow_crashes:
                error = UnprovokedFailure("\n".join(show_events(self.unprovoked)))
            else:
                return
        elif self.violations:
            error.add_note(str(InvariantViolated(self.violations)))
        note = f"to repeat this run: simulate(..., {self.replay})"
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
            for late in self.late[:_MOST_LATE]:
                error.add_note(f"late: {late}")
        error.lifecycle_run = (self.schedule, self.seed or 0, self.drift)  # type: ignore[attr-defined]
        raise error

    def render(self) -> str:
        """Show all events in the order of time, one line each, and the notes between them."""
        lines: list[str] = []
        for one in self.history:
            lines.extend([str(one)] if isinstance(one, Note) else show_events([one]))
        return "\n".join(lines)

    def __repr__(self) -> str:
        how = "ok" if self.ok else f"not ok: {', '.join(self.signature)}"
        return f"<Trace: {len(self.events)} events in {self.seconds:g} s, {how}; {self.replay}>"
