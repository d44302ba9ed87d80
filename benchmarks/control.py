"""``python -m benchmarks.control``: what the control socket costs a tree that is busy.

A tree of 1,000 children restarts as fast as it can while a client in another process gives 10,000
commands a second over the control socket. All figures are processor time of the tree's process, so
that they hold on a machine that is busy otherwise. The last row compares ``trio-supervisor tree``
with ``python -c ''``.
"""

from __future__ import annotations

import gc
import json
import logging
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import trio

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    Supervisor,
    SupervisorSpec,
    open_supervisor,
)
from trio_supervisor.control import open_control

CHILDREN = 1000
COMMANDS = 20_000
RATE = 10_000
BATCH = 50
TREE_BAR = 2.5

CLIENT = """
import json, socket, sys, time
path, count, rate, batch = sys.argv[1], *map(int, sys.argv[2:])
client = socket.socket(socket.AF_UNIX)
client.connect(path)
answers = client.makefile("rb")
def line(verb, name):
    args = {"names": [name], "wait": False, "reason": "benchmark"}
    return json.dumps({"v": 1, "verb": verb, "args": args}).encode() + b"\\n"
piece = b"".join(line(("stop", "restart")[n % 2], "app/idle-%d" % (n // 2)) for n in range(batch))
begun = time.perf_counter()
refused = 0
for number in range(count // batch):
    client.sendall(piece)
    for _ in range(batch):
        refused += b'"ok": true' not in answers.readline()
    ahead = begun + (number + 1) * batch / rate - time.perf_counter()
    if ahead > 0:
        time.sleep(ahead)
print(json.dumps([time.perf_counter() - begun, refused]))
"""


async def crash(child: ChildContext) -> None:
    await trio.lowlevel.checkpoint()
    raise ConnectionResetError


def spec() -> SupervisorSpec:
    soon = BackoffPolicy.delays(1)
    busy = [
        ChildSpec(f"busy-{n}", crash, backoff=soon, restart_limit=None) for n in range(CHILDREN)
    ]
    idle = [ChildSpec(f"idle-{n}", sleep_for_ever) for n in range(BATCH)]
    return SupervisorSpec("app", [*busy, *idle])


async def sleep_for_ever(child: ChildContext) -> None:
    await trio.sleep_forever()


def restarts_of(supervisor: Supervisor) -> int:
    return sum(child.restarts for child in supervisor.state().children)


async def cost_of_restarts(supervisor: Supervisor, seconds: float) -> tuple[float, float]:
    """Processor time of one restart in microseconds, and restarts per second."""
    before, begun, wall = restarts_of(supervisor), time.process_time(), time.perf_counter()
    await trio.sleep(seconds)
    used, passed = time.process_time() - begun, time.perf_counter() - wall
    count = restarts_of(supervisor) - before
    return used / count * 1e6, count / passed


async def measure() -> None:
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as place:
        path = str(Path(place, "s"))
        async with (
            open_supervisor(spec()) as supervisor,
            open_control(supervisor, path),
        ):
            gc.collect()
            await trio.sleep(1)
            alone, rate = await cost_of_restarts(supervisor, 5)
            print(f"restart, nobody commands: {alone:.0f} us of processor time, {rate:.0f}/s")
            arguments = [path, str(COMMANDS), str(RATE), str(BATCH)]
            before, begun = restarts_of(supervisor), time.process_time()
            done = await trio.run_process(
                [sys.executable, "-c", CLIENT, *arguments], capture_stdout=True
            )
            used = time.process_time() - begun
            count = restarts_of(supervisor) - before
            seconds, refused = json.loads(done.stdout)
            print(
                f"commands: {COMMANDS} in {seconds:.1f}s = {COMMANDS / seconds:.0f}/s,"
                f" {refused} refused; meanwhile {count} restarts ({count / seconds:.0f}/s)"
            )
            each = (used - count * alone / 1e6) / COMMANDS * 1e6
            print(f"one command: {each:.0f} us of processor time, restarts counted at {alone:.0f}")
            after, rate = await cost_of_restarts(supervisor, 5)
            print(f"restart afterwards: {after:.0f} us, {rate:.0f}/s ({after / alone:.2f} x)")


def processor_time(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_client() -> None:
    """``trio-supervisor tree`` against an interpreter that does nothing."""
    with tempfile.TemporaryDirectory() as place:
        path = str(Path(place, "s"))
        ready, over = threading.Event(), threading.Event()

        async def serve() -> None:
            small = SupervisorSpec("app", [ChildSpec(f"c{n}", sleep_for_ever) for n in range(10)])
            async with open_supervisor(small) as supervisor, open_control(supervisor, path):
                ready.set()
                await trio.to_thread.run_sync(over.wait)

        server = threading.Thread(target=trio.run, args=(serve,))
        server.start()
        ready.wait()
        try:
            tree = "from trio_supervisor.cli._main import main; main(['tree', '--socket', %r])"
            commands = [[sys.executable, "-c", code] for code in ("", tree % path)]
            rounds = [[processor_time(each) for each in commands] for _ in range(21)]
        finally:
            over.set()
            server.join()
    bare, client = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = client / bare
    verdict = "met" if ratio <= TREE_BAR * 1.05 else "NOT met"
    print(
        f"trio-supervisor tree: {client * 1e3:.1f} ms against {bare * 1e3:.1f} ms"
        f" = {ratio:.2f} x (bar {TREE_BAR}: {verdict})"
    )


if __name__ == "__main__":
    assert socket.AF_UNIX
    trio.run(measure)
    measure_client()
