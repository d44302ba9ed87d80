"""`serving`: a function that Trio's ``nursery.start`` takes, such as a server.

`serve_tcp` and `serve_listeners` are Trio's functions of the same names with a stop of their own:
they stop accepting and let the connections that are open come to their end.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, final, overload

import trio

from trio_supervisor._errors import SpecError
from trio_supervisor._lazy import public
from trio_supervisor._record import Record
from trio_supervisor._specs.body import Body, label_of
from trio_supervisor._specs.policy import ReadinessPolicy
from trio_supervisor.children._check import check_target

if TYPE_CHECKING:
    from collections.abc import Generator

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


@final
class _StopTrigger:
    """The stop request, in each form in which libraries ask for something to wait for.

    An async function without arguments (``await trigger()``), an awaitable (``await trigger``), and
    an event (``await trigger.wait()``, ``trigger.is_set()``).
    """

    __slots__ = ("_child",)

    def __init__(self, child: ChildContext) -> None:
        self._child = child

    async def __call__(self) -> None:
        await self._child.wait_stop_requested()

    async def wait(self) -> None:
        await self._child.wait_stop_requested()

    def is_set(self) -> bool:
        return self._child.stop_requested

    def __await__(self) -> Generator[Any, Any, None]:
        return self._child.wait_stop_requested().__await__()


class _Serving(Record):
    async_fn: Callable[..., Awaitable[object]]
    args: tuple[Any, ...]
    stop: str | None

    def __call__(self, child: ChildContext) -> Awaitable[object]:
        if self.stop is None:
            return self.async_fn(*self.args, task_status=_Status(child))
        trigger = {self.stop: _StopTrigger(child)}
        return self.async_fn(*self.args, task_status=_Status(child), **trigger)


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
@overload
def serving(
    async_fn: Callable[..., Awaitable[object]], /, *args: object, stop: str
) -> Body[Any]: ...
@public
def serving(
    async_fn: Callable[..., Awaitable[object]], /, *args: object, stop: str | None = None
) -> Body[Any]:
    """Supervise a function that ``nursery.start`` takes, such as ``trio.serve_tcp``.

    The function gets ``task_status``. The child is ready when the function calls
    ``task_status.started(value)``; ``child.value(...)`` gives siblings that value. A second call
    raises `RuntimeError`, as in Trio. A function that returns without the call has succeeded; one
    that neither makes the call nor returns is stopped after the spec's ``start_timeout``.

    A stop request cancels the function, unless ``stop`` names a parameter of it. The function then
    gets, under that name, something to wait for, and has the spec's ``grace`` to return. It can be
    called and awaited (``await trigger()``), awaited as it is, or used like a `trio.Event`. Servers
    that finish the requests in flight have such a parameter: hypercorn and anycorn call theirs
    ``shutdown_trigger``. `serve_tcp` is ``trio.serve_tcp`` with one.

    Not for a server in which one connection must not end the others: an exception of a handler that
    ``trio.serve_tcp`` runs ends all of them. `accepting` makes each connection a child.

    Args:
        async_fn: The function; called once per attempt, as ``async_fn(*args, task_status=...)``.
        *args: Up to five positional arguments. For more, and for keyword arguments, use
            `functools.partial`.
        stop: The name of the function's parameter for what it waits for to stop. Default: none, the
            function is cancelled. With ``stop``, type checkers take the ready value for `Any`.

    Returns:
        The ``run`` of a `ChildSpec`.

    Raises:
        SpecError: ``async_fn`` is not callable, or has no parameter ``stop`` that can be passed by
            name.

    Example:
        ``ChildSpec("web", serving(serve_tcp, handler, 8080, stop="shutdown_trigger"), grace=10)``
    """
    check_target("serving", async_fn, "an async function, and its arguments after it")
    # Of a decorated function the decorator counts here: it may take what the function does not.
    names = _names(async_fn, follow_wrapped=False)
    if names is not None and "task_status" not in names:
        expected = "a function that takes task_status, as nursery.start() passes it"
        raise SpecError("run", async_fn, expected, owner="serving()")
    if stop is not None:
        _check_stop(async_fn, stop)
    label = f"serving({label_of(async_fn)})"
    body = _Serving(async_fn, args, stop)
    return Body(body, label, ReadinessPolicy.EXPLICIT, hears_stop=stop is not None)


def _names(async_fn: Callable[..., object], *, follow_wrapped: bool) -> list[str] | None:
    """The parameters that can be passed by name; `None` if any can, or that is not known."""
    try:
        signature = inspect.signature(async_fn, follow_wrapped=follow_wrapped)
    except (TypeError, ValueError):
        return None  # written in another language; the call shows whether the name fits
    found = signature.parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in found):
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each.name for each in found if each.kind in named]


def _check_stop(async_fn: Callable[..., object], stop: object) -> None:
    owner = f"serving({label_of(async_fn)})"
    if not isinstance(stop, str) or not stop.isidentifier():
        raise SpecError("stop", stop, "the name of a parameter of the function", owner=owner)
    names = _names(async_fn, follow_wrapped=True)
    if names is not None and stop not in names:
        expected = f"a parameter that can be passed by name (there are: {', '.join(names)})"
        raise SpecError("stop", stop, expected, owner=owner)


@public
async def serve_tcp(  # noqa: ASYNC128 - `serve_listeners` calls it
    handler: Callable[[trio.SocketStream], Awaitable[object]],
    port: int,
    *,
    host: str | bytes | None = None,
    backlog: int | None = None,
    shutdown_trigger: Callable[[], Awaitable[object]],
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve TCP connections like ``trio.serve_tcp`` until asked to stop, then finish the open ones.

    Use it as ``serving(serve_tcp, handler, 8080, stop="shutdown_trigger")``. When
    ``shutdown_trigger()`` returns, the listening sockets are closed, so that new connections are
    refused, and the function returns when the last handler has. Cancelling it, at the end of a
    grace for example, cancels the handlers.

    Args:
        handler: Called with the stream of each connection. An exception of a handler ends the
            server with all its connections, as in Trio.
        port: The port; 0 takes a free one.
        host: The address to listen on. Default: all.
        backlog: How many connections may wait to be accepted. Default: Trio's.
        shutdown_trigger: Called without arguments and awaited; its return begins the stop.
        task_status: ``started`` gets the listeners.

    Raises:
        OSError: The address cannot be listened on.
    """
    listeners = await trio.open_tcp_listeners(port, host=host, backlog=backlog)
    await serve_listeners(
        handler, listeners, shutdown_trigger=shutdown_trigger, task_status=task_status
    )


@public
async def serve_listeners(
    handler: Callable[[Any], Awaitable[object]],
    listeners: Sequence[trio.abc.Listener[Any]],
    *,
    shutdown_trigger: Callable[[], Awaitable[object]],
    task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve listeners like ``trio.serve_listeners`` until asked to stop, then finish the open ones.

    See `serve_tcp`. The listeners are closed when the function ends, however it ends.

    Args:
        handler: Called with the stream of each connection.
        listeners: The listeners, such as ``await trio.open_tcp_listeners(8080)``.
        shutdown_trigger: Called without arguments and awaited; its return begins the stop.
        task_status: ``started`` gets the listeners.
    """
    async with trio.open_nursery() as handlers, trio.open_nursery() as acceptors:
        serve: Any = partial(trio.serve_listeners, handler_nursery=handlers)
        task_status.started(await acceptors.start(serve, handler, listeners))
        await shutdown_trigger()
        acceptors.cancel_scope.cancel("the stop has been requested")
