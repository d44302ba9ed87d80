"""Supervisors that the body of a child opens: `ChildContext.open_supervisor`."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from helpers.support import run_real, run_virtual
from helpers.trees import (
    AT_ONCE,
    Boom,
    crash_after,
    events_of,
    forever,
    polite,
    ready_forever,
    scenario,
)
from trio.testing import wait_all_tasks_blocked

from trio_supervisor import (
    ChildContext,
    ChildNotFound,
    ChildRunner,
    ChildSpec,
    ChildStarted,
    ShutdownReport,
    ShutdownTree,
    SpecError,
    Supervisor,
    SupervisorError,
    SupervisorSnapshot,
    SupervisorSpec,
    fold,
    open_supervisor,
)
from trio_supervisor.testing import open_child_context


async def hold_pool(child: ChildContext, pools: list[Supervisor], **options: Any) -> None:
    """Opens a pool, says so, and lives until it is asked to stop."""
    async with child.open_supervisor(**{"name": "pool", **options}) as pool:
        pools.append(pool)
        child.ready(pool)
        await child.wait_stop_requested()
        await pool.wait_finished()


def listener(pools: list[Supervisor], name: str = "web", **options: Any) -> ChildSpec[Any]:
    options.setdefault("readiness", "explicit")
    options.setdefault("grace", 100)
    return ChildSpec(name, hold_pool, pools, backoff=AT_ONCE, **options)


@scenario
async def test_it_belongs_to_the_tree() -> None:
    pools: list[Supervisor] = []
    async with open_supervisor(SupervisorSpec("app", [listener(pools)])) as supervisor:
        (pool,) = pools
        assert pool.path == "app/web/pool"
        await pool.start_child(ChildSpec("s-1", ready_forever, "it", readiness="explicit"))
        assert supervisor.child("web/pool/s-1").value == "it"
        assert supervisor.child("app/web/pool/s-1").path == "app/web/pool/s-1"
        assert [event.path for event in events_of(supervisor, ChildStarted)] == [
            "app/web",
            "app/web/pool/s-1",
        ]
        snapshot = supervisor.state()
        (opened,) = snapshot.child("web").opened
        assert (opened.path, opened.run) == ("app/web/pool", 2)
        assert snapshot.child("web").supervisor is None
        assert snapshot.child("web/pool/s-1").state == "ready"
        assert "s-1" in snapshot.render()
        assert SupervisorSnapshot.from_dict(snapshot.to_dict()) == snapshot
        assert pool.state() == opened


@scenario
async def test_the_childs_stop_is_its_stop_in_order_with_grace() -> None:
    pools: list[Supervisor] = []
    async with open_supervisor(SupervisorSpec("app", [listener(pools)])) as supervisor:
        (pool,) = pools
        slow = await pool.start_child(ChildSpec("slow", polite, 3, grace=10))
        began = trio.current_time()
        await supervisor.stop_child("web")
        assert trio.current_time() == began + 3
        assert slow.last_report is not None
        assert slow.last_report.exit.kind == "stopped"
        report = supervisor.child("web").last_report
        assert report is not None
        assert report.exit.kind == "stopped"
        assert supervisor.state().child("web").opened == ()


@scenario
async def test_what_it_holds_is_in_the_shutdown_report_of_the_tree() -> None:
    pools: list[Supervisor] = []
    async with open_supervisor(SupervisorSpec("app", [listener(pools)])) as supervisor:
        await pools[0].start_child(ChildSpec("slow", polite, 2, grace=10))
        report: ShutdownReport = await supervisor.shutdown("enough")
    assert [child.path for child in report.children] == ["app/web/pool/slow", "app/web"]
    assert report.child("web/pool/slow").outcome == "stopped"


@scenario
async def test_without_grace_everything_in_it_is_cancelled() -> None:
    pools: list[Supervisor] = []
    tree = SupervisorSpec("app", [listener(pools, grace=1)])
    async with open_supervisor(tree) as supervisor:
        await pools[0].start_child(ChildSpec("slow", polite, 30, grace=60))
        began = trio.current_time()
        await supervisor.stop_child("web")
        assert trio.current_time() == began + 1


@scenario
async def test_it_is_closed_when_its_block_ends_and_the_child_goes_on() -> None:
    async def one_after_the_other(child: ChildContext) -> None:
        for number in range(3):
            async with child.open_supervisor(name="pool") as pool:
                await pool.start_child(ChildSpec("a", forever))
                assert pool.state().run == number + 2
        child.ready()
        await trio.sleep_forever()

    spec = ChildSpec("web", one_after_the_other, readiness="explicit")
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        assert supervisor.state().child("web").opened == ()
        assert supervisor.child("web")._slot.opened == {}
        with pytest.raises(ChildNotFound):
            supervisor.child("web/pool/a")


@scenario
async def test_a_failure_in_it_is_the_childs_crash_and_the_child_is_restarted() -> None:
    pools: list[Supervisor] = []

    async def breaks(child: ChildContext) -> None:
        limit = None if child.attempt > 1 else 1
        spec = ChildSpec("a", crash_after, 1, 1 if child.attempt == 1 else 0, backoff=AT_ONCE)
        if limit is not None:
            spec = spec.replace(decide=lambda report: __import__("trio_supervisor").Escalate("no"))
        async with child.open_supervisor(SupervisorSpec("pool", [spec])) as pool:
            pools.append(pool)
            child.ready()
            await trio.sleep_forever()

    tree = SupervisorSpec("app", [ChildSpec("web", breaks, readiness="explicit", backoff=AT_ONCE)])
    async with open_supervisor(tree) as supervisor:
        await trio.sleep(5)
        handle = supervisor.child("web")
        assert handle.attempt == 2
        assert handle.last_report is not None
        assert "ChildEscalated" in handle.last_report.exit.describe()
        (opened,) = supervisor.state().child("web").opened
        assert opened.run == 3


@scenario
async def test_a_child_in_it_that_decides_to_stop_the_tree_stops_all_of_it() -> None:
    pools: list[Supervisor] = []
    children = [ChildSpec("a", forever), listener(pools)]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        await pools[0].start_child(
            ChildSpec("job", crash_after, 1, decide=lambda report: ShutdownTree("enough"))
        )
        report = await supervisor.wait_finished()
    assert (report.cause, report.reason) == ("shutdown", "enough")
    assert [child.path for child in report.children] == ["app/web/pool/job", "app/web", "app/a"]


@scenario
async def test_several_at_once_have_different_names() -> None:
    async def two(child: ChildContext) -> None:
        async with child.open_supervisor(name="x") as x, child.open_supervisor(name="y") as y:
            await x.start_child(ChildSpec("a", forever))
            await y.start_child(ChildSpec("a", forever))
            again = child.open_supervisor(name="x")
            with pytest.raises(SupervisorError, match="app/web/x is open already"):
                await again.__aenter__()
            child.ready()
            await trio.sleep_forever()

    tree = SupervisorSpec("app", [ChildSpec("web", two, readiness="explicit")])
    async with open_supervisor(tree) as supervisor:
        names = [opened.name for opened in supervisor.state().child("web").opened]
        assert names == ["x", "y"]
        assert supervisor.child("web/x/a").path == "app/web/x/a"
        assert supervisor.child("web/y/a").path == "app/web/y/a"


@scenario
async def test_its_children_find_the_values_of_the_childs_siblings() -> None:
    found: list[object] = []

    async def session(child: ChildContext) -> None:
        found.append(child.value("store"))
        await trio.sleep_forever()

    pools: list[Supervisor] = []
    store = ChildSpec("store", ready_forever, "the store", readiness="explicit")
    async with open_supervisor(SupervisorSpec("app", [store, listener(pools)])):
        await pools[0].start_child(ChildSpec("s-1", session))
        await wait_all_tasks_blocked()
    assert found == ["the store"]


@scenario
async def test_a_child_in_it_that_stops_the_outer_child_does_not_wait_for_itself() -> None:
    pools: list[Supervisor] = []

    async def suicidal(child: ChildContext) -> None:
        await trio.sleep(1)
        await outer.stop_child("web")

    async with open_supervisor(SupervisorSpec("app", [listener(pools)])) as outer:
        pools[0].start_child_soon(ChildSpec("s", suicidal, grace=50))
        began = trio.current_time()
        await outer.child("web").wait_state("stopped")
        assert trio.current_time() == began + 1


@scenario
async def test_below_a_nested_supervisor_and_below_one_that_was_opened() -> None:
    deep: list[Supervisor] = []

    async def outer(child: ChildContext) -> None:
        async with child.open_supervisor(name="in") as pool:
            await pool.start_child(listener(deep, "web"))
            child.ready()
            await child.wait_stop_requested()
            await pool.wait_finished()

    spec = ChildSpec("out", outer, readiness="explicit", grace=100)
    tree = SupervisorSpec("app", [SupervisorSpec("nest", [spec])])
    async with open_supervisor(tree) as supervisor:
        (pool,) = deep
        assert pool.path == "app/nest/out/in/web/pool"
        await pool.start_child(ChildSpec("s", polite, 2, grace=10))
        assert supervisor.child("nest/out/in/web/pool/s").state == "ready"
        assert supervisor.state().child("nest/out/in/web/pool/s").state == "ready"
        began = trio.current_time()
    assert trio.current_time() == began + 2


@scenario
async def test_a_stop_that_was_requested_before_it_is_entered_stops_it_at_once() -> None:
    async def late(child: ChildContext) -> None:
        child.ready()
        await child.wait_stop_requested()
        async with child.open_supervisor(SupervisorSpec("pool", [ChildSpec("a", forever)])) as pool:
            await pool.wait_finished()

    tree = SupervisorSpec("app", [ChildSpec("web", late, readiness="explicit", grace=10)])
    async with open_supervisor(tree):
        began = trio.current_time()
    assert trio.current_time() == began


@scenario
async def test_wrong_arguments_and_wrong_moments_are_clear_errors() -> None:
    kept: list[ChildContext] = []

    async def body(child: ChildContext) -> None:
        kept.append(child)
        with pytest.raises(SpecError, match="app/web: open_supervisor"):
            child.open_supervisor("pool")  # type: ignore[arg-type]
        with pytest.raises(SpecError):
            child.open_supervisor(name="a/b")
        manager = child.open_supervisor()
        async with manager as pool:
            assert pool.path == "app/web/supervisor"
        with pytest.raises(SupervisorError, match="entered before"):
            await manager.__aenter__()
        late.append(child.open_supervisor())

    late: list[Any] = []
    tree = SupervisorSpec("app", [ChildSpec("web", body, restart="transient")])
    async with open_supervisor(tree) as supervisor:
        await supervisor.child("web").wait_finished()
        with pytest.raises(SupervisorError, match="has ended"):
            kept[0].open_supervisor()
        with pytest.raises(SupervisorError, match="has ended: it cannot open"):
            await late[0].__aenter__()


def test_in_another_thread_it_is_an_error_at_once() -> None:
    async def body(child: ChildContext) -> None:
        with pytest.raises(SupervisorError, match="Trio's thread"):
            await trio.to_thread.run_sync(child.open_supervisor)

    async def main() -> None:
        async with open_supervisor(
            SupervisorSpec("app", [ChildSpec("web", body, restart="transient")])
        ) as supervisor:
            report = await supervisor.child("web").wait_finished()
            assert report.exit.is_success, report.exit

    run_real(main)


def test_a_single_run_has_no_tree_to_open_it_in() -> None:
    async def body(child: ChildContext) -> None:
        child.open_supervisor()

    async def main() -> None:
        report = await ChildRunner().run_once(ChildSpec("one", body))
        assert "cannot open a supervisor in a tree" in report.exit.describe()

    run_virtual(main)


def test_a_body_that_is_tested_alone_gets_a_tree_of_its_own() -> None:
    async def main() -> None:
        pools: list[Supervisor] = []
        async with open_child_context() as probe:
            probe.start(hold_pool, pools)
            await probe.wait_ready()
            await pools[0].start_child(ChildSpec("s", polite, 1, grace=10))
            probe.request_stop()
            report = await pools[0].wait_finished()
            assert report.child("s").outcome == "stopped"

    run_virtual(main)


@scenario
async def test_events_folded_one_by_one_follow_it() -> None:
    pools: list[Supervisor] = []
    async with (
        open_supervisor(SupervisorSpec("app", [listener(pools)])) as supervisor,
        supervisor.subscribe() as events,
    ):
        snapshot = events.snapshot
        (pool,) = pools
        await pool.start_child(ChildSpec("a", crash_after, 1, 1, backoff=AT_ONCE))
        await trio.sleep(2)
        await pool.remove_child("a")
        await supervisor.restart_child("web")
        await pools[1].shutdown()
        with trio.move_on_after(0.1):
            async for event in events:
                snapshot = fold(snapshot, event)  # type: ignore[arg-type]
        assert snapshot == supervisor.state()
        assert supervisor.state().child("web").opened == ()


def test_what_it_raises_gets_out_as_from_any_supervisor() -> None:
    async def body(child: ChildContext) -> None:
        async with child.open_supervisor(name="pool"):
            raise Boom("here")

    async def main() -> None:
        report = None
        async with open_supervisor(
            SupervisorSpec("app", [ChildSpec("web", body, restart="temporary")])
        ) as supervisor:
            handle = supervisor.child("web")
            report = await handle.wait_finished()
        assert report is not None
        assert isinstance(report.exit.error, Boom)

    run_virtual(main)
