"""Asks a child's ``decide`` about an exit, where the restart table would be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio.lowlevel import disable_ki_protection

from trio_supervisor._events.exits import Crashed
from trio_supervisor._specs.decisions import DECISIONS
from trio_supervisor._text import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._brain.messages import Exited
    from trio_supervisor._events.exits import TaskExit
    from trio_supervisor._specs.decisions import RestartDecision


def ask_decide(attempt: Attempt, how: TaskExit, signal: Exited) -> BaseException | None:
    """Call the child's ``decide`` and put what it says into ``signal``.

    If it raises, the table for a crash applies, and the event shows the error.

    Returns:
        A fatal exception that ``decide`` raised, to be dealt with as if the child had raised it.
    """
    decide = attempt.spec.decide
    assert decide is not None
    try:
        signal.decision = _call(decide, attempt.report(how))
    except Exception as error:
        signal.decide_error = Crashed(error).detail
    except BaseException as error:  # noqa: ASYNC103 - returned, and raised by the block
        return error
    return None


@disable_ki_protection
def _call(
    decide: Callable[[Any], RestartDecision | None], report: object
) -> RestartDecision | None:
    decision = decide(report)
    if decision is not None and not isinstance(decision, DECISIONS):
        raise TypeError(
            f"decide returned {short_repr(decision)}: "
            "expected Restart, RestartAfter, DoNotRestart, Quarantine, Escalate, ShutdownTree "
            "or None"
        )
    return decision
