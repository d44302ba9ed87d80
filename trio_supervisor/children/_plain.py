"""`plain`: an async function that does not take a child context."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVarTuple

from trio_supervisor._lazy import public
from trio_supervisor._record import Record
from trio_supervisor._specs.body import Body, label_of
from trio_supervisor._specs.policy import ReadinessPolicy
from trio_supervisor.children._check import check_target

if TYPE_CHECKING:
    from trio_supervisor._attempts.context import ChildContext

Ts = TypeVarTuple("Ts")


# A value, not a closure, so that specs which declare the same child are equal. The same holds for
# the other adapters.
class _Plain(Record):
    async_fn: Callable[..., Awaitable[object]]
    args: tuple[Any, ...]

    def __call__(self, _child: ChildContext) -> Awaitable[object]:
        # The attempt awaits, and checks, what the function returns, as it does without an adapter.
        return self.async_fn(*self.args)


@public
def plain(async_fn: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> Body[None]:
    """Supervise ``await async_fn(*args)`` for a function that takes no child context.

    The child is ready when its attempt starts. The function cannot learn of a stop request, so the
    attempt is cancelled instead. Write a function of the child context, without an adapter, if the
    work has to end at a point of its own choice.

    Args:
        async_fn: The async function; called once per attempt.
        *args: Its positional arguments. For keyword arguments use `functools.partial`.

    Returns:
        The ``run`` of a `ChildSpec`.

    Raises:
        SpecError: ``async_fn`` is not callable.

    Example:
        ``ChildSpec("cleaner", plain(clean_up_every_hour, "/var/spool/app"))``
    """
    check_target("plain", async_fn, "an async function, and its arguments after it")
    label = f"plain({label_of(async_fn)})"
    return Body(_Plain(async_fn, args), label, ReadinessPolicy.IMMEDIATE, hears_stop=False)
