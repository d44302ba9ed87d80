"""One attempt: one Trio task, one nursery, one body, and one exit that is posted whatever happens.

`run_attempt` is all that a child costs at run time: the task opens a nursery, whose cancel scope is
the attempt's scope, and awaits the body in it. No channel, no timer and no monitor belongs to an
attempt; what the body reports goes to the attempt's *host* by plain calls that never wait.

Three rules decide what this module looks like:

* The body's own outcome is recorded where it happens. A nursery that closes without an exception
  proves nothing: it also swallows a ``Cancelled`` of another scope.
* The body's exception is caught inside the nursery block and recorded. Raised through the nursery,
  it would cost an exception group, a cancel reason with two `repr` calls, and the cancel of a scope
  without tasks.
* Nothing in a report may lead back to the object that holds the report, or each crash would leave
  garbage that only the cycle collector finds. Hence the ``del`` before the end.
"""

from __future__ import annotations

from contextvars import ContextVar
from inspect import isawaitable
from math import inf
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast, final

import trio
from trio.lowlevel import current_task, disable_ki_protection, enable_ki_protection

from trio_supervisor._attempts.context import ChildContext
from trio_supervisor._attempts.host import NO_HOST, AttemptHost
from trio_supervisor._attempts.open_nurseries import close_leftovers
from trio_supervisor._events.exits import ChildRunReport, TaskExit, classify, leaves
from trio_supervisor._lazy import public
from trio_supervisor._record import Record
from trio_supervisor._specs.body import Body, label_of
from trio_supervisor._specs.policy import ReadinessState
from trio_supervisor._text import as_reason, short_repr

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_supervisor._attempts.busy import BusyBlocks
    from trio_supervisor._attempts.observer import TreeObserver
    from trio_supervisor._specs.supervisor import ChildSpec

current_attempt: ContextVar[Attempt] = ContextVar("trio_supervisor.current_attempt")
"""The attempt that the running code belongs to, its background tasks included."""


@public
@final
class Heartbeat(Record):
    """The latest heartbeat of a child."""

    at: float
    """When, in seconds on Trio's clock."""
    detail: object
    """What the child gave to `ChildContext.heartbeat`."""
    count: int
    """How many heartbeats the attempt has sent up to this one."""


