"""The processes that this library has started, for code that collects the exits of others.

A reaper of adopted orphans has to leave the ids in `started` alone: their exit status belongs to a
child. It has to hold `lock` while it looks for a process to collect, because a process is in no
list yet between its fork and its entry.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import Final

lock: Final = Lock()
"""Held while a process is being started."""

started: Final[set[int]] = set()
"""The ids of the processes that have not been collected yet."""


def _forget() -> None:
    """In a forked child of this process: it has none of them."""
    started.clear()
    lock._at_fork_reinit()  # type: ignore[attr-defined]  # as the standard library does


os.register_at_fork(after_in_child=_forget)
