"""The notes that the program itself leaves in the trace."""

from __future__ import annotations

import trio

from trio_supervisor._attempts.attempt import current_attempt
from trio_supervisor._lazy import public
from trio_supervisor.testing._oracle.watch import Note, current_watch


@public
def note(*parts: object) -> None:
    """Say in the trace of a simulated run what your program is doing right now.

    `Trace.render` shows the notes between the events, each with its time, its child and its task:
    so a counterexample shows which task did what, in which order. Outside of a simulated run the
    call does nothing, and costs next to nothing.

    Args:
        *parts: Shown with spaces between them, as `print` would.

    Example:
        ``note("sold", item)``
    """
    watch = current_watch()
    if watch is None:
        return
    task = trio.lowlevel.current_task() if trio.lowlevel.in_trio_task() else None
    attempt = current_attempt.get(None)
    name = "" if task is None else task.name
    if attempt is not None and attempt.task_name != name:
        name = f"{attempt.task_name} {name}".strip()
    time = 0.0 if task is None else trio.current_time()
    watch.history.append(Note(time, name, " ".join(map(str, parts))))
