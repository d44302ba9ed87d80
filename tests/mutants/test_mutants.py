"""A few bugs are planted and found; ``make mutants`` plants all, and says which do not fit."""

from __future__ import annotations

import pytest

from mutants.catalogue import MUTANTS, PARTS
from mutants.run import hunt


def test_there_are_enough_of_them_and_no_name_is_used_twice() -> None:
    listed = [mutant for part in PARTS for mutant in part.MUTANTS]
    assert len(listed) == len(MUTANTS) >= 260


@pytest.mark.parametrize(
    "name",
    [
        "a window admits one restart too many",
        "children of a sequence stop in any order",
        "a stop that was obeyed is a success",
        "a line with half a character stops its follower",  # by a test that it names
        "what lies behind a failure is shown with the frames of the library",
    ],
)
def test_it_is_found(name: str) -> None:
    _, found = hunt(name)
    assert found, name
