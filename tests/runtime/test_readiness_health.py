"""docs/design.md, Readiness and health: readiness, timeouts and silence of children."""

# flake8: noqa: ASYNC124 - bodies are async functions, whether they wait or not

from __future__ import annotations

from math import inf
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from helpers.support import run_virtual
from helpers.trees import (
    AT_ONCE,
    Boom,
    Trace,
    crash_after,
    events_of,
    forever,
    polite,
    ready_forever,
    scenario,
    state_of,
)

from trio_supervisor import (
    BackoffPolicy,
    ChildCancelled,
    ChildContext,
    ChildExited,
    ChildLostReadiness,
    ChildReady,
    ChildRunner,
    ChildRunReport,
    ChildSpec,
    ChildStarted,
    ChildStartError,
    ChildStopRequested,
    Crashed,
    ExitJudged,
    Succeeded,
    SupervisorError,
    SupervisorReady,
    SupervisorSpec,
    TaskExit,
    TimedOut,
    Unhealthy,
    open_supervisor,
)
from trio_supervisor._brain import messages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

INF = float("inf")
HOUR = BackoffPolicy.delays(3600)


async def until_blocked() -> None:
    await trio.testing.wait_all_tasks_blocked()


class Puppet:
    """A child that a test makes speak."""

    def __init__(self) -> None:
        self.contexts: list[ChildContext] = []

    @property
    def now(self) -> ChildContext:
        return self.contexts[-1]

    async def body(self, child: ChildContext) -> None:
        self.contexts.append(child)
        await trio.sleep_forever()

    def child(self, name: str = "a", **options: Any) -> ChildSpec[Any]:
        options.setdefault("backoff", HOUR)
        return ChildSpec(name, self.body, **options)


def exits(supervisor: Any, path: str = "app/a") -> list[tuple[float, str]]:
    return [(event.time, event.kind) for event in events_of(supervisor, ChildExited, path)]


async def exit_of(spec: ChildSpec[Any], within: float = 200) -> tuple[float, TaskExit]:
    """How the first attempt of a child ends, and when (from its start)."""
    reports: list[ChildRunReport] = []

    def note(report: ChildRunReport) -> None:
        reports.append(report)

    spec = spec.replace(decide=note, backoff=HOUR)
    if spec.is_explicit:
        spec = spec.replace(retry_first_start=True)
    with trio.move_on_after(within):
        async with open_supervisor(SupervisorSpec("app", [spec]), wait_ready=False):
            await trio.sleep_forever()
    (report,) = reports
    return report.seconds, report.exit


# ---------------------------------------------------------------- immediate and explicit


@scenario
async def test_an_immediate_child_is_ready_when_its_attempt_is_ordered() -> None:
    ran: list[str] = []

    async def body(child: ChildContext) -> None:
        ran.append(child.name)
        await trio.sleep_forever()

    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", body)])) as supervisor:
        events = [type(event).__name__ for event in supervisor.journal]
        assert events == ["SupervisorStarted", "ChildStarted", "ChildReady", "SupervisorReady"]
        (ready,) = events_of(supervisor, ChildReady)
        assert (ready.after, ready.attempt) == (0, 1)


@scenario
async def test_ready_in_an_immediate_child_is_an_error_that_names_the_fix() -> None:
    async def body(child: ChildContext) -> None:
        child.ready()

    _, how = await exit_of(ChildSpec("a", body))
    assert isinstance(how, Crashed)
    assert isinstance(how.error, SupervisorError)
    assert 'readiness="explicit"' in str(how.error)


@scenario
async def test_an_explicit_child_keeps_those_after_it_waiting_until_it_is_ready() -> None:
    trace = Trace()
    async with open_supervisor(
        SupervisorSpec("app", [trace.child("a", starting=2), trace.child("b", starting=3)]),
        wait_ready=False,
    ) as supervisor:
        await trio.sleep(1)
        assert [c.state.value for c in supervisor.state().children] == ["starting", "waiting"]
        assert supervisor.state().child("b").waiting_for == ("a",)
        await trio.sleep(1.5)
        assert [c.state.value for c in supervisor.state().children] == ["ready", "starting"]
        await supervisor.wait_ready()
        assert trio.current_time() == 5
        assert [e.after for e in events_of(supervisor, ChildReady)] == [2, 3]


