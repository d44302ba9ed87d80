"""The pytest plugin: trees in virtual time, checked at the end of each test.

It is found by its entry point. Nothing but pytest is imported until a test asks for something.

* The fixture ``supervised``: ``tree = supervised(APP)`` opens a tree and returns a `Pilot`.
* The marker ``simulated``: an ``async def`` test is run by `simulate`, under several schedules.
* ``--lifecycle-runs=N`` schedules for each of those tests, ``--lifecycle-seed=S`` where to begin,
  ``--lifecycle-schedule=0,0,1`` to repeat one.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from trio_supervisor._specs.supervisor import SupervisorSpec
    from trio_supervisor.testing._drive.pilot import Pilot

RUNS: Final = 10
_SEED: Final = "lifecycle_case"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options."""
    group = parser.getgroup("lifecycle", "supervision trees in virtual time (trio_supervisor)")
    group.addoption(
        "--lifecycle-runs",
        type=int,
        default=None,
        metavar="N",
        help=f"run each simulated test under N schedules (default: {RUNS})",
    )
    group.addoption(
        "--lifecycle-seed",
        type=int,
        default=None,
        metavar="S",
        help="the seed of the first of them (default: 0)",
    )
    group.addoption(
        "--lifecycle-schedule",
        default=None,
        metavar="PICKS",
        help="run simulated tests under this schedule alone, such as 0,0,1",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "simulated(runs=..., max_seconds=...): run this async test in virtual time, under several "
        "schedules, and check every supervision tree that it opens",
    )


def _schedule(config: pytest.Config) -> tuple[int, ...] | None:
    text = config.getoption("--lifecycle-schedule")
    if text is None:
        return None
    try:
        return tuple(int(pick) for pick in text.replace(" ", "").split(",") if pick)
    except ValueError:
        raise pytest.UsageError(
            f"--lifecycle-schedule={text}: expected numbers with commas between them, such as 0,0,1"
        ) from None


def _seed(config: pytest.Config) -> int:
    return int(config.getoption("--lifecycle-seed") or 0)


def _replay(item: pytest.Item, schedule: tuple[int, ...], seed: int) -> str:
    picks = ",".join(map(str, schedule)) or "0"
    return f"pytest '{item.nodeid}' --lifecycle-schedule={picks} --lifecycle-seed={seed}"


# ---------------------------------------------------------------- async tests


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is marked ``simulated``."""
    marker = pyfuncitem.get_closest_marker("simulated")
    if marker is None:
        return None
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        pytest.fail("only an async test can be marked simulated", pytrace=False)
    names = pyfuncitem._fixtureinfo.argnames
    _run_simulated(pyfuncitem, marker, {name: pyfuncitem.funcargs[name] for name in names})
    return True


def _run_simulated(item: pytest.Function, marker: pytest.Mark, arguments: dict[str, Any]) -> None:
    from functools import partial  # noqa: PLC0415  # only if it is used

    from trio_supervisor.testing._run.simulate import search, simulate  # noqa: PLC0415  # likewise

    options = dict(marker.kwargs)
    asked = item.config.getoption("--lifecycle-runs")
    runs = options.pop("runs", RUNS) if asked is None else asked
    seed, schedule = _seed(item.config), _schedule(item.config)
    scenario = partial(item.obj, **arguments)
    try:
        if schedule is None:
            search(scenario, runs=runs, seed=seed, **options)
        else:
            simulate(scenario, schedule=schedule, seed=seed, **options).check()
    except BaseException as error:
        found = getattr(error, "lifecycle_run", None)
        if found is not None:
            note = f"to repeat this run: {_replay(item, *found)}"
            notes = [
                line
                for line in getattr(error, "__notes__", ())
                if not line.startswith("to repeat this run: ")
            ]
            error.__notes__ = [*notes, note]
            item.add_report_section("call", "lifecycle", note)
        raise


# ---------------------------------------------------------------- the fixture


@pytest.fixture
def supervised(request: pytest.FixtureRequest) -> Iterator[Callable[..., Pilot]]:
    """Open trees in virtual time, for a test to drive step by step.

    ``tree = supervised(APP)`` opens one and returns its `Pilot`. It is stopped at the end of the
    test, and every promise is checked: those of `INVARIANTS`. One tree at a time.
    """
    from trio_supervisor.testing._drive.pilot import Pilot  # noqa: PLC0415  # only if it is used

    config = request.config
    pilots: list[Pilot] = []

    def open_tree(spec: SupervisorSpec, **options: Any) -> Pilot:
        if pilots and pilots[-1].is_open:
            pilots[-1].close()
        options.setdefault("schedule", _schedule(config) or ())
        options.setdefault("seed", _seed(config))
        pilots.append(Pilot(spec, **options))
        return pilots[-1]

    request.node.stash[_PILOTS] = pilots
    yield open_tree
    for pilot in pilots:
        pilot.close()


_PILOTS: Final = pytest.StashKey[list[Any]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Tell in the report of a failure how to repeat it."""
    report: Any = yield
    pilots = item.stash.get(_PILOTS, [])
    if call.excinfo is not None and pilots and call.when in ("call", "teardown"):
        pilot = pilots[-1]
        line = _replay(item, pilot.schedule, pilot.seed)
        report.sections.append(("lifecycle", f"to repeat this run: {line}"))
    return report
