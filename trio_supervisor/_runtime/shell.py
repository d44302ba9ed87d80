"""Shell: the Trio side of one supervisor. It feeds the brain and carries out its orders.

Everything that happens to a supervisor goes the same way: it is posted on the channel of the
`ReportCollector`, handled here one message after the other, turned into a signal for the
`SupervisionMachine`, and the machine's orders are carried out before the next message is looked at.
The shell keeps what the machine must not know: tasks, cancel scopes, exceptions, values, and the
callers that wait. It decides nothing.
"""

from __future__ import annotations

from contextvars import copy_context
from logging import WARNING, getLogger
from math import inf
from threading import get_ident
from typing import TYPE_CHECKING, Any, final

import trio
from trio.lowlevel import enable_ki_protection

from trio_supervisor._attempts.attempt import Attempt, current_attempt, run_attempt
from trio_supervisor._attempts.stacks import stacks_of
from trio_supervisor._brain import messages as o
from trio_supervisor._brain.machine import SupervisionMachine
from trio_supervisor._brain.on_command import reason_to_refuse
from trio_supervisor._errors import SupervisorClosed, SupervisorError
from trio_supervisor._events import events as ev
from trio_supervisor._logging.safe import say
from trio_supervisor._runtime.child_slot import Slot
from trio_supervisor._runtime.closing import end_waits, log_refusal, note_bug, untie
from trio_supervisor._runtime.collector import ReportCollector
from trio_supervisor._runtime.exits import exit_signal
from trio_supervisor._runtime.held_up import cause_of_lateness
from trio_supervisor._runtime.messages import (
    CommandRequest,
    HeartbeatNotice,
    NurseryCancelled,
    ParentStop,
    Reply,
)
from trio_supervisor._runtime.operator import operator
from trio_supervisor._runtime.refusals import closed_error, refuse_with_pending
from trio_supervisor._runtime.shutdown_account import ShutdownAccount
from trio_supervisor._runtime.subscription import Readers
from trio_supervisor._runtime.supervisor import Supervisor
from trio_supervisor._runtime.views import (
    add_failures,
    error_of,
    snapshot_of,
    value_of,
    wait_value_of,
)
from trio_supervisor._text import as_reason, some

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from contextvars import Context

    from trio_supervisor._attempts.host import Target
    from trio_supervisor._events.exits import ChildRunReport
    from trio_supervisor._events.shutdown import ShutdownReport
    from trio_supervisor._events.snapshot import SupervisorSnapshot
    from trio_supervisor._runtime.closing import BlockOfShell
    from trio_supervisor._runtime.messages import Message
    from trio_supervisor._runtime.nested import NestedLink
    from trio_supervisor._runtime.tree import Tree
    from trio_supervisor._specs.supervisor import SupervisorSpec


