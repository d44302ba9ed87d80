"""A server with one child per connection, and a handler for ``trio.serve_tcp`` by hand.

Both serve the same clients over TCP, one after the other: connect, ask, hear the answer, close. The
work of client and kernel is part of both numbers, as it is part of any connection's cost.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import Any

import trio

from benchmarks.floors import attempt
from benchmarks.measure import Result, Watch, sink_logs
from trio_supervisor import ChildContext, ChildSpec, SupervisorSpec, accepting, open_supervisor

HOST = "127.0.0.1"


async def talk(stream: trio.SocketStream) -> None:
    """One connection, as both servers serve it."""
    await stream.send_all(await stream.receive_some())


async def ask(count: int, port: int) -> None:
    """``count`` clients, one after the other."""
    for _ in range(count):
        with trio.socket.socket() as connection:
            await connection.connect((HOST, port))
            await connection.send(b"?")
            await connection.recv(1)


def children(count: int) -> Result:
    """Each connection is a child, with events, journal and state."""
    sink_logs()
    result: Result = {}

    async def serve(child: ChildContext, stream: trio.SocketStream) -> None:
        await talk(stream)

    async def main() -> None:
        spec = ChildSpec("web", accepting(serve, port=0, host=HOST))
        async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
            port = supervisor.child(spec).value.port
            watch = Watch()
            await ask(count, port)
            result.update(watch.per(count or 1))

    trio.run(main)
    return result


def by_hand(count: int) -> Result:
    """Each connection is an attempt with a report, started by a handler of ``trio.serve_tcp``."""
    result: Result = {}

    async def read(reports: trio.MemoryReceiveChannel[Any]) -> None:
        async for _ in reports:
            pass

    async def main() -> None:
        send, receive = trio.open_memory_channel[Any](inf)

        async def serve(stream: trio.SocketStream) -> None:
            await attempt(partial(talk, stream), send)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, receive)
            (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host=HOST))
            port = listener.socket.getsockname()[1]
            watch = Watch()
            await ask(count, port)
            result.update(watch.per(count or 1))
            nursery.cancel_scope.cancel()

    trio.run(main)
    return result
