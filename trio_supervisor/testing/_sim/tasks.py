"""Tasks of a Trio run: finding them, showing where they wait, and waiting for all of them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
from trio.testing import wait_all_tasks_blocked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def all_tasks() -> list[trio.lowlevel.Task]:
    """Every task of the running program, Trio's own among them."""
    root = trio.lowlevel.current_root_task()
    found = []
    pending = [] if root is None else [root]
    while pending:
        task = pending.pop()
        found.append(task)
        for nursery in task.child_nurseries:
            pending.extend(nursery.child_tasks)
    return found


def show_tasks(task: trio.lowlevel.Task, indent: str = "") -> Iterator[str]:
    """Yield a line for ``task`` and each task below it: its name and the lines where it waits."""
    frames = [
        f"{frame.f_code.co_filename.rpartition('/')[2]}:{line} {frame.f_code.co_name}"
        for frame, line in task.iter_await_frames()
    ]
    yield f"{indent}{task.name}: {' > '.join(frames[-4:])}"
    for nursery in task.child_nurseries:
        for child in sorted(nursery.child_tasks, key=lambda task: task.name):
            yield from show_tasks(child, indent + "  ")


async def settle() -> None:
    """Wait until every task waits for something; no time passes."""
    await wait_all_tasks_blocked()


@asynccontextmanager
async def open_bare_nursery() -> AsyncIterator[trio.Nursery]:
    """Open a nursery that raises a single error as it is, without a group around it."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        errors = [e for e in group.exceptions if not isinstance(e, trio.Cancelled)]
        if len(errors) != 1:
            raise
        raise errors[0] from errors[0].__cause__


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """Yield every exception of a group, at any depth; of any other exception, itself."""
    pending = [error]
    while pending:
        one = pending.pop()
        if isinstance(one, BaseExceptionGroup):
            pending.extend(one.exceptions)
        else:
            yield one
