"""A fixture for the tests of daemons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from helpers.daemons import Start, starter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    yield from starter(tmp_path)
