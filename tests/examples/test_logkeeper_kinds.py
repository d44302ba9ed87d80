"""The log keeper and real logs: links, packed rotations, holes, formats, hostile bytes."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import sqlite3
import sys
import threading
from contextlib import closing
from datetime import datetime
from signal import SIGTERM
from typing import TYPE_CHECKING

import pytest
import trio
from helpers.processes import Program, wait_until

from examples.logkeeper import store as db
from examples.logkeeper.follow import LONGEST_LINE, Batch, LogReader, Position, printable, storable
from examples.logkeeper.parse import parse
from examples.logkeeper.sabotage import Saboteur
from examples.logkeeper.tree import Options, declare, name_children
from trio_supervisor import ChildSpec, SupervisorSpec, in_thread, open_supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOW = datetime(2026, 3, 1, 12, 0, 0)  # noqa: DTZ001 - logs are local


class Following:
    """A reader that can be stopped and started, and what it has read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position: Position | None = None
        self.lines: list[bytes] = []
        self.notes: list[str] = []
        self.start()

    def start(self) -> None:
        self.reader = LogReader(self.path, self.position, linger=0)

    def stop(self) -> None:
        self.reader.close()

    def read(self) -> list[bytes]:
        known = len(self.lines)
        while (batch := self.reader.read()) is not None:
            assert batch.before == self.position
            self.position = batch.after
            self.lines += batch.lines
        self.notes += self.reader.notes
        self.reader.notes.clear()
        return self.lines[known:]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


@pytest.fixture
def follow(log: Path) -> Iterator[Callable[[Path], Following]]:
    made: list[Following] = []

    def make(path: Path = log) -> Following:
        made.append(Following(path))
        return made[-1]

    yield make
    for each in made:
        each.stop()


# ---------------------------------------------------------------- links


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("level", ["file", "folder", "link to a link"])
def test_a_link_that_is_moved_is_followed(
    tmp_path: Path, follow: Callable[[Path], Following], level: str, *, down: bool
) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    old, new = tmp_path / "one" / "a.log", tmp_path / "two" / "a.log"
    old.write_bytes(b"first\n")
    link = tmp_path / "link"
    if level == "folder":
        link.symlink_to("one")
        path = link / "a.log"
    else:
        link.symlink_to(old)
        path = link
    if level == "link to a link":
        path = tmp_path / "outer"
        path.symlink_to(link)
    following = follow(path)
    assert following.read() == [b"first"]
    if down:
        following.stop()
    with old.open("ab") as file:
        file.write(b"last of the old one\n")
    new.write_bytes(b"first of the new one\n")
    link.unlink()
    link.symlink_to("two" if level == "folder" else new)
    if down:
        following.start()
    assert following.read() == [b"last of the old one", b"first of the new one"]
    assert following.notes == []


@pytest.mark.parametrize("down", [False, True])
def test_a_link_that_is_moved_back_is_not_read_twice(
    tmp_path: Path, follow: Callable[[Path], Following], *, down: bool
) -> None:
    """Two deployments that take turns."""
    blue, green = tmp_path / "blue.log", tmp_path / "green.log"
    link = tmp_path / "link"
    link.symlink_to(blue)
    following = follow(link)
    told: list[bytes] = []
    for turn in range(6):
        now = (blue, green)[turn % 2]
        if down:
            following.stop()
        link.unlink()
        link.symlink_to(now)
        with now.open("ab") as file:
            file.write(b"turn %d\n" % turn)
        if down:
            following.start()
        told += following.read()
    assert told == [b"turn %d" % turn for turn in range(6)]


def test_the_target_of_a_link_is_rotated_where_it_is(
    tmp_path: Path, follow: Callable[[Path], Following]
) -> None:
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "app.log"
    real.write_bytes(b"1\n")
    link = tmp_path / "current"
    link.symlink_to(real)
    following = follow(link)
    assert following.read() == [b"1"]
    following.stop()
    with real.open("ab") as file:
        file.write(b"2\n")
    real.rename(real.with_name("app.log.1"))
    real.write_bytes(b"3\n")
    following.start()
    assert following.read() == [b"2", b"3"]


