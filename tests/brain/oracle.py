"""What docs/design.md says of one supervisor, told a second time: slowly, and by itself.

Nothing of `trio_supervisor._brain` is used here but the plain data that goes in and comes out. The
oracle hears each signal before the orders that answer it are shown to it (see ``referee``), and
keeps its own account of what follows.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, final

from brain.book import TAKES_PART, Book, Wants
from trio_supervisor._brain import messages as o
from trio_supervisor._brain.vitals import LATE
from trio_supervisor._errors import (
    ChildAlreadyExists,
    ChildNotFound,
    CommandRefused,
    SpecError,
    SupervisorClosed,
    TooManyChildren,
)
from trio_supervisor._events.exits import TimedOut, Unhealthy
from trio_supervisor._specs import decisions as d
from trio_supervisor._specs import policy as p

if TYPE_CHECKING:
    from brain.kid import Kid


@final
class Oracle(Book):
    """An account of one supervisor, kept by the contract alone."""

    # ------------------------------------------------------------ what is heard

    def hear(self, signal: o.Signal, now: float) -> None:
        """Take in what happened, and what follows from it before anybody moves."""
        self.wants = Wants()
        match signal:
            case o.BecameReady(name=name, attempt=attempt):
                kid = self._running(name, attempt)
                if kid is not None and not kid.ready:
                    self.wants.ready = name
            case o.LostReadiness(name=name, attempt=attempt):
                kid = self._running(name, attempt)
                if kid is not None and kid.ready:
                    self.wants.lost = name
            case o.Heartbeat(name=name, attempt=attempt, at=at, busy_until=busy):
                kid = self._running(name, attempt)
                if kid is not None:
                    kid.heartbeat_at = max(kid.heartbeat_at, at)
                    kid.busy_until = busy
            case o.StartExtended(name=name, attempt=attempt, until=until):
                kid = self._running(name, attempt)
                if kid is not None and not kid.was_ready:
                    kid.start_due = max(kid.start_due, until)
            case o.GraceForfeited(name=name, attempt=attempt):
                kid = self._live(name, attempt)
                if kid is not None:
                    kid.without_grace = True
            case o.Exited():
                self._exited(signal, now)
            case o.Shutdown(grace=grace, deadline=deadline, kind=kind):
                self.close(
                    (kind or o.OutcomeKind.SHUTDOWN).value,
                    now,
                    without_grace=not grace,
                    deadline=deadline,
                )
            case o.AddChild():
                self._add(signal)
            case o.StopChild() | o.QuarantineChild() | o.RemoveChild() | o.RestartChild():
                self._command(signal, now)

    def hear_time(self, now: float, late: float) -> None:
        """The deadlines until ``now`` have passed."""
        self.wants = Wants()
        for kid in self.kids.values():
            if kid.backoff_until is not None and kid.backoff_until <= now:
                kid.delays = {}
        if self.phase == "stopping" and self.deadline <= now:
            if not self.cut_short:
                self.cut_short, self.dropped, self.without_grace = True, self.without_grace, True
            return
        for kid in self.kids.values():
            if kid.live and kid.stage == 0 and kid.stop_cause is None:
                fault = self._fault(kid, now)
                if fault is not None and late > LATE and kid.rounds < 3:
                    # It could not run meanwhile: one more round, three times at most in a row.
                    kid.rounds += 1
                    kid.round_until = now + max(late, 1.0)
                    self.wants.later.append(kid.name)
                    continue
                kid.fault = fault
                if fault is None and kid.round_until <= now:
                    kid.rounds = 0
                if kid.fault is not None:
                    kid.stop_cause = "fault"
                    kid.urgent = True

    def _fault(self, kid: Kid, now: float) -> TimedOut | Unhealthy | None:
        if kid.round_until > now:
            return None
        if kid.start_due <= now:
            return TimedOut("start", kid.start_due - kid.started_at)
        if kid.run_due <= now:
            return TimedOut("run", kid.spec.max_runtime)
        if kid.ready and kid.silent_at <= now:
            return Unhealthy(now - kid.heartbeat_at)
        return None

    def _live(self, name: str, attempt: int) -> Kid | None:
        kid = self.kids.get(name)
        return kid if kid is not None and kid.live and kid.attempt == attempt else None

    def _running(self, name: str, attempt: int) -> Kid | None:
        kid = self._live(name, attempt)
        return kid if kid is not None and kid.stage == 0 else None

    def lost_readiness(self, kid: Kid, now: float) -> None:
        """Its being ready has come to an end."""
        if now - kid.ready_at >= kid.spec.backoff.reset_after:
            kid.consecutive_failures = 0
        kid.rounds = 0
        kid.ready = False

    # ------------------------------------------------------------ commands

    def _add(self, signal: o.AddChild) -> None:
        spec, most = signal.spec, self.spec.max_children
        unknown = [name for name in spec.requires if name not in self.kids]
        if not self.accepts:
            self.wants.refuse = SupervisorClosed
        elif spec.name in self.kids:
            self.wants.refuse = ChildAlreadyExists
        elif most is not None and len(self.kids) >= most:
            self.wants.refuse = TooManyChildren
        elif unknown or any(self.kids[name].spec.restart == "temporary" for name in spec.requires):
            self.wants.refuse = SpecError
        elif any(self.kids[name].desired == "removed" for name in spec.requires):
            self.wants.refuse = CommandRefused
        else:
            self.wants.added = spec.name
            self.create_child(spec, signal.first_start, dynamic=True)

    def _command(
        self, signal: o.StopChild | o.QuarantineChild | o.RemoveChild | o.RestartChild, now: float
    ) -> None:
        kid = self.kids.get(signal.name)
        if kid is None:
            self.wants.refuse = ChildNotFound
        elif isinstance(signal, o.RestartChild):
            self._restart_by_hand(kid, signal.grace, now)
        elif isinstance(signal, o.RemoveChild):
            if kid.desired == "removed":
                self._limit_grace_only(kid, "remove", signal.grace, now)
                return
            if any(kid.name in other.spec.requires for other in self.kids.values()):
                self.wants.refuse = CommandRefused
                return
            self._hold_by_hand(kid, "remove", "removed", signal, now)
        elif isinstance(signal, o.StopChild):
            if kid.desired in TAKES_PART:
                self._hold_by_hand(kid, "stop", "stopped", signal, now)
            else:
                self._limit_grace_only(kid, "stop", signal.grace, now)
        elif kid.desired in {*TAKES_PART, "stopped"}:
            self._hold_by_hand(kid, "quarantine", "quarantined", signal, now)
        else:
            self._limit_grace_only(kid, "quarantine", signal.grace, now)

    def _hold_by_hand(
        self,
        kid: Kid,
        command: str,
        desired: str,
        signal: o.StopChild | o.QuarantineChild | o.RemoveChild,
        now: float,
    ) -> None:
        self.wants.accept = (command, kid.name)
        self._limit_grace(kid, signal.grace, now)
        self.take_down(kid, desired, signal.reason, now)
        kid.urgent = kid.live
        kid.held_by_operator = True

    def _limit_grace(self, kid: Kid, grace: float | None, now: float) -> bool:
        """A command gives the live attempt this grace; one that runs can only become shorter."""
        if grace is None or not kid.live:
            return False
        if kid.stage == 0 and (kid.command_grace is None or grace < kid.command_grace):
            kid.command_grace = grace
            return True
        if kid.stage == 1 and now + grace < kid.step_due:
            kid.step_due = now + grace
            return True
        return False

    def _limit_grace_only(self, kid: Kid, command: str, grace: float | None, now: float) -> None:
        if kid.stop_cause is not None and self._limit_grace(kid, grace, now):
            self.wants.accept = (command, kid.name)

    def take_down(self, kid: Kid, desired: str, reason: str, now: float) -> None:
        """It should be down from now on. A removal is never taken back."""
        if kid.desired != "removed":
            kid.desired = desired
            kid.reason = reason
        kid.delays = {}
        kid.pending = False
        # What its failure has asked for ends with it; other failures may ask for a delay, too.
        for other in self.kids.values():
            if (
                other.delays.pop(kid.name, None) is not None
                and max(other.delays.values(), default=now) <= now
            ):
                other.delays = {}
        self.settle(kid.name)
        if kid.live:
            kid.stop_cause = "desired state"

    def _restart_by_hand(self, kid: Kid, grace: float | None, now: float) -> None:
        if not self.accepts:
            self.wants.refuse = SupervisorClosed
            return
        if kid.desired == "removed":
            self.wants.refuse = CommandRefused
            return
        if kid.pending:
            self._limit_grace_only(kid, "restart", grace, now)
            return  # one is under way
        self.wants.accept = ("restart", kid.name)
        kid.desired, kid.reason, kid.done_by_success = "up", "", False
        self._limit_grace(kid, grace, now)
        kid.held_by_operator = False
        kid.delays = {}
        kid.times = ()
        kid.pending = True
        kid.let_go = False
        kid.generation += 1
        kid.consecutive_failures = 0
        if kid.live:
            kid.stop_cause = "desired state"
            kid.urgent = True
        if self.phase == "running":
            kid.skips_predecessors = self.unsettled(
                kid.name
            )  # a round of one; those after it go on waiting
        elif not kid.ever_ready and not kid.dynamic and not self.unsettled(kid.name):
            self.begin_round({kid.name} | self._starting(), set(), set())

    def _starting(self) -> set[str]:
        return {name for start, _, _ in self.rounds for name in start}

    # ------------------------------------------------------------ exits

    def _exited(self, signal: o.Exited, now: float) -> None:
        kid = self._live(signal.name, signal.attempt)
        if kid is None:
            return
        self.wants.exit = (kid.name, kid.attempt)
        judged = self.policy_will_decide(kid)
        if kid.ready:
            self.lost_readiness(kid, now)
        kid.is_gone(signal.detail)
        self.is_gone(kid.name)
        if signal.exit is None:
            self.close("fatal", now, without_grace=True)
        elif judged:
            self._judge(kid, signal, now)

    def policy_will_decide(self, kid: Kid) -> bool:
        """docs/design.md, What follows an exit: the desired state comes before policy."""
        return kid.desired == "up" and kid.stop_cause != "desired state" and self.accepts

    def is_first_start(self, kid: Kid) -> bool:
        """docs/design.md, First start: generation 0, never ready, and somebody to tell."""
        return not kid.ever_ready and not kid.generation and kid.first != o.FirstStart.ORDINARY

    def _judge(self, kid: Kid, signal: o.Exited, now: float) -> None:
        assert signal.exit is not None
        success = signal.exit.kind == "succeeded"
        if not success and self.is_first_start(kid):
            self._fail_first_start(kid, now)
            return
        decision = signal.decision
        source = "table" if decision is None else "decide"
        if decision is None:
            decision = _by_table(kid.spec.restart, success=success and not signal.decide_error)
        if isinstance(decision, d.Restart):
            self._restart(kid, now, decision.delay, source)
        elif isinstance(decision, d.Escalate):
            self.wants.verdict = ("escalate", source, kid.name)
            self.close("escalated", now)
        elif isinstance(decision, d.ShutdownTree):
            self.wants.verdict = ("shutdown", source, kid.name)
            if self.nested:
                self.wants.stop_tree = True
                self.take_down(
                    kid, "shutdown", decision.reason or f"top/{kid.name} asked for it", now
                )
            else:
                self.close("shutdown", now)
        elif isinstance(decision, d.Quarantine):
            self.wants.verdict = ("quarantine", source, kid.name)
            self.take_down(kid, "quarantined", decision.reason or signal.detail, now)
            self._came_to_rest(kid, now, counts=False)
        elif not isinstance(decision, d.DoNotRestart):
            raise NotImplementedError(f"{decision!r}: teach it to {__name__}")
        else:
            removed = kid.spec.restart == "temporary"
            self.wants.verdict = ("remove" if removed else "done", source, kid.name)
            kid.done_by_success = success
            self.take_down(kid, "removed" if removed else "done", "", now)
            self._came_to_rest(kid, now, counts=True)

    def _fail_first_start(self, kid: Kid, now: float) -> None:
        self.wants.verdict = ("start_failed", "first_start", kid.name)
        if kid.first == o.FirstStart.FAILS_TREE:
            self.close("start_failed", now)
            return
        self.wants.fail_start = kid.name
        needed = any(kid.name in other.spec.requires for other in self.kids.values())
        self.take_down(
            kid, "stopped" if needed else "removed", f"failed to start: {kid.last_exit}", now
        )

    def _restart(self, kid: Kid, now: float, delay: float | None, source: str) -> None:
        limit = kid.spec.restart_limit
        if limit is p.INHERIT:
            limit = self.spec.child_restart_limit
        if isinstance(limit, p.RestartLimit):
            kid.times = tuple(t for t in kid.times if t > now - limit.within)
            if len(kid.times) >= limit.max_restarts:
                self._at_limit(kid, now, quarantine=kid.spec.on_limit == "quarantine")
                return
            kid.times = (*kid.times, now)
        shared = self.spec.restart_limit
        if shared is not None:
            self.times = tuple(t for t in self.times if t > now - shared.within)
            if len(self.times) >= shared.max_restarts:
                self._at_limit(kid, now, quarantine=False)
                return
            self.times = (*self.times, now)
        if delay is None:
            delay = kid.spec.backoff.delay(kid.consecutive_failures, self.random)
        kid.consecutive_failures += 1
        kid.restarts += 1
        group = self.group_of(kid)
        members = [self.kids[name] for name in group if self.kids[name].desired in TAKES_PART]
        delays = {kid.name: now + delay}
        for member in members:
            for name, end in member.delays.items():
                if end > delays.get(name, now):
                    delays[name] = end
        until = max(delays.values())
        also = frozenset(k.name for k in members if k is not kid)
        self.wants.verdict = ("restart", source, kid.name, until - now, also)
        self._group_restart(kid, group, members, delays if until > now else {}, now)

    def _group_restart(
        self, kid: Kid, group: set[str], members: list[Kid], delays: dict[str, float], now: float
    ) -> None:
        reason = f"restarts with {kid.name}"
        start = set()
        for member in members:
            if member is not kid and member.live and member.spec.restart == "temporary":
                self.take_down(member, "removed", reason, now)
                continue
            start.add(member.name)
            member.desired = "up"
            member.delays = delays.copy()
            member.let_go = False
            if self.grouped:
                # It is policy's affair again, whatever had been asked for by hand.
                member.skips_predecessors = member.pending = False
        go = {name for name in group if self.kids[name].live}
        for name in go:
            self.kids[name].stop_cause = "desired state"
        if self.grouped:
            self.begin_round(start, go, group)

    def _at_limit(self, kid: Kid, now: float, *, quarantine: bool) -> None:
        self.wants.verdict = ("quarantine" if quarantine else "escalate", "limit", kid.name)
        if not quarantine:
            self.close("limit", now)
            return
        self.take_down(kid, "quarantined", "", now)
        self._came_to_rest(kid, now, counts=False)

    def _came_to_rest(self, kid: Kid, now: float, *, counts: bool) -> None:
        mode = self.spec.auto_shutdown
        others = [k for k in self.kids.values() if k is not kid]
        idle = not any(k.live or k.desired == "up" for k in self.kids.values())
        counts = counts and kid.spec.significant
        active = any(k.spec.significant and (k.live or k.desired == "up") for k in others)
        if (mode == "any_significant" and counts) or (
            mode == "all_significant" and counts and not active
        ):
            self.close("auto_shutdown", now)
        elif mode == "never" and idle and not kid.dynamic and not self.idle_reported:
            self.idle_reported = self.wants.idle = True

    def close(
        self, kind: str, now: float, *, without_grace: bool = False, deadline: float = inf
    ) -> None:
        """Everybody should be down; the first cause stands, the earliest deadline rules."""
        if self.accepts:
            self.phase = "stopping"
            self.wants.stop = self.outcome = kind
            self.deadline = min(now + self.spec.shutdown_deadline, deadline)
            self.without_grace = without_grace and self.deadline > now
            for kid in self.kids.values():
                self.take_down(
                    kid, "shutdown" if kid.desired == "up" else kid.desired, kid.reason, now
                )
            self.rounds = []
            everybody = set(self.kids)
            self.begin_round(set(), {kid.name for kid in self.kids.values() if kid.live}, everybody)
        elif self.phase == "stopping":
            self.deadline = min(self.deadline, deadline)
            if self.deadline > now:
                self.without_grace = self.without_grace or without_grace


def _by_table(restart: p.RestartPolicy, *, success: bool) -> d.RestartDecision:
    again = restart == "permanent" or (restart == "transient" and not success)
    return d.Restart() if again else d.DoNotRestart()
