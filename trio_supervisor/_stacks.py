"""Where the tasks of an attempt hang, as lines for people."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_supervisor._attempt import Attempt

_MOST_TASKS = 50
_TRIO_HOME = str(PurePath(trio.__file__).parent)


def stacks_of(attempt: Attempt) -> tuple[str, ...]:
    """One line per task inside the attempt: ``handler.py:88 in flush() [task name]``."""
    if attempt.task is None:
        return ()
    lines: list[str] = []
    for task in _tasks_inside(attempt.task):
        if len(lines) == _MOST_TASKS:
            lines.append("... and more tasks")
            break
        lines.append(f"{_innermost(task)} [{task.name}]")
    return tuple(lines)


def _tasks_inside(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    pending = [task]
    while pending:
        found = pending.pop(0)
        yield found
        for nursery in found.child_nurseries:
            pending.extend(sorted(nursery.child_tasks, key=lambda child: child.name))


def _innermost(task: trio.lowlevel.Task) -> str:
    """The innermost frame that is not Trio's own; that is where a reader can do something."""
    best = "before its first step"
    for frame, line in task.iter_await_frames():
        code = frame.f_code
        where = f"{PurePath(code.co_filename).name}:{line} in {code.co_name}()"
        if not code.co_filename.startswith(_TRIO_HOME) or best == "before its first step":
            best = where
    return best
