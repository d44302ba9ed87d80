"""Which tool finds which bug, how fast, and in how few steps."""

from __future__ import annotations

from functools import partial
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, Final

import attrs

from trio_supervisor.testing import Tick, crash_everywhere, hunt, search, simulate

from . import jobs, mailer, orders

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS: Final[dict[str, Any]] = {"mailer": mailer, "jobs": jobs, "orders": orders}

BUGS: Final[dict[str, tuple[str, str]]] = {
    "leak_on_cancel": ("mailer", "hunt"),
    "requeue_on_restart": ("mailer", "hunt"),
    "two_step_claim": ("mailer", "hunt"),
    "lost_wakeup": ("mailer", "search"),
    "double_start": ("jobs", "hunt"),
    "stale_handle": ("jobs", "hunt"),
    "order_of_close": ("jobs", "search"),
    "forgotten_heartbeat": ("jobs", "search with drift"),
    "charged_twice": ("orders", "hunt"),
    "ready_too_early": ("orders", "hunt"),
    "lock_kept": ("orders", "hunt"),
    "lease_too_short": ("orders", "hunt"),
}
"""The program and the finder of each bug."""

MOST_SECONDS: Final = 60.0


@attrs.frozen
class Finding:
    """What became of one bug: how long it took, and the steps of the counterexample."""

    bug: str
    program: str
    finder: str
    found: bool
    find_seconds: float = 0.0
    shrink_seconds: float = 0.0
    steps: int = 0
    shown: str = ""

    def __str__(self) -> str:
        if not self.found:
            return f"{self.bug:20} {self.program:8} {self.finder:18} NOT FOUND"
        return (
            f"{self.bug:20} {self.program:8} {self.finder:18} "
            f"{self.find_seconds:7.1f} s {self.shrink_seconds:7.1f} s {self.steps:5}"
        )


HEAD: Final = f"{'bug':20} {'program':8} {'finder':18} {'find':>9} {'shrink':>9} {'steps':>5}"


def find(bug: str, *, seed: int = 0, max_seconds: float = MOST_SECONDS) -> Finding:
    """Look for one bug with the tool that is meant for it."""
    program, finder = BUGS[bug]
    module = PROGRAMS[program]
    began = process_time()
    try:
        if finder == "hunt":
            fresh = partial(module.fresh, bug)
            hunt(fresh, *module.INVARIANTS, examples=100_000, seed=seed, max_seconds=max_seconds)
        else:
            drift = "drift" in finder
            search(module.an_orderly_day, bug, seed=seed, drift=drift, allow_crashes=False)
    except Exception as error:
        seconds = process_time() - began
        shown = "\n".join([repr(error), *getattr(error, "__notes__", ())])
        result = getattr(error, "hunt", None)
        if result is None:
            schedule, _, late = getattr(error, "lifecycle_run", ((), 0, ()))
            steps = sum(map(bool, (*schedule, *late)))  # out of turn, or late
            return Finding(bug, program, finder, True, seconds, 0.0, max(steps, 1), shown)
        times = sum(step.times if isinstance(step, Tick) else 1 for step in result.steps)
        assert times
        return Finding(
            bug,
            program,
            finder,
            True,
            result.find_seconds,
            result.shrink_seconds,
            len(result.steps),
            shown,
        )
    return Finding(bug, program, finder, False)


def false_alarms(examples: int, *, seed: int = 0) -> tuple[int, float]:
    """Run the repaired programs; return how many examples, and seconds. Any failure is raised."""
    began = perf_counter()
    count = 0
    for module in PROGRAMS.values():
        result = hunt(module.fresh, *module.INVARIANTS, examples=examples // 3, seed=seed)
        count += result.examples
    for drift in (False, True):
        search(jobs.an_orderly_day, "", runs=20, seed=seed, drift=drift, allow_crashes=False)
    return count, perf_counter() - began


def crash_everywhere_finds(bug: str, scenario: Callable[..., Any], child: str) -> bool:
    """Return whether a fault at any place of ``child`` shows the bug."""
    simulate(scenario, "").check()
    return bool(crash_everywhere(scenario, bug, child=child).failures)
