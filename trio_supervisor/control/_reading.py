"""Verbs that only look. What takes time in proportion to the tree is rendered in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from trio_supervisor._attempts.stacks import stacks_of
from trio_supervisor._events.plain import number, to_plain
from trio_supervisor._events.why import explain
from trio_supervisor.control._names import find, shells_in, slots_below
from trio_supervisor.control._readiness import missing_in
from trio_supervisor.control.protocol import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor._events.snapshot import SupervisorSnapshot
    from trio_supervisor._runtime.child_slot import Slot, View
    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor.control.protocol import Request

LONG_UNRESPONSIVE = 30.0
"""Seconds of being unresponsive after which a child makes the whole process count as not alive."""


async def read(supervisor: Supervisor, request: Request) -> Any:
    """Carry out a verb that only looks.

    Raises:
        ProtocolError: A name is wrong, or a condition is not met.
    """
    return await _READ[request.verb](supervisor, request.args)


async def _ping(supervisor: Supervisor, args: dict[str, Any]) -> Any:
    await trio.lowlevel.checkpoint()
    return {"tree": supervisor.path}


async def _tree(supervisor: Supervisor, args: dict[str, Any]) -> Any:
    slots = find(supervisor._shell, args.get("names", ()))
    chosen = {slot.life.path for slot in slots}
    now = trio.current_time()
    facts = {s.life.path: _live_facts(s, now) for s in slots_below(supervisor._shell)}
    return await trio.to_thread.run_sync(_tree_as_dict, supervisor.state(), facts, chosen)


def _live_facts(slot: Slot, now: float) -> dict[str, Any]:
    """Facts for a child's line beside its snapshot: its restart window and its last heartbeat."""
    facts: dict[str, Any] = {}
    window, attempt = slot.life.window, slot.attempt
    if window is not None:
        facts["used"] = window.used(now)
        facts["limit"] = window.limit.max_restarts
        facts["within"] = number(window.limit.within)
    if attempt is not None and attempt.beat_at is not None:
        facts["heartbeat_age"] = now - attempt.beat_at
    return facts


def _tree_as_dict(
    snapshot: SupervisorSnapshot, facts: dict[str, dict[str, Any]], chosen: set[str]
) -> dict[str, Any]:
    plain = snapshot.to_dict()
    found: list[dict[str, Any]] = []
    pending = [plain]
    for supervisor in pending:
        for child in supervisor["children"]:
            child.update(facts.get(child["path"], {}))
            if child["path"] in chosen:
                found.append(child)
            if child["supervisor"] is not None:
                pending.append(child["supervisor"])
            pending.extend(child.get("opened", ()))
    if chosen:
        plain["children"] = found
    return plain


async def _stacks(supervisor: Supervisor, args: dict[str, Any]) -> Any:
    await trio.lowlevel.checkpoint()
    shell = supervisor._shell
    chosen: dict[Slot, None] = {}
    for slot in find(shell, args["names"]) if args.get("names") else slots_below(shell):
        chosen[slot] = None
        for below in shells_in(slot):
            chosen.update(dict.fromkeys(slots_below(below)))
    return {
        "children": [
            {
                "path": slot.life.path,
                "state": slot.life.state.value,
                "unresponsive": slot.life.is_unresponsive,
                "tasks": list(stacks_of(slot.attempt)),
            }
            for slot in chosen
            if slot.attempt is not None and slot.nested is None
        ]
    }


async def _why(supervisor: Supervisor, args: dict[str, Any]) -> Any:
    state, journal = supervisor.state(), supervisor.journal
    base, events = journal.base, journal.events
    names = args.get("names", ())
    paths: list[str] = []
    for name in names:
        if name == supervisor.path:
            paths.append(name)
            continue
        try:
            paths.extend(slot.life.path for slot in find(supervisor._shell, (name,)))
        except ProtocolError:
            gone = {e.path for e in events if f"/{e.path}".endswith(f"/{name}")}
            if len(gone) != 1:
                raise
            paths.extend(gone)

    def explain_all() -> list[dict[str, Any]]:
        return [
            {
                "path": path,
                "statements": [to_plain(each) for each in explain(path, base, events, state=state)],
            }
            for path in dict.fromkeys(paths or [supervisor.path])
        ]

    return {"children": await trio.to_thread.run_sync(explain_all)}


async def _names(supervisor: Supervisor, args: dict[str, Any]) -> Any:
    await trio.lowlevel.checkpoint()
    most = args.get("limit", 1000)
    names: list[str] = []
    for slot in slots_below(supervisor._shell):
        if len(names) >= most:
            break
        names.append(slot.life.path)
    return {"names": names}


# ---------------------------------------------------------------- conditions


async def _ready(supervisor: Supervisor, args: dict[str, Any]) -> Any:
    await trio.lowlevel.checkpoint()
    shell = supervisor._shell
    if args.get("names"):  # a child that is named counts, also one that was added at run time
        wanted = tuple([f"{slot.life.path}/" for slot in find(shell, args["names"])])
        found = [
            each for each in missing_in(shell, with_added=True)
            if f"{each.path}/".startswith(wanted)
        ]  # fmt: skip
    else:
        found = list(missing_in(shell))
    missing = [{"path": each.path, "state": each.state, "why": each.why} for each in found]
    return {"ready": not missing, "missing": missing}


def draining(supervisor: Supervisor, reason: str) -> dict[str, Any]:
    """Answer ``ready`` between the announcement of a stop and the stop, as ``/readyz`` does."""
    why = f"draining: {reason}"
    missing = {"path": supervisor.path, "state": supervisor._shell.machine.state.value, "why": why}
    return {"ready": False, "missing": [missing]}


async def _live(supervisor: Supervisor, args: dict[str, Any]) -> Any:
    await trio.lowlevel.checkpoint()
    now = trio.current_time()
    stuck = [
        {"path": slot.life.path, "seconds": now - slot.life.since}
        for slot in slots_below(supervisor._shell)
        if slot.life.is_unresponsive and now - slot.life.since > LONG_UNRESPONSIVE
    ]
    return {"live": not stuck, "unresponsive": stuck}


async def _wait(supervisor: Supervisor, args: dict[str, Any]) -> Any:
    slots = find(supervisor._shell, args.get("names", ()))
    if not slots:
        raise ProtocolError("bad_request", "wait needs the name of a child")
    states = args.get("states", ("ready",))
    seconds = args.get("timeout")
    with trio.CancelScope() as scope:
        if seconds is not None:
            scope.deadline = trio.current_time() + seconds
        for slot in slots:
            await slot.wait(_in(states))
    shown = [{"path": slot.life.path, "state": slot.life.state.value} for slot in slots]
    if scope.cancelled_caught:
        raise ProtocolError("timed_out", f"timed out after {seconds:g}s: {_in_words(shown)}")
    if any(each["state"] not in states for each in shown):
        raise ProtocolError("not_met", f"it will not happen by itself: {_in_words(shown)}")
    return {"children": shown}


def _in(states: tuple[str, ...]) -> Callable[[View], bool]:
    """A condition: in one of ``states``, or where that can no longer happen by itself."""
    return lambda view: view.state.value in states or view.closed or view.is_at_rest


def _in_words(shown: list[dict[str, Any]]) -> str:
    return ", ".join(f"{each['path']} is {each['state']}" for each in shown)


_READ = {
    "ping": _ping,
    "tree": _tree,
    "why": _why,
    "stacks": _stacks,
    "names": _names,
    "ready": _ready,
    "live": _live,
    "wait": _wait,
}
