"""The pytest plugin: trees in virtual time, checked at the end of each test.

Pytest finds the plugin by its entry point. Nothing but pytest is imported until a test asks for
something. With a pytest older than 7.0 the plugin does nothing.

* The fixture ``supervised``: ``tree = supervised(APP)`` opens a tree and returns a `Pilot`.
* The marker ``simulated``: an ``async def`` test is run by `simulate`, under several schedules.
* ``--lifecycle-runs=N`` schedules for each such test, ``--lifecycle-seed=S`` the first seed,
  ``--lifecycle-schedule=0,0,1`` to repeat one schedule.

How a marked test gets here although other plugins run async tests, too: when it is collected, an
ordinary function takes its place in the module or class. So pytest-trio, pytest-asyncio and anyio
see no async function, whatever their modes are. With Hypothesis, the function inside of ``@given``
is replaced. A marked test that was not replaced, as one of another kind of collector, fails with
the reason: it must never run in real time.
"""

from __future__ import annotations

import functools
import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from trio_supervisor._specs.supervisor import SupervisorSpec
    from trio_supervisor.testing._drive.pilot import Pilot

RUNS: Final = 10
RUNS_OF_AN_EXAMPLE: Final = 2
MARKER: Final = "simulated"
_REPLACED: Final = "_runs_simulated"

_items: Final[list[pytest.Function]] = []  # the test that runs; the innermost one last


def _picks(config: pytest.Config, option: str) -> tuple[int, ...] | None:
    text = config.getoption(option)
    if text is None:
        return None
    try:
        return tuple(int(pick) for pick in text.replace(" ", "").split(",") if pick)
    except ValueError:
        raise pytest.UsageError(
            f"{option}={text}: expected numbers with commas between them, such as 0,0,1"
        ) from None


def _schedule(config: pytest.Config) -> tuple[int, ...] | None:
    return _picks(config, "--lifecycle-schedule")


def _seed(config: pytest.Config) -> int:
    return int(config.getoption("--lifecycle-seed") or 0)


def _replay(
    item: pytest.Item, schedule: tuple[int, ...], seed: int, drift: tuple[int, ...] = ()
) -> str:
    picks = ",".join(map(str, schedule)) or "0"
    line = f"pytest '{item.nodeid}' --lifecycle-schedule={picks} --lifecycle-seed={seed}"
    return f"{line} --lifecycle-drift={','.join(map(str, drift))}" if drift else line


# ---------------------------------------------------------------- async tests


def _is_marked(collector: Any, function: Any) -> bool:
    marks = getattr(function, "pytestmark", [])
    own = marks if isinstance(marks, (list, tuple)) else [marks]
    return any(mark.name == MARKER for mark in own) or bool(collector.get_closest_marker(MARKER))


def _in_virtual_time(function: Any, *, runs: int) -> Callable[..., None]:
    """Return an ordinary function that runs the async test ``function`` in virtual time."""

    @functools.wraps(function)
    def test(*args: Any, **arguments: Any) -> None:
        __tracebackhide__ = True
        _run_simulated(_items[-1], functools.partial(function, *args, **arguments), runs)

    replaced: Any = test
    setattr(replaced, _REPLACED, True)
    replaced._trio_test_runner_wrapped = True  # by which pytest-trio knows what it need not wrap
    return test


def _run_simulated(item: pytest.Function, scenario: Any, runs: int) -> None:
    from trio_supervisor.testing._run.simulate import search, simulate  # noqa: PLC0415  # if used

    marker = item.get_closest_marker(MARKER)
    options = {} if marker is None else dict(marker.kwargs)
    asked = item.config.getoption("--lifecycle-runs")
    runs = options.pop("runs", runs) if asked is None else asked
    seed, schedule = _seed(item.config), _schedule(item.config)
    try:
        if schedule is None:
            search(scenario, runs=runs, seed=seed, **options)
        else:
            options["drift"] = _picks(item.config, "--lifecycle-drift") or False
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
            if ("call", "lifecycle", note) not in item._report_sections:
                item.add_report_section("call", "lifecycle", note)
        raise


