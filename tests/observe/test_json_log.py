"""Log records as JSON lines: whole, typed, and with the fields of the tree's log."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trio_supervisor import SpecError, daemon
from trio_supervisor.observe import json_formatter

HERE = Path(__file__).parents[1]


def formatted(**fields: Any) -> dict[str, Any]:
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "a\nb %s", ("c",), None)
    record.created = 1_800_000_000.25
    vars(record).update(fields)
    line = json_formatter().format(record)
    assert "\n" not in line
    found = json.loads(line, parse_constant=pytest.fail)
    assert isinstance(found, dict)
    return found


def test_a_record_is_one_line_with_its_fields() -> None:
    assert formatted(path="app/web", grace=float("inf"), also=("a", "b"), odd=object) == {
        "at": "2027-01-15T08:00:00.250000+00:00",
        "level": "WARNING",
        "logger": "x",
        "message": "a\nb c",
        "path": "app/web",
        "grace": None,
        "also": ["a", "b"],
        "odd": str(object),
    }


def test_a_traceback_is_in_the_line() -> None:
    try:
        raise KeyError("k")
    except KeyError:
        found = formatted(exc_info=sys.exc_info())
    assert "KeyError: 'k'" in found["exc_info"]


def test_a_traceback_is_the_one_that_the_record_has_as_text() -> None:
    """The tree's log trims what lies behind a failure, which only the text shows."""
    error = KeyError("k")
    found = formatted(exc_info=(KeyError, error, None), exc_text="trimmed")
    assert found["exc_info"] == "trimmed"


def test_a_format_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="log_format='xml'"):
        daemon.run(lambda: pytest.fail("declared"), log_format="xml")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "pythonjsonlogger", None)
    monkeypatch.setitem(sys.modules, "pythonjsonlogger.json", None)
    with pytest.raises(SpecError, match="python-json-logger"):
        json_formatter()


@pytest.mark.parametrize("log_format", ["json", "text", "auto"])
def test_a_daemon_writes_its_log_in_the_chosen_form(tmp_path: Path, log_format: str) -> None:
    code = "from trio_supervisor.cli._main import main; main()"
    arguments = ["run", "observe.soon_over:APP", "--log-format", log_format, "--no-control"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": f"{HERE}:{HERE.parent}",
            "JOURNAL_STREAM": "8:1",
        },
        cwd=tmp_path,
        check=True,
    )
    lines = done.stderr.splitlines()
    assert lines
    if log_format == "json":
        records = [json.loads(line) for line in lines]
        (ready,) = [r for r in records if r["message"].startswith("app/job ready")]
        assert ready["path"] == "app/job"
        assert ready["attempt"] == 1
    elif log_format == "text":
        assert all(line[:2] == "20" for line in lines)
    else:
        assert all(line.startswith("INFO ") for line in lines)
