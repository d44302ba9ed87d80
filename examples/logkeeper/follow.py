"""Reading a log file that grows, is rotated or truncated, so that no line is lost or read twice.

`LogReader` does blocking file I/O and nothing else. It is told a `Position` and hands out
`Batch`es, each saying from which position to which it leads. Whoever stores the lines of a batch
stores the new position *in the same transaction*; then a reader that starts from the stored
position goes on exactly behind the last stored line, whatever happened in between.

A position holds bytes of the file, from its beginning and from right before the offset, as well as
its inode. So a file that was truncated and has grown again is told from one that only grew, and
the copy that ``copytruncate`` makes is recognised as what we have been reading.

What cannot be had: lines written between the copy and the truncation of ``copytruncate``, and
lines of a rotated file that was compressed or deleted before it was read. When that may have
happened, `LogReader.notes` says so.
"""

from __future__ import annotations

import os
import re
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD: Final = 1024
TAIL: Final = 256
CHUNK: Final = 256 * 1024
LONGEST_LINE: Final = 1024 * 1024


@attrs.frozen
class Position:
    """Behind which byte of which file the next unread line begins.

    ``head`` is the beginning of the file, ``tail`` what lies right before ``offset``; neither
    reaches beyond it. ``changed`` is the file's time of modification, in nanoseconds.
    """

    device: int
    inode: int
    changed: int
    offset: int = 0
    head: bytes = attrs.field(default=b"", repr=False)
    tail: bytes = attrs.field(default=b"", repr=False)

    @classmethod
    def start_of(cls, file: os.stat_result) -> Position:
        """The beginning of a file."""
        return cls(*_identity(file), file.st_mtime_ns)

    def after(self, read: bytes, changed: int) -> Position:
        """The position behind ``read``, which begins here."""
        return attrs.evolve(
            self,
            changed=changed,
            offset=self.offset + len(read),
            head=self.head + read[: HEAD - len(self.head)],
            tail=(self.tail + read[-TAIL:])[-TAIL:],
        )

    def is_in(self, file: os.stat_result) -> bool:
        """Whether this is the same file, by its inode."""
        return (self.device, self.inode) == _identity(file)


def _identity(file: os.stat_result) -> tuple[int, int]:
    # Some file systems use all 64 bits, which SQLite would take for too large a number.
    return file.st_dev & (2**63 - 1), file.st_ino & (2**63 - 1)


@attrs.frozen
class Batch:
    """Lines to be stored, with the position before them and the one to be stored with them."""

    lines: tuple[bytes, ...]
    before: Position | None
    after: Position


class LogReader:
    """Reads one log file, wherever rotation moves it.

    Args:
        path: The file. It need not exist yet.
        position: Where to go on; None for the beginning.
        linger: For how many seconds a file that was renamed has to be quiet until it is taken to
            be complete: its writer may not have noticed yet.
        clock: Seconds that never go back.

    Attributes:
        position: Behind the last batch.
        notes: What somebody should know; to be taken out by whoever passes it on.
    """

    def __init__(
        self,
        path: str | Path,
        position: Position | None = None,
        *,
        linger: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = Path(path)
        self.position = position
        self.notes: list[str] = []
        self._noted: Position | None = None
        self._file: BinaryIO | None = None
        self._here: Position | None = None  # where the next line begins in the open file
        self._linger = linger
        self._clock = clock
        self._quiet: tuple[int, float] | None = None  # unread bytes, and since when so many

    def close(self) -> None:
        """Close the file. The reader may be used again, and finds it anew."""
        self._forget()
        self._quiet = None

    def _forget(self) -> None:
        # Also done with a new file of which nothing was read yet: without known bytes before it, a
        # position cannot be recognised. Until then the end of the file before is where we are.
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self) -> Batch | None:
        """The next lines, or None if there are none now.

        The last line of a file that will not grow any more counts even without its newline.

        Raises:
            OSError: The file is there, but cannot be read.
        """
        if self._file is None and not self._find():
            return None
        data = self._look()
        if data is None:  # truncated or overwritten since the last time
            self.close()
            return self.read()
        used = data.rfind(b"\n") + 1
        if used or len(data) >= LONGEST_LINE:
            self._quiet = None
            return self._take(data[: used or LONGEST_LINE])
        if not self._is_complete(len(data)):
            if self._here is not None and not self._here.offset and self.position is not None:
                self._forget()
            return None
        if data:
            return self._take(data)
        return self.read() if self._move_on() else None

    def _look(self) -> bytes | None:
        """What follows the position, or None if what comes before it is not what it was."""
        assert self._file is not None
        assert self._here is not None
        # One read gets the known bytes and the new ones: no truncation can slip in between.
        known = self._here.tail
        length = CHUNK
        while True:
            self._file.seek(self._here.offset - len(known))
            data = self._file.read(len(known) + length)
            if not data.startswith(known):
                return None
            data = data[len(known) :]
            if len(data) < length or b"\n" in data or length == LONGEST_LINE:
                return data
            length = LONGEST_LINE

    def _take(self, data: bytes) -> Batch:
        assert self._file is not None
        assert self._here is not None
        changed = os.fstat(self._file.fileno()).st_mtime_ns
        # A writer that does not append goes on where it was after a truncation, behind a hole.
        lines = tuple(line.lstrip(b"\0") for line in data.removesuffix(b"\n").split(b"\n"))
        before = self.position
        self.position = self._here = self._here.after(data, changed)
        return Batch(lines, before, self.position)

    def _is_complete(self, unread: int) -> bool:
        """Whether another file has taken the place of the open one, which is quiet since then."""
        assert self._file is not None
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False  # renamed, and the new one is not there yet
        if os.path.samestat(there, os.fstat(self._file.fileno())):
            return False
        now = self._clock()
        if self._quiet is None or self._quiet[0] != unread:
            self._quiet = (unread, now)
        return now - self._quiet[1] >= self._linger

    def _move_on(self) -> bool:
        """Leave a file that is complete for the one that was begun after it."""
        assert self._file is not None
        assert self._here is not None
        old = self._file
        if not self._open_successor(self._here):
            return False
        old.close()
        return True

    def _find(self) -> bool:
        """Open the file in which the position lies, or else the best one to go on with."""
        if self.position is None:
            file = _open(self.path)
            if file is None:
                return False
            self._file, self._here = file, Position.start_of(os.fstat(file.fileno()))
            return True
        file = _open_at(self.position, self.path)
        if file is not None:
            device, inode = _identity(os.fstat(file.fileno()))  # those of a copy are other ones
            self._here = attrs.evolve(self.position, device=device, inode=inode)
            self._file = file
            return True
        if not self._open_successor(self.position):
            return False
        if self._noted != self.position:
            self._noted = self.position
            self.notes.append(
                f"{self.path}: the file that was read up to byte {self.position.offset} is gone or"
                " was truncated; if lines were written to it after the last look, they are lost"
            )
        return True

    def _open_successor(self, old: Position) -> bool:
        """Open the file that comes next after ``old``'s, if there is one yet."""
        # Files may be renamed between looking and opening; so look again until both agree.
        for _ in range(10):
            file = _open(_successor(self.path, old))
            if file is None:
                return False
            opened = os.fstat(file.fileno())
            try:
                same = os.path.samestat(opened, _successor(self.path, old).stat())
            except FileNotFoundError:
                same = False
            if same:
                self._file, self._here = file, Position.start_of(opened)
                return True
            file.close()
        return False


