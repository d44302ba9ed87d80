"""Decisions: what a child's ``decide`` may return instead of the restart table."""

from __future__ import annotations

from typing import Final, TypeAlias, final

from trio_supervisor._lazy import public
from trio_supervisor._record import Record
from trio_supervisor._specs.checks import check_seconds
from trio_supervisor._text import as_reason


@public
class Restart(Record):
    """A decision of ``decide``: restart, whatever the restart policy says; limits still apply.

    Args:
        delay: Seconds to wait, finite; `None` for what the child's backoff says.

    Raises:
        SpecError: A delay that is no number of seconds.
    """

    delay: float | None = None

    def _check(self) -> None:
        if self.delay is not None:
            check_seconds("Restart", "delay", self.delay, finite=True)


@public
@final
class RestartAfter(Restart):
    """A decision of ``decide``: restart after ``delay`` seconds instead of the child's backoff.

    Args:
        delay: Seconds to wait, finite.

    Raises:
        SpecError: A delay that is no number of seconds.

    Example:
        ``return RestartAfter(error.retry_after)``
    """

    def __init__(self, delay: float) -> None:
        super().__init__(check_seconds("RestartAfter", "delay", delay, finite=True))


@public
@final
class DoNotRestart(Record):
    """A decision of ``decide``: the child is done, as if it were transient and had returned."""


@public
@final
class Quarantine(Record):
    """A decision of ``decide``: take the child down until a command restarts it.

    Args:
        reason: One line for the log and the snapshot.
    """

    reason: str = ""

    def _check(self) -> None:
        object.__setattr__(self, "reason", as_reason(self.reason))


@public
@final
class Escalate(Record):
    """A decision of ``decide``: stop all siblings in order and fail with `ChildEscalated`.

    Args:
        reason: One line for the error.
    """

    reason: str = ""

    def _check(self) -> None:
        object.__setattr__(self, "reason", as_reason(self.reason))


@public
@final
class ShutdownTree(Record):
    """A decision of ``decide``: stop the whole tree in order, from its root, without an error.

    Args:
        reason: One line for the log and the shutdown report.
    """

    reason: str = ""

    def _check(self) -> None:
        object.__setattr__(self, "reason", as_reason(self.reason))


RestartDecision: TypeAlias = Restart | DoNotRestart | Quarantine | Escalate | ShutdownTree
"""What ``decide`` may return; `None` leaves it to the table. (`RestartAfter` is a `Restart`.)"""
DECISIONS: Final = (Restart, RestartAfter, DoNotRestart, Quarantine, Escalate, ShutdownTree)
