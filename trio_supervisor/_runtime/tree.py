"""Tree: the journal, log and settings that the supervisors of one tree share."""

from __future__ import annotations

from random import Random
from threading import get_ident
from time import time as wall_clock
from typing import TYPE_CHECKING, Any, Protocol, final

import trio

from trio_supervisor._errors import SupervisorError
from trio_supervisor._events.journal import EventRecorder
from trio_supervisor._logging.tree_log import TreeLog

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from contextlib import AbstractAsyncContextManager

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._attempts.context import ChildContext
    from trio_supervisor._attempts.observer import TreeObserver
    from trio_supervisor._events.fold import RawEvent
    from trio_supervisor._runtime.journal_file import JournalFile, JournalWriter
    from trio_supervisor._runtime.shell import Shell
    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor._specs.supervisor import SupervisorSpec


class BlockFactory(Protocol):
    """Makes the blocks of the supervisors below a shell."""

    def run_nested(self, context: ChildContext) -> Awaitable[object]:
        """Run a nested supervisor as the body of the attempt of ``context``."""
        ...

    def opened_by(
        self,
        parent: Shell,
        attempt: Attempt,
        spec: SupervisorSpec | None,
        options: Any,
        *,
        wait_ready: bool,
    ) -> AbstractAsyncContextManager[Supervisor]:
        """Return a supervisor that the body of ``attempt``, of ``parent``, opens."""
        ...


@final
class Tree:
    """The journal, log and settings that the supervisors of one tree share.

    Args:
        random: The source of jitter; `None` asks the observer, or else makes one.
        blocks: Makes the blocks of nested supervisors. An argument, because shells make blocks, and
            blocks make shells.
        observer: What is told of everything in the tree, for tests.
        journal: How many events are kept in memory, or a file to write them to as well.

    Attributes:
        journal: The events of all supervisors of the tree, in one sequence.
        log: Writes log lines about these events.
        thread: In which the tree runs.
    """

    __slots__ = (
        "_file",
        "_writer",
        "blocks",
        "journal",
        "log",
        "observer",
        "random",
        "thread",
    )

    def __init__(
        self,
        random: Random | None,
        blocks: BlockFactory,
        observer: TreeObserver | None,
        journal: int | JournalFile | None = None,
    ) -> None:
        self.thread = 0
        self.blocks = blocks
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
            self.journal.tap = self.log.take

    def enter(self) -> None:
        """The tree runs in this thread from now on; its events go to a file if one was given.

        Raises:
            OSError: The file cannot be opened.
            SpecError: It is not a regular file, or another process writes it.
        """
        self.thread = get_ident()
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

    async def leave(self) -> None:  # noqa: ASYNC910 - waits only for a file
        """Write the events that are left to the file; a disk that hangs delays this by 5 s."""
        if self._writer is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._writer.close)
        self.journal.tap = None
        self.log.untie()

    def check_thread(self, path: str, what: str = "commands have to be given") -> None:
        """Refuse a call from another thread than the one in which the tree runs.

        Trio's channel would be left in a state in which no task that waits for it wakes any more.

        Raises:
            SupervisorError: This is another thread.
        """
        if get_ident() != self.thread:
            raise SupervisorError(
                f"{path}: {what} in Trio's thread; from this one, "
                "trio.from_thread.run() and trio.from_thread.run_sync() do that"
            )
