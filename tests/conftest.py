"""Fixtures for all tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
from helpers import slow, support, surroundings
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

surroundings.make_usual()

SEED = int(os.environ.get("SCHEDULE_SEED") or 0)

# The same examples each time, so that what failed fails again and what passed passes again, on slow
# machines too; `--hypothesis-profile=default` draws others.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
# A few of them, for `make quick`.
settings.register_profile("quick", settings.get_profile("repeatable"), max_examples=15)
settings.load_profile("repeatable")


def pytest_report_header() -> str:
    return f"schedules: SCHEDULE_SEED={SEED}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-slow-list", action="store_true", help="write those that are slow to tests/slow.txt"
    )


def pytest_configure(config: pytest.Config) -> None:
    write = bool(config.getoption("--write-slow-list"))
    if write or config.getoption("markexpr") == "not slow":
        config.pluginmanager.register(slow.Stopwatch(write=write), "stopwatch")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow.mark(items)


@pytest.fixture
def run() -> Callable[..., Any]:
    """`support.run_virtual`, for tests that prefer a fixture."""
    return support.run_virtual


@pytest.fixture(autouse=True)
def schedule(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Trio run the tasks of one step in an order drawn from the test's name and SCHEDULE_SEED.

    Trio's own choice cannot be repeated, and only ever reverses the order. A test that fails under
    one seed fails under it again; another seed tries other interleavings. Trio has no public way to
    do this. Its generator is seeded in place, because Hypothesis knows that object too.
    """
    core = trio._core._run
    monkeypatch.setattr(core, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    core._r.seed(f"{SEED} {request.node.nodeid}")