# ---------------------------------------------------------------- while it was down


@pytest.mark.parametrize(
    ("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
@pytest.mark.parametrize("rotations", [1, 2])
def test_what_was_rotated_and_packed_is_read_on(
    log: Path,
    follow: Callable[[], Following],
    suffix: str,
    pack: Callable[[bytes], bytes],
    rotations: int,
) -> None:
    log.write_bytes(b"banner\n")
    following = follow()
    assert following.read() == [b"banner"]
    following.stop()
    log.unlink()
    packed = log.with_name(f"app.log.{rotations}.{suffix}")
    packed.write_bytes(pack(b"banner\nold, unread\n"))
    if rotations == 2:
        log.with_name(f"app.log.1.{suffix}").write_bytes(pack(b"banner\nbetween\n"))
    log.write_bytes(b"banner\nnew\n")
    following.start()
    between = [b"banner", b"between"] if rotations == 2 else []
    assert following.read() == [b"old, unread", *between, b"banner", b"new"]
    assert following.notes == []


@pytest.mark.parametrize(
    "name", ["app.log.old", "app-20261127.log", "app.1.log", "app.log.2026-11-27T10:00:00Z"]
)
def test_a_file_that_got_any_name_while_nobody_read_is_read_on(
    log: Path, follow: Callable[[Path], Following], name: str
) -> None:
    log.write_bytes(b"1\n")
    following = follow(log)
    assert following.read() == [b"1"]
    following.stop()
    with log.open("ab") as file:
        file.write(b"2\n")
    log.rename(log.with_name(name))
    log.write_bytes(b"3\n")
    following.start()
    assert following.read() == [b"2", b"3"]
    assert following.notes == []


def test_a_file_that_is_being_packed_is_not_read_twice(
    log: Path, follow: Callable[[Path], Following]
) -> None:
    log.write_bytes(b"1\n")
    following = follow(log)
    assert following.read() == [b"1"]
    following.stop()
    old = log.with_name("app.log.1")
    log.rename(old)
    log.write_bytes(b"2\n")
    with gzip.open(f"{old}.gz", "wb") as packed:
        packed.write(old.read_bytes())
    following.start()
    assert following.read() == [b"2"]
    old.unlink()
    assert following.read() == []
    assert following.notes == []


@pytest.mark.parametrize("copy", [False, True])
def test_a_file_that_was_packed_under_the_readers_hands_is_not_read_twice(
    log: Path, *, copy: bool
) -> None:
    now = 0.0
    log.write_bytes(b"1\n2\n")
    with closing(LogReader(log, linger=1, clock=lambda: now)) as reader:
        first = reader.read()
        assert first is not None
        old = log.with_name("app.log.1")
        if copy:  # as copytruncate does
            old.write_bytes(log.read_bytes())
            log.write_bytes(b"3\nand more than before\n")
        else:
            log.rename(old)
            log.write_bytes(b"3\nand more than before\n")
        assert reader.read() is None  # it waits for the old file to be quiet
        with gzip.open(f"{old}.gz", "wb") as packed:
            packed.write(old.read_bytes())
        os.utime(f"{old}.gz", (2e9, 2e9))  # later than what was read
        old.unlink()
        now += 2
        second = reader.read()
    assert second is not None
    assert second.lines == (b"3", b"and more than before")
    assert reader.notes == []


def test_a_packed_file_of_the_same_number_that_is_another_one_is_read(
    log: Path, follow: Callable[[Path], Following]
) -> None:
    log.write_bytes(b"1\n")
    following = follow(log)
    assert following.read() == [b"1"]
    following.stop()
    log.rename(log.with_name("app.log.2"))
    with gzip.open(log.with_name("app.log.1.gz"), "wb") as packed:
        packed.write(b"2\n")
    log.with_name("app.log.1").write_bytes(b"3\n")
    log.write_bytes(b"4\n")
    following.start()
    assert sorted(following.read()) == [b"2", b"3", b"4"]


def test_a_file_that_was_empty_when_it_was_seen_last_is_known(
    log: Path, follow: Callable[[Path], Following]
) -> None:
    log.write_bytes(b"")
    following = follow(log)
    assert following.read() == []
    following.stop()
    log.write_bytes(b"1\n")
    log.rename(log.with_name("app.log.1"))
    log.write_bytes(b"2\n")
    following.start()
    assert following.read() == [b"1", b"2"]


def test_a_packed_file_that_is_torn_is_passed_over_with_a_note(
    log: Path, follow: Callable[[], Following]
) -> None:
    log.write_bytes(b"first\n")
    following = follow()
    following.read()
    following.stop()
    log.with_name("app.log.1.gz").write_bytes(gzip.compress(b"first\nsecond\n" * 100)[:-9])
    log.unlink()
    log.write_bytes(b"new\n")
    following.start()
    assert following.read() == [b"new"]
    assert any(
        "app.log.1.gz is passed over, its lines are lost" in each for each in following.notes
    )


def test_a_new_file_that_begins_like_the_old_one_is_new(
    log: Path, follow: Callable[[], Following]
) -> None:
    log.write_bytes(b"program started\n")
    following = follow()
    assert following.read() == [b"program started"]
    following.stop()
    log.with_name("other").write_bytes(b"program started\nand goes on\n")
    log.unlink()
    log.with_name("other").rename(log)
    following.start()
    assert following.read() == [b"program started", b"and goes on"]
    assert "is gone" in following.notes[0]


def test_an_inode_that_is_used_again_is_not_the_old_file(
    log: Path, follow: Callable[[], Following]
) -> None:
    log.write_bytes(b"banner\n")
    following = follow()
    following.read()
    following.stop()
    # As it is after the old file was copied away, packed, and its inode given to the new one.
    log.with_name("app.log.1.gz").write_bytes(gzip.compress(b"banner\nold\n"))
    log.write_bytes(b"banner\nnew\n")
    following.start()
    assert following.read() == [b"old", b"banner", b"new"]


def test_a_copy_made_by_hand_does_not_make_the_file_a_new_one(
    log: Path, follow: Callable[[], Following]
) -> None:
    log.write_bytes(b"1\n2\n")
    following = follow()
    following.read()
    following.stop()
    log.with_name("app.log.1").write_bytes(b"1\n2\n")
    with log.open("ab") as file:
        file.write(b"3\n")
    following.start()
    assert following.read() == [b"3"]


# ---------------------------------------------------------------- holes and pieces


@pytest.mark.parametrize("hole", [1, 1000, LONGEST_LINE - 3, LONGEST_LINE, 3_500_000])
@pytest.mark.parametrize("written", [False, True])
def test_a_hole_is_no_line_and_tears_none(
    log: Path, follow: Callable[[], Following], hole: int, *, written: bool
) -> None:
    writer = log.open("wb", buffering=0)
    writer.write(b"before\n")
    following = follow()
    following.read()
    os.truncate(log, 0)
    following.read()
    if written:
        writer.seek(0)
        writer.write(b"\0" * hole)
    writer.seek(hole)
    writer.write(b"after\n")
    assert following.read() == [b"after"]
    writer.write(b"more\n")
    assert following.read() == [b"more"]
    writer.close()


def test_room_that_a_writer_has_made_for_itself_is_waited_for(
    log: Path, follow: Callable[[], Following]
) -> None:
    with log.open("wb", buffering=0) as writer:
        writer.write(b"1\n")
        writer.truncate(100_000)
        following = follow()
        assert following.read() == [b"1"]
        writer.write(b"2\n")
        assert following.read() == [b"2"]


@pytest.mark.parametrize("length", [LONGEST_LINE - 1, LONGEST_LINE, LONGEST_LINE + 1])
@pytest.mark.parametrize("times", [1, 2])
def test_no_piece_of_a_long_line_is_empty(
    log: Path, follow: Callable[[], Following], length: int, times: int
) -> None:
    log.write_bytes((b"x" * length * times + b"\n") + b"\nafter\n")
    following = follow()
    lines = following.read()
    assert b"".join(lines[:-2]) == b"x" * length * times
    assert all(lines[:-2])
    assert lines[-2:] == [b"", b"after"]


def test_the_end_of_a_long_line_that_comes_later_is_no_line(
    log: Path, follow: Callable[[], Following]
) -> None:
    log.write_bytes(b"x" * LONGEST_LINE)
    following = follow()
    assert [len(line) for line in following.read()] == [LONGEST_LINE]
    following.stop()
    following.start()
    with log.open("ab") as file:
        file.write(b"\nnext\n")
    assert following.read() == [b"next"]


def test_only_a_newline_ends_a_line(tmp_path: Path, log: Path) -> None:
    line = "progress 1%\rprogress 2%\x0b\x0c\x1c\x85\u2028end"
    log.write_text(f"{line}\r\n", newline="")
    with closing(LogReader(log)) as reader:
        batch = reader.read()
    assert batch is not None
    with closing(db.connect(tmp_path / "lines.db")) as connection:
        db.save_batch(connection, "a", batch, "p")
        assert [row[3] for row in db.last_lines(connection, 10)] == [line]


# ---------------------------------------------------------------- formats


@pytest.mark.parametrize(
    ("line", "at", "program", "level"),
    [
        (
            '127.0.0.1 - frank [10/Oct/2025:13:55:36 -0700] "GET /a HTTP/1.0" 500 2326',
            "2025-10-10T13:55:36-07:00",
            "mine",
            "error",
        ),
        (
            '::1 - - [10/Oct/2025:13:55:36 +0000] "GET / HTTP/1.0" 404 1 "-"',
            None,
            "mine",
            "warning",
        ),
        (
            "[Fri Sep 09 10:42:29.902022 2025] [core:error] [pid 35708:tid 4] File does not exist",
            "2025-09-09T10:42:29.902022",
            "mine",
            "error",
        ),
        ('2025/01/02 03:04:05 [warn] 1#0: *1 "x"', "2025-01-02T03:04:05", "mine", "warning"),
        ("WARNING:root:careful", "", "root", "warning"),
        ("INFO:     Started server process [1]", "", "mine", "info"),
        ("2026-02-01 01:02:03,123 - app.db - ERROR - x", None, "app.db", "error"),
        ("2026-02-01 01:02:03,123 app.db INFO hello", None, "app.db", "info"),
        ("2025/11/10 23:00:00 listening on :80", "2025-11-10T23:00:00", "mine", "info"),
        (
            'time="2026-02-01T01:02:03Z" level=warn msg="no \\"error\\"" component=x',
            "2026-02-01T01:02:03Z",
            "x",
            "warning",
        ),
        (
            '{"time":"2026-02-01T01:02:03Z","level":"WARN","msg":"slow","logger":"a.b"}',
            "2026-02-01T01:02:03Z",
            "a.b",
            "warning",
        ),
        (
            '{"level":50,"time":1700000000123,"msg":"x","name":"svc"}',
            "2023-11-14T22:13:20.123000+00:00",
            "svc",
            "error",
        ),
        (
            "E0102 15:04:05.678901    12 file.go:12] x",
            "2026-01-02T15:04:05.678901",
            "mine",
            "error",
        ),
        (
            "2026-01-01 00:00:00.000 UTC [123] FATAL:  no",
            "2026-01-01T00:00:00.000Z",
            "mine",
            "critical",
        ),
        ("2026-01-01 00:00:00.000 UTC [123] LOG:  x", None, "mine", "info"),
        ("2026-01-01T00:00:00.000000Z 0 [Warning] [MY-1] [Server] x", None, "mine", "warning"),
        ("123:M 01 Jan 2026 00:00:00.000 # x", "2026-01-01T00:00:00.000", "mine", "warning"),
        ("2026-01-01 00:00:00,000 ERROR [main] com.x: msg", None, "mine", "error"),
        ("[2026-01-01T00:00:00,000][WARN ][o.e.n.Node] msg", None, "mine", "warning"),
        (
            "<34>1 2026-01-11T22:14:15.003Z host su 1 ID47 - 'su root' failed",
            "2026-01-11T22:14:15.003Z",
            "su",
            "critical",
        ),
        (
            "2026-01-06T00:17:09.6Z stderr F level=error msg=x",
            "2026-01-06T00:17:09.6Z",
            "mine",
            "error",
        ),
        ("[2026-01-01 00:00:00 +0000] [7] [INFO] x", "2026-01-01T00:00:00+00:00", "mine", "info"),
        (
            "2026-01-01 00:00:00+01 host installd[12]: x",
            "2026-01-01T00:00:00+01:00",
            "installd",
            "info",
        ),
        ("completed with 0 errors", "", "mine", "info"),
        ("no errors found, 3 failed", "", "mine", "error"),
        ("errors=0 done", "", "mine", "info"),
    ],
)
def test_lines_of_real_programs(line: str, at: str | None, program: str, level: str) -> None:
    entry = parse(line, default_program="mine", now=NOW)
    assert (entry.program, entry.level) == (program, level)
    if at is None:
        assert entry.at.startswith("202")
    else:
        assert entry.at == at


# ---------------------------------------------------------------- the database


def test_two_open_one_fresh_database_at_once(tmp_path: Path) -> None:
    failed: list[Exception] = []
    for round_ in range(10):
        path = tmp_path / f"{round_}.db"
        barrier = threading.Barrier(4)

        def open_it(path: Path = path, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            try:
                db.connect(path).close()
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=open_it) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []


def test_where_files_were_left_is_stored(tmp_path: Path) -> None:
    earlier = Position(1, 2, 3, 4, b"head\xff", b"tail\0", "/a")
    after = Position(5, 6, 7, 8, b"h", b"t", "/b", (earlier, Position(1, 1, 1)))
    with closing(db.connect(tmp_path / "lines.db")) as connection:
        db.save_batch(connection, "a", Batch((b"x",), None, after), "p")
        loaded = db.load_position(connection, "a")
    assert loaded == after
    assert loaded is not None
    assert loaded.left == after.left
    assert loaded.left[0].real == "/a"


def test_a_database_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lines.db"
    with closing(sqlite3.connect(path)) as old:
        old.execute(
            "CREATE TABLE sources (path TEXT PRIMARY KEY, lines INTEGER NOT NULL, device INTEGER"
            " NOT NULL, inode INTEGER NOT NULL, changed INTEGER NOT NULL, offset INTEGER NOT NULL,"
            " head BLOB NOT NULL, tail BLOB NOT NULL)"
        )
        old.execute("INSERT INTO sources VALUES ('a', 1, 2, 3, 4, 5, x'61', x'61')")
        old.commit()
    with closing(db.connect(path)) as connection:
        position = db.load_position(connection, "a")
    assert position is not None
    assert (position.offset, position.real) == (5, "")


def test_a_failed_transaction_says_why_even_if_sqlite_has_rolled_back(
    tmp_path: Path, log: Path
) -> None:
    log.write_bytes(b"".join(b"%d %s\n" % (n, b"y" * 200) for n in range(1000)))
    with closing(LogReader(log)) as reader:
        batch = reader.read()
    assert batch is not None
    with closing(db.connect(tmp_path / "lines.db")) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 3}")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            db.save_batch(connection, "a", batch, "p")


def test_a_long_query_ends_with_its_thread(tmp_path: Path) -> None:
    long = (
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 2000000000)"
        " SELECT max(x) FROM c"
    )

    async def main() -> None:
        body = in_thread(db.run_store, tmp_path / "lines.db", Saboteur())
        store = ChildSpec("store", body, readiness="explicit", grace=20)
        async with (
            open_supervisor(SupervisorSpec("s", [store])) as tree,
            trio.open_nursery() as nursery,
        ):
            asked = tree.child("store").value

            async def ask() -> None:
                with pytest.raises(db.StoreGone):
                    await asked.call(lambda connection: connection.execute(long).fetchone())

            nursery.start_soon(ask)
            await trio.sleep(0.2)
            with trio.fail_after(10):
                await tree.stop_child("store")

    trio.run(main)


