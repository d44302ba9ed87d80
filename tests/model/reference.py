"""A second opinion: what docs/design.md says will happen, worked out slowly and step by step.

The model plays one supervisor without nested ones, whose children do what their scripts say, and
predicts the history of every child with its times. It is written to be read, and so it is slow: it
looks at everybody all the time, keeps no index of anything, and knows no deadline heap. It shares
nothing with the supervisor but the declarations.

Two things at exactly the same instant, of which neither causes the other, may come in any order. So
`tame` draws lifecycles in which that does not happen.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, final

from trio_supervisor._specs.policy import INHERIT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_supervisor import ChildSpec, RestartLimit, SupervisorSpec

    from .kit import Behaviour

History = list[tuple[float, str]]
_RESTS: Final = {
    "done": "ChildDone",
    "stopped": "ChildStopped",
    "shutdown": "ChildStopped",
    "quarantined": "ChildQuarantined",
}
_FAILURES: Final = ("failed", "crashed", "timed_out", "self_cancelled")


@final
class Kid:
    """One child."""

    def __init__(self, spec: ChildSpec[object], index: int) -> None:
        self.spec = spec
        self.name = spec.name
        self.body: Behaviour = spec.run  # type: ignore[assignment]
        self.index = index
        self.desired = "up"
        self.reported_state = "up"
        self.live = self.ready = self.was_ready = self.ever_ready = self.done_by_success = False
        self.asked = self.cancelled = self.reported = False
        self.stop_cause = ""  # "desired state" or "fault"
        self.fault = ""
        self.urgent = self.pending = self.skips_predecessors = self.requirement_down = False
        self.delays: dict[str, float] = {}  # until when, by the failure of which child
        self.held_by_operator = False
        self.consecutive_failures = self.generation = self.attempt = 0
        self.charges: list[float] = []
        self.started_at = self.ready_at = self.asked_at = self.cancelled_at = 0.0
        self.grace = 0.0
        self.dying: tuple[float, str] | None = None

    @property
    def met(self) -> bool:
        """Whether those who require it may start."""
        if self.live:
            return self.ready and not self.stop_cause
        return self.desired == "done" and self.done_by_success

    @property
    def declared_grace(self) -> float:
        """What is declared, or else what is due to a body that waits for a stop request."""
        if self.spec.grace is not None:
            return self.spec.grace
        waits = self.body.stop_takes < inf and self.attempt <= self.body.attempts
        return 5.0 if waits else 0.0

    @property
    def lingers(self) -> float:
        """How long its body takes to end once it is cancelled."""
        return self.body.cancel_takes if self.body.at_cancel == "shield" else 0.0

    def happenings(self, report_after: float) -> Iterator[tuple[float, str]]:
        """What comes next by itself, as far as it is known now."""
        if not self.live:
            if self.desired == "up" and self.delays:
                yield max(self.delays.values()), "release"
            return
        body, began = self.body, self.started_at
        if body.attempts < self.attempt:
            body = type(body)()
        if self.dying is not None:
            yield self.dying[0], f"exit {self.dying[1]}"
        elif self.cancelled:
            yield self.cancelled_at + self.lingers, f"exit {self.fault or 'aborted'}"
        else:
            if self.spec.is_explicit and not self.was_ready:
                yield began + body.ready_at, "ready"
            end = {"crash": "crashed", "fail": "failed", "cancel_self": "self_cancelled"}
            kind = end.get(body.how, "")
            kind = kind or self.fault or ("stopped" if self.asked else "succeeded")
            yield began + body.ends_at, f"exit {kind}"
            if self.asked:
                yield self.asked_at + body.stop_takes, f"exit {self.fault or 'stopped'}"
        if self.asked and not self.cancelled:
            yield self.asked_at + self.grace, "cancel"
        elif self.cancelled and not self.reported:
            yield self.cancelled_at + report_after, "report"
        elif not self.asked and not self.stop_cause:
            if self.spec.is_explicit and not self.was_ready:
                yield began + self.spec.start_timeout, "fault"
            yield began + self.spec.max_runtime, "fault"


@final
class Model:
    """One supervisor."""

    def __init__(self, spec: SupervisorSpec) -> None:
        self.spec = spec
        self.now = 0.0
        self.kids = {child.name: Kid(child, i) for i, child in enumerate(spec.children)}
        self.history: dict[str, History] = {name: [] for name in ("", *self.kids)}
        self.grouped = spec.strategy != "one_for_one"
        self.sequence = spec.ordering == "sequence"
        self.phase = "starting"
        self.cause = ""
        self.deadline = inf
        self.without_grace = False
        self.start_set = set(self.kids)  # those in a round that have yet to start in it
        self.stop_set: set[str] = set()  # those that are being stopped in order
        self.rounds: list[tuple[set[str], set[str]]] = []  # who has yet to start, who to be gone
        self.charges: list[float] = []
        self.kids_were = bool(self.kids)
        self.idle_reported = False
        self.settle()

    def tell(self, name: str, what: str) -> None:
        """Something happens that the world is told."""
        self.history[name].append((self.now, what))

    @property
    def accepts(self) -> bool:
        """Whether anybody may still be started."""
        return self.phase in ("starting", "running")

    # ------------------------------------------------------------ time

    def run_until(self, time: float) -> None:
        """Let everything happen that happens before ``time``."""
        while True:
            due = [
                (when, kid.index, what, kid)
                for kid in self.kids.values()
                for when, what in kid.happenings(self.spec.report_after)
            ]
            when, _, what, who = min(due, default=(inf, 0, "", None), key=lambda each: each[:2])
            if self.phase == "stopping" and self.deadline < when:
                when, who = self.deadline, None
            if when >= time or when == inf:
                break
            self.now = max(self.now, when)
            if who is None:
                self._cut_short()
            else:
                self._happen(who, what)
            self.settle()
        self.now = max(self.now, time) if time < inf else self.now

    def _happen(self, kid: Kid, what: str) -> None:
        what, _, kind = what.partition(" ")
        if what == "ready":
            self._become_ready(kid)
        elif what == "release":
            kid.delays = {}
        elif what == "cancel":
            self._cancel(kid)
        elif what == "report":
            kid.reported = True
            self.tell(kid.name, "ChildUnresponsive")
        elif what == "fault":
            kid.stop_cause, kid.fault, kid.urgent = "fault", "timed_out", True
        elif kind == "self_cancelled" and kid.dying is None and kid.lingers:
            kid.dying = (self.now + kid.lingers, kind)
        else:
            self._exit(kid, kind)

    def _cut_short(self) -> None:
        self.deadline = inf
        for kid in self.kids.values():
            if kid.live and not kid.asked:
                self._ask(kid)
            if kid.live and not kid.cancelled:
                self._cancel(kid)
        self.without_grace = True

    # ------------------------------------------------------------ the rule

    def settle(self) -> None:
        """Move everybody as far as possible."""
        moved = True
        while moved:
            moved = False
            for kid in list(self.kids.values()):
                moved |= self._move(kid)
        if self.phase == "starting" and not self.start_set:
            self.phase = "running"
            self.tell("", "SupervisorReady")
            self.settle()
        if self.accepts and self.kids_were and (cause := self._all_done()):
            self.close(cause)
            self.settle()
        if self.phase == "stopping" and not any(kid.live for kid in self.kids.values()):
            self.phase = "finished"
            self.tell("", f"SupervisorFinished {self.cause}")

    def _move(self, kid: Kid) -> bool:
        if kid.live:
            if kid.stop_cause and not kid.asked and (kid.urgent or not self._stops_before(kid)):
                self._ask(kid)
                return True
            return False
        if kid.desired == "up":
            kid.reported_state = "up"
            if self.accepts and not kid.delays and self._may_start(kid):
                self._start(kid)
                return True
            return False
        if kid.desired == "removed":
            self.tell(kid.name, "ChildRemoved")
            del self.kids[kid.name]
            return True
        if kid.reported_state != kid.desired:
            kid.reported_state = kid.desired
            self.tell(kid.name, _RESTS[kid.desired])
        return False

    def _all_done(self) -> str:
        """Why ``all_done`` ends the supervisor now, if it does.

        Cross out, again and again, each child that cannot come back: nothing may be left.
        """
        left = dict(self.kids)
        if self.spec.auto_shutdown != "all_done" or any(kid.live for kid in left.values()):
            return ""
        while True:
            out = [
                name
                for name, kid in left.items()
                if not kid.held_by_operator
                and (
                    kid.desired != "up"
                    or any(not (self.kids[r].met or r in left) for r in kid.spec.requires)
                )
            ]
            if not out:
                break
            for name in out:
                del left[name]
        if left:
            return ""
        given_up = any(kid.desired == "quarantined" for kid in self.kids.values())
        return "quarantined" if given_up else "auto_shutdown"

    def _end_delays(self, kid: Kid) -> None:
        for other in self.kids.values():
            asked = other.delays.pop(kid.name, None) is not None
            if asked and max(other.delays.values(), default=self.now) <= self.now:
                other.delays = {}

    def _requirers(self, kid: Kid) -> set[str]:
        found = {kid.name}
        for _ in self.kids:
            found |= {k.name for k in self.kids.values() if found & set(k.spec.requires)}
        return found - {kid.name}

    def _after(self, kid: Kid) -> set[str]:
        if self.sequence:
            return {other.name for other in self.kids.values() if other.index > kid.index}
        return self._requirers(kid)

    def _stops_before(self, kid: Kid) -> set[str]:
        return self._after(kid) & self.stop_set

    def _may_start(self, kid: Kid) -> bool:
        in_start_set = kid.name in self.start_set
        before = {name for name in self.start_set if self.kids[name].index < kid.index}
        if in_start_set and not kid.skips_predecessors and self.sequence and before:
            return False
        # A child that was restarted by command is in no round, and waits for none.
        if self.spec.strategy == "one_for_all" and self.stop_set and in_start_set:
            return False
        if any(kid.name in starts for starts, _ in self.rounds):
            return False
        unmet = [self.kids[name] for name in kid.spec.requires if not self.kids[name].met]
        # Who waits for one that nobody brings back is let go by those behind it.
        kid.requirement_down = any(
            target.desired != "up" or target.requirement_down for target in unmet
        )
        if kid.requirement_down:
            self._leave_start_set(kid)
        return not unmet

    def _leave_start_set(self, kid: Kid) -> None:
        self.start_set.discard(kid.name)
        for starts, _ in self.rounds:
            starts.discard(kid.name)
        kid.skips_predecessors = False

    def _start(self, kid: Kid) -> None:
        kid.live, kid.ready, kid.was_ready = True, False, False
        kid.asked = kid.cancelled = kid.reported = kid.urgent = kid.pending = False
        kid.stop_cause = kid.fault = ""
        kid.dying = None
        kid.attempt += 1
        kid.started_at = self.now
        self.tell(kid.name, f"ChildStarted {kid.attempt} {kid.generation}")
        if not kid.spec.is_explicit:
            self._become_ready(kid)

    def _become_ready(self, kid: Kid) -> None:
        if kid.asked:
            kid.was_ready = True  # too late: nobody is told
            return
        kid.ready = kid.was_ready = kid.ever_ready = True
        kid.ready_at = self.now
        self.tell(kid.name, "ChildReady")
        if not kid.stop_cause:
            self._leave_start_set(kid)

    def _ask(self, kid: Kid) -> None:
        kid.asked, kid.asked_at = True, self.now
        kid.grace = 0.0 if self.without_grace else kid.declared_grace
        self.tell(kid.name, f"ChildStopRequested {kid.grace:g}")
        if not kid.grace:
            self._cancel(kid)

    def _cancel(self, kid: Kid) -> None:
        kid.cancelled, kid.cancelled_at = True, self.now
        self.tell(kid.name, "ChildCancelled")

    # ------------------------------------------------------------ ends

    def _exit(self, kid: Kid, kind: str) -> None:
        if kind == "self_cancelled" and kid.fault:
            kind = kid.fault  # we had ended it before it did so itself
        self.tell(kid.name, f"ChildExited {kind}")
        judged = kid.desired == "up" and kid.stop_cause != "desired state" and self.accepts
        if kid.ready and self.now - kid.ready_at >= kid.spec.backoff.reset_after:
            kid.consecutive_failures = 0
        kid.live = kid.ready = False
        kid.stop_cause = ""
        kid.reported_state = "up"
        self.stop_set.discard(kid.name)
        for _, stops in self.rounds:
            stops.discard(kid.name)
        self.rounds = [entry for entry in self.rounds if entry[1]]
        if judged:
            self._judge(kid, kind)

    def _judge(self, kid: Kid, kind: str) -> None:
        done_by_success, restart = kind == "succeeded", kid.spec.restart
        if not (done_by_success or kid.ever_ready or kid.generation or kid.spec.retry_first_start):
            self.tell(kid.name, "ExitJudged start_failed")
            self.close("start_failed")
        elif restart == "temporary":
            self.tell(kid.name, "ExitJudged remove")
            self._rest(kid, "removed")
        elif restart == "transient" and done_by_success:
            self.tell(kid.name, "ExitJudged done")
            kid.done_by_success = True
            self._rest(kid, "done")
        else:
            self._restart(kid)

    def _rest(self, kid: Kid, desired: str) -> None:
        kid.desired = desired
        kid.delays, kid.pending = {}, False
        self._leave_start_set(kid)
        self._end_delays(kid)
        mode = self.spec.auto_shutdown
        counts = desired != "quarantined" and kid.spec.significant
        others = [other for other in self.kids.values() if other is not kid]
        back = [other for other in others if other.live or other.desired == "up"]
        if (mode == "any_significant" and counts) or (
            mode == "all_significant" and counts and not any(o.spec.significant for o in back)
        ):
            self.close("auto_shutdown")
        elif mode == "never" and not back and not self.idle_reported:
            self.idle_reported = True
            self.tell("", "SupervisorIdle")

    def _full(self, limit: RestartLimit | None, charges: list[float]) -> bool:
        if limit is None:
            return False
        return sum(time > self.now - limit.within for time in charges) >= limit.max_restarts

    def _restart(self, kid: Kid) -> None:
        own = kid.spec.restart_limit
        own = self.spec.child_restart_limit if own is INHERIT else own
        full = self._full(own, kid.charges)
        if full and kid.spec.on_limit == "quarantine":
            self.tell(kid.name, "ExitJudged quarantine")
            self._rest(kid, "quarantined")
            return
        if full or self._full(self.spec.restart_limit, self.charges):
            self.tell(kid.name, "ExitJudged escalate")
            self.close("limit")
            return
        kid.charges.append(self.now)
        self.charges.append(self.now)
        self.tell(kid.name, "ExitJudged restart")
        steps = kid.spec.backoff.steps
        delay = steps[min(kid.consecutive_failures, len(steps) - 1)]
        kid.consecutive_failures += 1
        group = self._group_of(kid)
        delays = {kid.name: self.now + delay}
        for member in group:
            for name, until in member.delays.items():
                delays[name] = max(until, delays.get(name, until))
        if max(delays.values()) <= self.now:
            delays = {}
        if len(group) == 1:
            kid.delays = delays
            if self.grouped:
                kid.skips_predecessors = False
                self.start_set.add(kid.name)
            return
        for member in group:
            self._restart_member(member, kid, delays.copy())
        names = {member.name for member in group}
        if self.spec.strategy == "rest_for_one" and names & self.stop_set:
            self.rounds.append((names & self.start_set, names & self.stop_set))

    def _group_of(self, kid: Kid) -> list[Kid]:
        if self.spec.strategy == "one_for_all":
            return list(self.kids.values())
        names = {kid.name}
        if self.spec.strategy == "rest_for_one":
            names |= self._after(kid) | self._requirers(kid)
        return [member for member in self.kids.values() if member.name in names]

    def _restart_member(self, member: Kid, failed: Kid, delays: dict[str, float]) -> None:
        if member.desired not in ("up", "done"):
            if member.live:
                self.stop_set.add(member.name)
            return
        if member.spec.restart == "temporary" and member.live:
            self._take_down(member, "removed", urgent=False)
            return
        member.desired = "up"
        member.delays = delays
        member.pending = member.skips_predecessors = member.requirement_down = False
        self.start_set.add(member.name)
        if member.live:
            member.stop_cause = "desired state"
            self.stop_set.add(member.name)

    def _take_down(self, kid: Kid, desired: str, *, urgent: bool) -> None:
        kid.desired = desired
        kid.delays, kid.pending = {}, False
        self._end_delays(kid)
        self._leave_start_set(kid)
        if kid.live:
            kid.stop_cause = "desired state"
            kid.urgent |= urgent
            if not urgent:
                self.stop_set.add(kid.name)

    # ------------------------------------------------------------ wishes

    def close(self, cause: str) -> None:
        """Everybody down."""
        if not self.accepts:
            return
        self.phase, self.cause = "stopping", cause
        self.deadline = self.now + self.spec.shutdown_deadline
        self.tell("", f"SupervisorStopping {cause}")
        for kid in self.kids.values():
            self._take_down(kid, "shutdown" if kid.desired == "up" else kid.desired, urgent=False)

    def command(self, what: str, name: str) -> None:
        """What an operator, or fate, wants now."""
        kid = self.kids.get(name)
        if kid is None:
            return
        if what == "crash":
            if kid.live and (kid.dying is None or kid.dying[1] == "self_cancelled"):
                ends = kid.cancelled_at if kid.cancelled else self.now
                kid.dying = ((ends + kid.lingers) if kid.dying is None else kid.dying[0], "crashed")
        elif what == "restart":
            self._restart_by_hand(kid)
        elif what == "remove":
            required = any(kid.name in other.spec.requires for other in self.kids.values())
            if kid.desired != "removed" and not required:
                self.tell(name, "CommandAccepted remove")
                self._take_down(kid, "removed", urgent=True)
                kid.held_by_operator = True
        elif kid.desired in ("up", "done") or (what == "quarantine" and kid.desired == "stopped"):
            self.tell(name, f"CommandAccepted {what}")
            desired = "stopped" if what == "stop" else "quarantined"
            self._take_down(kid, desired, urgent=True)
            kid.held_by_operator = True
        self.settle()

    def _restart_by_hand(self, kid: Kid) -> None:
        if not self.accepts or kid.desired == "removed" or kid.pending:
            return
        self.tell(kid.name, "CommandAccepted restart")
        kid.desired, kid.consecutive_failures, kid.done_by_success = "up", 0, False
        kid.delays, kid.charges, kid.held_by_operator = {}, [], False
        kid.pending = True
        kid.generation += 1
        started = self.phase == "running"
        if kid.name in self.start_set or not (started or kid.ever_ready):
            self.start_set.add(kid.name)
            kid.skips_predecessors = started
        if kid.live:
            kid.stop_cause, kid.urgent = "desired state", True


def predict(spec: SupervisorSpec, commands: list[tuple[float, str, str]], ends: float) -> Model:
    """Play the whole lifecycle; ``commands`` are (when, what, to whom)."""
    model = Model(spec)
    for when, what, name in commands:
        model.run_until(when)
        # A tree that has given up cancels the block from which the commands come.
        if model.phase != "finished" and model.cause not in (
            "limit",
            "start_failed",
            "quarantined",
        ):
            model.command(what, name)
    model.run_until(ends)
    model.close("shutdown")
    model.settle()
    model.run_until(inf)
    return model
