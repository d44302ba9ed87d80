"""What the dashboard is sent: bounded, complete, and text whatever a child is called."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.http_client import child, connect, get, open_both
from helpers.support import run_real, run_virtual

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    SupervisorSpec,
    open_supervisor,
    plain,
)
from trio_supervisor.children import accepting
from trio_supervisor.http import _stream
from trio_supervisor.http._stream import MOST_EVENTS
from trio_supervisor.http._views import MOST_SHOWN, children_page, overview

if TYPE_CHECKING:
    from trio_supervisor.http import HttpServer

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e"


class Messages:
    """The messages of one event stream."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._pending = b""

    async def next(self) -> dict[str, Any]:
        with trio.fail_after(10):
            while True:
                block, found, rest = self._pending.partition(b"\n\n")
                if found:
                    self._pending = rest
                    for line in block.split(b"\n"):
                        if line.startswith(b"data: "):
                            message: dict[str, Any] = json.loads(line[6:])
                            return message
                else:
                    self._pending += await self._stream.receive_some()


async def watch(server: HttpServer, since: int | None = None) -> tuple[trio.SocketStream, Messages]:
    stream = await connect(server)
    resume = "" if since is None else f"Last-Event-ID: {since}\r\n"
    # As HTTP/1.0, so that the body comes without chunks.
    await stream.send_all(f"GET /api/events HTTP/1.0\r\nHost: localhost\r\n{resume}\r\n".encode())
    return stream, Messages(stream)


def test_the_stream_begins_with_the_tree_and_goes_on_with_what_changes() -> None:
    async def scenario() -> None:
        async with open_both(SupervisorSpec("app", [child("a"), child("b")])) as (server, app):
            stream, messages = await watch(server)
            async with stream:
                first = await messages.next()
                assert first["tree"]["path"] == "app"
                assert [node["path"] for node in first["set"]] == ["app", "app/a", "app/b"]
                assert first["sequence"] == app.journal.last_sequence == len(first["events"])
                await app.stop_child("b", reason="maintenance")
                second = await messages.next()
                assert "tree" not in second
                assert {node["path"] for node in second["set"]} == {"app", "app/b"}
                assert second["sequence"] > first["sequence"]
                assert [e["sequence"] for e in second["events"]] == list(
                    range(first["sequence"] + 1, second["sequence"] + 1)
                )
                await app.remove_child("b")
                third = await messages.next()
                assert third["gone"] == ["app/b"]

    run_real(scenario)


def test_a_stream_resumes_after_the_last_event_that_was_seen() -> None:
    async def scenario() -> None:
        async with open_both(SupervisorSpec("app", [child("a")])) as (server, app):
            seen = app.journal.last_sequence
            await app.stop_child("a")
            stream, messages = await watch(server, since=seen)
            async with stream:
                message = await messages.next()
                assert message["events"][0]["sequence"] == seen + 1
                assert message["lost"] == 0
            stream, messages = await watch(server, since=10**9)  # of another process
            async with stream:
                assert (await messages.next())["events"][0]["sequence"] == 1

    run_real(scenario)


def test_a_burst_is_cut_and_the_page_is_told_how_much_is_missing() -> None:
    async def scenario() -> None:
        async with open_both(SupervisorSpec("app", [child("a")])) as (server, app):
            stream, messages = await watch(server)
            async with stream:
                seen = (await messages.next())["sequence"]
                for _ in range(100):
                    await app.restart_child("a")
                total = missing = 0
                while seen < app.journal.last_sequence:
                    message = await messages.next()
                    assert len(message["events"]) <= MOST_EVENTS
                    total += len(message["events"]) + message["lost"]
                    missing += message["lost"]
                    assert message["sequence"] == seen + len(message["events"]) + message["lost"]
                    seen = message["sequence"]
                assert total >= 400

    run_real(scenario)


def test_the_stop_of_a_tree_that_is_seldom_looked_at_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_stream, "SHARE", 1e-9)  # as if looking at the tree took for ever

    async def scenario() -> None:
        async with open_both(SupervisorSpec("app", [child("a")])) as (server, app):
            stream, messages = await watch(server)
            async with stream:
                await messages.next()
                app.request_shutdown("SIGTERM")
                told = await messages.next()
                assert told["set"][0]["sup"]["state"] in {"stopping", "finished"}

    run_real(scenario)


