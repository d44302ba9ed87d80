"""Every interleaving of a small scenario, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVarTuple, final

import attrs

from trio_supervisor.testing._sim.schedule import stripped
from trio_supervisor.testing._sim.simulate import MOST_SECONDS, MOST_STEPS, simulate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trio_supervisor.testing._sim.trace import Trace

Ts = TypeVarTuple("Ts")


@final
@attrs.frozen
class Exploration:
    """What `explore` has seen.

    Attributes:
        runs: How many schedules were run.
        distinct: How many different runs they made.
        complete: Whether that was every schedule there is, within the bound on deviations.
        failures: The runs that failed, the simplest schedules first.
    """

    runs: int
    distinct: int
    complete: bool
    failures: tuple[Trace[Any], ...]

    def check(self) -> None:
        """Do nothing if no run failed.

        Raises:
            BaseException: As `Trace.check` of the first failure.
        """
        if self.failures:
            self.failures[0].check()

    def __str__(self) -> str:
        how = "every schedule" if self.complete else "INCOMPLETE"
        return f"{self.runs} runs, {self.distinct} different, {how}, {len(self.failures)} failures"


def explore(
    scenario: Callable[[*Ts], Awaitable[object]],
    *args: *Ts,
    deviations: int | None = None,
    max_runs: int = 2_000,
    max_failures: int = 1,
    seed: int | None = None,
    max_seconds: float = MOST_SECONDS,
    max_steps: int = MOST_STEPS,
) -> Exploration:
    """Run a scenario under every schedule that there is, as far as the bounds allow.

    Schedules with fewer deviations from "the oldest task first" come first, so what is found first
    is simple. The number of schedules grows fast: two or three children, and no long waits. Almost
    every race that is known needs two deviations at most, so ``deviations=2`` goes a long way.

    Args:
        scenario: As for `simulate`.
        *args: As for `simulate`.
        deviations: In how many places a schedule may deviate; `None` for any number.
        max_runs: After so many it stops, and says that it is incomplete.
        max_failures: It stops at this many.
        seed: As for `simulate`, for all but the schedule.
        max_seconds: As for `simulate`.
        max_steps: As for `simulate`.

    Returns:
        What was seen. `Exploration.check` raises what was found.
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
    """``schedule`` with one deviation more, later than those it has: each schedule comes once."""
    for at in range(len(schedule), len(sizes)):
        for pick in range(1, sizes[at]):
            yield stripped((*schedule, *[0] * (at - len(schedule)), pick))
