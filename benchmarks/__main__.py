"""``python -m benchmarks [--quick] [--no-time] [--json FILE] [NAME...]``: measure and compare."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from benchmarks import chart, report
from benchmarks.cases import CLOSELY, ROWS, Row, Run, run, smaller
from benchmarks.instructions import instructions, missing
from benchmarks.progress import Progress

if TYPE_CHECKING:
    from benchmarks.chart import Curve
    from benchmarks.instructions import Count
    from benchmarks.measure import Result

T = TypeVar("T", "Row", "Curve")
ROOT = Path(__file__).resolve().parents[1]
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
TIMEOUT = 600
ROUNDS = f"how often each is measured (default: 5), and {CLOSELY} times as often if its bar is 1"


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="show that it works, not how fast")
    parser.add_argument("--rounds", type=int, help=ROUNDS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    parser.add_argument("--chart", type=Path, metavar="PICTURE", help="draw costs against size")
    parser.add_argument("--peers", type=Path, default=PEERS_PYTHON, metavar="PYTHON")
    parser.add_argument("--no-time", action="store_true", help="count instructions only")
    parser.add_argument("--no-instructions", action="store_true", help="measure time only")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("name", nargs="*", help="measure only what has this in its name")
    options = parser.parse_args()
    rows = [row for row in ROWS if _is_wanted(row, options.name)]
    if not rows:
        parser.error("nothing has such a name; --list shows all of them")
    if options.list:
        print("\n".join(row.name for row in rows))
        return
    if options.quick:
        rows = [_hurried(row) for row in rows]
    rounds = options.rounds or (1 if options.quick else 5)
    closely = not options.quick
    counts = {} if options.no_instructions else count_all(rows, _pythons(options.peers))
    times: dict[Run, list[Result]] = {}
    if not options.no_time:
        rows = _without_missing_peers(rows, options.peers)
        times = measure(rows, rounds, options.peers, closely=closely)
    print("\n".join(report.table(rows, times, counts)))
    print(f"\n{report.heading(rounds, closely=closely)}.\n\n{report.FLOOR}")
    if options.json is not None:
        text = json.dumps(list(report.entries(rows, times, counts)), indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.chart is not None:
        draw(options.chart, options.peers, rounds, in_hurry=options.quick)


def draw(picture: Path, peers: Path, rounds: int, *, in_hurry: bool) -> None:
    """Measure what the chart shows, and draw it."""
    why = chart.missing()
    if why:
        print(f"no chart is drawn: {why}", file=sys.stderr)
        return
    curves = _without_missing_peers(chart.curves(in_hurry=in_hurry), peers)
    times = measure([row for curve in curves for row in curve.rows], rounds, peers, closely=False)
    chart.draw(curves, times, picture)
    print(f"\nthe chart is in {picture}")


def _is_wanted(row: Row, names: list[str]) -> bool:
    return not names or any(name in row.name for name in names)


def _hurried(row: Row) -> Row:
    return replace(
        row,
        ours=smaller(row.ours),
        floor=None if row.floor is None else smaller(row.floor),
        counts=None,  # a count needs its sizes to be exact
    )


def _pythons(peers: Path) -> dict[str, str]:
    """Return this Python and that of the peers, each by its version."""
    found = {platform.python_version(): sys.executable}
    code = "import platform, trio_util; print(platform.python_version())"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run([peers, "-c", code], capture_output=True, text=True, check=True)
        found.setdefault(done.stdout.strip(), str(peers))
    return found


def count_all(rows: list[Row], pythons: dict[str, str]) -> dict[str, dict[Count, float]]:
    """Return, per Python, the instructions of one operation of every program that is counted."""
    wanted = dict.fromkeys(each for row in rows if row.counts for each in row.counts)
    why = missing()
    if not wanted or why:
        if wanted:
            print(f"instructions are not counted: {why}", file=sys.stderr)
        return {}
    found: dict[str, dict[Count, float]] = {version: {} for version in pythons}
    progress = Progress(len(wanted) * len(pythons))
    for version, python in pythons.items():
        for each in wanted:
            progress.step(f"instructions of {each.program} under {version}")
            try:
                found[version][each] = instructions(each, python)
            except (RuntimeError, subprocess.SubprocessError) as error:
                print(f"not counted: {error}", file=sys.stderr)
    progress.end()
    return found


def measure(rows: list[Row], rounds: int, peers: Path, *, closely: bool) -> dict[Run, list[Result]]:
    """Everything once in each round, so that whatever slows the machine down slows all of it."""
    most: dict[Run, int] = {}
    for row in rows:
        for each in (row.ours, row.floor):
            if each is not None:
                most[each] = max(most.get(each, 0), row.rounds_of(rounds, closely=closely))
    results: dict[Run, list[Result]] = {each: [] for each in most}
    last = max(most.values(), default=0)
    progress = Progress(sum(most.values()))
    for number in range(last):
        for each, limit in most.items():
            if number < limit:
                progress.step(f"round {number + 1} of {last}: {each.program} {each.count:,}")
                found = measured(each, peers)
                if found is not None:
                    results[each].append(found)
    progress.end()
    return results


def measured(what: Run, peers: Path) -> Result | None:
    """The numbers of one program, from a process of its own; None, with a word, if it failed."""
    command = [
        sys.executable if what.here else str(peers),
        *("-m", "benchmarks.worker", what.program, str(what.count), json.dumps(dict(what.options))),
    ]
    where = os.environ | {"PYTHONPATH": str(ROOT)}
    where.pop("PYTHONDONTWRITEBYTECODE", None)  # else each import compiles this library, not Trio
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=TIMEOUT, env=where
        )
        found: Result = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError) as error:
        last = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
        print(f"skipped {what.program}: {' '.join(last)}", file=sys.stderr)
        return None
    return found


def _without_missing_peers(rows: list[T], peers: Path) -> list[T]:
    if not any(row.peer for row in rows):
        return rows
    found = measured(run("peers:missing", 1, here=False), peers)
    if found is None:
        print(f"peers are skipped: no Python with them at {peers}", file=sys.stderr)
        return [row for row in rows if not row.peer]
    for name in sorted(name for name, is_missing in found.items() if is_missing):
        print(f"{name} is skipped: it is not installed for {peers}", file=sys.stderr)
    return [row for row in rows if not row.peer or not found[row.peer]]


if __name__ == "__main__":
    main()
