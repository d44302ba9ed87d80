"""Giving a command and waiting for its effect, from whatever task it comes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

from trio_supervisor._attempts.attempt import current_attempt
from trio_supervisor._errors import ChildNotFound, SupervisorClosed

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._brain import messages as o
    from trio_supervisor._runtime.child_slot import Slot, View
    from trio_supervisor._runtime.shell import Shell
    from trio_supervisor._runtime.tree import Reply


def forfeit_grace_if_inside(shell: Shell, path: str) -> Callable[[], None] | None:
    """Whoever runs inside of what ``path`` names must not be given time to wait for itself.

    What a child runs in a tree of its own, opened in its body, is inside of that child, too. What
    it has begun in a nursery of somebody else's is not: it will not be waited for.

    Returns:
        How to take that back, if it was so.
    """
    attempt = current_attempt.get(None)
    while attempt is not None and attempt.ended_at is None:
        host = attempt.host
        if not isinstance(host, type(shell)):
            return None
        named = host.tree is shell.tree and f"{attempt.path}/".startswith(f"{path}/")
        if named and _is_within(attempt):
            host.forfeit_grace(attempt)
            return partial(host.forfeit_grace, attempt, taken_back=True)
        attempt = host.around
    return None


def _is_within(attempt: Attempt) -> bool:
    """Whether the current task belongs to ``attempt``, as a task that has to end with it."""
    task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
    while task is not None and task is not attempt.task:
        task = None if task.parent_nursery is None else task.parent_nursery.parent_task
    return task is not None


@enable_ki_protection
async def give(
    shell: Shell, slot: Slot, command: o.Command, until: Callable[[View, Reply], bool] | None
) -> Reply:
    """Post ``command``, wait until it was accepted, then until the child is as ``until`` wants it.

    Cancelled while waiting, the wish stands.
    """
    if shell.slots.get(slot.life.name) is not slot:
        await trio.lowlevel.checkpoint()
        raise ChildNotFound(f"{slot.life.path} is {slot.life.state}")
    take_back = forfeit_grace_if_inside(shell, slot.life.path)
    reply = shell.command(command)
    await reply.answered.wait()
    if reply.error is not None:
        if take_back is not None:
            take_back()
        raise reply.error
    if until is not None:
        await await_effect(reply, lambda view: until(view, reply))
    return reply


def is_down(view: View, reply: Reply) -> bool:
    """The attempt that the command was to stop is gone; a restart may have come right after it."""
    return not view.live or view.attempt != reply.attempt


async def await_effect(reply: Reply, until: Callable[[View], bool]) -> View:
    """Wait until the child of an accepted command is as ``until`` wants it; returns how it was."""
    slot = reply.slot
    assert slot is not None  # only a command that was refused may have none
    view = await slot.wait(lambda view: until(view) or view.closed)
    if not until(view):
        raise SupervisorClosed(f"{slot.life.path} is {view.state}: its supervisor has ended")
    return view
