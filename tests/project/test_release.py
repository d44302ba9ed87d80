"""The scripts under ``.ci``: a release is prepared, and the package's English is counted."""

from __future__ import annotations

import importlib.util
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

SCRIPTS = Path(__file__).parents[2] / ".ci"
DAY = date(2030, 1, 31)
CHANGES = """# Changelog

## [Unreleased]

### Added

- Something.

## [0.1.0] - 2029-01-01

- All of it.
"""


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"ci_{name}", SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = script("release")
words = script("words")


def test_the_version_is_replaced() -> None:
    assert release.bumped('__version__ = "0.1.0"\n', "0.2.0") == '__version__ = "0.2.0"\n'


@pytest.mark.parametrize(
    ("version", "why"),
    [("0.0.9", "older than 0.1.0"), ("1.2", "no version"), ("0.1.0rc1", "older")],
)
def test_a_version_that_cannot_follow(version: str, why: str) -> None:
    with pytest.raises(release.NotReady, match=why):
        release.bumped('__version__ = "0.1.0"\n', version)


def test_what_is_unreleased_gets_a_version_and_a_date() -> None:
    text = release.dated(CHANGES, "0.2.0", DAY)
    assert "## [Unreleased]\n\n## [0.2.0] - 2030-01-31\n\n### Added\n\n- Something." in text


def test_a_section_of_the_coming_version_gets_its_date() -> None:
    text = "# Changelog\n\n## [Unreleased]\n\n## [0.1.0]\n\n- All of it.\n"
    assert "## [0.1.0] - 2030-01-31\n" in release.dated(text, "0.1.0", DAY)
    with pytest.raises(release.NotReady, match="move what is unreleased"):
        release.dated(text.replace("[0.1.0]", "\n- More.\n\n## [0.1.0]", 1), "0.1.0", DAY)


def test_nothing_to_release() -> None:
    with pytest.raises(release.NotReady, match="nothing is listed"):
        release.dated(CHANGES.replace("- Something.\n", ""), "0.2.0", DAY)
    with pytest.raises(release.NotReady, match="already"):
        release.dated(CHANGES, "0.1.0", DAY)


def test_docstrings_that_begin_with_a_pronoun_are_found() -> None:
    source = '''"""It is a module."""

class A:
    """Those who wait."""

    def f(self):
        """The item: what it is."""
'''
    assert words.openings(source) == (3, [1, 4])


def test_vague_words_are_found_in_code_and_comments() -> None:
    assert words.vague("a = 1  # Whoever waits\n# those, and nobody\n# whole thoses\n") == [1, 2, 2]