@scenario
async def test_a_second_ready_says_nothing_new() -> None:
    puppet = Puppet()
    async with open_supervisor(
        SupervisorSpec("app", [puppet.child(readiness="explicit")]), wait_ready=False
    ) as supervisor:
        await until_blocked()
        for value in (1, 2, 3):
            puppet.now.ready(value)
        await until_blocked()
        assert len(events_of(supervisor, ChildReady)) == 1
        assert supervisor.child("a").value == 1


@scenario
async def test_ready_and_crash_in_one_step_are_both_noticed() -> None:
    async def body(child: ChildContext) -> None:
        child.ready()
        raise Boom

    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", body, readiness="explicit", backoff=HOUR)])
    ) as supervisor:
        await until_blocked()
        assert state_of(supervisor, "a") == "backing_off"
        report = supervisor.child("a").last_report
        assert report is not None
        assert (report.became_ready, report.ready_at_exit) == (True, True)


# ---------------------------------------------------------------- start_timeout


@scenario
async def test_the_start_timeout_is_thirty_seconds_unless_said_otherwise() -> None:
    assert await exit_of(ChildSpec("a", forever, readiness="explicit")) == (
        30,
        TimedOut("start", 30),
    )
    assert await exit_of(ChildSpec("a", forever, readiness="explicit", start_timeout=4)) == (
        4,
        TimedOut("start", 4),
    )


@pytest.mark.parametrize("seed", range(10))
@scenario
async def test_a_child_that_is_ready_in_the_very_instant_of_its_timeout_is_in_time(
    seed: int,
) -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(5)
        await trio.lowlevel.checkpoint()
        child.ready()
        await trio.sleep_forever()

    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", body, readiness="explicit", start_timeout=5)])
    ) as supervisor:
        await trio.sleep(100)
        assert state_of(supervisor, "a") == "ready"


@scenario
async def test_a_start_timeout_is_a_failure_for_the_table_and_for_decide() -> None:
    seen: list[TaskExit] = []

    async def body(child: ChildContext) -> None:
        if child.attempt > 1:
            child.ready()
        await trio.sleep_forever()

    spec = ChildSpec(
        "a",
        body,
        readiness="explicit",
        start_timeout=3,
        retry_first_start=True,
        backoff=BackoffPolicy.delays(2),
        decide=lambda report: seen.append(report.exit),
    )
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        assert trio.current_time() == 5
        assert seen == [TimedOut("start", 3)]
        assert [e.action for e in events_of(supervisor, ExitJudged)] == ["restart"]
        assert supervisor.child("a").restarts == 1


@scenario
async def test_a_start_timeout_asks_and_what_the_body_says_then_is_too_late() -> None:
    async def returns(child: ChildContext) -> None:
        await child.wait_stop_requested()
        await trio.sleep(2)

    async def says_ready(child: ChildContext) -> None:
        await child.wait_stop_requested()
        child.ready("too late")
        await trio.sleep_forever()

    options: Any = {"readiness": "explicit", "start_timeout": 3, "grace": 5}
    assert await exit_of(ChildSpec("a", returns, **options)) == (5, TimedOut("start", 3))
    assert await exit_of(ChildSpec("a", says_ready, **options)) == (8, TimedOut("start", 3))


@pytest.mark.parametrize(
    ("said", "end"),
    [
        ([(4, 10)], 14),
        ([(4, 3)], 10),  # never shortens
        ([(4, 10), (13, 10)], 23),
        ([(4, 10), (5, 2)], 14),
        ([(10, 5)], 15),  # said in the very instant counts
    ],
)
@scenario
async def test_extending_the_start_timeout_is_the_later_of_the_two(
    said: list[tuple[float, float]], end: float
) -> None:
    async def body(child: ChildContext) -> None:
        start = trio.current_time()
        for at, seconds in said:
            await trio.sleep_until(start + at)
            child.extend_start_timeout(seconds)
        await trio.sleep_forever()

    spec = ChildSpec("a", body, readiness="explicit", start_timeout=10)
    seconds, how = await exit_of(spec)
    assert seconds == end
    assert how == TimedOut("start", end)


