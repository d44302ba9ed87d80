"""What a child sees of its supervisor: the first argument of every body."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, final, overload

import trio
from trio.lowlevel import enable_ki_protection

import trio_supervisor
from trio_supervisor._errors import SupervisorError
from trio_supervisor._lazy import public
from trio_supervisor._specs.checks import check_seconds, name_of
from trio_supervisor._specs.options import SupervisorOptions
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec
from trio_supervisor._text import as_reason

if TYPE_CHECKING:
    from types import TracebackType

    from trio_supervisor._attempts.attempt import Attempt

T = TypeVar("T")


@public
@final
class ChildContext:
    """A body's link to whoever supervises it: who it is, what is wanted of it, what it has to say.

    A body gets a new one for each attempt; there is no other way to have one. It works in all tasks
    of the attempt. Once the attempt has ended, what is said through it is ignored.

    The plain methods never wait and are no checkpoints; call them anywhere in Trio's thread.
    """

    __slots__ = ("_attempt",)
    if TYPE_CHECKING:
        _attempt: Attempt

    def __init__(self) -> None:
        raise TypeError("a ChildContext cannot be made; a child's body is given one")

    @classmethod
    def _create(cls, attempt: Attempt) -> ChildContext:
        self = cls.__new__(cls)
        self._attempt = attempt
        return self

    def __repr__(self) -> str:
        return f"<ChildContext of {self._attempt!r}>"

    @property
    def name(self) -> str:
        """The child's name among its siblings."""
        return self._attempt.name

    @property
    def path(self) -> str:
        """Where the child stands in the tree: ``"app/sessions/s-1"``."""
        return self._attempt.path

    @property
    def attempt(self) -> int:
        """Which run of this child this is, counted from 1."""
        return self._attempt.number

    @property
    def generation(self) -> int:
        """How often the child has been restarted by hand."""
        return self._attempt.generation

    @property
    def nursery(self) -> trio.Nursery:
        """For background tasks of this attempt, which ends when the body and all of them have.

        If one of them raises, the body and the others are cancelled, and the attempt has crashed.
        To be finished, return from the body: cancelling ``nursery.cancel_scope`` cancels the body
        too, and counts as a failure (`SelfCancelled`).

        Raises:
            SupervisorError: The attempt has ended.
        """
        if self._attempt.nursery is None:
            raise SupervisorError(f"{self._attempt!r} has ended: it has no nursery any more")
        return self._attempt.nursery

    @property
    def supervisor(self) -> trio_supervisor.Supervisor:
        """The supervisor that this child stands under.

        Raises:
            SupervisorError: A lone `ChildRunner` runs it, or the attempt has ended.
        """
        return self._attempt.host.supervisor

    @enable_ki_protection
    def ready(self, value: object = None) -> None:
        """Say that the child can be relied upon; ``value`` is what others get to use of it.

        Said again it changes nothing, and the first value stays. Said too late, when the attempt
        has to end because of that, it changes nothing either. After `not_ready` it says that the
        child has recovered, and a value other than `None` then replaces the first one.

        Raises:
            SupervisorError: The child was declared ``readiness="immediate"``, so it counts as ready
                from the start, and has not said `not_ready`.
        """
        attempt = self._attempt
        if attempt.ended_at is not None or attempt.fault is not None:
            return
        now = _now(attempt, "ready")
        if attempt.is_ready:
            if attempt.spec.is_explicit:
                return
            raise SupervisorError(
                f"{attempt.path} counts as ready from its start, so ready() has nothing to say: "
                'declare the child with readiness="explicit"'
            )
        attempt.is_ready = True
        if not attempt.was_ready:
            attempt.was_ready = True
            attempt.ready_at = now
            attempt.ready_value = value
        elif value is not None:
            attempt.ready_value = value
        attempt.host.post_ready(attempt)

    @enable_ki_protection
    def not_ready(self, reason: str = "") -> None:
        """Take `ready` back for a while: those that need this child and have yet to start wait.

        Before the child was ready this says nothing new, and is ignored.
        """
        attempt = self._attempt
        if attempt.is_ready and attempt.ended_at is None:
            _now(attempt, "not_ready")
            attempt.is_ready = False
            attempt.host.post_not_ready(attempt, as_reason(reason))

    @enable_ki_protection
    def heartbeat(self, detail: object = None) -> None:
        """Say that the child is alive and well. Takes well under a microsecond: be generous.

        With ``stale_after`` in the child's spec, silence of that many seconds ends the attempt,
        while it is ready. The latest ``detail`` is kept for those who look.
        """
        attempt = self._attempt
        if attempt.ended_at is not None:
            return
        attempt.beat_at = _now(attempt, "heartbeat")
        attempt.beat_detail = detail
        attempt.beats += 1
        if attempt.watched and not attempt.beat_noted:
            attempt.beat_noted = True
            attempt.host.post_beat(attempt)

    def busy(self, seconds: float) -> _Busy:
        """``with child.busy(60):`` silence is no symptom in this block, for so many seconds.

        Leaving the block is a heartbeat. Blocks may be nested and may overlap in several tasks; the
        longest of those that are open counts.

        Raises:
            SpecError: ``seconds`` is negative or not a number.
        """
        return _Busy(self, check_seconds(self._attempt.path, "seconds", seconds))

    @enable_ki_protection
    def extend_start_timeout(self, seconds: float) -> None:
        """Allow the start to take ``seconds`` more from now on, if that is later than its deadline.

        Raises:
            SpecError: ``seconds`` is negative or not a number.
        """
        attempt = self._attempt
        seconds = check_seconds(attempt.path, "seconds", seconds)
        if attempt.ended_at is None:
            attempt.host.post_extend(attempt, _now(attempt, "extend_start_timeout") + seconds)

    @property
    def stop_requested(self) -> bool:
        """Whether the child has been asked to stop. Once true, it stays true."""
        return self._attempt.stop_requested

    @enable_ki_protection
    async def wait_stop_requested(self) -> None:
        """Wait until the child is asked to stop, or the attempt has ended without that.

        A checkpoint; cancelling it changes nothing.
        """
        attempt = self._attempt
        if attempt.stop_requested or attempt.ended_at is not None:
            await trio.lowlevel.checkpoint()
            return
        if attempt.stop_event is None:
            attempt.stop_event = trio.Event()
        await attempt.stop_event.wait()

    def stop_scope(self) -> _StopScope:
        """``with child.stop_scope():`` what is in this block is cancelled at the stop request.

        So it is when the attempt has ended without one, if a task of somebody else's is in it.

        Put it round the waiting, not round the work: then a stop never comes in the middle of the
        work. The block's value is the `trio.CancelScope`. If the stop has been requested already,
        the block ends at its first checkpoint.
        """
        return _StopScope(self._attempt)

    def open_supervisor(
        self,
        spec: SupervisorSpec | None = None,
        *,
        wait_ready: bool = True,
        **options: Unpack[SupervisorOptions],
    ) -> AbstractAsyncContextManager[trio_supervisor.Supervisor]:
        """Open a supervisor that belongs to the tree, around a block in the child's body.

        Use it for children that this child starts itself, such as one per connection of a listener.
        The function `trio_supervisor.open_supervisor` would open another tree, which nobody who
        looks at this one can see.

        The path of the supervisor is below that of the child: ``"app/web/connections"``. Its events
        are in the tree's journal, and its state is in the child's `ChildSnapshot.opened` until it
        has finished. A stop request to the child stops the supervisor as well: in order, with
        grace, while the block goes on; so does the end of the block, as for any supervisor. Its
        children find the ready values of this child's siblings.

        Args:
            spec: The supervisor and its declared children. Default: an empty one, named
                ``"supervisor"``.
            wait_ready: As for `trio_supervisor.open_supervisor`.
            **options: Those of `SupervisorSpec`: to make a spec here, or to change ``spec``.

        Returns:
            An async context manager; its value is the `Supervisor`. It can be entered once.

        Raises:
            SpecError: At once, for a wrong argument.
            SupervisorError: The attempt has ended, a `ChildRunner` runs it, it is called in a
                thread other than Trio's; or, from entering, the attempt has a supervisor of that
                name open already.
            BaseException: From entering and leaving, as for `trio_supervisor.open_supervisor`.

        Example::

            async with child.open_supervisor(name="connections", max_children=500) as pool:
                child.ready()
                while True:
                    stream = await listener.accept()
                    pool.start_child_soon(ChildSpec(name_of(stream), serve, stream))
        """
        attempt = self._attempt
        _now(attempt, "open_supervisor")
        return attempt.host.open_supervisor(attempt, spec, options, wait_ready=wait_ready)

    @overload
    def value(self, of: ChildSpec[T]) -> T: ...
    @overload
    def value(self, of: SupervisorSpec) -> trio_supervisor.Supervisor: ...
    @overload
    def value(self, of: str) -> Any: ...
    def value(self, of: ChildSpec[Any] | SupervisorSpec | str) -> Any:
        """The ready value of another child, by its spec or its name.

        It is looked for among the siblings, then in each supervisor above. What you get belongs to
        that child's present attempt, and goes stale when that is restarted without this one:
        ``strategy="rest_for_one"`` restarts both.

        Raises:
            ChildNotFound: There is no such child.
            ChildNotReady: It has no ready attempt now.
        """
        attempt = self._attempt
        return attempt.host.value_of(attempt, name_of(attempt.path, of))

    @overload
    async def wait_value(self, of: ChildSpec[T]) -> T: ...
    @overload
    async def wait_value(self, of: SupervisorSpec) -> trio_supervisor.Supervisor: ...
    @overload
    async def wait_value(self, of: str) -> Any: ...
    async def wait_value(self, of: ChildSpec[Any] | SupervisorSpec | str) -> Any:
        """The same as `value`, but waits for it. A checkpoint; cancelling it changes nothing.

        Raises:
            ChildNotFound: There is no such child.
        """
        attempt = self._attempt
        return await attempt.host.wait_value_of(attempt, name_of(attempt.path, of))


