"""Look for a short list of commands after which a program breaks what it promises.

The engine is a plain seeded loop. An *example* opens a fresh tree and takes drawn steps; after each
step all invariants are checked. What fails is made short by deleting steps: each step applies
always or does nothing, so every part of a list of steps is a valid list. Then single steps are
replaced by simpler ones, and the drift and the schedule are made simple.

Which steps are drawn how often decides what is found, more than how cleverly they are drawn. `Tick`
lets time pass to the next deadline of any task, so the narrowest window is met as often as a wide
one. Commands that end the whole tree are rare.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from time import perf_counter
from typing import Any, Final, Protocol, TypeAlias, final

import attrs

from trio_supervisor._lazy import public
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec
from trio_supervisor.testing._drive.commands import (
    Add,
    Advance,
    AtOnce,
    CancelItself,
    CancelTree,
    Crash,
    Fail,
    Interrupt,
    LifecycleCommand,
    QuarantineChild,
    Remove,
    RestartByHand,
    ShutDownTree,
    Stop,
    Tick,
)
from trio_supervisor.testing._drive.pilot import MOST_STEPS, Pilot
from trio_supervisor.testing._oracle.violation import InvariantViolated
from trio_supervisor.testing._sim.schedule import Picks, shrink_schedule

SECONDS: Final = (0.3, 1.0, 5.0, 30.0)
_KIT: Final = f"{os.path.dirname(os.path.dirname(__file__))}{os.sep}"  # noqa: PTH120  # a prefix

Origin: TypeAlias = tuple[Any, ...]

_TO_A_CHILD: Final[tuple[tuple[Callable[[str], LifecycleCommand], int], ...]] = (
    (Crash, 7),
    (Stop, 4),
    (RestartByHand, 5),
    (Fail, 1),
    (CancelItself, 1),
    (QuarantineChild, 1),
    (Remove, 1),
)
_ENDINGS: Final[tuple[LifecycleCommand, ...]] = (
    ShutDownTree(),
    ShutDownTree(grace=False),
    CancelTree(),
)


@final
@attrs.frozen
class Plan:
    """Everything that repeats one example."""

    steps: tuple[LifecycleCommand, ...] = ()
    schedule: tuple[int, ...] = ()
    drift: tuple[int, ...] = ()
    seed: int = 0


class Subject(Protocol):
    """A program under test: a tree, its world, and what must be true of both."""

    def open(self, plan: Plan, *, drift: bool) -> None:
        """Open the tree; with ``drift``, draw what the plan does not say."""

    def apply(self, step: LifecycleCommand) -> None:
        """Take one step; do nothing if it does not apply."""

    def check(self) -> None:
        """Raise if anything is wrong."""

    def close(self) -> None:
        """Close the tree; raise if anything is wrong."""

    def drawn(self) -> Plan:
        """Return the plan without steps, as it was drawn."""
        ...

    @property
    def is_open(self) -> bool:
        """True while the tree runs."""
        ...

    def paths(self) -> Sequence[str]:
        """Return the paths of all children that there are now."""
        ...


@public
@final
@attrs.frozen
class Reopen(LifecycleCommand):
    """Open the tree again after it has ended."""

    async def run(self, rig: object) -> None:
        raise NotImplementedError("the subject of the hunt does it")


@final
class Engine:
    """Draw examples, and make the first one that fails short.

    Args:
        make: Makes a subject for each example.
        adds: Children that may be added to the root.
        seconds: How much time may pass in one step.
        steps: Steps of one example.
        drift: Whether every second example drifts.
        reopens: Whether a tree that has ended can be opened again.
    """

    def __init__(
        self,
        make: Callable[[], Subject],
        *,
        adds: Sequence[ChildSpec[Any]] = (),
        seconds: Sequence[float] = SECONDS,
        steps: int = 20,
        drift: bool = True,
        reopens: bool = False,
    ) -> None:
        self._make = make
        self._adds = tuple(adds)
        self._seconds = tuple(seconds)
        self._steps = steps
        self._drift = drift
        self._reopens = reopens
        self.examples = 0
        self.runs = 0
        self.found_after = 0.0
        self.shrunk_after = 0.0

    # ------------------------------------------------------------ finding

    def find(self, examples: int, seed: int, *, max_seconds: float | None = None) -> Plan | None:
        """Return the plan of the first example that fails."""
        began = perf_counter()
        for number in range(examples):
            if max_seconds is not None and perf_counter() - began > max_seconds:
                return None
            self.examples += 1
            found = self._example(Random(f"{seed} {number}"), seed + number, number)  # noqa: S311
            if found is not None:
                self.found_after = perf_counter() - began
                return found
        return None

    def _example(self, draw: Random, seed: int, number: int) -> Plan | None:
        """Play one example; return its plan if it fails."""
        schedule: list[int] = []
        if draw.random() < 0.5:  # few steps out of turn are enough for almost every race
            for _ in range(draw.randint(1, 3)):
                schedule += [0] * draw.randint(0, 40) + [draw.randint(1, 3)]
        plan = Plan(schedule=tuple(schedule), seed=seed)
        drifts = self._drift and number % 2 == 1
        taken: list[LifecycleCommand] = []
        subject = self._make()
        drawn = plan
        try:
            try:
                subject.open(plan, drift=drifts)
                subject.check()
                for _ in range(self._steps):
                    step = self._draw(draw, subject)
                    if step is None:
                        break
                    taken.append(step)
                    subject.apply(step)
                    subject.check()
            finally:
                drawn = subject.drawn()
                subject.close()
        except Exception:  # whatever it is, the example fails with it
            return attrs.evolve(drawn, steps=tuple(taken))
        return None

    def _draw(self, draw: Random, subject: Subject) -> LifecycleCommand | None:
        if not subject.is_open:
            return Reopen() if self._reopens else None
        kind = draw.random()
        paths = subject.paths()
        if kind < 0.35 or not paths:
            return Tick()
        if kind < 0.5:
            return Advance(draw.choice(self._seconds))
        if kind < 0.52:
            path = draw.choice(paths)
            return draw.choice((*_ENDINGS, Interrupt(path)))
        if kind < 0.57 and self._adds:
            return Add(draw.choice(self._adds))
        if kind < 0.62:
            return AtOnce((self._to_a_child(draw, paths), self._to_a_child(draw, paths)))
        return self._to_a_child(draw, paths)

    @staticmethod
    def _to_a_child(draw: Random, paths: Sequence[str]) -> LifecycleCommand:
        kinds, weights = zip(*_TO_A_CHILD, strict=True)
        (kind,) = draw.choices(kinds, weights)
        command: LifecycleCommand = kind(draw.choice(paths))
        return command

    # ------------------------------------------------------------ repeating

    def play(self, plan: Plan) -> tuple[Origin | None, BaseException | None, Plan]:
        """Repeat a plan: how it fails, the error, and the plan as far as it was played."""
        self.runs += 1
        subject = self._make()
        taken: list[LifecycleCommand] = []
        error: BaseException | None = None
        try:
            try:
                subject.open(plan, drift=False)
                subject.check()
                for step in plan.steps:
                    taken.append(step)
                    subject.apply(step)
                    subject.check()
            finally:
                subject.close()
        except Exception as raised:  # likewise
            error = raised
        origin = None if error is None else origin_of(error)
        return origin, error, attrs.evolve(plan, steps=tuple(taken))

    # ------------------------------------------------------------ making it short

    def shrink(self, plan: Plan, *, max_seconds: float = 60.0) -> Plan:
        """Return the shortest and simplest plan found that fails in the same way."""
        began = perf_counter()
        wanted, _, best = self.play(plan)
        if wanted is None:
            return plan
        known: dict[str, bool] = {}

        def fails(candidate: Plan) -> bool:
            nonlocal best
            key = repr(candidate)
            if key not in known:
                if perf_counter() - began > max_seconds:
                    return False
                origin, _, played = self.play(candidate)
                known[key] = origin == wanted
                if known[key]:
                    best = played
            return known[key]

        # Without drift and with the oldest first, if that fails as well, all is simpler.
        exact = attrs.evolve(best, drift=())
        for simple in (attrs.evolve(exact, schedule=()), exact, attrs.evolve(best, schedule=())):
            if fails(simple):
                break
        before = None
        while before != best:
            before = best
            self._delete(lambda: best, fails)
            self._simplify(lambda: best, fails)
        for field in ("drift", "schedule"):
            picks: tuple[int, ...] = getattr(best, field)
            if picks:
                plain = best

                def still_fails(
                    picks: tuple[int, ...], field: str = field, plain: Plan = plain
                ) -> bool:
                    changes: dict[str, Any] = {field: picks}
                    return fails(attrs.evolve(plain, **changes))

                shrink_schedule(picks, still_fails, most_runs=120)
        self._delete(lambda: best, fails)
        self._merge(lambda: best, fails)
        self.shrunk_after = perf_counter() - began
        return best

    @staticmethod
    def _delete(best: Callable[[], Plan], fails: Callable[[Plan], bool]) -> None:
        """Delete blocks of steps, from the end, then smaller ones."""
        size = max(len(best().steps) // 2, 1)
        while size:
            at = len(best().steps) - size
            while at >= 0:
                steps = best().steps
                if at + size <= len(steps):
                    fails(attrs.evolve(best(), steps=(*steps[:at], *steps[at + size :])))
                at -= size
            size //= 2

    def _simplify(self, best: Callable[[], Plan], fails: Callable[[Plan], bool]) -> None:
        at = 0
        while at < len(best().steps):
            steps = best().steps
            for simpler in _simpler(steps[at]):
                if fails(attrs.evolve(best(), steps=(*steps[:at], *simpler, *steps[at + 1 :]))):
                    break
            at += 1

    @staticmethod
    def _merge(best: Callable[[], Plan], fails: Callable[[Plan], bool]) -> None:
        """Write ticks that follow one another as one step."""
        at = 0
        while at + 1 < len(best().steps):
            steps = best().steps
            first, second = steps[at], steps[at + 1]
            if isinstance(first, Tick) and isinstance(second, Tick):
                merged = Tick(first.times + second.times)
                if fails(attrs.evolve(best(), steps=(*steps[:at], merged, *steps[at + 2 :]))):
                    continue
            at += 1


def _simpler(step: LifecycleCommand) -> Iterator[tuple[LifecycleCommand, ...]]:
    """Yield what could take the place of ``step``, the simplest first."""
    if isinstance(step, AtOnce):
        for part in step.commands:
            yield (part,)
        yield step.commands
        return
    if isinstance(step, Advance):
        yield (Tick(),)
        yield (Tick(2),)
        for less in SECONDS:
            if less < step.seconds:
                yield (Advance(less),)
        return
    path = getattr(step, "path", None)
    if path is not None and not isinstance(step, Crash):
        yield (Crash(path),)
        if not isinstance(step, Stop | RestartByHand):
            yield (Stop(path),)


def origin_of(error: BaseException) -> Origin:
    """Return what tells two bugs apart: the kind of error and the line that raised it."""
    if isinstance(error, InvariantViolated):
        return (*sorted({violation.invariant for violation in error.violations}),)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_KIT)] or list(frames)
    return type(error).__name__, own[-1].filename, own[-1].lineno


# ---------------------------------------------------------------- for trees

World: TypeAlias = Any
Fresh: TypeAlias = "SupervisorSpec | Callable[[], SupervisorSpec | tuple[SupervisorSpec, World]]"


@final
class _TreeSubject:
    """A tree with its world, made anew for each example."""

    def __init__(
        self,
        fresh: Any,
        invariants: Sequence[Callable[..., object]],
        reopen: Callable[[Any], SupervisorSpec] | None,
        max_steps: int,
    ) -> None:
        made = fresh() if callable(fresh) else fresh
        spec, *world = made if isinstance(made, tuple) else (made,)
        self._spec: SupervisorSpec = spec  # pyright: ignore[reportAttributeAccessIssue] - `fresh` is Any
        self._world = world
        self._invariants = invariants
        self._reopen = reopen
        self._max_steps = max_steps
        self._plan = Plan()
        self._pilot: Pilot | None = None

    def open(self, plan: Plan, *, drift: bool) -> None:
        self._plan = plan
        self._pilot = Pilot(
            self._spec,
            schedule=plan.schedule,
            seed=plan.seed,
            drift=drift or plan.drift,
            max_steps=self._max_steps,
        )

    def apply(self, step: LifecycleCommand) -> None:
        assert self._pilot is not None
        if not isinstance(step, Reopen):
            self._pilot.apply(step)
        elif self._reopen is not None and not self._pilot.is_open:
            self._pilot.close()
            self._pilot = Pilot(
                self._reopen(*self._world), seed=self._plan.seed, max_steps=self._max_steps
            )

    def check(self) -> None:
        assert self._pilot is not None
        self._pilot.check()
        for invariant in self._invariants:
            invariant(self._pilot, *self._world)

    def close(self) -> None:
        if self._pilot is not None:
            self._pilot.close()

    def drawn(self) -> Plan:
        if self._pilot is None:
            return self._plan
        return attrs.evolve(self._plan, drift=self._pilot.drift)

    @property
    def is_open(self) -> bool:
        return self._pilot is not None and self._pilot.is_open

    def paths(self) -> Sequence[str]:
        return () if self._pilot is None else self._pilot.paths()


@public
@final
@attrs.frozen
class Hunt:
    """The result of `hunt` when nothing was found; and, as an attribute of the error, when it was.

    Attributes:
        examples: Number of examples.
        steps: The steps of the counterexample, made short.
        find_seconds: Seconds of real time until an example failed.
        shrink_seconds: Seconds of real time to make it short.
    """

    examples: int
    steps: tuple[LifecycleCommand, ...] = ()
    find_seconds: float = 0.0
    shrink_seconds: float = 0.0


@public
def hunt(
    fresh: Fresh,
    *invariants: Callable[..., object],
    adds: Sequence[ChildSpec[Any]] = (),
    reopen: Callable[[Any], SupervisorSpec] | None = None,
    examples: int = 200,
    steps: int = 20,
    seconds: Sequence[float] = SECONDS,
    seed: int = 0,
    drift: bool = True,
    max_seconds: float | None = None,
    max_steps: int = MOST_STEPS,
) -> Hunt:
    """Crash, stop, restart and remove children at any moment until an invariant of yours fails.

    Every example opens a fresh tree and takes up to ``steps`` drawn steps: commands, crashes, and
    time that passes, often just to the next deadline of any task. After each step every invariant
    is checked, and every promise of `check_trace`. Half of the examples have a few steps of tasks
    out of turn, and half of them drift (see `simulate`). The first example that fails is made
    short, and raised together with a test that repeats it.

    Args:
        fresh: Makes what one example needs: the spec, or a pair of the spec and a *world*, which is
            what survives restarts, such as a database. A spec alone is for bodies without a world.
        *invariants: Called as ``invariant(tree)`` or ``invariant(tree, world)`` after each step,
            where ``tree`` is the `Pilot`; an exception is a failure. They are also called when the
            tree has ended: see `Pilot.is_open`.
        adds: Children that may be added to the root.
        reopen: Makes the spec with which a tree that has ended is opened again, from its world.
            By default an example ends with its tree.
        examples: How many examples to try. Default: 200.
        steps: Most steps of an example. Default: 20.
        seconds: How much time may pass in one step.
        seed: The seed of the first example.
        drift: Whether half of the examples drift. Default: yes.
        max_seconds: Stop looking after so many seconds of real time. Default: no limit.
        max_steps: See `Pilot`.

    Returns:
        How many examples were tried, if none failed.

    Raises:
        Exception: What the shortest example found fails with. Its notes hold the steps as a test,
            and its attribute ``hunt`` the result.

    Example::

        def fresh():
            shop = Shop()
            return declare(shop), shop

        def nothing_is_sold_twice(tree, shop):
            assert len(shop.sold) == len(set(shop.sold))

        def test_shop():
            hunt(fresh, nothing_is_sold_twice)
    """
    engine = Engine(
        lambda: _TreeSubject(fresh, invariants, reopen, max_steps),
        adds=adds,
        seconds=seconds,
        steps=steps,
        drift=drift,
        reopens=reopen is not None,
    )
    found = engine.find(examples, seed, max_seconds=max_seconds)
    if found is None:
        return Hunt(engine.examples)
    names = [getattr(one, "__name__", repr(one)) for one in invariants]
    world = ", world" if callable(fresh) and isinstance(fresh(), tuple) else ""
    raise_shortest(engine, found, lambda plan: as_pilot_test(plan, names, world))
    raise AssertionError("unreachable")


def raise_shortest(engine: Engine, found: Plan, show: Callable[[Plan], str]) -> None:
    """Make ``found`` short, and raise what it fails with."""
    short = engine.shrink(found)
    _, error, _ = engine.play(short)
    if error is None:
        _, error, _ = engine.play(found)
        short = found
    if error is None:
        raise AssertionError(
            "an example failed, and passed when it was repeated: something in it is decided "
            "outside of the simulation, or left over from an earlier example\n" + show(found)
        )
    error.add_note(f"the shortest counterexample, of {engine.examples} examples:\n{show(short)}")
    result = Hunt(engine.examples, short.steps, engine.found_after, engine.shrunk_after)
    error.hunt = result  # type: ignore[attr-defined]
    raise error


def as_pilot_test(plan: Plan, invariants: Iterable[str], world: str = "") -> str:
    """Return a test that repeats ``plan``."""
    options = _options(plan)
    lines = ["def test_it():"]
    if world:
        lines += ["    spec, world = fresh()"]
    lines.append(f"    with Pilot({'spec' if world else 'fresh()'}{options}) as tree:")
    for step in plan.steps or (None,):
        if isinstance(step, Reopen):
            lines.append(f"    with Pilot(reopen({world.removeprefix(', ')})) as tree:")
        elif step is not None:
            lines.append(f"        tree.apply({step!r})")
    lines += [f"        {name}(tree{world})" for name in invariants] or ["        tree.check()"]
    return "\n".join(f"    {line}" for line in lines)


def as_machine_test(plan: Plan, machine: str) -> str:
    """Return a test that repeats ``plan`` on a `LifecycleMachine`."""
    lines = ["def test_it():", f"    {machine}.replay("]
    lines += [f"        {step!r}," for step in plan.steps]
    lines += [f"        {_options(plan).removeprefix(', ')},", "    )"]
    return "\n".join(f"    {line}" for line in lines)


def _options(plan: Plan) -> str:
    parts = []
    if plan.schedule:
        parts.append(f"schedule={Picks(plan.schedule)}")
    if plan.drift:
        parts.append(f"drift={Picks(plan.drift)}")
    parts.append(f"seed={plan.seed}")
    return "".join(f", {part}" for part in parts)
