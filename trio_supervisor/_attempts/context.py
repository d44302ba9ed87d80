"""ChildContext: the first argument of every body, and its link to the supervisor."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from math import inf
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, final, overload

import trio
from trio.lowlevel import enable_ki_protection

import trio_supervisor
from trio_supervisor._attempts.busy import BusyBlocks
from trio_supervisor._errors import SupervisorError
from trio_supervisor._lazy import public
from trio_supervisor._specs.checks import check_seconds, refuse
from trio_supervisor._specs.options import SupervisorOptions
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec
from trio_supervisor._text import as_reason, is_a, plain_str

if TYPE_CHECKING:
    from types import TracebackType

    from trio_supervisor._attempts.attempt import Attempt

T = TypeVar("T")


@public
@final
class ChildContext:
    """The link between a body and its supervisor: facts, reports, the stop request.

    Each attempt's body gets a new one as its first argument; there is no other way to get one. It
    works in all tasks of the attempt: in ``child.nursery``, and in nurseries that the body opens.
    All methods that do not wait return at once and are not checkpoints.

    Everything here is for Trio's thread. In another thread, also in one that has a Trio run of its
    own, each call raises `SupervisorError`; only ``name``, ``path``, ``attempt`` and ``generation``
    can be read anywhere. Code that runs in a thread uses `in_thread` and `thread_child`.

    Once the attempt has ended, what the body reports is ignored.
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

    # ------------------------------------------------------------ what the attempt is

    @property
    def name(self) -> str:
        """The name of the child, unique among its siblings."""
        return self._attempt.name

    @property
    def path(self) -> str:
        """The path of the child in its tree, such as ``"app/sessions/s-1"``."""
        return self._attempt.path

    @property
    def attempt(self) -> int:
        """The number of this attempt of the child, from 1."""
        return self._attempt.number

    @property
    def generation(self) -> int:
        """The number of restarts by command before this attempt."""
        return self._attempt.generation

    @property
    def nursery(self) -> trio.Nursery:
        """The nursery for background tasks of this attempt.

        The attempt ends when the body has returned and these tasks have ended. If one of them
        raises, the body and the other tasks are cancelled, and the attempt has crashed. To finish,
        return from the body: cancelling ``nursery.cancel_scope`` cancels the body as well, and is a
        failure (`SelfCancelled`).

        Raises:
            SupervisorError: The attempt has ended, or this is not Trio's thread.
        """
        attempt = self._attempt
        _check_thread(attempt, "nursery")
        if attempt.nursery is None:
            raise SupervisorError(f"{attempt!r} has ended: it has no nursery any more")
        return attempt.nursery

    @property
    def supervisor(self) -> trio_supervisor.Supervisor:
        """The supervisor of this child, for example to add siblings.

        Raises:
            SupervisorError: A `ChildRunner` runs the child, the attempt has ended, or this is not
                Trio's thread.
        """
        attempt = self._attempt
        _check_thread(attempt, "supervisor")
        return attempt.host.supervisor

    # ------------------------------------------------------------ readiness and health

    @enable_ki_protection
    def ready(self, value: object = None) -> None:
        """Report that others can rely on the child now.

        Children that require this one start, and a `Supervisor.start_child` that waits for it
        returns. A second call has no effect, and the first value stays. After `not_ready`, the call
        reports that the child has recovered; a ``value`` other than `None` then replaces the first
        one. After the stop request the call has no effect.

        Args:
            value: What other children get from `value`, and handles as `ChildHandle.value`.

        Raises:
            SupervisorError: The child has immediate readiness, so it counts as ready from its
                start, and has not called `not_ready`; or this is not Trio's thread.
        """
        attempt = self._attempt
        now = _now(attempt, "ready")
        if attempt.ended_at is not None or attempt.stop_requested:
            return
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
        """Report that others cannot rely on the child for a while.

        Children that require this one and have yet to start wait; running ones are not stopped.
        Silence is not judged meanwhile. Has no effect before the child was ready; a second call
        without a `ready` in between has none either, and the first reason stays.

        Args:
            reason: Shown with the state of the child.

        Raises:
            SupervisorError: This is not Trio's thread.
        """
        attempt = self._attempt
        _now(attempt, "not_ready")
        if attempt.is_ready and attempt.ended_at is None:
            attempt.is_ready = False
            attempt.host.post_not_ready(attempt, as_reason(reason))

    @enable_ki_protection
    def heartbeat(self, detail: object = None) -> None:
        """Report that the child is alive. Takes well under a microsecond.

        With ``stale_after`` in the child's spec, silence of that many seconds while the child is
        ready ends the attempt, as `Unhealthy`.

        Args:
            detail: Kept with the latest heartbeat, for `ChildRunHandle.heartbeats`.

        Raises:
            SupervisorError: This is not Trio's thread.
        """
        attempt = self._attempt
        # Called very often, so the common case is written out; `_now` explains the others. After
        # the attempt's end there is no host, and no thread is that of the host.
        if get_ident() == attempt.host.thread:
            attempt.beat_at = trio.current_time()
        elif attempt.ended_at is None:
            attempt.beat_at = _now(attempt, "heartbeat")
        else:
            return
        attempt.beat_detail = detail
        attempt.beats += 1
        if attempt.watched and not attempt.beat_noted:
            attempt.beat_noted = True
            attempt.host.post_beat(attempt)

    def busy(self, seconds: float) -> _Busy:
        """Return a context manager for work during which the child sends no heartbeats.

        In ``with child.busy(60):`` silence is not judged for so many seconds from entering on.
        Leaving the block is a heartbeat. Blocks may be nested, and may overlap in several tasks;
        the latest of their ends counts.

        Args:
            seconds: How long the silence may last; `inf` for any time.

        Raises:
            SpecError: ``seconds`` is negative or not a number.
            SupervisorError: This is not Trio's thread.
        """
        _check_thread(self._attempt, "busy")
        return _Busy(self, check_seconds(self._attempt.path, "seconds", seconds))

    @enable_ki_protection
    def extend_start_timeout(self, seconds: float) -> None:
        """Allow the start to take ``seconds`` more from now on, if that is later than its deadline.

        Args:
            seconds: At least 0.

        Raises:
            SpecError: ``seconds`` is negative or not a number.
            SupervisorError: This is not Trio's thread.
        """
        attempt = self._attempt
        now = _now(attempt, "extend_start_timeout")
        seconds = check_seconds(attempt.path, "seconds", seconds)
        if attempt.ended_at is None:
            attempt.host.post_extend(attempt, now + seconds)

    # ------------------------------------------------------------ the stop request

    @property
    def stop_requested(self) -> bool:
        """Whether the stop of this attempt has been requested. Once true, it stays true.

        Raises:
            SupervisorError: This is not Trio's thread.
        """
        attempt = self._attempt
        _check_thread(attempt, "stop_requested")
        if not attempt.hears_stop:
            attempt.note_hears_stop()
        return attempt.stop_requested

    @enable_ki_protection
    async def wait_stop_requested(self) -> None:
        """Wait until the stop of this attempt is requested, or the attempt has ended without that.

        A checkpoint. Cancelling the wait changes nothing.

        Raises:
            SupervisorError: This is not Trio's thread.
        """
        attempt = self._attempt
        _check_thread(attempt, "wait_stop_requested")
        if not attempt.hears_stop:
            attempt.note_hears_stop()
        if attempt.stop_requested or attempt.ended_at is not None:
            await trio.lowlevel.checkpoint()
            return
        if attempt.stop_event is None:
            attempt.stop_event = trio.Event()
        await attempt.stop_event.wait()

    def stop_scope(self) -> AbstractContextManager[trio.CancelScope]:
        """Return a cancel scope that the stop request cancels: ``with child.stop_scope():``.

        Put it round the waiting, not round the work: then a stop never comes in the middle of the
        work. The value of the block is a `trio.CancelScope`. If the stop has been requested
        already, the block ends at its first checkpoint. A block that a task outside of the attempt
        has entered is cancelled as well when the attempt has ended without a request.

        Raises:
            SupervisorError: This is not Trio's thread.
        """
        attempt = self._attempt
        _check_thread(attempt, "stop_scope")
        if not attempt.hears_stop:
            attempt.note_hears_stop()
        return _StopScope(attempt)

    # ------------------------------------------------------------ supervisors and values

    def open_supervisor(
        self,
        spec: SupervisorSpec | None = None,
        *,
        wait_ready: bool = True,
        **options: Unpack[SupervisorOptions],
    ) -> AbstractAsyncContextManager[trio_supervisor.Supervisor]:
        """Open a supervisor that belongs to the tree, around a block in the child's body.

        Use it for children that this child starts itself, such as one per connection of a listener.
        The function `trio_supervisor.open_supervisor` would open another tree, which does not
        appear in this one.

        The path of the supervisor is below that of the child: ``"app/web/connections"``. Its events
        are in the tree's journal, and its state is in the child's `ChildSnapshot.opened` until it
        has finished. A stop request to the child stops the supervisor as well: in order, with
        grace, while the block goes on; so does the end of the block, as for any supervisor. Its
        children find the ready values of this child's siblings.

        Args:
            spec: The supervisor and its declared children. Default: an empty one, named
                ``"supervisor"``.
            wait_ready: As for `trio_supervisor.open_supervisor`.
            **options: Options of `SupervisorSpec`: to make a spec here, or to change ``spec``.

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
        _check_thread(attempt, "open_supervisor()")
        return attempt.host.open_supervisor(attempt, spec, options, wait_ready=wait_ready)

    @overload
    def value(self, of: ChildSpec[T]) -> T: ...
    @overload
    def value(self, of: SupervisorSpec) -> trio_supervisor.Supervisor: ...
    @overload
    def value(self, of: str) -> Any: ...
    def value(self, of: ChildSpec[Any] | SupervisorSpec | str) -> Any:
        """Return the ready value of another child.

        The value belongs to the live attempt of that child and goes stale when the child is
        restarted without this one; ``strategy="rest_for_one"`` restarts both.

        Args:
            of: A spec: the nearest child that was declared with that spec. A name: the nearest
                child of that name. Nearest means among the siblings, then among the children of
                each supervisor above. This child itself is never meant.

        Raises:
            ChildNotFound: There is no such child.
            ChildNotReady: That child is not ready now.
            SpecError: ``of`` is neither a spec nor a name.
            SupervisorError: A `ChildRunner` runs this child, its attempt has ended, or this is not
                Trio's thread.
        """
        attempt = self._attempt
        _check_thread(attempt, "value")
        return attempt.host.value_of(attempt, _checked_target(attempt, of))

    @overload
    async def wait_value(self, of: ChildSpec[T]) -> T: ...
    @overload
    async def wait_value(self, of: SupervisorSpec) -> trio_supervisor.Supervisor: ...
    @overload
    async def wait_value(self, of: str) -> Any: ...
    async def wait_value(self, of: ChildSpec[Any] | SupervisorSpec | str) -> Any:
        """Wait until another child is ready, and return its ready value.

        A checkpoint. Cancelling the wait changes nothing.

        Args:
            of: As for `value`.

        Raises:
            ChildNotFound: There is no such child, or it was removed.
            SupervisorClosed: Its supervisor is stopping, or has ended.
            SpecError: ``of`` is neither a spec nor a name.
            SupervisorError: As for `value`.
        """
        attempt = self._attempt
        _check_thread(attempt, "wait_value")
        return await attempt.host.wait_value_of(attempt, _checked_target(attempt, of))


def _checked_target(
    attempt: Attempt, of: ChildSpec[Any] | SupervisorSpec | str
) -> ChildSpec[Any] | SupervisorSpec | str:
    if not is_a(of, (str, ChildSpec, SupervisorSpec)):
        refuse(attempt.path, "of", of, "a child's name or its spec")
    return plain_str(of) if is_a(of, str) else of


def _check_thread(attempt: Attempt, method: str) -> None:
    """Refuse a call from another thread than the attempt's, whether or not Trio runs there."""
    # An attempt that has ended has no thread: what is called then has no effect.
    if get_ident() != attempt.host.thread and attempt.ended_at is None:
        raise SupervisorError(
            f"{attempt.path}: {method} has to be called in Trio's thread; from this one, "
            "trio.from_thread.run_sync() does that"
        )