@scenario
async def test_extending_after_being_ready_changes_nothing() -> None:
    async def body(child: ChildContext) -> None:
        child.ready()
        child.extend_start_timeout(5)
        await trio.sleep_forever()

    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", body, readiness="explicit", start_timeout=2)])
    ) as supervisor:
        await trio.sleep(100)
        assert state_of(supervisor, "a") == "ready"


@scenario
async def test_the_start_timeout_counts_from_the_start_of_each_attempt() -> None:
    async def body(child: ChildContext) -> None:
        if child.attempt == 1:
            child.ready()
            await trio.sleep(10)
            raise Boom
        await trio.sleep_forever()

    spec = ChildSpec(
        "a", body, readiness="explicit", start_timeout=4, backoff=BackoffPolicy.delays(3)
    )
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        await trio.sleep(25)
        assert exits(supervisor) == [(10, "crashed"), (17, "timed_out"), (24, "timed_out")]


# ---------------------------------------------------------------- max_runtime


@scenario
async def test_max_runtime_ends_an_attempt_and_the_table_decides() -> None:
    spec = ChildSpec("a", forever, max_runtime=5, backoff=BackoffPolicy.delays(1))
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        await trio.sleep(12)
        assert exits(supervisor) == [(5, "timed_out"), (11, "timed_out")]
        report = supervisor.child("a").last_report
        assert report is not None
        assert report.exit == TimedOut("run", 5)
        assert supervisor.child("a").restarts == 2


@scenario
async def test_max_runtime_counts_from_the_start_not_from_being_ready() -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(3)
        child.ready()
        child.heartbeat()
        await trio.sleep_forever()

    seconds, how = await exit_of(ChildSpec("a", body, readiness="explicit", max_runtime=5))
    assert (seconds, how) == (5, TimedOut("run", 5))


@pytest.mark.parametrize("seed", range(10))
@scenario
async def test_a_body_that_returns_in_the_very_instant_of_its_max_runtime_has_done_its_work(
    seed: int,
) -> None:
    async def body(child: ChildContext) -> str:
        await trio.sleep(5)
        return "done"

    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", body, max_runtime=5, restart="transient")])
    ) as supervisor:
        report = await supervisor.child("a").wait_finished()
        assert report.exit.is_success


@scenario
async def test_max_runtime_heeds_the_grace_but_stays_a_timeout() -> None:
    spec = ChildSpec("a", polite, 2, max_runtime=5, grace=9)
    assert await exit_of(spec) == (7, TimedOut("run", 5))


@scenario
async def test_a_temporary_child_that_timed_out_is_removed() -> None:
    async with open_supervisor() as supervisor:
        handle = await supervisor.start_child(
            ChildSpec("a", forever, max_runtime=5, restart="temporary")
        )
        report = await handle.wait_finished()
        assert (report.exit, handle.state) == (TimedOut("run", 5), "removed")


# ---------------------------------------------------------------- health


@scenario
async def test_silence_as_long_as_stale_after_ends_it() -> None:
    seconds, how = await exit_of(ChildSpec("a", forever, stale_after=7))
    assert (seconds, how) == (7, Unhealthy(7))


@pytest.mark.parametrize("beats", [[6.9], [3, 9.5, 16], [1, 2, 3, 4]])
@scenario
async def test_each_heartbeat_starts_the_silence_anew(beats: list[float]) -> None:
    async def body(child: ChildContext) -> None:
        for beat in beats:
            await trio.sleep_until(beat)
            child.heartbeat({"beat": beat})
        await trio.sleep_forever()

    seconds, how = await exit_of(ChildSpec("a", body, stale_after=7))
    assert seconds == pytest.approx(beats[-1] + 7)
    assert isinstance(how, Unhealthy)
    assert how.silence == pytest.approx(7)


