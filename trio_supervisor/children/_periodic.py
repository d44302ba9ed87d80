"""`every`: a job that runs again and again, and can be seen doing so."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from math import ceil, inf
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVarTuple, final

import trio

from trio_supervisor._errors import SpecError
from trio_supervisor._lazy import public
from trio_supervisor._record import Record
from trio_supervisor._specs.body import Body, label_of
from trio_supervisor._specs.policy import ReadinessPolicy
from trio_supervisor._text import short_repr
from trio_supervisor.children._check import check_target, is_number

if TYPE_CHECKING:
    from trio_supervisor._attempts.context import ChildContext

Ts = TypeVarTuple("Ts")
Overlap: TypeAlias = Literal["skip", "wait"]


@public
@final
class Schedule:
    """The ready value of an `every` child: what its job has done, and when it runs next.

    All times are seconds on Trio's clock, as `trio.current_time` gives them. A new attempt has a
    new schedule that starts from zero.
    """

    __slots__ = ("_every", "finished", "last_duration", "last_run", "missed", "next_run", "running")

    def __init__(self, every: float, first: float) -> None:
        self._every = every
        self.next_run: float = first
        """When the next run is due; while the job is running, the one after that."""
        self.last_run: float | None = None
        """When the newest run began; `None` before the first."""
        self.last_duration: float | None = None
        """Seconds that the newest finished run took; `None` before its end."""
        self.finished: int = 0
        """How many runs have finished."""
        self.missed: int = 0
        """How many runs were left out because the one before took too long."""
        self.running: bool = False
        """Whether the job is running now."""

    @property
    def every(self) -> float:
        """The interval in seconds."""
        return self._every

    def __repr__(self) -> str:
        last = "never" if self.last_run is None else f"{self.last_run:.3f}"
        return (
            f"<Schedule every={self._every:g}s last_run={last} next_run={self.next_run:.3f} "
            f"finished={self.finished} missed={self.missed}{' running' if self.running else ''}>"
        )


class _Every(Record):
    seconds: float
    async_fn: Callable[..., Awaitable[object]]
    args: tuple[Any, ...]
    jitter: float
    overlap: Overlap
    at_once: bool

    async def __call__(self, child: ChildContext) -> None:
        due = trio.current_time() + (0 if self.at_once else self.seconds)
        schedule = Schedule(self.seconds, due + self._delay())
        child.ready(schedule)
        while not await self._stopped_before(child, schedule.next_run):
            began = schedule.last_run = trio.current_time()
            schedule.next_run = due + self.seconds
            schedule.running = True
            child.heartbeat(schedule)
            try:
                job = self.async_fn(*self.args)
                if not isawaitable(job):
                    raise TypeError(
                        f"the job {label_of(self.async_fn)} returned {short_repr(job)}, which "
                        "cannot be awaited; define it with 'async def' (and no 'yield' in it)"
                    )
                await job
            finally:
                schedule.running = False
                schedule.last_duration = trio.current_time() - began
            schedule.finished += 1
            child.heartbeat(schedule)
            due = self._next_due(schedule, due)
            schedule.next_run = max(due + self._delay(), trio.current_time())

    async def _stopped_before(self, child: ChildContext, time: float) -> bool:
        """Sleep until ``time`` or the stop request; return whether the stop has been requested."""
        # The sleep is part of the job, however long it is: only a silent run is a symptom.
        with child.busy(max(time - trio.current_time(), 0)), child.stop_scope():
            await trio.sleep_until(time)
        return child.stop_requested

    def _next_due(self, schedule: Schedule, due: float) -> float:
        """Return when the next run is due, and count the runs that are left out before it."""
        late = trio.current_time() - (due + self.seconds)
        if late <= 0:
            return due + self.seconds
        if self.overlap == "wait":  # one run at once stands for all that have come due
            skipped = int(late // self.seconds)
            schedule.missed += skipped
            return due + self.seconds * (1 + skipped)
        skipped = ceil(late / self.seconds)
        schedule.missed += skipped
        return due + self.seconds * (1 + skipped)

    def _delay(self) -> float:
        if not self.jitter:
            return 0.0
        return random.uniform(0, self.jitter)  # noqa: S311 - spreads load, keeps no secret


@public
def every(
    seconds: float,
    async_fn: Callable[[*Ts], Awaitable[object]],
    *args: *Ts,
    jitter: float = 0.0,
    overlap: Overlap = "skip",
    at_once: bool = False,
) -> Body[Schedule]:
    """Supervise a periodic job: ``await async_fn(*args)`` every ``seconds`` seconds.

    Runs are due at fixed distances from the start of the attempt, so that a job which takes a while
    does not drift. Runs never overlap: one that is due while the job still runs is left out and
    counted (``overlap="skip"``), or follows at once (``"wait"``; if several have come due, one
    follows, and the others are counted).

    The child is ready when its attempt starts, and its ready value is a `Schedule`: the last run,
    its duration, the next run, and how many were missed. Each run sends a heartbeat at its
    beginning and its end, and the time between runs does not count as silence: ``stale_after`` is
    the longest that a run may take.

    An exception of the job ends the attempt, and policy decides about the rest: a restarted child
    begins a new schedule. Catch in the job what should not count as a failure. After a stop request
    no run begins; one that is under way has the spec's ``grace`` to finish.

    Not for times of the day, and not for runs that must not be lost with the process: use a system
    timer. Not for polling with a state of its own: write a body with a loop.

    Args:
        seconds: The interval, greater than 0.
        async_fn: The job.
        *args: Its positional arguments. For keyword arguments use `functools.partial`.
        jitter: The longest random delay of a run, in seconds, less than the interval. It spreads
            the load of many children; it does not shift later runs. Default: 0.
        overlap: ``"skip"`` (default) or ``"wait"``, see above.
        at_once: Whether the first run is due at once, not after the first interval. Default: false.

    Returns:
        The ``run`` of a `ChildSpec`.

    Raises:
        SpecError: A value is out of range, or ``async_fn`` is not callable.

    Example:
        ``ChildSpec("cleaner", every(3600, clean_up, "/var/spool/app", jitter=60))``
    """
    check_target("every", async_fn, "an async function, and its arguments after it")
    label = f"every({seconds!r}, {label_of(async_fn)})"
    if not is_number(seconds) or not 0 < seconds < inf:
        raise SpecError("seconds", seconds, "seconds > 0", owner=label)
    if not is_number(jitter) or not 0 <= jitter < seconds:
        raise SpecError("jitter", jitter, f"seconds >= 0 and less than {seconds:g}", owner=label)
    if overlap not in ("skip", "wait"):
        raise SpecError("overlap", overlap, "'skip' or 'wait'", owner=label)
    body = _Every(seconds, async_fn, args, jitter, overlap, bool(at_once))
    return Body(body, label, ReadinessPolicy.EXPLICIT, hears_stop=True, can_heartbeat=True)
