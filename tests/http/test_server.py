"""The HTTP server: what it answers, what it refuses, and that no client holds it up."""

from __future__ import annotations

import json
import logging
import resource
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.http_client import child, connect, get, open_both, parse, port_of, read_all, send
from helpers.support import run_real

from trio_supervisor import SpecError, SupervisorSpec, open_supervisor
from trio_supervisor._runtime.shell import Shell
from trio_supervisor.http import Request, Response, _connection, open_http
from trio_supervisor.http import server as server_module
from trio_supervisor.http._exchange import HEADERS, host_is_allowed
from trio_supervisor.http._listening import parse_address

if TYPE_CHECKING:
    from trio_supervisor.http import HttpServer

TREE = SupervisorSpec("app", [child("store"), child("web")])


def answers(*targets: str, **options: Any) -> list[Any]:
    async def scenario() -> list[Any]:
        async with open_both(TREE) as (server, _):
            return [await get(server, target, **options) for target in targets]

    return run_real(scenario)


def test_pages_probes_and_unknown_paths() -> None:
    page, live, ready, started, unknown = answers("/", "/livez", "/readyz", "/startupz", "/x")
    assert page.status == live.status == ready.status == started.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>trio_supervisor</title>" in page.body
    assert (live.body, ready.body, started.body) == ("alive\n", "ready\n", "started\n")
    assert unknown.status == 404
    assert "/readyz" in unknown.body


def test_each_answer_has_the_headers_that_protect_a_browser() -> None:
    for answer in answers("/", "/readyz", "/x", "/api/child?path=app/none"):
        for name, _ in HEADERS:
            assert name.lower() in answer.headers
        assert "set-cookie" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def test_the_page_runs_its_own_script_only_and_asks_no_other_server() -> None:
    [page] = answers("/")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "http://" not in page.body
    assert "https://" not in page.body
    assert "innerHTML" not in page.body
    assert page.body.count("<script>") == 1
    assert "onclick" not in page.body


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8024", True),
        ("[::1]:8024", True),
        ("10.1.2.3:80", True),
        ("localhost", True),
        ("LOCALHOST:8024", True),
        ("localhost.", True),
        ("ops.example.org:8024", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("[::1", False),
        ("127.0.0.1@evil.example", False),
    ],
)
def test_only_names_that_cannot_be_rebound_are_answered(host: str, allowed: bool) -> None:
    assert host_is_allowed(host, frozenset({"ops.example.org"})) is allowed


def test_another_host_and_another_site_are_refused() -> None:
    [evil] = answers("/readyz", host="evil.example")
    assert evil.status == 421
    [elsewhere] = answers("/api/children", Origin="http://evil.example")
    assert elsewhere.status == 403
    [own] = answers("/api/children", Origin="http://127.0.0.1")
    assert own.status == 200
    [image] = answers("/api/children", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")
    assert image.status == 403
    [link] = answers("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    assert link.status == 200


def test_a_named_host_is_answered_when_it_is_configured() -> None:
    async def scenario() -> None:
        async with open_both(TREE, hosts=["Ops.Example.org"]) as (server, _):
            assert (await get(server, "/readyz", host="ops.example.org:1")).status == 200

    run_real(scenario)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 405),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 413),
        (b"DELETE /api/child HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", 413),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET http://elsewhere/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET //elsewhere/x HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"GET /api/__class__ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"GET /?" + b"a=1&" * 40 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 30_000 + b"\r\n\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
def test_what_is_no_plain_get_is_refused_and_the_connection_ends(
    request_: bytes, status: int
) -> None:
    async def scenario() -> None:
        async with open_both(TREE) as (server, _):
            assert (await send(server, request_)).status == status
            assert (await get(server, "/livez")).status == 200

    run_real(scenario)


def test_a_connection_answers_one_request_after_another() -> None:
    async def scenario() -> None:
        async with open_both(TREE) as (server, _), await connect(server) as stream:
            for _ in range(3):
                await stream.send_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert parse(await stream.receive_some()).status == 200

    run_real(scenario)


def test_a_route_can_be_added_and_its_errors_stay_in_it(caplog: pytest.LogCaptureFixture) -> None:
    async def metrics(request: Request) -> Response:
        if request.query.get("fail"):
            raise ValueError("a bug in the exporter")
        await trio.lowlevel.checkpoint()
        return Response(200, b"up 1\n")

    async def scenario() -> None:
        async with open_both(TREE) as (server, supervisor):
            server.add_route("/metrics", metrics)
            assert (await get(server, "/metrics")).body == "up 1\n"
            with caplog.at_level(logging.ERROR):
                assert (await get(server, "/metrics?fail=1")).status == 500
            assert "a bug in the exporter" in caplog.text
            assert (await get(server, "/metrics")).status == 200
            assert supervisor.child("store").attempt == 1
            with pytest.raises(SpecError, match="path"):
                server.add_route("metrics", metrics)

    run_real(scenario)


