"""The exceptions with which the kit makes children fail."""

from __future__ import annotations

from typing import final

from trio_supervisor._errors import TaskFailure
from trio_supervisor._lazy import public


@public
@final
class SimulatedCrash(Exception):
    """The exception that a `Behaviour` raises, and that the kit injects, when a child crashes."""


@public
@final
class SimulatedInterrupt(BaseException):
    """Stands for a `KeyboardInterrupt` or `SystemExit` raised in a child.

    A real one would end the test run, too.
    """


def crash_of(path: str) -> SimulatedCrash:
    """Make the exception with which the child at ``path`` is made to crash."""
    return SimulatedCrash(f"{path} was made to crash")


def interrupt_of(path: str) -> SimulatedInterrupt:
    """Make the exception with which the child at ``path`` is interrupted."""
    return SimulatedInterrupt(f"{path} was interrupted")


def failure_of(path: str) -> TaskFailure:
    """Make the declared failure with which the child at ``path`` is made to fail."""
    return TaskFailure(f"{path} was made to fail", category="simulated")
