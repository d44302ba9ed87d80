"""open_supervisor() and run_supervisor(): how a tree is opened."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Unpack, cast, final

import trio
from trio.lowlevel import enable_ki_protection

import trio_supervisor
from trio_supervisor._attempts.observer import tree_observer
from trio_supervisor._events.journal import check_room
from trio_supervisor._events.shutdown import ShutdownReport
from trio_supervisor._lazy import public
from trio_supervisor._runtime.block import Block
from trio_supervisor._runtime.nested import NestedLink
from trio_supervisor._runtime.shell import Shell
from trio_supervisor._runtime.supervisor import Supervisor
from trio_supervisor._runtime.tree import Tree
from trio_supervisor._specs.checks import check_bool, refuse
from trio_supervisor._specs.options import SupervisorOptions
from trio_supervisor._specs.supervisor import SupervisorSpec, check_depth
from trio_supervisor._text import is_a

if TYPE_CHECKING:
    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._attempts.context import ChildContext


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

    Use it where a plain nursery would cancel everything at the first exception: children restart by
    policy, start in order, and stop in order when the block is left. Unlike with a nursery, leaving
    the block does not wait for the children to return: it *is* the orderly shutdown. To wait for
    them, await `Supervisor.wait_finished` in the block.

    The block is entered when the first start is complete: each declared child has been ready, is
    done, or is down.

    Args:
        spec: The tree. Default: an empty supervisor named ``"supervisor"``, for
            `Supervisor.start_child`.
        wait_ready: Whether to wait for the first start. If false, the block is entered at once, and
            children may still be waiting or starting. Default: true.
        random: Source of the backoff's jitter; give a seeded one to repeat a run. Default: a new
            one.
        journal: How many events `Supervisor.journal` keeps in memory (default: 1024); or a
            `JournalFile`, to write them to disk as well.
        **options: Options of `SupervisorSpec`: to make a spec here, or to change ``spec``.

    Returns:
        An async context manager; its value is the `Supervisor`. It can be entered once.

    Raises:
        SpecError: At once, for a wrong argument, or options that make no sense together.
        ChildStartError: From entering or leaving: a child failed before it was ever ready.
        RestartLimitExceeded: The tree gave up. The block is cancelled, all children are stopped in
            order, then this is raised, bare; if the block raised as well, a group of both.
        ChildEscalated: A child's ``decide`` asked for it.
        QuarantineError: All children are done, and policy had quarantined one of them.
        BaseException: A `KeyboardInterrupt`, `SystemExit` or other fatal exception of a child.

    Cancellation from outside stops the children in order without grace, waits for their end, and
    then goes on: no task is left behind. A child that ignores its cancel delays the end of the
    block.

    Example::

        async with open_supervisor(SupervisorSpec("app", [STORE, WEB])) as supervisor:
            await supervisor.wait_finished()
    """
    wait_ready = check_bool("open_supervisor", "wait_ready", wait_ready)
    return Block(_root(spec, random, options, journal), wait_ready=wait_ready)


@public
async def run_supervisor(  # noqa: ASYNC114 - a name that only a linter's option could know
    spec: SupervisorSpec | None = None,
    *,
    random: Random | None = None,
    journal: int | trio_supervisor.JournalFile | None = None,
    task_status: trio.TaskStatus[Supervisor] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[SupervisorOptions],
) -> ShutdownReport:
    """Run a supervision tree until it has finished, by `Supervisor.shutdown` or ``auto_shutdown``.

    Use it where a tree is one task among others: ``await nursery.start(run_supervisor, spec)``
    returns the `Supervisor` once the first start is complete.

    Args:
        spec: The tree. Default: an empty supervisor.
        random: As for `open_supervisor`.
        journal: As for `open_supervisor`.
        task_status: Is given the `Supervisor` once the first start is complete.
        **options: As for `open_supervisor`.

    Returns:
        How the supervisor and each child ended.

    Raises:
        SupervisorError: As for `open_supervisor`.
        BaseException: Likewise.

    Cancellation does the same as for `open_supervisor`.
    """
    async with open_supervisor(spec, random=random, journal=journal, **options) as supervisor:
        task_status.started(supervisor)
        return await supervisor.wait_finished()


def _checked(owner: str, spec: SupervisorSpec | None, options: SupervisorOptions) -> SupervisorSpec:
    """Return the spec that ``spec`` and ``options`` give together."""
    if spec is None:
        return SupervisorSpec(**options)
    if not is_a(spec, SupervisorSpec):
        refuse(owner, "spec", spec, "a SupervisorSpec")
    return spec.replace(**options) if options else spec


def _root(
    spec: SupervisorSpec | None,
    random: Random | None,
    options: SupervisorOptions,
    journal: int | trio_supervisor.JournalFile | None,
) -> Shell:
    spec = _checked("open_supervisor", spec, options)
    if random is not None and not is_a(random, Random):
        refuse("open_supervisor", "random", random, "a random.Random")
    if is_a(journal, int):
        journal = check_room("open_supervisor", "journal", journal)
    elif journal is not None:
        from trio_supervisor._runtime.journal_file import JournalFile  # noqa: PLC0415 - seldom used

        if not is_a(journal, JournalFile):
            refuse("open_supervisor", "journal", journal, "a number of events or a JournalFile")
    observer = tree_observer.get()
    tree = Tree(random, _Blocks(), observer, journal)
    root = Shell(spec, tree, spec.name, None)
    if observer is not None:
        tree.journal.attach(partial(observer.event_recorded, root))
    return root


@final
class _Blocks:
    """Opens the supervisors of a tree below its root; see ``nested``."""

    __slots__ = ()

    @enable_ki_protection
    async def run_nested(self, context: ChildContext) -> ShutdownReport | None:
        """Run a nested supervisor as the body of the attempt of ``context``."""
        attempt = context._attempt
        spec, parent = attempt.spec.supervisor, cast("Shell", attempt.host)
        assert spec is not None
        if attempt.stop_requested:
            await trio.lowlevel.checkpoint()
            return None  # no child is started only to be stopped again
        shell = Shell(spec, parent.tree, attempt.path, NestedLink(parent, attempt))
        try:
            async with Block(shell, watch=False):
                if not shell.is_stopping:
                    context.ready(shell.supervisor)
                await shell.finished.wait()
            assert shell.report is not None
            return shell.report
        finally:
            del shell, parent  # the traceback of an error leads to this frame

    def opened_by(
        self,
        parent: Shell,
        attempt: Attempt,
        spec: SupervisorSpec | None,
        options: SupervisorOptions,
        *,
        wait_ready: bool,
    ) -> AbstractAsyncContextManager[Supervisor]:
        """Return a supervisor that the body of ``attempt``, of ``parent``, opens."""
        owner = f"{attempt.path}: open_supervisor"
        spec = _checked(owner, spec, options)
        check_depth(owner, attempt.path, spec)
        link = NestedLink(parent, attempt, spec.name)
        shell = Shell(spec, parent.tree, f"{attempt.path}/{spec.name}", link)
        return Block(shell, wait_ready=wait_ready)
