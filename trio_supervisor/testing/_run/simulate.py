"""Run a scenario in virtual time, under a schedule that can be repeated."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, TypeVarTuple, cast, final

import attrs
import trio
from trio.testing import MockClock

from trio_supervisor._attempts.observer import observing
from trio_supervisor._lazy import public
from trio_supervisor.testing._errors import LiveLock, NeverAwaited, Stuck, TaskLeftBehind
from trio_supervisor.testing._oracle.watch import Watch, watching
from trio_supervisor.testing._run.injection import Fault, Injection, Probe, faults_of
from trio_supervisor.testing._run.trace import Trace, TreeTrace
from trio_supervisor.testing._sim.drift import Drift
from trio_supervisor.testing._sim.schedule import Scheduler, shrink_schedule, stripped
from trio_supervisor.testing._sim.tasks import all_tasks, show_tasks
from trio_supervisor.testing._sim.trio_internals import bury, drifting, scheduling
from trio_supervisor.testing._sim.warned import noting_unawaited

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MOST_SECONDS: Final = 1_000_000.0
MOST_STEPS: Final = 5_000


@final
@attrs.frozen(kw_only=True)
class Settings:
    """The options for running a scenario; the arguments of `simulate`."""

    schedule: Sequence[int] | None = None
    seed: int | None = None
    drift: Sequence[int] | bool = False
    faults: tuple[Fault, ...] = ()
    error: Callable[[], BaseException] | None = None
    max_seconds: float = MOST_SECONDS
    max_steps: int = MOST_STEPS
    allow_crashes: bool = True


@public
def simulate(
    scenario: Callable[[*Ts], Awaitable[T]],
    *args: *Ts,
    schedule: Sequence[int] | None = None,
    seed: int | None = None,
    drift: Sequence[int] | bool = False,
    fault: Fault | str | Sequence[Fault | str] | None = None,
    max_seconds: float = MOST_SECONDS,
    max_steps: int = MOST_STEPS,
    allow_crashes: bool = True,
) -> Trace[T]:
    """Run an async scenario in virtual time under one schedule, and watch everything in it.

    Sleeping takes no real time. All that Trio would decide by chance is decided by ``schedule``,
    ``drift`` and ``seed``, so the same arguments give the same `Trace`. Every tree that the
    scenario opens is checked, as far as its events show it, against each invariant of
    `check_trace`; and besides, that folding its events gives its state, after every step of every
    task.

    What happens outside of Trio cannot be repeated: threads, sockets, files that another program
    writes. Replace such bodies, see `with_bodies`.

    Args:
        scenario: An async function.
        *args: The arguments of ``scenario``.
        schedule: Which of the runnable tasks goes next, each time that there are several: 0 the
            oldest. By default the oldest always; with a ``seed``, drawn from that.
        seed: For the schedule and the drift, if they are to be drawn; for backoff jitter; and for
            the module `random`.
        drift: By how much the sleeps and deadlines of bodies are late, which in virtual time are
            all exact: one small number for each deadline, 0 on time, 8 late by half of the wait (at
            most 1 s). `True` draws them. Deadlines of the supervisor and of the scenario are exact.
            Default: no drift.
        fault: A fault or several, each of which strikes one child once, such as
            ``"app/store crash @2.51"``; see `Fault`.
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
        ValueError: ``fault`` is no fault.

    Example::

        trace = simulate(scenario, seed=7)
        trace.check()
        assert simulate(scenario, schedule=trace.schedule, seed=7).events == trace.events
    """
    settings = Settings(
        schedule=schedule,
        seed=seed,
        drift=drift,
        faults=faults_of(fault),
        max_seconds=max_seconds,
        max_steps=max_steps,
        allow_crashes=allow_crashes,
    )
    return play(scenario, args, settings)[0]


def play(
    scenario: Callable[..., Awaitable[T]],
    args: tuple[Any, ...],
    settings: Settings,
    *,
    counts: str | None = None,
) -> tuple[Trace[T], list[Probe]]:
    """Run a scenario; return also what became of each fault, and what ``counts`` has counted."""
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("simulate() makes a Trio run of its own: call it from ordinary code")
    injection = Injection(settings.faults, error=settings.error, counts=counts)
    return _Run(settings, injection).play(scenario, args), injection.probes


@final
class _Run:
    """One simulated run."""

    def __init__(self, settings: Settings, injection: Injection) -> None:
        seed, schedule, drift = settings.seed, settings.schedule, settings.drift
        beyond = None
        if schedule is None and seed is not None:
            beyond = random.Random(f"schedule {seed}")  # noqa: S311  # to be repeated
        self._settings = settings
        self._injection = injection
        self.seed = seed
        self.clock = MockClock(autojump_threshold=0)
        self.watch = Watch(0 if seed is None else seed)
        self.scheduler = Scheduler(schedule or (), beyond=beyond, on_step=self._count)
        self.scheduler.is_on = False
        late = random.Random(f"drift {seed}") if drift is True else None  # noqa: S311  # likewise
        picks = () if isinstance(drift, bool) else drift
        self.drift = Drift(picks, beyond=late, is_body=self.watch.is_body)
        self._max_seconds = settings.max_seconds
        self._max_steps = settings.max_steps
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
            ExitStack() as more,
        ):
            if self._settings.drift is not False:
                more.enter_context(drifting(self.drift.delay))
            if self._injection.is_needed:
                more.enter_context(observing(self._injection))
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
            self._settings.allow_crashes,
            stripped(self.drift.picked),
            self._settings.faults,
            tuple(self.drift.late),
            tuple(watch.history),
        )

    async def _main_task(self, scenario: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T:
        trio.lowlevel.add_instrument(self.watch)
        self._main = trio.lowlevel.current_task()
        before = set(all_tasks())
        result: T | None = None
        with trio.CancelScope() as self._scope:
            before.add(trio.lowlevel.spawn_system_task(self._wait_for_too_long, name="patience"))
            if self._injection.is_needed:
                before.update(self._injection.start())
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
        while True:  # no other task may be left that makes a step, at which `_count` breaks the run
            await trio.lowlevel.checkpoint()

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


def _raise_simplest(
    found: Trace[T], run: Callable[[Sequence[int], Sequence[int]], Trace[T]]
) -> NoReturn:
    """Raise the failure of the simplest schedule and drift that fail in the same way."""

    def fails(schedule: Sequence[int], drift: Sequence[int]) -> bool:
        return run(schedule, drift).signature == found.signature

    schedule, drift = found.schedule, found.drift
    schedule = shrink_schedule(schedule, lambda picks: fails(picks, drift))
    if drift:
        drift = shrink_schedule(drift, lambda picks: fails(schedule, picks))
        schedule = shrink_schedule(schedule, lambda picks: fails(picks, drift))
    run(schedule, drift).check()
    found.check()  # the first run failed, and the repetition should have
    raise AssertionError("unreachable")


@public
def search(
    scenario: Callable[[*Ts], Awaitable[T]],
    *args: *Ts,
    runs: int = 100,
    seed: int = 0,
    drift: bool = False,
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
        drift: Whether sleeps and deadlines of bodies are late by drawn amounts, too, in every run
            but the first; see `simulate`. Default: they are exact.
        max_seconds: As for `simulate`.
        max_steps: As for `simulate`.
        allow_crashes: As for `simulate`.

    Returns:
        The number of different runs.

    Raises:
        BaseException: What `Trace.check` raises for the simplest schedule (and drift) found that
            fails in the same way.
    """
    settings = Settings(max_seconds=max_seconds, max_steps=max_steps, allow_crashes=allow_crashes)
    seen = set()
    for number in range(runs):
        chosen: dict[str, Any] = {"schedule": ()} if number == 0 else {"drift": drift}
        tried = attrs.evolve(settings, seed=seed + number, **chosen)
        trace = play(scenario, args, tried)[0]
        if not trace.ok:

            def again(
                schedule: Sequence[int], drift: Sequence[int], tried: Settings = tried
            ) -> Trace[T]:
                simpler = attrs.evolve(tried, schedule=schedule, drift=drift or False)
                return play(scenario, args, simpler)[0]

            _raise_simplest(trace, again)
        seen.add(trace.digest)
    return len(seen)


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Seed the module `random`, for scenarios that use it."""
    before = random.getstate()
    random.seed(0 if seed is None else seed)
    try:
        yield
    finally:
        random.setstate(before)