def _now(attempt: Attempt, method: str) -> float:
    """Return the time, in the attempt's thread; in any other, it is an error."""
    if attempt.ended_at is not None:  # perhaps Trio itself has: what is reported has no effect
        return attempt.ended_at
    _check_thread(attempt, f"{method}()")
    return trio.current_time()


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
        now = _now(attempt, "busy")
        if self._is_open:
            raise SupervisorError(f"{attempt.path}: this busy() block is open; call busy() again")
        self._until = now + self._seconds
        self._is_open = True
        if attempt.busy is None:
            attempt.busy = BusyBlocks()
        attempt.busy.open(self._until)
        if attempt.watched:
            attempt.host.post_busy(attempt, attempt.busy.until)

    @enable_ki_protection
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        attempt = self._context._attempt
        _check_thread(attempt, "busy()")
        assert attempt.busy is not None
        self._is_open = False
        attempt.busy.close(self._until)
        self._context.heartbeat()
        if attempt.watched:
            attempt.host.post_busy(attempt, attempt.busy.until)


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
        _check_thread(attempt, "stop_scope()")
        scope = self._scope.__enter__()
        if attempt.stop_requested or attempt.ended_at is not None:
            scope.cancel(attempt.stop_reason)
        if attempt.stop_scopes is None:
            attempt.stop_scopes = {}
        attempt.stop_scopes[scope] = None
        return scope

    @enable_ki_protection
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._attempt.stop_scopes is not None
        del self._attempt.stop_scopes[self._scope]
        return self._scope.__exit__(exc_type, exc, traceback)
