"""Make a child out of anything: a coroutine function, a server, a context manager, a thread.

A child is an async function whose first argument is its context. Most code that one wants to
supervise was not written so, and need not be: the adapters here take the place of ``run`` in a
`ChildSpec`, and know what the thing they wrap can do - how one learns that it is ready, and
whether it can hear that it should stop.

| adapter | for | ready | hears a stop request |
|---|---|---|---|
| `plain` | any async function | at once | no: it is cancelled |
| `serving` | functions with ``task_status`` | at ``started(value)`` | no: it is cancelled |
| `holding` | async context managers | once entered, with its value | yes: it is exited |
| `in_thread` | blocking functions | as the spec says | yes, through `thread_child` |

"No: it is cancelled" means that a ``grace`` above 0 has no effect on such a child and is
refused by the spec.
"""

from __future__ import annotations

from contextvars import ContextVar
from inspect import iscoroutinefunction
from math import inf
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, TypeVarTuple, final, overload

import trio

from trio_supervisor._attempts.stacks import threads
from trio_supervisor._errors import SpecError, SupervisorError
from trio_supervisor._record import Record
from trio_supervisor._specs.body import Body, label_of
from trio_supervisor._specs.policy import ReadinessPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from trio_supervisor._attempts.context import ChildContext
    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

__all__ = ["ThreadChild", "holding", "in_thread", "plain", "serving", "thread_child"]

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
Ts = TypeVarTuple("Ts")

# The bodies are values, not closures, so that specs which declare the same child are equal.


class _Plain(Record):
    async_fn: Callable[..., Awaitable[object]]
    args: tuple[Any, ...]

    def __call__(self, _child: ChildContext) -> Awaitable[object]:
        # Not a coroutine of its own: what the function returns is awaited, and checked, by the
        # attempt, as it would be without an adapter.
        return self.async_fn(*self.args)


