"""`serving`: a function that Trio's ``nursery.start`` takes, such as a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from trio_supervisor._record import Record
from trio_supervisor._specs.body import Body, label_of
from trio_supervisor._specs.policy import ReadinessPolicy
from trio_supervisor.children._check import check_target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import trio

    from trio_supervisor._attempts.context import ChildContext

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
A_contra = TypeVar("A_contra", contravariant=True)
B_contra = TypeVar("B_contra", contravariant=True)
C_contra = TypeVar("C_contra", contravariant=True)
D_contra = TypeVar("D_contra", contravariant=True)
E_contra = TypeVar("E_contra", contravariant=True)


class _Status:
    """The ``task_status`` of a `serving` child."""

    __slots__ = ("_child", "_started")

    def __init__(self, child: ChildContext) -> None:
        self._child = child
        self._started = False

    def started(self, value: Any = None) -> None:
        # As in a nursery, so that code which calls it twice fails here as it does there.
        if self._started:
            raise RuntimeError("called 'started' twice on the same task status")
        self._started = True
        self._child.ready(value)


class _Serving(Record):
    async_fn: Callable[..., Awaitable[object]]
    args: tuple[Any, ...]

    def __call__(self, child: ChildContext) -> Awaitable[object]:
        return self.async_fn(*self.args, task_status=_Status(child))


if TYPE_CHECKING:

    class _Serves0(Protocol[T_co]):
        """With 0 arguments."""

        def __call__(self, *, task_status: trio.TaskStatus[T_co]) -> Awaitable[object]: ...

    class _Serves1(Protocol[A_contra, T_co]):
        """With 1 argument."""

        def __call__(
            self, a: A_contra, /, *, task_status: trio.TaskStatus[T_co]
        ) -> Awaitable[object]: ...

    class _Serves2(Protocol[A_contra, B_contra, T_co]):
        """With 2 arguments."""

        def __call__(
            self, a: A_contra, b: B_contra, /, *, task_status: trio.TaskStatus[T_co]
        ) -> Awaitable[object]: ...

    class _Serves3(Protocol[A_contra, B_contra, C_contra, T_co]):
        """With 3 arguments."""

        def __call__(
            self, a: A_contra, b: B_contra, c: C_contra, /, *, task_status: trio.TaskStatus[T_co]
        ) -> Awaitable[object]: ...

    class _Serves4(Protocol[A_contra, B_contra, C_contra, D_contra, T_co]):
        """With 4 arguments."""

        def __call__(
            self,
            a: A_contra,
            b: B_contra,
            c: C_contra,
            d: D_contra,
            /,
            *,
            task_status: trio.TaskStatus[T_co],
        ) -> Awaitable[object]: ...

    class _Serves5(Protocol[A_contra, B_contra, C_contra, D_contra, E_contra, T_co]):
        """With 5 arguments."""

        def __call__(
            self,
            a: A_contra,
            b: B_contra,
            c: C_contra,
            d: D_contra,
            e: E_contra,
            /,
            *,
            task_status: trio.TaskStatus[T_co],
        ) -> Awaitable[object]: ...


# One overload per number of arguments: a TypeVarTuple beside ``task_status`` in one Protocol
# makes mypy infer Never for the ready value.
@overload
def serving(async_fn: _Serves0[T], /) -> Body[T]: ...
@overload
def serving(async_fn: _Serves1[A, T], a: A, /) -> Body[T]: ...
@overload
def serving(async_fn: _Serves2[A, B, T], a: A, b: B, /) -> Body[T]: ...
@overload
def serving(async_fn: _Serves3[A, B, C, T], a: A, b: B, c: C, /) -> Body[T]: ...
@overload
def serving(async_fn: _Serves4[A, B, C, D, T], a: A, b: B, c: C, d: D, /) -> Body[T]: ...
@overload
def serving(async_fn: _Serves5[A, B, C, D, E, T], a: A, b: B, c: C, d: D, e: E, /) -> Body[T]: ...
def serving(async_fn: Callable[..., Awaitable[object]], /, *args: object) -> Body[Any]:
    """Supervise a function that ``nursery.start`` takes, such as ``trio.serve_tcp``.

    The function gets ``task_status``. The child is ready when the function calls
    ``task_status.started(value)``; ``child.value(...)`` gives siblings that value. A second call
    raises `RuntimeError`, as in Trio. A function that returns without the call has succeeded; one
    that neither makes the call nor returns is stopped after the spec's ``start_timeout``. After a
    stop request the function is cancelled.

    Args:
        async_fn: The function; called once per attempt, as ``async_fn(*args, task_status=...)``.
        *args: Up to five positional arguments. For more, and for keyword arguments, use
            `functools.partial`.

    Returns:
        The ``run`` of a `ChildSpec`.

    Raises:
        SpecError: ``async_fn`` is not callable.

    Example:
        ``ChildSpec("web", serving(trio.serve_tcp, handler, 8080))``
    """
    check_target("serving", async_fn, "an async function, and its arguments after it")
    label = f"serving({label_of(async_fn)})"
    return Body(_Serving(async_fn, args), label, ReadinessPolicy.EXPLICIT, hears_stop=False)
