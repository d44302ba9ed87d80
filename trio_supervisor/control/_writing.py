"""Verbs that change something: accepted at once, then waited for if the operator wants that.

Every verb posts a command as a method of `Supervisor` would, in the name of the operator: the event
that says it was accepted carries user, uid, pid and reason.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from trio_supervisor._brain import messages as o
from trio_supervisor._errors import SupervisorError
from trio_supervisor._events.snapshot import ChildState
from trio_supervisor._runtime.commands import give, is_down
from trio_supervisor._runtime.operator import on_behalf_of
from trio_supervisor.control._names import find
from trio_supervisor.control.protocol import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_supervisor._runtime.child_slot import Slot, View
    from trio_supervisor._runtime.messages import Reply
    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor.control._peer import Peer
    from trio_supervisor.control.protocol import Request

T = TypeVar("T")

_LIVE = frozenset(
    {
        ChildState.WAITING,
        ChildState.STARTING,
        ChildState.READY,
        ChildState.NOT_READY,
        ChildState.BACKING_OFF,
    }
)


async def write(supervisor: Supervisor, request: Request, peer: Peer) -> dict[str, Any]:
    """Carry out a verb that writes, in the name of ``peer``.

    Cancelled while it waits for the effect, the command stands.

    Raises:
        ProtocolError: It was refused, a name is wrong, or the effect did not come in time.
    """
    if request.verb == "shutdown":
        return await _shut_down(supervisor, request.args, peer)
    args = request.args
    slots = find(supervisor._shell, args.get("names", ()))
    if not slots:
        raise ProtocolError("bad_request", f"{request.verb} needs the name of a child")
    if args.get("dry_run"):
        return {"dry_run": True, "children": [_shown(slot) for slot in slots]}
    waits = [await _give(slot, request, peer) for slot in slots]
    if args.get("wait", True):

        async def wait_for_all() -> None:
            for wait in waits:
                await wait()

        await _in_time(args, "waiting for the effect; the command stands", wait_for_all)
    return {"children": [_shown(slot) for slot in slots]}


class Posted:
    """Commands that were posted together, and not answered yet.

    A client that gives many commands without waiting for their effects gets them all into one turn
    of the collector; one turn for each would make its pace that of the tree's scheduler.
    """

    def __init__(self, slots: list[Slot], replies: list[Reply]) -> None:
        self._slots = slots
        self._replies = replies

    async def answer(self) -> dict[str, Any]:
        """Wait until all are answered; returns the answer's data.

        Raises:
            ProtocolError: One was refused.
        """
        for reply in self._replies:
            if not reply.is_answered:
                await reply.wait()
            if reply.error is not None:
                raise ProtocolError("refused", str(reply.error))
        return {"children": [_shown(slot) for slot in self._slots]}


def can_be_posted(request: Request) -> bool:
    """Whether a request is commands without a wait for their effects."""
    args = request.args
    return (
        request.verb in {"stop", "restart", "quarantine", "remove"}
        and args.get("wait", True) is False
        and not args.get("dry_run")
    )


def post(supervisor: Supervisor, request: Request, peer: Peer) -> Posted:
    """Post the commands of a request; never waits.

    Raises:
        ProtocolError: A name or an argument is wrong.
    """
    slots = find(supervisor._shell, request.args.get("names", ()))
    if not slots:
        raise ProtocolError("bad_request", f"{request.verb} needs the name of a child")
    made = [_command(slot, request) for slot in slots]
    with on_behalf_of(peer.user, peer.uid, peer.pid):
        return Posted(
            slots,
            [slot.shell.command(each) for slot, each in zip(slots, made, strict=True)],
        )


def _command(slot: Slot, request: Request) -> Any:
    made = _COMMANDS[request.verb](slot.life.name, request.args.get("reason", ""))
    if "grace" in request.args:
        if not hasattr(type(made), "grace"):
            raise ProtocolError("bad_request", f"{request.verb} takes no grace")
        made.grace = request.args["grace"]
    return made


async def _give(slot: Slot, request: Request, peer: Peer) -> Callable[[], Awaitable[None]]:
    """Post the command for one child; returns, once it is accepted, how to wait for the effect."""
    verb = request.verb
    if verb == "start" and slot.life.state in _LIVE:
        return partial(_wait_for, slot, lambda view: _is_up(view) or view.closed)
    made = _command(slot, request)
    try:
        with on_behalf_of(peer.user, peer.uid, peer.pid):
            reply = await give(slot, made)
    except SupervisorError as error:
        raise ProtocolError("refused", str(error)) from None
    wanted = slot.life.generation

    def is_done(view: View) -> bool:
        if verb in {"start", "restart"}:
            return view.is_at_rest or (view.generation >= wanted and _is_up(view))
        return view.state is ChildState.REMOVED if verb == "remove" else is_down(view, reply)

    return partial(_wait_for, slot, is_done)


async def _wait_for(slot: Slot, until: Callable[[View], bool]) -> None:
    view = await slot.wait(lambda view: until(view) or view.closed)
    if not until(view):
        raise ProtocolError("failed", f"{slot.life.path}: its supervisor has ended")


async def _shut_down(supervisor: Supervisor, args: dict[str, Any], peer: Peer) -> dict[str, Any]:
    if args.get("dry_run"):
        return {"dry_run": True, "supervisor": supervisor.path}
    with on_behalf_of(peer.user, peer.uid, peer.pid):
        reason = args.get("reason") or f"shutdown by {peer.user}"
        supervisor.request_shutdown(reason, grace=not args.get("no_grace", False))
    if not args.get("wait", True):
        return {"supervisor": supervisor.path}
    what = "waiting for the end; the shutdown goes on"
    try:
        report = await _in_time(args, what, supervisor.wait_finished)
    except SupervisorError as error:
        raise ProtocolError("failed", str(error)) from None
    return {"supervisor": supervisor.path, "report": report.to_dict()}


async def _in_time(args: dict[str, Any], what: str, wait: Callable[[], Awaitable[T]]) -> T:
    """Wait for an effect, as long as the request's ``timeout`` allows.

    Raises:
        ProtocolError: It was not long enough.
    """
    seconds = args.get("timeout", inf)
    with trio.CancelScope(deadline=trio.current_time() + seconds):
        return await wait()
    raise ProtocolError("timed_out", f"timed out after {seconds:g}s {what}")


def _shown(slot: Slot) -> dict[str, Any]:
    life = slot.life
    return {
        "path": life.path,
        "state": life.state.value,
        "attempt": life.attempt,
    }


def _is_up(view: View) -> bool:
    return view.is_at_rest or (view.live and view.state is ChildState.READY)


_COMMANDS: dict[str, Any] = {
    "start": o.RestartChild,
    "restart": o.RestartChild,
    "stop": o.StopChild,
    "quarantine": o.QuarantineChild,
    "remove": o.RemoveChild,
}