# ---------------------------------------------------------------- names, limits, terminals


def test_names_of_children_can_be_typed_and_are_taken_once(tmp_path: Path) -> None:
    names = ["store", "desk", "a b.log", "bell\x07.log", os.fsdecode(b"\xff.log"), "x.log"]
    paths = [tmp_path / name for name in names] + [tmp_path / "other" / "x.log"]
    named = [name for name, _ in name_children(paths)]
    assert named[:3] == ["store-2", "desk-2", "a_b.log"]
    assert named[-2:] == ["x.log", "x.log-2"]
    assert all(name.isprintable() and name.isascii() for name in named)
    declare(Options(paths, tmp_path / "lines.db"), print)  # each of them can be a child


def test_a_quarantine_can_be_reached_by_what_fails_at_once(tmp_path: Path) -> None:
    spec = declare(Options([tmp_path / "a.log"], tmp_path / "lines.db"), print)
    followers = spec.children[2].supervisor
    assert followers is not None
    limit = followers.child_restart_limit
    assert limit is not None
    backoff = followers.children[0].backoff
    delays = [
        backoff.maximum if n > 10 else min(backoff.maximum, backoff.initial * 2**n)
        for n in range(99)
    ]
    assert sum(delays[: limit.max_restarts]) < limit.within


@pytest.mark.skipif(
    sys.platform == "darwin", reason="names there are Unicode, enforced by the kernel"
)
def test_hostile_names_and_lines_reach_no_terminal(tmp_path: Path) -> None:
    log = tmp_path / os.fsdecode(b"store\x1b]0;title\x07\xff\nname")
    log.write_bytes(
        b"\x1b[2Jcleared \x9b31m \xe2\x80\xae backwards\r\x07\n" + b"z" * 10_000 + b"\n"
    )
    database = tmp_path / "lines.db"
    with Program(
        tmp_path, "-m", "examples.logkeeper", "--port", "0", "--db", str(database), str(log)
    ) as program:
        program.wait_for("The log keeper answers on")
        port = int(program.out.partition("127.0.0.1, port ")[2].partition(".")[0])

        async def ask(command: bytes) -> bytes:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            answer = b""
            async with stream:
                await stream.send_all(command + b"\nquit\n")
                async for data in stream:
                    answer += data
            return answer

        def two_lines() -> bool:
            return trio.run(ask, b"count") == b"2\n\n"

        wait_until(two_lines, lambda: program.err)
        for command in (
            b"last",
            b"files",
            b"state",
            b"count program",
            b"crash \x1b[2J",
            b"crash x",
        ):
            answer = trio.run(ask, command).decode()
            assert all(each.isprintable() or each == "\n" for each in answer), (command, answer)
            assert len(answer) < 9000
        assert all(each.isprintable() or each == "\n" for each in program.out + program.err)


