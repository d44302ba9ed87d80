"""The seed system's scenarios worth having, under their names: control."""

from __future__ import annotations

import pytest
import trio
from conformance.kit import Boom, Lab, scenario

from trio_supervisor import (
    BackoffPolicy,
    ChildCancelled,
    ChildStarted,
    ChildStopRequested,
    ChildUnresponsive,
    CommandAccepted,
    SupervisorClosed,
)

SLOWLY = BackoffPolicy.delays(10)


@scenario
async def test_pause_child_delivers_real_cancellation_test(lab: Lab) -> None:
    async with lab.run(lab.child("a", grace=3)) as supervisor:
        lab["a"].stop_takes = 100.0
        lab.take()
        await supervisor.stop_child("a", reason="maintenance")
        assert lab.take() == "?a !a -a"
        assert (lab.state("a"), trio.current_time()) == ("stopped", 3)
        asked, cancelled = lab.events(ChildStopRequested), lab.events(ChildCancelled)
        assert [(event.reason, event.grace, event.time) for event in asked] == [
            ("maintenance", 3, 0)
        ]
        assert [(event.reason, event.time) for event in cancelled] == [("maintenance", 3)]
        assert lab.exits("a") == ["aborted"]


@scenario
async def test_remove_child_cancels_and_eventually_removes_runtime_state_test(lab: Lab) -> None:
    async with lab.run(lab.child("a", grace=3)) as supervisor:
        lab["a"].stop_takes = 100.0
        lab["a"].cleanup = 2.0
        handle = supervisor.child("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.remove_child, "a")
            await lab.sleep(4)
            # While it is ending it is there for everyone to see.
            assert (lab.names(), handle.state) == (["a"], "stopping")
        assert (lab.names(), handle.state, trio.current_time()) == ([], "removed", 5)


@scenario
async def test_remove_without_active_instance_returns_no_active_instance_test(lab: Lab) -> None:
    async with lab.run(*lab.children("a b", backoff=SLOWLY)) as supervisor:
        await supervisor.stop_child("a")
        await lab["b"].crash()
        for name in "ab":
            await supervisor.remove_child(name)
        assert (lab.names(), trio.current_time()) == ([], 0)
        await lab.sleep(100)
        assert lab.starts("a b") == [1, 1]


@scenario
async def test_quarantine_child_blocks_auto_restart_test(lab: Lab) -> None:
    async with lab.run(lab.child("a", backoff=SLOWLY)) as supervisor:
        await lab["a"].crash()
        await supervisor.quarantine_child("a", reason="suspicious")
        assert supervisor.state().child("a").reason == "suspicious"
        await lab.sleep(1000)
        assert (lab.state("a"), lab.starts("a")) == ("quarantined", [1])


@scenario
async def test_pause_child_blocks_auto_restart_after_exit_test(lab: Lab) -> None:
    async with lab.run(lab.child("a")) as supervisor:
        lab["a"].at_stop = Boom("while stopping")
        await supervisor.stop_child("a")
        await lab.sleep(1000)
        assert (lab.state("a"), lab.starts("a"), lab.exits("a")) == ("stopped", [1], ["crashed"])
        assert lab.actions() == []


@pytest.mark.parametrize("crash_first", [True, False])
@scenario
async def test_operation_wins_over_auto_restart_race_test(lab: Lab, crash_first: bool) -> None:
    async with lab.run(lab.child("a")) as supervisor, trio.open_nursery() as nursery:
        # Both in the same step.
        if crash_first:
            lab["a"].crash_soon()
            nursery.start_soon(supervisor.stop_child, "a")
        else:
            nursery.start_soon(supervisor.stop_child, "a")
            lab["a"].crash_soon()
        await lab.settle()
        await lab.sleep(1000)
        # Whoever is heard first, and however many attempts that makes: in the end it is down.
        assert lab.state("a") == "stopped"
        assert lab["a"].live == 0


@scenario
async def test_repeated_stop_commands_are_idempotent_after_cancel_delivery_test(lab: Lab) -> None:
    async with lab.run(lab.child("a", grace=1)) as supervisor:
        lab["a"].stop_takes = 100.0
        lab["a"].cleanup = 50.0
        async with trio.open_nursery() as nursery:
            for second in range(10):
                nursery.start_soon(supervisor.stop_child, "a")
                await lab.sleep(second)
        await supervisor.stop_child("a")
        assert trio.current_time() == 51
        assert len(lab.events(CommandAccepted)) == 1
        assert len(lab.events(ChildStopRequested)) == 1
        assert len(lab.events(ChildCancelled)) == 1
        assert lab.take() == "+a ?a !a -a"


@scenario
async def test_control_command_targets_current_instance_test(lab: Lab) -> None:
    async with lab.run(lab.child("a")) as supervisor:
        await lab["a"].crash()
        await supervisor.stop_child("a")
        requests = lab.events(ChildStopRequested, "a")
        assert [event.attempt for event in requests] == [2]
        assert lab["a"].contexts[1].stop_requested
        assert not lab["a"].contexts[0].stop_requested


@scenario
async def test_stop_failure_outcome_carries_phase_and_reason_test(lab: Lab) -> None:
    async with lab.run(lab.child("a", grace=1), report_after=5) as supervisor:
        lab["a"].stop_takes = 100.0
        lab["a"].cleanup = 100.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.stop_child, "a")
            await lab.sleep(5.9)
            assert lab.events(ChildUnresponsive) == []
            await lab.sleep(0.2)
            (event,) = lab.events(ChildUnresponsive)
            assert (event.time, event.seconds, event.attempt) == (6, 5, 1)
            assert any("kit.py" in line for line in event.stack)
            child = supervisor.state().child("a")
            assert (child.state, child.unresponsive) == ("stopping", True)
            await lab.sleep(90)
            assert len(lab.events(ChildUnresponsive)) == 1
        assert lab.exits("a") == ["aborted"]
        child = supervisor.state().child("a")
        assert (child.state, child.unresponsive) == ("stopped", False)


