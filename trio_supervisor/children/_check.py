"""Check what an adapter is given, before anything starts."""

from __future__ import annotations

from contextlib import AsyncContextDecorator, ContextDecorator
from inspect import iscoroutine, iscoroutinefunction

from trio_supervisor._errors import SpecError
from trio_supervisor._text import is_a


def check_target(adapter: str, target: object, expected: str, *, sync: bool = False) -> None:
    """Refuse a ``target`` that ``adapter`` could not call.

    Args:
        adapter: The name of the adapter, for the error.
        target: The first argument of the adapter.
        expected: What it should have been, in words.
        sync: Whether a coroutine function is wrong, too.

    Raises:
        SpecError: ``target`` is not callable, or is a coroutine function in spite of ``sync``.
    """
    if iscoroutine(target):
        target.close()  # never to be awaited now; without this, Python would add its own warning
        expected = f"{expected}: pass the function, do not call it"
    elif is_a(target, (ContextDecorator, AsyncContextDecorator)):
        # It can be called, as a decorator, which is not what is meant here.
        expected = f"{expected}: pass the function, do not call it"
    elif callable(target) and not (sync and iscoroutinefunction(target)):
        return
    raise SpecError("run", target, expected, owner=f"{adapter}()")


def is_number(value: object) -> bool:
    """Whether ``value`` can be seconds: a number, and not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)
