"""Lines as many programs write them, each with what the log keeper has to find in it."""

from __future__ import annotations

import json
import re
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from examples.logkeeper import store as db
from examples.logkeeper.follow import LogReader
from examples.logkeeper.parse import parse

NOW = datetime(2026, 11, 28, 12, 0, 0)  # noqa: DTZ001 - logs are local

# Each line of the file: a log line, its time, program and level; null where several are right.
LINES: list[tuple[str, str | None, str | None, str | None]] = [
    tuple(json.loads(row))
    for row in Path(__file__).with_name("lines.jsonl").read_text().splitlines()
]


def is_same_time(found: str, wanted: str) -> bool:
    if found == wanted or not (found and wanted):
        return found == wanted
    times = [datetime.fromisoformat(each) for each in (found, wanted)]
    return times[0] == times[1] and times[0].utcoffset() == times[1].utcoffset()


@pytest.mark.parametrize(("line", "at", "program", "level"), LINES)
def test_lines_of_many_programs(
    line: str, at: str | None, program: str | None, level: str | None
) -> None:
    entry = parse(line, default_program="mine", now=NOW)
    if at is not None:
        assert is_same_time(entry.at, at), entry
    if program is not None:
        assert entry.program == program
    if level is not None:
        assert entry.level == level


def test_a_time_that_is_found_is_iso_8601_with_a_zone_that_databases_know() -> None:
    for line, *_ in LINES:
        at = parse(line, default_program="mine", now=NOW).at
        if at:
            datetime.fromisoformat(at)
            assert re.fullmatch(r"[^T]+T[^+-]+([+-]\d\d:\d\d)?", at)


@pytest.mark.parametrize(
    "line",
    [
        "2026-10-11 22:14:15 " + "::" * 500_000,
        "2026-10-11 22:14:15 x" + "-" * 1_000_000,
        "[2026-10-11 22:14:15] " + "\t" * 1_000_000,
        "<13>1 2026-10-11T22:14:15Z " + '["' * 500_000,
        'a="' * 300_000,
        "\x1b[" * 500_000,
        '{"a":' * 200_000,
        '{"level":' + "9" * 5000 + ',"msg":"x"}',
        "no error " * 100_000,
    ],
    ids=range(9),
)
def test_a_long_line_takes_no_longer_than_its_length(line: str) -> None:
    """Where a pattern goes back and forth, one of these takes minutes."""
    began = time.process_time()
    entry = parse(line, default_program="mine", now=NOW)
    assert time.process_time() - began < 5
    assert line.endswith(entry.message[-500:])


def test_a_line_with_half_a_character_is_stored(tmp_path: Path) -> None:
    """JSON can say it, no database can store it: the follower would fail for ever."""
    log = tmp_path / "a.log"
    log.write_text('{"level":"info","logger":"\\udc00","msg":"a\\ud800b"}\n')
    with closing(LogReader(log)) as reader:
        batch = reader.read()
    assert batch is not None
    with closing(db.connect(tmp_path / "a.db")) as connection:
        db.save_batch(connection, "a", batch, "p")
        ((_, _, program, message),) = db.last_lines(connection, 1)
    assert (program, message) == ("\\udc00", "a\\ud800b")
