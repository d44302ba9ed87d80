"""Events on disk: whole lines, rotated, foldable from any file on, and never at the tree's cost."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_virtual
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trio_supervisor import (
    BackoffPolicy,
    ChildSpec,
    JournalFile,
    SpecError,
    SupervisorSpec,
    fold,
    open_supervisor,
    read_journal,
)
from trio_supervisor._attempts.observer import TreeObserver, observing
from trio_supervisor._events import events as ev
from trio_supervisor._events.journal import EventRecorder
from trio_supervisor._runtime import journal_file
from trio_supervisor._runtime.journal_file import JournalWriter
from trio_supervisor.testing import check_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from trio_supervisor import ChildContext, SupervisorSnapshot


async def crash(child: ChildContext) -> None:
    await trio.sleep(1)
    raise ConnectionResetError("gone")


SPEC = SupervisorSpec(
    "app",
    [ChildSpec("feed", crash, backoff=BackoffPolicy(initial=1, jitter=0), restart_limit=None)],
)


def write_a_tree(path: Path, seconds: float = 20, **options: Any) -> SupervisorSnapshot:
    async def main() -> SupervisorSnapshot:
        async with open_supervisor(SPEC, journal=JournalFile(path, **options)) as supervisor:
            await trio.sleep(seconds)
        return supervisor.state()

    return run_virtual(main)


def test_what_was_written_is_the_tree(tmp_path: Path) -> None:
    path = tmp_path / "app.journal"
    state = write_a_tree(path)
    contents = read_journal(path)
    assert (contents.lost, contents.damaged) == (0, 0)
    (stretch,) = contents.stretches
    assert stretch.events[0].sequence == 1
    assert isinstance(stretch.events[-1], ev.SupervisorFinished)
    assert stretch.state() == state
    check_trace(SPEC, stretch.events, base=stretch.base, slack=1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_only_the_first_of_equal_errors_has_its_traceback(tmp_path: Path) -> None:
    path = tmp_path / "app.journal"
    write_a_tree(path)
    lines = map(json.loads, path.read_text().splitlines())
    exits = [line for line in lines if line.get("event") == "ChildExited"]
    errors = [line["error"] for line in exits]
    assert len(errors) > 3
    assert {error["message"] for error in errors} == {"gone"}
    assert "in crash" in errors[0]["traceback"]
    assert {error["traceback"] for error in errors[1:]} == {""}


def test_each_file_can_be_folded_on_its_own(tmp_path: Path) -> None:
    path = tmp_path / "app.journal"
    state = write_a_tree(path, seconds=2000, max_bytes=8192, keep=3)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["app.journal", "app.journal.1", "app.journal.2", "app.journal.3"]
    for name in names[1:]:
        size = (tmp_path / name).stat().st_size
        assert 8192 <= size < 8192 + 4096
        (alone,) = read_journal_alone(tmp_path / name)
        assert alone.events
    (whole,) = read_journal(path).stretches
    assert whole.events[0].sequence > 1
    assert whole.state() == state
    check_trace(SPEC, whole.events, base=whole.base, slack=1)


def read_journal_alone(path: Path) -> Any:
    copy = path.with_name("alone")
    copy.mkdir(exist_ok=True)
    (copy / "x").write_bytes(path.read_bytes())
    return read_journal(copy / "x").stretches


def test_without_older_files_the_full_one_goes(tmp_path: Path) -> None:
    path = tmp_path / "app.journal"
    state = write_a_tree(path, seconds=500, max_bytes=4096, keep=0)
    assert [file.name for file in tmp_path.iterdir()] == ["app.journal"]
    assert read_journal(path).stretches[-1].state() == state


def test_a_second_run_goes_on_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "app.journal"
    write_a_tree(path)
    with path.open("ab") as file:
        file.write(b'{"schema": 1, "event": "ChildSta')  # the machine lost power here
    write_a_tree(path)
    contents = read_journal(path)
    assert [stretch.events[0].sequence for stretch in contents.stretches] == [1, 1]
    assert contents.damaged == 1


# ---------------------------------------------------------------- damage


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("journal") / "x"
    write_a_tree(path)
    return path.read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.data())
def test_no_damage_is_taken_for_truth(written: bytes, tmp_path: Path, data: st.DataObject) -> None:
    lines = written.splitlines(keepends=True)
    whole = {json.loads(line)["sequence"]: line for line in lines if b'"event"' in line}
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(("cut", "drop", "swap", "garbage", "twice", "type"))):
            case "cut":
                lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at])))]
            case "drop":
                lines[at] = b""
            case "swap":
                lines[at - 1], lines[at] = lines[at], lines[at - 1]
            case "garbage":
                lines[at] = data.draw(st.binary(max_size=60)) + b"\n"
            case "twice":
                lines[at] *= 2
            case "type":
                lines[at] = lines[at].replace(b'"sequence": ', b'"sequence": -')
    path = tmp_path / "x"
    path.write_bytes(b"".join(lines))
    contents = read_journal(path)
    for stretch in contents.stretches:
        numbers = [event.sequence for event in stretch.events]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        for event in stretch.events:
            assert event.to_dict().items() <= json.loads(whole[event.sequence]).items()


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b"null\n",
        b"{}\n",
        b'{"schema": 1, "snapshot": {"schema": 1}}\n',
        b'{"schema": 99, "event": "ChildAdded"}\n',
        b"\xff\xfe\n",
    ],
)
def test_a_line_that_is_none_is_counted(written: bytes, tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(written + line)
    contents = read_journal(path)
    assert contents.damaged == 1
    assert len(contents.stretches) == 1


# ---------------------------------------------------------------- trouble with the disk


def a_restart(journal: EventRecorder, number: int) -> None:
    crashed = ("crashed", "crashed: boom", 0.5, None)
    verdict = ("restart", "table", 0.0, 1, 10, 120.0, (), "")
    journal.append(ev.ChildExited, number, 1, "app/feed", number, crashed)
    journal.append(ev.ExitJudged, number, 1, "app/feed", number, verdict)
    journal.append(ev.ChildStarted, number, 1, "app/feed", number + 1, (0,))
    journal.append(ev.ChildReady, number, 1, "app/feed", number + 1, (0.0,))


@pytest.fixture
def written_to(tmp_path: Path) -> Iterator[tuple[EventRecorder, JournalWriter, Path]]:
    journal = EventRecorder(wall=lambda: 0.0)
    path = tmp_path / "x"
    writer = JournalWriter(JournalFile(path), journal.present)
    journal.tap = writer.take
    journal.append(ev.SupervisorStarted, 0.0, journal.next_run(), "app", 0, (("feed",),))
    yield journal, writer, path
    writer.close()


def state_of(journal: EventRecorder) -> SupervisorSnapshot:
    snapshot = journal.base
    for event in journal.view:
        snapshot = fold(snapshot, event)
    return snapshot


def until(condition: Callable[[], bool]) -> None:
    deadline = threading.Event()
    for _ in range(500):
        if condition():
            return
        deadline.wait(0.02)
    raise AssertionError("it never came true")


def test_a_full_disk_costs_lines_and_one_message(
    written_to: tuple[EventRecorder, JournalWriter, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal, writer, path = written_to
    until(lambda: path.stat().st_size > 0)
    real, full = os.write, True

    def half_a_write(fd: int, data: bytes) -> int:
        if not full:
            return real(fd, data)
        if len(data) > 50:
            return real(fd, data[:50])
        raise OSError(28, "No space left on device")

    before = path.stat().st_size
    monkeypatch.setattr(os, "write", half_a_write)
    with caplog.at_level(logging.WARNING):
        for number in range(1, 11):
            a_restart(journal, number)
        until(lambda: writer.lost == 40)
        a_restart(journal, 11)
        until(lambda: writer.lost == 44)
        assert path.stat().st_size == before, "half a line was left behind"
        full = False
        a_restart(journal, 12)
        writer.close()
    said = [record.getMessage().rpartition("/")[2] for record in caplog.records]
    assert said == [
        "x: cannot be written, events are lost: No space left on device",
        "x: written again; 44 events lost",
    ]
    contents = read_journal(path)
    assert (contents.lost, contents.damaged) == (44, 0)
    assert contents.stretches[-1].state() == state_of(journal)


def test_a_disk_that_hangs_costs_events_and_no_memory(
    written_to: tuple[EventRecorder, JournalWriter, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, writer, path = written_to
    until(lambda: path.stat().st_size > 0)
    monkeypatch.setattr(journal_file, "MOST_QUEUED", 100)
    go_on, real = threading.Event(), os.write

    def hang(fd: int, data: bytes) -> int:
        go_on.wait()
        return real(fd, data)

    monkeypatch.setattr(os, "write", hang)
    a_restart(journal, 1)
    until(lambda: not writer._queue)
    for number in range(2, 200):
        a_restart(journal, number)
    assert len(writer._queue) == 100
    go_on.set()
    until(lambda: not writer._queue)
    a_restart(journal, 200)
    writer.close()
    contents = read_journal(path)
    assert contents.lost == writer.lost > 600
    assert contents.damaged == 0
    assert contents.stretches[-1].state() == state_of(journal)


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "x"
    present = EventRecorder(wall=lambda: 0.0).present
    first = JournalWriter(JournalFile(path), present)
    with pytest.raises(SpecError, match="no other process"):
        JournalWriter(JournalFile(path), present)
    first.close()
    JournalWriter(JournalFile(path), present).close()


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    present = EventRecorder(wall=lambda: 0.0).present
    fifo, link, real = tmp_path / "fifo", tmp_path / "link", tmp_path / "real"
    os.mkfifo(fifo)
    with pytest.raises(SpecError, match="a regular file"):
        JournalWriter(JournalFile(fifo), present)
    real.write_text("precious")
    link.symlink_to(real)
    with pytest.raises(OSError, match="link"):
        JournalWriter(JournalFile(link), present)
    assert real.read_text() == "precious"


def test_a_directory_that_is_missing_is_said_at_the_start(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            async with open_supervisor(SPEC, journal=JournalFile(tmp_path / "no" / "x")):
                pass

    run_virtual(main)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path", ""),
        ("path", 3),
        ("max_bytes", 100),
        ("max_bytes", True),
        ("keep", -1),
        ("keep", 1.5),
        ("capacity", 0),
    ],
)
def test_bad_options_are_named(field: str, value: Any) -> None:
    options: dict[str, Any] = {"path": "x", field: value}
    with pytest.raises(SpecError) as caught:
        JournalFile(**options)
    assert caught.value.field == field


@pytest.mark.parametrize("journal", [0, True, "x", 1.5])
def test_a_journal_is_a_number_or_a_file(journal: Any) -> None:
    with pytest.raises(SpecError):
        open_supervisor(SPEC, journal=journal)


def test_a_capacity_is_heeded() -> None:
    async def main() -> None:
        async with open_supervisor(SPEC, journal=7) as supervisor:
            await trio.sleep(20)
            assert len(supervisor.journal) == supervisor.journal.capacity == 7

    run_virtual(main)


def test_a_bug_of_the_writer_is_logged_and_costs_the_journal_alone(
    written_to: tuple[EventRecorder, JournalWriter, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal, writer, path = written_to
    until(lambda: path.stat().st_size > 0)

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(journal_file, "_line", broken)
    monkeypatch.setattr(journal_file, "MOST_QUEUED", 50)
    a_restart(journal, 1)
    until(lambda: not writer._thread.is_alive())
    for number in range(2, 100):
        a_restart(journal, number)
    assert len(writer._queue) == 50
    assert "the journal ends here" in caplog.text


def test_a_file_that_cannot_be_rotated_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = journal_file._Disk(JournalFile(tmp_path / "x"))
    failing = True
    real = os.open

    def open_(path: Any, *args: Any) -> int:
        if failing:
            raise OSError(30, "Read-only file system")
        return real(path, *args)

    monkeypatch.setattr(os, "open", open_)
    disk.rotate()
    assert "cannot begin a new file" in caplog.text
    assert disk.write(b"x\n") == "Read-only file system"
    failing = False
    assert disk.write(b"x\n") is None
    disk.close()
    disk.close()
    assert (tmp_path / "x").read_bytes() == b"x\n"


def test_errors_of_many_children_are_not_remembered_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "_MOST_ERRORS", 2)
    writer = JournalWriter(JournalFile(tmp_path / "x"), EventRecorder(wall=lambda: 0.0).present)
    for number in range(5):
        raw = (ev.ChildExited, number + 1, 0.0, 0.0, 1, f"app/{number}", 1, CRASHED)
        writer.take(raw, ValueError("x"))
    writer.close()
    assert len(writer._told) <= 2


def test_where_there_are_no_locks_there_is_a_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    journal_file._Disk(JournalFile(tmp_path / "x")).close()
    assert (tmp_path / "x").exists()


def test_a_tree_without_a_log_can_have_a_journal(tmp_path: Path) -> None:
    class Quiet(TreeObserver):
        writes_log = False

    async def main() -> None:
        with observing(Quiet()):
            async with open_supervisor(SPEC, journal=JournalFile(tmp_path / "x")):
                await trio.sleep(3)

    run_virtual(main)
    assert read_journal(tmp_path / "x").stretches[0].events


CRASHED = ("crashed", "crashed: x", 0.5, None)
