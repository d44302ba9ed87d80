"""Writing a line, whatever becomes of it: a broken log is no reason to end a tree."""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

from trio_supervisor._text import short_repr

if TYPE_CHECKING:
    from types import TracebackType

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def say(
    logger: logging.Logger, level: int, text: str, *args: object, exc_info: ExcInfo | None = None
) -> None:
    """Log a line. What a handler or filter raises goes to standard error, as far as that works."""
    try:
        logger.log(level, text, *args, exc_info=exc_info)
    except Exception:
        if logging.raiseExceptions and sys.stderr is not None:
            with suppress(Exception):  # it may be full, or closed: then there is nobody to tell
                traceback.print_exc()
                sys.stderr.write(text % args + "\n")


def say_surprise(logger: logging.Logger, what: str, surprise: Exception) -> None:
    """Tell in one line that something could not be logged; ``surprise`` itself is not handed on.

    Otherwise whoever keeps log records would keep every frame between here and the mistake.
    """
    frames = traceback.extract_tb(surprise.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    say(logger, logging.ERROR, "%s could not be logged: %s%s", what, short_repr(surprise), place)