@pytest.mark.parametrize("seed", range(10))
@scenario
async def test_a_heartbeat_in_the_very_instant_counts(seed: int) -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(7)
        await trio.lowlevel.checkpoint()
        child.heartbeat()
        await trio.sleep_forever()

    seconds, _ = await exit_of(ChildSpec("a", body, stale_after=7))
    assert seconds == 14


@scenario
async def test_health_is_watched_only_while_ready() -> None:
    puppet = Puppet()
    spec = puppet.child(readiness="explicit", stale_after=5, start_timeout=INF)
    async with open_supervisor(SupervisorSpec("app", [spec]), wait_ready=False) as supervisor:
        await trio.sleep(50)
        puppet.now.ready()
        await trio.sleep(4)
        puppet.now.not_ready("moving house")
        await trio.sleep(50)
        assert state_of(supervisor, "a") == "not_ready"
        puppet.now.ready()
        await trio.sleep(4.9)
        assert state_of(supervisor, "a") == "ready"
        await trio.sleep(0.2)
        assert state_of(supervisor, "a") == "backing_off"
        (found,) = exits(supervisor)
        assert found[1] == "unhealthy"
        assert found[0] == pytest.approx(109)


@scenario
async def test_heartbeats_are_neither_events_nor_state() -> None:
    puppet = Puppet()
    async with open_supervisor(
        SupervisorSpec("app", [puppet.child(stale_after=100)])
    ) as supervisor:
        await until_blocked()
        before, snapshot = supervisor.journal.last_sequence, supervisor.state()
        assert supervisor.child("a").last_heartbeat is None
        await trio.sleep(3)
        for _ in range(1000):
            puppet.now.heartbeat()
        assert supervisor._shell.collector.waiting == 1  # one notice is under way, not a thousand
        await until_blocked()
        assert supervisor.journal.last_sequence == before
        assert supervisor.state() == snapshot
        assert supervisor.child("a").last_heartbeat == 3


@scenario
async def test_a_stale_child_is_asked_and_given_its_grace() -> None:
    spec = ChildSpec("a", polite, 2, stale_after=5, grace=9)
    async with open_supervisor(SupervisorSpec("app", [spec.replace(backoff=HOUR)])) as supervisor:
        await trio.sleep(6)
        assert state_of(supervisor, "a") == "stopping"
        await trio.sleep(2)
        assert exits(supervisor) == [(7, "unhealthy")]
        assert events_of(supervisor, ChildCancelled) == []
        (asked,) = events_of(supervisor, ChildStopRequested)
        assert "no heartbeat for 5s" in asked.reason


@scenario
async def test_busy_announces_silence() -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(2)
        with child.busy(20):
            await trio.sleep(15)  # until 17, and leaving is a heartbeat
        await trio.sleep_forever()

    seconds, how = await exit_of(ChildSpec("a", body, stale_after=5))
    assert (seconds, how) == (22, Unhealthy(5))


@scenario
async def test_busy_for_longer_than_announced_is_stale() -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(2)
        with child.busy(10):
            await trio.sleep_forever()

    seconds, how = await exit_of(ChildSpec("a", body, stale_after=5))
    assert (seconds, how) == (12, Unhealthy(12))


@scenario
async def test_a_short_busy_never_shortens_the_patience() -> None:
    async def body(child: ChildContext) -> None:
        with child.busy(1):
            await trio.sleep_forever()

    seconds, _ = await exit_of(ChildSpec("a", body, stale_after=5))
    assert seconds == 5


@scenario
async def test_busy_blocks_nest_and_overlap_and_the_longest_open_one_counts() -> None:
    async def other(child: ChildContext) -> None:
        await trio.sleep(1)
        with child.busy(30):  # until 31
            await trio.sleep(20)  # left at 21

    async def body(child: ChildContext) -> None:
        child.nursery.start_soon(other, child)
        with child.busy(8):
            with child.busy(12):
                await trio.sleep(3)
            await trio.sleep_forever()

    seconds, how = await exit_of(ChildSpec("a", body, stale_after=5))
    assert (seconds, how) == (26, Unhealthy(5))


