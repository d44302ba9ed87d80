"""The oracle: the promises of a supervision tree as checks over the events that it recorded.

It keeps a naive picture of the tree (`_model`), from the declaration and the events alone, and asks
of each event whether it was allowed, and whenever time has passed whether something had to happen
that did not. It shares no code with the supervisor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

import attrs

from trio_supervisor._events import events as ev
from trio_supervisor.testing._errors import InvariantViolated
from trio_supervisor.testing._oracle import rules_exit as _rules_exit
from trio_supervisor.testing._oracle import rules_rest as _rules_rest
from trio_supervisor.testing._oracle import rules_run as _rules_run
from trio_supervisor.testing._oracle import rules_tree as _rules_tree
from trio_supervisor.testing._oracle.model import Kid, Node, kid_from

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from trio_supervisor._events.snapshot import SupervisorSnapshot
    from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

INVARIANTS: Final[dict[str, str]] = {
    "one_live_attempt": "a child has at most one live attempt; the next waits for its end",
    "nothing_left": "when a supervisor has finished, none of its children is alive",
    "start_order": "who starts finds ready what it requires, and settled who comes before it",
    "stop_order": "children stop in reverse order, except at the shutdown deadline",
    "radius": "nobody is touched but by an operator, a fault of its own, its group, or a shutdown",
    "stuck": "who waits can name whom for; nobody is kept down by somebody unrelated",
    "limits": "no window holds more restarts than allowed; the next one escalates or quarantines",
    "table": "what follows an exit is what was declared, decided exactly once",
    "backoff": "a restart waits for as long as its backoff says, and no longer",
    "stop_time": "a stop ends within its grace, or is cancelled, or is reported",
    "timeouts": "an attempt that takes too long is ended",
    "blame": "our stop is no failure of the child's, and what we did not stop was not stopped",
    "operators_wish": "what an operator holds down stays down; commands take effect at once",
    "shutdown": "a supervisor that stops starts nobody, stops everybody, and says why it stops",
    "auto_shutdown": "a supervisor ends because of its children exactly as it was declared",
    "events": "each attempt starts once and ends once; every event fits to those before it",
    "fold_is_state": "folding the events gives the state (checked only while a tree runs)",
    "answered": "a command is answered at once, and returns when it has taken effect (likewise)",
    "woken": "when a tree ends, whoever waits for it is told, and not cancelled (likewise)",
    "errors": "what a body raises is in its report, and in what the tree fails with (likewise)",
    "through": "outer cancellation and KeyboardInterrupt come out, at once in order (likewise)",
}

_MOST: Final = 20


@final
@attrs.frozen
class Violation:
    """A promise that was broken.

    Attributes:
        invariant: Its name, one of `INVARIANTS`.
        text: What is wrong.
        event: At which event that became visible.
        excerpt: The events that one has to look at, that one included.
    """

    invariant: str
    text: str
    event: ev.Event
    excerpt: tuple[ev.Event, ...]

    def render(self) -> str:
        """What is wrong, and the events that show it."""
        lines = [
            f"{self.invariant}: {self.text}",
            f"  promised: {INVARIANTS.get(self.invariant, '')}",
            *(f"  {line}" for line in show_events(self.excerpt)),
        ]
        return "\n".join(lines)


def show_events(events: Iterable[ev.Event]) -> Iterator[str]:
    """One line for each event."""
    common = len(attrs.fields(ev.Event))
    for event in events:
        fields = attrs.fields(type(event))[common:]
        values = (getattr(event, field.name) for field in fields)
        shown = [
            f"{field.name}={value!r}"
            for field, value in zip(fields, values, strict=True)
            if value not in ("", (), None)
        ]
        who = f"{event.path}#{event.attempt}" if event.attempt else event.path
        what = type(event).__name__
        yield f"#{event.sequence:<4} {event.time:<10.6g} {who:<20} {what} {' '.join(shown)}"


@final
class Oracle:
    """Judges the events of one tree as they come.

    Args:
        spec: Of the tree's root.
        base: The tree before the first event, if its beginning is cut off.
        added: The specs of children added at run time: by `Event.sequence` of their `ChildAdded`,
            or by a path with ``*`` for any name. What is not found here is judged without policy.
        slack: By how many seconds something may come late.
        inside: Attempts, as (path, number), that gave up their grace since they wait for their own
            end. Events do not tell of them: without this, anybody may have.

    Attributes:
        violations: What was found so far, each invariant once for each child.
    """

    def __init__(
        self,
        spec: SupervisorSpec,
        *,
        base: SupervisorSnapshot | None = None,
        added: Mapping[Any, ChildSpec[Any]] | None = None,
        slack: float = 0.0,
        inside: Container[tuple[str, int]] | None = None,
    ) -> None:
        self.spec = spec
        self.inside = inside
        self.slack = slack + 1e-6
        self.now = 0.0
        self.violations: list[Violation] = []
        self.root: Node | None = None
        self.nodes: dict[str, Node] = {}
        self.restless: dict[Kid, Node] = {}
        self.last: ev.Event | None = None
        self._added = {} if added is None else added
        self._known: set[tuple[str, str]] = set()
        self._blind = False
        if base is not None and base.path:
            self._recall(base, None, None)

    # ------------------------------------------------------------ taking in events

    def feed(self, event: ev.Event | ev.EventGap) -> None:
        """Judge the next event."""
        if self._blind or isinstance(event, ev.EventGap):
            self._blind = True  # what is missing could explain anything
            return
        if self.last is None:
            self.now = event.time
        elif event.sequence != self.last.sequence + 1:
            self.fail("events", f"event #{event.sequence} follows #{self.last.sequence}", event)
        if event.time > self.now:
            _rules_rest.at_rest(self, event.time)
        elif event.time < self.now:
            self.fail("events", "time goes back", event)
        self.now = event.time
        self.last = event
        self._dispatch(event)

    def finish(self) -> None:
        """There are no more events for now: what should have happened by now, has it?"""
        if not self._blind and self.last is not None:
            _rules_rest.at_rest(self, self.now, final=True)

    def _dispatch(self, event: ev.Event) -> None:
        if isinstance(event, ev.CommandHadNoEffect):
            return
        if isinstance(event, ev.CommandAccepted) and event.command == "shutdown":
            return  # of the whole tree; `SupervisorStopping` follows
        rule = _RULES.get(type(event))
        if type(event) in _OF_SUPERVISORS:
            if isinstance(event, ev.SupervisorStarted):
                _rules_tree.supervisor_started(self, event)
            elif (node := self._node(event)) is not None:
                assert rule is not None
                rule(self, node, event)
            return
        above, _, name = event.path.rpartition("/")
        node = self.nodes.get(above)
        if node is None:
            self.fail("events", f"{above} has not started", event)
            return
        if event.run != node.run:
            self.fail("events", f"{above} is run {node.run}, not {event.run}", event)
            return
        if isinstance(event, ev.ChildAdded):
            _rules_tree.child_added(self, node, event)
            return
        kid = node.kids.get(name)
        if kid is None:
            self.fail("events", f"{event.path} does not exist", event)
            return
        if rule is not None:
            rule(self, node, kid, event)
        kid.history.append(event)
        if node.dependent and type(event) in _CHANGES_OF_WISH:
            node.let_go()

    def _node(self, event: ev.Event) -> Node | None:
        node = self.nodes.get(event.path)
        if node is None:
            self.fail("events", f"{event.path} has not started", event)
        elif node.run != event.run:
            self.fail("events", f"{event.path} is run {node.run}, not {event.run}", event)
            return None
        return node

    # ------------------------------------------------------------ for the rules

    def fail(
        self, invariant: str, text: str, event: ev.Event | None, *about: Kid | ev.Event | None
    ) -> None:
        """Note a violation; ``about`` are the children and events that show it."""
        event = self.last if event is None else event
        assert event is not None
        if (invariant, event.path) in self._known or len(self.violations) >= _MOST:
            return
        self._known.add((invariant, event.path))
        found = {event.sequence: event}
        for one in about:
            if isinstance(one, Kid):
                found.update((past.sequence, past) for past in one.history)
            elif one is not None:
                found[one.sequence] = one
        excerpt = tuple(found[number] for number in sorted(found))
        self.violations.append(Violation(invariant, text, event, excerpt))

    def spec_of_added(self, event: ev.ChildAdded) -> ChildSpec[Any] | None:
        """What was declared for a child that was added at run time, if that is known."""
        if event.sequence in self._added:
            return self._added[event.sequence]
        parts = event.path.split("/")
        for pattern, spec in self._added.items():
            wanted = pattern.split("/") if isinstance(pattern, str) else []
            if len(wanted) == len(parts) and all(
                want in ("*", part) for want, part in zip(wanted, parts, strict=True)
            ):
                return spec
        return None

    def spec_at(self, path: str, above: Kid | None) -> SupervisorSpec | None:
        """What was declared for the supervisor at ``path``."""
        if above is not None:
            return None if above.spec is None else above.spec.supervisor
        return self.spec if path == self.spec.name or path.endswith(f"/{self.spec.name}") else None

    def drop(self, node: Node) -> None:
        """A supervisor is gone, with everything below it."""
        self.nodes.pop(node.path, None)
        for kid in node.kids.values():
            self.restless.pop(kid, None)
            if kid.node is not None:
                self.drop(kid.node)

    def _recall(self, shown: SupervisorSnapshot, above: Kid | None, over: Node | None) -> None:
        spec = self.spec_at(shown.path, above)
        node = Node(shown.path, shown.run, spec, above, over, known=False)
        states: dict[str, Any] = {"starting": "starting", "running": "running"}
        node.state = states.get(shown.state.value, shown.state.value)
        self.nodes[shown.path] = node
        if above is None:
            self.root = node
        else:
            above.node = node
        declared = {} if spec is None else {child.name: child for child in spec.children}
        for child in shown.children:
            kid = kid_from(child, declared.get(child.name), node.count, child.name not in declared)
            node.count += 1
            node.add(kid)
            self.restless[kid] = node
            if child.supervisor is not None:
                self._recall(child.supervisor, kid, node)


_OF_SUPERVISORS: Final = frozenset(
    {
        ev.SupervisorStarted,
        ev.SupervisorReady,
        ev.SupervisorIdle,
        ev.SupervisorStopping,
        ev.SupervisorFinished,
    }
)

# After these somebody may wait for one whom nobody brings back.
_CHANGES_OF_WISH: Final = frozenset({ev.CommandAccepted, ev.ChildExited, ev.ExitJudged})

_RULES: Final[dict[type[ev.Event], Callable[..., None]]] = {
    ev.SupervisorReady: _rules_tree.supervisor_ready,
    ev.SupervisorIdle: _rules_tree.supervisor_idle,
    ev.SupervisorStopping: _rules_tree.supervisor_stopping,
    ev.SupervisorFinished: _rules_tree.supervisor_finished,
    ev.CommandAccepted: _rules_tree.command_accepted,
    ev.ChildStarted: _rules_run.child_started,
    ev.ChildReady: _rules_run.child_ready,
    ev.ChildLostReadiness: _rules_run.child_lost_readiness,
    ev.ChildStopRequested: _rules_run.child_stop_requested,
    ev.ChildCancelled: _rules_run.child_cancelled,
    ev.ChildUnresponsive: _rules_run.child_unresponsive,
    ev.ChildExited: _rules_exit.child_exited,
    ev.ExitJudged: _rules_exit.exit_judged,
    ev.ChildBackingOff: _rules_rest.child_backing_off,
    ev.ChildWaiting: _rules_rest.child_waiting,
    ev.ChildDone: _rules_rest.child_rests,
    ev.ChildStopped: _rules_rest.child_rests,
    ev.ChildQuarantined: _rules_rest.child_rests,
    ev.ChildRemoved: _rules_rest.child_removed,
}


def find_violations(
    spec: SupervisorSpec,
    events: Iterable[ev.Event | ev.EventGap],
    *,
    base: SupervisorSnapshot | None = None,
    added: Mapping[Any, ChildSpec[Any]] | None = None,
    slack: float | None = None,
) -> tuple[Violation, ...]:
    """The same as `check_trace`, but returns what it finds."""
    listed = list(events)
    known = [event for event in listed if isinstance(event, ev.Event)]
    if base is None and known and known[0].sequence != 1:
        raise ValueError(
            f"the first event is #{known[0].sequence}: give base=journal.base, the tree before it"
        )
    if slack is None:
        simulated = all(event.wall == event.time for event in known)
        slack = 0.0 if simulated else 1.0
    oracle = Oracle(spec, base=base, added=added, slack=slack)
    for event in listed:
        oracle.feed(event)
    oracle.finish()
    return tuple(oracle.violations)


def check_trace(
    spec: SupervisorSpec,
    events: Iterable[ev.Event | ev.EventGap],
    *,
    base: SupervisorSnapshot | None = None,
    added: Mapping[Any, ChildSpec[Any]] | None = None,
    slack: float | None = None,
) -> None:
    """Check the events of a tree against every promise that can be seen in them.

    They may come from a simulated run, from a subscription or from the journal of a daemon in
    production. Where the beginning is cut off, what depends on it is given the benefit of the
    doubt.

    Args:
        spec: Of the whole tree.
        events: In order, without gaps; what follows an `EventGap` is not looked at.
        base: The tree before the first of them: `Journal.base`, or a subscription's snapshot. Not
            needed if the first one is the tree's first.
        added: Specs of children that were added at run time, as ``{"app/sessions/*": SESSION}`` or
            by the sequence number of their `ChildAdded`. Without, policy is not checked for them.
        slack: By how many seconds something may come late. By default 0 for simulated runs (whose
            wall time is virtual, too) and 1 for others.

    Raises:
        InvariantViolated: With all violations; the names are those of `INVARIANTS`.
        ValueError: The beginning is cut off and ``base`` was not given.

    Example:
        ``check_trace(APP, supervisor.journal.events, base=supervisor.journal.base)``
    """
    found = find_violations(spec, events, base=base, added=added, slack=slack)
    if found:
        raise InvariantViolated(found)
