"""`asgi`: web applications, and clients that do what they like."""

from __future__ import annotations

import gc
import importlib.util
import socket
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.children import open_files
from helpers.support import run_real, run_virtual

from trio_supervisor import (
    ChildSpec,
    ChildStartError,
    SpecError,
    Supervisor,
    SupervisorError,
    SupervisorSpec,
    open_supervisor,
)
from trio_supervisor._events.exits import Stopped
from trio_supervisor.children import asgi
from trio_supervisor.daemon import _listen, listener
from trio_supervisor.testing import Behaviour, with_bodies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = [pytest.mark.slow, pytest.mark.libraries]
LOCAL = "127.0.0.1"
seen: list[str] = []


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            seen.append(message["type"])
            await send({"type": "lifespan.startup.complete"})
        seen.append("lifespan.shutdown")
        await send({"type": "lifespan.shutdown.complete"})
        return
    await answer(scope["path"], send)


async def answer(path: str, send: Any) -> None:
    if path == "/crash":
        raise RuntimeError("in a request")
    if path == "/slow":
        await trio.sleep(0.4)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = b"x" * 65536 if path == "/flood" else b"fine"
    while path in ("/flood", "/stream"):
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await trio.sleep(0 if path == "/flood" else 0.01)
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(params=["anycorn", "hypercorn"])
def server(request: pytest.FixtureRequest) -> Any:
    name: str = request.param
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    seen.clear()
    return name


def serve(
    server: Any,
    act: Callable[[Supervisor, int], Awaitable[object]],
    *,
    grace: float = 5,
    **options: Any,
) -> Supervisor:
    async def main() -> Supervisor:
        spec = ChildSpec("web", asgi(app, 0, server=server, **options), grace=grace)
        async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
            (address,) = supervisor.child(spec).value
            assert address.startswith(f"http://{LOCAL}:")
            await act(supervisor, int(address.rpartition(":")[2]))
        return supervisor

    gc.collect()
    before = open_files()
    tree = run_real(main)
    assert open_files() <= before
    return tree


async def ask(port: int, path: str) -> trio.SocketStream:
    stream = await trio.open_tcp_stream(LOCAL, port)
    await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return stream


async def read(stream: trio.SocketStream) -> bytes:
    data = b""
    try:
        async for part in stream:
            data += part
    except trio.BrokenResourceError:
        data += b"[cut]"
    await stream.aclose()
    return data


def test_an_application_is_served_between_its_start_and_its_end(server: Any) -> None:
    async def act(tree: Supervisor, port: int) -> None:
        assert seen == ["lifespan.startup"]
        data = await read(await ask(port, "/"))
        assert data.startswith(b"HTTP/1.1 200")
        assert data.endswith(b"fine") or b"fine" in data
        assert b"500" in (await read(await ask(port, "/crash"))).partition(b"\r\n")[0]
        assert b"200" in (await read(await ask(port, "/"))).partition(b"\r\n")[0]
        assert tree.child("web").attempt == 1

    tree = serve(server, act)
    assert seen == ["lifespan.startup", "lifespan.shutdown"]
    last = tree.child("web").last_report
    assert last is not None
    assert isinstance(last.exit, Stopped)


def test_requests_in_flight_finish_and_new_ones_are_refused(server: Any) -> None:
    async def act(tree: Supervisor, port: int) -> None:
        stream = await ask(port, "/slow")
        await trio.sleep(0.1)
        tree.request_shutdown("enough")
        await trio.sleep(0.1)
        with pytest.raises(OSError, match="all attempts"):
            await trio.open_tcp_stream(LOCAL, port)
        assert b"fine" in await read(stream)

    serve(server, act, grace=20)


@pytest.mark.parametrize("path", ["/flood", "/stream"])
def test_no_client_delays_the_stop(server: Any, path: str) -> None:
    grace = 1.0
    took: list[float] = []

    async def act(tree: Supervisor, port: int) -> None:
        clients = [await ask(port, path) for _ in range(20)]
        await trio.sleep(0.5)
        began = trio.current_time()
        await tree.shutdown("enough")
        took.append(trio.current_time() - began)
        for stream in clients:
            await stream.aclose()

    tree = serve(server, act, grace=grace)
    assert took[0] < grace + 1
    last = tree.child("web").last_report
    assert last is not None
    assert isinstance(last.exit, Stopped)
    assert seen[-1] == "lifespan.shutdown"


def test_no_client_delays_a_cancel(server: Any) -> None:
    took: list[float] = []

    async def act(tree: Supervisor, port: int) -> None:
        clients = [await ask(port, "/flood") for _ in range(20)]
        await trio.sleep(0.5)
        began = trio.current_time()
        await tree.shutdown("enough")
        took.append(trio.current_time() - began)
        for stream in clients:
            await stream.aclose()

    serve(server, act, grace=0)
    assert took[0] < 1


def test_a_client_that_acknowledges_nothing_is_given_up(server: Any) -> None:
    async def act(tree: Supervisor, port: int) -> None:
        stream = await ask(port, "/flood")
        with trio.fail_after(20):  # without the time limit: minutes
            await trio.sleep(2.5)
            data = await read(stream)
        assert len(data) < 20_000_000

    serve(server, act, send_timeout=1)


