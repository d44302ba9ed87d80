"""The benchmark runs, and says what it has measured; how fast that was is nobody's test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("benchmarks")

from benchmarks import chart  # after the check that it is there
from benchmarks.instructions import missing

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"name", "unit", "ours", "floor", "ratio", "instructions", "bar", "time_bar", "met"}


def measure(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def test_a_hurried_run_prints_a_table_and_writes_the_numbers(tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    done = measure("--quick", "--json", str(file), "restart, wall time")
    assert done.returncode == 0, done.stderr
    entries: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    assert [set(entry) for entry in entries] == [KEYS]
    (entry,) = entries
    assert entry["ours"] > 0
    assert entry["floor"] > 0
    assert (entry["unit"], entry["bar"]) == ("us", None)
    assert entry["ratio"] == pytest.approx(entry["ours"] / entry["floor"], rel=0.01)
    assert entry["met"] is None
    assert f"| {entry['name']} | us |" in done.stdout
    assert '"By hand" is the loop' in done.stdout


def test_names_choose_what_is_measured_and_are_unique() -> None:
    names = measure("--list").stdout.splitlines()
    assert len(names) == len(set(names)) > 50
    assert measure("--list", "heartbeat").stdout.splitlines() == [n for n in names if "heartb" in n]
    assert measure("no such thing").returncode == 2


def test_peers_that_are_not_there_are_skipped_with_a_word(tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    nowhere = str(tmp_path / "python")
    done = measure("--quick", "--peers", nowhere, "--json", str(file), "restart, beside")
    assert done.returncode == 0
    assert "peers are skipped" in done.stderr
    assert json.loads(file.read_text(encoding="utf-8")) == []


@pytest.mark.skipif(bool(missing()), reason="valgrind is not installed, so nothing can be counted")
def test_instructions_of_one_row_are_counted_and_decide(tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    nowhere = str(tmp_path / "python")
    done = measure("--no-time", "--peers", nowhere, "--json", str(file), "heartbeat(), watched")
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(file.read_text(encoding="utf-8"))
    (counted,) = entry["instructions"].values()
    assert counted["ours"] > counted["floor"] > 100
    assert counted["ratio"] == pytest.approx(counted["ours"] / counted["floor"], abs=0.001)
    assert entry["met"] is (counted["ratio"] <= entry["bar"] * 1.05)
    assert "1/2 instructions of" in done.stderr, "a long run shows its progress"


def test_the_chart_compares_ours_and_the_loop_by_hand_at_every_size() -> None:
    found = chart.curves(in_hurry=False)
    assert {curve.panel for curve in found} == set(chart.TITLES)
    for panel in chart.TITLES:
        ours, hand, *peers = (curve for curve in found if curve.panel == panel)
        assert (ours.label, hand.label) == ("trio_supervisor", "by hand")
        assert ours.sizes == hand.sizes == chart.SIZES
        assert len(ours.rows) == len(ours.sizes)
        assert len(peers) == (0 if panel == "churn" else 3)


def test_without_matplotlib_no_chart_is_drawn_and_the_reason_is_said(tmp_path: Path) -> None:
    picture = tmp_path / "chart.png"
    done = measure("--quick", "--no-instructions", "--chart", str(picture), "not_ready()")
    assert done.returncode == 0, done.stderr
    drawn = picture.exists() and picture.read_bytes().startswith(b"\x89PNG")
    assert drawn or done.stderr.endswith("no chart is drawn: matplotlib is not installed\n")
    assert drawn is not bool(chart.missing())
