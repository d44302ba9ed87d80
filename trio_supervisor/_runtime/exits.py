"""Makes the brain's signal of an attempt that has ended: exit, report, and what decide() says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio.lowlevel import disable_ki_protection

from trio_supervisor._brain.messages import Exited
from trio_supervisor._events.exits import Crashed, TaskExit
from trio_supervisor._specs.decisions import DECISIONS
from trio_supervisor._text import error_line, one_line, short_repr

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._runtime.shell import Shell
    from trio_supervisor._specs.decisions import RestartDecision


def exit_signal(shell: Shell, attempt: Attempt, now: float) -> Exited:
    """Classify the exit of ``attempt``, keep its report, and return the signal of it."""
    how = attempt.judge()
    signal = Exited(attempt.name, attempt.number, None, attempt.stop_reason)
    if not isinstance(how, TaskExit):
        _note_fatal(shell, signal, how)
        return signal
    signal.exit = how
    signal.detail = how.describe()
    if shell.observer is not None:
        shell.observer.exit_classified(attempt, how)
    shell.slots[attempt.name].record(attempt, how, signal.detail, now)
    if how.is_failure and shell.error is not None:
        shell.later_failures.append(attempt.report(how))
    if attempt.spec.decide is not None and shell.machine.policy_will_decide(
        attempt.name, attempt.number, failed=how.is_failure
    ):
        fatal = _ask_decide(attempt, how, signal)
        if fatal is not None:
            _note_fatal(shell, signal, fatal)
    return signal


def _note_fatal(shell: Shell, signal: Exited, error: BaseException) -> None:
    shell.fatal.append(error)
    signal.exit = None
    signal.detail = one_line(f"fatal: {error_line(error)}", 200)


def _ask_decide(attempt: Attempt, how: TaskExit, signal: Exited) -> BaseException | None:
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
        return error  # noqa: ASYNC104
    return None


_KNOWN = ", ".join(kind.__name__ for kind in DECISIONS)


@disable_ki_protection
def _call(
    decide: Callable[[Any], RestartDecision | None], report: object
) -> RestartDecision | None:
    decision = decide(report)
    if decision is not None and not issubclass(type(decision), DECISIONS):
        raise TypeError(f"decide returned {short_repr(decision)}: expected {_KNOWN} or None")
    return decision