@final
class Attempt:
    """The facts of one attempt, from the order to start it until its exit has been classified.

    The attempt's tasks write what the body reports and how it ended. The host writes what it wants
    of the attempt: the stop request, the cancel, the fault that is the reason for these.
    """

    __slots__ = (
        "aborted",
        "args",
        "beat_at",
        "beat_detail",
        "beat_noted",
        "beats",
        "body_cancelled",
        "busy",
        "call",
        "cancel_called",
        "cancelled_by",
        "ended_at",
        "error",
        "failures_in_row",
        "fault",
        "generation",
        "hears_stop",
        "host",
        "is_ready",
        "name",
        "number",
        "nursery",
        "path",
        "ready_at",
        "ready_value",
        "returned",
        "spec",
        "started_at",
        "stop_deadline",
        "stop_event",
        "stop_listeners",
        "stop_reason",
        "stop_requested",
        "stop_scopes",
        "task",
        "value",
        "was_ready",
        "watched",
    )

    def __init__(
        self,
        spec: ChildSpec[Any],
        path: str,
        number: int,
        generation: int,
        host: AttemptHost,
        *,
        started_at: float,
        call: Callable[..., Awaitable[object]] | None = None,
        args: tuple[object, ...] | None = None,
        watched: bool = False,
    ) -> None:
        self.spec: ChildSpec[Any] = spec
        self.name: str = spec.name
        self.path: str = path
        self.number: int = number
        self.generation: int = generation
        self.host: AttemptHost = host
        self.call: Callable[..., Awaitable[object]] = spec.run if call is None else call
        self.args: tuple[object, ...] = spec.args if args is None else args
        self.nursery: trio.Nursery | None = None
        self.task: trio.lowlevel.Task | None = None
        self.started_at: float = started_at
        self.ended_at: float | None = None

        # What the child says of itself. An immediate one is ready as soon as it is ordered.
        self.watched: bool = watched
        self.ready_value: object = None
        immediate = not spec.is_explicit
        self.is_ready: bool = immediate
        self.was_ready: bool = immediate
        self.ready_at: float | None = started_at if immediate else None
        self.beat_at: float | None = None
        self.beat_detail: object = None
        self.beats: int = 0
        self.beat_noted: bool = False
        self.busy: BusyBlocks | None = None

        # What its host wants of it.
        self.hears_stop: bool = False
        self.stop_requested: bool = False
        self.stop_reason: str | None = None
        self.stop_deadline: float = inf
        self.stop_event: trio.Event | None = None
        self.stop_scopes: dict[trio.CancelScope, None] | None = None
        self.stop_listeners: tuple[Callable[[Attempt], None], ...] = ()
        self.cancel_called: bool = False
        self.fault: TaskExit | None = None

        # How it ended.
        self.failures_in_row: int = 0
        self.returned: bool = False
        self.value: object = None
        self.error: BaseException | None = None
        self.body_cancelled: bool = False
        self.aborted: bool = False
        self.cancelled_by: str = ""

    def __repr__(self) -> str:
        return f"<attempt {self.number} of {self.path}>"

    @property
    def can_hear_stop(self) -> bool:
        """Whether the attempt can notice a stop request: its adapter listens, or its body has."""
        run = self.spec.run
        return self.hears_stop or (isinstance(run, Body) and run.hears_stop)

    def note_hears_stop(self) -> None:
        """The body has looked at the stop request, or waits for it: it can end by itself."""
        self.hears_stop = True

    def take_back_ready(self, *, was_ready: bool) -> None:
        """The stop came before the host saw the last `ChildContext.ready`: it has no effect.

        Args:
            was_ready: Whether the host has seen an earlier one.
        """
        self.is_ready = False
        if not was_ready:
            self.was_ready = False
            self.ready_at = self.ready_value = None

    @property
    def busy_until(self) -> float:
        """The time until which the body has announced silence; ``-inf`` for none."""
        return -inf if self.busy is None else self.busy.until

    @property
    def task_name(self) -> str:
        """The name of its Trio task, for people: nothing may read it back."""
        return f"{self.path}#{self.number}"

    @property
    def readiness(self) -> ReadinessState:
        """The readiness that the child has reported last."""
        if self.is_ready:
            return ReadinessState.READY
        return ReadinessState.NOT_READY if self.was_ready else ReadinessState.UNREPORTED

    @enable_ki_protection
    def request_stop(
        self, reason: str, deadline: float = inf, fault: TaskExit | None = None
    ) -> None:
        """Ask the body to end, by ``deadline`` if it can.

        The first reason wins, and the earliest deadline. With ``fault``, the attempt is ended for
        that, and it is the exit of the attempt whatever the body does.
        """
        if self.ended_at is not None:
            return
        if fault is not None:
            self.fault = fault
        sooner = deadline < self.stop_deadline
        if sooner:
            self.stop_deadline = deadline
        news = not self.stop_requested
        if news:
            self._mark_stopping(reason)
        if news or sooner:
            for listener in self.stop_listeners:
                listener(self)

    def add_stop_listener(self, listener: Callable[[Attempt], None]) -> None:
        """Call ``listener`` at the first stop request, and at each one with an earlier deadline."""
        self.stop_listeners = (*self.stop_listeners, listener)

    def remove_stop_listener(self, listener: Callable[[Attempt], None] | None) -> None:
        """Call ``listener`` no more; `None` stands for none at all."""
        self.stop_listeners = tuple([one for one in self.stop_listeners if one is not listener])

    @enable_ki_protection
    def cancel(self, reason: str) -> None:
        """Cancel everything in the attempt now, which counts as asking.

        If it has not made its first step, the body never runs.
        """
        if self.cancel_called or self.ended_at is not None:
            return
        self.cancel_called = True
        if not self.stop_requested:
            self._mark_stopping(reason)
        if self.nursery is None:
            self.aborted = True
            return
        scope = self.nursery.cancel_scope
        # If the body has ended, or has cancelled itself, then the supervisor did not end it.
        over = self.returned or self.body_cancelled or self.error is not None
        self.aborted = not (over or scope.cancel_called)
        scope.cancel(reason)

    def _mark_stopping(self, reason: str) -> None:
        self.stop_requested = True
        self.stop_reason = reason
        if self.stop_event is not None:
            self.stop_event.set()
        if self.stop_scopes is not None:
            for scope in self.stop_scopes:
                scope.cancel(reason)

    def release_stop_waiters(self) -> None:
        """Wake tasks outside the attempt that wait for its stop request, if none was made.

        The attempt has ended, so no request can follow. Sets the stop event and cancels the open
        stop scopes.
        """
        if not self.stop_requested:
            if self.stop_event is not None:
                self.stop_event.set()
            for scope in self.stop_scopes or ():
                scope.cancel("the attempt has ended")

    def judge(self) -> TaskExit | BaseException:
        """Return the exit of the attempt, which has ended; or the fatal exception out of it.

        Forgets the error, so that a report with it does not lead back to itself: call this once.
        """
        error, self.error = self.error, None
        value, self.value = self.value, None
        return classify(
            error=error,
            body_cancelled=self.body_cancelled,
            cancel_called=self.aborted,
            fault=self.fault,
            stop_reason=self.stop_reason,
            value=value,
            cancelled_by=self.cancelled_by,
            fatal_is_failure=self.spec.fatal_is_failure,
        )

    def report(self, how: TaskExit) -> ChildRunReport:
        """Return the report of this attempt, which has ended as ``how``."""
        assert self.ended_at is not None
        return ChildRunReport(
            self.name,
            self.path,
            self.number,
            self.generation,
            how,
            self.was_ready,
            self.is_ready,
            self.started_at,
            self.ready_at,
            self.ended_at,
            self.stop_reason,
            self.beat_at,
            self.failures_in_row,
        )