# ---------------------------------------------------------------- not_ready


@scenario
async def test_not_ready_keeps_those_about_to_start_waiting_and_leaves_those_running_alone() -> (
    None
):
    db = Puppet()
    trace = Trace()
    children = [
        db.child("db", readiness="explicit", start_timeout=INF),
        trace.child("running", requires=["db"]),
    ]
    async with open_supervisor(SupervisorSpec("app", children), wait_ready=False) as supervisor:
        await until_blocked()
        db.now.ready()
        await until_blocked()
        assert trace.take() == "+running"
        db.now.not_ready("failing over")
        await until_blocked()
        snapshot = supervisor.state().child("db")
        assert (snapshot.state, snapshot.reason) == ("not_ready", "failing over")
        (event,) = events_of(supervisor, ChildLostReadiness)
        assert (event.path, event.reason) == ("app/db", "failing over")
        supervisor.start_child_soon(trace.child("late", requires=["db"]))
        with trio.CancelScope() as scope:
            scope.cancel()
            await supervisor.restart_child("running")
        await trio.sleep(100)
        assert trace.take() == "-running"
        assert state_of(supervisor, "late") == "waiting"
        assert supervisor.state().child("running").waiting_for == ("db",)
        db.now.ready()
        await until_blocked()
        assert sorted(trace.take().split()) == ["+late", "+running"]
        assert len(events_of(supervisor, SupervisorReady)) == 1


@scenario
async def test_not_ready_before_being_ready_says_nothing() -> None:
    puppet = Puppet()
    spec = puppet.child(readiness="explicit")
    async with open_supervisor(SupervisorSpec("app", [spec]), wait_ready=False) as supervisor:
        await until_blocked()
        puppet.now.not_ready("of course")
        await until_blocked()
        assert state_of(supervisor, "a") == "starting"
        assert events_of(supervisor, ChildLostReadiness) == []


@scenario
async def test_an_immediate_child_may_lose_and_regain_its_readiness() -> None:
    puppet = Puppet()
    async with open_supervisor(SupervisorSpec("app", [puppet.child()])) as supervisor:
        await until_blocked()
        puppet.now.not_ready()
        await until_blocked()
        assert state_of(supervisor, "a") == "not_ready"
        puppet.now.ready()
        await until_blocked()
        assert state_of(supervisor, "a") == "ready"


@scenario
async def test_being_not_ready_is_no_failure_to_start() -> None:
    puppet = Puppet()
    spec = puppet.child(readiness="explicit", start_timeout=10)
    async with open_supervisor(SupervisorSpec("app", [spec]), wait_ready=False) as supervisor:
        await until_blocked()
        puppet.now.ready()
        await until_blocked()
        puppet.now.not_ready()
        await trio.sleep(100)
        assert state_of(supervisor, "a") == "not_ready"


@pytest.mark.parametrize(
    ("relapse_after", "second_wait"), [(None, 10), (40, 100), (70, 10), (60, 10), (59.9, 100)]
)
@scenario
async def test_the_backoff_starts_anew_after_having_been_ready_for_long_enough(
    relapse_after: float | None, second_wait: float
) -> None:
    """Each spell of being ready counts by itself: `not_ready` restarts the clock."""
    policy = BackoffPolicy(initial=10, factor=10, maximum=1000, jitter=0, reset_after=60)

    async def body(child: ChildContext) -> None:
        child.ready()
        if child.attempt == 2:
            if relapse_after is not None:
                await trio.sleep(relapse_after)
                child.not_ready()
                child.ready()
            await trio.sleep_until(90)
        raise Boom

    spec = ChildSpec("a", body, readiness="explicit", backoff=policy)
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        await trio.sleep(95)  # crashes at 0, again from 10 on, and crashes at 90
        assert [e.delay for e in events_of(supervisor, ExitJudged)] == [10, second_wait]


