"""The places where the tasks of an attempt wait, as lines for people."""

from __future__ import annotations

import sys
import threading
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

import trio

from trio_supervisor._specs.body import label_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType

    from trio_supervisor._attempts.attempt import Attempt

_MOST_TASKS = 50
_TRIO_HOME = str(PurePath(trio.__file__).parent)
_OUR_HOME = str(PurePath(__file__).parents[1])
_PYTHONS_HOME = str(PurePath(threading.__file__).parent)

threads: Final[dict[trio.lowlevel.Task, tuple[int, Callable[..., object]]]] = {}
"""Tasks that wait for a function in a thread of theirs: the thread's ident, and the function."""


def stacks_of(attempt: Attempt) -> tuple[str, ...]:
    """One line per task inside the attempt: ``handler.py:88 in flush() [task name]``.

    For a task that waits for the thread of an `in_thread` child, the line gives the place in that
    thread.
    """
    if attempt.task is None:
        return ()
    lines: list[str] = []
    for task in _tasks_inside(attempt.task):
        if len(lines) == _MOST_TASKS:
            lines.append("... and more tasks")
            break
        lines.append(_in_thread(task) or f"{_innermost(task)} [{task.name}]")
    return tuple(lines)


def _tasks_inside(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    pending = [task]
    while pending:
        found = pending.pop(0)
        yield found
        for nursery in found.child_nurseries:
            pending.extend(sorted(nursery.child_tasks, key=lambda child: child.name))


def _innermost(task: trio.lowlevel.Task) -> str:
    """Return the place of the innermost frame where a reader can change something.

    That is the user's code. A task without such a frame is at the innermost one outside Trio.
    """
    best = "before its first step"
    rank = 0
    for frame, line in task.iter_await_frames():
        code = frame.f_code
        found = 3 if _is_users(code) else 1 if code.co_filename.startswith(_TRIO_HOME) else 2
        if (found > 1 and found >= rank) or not rank:
            rank, best = found, _where(code, line)
    return best


def _in_thread(task: trio.lowlevel.Task) -> str:
    """Return the place of the thread that ``task`` waits for; empty if there is none (any more)."""
    ident, function = threads.get(task, (0, None))
    if function is None:
        return ""
    best = next((each for each in _frames_of(ident) if _is_users(each[0])), None)
    # A function that is not written in Python has no frame.
    where = f"in {label_of(function)}()" if best is None else _where(*best)
    return f"{where} [thread of {task.name}]"


def _frames_of(ident: int) -> Iterator[tuple[CodeType, int]]:
    """The frames of a thread, innermost first. The thread goes on running meanwhile."""
    frame: FrameType | None = sys._current_frames().get(ident)
    while frame is not None and not _is_the_beginning(frame.f_code):
        yield frame.f_code, frame.f_lineno or frame.f_code.co_firstlineno  # there may be no line
        frame = frame.f_back


def _is_the_beginning(code: CodeType) -> bool:
    """Whether ``code`` is that of the `in_thread` adapter: frames outside of it are not shown."""
    return code.co_name == "_work" and code.co_filename.startswith(_OUR_HOME)


def _is_users(code: CodeType) -> bool:
    """Whether ``code`` belongs to neither Trio, nor this package, nor Python's library."""
    name = code.co_filename
    pythons = name.startswith((_PYTHONS_HOME, "<frozen")) and "site-packages" not in name
    return not (pythons or name.startswith((_TRIO_HOME, _OUR_HOME)))


def place_of(code: CodeType, line: int | None) -> str | None:
    """Return the place as for `stacks_of`; `None` for code that is not the user's."""
    return _where(code, line or code.co_firstlineno) if _is_users(code) else None


def _where(code: CodeType, line: int) -> str:
    return f"{PurePath(code.co_filename).name}:{line} in {code.co_name}()"
