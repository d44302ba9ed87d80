"""The texts of the log's lines: one line per fact, the path first."""

from __future__ import annotations

from logging import ERROR, INFO, WARNING
from math import inf
from typing import TYPE_CHECKING, Any, Final

from trio_supervisor._events import events as ev
from trio_supervisor._events.snapshot import ChildState
from trio_supervisor._text import one_line, parent_of, quoted, some

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_supervisor._events.fold import RawEvent
    from trio_supervisor._events.snapshot import ChildSnapshot, SupervisorSnapshot

CALM: Final = frozenset({"succeeded", "stopped", "aborted"})
"""Kinds of exits that are no failure."""

FAILING: Final = frozenset({"limit", "escalated", "start_failed", "broken"})
"""Causes of a supervisor's end that are a failure."""

TO_BE_FINISHED: Final = "to be finished, return from the body"

_MOST_NAMES = 8
_MOST_TASKS = 4


def seconds(value: float) -> str:
    """Return a duration as short as it can be read: 0.4s, 2.31s, 41.2s, 120s."""
    if value == inf:
        return "no limit"
    if value < 10:
        text = f"{value:.2f}"
        return f"{text.removesuffix('0')}s"
    return f"{value:.1f}".removesuffix(".0") + "s" if value < 100 else f"{value:.0f}s"


def because(reason: str) -> str:
    """Return what to append for a reason, if there is one."""
    return f" reason={quoted(reason)}" if reason else ""


def by_whom(by: Sequence[Any]) -> str:
    """Return what to append for a command's own grace, and for its operator outside the program."""
    user, uid, pid, grace = [*by, *_NOT_SAID[len(by) :]][:4]
    text = "" if grace is None else f" grace={'inf' if grace == inf else f'{grace:g}s'}"
    return text if uid is None else f"{text} by={one_line(user) or uid} uid={uid} pid={pid}"


# The defaults of the last fields of a `CommandAccepted`, which its recorder may leave out.
_NOT_SAID: Final[tuple[Any, ...]] = ("", None, None, None)


def exit_line(exited: RawEvent) -> str:
    """Return how an attempt ended: ``crashed attempt=3 ConnectionResetError: ... up=41.2s``."""
    _, _, _, _, _, _, attempt, (kind, detail, lasted, _) = exited
    label = kind.replace("_", " ")
    detail = bare_detail(kind, detail)
    if kind == "self_cancelled":
        detail = f"{detail} ({TO_BE_FINISHED})".lstrip()
    return f"{label} attempt={attempt}{' ' if detail else ''}{detail} up={seconds(lasted)}"


def bare_detail(kind: str, detail: str) -> str:
    """Return what `TaskExit.describe` says beside the kind."""
    return one_line(detail).removeprefix(kind.replace("_", " ")).removeprefix(":").strip()


def stopped_line(exited: RawEvent) -> str:
    """Return the line of an attempt that was stopped, of a child that is going to start again."""
    _, _, _, _, _, _, attempt, (_, _, lasted, stop_reason) = exited
    return f"stopped attempt={attempt} up={seconds(lasted)}{because(stop_reason or '')}"


def unjudged_line(exited: RawEvent) -> str:
    """Return the line of a failure that changes nothing: the attempt was to end anyway."""
    _, _, _, _, _, _, _, (_, _, _, stop_reason) = exited
    return f"{exit_line(exited)} while stopping{because(stop_reason or '')}"


def fatal_line(exited: RawEvent) -> str:
    """Return the line of a fatal exception, which ends the supervisor."""
    path = exited[5]
    return f"{exit_line(exited)}; stopping {parent_of(path)}"


FAULTS: Final = ("unhealthy: ", "timed out: ")
"""How the reason of a stop begins that a deadline has brought about."""


def fault_line(raw: RawEvent) -> str:
    """Return the line of a stop that a deadline has brought about, when that is noticed."""
    _, _, _, _, _, _, attempt, (reason, grace) = raw
    then = f"stopping it, grace {seconds(grace)}" if grace > 0 else "cancelling it"
    return f"{one_line(reason).replace(': ', f' attempt={attempt} ', 1)}; {then}"


def grace_lasts_line(attempt: int, waited: float, left: float, reason: str) -> str:
    """Return the line of a stop request that an attempt has not followed yet."""
    until = "" if left == inf else f", {seconds(left)} of its grace left"
    return f"still stopping attempt={attempt} after {seconds(waited)}{until}{because(reason)}"


def start_lasts_line(tree: SupervisorSnapshot, waited: float, now: float) -> str:
    """Return the line of a first start that is not complete: what is awaited, and why."""
    children = {child.name: child for child in tree.children}
    waiting: dict[str, list[str]] = {}
    for child in tree.children:
        if child.state in _ON_THEIR_WAY:
            last = _last_awaited(child, children)
            waiting.setdefault(last, [])
            if last != child.name:
                waiting[last].append(child.name)
    parts = []
    for name, others in waiting.items():
        why = _why_not_ready(children[name], now)
        names = some(others, _MOST_NAMES, ", ")
        verb = f"{names} {'waits' if len(others) == 1 else 'wait'} for {name}" if others else name
        parts.append(f"{verb} ({why})" if why else verb)
    what = some(parts, _MOST_TASKS, "; ") or "its children have not settled"
    return f"start not complete after {seconds(waited)}: {what}"


_ON_THEIR_WAY: Final = frozenset(
    {
        ChildState.WAITING,
        ChildState.STARTING,
        ChildState.BACKING_OFF,
        ChildState.STOPPING,
        ChildState.NOT_READY,
    }
)


