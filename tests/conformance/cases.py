"""Every case of the suites that this library measures itself by, and what became of it.

`CASES_OF` is read by ``table.py``, which makes ``docs/conformance.md`` of it, and by
``test_table.py``, which sees to it that each case that passes has its test, and each test its case.
"""

from __future__ import annotations

from typing import final

import attrs


@final
@attrs.frozen
class Case:
    """One case of a suite.

    Attributes:
        name: As the suite calls it.
        tests: The names of its tests; none if it has no meaning here.
        note: How it is to be read here, where that is not plain; or why it has no meaning.
    """

    name: str
    tests: tuple[str, ...]
    note: str = ""

    @property
    def passes(self) -> bool:
        """Whether it has a meaning here (then its tests have to pass)."""
        return bool(self.tests)


@final
@attrs.frozen
class Suite:
    """A suite of somebody else's.

    Attributes:
        title: Its name.
        about: What is to be known about it.
        files: Where its tests are, as a pattern of file names in this folder.
        sections: Its cases, by the headings under which they stand.
    """

    title: str
    about: str
    files: str
    sections: tuple[tuple[str, tuple[Case, ...]], ...]

    @property
    def cases(self) -> tuple[Case, ...]:
        """All of them."""
        return tuple(case for _, cases in self.sections for case in cases)


def passes(name: str, note: str = "", *, tests: tuple[str, ...] | str = "") -> Case:
    """A case whose test is called as it is, unless another name is given."""
    if isinstance(tests, str):
        tests = (tests or f"test_{name}",)
    return Case(name, tests, note)


def none(name: str, why: str) -> Case:
    """A case without a meaning here."""
    return Case(name, (), why)
