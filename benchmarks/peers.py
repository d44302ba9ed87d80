# flake8: noqa: ASYNC124 - what a peer calls has to be async, whether it waits or not
"""Other supervisors for Python, driven as their documentation says, their logs sunk.

Each function imports its peer itself, so that this module can be read where none is installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.measure import Attempts, BoomError, Census, Result

# The name that is printed, what has to be importable, and what to install.
PEERS = {
    "triotp": ("triotp", "triotp==0.3.1"),
    "otpylib": ("otpylib", "otpylib==0.5.18"),
    "mode": ("mode", "mode-streaming==0.7.1"),
}


def missing(_count: int) -> Result:
    """Which peers cannot be imported here: 1 for each that is missing."""
    return {name: float(find_spec(module) is None) for name, (module, _) in PEERS.items()}


# ---------------------------------------------------------------- triotp


def triotp_restart(count: int, *, siblings: int = 0) -> Result:
    import trio
    from triotp import supervisor

    attempts = Attempts(count)

    async def main() -> None:
        async def body() -> None:
            if attempts.begin():
                everything.cancel()
            await trio.lowlevel.checkpoint()
            raise BoomError("failed")

        with trio.CancelScope() as everything:
            options = supervisor.options(max_restarts=10**9, max_seconds=1)
            specs = [
                supervisor.child_spec(f"c{number}", trio.sleep_forever, [])
                for number in range(siblings)
            ]
            await supervisor.start([*specs, supervisor.child_spec("child", body, [])], options)

    with _no_logbook():
        trio.run(main)
    return attempts.result


def triotp_children(count: int) -> Result:
    import trio
    import trio.testing
    from triotp import supervisor

    census = Census(count)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            specs = [
                supervisor.child_spec(f"c{number}", trio.sleep_forever, [])
                for number in range(count)
            ]
            nursery.start_soon(supervisor.start, specs, supervisor.options())
            await trio.testing.wait_all_tasks_blocked()
            census.all_up()
            nursery.cancel_scope.cancel()
        census.all_down()

    with _no_logbook():
        trio.run(main)
    return census.result


def _no_logbook() -> Any:
    import logbook

    return logbook.NullHandler().applicationbound()


# ---------------------------------------------------------------- mode


def mode_restart(count: int, *, siblings: int = 0) -> Result:
    import mode
    from mode.supervisors import OneForOneSupervisor

    logging.disable(logging.CRITICAL)
    attempts = Attempts(count)

    async def main() -> None:
        done = asyncio.Event()

        class Failing(mode.Service):  # type: ignore[misc]
            @mode.Service.task  # type: ignore[untyped-decorator]
            async def work(self) -> None:
                if attempts.begin():
                    done.set()
                    await self.wait_until_stopped()
                    return
                await asyncio.sleep(0)
                raise BoomError("failed")

        class Idle(mode.Service):  # type: ignore[misc]
            @mode.Service.task  # type: ignore[untyped-decorator]
            async def work(self) -> None:
                await self.wait_until_stopped()

        supervisor = OneForOneSupervisor(max_restarts=10**9, over=10**9)
        supervisor.add(*[Idle() for _ in range(siblings)], Failing())
        await supervisor.start()
        await done.wait()
        await supervisor.stop()

    asyncio.run(main())
    return attempts.result


def mode_children(count: int) -> Result:
    import mode
    from mode.supervisors import OneForOneSupervisor

    logging.disable(logging.CRITICAL)
    census = Census(count)
    up = 0

    async def main() -> None:
        all_up = asyncio.Event()

        class Idle(mode.Service):  # type: ignore[misc]
            @mode.Service.task  # type: ignore[untyped-decorator]
            async def work(self) -> None:
                nonlocal up
                up += 1
                if up == count:
                    all_up.set()
                await self.wait_until_stopped()

        supervisor = OneForOneSupervisor()
        supervisor.add(*[Idle() for _ in range(count)])
        await supervisor.start()
        await all_up.wait()
        census.all_up()
        await supervisor.stop()
        census.all_down()

    asyncio.run(main())
    return census.result


# ---------------------------------------------------------------- otpylib


def otpylib_restart(count: int, *, siblings: int = 0) -> Result:
    """A server that raises on a message.

    The message is sent some turns of the loop after its start: a child that dies before its
    supervisor watches it is not restarted.
    """
    from otpylib import process

    attempts = Attempts(count)
    pending: set[asyncio.Task[None]] = set()

    async def body() -> None:
        done = asyncio.Event()

        async def kick(pid: Any) -> None:
            for _ in range(8):
                await asyncio.sleep(0)
            await process.send(pid, "fail")

        async def init(_self: Any, _arg: Any) -> dict[str, Any]:
            if attempts.begin():
                done.set()
            else:
                task = asyncio.create_task(kick(process.self()))
                pending.add(task)
                task.add_done_callback(pending.discard)
            return {}

        async def handle_info(_self: Any, _message: Any, _state: Any) -> None:
            raise BoomError("failed")

        async def idle(_self: Any, _arg: Any) -> dict[str, Any]:
            return {}

        server, other = (_otpylib_server(each, handle_info) for each in (init, idle))
        children = {f"c{number}": other for number in range(siblings)}
        await _otpylib_supervise(children | {"child": server})
        await done.wait()

    _otpylib_run(body)
    return attempts.result


def otpylib_children(count: int) -> Result:
    from otpylib import process, supervisor

    census = Census(count)
    up = 0

    async def body() -> None:
        all_up = asyncio.Event()

        async def init(_self: Any, _arg: Any) -> dict[str, Any]:
            nonlocal up
            up += 1
            if up == count:
                all_up.set()
            return {}

        server = _otpylib_server(init, _otpylib_ignore)
        pid = await _otpylib_supervise({f"c{number}": server for number in range(count)})
        await all_up.wait()
        census.all_up()
        await process.send(pid, supervisor.SHUTDOWN)
        while len(process.processes()) > 2:  # noqa: ASYNC110 - all but this one and the supervisor
            await asyncio.sleep(0.001)
        census.all_down()

    _otpylib_run(body)
    return census.result


async def _otpylib_ignore(_self: Any, *args: Any) -> Any:
    from otpylib.gen_server.data import NoReply

    return NoReply(), args[-1]


def _otpylib_server(init: Any, handle_info: Any) -> Any:
    from otpylib.module import GEN_SERVER, OTPModule

    members = {
        "init": init,
        "handle_call": _otpylib_ignore,
        "handle_cast": _otpylib_ignore,
        "handle_info": handle_info,
        "terminate": _otpylib_ignore,
    }
    return OTPModule("Server", (), members, behavior=GEN_SERVER, version="1.0.0")


async def _otpylib_supervise(children: dict[str, Any]) -> Any:
    from otpylib import supervisor
    from otpylib.module import SUPERVISOR, OTPModule

    async def init(_self: Any, _arg: Any) -> Any:
        specs = [supervisor.child_spec(id=name, module=each) for name, each in children.items()]
        return specs, supervisor.options(max_restarts=10**9, max_seconds=1)

    members = {"init": init, "terminate": _otpylib_ignore}
    module = OTPModule("Top", (), members, behavior=SUPERVISOR, version="1.0.0")
    return await supervisor.start_link(module)


def _otpylib_run(body: Any) -> None:
    from otpylib import process
    from otpylib.runtime import set_runtime
    from otpylib.runtime.backends.asyncio_backend import AsyncIOBackend

    async def main() -> None:
        backend = AsyncIOBackend()
        await backend.initialize()
        set_runtime(backend)
        ended = asyncio.Event()

        async def root() -> None:
            try:
                await body()
            finally:
                ended.set()

        await process.spawn(root, mailbox=True)
        await ended.wait()
        await backend.shutdown()

    # It prints every crash.
    nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - with the process
    with contextlib.redirect_stdout(nowhere):
        asyncio.run(main())
