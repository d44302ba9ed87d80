"""Elixir's tests of `Supervisor` that have a meaning here, under Elixir's names."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from conformance.kit import Lab, scenario

from trio_supervisor import (
    ChildAlreadyExists,
    ChildContext,
    ChildSpec,
    RestartLimit,
    SpecError,
    SupervisorSpec,
    holding,
    open_supervisor,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def idle(child: ChildContext, *args: object) -> None:
    """Does nothing until it is cancelled."""
    await trio.sleep_forever()


@asynccontextmanager
async def opened() -> AsyncIterator[None]:
    """Something to be held open."""
    yield


def test_generates_child_spec_1() -> None:
    spec = SupervisorSpec("sup", [ChildSpec("a", idle, "hello")])
    child = spec.as_child()
    assert (child.name, child.supervisor, child.restart) == ("sup", spec, "permanent")
    custom = spec.as_child(restart="temporary", grace=5)
    assert (custom.name, custom.restart, custom.grace) == ("sup", "temporary", 5)
    assert custom != child
    assert custom.replace(restart="permanent", grace=float("inf")) == child


def test_child_spec_2() -> None:
    # A function, an adapter, and a supervisor: three forms of a child.
    assert ChildSpec("a", idle, 1).args == (1,)
    assert ChildSpec("a", plain(trio.sleep, 1)).readiness == "immediate"
    assert SupervisorSpec("s", [SupervisorSpec("a")]).children[0].name == "a"
    spec = ChildSpec("a", idle, restart="temporary")
    changed = spec.replace(name="b", run=plain(trio.sleep_forever), restart="permanent", grace=0)
    assert (changed.name, changed.restart, changed.grace) == ("b", "permanent", 0)
    # The usual mistakes are named, and so is the remedy.
    make: Any = ChildSpec
    with pytest.raises(SpecError, match="not a class"):
        make("a", Lab)
    with pytest.raises(SpecError, match="as_child|among the children as it is"):
        make("a", SupervisorSpec("s"))
    with pytest.raises(SpecError, match=r"write plain\(sleep_forever"):
        make("a", trio.sleep_forever)
    with pytest.raises(SpecError, match=r"write holding\(opened, ...\)"):
        make("a", opened)
    with pytest.raises(SpecError, match=r"write holding\(function, \*args\)"):
        make("a", opened())
    with pytest.raises(SpecError, match="ChildSpec"):
        wrong: Any = ["other"]
        SupervisorSpec("s", wrong)
    assert holding(opened).readiness == "explicit"


def test_init_2() -> None:
    spec = SupervisorSpec("s", [ChildSpec("a", idle, restart="temporary")])
    # Elixir has no default strategy, so that nobody takes one by accident. Here the default is the
    # one that concerns nobody else, and the default limit is each child's own.
    assert (spec.strategy, spec.ordering, spec.auto_shutdown) == (
        "one_for_one",
        "sequence",
        "never",
    )
    assert (spec.restart_limit, spec.child_restart_limit) == (None, RestartLimit(10, within=120))
    spec = spec.replace(strategy="one_for_all", restart_limit=RestartLimit(1, within=2))
    assert (spec.strategy, spec.restart_limit) == ("one_for_all", RestartLimit(1, within=2))
    wrong: Any = "one_for_two"
    with pytest.raises(SpecError, match="one_for_one.*one_for_all.*rest_for_one"):
        SupervisorSpec(strategy=wrong)


@scenario
async def test_start_link_2_with_via(lab: Lab) -> None:
    # By its spec, which also tells a type checker what comes out.
    sub = SupervisorSpec("sub", lab.children("a"))
    async with lab.run(sub) as supervisor:
        assert supervisor.child(sub).value.children.keys() == {"a"}


@scenario
async def test_start_link_3_with_global(lab: Lab) -> None:
    # By its path from the root.
    sub = SupervisorSpec("sub", [SupervisorSpec("deep", lab.children("a"))])
    async with lab.run(sub) as supervisor:
        assert supervisor.child("app/sub/deep/a").path == "app/sub/deep/a"
        deep = supervisor.child("app/sub/deep").value
        assert deep.path == "app/sub/deep"


@scenario
async def test_start_link_3_with_local(lab: Lab) -> None:
    # By its name, which is unique among its siblings, and among nobody else.
    sub = SupervisorSpec("sub", lab.children("a"))
    async with lab.run(sub) as supervisor, open_supervisor(SupervisorSpec("app")) as other:
        assert supervisor.child("sub").value.name == "sub"
        with pytest.raises(ChildAlreadyExists):
            await supervisor.start_child(sub)
        await other.start_child(SupervisorSpec("sub"))
        assert other.child("sub").value.children == {}


@scenario
async def test_start_link_2(lab: Lab) -> None:
    async with lab.run(lab.child("stack")) as supervisor:
        await lab["stack"].finish("stop")
        assert supervisor.child("stack").state == "ready"
        assert lab.starts("stack") == [2]
    make: Any = SupervisorSpec
    for name in ("", 5, ("via", "name"), "a/b", None):
        with pytest.raises(SpecError, match="name"):
            make(name)


@scenario
async def test_start_link_3(lab: Lab) -> None:
    def stack_supervisor(name: str) -> SupervisorSpec:
        return SupervisorSpec(name, [lab.child("stack", args=("hello",))])

    async with open_supervisor(stack_supervisor("stat")) as supervisor:
        assert supervisor.child("stack").spec.args == ("hello",)
        report = await supervisor.shutdown()
    assert report.child("stat/stack").outcome == "stopped"


@scenario
async def test_start_child_2_supports_new_child_spec(lab: Lab) -> None:
    async with lab.run() as supervisor:
        handle = await supervisor.start_child(lab.child("a"))
        assert handle.path == "app/a"
        assert supervisor.children["a"] is handle


@scenario
async def test_start_child_2_with_invalid_child_spec(lab: Lab) -> None:
    async with lab.run() as supervisor:
        wrong: Any
        for wrong in ({"id": 1}, 5, None, idle):
            with pytest.raises(SpecError, match="a ChildSpec or SupervisorSpec"):
                await supervisor.start_child(wrong)
        with pytest.raises(SpecError, match="the name of a sibling"):
            await supervisor.start_child(lab.child("a", requires=["b"]))
        assert lab.names() == []


@pytest.mark.parametrize("grace", [0, 1])
@scenario
async def test_start_child_2_with_valid_shutdown(lab: Lab, grace: int) -> None:
    async with lab.run() as supervisor:
        await supervisor.start_child(lab.child("a", grace=grace))
        await supervisor.remove_child("a")
        assert lab.take() == ("+a !a -a" if grace == 0 else "+a ?a -a")


@scenario
async def test_child_life_cycle(lab: Lab) -> None:
    async with lab.run() as supervisor:
        counts = supervisor.count_children()
        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (0, 0, 0, 0)
        lab["a"].value = "hello"
        handle = await supervisor.start_child(lab.child("a"))
        assert handle.value == "hello"
        assert list(supervisor.children.values()) == [handle]
        counts = supervisor.count_children()
        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (1, 1, 0, 1)
        await supervisor.stop_child("a")
        assert supervisor.count_children().active == 0
        await supervisor.restart_child("a")
        assert handle.value == "hello"
        await supervisor.stop_child("a")
        await supervisor.remove_child("a")
        assert list(supervisor.children) == []
