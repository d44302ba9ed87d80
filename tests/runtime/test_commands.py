"""docs/design.md, Commands: accepted while children hang, idempotent, callable anywhere."""

# flake8: noqa: ASYNC105 - tables hold functions whose result is awaited elsewhere
# flake8: noqa: ASYNC124 - bodies are async functions, whether they wait or not

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
import trio
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
    stubborn,
    this_watch,
)

from trio_supervisor import (
    Aborted,
    BackoffPolicy,
    ChildAdded,
    ChildAlreadyExists,
    ChildCancelled,
    ChildContext,
    ChildExited,
    ChildHandle,
    ChildNotFound,
    ChildNotReady,
    ChildReady,
    ChildRunner,
    ChildRunReport,
    ChildSpec,
    ChildStarted,
    ChildStartError,
    ChildStopRequested,
    CommandAccepted,
    CommandRefused,
    ExitJudged,
    Quarantine,
    ShutdownTree,
    SpecError,
    Stopped,
    Supervisor,
    SupervisorClosed,
    SupervisorError,
    SupervisorSpec,
    TooManyChildren,
    event_from_dict,
    explain,
    open_supervisor,
)
from trio_supervisor._brain import messages as o

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

INF = float("inf")
HOUR = BackoffPolicy.delays(3600)


async def until_blocked() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def work(child: ChildContext, seconds: float = 0, value: object = None) -> object:
    """Does its work and returns."""
    await trio.sleep(seconds)
    return value


async def outcome_of(async_fn: Callable[[], Awaitable[object]], heard: list[object]) -> None:
    """Note what comes of a call: its value, or the exception."""
    try:
        heard.append(await async_fn())
    except SupervisorError as error:
        heard.append(error)


# ---------------------------------------------------------------- accepted while others hang


@scenario
async def test_every_command_is_accepted_and_done_while_another_child_hangs_in_its_stop() -> None:
    trace = Trace()
    children = [
        ChildSpec("stuck", stubborn, 1000),
        trace.child("a"),
        trace.child("b"),
        trace.child("c"),
        trace.child("d"),
    ]
    spec = SupervisorSpec("app", children)
    async with open_supervisor(spec) as supervisor, trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.stop_child, "stuck")
        await until_blocked()
        assert state_of(supervisor, "stuck") == "stopping"
        await supervisor.stop_child("a")
        await supervisor.restart_child("b")
        await supervisor.remove_child("c")
        await supervisor.quarantine_child("d")
        await supervisor.start_child(ChildSpec("new", ready_forever, 7, readiness="explicit"))
        assert trio.current_time() == 0
        states = {c.name: str(c.state) for c in supervisor.state().children}
        assert states == {
            "stuck": "stopping",
            "a": "stopped",
            "b": "ready",
            "d": "quarantined",
            "new": "ready",
        }
        nursery.cancel_scope.cancel()
    assert trio.current_time() == 1000


@scenario
async def test_a_command_for_the_hanging_child_itself_is_accepted_at_once() -> None:
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("stuck", stubborn, 50)])
    ) as supervisor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.stop_child, "stuck")
            await trio.sleep(10)
            nursery.start_soon(supervisor.restart_child, "stuck")
            await trio.sleep(10)
            nursery.start_soon(supervisor.quarantine_child, "stuck")
            await until_blocked()
            accepted = [(e.time, e.command) for e in events_of(supervisor, CommandAccepted)]
            assert accepted == [(0, "stop"), (10, "restart"), (20, "quarantine")]
        # The latest wish counts, and the attempt that was asked to stop was not asked twice.
        assert trio.current_time() == 50
        assert state_of(supervisor, "stuck") == "quarantined"
        assert len(events_of(supervisor, ChildStopRequested)) == 1
        assert len(events_of(supervisor, ChildStarted)) == 1


@scenario
async def test_commands_are_accepted_while_the_first_start_hangs() -> None:
    children = [
        ChildSpec("a", ready_forever, readiness="explicit"),
        ChildSpec("slow", forever, readiness="explicit", start_timeout=INF),
        ChildSpec("z", ready_forever, readiness="explicit"),
    ]
    async with open_supervisor(SupervisorSpec("app", children), wait_ready=False) as supervisor:
        await until_blocked()
        await supervisor.stop_child("a")
        assert state_of(supervisor, "a") == "stopped"
        assert state_of(supervisor, "z") == "waiting"
        assert supervisor.state().child("z").waiting_for == ("slow",)
        await supervisor.stop_child("slow")  # who is held down is transparent
        await until_blocked()
        assert state_of(supervisor, "z") == "ready"
        await supervisor.wait_ready()


# ---------------------------------------------------------------- stop_child


@scenario
async def test_stop_child_asks_waits_its_grace_and_holds_it_down() -> None:
    trace = Trace()
    children = [trace.child("a", stopping=3), trace.child("b")]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        trace.take()
        await supervisor.stop_child("a", reason="maintenance")
        assert (trace.take(), trio.current_time()) == ("?a -a", 3)
        snapshot = supervisor.state().child("a")
        assert (snapshot.state, snapshot.reason) == ("stopped", "maintenance")
        report = supervisor.child("a").last_report
        assert report is not None
        assert report.exit == Stopped("maintenance")
        await trio.sleep(1000)
        assert state_of(supervisor, "a") == "stopped"
        assert trace.take() == ""


@scenario
async def test_stop_child_cancels_when_the_grace_is_over() -> None:
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", forever, grace=4)])
    ) as supervisor:
        await supervisor.stop_child("a", reason="r")
        assert trio.current_time() == 4
        report = supervisor.child("a").last_report
        assert report is not None
        assert report.exit == Aborted("r")
        (asked,) = events_of(supervisor, ChildStopRequested)
        (cancelled,) = events_of(supervisor, ChildCancelled)
        assert (asked.time, asked.grace, cancelled.time) == (0, 4, 4)


@pytest.mark.parametrize("command", ["stop_child", "quarantine_child"])
@scenario
async def test_ten_repeats_are_one_stop(command: str) -> None:
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", stubborn, 5, grace=2)])
    ) as supervisor:
        give = getattr(supervisor, command)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(give, "a")
            await trio.sleep(3)
            for _ in range(5):
                nursery.start_soon(give, "a")
        assert trio.current_time() == 7
        await give("a")
        assert trio.current_time() == 7
        for kind in (CommandAccepted, ChildStopRequested, ChildCancelled, ChildExited):
            assert len(events_of(supervisor, kind, "app/a")) == 1, kind


@scenario
async def test_a_stop_hits_the_present_attempt_after_restarts() -> None:
    trace = Trace()
    async with open_supervisor(SupervisorSpec("app", [trace.child("a")])) as supervisor:
        await supervisor.restart_child("a")
        await supervisor.restart_child("a")
        await supervisor.stop_child("a")
        exits = [(e.attempt, e.kind) for e in events_of(supervisor, ChildExited)]
        assert exits == [(1, "aborted"), (2, "aborted"), (3, "aborted")]
        assert trace.take() == "+a -a +a -a +a -a"


