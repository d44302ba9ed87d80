"""Block: the tasks of a supervisor around the caller's code, and what leaving that code raises.

The caller's task holds a nursery with two more tasks: the shell's and the *cancellation watch*. The
shell runs behind a shield, so an outer cancellation cannot reach the children directly. It reaches
the cancellation watch, which turns it into a signal: the children then stop in order instead of all
at once. The same cancellation reaches the caller's code, which runs in a cancel scope of its own,
so that a failure of the tree can end that code.
"""

from __future__ import annotations

from logging import ERROR, getLogger
from typing import TYPE_CHECKING, NoReturn, final

import trio
from trio.lowlevel import enable_ki_protection

from trio_supervisor._brain import messages as o
from trio_supervisor._errors import SupervisorError
from trio_supervisor._events.exits import leaves, unwrap_single
from trio_supervisor._logging.safe import say
from trio_supervisor._runtime.closing import forget_errors
from trio_supervisor._text import type_name

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from trio_supervisor._runtime.shell import Shell
    from trio_supervisor._runtime.supervisor import Supervisor

_LOG = getLogger("trio_supervisor")


@final
class Block:
    """The async context manager that `open_supervisor` returns.

    A class and not a generator, so that a Ctrl-C finds no unprotected frame between the caller's
    code and the exit.

    Args:
        shell: The supervisor to run.
        wait_ready: Whether to enter only when the first start is complete.
        watch: Whether the caller's code may be anywhere when it is cancelled. Without, it is code
            of ours that waits for nothing but the end of the supervisor, so that a cancellation
            reaches `__aexit__` at once and takes no task that waits for it.
    """

    def __init__(self, shell: Shell, *, wait_ready: bool = True, watch: bool = True) -> None:
        self._shell = shell
        self._wait_ready = wait_ready
        self._watch = watch
        self._is_entered = False
        self._task: trio.lowlevel.Task | None = None  # that has entered it
        self._manager: AbstractAsyncContextManager[trio.Nursery]
        self._nursery: trio.Nursery | None = None
        self._scope = trio.CancelScope()  # of the caller's code
        self._watch_scope = trio.CancelScope()

    def __repr__(self) -> str:
        entered = "entered" if self._is_entered else "not entered yet"
        return f"<open_supervisor of {self._shell.path}: {entered}>"

    @enable_ki_protection
    async def __aenter__(self) -> Supervisor:
        shell = self._shell
        if self._is_entered:
            raise SupervisorError(  # noqa: ASYNC910 - nothing was begun
                f"{shell.path}: this open_supervisor() was entered before: call it again"
            )
        self._is_entered = True
        self._task = trio.lowlevel.current_task()
        if shell.link is None:
            shell.tree.enter()
        else:
            shell.tree.check_thread(shell.path)
            shell.link.enter(shell)
        self._manager = trio.open_nursery()
        self._nursery = nursery = await self._manager.__aenter__()
        if self._watch:
            self._start_watch()
        nursery.start_soon(shell.serve, self, name=f"{shell.path} supervisor")  # noqa: ASYNC113
        self._scope.__enter__()
        try:
            return await self._wait_until_entered()
        finally:
            del self, shell, nursery  # the traceback of what is raised leads to this frame

    async def _wait_until_entered(self) -> Supervisor:
        shell = self._shell
        try:
            try:
                await (shell.first_start_over if self._wait_ready else shell.children_listed).wait()
            except BaseException as error:
                await self._leave(error)  # noqa: ASYNC102 - it has to wait for the tree
                raise
            if shell.error is not None or shell.fatal or shell.bug is not None:
                await self._leave(None)
            return shell.supervisor
        finally:
            del self, shell

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        try:
            if trio.lowlevel.current_task() is not self._task:
                self._break_off()
            return await self._leave(exc)  # noqa: ASYNC102 - it has to wait for the tree
        finally:
            del self, exc, traceback  # the traceback of what is raised leads to this frame

    # ------------------------------------------------------------ for the shell

    def on_failure(self, reason: str) -> None:
        """Cancel the caller's code: the supervisor has failed."""
        self._scope.cancel(reason)

    def on_finish(self) -> None:
        """End the cancellation watch: the supervisor has ended."""
        self._watch_scope.cancel("the supervisor has finished")

    # ------------------------------------------------------------

    def _start_watch(self) -> None:
        assert self._nursery is not None
        name = f"{self._shell.path} cancellation watch"
        self._nursery.start_soon(self._watch_cancellation, name=name)

    @enable_ki_protection
    async def _watch_cancellation(self) -> None:
        with self._watch_scope:
            try:
                await trio.sleep_forever()
            except trio.Cancelled as cancelled:
                reason = getattr(cancelled, "reason", None) or "cancelled from outside"
                self._shell.shut_down(o.Shutdown(reason, grace=False, kind=o.OutcomeKind.CANCELLED))
                raise

    def _break_off(self) -> NoReturn:
        """The block is being left in a task that did not enter it, where Trio cannot close it.

        Closing the nursery here would wait for ever: Trio wakes the task that has opened it.
        """
        reason = (
            "open_supervisor() was left in another task than the one that entered it. If an async "
            "generator holds the block, leave its loop through "
            "'async with contextlib.aclosing(generator)'"
        )
        say(_LOG, ERROR, "%s: %s", self._shell.path, reason)
        self._shell.shut_down(o.Shutdown(reason, grace=False, kind=o.OutcomeKind.BROKEN))
        raise SupervisorError(f"{self._shell.path}: {reason}")

    async def _leave(self, exc: BaseException | None) -> bool:
        """Stop the tree, wait for its end, and raise what there is to raise.

        Returns:
            Whether ``exc`` goes no further: it is dealt with, or something else is raised.
        """
        shell = self._shell
        raised: BaseException | None = exc
        try:
            if self._scope.__exit__(
                None if exc is None else type(exc),
                exc,
                None if exc is None else _traceback_of(exc),
            ):
                raised = None
        except BaseException as rest:  # noqa: ASYNC103 - what the scope does not take, raised below
            raised = rest
        if raised is None or issubclass(type(raised), Exception):
            reason = (
                "the block has ended" if raised is None else f"the block raised {type_name(raised)}"
            )
            shell.shut_down(o.Shutdown(reason))
            if not (self._watch or shell.is_over):
                # So far the code in the block has noticed a cancellation. Nothing runs there now.
                self._start_watch()
        else:
            why = getattr(raised, "reason", None)  # a `Cancelled` may have one
            reason = why or f"the block was ended by {type_name(raised)}"
            shell.shut_down(o.Shutdown(reason, grace=False, kind=o.OutcomeKind.CANCELLED))
        passing: BaseException | None = None
        try:
            await self._manager.__aexit__(None, None, None)
        except BaseException as error:  # noqa: ASYNC103 - raised below, with what else there is
            passing = error
        if not shell.finished.is_set():  # it broke down at the very end
            shell.close(self)
        if shell.link is None:
            await shell.tree.leave()  # noqa: ASYNC102 - shielded inside
        final_error = _compose(shell, raised, passing)
        forget_errors(shell)
        raised = passing = None  # their tracebacks lead to this frame
        if final_error is None:
            return True  # noqa: ASYNC910 - closing the nursery was a checkpoint
        if final_error is exc:
            return False  # noqa: ASYNC910
        context = _context_of(final_error)
        try:
            raise final_error
        finally:
            # Past a `__setattr__` that refuses, as that of a frozen exception.
            _set_context(final_error, context)
            del final_error, exc, context, shell, self


