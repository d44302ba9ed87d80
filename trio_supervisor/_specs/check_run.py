"""Can this be the ``run`` of a child? The usual mistakes are found here, before anything starts."""

from __future__ import annotations

import contextlib
from inspect import (
    CO_ASYNC_GENERATOR,
    CO_COROUTINE,
    CO_GENERATOR,
    CO_VARARGS,
    isasyncgen,
    isasyncgenfunction,
    isawaitable,
    iscoroutine,
    iscoroutinefunction,
)
from types import FunctionType, MethodType
from typing import Final

from trio_supervisor._specs.body import Body, label_of
from trio_supervisor._specs.checks import looked_at, refuse
from trio_supervisor._text import is_a

_WANTED: Final = "an async function of the child context"


def check_run(owner: str, run: object, args: tuple[object, ...]) -> None:
    """Refuse a ``run`` that cannot be called as ``run(child, *args)`` and awaited.

    Cheap for a function. A sync function passes, because it may return an awaitable; if it does
    not, the attempt says so.

    Raises:
        SpecError: With the remedy for the mistake that was probably made.
    """
    if type(run) is FunctionType:  # most of them: an async function that takes just what it gets
        code = run.__code__
        exact = code.co_argcount == len(args) + 1 and not code.co_kwonlyargcount
        if exact and code.co_flags & CO_COROUTINE:
            return
    if is_a(run, Body):
        if args:
            refuse(owner, "args", args, f"no arguments beside an adapter: give them to {run.label}")
        return
    method = is_a(run, MethodType)
    function = run.__func__ if is_a(run, MethodType) else run
    if not is_a(function, FunctionType):
        looked_at(owner, "run", run, _WANTED, lambda: _check_other(owner, run))
        return
    flags = function.__code__.co_flags
    if not flags & CO_COROUTINE:
        _check_not_async(owner, run, function)
    _check_arity(owner, run, function, len(args), method=method)


def _check_arity(
    owner: str, run: object, function: FunctionType, given: int, *, method: bool
) -> None:
    code = function.__code__
    first = 1 if method else 0
    most = code.co_argcount - first
    least = most - len(function.__defaults__ or ())
    if (most >= given + 1 or code.co_flags & CO_VARARGS) and least <= given + 1:
        if code.co_kwonlyargcount > len(function.__kwdefaults__ or ()):
            refuse(owner, "run", run, "a function without required keyword-only arguments")
        return
    name = label_of(run)
    call = f"{name}(child{', ...' if given else ''})"
    takes = str(most) if least == most else f"{least} to {most}"
    if function.__globals__.get("__name__", "").startswith("trio_supervisor._runtime."):
        advice = "; a SupervisorSpec stands among the children as it is"
    elif "task_status" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        advice = f"; for a function that takes task_status, write serving({name}, ...)"
    elif least <= given <= most:
        advice = f"; for a function that takes no child context, write plain({name}, ...)"
    else:
        advice = ""
    expected = f"something to call as {call} with {given + 1} in all, but it takes {takes}{advice}"
    refuse(owner, "run", run, expected)


def _check_not_async(owner: str, run: object, function: FunctionType) -> None:
    code = function.__code__
    name = label_of(run)
    if code.co_flags & CO_ASYNC_GENERATOR:
        refuse(owner, "run", run, f"{_WANTED}; {name} is an async generator function (it yields)")
    if code.co_flags & CO_GENERATOR:
        refuse(owner, "run", run, f"{_WANTED}; {name} is a generator function (it yields)")
    if function.__globals__.get("__name__", "").startswith("trio_supervisor.children."):
        refuse(owner, "run", run, f"what the adapter returns: write {name}(function, *args)")
    made_by = code.co_qualname.partition(".")[0]
    if code.co_filename == contextlib.__file__ and made_by.endswith("contextmanager"):
        refuse(owner, "run", run, f"{_WANTED}; for a context manager, write holding({name}, ...)")


def _check_other(owner: str, run: object) -> None:
    """Callable objects pass, and so do partials; what is not callable gets the fitting advice."""
    name = label_of(run)
    if isinstance(run, type):
        refuse(owner, "run", run, f"{_WANTED}, not a class")
    # These can be called, as decorators, which is not what is meant here.
    decorator = isinstance(run, contextlib.ContextDecorator | contextlib.AsyncContextDecorator)
    if callable(run) and not decorator:
        if isasyncgenfunction(run) or isasyncgenfunction(getattr(run, "__call__", None)):  # noqa: B004
            refuse(owner, "run", run, f"{_WANTED}; {name} is an async generator function")
        return
    if iscoroutine(run):
        # Never to be awaited now; without this, Python would add a warning of its own.
        run.close()
        refuse(owner, "run", run, f"{_WANTED}: pass the function, do not call it")
    if isasyncgen(run) or isawaitable(run):
        refuse(owner, "run", run, f"{_WANTED}: pass the function, not what it returns")
    if decorator or hasattr(run, "__aenter__"):
        advice = "for a context manager, write holding(function, *args)"
        refuse(owner, "run", run, f"{_WANTED}; {advice}")
    if hasattr(run, "as_child"):
        refuse(owner, "run", run, f"{_WANTED}; a SupervisorSpec stands among the children as it is")
    refuse(owner, "run", run, _WANTED)


def check_decide(owner: str, decide: object) -> None:
    """Refuse a ``decide`` that could not answer at once."""
    expected = "a function of the report, or None"
    if not callable(decide) or is_a(decide, type):
        refuse(owner, "decide", decide, expected)
    if looked_at(owner, "decide", decide, expected, lambda: _is_async(decide)):
        refuse(owner, "decide", decide, "a plain function of the report, not an async one")


def _is_async(decide: object) -> bool:
    return iscoroutinefunction(decide) or iscoroutinefunction(getattr(decide, "__call__", None))  # noqa: B004
