"""OTP's supervisor suite: trees, counting, loops of restarts, order. One test per case."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from conformance.kit import Boom, Lab, scenario

from trio_supervisor import (
    BackoffPolicy,
    ChildAlreadyExists,
    ChildNotFound,
    ChildStartError,
    RestartLimit,
    SupervisorSpec,
    TaskFailure,
)

SLOWLY = BackoffPolicy.delays(10)
NO_LIMIT: dict[str, Any] = {"child_restart_limit": None}


@scenario
async def test_tree(lab: Lab) -> None:
    once = RestartLimit(1, within=3600)
    left = SupervisorSpec("left", lab.children("a b"), restart_limit=once)
    right = SupervisorSpec("right", lab.children("c d"), restart_limit=once)
    async with lab.run(left, right, strategy="one_for_all", restart_limit=once) as supervisor:
        pool = supervisor.child("right").value
        await pool.start_child(lab.child("dynamic"))
        assert lab.counts() == (2, 2, 2)
        assert pool.count_children().specs == 3
        lab.take()
        # Only the one that crashed comes back.
        await lab["a"].crash()
        assert lab.take() == "-a +a"
        # That was all that the left one could bear: now everything comes back, all the way down,
        # but not what nobody had declared.
        await lab["a"].crash()
        await lab.sleep(1)  # the backoff of a supervisor that failed
        assert lab.starts("a b c d dynamic") == [3, 2, 2, 2, 1]
        assert lab.take().startswith("-a ?b -b ?dynamic -dynamic ?d -d ?c -c")
        assert lab.states("left/a left/b right/c right/d") == ["ready"] * 4
        pool = supervisor.child("right").value
        counts = pool.count_children()
        assert (counts.specs, counts.workers, counts.supervisors) == (2, 2, 0)
        counts = supervisor.count_children()
        assert (counts.specs, counts.active, counts.workers, counts.supervisors) == (2, 2, 0, 2)


@scenario
async def test_count_restarting_children(lab: Lab) -> None:
    async with lab.run() as supervisor:
        for spec in lab.children("1 2 3", backoff=SLOWLY):
            await supervisor.start_child(spec)
        lab["1"].usually = lab["2"].usually = Boom("restart")
        await lab["1"].crash()
        await lab["2"].crash()
        assert lab.counts() == (3, 1, 1)
        assert lab.states("1 2 3") == ["backing_off", "backing_off", "ready"]
        await lab.sleep(10)
        assert lab.starts("1 2 3") == [2, 2, 1]
        assert lab.counts() == (3, 1, 1)
        lab["1"].usually = "ok"
        await lab.sleep(10)
        assert lab.counts() == (3, 2, 2)
        for number, name in enumerate("123"):
            await supervisor.remove_child(name)
            assert lab.counts()[0] == 2 - number


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@scenario
async def test_temporary_bystander(lab: Lab, strategy: str) -> None:
    temporary = lab.child("b", restart="temporary")
    async with lab.run(lab.child("a"), temporary, strategy=strategy) as supervisor:
        lab.take()
        await lab["a"].crash()
        assert lab.take() == "-a ?b -b +a"
        assert (lab.names(), supervisor.state().state) == (["a"], "running")


@scenario
async def test_simple_global_supervisor(lab: Lab) -> None:
    lab["worker"].value = lambda attempt: f"attempt {attempt}"
    nested = SupervisorSpec("sub", lab.children("worker", restart="permanent"))
    async with lab.run(nested) as supervisor:

        def find() -> str:
            return str(supervisor.child("sub/worker").value)

        first = supervisor.child("sub").value
        assert find() == "attempt 1"
        # The worker is killed, and then returns.
        await lab["worker"].cancel_itself()
        assert find() == "attempt 2"
        await lab["worker"].finish()
        assert find() == "attempt 3"
        # It is stopped and started by hand.
        await supervisor.stop_child("sub/worker")
        with pytest.raises(Exception, match="stopped"):
            find()
        await supervisor.restart_child("sub/worker")
        assert find() == "attempt 4"
        # Its supervisor is replaced: the same path leads to the new worker.
        await supervisor.restart_child("sub")
        assert supervisor.child("sub").value is not first
        assert find() == "attempt 1"
        assert lab["worker"].starts == 5


@scenario
async def test_hanging_restart_loop(lab: Lab) -> None:
    spec = lab.child("a")
    async with lab.run(spec, lab.child("b"), **NO_LIMIT) as supervisor:
        # Each attempt from now on takes 2 s to fail.
        lab["a"].usually, lab["a"].start_takes = Boom("restart"), 2.0
        await lab["a"].crash()
        for _ in range(3):
            await lab.sleep(2)
            assert lab.state("a") == "starting"
            assert lab.counts() == (2, 2, 1)
            with pytest.raises(ChildAlreadyExists):
                await supervisor.start_child(spec)
        # It can be stopped, without waiting for its 2 s.
        began = trio.current_time()
        await supervisor.quarantine_child("a")
        assert trio.current_time() == began
        assert lab.state("a") == "quarantined"
        # A restart by hand goes on trying like any other; the call waits, whoever waits can leave.
        with trio.move_on_after(5) as scope:
            await supervisor.restart_child("a")
        assert scope.cancelled_caught
        assert lab.state("a") == "starting"
        await supervisor.remove_child("a")
        assert lab.names() == ["b"]
        # And in the middle of the loop everything can be shut down.
        lab["a"].starting.append("ok")
        await supervisor.start_child(spec)
        await lab["a"].crash()
        report = await supervisor.shutdown()
        assert (report.seconds, report.child("a").outcome) == (0, "stopped")


@scenario
async def test_hanging_restart_loop_rest_for_one(lab: Lab) -> None:
    async with lab.run(*lab.children("a b c"), strategy="rest_for_one", **NO_LIMIT) as supervisor:
        lab["b"].usually, lab["b"].start_takes = Boom("restart"), 2.0
        await lab["b"].crash()
        for _ in range(3):
            await lab.sleep(2)
            assert lab.states("a b c") == ["ready", "starting", "waiting"]
            assert supervisor.child("c").waiting_for == ("b",)
        assert lab.starts("a b c") == [1, 5, 1]
        with pytest.raises(ChildAlreadyExists):
            await supervisor.start_child(lab.child("c"))
        # Who is held down keeps nobody else down.
        await supervisor.stop_child("b")
        await lab.settle()
        assert lab.states("a b c") == ["ready", "stopped", "ready"]
        assert lab.starts("a c") == [1, 2]


@scenario
async def test_hanging_restart_loop_simple(lab: Lab) -> None:
    async with lab.run(**NO_LIMIT) as supervisor:
        handles = [await supervisor.start_child(spec) for spec in lab.children("1 2")]
        lab["1"].usually, lab["1"].start_takes = Boom("restart"), 2.0
        await lab["1"].crash()
        for _ in range(3):
            await lab.sleep(2)
            assert lab.states("1 2") == ["starting", "ready"]
        began = trio.current_time()
        await handles[0].stop()
        assert (handles[0].state, trio.current_time()) == ("stopped", began)
        await supervisor.remove_child("1")
        with pytest.raises(ChildNotFound):
            await supervisor.stop_child("1")
        assert lab.counts() == (1, 1, 1)


@scenario
async def test_order_of_children(lab: Lab) -> None:
    async with lab.run(*lab.children("d b e a c"), strategy="rest_for_one"):
        assert lab.take() == "+d +b +e +a +c"
        await lab["e"].crash()
        assert lab.take() == "-e ?c -c ?a -a +e +a +c"
    assert lab.take() == "?c -c ?a -a ?e -e ?b -b ?d -d"


@scenario
async def test_already_started_outside_supervisor(lab: Lab) -> None:
    outside = object()

    class AlreadyStarted(TaskFailure):
        def __init__(self, who: object) -> None:
            super().__init__("already started", category="already_started")
            self.who = who

    lab["a"].next_starts(AlreadyStarted(outside))
    async with lab.run() as supervisor:
        with pytest.raises(ChildStartError) as caught:
            await supervisor.start_child(lab.child("a"))
        assert isinstance(caught.value.__cause__, AlreadyStarted)
        assert caught.value.__cause__.who is outside
        assert lab.names() == []


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name.startswith("trio_supervisor")]


@scenario
async def test_format_log_1(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="trio_supervisor")
    async with lab.run(lab.child("a", restart="temporary"), name="app"):
        await lab["a"].crash(Boom("one\ntwo" + " long" * 1000))
    found = [record for record in logged(caplog) if "crashed" in record.getMessage()]
    assert len(found) == 1
    # One line, path first, not longer than one can read; the rest is the traceback's business.
    line = found[0].getMessage()
    assert line.startswith("app/a crashed attempt=1 Boom: one two long")
    assert "\n" not in line
    assert len(line) < 300
    assert found[0].exc_info is not None
    assert found[0].exc_info[0] is Boom


@scenario
async def test_format_log_2(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="trio_supervisor")
    names = " ".join(f"c{number}" for number in range(50))
    async with lab.run(lab.child("a"), *lab.children(names), strategy="one_for_all"):
        await lab["a"].crash()
    found = [record.getMessage() for record in logged(caplog) if "crashed" in record.getMessage()]
    assert len(found) == 1
    # The group is told in the same line, and counted where there are too many to name.
    assert "also restarting: c0, c1" in found[0]
    assert "more" in found[0]
    assert len(found[0]) < 300
    last = logged(caplog)[-1].getMessage()
    assert last.startswith("app stopped in ")
    assert "51 children, 0 unresponsive" in last
