"""Simulated tests beside other plugins that run async tests: always in virtual time, or not at all.

A test that sleeps for an hour shows it: in real time it would run into the limit of this test.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import trio_supervisor

HEAD = """
import pytest, trio
from hypothesis import given, settings, strategies as st
from trio_supervisor import ChildSpec, SupervisorSpec, open_supervisor

async def body(child):
    await trio.sleep_forever()

async def an_hour():
    began = trio.current_time()
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", body)])):
        await trio.sleep(3600)
    assert trio.current_time() - began == 3600
"""

PLAIN = """
@pytest.mark.simulated(runs=2)
async def test_it(tmp_path):
    await an_hour()
"""

MARKED = """
@pytest.mark.{mark}
@pytest.mark.simulated(runs=2)
async def test_it():
    await an_hour()
"""

MODULE = """
pytestmark = [pytest.mark.simulated(runs=2), pytest.mark.{mark}]

async def test_it():
    await an_hour()
"""

IN_CLASS = """
@pytest.mark.simulated(runs=2)
class TestIt:
    hours = 1

    async def test_it(self):
        assert self.hours
        await an_hour()

    @pytest.mark.parametrize("hours", [1, 2])
    async def test_more(self, hours):
        await an_hour()

class TestAgain(TestIt):
    pass
"""

GIVEN = """
SEEN = []

@pytest.mark.simulated
@settings(max_examples=5, database=None, deadline=None)
@given(number=st.integers())
async def test_it(number):
    SEEN.append(number)
    await an_hour()

@settings(max_examples=5, database=None, deadline=None)
@given(number=st.integers())
@pytest.mark.simulated
async def test_marked_below(number):
    SEEN.append(number)
    await an_hour()

def test_that_examples_were_drawn():
    assert len(set(SEEN)) > 2
"""

RACE = """
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

NOT_ASYNC = """
@pytest.mark.simulated
def test_it():
    raise AssertionError("it ran")
"""

TRIO_FIXTURE = """
@pytest.fixture
async def opened():
    yield 1

@pytest.mark.trio
@pytest.mark.simulated
async def test_it(opened):
    raise AssertionError("it ran")
"""


def run(folder: Path, code: str, *options: str, plugins: tuple[str, ...] = ()) -> str:
    """Run pytest over ``code``; only the kit's plugin and ``plugins`` are loaded."""
    (folder / "test_it.py").write_text(HEAD + code)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    loaded = ("trio_supervisor.testing.pytest_plugin", *plugins)
    chosen = [part for plugin in loaded for part in ("-p", plugin)]
    paths = [str(Path(trio_supervisor.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, *options],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
    )
    return done.stdout + done.stderr


TRIO = ("pytest_trio.plugin",)
ANYIO = ("anyio.pytest_plugin",)
ASYNCIO = ("pytest_asyncio.plugin",)
ASYNCIO_OPTIONS = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")

pytestmark = pytest.mark.slow  # each test is a pytest run of its own

NEIGHBOURS = {
    "none": ((), ()),
    "trio": (TRIO, ()),
    "trio_mode": (TRIO, ("-o", "trio_mode=true")),
    "anyio": (ANYIO, ()),
    "anyio_auto": (ANYIO, ("-o", "anyio_mode=auto")),
    "asyncio_auto": (ASYNCIO, ASYNCIO_OPTIONS),
}


def beside(neighbour: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    plugins, options = NEIGHBOURS[neighbour]
    for plugin in plugins:
        package = plugin.partition(".")[0]
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed here; the extra `dev` has it")
    return plugins, options


@pytest.mark.parametrize("code", [PLAIN, IN_CLASS, GIVEN], ids=["plain", "in_class", "given"])
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_it_runs_in_virtual_time_beside(neighbour: str, code: str, tmp_path: Path) -> None:
    plugins, options = beside(neighbour)
    shown = run(tmp_path, code, *options, plugins=plugins)
    expected = {PLAIN: "1 passed", IN_CLASS: "6 passed", GIVEN: "3 passed"}[code]
    assert expected in shown, shown
    assert "failed" not in shown
    assert "error" not in shown


@pytest.mark.parametrize("code", [MARKED, MODULE], ids=["test", "module"])
@pytest.mark.parametrize(
    ("neighbour", "mark"), [("trio", "trio"), ("trio_mode", "trio"), ("anyio", "anyio")]
)
def test_it_runs_in_virtual_time_under_the_mark_of(
    neighbour: str, mark: str, code: str, tmp_path: Path
) -> None:
    plugins, options = beside(neighbour)
    shown = run(tmp_path, code.format(mark=mark), *options, plugins=plugins)
    assert "1 passed" in shown, shown


@pytest.mark.parametrize("neighbour", ["none", "trio_mode", "anyio_auto", "asyncio_auto"])
def test_it_runs_under_several_schedules_beside(neighbour: str, tmp_path: Path) -> None:
    plugins, options = beside(neighbour)
    shown = run(tmp_path, RACE, *options, plugins=plugins)
    assert "1 failed" in shown, shown
    assert "pytest 'test_it.py::test_race' --lifecycle-schedule=1" in shown


def test_it_is_chosen_by_the_name_that_anyio_would_give_it(tmp_path: Path) -> None:
    plugins, options = beside("anyio_auto")
    assert "1 passed" in run(tmp_path, PLAIN, *options, "-k", "trio", plugins=plugins)


def test_it_runs_with_xdist(tmp_path: Path) -> None:
    shown = run(tmp_path, IN_CLASS + GIVEN, "-n", "2", plugins=("xdist.plugin", *TRIO))
    assert "failed" in shown or "9 passed" in shown, shown  # the last one may be on another worker
    assert "8 passed" in shown or "9 passed" in shown, shown


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (NOT_ASYNC, "only an async test can be marked simulated"),
        (TRIO_FIXTURE, "the fixture 'opened' is run by pytest-trio, in real time"),
    ],
    ids=["not_async", "trio_fixture"],
)
def test_what_cannot_run_in_virtual_time_does_not_run_and_says_why(
    code: str, reason: str, tmp_path: Path
) -> None:
    shown = run(tmp_path, code, plugins=TRIO)
    assert reason in shown, shown
    assert "it ran" not in shown.replace('AssertionError("it ran")', "")
    assert "1 failed" in shown


OLD_PYTEST = """
import sys, types, pytest
for name in ("StashKey", "Parser", "Config", "FixtureRequest"):
    if hasattr(pytest, name):
        delattr(pytest, name)
import trio_supervisor.testing.pytest_plugin as plugin
hooks = [name for name in vars(plugin) if name.startswith("pytest_") or name == "supervised"]
assert not hooks, hooks
"""


def test_the_plugin_is_silent_with_a_pytest_that_it_cannot_serve() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OLD_PYTEST], check=False, capture_output=True, text=True
    )
    assert not done.stderr
    assert done.returncode == 0