_NUMBER: Final = re.compile(r"\.(\d{1,4})")
_DATE: Final = re.compile(r"[.-]\d{4}[\dT:_.-]*")


def rotated(path: Path) -> list[Path]:
    """The files that ``path`` was rotated to and that can be read, oldest first.

    Known are logrotate's ways to name them: ``app.log.2`` and ``app.log-20261016``.
    """
    numbers: list[tuple[int, Path]] = []
    dates: list[tuple[str, Path]] = []
    for found in path.parent.glob(f"{_escape(path.name)}[.-]*"):
        suffix = found.name[len(path.name) :]
        if not found.is_file():
            continue
        if match := _NUMBER.fullmatch(suffix):
            numbers.append((-int(match[1]), found))
        elif _DATE.fullmatch(suffix):
            dates.append((suffix, found))
    return [found for _, found in sorted(dates)] + [found for _, found in sorted(numbers)]


def _escape(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _successor(path: Path, old: Position) -> Path:
    files = rotated(path)
    for index, file in enumerate(files):
        if (status := _status(file)) is not None and old.is_in(status):
            younger = files[index + 1 :]
            break
    else:  # its name is not known any more: then by time
        younger = [file for file in files if _is_after(old, file)]
    return younger[0] if younger else path


def _is_after(old: Position, path: Path) -> bool:
    status = _status(path)
    # A copy of the old file is no successor, even if it was made later.
    return status is not None and status.st_mtime_ns > old.changed and not _begins(path, old.head)


def _begins(path: Path, head: bytes) -> bool:
    file = _open_if_readable(path)
    if file is None or not head:
        return False
    with file:
        return file.read(len(head)) == head


def _open_at(position: Position, path: Path) -> BinaryIO | None:
    """The file in which the position lies: the same inode if it can be, else the same content."""
    copy: BinaryIO | None = None
    for candidate in (path, *reversed(rotated(path))):
        file = _open(path) if candidate == path else _open_if_readable(candidate)
        if file is None:
            continue
        if _contains(file, position):
            if position.is_in(os.fstat(file.fileno())):
                if copy is not None:
                    copy.close()
                return file
            if copy is None and position.offset:
                copy = file
                continue
        file.close()
    return copy


def _contains(file: BinaryIO, position: Position) -> bool:
    file.seek(0)
    if file.read(len(position.head)) != position.head:
        return False
    file.seek(position.offset - len(position.tail))
    return file.read(len(position.tail)) == position.tail


def _open_if_readable(path: Path) -> BinaryIO | None:
    # Somebody else's files may look like rotated ones.
    try:
        return _open(path)
    except OSError:
        return None


def _open(path: Path) -> BinaryIO | None:
    """Open a regular file without buffering; None if there is no such file."""
    try:
        # Opening a FIFO would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb", buffering=0)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
