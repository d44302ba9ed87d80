"""Reading a log file that grows, is rotated or truncated, so that no line is lost or read twice.

`LogReader` does blocking file I/O and nothing else. It is told a `Position` and hands out
`Batch`es, each saying from which position to which it leads. Whoever stores the lines of a batch
stores the new position *in the same transaction*; then a reader that starts from the stored
position goes on exactly behind the last stored line, whatever happened in between.

A position holds bytes of the file, from its beginning and from right before the offset, as well as
its inode. So a file that was truncated and has grown again is told from one that only grew, and
the copy that ``copytruncate`` makes is recognised as what we have been reading.

A path may lead through symbolic links, and they may be moved: each look starts from the path as it
was given. A position also names the file itself, so that what was written to the old file before
the link was moved is read, also after a restart. Rotated files are looked for beside both. Those
that were compressed meanwhile (gzip, bzip2, xz) are read from an uncompressed copy.

A file with another inode that begins like the old one is the old one only under a rotated name.
Under the path itself it is a new file, however it begins.

What cannot be had: lines written between the copy and the truncation of ``copytruncate``, and
lines of a file that was deleted, or compressed in another way, before it was read. When that may
have happened, `LogReader.notes` says so.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import shutil
import stat
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD: Final = 1024
TAIL: Final = 256
CHUNK: Final = 256 * 1024
LONGEST_LINE: Final = 1024 * 1024
_MOST_LEFT: Final = 4


@attrs.frozen
class Position:
    """Behind which byte of which file the next unread line begins.

    ``head`` is the beginning of the file, ``tail`` what lies right before ``offset``; neither
    reaches beyond it. ``changed`` is the file's time of modification, in nanoseconds. ``real`` is
    where the file was found, without symbolic links, as `storable` writes it. ``left`` is where
    files were left to which the path, over a symbolic link, may lead again; newest last.
    """

    device: int
    inode: int
    changed: int
    offset: int = 0
    head: bytes = attrs.field(default=b"", repr=False)
    tail: bytes = attrs.field(default=b"", repr=False)
    real: str = attrs.field(default="", eq=False)
    left: tuple[Position, ...] = attrs.field(default=(), repr=False, eq=False)

    @classmethod
    def start_of(cls, opened: _Opened) -> Position:
        """The beginning of a file."""
        status = opened.status
        return cls(*_identity(status), status.st_mtime_ns, real=opened.real)

    @property
    def is_inside_a_line(self) -> bool:
        """Whether the last line was handed out without its end, because it is too long."""
        return bool(self.offset) and not self.tail.endswith((b"\n", b"\0"))

    def after(self, read: bytes, changed: int) -> Position:
        """The position behind ``read``, which begins here."""
        return attrs.evolve(
            self,
            changed=changed,
            offset=self.offset + len(read),
            head=self.head + read[: HEAD - len(self.head)],
            tail=(self.tail + read[-TAIL:])[-TAIL:],
        )

    def behind_hole(self, length: int) -> Position:
        """The position behind a hole of this length, which begins here."""
        return attrs.evolve(
            self,
            offset=self.offset + length,
            head=self.head + b"\0" * min(length, HEAD - len(self.head)),
            tail=(self.tail + b"\0" * min(length, TAIL))[-TAIL:],
        )

    def is_in(self, file: os.stat_result) -> bool:
        """Whether this is the same file, by its inode."""
        return (self.device, self.inode) == _identity(file)


def _identity(file: os.stat_result) -> tuple[int, int]:
    # Some file systems use all 64 bits, which SQLite would take for too large a number.
    return file.st_dev & (2**63 - 1), file.st_ino & (2**63 - 1)


@attrs.frozen
class _Opened:
    """An open file. ``status`` and ``real`` are those of the file on disk, also if it is packed."""

    file: BinaryIO
    status: os.stat_result
    real: str
    is_unpacked: bool = False

    def close(self) -> None:
        self.file.close()


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
        self._unreadable: set[Path] = set()
        self._file: _Opened | None = None
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
        before = self._here
        data = self._look()
        if data is None:  # truncated or overwritten since the last time
            self.close()
            return self.read()
        used = data.rfind(b"\n") + 1
        if used or len(data) >= LONGEST_LINE:
            self._quiet = None
            return self._take(data[: used or LONGEST_LINE])
        if not self._is_complete(len(data)):
            self._here = before  # a hole may still be filled
            if self.position is None:  # from here on, this is the file to look for
                assert before is not None
                self.position = before
                return Batch((), None, before)
            if self._here is not None and not self._here.offset and self.position is not None:
                self._forget()
            return None
        if data:
            return self._take(data)
        return self.read() if self._move_on() else None

    def _look(self) -> bytes | None:
        """What follows the position, or None if what comes before it is not what it was.

        A writer that does not append goes on where it was after a truncation, and leaves a hole. It
        is passed over as soon as something stands behind it.
        """
        assert self._file is not None
        assert self._here is not None
        # One read gets the known bytes and the new ones: no truncation can slip in between.
        known = self._here.tail
        length = CHUNK
        while True:
            self._file.file.seek(self._here.offset - len(known))
            data = self._file.file.read(len(known) + length)
            if not data.startswith(known):
                return None
            data = data[len(known) :]
            if data.startswith(b"\0"):
                hole = self._length_of_hole()
                if not hole:  # zeros up to the end: room that the writer has made for itself
                    return b""
                self._here = self._here.behind_hole(hole)
                known = self._here.tail
            elif len(data) < length or b"\n" in data or length > LONGEST_LINE:
                return data
            else:
                length = LONGEST_LINE + 1  # one more tells whether the longest line ends there

    def _length_of_hole(self) -> int:
        """How many zeros follow the position; 0 if nothing but zeros does."""
        assert self._file is not None
        assert self._here is not None
        at = begin = self._here.offset
        file = self._file.file
        while True:
            try:
                # The file system knows of those that were never written.
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return 0  # nothing but a hole up to the end, or none of the file left
            file.seek(at)
            data = file.read(CHUNK)
            if not data:
                return 0
            rest = data.lstrip(b"\0")
            if rest:
                return at + len(data) - len(rest) - begin
            at += len(data)

    def _take(self, data: bytes) -> Batch:
        assert self._file is not None
        assert self._here is not None
        changed = self._file.status.st_mtime_ns
        if not self._file.is_unpacked:
            changed = os.fstat(self._file.file.fileno()).st_mtime_ns
        lines = [line.lstrip(b"\0") for line in data.removesuffix(b"\n").split(b"\n")]
        if self._here.is_inside_a_line and data.startswith(b"\n"):
            del lines[0]  # the end of a line that was handed out in pieces
        before = self.position
        self.position = self._here = self._here.after(data, changed)
        return Batch(tuple(lines), before, self.position)

    def _is_complete(self, unread: int) -> bool:
        """Whether another file has taken the place of the open one, which is quiet since then."""
        assert self._file is not None
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False  # renamed, and the new one is not there yet
        if os.path.samestat(there, self._file.status):
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
            opened = _open(self.path)
            if opened is None:
                return False
            self._file, self._here = opened, Position.start_of(opened)
            return True
        opened = _open_at(self.position, self.path)
        if opened is not None:
            device, inode = _identity(opened.status)  # those of a copy are other ones
            self._here = attrs.evolve(self.position, device=device, inode=inode, real=opened.real)
            self._file = opened
            return True
        if not self._open_successor(self.position):
            return False
        if self._noted != self.position:
            self._noted = self.position
            self.notes.append(
                f"{printable(self.path)}: the file that was read up to byte {self.position.offset}"
                " is gone or was truncated; if lines were written to it after the last look, they"
                " are lost"
            )
        return True

    def _open_successor(self, old: Position) -> bool:
        """Open the file that comes next after ``old``'s, if there is one yet."""
        # Files may be renamed between looking and opening; so look again until both agree.
        for _ in range(10):
            opened, skipped = self._open_first(_successors(self.path, old))
            if opened is None:
                return False
            try:
                same = os.path.samestat(opened.status, _successors(self.path, old)[skipped].stat())
            except (FileNotFoundError, IndexError):
                same = False
            if same:
                self._file, self._here = opened, _beginning(opened, old, self.path)
                return True
            opened.close()
        return False

    def _open_first(self, files: list[Path]) -> tuple[_Opened | None, int]:
        """Open the first of these that can be read, and say how many could not."""
        for skipped, file in enumerate(files):
            if file == self.path:
                return _open(file), skipped
            try:
                return _open(file), skipped
            except OSError as error:
                if file not in self._unreadable:
                    self._unreadable.add(file)
                    self.notes.append(
                        f"{printable(file)} is passed over, its lines are lost: {error}"
                    )
        return None, len(files)


