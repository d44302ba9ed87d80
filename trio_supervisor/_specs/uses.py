"""The methods of its context that a body uses, as far as its code shows."""

from __future__ import annotations

import dis
from types import FunctionType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType


def uses_of(run: object) -> frozenset[str] | None:
    """Return the attributes that a body takes from its first argument.

    `None` means that the code does not show it: the body is no plain function, or hands the context
    on to other code.
    """
    if not isinstance(run, FunctionType) or run.__code__.co_argcount == 0:
        return None
    found: set[str] = set()
    return frozenset(found) if _collect(run.__code__, run.__code__.co_varnames[0], found) else None


def _collect(code: CodeType, context: str, found: set[str]) -> bool:
    """Add what ``code`` and the functions in it take from ``context``; false if it gets away."""
    steps = [step for step in dis.get_instructions(code) if step.opname not in _NOTHING]
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        of_variables = step.argval if isinstance(step.argval, tuple) else (step.argval,)
        if context not in of_variables or not _VARIABLES & set(step.opname.split("_")):
            continue
        # Since Python 3.13, a cell is handed to a closure by a plain LOAD_FAST.
        is_cell = context in (*code.co_cellvars, *code.co_freevars)
        if step.opname in _CLOSES_OVER or (is_cell and step.opname.startswith("LOAD_FAST")):
            continue
        if following is None or following.opname not in _TAKES:
            return False
        found.add(str(following.argval))
    inner = [const for const in code.co_consts if hasattr(const, "co_code")]
    return all(_collect(each, context, found) for each in inner if context in each.co_freevars)


_NOTHING = frozenset({"CACHE", "NOP", "RESUME", "PRECALL", "EXTENDED_ARG"})
_VARIABLES = frozenset({"FAST", "DEREF", "CLOSURE", "CELL"})
_CLOSES_OVER = frozenset({"MAKE_CELL", "COPY_FREE_VARS", "LOAD_CLOSURE"})
_TAKES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
