"""The same scenarios, short; the bars are those of the full ones."""

from __future__ import annotations

import pytest

from chaos.catalogue import SCENARIOS, play

LENGTH = 0.015


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    scene = play(name, LENGTH)
    assert scene.ok, str(scene)
