"""`in_thread`: a blocking function in a worker thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from math import inf
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, final, overload

import trio

from trio_supervisor._attempts.context import ChildContext
from trio_supervisor._attempts.stacks import threads
from trio_supervisor._errors import SupervisorError
from trio_supervisor._lazy import public
from trio_supervisor._record import Record
from trio_supervisor._specs.body import Body, label_of
from trio_supervisor.children._check import check_target

if TYPE_CHECKING:
    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_thread_child: ContextVar[ThreadChild] = ContextVar("trio_supervisor.thread_child")


@public
@final
class ThreadChild:
    """The `ChildContext` of a blocking function: readiness, heartbeats, the stop request, values.

    `thread_child` returns it. Use it in the child's own thread only: Trio does not know the threads
    that the function itself starts.
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
        """Report the child as ready; ``value`` is what siblings get. See `ChildContext.ready`.

        Blocks until the Trio thread has processed the call.

        Raises:
            SupervisorError: The child is not declared with ``readiness="explicit"``.
        """
        trio.from_thread.run_sync(self._child.ready, value)

    def heartbeat(self, detail: object = None) -> None:
        """Report that the child is alive; see `ChildContext.heartbeat`.

        Never blocks. Heartbeats that the Trio thread has not processed yet are merged into one.
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
        """Whether the stop of the child has been requested. Never blocks and never raises."""
        return self._child._attempt.stop_requested

    def wait_stop_requested(self, timeout: float = inf) -> bool:
        """Block until the stop of the child is requested, or for ``timeout`` seconds.

        Args:
            timeout: Seconds; 0 or less returns at once. Default: no limit.

        Returns:
            Whether the stop has been requested.

        Raises:
            trio.Cancelled: The attempt is cancelled. Clean up and let the exception propagate.
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
        """Return the ready value of another child; see `ChildContext.value`.

        Raises:
            ChildNotFound: There is no such child.
            ChildNotReady: That child is not ready.
        """
        return trio.from_thread.run_sync(lambda: self._child.value(of))

    def __repr__(self) -> str:
        return f"<ThreadChild {self.path!r} attempt={self.attempt}>"


@public
def thread_child() -> ThreadChild:
    """Return the child that the calling thread runs, inside a function given to `in_thread`.

    Raises:
        SupervisorError: The calling code does not run in the thread of such a child.
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
        # A limiter of its own: children live long, and forty of them would use up the default one,
        # which the rest of the application shares.
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
        threads[task] = get_ident(), self.sync_fn  # read by `stacks_of`
        try:
            return self.sync_fn(*self.args)
        finally:
            del threads[task]


@public
def in_thread(sync_fn: Callable[[*Ts], object], *args: *Ts) -> Body[Any]:
    """Supervise ``sync_fn(*args)`` in a worker thread of its own.

    The attempt returns what the function returns, and raises what the function raises. The function
    gets no context; `thread_child` gives it readiness, heartbeats and the stop request::

        def collect(path: str) -> None:
            me = thread_child()
            with open(path, "a") as out:
                while not me.wait_stop_requested(timeout=1):
                    out.write(measure())
                    me.heartbeat()

    The child is ready when its attempt starts, unless its spec says ``readiness="explicit"``; then
    it is ready when the thread calls ``thread_child().ready(value)``.

    Not for code that may hang: a thread cannot be ended from outside. When the attempt is
    cancelled, ``trio.from_thread.check_cancelled()`` and ``wait_stop_requested()`` raise
    `trio.Cancelled` in the thread. A function that calls neither runs on, and the supervisor
    reports the child as unresponsive. The thread is never abandoned, because the next attempt
    would then run beside it.

    Args:
        sync_fn: A blocking function; called once per attempt.
        *args: Its positional arguments. For keyword arguments use `functools.partial`.

    Returns:
        The ``run`` of a `ChildSpec`.

    Raises:
        SpecError: ``sync_fn`` is not callable, or is a coroutine function.
    """
    check_target("in_thread", sync_fn, "an ordinary function, not an async one", sync=True)
    label = f"in_thread({label_of(sync_fn)})"
    return Body(_InThread(sync_fn, args), label, hears_stop=True, can_heartbeat=True)
