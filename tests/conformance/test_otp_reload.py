"""OTP's supervisor suite: changes of a declaration while it runs.

There is no code to be loaded into a running supervisor here: specs are values, and what runs
changes by commands. A child is replaced by removing it and starting its changed spec; a supervisor
by its parent, in the same way. What OTP asserts of a reload has to hold all the same: a declaration
that cannot work changes nothing, who is not concerned keeps running, and what was changed is seen
and is in force.
"""

from __future__ import annotations

from typing import Any

import pytest
from conformance.kit import Lab, scenario

from trio_supervisor import (
    ChildNotFound,
    RestartLimit,
    RestartLimitExceeded,
    SpecError,
    SupervisorSpec,
    TooManyChildren,
)


@scenario
async def test_code_change(lab: Lab) -> None:
    async with lab.run(*lab.children("a b c")) as supervisor:
        before = supervisor.state()
        lab.take()
        # What cannot work is refused before anything is stopped for it.
        for changes in ({"grace": -1}, {"restart": "nonsense"}, {"requires": ["b"]}):
            wrong: Any = changes
            with pytest.raises(SpecError):
                supervisor.child("b").spec.replace(**wrong)
        stranger = lab.child("b2", requires=["nobody"])
        with pytest.raises(SpecError, match="the name of a sibling"):
            await supervisor.start_child(stranger)
        assert supervisor.state() == before
        # A new child is added; a changed one is replaced; a removed one is gone.
        await supervisor.start_child(lab.child("d"))
        changed = supervisor.child("b").spec.replace(restart="transient")
        await supervisor.remove_child("b")
        await supervisor.start_child(changed)
        assert supervisor.child("b").spec.restart == "transient"
        await supervisor.remove_child("c")
        with pytest.raises(ChildNotFound):
            supervisor.child("c")
        assert lab.take() == "+d ?b -b +b ?c -c"
        assert lab.names() == ["a", "d", "b"]
        assert lab.starts("a d") == [1, 1]
        # And it is in force.
        await lab["b"].finish()
        assert lab.states("a b d") == ["ready", "done", "ready"]


@scenario
async def test_code_change_map(lab: Lab) -> None:
    sub = SupervisorSpec("sub", lab.children("a b"), restart_limit=RestartLimit(1, within=3600))
    async with lab.run(sub, lab.child("other")) as supervisor:
        nested = supervisor.child("sub").value
        for changes in (
            {"strategy": "nonsense"},
            {"restart_limit": (3, 5)},
            {"auto_shutdown": "sometimes"},
            {"max_children": 1},
        ):
            wrong: Any = changes
            with pytest.raises(SpecError):
                nested.spec.replace(**wrong)
        with pytest.raises(SpecError, match="max_restarts"):
            RestartLimit(-1, within=5)
        assert lab.starts("a b other") == [1, 1, 1]
        changed = nested.spec.replace(
            strategy="one_for_all", restart_limit=RestartLimit(2, within=60)
        )
        await supervisor.remove_child("sub")
        await supervisor.start_child(changed)
        assert supervisor.child("sub").value.spec == changed
        assert lab.starts("a b other") == [2, 2, 1]
        # Another strategy, and another limit.
        await lab["a"].crash()
        assert lab.starts("a b other") == [3, 3, 1]
        await lab["a"].crash()
        assert lab.exits("sub") == ["stopped"]
        await lab["a"].crash()
        last = supervisor.child("sub").last_report
        assert last is not None
        assert last.exit.has(RestartLimitExceeded)
        assert lab["other"].starts == 1


@scenario
async def test_code_change_simple(lab: Lab) -> None:
    async with lab.run(SupervisorSpec("pool")) as supervisor:
        pool = supervisor.child("pool").value
        for spec in lab.children("1 2 3"):
            await pool.start_child(spec)
        with pytest.raises(SpecError, match="max_children"):
            pool.spec.replace(max_children=-1)
        assert pool.count_children().active == 3
        await supervisor.remove_child("pool")
        await supervisor.start_child(SupervisorSpec("pool", max_children=1))
        # Nobody had declared those that were in it.
        pool = supervisor.child("pool").value
        assert pool.count_children().specs == 0
        await pool.start_child(lab.child("1"))
        with pytest.raises(TooManyChildren, match="max_children=1"):
            await pool.start_child(lab.child("2"))


@scenario
async def test_code_change_simple_map(lab: Lab) -> None:
    async with lab.run() as supervisor:
        template = lab.child("1", restart="permanent", grace=1)
        await supervisor.start_child(template)
        with pytest.raises(SpecError, match="backoff"):
            template.replace(restart="temporary")  # an option that could have no effect any more
        changed = lab.child("2", restart="transient", grace=2)
        await supervisor.start_child(changed)
        # Those started from now on are as they are declared now, and the others as they were.
        one, two = (handle.spec for handle in supervisor.children.values())
        assert (one.restart, one.grace) == ("permanent", 1)
        assert (two.restart, two.grace) == ("transient", 2)
        assert lab.starts("1 2") == [1, 1]
