"""What the supervisors of one tree share, and what a command is answered with."""

from __future__ import annotations

from random import Random
from time import time as wall_clock
from typing import TYPE_CHECKING, final

import trio

from trio_supervisor._events.journal import EventRecorder
from trio_supervisor._logging.tree_log import TreeLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_supervisor._attempts.context import ChildContext
    from trio_supervisor._attempts.observer import TreeObserver
    from trio_supervisor._events.fold import RawEvent
    from trio_supervisor._runtime.child_slot import Slot
    from trio_supervisor._runtime.journal_file import JournalFile, JournalWriter
    from trio_supervisor._runtime.shell import Shell


@final
class Tree:
    """What the supervisors of one tree share.

    Attributes:
        journal: Their events, in one sequence.
        log: The lines that it writes of them.
        thread: In which it runs; the only one in which it can be told anything.
        random: The source of jitter.
        nest: The body of a nested supervisor, below the shell that is its first argument.
        observer: What is told of everything in the tree, for tests.
    """

    __slots__ = (
        "_file",
        "_writer",
        "journal",
        "log",
        "nest",
        "observer",
        "random",
        "thread",
    )

    def __init__(
        self,
        random: Random | None,
        nest: Callable[[Shell, ChildContext], Awaitable[object]],
        observer: TreeObserver | None,
        journal: int | JournalFile | None = None,
    ) -> None:
        self.thread = 0
        self.nest = nest
        self.observer = observer
        clock = None if observer is None else observer.wall_clock()
        if random is None and observer is not None:
            random = observer.random()
        self.random = Random() if random is None else random  # noqa: S311 - jitter is no secret
        self._file = None if isinstance(journal, int) else journal
        self._writer: JournalWriter | None = None
        capacity = 1024 if journal is None else journal
        self.journal = EventRecorder(
            capacity if isinstance(capacity, int) else capacity.capacity,
            wall=wall_clock if clock is None else clock,
        )
        self.log = TreeLog()
        if observer is None or observer.writes_log:
            self.journal.tap = self.log.on_event

    def open_journal(self) -> None:
        """Begin to write the events to a file, if one was given.

        Raises:
            OSError: The file cannot be opened.
            SpecError: It is not a regular file, or another process writes it.
        """
        if self._file is None:
            return
        from trio_supervisor._runtime.journal_file import (  # noqa: PLC0415 - seldom used
            JournalWriter,
        )

        self._writer = JournalWriter(self._file, self.journal.present)
        log, write = self.journal.tap, self._writer.take
        if log is None:
            self.journal.tap = write
            return

        def tap(raw: RawEvent, error: BaseException | None) -> None:
            log(raw, error)
            write(raw, error)

        self.journal.tap = tap

    async def close_journal(self) -> None:
        """Write what is left, in a thread; waits for a disk that hangs, for five seconds."""
        if self._writer is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._writer.close)


@final
class Reply:
    """What became of a command; whoever gave it may wait for that."""

    __slots__ = ("answered", "attempt", "error", "lonely", "slot")

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.error: Exception | None = None
        self.slot: Slot | None = None
        self.attempt = 0  # the newest one of the child when the command was taken
        self.lonely = False  # nobody waits for it: a refusal goes to the log
