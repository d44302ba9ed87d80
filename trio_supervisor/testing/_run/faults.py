"""Run a scenario once for each place at which a child could fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import Any, Final, Literal, TypeAlias, TypeVarTuple, final

import attrs

from trio_supervisor._lazy import public
from trio_supervisor.testing._run.injection import Fault, FaultKind, Probe
from trio_supervisor.testing._run.simulate import MOST_SECONDS, MOST_STEPS, Settings
from trio_supervisor.testing._run.simulate import play as _play
from trio_supervisor.testing._run.trace import Trace

Ts = TypeVarTuple("Ts")

Place: TypeAlias = Literal["checkpoint", "wake_up", "time"]
PLACES: Final[tuple[Place, ...]] = ("checkpoint", "wake_up", "time")


@public
@final
@attrs.frozen
class FaultPoint:
    """One run with a fault, or with two.

    Attributes:
        faults: The faults that were injected; they print as `simulate` takes them.
        where: The line of the child's own code that waited where the last one struck.
        trace: The run.
    """

    faults: tuple[Fault, ...]
    where: str
    trace: Trace[Any]


@public
@final
@attrs.frozen
class FaultRuns:
    """The result of `crash_everywhere`.

    Attributes:
        points: Every run with a fault.
        complete: Whether every place that was asked for was tried.
    """

    points: tuple[FaultPoint, ...]
    complete: bool

    @property
    def failures(self) -> tuple[FaultPoint, ...]:
        """The faults after which the run failed."""
        return tuple(point for point in self.points if not point.trace.ok)

    def check(self) -> None:
        """Raise the first failure, if there is one.

        Raises:
            BaseException: As `Trace.check`, with notes that say where the fault was, and how to
                repeat that run.
        """
        for point in self.failures[:1]:
            error = point.trace.error
            try:
                point.trace.check()
            except BaseException as raised:
                error = raised
                faults = " and ".join(map(str, point.faults))
                error.add_note(f"the fault was {faults}: {point.where}")
                raise
            finally:
                del error

    def __str__(self) -> str:
        how = "every place" if self.complete else "INCOMPLETE"
        return f"{len(self.points)} faults, {how}, {len(self.failures)} failures"


@public
def crash_everywhere(
    scenario: Callable[[*Ts], Awaitable[object]],
    *args: *Ts,
    child: str,
    fault: FaultKind | Sequence[FaultKind] = "crash",
    places: Sequence[Place] = PLACES,
    error: Callable[[], Exception] | None = None,
    once_ready: bool | None = None,
    pairs: int = 0,
    max_points: int = 1_000,
    schedule: Sequence[int] | None = None,
    drift: Sequence[int] | bool = False,
    seed: int | None = None,
    max_seconds: float = MOST_SECONDS,
    max_steps: int = MOST_STEPS,
    allow_crashes: bool = True,
) -> FaultRuns:
    """Run a scenario once for each place at which a child could fail, with a fault at that place.

    A run without a fault comes first; it must not fail. It counts the child's checkpoints, and
    notes every instant at which any task moved. The places are then

    * each *checkpoint*, where the child begins to wait. The checkpoints of tasks that the body has
      started, in ``child.nursery`` or in a nursery of its own, count as well: an error in such a
      task crashes the attempt, too. The tasks of a supervisor that the body opens do not count.
    * each *wake-up* from such a wait.
    * each gap of *time*: the middle between two instants at which any task moved. There the child
      is in the middle of a wait, while others are in the middle of theirs.

    An exception is not injected where no program can meet one: where Trio has just handed over a
    lock or an item, and only lets other tasks run.

    Args:
        scenario: As for `simulate`. It should end with assertions that hold whatever happens to the
            child.
        *args: As for `simulate`.
        child: The path of the child with its root's name, such as ``"app/store"``; ``*`` stands for
            any name.
        fault: What happens there, one or several of ``"crash"``, ``"cancel"`` (of the attempt's own
            scope), ``"hang"`` (the wait does not end until it is cancelled) and ``"slow"`` (it ends
            60 s late); see `Fault`.
        places: Which places to try. Default: all three kinds.
        error: Makes the exception of a crash. Default: `SimulatedCrash`.
        once_ready: Skip places before the child's first readiness, where a fault is a failed start,
            which ends the tree. Default: unless the child is declared with ``retry_first_start``.
        pairs: How many runs with two faults to add: the second one strikes at a place, drawn from
            ``seed``, that the run with the first one reaches afterwards. Default: 0.
        max_points: Greatest number of runs. Default: 1,000.
        schedule: As for `simulate`.
        drift: As for `simulate`.
        seed: As for `simulate`.
        max_seconds: As for `simulate`.
        max_steps: As for `simulate`.
        allow_crashes: As for `simulate`.

    Returns:
        All faults with their runs. `FaultRuns.check` raises the first failure.

    Raises:
        ValueError: No child of that path has run.
        BaseException: The failure of the run without a fault.
    """
    settings = Settings(
        schedule=schedule,
        seed=seed,
        drift=drift,
        max_seconds=max_seconds,
        max_steps=max_steps,
        allow_crashes=allow_crashes,
        error=error,
    )
    kinds: list[FaultKind] = [fault] if isinstance(fault, str) else list(fault)
    trace, (counted,) = _play(scenario, args, settings, counts=child)
    trace.check()
    if not counted.attempts:
        raise ValueError(f"no child {child!r} has run in this scenario")
    if once_ready is None:
        once_ready = not counted.retries_first_start
    points: list[FaultPoint] = []
    complete = True
    for one in _places(counted, kinds, places, once_ready=once_ready):
        if len(points) >= max_points:
            complete = False
            break
        trace, (probe,) = _play(scenario, args, attrs.evolve(settings, faults=(one,)))
        if probe.where is not None:
            points.append(FaultPoint((one,), probe.where, trace))
    firsts = [point.faults[0] for point in points]
    draw = Random(f"pairs {seed}")  # noqa: S311  # to be repeated
    for _ in range(pairs if firsts else 0):
        first = draw.choice(firsts)
        counting = attrs.evolve(settings, faults=(first,))
        trace, (struck, counted) = _play(scenario, args, counting, counts=child)
        later = _after(struck, list(_places(counted, kinds, places, once_ready=once_ready)))
        if not later:
            continue
        both = (first, draw.choice(later))
        trace, probes = _play(scenario, args, attrs.evolve(settings, faults=both))
        if probes[-1].where is not None:
            points.append(FaultPoint(both, probes[-1].where, trace))
    return FaultRuns(tuple(points), complete)


def _places(
    counted: Probe, kinds: Sequence[FaultKind], places: Sequence[Place], *, once_ready: bool
) -> Iterator[Fault]:
    for kind in kinds:
        for number, checkpoint in enumerate(counted.checkpoints, 1):
            if once_ready and not checkpoint.was_ready:
                continue
            if "checkpoint" in places and (kind != "crash" or checkpoint.can_crash):
                yield Fault(counted.child, kind, f"#{number}")
            if "wake_up" in places and kind != "slow":  # as at the entry
                yield Fault(counted.child, kind, f"~{number}")
        if "time" in places:
            for before, after in pairwise(counted.instants):
                middle = (before + after) / 2
                if not once_ready or (counted.ready_at is not None and middle > counted.ready_at):
                    yield Fault(counted.child, kind, f"@{middle!r}")


def _after(struck: Probe, faults: list[Fault]) -> list[Fault]:
    """Return the faults at places that come after the one that has struck."""
    passed, time = struck.struck_after, struck.struck_at
    return [
        fault for fault in faults if float(fault.at[1:]) > (time if fault.at[0] == "@" else passed)
    ]
