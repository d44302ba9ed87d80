"""End every wait for a supervisor that has ended, whether in order or because it broke down."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from logging import ERROR, getLogger
from typing import TYPE_CHECKING, Protocol

import trio

from trio_supervisor._errors import SupervisorClosed
from trio_supervisor._events.exits import leaves
from trio_supervisor._logging.safe import say
from trio_supervisor._runtime.ended_shell import EndedShell

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor._runtime.messages import Reply
    from trio_supervisor._runtime.shell import Shell

_LOG = getLogger("trio_supervisor")


class BlockOfShell(Protocol):
    """The block around a shell, as the shell sees it."""

    def on_failure(self, reason: str) -> None:
        """Cancel the caller's code: the supervisor has failed. Called once at most."""

    def on_finish(self) -> None:
        """Stop waiting for an outer cancellation: the supervisor has ended. Called once."""


def end_waits(shell: Shell, block: BlockOfShell) -> None:
    """Wake every task that waits for ``shell``: commands, handles, subscriptions, the block.

    Each step can be repeated. A step that fails is made once more, and the others are made all the
    same: a bug of ours leaves no task waiting.

    Raises:
        BaseException: What the last step that failed has raised, so that Trio cancels what is left
            of the block.
    """
    steps: list[Callable[[], object]] = [
        partial(_answer_commands, shell),
        *[slot.end_waiting for slot in shell.watched.values()],
        shell.watched.clear,
        shell.readers.close,
        shell.children_listed.set,
        shell.first_start_over.set,
    ]
    if shell.link is not None:
        steps.append(partial(shell.link.leave, shell))
    if shell.bug is not None:
        steps.append(partial(shell.tree.log.close, trio.current_time()))
        steps.append(partial(block.on_failure, "the supervisor itself has failed"))
    steps += shell.finished.set, block.on_finish
    failed: BaseException | None = None
    for step in steps:
        try:
            step()
        except BaseException as error:  # noqa: ASYNC103 - raised below
            failed = error
            with suppress(BaseException):
                step()
    if failed is not None:
        raise failed


def log_refusal(shell: Shell, reply: Reply) -> None:
    """Log that a child was not added, if no task waits for ``reply``."""
    if reply.no_waiter and reply.error is not None:
        say(_LOG, ERROR, "%s: start_child_soon() was refused: %s", shell.path, reply.error)


def _answer_commands(shell: Shell) -> None:
    while shell.unanswered:
        reply = next(iter(shell.unanswered))
        reply.refuse(SupervisorClosed(f"{shell.path} has ended"))
        log_refusal(shell, reply)
        del shell.unanswered[reply]


def note_bug(shell: Shell, error: BaseException) -> None:
    """Keep what the supervisor itself failed with; the block raises it."""
    if shell.bug is None:
        shell.bug = error
    else:
        shell.bug = BaseExceptionGroup("the supervisor itself failed twice", [shell.bug, error])
    for leaf in leaves(error):
        with suppress(Exception):  # an exception that takes no notes is raised without
            leaf.add_note(f"in the supervisor {shell.path} itself, not in one of its children")


def untie(shell: Shell) -> None:
    """Let go of everything that leads from ``shell``, which has ended, back to itself."""
    ended = EndedShell(shell)
    for slot in shell.slots.values():
        slot.shell = ended
        slot.forget_handle()
    shell.machine.untie()
    shell.collector.untie()
    if shell.link is not None:
        shell.link.untie()


def forget_errors(shell: Shell) -> None:
    """The block raises the errors now: their tracebacks come to lead to what refers to the shell.

    Can be repeated.
    """
    shell.has_failed = shell.has_failed or shell.error is not None or shell.bug is not None
    shell.error = shell.bug = None
    shell.fatal.clear()
    shell.later_failures = []
