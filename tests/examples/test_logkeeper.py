"""The example daemon: its parts alone, then all of it as a process that is crashed and killed."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import sqlite3
from contextlib import closing, suppress
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from helpers.processes import Program, wait_until

from examples.logkeeper import store as db
from examples.logkeeper.follow import LONGEST_LINE, Batch, LogReader, Position, rotated
from examples.logkeeper.parse import Entry, parse
from trio_supervisor.control import ControlClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
        self.reader = LogReader(path)
        self.restart()

    def restart(self) -> None:
        """As after a crash: only what was stored is known."""
        self.reader.close()
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


@pytest.fixture
def reading(log: Path) -> Iterator[Reading]:
    reading = Reading(log)
    yield reading
    reading.reader.close()


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


def test_lines_are_read_as_they_come_and_parts_of_lines_wait(reading: Reading, log: Path) -> None:
    assert reading.read() is None  # it does not exist yet
    append(log, b"one\ntwo\nthr")
    assert reading.read_all() == [b"one", b"two"]
    append(log, b"ee")
    assert reading.read_all() == []
    append(log, b"\n\nfive\n")
    assert reading.read_all() == [b"three", b"", b"five"]


def test_a_reader_goes_on_where_the_stored_position_is(reading: Reading, log: Path) -> None:
    append(log, b"one\ntwo\nthr")
    assert reading.read_all() == [b"one", b"two"]
    append(log, b"ee\n")
    reading.read(dies=True)
    reading.read(dies=True)
    assert reading.read_all() == [b"three"]


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(reading: Reading, log: Path) -> None:
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


def test_a_renamed_file_is_left_only_when_it_has_been_quiet(reading: Reading, log: Path) -> None:
    reading.linger = 1
    reading.restart()
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


def test_the_last_line_of_a_finished_file_needs_no_newline(reading: Reading, log: Path) -> None:
    append(log, b"one\nno newline")
    assert reading.read_all() == [b"one"]
    rotate(log)
    append(log, b"two\n")
    assert reading.read_all() == [b"no newline", b"two"]


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("copy", [False, True])
def test_rotation_by_rename_and_by_copytruncate_loses_nothing(
    reading: Reading, log: Path, *, copy: bool, dies: bool
) -> None:
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
def test_several_rotations_while_nobody_reads_are_caught_up_with(
    reading: Reading, log: Path, *, copy: bool
) -> None:
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


def test_dated_names_are_followed_in_order(reading: Reading, log: Path) -> None:
    append(log, b"1\n")
    assert reading.read_all() == [b"1"]
    log.rename(log.with_name("app.log-20260101"))
    append(log, b"2\n")
    log.rename(log.with_name("app.log-20260102"))
    append(log, b"3\n")
    reading.restart()
    assert reading.read_all() == [b"2", b"3"]


def test_truncation_is_noticed_even_if_the_file_has_grown_beyond_it(
    reading: Reading, log: Path
) -> None:
    append(log, b"old 1\nold 2\n")
    assert reading.read_all() == [b"old 1", b"old 2"]
    log.write_bytes(b"new 1\nnew 2\nnew 3\nnew 4\n")
    assert reading.read_all() == [b"new 1", b"new 2", b"new 3", b"new 4"]
    assert len(reading.notes) == 1


def test_truncation_to_nothing_is_noticed_at_once(reading: Reading, log: Path) -> None:
    append(log, b"old\n")
    assert reading.read_all() == [b"old"]
    log.write_bytes(b"")
    assert reading.read_all() == []
    assert len(reading.notes) == 1
    append(log, b"new\n")
    assert reading.read_all() == [b"new"]


def test_a_writer_that_does_not_append_leaves_a_hole_that_is_no_line(
    reading: Reading, log: Path
) -> None:
    with log.open("wb", buffering=0) as writer:
        writer.write(b"old\n" * 10)
        reading.read_all()
        os.truncate(log, 0)
        writer.write(b"new\n")
    assert reading.read_all() == [b"new"]


def test_a_file_that_went_away_unread_is_said_to_be_lost(reading: Reading, log: Path) -> None:
    append(log, b"1\n")
    assert reading.read_all() == [b"1"]
    append(log, b"2\n")
    log.unlink()
    reading.restart()
    assert reading.read_all() == []
    append(log, b"3\n")
    assert reading.read_all() == [b"3"]
    assert "byte 2" in reading.notes[0]


def test_a_deleted_file_is_read_to_its_end_as_long_as_it_is_open(
    reading: Reading, log: Path
) -> None:
    append(log, b"1\n")
    assert reading.read_all() == [b"1"]
    append(log, b"2\n")
    log.unlink()
    assert reading.read_all() == [b"2"]
    append(log, b"3\n")
    assert reading.read_all() == [b"3"]
    assert reading.notes == []


def test_any_bytes_will_do(reading: Reading, log: Path) -> None:
    append(log, b"\xff\xfe\nok \xc3\xa9\r\n\n")
    assert reading.read_all() == [b"\xff\xfe", b"ok \xc3\xa9\r", b""]


def test_a_line_without_end_is_cut(reading: Reading, log: Path) -> None:
    append(log, b"a" * (LONGEST_LINE - 1))
    assert reading.read_all() == []
    append(log, b"ab\n")
    assert [len(line) for line in reading.read_all()] == [LONGEST_LINE, 1]


def test_a_long_file_comes_in_batches(reading: Reading, log: Path) -> None:
    lines = [f"line {number} {'x' * (number % 200)}".encode() for number in range(20_000)]
    append(log, b"".join(line + b"\n" for line in lines))
    batches = 0
    while reading.read() is not None:
        batches += 1
    assert reading.lines == lines
    assert batches > 3


def test_only_what_looks_rotated_counts_oldest_first(log: Path) -> None:
    names = [
        "app.log.10",
        "app.log.2",
        "app.log-20260102",
        "app.log-20260101",
        "app.log.2026-1",
        "app.log.1.gz",
        "app.log-20260103.xz",
    ]
    others = [
        "app.log.gz",
        "app.log.1.zst",
        "app.log.bak",
        "app.log",
        "xapp.log.1",
        "app.log.old.1",
    ]
    for name in names + others:
        log.with_name(name).touch()
    log.with_name("app.log.3").mkdir()
    assert [path.name for path in rotated(log)] == [
        "app.log-20260101",
        "app.log-20260102",
        "app.log-20260103.xz",
        "app.log.2026-1",
        "app.log.10",
        "app.log.2",
        "app.log.1.gz",
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
def test_no_line_is_lost_or_doubled_whatever_happens_when(
    reading: Reading, log: Path, seed: int
) -> None:
    source = random.Random(seed)
    written = [b"the first"]
    append(log, b"the first\n")
    assert reading.read_all() == written  # what was rotated before nobody promised to read
    pending = b""
    new = 0
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
                    new += 1
            case "p" if not pending:
                pending = f"part {step}".encode()
                append(log, pending)
            case "r":
                reading.read()
            case "d":
                reading.read(dies=True)
            case "s":
                reading.restart()
            case "R" if new:
                if pending:
                    written.append(pending)
                    pending = b""
                rotate(log, copy=source.random() < (seed % 3) / 2)
                append(log, b"")
                new = 0
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
        connection.execute(
            "CREATE TRIGGER no BEFORE INSERT ON sources BEGIN SELECT raise(ABORT, 'no'); END"
        )
        with pytest.raises(sqlite3.IntegrityError):
            db.save_batch(connection, "/x", batch(None, 5, b"one"), "prog")
        assert db.count_lines(connection) == 0
        assert not connection.in_transaction


# ---- the whole of it, as a process


class Keeper(Program):
    """The log keeper in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        arguments = ("--port=0", "--poll=0.02", "--linger=0.1", *arguments)
        super().__init__(folder, "-m", "examples.logkeeper", *arguments)
        try:
            self.wait_for("logkeeper is up")
        except BaseException:
            self.__exit__()
            raise
        found = re.search(r"answers on (\S+), port (\d+)", self.out)
        assert found is not None
        self.address = found[1], int(found[2])

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=30)

    def ask(self, *commands: str) -> str:
        """All the answers."""
        with self.connect() as client:
            client.sendall("".join(f"{command}\n" for command in commands).encode())
            with suppress(OSError):  # a crash was faster
                client.shutdown(socket.SHUT_WR)
            return received(client)

    def count(self) -> int:
        """How many lines it has stored; -1 if a crash comes before the answer."""
        answer = self.ask("count").strip()
        return int(answer) if answer.isdecimal() else -1

    def wait_count(self, number: int) -> None:
        wait_until(
            lambda: self.count() == number, lambda: f"{self.ask('files', 'state')}{self.err}"
        )

    def stop(self) -> None:
        self.signal(signal.SIGTERM)
        assert self.ended() == 0, self.err


