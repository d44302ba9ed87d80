"""The mark ``slow``, for the tests that ``tests/slow.txt`` names; and how that list is made.

``make quick`` leaves these tests out, ``make test`` runs them. A test of which it is plain that it
takes long may carry the mark in its code instead.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

LIST: Final = Path(__file__).parents[1] / "slow.txt"
SLOW: Final = 0.25  # seconds, on a core that has nothing else to do


def listed() -> frozenset[str]:
    """The lines of the list: tests with or without parameters, and files."""
    lines = (line.strip() for line in LIST.read_text(encoding="utf-8").splitlines())
    return frozenset(line for line in lines if line and not line.startswith("#"))


def is_slow(test: str, names: frozenset[str]) -> bool:
    """Whether the list names the test, the function behind it, or its file."""
    return not names.isdisjoint((test, test.partition("[")[0], test.partition("::")[0]))


def mark(items: Iterable[pytest.Item]) -> None:
    """Give every test of the list its mark."""
    names = listed()
    for item in items:
        if is_slow(item.nodeid, names):
            item.add_marker(pytest.mark.slow)


def folded(tests: Iterable[str]) -> list[str]:
    """The lines for these tests: one for a function that is slow with several parameters."""
    by_function: defaultdict[str, list[str]] = defaultdict(list)
    for test in tests:
        by_function[test.partition("[")[0]].append(test)
    return sorted(
        function if len(found) > 1 else found[0] for function, found in by_function.items()
    )


class Stopwatch:
    """How long each test took, with its fixtures; a pytest plugin."""

    def __init__(self, *, write: bool) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._write = write

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        slow = [test for test, seconds in self.seconds.items() if seconds > SLOW]
        if self._write:
            head = [line for line in LIST.read_text(encoding="utf-8").splitlines() if "#" in line]
            LIST.write_text("\n".join([*head, *folded(slow), ""]), encoding="utf-8")
            terminalreporter.write_line(f"{len(slow)} slow tests written to {LIST}")
        elif slow:
            slow.sort(key=lambda test: -self.seconds[test])
            terminalreporter.write_line(
                f"slower than {SLOW} s and not marked slow ({len(slow)}; `make slow-list` measures "
                f"on an idle machine):"
            )
            for test in slow[:5]:
                terminalreporter.write_line(f"  {self.seconds[test]:5.2f} s  {test}")