# ---------------------------------------------------------------- faults and wishes


@scenario
async def test_a_fault_does_not_queue_behind_the_stop_of_a_group() -> None:
    trace = Trace()
    told = trio.Event()

    async def bad(child: ChildContext) -> None:
        if child.attempt == 1:
            await told.wait()
            raise Boom
        await trio.sleep_forever()

    children = [
        ChildSpec("a", forever, stale_after=10, backoff=HOUR),
        ChildSpec("bad", bad, backoff=AT_ONCE),
        trace.child("z", stopping=50),
    ]
    async with open_supervisor(
        SupervisorSpec("app", children, strategy="rest_for_one")
    ) as supervisor:
        await trio.sleep(5)
        told.set()
        await trio.sleep(10)
        assert state_of(supervisor, "z") == "stopping"
        assert exits(supervisor) == [(10, "unhealthy")]


@scenario
async def test_a_wish_overrides_a_fault() -> None:
    spec = ChildSpec("a", polite, 5, stale_after=3, grace=20, backoff=AT_ONCE)
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        await trio.sleep(4)
        await supervisor.stop_child("a")
        assert trio.current_time() == 8
        assert state_of(supervisor, "a") == "stopped"
        assert exits(supervisor) == [(8, "unhealthy")]  # what it was, is told all the same
        assert events_of(supervisor, ExitJudged) == []  # but nobody asked what to do


@scenario
async def test_there_is_no_fault_for_one_who_has_to_go_anyway() -> None:
    spec = ChildSpec("a", polite, 50, stale_after=3, max_runtime=5, grace=100)
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        await supervisor.stop_child("a")
        assert trio.current_time() == 50
        assert exits(supervisor) == [(50, "stopped")]


@scenario
async def test_timeouts_of_an_old_attempt_do_not_hit_the_new_one() -> None:
    async def body(child: ChildContext) -> None:
        if child.attempt == 1:
            await trio.sleep(4)
            raise Boom
        child.ready()
        await trio.sleep_forever()

    spec = ChildSpec(
        "a",
        body,
        readiness="explicit",
        start_timeout=5,
        stale_after=50,
        max_runtime=40,
        retry_first_start=True,
        backoff=AT_ONCE,
    )
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        await trio.sleep(30)
        assert exits(supervisor) == [(4, "crashed")]
        await trio.sleep(30)
        assert exits(supervisor) == [(4, "crashed"), (44, "timed_out")]


@scenario
async def test_a_first_start_that_times_out_names_what_was_waited_for() -> None:
    children = [
        ChildSpec("ok", ready_forever, readiness="explicit"),
        ChildSpec("slow", forever, readiness="explicit", start_timeout=3),
    ]
    with pytest.raises(ChildStartError, match=r"app/slow failed to start: .*not ready within 3s"):
        async with open_supervisor(SupervisorSpec("app", children)):
            raise AssertionError("entered")


@scenario
async def test_restarts_keep_their_readiness_policy() -> None:
    spec = ChildSpec("a", crash_after, 2, 2, readiness="explicit", backoff=AT_ONCE)
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        await trio.sleep(5)
        started = [e.attempt for e in events_of(supervisor, ChildStarted)]
        ready = [e.attempt for e in events_of(supervisor, ChildReady)]
        assert started == ready == [1, 2, 3]


# ---------------------------------------------------------------- too late


@scenario
async def test_ready_after_the_stop_request_is_in_neither_report_nor_journal() -> None:
    async def in_its_cleanup(child: ChildContext) -> None:
        try:
            await trio.sleep_forever()
        finally:
            child.ready("late")

    async def asked(child: ChildContext) -> None:
        await child.wait_stop_requested()
        child.ready("late")

    for body in (in_its_cleanup, asked):
        spec = ChildSpec("a", body, readiness="explicit", grace=5 if body is asked else 0)
        async with open_supervisor() as supervisor:
            supervisor.start_child_soon(spec)
            await trio.sleep(1)
            await supervisor.stop_child("a")
            report = supervisor.child("a").last_report
            assert report is not None
            assert (report.became_ready, report.ready_at, report.ready_at_exit) == (
                False,
                None,
                False,
            )
            assert not events_of(supervisor, ChildReady)


