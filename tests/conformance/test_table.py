"""The list of cases, the tests and the page about them say the same."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .table import PAGE, SUITES, render

if TYPE_CHECKING:
    from .cases import Suite

HERE = Path(__file__).parent
TITLES = [suite.title for suite in SUITES]


def names_in(suite: Suite) -> Counter[str]:
    """The names of all tests in the files of a suite."""
    found: Counter[str] = Counter()
    for path in HERE.glob(suite.files):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[node.name] += node.name.startswith("test_")
    return +found


@pytest.mark.parametrize("suite", SUITES, ids=TITLES)
def test_each_case_that_passes_has_its_tests_and_each_test_its_case(suite: Suite) -> None:
    wanted = Counter(test for case in suite.cases for test in case.tests)
    assert names_in(suite) == wanted
    assert set(wanted.values()) == {1}


@pytest.mark.parametrize("suite", SUITES, ids=TITLES)
def test_each_case_is_listed_once_and_says_why_it_has_no_meaning(suite: Suite) -> None:
    names = Counter(case.name for case in suite.cases)
    assert set(names.values()) == {1}
    assert [case.name for case in suite.cases if not case.passes and not case.note] == []


def test_no_test_stands_outside_of_the_suites() -> None:
    files = {path.name for path in HERE.glob("test_*.py")} - {Path(__file__).name}
    assert files == {path.name for suite in SUITES for path in HERE.glob(suite.files)}


def test_all_of_otps_cases_are_there() -> None:
    otp = SUITES[0]
    assert len(otp.cases) == 91
    assert sum(case.passes for case in otp.cases) == 90


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: python -m tests.conformance.table"