@scenario
async def test_stopping_a_child_that_is_done_keeps_it_down_as_stopped() -> None:
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", work, restart="transient")])
    ) as supervisor:
        await supervisor.child("a").wait_state("done")
        await supervisor.stop_child("a")
        assert state_of(supervisor, "a") == "stopped"


@scenario
async def test_a_stop_beats_the_crash_that_was_posted_after_it() -> None:
    told = trio.Event()

    async def body(child: ChildContext) -> None:
        await told.wait()
        raise Boom

    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", body, backoff=AT_ONCE)])
    ) as supervisor:
        await until_blocked()
        supervisor._shell.command(o.StopChild("a"))
        told.set()  # the body is woken in the same instant, and crashes before it is cancelled
        await trio.sleep(10)
        assert state_of(supervisor, "a") == "stopped"
        assert [e.kind for e in events_of(supervisor, ChildExited)] == ["crashed"]
        assert events_of(supervisor, ExitJudged) == []
        assert len(events_of(supervisor, ChildStarted)) == 1


@pytest.mark.parametrize("command", ["stop_child", "quarantine_child", "remove_child"])
@scenario
async def test_an_operators_stop_does_not_queue_behind_the_stop_of_a_group(command: str) -> None:
    trace = Trace()
    told = trio.Event()

    async def bad(child: ChildContext) -> None:
        if child.attempt == 1:
            await told.wait()
            raise Boom
        await trio.sleep_forever()

    children = [
        trace.child("a", stopping=1),
        ChildSpec("bad", bad, backoff=AT_ONCE),
        trace.child("z", stopping=50),
    ]
    async with open_supervisor(
        SupervisorSpec("app", children, strategy="one_for_all")
    ) as supervisor:
        told.set()
        await trio.sleep(3)
        assert trace.take() == "+a +z ?z"  # a would have its turn when z is gone
        await getattr(supervisor, command)("a")
        assert (trace.take(), trio.current_time()) == ("?a -a", 4)
        await trio.sleep(60)
        assert trace.take() == "-z +z"


@scenario
async def test_a_restart_that_was_ready_for_a_moment_has_happened() -> None:
    """What comes right after it, before whoever waits has its turn, does not undo that."""

    async def body(child: ChildContext) -> None:
        child.ready()
        if child.attempt == 2:
            raise Boom
        await trio.sleep_forever()

    spec = ChildSpec("a", body, readiness="explicit", decide=lambda report: ShutdownTree())
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        await supervisor.restart_child("a")
        report = await supervisor.wait_finished()
        assert (report.cause, report.child("a").attempt) == ("shutdown", 2)


@scenario
async def test_a_quarantined_child_stays_visible_as_such() -> None:
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", forever)])) as supervisor:
        await supervisor.stop_child("a", reason="first")
        await supervisor.quarantine_child("a", reason="look at this")
        assert supervisor.state().child("a").reason == "look at this"
        assert state_of(supervisor, "a") == "quarantined"
        await supervisor.stop_child("a", reason="no matter")
        assert state_of(supervisor, "a") == "quarantined"


# ---------------------------------------------------------------- restart_child

RESTING: dict[str, Callable[[Supervisor], Awaitable[object]]] = {
    "stopped": lambda s: s.stop_child("a"),
    "quarantined": lambda s: s.quarantine_child("a"),
    "running": lambda s: trio.lowlevel.checkpoint(),
}


@pytest.mark.parametrize("where", RESTING)
@scenario
async def test_restart_child_starts_a_new_attempt_from_wherever_it_is(where: str) -> None:
    trace = Trace()
    async with open_supervisor(
        SupervisorSpec("app", [trace.child("a"), trace.child("b")])
    ) as supervisor:
        await RESTING[where](supervisor)
        await supervisor.restart_child("a")
        handle = supervisor.child("a")
        assert (handle.state, handle.attempt, handle.generation) == ("ready", 2, 1)
        assert handle.value == "a2"
        assert handle.restarts == 0
        assert trace.take() == "+a +b -a +a"
        assert supervisor.child("b").attempt == 1


@scenario
async def test_restart_child_of_a_child_that_is_done() -> None:
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", work, 1, restart="transient")])
    ) as supervisor:
        await supervisor.child("a").wait_state("done")
        await supervisor.restart_child("a")
        assert state_of(supervisor, "a") == "ready"
        await supervisor.child("a").wait_state("done")
        assert supervisor.child("a").attempt == 2


@scenario
async def test_restart_child_waits_for_the_end_of_the_old_attempt_and_its_grace() -> None:
    trace = Trace()
    async with open_supervisor(
        SupervisorSpec("app", [trace.child("a", starting=2, stopping=3)])
    ) as supervisor:
        await supervisor.restart_child("a")
        assert trio.current_time() == 2 + 3 + 2
        assert trace.take() == "+a ?a -a +a"


@scenario
async def test_duplicate_restarts_merge_into_one() -> None:
    trace = Trace()
    async with open_supervisor(SupervisorSpec("app", [trace.child("a", stopping=5)])) as supervisor:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(supervisor.restart_child, "a")
            await trio.sleep(1)
            nursery.start_soon(supervisor.restart_child, "a")
        assert trio.current_time() == 5
        assert trace.take() == "+a ?a -a +a"
        assert (supervisor.child("a").attempt, supervisor.child("a").generation) == (2, 1)


@scenario
async def test_restart_during_backoff_means_now_and_clears_the_streak() -> None:
    policy = BackoffPolicy(initial=10, factor=10, maximum=1000, jitter=0)
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", crash_after, 1, 2, backoff=policy)])
    ) as supervisor:
        await trio.sleep(5)
        assert state_of(supervisor, "a") == "backing_off"
        assert supervisor.state().child("a").until == 11
        await supervisor.restart_child("a")
        assert (trio.current_time(), supervisor.child("a").attempt) == (5, 2)
        await trio.sleep(2)  # crashes at 6; without the restart by hand it would wait for 100 s
        assert supervisor.state().child("a").until == 16
        await trio.sleep(10)
        assert (state_of(supervisor, "a"), supervisor.child("a").attempt) == ("ready", 3)


@scenario
async def test_stop_during_backoff_ends_it_at_once_and_nothing_starts() -> None:
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", crash_after, 1, backoff=HOUR)])
    ) as supervisor:
        await trio.sleep(2)
        assert state_of(supervisor, "a") == "backing_off"
        await supervisor.stop_child("a")
        assert (trio.current_time(), state_of(supervisor, "a")) == (2, "stopped")
        await trio.sleep(10_000)
        assert len(events_of(supervisor, ChildStarted)) == 1


@scenario
async def test_remove_during_backoff_is_immediate() -> None:
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", crash_after, 1, backoff=HOUR)])
    ) as supervisor:
        await trio.sleep(2)
        await supervisor.remove_child("a")
        assert (trio.current_time(), state_of(supervisor, "a")) == (2, "")
        await trio.sleep(10_000)
        assert len(events_of(supervisor, ChildStarted)) == 1


