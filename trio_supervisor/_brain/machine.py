"""The supervision machine: signals in, orders out; it never waits and never reads a clock.

There are no procedures for "start the tree", "restart the group" and "shut down". There is one
rule, applied to every child that a signal affects until no child moves any more:

    **move the child from its actual state towards its desired state, as far as the ordering
    allows.**

The *actual state* says whether the child has a live attempt and how far the stop of this attempt
has got (`Vitals.stage`). The *desired state* (`DesiredState`) is up, or down for a reason; a live
attempt that has to end is marked for stopping with a `StopCause`. The *ordering*
(`ChildOrdering`) knows which children of a round have yet to start and which are being stopped.
`RULE` in ``lifecycle`` is the whole rule as a table.

The first start puts every static child into the start set. A group restart marks the live
attempts of the group for stopping, puts all members into the start set, and may let them share a
backoff. A stop, a quarantine or a removal changes one desired state; a shutdown changes all of
them. A stop in the middle of a backoff in the middle of a group restart therefore needs no code
of its own.

Two words for stops. An *urgent* stop, by command or fault, does not wait for its turn. A stop *in
order*, of a group or a shutdown, waits until the successors of the child have ended.

The work per signal is proportional to the number of children affected. These children are taken
from a work list, never by recursion, so a sequence of any length starts and stops in constant
stack.

The caller of the machine keeps two promises. Signals are given in the order in which things
happened, and before the deadlines of the same instant. Every order is carried out, in order,
after a check of the attempt's number; signals that this causes are queued, never nested.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any

from trio_supervisor._brain import messages as o
from trio_supervisor._brain import on_attempt, on_command, on_deadline
from trio_supervisor._brain.auto_shutdown import finish_if_all_done
from trio_supervisor._brain.lifecycle import RULE, ChildLife, DesiredState, Gate, Step, StopCause
from trio_supervisor._brain.ordering import ChildOrdering, GraphOrdering, SequenceOrdering
from trio_supervisor._brain.outbox import Outbox
from trio_supervisor._brain.timers import DeadlineHeap
from trio_supervisor._brain.vitals import Stage
from trio_supervisor._brain.windows import Window, end_delays, set_backoff
from trio_supervisor._events import events as ev
from trio_supervisor._events.snapshot import ChildState, SupervisorState
from trio_supervisor._specs.body import DEFAULT_GRACE
from trio_supervisor._specs.policy import Ordering, ReadinessPolicy

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

_IMMEDIATE = ReadinessPolicy.IMMEDIATE


# Up to Python 3.11, to look up a member of an enum takes five times as long as a plain name.
_STARTING = SupervisorState.STARTING
_RUNNING = SupervisorState.RUNNING
_STOPPING = SupervisorState.STOPPING
_UP = DesiredState.UP
_REMOVED = DesiredState.REMOVED
_BY_DESIRED_STATE = StopCause.DESIRED_STATE
_NOT_STOPPING = Stage.RUNNING
_CHILD_WAITING = ChildState.WAITING
_CHILD_STARTING = ChildState.STARTING
_CHILD_READY = ChildState.READY
_CHILD_STOPPING = ChildState.STOPPING
_CHILD_BACKING_OFF = ChildState.BACKING_OFF
_NO_GATE = Gate.NONE
_TURN_TO_START = Gate.TURN_TO_START
_NO_STEP = Step.NOTHING
_START = Step.START
_REQUEST_STOP = Step.REQUEST_STOP


class ShutdownDeadline:
    """The shutdown deadline as an item of the deadline heap.

    ``deadline`` keeps its value after it has passed, because later stop orders still carry it.
    """

    __slots__ = ("deadline", "queued", "wake_at")

    def __init__(self) -> None:
        self.deadline = self.wake_at = inf
        self.queued = inf


class SupervisionMachine:
    """The decisions of one supervisor.

    Args:
        spec: The declaration of the supervisor.
        path: The supervisor's path, for events.
        random: The source of the jitter of backoffs.
        nested: Whether this supervisor is a child of another one.
        hears_stop: Whether a child's attempt can notice a stop request, for children without a
            ``grace`` of their own; it is asked when the stop is requested. By default none can.

    Attributes:
        accepts: Whether children may still be started: the supervisor starts or runs.
    """

    def __init__(
        self,
        spec: SupervisorSpec,
        path: str,
        random: Random,
        *,
        nested: bool = False,
        hears_stop: Callable[[str, int], bool] | None = None,
    ) -> None:
        self.spec = spec
        self.path = path
        self.outbox = Outbox(path)
        self.random = random
        self.nested = nested
        self.hears_stop = _hears_nothing if hears_stop is None else hears_stop
        self.state = _STARTING
        self.accepts = True
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
        self.idle_reported = False
        self.kept_open_by: ChildLife | None = None
        self.judged_later: list[str] = []
        self._next_index = 0
        self.without_grace = False
        self._shutdown_deadline = ShutdownDeadline()
        self._stopping_since = 0.0

    # ------------------------------------------------------------ interface

    def start(self, now: float) -> list[o.Order]:
        """Begin the first start."""
        self.since = now
        children = tuple([spec.name for spec in self.spec.children])
        self.outbox.emit_own(ev.SupervisorStarted, children)
        first = o.FirstStart.FAILS_TREE
        declared = [
            self.create_child(spec, first, now, dynamic=False) for spec in self.spec.children
        ]
        for child in declared:  # in a graph, its requirements may be declared after it
            self.place(child)
            self.ordering.join_start_set(child)
        return self._reconcile(now)

    def receive(self, signal: o.Signal, now: float) -> list[o.Order]:
        """Handle ``signal`` and return the orders that follow, to be carried out in this order."""
        _HANDLERS[type(signal)](self, signal, now)
        return self._reconcile(now)

    def wake(self, now: float, late: float = 0.0) -> list[o.Order]:
        """Handle every deadline that has passed at ``now`` and return the orders that follow.

        Args:
            now: The present time.
            late: How many seconds too late this call comes, because the event loop was blocked or
                the process suspended. Attempts that could not run meanwhile are judged later.
        """
        while (thing := self.timers.pop_due(now)) is not None:
            on_deadline.handle(self, thing, now, late)
        if self.judged_later:
            names, self.judged_later = tuple(self.judged_later), []
            self.outbox.orders.append(o.JudgedLater(names, late))
        return self._reconcile(now)

    @property
    def next_deadline(self) -> float:
        """The time at which `wake` has to be called if no signal comes first; `inf` for never.

        The time is never too late. It may be too early if a deadline has been disarmed.
        """
        return self.timers.earliest

    @property
    def had_children(self) -> bool:
        """Whether there is, or was, a child."""
        return self._next_index > 0

    @property
    def is_idle(self) -> bool:
        """Whether no attempt is alive and none will start without a command."""
        return not self.live and not any(child.desired is _UP for child in self.children.values())

    def untie(self) -> None:
        """Let children no longer lead to each other; the supervisor has ended."""
        self.hears_stop = _hears_nothing
        self.todo.clear()
        for child in self.children.values():
            child.requires, child.dependents, child.watchers = (), None, None
            child.backoff = child.delaying = None

    def policy_will_decide(self, name: str, attempt: int, *, failed: bool) -> bool:
        """Whether the restart table, or `decide`, will be asked about this exit."""
        child = self.children.get(name)
        if child is None or not child.live or child.attempt != attempt:
            return False
        return self.policy_decides(child) and not (failed and self.is_first_start(child))

    # ------------------------------------------------------------ the rule

    def _reconcile(self, now: float) -> list[o.Order]:
        todo = self.todo
        while True:
            while todo:
                self._reconcile_child(todo.popleft(), now)
            if self.state is _STARTING and not self.ordering.has_unsettled_static():
                self.is_started = True
                self._enter(_RUNNING, now)
                self.outbox.emit_own(ev.SupervisorReady)
            if self.live or not self._nothing_is_alive(now):
                return self.outbox.take()

    def _nothing_is_alive(self, now: float) -> bool:
        """Finish what ends when no attempt is alive; return whether children have to move again."""
        if self.state is _STOPPING:
            self._finish(now)
            return False
        return self.accepts and finish_if_all_done(self, now)

    def _reconcile_child(self, child: ChildLife, now: float) -> None:
        """Move ``child`` from its actual state towards its desired state by one step."""
        if child.gone:
            return
        gate, step = RULE[child.situation]
        if gate is _NO_GATE or self._gate_is_open(gate, child):
            if step is _START:
                self._start(child, now)
            elif step is _REQUEST_STOP:
                self.request_stop(child, now)
            elif step is not _NO_STEP:
                self.ordering.leave_start_set(child)
                if step is Step.FORGET:
                    self._forget(child)
        state = child.state
        if child.reported is not state or state is _CHILD_BACKING_OFF:
            self.outbox.report_state(child, state, now)

    def _gate_is_open(self, gate: Gate, child: ChildLife) -> bool:
        if gate is _TURN_TO_START:
            return self.accepts and self.ordering.admit_start(child)
        return child.urgent or self.ordering.may_stop(child)

    def _start(self, child: ChildLife, now: float) -> None:
        child.live = True
        child.attempt += 1
        child.restart_pending = False
        child.begin(child.spec, now)
        self.live += 1
        child.reported_generation = child.generation
        self.outbox.emit(child, ev.ChildStarted, child.generation)
        if child.spec.readiness is _IMMEDIATE:
            self.become_ready(child, now)
        else:
            child.set_reported(_CHILD_STARTING, now)
            self.rearm(child)
        self.outbox.orders.append(o.StartAttempt(child.name, child.attempt, child.generation))

    def become_ready(self, child: ChildLife, now: float) -> None:
        """Record that the live attempt is ready; children that waited for that have their turn."""
        child.become_ready(now)
        child.ever_ready = True
        self.rearm(child)
        child.set_reported(_CHILD_READY, now)
        self.outbox.emit(child, ev.ChildReady, now - child.started_at)
        # Nothing may rely on an attempt that is marked for stopping.
        if child.stop_cause is None:
            if child.in_start_set:
                self.ordering.leave_start_set(child)
            if child.watchers:
                self.ordering.wake_watchers(child)

    def request_stop(self, child: ChildLife, now: float) -> None:
        """Request the stop of the live attempt; without grace, cancel it in the same step."""
        grace = self._grace_of(child)
        child.begin_grace(now, grace)
        child.set_reported(_CHILD_STOPPING, now, child.stop_reason)
        self.outbox.emit(child, ev.ChildStopRequested, child.stop_reason, grace)
        if grace > 0:
            self._emit_stop(child, o.RequestStop)
            self.timers.arm(child, child.step_due)
        else:
            self._note_cancel(child, now)
            self._emit_stop(child, o.StopAtOnce)

    def _grace_of(self, child: ChildLife) -> float:
        if self.without_grace or child.without_grace:
            return 0.0
        if child.command_grace is not None:
            return child.command_grace
        grace = child.spec.grace
        if grace is None:
            grace = DEFAULT_GRACE if self.hears_stop(child.name, child.attempt) else 0.0
        return grace

    def limit_grace(self, child: ChildLife, grace: float | None, now: float) -> bool:
        """Give the live attempt ``grace`` seconds instead of its own; a running grace only shrinks.

        Returns:
            Whether this changes anything; with ``grace`` `None` it does not.
        """
        if grace is None or not child.live:
            return False
        if child.stage is _NOT_STOPPING:
            changes = child.command_grace is None or grace < child.command_grace
            child.command_grace = grace if changes else child.command_grace
            return changes
        if child.stage is not Stage.STOP_REQUESTED or now + grace >= child.step_due:
            return False
        if grace > 0:
            child.begin_grace(now, grace)
            self.timers.arm(child, child.step_due)
        else:
            self.cancel(child, now)
        return True

    def _emit_stop(self, child: ChildLife, order: type[o.RequestStop]) -> None:
        deadline, fault = self._shutdown_deadline.deadline, child.fault_exit
        self.outbox.orders.append(
            order(child.name, child.attempt, child.stop_reason, deadline, fault)
        )

    def _set_deadline(self, deadline: float) -> None:
        self._shutdown_deadline.deadline = deadline
        self.timers.arm(self._shutdown_deadline, deadline)
        # A nested supervisor that is stopping already has not heard of this deadline.
        for child in self.children.values() if deadline < inf else ():
            if child.spec.supervisor is not None and child.live and child.stage:
                self._emit_stop(child, o.RequestStop)

    def _note_cancel(self, child: ChildLife, now: float) -> None:
        child.cancel(now, self.spec.report_after)
        self.timers.arm(child, child.step_due)
        self.outbox.emit(child, ev.ChildCancelled, child.stop_reason)

    def cancel(self, child: ChildLife, now: float) -> None:
        """Cancel an attempt that was asked to stop."""
        self._note_cancel(child, now)
        self.outbox.orders.append(o.CancelAttempt(child.name, child.attempt, child.stop_reason))

    def _forget(self, child: ChildLife) -> None:
        self.ordering.drop(child)
        child.gone = True
        self.timers.arm(child, inf)
        self.significant.pop(child, None)
        del self.children[child.name]

    # ------------------------------------------------------------ desired states

    def create_child(
        self,
        spec: ChildSpec[Any],
        first_start: o.FirstStart,
        now: float,
        *,
        dynamic: bool,
        reason: str = "",
    ) -> ChildLife:
        """Create a child, which should be up; `place` it once all that it requires exist."""
        path = f"{self.path}/{spec.name}"
        child = ChildLife(spec, path, self._next_index, dynamic, first_start, now)
        self._next_index += 1
        self.children[spec.name] = child
        if spec.significant:
            self.significant[child] = None
        if dynamic:
            self.outbox.emit(child, ev.ChildAdded, *((reason,) if reason else ()))
        self.todo.append(child)
        return child

    def place(self, child: ChildLife) -> None:
        """Tell the ordering about a new child. Its requirements exist now."""
        requires = child.spec.requires
        self.ordering.add(child, tuple([self.children[name] for name in requires]))

    def mark_for_stopping(
        self,
        child: ChildLife,
        cause: StopCause,
        reason: str,
        *,
        urgent: bool = False,
        in_order: bool = False,
    ) -> None:
        """Mark the live attempt, if there is one, for stopping.

        Args:
            child: The child; its attempt has to end.
            cause: Whether the desired state or a fault is the reason.
            reason: The reason in words, for the attempt and for events.
            urgent: Whether the stop begins at once.
            in_order: Whether the stop takes part in a round.
        """
        if child.live:
            if child.stop_cause is not _BY_DESIRED_STATE:
                child.stop_cause = cause
                child.stop_reason = reason
            if child.wake_at != inf and child.stage is _NOT_STOPPING:
                self.timers.arm(child, inf)  # faults of this attempt do not matter any more
            child.urgent |= urgent
            if in_order:
                self.ordering.begin_stop(child)
                if not (child.urgent or self.ordering.may_stop(child)):
                    return  # the ordering puts it on the work list when its turn has come
        self.todo.append(child)

    def take_down(
        self,
        child: ChildLife,
        desired: DesiredState,
        reason: str,
        now: float,
        *,
        urgent: bool = False,
        in_order: bool = False,
    ) -> None:
        """Set the desired state of ``child`` to a down state; mark its live attempt for stopping.

        The child's backoff ends, and so does the delay that its failure has imposed on its group. A
        child that is being removed keeps that desired state.
        """
        if child.desired is not _REMOVED:
            child.desired = desired
            child.reason = reason
        if child.backoff is not None:
            set_backoff(child, None, self.timers)
        if child.delaying:
            end_delays(child, self.timers, self.todo, now)
        child.restart_pending = False
        if child.in_start_set:
            self.ordering.leave_start_set(child)
        if child.dependents or child.watchers:
            self.ordering.wake_dependents(child)
        self.mark_for_stopping(child, _BY_DESIRED_STATE, reason, urgent=urgent, in_order=in_order)

    def begin_shutdown(
        self, outcome: o.Outcome, now: float, *, grace: bool = True, deadline: float = inf
    ) -> None:
        """Set every desired state to a down state; the supervisor finishes when all attempts ended.

        During a shutdown only an earlier deadline and the loss of grace have an effect: the first
        outcome stands.

        Args:
            outcome: Why the supervisor ends.
            now: The present time.
            grace: Whether attempts get their grace.
            deadline: The absolute time at which everything left is cancelled.
        """
        if self.accepts:
            self.outcome = outcome
            self._stopping_since = now
            self._enter(_STOPPING, now, outcome.reason)
            self._set_deadline(min(now + self.spec.shutdown_deadline, deadline))
            self.outbox.orders.append(o.Stopping(outcome))
            self.outbox.emit_own(ev.SupervisorStopping, outcome.kind.value, outcome.reason)
            self.unresponsive = 0
            for child in reversed(list(self.children.values())):
                self.unresponsive += child.is_unresponsive
                desired, reason = child.desired, child.reason
                if desired is _UP:
                    desired, reason = DesiredState.SHUTDOWN, outcome.reason
                self.take_down(child, desired, reason, now, in_order=True)
        elif deadline < self._shutdown_deadline.deadline and self.state is _STOPPING:
            self._set_deadline(deadline)
        if self._shutdown_deadline.deadline <= now:
            return  # which is dealt with next: it cuts off what is left
        if not grace and not self.without_grace:
            self.without_grace = True
            for child in self.children.values():
                if child.live and child.stage is Stage.STOP_REQUESTED:
                    self.cancel(child, now)

    # ------------------------------------------------------------ time

    def rearm(self, child: ChildLife) -> None:
        """Arm the deadline that the live attempt needs now."""
        due = child.due(child.spec)
        if due != child.wake_at:
            self.timers.arm(child, due)

    def attempt_ended(self, child: ChildLife, now: float, detail: str) -> None:
        """Reset everything that concerned the attempt, which has ended."""
        child.live = False
        child.ready = child.was_ready = False
        child.stage = _NOT_STOPPING
        child.stop_cause = child.fault_exit = None
        child.urgent = child.without_grace = False
        child.command_grace = None
        child.stop_reason = ""
        child.last_exit = detail
        self.live -= 1
        if child.wake_at != inf:
            self.timers.arm(child, inf)
        if child.in_stop_set:
            self.ordering.stop_finished(child)
        child.set_reported(_CHILD_WAITING, now)
        self.todo.append(child)

    def _enter(self, state: SupervisorState, now: float, reason: str = "") -> None:
        self.state = state
        self.accepts = state is _RUNNING
        self.since = now
        self.reason = reason

    def _finish(self, now: float) -> None:
        outcome = self.outcome
        assert outcome is not None  # a supervisor stops only by `close`
        self._enter(SupervisorState.FINISHED, now, outcome.reason)
        self.timers.arm(self._shutdown_deadline, inf)
        seconds = now - self._stopping_since
        self.outbox.emit_own(
            ev.SupervisorFinished,
            outcome.kind.value,
            outcome.reason,
            seconds,
            self.unresponsive,
        )
        self.outbox.orders.append(o.Finish(outcome))

    def policy_decides(self, child: ChildLife) -> bool:
        """Whether policy, and not the desired state, says what follows an exit now."""
        return child.desired is _UP and child.stop_cause is not _BY_DESIRED_STATE and self.accepts

    @staticmethod
    def is_first_start(child: ChildLife) -> bool:
        """Whether a failure now would be a failed first start, which is not retried."""
        return (
            not child.ever_ready
            and not child.generation
            and child.first_start is not o.FirstStart.ORDINARY
        )


def _hears_nothing(name: str, attempt: int) -> bool:
    return False


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
