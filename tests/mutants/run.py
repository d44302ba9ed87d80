"""Looking for a planted bug in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import trio_supervisor

TESTS: Final = Path(__file__).resolve().parents[1]
_PATIENCE: Final = 600.0  # for what hangs without working


def hunt(name: str, by: str = "all") -> tuple[float, str]:
    """Plant the bug; returns the seconds of one core, and what found it (empty: nothing)."""
    package = Path(trio_supervisor.__file__).resolve().parents[1]
    # What is measured there is another library: no coverage.
    env = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    env["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(package)])
    command = [sys.executable, "-W", "ignore", "-m", "mutants.find", name, "--by", by]
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired:
        return 0.0, "hang: it waits for ever"
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return 0.0, "hang: it runs on and on"
    last = done.stdout.strip().rpartition("\n")[2]
    seconds, _, found = last.partition("\t")
    if done.returncode or not seconds:
        raise RuntimeError(f"{name}: looking for it broke down: {done.stderr[-2000:]}")
    return float(seconds), found
