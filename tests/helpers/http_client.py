"""A small HTTP client for tests, and the server that they talk to."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from trio_supervisor import ChildContext, ChildSpec, Supervisor, SupervisorSpec, open_supervisor
from trio_supervisor.http import HttpServer, open_http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


def port_of(server: HttpServer) -> int:
    return int(server.addresses[0].rpartition(":")[2])


async def connect(server: HttpServer) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", port_of(server))


async def read_all(stream: trio.SocketStream) -> bytes:
    """Everything until the server hangs up; a reset is an end too."""
    parts = b""
    try:
        while part := await stream.receive_some():
            parts += part
    except trio.BrokenResourceError:
        pass
    return parts


def parse(data: bytes) -> Answer:
    head, _, body = data.decode("utf-8", "replace").partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    pairs = (line.partition(": ")[::2] for line in lines)
    return Answer(int(first.split(" ")[1]), {name.lower(): value for name, value in pairs}, body)


async def send(server: HttpServer, data: bytes) -> Answer:
    """Send bytes as they are; returns the first answer once the server has hung up."""
    async with await connect(server) as stream:
        await stream.send_all(data)
        return parse(await read_all(stream))


async def get(
    server: HttpServer, target: str, *, host: str = "127.0.0.1", **headers: str
) -> Answer:
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"
    return await send(server, request.encode())


async def serve(child: ChildContext) -> None:
    child.ready()
    await child.wait_stop_requested()


def child(name: str, **options: Any) -> ChildSpec[Any]:
    options.setdefault("readiness", "explicit")
    return ChildSpec(name, serve, grace=5, **options)


@asynccontextmanager
async def open_both(
    tree: SupervisorSpec, *, wait_ready: bool = True, **options: Any
) -> AsyncIterator[tuple[HttpServer, Supervisor]]:
    options.setdefault("address", 0)
    async with (
        open_http(**options) as server,
        open_supervisor(tree, wait_ready=wait_ready) as supervisor,
    ):
        server.attach(supervisor)
        yield server, supervisor
