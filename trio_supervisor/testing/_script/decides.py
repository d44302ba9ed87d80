"""A scripted ``decide``: one word for each answer, for raising, and for a wrong answer."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, final

import attrs

from trio_supervisor._events.exits import ChildRunReport
from trio_supervisor._lazy import public
from trio_supervisor._specs.decisions import (
    DoNotRestart,
    Escalate,
    Quarantine,
    Restart,
    ShutdownTree,
)

Answer: TypeAlias = Literal[
    "table", "restart", "later", "done", "quarantine", "escalate", "shutdown", "raise", "nonsense"
]

LATER: Final = 2.0
"""Seconds that the answer ``"later"`` waits."""

_SAID: Final[dict[str, Any]] = {
    "table": None,
    "restart": Restart(),
    "later": Restart(LATER),
    "done": DoNotRestart(),
    "quarantine": Quarantine("as told"),
    "escalate": Escalate("as told"),
    "shutdown": ShutdownTree("as told"),
    "nonsense": "nonsense",
}


@final
class SimulatedIndecision(Exception):
    """The exception that the answer ``"raise"`` raises."""


@public
@final
@attrs.frozen(repr=False)
class Decides:
    """A scripted ``decide`` with one answer for each attempt; `decides` makes it.

    The oracle reads the script, and so knows what has to follow.
    """

    answers: tuple[Answer, ...]

    def answer(self, attempt: int) -> Answer:
        """Return the answer for this attempt; the last answer repeats."""
        return self.answers[min(attempt, len(self.answers)) - 1]

    def __call__(self, report: ChildRunReport) -> Any:
        """Decide."""
        answer = self.answer(report.attempt)
        if answer == "raise":
            raise SimulatedIndecision("as told")
        return _SAID[answer]

    def __repr__(self) -> str:
        return f"decides({', '.join(map(repr, self.answers))})"


@public
def decides(*answers: Answer) -> Decides:
    """Make a ``decide`` that gives one answer for each attempt; the last answer repeats.

    Args:
        *answers: ``"table"`` (`None`), ``"restart"``, ``"later"`` (a restart after 2 seconds),
            ``"done"``, ``"quarantine"``, ``"escalate"``, ``"shutdown"``, ``"raise"`` (it raises)
            or ``"nonsense"`` (it returns something that is no decision).

    Raises:
        ValueError: No answer was given, or one that is not in this list.

    Example:
        ``ChildSpec("feed", Behaviour(ends_at=1), decide=decides("restart", "done"))``
    """
    if not answers:
        raise ValueError("decides() needs at least one answer")
    for answer in answers:
        if answer not in _SAID and answer != "raise":
            known = ", ".join(sorted((*_SAID, "raise")))
            raise ValueError(f"there is no answer {answer!r}; there are: {known}")
    return Decides(answers)
