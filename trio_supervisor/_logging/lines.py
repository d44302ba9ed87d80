"""The words of the log: one line per fact, path first."""

from __future__ import annotations

from logging import ERROR, INFO, WARNING
from math import inf
from typing import TYPE_CHECKING, Any, Final

from trio_supervisor._events import events as ev
from trio_supervisor._text import one_line, parent_of, quoted, some

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_supervisor._events.fold import RawEvent

CALM: Final = frozenset({"succeeded", "stopped", "aborted"})
"""Kinds of exits that are nobody's failure."""

FAILING: Final = frozenset({"limit", "escalated", "start_failed", "broken"})
"""Causes for which a supervisor ends that are somebody's failure."""

TO_BE_FINISHED: Final = "to be finished, return from the body"

_MOST_NAMES = 8
_MOST_TASKS = 4


def seconds(value: float) -> str:
    """A duration as short as it can be read: 0.4s, 2.31s, 41.2s, 120s."""
    if value < 10:
        text = f"{value:.2f}"
        return f"{text.removesuffix('0')}s"
    return f"{value:.1f}".removesuffix(".0") + "s" if value < 100 else f"{value:.0f}s"


def because(reason: str) -> str:
    """What to append for a reason, if there is one."""
    return f" reason={quoted(reason)}" if reason else ""


def by_whom(by: Sequence[Any]) -> str:
    """What to append for the operator of a command, if it came over the control socket."""
    if not by:
        return ""
    user, uid, pid = by
    return f" by={one_line(user) or uid} uid={uid} pid={pid}"


def exit_line(exited: RawEvent) -> str:
    """How an attempt ended: ``crashed attempt=3 ConnectionResetError: ... up=41.2s``."""
    kind, detail, lasted, _ = exited[7]
    label = kind.replace("_", " ")
    detail = one_line(detail).removeprefix(label).removeprefix(":").strip()
    if kind == "self_cancelled":
        detail = f"{detail} ({TO_BE_FINISHED})".lstrip()
    return f"{label} attempt={exited[6]}{' ' if detail else ''}{detail} up={seconds(lasted)}"


def unjudged_line(exited: RawEvent) -> str:
    """A failure that changes nothing: the child was to end anyway."""
    stop_reason = exited[7][3]
    return f"{exit_line(exited)} while stopping{because(stop_reason or '')}"


def fatal_line(exited: RawEvent) -> str:
    """Something that is nobody's failure, and ends everything."""
    return f"{exit_line(exited)}; stopping {parent_of(exited[5])}"


def verdict_line(exited: RawEvent, judged: RawEvent, *, warn_returned: bool) -> tuple[int, str]:
    """Level and text for an exit and what follows from it."""
    action, source, delay, used, limit, within, also, _ = judged[7]
    kind = exited[7][0]
    calm = kind in CALM
    if action == "restart":
        line = exit_line(exited)
        if kind == "succeeded":
            although = " although permanent" if warn_returned else ""
            line = line.replace("succeeded", f"returned{although}", 1)
        level = INFO if calm and not warn_returned else WARNING
        return level, f"{line} {_restart(delay, used, limit, within, also)}{_whose(source)}"
    parent = parent_of(judged[5])
    follows = {
        "done": "done",
        "remove": "removed",
        "quarantine": "quarantined",
        "escalate": f"escalating to {parent}",
        "shutdown": f"shutting down {parent}",
        "start_failed": "not tried again",
    }.get(action, action)
    level = _LEVELS.get(action, INFO if calm else WARNING)
    if source == "limit":
        times = f"{limit} restart{'' if limit == 1 else 's'}{_within(within)}"
        last = one_line(exited[7][1])
        return level, f"gave up: {times}; attempt={exited[6]} last={last}; {follows}"
    start = "failed to start: " if action == "start_failed" else ""
    return level, f"{start}{exit_line(exited)}; {follows}{_whose(source)}"


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
    """Who hangs, and where."""
    waited, stack = raw[7]
    where = f"; at {some([one_line(line) for line in stack], _MOST_TASKS, '; ')}" if stack else ""
    return f"unresponsive {waited:.1f}s after cancel{where}"


def readiness_line(raw: RawEvent) -> str:
    """Of `ChildReady` or `ChildLostReadiness`."""
    if raw[0] is ev.ChildReady:
        return f"ready attempt={raw[6]} after={seconds(raw[7][0])}"
    return f"not ready attempt={raw[6]}{because(raw[7][0])}"


def counted(children: int) -> str:
    """So many children."""
    return "1 child" if children == 1 else f"{children} children"


def stopping_line(raw: RawEvent) -> str:
    """Why a supervisor begins to stop."""
    cause, reason = raw[7]
    return f"stopping{_cause(cause)}{because(reason)}"


def finished_line(raw: RawEvent, children: int) -> str:
    """How a supervisor ended."""
    cause, reason, lasted, unresponsive = raw[7]
    counts = f"({counted(children)}, {unresponsive} unresponsive)"
    # Why it failed was said, at length perhaps, when it began to stop.
    why = "" if cause in FAILING else because(reason)
    return f"stopped in {seconds(lasted)} {counts}{_cause(cause)}{why}"


def _cause(cause: str) -> str:
    return "" if cause == "shutdown" else f" cause={cause}"


def summary_line(kind: str, count: int, elapsed: float, attempt: int, *, traced: bool) -> str:
    """How often a failure was repeated."""
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
    """A child that is down now, and why unless that was ``said`` of its supervisor already."""
    attempt = f" attempt={raw[6]}" if raw[6] else ""
    reason = raw[7][0] if raw[7] else ""
    return f"{_DOWN[raw[0]]}{attempt}{'' if reason == said else because(reason)}"