@final
class Shell:
    """One run of one supervisor; the host of its children's attempts.

    Args:
        spec: What was declared.
        tree: Shared with the other supervisors of the tree.
        path: Of this supervisor.
        link: To the supervisor above; `None` for the root of a tree.

    Attributes:
        run: The number of this run; see `Journal.next_run`.
        machine: The brain.
        slots: The children, by name.
        watched: The children that tasks wait for, by path.
        readers: The subscriptions to this supervisor.
        unanswered: The replies to commands that are in the mailbox, or in hand.
        fatal: What came out of children that is not an `Exception`, in order.
        error: What the supervisor ends with, if it failed.
        later_failures: The failures of children since ``error`` is known.
        bug: What the supervisor itself failed with, which is not supposed to happen.
        has_failed: Whether the block has raised ``error`` or ``bug``, which are forgotten then.
        report: How it ended, once it has.
        is_visible: Whether the first event is recorded; snapshots show the supervisor from then on.
        children_listed: Set when the children can be found, started or not.
        first_start_over: Set when the first start is complete, or has failed.
        finished: Set when no task of the supervisor is left but the tasks of the block.
    """

    is_supervisor = True

    def __init__(
        self, spec: SupervisorSpec, tree: Tree, path: str, link: NestedLink | None
    ) -> None:
        self.spec = spec
        self.tree = tree
        self.path = path
        self.link = link
        self.observer = tree.observer
        self.thread = 0
        self.run = tree.journal.next_run()
        self.machine = SupervisionMachine(
            spec, path, tree.random, nested=link is not None, hears_stop=self._hears_stop
        )
        log = tree.log if self.observer is None or self.observer.log_wakes else None
        self.collector = ReportCollector(
            self.machine, log, self._handle, self._wake, self._nursery_cancelled
        )
        self.slots: dict[str, Slot] = {}
        self.watched: dict[str, Slot] = {}
        self.readers = Readers(tree.check_thread)
        self.fatal: list[BaseException] = []
        self.error: SupervisorError | None = None
        self.bug: BaseException | None = None
        self.later_failures: list[ChildRunReport] = []
        self.has_failed = False
        self.report: ShutdownReport | None = None
        self.is_visible = False
        self.children_listed = trio.Event()
        self.first_start_over = trio.Event()
        self.finished = trio.Event()
        self._journal = tree.journal
        self._context: Context = copy_context()
        self._block: BlockOfShell | None = None
        self._attempts: trio.Nursery | None = None
        self._changed: dict[Slot, None] = {}  # in this turn
        self.unanswered: dict[Reply, None] = {}
        self._additions: dict[str, None] = {}  # by name, while in the mailbox
        self._shutdown_account = ShutdownAccount()
        self._supervisor: Supervisor | None = None
        if self.observer is not None:
            self.observer.supervisor_opened(self)

    @property
    def supervisor(self) -> Supervisor:
        """The public object of this supervisor."""
        supervisor = self._supervisor
        if supervisor is None:
            supervisor = Supervisor._create(self)
            if not self.is_over:
                self._supervisor = supervisor
        return supervisor

    @property
    def parent(self) -> Shell | None:
        """The shell of the supervisor above; `None` for the root."""
        return None if self.link is None else self.link.parent

    @property
    def opened_in(self) -> Attempt | None:
        """The attempt that has opened this supervisor, if one has."""
        return self._context.get(current_attempt)

    @property
    def is_over(self) -> bool:
        """Whether the machine has finished: no child is alive, and none will be."""
        return self.collector.is_closed

    @property
    def is_stopping(self) -> bool:
        """Whether the stop has begun, or is over."""
        return self._shutdown_account.since is not None or self.is_over

    def snapshot(self) -> SupervisorSnapshot:
        """Return the state of the tree from here on down."""
        return snapshot_of(self)

    # ------------------------------------------------------------ the tasks

    @enable_ki_protection
    async def serve(  # noqa: ASYNC910 - closing a nursery is a checkpoint
        self, block: BlockOfShell
    ) -> None:
        """Run the children until the machine is finished. Cancellation does not reach in here."""
        self._block = block
        self.thread = get_ident()
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as attempts:
                    self._attempts = attempts
                    now = trio.current_time()
                    self.carry_out(self.machine.start(now), now)
                    await self.collector.collect()
                    attempts.cancel_scope.cancel("the supervisor has finished")
        except BaseException as error:  # noqa: ASYNC103 - a bug of ours: raised by the block
            note_bug(self, error)
        finally:
            self.close(block)

    def close(self, block: BlockOfShell) -> None:
        """Mark the supervisor as ended, and wake every task that waits for it; see `end_waits`."""
        self.collector.is_closed = True
        try:
            end_waits(self, block)
        except BaseException as error:
            note_bug(self, error)
            raise
        finally:
            # A handle or `Supervisor` that is kept must not keep the tasks and scopes of the past.
            self._block = self._attempts = self._supervisor = None
            untie(self)

    # ------------------------------------------------------------ what an attempt posts

    def post_ready(self, attempt: Attempt) -> None:
        """Post that ``attempt`` has called `ChildContext.ready`."""
        self.collector.post(o.BecameReady(attempt.name, attempt.number))

    def post_not_ready(self, attempt: Attempt, reason: str) -> None:
        """Post that ``attempt`` has called `ChildContext.not_ready`."""
        self.collector.post(o.LostReadiness(attempt.name, attempt.number, reason))

    def post_beat(self, attempt: Attempt) -> None:
        """Post that ``attempt`` has sent heartbeats; at most one such notice is under way."""
        self.collector.post(HeartbeatNotice(attempt))

    def post_busy(self, attempt: Attempt, until: float) -> None:
        """Post that ``attempt`` has opened or closed a `ChildContext.busy` block."""
        self.collector.post(HeartbeatNotice(attempt))

    def post_extend(self, attempt: Attempt, until: float) -> None:
        """Post that ``attempt`` asks for time to start, until ``until``."""
        if self.observer is not None:
            self.observer.start_extended(attempt, until)
        self.collector.post(o.StartExtended(attempt.name, attempt.number, until))

    def post_exit(self, attempt: Attempt) -> None:
        """Post that the scope of ``attempt`` has closed."""
        self.collector.post(attempt)

    def open_supervisor(
        self,
        attempt: Attempt,
        spec: SupervisorSpec | None,
        options: Any,
        *,
        wait_ready: bool,
    ) -> AbstractAsyncContextManager[Supervisor]:
        """Return a supervisor below ``attempt``, for `ChildContext.open_supervisor`."""
        attempt.note_hears_stop()
        return self.tree.blocks.opened_by(self, attempt, spec, options, wait_ready=wait_ready)

    def note_report_below(self, report: ShutdownReport) -> None:
        """Note how a supervisor ended that an attempt of ours has opened."""
        self._shutdown_account.note_below(report)

    def value_of(self, attempt: Attempt, of: Target) -> object:
        """Return the ready value of a sibling of ``attempt``, or of a child further up."""
        return value_of(self, attempt, of)

    async def wait_value_of(self, attempt: Attempt, of: Target) -> object:
        """Wait until `value_of` has something to return, and return it."""
        return await wait_value_of(self, attempt, of)

    # ------------------------------------------------------------ messages

    def _handle(self, message: Message, now: float) -> None:
        _HANDLERS[type(message)](self, message, now)

    def _wake(self, now: float, late: float) -> None:
        self.carry_out(self.machine.wake(now, late), now)

    def _judge_later(self, order: o.JudgedLater, now: float) -> None:
        text = "%s event loop held up for at least %.2fs, %s; not judged for that: %s"
        cause = cause_of_lateness(order.late)
        say(_LOG, WARNING, text, self.path, order.late, cause, some(order.names, 5, ", "))

    def feed(self, signal: o.Signal, now: float) -> None:
        """Give ``signal`` to the machine, and carry out what it orders."""
        self.carry_out(self.machine.receive(signal, now), now)

    def _take_exit(self, attempt: Attempt, now: float) -> None:
        self.feed(exit_signal(self, attempt, now), now)

    def _take_heartbeat_notice(self, notice: HeartbeatNotice, now: float) -> None:
        attempt = notice.attempt
        attempt.beat_noted = False
        at = attempt.started_at if attempt.beat_at is None else attempt.beat_at
        self.feed(o.Heartbeat(attempt.name, attempt.number, at, attempt.busy_until), now)

    def _take_ready(self, signal: o.BecameReady, now: float) -> None:
        attempt = self._attempt_of(signal.name, signal.attempt)
        if attempt is not None and attempt.stop_requested:
            # The stop came first, so the machine ignores the signal; report and journal agree.
            attempt.take_back_ready(was_ready=self.slots[signal.name].life.was_ready)
        self.feed(signal, now)

    def _take_command(self, request: CommandRequest, now: float) -> None:
        command: Any = request.command
        context, reply = request.context, request.reply
        if context is None:
            name = command.name
        else:
            name = command.spec.name
            self._additions.pop(name, None)
        try:
            orders = self.machine.receive(command, now)
            refusal = orders[0] if orders and type(orders[0]) is o.Refuse else None
            if refusal is not None:
                reply.error = refusal.error
            elif context is not None:
                addition = None if reply.no_waiter else reply
                life = self.machine.children[name]
                self.slots[name] = Slot(self, life, context, addition)
                if life.spec.log_level is not None:
                    self.tree.log.levels[life.path] = life.spec.log_level
            reply.slot = self.slots.get(name)
            if reply.slot is not None:
                reply.attempt = reply.slot.life.attempt
            self.carry_out(orders, now)
        except BaseException:  # a bug of ours, which the caller must not take for an effect
            reply.error = SupervisorClosed(f"{self.path} broke down")
            raise
        finally:
            reply.answer()
            self.unanswered.pop(reply, None)
        log_refusal(self, reply)

    def _take_parent_stop(self, message: ParentStop, now: float) -> None:
        # Only now it shows whether there is a grace: without, the cancel has followed at once.
        attempt = message.attempt
        grace, deadline = not attempt.cancel_called, attempt.stop_deadline
        self.feed(o.Shutdown(attempt.stop_reason or "", grace=grace, deadline=deadline), now)

    def _nursery_cancelled(self, source: str) -> None:
        self.collector.post(NurseryCancelled(source))

    def _take_nursery_cancelled(self, message: NurseryCancelled, now: float) -> None:
        reason = f"the nursery of the children's tasks was cancelled by {message.source}"
        self.feed(o.Shutdown(reason, grace=False, kind=o.OutcomeKind.BROKEN), now)

    # ------------------------------------------------------------ orders

    def carry_out(self, orders: list[o.Order], now: float) -> None:
        """Carry out ``orders``, one after the other, then let waiting tasks look again."""
        try:
            for order in orders:
                if type(order) is tuple:
                    event, path, attempt, fields = order
                    act = _ACT_WITH.get(event)
                    error = None if act is None else act(self, path, attempt, fields, now)
                    self._journal.append(event, now, self.run, path, attempt, fields, error)
                    if path in self.watched:
                        self._changed[self.watched[path]] = None
                else:
                    _CARRY_OUT[type(order)](self, order, now)
        finally:
            if self._journal.untold:
                self._journal.tell()
        if self.tree.log.pending:  # written now that the journal agrees with the machine
            self.tree.log.flush()
        if self._changed:
            changed, self._changed = self._changed, {}
            for slot in changed:
                slot.refresh()

    def _begin_first_start(self, path: str, *_: object) -> None:
        log = self.tree.log
        log.looks[path] = self.snapshot
        if self.link is None and self.spec.log_level is not None:
            log.levels[path] = self.spec.log_level
        for name, life in self.machine.children.items():
            self.slots[name] = Slot(self, life, self._context)
            if life.spec.log_level is not None:
                log.levels[life.path] = life.spec.log_level
        self.is_visible = True
        self.children_listed.set()

    def _complete_first_start(self, *_: object) -> None:
        self.first_start_over.set()

    def _forget_child(self, path: str, *_: object) -> None:
        self.slots.pop(path[len(self.path) + 1 :]).forget_handle()

    def _end_attempt(
        self, path: str, attempt: int, fields: tuple[Any, ...], now: float
    ) -> BaseException | None:
        """Account for an attempt that is over, and return the exception behind its exit."""
        slot = self.slots[path[len(self.path) + 1 :]]
        slot.attempt = None
        kind, detail, _, _ = fields
        has_below = slot.nested is not None or slot.opened is not None
        below = slot.detach_below() if has_below else None
        self._shutdown_account.note_exit(path, attempt, kind, detail, now, below)
        if kind == "fatal":
            return self.fatal[-1]
        return None if slot.exit is None else slot.exit.error

    def _start_attempt(self, order: o.StartAttempt, now: float) -> None:
        slot = self.slots[order.name]
        spec = slot.life.spec
        attempt = Attempt(
            spec,
            slot.life.path,
            order.attempt,
            order.generation,
            self,
            started_at=now,
            call=None if spec.supervisor is None else self.tree.blocks.run_nested,
            watched=spec.stale_after < inf,
        )
        slot.attempt = attempt
        assert self._attempts is not None
        start_soon: Callable[..., None] = self._attempts.start_soon
        if self.observer is not None:
            self.observer.attempt_ordered(attempt)
        slot.context.run(start_soon, run_attempt, attempt, name=attempt.task_name)

    def _hears_stop(self, name: str, number: int) -> bool:
        attempt = self._attempt_of(name, number)
        return attempt is not None and attempt.can_hear_stop

    def _attempt_of(self, name: str, number: int) -> Attempt | None:
        slot = self.slots.get(name)
        attempt = None if slot is None else slot.attempt
        return attempt if attempt is not None and attempt.number == number else None

    def _request_stop(self, order: o.RequestStop, now: float) -> None:
        attempt = self._attempt_of(order.name, order.attempt)
        if attempt is not None:
            attempt.request_stop(order.reason, order.deadline, order.fault)

    def _stop_at_once(self, order: o.StopAtOnce, now: float) -> None:
        attempt = self._attempt_of(order.name, order.attempt)
        if attempt is not None:
            attempt.request_stop(order.reason, order.deadline, order.fault)
            self.collector.cancel(attempt, order.reason)

    def _cut_off(self, order: o.CancelAttempt, now: float) -> None:
        attempt = self._attempt_of(order.name, order.attempt)
        if attempt is not None:
            if not (attempt.returned or attempt.ended_at is not None):
                self._shutdown_account.note_cut_off(attempt.path)
            self.collector.cancel(attempt, order.reason)

    def _report_unresponsive(self, order: o.ReportUnresponsive, now: float) -> None:
        attempt = self._attempt_of(order.name, order.attempt)
        stack = () if attempt is None else stacks_of(attempt)
        path = self.slots[order.name].life.path
        self._shutdown_account.note_unresponsive(path, stack or ("between its tasks",))
        fields = (order.seconds, stack)
        self._journal.append(ev.ChildUnresponsive, now, self.run, path, order.attempt, fields)

    def _fail_start(self, order: o.FailStart, now: float) -> None:
        slot = self.slots[order.name]
        slot.fail_start()
        self._changed[slot] = None

    def _stop_tree(self, order: o.StopTree, now: float) -> None:
        assert self.link is not None  # the brain of a root begins the shutdown itself
        self.link.stop_tree(order.reason)

    def _refuse(self, order: o.Refuse, now: float) -> None:
        """Nothing is left to do: `_take_command` has put the error into the reply."""

    def _begin_stop(self, order: o.Stopping, now: float) -> None:
        self._shutdown_account.begin(now)
        outcome = order.outcome
        if outcome.is_failure:
            self.error = error_of(self, outcome)
        if outcome.is_failure or outcome.kind is o.OutcomeKind.FATAL:
            assert self._block is not None
            self._block.on_failure(outcome.reason)
        self.first_start_over.set()

    def _finish(self, order: o.Finish, now: float) -> None:
        self.collector.is_closed = True
        children = self.machine.children.values()
        self.report = self._shutdown_account.report(
            self.path, self.run, order.outcome, children, now
        )
        if self.error is not None and self.later_failures:
            add_failures(self.error, self.later_failures)
            self.later_failures = []
        if self.link is not None:
            self.link.leave(self)

    # ------------------------------------------------------------ commands

    @enable_ki_protection
    def command(self, command: o.Command, *, no_waiter: bool = False) -> Reply:
        """Post a command; the reply is answered within one turn of the collector.

        Raises:
            SupervisorError: This is not Trio's thread.
        """
        reply = Reply(no_waiter=no_waiter)
        command.reason = as_reason(command.reason)
        command.by = operator.get()
        if self.is_over:
            reply.refuse(closed_error(self))
        else:
            self.tree.check_thread(self.path)
            if self.observer is not None:
                self.observer.command_given(self, command, reply)
            context = None
            if isinstance(command, o.AddChild):
                context = copy_context()
                self._additions[command.spec.name] = None
            self.unanswered[reply] = None
            self.collector.post(CommandRequest(command, context, reply))
        return reply

    def add_soon(self, command: o.AddChild) -> None:
        """Post an addition that no task waits for.

        Raises:
            SupervisorClosed: The supervisor has ended.
            SupervisorError: The addition would be refused now, or this is not Trio's thread.
        """
        if self.is_over:
            raise closed_error(self)
        self.tree.check_thread(self.path)
        error = reason_to_refuse(self.machine, command.spec)
        error = error or refuse_with_pending(self.machine, command.spec, self._additions)
        if error is not None:
            raise error
        self.command(command, no_waiter=True)

    @enable_ki_protection
    def shut_down(self, request: o.Shutdown) -> None:
        """Post that all children are to be stopped; does nothing once the supervisor has ended.

        Raises:
            SupervisorError: This is not Trio's thread.
        """
        if not self.is_over:
            self.tree.check_thread(self.path)
            request.reason = as_reason(request.reason)
            request.by = operator.get() if request.kind is None else ()
            if self.observer is not None:
                self.observer.shutdown_requested(self, request)
            self.collector.post(request)

    @enable_ki_protection
    def forfeit_grace(self, attempt: Attempt, *, taken_back: bool = False) -> None:
        """Post that ``attempt``, one of ours, waits for its own end (or does not, after all)."""
        if self.observer is not None:
            self.observer.grace_forfeited(attempt, taken_back=taken_back)
        self.collector.post(o.GraceForfeited(attempt.name, attempt.number, taken_back))