# Past properties, and a `__setattr__`, that a class of exceptions may have put over these.
_context_of = BaseException.__dict__["__context__"].__get__
_set_context = BaseException.__dict__["__context__"].__set__
_traceback_of = BaseException.__dict__["__traceback__"].__get__


def _compose(
    shell: Shell, raised: BaseException | None, passing: BaseException | None
) -> BaseException | None:
    """Return the exception that leaving the block raises: bare, or a group of several."""
    fatal: list[BaseException] = []
    errors: list[BaseException] = []
    cancelled: BaseException | None = None
    bug = None if shell.bug is None else unwrap_single(shell.bug)
    left = None if passing is None else unwrap_single(passing)
    for error in (*shell.fatal, bug, raised, left, shell.error):
        if error is None:
            continue
        if issubclass(type(error), Exception):
            errors.append(error)
        elif all(issubclass(type(leaf), trio.Cancelled) for leaf in leaves(error)):
            cancelled = error if cancelled is None or error is raised else cancelled
        elif not any(error is known for known in fatal):
            fatal.append(error)
    found = fatal + errors
    if len(found) == 1:
        return found[0]
    if found:
        return BaseExceptionGroup(f"{shell.path}: several things went wrong", found)
    return (
        next(leaves(cancelled)) if cancelled is not None and cancelled is not raised else cancelled
    )
