"""Every error that the library raises, and the one that a child raises to fail on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import trio_supervisor
from trio_supervisor._lazy import public
from trio_supervisor._text import short_repr, text_of

# All arguments after the message have defaults, and nothing is stored outside the instance's
# dictionary: that is what makes an exception survive pickling and copying.


@public
class SupervisorError(Exception):
    """Base of every error of this library.

    Raised itself where a supervisor cannot keep its promises (for example, other code cancelled
    its tasks) or a context is used where it has no meaning; the message says which.
    """


@public
@final
class SpecError(SupervisorError, ValueError):
    """A declaration that cannot work, found when it is made and before anything starts.

    Attributes:
        field: The option at fault, as one writes it (``"grace"``).
        value: What was given.
        expected: What would have been right, in words.
        owner: The object with that field (``"ChildSpec 'web'"``); may be empty.

    Example:
        ``ChildSpec 'web': grace=-1: expected seconds >= 0``
    """

    def __init__(
        self, field: str, value: object = None, expected: str = "", *, owner: str = ""
    ) -> None:
        super().__init__(field, value, expected)
        self.field = field
        self.value = value
        self.expected = expected
        self.owner = owner

    def __str__(self) -> str:
        owner = f"{self.owner}: " if self.owner else ""
        return f"{owner}{self.field}={short_repr(self.value)}: expected {self.expected}"


@public
@final
class ChildNotFound(SupervisorError, LookupError):
    """There is no child of that name or path; the message lists the existing ones."""


@public
@final
class ChildNotReady(SupervisorError):
    """A value was asked of a child that is not ready now; `ChildContext.wait_value` would wait."""


@public
class CommandRefused(SupervisorError):
    """A command that the tree will not carry out as it stands; nothing was changed."""


@public
@final
class ChildAlreadyExists(CommandRefused):
    """Another child has the name of the child to be started; it may be down."""


@public
@final
class TooManyChildren(CommandRefused):
    """The supervisor already has ``max_children`` children; one that is down counts."""


class TreeError(SupervisorError):
    """Base of the errors that end a supervisor: with the path, and the reports behind the error."""

    def __init__(
        self,
        message: str = "",
        *,
        path: str = "",
        reports: Sequence[trio_supervisor.ChildRunReport] = (),
    ) -> None:
        super().__init__(message)
        self.path = path
        self.reports: tuple[trio_supervisor.ChildRunReport, ...] = tuple(reports)

    @property
    def exceptions(self) -> tuple[BaseException, ...]:
        """The exceptions in the reports, oldest first; exits without one are left out."""
        found = (report.exit.error for report in self.reports)
        return tuple(error for error in found if error is not None)


@public
@final
class ChildStartError(TreeError):
    """A child failed before it was ever ready, and was not declared with ``retry_first_start``.

    What had been started with it was stopped again, in reverse order.

    Attributes:
        path: The child, as ``"app/store"``.
        exit: How its attempt ended, if it got as far as an attempt.
        reports: The attempts that failed, oldest first.
        exceptions: The exceptions in them. ``__cause__`` is the child's own error.
    """

    def __init__(
        self,
        message: str = "",
        *,
        path: str = "",
        exit: trio_supervisor.TaskExit | None = None,  # noqa: A002 - the word that every report uses
        reports: Sequence[trio_supervisor.ChildRunReport] = (),
    ) -> None:
        super().__init__(message, path=path, reports=reports)
        if exit is None and self.reports:
            exit = self.reports[-1].exit  # noqa: A001 - as the argument
        self.exit: trio_supervisor.TaskExit | None = exit


@public
@final
class RestartLimitExceeded(TreeError):
    """A child (or a whole supervisor) failed more often than its `RestartLimit` admits.

    Raised by the supervisor after all its children have been stopped in order; for a nested
    supervisor this is the crash that its parent sees. (OTP: the supervisor exits with
    ``shutdown`` after reached_max_restart_intensity.)

    Attributes:
        path: The child that failed once too often.
        limit: The limit that refused.
        last_exit: How its last attempt ended.
        reports: Its newest attempts, oldest first.
        exceptions: The exceptions in them; the error is raised ``from`` a group of these.
    """

    def __init__(
        self,
        message: str = "",
        *,
        path: str = "",
        limit: trio_supervisor.RestartLimit | None = None,
        last_exit: trio_supervisor.TaskExit | None = None,
        reports: Sequence[trio_supervisor.ChildRunReport] = (),
    ) -> None:
        super().__init__(message, path=path, reports=reports)
        self.limit = limit
        if last_exit is None and self.reports:
            last_exit = self.reports[-1].exit
        self.last_exit = last_exit


@public
@final
class ChildEscalated(TreeError):
    """A child's ``decide`` answered `Escalate`: the supervisor stopped in order and says so.

    Attributes:
        path: The child.
        reason: What `Escalate` was given as the reason; may be empty.
        reports: The reports of its newest attempts, oldest first.
        exceptions: The exceptions in the reports.
    """

    def __init__(
        self,
        message: str = "",
        *,
        path: str = "",
        reason: str = "",
        reports: Sequence[trio_supervisor.ChildRunReport] = (),
    ) -> None:
        super().__init__(message, path=path, reports=reports)
        self.reason = reason


@public
@final
class QuarantineError(TreeError):
    """All children are done, but policy had quarantined one: ``auto_shutdown`` ends as a failure.

    Raised with ``auto_shutdown="all_done"`` alone, for otherwise a quarantined child keeps its
    supervisor open.

    Attributes:
        path: The child; of several, the first in the order of their declaration.
        reports: The reports of the newest attempts of all quarantined children.
        exceptions: The exceptions in the reports. ``__cause__`` is the last one of each child, in a
            group if there are several.
    """


@public
@final
class SupervisorClosed(SupervisorError):
    """The supervisor has ended or is about to: it takes no more commands, and waiting is over."""


@public
class TaskFailure(Exception):
    """The exception that a child raises to fail on purpose, without the look of a bug.

    The attempt then ends as `Failed` instead of `Crashed`; restart policy treats both alike.

    Args:
        message: One line for the log.
        category: A label with few values, for counting and for ``decide``.

    Example:
        ``raise TaskFailure("upstream answered 503", category="upstream")``
    """

    # On the class as well, for subclasses that do not call this initializer.
    message: str = ""
    category: str = "error"

    def __init__(self, message: str = "", *, category: str = "error") -> None:
        if type(message) is not str:  # such as the exception behind it; its repr may raise
            message = text_of(message)
        super().__init__(message)
        self.message = message
        self.category = category


@public
@final
class PastError(Exception):
    """Stands in older reports for the exception that ended an attempt, as one line of text.

    Only a child's newest report holds the exception itself: a live traceback keeps every local
    variable of the dead attempt alive.
    """


def leaf_first(error: BaseException) -> str:
    """Return the text of ``error``; of a failure that came up through supervisors, innermost first.

    For example ``app/pool/db/link gave up: 10 restarts in 60s; last: crashed: OSError: no route;
    then app/pool/db gave up, app/pool escalated: no database``.
    """
    if not issubclass(type(error), TreeError):
        return text_of(error)
    try:
        *above, innermost = _levels(error)
        if not above:
            return text_of(error)
        return f"{text_of(innermost)}; then {', '.join(map(_step_up, reversed(above)))}"
    except BaseException:  # an error that a user has made may hold anything
        return text_of(error)


def _levels(error: BaseException) -> list[TreeError]:
    """``error``, the error that its child ended with, and so on down."""
    below: BaseException | None = error
    found: list[TreeError] = []
    while isinstance(below, TreeError) and len(found) < _MOST_LEVELS:
        found.append(below)
        below = below.reports[-1].exit.error if below.reports else None
    return found


_MOST_LEVELS = 1_000


def _step_up(error: TreeError) -> str:
    if isinstance(error, RestartLimitExceeded):
        return f"{error.path} gave up"
    if isinstance(error, ChildEscalated):
        return f"{error.path} escalated" + (f": {error.reason}" if error.reason else "")
    if isinstance(error, QuarantineError):
        return f"{error.path} was quarantined"
    return f"{error.path} failed to start"