_LOG = getLogger("trio_supervisor")

_HANDLERS: dict[type, Callable[[Shell, Any, float], None]] = {
    Attempt: Shell._take_exit,
    o.BecameReady: Shell._take_ready,
    o.LostReadiness: Shell.feed,
    o.StartExtended: Shell.feed,
    o.GraceForfeited: Shell.feed,
    o.Shutdown: Shell.feed,
    HeartbeatNotice: Shell._take_heartbeat_notice,
    CommandRequest: Shell._take_command,
    ParentStop: Shell._take_parent_stop,
    NurseryCancelled: Shell._take_nursery_cancelled,
}
_CARRY_OUT: dict[type, Callable[[Any, Any, float], None]] = {
    o.StartAttempt: Shell._start_attempt,
    o.RequestStop: Shell._request_stop,
    o.StopAtOnce: Shell._stop_at_once,
    o.CancelAttempt: Shell._cut_off,
    o.ReportUnresponsive: Shell._report_unresponsive,
    o.JudgedLater: Shell._judge_later,
    o.FailStart: Shell._fail_start,
    o.StopTree: Shell._stop_tree,
    o.Refuse: Shell._refuse,
    o.Stopping: Shell._begin_stop,
    o.Finish: Shell._finish,
}
_ACT_WITH: dict[type[ev.Event], Callable[..., BaseException | None]] = {
    ev.SupervisorStarted: Shell._begin_first_start,
    ev.SupervisorReady: Shell._complete_first_start,
    ev.ChildExited: Shell._end_attempt,
    ev.ChildRemoved: Shell._forget_child,
}
"""What the shell does before it records an event; it returns the exception behind the event."""
