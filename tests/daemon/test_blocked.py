"""A blocked event loop is noticed, blamed on a child, and told from a suspended process."""

from __future__ import annotations

import logging
import time
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from typing import TYPE_CHECKING

import pytest
import trio

from trio_supervisor import ChildSpec, SpecError, SupervisorSpec, open_supervisor
from trio_supervisor._runtime.held_up import monitors
from trio_supervisor.daemon import BlockedLoopMonitor

if TYPE_CHECKING:
    from helpers.daemons import Start

    from trio_supervisor import ChildContext


def test_the_child_and_the_place_are_named_and_the_duration_follows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def inner() -> None:
        await trio.sleep(0.2)
        time.sleep(0.5)  # noqa: ASYNC251 - this is what is to be noticed

    async def body(child: ChildContext) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inner)
        await child.wait_stop_requested()

    async def main() -> BlockedLoopMonitor:
        tree = SupervisorSpec("app", [SupervisorSpec("pool", [ChildSpec("busy", body)])])
        async with BlockedLoopMonitor(after=0.2) as monitor, open_supervisor(tree):
            await trio.sleep(1.2)
            assert monitor.blocked_for() < 0.2
        return monitor

    with caplog.at_level(logging.INFO, "trio_supervisor.daemon"):
        monitor = trio.run(main)
    lines = [record.getMessage() for record in caplog.records]
    during, after = (line for line in lines if "blocked" in line)
    assert during.startswith("the event loop has been blocked for 0.")
    assert during.endswith("in inner(), in app/pool/busy")
    assert "test_blocked.py:" in during
    assert after.startswith("the event loop was blocked for 0.")
    assert monitor.blocked_count == 1
    assert 0.3 < monitor.longest == monitor.total < 5


def test_the_supervisor_that_was_late_names_the_child_too(caplog: pytest.LogCaptureFixture) -> None:
    async def silent(child: ChildContext) -> None:
        child.heartbeat()
        await child.wait_stop_requested()

    async def blocks(child: ChildContext) -> None:
        await trio.sleep(0.1)
        time.sleep(1)  # noqa: ASYNC251 - this is what is to be noticed
        await child.wait_stop_requested()

    async def main() -> None:
        spec = [ChildSpec("silent", silent, stale_after=0.3), ChildSpec("busy", blocks)]
        async with (
            BlockedLoopMonitor(after=0.2),
            open_supervisor(SupervisorSpec("app", spec)),
        ):
            await trio.sleep(1.3)

    trio.run(main)
    line = next(line for line in caplog.messages if "held up" in line)
    assert line.startswith("app event loop held up for at least 0.")
    assert "blocked at test_blocked.py:" in line
    assert line.endswith("in blocks(), in app/busy; not judged for that: silent")
    assert not monitors


def test_a_supervisor_that_was_late_says_if_the_process_was_suspended(start: Start) -> None:
    program = start("""
        async def silent(child):
            child.heartbeat()
            await child.wait_stop_requested()
        spec = SupervisorSpec("app", [ChildSpec("a", silent, stale_after=1.5)])
        run(spec, control=False, blocked_after=0.5)
    """)
    program.wait_for("app is up")
    program.signal(SIGSTOP)
    time.sleep(2)
    program.signal(SIGCONT)
    program.wait_for("app event loop held up for at least")
    program.signal(SIGTERM)
    assert program.ended() == 0
    assert "because the process was suspended" in program.err


def test_a_loop_that_turns_is_left_in_peace(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with BlockedLoopMonitor(after=5) as monitor:
            await trio.sleep(0.5)
            assert monitor.blocked_count == 0

    trio.run(main)
    assert not caplog.records


@pytest.mark.parametrize("after", [0, -1, "1", None])
def test_a_threshold_that_is_none_is_refused(after: object) -> None:
    with pytest.raises(SpecError, match="after"):
        BlockedLoopMonitor(after=after)  # type: ignore[arg-type]


def test_a_daemon_has_one(start: Start) -> None:
    program = start("""
        def work():
            say("working")
            time.sleep(1.6)
        async def block(child):
            work()
            await child.wait_stop_requested()
        run(SupervisorSpec("app", [ChildSpec("a", block)]), control=False, blocked_after=0.3)
    """)
    program.wait_for("the event loop has been blocked for")
    program.wait_for("the event loop was blocked for")
    assert ".py:" in program.err
    assert "in work(), in app/a" in program.err
    program.signal(SIGTERM)
    assert program.ended() == 0


def test_a_suspended_process_is_told_from_a_busy_one(start: Start) -> None:
    program = start("""
        run(SupervisorSpec("app", [ChildSpec("a", obedient)]), control=False, blocked_after=0.5)
    """)
    program.wait_for("app is up")
    program.signal(SIGSTOP)
    time.sleep(2)
    program.signal(SIGCONT)
    program.wait_for("the process was suspended for")
    program.signal(SIGTERM)
    assert program.ended() == 0
    assert "blocked" not in program.err


def test_it_can_be_switched_off(start: Start) -> None:
    program = start("""
        async def block(child):
            time.sleep(1.5)
            say([thread.name for thread in threading.enumerate()])
            await child.wait_stop_requested()
        from math import inf
        run(SupervisorSpec("app", [ChildSpec("a", block)]), control=False, blocked_after=inf)
    """)
    program.wait_for("MainThread")
    assert "monitor" not in program.out
    assert "blocked" not in program.err
    program.signal(SIGKILL)