def test_what_is_stored_of_a_name_tells_names_apart() -> None:
    names = [os.fsdecode(b"\xff"), os.fsdecode(b"\xfe"), "é", "a b"]
    assert len({storable(name) for name in names}) == 4
    assert printable("a\nb\x1b") == "a\\nb\\x1b"


@pytest.mark.parametrize("output", ["pipe", "ascii"])
def test_nobody_has_to_hear_what_is_printed(tmp_path: Path, output: str) -> None:
    """``python -m examples.logkeeper | head -1``: what nobody reads any more ends no child."""
    log = tmp_path / "\u65e5.log"
    log.write_text("x\n")
    reader, pipe = os.pipe()
    os.close(reader)
    to = os.open(os.devnull, os.O_WRONLY)
    out = pipe if output == "pipe" else to
    arguments = ["-m", "examples.logkeeper", "--port", "0", str(log)]
    # From a file, for Program keeps what is written to standard output.
    program = f"import os, runpy, sys; os.dup2({out}, 1); sys.argv[1:] = {arguments[2:]!r}"
    program += "; runpy.run_module('examples.logkeeper', run_name='__main__')"
    encoding = {"PYTHONIOENCODING": "ascii"} if output == "ascii" else {}
    try:
        with Program(tmp_path, "-c", program, descriptors=(out,), environment=encoding) as started:
            started.wait_for("logkeeper is up")
            started.signal(SIGTERM)
            assert started.ended() == 0
            assert "Exception ignored" not in started.err
    finally:
        os.close(pipe)
        os.close(to)
