"""Tracebacks as text that helps the reader, whatever the exceptions in them do.

A traceback of a child begins with frames of this library and of Trio that say nothing about the
failure; `trimmed` leaves them out. Formatting calls what the exception's author wrote, and takes
time in proportion to all causes and groups: `traceback_text` bounds it, and never raises.
"""

from __future__ import annotations

import traceback
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from trio_supervisor._text import error_line

if TYPE_CHECKING:
    from types import TracebackType

_LONGEST: Final = 32_768
_MOST_FRAMES: Final = 200
_MOST_EXCEPTIONS: Final = 200
_HOME: Final = str(PurePath(__file__).parents[1])
_KIT: Final = str(PurePath(_HOME, "testing"))

# Past what a subclass may have put in their place.
_LINKS: Final[tuple[Any, ...]] = (
    BaseException.__dict__["__cause__"],
    BaseException.__dict__["__context__"],
)
_EXCEPTIONS: Final[Any] = BaseExceptionGroup.__dict__["exceptions"]
traceback_of: Final[Any] = BaseException.__dict__["__traceback__"].__get__
"""Return the traceback of an exception, past what a subclass may have put in its place."""


def trimmed(error: BaseException) -> TracebackType | None:
    """Return the traceback of ``error`` from the first frame that is not this library's.

    The exception itself is not changed. If all frames are this library's, they are what matters.
    """
    whole: TracebackType | None = traceback_of(error)
    here = whole
    while here is not None:
        if not _is_ours(here.tb_frame.f_code.co_filename):
            return here
        here = here.tb_next
    return whole


def trimmed_text(error: BaseException) -> str | None:
    """Return the traceback as text, with causes and groups trimmed like the exception itself.

    `None` if `trimmed` is enough, for no frame of this library is in what lies behind ``error``;
    then formatters may have their own way with it. The exception has to be tame.
    """
    groups = issubclass(type(error), BaseExceptionGroup)
    if not groups and all(link.__get__(error) is None for link in _LINKS):
        return None
    whole = traceback.TracebackException(type(error), error, trimmed(error))
    pending, seen, changed = [whole], {id(whole)}, False
    while pending:
        found = pending.pop()
        if found is not whole:
            changed = _trim(found.stack) or changed
        for one in (found.__cause__, found.__context__, *(found.exceptions or ())):
            if one is not None and id(one) not in seen:
                seen.add(id(one))
                pending.append(one)
    return "".join(whole.format()) if changed else None


def _trim(stack: traceback.StackSummary) -> bool:
    """Take away what comes before the first frame that is not this library's; say if it did."""
    for index, frame in enumerate(stack):
        if not _is_ours(frame.filename):
            del stack[:index]
            return index > 0
    return False


def _is_ours(filename: str) -> bool:
    return filename.startswith(_HOME) and not filename.startswith(_KIT)


def is_tame(error: BaseException) -> bool:
    """Return whether ``error`` and all causes and groups in it are few enough to be formatted.

    Python formats a group once for each place in which it is contained, so it counts as often.
    """
    pending, causes, count = [error], {id(error)}, 0
    while pending:
        found = pending.pop()
        count += 1
        if count > _MOST_EXCEPTIONS:
            return False
        for link in _LINKS:
            cause = link.__get__(found)
            if cause is not None and id(cause) not in causes:
                causes.add(id(cause))
                pending.append(cause)
        if issubclass(type(found), BaseExceptionGroup):
            pending.extend(_EXCEPTIONS.__get__(found)[:_MOST_EXCEPTIONS])
    return True


def traceback_text(error: BaseException) -> str:
    """Return the traceback of ``error``, with causes and groups if they can be formatted."""
    where = trimmed(error)
    remark = "more exceptions than can be shown"
    try:
        if is_tame(error):
            text = trimmed_text(error)
            if text is None:
                text = "".join(traceback.format_exception(type(error), error, where))
            return _end_of(text)
    except BaseException as broken:  # what the author of the exception wrote has failed
        remark = f"formatting it failed: {type(broken).__name__}"
    try:
        frames = "".join(traceback.format_tb(where, _MOST_FRAMES))
    except BaseException:  # an importer of the user's, which is asked for the source, has failed
        frames = ""
    head = "Traceback (most recent call last):\n"
    return _end_of(f"{head}{frames}{error_line(error)}\n({remark})\n")


def _end_of(text: str) -> str:
    """The end, where the exception and the innermost frames are."""
    text = text.encode(errors="backslashreplace").decode()  # it may hold half a character
    return text if len(text) <= _LONGEST else f"...{text[3 - _LONGEST :]}"
