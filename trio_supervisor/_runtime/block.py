"""How a supervisor's tasks stand around the caller's block, and what leaving the block raises."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial
from random import Random
from threading import get_ident
from typing import TYPE_CHECKING, Unpack, final

import trio
from trio.lowlevel import enable_ki_protection

import trio_supervisor
from trio_supervisor._attempts.observer import tree_observer
from trio_supervisor._brain import messages as o
from trio_supervisor._errors import SupervisorError
from trio_supervisor._events.exits import leaves
from trio_supervisor._events.shutdown import ShutdownReport
from trio_supervisor._lazy import public
from trio_supervisor._runtime.shell import Shell
from trio_supervisor._runtime.supervisor import Supervisor
from trio_supervisor._runtime.tree import Tree
from trio_supervisor._specs.checks import refuse
from trio_supervisor._specs.options import SupervisorOptions
from trio_supervisor._specs.supervisor import SupervisorSpec

if TYPE_CHECKING:
    from types import TracebackType

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._attempts.context import ChildContext


@final
class Enclosure:
    """The caller's task holds a nursery with the shell's task, a doorbell, and the caller's block.

    The shell is shielded: an outer cancellation reaches the doorbell, which turns it into a signal,
    so that children stop in order instead of all at once. It reaches the block as well. A class and
    no generator, so that a Ctrl-C finds no unprotected frame between the block and the exit.
    """

    def __init__(self, shell: Shell, *, wait_ready: bool = True) -> None:
        self._shell = shell
        self._wait_ready = wait_ready
        self._is_entered = False
        self._manager = trio.open_nursery()
        self._block = trio.CancelScope()
        self._doorbell = trio.CancelScope()

    @enable_ki_protection
    async def __aenter__(self) -> Supervisor:
        shell = self._shell
        if self._is_entered:
            raise SupervisorError(  # noqa: ASYNC910 - nothing was begun
                f"{shell.path}: this open_supervisor() was entered before: call it again"
            )
        self._is_entered = True
        shell.tree.thread = get_ident()
        if shell.parent is None:
            shell.tree.open_journal()
        nursery = await self._manager.__aenter__()
        shell.on_failure = self._block.cancel
        shell.on_finish = lambda: self._doorbell.cancel("the supervisor has finished")
        doorbell = f"{shell.path} doorbell"
        nursery.start_soon(self._ring_doorbell, name=doorbell)  # noqa: ASYNC113
        nursery.start_soon(shell.serve, name=f"{shell.path} supervisor")  # noqa: ASYNC113
        self._block.__enter__()
        try:
            await (shell.settled if self._wait_ready else shell.begun).wait()
        except BaseException as error:
            await self._leave(error)  # noqa: ASYNC102 - it has to wait for the tree
            raise
        if shell.error is not None or shell.fatal or shell.bug is not None:
            await self._leave(None)
        return shell.supervisor

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return await self._leave(exc)  # noqa: ASYNC102 - it has to wait for the tree

    @enable_ki_protection
    async def _ring_doorbell(self) -> None:
        with self._doorbell:
            try:
                await trio.sleep_forever()
            except trio.Cancelled as cancelled:
                reason = getattr(cancelled, "reason", None) or "cancelled from outside"
                self._shell.shut_down(o.Shutdown(reason, grace=False, kind=o.OutcomeKind.CANCELLED))
                raise

    async def _leave(self, exc: BaseException | None) -> bool:
        """Stop the tree, wait for it, and raise what is due; true if ``exc`` is dealt with."""
        shell = self._shell
        raised: BaseException | None = exc
        try:
            if self._block.__exit__(
                None if exc is None else type(exc), exc, None if exc is None else exc.__traceback__
            ):
                raised = None
        except BaseException as rest:  # noqa: ASYNC103 - what a scope leaves over, raised below
            raised = rest
        if raised is None or isinstance(raised, Exception):
            reason = (
                "the block has ended"
                if raised is None
                else f"the block raised {type(raised).__name__}"
            )
            shell.shut_down(o.Shutdown(reason))
        else:
            why = getattr(raised, "reason", None)  # a `Cancelled` may have one
            reason = why or f"the block was ended by {type(raised).__name__}"
            shell.shut_down(o.Shutdown(reason, grace=False, kind=o.OutcomeKind.CANCELLED))
        passing: BaseException | None = None
        try:
            await self._manager.__aexit__(None, None, None)
        except BaseException as error:  # noqa: ASYNC103 - raised below, with what else there is
            passing = error
        if shell.parent is None:
            await shell.tree.close_journal()  # noqa: ASYNC102 - shielded inside
        final_error = _compose(shell, raised, passing)
        if final_error is None:
            return True  # noqa: ASYNC910 - closing the nursery was a checkpoint
        if final_error is exc:
            return False  # noqa: ASYNC910
        context = final_error.__context__
        try:
            raise final_error
        finally:
            final_error.__context__ = context
            del final_error, raised, passing, exc, context


def _compose(
    shell: Shell, raised: BaseException | None, passing: BaseException | None
) -> BaseException | None:
    """What leaving the block raises: bare if it is one thing, a group if there are several."""
    fatal: list[BaseException] = []
    errors: list[BaseException] = []
    cancelled: BaseException | None = None
    for error in (*shell.fatal, _bare(shell.bug), raised, _bare(passing), shell.error):
        if error is None:
            continue
        if isinstance(error, Exception):
            errors.append(error)
        elif all(isinstance(leaf, trio.Cancelled) for leaf in leaves(error)):
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


def _bare(error: BaseException | None) -> BaseException | None:
    """What our own nurseries have wrapped, if it is one thing."""
    found = [] if error is None else list(leaves(error))
    return found[0] if len(found) == 1 else error


@public
def open_supervisor(
    spec: SupervisorSpec | None = None,
    *,
    wait_ready: bool = True,
    random: Random | None = None,
    journal: int | trio_supervisor.JournalFile | None = None,
    **options: Unpack[SupervisorOptions],
) -> AbstractAsyncContextManager[Supervisor]:
    """Run a supervision tree around a block of code, as a nursery runs tasks around one.

    The block is entered when the first start is complete: every declared child has been ready, is
    done, or is held down. Leaving the block stops the tree in reverse order, each child with its
    grace: unlike with a nursery, the end of the block *is* the orderly shutdown.

    Args:
        spec: The tree. Without one you get an empty pool named ``"supervisor"``, for
            `Supervisor.start_child`.
        wait_ready: Whether to enter the block only when the children are ready. Without, they are
            there to be looked at, and may be waiting.
        random: The source of the backoff's jitter; give a seeded one to repeat a run.
        journal: How many events `Supervisor.journal` keeps in memory (default: 1024); or a
            `JournalFile`, to write them to disk as well.
        **options: Those of `SupervisorSpec`, to make one here or to change those of ``spec``.

    Returns:
        An async context manager; its value is the `Supervisor`.

    Raises:
        SpecError: At once, for options that make no sense.
        ChildStartError: From entering: a child failed before it was ever ready.
        RestartLimitExceeded: The tree gave up. The block is cancelled, everybody is stopped in
            order, then this is raised, bare; together with an exception of the block, as a group.
        ChildEscalated: A child's ``decide`` said so.
        BaseException: A `KeyboardInterrupt`, `SystemExit` or other fatal exception out of a child.

    Cancellation from outside stops the children in order without grace, waits for them, and is then
    raised on: nothing is left behind. A child that ignores its cancel holds up the block's end.

    Example::

        async with open_supervisor(SupervisorSpec("app", [STORE, WEB])) as supervisor:
            await supervisor.wait_finished()
    """
    return Enclosure(_root(spec, random, options, journal), wait_ready=wait_ready)


@public
async def run_supervisor(  # noqa: ASYNC114 - a name that only a linter's option could know
    spec: SupervisorSpec | None = None,
    *,
    random: Random | None = None,
    journal: int | trio_supervisor.JournalFile | None = None,
    task_status: trio.TaskStatus[Supervisor] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[SupervisorOptions],
) -> ShutdownReport:
    """Run a supervision tree until it has finished: by `Supervisor.shutdown` or ``auto_shutdown``.

    Made for ``nursery.start(run_supervisor, spec)``, which returns the `Supervisor` once the first
    start is complete.

    Args:
        spec: The tree.
        random: As for `open_supervisor`.
        journal: As for `open_supervisor`.
        task_status: Told the `Supervisor` when its children are ready.
        **options: As for `open_supervisor`.

    Returns:
        How everybody ended.

    Raises:
        SupervisorError: As for `open_supervisor`; cancellation does the same as there.
    """
    async with open_supervisor(spec, random=random, journal=journal, **options) as supervisor:
        task_status.started(supervisor)
        return await supervisor.wait_finished()


def _root(
    spec: SupervisorSpec | None,
    random: Random | None,
    options: SupervisorOptions,
    journal: int | trio_supervisor.JournalFile | None = None,
) -> Shell:
    if spec is None:
        spec = SupervisorSpec(**options)
    elif not isinstance(spec, SupervisorSpec):
        refuse("open_supervisor", "spec", spec, "a SupervisorSpec")
    elif options:
        spec = spec.replace(**options)
    if random is not None and not isinstance(random, Random):
        refuse("open_supervisor", "random", random, "a random.Random")
    if journal is not None and not isinstance(journal, int):
        from trio_supervisor._runtime.journal_file import JournalFile  # noqa: PLC0415 - seldom used

        if not isinstance(journal, JournalFile):
            refuse("open_supervisor", "journal", journal, "a number of events or a JournalFile")
    observer = tree_observer.get()
    tree = Tree(random, run_nested, observer, journal)
    root = Shell(spec, tree, spec.name, None, None)
    if observer is not None:
        tree.journal.attach(partial(observer.event_recorded, root))
    return root


@enable_ki_protection
async def run_nested(parent: Shell, context: ChildContext) -> ShutdownReport | None:
    """The body of a nested supervisor: an attempt that runs a machine of its own."""
    attempt = context._attempt
    spec = attempt.spec.supervisor
    assert spec is not None
    if attempt.stop_requested:
        await trio.lowlevel.checkpoint()
        return None  # nobody is started only to be stopped again
    shell = Shell(spec, parent.tree, attempt.path, parent, attempt)

    def stop_asked(attempt: Attempt) -> None:
        if not shell.is_over:
            shell.post(_take_stop, attempt)

    attempt.on_stop = stop_asked
    async with Enclosure(shell):
        if not shell.is_stopping:
            context.ready(shell.supervisor)
        await shell.finished.wait()
    assert shell.report is not None
    return shell.report


def _take_stop(shell: Shell, attempt: Attempt, now: float) -> None:
    # Whether there is a grace shows only now: without one, the cancel follows the request at once.
    grace = not attempt.cancel_called
    reason, deadline = attempt.stop_reason or "", attempt.stop_deadline
    shell.feed(o.Shutdown(reason, grace=grace, deadline=deadline), now)