def test_failures_are_told_until_the_supervisor_forgets_them() -> None:
    gate = trio.Event()

    async def feed(child: ChildContext) -> None:
        child.ready()
        if child.attempt <= 2:
            await trio.sleep(0.01)
            raise OSError("no route")
        if child.attempt == 3:
            await gate.wait()
        else:
            await trio.sleep_forever()

    hasty = BackoffPolicy.delays(0, reset_after=60)
    specs = [ChildSpec(f"c-{number}", plain(trio.sleep_forever)) for number in range(150)]
    spec = ChildSpec("feed", feed, readiness="explicit", backoff=hasty)

    async def scenario() -> None:
        async with open_supervisor(SupervisorSpec("app", [])) as app:
            for each in [*specs, spec]:
                await app.start_child(each)
            began = trio.current_time()
            await trio.sleep(0.1)
            assert app.child("feed").attempt == 3
            # It is ready, and listed all the same although the pool is large.
            node = overview(app)["app/feed"]
            assert (node["state"], node["failures"], node["again"]) == ("ready", 2, 2)
            assert node["failing"] == pytest.approx(began + 0.01, abs=0.005)
            assert node["settles"] == app.child("feed")._slot.life.ready_at + 60
            await trio.sleep(59)
            assert overview(app)["app/feed"]["failures"] == 2
            await trio.sleep(2)
            node = children_page(app, {"q": "feed"})["children"][0]
            assert not {"failures", "failing", "again", "settles"} & set(node)
            gate.set()  # ends, and is started again: no failure
            await trio.sleep(0.1)
            assert app.child("feed").attempt == 4
            node = overview(app)["app/feed"]
            assert node["again"] == 1
            assert "failures" not in node
            app.request_shutdown("that was all")

    run_virtual(scenario)


def test_a_large_pool_is_sent_as_counts_with_those_that_are_not_well() -> None:
    tree = SupervisorSpec("app", [child("store"), SupervisorSpec("pool")])

    async def scenario() -> None:
        async with open_both(tree) as (server, app):
            pool = app.child("pool").value
            for number in range(500):
                pool.start_child_soon(ChildSpec(f"c-{number}", plain(trio.sleep_forever)))
            await pool.start_child(child("last"))
            await pool.stop_child("c-7")
            nodes = overview(app)
            assert len(nodes) <= 3 + MOST_SHOWN
            assert nodes["app/pool"]["sup"]["total"] == 501
            assert nodes["app/pool"]["sup"]["hidden"] == 500
            assert nodes["app/pool"]["sup"]["counts"] == {"ready": 500, "stopped": 1}
            assert nodes["app/pool/c-7"]["state"] == "stopped"
            page = json.loads((await get(server, "/api/children?path=app/pool&limit=20")).body)
            assert len(page["children"]) == 20
            assert page["fitting"] == 501
            page = json.loads(
                (await get(server, "/api/children?path=app/pool&q=C-49&offset=5")).body
            )
            assert [c["name"] for c in page["children"]] == [f"c-49{n}" for n in range(4, 10)]
            page = json.loads((await get(server, "/api/children?path=pool&state=troubled")).body)
            assert [c["name"] for c in page["children"]] == ["c-7"]
            page = json.loads((await get(server, "/api/children?path=pool&limit=9999")).body)
            assert len(page["children"]) == 200

    run_real(scenario)


def test_wrong_questions_are_answered_with_what_is_wrong() -> None:
    async def scenario() -> None:
        async with open_both(SupervisorSpec("app", [child("a")])) as (server, _):
            for target, status in (
                ("/api/children?path=app/none", 404),
                ("/api/children?path=app/a", 404),
                ("/api/children?offset=-1", 400),
                ("/api/children?limit=1e9", 400),
                ("/api/children?state=__class__", 400),
                ("/api/child?path=app/none", 404),
                ("/api/child?path=app/a/__class__", 404),
                ("/api/child", 404),
            ):
                answer = await get(server, target)
                assert answer.status == status, target
                assert answer.headers["content-type"].startswith("text/plain")

    run_real(scenario)