# ---------------------------------------------------------------- clients that hold it up


async def never_read(stream: trio.SocketStream) -> None:
    await stream.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)


async def send_a_byte_a_minute(stream: trio.SocketStream) -> None:
    for byte in b"GET / HTTP/1.1\r\n":
        await stream.send_all(bytes([byte]))
        await trio.sleep(60)


async def vanish(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await stream.send_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await stream.aclose()


async def watch_and_never_read(stream: trio.SocketStream) -> None:
    await stream.send_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")


@pytest.mark.parametrize("behave", [never_read, send_a_byte_a_minute, vanish, watch_and_never_read])
def test_a_hundred_clients_do_not_keep_it_from_answering_and_stopping(behave: Any) -> None:
    async def scenario() -> float:
        async with trio.open_nursery() as nursery:
            async with open_both(TREE) as (server, _):
                streams = [await connect(server) for _ in range(100)]
                for stream in streams:
                    nursery.start_soon(ignore_errors, behave, stream)
                await trio.sleep(0.5)
                assert (await get(server, "/readyz")).status == 200
                stopping = trio.current_time()
            took = trio.current_time() - stopping
            nursery.cancel_scope.cancel()
        for stream in streams:
            await trio.aclose_forcefully(stream)
        return took

    assert run_real(scenario) < 2


async def ignore_errors(behave: Any, stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await behave(stream)


@pytest.mark.parametrize("behave", [never_read, send_a_byte_a_minute, vanish, watch_and_never_read])
def test_serving_ends_within_a_tenth_of_a_second_of_its_cancel(behave: Any) -> None:
    async def scenario() -> float:
        async with (
            open_supervisor(TREE) as supervisor,
            open_http(supervisor, 0) as server,
            trio.open_nursery() as clients,
        ):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    await nursery.start(lambda task_status: server.serve(task_status=task_status))
                    streams = [await connect(server) for _ in range(100)]
                    for stream in streams:
                        clients.start_soon(ignore_errors, behave, stream)
                    await trio.sleep(0.2)
                    began = trio.current_time()
                    scope.cancel()
            took = trio.current_time() - began
            for stream in streams:
                await trio.aclose_forcefully(stream)
            clients.cancel_scope.cancel()
        return took

    # The machine may be busy with other things: one of three is undisturbed.
    assert min(run_real(scenario) for _ in range(3)) < 0.1


def test_a_client_has_limited_time_for_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connection, "REQUEST_TIMEOUT", 0.2)

    async def scenario() -> None:
        async with open_both(TREE) as (server, _), await connect(server) as stream:
            await stream.send_all(b"GET / HT")
            began = trio.current_time()
            assert await read_all(stream) == b""
            assert 0.1 < trio.current_time() - began < 2

    run_real(scenario)


def test_a_client_has_limited_time_to_take_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connection, "SEND_TIMEOUT", 0.2)

    async def big(request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return Response(200, b"x" * 50_000_000)

    async def scenario() -> None:
        async with open_both(TREE) as (server, _), await connect(server) as stream:
            server.add_route("/big", big)
            await stream.send_all(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with trio.fail_after(5):
                while server._connections:  # noqa: ASYNC110 - looks from outside
                    await trio.sleep(0.05)

    run_real(scenario)


def test_a_newcomer_displaces_the_connection_that_has_waited_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "MOST_CONNECTIONS", 5)

    async def scenario() -> None:
        async with open_both(TREE) as (server, _):
            streams = [await connect(server) for _ in range(5)]
            await wait_for_connections(server, 5)
            assert (await get(server, "/readyz")).status == 200
            assert await read_all(streams[0]) == b""
            for stream in streams:
                await stream.aclose()

    run_real(scenario)


async def wait_for_connections(server: HttpServer, count: int) -> None:
    with trio.fail_after(5):
        while len(server._connections) < count:  # noqa: ASYNC110 - looks from outside
            await trio.sleep(0.01)


def test_streams_are_limited_and_other_pages_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MOST_STREAMS", 2)

    async def scenario() -> None:
        async with open_both(TREE) as (server, _):
            streams = [await connect(server) for _ in range(2)]
            for stream in streams:
                await stream.send_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await stream.receive_some()
            refused = await get(server, "/api/events")
            assert refused.status == 503
            assert refused.headers["retry-after"] == "10"
            assert (await get(server, "/readyz")).status == 200
            for stream in streams:
                await stream.aclose()

    run_real(scenario)


def test_a_bug_in_the_server_is_restarted_and_never_reaches_the_tree(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    working = server_module.HttpServer._serve
    bugs = [RuntimeError("a bug in the server")]

    async def broken(self: HttpServer, stream: trio.SocketStream) -> None:
        if bugs:
            raise bugs.pop()
        await working(self, stream)

    # Before it is opened: what accepts connections has looked the function up then.
    monkeypatch.setattr(server_module.HttpServer, "_serve", broken)

    async def scenario() -> None:
        async with open_both(TREE) as (server, supervisor):
            began = trio.current_time()
            async with await connect(server) as stream:
                assert await read_all(stream) == b""
            assert not bugs
            # The sockets go on listening: the next client waits for the restart.
            assert (await get(server, "/readyz")).status == 200
            assert trio.current_time() - began < 5
            assert supervisor.child("store").attempt == 1

    run_real(scenario)
    assert "http/server crashed" in caplog.text
    assert "a bug in the server" in caplog.text


def test_a_server_whose_supervisor_breaks_down_leaves_the_block_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = Shell.carry_out

    def broken(self: Shell, orders: Any, now: float) -> None:
        if self.path == "http" and self.machine.is_started:
            raise ZeroDivisionError("a bug of the collector")
        real(self, orders, now)

    async def scenario() -> str:
        async with open_http(address=0) as server, open_supervisor(TREE) as supervisor:
            server.attach(supervisor)
            assert (await get(server, "/readyz")).status == 200
            monkeypatch.setattr(Shell, "carry_out", broken)
            server._nursery.cancel_scope.cancel()  # type: ignore[union-attr] # the child ends
            while "has broken down" not in caplog.text:  # noqa: ASYNC110 - looks from outside
                await trio.sleep(0.01)
            await trio.sleep(0.1)
            assert supervisor.state().state == "running"
            return "unharmed"

    assert run_real(scenario) == "unharmed"
    assert "the HTTP server has broken down, the tree goes on" in caplog.text
    assert "ZeroDivisionError: a bug of the collector" in caplog.text


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        ("127.0.0.1:8024", ("127.0.0.1", 8024)),
        ("localhost:1", ("localhost", 1)),
        ("[::1]:8024", ("::1", 8024)),
        (":8024", ("127.0.0.1", 8024)),
        ("8024", ("127.0.0.1", 8024)),
        (8024, ("127.0.0.1", 8024)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
    ],
)
def test_addresses(address: str | int, parsed: tuple[str, int]) -> None:
    assert parse_address("open_http()", "address", address) == parsed


@pytest.mark.parametrize("address", ["", "host", "::1:8024", "host:", "host:99999", -1, True, None])
def test_wrong_addresses_are_named(address: Any) -> None:
    with pytest.raises(SpecError, match="127.0.0.1:8024"):
        parse_address("open_http()", "address", address)


def test_an_address_in_use_is_an_os_error_at_once() -> None:
    async def scenario() -> None:
        async with open_http(address=0) as server:
            with pytest.raises(OSError, match="in use"):
                async with open_http(address=port_of(server)):
                    pass

    run_real(scenario)


def test_it_listens_on_the_loopback_interface_unless_told_otherwise() -> None:
    async def scenario() -> None:
        async with open_http(address=0) as server:
            assert [address.rpartition(":")[0] for address in server.addresses] == ["127.0.0.1"]
            assert repr(server) == f"<HttpServer at {server.addresses[0]}>"

    run_real(scenario)


def test_json_for_programs() -> None:
    [answer] = answers("/readyz", Accept="application/json")
    assert json.loads(answer.body) == {"ok": True, "lines": ["ready"]}


def test_more_connections_than_it_keeps_do_not_keep_a_probe_out() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip(f"this machine allows a process only {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))

    async def scenario() -> None:
        async with open_both(TREE) as (server, _):
            streams = [await connect(server) for _ in range(800)]
            assert (await get(server, "/readyz")).status == 200
            assert len(server._connections) <= server_module.MOST_CONNECTIONS
            for stream in streams:
                await trio.aclose_forcefully(stream)

    try:
        run_real(scenario)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
