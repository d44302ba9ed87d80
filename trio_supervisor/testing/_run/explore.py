"""Run every interleaving of a small scenario, one after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVarTuple, final

import attrs

from trio_supervisor._lazy import public
from trio_supervisor.testing._run.simulate import MOST_SECONDS, MOST_STEPS, simulate
from trio_supervisor.testing._run.trace import Trace
from trio_supervisor.testing._sim.schedule import stripped

if TYPE_CHECKING:
    from collections.abc import Iterator


Ts = TypeVarTuple("Ts")


@public
@final
@attrs.frozen
class Exploration:
    """The result of `explore`.

    Attributes:
        runs: Number of schedules that were run.
        distinct: Number of different runs among them.
        complete: Whether these were all schedules within the bound on deviations.
        failures: The runs that failed, the simplest schedules first.
    """

    runs: int
    distinct: int
    complete: bool
    failures: tuple[Trace[Any], ...]

    def check(self) -> None:
        """Raise the first failure, if there is one.

        Raises:
            BaseException: As `Trace.check`.
        """
        if self.failures:
            self.failures[0].check()

    def __str__(self) -> str:
        how = "every schedule" if self.complete else "INCOMPLETE"
        return f"{self.runs} runs, {self.distinct} different, {how}, {len(self.failures)} failures"


@public
def explore(
    scenario: Callable[[*Ts], Awaitable[object]],
    *args: *Ts,
    deviations: int | None = None,
    max_runs: int = 2_000,
    max_failures: int = 1,
    seed: int | None = None,
    max_seconds: float = MOST_SECONDS,
    max_steps: int = MOST_STEPS,
    allow_crashes: bool = True,
) -> Exploration:
    """Run a scenario under every schedule that there is, as far as the bounds allow.

    Schedules with fewer deviations from "the oldest task first" come first, so the first failure is
    a simple one. The number of schedules grows fast: use two or three children, and no long waits.
    Almost every known race needs at most two deviations, so ``deviations=2`` is a good bound.

    Args:
        scenario: As for `simulate`.
        *args: As for `simulate`.
        deviations: In how many places a schedule may deviate. Default: `None`, any number.
        max_runs: Stop after so many runs; the exploration is then incomplete. Default: 2,000.
        max_failures: Stop after so many failures. Default: 1.
        seed: As for `simulate`, for everything but the schedule.
        max_seconds: As for `simulate`.
        max_steps: As for `simulate`.
        allow_crashes: As for `simulate`.

    Returns:
        The runs, counted, and the failures. `Exploration.check` raises the first failure.
    """
    runs = 0
    seen: set[str] = set()
    failures: list[Trace[Any]] = []
    level: list[tuple[int, ...]] = [()]
    depth = 0
    complete = True
    while level:
        following: list[tuple[int, ...]] = []
        for schedule in level:
            if runs >= max_runs or len(failures) >= max_failures:
                return Exploration(runs, len(seen), False, tuple(failures))
            runs += 1
            trace = simulate(
                scenario,
                *args,
                schedule=schedule,
                seed=seed,
                max_seconds=max_seconds,
                max_steps=max_steps,
                allow_crashes=allow_crashes,
            )
            seen.add(trace.digest)
            if not trace.ok:
                failures.append(trace)
            if deviations is None or depth < deviations:
                following.extend(_next_schedules(schedule, trace.sizes))
        level = following
        depth += 1
    return Exploration(runs, len(seen), complete, tuple(failures))


def _next_schedules(schedule: tuple[int, ...], sizes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield ``schedule`` with one more, later deviation, so that each schedule comes once."""
    for at in range(len(schedule), len(sizes)):
        for pick in range(1, sizes[at]):
            yield stripped((*schedule, *[0] * (at - len(schedule)), pick))
