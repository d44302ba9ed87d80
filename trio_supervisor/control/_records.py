"""The newest log lines of the process, each with the child that wrote it."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any, final

from trio_supervisor._attempts.attempt import current_attempt
from trio_supervisor._events.plain import at_of
from trio_supervisor._text import one_line

_LONGEST = 2000


@final
class LogRecords(logging.Handler):
    """Keeps the newest records of every logger that propagates to where this handler is.

    What a child logs in its own task counts as the child's. A record of the tree's own log begins
    with the child's path, or carries it as ``path``.

    Attributes:
        last: The number of the newest record, counted from 1; 0 before the first.
    """

    def __init__(self, most: int = 2000) -> None:
        super().__init__()
        self.last = 0
        self._kept: deque[tuple[int, dict[str, Any]]] = deque(maxlen=most)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record; never raises."""
        try:
            text = one_line(record.getMessage())[:_LONGEST]
            path = getattr(record, "path", None)
            if not isinstance(path, str):
                path = _path_of(record, text)
            plain = {
                "at": at_of(record.created),
                "level": record.levelname,
                "logger": record.name,
                "path": path,
                "message": text,
            }
            self.last += 1
            self._kept.append((self.last, plain))
        except Exception:
            self.handleError(record)

    def after(self, number: int) -> list[tuple[int, dict[str, Any]]]:
        """Return the records that are kept and newer than that of ``number``, oldest first."""
        return [(each, plain) for each, plain in list(self._kept) if each > number]


def _path_of(record: logging.LogRecord, text: str) -> str:
    if record.name == "trio_supervisor":
        return text.partition(" ")[0]
    attempt = current_attempt.get(None)
    return "" if attempt is None else attempt.path