@scenario
async def test_ready_that_comes_in_the_same_step_as_a_stop_is_seen_by_all_or_none() -> None:
    for stop_first in (True, False):
        go = trio.Event()

        async def body(child: ChildContext, go: trio.Event, stop_first: bool) -> None:
            await go.wait()
            if stop_first:
                supervisor._shell.command(messages.StopChild("a"))
            child.ready("value")
            if not stop_first:
                supervisor._shell.command(messages.StopChild("a"))
            await trio.sleep_forever()

        async with open_supervisor() as supervisor:
            supervisor.start_child_soon(ChildSpec("a", body, go, stop_first, readiness="explicit"))
            await trio.sleep(1)
            go.set()
            report = await supervisor.child("a").wait_finished()
            seen = bool(events_of(supervisor, ChildReady))
            assert seen is not stop_first
            assert (report.became_ready, report.ready_at_exit) == (seen, seen)
            assert (report.ready_at is not None) is seen


@scenario
async def test_ready_again_in_the_same_step_as_a_stop_keeps_the_first_time() -> None:
    async def body(child: ChildContext) -> None:
        child.ready("value")
        await trio.sleep(1)
        child.not_ready()
        await trio.sleep(1)
        supervisor._shell.command(messages.StopChild("a"))
        child.ready("value")
        await trio.sleep_forever()

    async with open_supervisor() as supervisor:
        began = trio.current_time()
        await supervisor.start_child(ChildSpec("a", body, readiness="explicit"))
        report = await supervisor.child("a").wait_finished()
        assert (report.became_ready, report.ready_at_exit) == (True, False)
        assert report.ready_at == began


@scenario
async def test_busy_blocks_in_any_order_leave_the_longest_that_is_open() -> None:
    order = Random(5)
    contexts: list[ChildContext] = []

    async def body(child: ChildContext) -> None:
        contexts.append(child)
        await trio.sleep_forever()

    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", body, stale_after=1e6)])):
        await trio.sleep(1)
        (child,) = contexts
        now = trio.current_time()
        open_blocks: list[tuple[float, Any]] = []
        for _ in range(300):
            if open_blocks and order.random() < 0.5:
                _, block = open_blocks.pop(order.randrange(len(open_blocks)))
                block.__exit__(None, None, None)
            else:
                seconds = float(order.randint(0, 9))
                block = child.busy(seconds)
                block.__enter__()
                open_blocks.append((now + seconds, block))
            expected = max((until for until, _ in open_blocks), default=-inf)
            assert child._attempt.busy_until == expected
        for _, block in open_blocks:
            block.__exit__(None, None, None)
        assert child._attempt.busy is not None
        assert not child._attempt.busy._heap
        assert not child._attempt.busy._closed


# ---------------------------------------------------------------- time in which no task could run


def block_the_loop(seconds: float) -> None:
    """Let time pass as a blocking call, or a suspended process, does: no task runs meanwhile."""
    clock: Any = trio.lowlevel.current_clock()
    clock.jump(seconds)