def _last_awaited(child: ChildSnapshot, children: dict[str, ChildSnapshot]) -> str:
    """Return the child at the end of the chain of children that ``child`` waits for."""
    here, seen = child, {child.name}
    while here.state is ChildState.WAITING and here.waiting_for:
        here = children[here.waiting_for[0]]
        assert here.name not in seen, "children wait for each other"
        seen.add(here.name)
    return here.name


def _why_not_ready(child: ChildSnapshot, now: float) -> str:
    since = seconds(max(0.0, now - child.since))
    if child.state is ChildState.BACKING_OFF and child.until is not None:
        why = f"backing off {seconds(max(0.0, child.until - now))}"
    else:
        why = f"{child.state.value.replace('_', ' ')} for {since}"
    failures = child.restarts
    if not failures:
        return why
    count = "1 failure" if failures == 1 else f"{failures} failures"
    return f"{why}, {count}: {one_line(child.last_exit)}"


IDLE: Final = 'idle: all children are at rest; auto_shutdown="never" keeps the supervisor open'


def verdict_level(exited: RawEvent, judged: RawEvent, *, warn_returned: bool) -> int:
    """Return the level of `verdict_line`."""
    action, calm = judged[7][0], exited[7][0] in CALM
    return _LEVELS.get(action, INFO if calm and not warn_returned else WARNING)


def verdict_line(exited: RawEvent, judged: RawEvent, *, warn_returned: bool) -> str:
    """Return the text for an exit and what follows from it."""
    _, _, _, _, _, path, _, (action, source, delay, used, limit, within, also, _) = judged
    _, _, _, _, _, _, attempt, (kind, detail, *_) = exited
    if action == "restart":
        line = exit_line(exited)
        if kind == "succeeded":
            although = " although permanent" if warn_returned else ""
            line = line.replace("succeeded", f"returned{although}", 1)
        return f"{line} {_restart(delay, used, limit, within, also)}{_whose(source)}"
    parent = parent_of(path)
    follows = {
        "done": "done",
        "remove": "removed",
        "quarantine": "quarantined",
        "escalate": f"escalating to {parent}",
        "shutdown": f"shutting down {parent}",
        "start_failed": "not tried again",
    }.get(action, action)
    if source == "limit":
        times = f"{limit} restart{'' if limit == 1 else 's'}{_within(within)}"
        return f"gave up: {times}; attempt={attempt} last={one_line(detail)}; {follows}"
    start = "failed to start: " if action == "start_failed" else ""
    return f"{start}{exit_line(exited)}; {follows}{_whose(source)}"


_LEVELS: Final = {"quarantine": ERROR, "escalate": ERROR, "start_failed": ERROR}


def _within(within: float) -> str:
    return "" if within == inf else f" in {within:g}s"


def _whose(source: str) -> str:
    return " (by decide)" if source == "decide" else ""


def _restart(
    delay: float, used: int, limit: int | None, within: float, also: tuple[str, ...]
) -> str:
    when = f"restart in {seconds(delay)}" if delay > 0 else "restart now"
    count = "" if limit is None else f" ({used}/{limit}{_within(within)})"
    others = f"; also restarting: {some(also, _MOST_NAMES, ', ')}" if also else ""
    return when + count + others


def unresponsive_line(raw: RawEvent) -> str:
    """Return the line of an attempt that ignores its cancel, with where it hangs."""
    waited, stack = raw[7]
    where = f"; at {some([one_line(line) for line in stack], _MOST_TASKS, '; ')}" if stack else ""
    return f"unresponsive {waited:.1f}s after cancel{where}"


def readiness_line(raw: RawEvent) -> str:
    """Return the line of a `ChildReady` or `ChildLostReadiness`."""
    cls, _, _, _, _, _, attempt, (value, *_) = raw
    if cls is ev.ChildReady:
        return f"ready attempt={attempt} after={seconds(value)}"
    return f"not ready attempt={attempt}{because(value)}"


def counted(children: int) -> str:
    """Return a number of children in words."""
    return "1 child" if children == 1 else f"{children} children"


def stopping_line(raw: RawEvent) -> str:
    """Return the line of a supervisor that begins to stop."""
    *_, (cause, reason) = raw
    return f"stopping{_cause(cause)}{because(reason)}"


def finished_line(raw: RawEvent, children: int) -> str:
    """Return the line of a supervisor that has ended."""
    *_, (cause, reason, lasted, unresponsive) = raw
    counts = f"({counted(children)}, {unresponsive} unresponsive)"
    # Why it failed was said, at length perhaps, when it began to stop.
    why = "" if cause in FAILING else because(reason)
    return f"stopped in {seconds(lasted)} {counts}{_cause(cause)}{why}"


def _cause(cause: str) -> str:
    return "" if cause == "shutdown" else f" cause={cause}"


def summary_line(kind: str, count: int, elapsed: float, attempt: int, *, traced: bool) -> str:
    """Return the line that says how often a failure was repeated."""
    what = "returned again" if kind == "succeeded" else "same failure"
    see = "traceback above" if traced else "first above"
    return f"{what} x{count} in {seconds(elapsed)} ({see}, attempt={attempt})"


_DOWN: Final[dict[type[ev.Event], str]] = {
    ev.ChildDone: "done",
    ev.ChildStopped: "stopped",
    ev.ChildQuarantined: "quarantined",
    ev.ChildRemoved: "removed",
}


def down_line(raw: RawEvent, said: str | None) -> str:
    """Return the line of a child that is down now.

    The reason is left out if the log has ``said`` it of the supervisor already.
    """
    cls, _, _, _, _, _, attempt, fields = raw
    reason = fields[0] if fields else ""
    why = "" if reason == said else because(reason)
    if not attempt and cls is ev.ChildStopped:
        return f"not started{why}"
    return f"{_DOWN[cls]}{f' attempt={attempt}' if attempt else ''}{why}"
