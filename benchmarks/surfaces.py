"""What it costs a tree to be seen: HTTP, control, metrics, dashboard, blocked-loop monitor."""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import trio
import trio.testing

from benchmarks.measure import Attempts, Result, sink_logs
from benchmarks.ours import failing, idle
from trio_supervisor import ChildSpec, Supervisor, SupervisorSpec, open_supervisor

OFF, IDLE, METRICS, DASHBOARD = "off", "idle", "metrics", "dashboard"
PAIRS = 41


def restart(count: int, *, seen: str = OFF) -> Result:
    """One child fails and is started again.

    Args:
        count: Restarts that are measured.
        seen: ``"off"``; ``"idle"``: HTTP server with its page of metrics, control socket and
            blocked-loop monitor are there and no client has asked yet; ``"metrics"``: metrics were
            scraped once, and are collected since; ``"dashboard"``: a client reads the event stream
            of the dashboard, and no metrics are collected.
    """
    attempts = Attempts(count)
    sink_logs()

    async def main() -> None:
        done = trio.Event()
        async with AsyncExitStack() as stack:
            supervisor = await stack.enter_async_context(
                open_supervisor(SupervisorSpec("app", [ChildSpec("far", idle, max_runtime=3600)]))
            )
            if seen != OFF:
                await _show(supervisor, stack, seen)
            await trio.testing.wait_all_tasks_blocked()
            await supervisor.start_child(failing(attempts, done))
            await done.wait()

    trio.run(main)
    return attempts.result


async def _show(supervisor: Supervisor, stack: AsyncExitStack, seen: str) -> None:
    from trio_supervisor.control import open_control
    from trio_supervisor.daemon import BlockedLoopMonitor
    from trio_supervisor.http import open_http

    place = Path(stack.enter_context(tempfile.TemporaryDirectory()), "s")
    monitor = await stack.enter_async_context(BlockedLoopMonitor())
    await stack.enter_async_context(open_control(supervisor, str(place)))
    server = await stack.enter_async_context(open_http(supervisor, 0, monitor=monitor))
    port = int(server.addresses[0].rpartition(":")[2])
    if seen == METRICS:
        await _ask(port, "/metrics")
    if seen == DASHBOARD:
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        await nursery.start(_watch, port)


async def _ask(port: int, path: str) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(_request(path))
        async for _ in stream:
            pass


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()


_READER = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as client:
    client.sendall(sys.stdin.buffer.read())
    print("open", flush=True)
    while client.recv(1 << 16):
        pass
"""


async def _watch(port: int, *, task_status: trio.TaskStatus[None]) -> None:
    """Read the stream of the dashboard in a process of its own, as a browser does."""
    import subprocess
    import sys

    process = subprocess.Popen(  # noqa: ASYNC220 - before anything is measured
        [sys.executable, "-S", "-c", _READER, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(_request("/api/events"))
        process.stdin.close()
        await trio.to_thread.run_sync(process.stdout.readline)
        task_status.started()
        await trio.sleep_forever()
    finally:
        process.kill()
        process.wait()


class Steps(trio.abc.Instrument):
    """Adds up the processor time of all steps of tasks: how long the event loop is kept busy."""

    def __init__(self) -> None:
        self.total = 0.0
        self._begun = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._begun = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.total += time.thread_time() - self._begun


def scrape(count: int, *, children: int = 5000) -> Result:
    """For how long a scrape keeps the event loop busy, and one `state()`.

    The samples are made and rendered in another thread. Scrape and `state()` are measured in turn,
    and the result is the median ratio of a pair.
    """
    from prometheus_client import CollectorRegistry

    from trio_supervisor.http._metrics import rendered
    from trio_supervisor.observe import open_metrics

    sink_logs()
    found: list[tuple[float, float]] = []
    steps = Steps()

    async def main() -> None:
        registry = CollectorRegistry()
        spec = SupervisorSpec("app", [ChildSpec(f"c{each}", idle) for each in range(children)])
        async with (
            open_supervisor(spec) as supervisor,
            open_metrics(supervisor, registry=registry),
        ):
            await trio.to_thread.run_sync(rendered, registry, True)
            for _ in range(count):
                await trio.lowlevel.checkpoint()
                begun = steps.total
                supervisor.state()
                await trio.lowlevel.checkpoint()
                middle = steps.total
                await trio.to_thread.run_sync(rendered, registry, True)
                await trio.lowlevel.checkpoint()
                found.append((steps.total - middle, middle - begun))

    trio.run(main, instruments=[steps])
    return {
        "ratio": statistics.median(one / other for one, other in found),
        "loop": statistics.median(one for one, _ in found) * 1e6,
        "state": statistics.median(other for _, other in found) * 1e6,
    }


def monitored(count: int) -> Result:
    """Per cent of processor time that a `BlockedLoopMonitor` adds to ``count`` checkpoints.

    With and without are measured in turn, so that whatever slows the machine down slows both.
    """
    from trio_supervisor.daemon import BlockedLoopMonitor

    async def cost() -> float:
        begun = time.process_time()
        for _ in range(count):
            await trio.lowlevel.checkpoint()
        return time.process_time() - begun

    async def main() -> list[float]:
        ratios = []
        for _ in range(PAIRS):
            without = await cost()
            async with BlockedLoopMonitor():
                ratios.append(await cost() / without)
        return ratios

    return {"per_cent": (statistics.median(trio.run(main)) - 1) * 100}