@scenario
async def test_shutdown_during_backoff_is_immediate_and_nothing_starts_after_it() -> None:
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", crash_after, 1, backoff=HOUR)])
    ) as supervisor:
        await trio.sleep(2)
        await supervisor.shutdown()
        assert trio.current_time() == 2
        await trio.sleep(10_000)
        assert len(events_of(supervisor, ChildStarted)) == 1


@scenario
async def test_a_restart_by_hand_that_fails_to_start_is_an_ordinary_failure() -> None:
    attempts: list[int] = []

    async def body(child: ChildContext) -> None:
        attempts.append(child.attempt)
        if child.attempt == 2:
            raise Boom
        child.ready()
        await trio.sleep_forever()

    spec = ChildSpec("a", body, readiness="explicit", backoff=BackoffPolicy.delays(7))
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        await supervisor.restart_child("a")
        assert trio.current_time() == 7
        assert attempts == [1, 2, 3]
        assert supervisor.child("a").restarts == 1


@scenario
async def test_restart_child_returns_when_the_child_comes_to_rest_instead() -> None:
    def decide(report: ChildRunReport) -> Quarantine | None:
        return Quarantine("hopeless") if report.attempt > 1 else None

    async def body(child: ChildContext) -> None:
        if child.attempt > 1:
            raise Boom
        child.ready()
        await trio.sleep_forever()

    spec = ChildSpec("a", body, readiness="explicit", decide=decide)
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        await supervisor.restart_child("a")
        assert state_of(supervisor, "a") == "quarantined"


# ---------------------------------------------------------------- remove_child


@scenario
async def test_remove_child_stops_forgets_and_frees_the_name() -> None:
    trace = Trace()
    async with open_supervisor(SupervisorSpec("app", [trace.child("a", stopping=2)])) as supervisor:
        old = supervisor.child("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.remove_child, "a")
            await trio.sleep(1)
            assert state_of(supervisor, "a") == "stopping"
            with pytest.raises(ChildAlreadyExists, match="app/a exists already"):
                await supervisor.start_child(trace.child("a"))
            with pytest.raises(CommandRefused, match="being removed"):
                await supervisor.restart_child("a")
            nursery.start_soon(supervisor.remove_child, "a")
        assert trio.current_time() == 2
        assert "a" not in supervisor.children
        assert old.state == "removed"
        new = await supervisor.start_child(trace.child("a"))
        assert new is not old
        assert (new.attempt, new.generation) == (1, 0)
        assert supervisor.child("a") is new
        assert trace.take() == "+a ?a -a +a"


@scenario
async def test_a_removal_is_not_taken_back_by_a_later_stop() -> None:
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", stubborn, 5)])) as supervisor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.remove_child, "a")
            await until_blocked()
            nursery.start_soon(supervisor.stop_child, "a")
            nursery.start_soon(supervisor.quarantine_child, "a")
        assert state_of(supervisor, "a") == ""


@scenario
async def test_remove_child_is_refused_while_others_require_it_and_names_them() -> None:
    children = [
        ChildSpec("db", forever),
        ChildSpec("web", forever, requires=["db"]),
        ChildSpec("api", forever, requires=["db"]),
    ]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        before = supervisor.state()
        with pytest.raises(CommandRefused, match=r"app/db.*required by web, api"):
            await supervisor.remove_child("db")
        assert supervisor.state() == before
        assert events_of(supervisor, CommandAccepted) == []
        await supervisor.remove_child("web")
        with pytest.raises(CommandRefused, match="required by api$"):
            await supervisor.remove_child("db")
        await supervisor.remove_child("api")
        await supervisor.remove_child("db")
        assert supervisor.count_children().specs == 0


@scenario
async def test_a_refused_command_leaves_the_callers_grace_alone() -> None:
    """Who asks for her own removal in vain is no different afterwards."""
    heard: list[str] = []

    async def body(child: ChildContext) -> None:
        with pytest.raises(CommandRefused):
            await child.supervisor.remove_child("db")
        await child.wait_stop_requested()
        await trio.sleep(3)
        heard.append("tidied up")

    children = [ChildSpec("db", body, grace=10), ChildSpec("web", forever, requires=["db"])]
    async with open_supervisor(SupervisorSpec("app", children)):
        await trio.sleep(1)
    assert heard == ["tidied up"]


@scenario
async def test_a_temporary_child_that_has_ended_is_not_found() -> None:
    async with open_supervisor() as supervisor:
        await supervisor.start_child(ChildSpec("a", work, restart="temporary"))
        await until_blocked()
        for command in (
            supervisor.stop_child,
            supervisor.restart_child,
            supervisor.remove_child,
            supervisor.quarantine_child,
        ):
            with pytest.raises(ChildNotFound, match="'a'"):
                await command("a")


@scenario
async def test_an_unknown_name_lists_those_there_are() -> None:
    nest = SupervisorSpec("nest", [ChildSpec("x", forever)])
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", forever), nest])
    ) as supervisor:
        with pytest.raises(ChildNotFound, match="it has: a, nest"):
            supervisor.child("b")
        with pytest.raises(ChildNotFound, match="app/nest has no child 'y'; it has: x"):
            await supervisor.stop_child("nest/y")
        with pytest.raises(ChildNotFound, match="no running supervisor 'a'"):
            supervisor.child("a/x")


@scenario
async def test_a_child_is_named_by_spec_name_path_or_full_path() -> None:
    leaf = ChildSpec("x", forever)
    nest = SupervisorSpec("nest", [leaf])
    async with open_supervisor(SupervisorSpec("app", [nest])) as supervisor:
        nested = supervisor.child(nest).value
        assert nested is supervisor.child("nest").value
        handle = nested.child(leaf)
        assert handle is supervisor.child("nest/x")
        assert handle is supervisor.child("app/nest/x")
        assert handle is nested.child("x")
        assert handle is nested.child("app/nest/x")
        assert handle is nested.children["x"]
        await supervisor.stop_child("app/nest/x")
        await supervisor.restart_child("nest/x")
        await nested.stop_child(leaf)
        assert handle.state == "stopped"


# ---------------------------------------------------------------- one that stops its own caller

SELF_COMMANDS: dict[str, Callable[[Supervisor, str], Awaitable[object]]] = {
    "stop": lambda s, name: s.stop_child(name),
    "quarantine": lambda s, name: s.quarantine_child(name),
    "remove": lambda s, name: s.remove_child(name),
    "restart": lambda s, name: s.restart_child(name),
    "shutdown": lambda s, name: s.shutdown(),
    "handle.stop": lambda s, name: s.child(name).stop(),
    "handle.restart": lambda s, name: s.child(name).restart(),
}
LEFT = {
    "stop": "stopped",
    "handle.stop": "stopped",
    "quarantine": "quarantined",
    "remove": "",
    "restart": "ready",
    "handle.restart": "ready",
    "shutdown": "stopped",
}


