"""``python -m benchmarks [--quick] [--json FILE] [NAME...]``: measure, compare, print a table."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import report
from benchmarks.cases import CLOSELY, ROWS, Row, Run, run, smaller

if TYPE_CHECKING:
    from benchmarks.measure import Result

ROOT = Path(__file__).resolve().parent.parent
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
TIMEOUT = 600
ROUNDS = f"how often each is measured (default: 5), and {CLOSELY} times as often if its bar is 1"


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="show that it works, not how fast")
    parser.add_argument("--rounds", type=int, help=ROUNDS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    parser.add_argument("--peers", type=Path, default=PEERS_PYTHON, metavar="PYTHON")
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
    rows = _without_missing_peers(rows, options.peers)
    rounds = options.rounds or (1 if options.quick else 5)
    closely = not options.quick
    results = measure(rows, rounds, options.peers, closely=closely)
    print("\n".join(report.table(rows, results)))
    print(f"\n{report.heading(rounds, closely=closely)}.\n\n{report.FLOOR}")
    if options.json is not None:
        text = json.dumps(list(report.entries(rows, results)), indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")


def _is_wanted(row: Row, names: list[str]) -> bool:
    return not names or any(name in row.name for name in names)


def _hurried(row: Row) -> Row:
    return replace(
        row, ours=smaller(row.ours), floor=None if row.floor is None else smaller(row.floor)
    )


def measure(rows: list[Row], rounds: int, peers: Path, *, closely: bool) -> dict[Run, list[Result]]:
    """Everything once in each round, so that whatever slows the machine down slows all of it."""
    most: dict[Run, int] = {}
    for row in rows:
        for each in (row.ours, row.floor):
            if each is not None:
                most[each] = max(most.get(each, 0), row.rounds_of(rounds, closely=closely))
    results: dict[Run, list[Result]] = {each: [] for each in most}
    last = max(most.values(), default=0)
    for number in range(last):
        for each, limit in most.items():
            if number < limit:
                _tell(f"round {number + 1}/{last}: {each.program} {each.count:,}")
                found = measured(each, peers)
                if found is not None:
                    results[each].append(found)
    _tell("")
    return results


def measured(what: Run, peers: Path) -> Result | None:
    """The numbers of one program, from a process of its own; None, with a word, if it failed."""
    command = [
        sys.executable if what.here else str(peers),
        *("-m", "benchmarks.worker", what.program, str(what.count), json.dumps(dict(what.options))),
    ]
    where = os.environ | {"PYTHONPATH": str(ROOT)}
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


def _without_missing_peers(rows: list[Row], peers: Path) -> list[Row]:
    if not any(row.peer for row in rows):
        return rows
    found = measured(run("peers:missing", 1, here=False), peers)
    if found is None:
        print(f"peers are skipped: no Python with them at {peers}", file=sys.stderr)
        return [row for row in rows if not row.peer]
    for name in sorted(name for name, is_missing in found.items() if is_missing):
        print(f"{name} is skipped: it is not installed for {peers}", file=sys.stderr)
    return [row for row in rows if not row.peer or not found[row.peer]]


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