def _now(attempt: Attempt, method: str) -> float:
    """The time, where there is one: in another thread nothing can be said to a supervisor."""
    try:
        return trio.current_time()
    except RuntimeError:
        raise SupervisorError(
            f"{attempt.path}: {method}() has to be called in Trio's thread; from this one, "
            "trio.from_thread.run_sync() does that"
        ) from None


@final
class _Busy:
    """An announced silence."""

    __slots__ = ("_context", "_is_open", "_seconds", "_until")

    def __init__(self, context: ChildContext, seconds: float) -> None:
        self._context = context
        self._seconds = seconds
        self._until = -inf
        self._is_open = False

    @enable_ki_protection
    def __enter__(self) -> None:
        attempt = self._context._attempt
        if self._is_open:
            raise SupervisorError(f"{attempt.path}: this busy() block is open; call busy() again")
        self._until = _now(attempt, "busy") + self._seconds
        self._is_open = True
        if attempt.busy is None:
            attempt.busy = []
        attempt.busy.append(self._until)
        if attempt.watched:
            attempt.host.post_busy(attempt, max(attempt.busy))

    @enable_ki_protection
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        attempt = self._context._attempt
        assert attempt.busy is not None
        self._is_open = False
        attempt.busy.remove(self._until)
        self._context.heartbeat()
        if attempt.watched:
            attempt.host.post_busy(attempt, max(attempt.busy, default=-inf))


@final
class _StopScope:
    """A cancel scope that a stop request cancels."""

    __slots__ = ("_attempt", "_scope")

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._scope = trio.CancelScope()

    @enable_ki_protection
    def __enter__(self) -> trio.CancelScope:
        attempt = self._attempt
        scope = self._scope.__enter__()
        if attempt.stop_requested or attempt.ended_at is not None:
            scope.cancel(attempt.stop_reason)
        if attempt.stop_scopes is None:
            attempt.stop_scopes = []
        attempt.stop_scopes.append(scope)
        return scope

    @enable_ki_protection
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._attempt.stop_scopes is not None
        self._attempt.stop_scopes.remove(self._scope)
        return self._scope.__exit__(exc_type, exc, traceback)
