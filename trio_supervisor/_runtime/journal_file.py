"""A journal on disk: every event of a tree as one line of JSON, in files that are rotated.

The tree only appends to a bounded queue. A thread of the writer's own turns the events into lines
and writes them, so that neither JSON nor a slow disk ever holds up supervision:

* A queue that is full, because the disk hangs, and a disk that is full, cost lines. They are
  counted; the log says once that lines are being lost, and once how many were.
* Each file begins with a *start line*: the number of the last event before it and the snapshot
  after that event. So does each stretch after lost lines. Every stretch can therefore be folded on
  its own, and the oldest file can be deleted.
* A line is written whole or not at all. A crash of the machine can still cut the last one off;
  `trio_supervisor._events.journal_reader` passes over what it cannot read and counts it.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from trio_supervisor._errors import SpecError
from trio_supervisor._events.events import ChildExited
from trio_supervisor._events.fold import SEQUENCE, SnapshotBuilder, event_of
from trio_supervisor._events.journal import check_room
from trio_supervisor._events.plain import SCHEMA, error_to_plain
from trio_supervisor._lazy import public
from trio_supervisor._record import Record
from trio_supervisor._specs.checks import looked_at
from trio_supervisor._text import is_a

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor._events.fold import RawEvent
    from trio_supervisor._events.snapshot import SupervisorSnapshot

_log = logging.getLogger("trio_supervisor.journal")

MOST_QUEUED: Final = 65_536
"""Events that wait for the disk, at most."""

_PAUSE = 0.2
"""Seconds between two looks at the queue."""
_LAST_WAIT = 5.0
"""Seconds that the end of a tree waits for the disk, at most."""
_MOST_ERRORS = 4096


@public
@final
class JournalFile(Record):
    """Keep a tree's events on disk as lines of JSON, for `why`, `check_trace` and replays.

    Give it as ``journal=`` of `open_supervisor` or `trio_supervisor.daemon.run`. A file that exists
    is continued. Files have mode 0600: reasons and error messages may be confidential.

    Args:
        path: The file. Its directory must exist. Older files are ``path.1``, ``path.2``, ...
        max_bytes: Size at which a new file is begun, at least 4,096. Default: 10,000,000.
        keep: How many older files are kept, at least 0. Default: 5.
        capacity: Events kept in memory as well, in `Supervisor.journal`. Default: 1024.

    Raises:
        SpecError: An argument is out of range.

    Example::

        open_supervisor(APP, journal=JournalFile("/var/log/app.journal", max_bytes=50_000_000))
    """

    path: str | os.PathLike[str]
    max_bytes: int = 10_000_000
    keep: int = 5
    capacity: int = 1024

    def _check(self) -> None:
        path: object = self.path
        owner, expected = "JournalFile", "the path of a file"
        if not is_a(path, (str, os.PathLike)):
            raise SpecError("path", path, expected, owner=owner)
        if not looked_at(owner, "path", path, expected, lambda: bool(os.fspath(self.path))):
            raise SpecError("path", path, expected, owner=owner)
        for field, least in (("max_bytes", 4096), ("keep", 0)):
            value: object = getattr(self, field)
            if type(value) is not int or not least <= value < 1 << 63:
                raise SpecError(field, value, f"a whole number >= {least}", owner="JournalFile")
        object.__setattr__(self, "capacity", check_room(owner, "capacity", self.capacity))


@final
class JournalWriter:
    """Writes the events of one tree to a `JournalFile`.

    Attributes:
        lost: Events that could not be written so far.
    """

    def __init__(self, file: JournalFile, present: Callable[[], SupervisorSnapshot]) -> None:
        """Open the file.

        Args:
            file: Where to write.
            present: Returns the tree after the newest event; called in the tree's thread.

        Raises:
            OSError: The file cannot be opened.
            SpecError: It is not a regular file, or another process writes it.
        """
        self.lost = 0
        self._disk = _Disk(file)
        self._present = present
        self._queue: deque[tuple[Any, ...]] = deque()
        self._dropped = 0  # since the queue has been full
        self._builder = SnapshotBuilder()
        self._sequence = 0  # of the last event in it
        self._told: dict[str, tuple[str, str]] = {}  # the last error of each child
        self._stretch_ends = True  # the next line has to be a start line
        self._missing = 0  # lines lost since the last one that was written
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._work, name="journal writer", daemon=True)
        self._thread.start()

    def take(self, raw: RawEvent, error: BaseException | None) -> None:
        """Queue one event. Called in the tree's thread; never waits, never raises."""
        if not self._dropped:
            if len(self._queue) < MOST_QUEUED:
                self._queue.append((raw, error))
            else:
                self._dropped = 1
        elif len(self._queue) < MOST_QUEUED // 2:
            self._queue.append((None, self._dropped + 1, self._present(), raw[SEQUENCE]))
            self._dropped = 0
        else:
            self._dropped += 1

    def close(self) -> None:
        """Write what is queued and close the file; give a disk that hangs five seconds."""
        self._ends.set()
        self._thread.join(_LAST_WAIT)

    # ------------------------------------------------------------ in the thread

    def _work(self) -> None:
        try:
            ends = False
            while not ends:
                ends = self._ends.wait(_PAUSE)
                while self._queue:
                    self._write_some()
            self._disk.close()
        except Exception:  # a bug of ours must not look like a quiet tree
            _log.exception("the journal ends here")

    def _write_some(self) -> None:
        """Take up to a thousand events from the queue and write them."""
        lines: list[bytes] = []
        size = 0
        for _ in range(min(len(self._queue), 1000)):
            raw, extra, *present = self._queue.popleft()
            if raw is None:
                self._write(lines)
                lines, size = [], 0
                self._builder = SnapshotBuilder.from_snapshot(present[0])
                self._sequence = present[1]
                self._lose(extra, "the disk is too slow")
                continue
            if (self._stretch_ends and not lines) or self._disk.is_full_with(size):
                self._write(lines)
                lines = self._begin()
                size = sum(map(len, lines))
            self._builder.apply(raw)
            self._sequence = raw[SEQUENCE]
            lines.append(self._line_of(raw, extra))
            size += len(lines[-1])
        self._write(lines)

    def _begin(self) -> list[bytes]:
        """Return the lines with which a stretch begins; in a new file, if this one is full."""
        if self._disk.is_full:
            self._disk.rotate()
        head = [_line({"schema": SCHEMA, "gap": self._missing})] if self._missing else []
        start = {
            "schema": SCHEMA,
            "sequence": self._sequence,
            "snapshot": self._builder.freeze().to_dict(),
        }
        return [*head, _line(start)]

    def _line_of(self, raw: RawEvent, error: BaseException | None) -> bytes:
        plain = event_of(raw).to_dict()
        if error is not None and raw[0] is ChildExited:
            plain["error"] = told = error_to_plain(error)
            same = told["type"], told["message"]
            if self._told.get(raw[5]) == same:
                told["traceback"] = ""  # as in the exit before
            elif len(self._told) < _MOST_ERRORS:
                self._told[raw[5]] = same
            else:
                self._told.clear()
        return _line(plain)

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        problem = self._disk.write(b"".join(lines))
        if problem is None:
            if self._missing:
                _log.warning("%s: written again; %d events lost", self._disk.path, self._missing)
            self._stretch_ends = False
            self._missing = 0
        else:
            events = sum(line.startswith(_EVENT) for line in lines)
            self._lose(events, problem)

    def _lose(self, events: int, why: str) -> None:
        if not self._missing:
            _log.warning("%s: cannot be written, events are lost: %s", self._disk.path, why)
        self._missing += events
        self.lost += events
        self._stretch_ends = True