@enable_ki_protection
async def run_attempt(attempt: Attempt) -> None:  # noqa: ASYNC910 - a nursery is a checkpoint
    """Run the body once and post how it ended. The one task of an attempt.

    Raises nothing but the ``Cancelled`` of an enclosing scope, and that after the exit was posted.
    If the attempt was cancelled before its first step, the body never runs.
    """
    current_attempt.set(attempt)
    attempt.task = task = current_task()
    passing: BaseException | None = None
    background: BaseException | None = None
    nursery: trio.Nursery | None = None
    observer = attempt.host.observer
    if observer is not None:
        observer.attempt_began(attempt)
    try:
        async with trio.open_nursery() as nursery:
            attempt.nursery = nursery
            if attempt.cancel_called:
                attempt.body_cancelled = True
            else:
                try:
                    if observer is None:
                        attempt.value = await _await_body(
                            attempt.call, ChildContext._create(attempt), attempt.args
                        )
                    else:
                        attempt.value = await _observed_body(attempt, observer)
                    attempt.returned = True
                except BaseException as exc:  # noqa: ASYNC103 - posted with the exit
                    attempt.error = exc
                    if nursery.child_tasks or getattr(nursery, "_pending_starts", True):
                        nursery.cancel_scope.cancel(_BODY_FAILED)
                if task.child_nurseries[-1] is not nursery:
                    await _close_leftovers(attempt, task, nursery)
    except BaseException as exc:  # noqa: ASYNC103 - posted likewise
        background = exc
    error = attempt.error
    if background is not None or not (
        error is None
        or (issubclass(type(error), Exception) and not issubclass(type(error), ExceptionGroup))
    ):
        passing = _sort_out(attempt, background)
    host, attempt.host = attempt.host, NO_HOST
    attempt.ended_at = trio.current_time()
    if observer is not None:
        observer.attempt_over(attempt)
    attempt.nursery = attempt.task = None
    attempt.stop_listeners = ()
    host.post_exit(attempt)
    if attempt.stop_event is not None or attempt.stop_scopes:
        attempt.release_stop_waiters()
    # The errors' tracebacks lead to this frame.
    del attempt, background, error, host, nursery, observer, task
    if passing is not None:
        try:
            raise passing
        finally:
            del passing


