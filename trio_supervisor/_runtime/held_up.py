"""What held the event loop up, as far as a monitor of that loop knows.

A shell notices that it is late, and cannot see why: the task that blocked the loop has gone on, and
no task runs while the process is suspended. A thread that watches the loop from outside sees both.
The only such thread is `trio_supervisor.daemon.BlockedLoopMonitor`, a room further up; so it leaves
the function to ask here.
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

monitors: Final[dict[int, Callable[[float], str]]] = {}
"""By the thread in which the loop runs: what held it up in the last so many seconds, or ``""``."""


def cause_of_lateness(seconds: float) -> str:
    """Return what has held up the loop of this thread for the last ``seconds``."""
    monitor = monitors.get(get_ident())
    known = "" if monitor is None else monitor(seconds)
    return known or "by a task that blocked it or because the process was suspended"
