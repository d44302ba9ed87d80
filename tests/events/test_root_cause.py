"""The line about a failure that came up through supervisors: the leaf and its cause come first."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_virtual

from trio_supervisor import (
    BackoffPolicy,
    ChildEscalated,
    ChildSpec,
    ChildStartError,
    Crashed,
    Escalate,
    RestartLimit,
    RestartLimitExceeded,
    SupervisorSpec,
    open_supervisor,
)
from trio_supervisor._errors import leaf_first

if TYPE_CHECKING:
    from trio_supervisor import ChildContext, ChildRunReport

NOW = BackoffPolicy.delays(0)
ONCE = RestartLimit(1, within=60)


async def dies(child: ChildContext) -> None:
    await trio.sleep(0.01)
    raise ValueError("db down")


def floors(*names: str) -> SupervisorSpec:
    """Supervisors in each other, with a child in the innermost that always fails."""
    leaf = ChildSpec("leaf", dies, backoff=NOW)
    spec = SupervisorSpec(names[-1], [leaf], child_restart_limit=ONCE)
    for name in reversed(names[:-1]):
        spec = SupervisorSpec(name, [spec.as_child(backoff=NOW)], child_restart_limit=ONCE)
    return spec


async def run(spec: SupervisorSpec) -> None:
    async with open_supervisor(spec) as supervisor:
        await supervisor.wait_finished()


def test_four_floors_that_give_up_name_the_leaf_and_its_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    long = "a_rather_long_name_for_a_floor"
    spec = floors(long, "n1", "n2", "n3")
    caplog.set_level(logging.INFO, "trio_supervisor")
    with pytest.raises(RestartLimitExceeded) as caught:
        run_virtual(run, spec)
    leaf = f"{long}/n1/n2/n3/leaf"
    assert f"{leaf} gave up: 1 restart" in str(caught.value)
    assert "last: crashed: ValueError: db down; then " in str(caught.value)
    above = [line for line in caplog.text.splitlines() if " gave up: " in line or "crashed" in line]
    assert len(above) > 8
    assert all(leaf in line and "ValueError: db down" in line for line in above)
    assert caplog.text.count("Traceback (most recent call last)\n") <= 9


def test_what_one_supervisor_says_is_left_as_it_is() -> None:
    with pytest.raises(RestartLimitExceeded) as caught:
        run_virtual(run, floors("app"))
    assert leaf_first(caught.value) == str(caught.value)
    assert leaf_first(RestartLimitExceeded("x", path="app/a")) == "x"
    assert leaf_first(ValueError("x")) == "x"


@pytest.mark.parametrize("broken", [7, [None], ["no report"]])
def test_an_error_whose_reports_are_none_is_told_by_its_own_text(broken: Any) -> None:
    error = RestartLimitExceeded("x", path="app/a")
    error.reports = broken
    assert leaf_first(error) == "x"


@pytest.mark.parametrize("reason", ["", "no database"])
def test_who_escalated_and_who_could_not_be_started(reason: str) -> None:
    def give_in(report: ChildRunReport) -> Escalate:
        return Escalate(reason)

    async def fails(child: ChildContext) -> None:
        raise ValueError("boom")

    bad = ChildSpec("leaf", fails, readiness="explicit")
    low = SupervisorSpec("low", [bad])
    mid = SupervisorSpec("mid", [low.as_child(retry_first_start=True, decide=give_in)])
    with pytest.raises(ChildStartError) as caught:
        run_virtual(run, SupervisorSpec("app", [mid]))
    low_error = caught.value.reports[-1].exit.error
    assert isinstance(low_error, ChildEscalated)
    told = Crashed(low_error).describe()
    own = f": {reason}" if reason else ""
    assert told == (
        "crashed: ChildEscalated: app/mid/low/leaf failed to start: crashed: ValueError: boom;"
        f" then app/mid/low escalated{own}"
    )
    assert leaf_first(caught.value) == (
        "app/mid/low/leaf failed to start: crashed: ValueError: boom;"
        f" then app/mid/low escalated{own}, app/mid failed to start"
    )