def _beginning(opened: _Opened, old: Position, path: Path) -> Position:
    """Where to begin in a file that comes after ``old``'s: further on if it was read before."""
    if opened.real == storable(os.path.abspath(path)):  # noqa: PTH100 - links are to stay
        return Position.start_of(opened)
    others = [each for each in old.left if each.real not in (old.real, opened.real)]
    if old.offset and old.real != opened.real:
        others.append(attrs.evolve(old, left=()))
    left = tuple(others[-_MOST_LEFT:])
    for each in old.left:
        if each.real == opened.real and each.is_in(opened.status) and _contains(opened.file, each):
            return attrs.evolve(each, left=left)
    return attrs.evolve(Position.start_of(opened), left=left)


def storable(path: str | Path) -> str:
    """A path as text that every program can store; bytes that are no UTF-8 are spelled out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def printable(text: str | Path) -> str:
    """``text`` on one line, with everything spelled out that a terminal would act upon."""
    text = storable(text) if isinstance(text, Path) else text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


_PACKED: Final[dict[str, Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_SUFFIX: Final = r"(?:\.gz|\.bz2|\.xz)?"
_NUMBER: Final = re.compile(rf"\.(\d{{1,4}}){_SUFFIX}")
_DATE: Final = re.compile(rf"([.-]\d{{4}}[\dT:_.-]*?){_SUFFIX}")


def rotated(path: Path) -> list[Path]:
    """The files that ``path`` was rotated to and that can be read, oldest first.

    Known are logrotate's ways to name them: ``app.log.2`` and ``app.log-20261016``, also packed as
    in ``app.log.2.gz``.
    """
    numbers: list[tuple[int, Path]] = []
    dates: list[tuple[str, Path]] = []
    files = {found for found in path.parent.glob(f"{_escape(path.name)}[.-]*") if found.is_file()}
    for found in files:
        suffix = found.name[len(path.name) :]
        if found.with_suffix("") in files and _is_packed_copy(found, found.with_suffix("")):
            continue  # being packed just now: the same lines are in both
        if match := _NUMBER.fullmatch(suffix):
            numbers.append((-int(match[1]), found))
        elif match := _DATE.fullmatch(suffix):
            dates.append((match[1], found))
    return [found for _, found in sorted(dates)] + [found for _, found in sorted(numbers)]


def _is_packed_copy(packed: Path, plain: Path) -> bool:
    """Whether ``packed`` begins like ``plain``, as far as it can be unpacked."""
    unpack = _PACKED.get(packed.suffix)
    if unpack is None:
        return False
    try:
        with unpack(packed) as one, plain.open("rb") as other:
            return bool(one.read(HEAD) == other.read(HEAD))
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return True


def _escape(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _places(path: Path, real: str) -> list[Path]:
    """Where a file that was read under ``path`` may be now, oldest first; not ``path`` itself."""
    led_to, leads_to = Path(real) if real else path, Path(os.path.realpath(path))
    found: dict[str, Path] = {}
    for place in (led_to, leads_to, path):
        found.update((storable(each), each) for each in rotated(place))
    # Where the link led, which leads elsewhere now.
    if led_to not in (path, leads_to) and storable(led_to) not in found and led_to.is_file():
        found = {storable(led_to): led_to, **found}
    return list(found.values())


def _renamed(path: Path, position: Position) -> list[Path]:
    """Where the file of ``position`` is if it got a name that no known rotation would give it."""
    found: list[Path] = []
    if not position.offset:
        return found  # nothing would tell it from a file that has the inode now
    led_to = Path(position.real) if position.real else path
    for place in dict.fromkeys((led_to.parent, path.parent)):
        try:
            with os.scandir(place) as entries:
                found += [Path(entry) for entry in entries if entry.inode() == position.inode]
        except OSError:
            pass  # it is gone, or may be searched and not be listed
    return found


def _successors(path: Path, old: Position) -> list[Path]:
    """What comes after the file of ``old``, ``path`` last."""
    files = _places(path, old.real)
    for index, file in enumerate(files):
        if (status := _status(file)) is not None and old.is_in(status):
            younger = files[index + 1 :]
            break
    else:  # its name is not known any more: then by time
        younger = [file for file in files if _is_after(old, file)]
    return [*younger, path]


def _is_after(old: Position, path: Path) -> bool:
    status = _status(path)
    # A copy of the old file is no successor, even if it was made later.
    return status is not None and status.st_mtime_ns > old.changed and not _begins(path, old.head)


def _begins(path: Path, head: bytes) -> bool:
    opened = _open_if_readable(path)
    if opened is None or not head:
        return False
    with opened.file:
        opened.file.seek(0)  # what was just unpacked ends where it was written
        return opened.file.read(len(head)) == head


def _open_at(position: Position, path: Path) -> _Opened | None:
    """The file in which the position lies: the same inode if it can be, else the same content.

    An inode is used again once its file is gone. So if a rotated file holds the same, the one with
    the inode is the old file only if it holds all of the other one.
    """
    same: _Opened | None = None
    copy: _Opened | None = None
    for candidate in (path, *_places(path, position.real), *_renamed(path, position)):
        opened = _open(path) if candidate == path else _open_if_readable(candidate)
        if opened is None:
            continue
        if _contains(opened.file, position):
            if position.is_in(opened.status):
                if same is None:
                    same = opened
                    continue
            elif copy is None and candidate != path and _can_be_copy(position, opened):
                copy = opened
                continue
        opened.close()
    if same is not None and copy is not None:
        is_path = same.real == storable(os.path.realpath(path))
        loser = same if is_path and not _holds(same.file, copy.file) else copy
        loser.close()
        return copy if loser is same else same
    return same or copy


def _can_be_copy(position: Position, opened: _Opened) -> bool:
    # A file that was last written before the position was reached holds other lines, however it
    # begins. Packing may round times to seconds.
    return bool(position.offset) and opened.status.st_mtime_ns >= position.changed - 10**9


def _contains(file: BinaryIO, position: Position) -> bool:
    file.seek(0)
    if file.read(len(position.head)) != position.head:
        return False
    file.seek(position.offset - len(position.tail))
    return file.read(len(position.tail)) == position.tail


def _holds(file: BinaryIO, other: BinaryIO) -> bool:
    """Whether ``file`` begins with all of ``other``, judging by the end of that."""
    size = other.seek(0, os.SEEK_END)
    begin = max(size - HEAD, 0)
    other.seek(begin)
    file.seek(begin)
    end = other.read(HEAD)
    return file.read(len(end)) == end


def _open_if_readable(path: Path) -> _Opened | None:
    # Somebody else's files may look like rotated ones.
    try:
        return _open(path)
    except OSError:
        return None


def _open(path: Path) -> _Opened | None:
    """Open a regular file without buffering; None if there is no such file."""
    try:
        # Opening a FIFO would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(f"{printable(path)} is not a regular file")
    file = os.fdopen(descriptor, "rb", buffering=0)
    unpack = _PACKED.get(path.suffix) if _is_rotated_name(path) else None
    real = storable(os.path.realpath(path))
    if unpack is None:
        return _Opened(file, status, real)
    with file:
        return _Opened(_unpacked(file, unpack), status, real, is_unpacked=True)


def _is_rotated_name(path: Path) -> bool:
    return re.search(rf"[.-]\d[\dT:_.-]*{_SUFFIX}$", path.name) is not None


def _unpacked(file: BinaryIO, unpack: Any) -> BinaryIO:
    """A file without a name that holds what the packed file holds.

    Raises:
        OSError: It is not packed in this way, or not completely.
    """
    plain: BinaryIO = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the caller closes it
    try:
        with unpack(file) as packed:
            shutil.copyfileobj(packed, plain, CHUNK)
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        plain.close()
        raise OSError(f"cannot be unpacked: {error}") from error
    except BaseException:
        plain.close()
        raise
    return plain


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
