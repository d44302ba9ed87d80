"""Holds each answer of the brain against the oracle: nothing forbidden, and nothing left out."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, final

from brain.book import need
from trio_supervisor._brain import messages as o
from trio_supervisor._brain.lifecycle import TRANSITIONS
from trio_supervisor._events import events as ev
from trio_supervisor._events.fold import SnapshotBuilder
from trio_supervisor._events.snapshot import ChildSnapshot, ChildState, SupervisorSnapshot
from trio_supervisor._specs.policy import INHERIT, RestartLimit

if TYPE_CHECKING:
    from brain.kid import Kid
    from brain.oracle import Oracle
    from trio_supervisor._brain.machine import SupervisionMachine
    from trio_supervisor._events.fold import RawEvent


class Recorded(NamedTuple):
    """The order to record an event."""

    event: type[ev.Event]
    path: str
    attempt: int
    fields: tuple[Any, ...]


PATH = "top"
HEAD = len(PATH) + 1

# Every change of state that was ever seen, for those who want to know.
SEEN: set[tuple[ChildState, str, ChildState]] = set()

_CAUSES: dict[type[ev.Event], tuple[str, ChildState]] = {
    ev.ChildStarted: ("start", ChildState.STARTING),
    ev.ChildReady: ("ready", ChildState.READY),
    ev.ChildLostReadiness: ("not ready", ChildState.NOT_READY),
    ev.ChildStopRequested: ("stop", ChildState.STOPPING),
    ev.ChildExited: ("exit", ChildState.WAITING),
    ev.ChildWaiting: ("desired state", ChildState.WAITING),
    ev.ChildBackingOff: ("desired state", ChildState.BACKING_OFF),
    ev.ChildDone: ("desired state", ChildState.DONE),
    ev.ChildStopped: ("desired state", ChildState.STOPPED),
    ev.ChildQuarantined: ("desired state", ChildState.QUARANTINED),
    ev.ChildRemoved: ("desired state", ChildState.REMOVED),
}


def picture(machine: SupervisionMachine) -> SupervisorSnapshot:
    """The machine as a snapshot, drawn like the shell draws it."""
    children = tuple(
        ChildSnapshot(
            life.name,
            life.path,
            life.reported,
            life.attempt,
            life.reported_generation,
            life.since,
            life.reported_until,
            life.reported_reason,
            life.is_unresponsive,
            life.restarts,
            life.last_exit,
        )
        for life in machine.children.values()
    )
    return SupervisorSnapshot(
        machine.spec.name, PATH, 1, machine.state, machine.since, machine.reason, children
    )


@final
class Referee:
    """Follows one answer, order by order, with the oracle's account in hand.

    Args:
        oracle: Has heard the signal already.
        machine: Has answered already.
        now: The time of both.
        woken: Whether the deadlines until ``now`` were to be dealt with.
    """

    def __init__(
        self, oracle: Oracle, machine: SupervisionMachine, now: float, *, woken: bool
    ) -> None:
        self.oracle = oracle
        self.machine = machine
        self.now = now
        self.woken = woken
        self.starting: list[tuple[str, int, int]] = []
        self.asking: list[tuple[str, int, str]] = []
        self.cancelling: list[tuple[str, int, str]] = []
        self.unresponsive: list[RawEvent] = []
        self.finished: str | None = None
        self.stopping = False
        self.finish_told = False
        self.ends_by_itself = ""

    def check(self, before: SupervisorSnapshot | None, orders: list[o.Order]) -> SupervisorSnapshot:
        """Check a whole answer; ``before`` is the machine's picture before it.

        Raises:
            BrokenRuleError: The answer is wrong.
        """
        raws: list[RawEvent] = []
        self._settle_requirement_down()
        for order in orders:
            if isinstance(order, tuple):
                event, path, attempt, fields = order
                raws.append((event, 0, self.now, 0.0, 1, path, attempt, fields))
                self._event(Recorded(*order))
            else:
                raws += self._order(order)
        self._end()
        return self._fold(before, raws)

    # ------------------------------------------------------------ one after the other

    def _event(self, order: Recorded) -> None:
        rule = _RULES.get(order.event)
        if rule is not None:
            rule(self, order)
            return
        kid = self._kid(order)
        need(order.event in _CAUSES, "an event that nobody knows", order)
        need(not kid.live, "said of a live child", order)

    def _kid(self, order: Recorded) -> Kid:
        kid = self.oracle.kids.get(order.path[HEAD:])
        need(kid is not None, "an event about nobody", order)
        assert kid is not None
        need(order.attempt == kid.attempt or order.event is ev.ChildStarted, "attempt", order)
        return kid

    def _on_supervisor_started(self, order: Recorded) -> None:
        need(order.fields == (tuple(self.oracle.kids),), "who was declared", order)

    def _on_added(self, order: Recorded) -> None:
        kid = self._kid(order)
        need(self.oracle.wants.added == kid.name, "added", order)
        self.oracle.wants.added = None

    def _on_started(self, order: Recorded) -> None:
        kid, oracle = self._kid(order), self.oracle
        need(not kid.live, "I1 a second attempt", order)
        if oracle.why_not(kid):
            self._settle_requirement_down()
        need(not oracle.why_not(kid), "I3 I4 I6 it must not start", order, oracle.why_not(kid))
        need(oracle.wants.exit is None, "started before the exit was told", order)
        kid.begin(self.now)
        need(order.attempt == kid.attempt, "the number of the attempt", order)
        need(order.fields == (kid.generation,), "the generation", order)
        self.starting.append((kid.name, kid.attempt, kid.generation))

    def _on_ready(self, order: Recorded) -> None:
        kid, oracle = self._kid(order), self.oracle
        if oracle.wants.ready == kid.name:
            oracle.wants.ready = None
        else:
            immediate = not kid.spec.is_explicit and not kid.was_ready
            need(immediate, "nobody said that it is ready", order)
        need(kid.live and kid.stage == 0 and not kid.ready, "not the moment to be ready", order)
        need(order.fields == (self.now - kid.started_at,), "seconds", order)
        kid.become_ready(self.now)
        if kid.stop_cause is None:
            oracle.settle(kid.name)

    def _on_not_ready(self, order: Recorded) -> None:
        kid, oracle = self._kid(order), self.oracle
        need(oracle.wants.lost == kid.name, "nobody said that it is not ready", order)
        oracle.wants.lost = None
        oracle.lost_readiness(kid, self.now)

    def _on_stop_requested(self, order: Recorded) -> None:
        kid, oracle = self._kid(order), self.oracle
        reason, grace = order.fields
        need(kid.live and kid.stage == 0, "asked twice, or nobody there", order)
        need(kid.stop_cause is not None, "asked, and nobody wanted that", order)
        if not self._cut_short:
            why = oracle.why_not_stop(kid)
            need(not why, "I3 stopped before", why, order)
        # What the deadline cuts off is told the grace that it would have had.
        dropped = oracle.dropped if self._cut_short else oracle.without_grace
        without_grace = dropped or kid.without_grace
        need(grace == (0.0 if without_grace else kid.grace), "grace", order)
        need(reason or kid.stop_cause == "desired state", "no reason", order)
        if kid.stop_cause == "fault":
            assert kid.fault is not None
            need(reason == kid.fault.describe(), "which fault", order)
        kid.stage = 1
        kid.step_due = self.now + grace
        self.asking.append((kid.name, kid.attempt, reason))

    @property
    def _cut_short(self) -> bool:
        oracle = self.oracle
        return self.woken and oracle.phase == "stopping" and oracle.deadline <= self.now

    def _on_cancelled(self, order: Recorded) -> None:
        kid, oracle = self._kid(order), self.oracle
        need(kid.live and kid.stage == 1, "cancelled without being asked", order)
        due = kid.step_due <= self.now  # also at once, if the grace is 0
        need(due or oracle.without_grace or kid.without_grace, "I7 cancelled too early", order)
        kid.stage = 2
        kid.step_due = self.now + oracle.spec.report_after
        self.cancelling.append((kid.name, kid.attempt, order.fields[0]))

    def _on_exited(self, order: Recorded) -> None:
        kid, oracle = self._kid(order), self.oracle
        need(oracle.wants.exit == (kid.name, order.attempt), "I9 nobody exited", order)
        oracle.wants.exit = None

    def _on_judged(self, order: Recorded) -> None:
        kid, oracle = self._kid(order), self.oracle
        action, source, delay, used, limit, within, also, _ = order.fields
        wants = oracle.wants.verdict
        need(wants is not None, "I6 nobody had to judge", order)
        assert wants is not None
        need((action, source, kid.name) == wants[:3], "I6 the verdict", order, wants)
        oracle.wants.verdict = None
        if action != "restart":
            return
        need(delay == wants[3], "delay", order, wants)
        need(frozenset(also) == wants[4] and len(also) == len(wants[4]), "also", order, wants)
        own = kid.spec.restart_limit
        own = oracle.spec.child_restart_limit if own is INHERIT else own
        asked = own if isinstance(own, RestartLimit) else oracle.spec.restart_limit
        times = kid.times if isinstance(own, RestartLimit) else oracle.times
        if asked is None:
            need((used, limit) == (0, None), "no limit", order)
        else:
            truth = (len(times), asked.max_restarts, asked.within)
            need((used, limit, within) == truth, "limit", order, truth)
            need(used <= asked.max_restarts, "I5", order)

    def _on_accepted(self, order: Recorded) -> None:
        kid, wants = self._kid(order), self.oracle.wants
        need(wants.accept == (order.fields[0], kid.name), "I11 which command", order)
        wants.accept = None

    def _on_supervisor_ready(self, order: Recorded) -> None:
        oracle = self.oracle
        need(oracle.phase == "starting", "ready twice", order)
        self._settle_requirement_down()
        late = [
            kid.name
            for kid in oracle.kids.values()
            if not (kid.dynamic or kid.ever_ready)
            and kid.desired == "up"
            and oracle.unsettled(kid.name)
        ]
        for name in late:
            need(oracle.kids[name].let_go, "not all have been ready", name)
            oracle.settle(name)
        oracle.phase = "running"

    def _on_idle(self, order: Recorded) -> None:
        need(self.oracle.wants.idle, "not idle", order)
        self.oracle.wants.idle = False

    def _on_stopping(self, order: Recorded) -> None:
        wants = self.oracle.wants
        if order.fields[0] in ("auto_shutdown", "quarantined") and wants.stop is None:
            need(self.oracle.all_done() == order.fields[0], "not all are done", order)
            self.oracle.close(order.fields[0], self.now)
        need(order.fields[0] == wants.stop, "stopping", order, wants.stop)

    def _on_finished(self, order: Recorded) -> None:
        need(self.oracle.phase == "stopping" and not self.finished, "I2 finished", order)
        need(not any(kid.live for kid in self.oracle.kids.values()), "I2 somebody is alive", order)
        self.finished = order.fields[0]
        need(self.finished == self.oracle.outcome, "the first cause stands", order)
        self.oracle.phase = "finished"

    # ------------------------------------------------------------ orders that are no events

    def _order(self, order: o.Order) -> list[RawEvent]:
        oracle = self.oracle
        match order:
            case o.StartAttempt():
                need(self.starting, "started, but not told", order)
                fact = (order.name, order.attempt, order.generation)
                need(fact == self.starting.pop(0), "started, but told otherwise", order)
            case o.RequestStop(name=name, attempt=attempt, reason=reason):
                if not self.asking:
                    self._handed_on(order)
                    return []
                need((name, attempt, reason) == self.asking.pop(0), "asked, told otherwise", order)
                need(order.fault == oracle.kids[name].fault, "fault", order)
                need(
                    order.deadline == oracle.deadline,
                    "the shutdown deadline",
                    order,
                    oracle.deadline,
                )
                oracle.kids[name].heard_of = order.deadline
                if isinstance(order, o.StopAtOnce):
                    self._cancelled((name, attempt, reason), order)
            case o.CancelAttempt(name=name, attempt=attempt, reason=reason):
                self._cancelled((name, attempt, reason), order)
            case o.ReportUnresponsive(name=name, attempt=attempt, seconds=seconds):
                kid = oracle.kids[name]
                need(kid.live and kid.attempt == attempt and kid.stage == 2, "unresponsive", order)
                need(self.woken and kid.step_due <= self.now, "unresponsive too early", order)
                need(seconds == oracle.spec.report_after, "seconds", order)
                kid.stage, kid.step_due = 3, inf
                path = f"{PATH}/{name}"
                fields = (seconds, ())
                return [(ev.ChildUnresponsive, 0, self.now, 0.0, 1, path, attempt, fields)]
            case o.JudgedLater(names=names):
                need(sorted(names) == sorted(oracle.wants.later), "judged later", order)
                oracle.wants.later = []
            case o.StopTree():
                need(oracle.wants.stop_tree, "stops the tree")
                oracle.wants.stop_tree = False
            case o.FailStart(name=name):
                need(oracle.wants.fail_start == name, "whose start has failed", order)
                oracle.wants.fail_start = None
            case o.Refuse(error=error):
                need(type(error) is oracle.wants.refuse, "refused", error, oracle.wants.refuse)
                oracle.wants.refuse = None
            case o.Stopping(outcome=outcome):
                if self.oracle.wants.stop is None:  # the event follows, and is checked
                    self.stopping = True
                    self.ends_by_itself = outcome.kind.value
                    return []
                need(outcome.kind.value == oracle.wants.stop, "why it stops", order)
                self.stopping = True
            case o.Finish(outcome=outcome):
                need(self.finished == outcome.kind.value, "finish", order)
                need(not self.finish_told, "finished twice", order)
                self.finish_told = True
        return []

    def _cancelled(self, fact: tuple[str, int, str], order: o.Order) -> None:
        need(self.cancelling, "cancelled, but not told", order)
        need(fact == self.cancelling.pop(0), "cancelled, told otherwise", order)

    def _handed_on(self, order: o.RequestStop) -> None:
        """A nested supervisor that was asked before has to hear of an earlier deadline."""
        need(not isinstance(order, o.StopAtOnce), "asked twice", order)
        kid = self.oracle.kids[order.name]
        need(kid.spec.supervisor is not None, "asked, but not told", order)
        need(kid.stage > 0 and kid.attempt == order.attempt, "asked, but not told", order)
        need(order.deadline == self.oracle.deadline < inf, "the shutdown deadline", order)
        kid.heard_of = order.deadline

    # ------------------------------------------------------------ when nobody moves any more

    def _end(self) -> None:
        oracle, machine, now = self.oracle, self.machine, self.now
        if oracle.wants.stop:
            need(self.stopping, "nobody was told that it stops")
            oracle.wants.stop = None
        leftovers = oracle.wants.leftovers()
        need(not leftovers, "left out", leftovers)
        pending = self.starting + self.asking + self.cancelling
        need(not pending, "told, but not done", pending)
        need((self.finished is not None) == self.finish_told, "finish")
        for kid in [
            kid for kid in oracle.kids.values() if kid.desired == "removed" and not kid.live
        ]:
            del oracle.kids[kid.name]
        self._settle_requirement_down()
        if oracle.rounds:
            oracle.tidy()
        self._nobody_is_stuck()
        need(not machine.todo and not machine.outbox.orders, "left lying about")
        need(list(machine.children) == list(oracle.kids), "who is there", list(machine.children))
        live = sum(kid.live for kid in oracle.kids.values())
        need(machine.live == live, "how many live", machine.live, live)
        need(machine.state == oracle.phase, "phase", machine.state, oracle.phase)
        if oracle.phase == "finished":
            return
        due = min([kid.due for kid in oracle.kids.values()], default=inf)
        if oracle.phase == "stopping" and oracle.deadline > now:
            due = min(due, oracle.deadline)
        need(machine.next_deadline <= due, "I7 it would oversleep", machine.next_deadline, due)
        at_once = oracle.spec.report_after == 0  # then it may take one more wake of this instant
        need(not self.woken or at_once or machine.next_deadline > now, "never goes to sleep")

    def _settle_requirement_down(self) -> None:
        """Who has its turn, and waits for a child that is down, keeps nobody waiting."""
        oracle = self.oracle
        for kid in oracle.kids.values():
            if kid.spec.requires and oracle.unsettled(kid.name):  # noqa: SIM102
                if oracle.waits_for_requirement_down(kid):
                    kid.let_go = True
                    excused = not all(why.startswith("requires") for why in oracle.may_wait(kid))
                    known = any(
                        oracle.requirement_is_down(name, sure=True) for name in kid.spec.requires
                    )
                    if known and not excused:
                        oracle.settle(kid.name)

    def _nobody_is_stuck(self) -> None:
        oracle, machine = self.oracle, self.machine
        if oracle.phase == "finished":
            return
        for kid in oracle.kids.values():
            if not kid.live:
                if kid.desired != "up" or kid.backoff_until is not None:
                    continue
                why = oracle.may_wait(kid)
                need(why, "STUCK: nothing keeps it from starting", kid.name)
                names = machine.ordering.waits_for(machine.children[kid.name])
                need(names, "waits, and does not say for whom", kid.name, why)
                need(all(name in oracle.kids for name in names), "waits for a ghost", names)
            elif kid.stage == 0 and kid.stop_cause is not None:
                need(
                    oracle.may_wait_to_stop(kid), "STUCK: nothing keeps it from stopping", kid.name
                )
            elif kid.stage == 1:
                need(kid.grace > 0, "I7 grace=0, and not cancelled at once", kid.name)
                need(not oracle.without_grace, "I13 no grace any more, and not cancelled", kid.name)
                need(
                    not kid.without_grace,
                    "a child that waits for its own end has no grace",
                    kid.name,
                )
                need(not self.woken or kid.step_due > self.now, "I7 the grace is over", kid.name)
            elif kid.stage == 2:
                told = kid.step_due > self.now or not oracle.spec.report_after
                need(not self.woken or told, "I7 unresponsive", kid.name)
            nested = kid.spec.supervisor is not None and kid.stage > 0
            need(
                not nested or kid.heard_of == oracle.deadline,
                "a nested supervisor is told the deadline",
                kid.name,
            )
            if self._cut_short:
                need(
                    not kid.live or kid.stage >= 2,
                    "no child outlives the shutdown deadline uncancelled",
                    kid.name,
                )
        need(not oracle.all_done(), "STUCK: all are done, and the supervisor goes on")
        live = any(kid.live for kid in oracle.kids.values())
        need(oracle.phase != "stopping" or live, "STUCK: nobody is alive, and not finished")
        declared = {kid.name for kid in oracle.kids.values() if not kid.dynamic}
        waiting = any(not declared.isdisjoint(start) for start, _, _ in oracle.rounds)
        need(oracle.phase != "starting" or waiting, "STUCK: all are settled, and not ready")

    def _fold(self, before: SupervisorSnapshot | None, raws: list[RawEvent]) -> SupervisorSnapshot:
        states = {} if before is None else {child.path: child.state for child in before.children}
        for raw in raws:
            path = raw[5]
            if raw[0] in _CAUSES:
                cause, state = _CAUSES[raw[0]]
                move = states.get(path, ChildState.WAITING), cause, state
                need(move in TRANSITIONS, "not in the table of moves", move)
                SEEN.add(move)
                states[path] = state
        after = picture(self.machine)
        folded = before
        if raws or before is None:
            old = SnapshotBuilder() if before is None else SnapshotBuilder.from_snapshot(before)
            old.extend(raws)
            folded = old.freeze()
        assert folded is not None
        need(folded == after, "I9 the fold is not the state", _difference(folded, after))
        for child in after.children:
            kid = self.oracle.kids[child.name]
            want = kid.backoff_until if kid.state == "backing_off" else None
            told = (child.state, child.until, child.attempt, child.generation, child.restarts)
            truth = (kid.state, want, kid.attempt, kid.reported_generation, kid.restarts)
            need(told == truth, "I9 the state is not the truth", child.name, told, truth)
            need(child.last_exit == kid.last_exit, "last exit", child.last_exit, kid.last_exit)
            if kid.desired in {"stopped", "quarantined"} and not kid.live and kid.reason:
                need(child.reason == kid.reason, "reason", child.reason, kid.reason)
            need(child.unresponsive == (kid.stage == 3), "unresponsive", child)
        return after


def _difference(one: SupervisorSnapshot, other: SupervisorSnapshot) -> list[Any]:
    found: list[Any] = [
        (a, b) for a, b in zip(one.children, other.children, strict=False) if a != b
    ]
    return found or [one, other]


_RULES: dict[type[ev.Event], Any] = {
    ev.SupervisorStarted: Referee._on_supervisor_started,
    ev.SupervisorReady: Referee._on_supervisor_ready,
    ev.SupervisorIdle: Referee._on_idle,
    ev.SupervisorStopping: Referee._on_stopping,
    ev.SupervisorFinished: Referee._on_finished,
    ev.CommandAccepted: Referee._on_accepted,
    ev.ChildAdded: Referee._on_added,
    ev.ChildStarted: Referee._on_started,
    ev.ChildReady: Referee._on_ready,
    ev.ChildLostReadiness: Referee._on_not_ready,
    ev.ChildStopRequested: Referee._on_stop_requested,
    ev.ChildCancelled: Referee._on_cancelled,
    ev.ChildExited: Referee._on_exited,
    ev.ExitJudged: Referee._on_judged,
}
