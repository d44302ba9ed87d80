"""OTP's supervisor suite: administration of children, and specs. Each test has OTP's name."""

from __future__ import annotations

from itertools import product
from math import inf, nan
from typing import Any

import pytest
import trio
from conformance.kit import AT_ONCE, Lab, scenario

from trio_supervisor import (
    BackoffPolicy,
    ChildAlreadyExists,
    ChildContext,
    ChildNotFound,
    ChildSpec,
    RestartLimit,
    SpecError,
    SupervisorClosed,
    SupervisorSpec,
)


async def idle(child: ChildContext) -> None:
    """A body that never needs to run here."""
    await trio.sleep_forever()


@scenario
async def test_child_adm(lab: Lab) -> None:
    spec = lab.child("a")
    async with lab.run() as supervisor:
        handle = await supervisor.start_child(spec)
        assert (handle.state, handle.attempt) == ("ready", 1)
        with pytest.raises(ChildAlreadyExists, match="app/a exists already .it is ready"):
            await supervisor.start_child(spec)
        await supervisor.stop_child("a")
        await supervisor.stop_child("a")
        assert (handle.state, lab.counts()) == ("stopped", (1, 0, 0))
        with pytest.raises(ChildAlreadyExists, match="it is stopped"):
            await supervisor.start_child(spec)
        await supervisor.restart_child("a")
        assert (handle.state, handle.attempt) == ("ready", 2)
        # OTP refuses to restart a running child; here that asks for a new attempt, and gets it.
        await supervisor.restart_child("a")
        assert (handle.state, handle.attempt) == ("ready", 3)
        for command in (
            supervisor.stop_child,
            supervisor.restart_child,
            supervisor.remove_child,
            supervisor.quarantine_child,
        ):
            with pytest.raises(ChildNotFound, match="no child 'b'; it has: a"):
                await command("b")
        # OTP deletes only what is stopped; here a removal stops it first.
        await supervisor.remove_child("a")
        assert (handle.state, lab.counts()) == ("removed", (0, 0, 0))
        for command in (supervisor.stop_child, supervisor.restart_child, supervisor.remove_child):
            with pytest.raises(ChildNotFound):
                await command("a")
        again = await supervisor.start_child(spec)
        assert again is not handle
        assert (again.attempt, handle.state) == (1, "removed")
    with pytest.raises(SupervisorClosed):
        await supervisor.start_child(lab.child("late"))
    with pytest.raises(SupervisorClosed):
        await supervisor.restart_child("a")


@scenario
async def test_child_adm_simple(lab: Lab) -> None:
    elsewhere = Lab()
    async with elsewhere.run() as other, lab.run() as supervisor:
        handles = [await supervisor.start_child(spec) for spec in lab.children("1 2 3")]
        foreign = await other.start_child(elsewhere.child("foreign"))
        await handles[0].stop()
        await supervisor.stop_child("2")
        assert lab.counts() == (3, 1, 1)
        # A second time, and for one that is dead already.
        await handles[0].stop()
        await supervisor.stop_child("1")
        with pytest.raises(ChildNotFound):
            await supervisor.stop_child("foreign")
        assert foreign.state == "ready"
        await supervisor.remove_child("1")
        with pytest.raises(ChildNotFound, match="removed"):
            await handles[0].stop()
        with pytest.raises(ChildNotFound, match="removed"):
            await handles[0].restart()
        assert lab.names() == ["2", "3"]


@scenario
async def test_extra_return(lab: Lab) -> None:
    lab["a"].value = lambda attempt: f"extra {attempt}"
    async with lab.run() as supervisor:
        handle = await supervisor.start_child(lab.child("a"))
        assert handle.value == "extra 1"
        await lab["a"].crash()
        assert handle.value == "extra 2"
        await supervisor.stop_child("a")
        await supervisor.restart_child("a")
        assert await handle.wait_ready() == "extra 3"
        # Whom it is of no concern to need not ask for it.
        assert (await supervisor.start_child(lab.child("b"))).value is None
        assert lab.counts() == (2, 2, 2)
        await supervisor.remove_child("a")
        assert lab.names() == ["b"]


WRONG: dict[str, tuple[object, ...]] = {
    "name": ("", "a/b", 1, None, "two\nlines"),
    "run": (None, "idle", 5, idle.__class__),
    "restart": ("prmanent", "", 1, True),
    "readiness": ("soon", 0),
    "start_timeout": (-1, nan, "5", True, 0),
    "max_runtime": (-1, nan, "5", 0),
    "stale_after": (-1, nan, None, 0),
    "grace": (-1, nan, "brutal_kill", True),
    "backoff": (1.0, (0, 1), "slow"),
    "restart_limit": ((3, 5), 3),
    "on_limit": ("explode", 1),
    "requires": ("db", 5, [""], ["a"], ["db", "db"], [7]),
    "significant": ("yes", 1),
    "decide": ("never", 5, idle),
}


