"""The messages that are posted to a supervisor, by type.

Most messages are signals of the brain and go to it as they are. An `Attempt` is posted when its
scope has closed: the message is the attempt itself, so that an exit costs no further object. The
rest is defined here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, final

import trio

from trio_supervisor._record import MutableRecord

if TYPE_CHECKING:
    from contextvars import Context

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._brain.messages import (
        BecameReady,
        Command,
        GraceForfeited,
        LostReadiness,
        Shutdown,
        StartExtended,
    )
    from trio_supervisor._events.exits import ChildRunReport
    from trio_supervisor._runtime.child_slot import Slot


@final
class HeartbeatNotice(MutableRecord):
    """``attempt`` has sent heartbeats or announced silence; the latest is stored in it."""

    attempt: Attempt


@final
class CommandRequest(MutableRecord):
    """A command, and where its answer goes.

    ``context`` is the one in which the child of an `AddChild` is to run; `None` for others.
    """

    command: Command
    context: Context | None
    reply: Reply


@final
class ParentStop(MutableRecord):
    """The attempt in which this nested supervisor runs was asked to stop, or to stop earlier."""

    attempt: Attempt


@final
class NurseryCancelled(MutableRecord):
    """The nursery of the children's tasks was cancelled by something other than the supervisor."""

    source: str


@final
class Reply:
    """The reply to one command: accepted, or refused with ``error``.

    The command is answered when the machine has processed it. The effect, such as the end of an
    attempt, may come later.

    Args:
        no_waiter: Whether no task waits for the reply to an addition, so that a refusal goes to the
            log.

    Attributes:
        is_answered: Whether the command was answered.
        error: Why the command was refused.
        slot: The child that the command was about.
        attempt: The newest attempt of that child when the command was taken.
        failed_start: For an added child that failed before it was ready: how.
    """

    __slots__ = (
        "_answered",
        "attempt",
        "error",
        "failed_start",
        "is_answered",
        "no_waiter",
        "slot",
    )

    def __init__(self, *, no_waiter: bool = False) -> None:
        self.is_answered = False
        self._answered: trio.Event | None = None  # most additions to a pool are not waited for
        self.error: Exception | None = None
        self.slot: Slot | None = None
        self.attempt = 0
        self.failed_start: ChildRunReport | None = None
        self.no_waiter = no_waiter

    def refuse(self, error: Exception) -> None:
        """Answer that the command was refused."""
        self.error = error
        self.answer()

    def answer(self) -> None:
        """Let the waiting task go on."""
        self.is_answered = True
        if self._answered is not None:
            self._answered.set()

    async def wait(self) -> None:
        """Wait until the command is answered."""
        if self._answered is None:
            self._answered = trio.Event()
        if self.is_answered:
            self._answered.set()
        await self._answered.wait()


if TYPE_CHECKING:
    Message: TypeAlias = (
        Attempt
        | BecameReady
        | LostReadiness
        | StartExtended
        | GraceForfeited
        | Shutdown
        | HeartbeatNotice
        | CommandRequest
        | ParentStop
        | NurseryCancelled
    )
