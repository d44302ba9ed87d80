"""Probes: busy is not dead, ready says which child is not, and both answer to the last moment."""

from __future__ import annotations

import http.client
import threading
import time
from typing import TYPE_CHECKING

import pytest
import trio
from helpers.http_client import child, connect, get, open_both, port_of
from helpers.support import run_real

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    RestartLimit,
    SpecError,
    SupervisorSpec,
    TaskFailure,
    open_supervisor,
)
from trio_supervisor.http import open_http
from trio_supervisor.http._watchdog import LoopStamp

if TYPE_CHECKING:
    from trio_supervisor.http import HttpServer


async def fail(child: ChildContext) -> None:
    raise TaskFailure("connection refused")


def test_readiness_says_which_child_is_not_ready_and_why() -> None:
    slow = BackoffPolicy(initial=60, maximum=60)
    failing = ChildSpec("feed", fail, readiness="explicit", retry_first_start=True, backoff=slow)
    tree = SupervisorSpec("app", [child("store"), failing, child("web", requires=["feed"])])

    async def scenario() -> None:
        async with open_both(tree, wait_ready=False) as (server, supervisor):
            await supervisor.child("feed").wait_state("backing_off")
            answer = await get(server, "/readyz")
            assert answer.status == 503
            first, feed, web = answer.body.splitlines()
            assert first == "app is starting"
            assert feed.startswith("app/feed backing off next start in ")
            assert feed.endswith("s (1/10 in 120s): failed: connection refused (error)")
            assert web == "app/web waiting for feed"
            assert (await get(server, "/startupz")).status == 503
            assert (await get(server, "/livez")).status == 200  # no dependency is part of it

    run_real(scenario)


def test_a_child_that_is_taken_down_makes_the_tree_unready_and_startup_stays() -> None:
    async def scenario() -> None:
        async with open_both(SupervisorSpec("app", [child("a"), child("b")])) as (server, app):
            assert (await get(server, "/readyz")).status == 200
            await app.stop_child("b", reason="maintenance")
            answer = await get(server, "/readyz")
            assert (answer.status, answer.body) == (503, "app/b stopped: maintenance\n")
            assert (await get(server, "/startupz")).status == 200
            await app.restart_child("b")
            assert (await get(server, "/readyz")).status == 200

    run_real(scenario)


def test_optional_children_and_children_added_at_run_time_do_not_count() -> None:
    tree = SupervisorSpec("app", [child("a"), child("b"), SupervisorSpec("pool")])

    async def hang(child: ChildContext) -> None:
        await trio.sleep_forever()

    async def scenario() -> None:
        async with open_both(tree, optional=["app/b"]) as (server, app):
            await app.stop_child("b")
            spec = ChildSpec("c-1", hang, readiness="explicit", restart="temporary")
            app.child("pool").value.start_child_soon(spec)
            await trio.sleep(0.05)
            assert app.state().child("pool/c-1").state == "starting"
            assert (await get(server, "/readyz")).status == 200

    run_real(scenario)


def test_a_child_of_a_nested_supervisor_counts() -> None:
    tree = SupervisorSpec("app", [SupervisorSpec("inner", [child("a")])])

    async def scenario() -> None:
        async with open_both(tree) as (server, app):
            await app.child("inner").value.quarantine_child("a", reason="broken")
            assert (await get(server, "/readyz")).body == "app/inner/a quarantined: broken\n"

    run_real(scenario)


def test_it_answers_before_the_tree_is_opened_and_until_it_has_ended() -> None:
    async def stop_slowly(child: ChildContext) -> None:
        child.ready()
        await child.wait_stop_requested()
        await trio.sleep(0.3)

    tree = SupervisorSpec("app", [ChildSpec("a", stop_slowly, readiness="explicit", grace=5)])

    async def scenario() -> None:
        async with open_http(address=0) as server:
            early = await get(server, "/readyz")
            assert (early.status, early.body) == (503, "the tree has not been opened yet\n")
            assert (await get(server, "/livez")).status == 200
            assert (await get(server, "/api/child?path=a")).status == 503
            assert (await get(server, "/api/children")).status == 503
            async with open_supervisor(tree) as supervisor:
                server.attach(supervisor)
                assert (await get(server, "/readyz")).status == 200
                server.begin_drain("SIGTERM")
                drained = await get(server, "/readyz")
                assert (drained.status, drained.body) == (503, "draining: SIGTERM\n")
                assert supervisor.child("a").state == "ready"
                supervisor.request_shutdown("SIGTERM")
                await trio.sleep(0.1)
                assert (await get(server, "/readyz")).status == 503
                assert (await get(server, "/livez")).status == 200
            late = await get(server, "/readyz")
            assert late.status == 503
            assert (await get(server, "/startupz")).status == 200

    run_real(scenario)


def test_a_stop_is_said_with_its_reason() -> None:
    async def scenario() -> None:
        async with open_both(SupervisorSpec("app", [child("a")])) as (server, app):
            await app.shutdown("that was all")
            assert (await get(server, "/readyz")).body.splitlines()[0] == (
                "app is finished: that was all"
            )

    run_real(scenario)