def received(client: socket.socket) -> str:
    """All that comes, until the other side closes or resets the connection."""
    data = b""
    try:
        while more := client.recv(65536):
            data += more
    except ConnectionResetError:
        pass
    return data.decode()


def stored(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [row[0] for row in connection.execute("SELECT message FROM lines ORDER BY id")]


def test_queries_are_answered(tmp_path: Path, log: Path) -> None:
    append(log, b"2026-01-01 01:02:03 INFO web: hello\nodd \xff\n\n")
    append(log, b"2026-01-01 01:02:04 ERROR db: it broke\n")
    with Keeper(tmp_path, str(log)) as keeper:
        keeper.wait_count(4)
        assert "count level" in keeper.ask("help")
        assert keeper.ask("count level") == "        3  info\n        1  error\n\n"
        assert keeper.ask("count program") == "        2  app\n        1  db\n        1  web\n\n"
        assert keeper.ask("last 1") == "2026-01-01T01:02:04 error    db: it broke\n\n"
        assert "odd \\xff" in keeper.ask("last")
        assert f"{log}" in keeper.ask("files")
        for bad in ("nonsense", "last x", "last 0", "count x", "sabotage", "sabotage nobody"):
            assert keeper.ask(bad).count("\n") == 2, bad
        assert keeper.ask("", "   ", "quit", "count") == ""
        assert keeper.ask("x" * 5000) == "a command is no longer than 1000 bytes\n\n"
        with keeper.connect() as client:
            client.sendall(b"\xff\xfe\ncou")
            assert client.recv(1000) == b"unknown command; try: help\n\n"
            client.sendall(b"nt")
            client.shutdown(socket.SHUT_WR)  # the last command needs no newline
            assert received(client) == "4\n\n"
        keeper.stop()


def test_a_file_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIO_SUPERVISOR_SOCKET", str(tmp_path / "control"))
    other = tmp_path / "other" / "app.log"
    other.parent.mkdir()
    with Keeper(tmp_path, str(log), str(other), str(log)) as keeper:
        assert keeper.count() == 0
        append(log, b"one\n")
        append(other, b"two\n")
        keeper.wait_count(2)
        with ControlClient(str(tmp_path / "control")) as client:
            assert "logkeeper/followers/app.log-2" in client.request("names")["names"]
        keeper.stop()


def test_clients_are_told_goodbye(tmp_path: Path, log: Path) -> None:
    with Keeper(tmp_path, str(log)) as keeper, keeper.connect() as client:
        client.sendall(b"count\n")
        assert client.recv(100) == b"0\n\n"
        keeper.stop()
        assert received(client) == "goodbye: the desk is closing\n\n"


def test_a_client_that_goes_away_is_no_failure(tmp_path: Path, log: Path) -> None:
    append(log, b"".join(b"line %d\n" % number for number in range(2000)))
    with Keeper(tmp_path, str(log)) as keeper:
        for _ in range(5):
            with keeper.connect() as client:
                client.sendall(b"last 1000\n" * 50)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        keeper.wait_count(2000)
        keeper.stop()
        assert "crashed" not in keeper.err


@pytest.mark.parametrize("victim", ["listener", "store", "app.log", "desk"])
def test_each_child_can_be_crashed_and_comes_back(tmp_path: Path, log: Path, victim: str) -> None:
    append(log, b"one\n")
    with Keeper(tmp_path, "--db", str(tmp_path / "lines.db"), str(log)) as keeper:
        keeper.wait_count(1)
        assert keeper.ask(f"sabotage {victim}").startswith(f"crashing {victim}\n")
        keeper.wait_for("CrashRequested: somebody typed: sabotage")
        append(log, b"two\n")
        if victim == "listener":  # a new socket, and with port 0 a new port
            wait_until(lambda: keeper.out.count("answers on") == 2, lambda: keeper.err)
            *_, last = re.findall(r"port (\d+)\. In", keeper.out)
            keeper.address = keeper.address[0], int(last)
        keeper.wait_count(2)
        keeper.stop()
    assert stored(tmp_path / "lines.db") == ["one", "two"]


@pytest.mark.parametrize("seed", range(2))
def test_nothing_is_lost_or_doubled_while_everything_is_killed(
    tmp_path: Path, log: Path, seed: int
) -> None:
    source = random.Random(seed)
    database = tmp_path / "lines.db"
    written: list[str] = []

    def write() -> None:
        for _ in range(source.randrange(1, 30)):
            written.append(f"line {len(written)} {'x' * source.randrange(100)}")
            append(log, f"{written[-1]}\n".encode())

    write()
    for life in range(4):
        with Keeper(tmp_path, "--db", str(database), str(log)) as keeper:
            for _ in range(6):
                write()
                match source.choice(["store", "app.log", "desk", "rename", "copy", "wait"]):
                    case "rename":
                        rotate(log)
                        append(log, b"")
                    case "copy":
                        rotate(log, copy=True)
                    case "wait":
                        wait_until(lambda: keeper.count() > 0, lambda: keeper.err)
                    case victim:
                        keeper.ask(f"sabotage {victim}")
            if life == 3:
                keeper.wait_count(len(written))
                keeper.stop()
            elif source.random() < 0.7:
                keeper.signal(signal.SIGKILL)
                keeper.process.wait()
        write()
        if life < 3 and source.random() < 0.5:
            rotate(log)
            append(log, b"")
            write()
    lines = stored(database)
    assert lines == written[: len(lines)]
    assert len(lines) > 100


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path, log: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = Program(tmp_path, "-m", "examples.logkeeper", f"--port={port}", str(log))
        with program:
            assert program.ended() == 2
    assert program.err == (
        f"logkeeper: cannot listen on 127.0.0.1, port {port}: Address already in use;"
        " choose another with --port\n"
    )


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("/nowhere/app.log", "logkeeper: /nowhere/app.log: there is no such directory\n"),
        ("/dev/null", "logkeeper: /dev/null is not a regular file\n"),
        ("--poll=-1", "'-1' is not a number of seconds (0 to 3600)\n"),
        ("--port=70000", "'70000' is not a port (0 to 65535)\n"),
    ],
)
def test_a_command_line_that_cannot_work_is_refused(
    tmp_path: Path, argument: str, said: str
) -> None:
    with Program(tmp_path, "-m", "examples.logkeeper", argument) as program:
        assert program.ended() == 2
    assert program.err.endswith(said)
    assert "Traceback" not in program.err
