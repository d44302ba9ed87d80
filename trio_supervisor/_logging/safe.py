"""Write log records that say when something happened, whatever handlers and filters do.

A broken log is no reason to end a tree: what a logger, handler or filter raises goes to standard
error, as far as that works.
"""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from trio_supervisor._events.tracebacks import is_tame, traceback_text, trimmed, trimmed_text
from trio_supervisor._text import short_repr

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def say(
    logger: logging.Logger, level: int, text: str, *args: object, exc_info: ExcInfo | None = None
) -> None:
    """Log a line with the present time."""
    try:
        logger.log(level, text, *args, exc_info=exc_info)
    except BaseException:  # see the module
        _complain(text, args)


def write(
    logger: logging.Logger,
    level: int,
    path: str,
    line: str,
    *,
    created: float,
    fields: Mapping[str, object],
    error: BaseException | None = None,
) -> None:
    """Log a line about ``path`` with the time of its event.

    Args:
        logger: Where the record goes. It is enabled for ``level``.
        level: The level of the record.
        path: The child or supervisor.
        line: What is to be said of it.
        created: Seconds since the epoch, the record's time.
        fields: What the record carries as attributes.
        error: The exception of the traceback that is to be shown.
    """
    try:
        args = (path, line)
        record = logger.makeRecord(
            logger.name, level, __file__, 0, "%s %s", args, None, extra=fields
        )
        _set_time(record, created)
        if error is not None:
            _add_traceback(record, error)
        logger.handle(record)
    except BaseException:  # see the module
        _complain("%s %s", (path, line))


def _set_time(record: logging.LogRecord, created: float) -> None:
    started = record.created - record.relativeCreated / 1000
    record.created = created
    record.msecs = int((created - int(created)) * 1000) + 0.0
    record.relativeCreated = (created - started) * 1000


def _add_traceback(record: logging.LogRecord, error: BaseException) -> None:
    """Handlers get the exception if they can format it, else text that is made here."""
    if is_tame(error):
        info = (type(error), error, trimmed(error))
        try:
            behind = trimmed_text(error)
            (behind or logging.Formatter().formatException(info)).encode()
        except BaseException:  # its author's code has failed, or it holds half a character
            record.exc_text = traceback_text(error)
        else:
            record.exc_info = info
            if behind is not None:  # formatters use this text, and do not make their own
                record.exc_text = behind.removesuffix("\n")
    else:
        record.exc_text = traceback_text(error)


def _complain(text: str, args: tuple[object, ...]) -> None:
    if logging.raiseExceptions and sys.stderr is not None:
        with suppress(BaseException):  # it may be full, or closed: then nothing can be told
            traceback.print_exc()
            sys.stderr.write(text % args + "\n")


def say_surprise(logger: logging.Logger, what: str, surprise: BaseException) -> None:
    """Log in one line that something could not be logged; ``surprise`` itself is not handed on.

    Otherwise a handler that keeps log records would keep every frame between here and the mistake.
    """
    frames = traceback.extract_tb(surprise.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    say(logger, logging.ERROR, "%s could not be logged: %s%s", what, short_repr(surprise), place)


_RENAMED: Final = {
    "kind": "exit",
    "stop_reason": "reason",
    "used": "restarts",
    "source": "decided_by",
    "error": "decide_error",
}
_LEFT_OUT: Final = frozenset({"children"})


def fields_of(*raws: Any) -> dict[str, object]:
    """Return what a log record says of events as attributes, the newest event last.

    Every record has ``path``, ``attempt``, ``event`` (the name of the event's class), ``run`` and
    ``sequence``. The fields of the events follow, under their own names except for these:

    ==================  =====================================================
    attribute           is
    ==================  =====================================================
    ``exit``            `ChildExited.kind`
    ``reason``          the reason of a stop, a command or a state
    ``restarts``        `ExitJudged.used`: restarts in the window of the limit
    ``decided_by``      `ExitJudged.source`
    ``decide_error``    `ExitJudged.error`
    ==================  =====================================================
    """
    fields: dict[str, object] = {}
    name: str
    for cls, sequence, _, _, run, path, attempt, own in raws:
        for name, value in zip(cls.__match_args__[6:], own, strict=False):
            if name not in _LEFT_OUT:
                fields[_RENAMED.get(name, name)] = value
        fields |= {
            "path": path,
            "attempt": attempt,
            "event": cls.__name__,
            "run": run,
            "sequence": sequence,
        }
    return fields