@pytest.mark.parametrize("grace", [0, 5, INF])
@pytest.mark.parametrize("command", SELF_COMMANDS)
@pytest.mark.parametrize("where", ["body", "background", "deep background"])
@scenario
async def test_a_command_that_stops_its_own_caller_ends_by_that_cancellation(
    command: str, where: str, grace: float
) -> None:
    heard: list[str] = []

    async def stop_myself(child: ChildContext) -> None:
        try:
            await SELF_COMMANDS[command](child.supervisor, "me")
            heard.append("returned")
        except trio.Cancelled:
            heard.append("cancelled")
            raise

    async def deeper(child: ChildContext) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop_myself, child)

    async def body(child: ChildContext) -> None:
        if child.attempt == 1:
            await trio.sleep(1)
            if where == "body":
                await stop_myself(child)
            elif where == "background":
                child.nursery.start_soon(stop_myself, child)
            else:
                child.nursery.start_soon(deeper, child)
        await trio.sleep_forever()

    children = [ChildSpec("a", forever), ChildSpec("me", body, grace=grace, backoff=AT_ONCE)]
    with trio.move_on_after(100) as scope:  # ends what would be a deadlock with grace=inf
        async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
            await trio.sleep(2)
            assert heard == ["cancelled"]
            assert state_of(supervisor, "me") == LEFT[command]
            exits = events_of(supervisor, ChildExited, "app/me")
            assert [(e.time, e.kind) for e in exits] == [(1, "aborted")]
            asked = events_of(supervisor, ChildStopRequested, "app/me")
            assert [e.grace for e in asked] == [0]
            await supervisor.shutdown() if command == "shutdown" else scope.cancel()
    assert trio.current_time() <= 2


@pytest.mark.parametrize("target", ["nest", "nest/deep", "nest/deep/me", "shutdown nest", "app"])
@scenario
async def test_a_nested_child_that_stops_what_it_stands_in_never_deadlocks(target: str) -> None:
    heard: list[float] = []
    told = trio.Event()
    root: list[Supervisor] = []

    async def body(child: ChildContext) -> None:
        await told.wait()
        if heard:
            await child.wait_stop_requested()
            return
        try:
            if target == "app":
                await root[0].shutdown()
            elif target == "shutdown nest":
                await root[0].child("nest").value.shutdown()
            else:
                await root[0].stop_child(target)
        except trio.Cancelled:
            heard.append(trio.current_time())
            raise

    deep = SupervisorSpec("deep", [ChildSpec("me", body, grace=INF), ChildSpec("z", forever)])
    nest = SupervisorSpec("nest", [ChildSpec("x", forever), deep])
    with trio.fail_after(50):
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", forever), nest])) as app:
            root.append(app)
            told.set()
            await trio.sleep(1)
            assert heard == [0]
            if target == "app":
                assert app.state().state == "finished"
            elif target == "shutdown nest":
                assert (app.child("nest").state, app.child("nest").attempt) == ("stopped", 1)
            else:
                assert app.child(target).state == "stopped"


@scenario
async def test_a_child_of_a_tree_inside_a_child_may_stop_the_child_around_it() -> None:
    """An inner ``open_supervisor`` is a tree of its own, but the caller is inside all the same."""
    heard: list[str] = []

    async def inner(child: ChildContext, outer: Supervisor) -> None:
        try:
            await outer.stop_child("shell")
        except trio.Cancelled:
            heard.append("cancelled")
            raise

    async def shell(child: ChildContext) -> None:
        spec = SupervisorSpec("inner", [ChildSpec("me", inner, child.supervisor, grace=INF)])
        async with open_supervisor(spec):
            await trio.sleep_forever()

    with trio.fail_after(50):
        async with open_supervisor(
            SupervisorSpec("app", [ChildSpec("shell", shell, grace=INF)])
        ) as supervisor:
            await trio.sleep(1)
            assert heard == ["cancelled"]
            assert state_of(supervisor, "shell") == "stopped"


@scenario
async def test_a_lone_attempt_inside_a_child_may_give_commands() -> None:
    async def lone(child: ChildContext, supervisor: Supervisor) -> None:
        await supervisor.stop_child("b")

    async def body(child: ChildContext) -> None:
        report = await ChildRunner().run_once(ChildSpec("lone", lone, child.supervisor))
        assert report.exit.is_success
        await trio.sleep_forever()

    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", body), ChildSpec("b", forever)])
    ) as supervisor:
        await until_blocked()
        assert state_of(supervisor, "b") == "stopped"
        assert supervisor.child("a").attempt == 1


@scenario
async def test_a_child_that_stops_a_sibling_keeps_its_own_grace() -> None:
    heard: list[str] = []

    async def body(child: ChildContext) -> None:
        await child.supervisor.stop_child("b")
        await child.wait_stop_requested()
        await trio.sleep(1)
        heard.append("in time")

    children = [ChildSpec("a", body, grace=5), ChildSpec("b", forever)]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        await until_blocked()
        assert state_of(supervisor, "b") == "stopped"
    assert heard == ["in time"]


@scenario
async def test_a_body_may_start_its_siblings_and_wait_for_them() -> None:
    async def body(child: ChildContext) -> None:
        handle = await child.supervisor.start_child(
            ChildSpec("helper", ready_forever, 42, readiness="explicit")
        )
        child.ready(handle.value)
        await trio.sleep_forever()

    spec = ChildSpec("a", body, readiness="explicit")
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        assert supervisor.child("a").value == 42


# ---------------------------------------------------------------- start_child


@scenario
async def test_start_child_returns_the_handle_once_it_is_ready() -> None:
    trace = Trace()
    async with open_supervisor() as supervisor:
        handle = await supervisor.start_child(trace.child("a", starting=3))
        assert trio.current_time() == 3
        assert isinstance(handle, ChildHandle)
        assert (handle.name, handle.path, handle.state) == ("a", "supervisor/a", "ready")
        assert (handle.value, handle.attempt) == ("a1", 1)
        assert await handle.wait_ready() == "a1"
        assert len(events_of(supervisor, ChildAdded)) == 1


@scenario
async def test_start_child_of_one_that_has_already_done_its_work() -> None:
    async with open_supervisor() as supervisor:
        for policy in ("transient", "temporary"):
            spec: ChildSpec[Any] = ChildSpec(
                policy, work, 2, "v", restart=policy, readiness="explicit"
            )
            handle = await supervisor.start_child(spec)
            assert handle.state == ("done" if policy == "transient" else "removed")
            report = await handle.wait_finished()
            assert report.exit.is_success
            assert not report.became_ready


@scenario
async def test_start_child_of_a_temporary_one_that_was_ready_and_has_crashed_since() -> None:
    async def body(child: ChildContext) -> None:
        child.ready()
        raise Boom

    async with open_supervisor() as supervisor:
        handle = await supervisor.start_child(
            ChildSpec("a", body, readiness="explicit", restart="temporary")
        )
        report = await handle.wait_finished()
        assert report.became_ready
        assert report.exit.has(Boom)


