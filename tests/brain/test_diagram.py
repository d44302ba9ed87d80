from __future__ import annotations

from pathlib import Path

from brain.diagram import render


def test_the_state_diagram_in_the_docs_is_the_one_that_the_table_makes() -> None:
    page = Path(__file__).parents[2] / "docs" / "lifecycle.md"
    assert page.read_text() == render()
