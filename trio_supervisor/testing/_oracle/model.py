"""The oracle's model of one supervisor and of its children.

The model is built from the declaration and the events alone. It shares no code with the supervisor
but the types of specs and events: comparing could not find a mistake in shared code.

Terms:
    settled: Said of a child for which its successors need not wait.
    round: One coordinated group restart.
    excused: Said of a child that once waited for a requirement that is down: successors may go on.
    charge: One restart that counts in a window.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from trio_supervisor._events import events as ev
    from trio_supervisor._events.snapshot import ChildSnapshot
    from trio_supervisor._specs.policy import RestartLimit
    from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

Desired: TypeAlias = Literal["up", "done", "stopped", "quarantined", "removed"]
StopCause: TypeAlias = Literal["", "command", "group", "shutdown", "fault", "unknown"]

ENDED: frozenset[str] = frozenset({"done", "stopped", "quarantined", "removed"})


@final
class ChildModel:
    """The model of one child.

    Attributes:
        known: Whether all events of this child since its beginning were seen.
        unsure: Whether the desired state is a guess: the event that set it may have come before the
            first event that was seen.
        stop_unseen: Whether the stop request of the live attempt came before that.
        desired: The desired state.
        stop_cause: Why the live attempt has to end; empty if it need not.
        settled: Whether successors need not wait for this child.
        skips_predecessors: Whether a command restarted the child, so that it waits for none.
        excused: Whether successors may start without it, because it once waited for a requirement
            that is down.
        backing_off_until: The earliest time of the next start.
        delays: Until when failures delay this child, by the child that failed.
        unsure_delay: Whether one of ``delays`` is only known not to be exceeded, or came from a
            failure before the first event that was seen: then it may end early.
        held_by_operator: Whether a command took the child down.
        ends_with_tree: Whether its decision was to stop the whole tree.
        command_grace: The grace that a command gave the live attempt; `None` if none did.
        consecutive_failures: Failures without `reset_after` seconds of readiness between them.
        below: The model of the nested supervisor's present run, if the child is one.
    """

    def __init__(
        self,
        path: str,
        spec: ChildSpec[Any] | None,
        index: int,
        *,
        dynamic: bool = False,
        known: bool = True,
    ) -> None:
        self.path = path
        self.name = path.rpartition("/")[2]
        self.spec = spec
        self.index = index
        self.dynamic = dynamic
        self.known = known
        self.desired: Desired = "up"
        self.unsure = self.stop_unseen = False
        self.stop_cause: StopCause = ""
        self.live = self.ready = self.was_ready = False
        self.ever_ready = self.done_well = self.removed_by_hand = False
        self.settled = dynamic
        self.skips_predecessors = self.excused = False
        self.attempt = self.generation = 0
        self.started_at = self.ready_at = 0.0
        self.stop_requested_at: float | None = None
        self.stop_grace: float = inf
        self.stop_request_reason = ""
        self.cancelled_at: float | None = None
        self.reported = False
        self.backing_off_until = -inf
        self.delays: dict[ChildModel, float] = {}
        self.unsure_delay = False
        self.held_by_operator = self.ends_with_tree = False
        self.command_grace: float | None = None
        self.consecutive_failures = 0
        self.charges: deque[float] = deque()
        self.decision_due: ev.ChildExited | None = None
        self.below: SupervisorModel | None = None
        self.history: deque[ev.Event] = deque(maxlen=8)

    @property
    def is_met(self) -> bool:
        """True if dependents may start: ready and not being stopped, or done after success."""
        if self.live:
            return (
                self.ready and self.stop_cause in ("", "unknown") and self.stop_requested_at is None
            )
        return self.desired == "done" and self.done_well

    @property
    def is_certain(self) -> bool:
        """True if both the declaration and the desired state are known."""
        return self.has_policy and not self.unsure

    @property
    def has_policy(self) -> bool:
        """True if the declaration is known; a child added at run time may have none here."""
        return self.spec is not None

    @property
    def comes_back(self) -> bool:
        """True if an attempt is alive, or one will start without a command."""
        return self.live or self.desired == "up"

    def begin(self, event: ev.ChildStarted) -> None:
        """Note that a new attempt has started."""
        self.live = True
        self.unsure = self.stop_unseen = False
        self.desired = "up"
        self.ready = self.was_ready = False
        self.attempt = event.attempt
        self.started_at = event.time
        self.stop_cause = ""
        self.stop_requested_at = self.cancelled_at = None
        self.stop_grace = inf
        self.reported = False
        self.command_grace = None
        self.end_backoff()
        self.history.clear()

    def end_backoff(self) -> None:
        """Note that nothing delays this child any more."""
        self.backing_off_until = -inf
        self.delays = {}
        self.unsure_delay = False

    def forget_failures(self, now: float) -> None:
        """Reset the count of consecutive failures after `reset_after` seconds of readiness."""
        if (
            self.spec is not None
            and self.ready
            and now - self.ready_at >= self.spec.backoff.reset_after
        ):
            self.consecutive_failures = 0


@final
class SupervisorModel:
    """The model of one run of a supervisor.

    Attributes:
        known: Whether the run's first event was seen.
        rounds: For each group restart under way: the names of its members, and the members with
            an attempt that has not ended yet.
        must_stop: Why the stop has to begin at once, and the event that shows the reason.
        has_unknown: Whether a child without a known declaration has ever been in it.
        tree_must_stop: The decision of a child of a nested supervisor to stop the whole tree.
        unexplained: Exits by a cancel that no stop request explains so far.
        above: The child that this supervisor is, if it is nested; ``over`` is its supervisor.
    """

    def __init__(
        self,
        path: str,
        run: int,
        spec: SupervisorSpec | None,
        above: ChildModel | None,
        over: SupervisorModel | None,
        *,
        known: bool = True,
    ) -> None:
        self.path = path
        self.run = run
        self.spec = spec
        self.above = above
        self.over = over
        self.known = known
        self.children: dict[str, ChildModel] = {}
        self.dependent: list[ChildModel] = []  # declared children with requirements
        self.state: Literal["starting", "running", "stopping", "finished"] = "starting"
        self.stopping: ev.SupervisorStopping | None = None
        self.rounds: list[tuple[set[str], dict[str, ChildModel]]] = []
        self.charges: deque[float] = deque()
        self.must_stop: tuple[str, ev.Event] | None = None
        self.tree_must_stop: ev.Event | None = None
        self.unresponsive = 0
        self.has_unknown = False
        self.unexplained: list[tuple[ChildModel, ev.ChildExited]] = []
        self.idle_said = False
        self.count = 0

    # ------------------------------------------------------------ children

    def add(self, child: ChildModel) -> None:
        """Add a new child at the end."""
        self.children[child.name] = child
        self.has_unknown |= not child.has_policy
        if not child.dynamic and child.spec is not None and child.spec.requires:
            self.dependent.append(child)

    def drop(self, child: ChildModel) -> None:
        """Remove a child."""
        del self.children[child.name]
        if child in self.dependent:
            self.dependent.remove(child)

    @property
    def accepts(self) -> bool:
        """True while children may start."""
        return self.state in ("starting", "running")

    @property
    def is_graph(self) -> bool:
        """True if only requirements order the children."""
        return self.spec is not None and self.spec.ordering == "graph"

    @property
    def is_grouped(self) -> bool:
        """True if the strategy restarts other children together with a failed one."""
        return self.spec is not None and self.spec.strategy != "one_for_one"

    def statics(self) -> Iterator[ChildModel]:
        """The declared children."""
        return (child for child in self.children.values() if not child.dynamic)

    def requires(self, child: ChildModel) -> list[ChildModel]:
        """The direct requirements of ``child``."""
        names = () if child.spec is None else child.spec.requires
        return [self.children[name] for name in names if name in self.children]

    def dependents(self, child: ChildModel) -> set[str]:
        """The names of all that require ``child``, directly or not."""
        found: set[str] = set()
        grows = True
        while grows:
            grows = False
            for other in self.children.values():
                if other.name in found or other.spec is None:
                    continue
                if any(name == child.name or name in found for name in other.spec.requires):
                    found.add(other.name)
                    grows = True
        found.discard(child.name)
        return found

    # ------------------------------------------------------------ the order

    def group_of(self, child: ChildModel, told: Container[str] = ()) -> list[ChildModel]:
        """The children that a failure of ``child`` restarts, itself included.

        Children without a known declaration belong to the group if ``told`` names them.
        """
        if self.spec is None:
            others = [other for other in self.children.values() if other.name in told]
            return sorted([child, *others], key=lambda member: member.index)
        declared = self._declared_group_of(child)
        return [
            member
            for member in sorted(self.children.values(), key=lambda member: member.index)
            if member is child
            or (member in declared and (member.name in told or member.is_certain))
            # What it requires is not known, so it may be a dependent.
            or (member.spec is None and member.name in told)
        ]

    def _declared_group_of(self, child: ChildModel) -> list[ChildModel]:
        if self.spec is None or self.spec.strategy == "one_for_one":
            return [child]
        if self.spec.strategy == "one_for_all":
            return list(self.children.values())
        after = self.dependents(child)
        found = [child]
        for other in self.children.values():
            if other is child:
                continue
            later = not self.is_graph and not child.dynamic and other.index > child.index
            rest = not child.dynamic and other.dynamic
            if other.name in after or later or rest:
                found.append(other)
        return found

    def comes_after(self, child: ChildModel) -> list[ChildModel]:
        """The children that have to end before ``child`` may be stopped in order."""
        if child.dynamic or self.spec is None:
            return []
        if self.is_graph:
            after = self.dependents(child)
            return [
                other for other in self.children.values() if other.dynamic or other.name in after
            ]
        return [
            other for other in self.children.values() if other.dynamic or other.index > child.index
        ]

    def comes_before(self, child: ChildModel) -> list[ChildModel]:
        """The children that have to be settled before ``child`` may start in a round."""
        if self.spec is None or (self.is_graph and not child.dynamic):
            return []  # the ordering is not known, or only requirements count
        return [other for other in self.statics() if child.dynamic or other.index < child.index]

    def blocker(
        self, child: ChildModel, now: float = inf, *, surely: bool = False
    ) -> ChildModel | None:
        """Return a predecessor of ``child`` in its round that is not settled.

        An excused child may be waited for or not, because its requirement may come back in the same
        round. With ``surely`` excused children do not count.
        """
        if child.settled or child.skips_predecessors or (surely and child.excused):
            return None
        for other in self.comes_before(child):
            if self.blocks(other, now) and not (surely and other.excused):
                return other
        return None

    def blocks(self, child: ChildModel, now: float = inf) -> bool:
        """True if successors wait for ``child``: not if it waits for a requirement that is down.

        With ``now``, successors may also wait for it while it backs off.
        """
        return not child.settled and child.desired == "up" and not self.waits_in_vain(child, now)

    def waits_in_vain(self, child: ChildModel, now: float = inf) -> bool:
        """True if ``child`` waits, directly or indirectly, for a requirement that is down."""
        seen = {child.name}
        pending = [child]
        while pending:
            waiting = pending.pop()
            if waiting.live or waiting.backing_off_until > now:
                continue  # no requirement is needed now: it is alive, or still backs off
            for target in self.requires(waiting):
                if target.is_met:
                    continue
                if target.desired != "up":
                    return True
                if target.name not in seen:
                    seen.add(target.name)
                    pending.append(target)
        return False

    def end_delays(self, child: ChildModel, now: float) -> list[ChildModel]:
        """End the delay that failures of ``child`` impose; return the children that it delayed."""
        concerned = [other for other in self.children.values() if child in other.delays]
        for other in concerned:
            del other.delays[child]
            until = max(other.delays.values(), default=-inf)
            if until > now:
                other.backing_off_until = until
            else:
                other.end_backoff()
        return concerned

    def all_done(self) -> str:
        """The cause with which ``all_done`` ends the supervisor now; empty if it goes on.

        A child keeps it open if it is alive, if an operator has taken it down, or if it should be
        up and whatever it requires is met or keeps the supervisor open, too.
        """
        mode = None if self.spec is None else self.spec.auto_shutdown
        if mode != "all_done" or not self.count or not self.known:
            return ""
        children = self.children.values()
        if any(child.live or child.decision_due is not None for child in children):
            return ""
        hopeful = {
            child.name for child in children if child.held_by_operator or child.ends_with_tree
        }
        grows = True
        while grows:
            grows = False
            for child in children:
                if child.desired != "up" or child.name in hopeful:
                    continue
                if all(r.is_met or r.name in hopeful for r in self.requires(child)):
                    hopeful.add(child.name)
                    grows = True
        if hopeful:
            return ""
        quarantined = any(child.desired == "quarantined" for child in children)
        return "quarantined" if quarantined else "auto_shutdown"

    def excuse_waiting(self) -> None:
        """Mark the children that wait for a requirement that is down: successors may go on."""
        for child in self.dependent:
            if not (child.settled or child.live or child.excused) and self.waits_in_vain(child):
                child.excused = True

    def stopping_with(self, child: ChildModel) -> list[ChildModel]:
        """The members of rounds of ``child`` with an attempt that has not ended yet."""
        return [
            other
            for members, still_stopping in self.rounds
            if child.name in members or child.name in still_stopping
            for other in still_stopping.values()
        ]

    def attempt_ended(self, child: ChildModel) -> None:
        """Take ``child`` out of the stop set of every round: its attempt has ended."""
        for _, still_stopping in self.rounds:
            still_stopping.pop(child.name, None)
        self.rounds = [entry for entry in self.rounds if entry[1]]

    @property
    def deadline(self) -> float:
        """The time at which every attempt that is left has to be cancelled."""
        found = inf
        if self.stopping is not None and self.spec is not None:
            found = self.stopping.time + self.spec.shutdown_deadline
        if self.above is not None and self.above.stop_requested_at is not None:
            found = min(found, self.above.stop_requested_at + self.above.stop_grace)
            if self.over is not None:
                # Only now: until its turn to stop has come, a nested supervisor goes on as ever.
                found = min(found, self.over.deadline)
        return found

    @property
    def is_broken(self) -> bool:
        """True if the program cancelled the attempts of this supervisor or of one above it."""
        if self.stopping is not None and self.stopping.cause == "broken":
            return True
        return self.over is not None and self.over.is_broken

    @property
    def without_grace(self) -> bool:
        """True if no attempt gets any grace."""
        if self.stopping is not None and self.stopping.cause in ("cancelled", "fatal", "broken"):
            return True
        return self.above is not None and self.above.cancelled_at is not None


# ---------------------------------------------------------------- windows


def used(charges: deque[float], limit: RestartLimit, now: float) -> int:
    """Count the ``charges`` that lie in the window at ``now``."""
    return sum(1 for time in charges if time > now - limit.within)


# ---------------------------------------------------------------- from a snapshot

_DESIRED: dict[str, Desired] = {
    "done": "done",
    "stopped": "stopped",
    "quarantined": "quarantined",
    "removed": "removed",
}
_LIVE = ("starting", "ready", "not_ready", "stopping")


def child_from(
    shown: ChildSnapshot, spec: ChildSpec[Any] | None, index: int, dynamic: bool
) -> ChildModel:
    """Model a child without its past, which is not in the events."""
    child = ChildModel(shown.path, spec, index, dynamic=dynamic, known=False)
    state = shown.state.value
    child.desired = _DESIRED.get(state, "up")
    child.live = state in _LIVE
    child.unsure = True
    child.stop_unseen = state == "stopping"
    child.stop_cause = "unknown"
    child.attempt, child.generation = shown.attempt, shown.generation
    child.ready = state == "ready"
    child.was_ready = state in ("ready", "not_ready", "stopping")
    child.ever_ready = state in ("ready", "not_ready") or shown.restarts > 0 or shown.attempt > 1
    child.settled = True
    child.started_at = child.ready_at = shown.since
    if state == "stopping":
        child.stop_requested_at = shown.since
        child.reported = shown.unresponsive
    if shown.until is not None:
        child.backing_off_until = shown.until
        child.unsure_delay = True
    child.done_well = child.desired == "done"
    return child
