"""Every story holds of the library as it is, and no late word of an old attempt is listened to."""

from __future__ import annotations

import pytest

from mutants.late import WORDS, say
from mutants.stories import STORIES, tell


@pytest.mark.parametrize("name", STORIES)
def test_it_holds(name: str) -> None:
    tell(name)


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("word", WORDS)
def test_late_words_are_ignored(word: str, explicit: bool) -> None:
    say(word, explicit=explicit)
