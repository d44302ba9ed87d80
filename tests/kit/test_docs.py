"""The code on the testing page is run, and finds what the page says it finds."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from trio_supervisor.testing import INVARIANTS, Pilot, explore, simulate

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    code = code.replace("@pytest.mark.simulated(runs=20)\n", "")  # needs the installed plugin
    exec(compile(code, "testing.md", "exec"), names)
    return names


def test_the_race_is_found_and_made_small(page: dict[str, Any]) -> None:
    assert page["trace"].ok
    with pytest.raises(AssertionError, match="4 sold") as caught:
        page["test_nothing_is_sold_twice"]()
    assert "to repeat this run: simulate(..., schedule=[" in "".join(caught.value.__notes__)
    assert explore(page["a_day"], deviations=1).failures


def test_hypothesis_finds_it_too(page: dict[str, Any]) -> None:
    test = page["test_nothing_is_sold_twice_either"]
    with pytest.raises(AssertionError, match="4 sold"):
        settings(max_examples=300, database=None, deadline=None, phases=[Phase.generate])(test)()


def test_the_other_tests_pass(page: dict[str, Any]) -> None:
    page["test_a_shop_may_die_anywhere"]()
    page["test_the_shops_go_down_with_the_stock"]()
    page["test_the_blast_radius_is_the_one_that_was_designed"]()
    with ExitStack() as stack:
        page["test_by_hand"](lambda spec: stack.enter_context(Pilot(spec)))
    simulate(page["test_in_virtual_time"]).check()
    run_state_machine_as_test(
        page["ShopMachine"],
        settings=settings(
            max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_the_table_lists_every_promise() -> None:
    listed = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE, re.MULTILINE))
    assert listed == INVARIANTS
