"""The clauses of which explanations are made."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from trio_supervisor._text import duration, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_supervisor._events import events as ev

_MOST_NAMES = 8


def names(given: Sequence[str]) -> str:
    """Names in one line, not more than a reader can take in."""
    shown = ", ".join(one_line(name) for name in given[:_MOST_NAMES])
    more = len(given) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def caused(reason: str) -> str:
    """The end of a statement for which there is a reason."""
    return f": {one_line(reason)}" if reason else ""


def by_whom(event: ev.CommandAccepted | ev.CommandHadNoEffect) -> str:
    """The operator of a command, or the program itself."""
    if event.uid is None:
        return "The program"
    user = f"Operator {one_line(event.user)}".rstrip()
    return f"{user} (uid {event.uid}, pid {event.pid})"


def commanded(command: str) -> str:
    """The act of an operator, for a command."""
    return {
        "stop": "stopped it",
        "restart": "restarted it",
        "quarantine": "quarantined it",
        "remove": "removed it",
    }.get(command, f"gave the command {command}")


def ended(event: ev.ChildExited, when: str) -> str:
    """The end of an attempt, as a sentence."""
    kind = event.kind.replace("_", " ")
    detail = one_line(event.detail).removeprefix(kind).removeprefix(":").strip()
    how = _ENDS.get(event.kind, f"ended ({kind})")
    tail = f": {detail}" if detail else ""
    return f"Attempt {event.attempt} {how} at {when}, after {duration(event.seconds)}{tail}."


_ENDS = {
    "succeeded": "returned",
    "failed": "failed",
    "crashed": "crashed",
    "timed_out": "took too long and was ended",
    "unhealthy": "was silent and was ended",
    "stopped": "stopped as it was asked to",
    "aborted": "ended by its cancel",
    "self_cancelled": "cancelled itself",
    "fatal": "raised an exception that ends the program",
}


def asked(event: ev.ChildStopRequested, when: str, by_command: bool) -> str:
    """The stop request of an attempt: when, why, and how long it has."""
    why = "" if by_command else caused(event.reason)
    if event.grace == 0:
        how = "and cancelled at once"
    elif event.grace == inf:
        how = "with all the time that it needs"
    else:
        how = f"with {duration(event.grace)} to end by itself"
    return f"Attempt {event.attempt} was asked to stop at {when}, {how}{why}."


def was_cancelled(
    event: ev.ChildCancelled, request: ev.ChildStopRequested | None, when: str
) -> str:
    """The cancel of an attempt that had a grace: whether that was over."""
    early = request is not None and event.time < request.time + request.grace
    if request is None or not early:
        how = ": its grace was over"
    elif request.grace == inf:
        how = ", before it had ended by itself"
    else:
        how = f", before its grace of {duration(request.grace)} was over"
    return f"Attempt {event.attempt} was cancelled at {when}{how}."


def decided(event: ev.ExitJudged) -> str:
    """The decision about an exit: by what, and what share of the limit is used."""
    if event.source == "limit":
        within = "" if event.within == inf else f" in {duration(event.within)}"
        most = f"{event.limit} restart{'' if event.limit == 1 else 's'}{within}"
        then = _LIMITS.get(event.action, event.action)
        return f"Its restart limit of {most} was used up, so {then}."
    judge = {
        "decide": "Its decide function",
        "first_start": "The rule for first starts",
    }.get(event.source, "Its restart policy")
    text = f"{judge} {_ACTIONS.get(event.action, event.action)}"
    if event.action == "restart":
        text += f" after {duration(event.delay)}" if event.delay > 0 else " at once"
        if event.limit is not None:
            within = "" if event.within == inf else f" in {duration(event.within)}"
            text += f" (restart {event.used} of {event.limit}{within})"
        if event.also:
            text += f", together with {names(event.also)}"
    if event.error:
        text += f"; its decide function had raised: {one_line(event.error)}"
    return f"{text}."


_ACTIONS = {
    "restart": "starts it again",
    "done": "leaves it at that: it is done",
    "remove": "removes it",
    "quarantine": "quarantines it",
    "escalate": "hands the failure to the supervisor above",
    "shutdown": "ends the tree",
    "start_failed": "does not try again: it was never ready",
}
_LIMITS = {
    "quarantine": "it was quarantined",
    "escalate": "the failure was handed to the supervisor above",
}