def test_an_application_that_cannot_start_fails_the_start(server: Any) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def main() -> None:
        spec = ChildSpec("web", asgi(broken, 0, server=server))
        async with open_supervisor(SupervisorSpec("app", [spec])):
            raise AssertionError("it has started")

    gc.collect()
    before = open_files()
    with pytest.raises(ChildStartError, match="no database"):
        run_real(main)
    assert open_files() <= before


def test_a_config_of_the_server_is_used_and_not_changed(server: Any) -> None:
    place = "anycorn.config" if server == "anycorn" else "hypercorn.config"
    config = importlib.import_module(place).Config()
    config.include_server_header = False
    config.errorlog = None
    bind = config.bind

    async def act(tree: Supervisor, port: int) -> None:
        assert b"server:" not in (await read(await ask(port, "/"))).lower()

    serve(server, act, config=config)
    assert config.bind == bind


def test_a_port_in_use_fails_the_start(server: Any) -> None:
    with socket.create_server((LOCAL, 0)) as other:
        spec = ChildSpec("web", asgi(app, other.getsockname()[1], server=server))

        async def main() -> None:
            async with open_supervisor(SupervisorSpec("app", [spec])):
                raise AssertionError("it has started")

        with pytest.raises(ChildStartError):
            run_real(main)


def test_what_cannot_work_is_refused(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cases: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        (("x", 80), {}, "an ASGI application"),
        ((app, "80"), {}, "port='80'"),
        ((app, 65536), {}, "port=65536"),
        ((app, 80), {"send_timeout": 0}, "send_timeout=0"),
        ((app, 80), {"server": "uvicorn"}, "server='uvicorn'"),
        ((app, 80), {"config": 3}, "config=3"),
    ]
    for arguments, options, match in cases:
        with pytest.raises(SpecError, match=match):
            asgi(*arguments, **options)
    monkeypatch.setattr("trio_supervisor.children._asgi.find_spec", lambda name: None)
    with pytest.raises(SupervisorError, match=r"needs anycorn or hypercorn: pip install"):
        asgi(app, 80)


def test_declarations_are_values(server: Any) -> None:
    assert asgi(app, 80, server=server) == asgi(app, 80, server=server)
    assert asgi(app, 80) != asgi(app, 81)
    assert repr(asgi(app, 80)) == "asgi(app)"


def test_a_behaviour_takes_its_place_in_virtual_time(server: Any) -> None:
    tree = SupervisorSpec("app", [ChildSpec("web", asgi(app, 80))])

    async def main() -> None:
        behaviour = Behaviour(value=("http://x",), ready_at=2)
        async with open_supervisor(with_bodies(tree, {"web": behaviour})) as supervisor:
            assert supervisor.child("web").value == ("http://x",)

    run_virtual(main)


@pytest.mark.parametrize("when", ["connected", "accepted", "kept open"])
def test_requests_that_arrived_before_the_stop_are_answered(server: Any, when: str) -> None:
    """Both servers close a connection on which they have read nothing yet."""
    asked = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"

    async def act(tree: Supervisor, port: int) -> None:
        clients = [socket.create_connection((LOCAL, port)) for _ in range(20)]
        if when != "connected":
            await trio.sleep(0.2)  # until each is accepted
        if when == "kept open":
            for client in clients:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            for client in clients:
                await trio.to_thread.run_sync(client.recv, 4096)
        for client in clients:
            client.sendall(asked)
        tree.request_shutdown("now, before the server has seen the requests")
        answers = [await trio.to_thread.run_sync(read_all, client) for client in clients]
        assert [each for each in answers if b"fine" not in each] == []
        assert all(b"connection: close" in each.lower() for each in answers)

    serve(server, act, grace=20)


def read_all(client: socket.socket) -> bytes:
    with client:
        return b"".join(iter(lambda: client.recv(4096), b""))


def test_with_a_siblings_listeners_clients_wait_for_the_next_attempt(server: Any) -> None:
    held = ChildSpec("socket", listener("web", host=LOCAL, port=0))
    web = ChildSpec("web", asgi(app, listeners=held, server=server), grace=5)

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [held, web])) as tree:
            (address,) = tree.child(web).value
            port = int(address.rpartition(":")[2])
            for _ in range(2):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(tree.child(web).restart)
                    for _ in range(20):
                        assert b"fine" in await read(await ask(port, "/"))
                        await trio.sleep(0.01)
            await tree.child(web).stop()
            late = await ask(port, "/")
            await tree.child(web).restart()
            assert b"fine" in await read(late)

    inherited = dict(_listen._inherited or {})
    try:
        run_real(main)
    finally:
        for each in (_listen._inherited or {}).get("web", ()):
            each.close()
        _listen._inherited = inherited


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("listeners", {"listeners": "socket"}),
        ("port", {"port": 80, "listeners": ChildSpec("socket", listener("web", port=0))}),
        ("port", {}),
    ],
)
def test_where_to_serve_is_said_once(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        asgi(app, **options)
    assert caught.value.field == field
