"""A reader follows a log through drawn rotations, packings and stops: no line is lost or doubled.

Times of files are written by the test, later with each write, so that nothing depends on how fast
the machine is.
"""

from __future__ import annotations

import gzip
import os
import random
from itertools import count
from typing import TYPE_CHECKING

import pytest

from examples.logkeeper.follow import LogReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from examples.logkeeper.follow import Position

KINDS = {
    "rename": "wwwwrrrrsskkkkRRR",
    "copytruncate": "wwwwrrrrsskkkkCCC",
    "both": "wwwwrrrrsskkkkRRCC",
}


class Log:
    """A log with its writer, what rotates and packs it, and a reader that is up or down."""

    def __init__(self, path: Path, source: random.Random) -> None:
        self.path = path
        self.source = source
        self.written: list[bytes] = []
        self.got: list[bytes] = []
        self.notes: list[str] = []
        self.now = 0.0
        self.rotations = 0
        self.file_times = count(1_700_000_000, 7)
        self.numbers = count()
        self.writer = path.open("ab", buffering=0)
        self.position: Position | None = None
        self.reader: LogReader | None = self.start()

    def start(self) -> LogReader:
        linger = self.source.choice([0, 1])
        return LogReader(self.path, self.position, linger=linger, clock=lambda: self.now)

    def stop_or_start(self) -> None:
        if self.reader is None:
            self.reader = self.start()
        else:
            self.reader.close()
            self.notes += self.reader.notes
            self.reader = None

    def touch(self, path: Path) -> None:
        now = next(self.file_times)
        os.utime(path, (now, now))

    def write(self, path: Path | None = None) -> None:
        for _ in range(self.source.randint(1, 4)):
            line = b"line %d %s" % (next(self.numbers), b"x" * self.source.choice([0, 3, 9]))
            self.written.append(line)
            self.writer.write(line + b"\n")
        self.touch(path or self.path)

    def read(self, most: int) -> None:
        for _ in range(most if self.reader is not None else 0):
            assert self.reader is not None
            batch = self.reader.read()
            if batch is None:
                self.now += 0.6
            else:
                assert batch.before == self.position
                self.position = batch.after
                self.got += batch.lines

    def rotated(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def make_room(self) -> None:
        self.rotations += 1
        for number in range(self.rotations, 0, -1):
            for suffix in ("", ".gz"):
                old = self.path.with_name(f"{self.path.name}.{number}{suffix}")
                if old.exists():
                    old.rename(self.path.with_name(f"{self.path.name}.{number + 1}{suffix}"))

    def rename(self) -> None:
        self.make_room()
        self.path.rename(self.rotated(1))
        if self.source.random() < 0.3:  # the writer has not noticed yet
            self.write(self.rotated(1))
        self.writer.close()
        self.writer = self.path.open("ab", buffering=0)
        self.touch(self.path)
        if self.source.random() < 0.7:
            self.write()

    def copy_and_truncate(self) -> None:
        self.make_room()
        self.rotated(1).write_bytes(self.path.read_bytes())
        self.touch(self.rotated(1))
        os.truncate(self.path, 0)
        self.touch(self.path)
        if self.source.random() < 0.7:
            self.write()

    def pack(self) -> None:
        plain = self.rotated(self.source.choice([1, 2]))
        packed = plain.with_name(f"{plain.name}.gz")
        if not plain.exists() or packed.exists():
            return
        with gzip.open(packed, "wb") as file:
            file.write(plain.read_bytes())
        self.read(self.source.choice([0, 1, 2, 3]))  # while both are there
        os.utime(packed, ns=(plain.stat().st_mtime_ns,) * 2)
        plain.unlink()

    def live(self, kind: str) -> None:
        self.write()
        self.read(5)  # what was rotated before nobody promised to read
        for _ in range(self.source.randint(10, 40)):
            match self.source.choice(KINDS[kind]):
                case "w":
                    self.write()
                case "r":
                    self.read(self.source.choice([1, 2, 3, 9]))
                case "s":
                    self.stop_or_start()
                case "k":
                    self.pack()
                case "R":
                    self.rename()
                case "C":
                    self.copy_and_truncate()
        if self.reader is None:
            self.stop_or_start()
        known = -1
        while known < len(self.got):
            known = len(self.got)
            self.read(10)


@pytest.fixture
def log(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Log]:
    made = Log(tmp_path / "app.log", random.Random(request.node.name))
    yield made
    made.writer.close()
    if made.reader is not None:
        made.reader.close()


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("kind", KINDS)
def test_no_line_is_lost_or_read_twice(log: Log, kind: str, seed: int) -> None:
    log.live(kind)
    assert log.got == log.written
    assert log.reader is not None
    assert log.notes + log.reader.notes == []
