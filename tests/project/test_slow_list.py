"""The list of slow tests says something of tests that exist, and the mark is given by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers import slow

if TYPE_CHECKING:
    import pytest

ROOT = slow.LIST.parents[1]


def test_a_line_is_a_test_its_function_or_its_file() -> None:
    names = frozenset({"a.py::f", "b.py::g[1]", "c.py"})
    assert slow.is_slow("a.py::f[2]", names)
    assert slow.is_slow("b.py::g[1]", names)
    assert not slow.is_slow("b.py::g[2]", names)
    assert slow.is_slow("c.py::anything", names)


def test_a_function_that_is_slow_twice_has_one_line() -> None:
    assert slow.folded(["a.py::f[1]", "a.py::f[2]", "a.py::g[1]"]) == ["a.py::f", "a.py::g[1]"]


def test_each_line_names_a_test_that_exists() -> None:
    for name in slow.listed():
        file, *parts = name.partition("[")[0].split("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        assert all(f"def {part}(" in text or f"class {part}" in text for part in parts), name


def test_a_test_of_the_list_has_the_mark(request: pytest.FixtureRequest) -> None:
    marked = {item.nodeid for item in request.session.items if item.get_closest_marker("slow")}
    names = slow.listed()
    assert {
        item.nodeid for item in request.session.items if slow.is_slow(item.nodeid, names)
    } <= marked
