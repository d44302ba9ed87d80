"""Instructions per operation: what a program costs whatever else its machine is doing.

A program is run at two sizes under ``valgrind --tool=cachegrind``. The difference of the counts,
divided by the difference of the sizes, is the cost of one operation: the start of the interpreter,
imports and set-up cancel out. Valgrind makes Python about fifty times slower, so one process does
the imports once and forks for each size: the counters of a forked process go on from those of its
parent, which cancels out as well. An import is counted in an interpreter of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.imports import CODE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
TIMEOUT: Final = 900
_VALGRIND: Final = ("valgrind", "--tool=cachegrind", "--cache-sim=no")
_REFS: Final = re.compile(r"^==(\d+)== I\s+refs:\s+([\d,]+)", re.MULTILINE)


@dataclass(frozen=True)
class Count:
    """How the instructions of one operation of a program are counted.

    Attributes:
        program: ``module:function``, called with a size and ``options``.
        small: The smaller of the two sizes.
        large: The larger one.
        options: Keyword arguments of the program.
        without: Keyword arguments under which the program leaves out the part that is counted. Its
            cost is subtracted, so that a stop can be counted without the start that precedes it.
    """

    program: str
    small: int
    large: int
    options: tuple[tuple[str, Any], ...] = ()
    without: tuple[tuple[str, Any], ...] = ()


def count(
    program: str, small: int, large: int, *, without: dict[str, Any] | None = None, **options: Any
) -> Count:
    """Return a `Count` with its options in a canonical order."""
    skipped = tuple(sorted((without or {}).items()))
    return Count(program, small, large, tuple(sorted(options.items())), skipped)


def missing() -> str:
    """Return why instructions cannot be counted on this machine; empty if they can."""
    return "" if shutil.which("valgrind") else "valgrind is not installed"


def instructions(what: Count, python: str = sys.executable) -> float:
    """Return the instructions of one operation of ``what``, run by ``python``.

    Raises:
        RuntimeError: A run failed; the message ends with what the program printed last.
    """
    module, _, name = what.program.partition(":")
    if module == "imports":
        return _count_of_import(CODE[name], python)
    runs = [(size, dict(what.options)) for size in (what.small, what.large)]
    if what.without:
        runs += [(size, dict(what.options + what.without)) for size in (what.small, what.large)]
    small, large, *skipped = _counts(what.program, runs, python)
    total = large - small
    if skipped:
        total -= skipped[1] - skipped[0]
    return total / (what.large - what.small)


def _count_of_import(code: str, python: str) -> float:
    """Return the instructions of an import in a new interpreter; its start is left out."""
    where = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    where.pop("PYTHONDONTWRITEBYTECODE", None)
    found = []
    # Once without valgrind, so that nothing has to be compiled any more.
    subprocess.run([python, "-c", code], check=True, timeout=TIMEOUT, env=where)
    for each in (code, "pass"):
        command = [*_VALGRIND, f"--cachegrind-out-file={os.devnull}", python, "-c", each]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=TIMEOUT, env=where
        )
        ((_, refs),) = _REFS.findall(done.stderr)
        found.append(int(refs.replace(",", "")))
    return found[0] - found[1]


def _counts(program: str, runs: Sequence[tuple[int, dict[str, Any]]], python: str) -> list[int]:
    """Return the instructions of the forked process of each run."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "valgrind.log"
        command = [
            *_VALGRIND,
            *(f"--cachegrind-out-file={os.devnull}", f"--log-file={log}"),
            *(python, "-m", "benchmarks.instructions", program, json.dumps(runs)),
        ]
        # Hashes decide how often a table is probed.
        where = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT, env=where
        )
        found = {
            int(pid): int(refs.replace(",", "")) for pid, refs in _REFS.findall(log.read_text())
        }
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise RuntimeError(f"{program}: {last[0]}")
    return [found[int(pid)] for pid in done.stdout.split()]


def main() -> None:
    """Run the sizes that the command line names, each in a forked process, and print its pid."""
    module, _, name = sys.argv[1].partition(":")
    function: Callable[..., object] = getattr(import_module(f"benchmarks.{module}"), name)
    runs = json.loads(sys.argv[2])
    # Once before it counts: imports what is imported when it is first used, compiles records.
    function(min(1000, runs[0][0]))
    for size, options in runs:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                function(size, **options)
                code = 0
            finally:
                os._exit(code)
        if os.waitpid(pid, 0)[1]:
            raise SystemExit(f"{name}({size}) failed")
        print(pid, flush=True)


if __name__ == "__main__":
    main()
