"""A tree that an ordinary, synchronous test drives by hand.

The Trio run is a guest: it goes on only while the pilot pumps it, so between two calls nothing
happens and no virtual time passes. That is what state machines and fixtures need.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from random import Random
from types import TracebackType
from typing import Any, Final, TypeVar, TypeVarTuple, final

import trio
from trio.testing import MockClock

from trio_supervisor._errors import SupervisorError
from trio_supervisor._events.events import Event
from trio_supervisor._events.snapshot import ChildSnapshot
from trio_supervisor._lazy import public
from trio_supervisor._runtime.supervisor import Supervisor
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec
from trio_supervisor.testing._drive import commands as command
from trio_supervisor.testing._drive.rig import PATIENCE, Rig, expected, open_rig, paths_in
from trio_supervisor.testing._errors import LiveLock, NeverAwaited, Stuck, TaskLeftBehind
from trio_supervisor.testing._oracle.violation import InvariantViolated
from trio_supervisor.testing._oracle.watch import Watch, watching
from trio_supervisor.testing._script.failures import SimulatedInterrupt
from trio_supervisor.testing._sim.drift import Drift
from trio_supervisor.testing._sim.schedule import Picks, Scheduler, stripped
from trio_supervisor.testing._sim.tasks import all_tasks, settle, show_tasks
from trio_supervisor.testing._sim.trio_internals import abandon_run, bury, drifting, scheduling
from trio_supervisor.testing._sim.warned import noting_unawaited

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MOST_STEPS: Final = 3_000


def _break_down() -> None:
    """Break the whole run: nothing else ends a task that ignores its cancellation."""
    raise LiveLock("some task ignores its cancellation")


_BURIED: Final = object()
"""The outcome of a run that had to be broken off."""


@final
class _Box:
    """The outcome of one call into the run."""

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None


@public
@final
class Pilot:
    """Open a tree in virtual time and drive it from an ordinary test, one call at a time.

    Between two calls nothing happens. Use the pilot as a context manager, or call `close`. Closing
    stops the tree in order and checks every promise; `check` does so at any time.

    Args:
        spec: The tree. Its bodies run as they are, and can be made to crash.
        schedule: As for `simulate`.
        seed: The seed of backoff jitter.
        drift: As for `simulate`.
        max_steps: Steps without any time passing after which a call fails with `LiveLock`. Default:
            3,000; keep it low.

    Attributes:
        failure: The error with which the tree gave up; `None` before that.
    """

    def __init__(
        self,
        spec: SupervisorSpec,
        *,
        schedule: Sequence[int] = (),
        seed: int = 0,
        drift: Sequence[int] | bool = False,
        max_steps: int = MOST_STEPS,
    ) -> None:
        self.failure: BaseException | None = None
        self._spec = spec
        self._seed = seed
        self._max_steps = max_steps
        self._clock = MockClock(autojump_threshold=0)
        self._scheduler = Scheduler(schedule)
        self._watch = Watch(seed)
        self._watch.log_wakes = False  # `tick` goes to deadlines of the program
        self._ticks: deque[Callable[[], object]] = deque()
        self._rig: Rig | None = None
        self._ended = False
        self._broken = False
        self._final: Any = None
        self._calls: trio.MemorySendChannel[Any] | None = None
        self._nursery: trio.Nursery | None = None
        self._main_task: trio.lowlevel.Task | None = None
        self._close_tree: trio.Event
        self._tree_ended: trio.Event
        self._stack = ExitStack()
        self._stack.enter_context(watching(self._watch))
        self._stack.enter_context(scheduling(self._scheduler))
        late = Random(f"drift {seed}") if drift is True else None  # noqa: S311  # to be repeated
        picks = () if isinstance(drift, bool) else drift
        self._drift = Drift(picks, beyond=late, is_body=self._watch.is_body)
        if late is not None or picks:
            self._stack.enter_context(drifting(self._drift.delay))
        try:
            self._begin()
        except BaseException:
            self._broken = True
            self.close()
            raise

    def _begin(self) -> None:
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._ticks.append,
            run_sync_soon_not_threadsafe=self._ticks.append,
            done_callback=self._note_end,
            clock=self._clock,
            host_uses_signal_set_wakeup_fd=True,
        )
        self._pump(lambda: self._calls is not None)
        self.run(self._open)

    def _note_end(self, final: Any) -> None:
        self._final = final

    # ------------------------------------------------------------ inside of the run

    async def _main(self) -> None:
        trio.lowlevel.add_instrument(self._watch)
        self._main_task = trio.lowlevel.current_task()
        self._close_tree = trio.Event()
        self._tree_ended = trio.Event()
        before = set(all_tasks())
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            send, receive = trio.open_memory_channel[Any](1)
            self._calls = send
            async for async_fn, args, box in receive:
                await self._call(async_fn, args, box)
            nursery.cancel_scope.cancel("the pilot has closed it")
        left = sorted(task.name for task in all_tasks() if task not in before)
        if left:
            raise TaskLeftBehind(f"still there when the tree had been closed: {left}")

    async def _call(
        self, async_fn: Callable[..., Awaitable[object]], args: tuple[Any, ...], box: _Box
    ) -> None:
        try:
            box.value = await async_fn(*args)
            await settle()
        except trio.Cancelled:
            raise
        except BaseException as error:  # raised by `run`, in the test
            box.error = error
        finally:
            box.done = True

    async def _open(self) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(self._hold_tree, name="pilot")
        await settle()

    async def _hold_tree(self) -> None:
        try:
            async with open_rig(self._spec, wait_ready=False) as self._rig:
                await self._close_tree.wait()
        except (SupervisorError, SimulatedInterrupt) as error:
            self.failure = error
        except BaseExceptionGroup as group:
            self.failure = expected(group)
        finally:
            self._ended = True
            self._tree_ended.set()

    # ------------------------------------------------------------ the pump

    def _pump(self, until: Callable[[], bool]) -> None:
        count, now = 0, self._clock.current_time()
        while not until():
            if self._final is not None:
                final, self._broken = self._final, True
                final.unwrap()
                raise RuntimeError("the Trio run has ended before the test")
            if not self._ticks:
                raise RuntimeError("nothing is scheduled: is there a thread or real I/O in here?")
            self._ticks.popleft()()
            count += 1
            if self._clock.current_time() != now:
                count, now = 0, self._clock.current_time()
            if count > self._max_steps or now > PATIENCE * PATIENCE:
                self._broken = True
                kind = LiveLock if count > self._max_steps else Stuck
                error = kind(f"{count} steps at {now:g} s, and the call does not end")
                if self._main_task is not None:
                    error.add_note("\n".join(show_tasks(self._main_task)))
                raise error

    def run(self, async_fn: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Await ``async_fn(*args)`` inside of the run, then let it go on until every task waits.

        Virtual time passes only as far as ``async_fn`` waits for it.

        Raises:
            LiveLock: The call does not end, and no time passes.
            NeverAwaited: A coroutine was made in the call and never awaited.
            BaseException: What ``async_fn`` raises.
        """
        if self._calls is None or self._final is not None:
            raise RuntimeError("this pilot is closed")
        box = _Box()
        unawaited: list[str] = []
        with noting_unawaited(unawaited):
            self._calls.send_nowait((async_fn, args, box))
            self._pump(lambda: box.done)
        if box.error is not None:
            raise box.error
        for text in unawaited:
            raise NeverAwaited(text)
        value: T = box.value
        return value

    # ------------------------------------------------------------ for tests

    @property
    def supervisor(self) -> Supervisor:
        """The running root."""
        if self._rig is None:
            raise self.failure or RuntimeError("the tree has not been opened")
        return self._rig.supervisor

    @property
    def is_open(self) -> bool:
        """True while the tree runs."""
        rig = self._rig
        return rig is not None and not self._ended and not rig.has_finished

    @property
    def now(self) -> float:
        """Virtual time in seconds."""
        return self._clock.current_time()

    @property
    def events(self) -> tuple[Event, ...]:
        """All events of the tree so far."""
        return tuple(event for tree in self._watch.trees for event in tree.events)

    @property
    def replay(self) -> str:
        """The arguments that repeat the choices made by chance."""
        drift = f", drift={Picks(self.drift)}" if self.drift else ""
        return f"schedule={Picks(self.schedule)}, seed={self.seed}{drift}"

    @property
    def schedule(self) -> tuple[int, ...]:
        """The choices made so far; see `Trace.schedule`."""
        return stripped(self._scheduler.picked)

    @property
    def drift(self) -> tuple[int, ...]:
        """By how much deadlines of bodies were late so far; see `Trace.drift`."""
        return stripped(self._drift.picked)

    @property
    def seed(self) -> int:
        """The seed of everything random."""
        return self._seed

    def child(self, path: str) -> ChildSnapshot:
        """Return a child's snapshot; see `SupervisorSnapshot.child`."""
        return self.supervisor.state().child(path)

    def state(self, path: str) -> str:
        """Return a child's state: ``"ready"``, ``"backing_off"``, ..."""
        return self.child(path).state.value

    def paths(self) -> list[str]:
        """Return the paths of all children that there are now, counted from the root."""
        if not self.is_open:
            return []
        return paths_in(self.supervisor.state())

    def apply(self, *commands: command.LifecycleCommand) -> None:
        """Give commands, each once the immediate effects of the one before are over.

        See `Rig.apply`.
        """
        if self._rig is not None:
            self.run(self._rig.apply, *commands)

    def advance(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.run(trio.sleep, seconds)

    def tick(self, times: int = 1) -> None:
        """Let virtual time pass to the next deadline of any task, ``times`` times."""
        self.apply(command.Tick(times))

    def crash(self, path: str) -> None:
        """Make a child's live attempt raise something undeclared."""
        self.apply(command.Crash(path))

    def stop(self, path: str) -> None:
        """`Supervisor.stop_child`, without waiting for time to pass."""
        self.apply(command.Stop(path))

    def restart(self, path: str) -> None:
        """`Supervisor.restart_child`, likewise."""
        self.apply(command.RestartByHand(path))

    def quarantine(self, path: str) -> None:
        """`Supervisor.quarantine_child`, likewise."""
        self.apply(command.QuarantineChild(path))

    def remove(self, path: str) -> None:
        """`Supervisor.remove_child`, likewise."""
        self.apply(command.Remove(path))

    def add(self, spec: ChildSpec[Any], under: str = "") -> None:
        """`Supervisor.start_child`, likewise."""
        self.apply(command.Add(spec, under))

    def set_schedule(self, schedule: Sequence[int]) -> None:
        """From now on, let tasks run in another order; see `simulate`."""
        self._scheduler.renew(schedule)

    def check(self) -> None:
        """Check every promise up to now.

        Raises:
            InvariantViolated: A promise was broken.
        """
        found = self._watch.found()
        if found:
            self._broken = True
            raise InvariantViolated(found)

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Stop the tree in order (after 1,000 virtual seconds by force), and check every promise.

        Raises:
            InvariantViolated: A promise was broken.
            TaskLeftBehind: A task of the tree is still there.
            LiveLock: The tree does not stop. Its run is then forgotten, so that another can begin.
        """
        try:
            if self._final is None:
                self._leave()
        except Exception:
            if not self._broken:
                raise
        finally:
            self._calls = None
            self._stack.close()
        if not self._broken:
            for violations in [self._watch.finish()]:
                if violations:
                    raise InvariantViolated(violations)

    def _leave(self) -> None:
        try:
            if not self._broken:
                self.run(self._stop_tree)
            if self._calls is not None:
                self._calls.close()
                if self._broken and self._nursery is not None:
                    self._nursery.cancel_scope.cancel("the test has failed")
                self._pump_to_the_end()
        except BaseException:
            if self._final is None:
                self._force()
            raise

    async def _stop_tree(self) -> None:
        self._close_tree.set()
        with trio.move_on_after(PATIENCE):
            await self._tree_ended.wait()

    def _pump_to_the_end(self) -> None:
        for _ in range(2 * self._max_steps):
            if self._final is not None:
                final = self._final
                if not self._broken:
                    final.unwrap()
                return
            if self._ticks:
                self._ticks.popleft()()
        raise LiveLock("the tree does not stop: some task ignores its cancellation")

    def _force(self) -> None:
        """End the run by force: a run left behind would prevent every later one in this thread."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel("the test has failed")
        lost: list[trio.lowlevel.Task] = []
        for step in range(self._max_steps + 10):
            if self._final is not None or not self._ticks:
                break
            if step == self._max_steps:
                self._broken = True
                self._scheduler.on_step = _break_down
                lost = all_tasks()
            self._ticks.popleft()()
        if self._final is None:
            self._broken = True
            abandon_run()
        if self._broken:
            self._final = _BURIED
            self._ticks.clear()
            self._nursery = self._main_task = self._rig = self._calls = None
            self._close_tree = self._tree_ended = trio.Event()
            self._watch.release()
            bury(lost)

    def __enter__(self) -> Pilot:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is not None:
            self._broken = True
            exc.add_note(f"to repeat this run: Pilot(spec, {self.replay})")
        self.close()
