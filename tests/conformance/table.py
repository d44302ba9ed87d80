"""Makes ``docs/conformance.md``: ``python -m tests.conformance.table`` in the project's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .cases_elixir import DYNAMIC, SUPERVISOR, TASK
from .cases_otp import OTP
from .cases_seed import SEED, WEAKNESSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .cases import Case, Suite

SUITES = (OTP, SUPERVISOR, DYNAMIC, TASK, SEED, WEAKNESSES)
PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"

_HEAD = """\
# Conformance

Other people have thought about supervision for longer, and their test suites say what they have
learnt. This page goes through those suites case by case: each case has a test of its own here,
under its own name, in `tests/conformance/`, or it has no meaning here, and the table says why.
Where a case had to be translated, the table says how. All of it runs in virtual time, in seconds.

This page is made from `tests/conformance/cases*.py` by `python -m tests.conformance.table`; a test
sees to it that it is up to date, and that every case that passes has its tests.
"""
_FOOT = """\
OTP's `supervisor_bridge_SUITE` and Elixir's `PartitionSupervisor` are not listed: there is nothing
here that corresponds to a bridge or to a partitioned supervisor.
"""


def render() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_overview(), *(_of(suite) for suite in SUITES), _FOOT])


def _overview() -> Iterator[str]:
    yield "| suite | cases | pass | no meaning here |\n|---|---|---|---|"
    for suite in SUITES:
        cases = suite.cases
        pass_here = sum(case.passes for case in cases)
        yield f"| {suite.title} | {len(cases)} | {pass_here} | {len(cases) - pass_here} |"
    yield ""


def _of(suite: Suite) -> str:
    lines = [f"## {suite.title}\n", f"{suite.about} Tests: `tests/conformance/{suite.files}`.\n"]
    for heading, cases in suite.sections:
        if heading:
            lines.append(f"### {heading}\n")
        lines.append("| case | here | remark |\n|---|---|---|")
        lines.extend(_row(case) for case in cases)
        lines.append("")
    return "\n".join(lines)


def _row(case: Case) -> str:
    name = case.name.replace("|", "\\|")
    here = "passes" if case.passes else "no meaning"
    return f"| {name} | {here} | {case.note} |"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE}")