@disable_ki_protection
async def _await_body(
    call: Callable[..., Awaitable[object]], context: ChildContext, args: tuple[object, ...]
) -> object:
    awaitable = call(context, *args)
    if type(awaitable) is not CoroutineType and not isawaitable(awaitable):
        raise TypeError(
            f"the body {label_of(call)} returned {short_repr(awaitable)}, which cannot be awaited; "
            "define it with 'async def' (and no 'yield' in it)"
        )
    return await awaitable


def _observed_body(attempt: Attempt, observer: TreeObserver) -> Awaitable[object]:
    context = ChildContext._create(attempt)
    body = _await_body(attempt.call, context, attempt.args)
    return observer.around_body(attempt, context, body)


async def _close_leftovers(
    attempt: Attempt, task: trio.lowlevel.Task, nursery: trio.Nursery
) -> None:
    found = await close_leftovers(task, nursery)
    attempt.error = _together(found if attempt.error is None else [attempt.error, *found])
    nursery.cancel_scope.cancel(_BODY_FAILED)


def _sort_out(attempt: Attempt, background: BaseException | None) -> BaseException | None:
    """Part the errors of an attempt from the ``Cancelled`` among them.

    Returns the ``Cancelled`` to raise on, if a scope around the attempt has been cancelled.
    """
    if background is None and type(attempt.error) is trio.Cancelled:  # how most of them stop
        cancelled: trio.Cancelled | None = attempt.error
        attempt.error = None
        attempt.body_cancelled = True
    else:
        cancelled = _sort_out_several(attempt, background)
    if cancelled is None:
        return None
    if attempt.body_cancelled:
        attempt.cancelled_by = as_reason(cancelled.reason or f"cancelled due to {cancelled.source}")
    if trio.current_effective_deadline() != -inf:
        return None
    if attempt.body_cancelled and not attempt.aborted:
        # Neither our stop nor the child's own doing: a scope around the attempt was cancelled.
        attempt.aborted = True
        attempt.cancelled_by = f"a scope around the attempt: {attempt.cancelled_by}"
    return cancelled


def _sort_out_several(attempt: Attempt, background: BaseException | None) -> trio.Cancelled | None:
    cancelled: list[trio.Cancelled] = []
    errors: list[BaseException] = []
    for error in (attempt.error, background):
        if error is not None:
            rest = _without_cancelled(error, cancelled)
            if rest is not None:
                errors.append(rest)
            elif error is attempt.error:
                attempt.body_cancelled = True
    attempt.error = _together(errors) if errors else None
    return cancelled[0] if cancelled else None


def _without_cancelled(
    error: BaseException, cancelled: list[trio.Cancelled]
) -> BaseException | None:
    """``error`` without each ``Cancelled``, which is put into the list; a lone leaf comes bare."""
    found = list(leaves(error))
    rest = [leaf for leaf in found if not issubclass(type(leaf), trio.Cancelled)]
    cancelled.extend(
        cast("trio.Cancelled", leaf) for leaf in found if issubclass(type(leaf), trio.Cancelled)
    )
    if len(rest) < 2:
        return rest[0] if rest else None
    if len(rest) == len(found):
        return error
    assert isinstance(error, BaseExceptionGroup)
    try:
        return error.split(trio.Cancelled)[1]
    except BaseException:  # noqa: ASYNC103 - a group of the user's in it whose derive() fails
        return BaseExceptionGroup("several errors of one attempt", rest)  # noqa: ASYNC104


def _together(errors: list[BaseException]) -> BaseException:
    if len(errors) == 1:
        return errors[0]
    return BaseExceptionGroup("several errors of one attempt", errors)


_BODY_FAILED = "the body has failed"
