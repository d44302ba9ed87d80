"""The pytest plugin, as a user meets it: pytest runs in pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import trio_supervisor

TESTS = """
import pytest
import trio
from trio_supervisor import ChildSpec, SupervisorSpec, open_supervisor
from trio_supervisor.testing import Behaviour

CHILDREN = [ChildSpec("a", Behaviour()), ChildSpec("b", Behaviour(ends_at=3, attempts=1))]
TREE = SupervisorSpec("app", CHILDREN)

def test_by_hand(supervised):
    tree = supervised(TREE)
    tree.crash("a")
    tree.advance(1)
    assert tree.child("a").attempt == 2

def test_by_hand_fails(supervised):
    supervised(TREE).advance(1)
    assert False

def test_a_broken_promise_is_found_at_teardown(supervised, monkeypatch):
    from trio_supervisor._brain.windows import Window
    monkeypatch.setattr(Window, "admits", lambda self, now: False)
    tree = supervised(TREE.replace(children=TREE.children[:1]))
    tree.crash("a")

@pytest.mark.simulated
async def test_in_virtual_time(tmp_path):
    async with open_supervisor(TREE):
        await trio.sleep(1000)
        raise ValueError("over")

@pytest.mark.simulated(runs=30)
async def test_race():
    seen = []
    async def note(number):
        seen.append(number)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(note, 1)
        nursery.start_soon(note, 2)
    assert seen == [1, 2]
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run(tmp_path_factory.mktemp("project"))


def run(folder: Path, *options: str) -> str:
    (folder / "test_it.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    source = str(Path(trio_supervisor.__file__).parent.parent)
    plugin = "trio_supervisor.testing.pytest_plugin"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", plugin, *options],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": source, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    ).stdout


def test_what_is_fine_passes_and_what_is_not_fails(outcome: str) -> None:
    assert "3 failed, 2 passed, 1 error" in outcome, outcome
    assert "ValueError: over" in outcome


def test_a_failure_says_how_to_repeat_it(outcome: str) -> None:
    assert "pytest 'test_it.py::test_race' --lifecycle-schedule=1 --lifecycle-seed=" in outcome
    assert "test_by_hand_fails' --lifecycle-schedule=0 --lifecycle-seed=0" in outcome


def test_a_promise_that_was_broken_is_named(outcome: str) -> None:
    assert "limits: given up, although there was room" in outcome


def test_a_schedule_can_be_repeated(tmp_path: Path) -> None:
    again = run(tmp_path, "-k", "race", "--lifecycle-schedule=1")
    assert "1 failed" in again
    assert "1 passed" in run(tmp_path, "-k", "race", "--lifecycle-schedule=0")
