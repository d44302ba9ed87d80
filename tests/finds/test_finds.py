"""Every planted bug is found fast and shown short; the repaired programs raise no alarm."""

from __future__ import annotations

from statistics import median

import pytest

from finds import jobs, mailer, orders
from finds.catalogue import BUGS, MOST_SECONDS, find
from trio_supervisor.testing import hunt, search

pytestmark = pytest.mark.slow

SLOW = ("lease_too_short",)  # half a minute to make it short; `python -m tests.finds` has it


@pytest.fixture(scope="module")
def steps() -> list[int]:
    return []


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug not in SLOW])
def test_bug(bug: str, steps: list[int]) -> None:
    finding = find(bug)
    assert finding.found
    assert finding.shrink_seconds < MOST_SECONDS
    assert finding.steps <= 6, finding.shown
    steps.append(finding.steps)


def test_counterexamples_are_short(steps: list[int]) -> None:
    assert median(steps or [0]) <= 5


@pytest.mark.parametrize("program", [mailer, jobs, orders])
def test_a_repaired_program_raises_no_alarm(program: object) -> None:
    fresh, invariants = vars(program)["fresh"], vars(program)["INVARIANTS"]
    assert hunt(fresh, *invariants, examples=40).examples == 40


def test_an_orderly_day_of_the_repaired_program() -> None:
    search(jobs.an_orderly_day, "", runs=10, drift=True, allow_crashes=False)
