"""SingleRun: runs one attempt for a `ChildRunner`, without a supervisor."""

from __future__ import annotations

from contextlib import suppress
from math import inf
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

import trio
from trio.lowlevel import enable_ki_protection

import trio_supervisor
from trio_supervisor._attempts.attempt import Attempt, Heartbeat, run_attempt
from trio_supervisor._attempts.observer import tree_observer
from trio_supervisor._brain.vitals import Stage, Vitals
from trio_supervisor._errors import ChildNotReady, SupervisorError
from trio_supervisor._events.exits import ChildRunReport, TaskExit
from trio_supervisor._specs.body import DEFAULT_GRACE
from trio_supervisor._text import as_reason, short_repr

if TYPE_CHECKING:
    from typing import NoReturn

    from trio_supervisor._attempts.host import Target
    from trio_supervisor._specs.policy import ReadinessState
    from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

T = TypeVar("T")

_NO_SUPERVISOR = "this child is run by a ChildRunner: it has no supervisor and no siblings"


@final
class SingleRun:
    """The host of one attempt that no supervisor runs: its deadlines, its end, its observers."""

    is_supervisor = False

    def __init__(self, spec: ChildSpec[Any], number: int, generation: int) -> None:
        self.observer = tree_observer.get()
        self.thread = get_ident()
        now = trio.current_time()
        watched = spec.stale_after < inf
        self.attempt = Attempt(
            spec, spec.name, number, generation, self, started_at=now, watched=watched
        )
        self.done = trio.Event()
        self.report: ChildRunReport | None = None
        self._fatal: BaseException | None = None
        self._vitals = Vitals()
        self._vitals.begin(spec, now)
        if self.attempt.is_ready:
            self._vitals.become_ready(now)
        self._nursery: trio.Nursery | None = None
        self._alarm: trio.CancelScope | None = None
        self._changed: trio.Event | None = None
        self._readiness: _Latest[ReadinessState] | None = None
        self._heartbeats: _Latest[Heartbeat] | None = None

    # ---- running

    @enable_ki_protection
    def start(self, nursery: trio.Nursery) -> None:
        attempt = self.attempt
        self._nursery = nursery
        if self.observer is not None:
            self.observer.attempt_ordered(attempt)
        nursery.start_soon(self._run, name=attempt.task_name)
        self._rearm()

    @enable_ki_protection
    async def _run(self) -> None:
        try:
            await run_attempt(self.attempt)
        except BaseException as error:
            if not self.done.is_set():  # a bug of ours: no task may go on waiting for the exit
                self._fatal = error
                self._wake_all()
            raise
        fatal = self._fatal
        del self  # the traceback in the report may lead to this frame, and must end here
        if fatal is not None:
            raise fatal

    def finished(self) -> ChildRunReport:
        """The report of an attempt that has ended."""
        if self.report is None:
            self._raise_fatal()
        return self.report

    def _raise_fatal(self) -> NoReturn:
        raise SupervisorError(
            f"{self.attempt!r} has no report: it ended with {type(self._fatal).__name__}"
        ) from self._fatal

    @enable_ki_protection
    async def wait_ready(self) -> object:
        attempt = self.attempt
        await trio.lowlevel.checkpoint()
        while not attempt.is_ready and not self.done.is_set():
            if self._changed is None:
                self._changed = trio.Event()
            await self._changed.wait()
        if attempt.is_ready:
            return attempt.ready_value
        how = self.finished().exit.describe()
        raise ChildNotReady(f"{attempt!r} ended and was not ready: {how}")

    # ---- ending it

    def check_thread(self) -> None:
        """Refuse to be used in another thread than that of the run, until it has ended.

        Raises:
            SupervisorError: This is another thread.
        """
        if get_ident() != self.thread and not self.done.is_set():
            raise SupervisorError(
                f"{self.attempt!r} can be used in Trio's thread only; from this one, "
                "trio.from_thread.run() and trio.from_thread.run_sync() do that"
            )

    def request_stop(self, reason: str, fault: TaskExit | None = None) -> None:
        """Request the stop, because of ``fault`` if there is one; the cancel follows the grace."""
        if self._vitals.stage is not Stage.RUNNING or self.done.is_set():
            return
        attempt = self.attempt
        reason = as_reason(reason)
        now = trio.current_time()
        grace = attempt.spec.grace
        if grace is None:
            grace = DEFAULT_GRACE if attempt.can_hear_stop else 0.0
        self._vitals.begin_grace(now, grace)
        attempt.request_stop(reason, now + grace, fault)
        if grace > 0:
            self._rearm()
        else:
            self.cancel(reason)

    def cancel(self, reason: str) -> None:
        """Cancel the attempt now."""
        self._vitals.cancel(trio.current_time(), inf)
        self.attempt.cancel(as_reason(reason))

    # ---- time

    def _rearm(self) -> None:
        """Have the timer look when it is due. It is never set later, and started when needed."""
        due = self._vitals.due(self.attempt.spec)
        if self._alarm is not None:
            self._alarm.deadline = min(due, self._alarm.deadline)
        elif due < inf:
            assert self._nursery is not None
            self._alarm = trio.CancelScope(deadline=due)
            self._nursery.start_soon(self._watch, name=f"{self.attempt.path} timer")

    async def _watch(self) -> None:  # noqa: ASYNC910 - a timer that comes too late has no work
        spec = self.attempt.spec
        while not self.done.is_set():
            assert self._alarm is not None
            with self._alarm:
                await trio.sleep_forever()
            # What the child says in the very instant of a deadline counts, and if that is that it
            # has ended, then its nursery takes another step to close.
            await trio.lowlevel.cancel_shielded_checkpoint()
            await trio.lowlevel.cancel_shielded_checkpoint()
            self._check_deadlines(trio.current_time() - self._alarm.deadline)
            self._alarm = trio.CancelScope(deadline=self._vitals.due(spec))

    @enable_ki_protection
    def _check_deadlines(self, late: float) -> None:
        if self.done.is_set():
            return
        vitals, attempt, now = self._vitals, self.attempt, trio.current_time()
        if vitals.stage is Stage.STOP_REQUESTED and vitals.step_due <= now:
            self.cancel("the grace after the stop request is over")
        fault = vitals.fault(attempt.spec, now)
        if fault is None:
            vitals.rounds = 0
        elif not vitals.grant_round(now, late):
            self.request_stop(fault.describe(), fault)

    # ---- what the attempt posts

    @property
    def supervisor(self) -> trio_supervisor.Supervisor:
        raise SupervisorError(_NO_SUPERVISOR)

    def open_supervisor(
        self,
        attempt: Attempt,
        spec: SupervisorSpec | None,
        options: Any,
        *,
        wait_ready: bool,
    ) -> NoReturn:
        raise SupervisorError(f"cannot open a supervisor in a tree: {_NO_SUPERVISOR}")

    def value_of(self, attempt: Attempt, of: Target) -> object:
        raise SupervisorError(f"no value of {short_repr(of)}: {_NO_SUPERVISOR}")

    async def wait_value_of(self, attempt: Attempt, of: Target) -> object:
        raise SupervisorError(f"no value of {short_repr(of)}: {_NO_SUPERVISOR}")

    def post_ready(self, attempt: Attempt) -> None:
        self._vitals.become_ready(trio.current_time())
        self._rearm()
        self._notify_readiness()

    def post_not_ready(self, attempt: Attempt, reason: str) -> None:
        self._vitals.ready = False
        self._notify_readiness()

    def post_beat(self, attempt: Attempt) -> None:
        attempt.beat_noted = False
        assert attempt.beat_at is not None
        self._vitals.heartbeat_at = attempt.beat_at
        if self._heartbeats is not None:
            self._heartbeats.put(_heartbeat(attempt))

    def post_busy(self, attempt: Attempt, until: float) -> None:
        self._vitals.busy_until = until
        self._rearm()

    def post_extend(self, attempt: Attempt, until: float) -> None:
        if self.observer is not None:
            self.observer.start_extended(attempt, until)
        self._vitals.extend_start(until)

    def post_exit(self, attempt: Attempt) -> None:
        try:
            how = attempt.judge()
            if isinstance(how, TaskExit):
                if self.observer is not None:
                    self.observer.exit_classified(attempt, how)
                attempt.failures_in_row = int(how.is_failure)
                self.report = attempt.report(how)
            else:
                self._fatal = how
        except BaseException as error:  # noqa: ASYNC103 - a bug of ours: raised out of the task
            self._fatal = error
        self._wake_all()

    def _wake_all(self) -> None:
        self.done.set()
        for step in (self._end_timer, self._notify_readiness, self._close_channels):
            try:
                step()
            except BaseException as error:  # noqa: ASYNC103 - each wait ends, whatever another does
                self._fatal = error
                with suppress(BaseException):
                    step()

    def _end_timer(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    def _close_channels(self) -> None:
        for channel in (self._readiness, self._heartbeats):
            if channel is not None:
                channel.close()

    # ---- for observers

    def _notify_readiness(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None
        if self._readiness is not None and not self.done.is_set():
            self._readiness.put(self.attempt.readiness)

    def readiness_channel(self) -> trio.MemoryReceiveChannel[ReadinessState]:
        if self._readiness is None:
            self._readiness = _Latest()
            self._readiness.put(self.attempt.readiness)
            if self.done.is_set():
                self._readiness.close()
        return self._readiness.receiver

    def heartbeat_channel(self) -> trio.MemoryReceiveChannel[Heartbeat]:
        if self._heartbeats is None:
            self._heartbeats = _Latest()
            self.attempt.watched = True
            if self.attempt.beats:
                self._heartbeats.put(_heartbeat(self.attempt))
            if self.done.is_set():
                self._heartbeats.close()
        return self._heartbeats.receiver


@final
class _Latest(Generic[T]):
    """A memory channel that holds the latest value only, so that sending never waits."""

    def __init__(self) -> None:
        self._sender: trio.MemorySendChannel[T]
        self._sender, self.receiver = trio.open_memory_channel[T](1)
        # An end of our own to take the old value out with: the reader may have closed hers.
        self._drain = self.receiver.clone()

    def put(self, value: T) -> None:
        try:
            self._sender.send_nowait(value)
        except trio.WouldBlock:
            self._drain.receive_nowait()
            self._sender.send_nowait(value)

    def close(self) -> None:
        self._sender.close()
        self._drain.close()


def _heartbeat(attempt: Attempt) -> Heartbeat:
    assert attempt.beat_at is not None
    return Heartbeat(attempt.beat_at, attempt.beat_detail, attempt.beats)
