"""Where the tasks of an attempt hang, as lines for people."""

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
    from trio_supervisor._runtime.shell import Shell

_MOST_TASKS = 50
_TRIO_HOME = str(PurePath(trio.__file__).parent)
_OUR_HOME = str(PurePath(__file__).parents[1])
_PYTHONS_HOME = str(PurePath(threading.__file__).parent)

threads: Final[dict[trio.lowlevel.Task, tuple[int, Callable[..., object]]]] = {}
"""Tasks that wait for a function in a thread of theirs: the thread's ident, and the function."""


def stacks_of(attempt: Attempt) -> tuple[str, ...]:
    """One line per task inside the attempt: ``handler.py:88 in flush() [task name]``.

    Of a task that waits for the thread of an `in_thread` child, the line says where that one is.
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


def stacks_below(shell: Shell) -> Iterator[str]:
    """The same for every attempt that is alive below a supervisor, nested ones included."""
    pending = [shell]
    for above in pending:
        for slot in above.slots.values():
            if slot.nested is not None:
                pending.append(slot.nested)
            elif slot.attempt is not None:
                yield from stacks_of(slot.attempt)


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
        if not frame.f_code.co_filename.startswith(_TRIO_HOME) or best == "before its first step":
            best = _where(frame.f_code, line)
    return best


def _in_thread(task: trio.lowlevel.Task) -> str:
    """Where the thread is that ``task`` waits for; empty if there is none, or none any more."""
    ident, function = threads.get(task, (0, None))
    if function is None:
        return ""
    best = next((each for each in _frames_of(ident) if _is_users(each[0])), None)
    # A function that is not written in Python has no frame.
    where = f"in {label_of(function)}()" if best is None else _where(*best)
    return f"{where} [thread of {task.name}]"


def _frames_of(ident: int) -> Iterator[tuple[CodeType, int]]:
    """What a child is doing in its thread, innermost first, while it goes on doing other things."""
    frame: FrameType | None = sys._current_frames().get(ident)
    while frame is not None and not _is_the_beginning(frame.f_code):
        yield frame.f_code, frame.f_lineno or frame.f_code.co_firstlineno  # there may be no line
        frame = frame.f_back


def _is_the_beginning(code: CodeType) -> bool:
    """Whether it is the `in_thread` adapter's: what lies around that is of no interest."""
    return code.co_name == "_work" and code.co_filename.startswith(_OUR_HOME)


def _is_users(code: CodeType) -> bool:
    """Whether it is neither Trio's, nor ours, nor of Python's library."""
    name = code.co_filename
    pythons = name.startswith((_PYTHONS_HOME, "<frozen")) and "site-packages" not in name
    return not (pythons or name.startswith((_TRIO_HOME, _OUR_HOME)))


def _where(code: CodeType, line: int) -> str:
    return f"{PurePath(code.co_filename).name}:{line} in {code.co_name}()"
