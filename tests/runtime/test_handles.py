"""What a handle stands for, waiting for the next attempt, and ``grace=`` of commands."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_virtual
from helpers.trees import AT_ONCE, Boom, crash_after, forever, polite, ready_forever, scenario

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildNotFound,
    ChildNotReady,
    ChildSpec,
    SpecError,
    Supervisor,
    SupervisorClosed,
    SupervisorSpec,
    open_supervisor,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# ---------------------------------------------------------------- identity


@scenario
async def test_a_handle_of_a_removed_child_does_not_stand_for_its_successor() -> None:
    async with open_supervisor() as pool:
        old = await pool.start_child(ChildSpec("s", forever))
        await pool.remove_child("s")
        command: Callable[[Any], Awaitable[object]]
        for command in (pool.stop_child, pool.remove_child, pool.restart_child):
            with pytest.raises(ChildNotFound, match="supervisor/s was removed"):
                await command(old)
        new = await pool.start_child(ChildSpec("s", forever))
        commands: list[Callable[[Any], Awaitable[object]]] = [
            pool.stop_child,
            pool.quarantine_child,
            pool.remove_child,
            pool.restart_child,
        ]
        for command in commands:
            with pytest.raises(ChildNotFound, match="handle is of an earlier child"):
                await command(old)
        with pytest.raises(ChildNotFound, match="handle is of an earlier child"):
            pool.child(old)
        for method in (old.stop, old.quarantine, old.remove, old.restart):
            with pytest.raises(ChildNotFound):
                await method()
        assert (new.state, new.attempt) == ("ready", 1)
        assert pool.child(new) is new


@scenario
async def test_a_spec_stands_for_the_child_that_was_declared_with_it() -> None:
    first, second = ChildSpec("s", forever), ChildSpec("s", polite, 1, grace=5)
    async with open_supervisor() as pool:
        await pool.start_child(first)
        assert pool.child(ChildSpec("s", forever)).spec == first
        await pool.remove_child(first)
        await pool.start_child(second)
        with pytest.raises(ChildNotFound, match="supervisor/s was declared with another spec"):
            await pool.remove_child(first)
        with pytest.raises(ChildNotFound):
            pool.child(first)
        await pool.stop_child(second)
        assert pool.child("s").state == "stopped"


@scenario
async def test_a_handle_is_good_in_its_supervisor_and_those_above_it() -> None:
    tree = SupervisorSpec("app", [SupervisorSpec("a", [ChildSpec("x", forever)])])
    async with open_supervisor(tree) as top, open_supervisor() as other:
        nested: Supervisor = top.child("a").value
        handle = nested.child("x")
        await top.restart_child(handle)
        assert handle.attempt == 2
        with pytest.raises(ChildNotFound, match="is not below this supervisor"):
            await other.stop_child(handle)
        with pytest.raises(ChildNotFound, match="is not below this supervisor"):
            nested.child(top.child("a"))
        await top.restart_child("a")
        with pytest.raises((ChildNotFound, SupervisorClosed)):
            await top.stop_child(handle)


@scenario
async def test_handles_can_quarantine_and_remove() -> None:
    async with open_supervisor() as pool:
        handle = await pool.start_child(ChildSpec("s", forever))
        await handle.quarantine("odd")
        assert (handle.state, pool.state().child("s").reason) == ("quarantined", "odd")
        await handle.restart()
        await handle.remove("enough")
        assert handle.state == "removed"
        assert not pool.children


# ---------------------------------------------------------------- the next attempt


@scenario
async def test_waiting_for_the_attempt_after_one_that_has_crashed_unseen() -> None:
    async def work(child: ChildContext, fail: trio.Event) -> None:
        child.ready(child.attempt)
        await fail.wait()
        if child.attempt == 1:
            raise Boom
        await trio.sleep_forever()

    fail = trio.Event()
    async with open_supervisor() as pool:
        spec = ChildSpec("w", work, fail, readiness="explicit", backoff=AT_ONCE)
        handle = await pool.start_child(spec)
        fail.set()
        assert await handle.wait_ready() == 1  # the crash has not been seen yet
        report = await handle.wait_exit(after=0)
        assert (report.attempt, report.exit.kind) == (1, "crashed")
        assert await handle.wait_ready(after=1) == 2
        assert await handle.wait_ready(after=0) == 2
        assert (await handle.wait_exit(after=0)).attempt == 1  # has ended already
        with trio.move_on_after(5) as scope:
            await handle.wait_ready(after=2)
        assert scope.cancelled_caught
        with trio.move_on_after(5) as scope:
            await handle.wait_exit()  # the next one
        assert scope.cancelled_caught


@scenario
async def test_every_exit_can_be_seen_one_after_the_other() -> None:
    seen = []
    async with open_supervisor() as pool:
        spec = ChildSpec("w", crash_after, 0, 5, backoff=AT_ONCE)
        handle = await pool.start_child(spec)
        report = await handle.wait_exit(after=0)
        seen.append(report.attempt)
        while len(seen) < 5:
            report = await handle.wait_exit(after=report.attempt)
            seen.append(report.attempt)
    assert seen == [1, 2, 3, 4, 5]


@scenario
async def test_waiting_for_an_exit_that_will_not_come_is_an_error() -> None:
    async with open_supervisor() as pool:
        handle = await pool.start_child(ChildSpec("w", forever))
        await handle.stop()
        with pytest.raises(ChildNotReady, match="no attempt after 1 will end"):
            await handle.wait_exit()
        for after in (-1, 1.5, True, "1"):
            with pytest.raises(SpecError, match="after"):
                await handle.wait_exit(after=after)  # type: ignore[arg-type]
            with pytest.raises(SpecError, match="after"):
                await handle.wait_ready(after=after)  # type: ignore[arg-type]
        with pytest.raises(ChildNotReady):
            await handle.wait_ready(after=1)
    with pytest.raises(SupervisorClosed):
        await handle.wait_exit()
    assert (await handle.wait_exit(after=0)).attempt == 1


@scenario
async def test_an_exit_that_ends_the_tree_is_seen_by_those_who_wait_for_it() -> None:
    reports = []

    async def wait_for_exit(handle: Any) -> None:
        reports.append(await handle.wait_exit())

    async with trio.open_nursery() as nursery, open_supervisor() as pool:
        nursery.start_soon(wait_for_exit, await pool.start_child(ChildSpec("w", forever)))
        await trio.sleep(1)
    assert [report.exit.kind for report in reports] == ["aborted"]


# ---------------------------------------------------------------- grace of a command

SLOW = ChildSpec("slow", polite, 100, grace=inf)


def commands_of(pool: Supervisor) -> dict[str, Callable[..., Awaitable[object]]]:
    return {
        "stop_child": pool.stop_child,
        "quarantine_child": pool.quarantine_child,
        "remove_child": pool.remove_child,
        "restart_child": pool.restart_child,
    }


@scenario
async def test_the_grace_of_a_command_replaces_that_of_the_spec() -> None:
    for name in ("stop_child", "quarantine_child", "remove_child", "restart_child"):
        for by_handle in (False, True):
            async with open_supervisor() as pool:
                handle = await pool.start_child(SLOW)
                began = trio.current_time()
                if by_handle:
                    await getattr(handle, name.removesuffix("_child"))(grace=3)
                else:
                    await commands_of(pool)[name]("slow", grace=3)
                assert trio.current_time() == began + 3, name
                assert handle.reports[0].exit.kind == "aborted"
                await pool.child("slow").stop(grace=0) if pool.children else None


@scenario
async def test_a_command_without_grace_ends_a_stop_that_is_under_way() -> None:
    async with open_supervisor() as pool, trio.open_nursery() as nursery:
        handle = await pool.start_child(SLOW)
        began = trio.current_time()
        nursery.start_soon(pool.stop_child, "slow")
        await trio.sleep(1)
        assert handle.state == "stopping"
        await handle.stop(grace=0)
        assert trio.current_time() == began + 1
        assert handle.state == "stopped"


def test_the_log_tells_the_grace_of_a_command(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with open_supervisor() as pool:
            handle = await pool.start_child(SLOW)
            await handle.stop("now", grace=0)

    caplog.set_level("INFO", "trio_supervisor")
    run_virtual(main)
    assert 'supervisor/slow accepted stop reason="now" grace=0s' in caplog.messages
    assert not [line for line in caplog.messages if "could not be logged" in line]


@scenario
async def test_grace_has_to_be_seconds() -> None:
    async with open_supervisor() as pool:
        handle = await pool.start_child(ChildSpec("a", forever))
        for wrong in (-1, "5", float("nan")):
            for command in commands_of(pool).values():
                with pytest.raises(SpecError, match="supervisor/a: grace="):
                    await command("a", grace=wrong)
        assert handle.state == "ready"


@scenario
async def test_a_value_is_that_of_the_attempt_that_was_waited_for() -> None:
    async with open_supervisor() as pool, trio.open_nursery() as nursery:
        handle = await pool.start_child(ChildSpec("a", ready_forever, "v", readiness="explicit"))
        found: list[object] = []

        async def wait() -> None:
            found.append((await handle.wait_ready(after=handle.attempt), handle.attempt))

        nursery.start_soon(wait)
        await trio.sleep(1)
        assert not found
        await handle.restart()
    assert found == [("v", 2)]


@scenario
async def test_waiting_after_an_attempt_goes_on_through_backoff() -> None:
    async with open_supervisor() as pool:
        spec = ChildSpec("a", crash_after, 1, 1, backoff=BackoffPolicy.delays(7))
        handle = await pool.start_child(spec)
        began = trio.current_time()
        await handle.wait_ready(after=1)
        assert trio.current_time() == began + 8
