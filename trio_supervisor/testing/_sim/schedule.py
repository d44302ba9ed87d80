"""A schedule: which of the runnable tasks goes next, as a list of numbers.

Whenever several tasks can run, that is one choice: 0 takes the one that was created first, 1 the
next, and so on (modulo how many there are). The list holds one number per choice, in order; where
it ends, and if it is empty, the oldest goes first. So the simplest schedule is ``()``, and a
schedule that Hypothesis or `shrink_schedule` has made small says which single step has to come out
of turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeAlias, final

from trio_supervisor._lazy import public

Schedule: TypeAlias = "Sequence[int]"


@final
class Picks(list[int]):
    """A schedule with a short `repr`."""

    def __repr__(self) -> str:
        parts: list[str] = []
        zeros = 0
        for pick in self:
            if pick:
                parts.append(f"*[0] * {zeros}" if zeros > 3 else ", ".join("0" * zeros))
                parts.append(str(pick))
                zeros = 0
            else:
                zeros += 1
        parts.append(f"*[0] * {zeros}" if zeros > 3 else ", ".join("0" * zeros))
        return f"[{', '.join(part for part in parts if part)}]"


def stripped(picks: Sequence[int]) -> tuple[int, ...]:
    """Return the schedule without the zeros at its end, which change nothing."""
    end = len(picks)
    while end and picks[end - 1] == 0:
        end -= 1
    return tuple(picks[:end])


@final
class Scheduler(Random):
    """Take the place of Trio's random generator, and make each choice from a schedule.

    Args:
        picks: The schedule.
        beyond: Makes the choices after the end of the schedule; by default the oldest task goes
            first.
        on_step: Called before each step of the scheduler. An exception in it ends the whole run.

    Attributes:
        picked: The task taken at each choice.
        sizes: The number of tasks at each choice.
        steps: Number of steps of the scheduler.
        is_on: Whether choices are taken from the schedule; if not, the oldest goes first.
    """

    def __init__(
        self,
        picks: Sequence[int] = (),
        *,
        beyond: Random | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(0)
        self._picks = tuple(picks)
        self._beyond = beyond
        self.on_step = on_step
        self.picked: list[int] = []
        self.sizes: list[int] = []
        self.steps = 0
        self.is_on = True

    def renew(self, picks: Sequence[int]) -> None:
        """Take the following choices from ``picks``."""
        self._picks = (*self.picked, *picks)

    def shuffle(self, x: Any) -> None:
        """Put the tasks of one step in order; the last of the list goes first."""
        self.steps += 1
        if self.on_step is not None:
            self.on_step()
        if self.is_on and len(x) > 1:
            self._choose(x)
        else:
            x.reverse()

    def _choose(self, tasks: list[object]) -> None:
        chosen = []
        while len(tasks) > 1:
            pick = self._next_pick(len(tasks))
            self.picked.append(pick)
            self.sizes.append(len(tasks))
            chosen.append(tasks.pop(pick))
        chosen += tasks
        chosen.reverse()
        tasks[:] = chosen

    def _next_pick(self, among: int) -> int:
        at = len(self.picked)
        if at < len(self._picks):
            return self._picks[at] % among
        return 0 if self._beyond is None else self._beyond.randrange(among)


@public
def shrink_schedule(
    schedule: Sequence[int], fails: Callable[[tuple[int, ...]], bool], *, most_runs: int = 400
) -> tuple[int, ...]:
    """Find the simplest schedule under which a scenario still fails.

    Args:
        schedule: A schedule under which the scenario fails.
        fails: Run the scenario under a schedule; true if it fails in the same way.
        most_runs: Greatest number of runs. Default: 400.

    Returns:
        A schedule with as few deviations from "the oldest first" as could be found, as early and as
        small as possible.
    """
    best = stripped(schedule)
    runs = 0
    known: dict[tuple[int, ...], bool] = {}

    def is_better(candidate: Sequence[int]) -> bool:
        nonlocal runs, best
        picks = stripped(candidate)
        if picks == best or runs >= most_runs:
            return False
        if picks not in known:
            runs += 1
            known[picks] = fails(picks)
        if known[picks]:
            best = picks
        return known[picks]

    is_better(())
    before = None
    while before != best and runs < most_runs:
        before = best
        _truncate(lambda: best, is_better)
        _clear(lambda: best, is_better)
        for at, pick in enumerate(best):
            for less in range(1, pick if at < len(best) else 0):
                if is_better((*best[:at], less, *best[at + 1 :])):
                    break
        _delete_zeros(lambda: best, is_better)
    return best


def _truncate(
    best: Callable[[], tuple[int, ...]], is_better: Callable[[Sequence[int]], bool]
) -> None:
    keep = len(best()) // 2
    step = max(keep // 2, 1)
    while keep > 0 and is_better(best()[:keep]):
        keep //= 2
    while step:
        while len(best()) > step and is_better(best()[:-step]):
            pass
        step //= 2


def _clear(best: Callable[[], tuple[int, ...]], is_better: Callable[[Sequence[int]], bool]) -> None:
    """Set blocks of choices, then single ones, to the oldest task."""
    size = max(len(best()) // 2, 1)
    while size:
        at = 0
        while at < len(best()):
            now = best()
            if any(now[at : at + size]):
                is_better((*now[:at], *[0] * len(now[at : at + size]), *now[at + size :]))
            at += size
        size //= 2


def _delete_zeros(
    best: Callable[[], tuple[int, ...]], is_better: Callable[[Sequence[int]], bool]
) -> None:
    at = len(best()) - 1
    while at >= 0:
        now = best()
        if at < len(now) and now[at] == 0:
            is_better((*now[:at], *now[at + 1 :]))
        at -= 1
