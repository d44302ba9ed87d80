"""The page has a word, a sign and a colour for everything that a tree can send."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from trio_supervisor import ChildState, SupervisorState
from trio_supervisor._events.wire import event_classes

PAGE = files("trio_supervisor.http").joinpath("dashboard.html").read_text()


def test_each_event_is_described() -> None:
    described = set(re.findall(r'case "(\w+)": return \[', PAGE))
    assert described == set(event_classes())


@pytest.mark.parametrize("state", [*ChildState, "unresponsive"])
def test_each_state_of_a_child_has_a_sign_and_a_colour(state: str) -> None:
    signs = PAGE[PAGE.index("const GLYPH") : PAGE.index("const RANK")]
    assert re.search(rf"\b{state}: ", signs)
    if state != ChildState.REMOVED:  # no snapshot shows one
        assert f".s-{state}" in PAGE


def test_signs_of_states_differ() -> None:
    signs = PAGE[PAGE.index("const GLYPH") : PAGE.index("const RANK")]
    found = dict(re.findall(r'(\w+): "(.)"', signs))
    states = [str(state) for state in ChildState if state is not ChildState.REMOVED]
    assert len({found[state] for state in [*states, "unresponsive"]}) == len(states) + 1


def test_each_state_of_a_supervisor_has_a_colour() -> None:
    for state in SupervisorState:
        assert f".s-{state.value}" in PAGE


def test_each_colour_that_is_used_is_defined_for_light_and_dark() -> None:
    light, _, dark = PAGE[: PAGE.index("* { box-sizing")].partition("@media")
    used = set(re.findall(r"var\(--(\w+)\)", PAGE))
    assert len(used) > 15
    for name in used:
        assert f"--{name}:" in light, name
        assert f"--{name}:" in dark, name