def unwatched(async_fn: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """A test in virtual time without the oracle, for which a deadline cannot come late."""

    def test() -> None:
        run_virtual(async_fn)

    return test


async def blocks(child: ChildContext) -> None:
    await trio.sleep(0.5)
    block_the_loop(2)
    await trio.sleep_forever()


@unwatched
async def test_silence_is_not_held_against_a_child_that_could_not_run() -> None:
    async def beats(child: ChildContext) -> None:
        while True:
            await trio.sleep(0.2)
            for _ in range(4):  # a few turns of the loop of real work
                await trio.lowlevel.checkpoint()
            child.heartbeat()

    specs = [ChildSpec("a", blocks), ChildSpec("b", beats, stale_after=1)]
    async with open_supervisor(SupervisorSpec("app", specs)) as supervisor:
        await trio.sleep(9)
        assert supervisor.child("b").reports == ()
        assert supervisor.child("b").attempt == 1


@unwatched
async def test_late_start_is_not_held_against_a_child_that_could_not_run() -> None:
    async def starts(child: ChildContext) -> None:
        await trio.sleep(0.8)
        await trio.sleep(0.1)
        child.ready()
        await trio.sleep_forever()

    late = ChildSpec("b", starts, readiness="explicit", start_timeout=1)
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", blocks), late])) as supervisor:
        assert supervisor.child("b").attempt == 1
        assert trio.current_time() == pytest.approx(2.6)


@unwatched
async def test_child_that_is_silent_after_the_stall_is_judged_one_round_later() -> None:
    async def hangs(child: ChildContext) -> None:
        await trio.sleep_forever()

    specs = [
        ChildSpec("a", blocks),
        ChildSpec("b", hangs, stale_after=1, backoff=HOUR),
    ]
    async with open_supervisor(SupervisorSpec("app", specs)) as supervisor:
        await supervisor.child("b").wait_state("backing_off")
        report = supervisor.child("b").last_report
        assert report is not None
        assert isinstance(report.exit, Unhealthy)
        # Noticed at 2.5, 1.5 s late; judged as much later.
        assert report.ended_at == pytest.approx(4)


def test_single_run_is_judged_one_round_later_too() -> None:
    async def starts(child: ChildContext) -> None:
        await trio.sleep(0.5)
        block_the_loop(2)
        await trio.sleep(0.1)
        child.ready()
        await trio.sleep(1)

    spec = ChildSpec("b", starts, readiness="explicit", start_timeout=1)
    report = run_virtual(ChildRunner().run_once, spec)
    assert isinstance(report.exit, Succeeded)


async def blocks_at(time: float, turns: int) -> None:
    await trio.sleep_until(time)
    for _ in range(turns):
        await trio.lowlevel.checkpoint()
    block_the_loop(3)


async def beats_often(child: ChildContext) -> None:
    while True:
        child.heartbeat()
        await trio.sleep(0.3)


def test_a_stall_that_begins_at_another_deadline_is_not_held_against_others() -> None:
    """The supervisor yields before it judges; the loop may be blocked in just that moment."""

    async def main(turns: int) -> int:
        start = trio.current_time()
        specs = [
            ChildSpec("brief", ready_forever, max_runtime=1.05, backoff=HOUR),
            ChildSpec("beats", beats_often, stale_after=1),
        ]
        async with (
            open_supervisor(SupervisorSpec("app", specs)) as supervisor,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(blocks_at, start + 1.05, turns)
            await trio.sleep(9)
            return supervisor.child("beats").attempt

    # Which turn is the one depends on the order in which Trio runs the tasks of an instant.
    for turns in range(8):
        for _ in range(3):
            assert run_virtual(main, turns) == 1


def test_a_stall_in_the_instant_of_a_deadline_of_a_single_run_is_not_held_against_it() -> None:
    async def main(turns: int) -> TaskExit:
        async def beats(child: ChildContext) -> None:
            child.ready()
            child.heartbeat()
            await trio.sleep(1.5)
            child.heartbeat()
            await trio.sleep(3.5)

        async with trio.open_nursery() as nursery:
            # In time: the alarm of the old deadline comes at 2, for nothing.
            spec = ChildSpec("b", beats, readiness="explicit", stale_after=2)
            nursery.start_soon(blocks_at, trio.current_time() + 2, turns)
            return (await ChildRunner().run_once(spec)).exit

    for turns in range(5):
        for _ in range(3):
            assert isinstance(run_virtual(main, turns), Succeeded)


def test_log_says_that_the_loop_was_held_up(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        late = ChildSpec("b", ready_forever, stale_after=1, readiness="explicit")
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", blocks), late])):
            await trio.sleep(3)

    run_virtual(main)
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("app event loop held up for at least 1.50s") for line in lines)
    assert any(line.endswith("not judged for that: b") for line in lines)
