"""Collect what others leave behind: orphans, as PID 1 of a container or as a subreaper.

A process whose parent has ended is given to the nearest ancestor that is a subreaper, or to PID 1.
Nothing else can collect it when it ends, and until then it takes a place in the process table.

Waiting for "any child" would also collect the children that this program has started itself, and
their exit status would be lost: a failure would become a success. So each process is collected by
its own number, and only if nothing in this interpreter has started it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, final

import trio

from trio_supervisor.children import _own_processes

EVERY: Final = 1.0
"""Seconds between two looks."""
LOOKS: Final = 3
"""How often an ended process is seen before it is collected: its starter may just be waiting."""
_PR_SET_CHILD_SUBREAPER: Final = 36


def adopt_orphans() -> bool:
    """Become the process that orphans below us are given to; whether that works here."""
    if os.getpid() == 1:
        return True
    if sys.platform != "linux":
        return False
    try:
        library = ctypes.CDLL(None, use_errno=True)
        return bool(library.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


@final
class OrphanReaper:
    """Collects processes that have ended and that nothing in this interpreter has started.

    Adopted processes belong to the main thread. Of those that it started itself, Python knows in
    one of these ways: an object that holds the number (`subprocess.Popen` and the like), the list
    of this library, or a call of `os.fork`.

    Attributes:
        collected: How many were collected.
    """

    def __init__(self) -> None:
        self.collected = 0
        self._seen: dict[int, int] = {}  # ended processes, and how often each was seen
        self._forked: set[int] = set()
        self._known: set[int] = set()
        self._active = True
        os.register_at_fork(after_in_parent=self._note_fork)

    def _note_fork(self) -> None:
        if self._active:
            self._forked |= set(_adopted_or_forked()) - self._known

    async def keep(self) -> None:
        """Look regularly until cancelled."""
        try:
            while True:
                self.look()
                await trio.sleep(EVERY)
        finally:
            self._active = False

    def look(self) -> None:
        """Collect what was seen ended often enough."""
        with _own_processes.lock:
            present = set(_adopted_or_forked())
            self._forked &= present
            self._known = present
            ended = [pid for pid in present - _own_processes.started if _has_ended(pid)]
            self._seen = {pid: self._seen.get(pid, 0) + 1 for pid in ended}
            due = [pid for pid, times in self._seen.items() if times >= LOOKS]
            if not due:
                return
            ours = self._forked | _held()
            for pid in due:
                if pid not in ours:
                    _collect(pid)
                    self.collected += 1


def _held() -> set[int]:
    """The numbers of the processes that an object of this interpreter is responsible for."""
    kinds: tuple[Any, ...] = (subprocess.Popen,)
    forking = sys.modules.get("multiprocessing.popen_fork")
    if forking is not None:
        kinds = (*kinds, forking.Popen)
    return {thing.pid for thing in gc.get_objects() if isinstance(thing, kinds)}


def _has_ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _collect(pid: int) -> None:
    with suppress(ChildProcessError):  # collected meanwhile, by whatever had started it
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)


def _adopted_or_forked() -> list[int]:
    """The children of the main thread."""
    pid = os.getpid()
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (OSError, ValueError):  # this system has no such list
        return []