@pytest.mark.parametrize("policy", ["permanent", "transient", "temporary"])
@scenario
async def test_start_child_that_fails_raises_forgets_it_and_leaves_siblings_alone(
    policy: Any,
) -> None:
    trace = Trace()
    boom = Boom("at start")

    async def body(child: ChildContext) -> None:
        await trio.sleep(1)
        raise boom

    async with open_supervisor(
        SupervisorSpec("app", [trace.child("a")], strategy="one_for_all")
    ) as supervisor:
        with pytest.raises(ChildStartError, match="app/bad failed to start") as caught:
            await supervisor.start_child(
                ChildSpec("bad", body, readiness="explicit", restart=policy)
            )
        assert caught.value.path == "app/bad"
        assert caught.value.__cause__ is boom
        (report,) = caught.value.reports
        assert (report.attempt, report.exit.error, caught.value.exit) == (1, boom, report.exit)
        assert "bad" not in supervisor.children
        assert trace.take() == "+a"
        await supervisor.start_child(trace.child("bad"))


@scenario
async def test_start_child_that_is_never_ready_fails_by_its_timeout() -> None:
    async with open_supervisor() as supervisor:
        with pytest.raises(ChildStartError, match="not ready within 5s"):
            await supervisor.start_child(
                ChildSpec("a", forever, readiness="explicit", start_timeout=5)
            )
        assert trio.current_time() == 5
        assert len(supervisor.children) == 0


@scenario
async def test_start_child_with_retry_first_start_goes_on_waiting() -> None:
    async def body(child: ChildContext) -> None:
        if child.attempt < 3:
            raise Boom
        child.ready(child.attempt)
        await trio.sleep_forever()

    spec = ChildSpec(
        "a", body, readiness="explicit", retry_first_start=True, backoff=BackoffPolicy.delays(2)
    )
    async with open_supervisor() as supervisor:
        handle = await supervisor.start_child(spec)
        assert (handle.value, trio.current_time()) == (3, 4)


@scenario
async def test_a_cancelled_start_child_removes_the_child_again_and_waits_for_that() -> None:
    async with open_supervisor() as supervisor:
        ended: list[float] = []

        async def slow(child: ChildContext) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(2)
                ended.append(trio.current_time())

        with trio.move_on_after(1) as scope:
            await supervisor.start_child(ChildSpec("a", slow, readiness="explicit"))
        assert scope.cancelled_caught
        assert ended == [3]
        assert trio.current_time() == 3
        assert "a" not in supervisor.children
        await supervisor.start_child(ChildSpec("a", forever))


@scenario
async def test_a_start_child_that_is_cancelled_from_the_start_leaves_nothing_behind() -> None:
    async with open_supervisor() as supervisor:
        with trio.CancelScope() as scope:
            scope.cancel()
            await supervisor.start_child(ChildSpec("a", forever))
        assert scope.cancelled_caught
        await until_blocked()
        assert "a" not in supervisor.children
        assert len(events_of(supervisor, ChildStarted)) == len(events_of(supervisor, ChildExited))


@pytest.mark.parametrize("fails_after", range(5))
@pytest.mark.parametrize("cancelled_after", range(8))
@scenario
async def test_a_start_child_that_is_cancelled_while_the_child_fails_harms_nobody(
    fails_after: int, cancelled_after: int
) -> None:
    async def turns(count: int) -> None:
        for _ in range(count):
            await trio.lowlevel.checkpoint()

    async def failing(child: ChildContext) -> None:
        await turns(fails_after)
        raise Boom("no")

    async def cancel(scope: trio.CancelScope) -> None:
        await turns(cancelled_after)
        scope.cancel()

    async with open_supervisor() as supervisor, trio.open_nursery() as nursery:
        with trio.CancelScope() as scope, suppress(ChildStartError):
            nursery.start_soon(cancel, scope)
            await supervisor.start_child(ChildSpec("a", failing, readiness="explicit"))
        await until_blocked()
        assert "a" not in supervisor.children
        await supervisor.start_child(ChildSpec("a", forever))


@scenario
async def test_a_cancelled_start_child_that_was_refused_harms_nobody() -> None:
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", forever)])) as supervisor:
        with trio.CancelScope() as scope:
            scope.cancel()
            await supervisor.start_child(ChildSpec("a", forever))
        assert scope.cancelled_caught
        await until_blocked()
        assert state_of(supervisor, "a") == "ready"


@scenario
async def test_other_commands_cancelled_while_waiting_leave_the_wish_standing() -> None:
    children = [ChildSpec(name, stubborn, 5) for name in "abcd"]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        for command, name in (
            (supervisor.stop_child, "a"),
            (supervisor.remove_child, "b"),
            (supervisor.restart_child, "c"),
            (supervisor.quarantine_child, "d"),
        ):
            with trio.CancelScope() as scope:
                scope.cancel()
                await command(name)
            assert scope.cancelled_caught
        await trio.sleep(6)
        assert [state_of(supervisor, name) for name in "abcd"] == [
            "stopped",
            "",
            "ready",
            "quarantined",
        ]
        assert supervisor.child("c").attempt == 2


@scenario
async def test_start_child_refuses_a_name_that_is_held_even_by_one_who_is_down() -> None:
    children = [
        ChildSpec("up", forever),
        ChildSpec("down", forever),
        ChildSpec("done", work, restart="transient"),
    ]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        await supervisor.stop_child("down")
        for name, state in (("up", "ready"), ("down", "stopped"), ("done", "done")):
            with pytest.raises(ChildAlreadyExists, match=f"app/{name} .*{state}"):
                await supervisor.start_child(ChildSpec(name, forever))


@scenario
async def test_max_children_counts_everyone_who_holds_a_name() -> None:
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", forever)], max_children=3)
    ) as supervisor:
        await supervisor.start_child(ChildSpec("b", forever))
        await supervisor.stop_child("b")
        await supervisor.start_child(ChildSpec("c", forever))
        with pytest.raises(TooManyChildren, match="max_children=3"):
            await supervisor.start_child(ChildSpec("d", forever))
        with pytest.raises(TooManyChildren):
            supervisor.start_child_soon(ChildSpec("d", forever))
        await supervisor.remove_child("b")
        await supervisor.start_child(ChildSpec("d", forever))
        assert supervisor.count_children().specs == 3


@scenario
async def test_start_child_checks_the_spec_against_its_supervisor() -> None:
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", forever)])) as supervisor:
        for spec in (
            ChildSpec("b", forever, requires=["nobody"]),
            ChildSpec("b", forever, restart="transient", significant=True),
        ):
            with pytest.raises(SpecError):
                await supervisor.start_child(spec)
            with pytest.raises(SpecError):
                supervisor.start_child_soon(spec)
        with pytest.raises(SpecError, match="ChildSpec or SupervisorSpec"):
            await supervisor.start_child(forever)  # type: ignore[call-overload]
        assert [c.name for c in supervisor.state().children] == ["a"]


