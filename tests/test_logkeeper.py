"""The example daemon: its parts alone, and all of it as a process that is crashed, killed, asked."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from examples.logkeeper import store as db
from examples.logkeeper.follow import LONGEST_LINE, Batch, LogReader, Position, rotated
from examples.logkeeper.parse import Entry, parse

# ---- taking lines apart


NOW = datetime(2026, 3, 1, 12, 0, 0)  # noqa: DTZ001 - logs are local


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        (
            "2025-06-24 14:36:25 startup archives unpack",
            Entry("2025-06-24T14:36:25", "dpkg", "info", "startup archives unpack"),
        ),
        (
            "2025-06-24 14:36:25 status half-configured libc-bin:amd64 2.36",
            Entry(
                "2025-06-24T14:36:25",
                "dpkg",
                "notice",
                "status half-configured libc-bin:amd64 2.36",
            ),
        ),
        (
            "2025-06-24 14:36:25 remove vim:amd64 2 <none>",
            Entry("2025-06-24T14:36:25", "dpkg", "notice", "remove vim:amd64 2 <none>"),
        ),
        (
            "update-alternatives 2025-06-24 14:36:53: run with --install x",
            Entry("2025-06-24T14:36:53", "update-alternatives", "info", "run with --install x"),
        ),
        (
            "Feb 28 23:04:01 host sshd[123]: error: no such user: x",
            Entry("2026-02-28T23:04:01", "sshd", "error", "error: no such user: x"),
        ),
        (
            "Dec 31 23:59:59 host cron[9]: (root) CMD (true)",
            Entry("2025-12-31T23:59:59", "cron", "info", "(root) CMD (true)"),
        ),
        (
            "<28>Feb  1 01:02:03 host kernel: [ 1.0] hot",
            Entry("2026-02-01T01:02:03", "kernel", "warning", "[ 1.0] hot"),
        ),
        (
            "2026-02-01T01:02:03.123456+01:00 host app[1]: hello",
            Entry("2026-02-01T01:02:03.123456+01:00", "app", "info", "hello"),
        ),
        (
            "2026-02-01 01:02:03,123 WARNING app.db: slow",
            Entry("2026-02-01T01:02:03.123", "app.db", "warning", "slow"),
        ),
        (
            "[2026-02-01T01:02:03Z] [ERR] it broke",
            Entry("2026-02-01T01:02:03Z", "mine", "error", "it broke"),
        ),
        (
            "2026-02-01 01:02:03 it failed",
            Entry("2026-02-01T01:02:03", "mine", "error", "it failed"),
        ),
        ("", Entry("", "mine", "info", "")),
        ("panic: at the disco", Entry("", "mine", "critical", "panic: at the disco")),
        ("no format at all", Entry("", "mine", "info", "no format at all")),
        ("Feb 30 01:02:03 host x: y", Entry("", "x", "info", "y")),
        ("2026-02-01 01:02:03 a\nb", Entry("2026-02-01T01:02:03", "mine", "info", "a\nb")),
    ],
)
def test_a_line_of_each_known_format_is_taken_apart(line: str, entry: Entry) -> None:
    assert parse(line, default_program="mine", now=NOW) == entry


def test_leap_day_without_a_year_finds_its_year() -> None:
    now = datetime(2024, 3, 1, 12, 0, 0)  # noqa: DTZ001
    assert parse("Feb 29 01:02:03 h p: m", default_program="x", now=now).at == "2024-02-29T01:02:03"


def test_no_line_whatsoever_fails_to_be_taken_apart() -> None:
    source = random.Random(1)
    alphabet = "0123456789-: <>[]TZabcJanerror\t\0é\u2028"
    for _ in range(3000):
        line = "".join(source.choices(alphabet, k=source.randrange(60)))
        assert isinstance(parse(line, default_program="x", now=NOW), Entry)


# ---- following a file


class Reading:
    """A reader, everything that it has read, and a clock that it believes in."""

    def __init__(self, path: Path, linger: float = 0) -> None:
        self.path = path
        self.linger = linger
        self.now = 0.0
        self.lines: list[bytes] = []
        self.notes: list[str] = []
        self.position: Position | None = None
        self.restart()

    def restart(self) -> None:
        """As after a crash: only what was stored is known."""
        self.reader = LogReader(
            self.path, self.position, linger=self.linger, clock=lambda: self.now
        )

    def read(self, *, dies: bool = False) -> Batch | None:
        batch = self.reader.read()
        self.notes += self.reader.notes
        self.reader.notes.clear()
        if dies:
            self.restart()
        elif batch is not None:
            assert batch.before == self.position
            self.position = batch.after
            self.lines += batch.lines
        return batch

    def read_all(self) -> list[bytes]:
        """All lines that are new since the last time."""
        known = len(self.lines)
        while self.read() is not None:
            pass
        return self.lines[known:]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def append(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


def rotate(path: Path, *, copy: bool = False) -> None:
    for number in range(20, 0, -1):
        source = path.with_name(f"{path.name}.{number}")
        if source.exists():
            source.rename(path.with_name(f"{path.name}.{number + 1}"))
    first = path.with_name(f"{path.name}.1")
    if copy:
        first.write_bytes(path.read_bytes())
        os.truncate(path, 0)
    else:
        path.rename(first)


def test_lines_are_read_as_they_come_and_parts_of_lines_wait(log: Path) -> None:
    reading = Reading(log)
    assert reading.read() is None  # it does not exist yet
    append(log, b"one\ntwo\nthr")
    assert reading.read_all() == [b"one", b"two"]
    append(log, b"ee")
    assert reading.read_all() == []
    append(log, b"\n\nfive\n")
    assert reading.read_all() == [b"three", b"", b"five"]


def test_a_reader_goes_on_where_the_stored_position_is(log: Path) -> None:
    append(log, b"one\ntwo\nthr")
    reading = Reading(log)
    assert reading.read_all() == [b"one", b"two"]
    append(log, b"ee\n")
    reading.read(dies=True)
    reading.read(dies=True)
    assert reading.read_all() == [b"three"]


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(log: Path) -> None:
    reading = Reading(log)
    append(log, b"one\n")
    assert reading.read_all() == [b"one"]
    writer = log.open("ab")
    rotate(log)
    with writer:
        writer.write(b"two\n")
        writer.flush()
        assert reading.read_all() == [b"two"]
        append(log, b"three\n")
        assert reading.read_all() == [b"three"]
    assert reading.notes == []


def test_a_renamed_file_is_left_only_when_it_has_been_quiet(log: Path) -> None:
    reading = Reading(log, linger=1)
    append(log, b"one\n")
    assert reading.read_all() == [b"one"]
    writer = log.open("ab", buffering=0)
    rotate(log)
    append(log, b"new\n")
    with writer:
        assert reading.read_all() == []
        reading.now = 0.9
        writer.write(b"tw")
        assert reading.read_all() == []
        reading.now = 1.5
        assert reading.read_all() == []
        writer.write(b"o\n")
        assert reading.read_all() == [b"two"]
    reading.now = 2.4
    assert reading.read_all() == []
    reading.now = 2.6
    assert reading.read_all() == [b"new"]


def test_the_last_line_of_a_finished_file_needs_no_newline(log: Path) -> None:
    reading = Reading(log)
    append(log, b"one\nno newline")
    assert reading.read_all() == [b"one"]
    rotate(log)
    append(log, b"two\n")
    assert reading.read_all() == [b"no newline", b"two"]


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("copy", [False, True])
def test_rotation_by_rename_and_by_copytruncate_loses_nothing(
    log: Path, *, copy: bool, dies: bool
) -> None:
    reading = Reading(log)
    append(log, b"1\n2\n")
    assert reading.read_all() == [b"1", b"2"]
    append(log, b"3\n")
    rotate(log, copy=copy)
    append(log, b"4\n")
    if dies:
        reading.restart()
    assert reading.read_all() == [b"3", b"4"]
    assert reading.notes == []


@pytest.mark.parametrize("copy", [False, True])
def test_several_rotations_while_nobody_reads_are_caught_up_with(log: Path, *, copy: bool) -> None:
    reading = Reading(log)
    append(log, b"1\n")
    assert reading.read_all() == [b"1"]
    for number in range(2, 6):
        append(log, f"{number}a\n{number}b\n".encode())
        rotate(log, copy=copy)
    append(log, b"6\n")
    reading.restart()
    expected = [f"{number}{letter}".encode() for number in range(2, 6) for letter in "ab"]
    assert reading.read_all() == [*expected, b"6"]
    assert reading.notes == []


def test_dated_names_are_followed_in_order(log: Path) -> None:
    reading = Reading(log)
    append(log, b"1\n")
    assert reading.read_all() == [b"1"]
    log.rename(log.with_name("app.log-20260101"))
    append(log, b"2\n")
    log.rename(log.with_name("app.log-20260102"))
    append(log, b"3\n")
    reading.restart()
    assert reading.read_all() == [b"2", b"3"]


def test_truncation_is_noticed_even_if_the_file_has_grown_beyond_it(log: Path) -> None:
    reading = Reading(log)
    append(log, b"old 1\nold 2\n")
    assert reading.read_all() == [b"old 1", b"old 2"]
    log.write_bytes(b"new 1\nnew 2\nnew 3\nnew 4\n")
    assert reading.read_all() == [b"new 1", b"new 2", b"new 3", b"new 4"]
    assert len(reading.notes) == 1


def test_truncation_to_nothing_is_noticed_at_once(log: Path) -> None:
    reading = Reading(log)
    append(log, b"old\n")
    assert reading.read_all() == [b"old"]
    log.write_bytes(b"")
    assert reading.read_all() == []
    assert len(reading.notes) == 1
    append(log, b"new\n")
    assert reading.read_all() == [b"new"]


def test_a_writer_that_does_not_append_leaves_a_hole_that_is_no_line(log: Path) -> None:
    reading = Reading(log)
    with log.open("wb", buffering=0) as writer:
        writer.write(b"old\n" * 10)
        reading.read_all()
        os.truncate(log, 0)
        writer.write(b"new\n")
    assert reading.read_all() == [b"new"]


def test_a_file_that_went_away_unread_is_said_to_be_lost(log: Path) -> None:
    reading = Reading(log)
    append(log, b"1\n")
    assert reading.read_all() == [b"1"]
    append(log, b"2\n")
    reading.reader.close()
    log.unlink()
    reading.restart()
    assert reading.read_all() == []
    append(log, b"3\n")
    assert reading.read_all() == [b"3"]
    assert "byte 2" in reading.notes[0]


def test_a_deleted_file_is_read_to_its_end_as_long_as_it_is_open(log: Path) -> None:
    reading = Reading(log)
    append(log, b"1\n")
    assert reading.read_all() == [b"1"]
    append(log, b"2\n")
    log.unlink()
    assert reading.read_all() == [b"2"]
    append(log, b"3\n")
    assert reading.read_all() == [b"3"]
    assert reading.notes == []


def test_any_bytes_will_do(log: Path) -> None:
    reading = Reading(log)
    append(log, b"\xff\xfe\nok \xc3\xa9\r\n\n")
    assert reading.read_all() == [b"\xff\xfe", b"ok \xc3\xa9\r", b""]


def test_a_line_without_end_is_cut(log: Path) -> None:
    reading = Reading(log)
    append(log, b"a" * (LONGEST_LINE - 1))
    assert reading.read_all() == []
    append(log, b"ab\n")
    assert [len(line) for line in reading.read_all()] == [LONGEST_LINE, 1]


def test_a_long_file_comes_in_batches(log: Path) -> None:
    lines = [f"line {number} {'x' * (number % 200)}".encode() for number in range(20_000)]
    append(log, b"".join(line + b"\n" for line in lines))
    reading = Reading(log)
    batches = 0
    while reading.read() is not None:
        batches += 1
    assert reading.lines == lines
    assert batches > 3


def test_only_what_looks_rotated_counts_oldest_first(log: Path) -> None:
    names = ["app.log.10", "app.log.2", "app.log-20260102", "app.log-20260101", "app.log.2026-01-03"]
    others = ["app.log.1.gz", "app.log.bak", "app.log", "xapp.log.1", "app.log.old.1"]
    for name in names + others:
        log.with_name(name).touch()
    log.with_name("app.log.3").mkdir()
    assert [path.name for path in rotated(log)] == [
        "app.log-20260101",
        "app.log-20260102",
        "app.log.2026-01-03",
        "app.log.10",
        "app.log.2",
    ]


def test_a_name_with_wildcards_is_just_a_name(tmp_path: Path) -> None:
    tmp_path.joinpath("a1.log.1").touch()
    tmp_path.joinpath("a[1].log.1").touch()
    assert [path.name for path in rotated(tmp_path / "a[1].log")] == ["a[1].log.1"]


def test_what_is_no_regular_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(OSError, match="not a regular file"):
        LogReader(fifo).read()


@pytest.mark.parametrize("seed", range(60))
def test_no_line_is_lost_or_doubled_whatever_happens_when(log: Path, seed: int) -> None:
    source = random.Random(seed)
    # Both ways to rotate are mixed only when the reader keeps up: after a copy, the inode of the
    # file says nothing about which generation the reader was in.
    copy = seed % 3 == 0
    reading = Reading(log, linger=0)
    written: list[bytes] = []
    pending = b""
    unread = 0
    append(log, b"")
    for step in range(150):
        match source.choice("wwwwpprrrrrdsR"):
            case "w":
                for _ in range(source.randrange(1, 4)):
                    line = f"{seed} {step} {source.random()} {'x' * source.randrange(300)}".encode()
                    append(log, line[len(pending) :] + b"\n" if pending else line + b"\n")
                    if pending:
                        line = pending + line[len(pending) :]
                        pending = b""
                    written.append(line)
                    unread += 1
            case "p" if not pending:
                pending = f"part {step}".encode()
                append(log, pending)
            case "r":
                reading.read()
            case "d":
                reading.read(dies=True)
            case "s":
                reading.restart()
            case "R" if unread and log.stat().st_size:
                if pending:
                    written.append(pending)
                    pending = b""
                rotate(log, copy=copy)
                append(log, b"")
                unread = 0
                if source.random() < 0.5:
                    reading.read_all()
            case _:
                pass
    if pending:
        append(log, b"\n")
        written.append(pending)
    reading.read_all()
    assert reading.lines == written
    assert reading.notes == []


# ---- storing


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    return db.connect(tmp_path / "lines.db")


def batch(before: Position | None, offset: int, *lines: bytes) -> Batch:
    return Batch(lines, before, Position(2**63 - 1, 1, 1, offset, b"h", b"t"))


def test_lines_and_position_are_stored_together(connection: sqlite3.Connection) -> None:
    with closing(connection):
        assert db.load_position(connection, "/x") is None
        first = batch(None, 5, b"one", b"tw\xff\r")
        db.save_batch(connection, "/x", first, "prog")
        second = batch(first.after, 9, b"three failed")
        db.save_batch(connection, "/x", second, "prog")
        assert db.load_position(connection, "/x") == second.after
        assert db.count_lines(connection) == 3
        assert db.count_by(connection, "level") == [("info", 2), ("error", 1)]
        assert db.count_by(connection, "program") == [("prog", 3)]
        assert [row[3] for row in db.last_lines(connection, 2)] == ["tw\\xff", "three failed"]
        assert db.sources(connection) == [db.Source("/x", 3, 9)]


def test_a_batch_that_does_not_follow_is_refused_whole(connection: sqlite3.Connection) -> None:
    with closing(connection):
        first = batch(None, 5, b"one")
        db.save_batch(connection, "/x", first, "prog")
        with pytest.raises(db.PositionMoved):
            db.save_batch(connection, "/x", first, "prog")
        assert db.count_lines(connection) == 1
        db.save_batch(connection, "/y", first, "prog")  # another file's business
        assert db.count_lines(connection) == 2


def test_a_batch_that_fails_half_way_leaves_nothing(connection: sqlite3.Connection) -> None:
    with closing(connection):
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON sources BEGIN SELECT raise(ABORT, 'no'); END")
        with pytest.raises(sqlite3.IntegrityError):
            db.save_batch(connection, "/x", batch(None, 5, b"one"), "prog")
        assert db.count_lines(connection) == 0
        assert not connection.in_transaction