@pytest.mark.parametrize("field", WRONG)
def test_child_specs(field: str) -> None:
    for value in WRONG[field]:
        options: dict[str, Any] = {"name": "a", "run": idle, "restart": "transient"}
        if field == "start_timeout":
            options["readiness"] = "explicit"
        options[field] = value
        with pytest.raises(SpecError) as caught:
            ChildSpec(**options)
        assert caught.value.field == field, value
        assert field in str(caught.value)
    spec = ChildSpec("a", idle)
    with pytest.raises(SpecError, match=r"children\[0\] has this one too"):
        SupervisorSpec("app", [spec, ChildSpec("a", idle, restart="transient")])


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@pytest.mark.parametrize("auto", ["never", "any_significant", "all_significant", "all_done"])
def test_child_specs_map(strategy: Any, auto: Any) -> None:
    """Each combination is accepted, unless an option in it could have no effect."""
    accepted = refused = 0
    limits = (None, RestartLimit(1, within=1))
    for restart, significant, explicit, timeout, grace, backoff, limit, quarantine in product(
        ("permanent", "transient", "temporary"),
        (False, True),
        (False, True),
        (None, 5),
        (0, inf),
        (None, AT_ONCE),
        limits,
        (False, True),
    ):
        options: dict[str, Any] = {"restart": restart, "significant": significant, "grace": grace}
        if explicit:
            options["readiness"] = "explicit"
        if timeout is not None:
            options["start_timeout"] = timeout
        if backoff is not None:
            options["backoff"] = backoff
        if limit is not None:
            options["restart_limit"] = limit
        if quarantine:
            options["on_limit"] = "quarantine"
        never_restarted = restart == "temporary"
        wrong = {
            "significant": significant
            and (restart == "permanent" or auto in ("never", "all_done")),
            "start_timeout": timeout is not None and not explicit,
            "backoff": never_restarted and backoff is not None,
            "restart_limit": never_restarted and limit is not None,
            "on_limit": never_restarted and quarantine,
        }
        blamed = {field for field, is_wrong in wrong.items() if is_wrong}
        error = _declare(options, strategy, auto)
        if error is None:
            accepted += 1
            assert not blamed, options
            continue
        refused += 1
        assert error.field in blamed, (options, str(error))
        if error.field == "significant":
            assert "permanent" in str(error) or "auto_shutdown" in str(error)
    assert accepted + refused == 3 * 2**7
    assert accepted > 50


def _declare(options: dict[str, Any], strategy: Any, auto: Any) -> SpecError | None:
    try:
        child = ChildSpec("a", idle, **options)
        SupervisorSpec("app", [child], strategy=strategy, auto_shutdown=auto)
    except SpecError as error:
        return error
    return None


WRONG_FLAGS: dict[str, tuple[object, ...]] = {
    "strategy": ("simple_one_for_one", "", 1),
    "ordering": ("chaos", 0),
    "restart_limit": ((3, 5), 3, -1),
    "child_restart_limit": ((3, 5), 3),
    "auto_shutdown": ("sometimes", True),
    "max_children": (-1, 1.5, "many", True),
    "shutdown_deadline": (-1, nan, "5"),
    "report_after": (-1, nan, "5"),
    "children": (5, "abc", [5], None),
    "name": ("", "a/b", 3),
}


@pytest.mark.parametrize("field", WRONG_FLAGS)
def test_sup_flags(field: str) -> None:
    make: Any = SupervisorSpec
    for value in WRONG_FLAGS[field]:
        with pytest.raises(SpecError) as caught:
            make(**{field: value})
        assert caught.value.field.startswith(field), value
    for arguments in ((-1, 5), (1.5, 5), (1, 0), (1, -1), (1, nan), ("1", 5), (True, 5)):
        limit: Any = RestartLimit
        with pytest.raises(SpecError, match="max_restarts|within"):
            limit(*arguments)
    with pytest.raises(TypeError, match="silly_flag"):
        make(silly_flag=True)
    with pytest.raises(SpecError, match="initial"):
        BackoffPolicy(initial=5, maximum=1)


@scenario
async def test_multiple_restarts(lab: Lab) -> None:
    limit = RestartLimit(1, within=1)
    async with lab.run(lab.child("a"), restart_limit=limit, child_restart_limit=limit):
        for _ in range(4):
            await lab["a"].crash()
            assert lab.state("a") == "ready"
            await lab.sleep(2.1)
        assert lab.starts("a") == [5]
