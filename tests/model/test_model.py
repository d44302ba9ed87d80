"""The naive model predicts what the supervisor does, under whatever schedule."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from helpers.support import run_virtual
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.compare import case_of, difference
from model.draw import draw_case
from model.perform import run_case
from model.tame import draw_tame
from trio_supervisor import ChildSpec, SupervisorFinished, SupervisorSpec, open_supervisor

if TYPE_CHECKING:
    from random import Random

CASES = int(os.environ.get("MODEL_CASES") or 200)
CHUNK = 50
QUICK = settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("start", range(0, CASES, CHUNK))
def test_the_model_predicts_every_history(start: int) -> None:
    for seed in range(start, min(start + CHUNK, CASES)):
        found = difference(case_of(seed), seed=seed)
        assert not found, f"case {seed}: {found}"


@QUICK
@given(st.randoms(use_true_random=False), st.lists(st.integers(0, 4), max_size=40))
def test_the_model_predicts_what_hypothesis_thinks_of(random: Random, schedule: list[int]) -> None:
    case = draw_tame(random)
    found = difference(case, schedule=schedule)
    assert not found, found


@QUICK
@given(st.randoms(use_true_random=False), st.lists(st.integers(0, 4), max_size=40))
def test_no_promise_is_broken_by_what_hypothesis_thinks_of(
    random: Random, schedule: list[int]
) -> None:
    case = draw_case(random)
    run_case(case, seed=0, schedule=schedule).check()


# ---------------------------------------------------------------- found by drawn cases


def test_nothing_is_accepted_after_the_end() -> None:
    """Whoever waits in `start_child` is cancelled with the tree: its child goes quietly."""

    async def main() -> None:
        held = ChildSpec("held", _wait)
        new = ChildSpec("new", _wait, requires=("held",))
        with trio.CancelScope() as scope:
            async with (
                trio.open_nursery() as nursery,
                open_supervisor(SupervisorSpec("app", [held])) as supervisor,
            ):
                await supervisor.stop_child("held")
                nursery.start_soon(supervisor.start_child, new)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel("all of it")
        last = supervisor.journal.events[-1]
        assert isinstance(last, SupervisorFinished), last

    run_virtual(main)


async def _wait(child: object) -> None:
    await trio.sleep_forever()
