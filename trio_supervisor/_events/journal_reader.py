"""Journal files as snapshots and events again, as far as they are whole.

What lies on a disk may be cut off, damaged or tampered with. So every line is checked; a line that
cannot be read, or an event that does not follow the one before, ends a *stretch*. The next start
line begins another one. Nothing of what a file says is ever executed, imported or looked up.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from trio_supervisor._errors import SpecError
from trio_supervisor._events.events import Event
from trio_supervisor._events.fold import SnapshotBuilder, raw_of
from trio_supervisor._events.snapshot import SupervisorSnapshot
from trio_supervisor._events.wire import event_from_dict
from trio_supervisor._lazy import public
from trio_supervisor._record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator


_LONGEST_LINE = 64 * 1024 * 1024
"""A start line holds a whole tree; what is longer than this is none of ours."""


@public
@final
class JournalStretch(Record):
    """A snapshot and the events after it, without a gap.

    Attributes:
        base: The tree before the first event.
        events: In order; each one's ``sequence`` follows the one before.
    """

    base: SupervisorSnapshot
    events: tuple[Event, ...]

    def state(self) -> SupervisorSnapshot:
        """The tree after the last event."""
        builder = SnapshotBuilder.from_snapshot(self.base)
        builder.extend(map(raw_of, self.events))
        return builder.freeze()


@public
@final
class JournalContents(Record):
    """The contents of a journal's files.

    Attributes:
        stretches: Oldest first; a restart of the program begins another one.
        lost: Events that the writer could not write, as it says itself.
        damaged: Lines that could not be read or did not fit.
    """

    stretches: tuple[JournalStretch, ...]
    lost: int
    damaged: int


@public
def read_journal(path: str | os.PathLike[str]) -> JournalContents:
    """Read the files that a `JournalFile` has written, the older ones too.

    Args:
        path: As given to `JournalFile`.

    Raises:
        OSError: The file cannot be read.

    Example::

        newest = read_journal("/var/log/app.journal").stretches[-1]
        check_trace(APP, newest.events, base=newest.base)
    """
    reader = _Reader()
    for file in _files(Path(path)):
        with file.open("rb") as lines:
            while line := lines.readline(_LONGEST_LINE):
                reader.feed(line)
    return reader.finish()


def _files(path: Path) -> Iterator[Path]:
    """The files of a journal, oldest first."""
    older = []
    number = 1
    while (file := path.with_name(f"{path.name}.{number}")).is_file():
        older.append(file)
        number += 1
    yield from reversed(older)
    yield path


@final
class _Reader:
    def __init__(self) -> None:
        self.lost = self.damaged = 0
        self._stretches: list[JournalStretch] = []
        self._base: SupervisorSnapshot | None = None
        self._events: list[Event] = []
        self._expected: int | None = None  # the number of the event that goes on with the stretch
        self._next: tuple[int, SupervisorSnapshot] | None = None  # a start line not needed so far

    def feed(self, line: bytes) -> None:
        """Take in one line."""
        if not line.strip():
            return
        try:
            plain = json.loads(line)
            if not isinstance(plain, dict):
                raise SpecError("line", plain, "a JSON object", owner="read_journal()")
            self._take(plain)
        except (ValueError, RecursionError):  # a SpecError is a ValueError
            self.damaged += 1
            self._end()

    def _take(self, plain: dict[str, Any]) -> None:
        if "snapshot" in plain:
            number = plain.get("sequence")
            if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise SpecError("sequence", number, "a number of events", owner="read_journal()")
            self._next = number, SupervisorSnapshot.from_dict(plain["snapshot"])
        elif "gap" in plain:
            self.lost += plain["gap"] if isinstance(plain["gap"], int) else 0
            self._end()
        else:
            self._follow(event_from_dict(plain))

    def _follow(self, event: Event) -> None:
        start, self._next = self._next, None
        if event.sequence != self._expected:
            self._end()
            if start is None or event.sequence != start[0] + 1:
                self.damaged += 1
                return
            self._base = start[1]
        self._events.append(event)
        self._expected = event.sequence + 1

    def _end(self) -> None:
        if self._base is not None:
            self._stretches.append(JournalStretch(self._base, tuple(self._events)))
        self._base = self._expected = None
        self._events = []

    def finish(self) -> JournalContents:
        """Return all that was found."""
        self._end()
        return JournalContents(tuple(self._stretches), self.lost, self.damaged)