def _why_not(item: Any) -> str:
    """Return why the marked test ``item`` cannot run in virtual time; empty if it can."""
    function = getattr(item, "obj", None)
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    if not getattr(inner, _REPLACED, False):
        if not inspect.iscoroutinefunction(inner):
            return "only an async test can be marked simulated"
        kind = type(item).__name__
        return f"a test collected as {kind} cannot be run in virtual time, so it is not run at all"
    arguments = getattr(item, "funcargs", {})
    runs: Any = inner
    for name in inspect.signature(runs).parameters:
        value = arguments.get(name)
        if type(value).__name__ == "TrioFixture":
            return (
                f"the fixture {name!r} is run by pytest-trio, in real time and in a Trio run of "
                "its own: open what it opens in the test itself"
            )
        if inspect.iscoroutine(value) or inspect.isasyncgen(value):
            if inspect.iscoroutine(value):
                value.close()  # or it would complain that it was never awaited
            return f"the fixture {name!r} is async, and no plugin has run it"
    return ""


# ---------------------------------------------------------------- hooks

if hasattr(pytest, "StashKey"):  # 7.0; an older pytest cannot be served, and is not disturbed

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

        group.addoption(
            "--lifecycle-drift",
            default=None,
            metavar="PICKS",
            help="with a schedule: let the deadlines of bodies be late by these, such as 0,2",
        )

    def pytest_configure(config: pytest.Config) -> None:
        """Register the marker."""
        config.addinivalue_line(
            "markers",
            "simulated(runs=..., drift=..., max_seconds=..., allow_crashes=...): run this async "
            "test in virtual time, under several schedules, and check every supervision tree that "
            "it opens",
        )

    # Hooks around others are of the old kind (`hookwrapper`), which every pluggy knows.

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_pycollect_makeitem(
        collector: Any, name: str, obj: Any
    ) -> Generator[None, Any, None]:
        """Put an ordinary function in the place of a marked async test."""
        marks = list(getattr(obj, "pytestmark", []))  # before other plugins add to them
        outcome = yield
        if not (collector.istestfunction(obj, name) and _is_marked(collector, obj)):
            return
        inner = getattr(getattr(obj, "hypothesis", None), "inner_test", obj)
        if getattr(inner, _REPLACED, False) or not inspect.iscoroutinefunction(inner):
            return
        if inner is obj:
            replaced: Any = _in_virtual_time(obj, runs=RUNS)
        else:
            replaced = obj
            obj.hypothesis.inner_test = _in_virtual_time(inner, runs=RUNS_OF_AN_EXAMPLE)
        replaced.pytestmark = marks
        setattr(collector.obj, name, replaced)
        again = collector.ihook.pytest_pycollect_makeitem(
            collector=collector, name=name, obj=replaced
        )
        outcome.force_result(again)

    def pytest_itemcollected(item: pytest.Item) -> None:
        """Let ``-k trio`` choose simulated tests: anyio would have named a variant of them so."""
        if item.get_closest_marker(MARKER) is not None:
            item.extra_keyword_matches.add("trio")

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, None]:
        """Refuse a marked test that would run in real time."""
        if item.get_closest_marker(MARKER) is None:
            yield
            return
        why_not = _why_not(item)
        if why_not:
            pytest.fail(why_not, pytrace=False)
        assert isinstance(item, pytest.Function)
        import_module("trio_supervisor.testing._run.simulate")  # Hypothesis times each example
        _items.append(item)
        try:
            yield
        finally:
            _items.pop()

    @pytest.fixture
    def supervised(request: pytest.FixtureRequest) -> Iterator[Callable[..., Pilot]]:
        """Open trees in virtual time, for a test to drive step by step.

        ``tree = supervised(APP)`` opens one and returns its `Pilot`. It is stopped at the end of
        the test, and every promise of `INVARIANTS` is checked. One tree at a time.
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

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, None]:
        """Show in the report of a failure how to repeat it."""
        outcome = yield
        pilots = item.stash.get(_PILOTS, [])
        if call.excinfo is not None and pilots and call.when in ("call", "teardown"):
            pilot = pilots[-1]
            line = _replay(item, pilot.schedule, pilot.seed)
            report = outcome.get_result()
            report.sections.append(("lifecycle", f"to repeat this run: {line}"))
