"""A task that nothing ends: the run is broken off, and the next one is none the worse for it.

In processes of their own, because Python complains about what is left of such a run, now or later.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

SPIN = """
import trio
from trio_supervisor import ChildSpec, SupervisorSpec
from trio_supervisor.testing import Behaviour, LiveLock, Pilot, exercise, simulate

async def spin(*_):
    with trio.CancelScope(shield=True):
        while True:
            await trio.lowlevel.checkpoint()

CALM = SupervisorSpec("app", [ChildSpec("a", Behaviour())])
"""
SIMULATED = """
trace = simulate(spin, max_steps=100)
assert isinstance(trace.error, LiveLock), trace.error
"""
PILOTED = """
try:
    Pilot(SupervisorSpec("app", [ChildSpec("a", spin)]), max_steps=50)
except LiveLock:
    pass
else:
    raise AssertionError
"""
AFTERWARDS = """
simulate(exercise, CALM).check()
with Pilot(CALM) as pilot:
    assert pilot.state("a") == "ready"
trio.run(trio.sleep, 0)
print("fine")
"""


@pytest.mark.parametrize("stubborn", [SIMULATED, PILOTED], ids=["simulate", "pilot"])
def test_a_run_that_does_not_end_does_not_poison_the_next(stubborn: str) -> None:
    code = SPIN + stubborn + AFTERWARDS
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "fine\n"
