"""The seed system's scenarios worth having, under their names: shutdown and late observers."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
import trio
from conformance.kit import Lab, scenario

from trio_supervisor import BackoffPolicy, SupervisorClosed, SupervisorFinished


@scenario
async def test_shutdown_tree_cancels_all_running_children(lab: Lab) -> None:
    async with lab.run(*lab.children("a b c", grace=0)) as supervisor:
        lab.take()
        report = await supervisor.shutdown()
    assert lab.take() == "!c -c !b -b !a -a"
    assert [child.outcome for child in report.children] == ["aborted"] * 3


@scenario
async def test_shutdown_tree_waits_in_shutdown_order(lab: Lab) -> None:
    async with lab.run(*lab.children("a b c", grace=10)) as supervisor:
        for name, seconds in zip("abc", (1.0, 2.0, 3.0), strict=True):
            lab[name].stop_takes = seconds
        lab.take()
        report = await supervisor.shutdown()
    assert lab.take() == "?c -c ?b -b ?a -a"
    assert [(child.path, child.seconds) for child in report.children] == [
        ("app/c", 3),
        ("app/b", 5),
        ("app/a", 6),
    ]


@scenario
async def test_shutdown_tree_records_graceful_child_outcomes(lab: Lab) -> None:
    async with lab.run(*lab.children("a b")) as supervisor:
        report = await supervisor.shutdown("enough")
    assert (report.path, report.cause, report.reason) == ("app", "shutdown", "enough")
    for name in "ab":
        entry = report.child(name)
        assert (entry.outcome, entry.attempt, entry.unresponsive) == ("stopped", 1, False)
        assert "enough" in entry.detail
    assert lab.events(SupervisorFinished)[-1].unresponsive == 0


@scenario
async def test_shutdown_tree_aborts_straggler_after_timeout(lab: Lab) -> None:
    async with lab.run(*lab.children("a b", grace=100), shutdown_deadline=7) as supervisor:
        lab["a"].stop_takes = lab["b"].stop_takes = 50.0
        report = await supervisor.shutdown()
    # One deadline for all: not one after the other.
    assert [(child.outcome, child.seconds) for child in report.children] == [("aborted", 7)] * 2
    assert report.seconds == 7


@scenario
async def test_shutdown_tree_marks_inactive_children_already_exited(lab: Lab) -> None:
    slowly = BackoffPolicy.delays(100)
    children = [
        lab.child("done", restart="transient"),
        lab.child("stopped"),
        lab.child("quarantined"),
        lab.child("backing off", backoff=slowly),
        lab.child("live"),
    ]
    async with lab.run(*children) as supervisor:
        await lab["done"].finish()
        await supervisor.stop_child("stopped")
        await supervisor.quarantine_child("quarantined")
        await lab["backing off"].crash()
        report = await supervisor.shutdown()
    outcomes = {child.path: (child.outcome, child.seconds) for child in report.children}
    assert outcomes == {
        "app/done": ("done", 0),
        "app/stopped": ("stopped", 0),
        "app/quarantined": ("quarantined", 0),
        "app/backing off": ("stopped", 0),
        "app/live": ("stopped", 0),
    }
    assert lab["backing off"].starts == 1


@scenario
async def test_shutdown_tree_records_late_child_report_when_abort_is_disabled(lab: Lab) -> None:
    async with lab.run(*lab.children("a b", grace=inf)) as supervisor:
        lab["b"].stop_takes = 5000.0
        report = await supervisor.shutdown()
    assert (report.seconds, report.child("b").outcome) == (5000, "stopped")
    assert lab.take() == "+a +b ?b -b ?a -a"


@scenario
async def test_repeated_shutdown_tree_returns_cached_idempotent_report(lab: Lab) -> None:
    reports: list[object] = []

    async def shut_down() -> None:
        reports.append(await lab.supervisor.shutdown(f"number {len(reports)}"))

    async with lab.run(lab.child("a")) as supervisor:
        lab["a"].stop_takes = 3.0
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(shut_down)
                await lab.sleep(0.5)
        await shut_down()
        assert len(reports) == 6
        assert all(report is reports[0] for report in reports)
    assert await supervisor.shutdown("once more") is reports[0]
    assert lab.take() == "+a ?a -a"


async def _stopping_meanwhile(lab: Lab, command: str) -> None:
    """A child that is still ending when the shutdown begins is waited for."""
    async with lab.run(*lab.children("a b", grace=1)) as supervisor:
        lab["b"].stop_takes = 100.0
        lab["b"].cleanup = 10.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(getattr(supervisor, command), "b")
            await lab.sleep(3)
            report = await supervisor.shutdown()
        assert lab["b"].live == 0
    assert (report.child("b").outcome, report.child("b").seconds) == ("aborted", 8)
    assert trio.current_time() == 11
    # The others did not go before it.
    assert lab.take() == "+a +b ?b !b -b ?a -a"


@scenario
async def test_shutdown_pipeline_waits_for_paused_runtime_state_report(lab: Lab) -> None:
    await _stopping_meanwhile(lab, "stop_child")


@scenario
async def test_shutdown_pipeline_waits_for_quarantined_runtime_state_report(lab: Lab) -> None:
    await _stopping_meanwhile(lab, "quarantine_child")


@scenario
async def test_shutdown_pipeline_skips_removed_runtime_state(lab: Lab) -> None:
    # The seed asserts that it is skipped, and loses it so. Here it is waited for like the others.
    await _stopping_meanwhile(lab, "remove_child")


@scenario
async def test_supervisor_join_returns_cached_exit_report_repeatedly(lab: Lab) -> None:
    async with lab.run(lab.child("a")) as supervisor:
        report = await supervisor.shutdown()
        assert await supervisor.wait_finished() is report
    for _ in range(3):
        assert await supervisor.wait_finished() is report


@scenario
async def test_supervisor_shutdown_after_completion_returns_cached_exit_report(lab: Lab) -> None:
    async with lab.run(lab.child("a")) as supervisor:
        pass
    report = await supervisor.wait_finished()
    assert report.reason == "the block has ended"
    assert await supervisor.shutdown("too late") is report


@scenario
async def test_supervisor_health_reports_failed_control_loop(lab: Lab) -> None:
    def broken(signal: object, now: float) -> Any:
        raise ZeroDivisionError("a bug in the brain")

    with pytest.raises(ZeroDivisionError, match="a bug in the brain"):
        async with lab.run(*lab.children("a b"), check=False) as supervisor:
            supervisor._shell.machine.receive = broken  # type: ignore[method-assign]
            lab["a"].crash_soon()
            await trio.sleep(1000)
    assert trio.current_time() == 0
    assert lab["a"].live == lab["b"].live == 0
    with pytest.raises(SupervisorClosed, match="app broke down"):
        await supervisor.wait_finished()


@scenario
async def test_supervisor_command_after_control_loop_exit_reports_known_reason(lab: Lab) -> None:
    async with lab.run(lab.child("a"), child_restart_limit=None) as supervisor:
        await supervisor.shutdown("enough")
    handle = supervisor.child("a")
    for command in (
        supervisor.stop_child,
        supervisor.restart_child,
        supervisor.remove_child,
        supervisor.quarantine_child,
    ):
        with pytest.raises(SupervisorClosed, match="app has ended"):
            await command("a")
    with pytest.raises(SupervisorClosed):
        supervisor.start_child_soon(lab.child("b"))
    state = supervisor.state()
    assert (state.state, state.reason) == ("finished", "enough")
    # Late observers of the child are told as well.
    assert handle.state == "stopped"
    assert (await handle.wait_finished()).exit.kind == "stopped"
    with pytest.raises(SupervisorClosed):
        await handle.wait_ready()
