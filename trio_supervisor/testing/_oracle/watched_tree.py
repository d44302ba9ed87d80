"""One supervision tree while it runs: its events, its oracle, and its state after every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from trio_supervisor._events import events as ev
from trio_supervisor._events.fold import SnapshotBuilder, raw_of
from trio_supervisor.testing._oracle.heartbeats import overdue, untrue_reasons
from trio_supervisor.testing._oracle.oracle import Oracle
from trio_supervisor.testing._oracle.violation import Violation

if TYPE_CHECKING:
    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._runtime.shell import Shell
    from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

_MOST_CHILDREN: Final = 64  # of a tree whose state is compared after every step


@final
class WatchedTree:
    """One tree, its events so far, and the oracle that has judged them.

    Attributes:
        spec: The declaration of its root.
        events: All events since its beginning.
        added: The specs of children that were added at run time, by the number of the event.
        extended: Attempts that asked for time to start, each with the time until which.
        inside: Attempts that wait for their own end, as (run, path, number).
        unprovoked: Attempts that failed by themselves, as (run, path, number).
        leaves: The exceptions that bodies of ended attempts raised, by (run, path, number).
        oracle: Has judged the events up to the last `look`.
        is_judged: Whether events and deadlines are judged, and not only compared with the state.
    """

    def __init__(self, root: Shell, *, is_judged: bool = True, slack: float = 0.0) -> None:
        self.spec: SupervisorSpec = root.spec
        self.path = root.path
        self.events: list[ev.Event] = []
        self.added: dict[int, ChildSpec[Any]] = {}
        self.extended: dict[Attempt, float] = {}
        self.inside: set[tuple[int, str, int]] = set()
        self.unprovoked: set[tuple[int, str, int]] = set()
        self.leaves: dict[tuple[int, str, int], list[BaseException]] = {}
        self.oracle = Oracle(root.spec, added=self.added, inside=self.inside, slack=slack)
        self.is_judged = is_judged
        self.violations: list[Violation] = []
        self._root: Shell | None = root
        self._builder = SnapshotBuilder()
        self._folded = 0

    @property
    def root(self) -> Shell | None:
        """The root of the tree, until `release`."""
        return self._root

    @property
    def is_over(self) -> bool:
        """True when the tree has ended and all its events were judged."""
        root = self._root
        return self._folded == len(self.events) and (root is None or root.finished.is_set())

    def release(self) -> None:
        """Let go of the tree itself, not of its events."""
        self._root = None
        self.extended.clear()

    def take(self, event: ev.Event) -> None:
        """Keep a new event; this happens in the middle of the supervisor's work."""
        self.events.append(event)
        root = self._root
        if root is None or not self.is_judged:
            return
        if isinstance(event, ev.ChildAdded):
            spec = self._spec_of(root, event.path)
            if spec is not None:
                self.added[event.sequence] = spec
        elif isinstance(event, ev.ChildStopRequested):
            for text in untrue_reasons(self.oracle.tree, root, self.extended, event):
                self.fail("timeouts", text)

    def _spec_of(self, shell: Shell, path: str) -> ChildSpec[Any] | None:
        *above, name = path[len(shell.path) + 1 :].split("/")
        for step in above:
            nested = shell.slots[step].nested if step in shell.slots else None
            if nested is None:
                return None
            shell = nested
        child = shell.machine.children.get(name)
        return None if child is None else child.spec

    def look(self) -> None:
        """Judge the new events, and compare the state with what they give when folded."""
        if self._folded == len(self.events):
            return
        news = self.events[self._folded :]
        self._folded = len(self.events)
        for event in news:
            if self.is_judged:
                self.oracle.feed(event)
            self._builder.apply(raw_of(event))
        root = self._root
        if root is None or not root.slots:
            return
        folded = self._builder.freeze()
        if len(folded.children) <= _MOST_CHILDREN:
            state = root.snapshot()
            if folded != state:
                self.fail(
                    "fold_is_state",
                    f"the events, folded, give\n{folded.render()}\n"
                    f"and the state is\n{state.render()}",
                )

    def time_passes(self, now: float) -> None:
        """Check that every attempt with a deadline before ``now`` has been ended."""
        if self._root is not None and self.events and self.is_judged:
            for text in overdue(self.oracle.tree, self._root, self.extended, now):
                self.fail("timeouts", text)

    def fail(self, invariant: str, text: str) -> None:
        """Note a broken promise that events do not show."""
        if not self.events:
            raise AssertionError(f"{invariant}: {text}")
        if not any(found.invariant == invariant for found in self.violations):
            last = self.events[-1]
            self.violations.append(Violation(invariant, text, last, tuple(self.events[-3:])))

    def finish(self) -> None:
        """Check what should have happened by the end of the run."""
        self.look()
        if self.is_judged:
            self.oracle.finish()

    def unprovoked_exits(self) -> list[ev.ChildExited]:
        """Return the exits of attempts that failed by themselves."""
        return [
            event
            for event in self.events
            if isinstance(event, ev.ChildExited)
            and (event.run, event.path, event.attempt) in self.unprovoked
        ]

    def found(self) -> list[Violation]:
        """Return everything that was found so far."""
        return [*self.oracle.violations, *self.violations]
