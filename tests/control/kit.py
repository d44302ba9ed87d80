"""A tree with a control socket, for tests; clients run in threads, as they do in real life."""

from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import trio

from trio_supervisor import BackoffPolicy, ChildSpec, SupervisorSpec, open_supervisor
from trio_supervisor.control import ControlClient, open_control

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from trio_supervisor import ChildContext, Supervisor
    from trio_supervisor.control import ControlServer


async def idle(child: ChildContext) -> None:
    child.ready()
    await trio.sleep_forever()


async def crash(child: ChildContext) -> None:
    child.ready()
    await trio.sleep(0.05)
    raise ConnectionResetError("gone \x1b[31mred")


def ready(name: str, run: Any = idle, **options: Any) -> ChildSpec[Any]:
    return ChildSpec(name, run, readiness="explicit", **options)


IN_AN_HOUR = BackoffPolicy(initial=3600, jitter=0, maximum=3600)
APP = SupervisorSpec(
    "app",
    [
        ready("web"),
        ready("feed", crash, restart_limit=None, backoff=IN_AN_HOUR),
        SupervisorSpec("pool", [ready("a"), ready("web-2")]),
    ],
)


@asynccontextmanager
async def serving_tree(
    tmp_path: Path, spec: SupervisorSpec = APP, *, wait_ready: bool = True, **options: Any
) -> AsyncIterator[tuple[Supervisor, ControlServer]]:
    async with (
        open_supervisor(spec, wait_ready=wait_ready) as supervisor,
        open_control(supervisor, str(tmp_path / "s"), **options) as server,
    ):
        yield supervisor, server


async def ask(server: ControlServer, verb: str, **args: Any) -> Any:
    """Send one request over the socket, from a thread."""

    def work() -> Any:
        with ControlClient(server.path) as client:
            return client.request(verb, **args)

    return await trio.to_thread.run_sync(work)


async def in_thread(work: Callable[[], Any]) -> Any:
    return await trio.to_thread.run_sync(work)


class Raw:
    """A client that writes what it likes."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> Any:
        line = self.file.readline()
        return json.loads(line) if line else None