@scenario
async def test_a_child_started_later_waits_for_what_it_requires() -> None:
    trace = Trace()
    async with open_supervisor(SupervisorSpec("app", [trace.child("db")])) as supervisor:
        await supervisor.stop_child("db")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.start_child, trace.child("web", requires=["db"]))
            await until_blocked()
            assert supervisor.state().child("web").waiting_for == ("db",)
            assert supervisor.child("web").waiting_for == ("db",)
            trace.take()
            await supervisor.restart_child("db")
        assert trace.take() == "+db +web"


@scenario
async def test_start_child_is_told_when_the_child_is_stopped_before_it_was_ready() -> None:
    async with open_supervisor() as supervisor:
        heard: list[object] = []
        spec = ChildSpec("a", forever, readiness="explicit", start_timeout=INF)
        for command in (
            supervisor.stop_child,
            supervisor.quarantine_child,
            supervisor.remove_child,
        ):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(outcome_of, lambda: supervisor.start_child(spec), heard)
                await until_blocked()
                await command("a")
            if "a" in supervisor.children:
                await supervisor.remove_child("a")
        assert len(heard) == 3
        for error in heard:
            assert isinstance(error, ChildNotReady), error
            assert "supervisor/a" in str(error)


@scenario
async def test_start_child_of_a_nested_supervisor_gives_its_supervisor() -> None:
    trace = Trace()
    async with open_supervisor() as supervisor:
        handle = await supervisor.start_child(SupervisorSpec("nest", [trace.child("x", 2)]))
        assert trio.current_time() == 2
        nested = handle.value
        assert isinstance(nested, Supervisor)
        assert nested.path == "supervisor/nest"
        assert nested.child("x").value == "x1"


VAR: ContextVar[str] = ContextVar("VAR", default="unset")


@scenario
async def test_a_child_runs_in_the_context_in_which_it_was_declared_running() -> None:
    seen: list[tuple[str, str]] = []

    async def body(child: ChildContext) -> None:
        seen.append((child.name, VAR.get()))
        VAR.set("changed by an attempt")
        await trio.sleep_forever()

    VAR.set("at open")
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("static", body)])) as supervisor:
        VAR.set("at start_child")
        await supervisor.start_child(ChildSpec("later", body))
        VAR.set("at start_child_soon")
        supervisor.start_child_soon(ChildSpec("soon", body))
        VAR.set("afterwards")
        await until_blocked()
        for name in ("static", "later", "soon"):
            await supervisor.restart_child(name)
            await until_blocked()
    for name, value in (
        ("static", "at open"),
        ("later", "at start_child"),
        ("soon", "at start_child_soon"),
    ):
        assert seen.count((name, value)) == 2


# ---------------------------------------------------------------- start_child_soon


@scenario
async def test_start_child_soon_returns_at_once_and_a_failure_is_an_ordinary_one() -> None:
    async def body(child: ChildContext) -> None:
        if child.attempt == 1:
            raise Boom
        child.ready()
        await trio.sleep_forever()

    async with open_supervisor() as supervisor:
        supervisor.start_child_soon(
            ChildSpec("a", body, readiness="explicit", backoff=BackoffPolicy.delays(3))
        )
        assert "a" not in supervisor.children
        await until_blocked()
        assert state_of(supervisor, "a") == "backing_off"
        await trio.sleep(4)
        assert state_of(supervisor, "a") == "ready"


@scenario
async def test_start_child_soon_refuses_at_once_what_it_can() -> None:
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", forever)])) as supervisor:
        with pytest.raises(ChildAlreadyExists):
            supervisor.start_child_soon(ChildSpec("a", forever))
        supervisor.request_shutdown()
        await until_blocked()
        with pytest.raises(SupervisorClosed):
            supervisor.start_child_soon(ChildSpec("b", forever))


