"""The tests do not depend on what has started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PROGRAM = """
import os, signal, sys
from helpers.surroundings import make_usual
make_usual()
ignored = [each for each in signal.valid_signals() if signal.getsignal(each) is signal.SIG_IGN]
print([each.name for each in ignored])
print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), os.fstat(0) is not None)
"""


def surrounded() -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP, signal.SIGUSR2])
    os.close(0)


@pytest.mark.skipif(os.name != "posix", reason="signals and descriptors of POSIX")
def test_ignored_and_blocked_signals_and_closed_input_are_made_usual() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        preexec_fn=surrounded,
        capture_output=True,
        text=True,
        check=True,
    )
    # Python itself lets SIGPIPE and SIGXFSZ be ignored.
    assert done.stdout == "['SIGPIPE', 'SIGXFSZ']\n[] True\n"
