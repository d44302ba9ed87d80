"""What it costs a tree to be seen: HTTP, control, metrics, dashboard, blocked-loop monitor."""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING

import trio
import trio.testing

from benchmarks.measure import Attempts, Result, sink_logs
from benchmarks.ours import failing, idle
from trio_supervisor import ChildSpec, Supervisor, SupervisorSpec, open_supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

OFF, IDLE, METRICS, DASHBOARD, ALL = "off", "idle", "metrics", "dashboard", "all"
MONITOR_ROUNDS = 12  # each of the six orders twice
SCRAPE_EVERY = 0.25  # seconds: sixty times as often as Prometheus does, in a run this short


def restart(count: int, *, seen: str = OFF) -> Result:
    """One child fails and is started again.

    Args:
        count: Restarts that are measured.
        seen: ``"off"``; ``"idle"``: HTTP server with its page of metrics, control socket and
            blocked-loop monitor are there and no client has asked yet; ``"metrics"``: metrics are
            collected, and scraped before and four times a second; ``"dashboard"``: a client reads
            the event stream of the dashboard, and no metrics are collected; ``"all"``: both.
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
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)
    if seen in {METRICS, ALL}:
        await _ask(port, "/metrics")
        nursery.start_soon(_scrape_regularly, port)
    if seen in {DASHBOARD, ALL}:
        await nursery.start(_watch, port)


async def _ask(port: int, path: str) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(_request(path))
        async for _ in stream:
            pass


async def _scrape_regularly(port: int) -> None:
    while True:
        await trio.sleep(SCRAPE_EVERY)
        await _ask(port, "/metrics")


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


def scrape(count: int, *, children: int = 5000) -> Result:
    """Processor time of the loop's thread for a scrape, against that of one `state()`.

    All of that thread's time counts, until it is idle again. The samples are made and rendered in
    another thread. Between two scrapes 20 children restart, so that there is something new to
    tell. Scrape and `state()` are measured in turn; the result is the median ratio of a pair.
    """
    from prometheus_client import CollectorRegistry

    from trio_supervisor.http._metrics import rendered
    from trio_supervisor.observe import open_metrics

    sink_logs()
    found: list[tuple[float, float]] = []

    async def main() -> None:
        registry = CollectorRegistry()
        spec = SupervisorSpec("app", [ChildSpec(f"c{each}", idle) for each in range(children)])
        async with (
            open_supervisor(spec) as supervisor,
            open_metrics(supervisor, registry=registry),
        ):
            await trio.to_thread.run_sync(rendered, registry, True)
            for _ in range(count):
                for each in range(20):
                    await supervisor.restart_child(f"c{each}")
                begun = time.thread_time()
                supervisor.state()
                middle = time.thread_time()
                await trio.to_thread.run_sync(rendered, registry, True)
                found.append((time.thread_time() - middle, middle - begun))

    trio.run(main)
    return {
        "ratio": statistics.median(one / other for one, other in found),
        "loop": statistics.median(one for one, _ in found) * 1e6,
        "state": statistics.median(other for _, other in found) * 1e6,
    }


def monitored(count: int) -> Result:
    """Per cent of processor time that a `BlockedLoopMonitor` adds to ``count`` checkpoints.

    Three are measured in turn, in each order, so that whatever slows the machine down slows all of
    them: a process with nothing else in it; one with a second thread that waits in a system call
    for ever, and never asks for the interpreter's lock; and one with the monitor.

    As long as a process has a single thread, Linux looks up the file of each `epoll_wait` without
    counting references to it. With any second thread it counts, and a checkpoint makes one such
    call. So part of what the monitor costs is the price of not being single-threaded, which a
    process pays once, for whatever thread comes first.

    Returns:
        ``own``: the monitor against the idle thread; ``whole``: the monitor against nothing;
        ``thread``: the idle thread against nothing.
    """

    async def cost() -> float:
        begun = time.process_time()
        for _ in range(count):
            await trio.lowlevel.checkpoint()
        return time.process_time() - begun

    async def main() -> list[tuple[float, float, float]]:
        found = []
        for number in range(MONITOR_ROUNDS):
            orders = list(permutations((_alone, _beside_a_thread, _beside_the_monitor)))
            costs = {}
            for beside in orders[number % len(orders)]:
                async with beside():
                    costs[beside] = await cost()
            found.append((costs[_alone], costs[_beside_a_thread], costs[_beside_the_monitor]))
        return found

    found = trio.run(main)
    return {
        "own": _more(monitor / thread for _, thread, monitor in found),
        "whole": _more(monitor / alone for alone, _, monitor in found),
        "thread": _more(thread / alone for alone, thread, _ in found),
    }


def _more(ratios: Iterable[float]) -> float:
    return (statistics.median(ratios) - 1) * 100


@asynccontextmanager
async def _alone() -> AsyncGenerator[None, None]:
    yield


@asynccontextmanager
async def _beside_a_thread() -> AsyncGenerator[None, None]:
    reading, writing = os.pipe()
    thread = threading.Thread(target=os.read, args=(reading, 1))
    thread.start()
    try:
        yield
    finally:
        os.write(writing, b"x")
        thread.join()
        os.close(reading)
        os.close(writing)


@asynccontextmanager
async def _beside_the_monitor() -> AsyncGenerator[None, None]:
    from trio_supervisor.daemon import BlockedLoopMonitor

    before = set(threading.enumerate())
    async with BlockedLoopMonitor():
        yield
    for thread in set(threading.enumerate()) - before:
        thread.join()  # else the next one is not alone
