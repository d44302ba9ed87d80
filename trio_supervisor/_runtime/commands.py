"""Give a command to a supervisor and wait for its effect.

`Supervisor` and `ChildHandle` both offer commands; what they do is here, once. Each command is
posted, answered within one turn of the collector (accepted or refused), and then awaited until its
effect is there. A cancellation of the wait takes nothing back; `start` is the exception.

A command may come from inside of the child that it stops. The caller then waits for its own end, so
its attempt loses its grace: see `attempt_that_waits_for_itself`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import trio
from trio.lowlevel import enable_ki_protection

from trio_supervisor._attempts.attempt import current_attempt
from trio_supervisor._brain import messages as o
from trio_supervisor._errors import (
    ChildNotFound,
    ChildNotReady,
    ChildStartError,
    SupervisorClosed,
)
from trio_supervisor._events.snapshot import ChildState
from trio_supervisor._specs.checks import check_seconds
from trio_supervisor._text import as_reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._events.shutdown import ShutdownReport
    from trio_supervisor._runtime.child_slot import Slot, View
    from trio_supervisor._runtime.ended_shell import EndedShell
    from trio_supervisor._runtime.messages import Reply
    from trio_supervisor._runtime.shell import Shell
    from trio_supervisor._specs.supervisor import ChildSpec


# ---------------------------------------------------------------- one child


async def stop(slot: Slot, reason: str, grace: float | None = None) -> None:
    """Take the child down, and wait until its attempt has ended."""
    name, grace = slot.life.name, _checked(slot, grace)
    reply = await give(slot, o.StopChild(name, reason, grace=grace))
    await _await_effect(reply, lambda view: is_down(view, reply))


async def quarantine(slot: Slot, reason: str, grace: float | None = None) -> None:
    """Take the child down for inspection, and wait until its attempt has ended."""
    name, grace = slot.life.name, _checked(slot, grace)
    reply = await give(slot, o.QuarantineChild(name, reason, grace=grace))
    await _await_effect(reply, lambda view: is_down(view, reply))


async def remove(slot: Slot, reason: str, grace: float | None = None) -> None:
    """Stop the child, and wait until it is forgotten."""
    name, grace = slot.life.name, _checked(slot, grace)
    reply = await give(slot, o.RemoveChild(name, reason, grace=grace))
    await _await_effect(reply, lambda view: view.state is ChildState.REMOVED)


async def restart(slot: Slot, reason: str, grace: float | None = None) -> None:
    """Start a new attempt, and wait until one is ready or the child is at rest."""
    name, grace = slot.life.name, _checked(slot, grace)
    reply = await give(slot, o.RestartChild(name, reason, grace=grace))
    wanted = slot.life.generation

    def is_ready(view: View) -> bool:
        return view.generation >= wanted and view.live and view.state is ChildState.READY

    view = await _await_effect(reply, lambda view: is_ready(view) or view.is_at_rest)
    if slot.shell.is_stopping and not is_ready(view):
        raise SupervisorClosed(f"{slot!r} was stopped with its supervisor before it was ready")


def _checked(slot: Slot, grace: float | None) -> float | None:
    return None if grace is None else check_seconds(slot.life.path, "grace", grace)


@enable_ki_protection
async def give(slot: Slot, command: o.Command) -> Reply:
    """Post ``command``, which is about the child of ``slot``, and wait until it is accepted."""
    shell = slot.shell
    if slot.life.gone:
        await trio.lowlevel.checkpoint()
        raise ChildNotFound(stale_text(slot))
    inside = attempt_that_waits_for_itself(shell, slot.life.path)
    if inside is not None:
        _forfeit_grace(inside)
    reply = shell.command(command)
    await reply.wait()
    if reply.error is not None:
        if inside is not None:
            _forfeit_grace(inside, taken_back=True)
        raise reply.error
    return reply


def stale_text(slot: Slot) -> str:
    """Return why a handle of ``slot`` no longer stands for a child."""
    path = slot.life.path
    if slot.life.name not in slot.shell.machine.children:
        return f"{path} was removed"
    return f"this handle is of an earlier child {path}, which was removed: take a new one"


def is_down(view: View, reply: Reply) -> bool:
    """Whether the attempt that the command was to stop is gone; another may have started since."""
    return not view.live or view.attempt != reply.attempt


async def _await_effect(reply: Reply, until: Callable[[View], bool]) -> View:
    """Wait until the child of an accepted command is as ``until`` wants it; returns how it was."""
    slot = reply.slot
    assert slot is not None  # only a command that was refused may have none
    view = await slot.wait(lambda view: until(view) or view.closed)
    if not until(view):
        raise SupervisorClosed(f"{slot.life.path} is {view.state}: its supervisor has ended")
    return view


# ---------------------------------------------------------------- a new child


@enable_ki_protection
async def start(shell: Shell, spec: ChildSpec[Any], reason: str) -> Slot:
    """Add a child and wait until it is ready, or has done its work.

    Cancelled while it waits, it removes the child again and waits for that.
    """
    reply = shell.command(o.AddChild(spec, o.FirstStart.FORGETS_CHILD, reason))
    try:
        await reply.wait()
        if reply.error is not None:
            raise reply.error
        slot = reply.slot
        assert slot is not None
        try:
            # An immediate child is ready when its addition is answered: nothing to wait for.
            if not slot.life.ever_ready:
                await slot.wait(lambda view: _has_started(reply, slot, view))
        finally:
            slot.forget_addition()
    except trio.Cancelled:
        await _withdraw(shell, reply)  # noqa: ASYNC102 - shielded inside
        raise
    report = reply.failed_start
    if report is not None:
        path, how = slot.life.path, report.exit
        message = f"{path} failed to start: {how.describe()}"
        raise ChildStartError(message, path=path, reports=[report]) from how.error
    if not slot.life.ever_ready and not slot.has_succeeded:
        if shell.is_stopping:
            raise SupervisorClosed(f"{slot!r} was stopped with its supervisor before it was ready")
        raise ChildNotReady(f"{slot.life.path} did not become ready: it is {slot.life.state}")
    return slot


def _has_started(reply: Reply, slot: Slot, view: View) -> bool:
    is_over = view.is_at_rest or view.closed or reply.failed_start is not None
    return is_over or slot.life.ever_ready


@enable_ki_protection
async def _withdraw(shell: Shell, reply: Reply) -> None:
    """Remove the child that ``reply`` is about, unless a sibling has come to require it."""
    with trio.CancelScope(shield=True):
        await reply.wait()
        slot = reply.slot
        if reply.error is not None or slot is None or slot.life.gone:
            return  # refused (then the slot is that of another child), or gone already
        reason = "the call of start_child() was cancelled"
        removal = shell.command(o.RemoveChild(slot.life.name, reason))
        await removal.wait()
        if removal.error is None:
            await slot.wait(lambda view: view.state is ChildState.REMOVED or view.closed)


# ---------------------------------------------------------------- the whole supervisor


async def shut_down(shell: Shell, reason: str) -> ShutdownReport:
    """Stop all children in order, and wait for the end of the supervisor."""
    inside = attempt_that_waits_for_itself(shell, shell.path)
    if inside is not None:
        _forfeit_grace(inside)
    request_shutdown(shell, reason, grace=True)
    return await wait_finished(shell)


def request_shutdown(shell: Shell, reason: str, *, grace: bool) -> None:
    """Begin to stop all children in order."""
    reason = as_reason(reason) or "shutdown requested"
    if shell.link is None or not shell.link.is_child:
        shell.shut_down(o.Shutdown(reason, grace=grace))
    elif not shell.is_over:
        shell.link.stop_child(reason, None if grace else 0.0)


def check_wait(shell: Shell) -> None:
    """Refuse a wait for ``shell`` in another thread, as `Tree.check_thread` does."""
    if not shell.is_over:
        shell.tree.check_thread(shell.path, "a supervisor can be waited for")


@enable_ki_protection
async def wait_finished(shell: Shell) -> ShutdownReport:
    """Wait until the supervisor has ended."""
    check_wait(shell)
    await shell.finished.wait()
    if shell.report is None:
        raise SupervisorClosed(f"{shell.path} broke down; leaving its block says why")
    return shell.report


# ---------------------------------------------------------------- commands from inside


def attempt_that_waits_for_itself(shell: Shell | EndedShell, path: str) -> Attempt | None:
    """Return the attempt that the current task belongs to and that a stop of ``path`` would end.

    The task would wait for its own end, so that attempt must not be given time to wait in. A task
    in a supervisor that the body of a child has opened belongs to that child, too. A task that the
    body has started in a nursery outside of the attempt does not: the attempt does not wait for it.
    """
    attempt = current_attempt.get(None)
    while attempt is not None and attempt.ended_at is None:
        host = attempt.host
        if not host.is_supervisor:
            return None
        above = cast("Shell", host)
        named = above.tree is shell.tree and f"{attempt.path}/".startswith(f"{path}/")
        if named and _is_inside(attempt):
            return attempt
        attempt = above.opened_in
    return None


def _is_inside(attempt: Attempt) -> bool:
    """Whether the current task is that of ``attempt``, or has to end with it."""
    task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
    while task is not None and task is not attempt.task:
        task = None if task.parent_nursery is None else task.parent_nursery.parent_task
    return task is not None


def _forfeit_grace(attempt: Attempt, *, taken_back: bool = False) -> None:
    cast("Shell", attempt.host).forfeit_grace(attempt, taken_back=taken_back)