def test_a_child_that_cannot_be_ended_makes_the_process_count_as_stuck() -> None:
    release = trio.Event()

    async def ignore(child: ChildContext) -> None:
        child.ready()
        with trio.CancelScope(shield=True):
            await release.wait()

    spec = ChildSpec("a", ignore, readiness="explicit", grace=0)
    tree = SupervisorSpec("app", [spec], report_after=0.1)

    async def scenario() -> None:
        async with open_both(tree, live_after=0.5) as (server, app), trio.open_nursery() as nursery:
            nursery.start_soon(app.stop_child, "a")
            await trio.sleep(0.3)
            assert app.child("a").unresponsive
            assert (await get(server, "/livez")).status == 200  # not for long enough
            await trio.sleep(0.5)
            answer = await get(server, "/livez")
            assert answer.status == 503
            assert answer.body.startswith("app/a unresponsive for ")
            release.set()
        assert True

    run_real(scenario)


# ---------------------------------------------------------------- a loop that does not turn


def ask(server_port: int, path: str, found: list[tuple[int, str, float]], after: float) -> None:
    """In a thread: ask once, and note status, body and how long the answer took."""
    time.sleep(after)
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", server_port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    found.append((answer.status, answer.read().decode(), time.monotonic() - began))
    connection.close()


def while_blocked(
    seconds: float, live_after: float, *asked: tuple[str, float]
) -> list[tuple[int, str, float]]:
    """Block the event loop, and ask from outside meanwhile."""
    found: list[list[tuple[int, str, float]]] = [[] for _ in asked]

    async def scenario() -> None:
        tree = SupervisorSpec("app", [child("a")])
        async with open_both(tree, live_after=live_after) as (server, _):
            await trio.sleep(0.3)
            threads = [
                threading.Thread(target=ask, args=(port_of(server), path, into, after))
                for (path, after), into in zip(asked, found, strict=True)
            ]
            for thread in threads:
                thread.start()
            time.sleep(seconds)  # noqa: ASYNC251 - this is what a body must not do
            for thread in threads:
                await trio.to_thread.run_sync(thread.join)
            assert (await get(server, "/livez")).body == "alive\n"

    run_real(scenario)
    return [each[0] for each in found]


def test_a_blocked_loop_is_alive_for_a_while_and_the_thread_says_so() -> None:
    early, late = while_blocked(2.5, 30, ("/livez", 0.0), ("/livez", 1.8))
    assert early[0] == 200
    assert early[2] < 1
    assert late[0] == 200
    assert late[1].startswith("alive; the event loop has not turned for ")
    assert late[2] < 0.5


def test_a_loop_that_is_blocked_for_too_long_is_not_alive() -> None:
    [answer] = while_blocked(2, 0.8, ("/livez", 1.5))
    assert answer[0] == 503
    assert answer[1].startswith("the event loop has not turned for ")
    assert answer[2] < 0.5


def test_other_requests_are_answered_when_the_loop_turns_again() -> None:
    ready, page = while_blocked(1.5, 30, ("/readyz", 0.8), ("/", 0.8))
    assert (ready[0], ready[1]) == (200, "ready\n")
    assert ready[2] > 0.4
    assert page[0] == 200


def test_clients_that_say_nothing_do_not_keep_the_thread_from_answering() -> None:
    found: list[tuple[int, str, float]] = []

    async def scenario() -> None:
        async with open_both(SupervisorSpec("app", [child("a")])) as (server, _):
            await trio.sleep(0.3)
            thread = threading.Thread(target=_storm, args=(server, found))
            thread.start()
            time.sleep(2.5)  # noqa: ASYNC251
            await trio.to_thread.run_sync(thread.join)

    def _storm(server: HttpServer, into: list[tuple[int, str, float]]) -> None:
        time.sleep(0.8)
        import socket

        silent = [socket.create_connection(("127.0.0.1", port_of(server))) for _ in range(100)]
        for each in silent[:50]:
            each.sendall(b"GET /livez ")
        ask(port_of(server), "/livez", into, 0.1)
        for each in silent:
            each.close()

    run_real(scenario)
    [(status, _, took)] = found
    assert status == 200
    assert took < 1


def test_time_in_which_the_whole_process_stood_still_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stamp = LoopStamp()
    for _ in range(10):
        now += 0.1
        stamp.tick()
    assert stamp.blocked_for() == pytest.approx(1.0)
    now += 3600  # a laptop that slept, a SIGSTOP
    stamp.tick()
    assert stamp.blocked_for() == pytest.approx(1.5)


def test_a_monitor_of_the_caller_is_asked_instead() -> None:
    class Monitor:
        def blocked_for(self) -> float:
            return 1000.0

    async def scenario() -> None:
        tree = SupervisorSpec("app", [child("a")])
        async with open_both(tree, monitor=Monitor()) as (server, _):
            await trio.sleep(0.3)  # until the thread accepts connections
            statuses = {(await get(server, "/livez")).status for _ in range(20)}
            assert statuses <= {200, 503}  # Trio, whose loop turns, accepts some of them
            async with await connect(server):
                pass

    run_real(scenario)


@pytest.mark.parametrize("live_after", [0, -1, "long"])
def test_a_wrong_threshold_is_refused(live_after: object) -> None:
    async def scenario() -> None:
        with pytest.raises(SpecError, match="live_after"):
            async with open_http(address=0, live_after=live_after):  # type: ignore[arg-type]
                pass

    run_real(scenario)


def test_a_tree_that_gives_up_is_not_ready() -> None:
    spec = ChildSpec("a", fail, restart_limit=RestartLimit(0, within=1), on_limit="quarantine")

    async def scenario() -> None:
        async with open_both(SupervisorSpec("app", [spec])) as (server, app):
            await app.child("a").wait_state("quarantined")
            assert "app/a quarantined" in (await get(server, "/readyz")).body

    run_real(scenario)
