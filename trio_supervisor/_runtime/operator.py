"""The operator of a command that came from outside of the program."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_supervisor._brain.messages import Operator

operator: ContextVar[Operator] = ContextVar("trio_supervisor.operator", default=())
"""The operator behind the current task's commands; empty for the program itself."""


@contextmanager
def on_behalf_of(user: str, uid: int, pid: int) -> Iterator[None]:
    """Give every command inside the block in the name of an operator.

    The events `CommandAccepted` and `CommandHadNoEffect` of these commands carry the three values.
    """
    token = operator.set((user, uid, pid))
    try:
        yield
    finally:
        operator.reset(token)
