"""The reference lists each public name, and no other."""

from __future__ import annotations

import importlib
import re

import pytest

from documentation.code_blocks import ROOT

PAGES = "".join(page.read_text() for page in sorted((ROOT / "docs" / "reference").glob("*.md")))
DOCUMENTED = re.findall(r"^\.\. auto\w+:: ([\w.]+)$", PAGES, re.MULTILINE)
# What is explained in a sentence of a page instead.
IN_WORDS = {
    "trio_supervisor.RestartDecision",
    "trio_supervisor.testing.INVARIANTS",
    "trio_supervisor.http.Route",
}
# Types of a value that has an entry.
SECOND_NAMES = {"trio_supervisor.Inherit", "trio_supervisor.__version__"}
MODULES = tuple(
    f"trio_supervisor{name}"
    for name in ("", ".children", ".control", ".daemon", ".http", ".observe", ".testing")
)


def test_nothing_is_documented_twice() -> None:
    assert len(DOCUMENTED) == len(set(DOCUMENTED)) > 100


@pytest.mark.parametrize("module", MODULES)
def test_each_public_name_is_in_the_reference(module: str) -> None:
    found = importlib.import_module(module)
    by_value = {id(_value_of(name)) for name in DOCUMENTED}
    missing = [
        name
        for name in found.__all__
        if f"{module}.{name}" not in IN_WORDS | SECOND_NAMES
        and id(getattr(found, name)) not in by_value
    ]
    assert not missing, f"add these to a page of docs/reference: {missing}"
    for name in IN_WORDS:
        assert f"`{name.rpartition('.')[2]}`" in PAGES


def _value_of(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def test_each_page_is_listed_in_the_index() -> None:
    folder = ROOT / "docs" / "reference"
    index = (folder / "index.md").read_text()
    for page in folder.glob("*.md"):
        assert page.name == "index.md" or f"]({page.name})" in index
