"""Run a scenario in virtual time, under a schedule that can be repeated."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple, cast, final

import trio
from trio.testing import MockClock

from trio_supervisor._lazy import public
from trio_supervisor.testing._errors import LiveLock, NeverAwaited, Stuck, TaskLeftBehind
from trio_supervisor.testing._oracle.watch import Watch, watching
from trio_supervisor.testing._run.trace import Trace, TreeTrace
from trio_supervisor.testing._sim.schedule import Scheduler, shrink_schedule, stripped
from trio_supervisor.testing._sim.tasks import all_tasks, show_tasks
from trio_supervisor.testing._sim.trio_internals import bury, scheduling
from trio_supervisor.testing._sim.warned import noting_unawaited

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MOST_SECONDS: Final = 1_000_000.0
MOST_STEPS: Final = 5_000


@public
def simulate(
    scenario: Callable[[*Ts], Awaitable[T]],
    *args: *Ts,
    schedule: Sequence[int] | None = None,
    seed: int | None = None,
    max_seconds: float = MOST_SECONDS,
    max_steps: int = MOST_STEPS,
    allow_crashes: bool = True,
) -> Trace[T]:
    """Run an async scenario in virtual time under one schedule, and watch everything in it.

    Sleeping takes no real time. All that Trio would decide by chance is decided by ``schedule`` and
    ``seed``, so the same arguments give the same `Trace`. Every tree that the scenario opens is
    checked, as far as its events show it, against each invariant of `check_trace`; and besides,
    that folding its events gives its state, after every step of every task.

    What happens outside of Trio cannot be repeated: threads, sockets, files that another program
    writes. Replace such bodies, see `with_bodies`.

    Args:
        scenario: An async function.
        *args: The arguments of ``scenario``.
        schedule: Which of the runnable tasks goes next, each time that there are several: 0 the
            oldest. By default the oldest always; with a ``seed``, drawn from that.
        seed: For the schedule, if there is none; for backoff jitter; and for the module `random`.
        max_seconds: Virtual seconds after which the scenario is cancelled and the trace fails with
            `Stuck`. Default: 1,000,000.
        max_steps: Steps of the scheduler without any time passing after which the trace fails with
            `LiveLock`. Default: 5,000.
        allow_crashes: Whether a child may fail. If not, every failure of a child that neither the
            kit nor a `Behaviour` caused is an `UnprovokedFailure` in `Trace.check`.

    Returns:
        The trace. It holds what the scenario raised; `Trace.check` raises that.

    Raises:
        TrioMoved: The installed release of Trio cannot be driven.
        RuntimeError: The call was made from inside a Trio run.

    Example::

        trace = simulate(scenario, seed=7)
        trace.check()
        assert simulate(scenario, schedule=trace.schedule, seed=7).events == trace.events
    """
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("simulate() makes a Trio run of its own: call it from ordinary code")
    run = _Run(schedule, seed, max_seconds, max_steps, allow_crashes=allow_crashes)
    return run.play(scenario, args)


@final
class _Run:
    """One simulated run."""

    def __init__(
        self,
        schedule: Sequence[int] | None,
        seed: int | None,
        max_seconds: float,
        max_steps: int,
        *,
        allow_crashes: bool,
    ) -> None:
        beyond = None
        if schedule is None and seed is not None:
            beyond = random.Random(f"schedule {seed}")  # noqa: S311  # to be repeated
        self.seed = seed
        self.clock = MockClock(autojump_threshold=0)
        self.watch = Watch(0 if seed is None else seed)
        self.scheduler = Scheduler(schedule or (), beyond=beyond, on_step=self._count)
        self.scheduler.is_on = False
        self._allow_crashes = allow_crashes
        self._max_seconds = max_seconds
        self._max_steps = max_steps
        self._now = -1.0
        self._since = 0
        self._scope: trio.CancelScope | None = None
        self._main: trio.lowlevel.Task | None = None
        self._hopeless: AssertionError | None = None
        self._lost: list[trio.lowlevel.Task] = []

    def play(self, scenario: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> Trace[T]:
        result: T | None = None
        error: BaseException | None = None
        unawaited: list[str] = []
        with (
            noting_unawaited(unawaited),
            watching(self.watch),
            scheduling(self.scheduler),
            _seeded(self.seed),
        ):
            try:
                result = trio.run(self._main_task, scenario, args, clock=self.clock)
            except trio.TrioInternalError as internal:
                if self._hopeless is None:
                    raise
                error = self._hopeless
                error.add_note("a task went on after everything had been cancelled")
                internal.__cause__ = internal.__context__ = None
                error.__traceback__ = None
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as raised:  # every kind of error belongs to the trace
                error = raised
        self._main = self._scope = None
        if self._lost:
            bury(self._lost)
        watch = self.watch
        violations = tuple(watch.finish())
        if unawaited and error is None:
            error = NeverAwaited("\n".join(unawaited))
        return Trace(
            result,
            error,
            tuple(TreeTrace(tree.spec, tuple(tree.events), tree.added) for tree in watch.trees),
            violations,
            stripped(self.scheduler.picked),
            tuple(self.scheduler.sizes),
            self.seed,
            self._now,
            watch.steps,
            tuple(exit_ for tree in watch.trees for exit_ in tree.unprovoked_exits()),
            self._allow_crashes,
        )

    async def _main_task(self, scenario: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T:
        trio.lowlevel.add_instrument(self.watch)
        self._main = trio.lowlevel.current_task()
        before = set(all_tasks())
        result: T | None = None
        with trio.CancelScope() as self._scope:
            before.add(trio.lowlevel.spawn_system_task(self._wait_for_too_long, name="patience"))
            # The steps before the scenario begins are no part of the schedule.
            await trio.lowlevel.cancel_shielded_checkpoint()
            self.scheduler.is_on = True
            try:
                result = await scenario(*args)
            except BaseException as error:
                if self._hopeless is not None and error is not self._hopeless:
                    if isinstance(error, trio.Cancelled):
                        raise
                    raise self._hopeless from error
                raise
        if self._hopeless is not None:
            raise self._hopeless
        left = [task.name for task in all_tasks() if task not in before]
        if left:
            raise TaskLeftBehind(f"still there when the scenario had ended: {sorted(left)}")
        return cast("T", result)

    async def _wait_for_too_long(self) -> None:
        # A system task: the scenario runs neither in a nursery of the kit nor beside one.
        await trio.sleep(self._max_seconds)
        self._give_up(Stuck(f"still waiting after {self._max_seconds:g} virtual seconds"))
        await trio.sleep(self._max_seconds)
        self._max_steps = 0

    def _count(self) -> None:
        now = self.clock.current_time()
        steps = self.scheduler.steps
        if now != self._now:
            self._now = now
            self._since = steps
        elif steps - self._since > self._max_steps:
            if self._hopeless is not None:
                self._lost = all_tasks()
                raise self._hopeless  # nothing else ends a task that ignores its cancellation
            self._since = steps
            text = f"{self._max_steps} steps at {now:g} s, and no time passes"
            self._give_up(LiveLock(text))

    def _give_up(self, error: AssertionError) -> None:
        if self._hopeless is None and self._main is not None and self._scope is not None:
            error.add_note("\n".join(show_tasks(self._main)))
            self._hopeless = error
            self._scope.cancel("the simulation was given up")


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Seed the module `random`, for scenarios that use it."""
    before = random.getstate()
    random.seed(0 if seed is None else seed)
    try:
        yield
    finally:
        random.setstate(before)