def test_the_details_of_a_child() -> None:
    async def crash(child: ChildContext) -> None:
        child.ready()
        await trio.sleep(0.02)
        raise ValueError(HOSTILE)

    spec = ChildSpec(
        "a", crash, readiness="explicit", backoff=BackoffPolicy.delays(0, 0, 60), requires=["b"]
    )

    async def scenario() -> None:
        async with open_both(SupervisorSpec("app", [child("b"), spec])) as (server, app):
            await app.child("a").wait_state("backing_off")
            with trio.fail_after(5):
                while app.child("a").attempt < 3 or app.child("a").state != "backing_off":  # noqa: ASYNC110
                    await trio.sleep(0.01)
            answer = await get(server, "/api/child?path=app/a")
            assert answer.body.isascii()
            assert "<img" not in answer.body or answer.headers["content-type"] == "application/json"
            facts = json.loads(answer.body)
            assert facts["state"] == "backing_off"
            assert 50 < facts["until"] - facts["now"] < 61
            assert (facts["used"], facts["limit"], facts["within"]) == (3, 10, 120)
            assert [report["attempt"] for report in facts["reports"]] == [3, 2, 1]
            assert all("PastError" not in report["detail"] for report in facts["reports"])
            assert "in crash" in facts["traceback"]
            assert ["requires", "b"] in facts["policy"]
            assert facts["stacks"] == []
            other = json.loads((await get(server, "/api/child?path=app/b")).body)
            (stack,) = other["stacks"]
            assert "[app/b#1]" in stack

    run_real(scenario)


def test_an_exception_that_cannot_be_formatted_costs_its_text_only() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    async def crash(child: ChildContext) -> None:
        child.ready()
        await trio.sleep(0.01)
        raise Broken

    spec = ChildSpec("a", crash, readiness="explicit", restart="transient", on_limit="quarantine",
                     backoff=BackoffPolicy(initial=60, maximum=60))  # fmt: skip

    async def scenario() -> None:
        async with open_both(SupervisorSpec("app", [spec])) as (server, app):
            await app.child("a").wait_state("backing_off")
            answer = await get(server, "/api/child?path=a")
            assert answer.status == 200
            assert "Broken" in answer.body

    run_real(scenario)


def test_connections_of_an_accepting_child_stand_below_it() -> None:
    async def talk(child: ChildContext, stream: trio.SocketStream) -> None:
        child.heartbeat()
        await child.wait_stop_requested()

    spec = ChildSpec("web", accepting(talk, port=0, host="127.0.0.1"), grace=1)

    async def scenario() -> None:
        async with open_both(SupervisorSpec("app", [spec])) as (server, app):
            port = app.child("web").value.port
            async with await trio.open_tcp_stream("127.0.0.1", port):
                with trio.fail_after(5):
                    while len(nodes := overview(app)) < 4:  # noqa: ASYNC110
                        await trio.sleep(0.01)
                pool, connection = list(nodes.values())[2:]
                assert pool["parent"] == "app/web"
                assert pool["sup"]["total"] == 1
                assert connection["parent"] == pool["path"]
                for path in (pool["path"], pool["path"].removeprefix("app/")):
                    answer = await get(server, f"/api/children?path={path}")
                    assert answer.status == 200, answer.body
                    page = json.loads(answer.body)
                    assert [c["path"] for c in page["children"]] == [connection["path"]]
                facts = json.loads(
                    (await get(server, f"/api/child?path={connection['path']}")).body
                )
                assert facts["state"] == "ready"
                assert (await get(server, "/readyz")).status == 200

    run_real(scenario)


def test_why_is_said_in_sentences() -> None:
    async def scenario() -> None:
        async with open_both(SupervisorSpec("app", [child("a"), child("b")])) as (server, app):
            await app.stop_child("b", reason="maintenance")
            facts = json.loads((await get(server, "/api/child?path=app/b")).body)
            assert "maintenance" in " ".join(facts["why"])

    run_real(scenario)