def plain(async_fn: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> Body[None]:
    """Supervise ``await async_fn(*args)``, which knows nothing of supervision.

    The child is ready as soon as it is started. It cannot hear a stop request: it is cancelled.

    Args:
        async_fn: The function; called once per attempt.
        *args: Its arguments.

    Raises:
        SpecError: ``async_fn`` is not callable.
    """
    _check("plain", async_fn, "an async function, and its arguments after it")
    label = f"plain({label_of(async_fn)})"
    return Body(_Plain(async_fn, args), label, ReadinessPolicy.IMMEDIATE, hears_stop=False)


class _Status:
    """The ``task_status`` of a `serving` child."""

    __slots__ = ("_child", "_started")

    def __init__(self, child: ChildContext) -> None:
        self._child = child
        self._started = False

    def started(self, value: Any = None) -> None:
        # Trio's own rule, so that code which breaks it breaks here as it does under a nursery.
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
# makes mypy infer Never for the ready value. Whoever has more than five: functools.partial.
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
    """Supervise what one would pass to ``nursery.start``, such as ``trio.serve_tcp``.

    The function gets ``task_status``, and the child is ready when it calls
    ``task_status.started(value)``; that value is what siblings get from ``child.value(...)``.
    Calling it twice raises `RuntimeError`, as in Trio. A function that returns without having
    called it has simply ended; one that neither calls it nor returns is ended after the spec's
    ``start_timeout``. The child cannot hear a stop request: it is cancelled.

    Args:
        async_fn: The function; called once per attempt, as ``async_fn(*args, task_status=...)``.
        *args: Its positional arguments. For keyword arguments use `functools.partial`.

    Raises:
        SpecError: ``async_fn`` is not callable.
    """
    _check("serving", async_fn, "an async function, and its arguments after it")
    label = f"serving({label_of(async_fn)})"
    return Body(_Serving(async_fn, args), label, ReadinessPolicy.EXPLICIT, hears_stop=False)


class _Holding(Record):
    open_cm: Callable[..., AbstractAsyncContextManager[Any, Any]]
    args: tuple[Any, ...]

    async def __call__(self, child: ChildContext) -> None:
        async with self.open_cm(*self.args) as value:
            child.ready(value)
            await child.wait_stop_requested()


def holding(open_cm: Callable[[*Ts], AbstractAsyncContextManager[T, Any]], *args: *Ts) -> Body[T]:
    """Supervise a resource: enter ``open_cm(*args)``, be ready with its value, hold it, exit it.

    The context manager is entered anew in each attempt. The child is ready once it is entered,
    and ``child.value(...)`` gives siblings what ``async with ... as value`` would. On a stop
    request it is exited in the usual way, without an exception, for which it has ``grace``
    seconds; with ``grace=0`` that ends at the first checkpoint of its cleanup. An error of a
    background task that the context manager runs ends the child as a crash.

    Args:
        open_cm: Returns an async context manager; called once per attempt.
        *args: Its arguments.

    Raises:
        SpecError: ``open_cm`` is not callable, or is a coroutine function (decorate it with
            `contextlib.asynccontextmanager`).
    """
    _check("holding", open_cm, "a function that returns an async context manager", sync=True)
    label = f"holding({label_of(open_cm)})"
    return Body(_Holding(open_cm, args), label, ReadinessPolicy.EXPLICIT, hears_stop=True)


_thread_child: ContextVar[ThreadChild] = ContextVar("trio_supervisor.thread_child")


@final
class ThreadChild:
    """What a blocking function that runs as a child can say and learn; see `thread_child`.

    For use in the child's own thread only. Threads started by it are unknown to Trio.
    """

    __slots__ = ("_child", "_detail", "_noted", "_token")

    def __init__(self, child: ChildContext, token: trio.lowlevel.TrioToken) -> None:
        self._child = child
        self._token = token
        self._detail: object = None
        self._noted = False

    @property
    def name(self) -> str:
        """The child's name."""
        return self._child.name

    @property
    def path(self) -> str:
        """The child's path in its tree, such as ``"app/store"``."""
        return self._child.path

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self._child.attempt

    def ready(self, value: object = None) -> None:
        """Say that the child is ready, with the value that siblings get; see `ChildContext.ready`.

        Returns once the Trio thread has taken note.

        Raises:
            SupervisorError: The child is not declared with ``readiness="explicit"``.
        """
        trio.from_thread.run_sync(self._child.ready, value)

    def heartbeat(self, detail: object = None) -> None:
        """Say that the child is alive; see `ChildContext.heartbeat`.

        Never waits. Heartbeats that the Trio thread has not seen yet are folded into one.
        """
        self._detail = detail
        if not self._noted:
            self._noted = True
            self._token.run_sync_soon(self._pass_on_heartbeat)

    def _pass_on_heartbeat(self) -> None:
        # Cleared first: a heartbeat that comes between the two lines is sent twice, never lost.
        self._noted = False
        self._child.heartbeat(self._detail)

    @property
    def stop_requested(self) -> bool:
        """Whether the child has been asked to stop. Cheap, and never raises."""
        return self._child.stop_requested

    def wait_stop_requested(self, timeout: float = inf) -> bool:
        """Sleep until the child is asked to stop, or for ``timeout`` seconds.

        Returns:
            Whether the child has been asked to stop.

        Raises:
            trio.Cancelled: The attempt is cancelled. Clean up and let it pass.
        """
        if timeout <= 0:
            trio.from_thread.check_cancelled()
            return self.stop_requested
        return trio.from_thread.run(self._wait_stop_requested, timeout)

    async def _wait_stop_requested(self, timeout: float) -> bool:  # noqa: ASYNC109
        with trio.move_on_after(timeout):
            await self._child.wait_stop_requested()
        return self._child.stop_requested

    @overload
    def value(self, of: ChildSpec[T]) -> T: ...
    @overload
    def value(self, of: SupervisorSpec) -> Supervisor: ...
    @overload
    def value(self, of: str) -> Any: ...
    def value(self, of: Any) -> Any:
        """The ready value of another child; see `ChildContext.value`.

        Raises:
            ChildNotFound: There is no such child.
            ChildNotReady: It is not ready.
        """
        return trio.from_thread.run_sync(lambda: self._child.value(of))

    def __repr__(self) -> str:
        return f"<ThreadChild {self.path!r} attempt={self.attempt}>"


def thread_child() -> ThreadChild:
    """The child that the calling thread runs: for use inside a function given to `in_thread`.

    Raises:
        SupervisorError: The calling code does not run in such a thread.
    """
    try:
        return _thread_child.get()
    except LookupError:
        raise SupervisorError(
            "thread_child() works only in the thread of a child made with in_thread()"
        ) from None


class _InThread(Record):
    sync_fn: Callable[..., object]
    args: tuple[Any, ...]

    async def __call__(self, child: ChildContext) -> object:
        handle = ThreadChild(child, trio.lowlevel.current_trio_token())
        # A limiter of its own: children live long, and the default one, which the rest of the
        # application shares, would be used up by forty of them.
        return await trio.to_thread.run_sync(
            self._work,
            handle,
            trio.lowlevel.current_task(),
            thread_name=child.path,
            limiter=trio.CapacityLimiter(1),
            abandon_on_cancel=False,
        )

    def _work(self, handle: ThreadChild, task: trio.lowlevel.Task) -> object:
        # The thread works in its own copy of the context, so nothing has to be put back.
        _thread_child.set(handle)
        threads[task] = get_ident(), self.sync_fn  # for those who ask where it hangs
        try:
            return self.sync_fn(*self.args)
        finally:
            del threads[task]


def in_thread(sync_fn: Callable[[*Ts], object], *args: *Ts) -> Body[Any]:
    """Supervise ``sync_fn(*args)`` in a worker thread of its own.

    What the function returns or raises is what the child returns or raises. It gets no context;
    `thread_child` gives it a handle with readiness, heartbeats and the stop request::

        def collect(path: str) -> None:
            me = thread_child()
            with open(path, "a") as out:
                while not me.wait_stop_requested(timeout=1):
                    out.write(measure())
                    me.heartbeat()

    The child is ready at once, unless its spec says ``readiness="explicit"``; then it is ready
    when the thread calls ``thread_child().ready(value)``.

    Nobody can end a thread from outside. When the attempt is cancelled,
    ``trio.from_thread.check_cancelled()`` and ``wait_stop_requested()`` raise `trio.Cancelled` in
    the thread; a function that calls neither simply runs on, and the child is reported as
    unresponsive. It is always waited for, never abandoned: a second one beside it would break
    the promise that a child has at most one live attempt.

    Args:
        sync_fn: A blocking function; called once per attempt.
        *args: Its arguments.

    Raises:
        SpecError: ``sync_fn`` is not callable, or is a coroutine function.
    """
    _check("in_thread", sync_fn, "an ordinary function, not an async one", sync=True)
    label = f"in_thread({label_of(sync_fn)})"
    return Body(_InThread(sync_fn, args), label, hears_stop=True, can_heartbeat=True)


def _check(adapter: str, target: object, expected: str, *, sync: bool = False) -> None:
    if not callable(target) or (sync and iscoroutinefunction(target)):
        raise SpecError("run", target, expected, owner=f"{adapter}()")
