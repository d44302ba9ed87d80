"""A thread that notices when the event loop is blocked, and says by which child.

While one child computes or calls something that blocks, nothing else in the process runs: no
timeout, no stop, no heartbeat. Trio cannot see that, and no task can tell. A task renews a stamp
ten times a second; a thread compares. When the stamp is too old, the thread reads the stack of the
loop's thread and walks it up to the attempt that it belongs to.

The process may also have been suspended, by SIGSTOP or by a laptop that sleeps. The thread stood
still then, too, and no processor time was used.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, final

import trio

from trio_supervisor._attempts.attempt import run_attempt
from trio_supervisor._attempts.stacks import place_of
from trio_supervisor._lazy import public
from trio_supervisor._logging.safe import say
from trio_supervisor._runtime.held_up import monitors
from trio_supervisor._specs.checks import check_seconds

if TYPE_CHECKING:
    from types import FrameType

_log = logging.getLogger("trio_supervisor.daemon")
STAMP_EVERY: Final = 0.1  # seconds
_BUSY_SHARE: Final = 0.2  # of the time that passed, spent on a processor: then it was no suspension


@public
@final
class BlockedLoopMonitor:
    """Warn when a child blocks the event loop: ``async with BlockedLoopMonitor(): ...``.

    `daemon.run` has one. In a program of your own, open it beside the supervisor. The warning names
    file, line, and the child; a second line gives the duration when the loop turns again. A
    supervisor that was late because of it names the same place. A process that was suspended is
    told from a busy one.

    Args:
        after: Seconds without a turn of the loop after which it counts as blocked. Default: 1.

    Attributes:
        blocked_count: How often the loop was blocked so far.
        longest: Seconds of the longest of the times that have ended.
        total: Seconds altogether.

    Raises:
        SpecError: ``after`` is not a positive number of seconds.
    """

    def __init__(self, *, after: float = 1.0) -> None:
        self.after: float = check_seconds("BlockedLoopMonitor", "after", after, positive=True)
        self.blocked_count: int = 0
        self.longest: float = 0.0
        self.total: float = 0.0
        self._stamp = time.monotonic()
        self._suspended = 0.0  # since the stamp
        self._held_up: tuple[float, str] = (0.0, "")  # when that was seen last, and by what
        self._thread_id = 0
        self._ended = threading.Event()
        self._cancel_scope = trio.CancelScope()

    def blocked_for(self) -> float:
        """Return the seconds since the loop last turned, without those of a suspension.

        Any thread may ask; below 0.1 it means nothing.
        """
        return max(time.monotonic() - self._stamp - self._suspended, 0.0)

    def held_up_by(self, seconds: float) -> str:
        """Return what held up the loop in the last ``seconds``; empty if that is not known."""
        seen_at, what = self._held_up
        return what if time.monotonic() - seen_at <= seconds + self.after else ""

    async def keep(  # noqa: ASYNC114 - a name that only a linter's option could know
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Watch the loop until cancelled: the same as the ``async with``, as a task."""
        self._thread_id = threading.get_ident()
        self._stamp = time.monotonic()
        self._ended.clear()
        thread = threading.Thread(target=self._watch, name="blocked-loop monitor", daemon=True)
        thread.start()
        monitors[self._thread_id] = self.held_up_by
        task_status.started()
        try:
            while True:
                self._stamp = time.monotonic()
                self._suspended = 0.0
                await trio.sleep(STAMP_EVERY)
        finally:
            self._ended.set()
            if monitors.get(self._thread_id) == self.held_up_by:
                del monitors[self._thread_id]

    async def __aenter__(self) -> Self:
        self._nursery_manager = trio.open_nursery()
        nursery = await self._nursery_manager.__aenter__()
        self._cancel_scope = nursery.cancel_scope
        nursery.start_soon(self.keep)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._cancel_scope.cancel("the block has ended")
        # The nursery is cancelled: its only task ends at once.
        return await self._nursery_manager.__aexit__(kind, error, traceback)  # noqa: ASYNC102 - see above

    def _watch(self) -> None:
        told: float | None = None  # the stamp that a warning was about
        pause = min(STAMP_EVERY, self.after / 4)
        ticked, used = time.monotonic(), time.process_time()
        place = ""
        while not self._ended.wait(pause):
            now, cpu = time.monotonic(), time.process_time()
            late = now - ticked - pause
            # A call that keeps the interpreter's lock stops this thread as well, but is busy.
            if late > self.after / 2 and cpu - used < late * _BUSY_SHARE:
                self._suspended += late
                self._held_up = now, f"because the process was suspended for {late:.1f}s"
                say(_log, logging.INFO, "the process was suspended for %.1fs", late)
            ticked, used = now, cpu
            stamp = self._stamp
            if told is not None and stamp != told:
                self._turns_again(stamp - told, place)
                told = None
            if told is None and self.blocked_for() >= self.after:
                told = stamp
                place = self._warn()

    def _warn(self) -> str:
        self.blocked_count += 1
        seconds = self.blocked_for()
        frame = sys._current_frames().get(self._thread_id)
        child, place = blamed(frame)
        told = f"at {place}, in {child}" if child else f"at {place}"
        self._held_up = time.monotonic(), f"blocked {told}"
        say(_log, logging.WARNING, "the event loop has been blocked for %.1fs %s", seconds, told)
        return told

    def _turns_again(self, seconds: float, told: str) -> None:
        seconds = max(seconds - self._suspended, 0.0)
        self.longest = max(self.longest, seconds)
        self.total += seconds
        say(_log, logging.WARNING, "the event loop was blocked for %.1fs %s", seconds, told)


def blamed(frame: FrameType | None) -> tuple[str, str]:
    """The child that a stack of the loop's thread works for (its path or ``""``), and the place."""
    place = ""
    task: trio.lowlevel.Task | None = None
    found = ""
    while frame is not None:
        if not place:
            place = place_of(frame.f_code, frame.f_lineno) or ""
        if frame.f_code is run_attempt.__code__:
            found = _path_in(frame)
        if frame.f_code.co_name == "unrolled_run":  # Trio's own loop
            task = frame.f_locals.get("task")
            break
        frame = frame.f_back
    # A task that the body started itself: its attempt is above it.
    while not found and isinstance(task, trio.lowlevel.Task):
        if getattr(task.coro, "cr_code", None) is run_attempt.__code__:
            found = _path_in(task.coro.cr_frame)
        task = task.parent_nursery.parent_task if task.parent_nursery is not None else None
    return found, place or "a place outside of any Python code"


def _path_in(frame: FrameType | None) -> str:
    attempt = None if frame is None else frame.f_locals.get("attempt")
    return str(getattr(attempt, "path", ""))