@pytest.mark.parametrize(
    ("children", "why"),
    [
        ([], "app has ended"),
        ([ChildSpec("slow", polite, 1, grace=2)], "app is stopping: cannot start a"),
    ],
)
@scenario
async def test_start_child_soon_that_is_refused_later_is_an_error_in_the_log(
    children: list[ChildSpec[Any]], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A shutdown that was requested right before is known only when it is handled."""
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        supervisor.request_shutdown("enough")
        supervisor.start_child_soon(ChildSpec("a", forever))
        await supervisor.wait_finished()
    assert "a" not in supervisor.children
    (record,) = [r for r in caplog.records if "start_child_soon" in r.getMessage()]
    assert record.levelname == "ERROR"
    assert record.getMessage() == f"app: start_child_soon() was refused: {why}"


@scenario
async def test_start_child_soon_twice_for_one_name_says_so_at_once() -> None:
    async with open_supervisor() as supervisor:
        supervisor.start_child_soon(ChildSpec("a", forever))
        with pytest.raises(ChildAlreadyExists, match="supervisor/a is being added already"):
            supervisor.start_child_soon(ChildSpec("a", forever))
        await until_blocked()
        assert list(supervisor.children) == ["a"]
        assert len(events_of(supervisor, ChildAdded)) == 1


# ---------------------------------------------------------------- when the supervisor closes


@scenario
async def test_every_waiter_gets_supervisor_closed() -> None:
    heard: list[object] = []
    never = ChildSpec("never", forever, readiness="explicit", start_timeout=INF)
    children = [
        ChildSpec("held", forever),
        ChildSpec("stuck", stubborn, 100),
        ChildSpec("later", ready_forever, readiness="explicit", backoff=HOUR),
    ]

    async def restartable(child: ChildContext) -> None:
        if child.attempt == 1:
            child.ready()
        await trio.sleep_forever()

    children.append(
        ChildSpec("slow", restartable, readiness="explicit", start_timeout=INF, backoff=AT_ONCE)
    )
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        await supervisor.stop_child("held")
        waits: list[Callable[[], Awaitable[object]]] = [
            lambda: supervisor.start_child(never),
            lambda: supervisor.start_child(ChildSpec("dependent", forever, requires=["held"])),
            lambda: supervisor.restart_child("slow"),
            lambda: supervisor.child("held").wait_state("ready"),
            lambda: supervisor.child("stuck").wait_state("backing_off"),
            lambda: supervisor.child("slow").wait_ready(),
        ]
        async with trio.open_nursery() as nursery:
            for wait in waits:
                nursery.start_soon(outcome_of, wait, heard)
                await until_blocked()
            assert heard == []
            supervisor.request_shutdown("closing")
        assert len(heard) == len(waits)
        for error in heard:
            assert isinstance(error, SupervisorClosed), error


@scenario
async def test_after_the_end_every_command_is_refused_and_every_wait_answers() -> None:
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", forever), ChildSpec("b", forever)])
    ) as supervisor:
        handle = supervisor.child("a")
    for command in (
        lambda: supervisor.start_child(ChildSpec("c", forever)),
        lambda: supervisor.stop_child("a"),
        lambda: supervisor.restart_child("a"),
        lambda: supervisor.remove_child("a"),
        lambda: supervisor.quarantine_child("a"),
        handle.stop,
        handle.restart,
        handle.wait_ready,
        lambda: handle.wait_state("ready"),
    ):
        with pytest.raises(SupervisorClosed):
            await command()
    with pytest.raises(SupervisorClosed):
        supervisor.start_child_soon(ChildSpec("c", forever))
    supervisor.request_shutdown()
    report = await supervisor.shutdown()
    assert report is await supervisor.wait_finished()
    assert (await handle.wait_finished()).exit == Aborted("the block has ended")
    assert handle.state == "stopped"
    assert supervisor.state().state == "finished"


@scenario
async def test_commands_that_start_something_are_refused_while_the_tree_is_stopping() -> None:
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", stubborn, 5), ChildSpec("b", stubborn, 5)])
    ) as supervisor:
        supervisor.request_shutdown()
        await until_blocked()
        for command in (
            lambda: supervisor.start_child(ChildSpec("c", forever)),
            lambda: supervisor.restart_child("a"),
        ):
            with pytest.raises(SupervisorClosed, match="app is stopping"):
                await command()
        await supervisor.stop_child("b")  # what is wanted anyway is no error
        assert trio.current_time() == 5
    assert len(events_of(supervisor, ChildStarted)) == 2


@scenario
async def test_a_command_that_is_posted_at_any_moment_of_the_end_is_answered() -> None:
    """Between any two steps, also in the very batch in which the last child is gone."""
    answers: list[str] = []
    for step in range(1, 40):
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", forever)])) as supervisor:
            replies: list[Any] = []

            def post(supervisor: Supervisor = supervisor, replies: list[Any] = replies) -> None:
                replies.append(supervisor._shell.command(o.RestartChild("a")))

            this_watch().at_step(step, post)
        for _ in range(40):
            await trio.lowlevel.checkpoint()
        (reply,) = replies
        assert reply.is_answered
        assert isinstance(reply.error, SupervisorClosed)
        answers.append(str(reply.error))
    assert len(set(answers)) > 1


@scenario
async def test_an_order_for_an_attempt_that_is_gone_does_not_hit_the_next_one() -> None:
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", forever)])) as supervisor:
        await supervisor.restart_child("a")
        shell, now = supervisor._shell, trio.current_time()
        orders: list[Any] = [
            o.RequestStop("a", 1, "late", INF, None),
            o.StopAtOnce("a", 1, "late", INF, None),
            o.CancelAttempt("a", 1, "late"),
        ]
        shell.carry_out(orders, now)
        await trio.sleep(1)
        assert (state_of(supervisor, "a"), supervisor.child("a").attempt) == ("ready", 2)


# ---------------------------------------------------------------- words of old attempts


@scenario
async def test_late_words_of_an_old_attempt_are_ignored() -> None:
    contexts: list[ChildContext] = []

    async def body(child: ChildContext) -> None:
        contexts.append(child)
        if child.attempt == 1:
            child.ready("old")
        await trio.sleep_forever()

    spec = ChildSpec("a", body, readiness="explicit", start_timeout=20, stale_after=50)
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        with trio.CancelScope() as scope:
            scope.cancel()
            await supervisor.restart_child("a")
        await trio.sleep(1)
        old = contexts[0]
        last = supervisor.journal.last_sequence
        old.ready("stale")
        old.not_ready("stale")
        old.heartbeat("stale")
        old.extend_start_timeout(1000)
        with old.busy(1000):
            pass
        await until_blocked()
        assert supervisor.journal.last_sequence == last
        handle = supervisor.child("a")
        assert (handle.state, handle.attempt, handle.last_heartbeat) == ("starting", 2, None)
        with pytest.raises(ChildNotReady):
            _ = handle.value
        contexts[1].ready("new")
        await until_blocked()
        assert handle.value == "new"
        old.not_ready("stale")
        await until_blocked()
        assert handle.state == "ready"


@scenario
async def test_ready_after_the_stop_request_changes_nothing() -> None:
    async def body(child: ChildContext) -> None:
        await child.wait_stop_requested()
        child.ready("too late")
        child.heartbeat()
        await trio.sleep(3)

    spec = ChildSpec("a", body, readiness="explicit", grace=5)
    async with open_supervisor(SupervisorSpec("app", [spec]), wait_ready=False) as supervisor:
        await until_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.stop_child, "a")
            await trio.sleep(1)
            assert state_of(supervisor, "a") == "stopping"
            with pytest.raises(ChildNotReady):
                _ = supervisor.child("a").value
        assert events_of(supervisor, ChildReady) == []
        assert state_of(supervisor, "a") == "stopped"


# ---------------------------------------------------------------- from decide, from subscribers


@scenario
async def test_decide_may_give_commands() -> None:
    asked: list[str] = []
    supervisors: list[Supervisor] = []

    def decide(report: ChildRunReport) -> None:
        (supervisor,) = supervisors
        asked.append(supervisor.state().child("a").state)
        supervisor.start_child_soon(ChildSpec("rescue", forever))

    spec = ChildSpec("a", crash_after, 1, 1, decide=decide, backoff=AT_ONCE)
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        supervisors.append(supervisor)
        await trio.sleep(2)
        assert asked == ["ready"]  # the exit has not been dealt with yet
        assert (state_of(supervisor, "a"), state_of(supervisor, "rescue")) == ("ready", "ready")
        assert [e.source for e in events_of(supervisor, ExitJudged)] == ["table"]


@scenario
async def test_decide_may_shut_everything_down() -> None:
    supervisors: list[Supervisor] = []
    spec = ChildSpec(
        "a",
        crash_after,
        1,
        decide=lambda report: supervisors[0].request_shutdown("enough"),
        backoff=AT_ONCE,
    )
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        supervisors.append(supervisor)
        assert (await supervisor.wait_finished()).reason == "enough"


@pytest.mark.parametrize("answer", ["restart", 1, ShutdownTree])
@scenario
async def test_a_decision_that_is_none_leaves_it_to_the_table_and_says_so(answer: Any) -> None:
    spec = ChildSpec("a", crash_after, 1, 1, decide=lambda report: answer, backoff=AT_ONCE)
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        await trio.sleep(2)
        (verdict,) = events_of(supervisor, ExitJudged)
        assert (verdict.action, verdict.source) == ("restart", "table")
        assert "TypeError: decide returned" in verdict.error


@scenario
async def test_subscribers_may_give_commands() -> None:
    async def operator(supervisor: Supervisor) -> None:
        async with supervisor.subscribe() as events:
            async for event in events:
                if isinstance(event, ExitJudged) and event.path == "app/bad":
                    await supervisor.quarantine_child("bad", reason="by the operator")
                    supervisor.start_child_soon(ChildSpec("instead", forever))
                    return

    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("bad", crash_after, 1, backoff=HOUR)])
    ) as supervisor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(operator, supervisor)
        await until_blocked()
        assert state_of(supervisor, "bad") == "quarantined"
        assert state_of(supervisor, "instead") == "ready"
        assert trio.current_time() == 1


# ---------------------------------------------------------------- handles


@scenario
async def test_a_handle_follows_one_life() -> None:
    async with open_supervisor() as supervisor:
        spec: ChildSpec[Any] = ChildSpec(
            "a", ready_forever, "v", readiness="explicit", backoff=AT_ONCE
        )
        handle = await supervisor.start_child(spec)
        assert supervisor.child("a") is handle
        assert handle.spec is spec
        await handle.restart()
        assert (handle.attempt, handle.generation, handle.value) == (2, 1, "v")
        await handle.stop("enough")
        assert (handle.state, handle.waiting_for) == ("stopped", ())
        with pytest.raises(ChildNotReady):
            _ = handle.value
        with pytest.raises(ChildNotReady, match="is stopped"):
            await handle.wait_ready()
        assert (await handle.wait_finished()).exit == Aborted("enough")
        assert [report.attempt for report in handle.reports] == [1, 2]
        await supervisor.remove_child("a")
        for command in (handle.stop, handle.restart):
            with pytest.raises(ChildNotFound, match="supervisor/a was removed"):
                await command()
        with pytest.raises(ChildNotReady, match="is removed"):
            await handle.wait_ready()
        with pytest.raises(ChildNotFound):
            await handle.wait_state("ready")
        assert await handle.wait_state("removed") == "removed"
        assert (await handle.wait_finished()).attempt == 2
        with pytest.raises(SpecError, match="wait_state"):
            await handle.wait_state()
        with pytest.raises(SpecError, match="at_ease"):
            await handle.wait_state("at_ease")
        with pytest.raises(TypeError):
            ChildHandle()
        with pytest.raises(TypeError):
            Supervisor()


@scenario
async def test_waiting_for_a_removed_child_does_not_disturb_those_who_wait_for_its_successor() -> (
    None
):
    trace = Trace()
    heard: list[object] = []

    async with open_supervisor() as supervisor:
        old = await supervisor.start_child(trace.child("a"))
        await supervisor.remove_child("a")
        async with trio.open_nursery() as nursery:
            slow = trace.child("a", starting=2)
            nursery.start_soon(outcome_of, lambda: supervisor.start_child(slow), heard)
            await until_blocked()
            await old.wait_finished()
            with pytest.raises(ChildNotFound):
                await old.wait_state("ready")
        assert heard == [supervisor.child("a")]
        assert heard != [old]


@scenario
async def test_wait_ready_of_a_handle_keeps_waiting_over_restarts() -> None:
    async def body(child: ChildContext) -> None:
        if child.attempt in (2, 3):
            await trio.sleep(1)
            raise Boom
        child.ready(child.attempt)
        if child.attempt == 1:
            raise Boom
        await trio.sleep_forever()

    spec = ChildSpec("a", body, readiness="explicit", backoff=BackoffPolicy.delays(2))
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        await until_blocked()
        assert await supervisor.child("a").wait_ready() == 4
        assert trio.current_time() == 2 + 1 + 2 + 1 + 2


@scenario
async def test_wait_ready_of_a_handle_is_not_content_with_a_moment() -> None:
    async def body(child: ChildContext) -> None:
        child.ready("first")
        child.not_ready()
        await trio.sleep(5)
        child.ready("second")
        await trio.sleep_forever()

    spec = ChildSpec("a", body, readiness="explicit")
    async with open_supervisor(SupervisorSpec("app", [spec]), wait_ready=False) as supervisor:
        assert await supervisor.child("a").wait_ready() == "second"
        assert trio.current_time() == 5


@scenario
async def test_wait_finished_of_a_child_that_never_ran() -> None:
    slow = ChildSpec("slow", forever, readiness="explicit", start_timeout=INF)
    spec = SupervisorSpec("app", [slow, ChildSpec("a", forever)])
    async with open_supervisor(spec, wait_ready=False) as supervisor:
        await until_blocked()
        await supervisor.stop_child("a")
        with pytest.raises(SupervisorError, match="app/a is stopped and has never"):
            await supervisor.child("a").wait_finished()
        assert supervisor.child("a").last_report is None
        assert supervisor.child("a").reports == ()


@scenario
async def test_only_the_newest_report_is_live_and_eight_are_kept() -> None:
    async with open_supervisor(
        SupervisorSpec(
            "app", [ChildSpec("a", crash_after, 1, 12, backoff=AT_ONCE, restart_limit=None)]
        )
    ) as supervisor:
        await trio.sleep(20)
        reports = supervisor.child("a").reports
        assert [report.attempt for report in reports] == list(range(5, 13))
        assert [type(report.exit.error).__name__ for report in reports] == ["PastError"] * 7 + [
            "Boom"
        ]
        assert "a 7" in str(reports[2].exit.error)
        assert reports[-1] == supervisor.child("a").last_report


@scenario
async def test_removed_children_leave_nothing_in_the_shell() -> None:
    async with open_supervisor() as supervisor:
        shell = supervisor._shell
        for number in range(300):
            handle = await supervisor.start_child(
                ChildSpec(f"s-{number}", work, restart="temporary", readiness="explicit")
            )
            await handle.wait_finished()
        assert len(shell.slots) == len(shell.watched) == 0
        assert len(shell.machine.children) == 0
        assert len(shell.machine.timers) < 200


@scenario
async def test_count_children() -> None:
    children = [
        ChildSpec("a", forever),
        ChildSpec("b", polite, grace=1),
        ChildSpec("c", forever, readiness="explicit", start_timeout=INF),
    ]
    spec = SupervisorSpec("app", [SupervisorSpec("nest"), *children])
    async with open_supervisor(spec, wait_ready=False) as supervisor:
        await until_blocked()
        await supervisor.stop_child("a")
        counts = supervisor.count_children()
        assert (counts.specs, counts.active, counts.ready) == (4, 3, 2)
        assert (counts.supervisors, counts.workers) == (1, 3)


@scenario
async def test_a_handle_says_who_it_is() -> None:
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", forever)])) as supervisor:
        assert repr(supervisor.child("a")) == "<ChildHandle app/a ready attempt=1>"
    with pytest.raises(TypeError, match="cannot be made"):
        ChildHandle()


@pytest.mark.parametrize("soon", [False, True])
@pytest.mark.parametrize("reason", ["", "a client has connected"])
@scenario
async def test_the_reason_of_an_addition_is_recorded_and_told(soon: bool, reason: str) -> None:
    async with open_supervisor(SupervisorSpec("app")) as supervisor:
        spec = ChildSpec("s-1", forever)
        if soon:
            supervisor.start_child_soon(spec, reason=reason)
            await trio.sleep(1)
        else:
            await supervisor.start_child(spec, reason=reason)
        (added,) = events_of(supervisor, ChildAdded)
        assert added.reason == reason
        assert event_from_dict(added.to_dict()) == added
        journal = supervisor.journal
        told = [line.text for line in explain("app/s-1", journal.base, journal.events)]
        assert any("added to app" in line and line.endswith(f"{reason}.") for line in told), told
