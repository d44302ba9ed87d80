"""What tests share: ``from support import run_virtual``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import trio
from trio.testing import MockClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Virtual seconds after which a test that is still waiting waits for something that never comes.
VIRTUAL_LIMIT = 100_000.0
REAL_LIMIT = 60.0


def run_virtual(
    async_fn: Callable[[*Ts], Awaitable[T]], *args: *Ts, limit: float = VIRTUAL_LIMIT
) -> T:
    """Run ``async_fn(*args)`` in virtual time: sleeping costs nothing, and a deadlock is an error.

    Nothing that happens in threads or processes can be waited for in virtual time; use `run_real`.

    Raises:
        AssertionError: after ``limit`` virtual seconds; it shows where every task was waiting.
    """
    clock = MockClock(autojump_threshold=0)
    return trio.run(_watched, async_fn, args, limit, clock=clock)


def run_real(async_fn: Callable[[*Ts], Awaitable[T]], *args: *Ts, limit: float = REAL_LIMIT) -> T:
    """Run ``async_fn(*args)`` on the real clock.

    Raises:
        AssertionError: after ``limit`` seconds; it shows where every task was waiting.
    """
    return trio.run(_watched, async_fn, args, limit)


async def _watched(
    async_fn: Callable[..., Awaitable[T]], args: tuple[object, ...], limit: float
) -> T:
    report: list[str] = []
    with trio.CancelScope() as scope:
        trio.lowlevel.spawn_system_task(
            _watch, scope, limit, report, trio.lowlevel.current_task(), name="test watch"
        )
        try:
            return await async_fn(*args)
        except BaseException as error:
            if report:
                error.add_note(report[0])
            raise
    raise AssertionError(report[0])


async def _watch(
    scope: trio.CancelScope, limit: float, report: list[str], main: trio.lowlevel.Task
) -> None:
    # In a system task, so that what is tested runs neither in a nursery nor beside one.
    await trio.sleep(limit)
    report.append(f"still waiting after {limit:g} s:\n" + "\n".join(task_tree(main)))
    # A task that refuses the cancel hangs all the same; then this is what the reader finds.
    print(report[0], file=sys.stderr, flush=True)
    scope.cancel(reason="the test has been waiting for too long")


def task_tree(task: trio.lowlevel.Task, indent: str = "") -> Iterator[str]:
    """One line for each task under ``task``: its name, and where it waits."""
    frames = [
        f"{frame.f_code.co_filename.rpartition('/')[2]}:{line} {frame.f_code.co_name}"
        for frame, line in task.iter_await_frames()
    ]
    yield f"{indent}{task.name}: {' > '.join(frames)}"
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from task_tree(child, indent + "  ")
