"""Elixir's tests of `DynamicSupervisor` that have a meaning here: starting and restarting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from conformance.kit import AT_ONCE, Boom, Lab, scenario
from trio.testing import wait_all_tasks_blocked

from trio_supervisor import (
    BackoffPolicy,
    ChildAlreadyExists,
    ChildContext,
    ChildSpec,
    ChildStartError,
    DoNotRestart,
    RestartLimit,
    RestartLimitExceeded,
    SpecError,
    SupervisorSpec,
    TaskFailure,
    TooManyChildren,
    open_supervisor,
)

if TYPE_CHECKING:
    from conformance.kit import Puppet

NEVER_GIVES_UP: dict[str, Any] = {"child_restart_limit": None}
SLOWLY = BackoffPolicy.delays(10)


async def idle(child: ChildContext, *args: object) -> None:
    """Does nothing until it is cancelled."""
    await trio.sleep_forever()


@scenario
async def test_can_be_supervised_directly(lab: Lab) -> None:
    async with lab.run(SupervisorSpec("pool")) as supervisor:
        assert supervisor.child("pool").value.children == {}


@scenario
async def test_multiple_supervisors_can_be_supervised_and_identified(lab: Lab) -> None:
    async with lab.run(SupervisorSpec("one"), SupervisorSpec("two")) as supervisor:
        handle = await supervisor.start_child(SupervisorSpec())
        assert handle.name == "supervisor"
        pools = [supervisor.child(name).value for name in ("one", "two", "supervisor")]
        assert [pool.path for pool in pools] == ["app/one", "app/two", "app/supervisor"]
        assert all(pool.children == {} for pool in pools)
        with pytest.raises(ChildAlreadyExists, match="app/supervisor exists already"):
            await supervisor.start_child(SupervisorSpec())


def test_use_2_generates_child_spec_1() -> None:
    pool = SupervisorSpec("pool", max_children=5)
    assert pool.as_child().supervisor == pool
    custom = pool.as_child(restart="temporary", grace=float("inf"))
    assert (custom.restart, custom.grace, custom.readiness) == (
        "temporary",
        float("inf"),
        "explicit",
    )


@scenario
async def test_init_1_set_default_options(lab: Lab) -> None:
    async with open_supervisor() as pool:
        spec = pool.spec
        assert (spec.name, spec.children, spec.max_children) == ("supervisor", (), None)
        assert (spec.strategy, spec.restart_limit) == ("one_for_one", None)


def test_start_link_3_with_non_ok_init() -> None:
    anything: Any = open_supervisor
    for options in (
        {"strategy": "unknown"},
        {"restart_limit": -1},
        {"max_children": -1},
        {"auto_shutdown": "unknown"},
        {"shutdown_deadline": -1},
    ):
        with pytest.raises(SpecError, match=next(iter(options))):
            anything(**options)
    for arguments in ((-1, 5), (1, 0)):
        with pytest.raises(SpecError):
            RestartLimit(*arguments)
    with pytest.raises(SpecError):
        anything("unknown")
    with pytest.raises(TypeError):
        anything(extra_arguments=-1)


@scenario
async def test_start_link_3_with_registered_process(lab: Lab) -> None:
    async with lab.run(SupervisorSpec("pool")) as supervisor:
        # It stands in its supervisor's tree under its name, and ends with it.
        pool = supervisor.child("pool").value
        assert (pool.name, pool.path) == ("pool", "app/pool")
        assert supervisor.state().child("pool").supervisor == pool.state()
        report = await pool.shutdown("by hand")
        assert (report.path, report.reason) == ("app/pool", "by hand")


@scenario
async def test_code_change_3_with_non_ok_init(lab: Lab) -> None:
    async with lab.run() as pool:
        await pool.start_child(lab.child("1"))
        for changes in (
            {"strategy": "unknown"},
            {"restart_limit": -1},
            {"max_children": -1},
            {"auto_shutdown": "unknown"},
        ):
            wrong: Any = changes
            with pytest.raises(SpecError):
                pool.spec.replace(**wrong)
        assert lab.starts("1") == [1]
        assert lab.state("1") == "ready"


@scenario
async def test_code_change_3_with_ok_init(lab: Lab) -> None:
    async with lab.run(SupervisorSpec("pool")) as supervisor:
        pool = supervisor.child("pool").value
        await pool.start_child(lab.child("1"))
        changed = pool.spec.replace(max_children=1)
        await supervisor.remove_child("pool")
        await supervisor.start_child(changed)
        pool = supervisor.child("pool").value
        await pool.start_child(lab.child("1"))
        assert pool.count_children().active == 1
        with pytest.raises(TooManyChildren):
            await pool.start_child(lab.child("2"))


@scenario
async def test_start_child_2_supports_new_child_spec_as_tuple(lab: Lab) -> None:
    # The other form of a child: a supervisor as it is.
    async with lab.run() as pool:
        handle = await pool.start_child(SupervisorSpec("sub", lab.children("a")))
        assert handle.value.count_children().ready == 1


@scenario
async def test_start_child_2_supports_new_child_spec(lab: Lab) -> None:
    async with lab.run() as pool:
        handle = await pool.start_child(ChildSpec("1", idle))
        assert handle.state == "ready"


@scenario
async def test_start_child_2_supports_extra_arguments(lab: Lab) -> None:
    seen: list[object] = []

    async def work(child: ChildContext, first: str, second: int) -> None:
        seen.append((first, second))
        await trio.sleep_forever()

    template = ChildSpec("1", work, "extra", 0)
    async with lab.run() as pool:
        await pool.start_child(template)
        await pool.start_child(template.replace(name="2", args=("extra", 2)))
        await wait_all_tasks_blocked()  # ready is not yet "its body has begun"
        assert seen == [("extra", 0), ("extra", 2)]


@scenario
async def test_start_child_2_with_invalid_child_spec(lab: Lab) -> None:
    make: Any = ChildSpec
    for options, field in (
        ({"name": ""}, "name"),
        ({"run": "foo"}, "run"),
        ({"grace": -1}, "grace"),
        ({"requires": "abc"}, "requires"),
    ):
        with pytest.raises(SpecError) as caught:
            make(**{"name": "1", "run": idle, **options})
        assert caught.value.field == field
    async with lab.run() as pool:
        anything: Any = {}
        with pytest.raises(SpecError, match="a ChildSpec or SupervisorSpec"):
            await pool.start_child(anything)
        with pytest.raises(SpecError, match="significant"):
            await pool.start_child(ChildSpec("1", idle, restart="transient", significant=True))
        assert lab.names() == []


@scenario
async def test_start_child_2_with_different_returns(lab: Lab) -> None:
    def junk(child: ChildContext) -> str:
        return "unknown"

    async with lab.run() as pool:
        lab["1"].value = "extra"
        assert (await pool.start_child(lab.child("1"))).value == "extra"
        assert (await pool.start_child(lab.child("2"))).value is None
        lab["3"].next_starts("decline")
        declined = await pool.start_child(lab.child("3", restart="temporary"))
        assert declined.state == "removed"
        error = TaskFailure("found")
        lab["4"].next_starts(error)
        with pytest.raises(ChildStartError) as caught:
            await pool.start_child(lab.child("4"))
        assert caught.value.__cause__ is error
        unknown: Any = junk
        with pytest.raises(ChildStartError, match="'unknown', which cannot be awaited"):
            await pool.start_child(ChildSpec("5", unknown, readiness="explicit"))
        assert lab.names() == ["1", "2"]


@pytest.mark.parametrize("way", ["throw", "error", "exit"])
@scenario
async def test_start_child_2_with_throw_error_exit(lab: Lab, way: str) -> None:
    error = {"throw": TaskFailure("oops"), "error": RuntimeError("oops"), "exit": None}[way]

    async def work(child: ChildContext) -> None:
        if error is not None:
            raise error
        child.nursery.cancel_scope.cancel()
        await trio.lowlevel.checkpoint()

    async with lab.run() as pool:
        with pytest.raises(ChildStartError) as caught:
            await pool.start_child(ChildSpec("1", work, readiness="explicit"))
        assert caught.value.__cause__ is error
        if error is None:
            assert caught.value.exit is not None
            assert caught.value.exit.kind == "self_cancelled"
        else:
            assert error.__traceback__ is not None
        await pool.start_child(lab.child("2"))
        assert lab.counts() == (1, 1, 1)


@scenario
async def test_start_child_2_with_max_children(lab: Lab) -> None:
    async with lab.run(max_children=0) as pool:
        with pytest.raises(TooManyChildren, match="app is full: max_children=0"):
            await pool.start_child(lab.child("1"))
        with pytest.raises(TooManyChildren):
            pool.start_child_soon(lab.child("1"))
        assert lab.take() == ""


async def end(puppet: Puppet, reason: str) -> None:
    """One of the ways to end that Elixir tells apart by exit reasons."""
    ways = {"normal": puppet.finish, "whatever": puppet.crash, "killed": puppet.cancel_itself}
    await ways[reason]()


REASONS = ["normal", "whatever", "killed"]


@pytest.mark.parametrize("reason", REASONS)
@scenario
async def test_temporary_child_is_not_restarted_regardless_of_reason(lab: Lab, reason: str) -> None:
    async with lab.run() as pool:
        await pool.start_child(lab.child("1", restart="temporary"))
        await end(lab["1"], reason)
        assert lab.counts() == (0, 0, 0)


@pytest.mark.parametrize("reason", REASONS)
@scenario
async def test_transient_child_is_restarted_unless_normal(lab: Lab, reason: str) -> None:
    async with lab.run() as pool:
        await pool.start_child(lab.child("1", restart="transient"))
        await end(lab["1"], reason)
        assert lab.counts() == ((1, 0, 0) if reason == "normal" else (1, 1, 1))


@pytest.mark.parametrize("reason", REASONS)
@scenario
async def test_permanent_child_is_restarted_regardless_of_reason(lab: Lab, reason: str) -> None:
    async with lab.run() as pool:
        await pool.start_child(lab.child("1"))
        await end(lab["1"], reason)
        assert lab.counts() == (1, 1, 1)
        assert lab.starts("1") == [2]


@scenario
async def test_child_is_restarted_with_different_values(lab: Lab) -> None:
    async with lab.run(**NEVER_GIVES_UP) as pool:
        names = ["ok", "extra", "ignore", "error", "unknown"]
        for name in names:
            options: dict[str, Any] = {"backoff": SLOWLY}
            if name == "ignore":
                options["decide"] = _content
            await pool.start_child(lab.child(name, **options))
        lab["extra"].value = lambda attempt: f"extra {attempt}"
        lab["ignore"].usually = "decline"
        lab["error"].usually = TaskFailure("found")
        lab["unknown"].usually = TypeError("junk")
        for name in names:
            await lab[name].crash()
        await lab.sleep(10)
        assert lab.states("ok extra ignore error unknown") == [
            "ready",
            "ready",
            "done",
            "backing_off",
            "backing_off",
        ]
        assert pool.child("extra").value == "extra 2"
        assert lab.counts() == (5, 2, 2)
        # They stay in it until it goes well.
        await lab.sleep(10)
        assert lab.starts("error unknown") == [3, 3]
        lab["error"].usually = "ok"
        await lab.sleep(10)
        assert lab.states("error unknown") == ["ready", "backing_off"]


def _content(report: Any) -> DoNotRestart | None:
    return DoNotRestart() if report.exit.is_success else None


@scenario
async def test_restarting_on_init_children_counted_in_max_children(lab: Lab) -> None:
    async with lab.run(max_children=1, **NEVER_GIVES_UP) as pool:
        await pool.start_child(lab.child("1", backoff=SLOWLY))
        lab["1"].usually = Boom("restart")
        await lab["1"].crash()
        await lab.sleep(10)
        assert (lab.state("1"), lab.starts("1"), lab.counts()) == ("backing_off", [2], (1, 0, 0))
        with pytest.raises(TooManyChildren):
            await pool.start_child(lab.child("2"))


@scenario
async def test_restarting_on_exit_children_counted_in_max_children(lab: Lab) -> None:
    async with lab.run(max_children=1, **NEVER_GIVES_UP) as pool:
        await pool.start_child(lab.child("1"))
        await lab["1"].crash()
        assert (lab.state("1"), lab.counts()) == ("ready", (1, 1, 1))
        with pytest.raises(TooManyChildren):
            await pool.start_child(lab.child("2"))


@scenario
async def test_restarting_a_child_with_extra_arguments(lab: Lab) -> None:
    seen: list[object] = []

    async def work(child: ChildContext, extra: list[object]) -> None:
        extra.append(child.attempt)
        if child.attempt == 1:
            await trio.sleep(1)
            raise Boom("oops")
        await trio.sleep_forever()

    async with lab.run() as pool:
        spec = ChildSpec("1", work, seen, restart="transient", backoff=AT_ONCE)
        await pool.start_child(spec)
        assert lab.counts() == (1, 1, 1)
        await lab.sleep(1)
        assert seen == [1, 2]
        assert lab.counts() == (1, 1, 1)


@scenario
async def test_child_is_restarted_when_trying_again(lab: Lab) -> None:
    async with lab.run(restart_limit=RestartLimit(2, within=5)) as pool:
        await pool.start_child(lab.child("1"))
        lab["1"].next_starts(Boom("try again"))
        await lab["1"].crash()
        assert lab.starts("1") == [3]
        assert lab.counts() == (1, 1, 1)


@scenario
async def test_child_triggers_maximum_restarts(lab: Lab) -> None:
    await _give_up(lab, 1)


@scenario
async def test_child_triggers_maximum_intensity_when_trying_again(lab: Lab) -> None:
    await _give_up(lab, 10)


async def _give_up(lab: Lab, most: int) -> None:
    with pytest.raises(RestartLimitExceeded) as caught:
        async with lab.run(restart_limit=RestartLimit(most, within=5), **NEVER_GIVES_UP) as pool:
            await pool.start_child(lab.child("1"))
            lab["1"].usually = Boom("found")
            await lab["1"].crash()
    assert lab.starts("1") == [most + 1]
    assert caught.value.limit == RestartLimit(most, within=5)


@pytest.mark.parametrize("grace", [0, 1])
@scenario
async def test_start_child_2_with_valid_shutdown(lab: Lab, grace: int) -> None:
    async with lab.run() as pool:
        await pool.start_child(lab.child("1", grace=grace))
        lab["1"].stop_takes = 1000.0
        report = await pool.shutdown()
    assert (report.seconds, report.child("1").outcome) == (grace, "aborted")


def test_start_child_2_with_invalid_valid_shutdown() -> None:
    with pytest.raises(SpecError, match="grace=-1: expected seconds >= 0"):
        ChildSpec("1", idle, grace=-1)
