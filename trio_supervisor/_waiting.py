"""Giving a command and waiting for its effect, from whatever task it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_supervisor._attempt import current_attempt
from trio_supervisor._errors import ChildNotFound, SupervisorClosed

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor._brain import orders as o
    from trio_supervisor._shell import Shell
    from trio_supervisor._slot import Slot, View
    from trio_supervisor._tree import Reply


def forfeit_grace_if_inside(shell: Shell, path: str) -> None:
    """Whoever runs inside of what ``path`` names must not be given time to wait for itself."""
    attempt = current_attempt.get(None)
    if attempt is None or attempt.ended_at is not None:
        return
    if attempt.path == path or attempt.path.startswith(f"{path}/"):
        host = attempt.host
        if isinstance(host, type(shell)) and host.tree is shell.tree:
            host.forfeit_grace(attempt)


async def give(
    shell: Shell, slot: Slot | None, command: o.Command, until: Callable[[View], bool] | None
) -> Reply:
    """Post ``command``, wait until it was accepted, then until the child is as ``until`` wants it.

    Cancelled while waiting, the wish stands.
    """
    if slot is not None and shell.slots.get(slot.life.name) is not slot:
        await trio.lowlevel.checkpoint()
        raise ChildNotFound(f"{slot.life.path} is {slot.life.state}")
    reply = shell.command(command)
    await reply.answered.wait()
    if reply.error is not None:
        raise reply.error
    if until is not None:
        await await_effect(reply, until)
    return reply


async def await_effect(reply: Reply, until: Callable[[View], bool]) -> None:
    """Wait until the child of an accepted command is as ``until`` wants it."""
    slot = reply.slot
    if slot is None:
        return  # it was removed in the same turn
    view = await slot.wait(lambda view: until(view) or view.closed)
    if not until(view):
        raise SupervisorClosed(f"{slot.life.path} is {view.state}: its supervisor has ended")
