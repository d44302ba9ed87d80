"""The same scenarios, short. Durations have slack: other tests run beside, under coverage."""

from __future__ import annotations

import pytest

from chaos.catalogue import SCENARIOS, play

LENGTH = 0.015
SLACK = 10.0


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    scene = play(name, LENGTH, slack=SLACK)
    assert scene.ok, str(scene)
