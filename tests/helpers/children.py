"""What tests of children that are processes share: running one, and looking for what it left."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from helpers.support import run_real
from trio_supervisor._attempts.runner import ChildRunHandle, ChildRunner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_supervisor import ChildRunReport, ChildSpec

SIZE = float(os.environ.get("CHILDREN_SIZE") or 0.05)
"""How large the large tests are, as a part of their full size; 1 is what the contract asks for."""


def python(code: str, *args: str) -> list[str]:
    """A command that runs ``code``."""
    return [sys.executable, "-S", "-c", code, *args]


def once(
    spec: ChildSpec[Any], act: Callable[[ChildRunHandle[Any]], Awaitable[object]] | None = None
) -> ChildRunReport:
    """Run ``spec`` once, on the real clock, while ``act(handle)`` does things to it."""

    async def main() -> ChildRunReport:
        async with trio.open_nursery() as nursery:
            handle = ChildRunner().spawn_once(nursery, spec)
            if act is not None:
                await act(handle)
        assert handle.report is not None
        return handle.report

    return run_real(main)


async def stop_when_ready(handle: ChildRunHandle[Any]) -> None:
    await handle.wait_ready()
    handle.request_stop("enough")


def is_alive(pid: int) -> bool:
    """Whether ``pid`` is a process that runs; one that waits to be collected does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def wait_gone(pids: list[int], seconds: float = 10) -> None:
    """Wait until none of ``pids`` runs."""
    deadline = time.monotonic() + seconds
    while alive := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < deadline, f"still alive: {alive}"
        time.sleep(0.01)


def children_of(parent: int) -> list[int]:
    """The ids of all children of a process, those that have ended and are not collected, too."""
    found: list[int] = []
    for path in Path(f"/proc/{parent}/task").glob("*/children"):
        found += map(int, path.read_text().split())
    return found


def open_files() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only their number matters


def resident() -> int:
    """How many bytes of memory this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def pids_in(path: Path) -> list[int]:
    """The process ids that programs have written into a file, one a line."""
    return [int(line) for line in path.read_text().split()] if path.exists() else []
