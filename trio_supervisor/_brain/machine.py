"""The supervision machine: signals in, orders out; it never waits, and it never reads a clock.

There are no procedures here for "start the tree", "restart the group", "shut down". There is one
rule, applied to every child that a signal affects, until nothing moves any more:

    **move the child from where it is towards where it should be, as far as the ordering allows.**

Where it *is*: has it a live attempt, and how far has the ending of that one got (`Vitals.stage`).
Where it *should be*: its wish (`Wish`), and whether its live attempt is condemned (`Doom`). What
the *ordering* allows: the line of those who start and the set of those who leave (`Order`). `RULE`
in ``lifecycle`` is the whole rule as a table.

The first start puts every declared child into the line. A group restart condemns the live ones of
the radius, puts all of them into the line, and may lay a shared hold over them. Quarantine, a stop
and a removal change one wish; a shutdown changes all of them. So a stop in the middle of a backoff
in the middle of a group restart needs no code of its own: it changes wishes, and the rule does the
rest.

Work per signal is proportional to the children affected. They are worked off from a list, never by
recursion, so a sequence of any length starts and stops in constant stack.

Whoever drives the machine keeps two promises: signals are given in the order in which things
happened, each before the deadlines of the same instant, and every order is carried out, in order,
with the attempt's number checked. Signals caused by carrying out orders are queued, never nested.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any

from trio_supervisor._brain import messages as o
from trio_supervisor._brain import on_attempt, on_command, on_deadline
from trio_supervisor._brain.lifecycle import RULE, ChildLife, DesiredState, Gate, Step, StopCause
from trio_supervisor._brain.ordering import ChildOrdering, GraphOrdering, SequenceOrdering
from trio_supervisor._brain.outbox import Outbox
from trio_supervisor._brain.timers import DeadlineHeap
from trio_supervisor._brain.vitals import Stage
from trio_supervisor._brain.windows import Window, set_backoff
from trio_supervisor._events import events as ev
from trio_supervisor._events.snapshot import ChildState, SupervisorState
from trio_supervisor._specs.policy import Ordering, ReadinessPolicy

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

_IMMEDIATE = ReadinessPolicy.IMMEDIATE


class ShutdownDeadline:
    """The deadline of the whole shutdown; it stands when it has passed."""

    __slots__ = ("deadline", "queued", "wake_at")

    def __init__(self) -> None:
        self.deadline = self.wake_at = inf
        self.queued = inf


class SupervisionMachine(Outbox):
    """One supervisor's decisions.

    Args:
        spec: What was declared.
        path: Of the supervisor, for events.
        random: Source of the backoff's jitter.
    """

    def __init__(self, spec: SupervisorSpec, path: str, random: Random) -> None:
        super().__init__(path)
        self.spec = spec
        self.random = random
        self.state = SupervisorState.STARTING
        self.since = 0.0
        self.reason = ""
        self.outcome: o.Outcome | None = None
        self.children: dict[str, ChildLife] = {}
        self.todo: deque[ChildLife] = deque()
        kind = SequenceOrdering if spec.ordering is Ordering.SEQUENCE else GraphOrdering
        self.ordering: ChildOrdering = kind(spec.strategy, self.todo)
        self.timers = DeadlineHeap()
        self.window = None if spec.restart_limit is None else Window(spec.restart_limit)
        self.significant: dict[ChildLife, None] = {}
        self.live = 0
        self.unresponsive = 0
        self.is_started = False
        self._next_index = 0
        self.without_grace = False
        self._shutdown_deadline = ShutdownDeadline()
        self._stopping_since = 0.0

    # ------------------------------------------------------------ the outside

    def start(self, now: float) -> list[o.Order]:
        """Begin the first start."""
        self.since = now
        self._emit(
            ev.SupervisorStarted, self.path, 0, tuple(spec.name for spec in self.spec.children)
        )
        first = o.FirstStart.FAILS_TREE
        declared = [
            self.create_child(spec, first, now, dynamic=False) for spec in self.spec.children
        ]
        for child in declared:  # in a graph, those that it requires may come after it
            self.place(child)
            self.ordering.join_start_set(child)
        return self._reconcile(now)

    def receive(self, signal: o.Signal, now: float) -> list[o.Order]:
        """Take note of ``signal``; returns what is to be done, in order."""
        _HANDLERS[type(signal)](self, signal, now)
        return self._reconcile(now)

    def wake(self, now: float) -> list[o.Order]:
        """Deal with every deadline that has passed at ``now``."""
        while (thing := self.timers.pop_due(now)) is not None:
            on_deadline.handle(self, thing, now)
        return self._reconcile(now)

    @property
    def next_deadline(self) -> float:
        """When `wake` has to be called, if no signal comes first; `inf` for never.

        It is never too late, and may be early when what was due has been called off.
        """
        return self.timers.earliest

    @property
    def accepts(self) -> bool:
        """Whether children may still be started."""
        return self.state is SupervisorState.STARTING or self.state is SupervisorState.RUNNING

    @property
    def is_idle(self) -> bool:
        """Whether nobody is alive and nobody comes back without help."""
        return not self.live and not any(
            child.desired is DesiredState.UP for child in self.children.values()
        )

    def policy_will_decide(self, name: str, attempt: int, *, failed: bool) -> bool:
        """Whether the restart table (or `decide`) will be asked about this exit."""
        child = self.children.get(name)
        if child is None or not child.live or child.attempt != attempt:
            return False
        return self.policy_decides(child) and not (failed and self.is_first_start(child))

    # ------------------------------------------------------------ the rule

    def _reconcile(self, now: float) -> list[o.Order]:
        todo = self.todo
        while todo:
            self._reconcile_child(todo.popleft(), now)
        if self.state is SupervisorState.STARTING and not self.ordering.has_unsettled_static():
            self.is_started = True
            self._enter(SupervisorState.RUNNING, now)
            self._emit(ev.SupervisorReady, self.path, 0)
        if self.state is SupervisorState.STOPPING and not self.live:
            self._finish(now)
        orders, self._orders = self._orders, []
        return orders

    def _reconcile_child(self, child: ChildLife, now: float) -> None:
        """Move ``child`` from where it is towards where it should be."""
        if child.gone:
            return
        gate, step = RULE[child.situation]
        if gate is Gate.NONE or (
            self._may_start(child)
            if gate is Gate.TURN_TO_START
            else child.urgent or self.ordering.may_stop(child)
        ):
            if step is Step.START:
                self._start(child, now)
            elif step is Step.REQUEST_STOP:
                self.request_stop(child, now)
            elif step is not Step.NOTHING:
                self.ordering.leave_start_set(child)
                if step is Step.FORGET:
                    self._forget(child)
        state = child.state
        if child.reported is not state or state is ChildState.BACKING_OFF:
            self.report_state(child, state, now)

    def _may_start(self, child: ChildLife) -> bool:
        return self.accepts and self.ordering.may_start(child)

    def _start(self, child: ChildLife, now: float) -> None:
        child.live = True
        child.attempt += 1
        child.restart_pending = False
        child.begin(child.spec, now)
        self.live += 1
        child.reported_generation = child.generation
        self._emit(ev.ChildStarted, child.path, child.attempt, child.generation)
        if child.spec.readiness is _IMMEDIATE:
            self.become_ready(child, now)
        else:
            self.set_reported(child, ChildState.STARTING, now)
            self.rearm(child)
        self._orders.append(o.StartAttempt(child.name, child.attempt, child.generation))

    def become_ready(self, child: ChildLife, now: float) -> None:
        """Its attempt is ready: those who waited for that have their turn."""
        child.become_ready(now)
        child.ever_ready = True
        self.rearm(child)
        self.set_reported(child, ChildState.READY, now)
        self._emit(ev.ChildReady, child.path, child.attempt, now - child.started_at)
        # An attempt that has to go all the same is nothing to rely on.
        if child.stop_cause is None:
            if child.in_start_set:
                self.ordering.leave_start_set(child)
            if child.watchers:
                self.ordering.wake_watchers(child)

    def request_stop(self, child: ChildLife, now: float) -> None:
        """Ask the live attempt to end; without grace that is followed by the cancel."""
        grace = 0.0 if self.without_grace or child.without_grace else child.spec.grace
        child.begin_grace(now, grace)
        self.set_reported(child, ChildState.STOPPING, now, child.stop_reason)
        self._emit(ev.ChildStopRequested, child.path, child.attempt, child.stop_reason, grace)
        if grace > 0:
            self._emit_stop(child, o.RequestStop)
            self.timers.arm(child, child.step_due)
        else:
            self._note_cancel(child, now)
            self._emit_stop(child, o.StopAtOnce)

    def _emit_stop(self, child: ChildLife, order: type[o.RequestStop]) -> None:
        deadline, fault = self._shutdown_deadline.deadline, child.fault_exit
        self._orders.append(order(child.name, child.attempt, child.stop_reason, deadline, fault))

    def _set_deadline(self, deadline: float) -> None:
        self._shutdown_deadline.deadline = deadline
        self.timers.arm(self._shutdown_deadline, deadline)
        # Nested supervisors that were asked to stop before there was this deadline get to know.
        for child in self.children.values() if deadline < inf else ():
            if child.spec.supervisor is not None and child.live and child.stage:
                self._emit_stop(child, o.RequestStop)

    def _note_cancel(self, child: ChildLife, now: float) -> None:
        child.cancel(now, self.spec.report_after)
        self.timers.arm(child, child.step_due)
        self._emit(ev.ChildCancelled, child.path, child.attempt, child.stop_reason)

    def cancel(self, child: ChildLife, now: float) -> None:
        """The end of patience with an attempt that was asked."""
        self._note_cancel(child, now)
        self._orders.append(o.CancelAttempt(child.name, child.attempt, child.stop_reason))

    def _forget(self, child: ChildLife) -> None:
        self.ordering.drop(child)
        child.gone = True
        self.timers.arm(child, inf)
        self.significant.pop(child, None)
        del self.children[child.name]

    # ------------------------------------------------------------ what changes wishes

    def create_child(
        self, spec: ChildSpec[Any], first_start: o.FirstStart, now: float, *, dynamic: bool
    ) -> ChildLife:
        """A new child, which should be up; `enlist` it once all that it requires exist."""
        path = f"{self.path}/{spec.name}"
        child = ChildLife(spec, path, self._next_index, dynamic, first_start, now)
        self._next_index += 1
        self.children[spec.name] = child
        if spec.significant:
            self.significant[child] = None
        if dynamic:
            self.emit(child, ev.ChildAdded)
        self.todo.append(child)
        return child

    def place(self, child: ChildLife) -> None:
        """Give a new child its place in the order."""
        self.ordering.add(child, tuple(self.children[name] for name in child.spec.requires))

    def mark_for_stopping(
        self,
        child: ChildLife,
        cause: StopCause,
        reason: str,
        *,
        urgent: bool = False,
        in_order: bool = False,
    ) -> None:
        """The live attempt, if there is one, has to end."""
        if child.live:
            if child.stop_cause is not StopCause.DESIRED_STATE:
                child.stop_cause = cause
                child.stop_reason = reason
            if child.wake_at != inf and child.stage is Stage.RUNNING:
                self.timers.arm(child, inf)  # no start or health timeout for who has to go anyway
            child.urgent |= urgent
            if in_order:
                self.ordering.begin_stop(child)
                if not (child.urgent or self.ordering.may_stop(child)):
                    return  # the order looks at it when its turn has come
        self.todo.append(child)

    def take_down(
        self,
        child: ChildLife,
        desired: DesiredState,
        reason: str,
        *,
        urgent: bool = False,
        in_order: bool = False,
    ) -> None:
        """It should be down; a removal is never taken back."""
        if child.desired is not DesiredState.REMOVED:
            child.desired = desired
            child.reason = reason
        if child.backoff is not None:
            set_backoff(child, None, self.timers)
        child.restart_pending = False
        self.ordering.leave_start_set(child)
        self.ordering.wake_dependents(child)
        self.mark_for_stopping(
            child, StopCause.DESIRED_STATE, reason, urgent=urgent, in_order=in_order
        )

    def begin_shutdown(
        self, outcome: o.Outcome, now: float, *, grace: bool = True, deadline: float = inf
    ) -> None:
        """All of them should be down, in order; ``deadline`` is absolute."""
        if self.accepts:
            self.outcome = outcome
            self._stopping_since = now
            self._enter(SupervisorState.STOPPING, now, outcome.reason)
            self._set_deadline(min(now + self.spec.shutdown_deadline, deadline))
            self._orders.append(o.Stopping(outcome))
            self._emit(ev.SupervisorStopping, self.path, 0, outcome.kind.value, outcome.reason)
            for child in reversed(list(self.children.values())):
                desired, reason = child.desired, child.reason
                if desired is DesiredState.UP:
                    desired, reason = DesiredState.SHUTDOWN, outcome.reason
                self.take_down(child, desired, reason, in_order=True)
        elif deadline < self._shutdown_deadline.deadline and self.state is SupervisorState.STOPPING:
            self._set_deadline(deadline)
        if not grace and not self.without_grace:
            self.without_grace = True
            for child in self.children.values():
                if child.live and child.stage is Stage.STOP_REQUESTED:
                    self.cancel(child, now)

    # ------------------------------------------------------------ time

    def rearm(self, child: ChildLife) -> None:
        """Let its deadline be what its attempt needs now."""
        due = child.due(child.spec)
        if due != child.wake_at:
            self.timers.arm(child, due)

    def attempt_ended(self, child: ChildLife, now: float, detail: str) -> None:
        """Clear everything that belonged to the attempt."""
        child.live = False
        child.ready = child.was_ready = False
        child.stage = Stage.RUNNING
        child.stop_cause = child.fault_exit = None
        child.urgent = child.without_grace = False
        child.stop_reason = ""
        child.last_exit = detail
        self.live -= 1
        if child.wake_at != inf:
            self.timers.arm(child, inf)
        if child.in_stop_set:
            self.ordering.stop_finished(child)
        self.set_reported(child, ChildState.WAITING, now)
        self.todo.append(child)

    def _enter(self, state: SupervisorState, now: float, reason: str = "") -> None:
        self.state = state
        self.since = now
        self.reason = reason

    def _finish(self, now: float) -> None:
        outcome = self.outcome
        assert outcome is not None  # a supervisor stops only by `close`
        self._enter(SupervisorState.FINISHED, now, outcome.reason)
        self.timers.arm(self._shutdown_deadline, inf)
        seconds = now - self._stopping_since
        self._emit(
            ev.SupervisorFinished,
            self.path,
            0,
            outcome.kind.value,
            outcome.reason,
            seconds,
            self.unresponsive,
        )
        self._orders.append(o.Finish(outcome))

    def policy_decides(self, child: ChildLife) -> bool:
        """Whether an exit now would be followed by a decision, and not by a wish."""
        return (
            child.desired is DesiredState.UP
            and child.stop_cause is not StopCause.DESIRED_STATE
            and self.accepts
        )

    @staticmethod
    def is_first_start(child: ChildLife) -> bool:
        """Whether a failure now would be a failure to start, which nobody retries."""
        return (
            not child.ever_ready
            and not child.generation
            and child.first_start is not o.FirstStart.ORDINARY
        )


_HANDLERS: dict[type, Callable[[SupervisionMachine, Any, float], None]] = {
    o.BecameReady: on_attempt.became_ready,
    o.LostReadiness: on_attempt.lost_readiness,
    o.Heartbeat: on_attempt.heartbeat,
    o.StartExtended: on_attempt.start_extended,
    o.GraceForfeited: on_attempt.grace_forfeited,
    o.Exited: on_attempt.exited,
    o.StopChild: on_command.stop_child,
    o.QuarantineChild: on_command.quarantine_child,
    o.RestartChild: on_command.restart_child,
    o.RemoveChild: on_command.remove_child,
    o.AddChild: on_command.add_child,
    o.Shutdown: on_command.shutdown,
}
