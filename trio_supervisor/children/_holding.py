"""`holding`: an async context manager that stays entered while the attempt lasts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from trio_supervisor._errors import SpecError
from trio_supervisor._lazy import public
from trio_supervisor._record import Record
from trio_supervisor._specs.body import Body, label_of
from trio_supervisor._specs.policy import ReadinessPolicy
from trio_supervisor.children._check import check_target

if TYPE_CHECKING:
    from trio_supervisor._attempts.context import ChildContext

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Holding(Record):
    """The arguments of `holding`, checked."""

    open_cm: Callable[..., AbstractAsyncContextManager[Any, Any]]
    args: tuple[Any, ...]

    async def __call__(self, child: ChildContext) -> None:
        async with self.open_cm(*self.args) as value:
            child.ready(value)
            await child.wait_stop_requested()


@public
def holding(open_cm: Callable[[*Ts], AbstractAsyncContextManager[T, Any]], *args: *Ts) -> Body[T]:
    """Supervise a resource: enter ``open_cm(*args)``, be ready with its value, exit it at the stop.

    Each attempt enters a new context manager. The child is ready once that is entered, and
    ``child.value(...)`` gives siblings what ``async with ... as value`` gives. After a stop request
    the context manager is exited without an exception, and has the spec's ``grace`` for that. With
    ``grace=0`` its cleanup is cancelled at its first checkpoint; if the cleanup has to wait for
    something in that case too, it needs a shield of its own.

    If the stop is requested while the context manager is being entered, it is entered and then
    exited. An exception of a background task that the context manager runs ends the attempt as
    `Crashed`.

    Not for work: a resource that nothing uses needs no child, and code that does something while it
    holds a resource is an ordinary body with an ``async with``.

    Args:
        open_cm: Returns an async context manager; called once per attempt.
        *args: Its positional arguments. For keyword arguments use `functools.partial`.

    Returns:
        The ``run`` of a `ChildSpec`.

    Raises:
        SpecError: ``open_cm`` is not callable, or is a coroutine function (decorate it with
            `contextlib.asynccontextmanager`).

    Example:
        ``ChildSpec("store", holding(open_store, "data.db"))``
    """
    expected = "a function that returns an async context manager"
    check_target("holding", open_cm, expected, sync=True)
    code = getattr(open_cm, "__code__", None)
    if getattr(code, "co_qualname", "") == "contextmanager.<locals>.helper":
        expected = f"{expected}: decorate it with asynccontextmanager"
        raise SpecError("run", open_cm, expected, owner="holding()")
    label = f"holding({label_of(open_cm)})"
    return Body(Holding(open_cm, args), label, ReadinessPolicy.EXPLICIT, hears_stop=True)