def _raise_simplest(
    found: Trace[T], run: Callable[[Sequence[int] | None, int | None], Trace[T]]
) -> None:
    simplest = shrink_schedule(
        found.schedule, lambda picks: run(picks, found.seed).signature == found.signature
    )
    run(simplest, found.seed).check()
    found.check()  # the first run failed, and the repetition should have


@public
def search(
    scenario: Callable[[*Ts], Awaitable[T]],
    *args: *Ts,
    runs: int = 100,
    seed: int = 0,
    max_seconds: float = MOST_SECONDS,
    max_steps: int = MOST_STEPS,
    allow_crashes: bool = True,
) -> int:
    """Run a scenario under many schedules, and simplify the first failure that is found.

    The first schedule is "the oldest task first"; the others are drawn from ``seed`` on.

    Args:
        scenario: As for `simulate`.
        *args: As for `simulate`.
        runs: How many schedules to try.
        seed: The seed of the first schedule; the following ones count up.
        max_seconds: As for `simulate`.
        max_steps: As for `simulate`.
        allow_crashes: As for `simulate`.

    Returns:
        The number of different runs.

    Raises:
        BaseException: What `Trace.check` raises for the simplest schedule found that fails in the
            same way.
    """

    def run(schedule: Sequence[int] | None, seed: int | None) -> Trace[T]:
        return simulate(
            scenario,
            *args,
            schedule=schedule,
            seed=seed,
            max_seconds=max_seconds,
            max_steps=max_steps,
            allow_crashes=allow_crashes,
        )

    seen = set()
    for number in range(runs):
        trace = run((), seed) if number == 0 else run(None, seed + number)
        if not trace.ok:
            _raise_simplest(trace, run)
        seen.add(trace.digest)
    return len(seen)
