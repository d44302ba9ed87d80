"""The tree as the dashboard shows it: plain values, made from the running tree.

A tree of 5,000 connections must not be sent as 5,000 lines several times a second. A supervisor
with many children is sent as counts by state with the children that are not well; the page asks
for the others a piece at a time.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trio

from trio_supervisor._attempts.stacks import stacks_of
from trio_supervisor._errors import ChildNotFound, PastError
from trio_supervisor._events.snapshot import ChildState
from trio_supervisor._events.tracebacks import traceback_text
from trio_supervisor._events.why import explain
from trio_supervisor._text import text_of
from trio_supervisor.control._names import shells_in

if TYPE_CHECKING:
    from trio_supervisor._brain.lifecycle import ChildLife
    from trio_supervisor._events.events import Event
    from trio_supervisor._events.exits import ChildRunReport
    from trio_supervisor._events.snapshot import SupervisorSnapshot
    from trio_supervisor._runtime.child_slot import Slot
    from trio_supervisor._runtime.shell import Shell
    from trio_supervisor._runtime.supervisor import Supervisor

MOST_SHOWN: Final = 100
"""How many children of one supervisor are sent one by one."""
_MOST_TROUBLED: Final = 50
_MOST_PAGE: Final = 200
_MOST_TEXT: Final = 2_000
_MOST_TRACEBACK: Final = 20_000

Node = dict[str, Any]


def overview(supervisor: Supervisor) -> dict[str, Node]:
    """Return the nodes of the tree by path, supervisors before their children."""
    top = supervisor._shell
    nodes: dict[str, Node] = {top.path: {"path": top.path, "name": supervisor.name, "parent": None}}
    pending = [top]
    for shell in pending:
        shown = _shown(shell)
        nodes[shell.path]["sup"] = _supervisor(shell, len(shown))
        for index, slot in shown:
            path = slot.life.path
            nodes[path] = child_node(slot, index)
            for number, below in enumerate(shells_in(slot)):
                pending.append(below)
                if below.path != path:  # opened in the body of the child
                    name = below.path.rpartition("/")[2]
                    nodes[below.path] = {
                        "path": below.path, "name": name, "parent": path, "i": number
                    }  # fmt: skip
    return nodes


def _shown(shell: Shell) -> list[tuple[int, Slot]]:
    slots = enumerate(shell.slots.values())
    if len(shell.slots) <= MOST_SHOWN:
        return list(slots)
    found: list[tuple[int, Slot]] = []
    troubled = 0
    now = trio.current_time()
    for index, slot in slots:
        life = slot.life
        if not life.dynamic or shells_in(slot):
            if len(found) < MOST_SHOWN or not life.dynamic:
                found.append((index, slot))
        elif troubled < _MOST_TROUBLED and _is_troubled(life, now):
            troubled += 1
            found.append((index, slot))
    return found


def _is_troubled(life: ChildLife, now: float) -> bool:
    """Whether the child is not well now, or works between two failures."""
    if life.reported is not ChildState.READY:
        return life.reported is not ChildState.DONE
    return bool(life.failures_in_row or life.consecutive_failures) and not life.is_stable(now)


def _supervisor(shell: Shell, shown: int) -> Node:
    machine = shell.machine
    lives = [slot.life for slot in shell.slots.values()]
    counts = Counter([life.reported for life in lives])
    stopping = counts.get(ChildState.STOPPING, 0)
    unresponsive = sum([life.is_unresponsive for life in lives]) if stopping else 0
    spec = shell.spec
    return {
        "state": machine.state.value,
        "since": machine.since,
        "reason": machine.reason[:_MOST_TEXT],
        "run": shell.run,
        "strategy": spec.strategy.value,
        "ordering": spec.ordering.value,
        "max": spec.max_children,
        "total": len(shell.slots),
        "hidden": len(shell.slots) - shown,
        "counts": {state.value: count for state, count in counts.items()},
        "unresponsive": unresponsive,
    }


def child_node(slot: Slot, index: int) -> Node:
    """Return the line of one child. Times are Trio's; the page knows the offset."""
    life = slot.life
    node: Node = {
        "path": life.path,
        "name": life.name,
        "parent": slot.shell.path,
        "i": index,
        "state": life.reported.value,
        "since": life.since,
        "attempt": life.attempt,
    }
    window = life.window
    waits = life.reported is ChildState.WAITING and slot.shell.machine.accepts
    optional = {
        "until": life.reported_until,
        "reason": life.reported_reason[:_MOST_TEXT],
        "restarts": life.restarts,
        "last": life.last_exit[:_MOST_TEXT],
        "unresponsive": life.is_unresponsive,
        "waits": list(slot.shell.machine.ordering.waits_for(life)) if waits else None,
        "dynamic": life.dynamic,
    }
    node |= {name: value for name, value in optional.items() if value}
    if life.failures_in_row or life.consecutive_failures:
        node |= _streak(slot)
    if window is not None and window.times:
        node["used"] = window.used(trio.current_time())
        node["limit"] = window.limit.max_restarts
        node["within"] = _finite(window.limit.within)
    return node


def _streak(slot: Slot) -> Node:
    """Return what the supervisor still holds against a child, by its own rule of recovery.

    Past failures count until an attempt has been ready for ``reset_after``; the page is told when
    that will be.
    """
    life = slot.life
    if life.is_stable(trio.current_time()):
        return {}
    found: Node = {"again": life.consecutive_failures}
    if life.failures_in_row:
        found |= {"failures": life.failures_in_row, "failing": slot.failing_since}
    if life.ready:
        found["settles"] = _finite(life.ready_at + life.spec.backoff.reset_after)
    return found