@scenario
async def test_restart_child_sends_cancel_before_second_spawn_test(lab: Lab) -> None:
    async with lab.run(lab.child("a", grace=1)) as supervisor:
        lab["a"].stop_takes = 100.0
        lab["a"].cleanup = 10.0
        lab.take()
        await supervisor.restart_child("a", reason="new version")
        assert (lab.take(), trio.current_time()) == ("?a !a -a +a", 11)
        handle = supervisor.child("a")
        assert (handle.attempt, handle.generation) == (2, 1)
        started = lab.events(ChildStarted, "a")
        assert [(event.attempt, event.generation) for event in started] == [(1, 0), (2, 1)]
        assert lab.exits("a") == ["aborted"]


@scenario
async def test_restart_child_queues_after_stop_decision_test(lab: Lab) -> None:
    async with lab.run(lab.child("a", grace=10)) as supervisor:
        lab["a"].stop_takes = 5.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.stop_child, "a")
            await lab.sleep(1)
            # A stop that was requested is not taken back: the new attempt comes after it.
            nursery.start_soon(supervisor.restart_child, "a")
            await lab.sleep(1)
            assert (lab.state("a"), lab["a"].starts) == ("stopping", 1)
        assert trio.current_time() == 5
        assert lab.take() == "+a ?a -a +a"
        assert (lab.state("a"), supervisor.child("a").generation) == ("ready", 1)


@scenario
async def test_duplicate_restart_child_merges_to_already_pending_test(lab: Lab) -> None:
    async with lab.run(lab.child("a", grace=10)) as supervisor:
        lab["a"].stop_takes = 5.0
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(supervisor.restart_child, "a")
                await lab.sleep(0.4)
        assert lab.take() == "+a ?a -a +a"
        assert supervisor.child("a").generation == 1
        assert len(lab.events(ChildStopRequested)) == 1
        assert len(lab.events(CommandAccepted)) == 1


@scenario
async def test_restart_child_blocked_during_tree_shutdown_test(lab: Lab) -> None:
    async with lab.run(*lab.children("a b", grace=10)) as supervisor:
        lab["b"].stop_takes = 5.0
        supervisor.request_shutdown()
        await lab.sleep(1)
        began = trio.current_time()
        for name in "ab":
            with pytest.raises(SupervisorClosed, match="app is stopping: cannot restart"):
                await supervisor.restart_child(name)
        with pytest.raises(SupervisorClosed, match="cannot start c"):
            await supervisor.start_child(lab.child("c"))
        assert trio.current_time() == began
        await supervisor.wait_finished()
        assert lab.starts("a b c") == [1, 1, 0]


@scenario
async def test_auto_restart_and_manual_restart_share_fence_gate_test(lab: Lab) -> None:
    async with lab.run(lab.child("a", grace=10, backoff=SLOWLY)) as supervisor:
        # It crashes while it is being restarted by hand: one new attempt, and it is not charged.
        lab["a"].at_stop = Boom("while stopping")
        await supervisor.restart_child("a")
        await lab.sleep(100)
        assert lab.take() == "+a ?a -a +a"
        assert (lab.actions(), supervisor.child("a").restarts) == ([], 0)
        # And the other way round: by hand, while policy is waiting to start it.
        await lab["a"].crash()
        await supervisor.restart_child("a")
        await lab.sleep(100)
        assert lab.take() == "-a +a"
        assert (lab.actions(), lab["a"].starts) == (["restart"], 3)


@scenario
async def test_stale_exit_report_never_overwrites_current_attempt_test(lab: Lab) -> None:
    spec = lab.child("a", stale_after=5)
    async with lab.run(spec) as supervisor:
        await lab["a"].crash()
        lab["a"].next_starts("hang")
        await lab["a"].crash()
        before, last = supervisor.state(), supervisor.journal.last_sequence
        assert before.child("a").state == "starting"
        # What dead attempts still say is of no interest to the live one.
        for context in lab["a"].contexts[:2]:
            context.ready("from the grave")
            context.heartbeat()
            context.not_ready("late")
            context.extend_start_timeout(1000)
        await lab.settle()
        assert supervisor.state() == before
        assert supervisor.journal.last_sequence == last
        assert supervisor.child("a").last_heartbeat is None
        await lab.sleep(30)
        assert lab.exits("a") == ["crashed", "crashed", "timed_out"]


@scenario
async def test_pending_restart_target_spawn_failure_retains_prior_outcomes_test(lab: Lab) -> None:
    async with lab.run(lab.child("a")) as supervisor:
        handle = supervisor.child("a")
        await lab["a"].crash(Boom("first"))
        lab["a"].next_starts(Boom("second"))
        await supervisor.restart_child("a")
        kinds = [(report.attempt, report.exit.kind) for report in handle.reports]
        assert kinds == [(1, "crashed"), (2, "stopped"), (3, "crashed")]
        assert "first" in handle.reports[0].exit.describe()
        assert (handle.state, handle.attempt, handle.generation) == ("ready", 4, 1)
        assert supervisor.child("a") is handle