@final
class _Disk:
    """The file that is being written, and the older ones beside it."""

    def __init__(self, file: JournalFile) -> None:
        self.path = Path(file.path)
        self._max_bytes = file.max_bytes
        self._keep = file.keep
        self._fd = -1
        self._size = 0
        self._open()

    @property
    def is_full(self) -> bool:
        """Whether the next stretch belongs into a new file."""
        return self._size >= self._max_bytes

    def is_full_with(self, size: int) -> bool:
        """Whether the file is full once ``size`` more bytes are written."""
        return self._size + size >= self._max_bytes

    def write(self, data: bytes) -> str | None:
        """Write ``data`` whole or not at all; return what went wrong."""
        try:
            if self._fd < 0:
                self._open()
            before = os.fstat(self._fd).st_size
            written = 0
            try:
                while written < len(data):
                    written += os.write(self._fd, data[written:])
            except OSError:
                os.ftruncate(self._fd, before)
                raise
            self._size = before + written
        except (OSError, SpecError) as error:
            return str(getattr(error, "strerror", None) or error)
        return None

    def rotate(self) -> None:
        """Begin a new file; the oldest one goes."""
        self.close()
        try:
            for number in range(self._keep, 0, -1):
                older = self.path if number == 1 else self._older(number - 1)
                if older.exists():
                    older.replace(self._older(number))
            if self._keep == 0:
                self.path.unlink(missing_ok=True)
            self._open()
        except (OSError, SpecError) as error:
            _log.warning("%s: cannot begin a new file: %s", self.path, error)

    def _older(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(self.path, flags, 0o600)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise SpecError("path", str(self.path), "a regular file", owner="JournalFile")
            _lock(fd, self.path)
            self._size = found.st_size
            if self._size and os.pread(fd, 1, self._size - 1) != b"\n":
                os.write(fd, b"\n")  # a line that was cut off shall not spoil the next one
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _lock(fd: int, path: Path) -> None:
    """Keep other processes from writing the same journal; where locks are not known, do nothing."""
    try:
        import fcntl  # noqa: PLC0415 - not on every platform
    except ImportError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        wanted = "a file that no other process writes"
        raise SpecError("path", str(path), wanted, owner="JournalFile") from None


_EVENT = b'{"schema": %d, "event": ' % SCHEMA


def _line(plain: dict[str, Any]) -> bytes:
    return json.dumps(plain, allow_nan=False).encode() + b"\n"