def children_page(supervisor: Supervisor, query: Any) -> Node:
    """Return some children of one supervisor: a page of the ones with a fitting name and state.

    Raises:
        ChildNotFound: There is no such supervisor.
        ValueError: An argument is wrong.
    """
    shell = _shell_at(supervisor, query.get("path", supervisor.path))
    state = query.get("state", "")
    if state and state != "troubled":
        ChildState(state)  # ValueError
    wanted = query.get("q", "").casefold()
    offset = _whole(query, "offset", 0)
    limit = min(_whole(query, "limit", MOST_SHOWN), _MOST_PAGE)
    found: list[Node] = []
    fitting = 0
    for index, slot in enumerate(shell.slots.values()):
        if not _fits(slot, state, wanted):
            continue
        if offset <= fitting < offset + limit:
            found.append(child_node(slot, index))
        fitting += 1
    return {
        "path": shell.path,
        "now": trio.current_time(),
        "total": len(shell.slots),
        "fitting": fitting,
        "offset": offset,
        "children": found,
    }


def _fits(slot: Slot, state: str, wanted: str) -> bool:
    reported = slot.life.reported
    if state == "troubled":
        if not (slot.life.is_unresponsive or _is_troubled(slot.life, trio.current_time())):
            return False
    elif state and reported.value != state:
        return False
    return not wanted or wanted in slot.life.name.casefold()


def _whole(query: Any, name: str, default: int) -> int:
    value = query.get(name, "")
    if not value:
        return default
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise ValueError(f"{name} must be a whole number")
    return int(value)


def _shell_at(supervisor: Supervisor, path: str) -> Shell:
    shell = supervisor._shell
    if path in (shell.path, ""):
        return shell
    above, _, name = path.rpartition("/")
    try:
        found = supervisor._find(path).nested
    except ChildNotFound:
        if not above:
            raise
        found = (supervisor._find(above).opened or {}).get(name)
    if found is None:
        raise ChildNotFound(f"{path} is not a running supervisor")
    return found


def slot_at(supervisor: Supervisor, path: str) -> Slot:
    """Return the child at a path.

    Raises:
        ChildNotFound: There is none.
    """
    return supervisor._find(path)


class Facts(NamedTuple):
    """The facts that the loop looks up about one child; `details` does the rest in a thread."""

    node: Node
    reports: tuple[ChildRunReport, ...]
    base: SupervisorSnapshot
    events: tuple[Event, ...]
    state: SupervisorSnapshot | None


def child_facts(supervisor: Supervisor, slot: Slot) -> Facts:
    """Return the facts about one child."""
    now = trio.current_time()
    life, attempt = slot.life, slot.attempt
    node = child_node(slot, 0)
    window = life.window
    node["now"] = now
    node["generation"] = life.generation
    node["charges"] = [] if window is None else [now - at for at in window.times][-100:]
    node["policy"] = _policy(slot)
    node["stacks"] = [] if attempt is None or slot.nested is not None else list(stacks_of(attempt))
    if attempt is not None:
        node["started"] = attempt.started_at
        if attempt.beat_at is not None:
            node["heartbeat"] = now - attempt.beat_at
    journal = supervisor.journal
    # The state knows which siblings a child waits for, and takes long to make of a large tree.
    small = (
        len(slot.shell.machine.children) <= _MOST_PAGE
        and supervisor.count_children().specs <= _MOST_PAGE
    )
    state = supervisor.state() if small else None
    return Facts(node, slot.reports, journal.base, journal.events, state)


def _policy(slot: Slot) -> list[tuple[str, str]]:
    """Return what was declared, as names and values to read."""
    spec = slot.life.spec
    found: list[tuple[str, object]] = [
        ("restart", spec.restart.value),
        ("readiness", "explicit" if spec.is_explicit else "immediate"),
        ("grace", spec.grace),
        ("start timeout", spec.start_timeout),
        ("max runtime", spec.max_runtime),
        ("stale after", spec.stale_after),
        ("on limit", spec.on_limit and spec.on_limit.value),
        ("backoff", spec.backoff),
        ("requires", ", ".join(spec.requires)),
    ]
    if slot.life.window is not None:
        found.append(("limit", slot.life.window.limit))
    return [(name, _show(value)) for name, value in found if value not in (None, "", math.inf)]


def _show(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g} s"
    return str(value)


def details(facts: Facts) -> Node:
    """Return all that is shown of one child; may take milliseconds, so it runs in a thread."""
    node, reports = facts.node, facts.reports
    node["reports"] = [_report(report) for report in reversed(reports)]
    node["traceback"] = _traceback(reports[-1]) if reports else ""
    try:
        told = explain(node["path"], facts.base, facts.events, state=facts.state)
    except ChildNotFound:  # added while the state was being made
        told = ()
    node["why"] = [each.text[:_MOST_TEXT] for each in told]
    return node


def _report(report: ChildRunReport) -> Node:
    return {
        "attempt": report.attempt,
        "kind": report.exit.kind,
        "failure": report.exit.is_failure,
        "detail": _how(report)[:_MOST_TEXT],
        "started": report.started_at,
        "ended": report.ended_at,
        "ready": report.became_ready,
        "stop_reason": report.stop_reason,
    }


def _how(report: ChildRunReport) -> str:
    error = report.exit.error
    if isinstance(error, PastError):  # stands for an exception that is no longer kept
        return f"crashed: {text_of(error)}"
    return report.exit.describe()


def _traceback(report: ChildRunReport) -> str:
    error = report.exit.error
    if error is None or report.exit.kind == "failed":  # a failure on purpose has none to read
        return ""
    text = traceback_text(error)
    return text if len(text) <= _MOST_TRACEBACK else "...\n" + text[-_MOST_TRACEBACK:]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
