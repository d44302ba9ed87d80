"""The end of a daemon: the exit code, and what the log says about it."""

from __future__ import annotations

import logging
from enum import IntEnum
from typing import TYPE_CHECKING, Final, final

from trio_supervisor._errors import TreeError
from trio_supervisor._events.events import ChildCancelled, ChildStopRequested, SupervisorStopping
from trio_supervisor._events.exits import leaves
from trio_supervisor._lazy import public
from trio_supervisor._logging.safe import say
from trio_supervisor._text import one_line, some, text_of

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._events.events import Event
    from trio_supervisor._events.shutdown import ShutdownReport

_log = logging.getLogger("trio_supervisor.daemon")
_tree_log = logging.getLogger("trio_supervisor")
MOST_NAMES: Final = 8


@public
@final
class ExitCode(IntEnum):
    """The way in which `run` ends the process, as the operator sees it; the table is in `run`."""

    ORDERLY = 0
    FAILED = 1
    BAD_SPEC = 2
    START_FAILED = 3
    UNRESPONSIVE = 4
    CUT_OFF = 5
    SIGNAL = 128
    """Not a code itself: 128 + the number of the signal."""


@final
class Ending:
    """The end of the tree, as far as it is known yet.

    Attributes:
        name: The root's name.
        was_ready: Whether the first start was complete.
        signals: That asked for the stop, oldest first.
        drain_was_cut: Whether the second signal came while the tree was draining.
        lost_grace: The attempts with a grace that were alive when the second signal dropped it.
        report: How each child ended, once the supervisor has ended in order.
        error: That the supervisor has raised.
        cut_off: Paths of the children that were given a grace and used it up.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.was_ready = False
        self.signals: list[signal.Signals] = []
        self.drain_was_cut = False
        self.lost_grace: list[Attempt] = []
        self.report: ShutdownReport | None = None
        self.error: Exception | None = None
        self.cut_off: tuple[str, ...] = ()

    def conclude(self) -> int:
        """Log what the supervisor has not logged, and say what the exit code is."""
        if self.error is not None:
            return self._conclude_error(self.error)
        if self.second_signal_counted:
            second = self.signals[1]
            code = ExitCode.SIGNAL + second
            self._say("stopped, but it took a second signal, %s (exit code %d)", second.name, code)
            return code
        if self.report is not None and self.report.unresponsive:
            paths = [child.path for child in self.report.unresponsive]
            code = ExitCode.UNRESPONSIVE
            who = some(paths, MOST_NAMES, ", ")
            self._say("stopped, but some did not end when cancelled: %s (exit code %d)", who, code)
            return code
        if self.cut_off:
            code = ExitCode.CUT_OFF
            who = some(self.cut_off, MOST_NAMES, ", ")
            self._say("stopped, but the grace of some ran out: %s (exit code %d)", who, code)
            return code
        return ExitCode.ORDERLY

    @property
    def second_signal_counted(self) -> bool:
        """Whether the second signal ended the drain, or an attempt that would have ended later."""
        cut = any(attempt.aborted and not attempt.returned for attempt in self.lost_grace)
        return self.drain_was_cut or cut

    def _say(self, text: str, *args: object) -> None:
        say(_log, logging.WARNING, f"%s {text}", self.name, *args)

    def _conclude_error(self, error: Exception) -> ExitCode:
        code = ExitCode.FAILED if self.was_ready else ExitCode.START_FAILED
        what = "failed" if self.was_ready else "could not be started"
        # The tree has logged each failure behind its error when it happened, with its traceback.
        is_told = isinstance(error, TreeError) and _tree_log.isEnabledFor(logging.ERROR)
        say(
            _log,
            logging.CRITICAL,
            "%s %s: %s: %s (exit code %d)",
            self.name,
            what,
            type(error).__name__,
            one_line(str(error)),
            code,
            exc_info=None if is_told else (type(error), error, error.__traceback__),
        )
        return code

    def first_of(self, error: BaseException) -> BaseException:
        """The one error, of all that have ended the tree, with which the process ends.

        If there are several, all are logged: Python itself says nothing of a `SystemExit`.
        """
        found = list(leaves(error))
        for leaf in tuple(found):
            beside = not isinstance(leaf, Exception)  # what one child raised together with it
            if beside and isinstance(leaf.__cause__, BaseExceptionGroup):
                found.extend(leaves(leaf.__cause__))
        exits = [leaf for leaf in found if isinstance(leaf, SystemExit)]
        interrupts = [leaf for leaf in found if isinstance(leaf, KeyboardInterrupt)]
        errors = [leaf for leaf in found if isinstance(leaf, Exception)]
        if len(found) > 1:
            code = f" (exit code {_code_of(exits[0])})" if exits else ""
            what = some([_in_short(leaf) for leaf in found], MOST_NAMES, "; ")
            rest: Exception | None = None
            if errors:
                rest = ExceptionGroup("beside it", errors) if len(errors) > 1 else errors[0]
            say(
                _log,
                logging.CRITICAL,
                "%s ended by several things: %s%s",
                self.name,
                what,
                code,
                exc_info=None if rest is None else (type(rest), rest, rest.__traceback__),
            )
        return next(iter((*exits, *interrupts)), error)


def cut_off_in(events: Iterable[Event]) -> tuple[str, ...]:
    """The children that were given a grace in the last stop of the tree, and used it up.

    Args:
        events: The newest events of the tree, as a journal keeps them. A child of which only the
            cancel is left was asked long before.
    """
    graces: dict[str, float] = {}
    found: dict[str, None] = {}
    root = ""
    for event in events:
        if isinstance(event, SupervisorStopping):
            if not root or root.startswith(f"{event.path}/"):
                root = event.path
        elif isinstance(event, ChildStopRequested):
            graces[event.path] = event.grace
        elif isinstance(event, ChildCancelled) and root and graces.get(event.path, 1) > 0:
            found[event.path] = None
    return tuple(found)


def _in_short(error: BaseException) -> str:
    text = one_line(text_of(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _code_of(error: SystemExit) -> object:
    """The exit code that Python makes of ``error`` when the process ends."""
    if error.code is None:
        return 0
    return error.code if isinstance(error.code, int) else 1
