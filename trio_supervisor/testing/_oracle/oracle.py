"""The oracle: checks the promises of a supervision tree against the events that it recorded.

The oracle keeps a simple model of the tree (`TreeModel`), built from the declaration and the events
alone. Of each event it asks whether it was allowed, and whenever time has passed, whether a change
was due that did not come. It shares no code with the supervisor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, final

from trio_supervisor._events import events as ev
from trio_supervisor._events.snapshot import SupervisorSnapshot
from trio_supervisor._lazy import public
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec
from trio_supervisor.testing._oracle import rules_exit, rules_rest, rules_run, rules_tree
from trio_supervisor.testing._oracle.tree_model import TreeModel
from trio_supervisor.testing._oracle.violation import InvariantViolated, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from trio_supervisor.testing._oracle.model import SupervisorModel


@final
class Oracle:
    """Judge the events of one tree as they come.

    Args:
        spec: The spec of the tree's root.
        base: The tree before the first event, if its beginning is cut off.
        added: The specs of children added at run time: by `Event.sequence` of their `ChildAdded`,
            or by a path with ``*`` for any name. A child without a spec here is judged without
            policy.
        slack: Seconds by which anything may come late.
        inside: Attempts, as (run, path, number), that gave up their grace because they wait for
            their own end. Events do not show them: without this, any attempt may have.
    """

    def __init__(
        self,
        spec: SupervisorSpec,
        *,
        base: SupervisorSnapshot | None = None,
        added: Mapping[Any, ChildSpec[Any]] | None = None,
        slack: float = 0.0,
        inside: Container[tuple[int, str, int]] | None = None,
    ) -> None:
        self.tree = TreeModel(spec, base=base, added=added, slack=slack, inside=inside)
        self._blind = False

    @property
    def violations(self) -> list[Violation]:
        """The broken promises found so far."""
        return self.tree.violations

    def feed(self, event: ev.Event | ev.EventGap) -> None:
        """Judge the next event."""
        if self._blind or isinstance(event, ev.EventGap):
            self._blind = True  # what is missing could explain anything
            return
        tree = self.tree
        if tree.last is None:
            tree.now = event.time
        elif event.sequence != tree.last.sequence + 1:
            tree.fail("events", f"event #{event.sequence} follows #{tree.last.sequence}", event)
        if event.time > tree.now:
            rules_rest.at_rest(tree, event.time)
        elif event.time < tree.now:
            tree.fail("events", "time goes back", event)
        tree.now = event.time
        tree.last = event
        self._dispatch(event)

    def finish(self) -> None:
        """Check what should have happened by the time of the last event."""
        if not self._blind and self.tree.last is not None:
            rules_rest.at_rest(self.tree, self.tree.now, final=True)

    def _dispatch(self, event: ev.Event) -> None:
        if isinstance(event, ev.CommandHadNoEffect):
            return
        if isinstance(event, ev.CommandAccepted) and event.command == "shutdown":
            return  # of the whole tree; `SupervisorStopping` follows
        tree, rule = self.tree, _RULES.get(type(event))
        if type(event) in _OF_SUPERVISORS:
            if isinstance(event, ev.SupervisorStarted):
                rules_tree.supervisor_started(tree, event)
            elif (supervisor := self._run_of(event)) is not None:
                assert rule is not None
                rule(tree, supervisor, event)
            return
        above, _, name = event.path.rpartition("/")
        supervisor = tree.supervisors.get(above)
        if supervisor is None:
            tree.fail("events", f"{above} has not started", event)
            return
        if event.run != supervisor.run:
            tree.fail("events", f"{above} is run {supervisor.run}, not {event.run}", event)
            return
        if isinstance(event, ev.ChildAdded):
            rules_tree.child_added(tree, supervisor, event)
            return
        child = supervisor.children.get(name)
        if child is None:
            tree.fail("events", f"{event.path} does not exist", event)
            return
        if rule is not None:
            rule(tree, supervisor, child, event)
        child.history.append(event)
        if supervisor.dependent and type(event) in _CHANGES_OF_DESIRED_STATE:
            supervisor.excuse_waiting()

    def _run_of(self, event: ev.Event) -> SupervisorModel | None:
        tree = self.tree
        supervisor = tree.supervisors.get(event.path)
        if supervisor is None:
            tree.fail("events", f"{event.path} has not started", event)
        elif supervisor.run != event.run:
            tree.fail("events", f"{event.path} is run {supervisor.run}, not {event.run}", event)
            return None
        return supervisor


_OF_SUPERVISORS: Final = frozenset(
    {
        ev.SupervisorStarted,
        ev.SupervisorReady,
        ev.SupervisorIdle,
        ev.SupervisorStopping,
        ev.SupervisorFinished,
    }
)

# After these a child may wait for a requirement that does not come back without a command.
_CHANGES_OF_DESIRED_STATE: Final = frozenset({ev.CommandAccepted, ev.ChildExited, ev.ExitJudged})

_RULES: Final[dict[type[ev.Event], Callable[..., None]]] = {
    ev.SupervisorReady: rules_tree.supervisor_ready,
    ev.SupervisorIdle: rules_tree.supervisor_idle,
    ev.SupervisorStopping: rules_tree.supervisor_stopping,
    ev.SupervisorFinished: rules_tree.supervisor_finished,
    ev.CommandAccepted: rules_tree.command_accepted,
    ev.ChildStarted: rules_run.child_started,
    ev.ChildReady: rules_run.child_ready,
    ev.ChildLostReadiness: rules_run.child_lost_readiness,
    ev.ChildStopRequested: rules_run.child_stop_requested,
    ev.ChildCancelled: rules_run.child_cancelled,
    ev.ChildUnresponsive: rules_run.child_unresponsive,
    ev.ChildExited: rules_exit.child_exited,
    ev.ExitJudged: rules_exit.exit_judged,
    ev.ChildBackingOff: rules_rest.child_backing_off,
    ev.ChildWaiting: rules_rest.child_waiting,
    ev.ChildDone: rules_rest.child_rests,
    ev.ChildStopped: rules_rest.child_rests,
    ev.ChildQuarantined: rules_rest.child_rests,
    ev.ChildRemoved: rules_rest.child_removed,
}


@public
def find_violations(
    spec: SupervisorSpec,
    events: Iterable[ev.Event | ev.EventGap],
    *,
    base: SupervisorSnapshot | None = None,
    added: Mapping[Any, ChildSpec[Any]] | None = None,
    slack: float | None = None,
) -> tuple[Violation, ...]:
    """Return what `check_trace` would raise: every broken promise, in order of the events.

    The arguments are those of `check_trace`.

    Raises:
        ValueError: The beginning is cut off and ``base`` was not given.
    """
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


@public
def check_trace(
    spec: SupervisorSpec,
    events: Iterable[ev.Event | ev.EventGap],
    *,
    base: SupervisorSnapshot | None = None,
    added: Mapping[Any, ChildSpec[Any]] | None = None,
    slack: float | None = None,
) -> None:
    """Check the events of a tree against every promise that can be seen in them.

    The events may come from a simulated run, from a subscription or from the journal of a daemon in
    production. Where the beginning is cut off, what depends on it is given the benefit of the
    doubt.

    Args:
        spec: The spec of the whole tree.
        events: In order, without gaps; what follows an `EventGap` is not looked at.
        base: The tree before the first event: `Journal.base`, or a subscription's snapshot. Not
            needed if that event is the tree's first.
        added: Specs of children that were added at run time, as ``{"app/sessions/*": SESSION}`` or
            by the sequence number of their `ChildAdded`. Without, policy is not checked for them.
        slack: Seconds by which anything may come late. By default 0 for simulated runs (with
            virtual wall time, too) and 1 for others.

    Raises:
        InvariantViolated: With all violations; their names are those of `INVARIANTS`.
        ValueError: The beginning is cut off and ``base`` was not given.

    Example:
        ``check_trace(APP, supervisor.journal.events, base=supervisor.journal.base)``
    """
    found = find_violations(spec, events, base=base, added=added, slack=slack)
    if found:
        raise InvariantViolated(found)
