"""The Trio shell of one supervisor: carries out orders, and keeps what only Trio knows."""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from logging import ERROR, getLogger
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
from trio_supervisor._events.exits import leaves
from trio_supervisor._events.shutdown import ChildShutdown, ShutdownReport
from trio_supervisor._logging.safe import say
from trio_supervisor._runtime.child_slot import Slot
from trio_supervisor._runtime.collector import ReportCollector
from trio_supervisor._runtime.operator import operator
from trio_supervisor._runtime.supervisor import Supervisor
from trio_supervisor._runtime.tree import Reply, Tree
from trio_supervisor._runtime.views import error_of, snapshot_of, value_of, wait_value_of
from trio_supervisor._text import as_reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from trio_supervisor._events.exits import TaskExit
    from trio_supervisor._events.snapshot import SupervisorSnapshot
    from trio_supervisor._specs.supervisor import SupervisorSpec


@final
class Shell(ReportCollector):
    """One run of one supervisor.

    Attributes:
        on_failure: Called once when the tree has failed, to end the block that stands on it.
        error: What the supervisor ends with, if it failed.
        report: How it ended, once it has.
    """

    def __init__(
        self,
        spec: SupervisorSpec,
        tree: Tree,
        path: str,
        parent: Shell | None,
        within: Attempt | None,
    ) -> None:
        super().__init__(SupervisionMachine(spec, path, tree.random), tree.log, tree.observer)
        self.spec = spec
        self.tree = tree
        self.path = path
        self.parent = parent
        self.within = within
        self.run = tree.journal.next_run()
        self.slots: dict[str, Slot] = {}
        self.watched: dict[str, Slot] = {}
        self.error: SupervisorError | None = None
        self.bug: BaseException | None = None
        self.report: ShutdownReport | None = None
        self.begun = trio.Event()  # its children can be found
        self.settled = trio.Event()
        self.finished = trio.Event()
        self.on_failure: Callable[[str], None] = _nothing
        self.on_finish: Callable[[], None] = _nothing_at_all
        self._append = tree.journal.append
        self._context: Context = copy_context()
        self._attempts: trio.Nursery | None = None
        self._touched: dict[Slot, None] = {}
        self._exit_noted = False  # and what follows from it is not in the log yet
        self._reply: Reply | None = None
        self._gone: list[ChildShutdown] = []
        self._stacks: dict[str, tuple[str, ...]] = {}
        self._stopping_since: float | None = None
        self._supervisor: Supervisor | None = None
        if self.observer is not None:
            self.observer.supervisor_opened(self)

    @property
    def supervisor(self) -> Supervisor:
        """The public face."""
        if self._supervisor is None:
            self._supervisor = Supervisor._create(self)
        return self._supervisor

    # ------------------------------------------------------------ the tasks

    @enable_ki_protection
    async def serve(self) -> None:  # noqa: ASYNC910 - closing a nursery is a checkpoint
        """Run the children until the machine is finished. Cancellation does not reach in here."""
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as inner:
                    self._attempts = await inner.start(self._hold_attempts)
                    inner.start_soon(self.keep_time, name=f"{self.path} timer")
                    if self.within is not None and self.parent is not None:
                        self.parent.slots[self.within.name].nested = self
                    await self.collect()
                    inner.cancel_scope.cancel("the supervisor has finished")
        except BaseException as error:  # noqa: ASYNC103 - a bug of ours: raised by the block
            self.bug = error
            for leaf in leaves(error):
                leaf.add_note(f"in the supervisor {self.path} itself, not in one of its children")
            self.on_failure("the supervisor itself has failed")
        finally:
            self._close()

    @enable_ki_protection
    async def _hold_attempts(  # noqa: ASYNC114 - private
        self, task_status: trio.TaskStatus[trio.Nursery]
    ) -> None:
        async with trio.open_nursery() as attempts:
            task_status.started(attempts)
            try:
                await trio.sleep_forever()
            except trio.Cancelled as cancelled:
                if not self.is_over:
                    self.post(Shell._take_breakage, cancelled.source_task or "somebody else")
                raise

    def _take_breakage(self, who: str, now: float) -> None:
        reason = f"the nursery of the children's tasks was cancelled by {who}"
        self.feed(o.Shutdown(reason, grace=False, kind=o.OutcomeKind.BROKEN), now)

    def _close(self) -> None:
        """Nobody may wait for what never comes."""
        self.is_over = True
        closed = SupervisorClosed(f"{self.path} has ended")

        def answer(subject: object) -> None:
            if isinstance(subject, tuple) and isinstance(subject[-1], Reply):
                subject[-1].error = closed
                subject[-1].answered.set()

        self.drain(answer)
        if self.bug is not None:
            self.tree.log.close(trio.current_time())
        for slot in list(self.watched.values()):
            slot.refresh()
        self.watched.clear()
        self.begun.set()
        self.settled.set()
        self.finished.set()
        self.on_finish()
        # Whoever keeps a handle or a `Supervisor` shall not keep the tasks and scopes of the past.
        self.on_failure, self.on_finish, self._attempts = _nothing, _nothing_at_all, None

    # ------------------------------------------------------------ orders

    def carry_out(self, orders: list[o.Order], now: float) -> None:
        """Do what the brain says, in order."""
        for order in orders:
            if type(order) is o.Emit:
                event, path = order.event, order.path
                error = _NOTES[event](self, order, now) if event in _NOTES else None
                self._append(event, now, self.run, path, order.attempt, order.fields, error)
                if path in self.watched:
                    self._touched[self.watched[path]] = None
            else:
                _CARRY_OUT[type(order)](self, order, now)
        if self._exit_noted:
            self._exit_noted = False
            self.tree.log.flush()
        if self._touched:
            touched, self._touched = self._touched, {}
            for slot in touched:
                slot.refresh()

    def _supervisor_started(self, order: o.Emit, now: float) -> None:
        for name, life in self.machine.children.items():
            self.slots[name] = Slot(self, life, self._context)
        self.begun.set()

    def _supervisor_ready(self, order: o.Emit, now: float) -> None:
        self.settled.set()

    def _child_removed(self, order: o.Emit, now: float) -> None:
        slot = self.slots.pop(order.path[len(self.path) + 1 :])
        slot.let_go()
        self._touched[slot] = None

    def _child_exited(self, order: o.Emit, now: float) -> BaseException | None:
        path = order.path
        slot = self.slots[path[len(self.path) + 1 :]]
        slot.attempt = None
        kind, detail, seconds, _ = order.fields
        if self._stopping_since is not None:
            if slot.nested is not None and slot.nested.report is not None:
                self._gone.extend(slot.nested.report.children)
            seconds = now - self._stopping_since
            self._gone.append(
                ChildShutdown(
                    path, order.attempt, kind, detail, seconds, self._stacks.pop(path, ())
                )
            )
        else:
            self._stacks.pop(path, None)
        slot.nested = None
        self._exit_noted = True
        if kind == "fatal":
            return self.fatal[-1]
        return None if slot.exit is None else slot.exit.error

    def _start(self, order: o.StartAttempt, now: float) -> None:
        slot = self.slots[order.name]
        spec = slot.life.spec
        attempt = Attempt(
            spec,
            slot.life.path,
            order.attempt,
            order.generation,
            self,
            started_at=now,
            call=None if spec.supervisor is None else partial(self.tree.nest, self),
            watched=spec.stale_after < _NEVER,
        )
        slot.attempt = attempt
        assert self._attempts is not None
        start_soon: Callable[..., None] = self._attempts.start_soon
        if self.observer is not None:
            self.observer.attempt_ordered(attempt)
        slot.context.run(start_soon, run_attempt, attempt, name=attempt.task_name)

    def _attempt_of(self, name: str, number: int) -> Attempt | None:
        attempt = self.slots[name].attempt
        return attempt if attempt is not None and attempt.number == number else None

    def _request_stop(self, order: o.RequestStop, now: float) -> None:
        attempt = self._attempt_of(order.name, order.attempt)
        if attempt is not None:
            attempt.fault = order.fault
            attempt.request_stop(order.reason, order.deadline)

    def _stop_at_once(self, order: o.StopAtOnce, now: float) -> None:
        self._request_stop(order, now)
        self._cancel(order, now)

    def _cancel(self, order: o.CancelAttempt | o.StopAtOnce, now: float) -> None:
        attempt = self._attempt_of(order.name, order.attempt)
        if attempt is not None:
            self.cancel(attempt, order.reason)

    def _report_unresponsive(self, order: o.ReportUnresponsive, now: float) -> None:
        attempt = self._attempt_of(order.name, order.attempt)
        stack = () if attempt is None else stacks_of(attempt)
        path = self.slots[order.name].life.path
        self._stacks[path] = stack or ("between its tasks",)
        fields = (order.seconds, stack)
        self._append(ev.ChildUnresponsive, now, self.run, path, order.attempt, fields)

    def _fail_start(self, order: o.FailStart, now: float) -> None:
        slot = self.slots[order.name]
        slot.failed_start = slot.last_report
        self._touched[slot] = None

    def _refuse(self, order: o.Refuse, now: float) -> None:
        assert self._reply is not None  # nothing but commands can be refused
        self._reply.error = order.error
        if self._reply.lonely:
            text = "%s refused a command that nobody waits for: %s"
            say(_LOG, ERROR, text, self.path, order.error)

    def _stopping(self, order: o.Stopping, now: float) -> None:
        self._stopping_since = now
        outcome = order.outcome
        if outcome.is_failure:
            self.error = error_of(self, outcome)
        if outcome.is_failure or outcome.kind is o.OutcomeKind.FATAL:
            self.on_failure(outcome.reason)
        self.settled.set()

    def _finish(self, order: o.Finish, now: float) -> None:
        self.is_over = True
        outcome = order.outcome
        began = now if self._stopping_since is None else self._stopping_since
        gone = {entry.path for entry in self._gone}
        rested = tuple(
            ChildShutdown(life.path, life.attempt, life.state.value, life.last_exit)
            for life in self.machine.children.values()
            if life.path not in gone
        )
        children = (*rested, *self._gone)
        self.report = ShutdownReport(
            self.path, self.run, outcome.kind.value, outcome.reason, now - began, children
        )

    # ------------------------------------------------------------ commands

    @enable_ki_protection
    def command(self, signal: o.Command) -> Reply:
        """Post a command; the reply is answered within one turn of the collector."""
        reply = Reply()
        signal.reason = as_reason(signal.reason)
        signal.by = operator.get()
        if self.is_over:
            reply.error = SupervisorClosed(f"{self.path} has ended")
            reply.answered.set()
        else:
            self._check_thread()
            if self.observer is not None:
                self.observer.command_given(self, signal, reply)
            context = copy_context() if isinstance(signal, o.AddChild) else None
            self.post(Shell._take_command, (signal, context, reply))
        return reply

    def command_soon(self, signal: o.AddChild) -> None:
        """Post a command that nobody waits for; what can be refused now is refused now."""
        if self.is_over:
            raise SupervisorClosed(f"{self.path} has ended")
        error = reason_to_refuse(self.machine, signal.spec)
        if error is not None:
            raise error
        self.command(signal).lonely = True

    def _take_command(self, subject: tuple[Any, Context | None, Reply], now: float) -> None:
        signal, context, reply = subject
        name = signal.spec.name if context is not None else signal.name
        self._reply = reply
        try:
            orders = self.machine.receive(signal, now)
            if context is not None and not isinstance(orders[0], o.Refuse):
                self.slots[name] = Slot(self, self.machine.children[name], context)
            reply.slot = self.slots.get(name)
            if reply.slot is not None:
                reply.attempt = reply.slot.life.attempt
            self.carry_out(orders, now)
        except BaseException:  # a bug of ours: whoever waits must not take it for an effect
            reply.error = SupervisorClosed(f"{self.path} broke down")
            raise
        finally:
            self._reply = None
            reply.answered.set()

    @enable_ki_protection
    def shut_down(self, signal: o.Shutdown) -> None:
        """Post the wish that everything ends."""
        if not self.is_over:
            self._check_thread()
            signal.reason = as_reason(signal.reason)
            signal.by = operator.get() if signal.kind is None else ()
            if self.observer is not None:
                self.observer.shutdown_requested(self, signal)
            self.post(Shell.feed, signal)

    def _check_thread(self) -> None:
        # Trio's channel would be left in a state in which nobody wakes any more.
        if get_ident() != self.tree.thread:
            raise SupervisorError(
                f"{self.path}: commands have to be given in Trio's thread; from this one, "
                "trio.from_thread.run() and trio.from_thread.run_sync() do that"
            )

    @enable_ki_protection
    def forfeit_grace(self, attempt: Attempt, *, taken_back: bool = False) -> None:
        """Post that ``attempt``, one of ours, waits for its own end (or does not, after all)."""
        if self.observer is not None:
            self.observer.grace_forfeited(attempt, taken_back=taken_back)
        self.post(Shell.feed, o.GraceForfeited(attempt.name, attempt.number, taken_back))

    @property
    def around(self) -> Attempt | None:
        """The attempt in which this supervisor was opened, if there is one."""
        return self._context.get(current_attempt)

    # ------------------------------------------------------------ reports and values

    def attempt_ended(self, attempt: Attempt, how: TaskExit, detail: str) -> None:
        """Keep the report."""
        self.slots[attempt.name].record(attempt, how, detail)

    def value_of(self, attempt: Attempt, name: str) -> object:
        """The ready value of a sibling of ``attempt``, or of one in an enclosing supervisor."""
        return value_of(self, name)

    async def wait_value_of(self, attempt: Attempt, name: str) -> object:
        """The same, as soon as there is one."""
        return await wait_value_of(self, name)

    # ------------------------------------------------------------ state

    @property
    def is_stopping(self) -> bool:
        """Whether the end has begun."""
        return self._stopping_since is not None or self.is_over

    def snapshot(self) -> SupervisorSnapshot:
        """The tree as it is, built from the machine."""
        return snapshot_of(self)


_LOG = getLogger("trio_supervisor")
_NEVER = float("inf")


def _nothing(reason: str) -> None:
    """No block stands on this tree."""


def _nothing_at_all() -> None:
    """Nobody waits for the end."""


_NOTES: dict[type[ev.Event], Callable[[Any, o.Emit, float], BaseException | None]] = {
    ev.SupervisorStarted: Shell._supervisor_started,
    ev.SupervisorReady: Shell._supervisor_ready,
    ev.ChildRemoved: Shell._child_removed,
    ev.ChildExited: Shell._child_exited,
}
_CARRY_OUT: dict[type, Callable[[Any, Any, float], None]] = {
    o.StartAttempt: Shell._start,
    o.RequestStop: Shell._request_stop,
    o.StopAtOnce: Shell._stop_at_once,
    o.CancelAttempt: Shell._cancel,
    o.ReportUnresponsive: Shell._report_unresponsive,
    o.FailStart: Shell._fail_start,
    o.Refuse: Shell._refuse,
    o.Stopping: Shell._stopping,
    o.Finish: Shell._finish,
}
