"""Imports, each in an interpreter that has imported nothing but what Python itself needs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from benchmarks.measure import Result

CODE: Final = {
    "trio": "import trio",
    # With Trio beside it: the package asks for it when it is used.
    "trio_supervisor": "import trio, trio_supervisor",
    "to_open_a_tree": "from trio_supervisor import ChildSpec, SupervisorSpec, open_supervisor",
    "everything": "from trio_supervisor import *",
}
_CLOCKS: Final = """
import time
cpu, wall = time.process_time(), time.perf_counter()
{}
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
print('{{"cpu": %r, "wall": %r}}' % (cpu * 1e6, wall * 1e6))
"""


def _timed(name: str) -> Result:
    command = [sys.executable, "-c", _CLOCKS.format(CODE[name])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: Result = json.loads(done.stdout)
    return result


def trio(_count: int) -> Result:
    return _timed("trio")


def trio_supervisor(_count: int) -> Result:
    """The import statement alone."""
    return _timed("trio_supervisor")


def to_open_a_tree(_count: int) -> Result:
    """What a program that runs a tree needs."""
    return _timed("to_open_a_tree")


def everything(_count: int) -> Result:
    """Every public name."""
    return _timed("everything")
