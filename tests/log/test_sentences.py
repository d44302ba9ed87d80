"""Each sentence of the log agrees with the events, in any lifecycle, and no failure is left out."""

from __future__ import annotations

import logging
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from trio_supervisor._events import events as ev
from trio_supervisor._events.fold import raw_of
from trio_supervisor._logging.tree_log import TreeLog
from trio_supervisor.testing import commands, exercise, simulate, supervisor_specs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FAILURES = {"crashed", "failed", "timed_out", "unhealthy", "self_cancelled"}
LABELS = (
    "crashed|failed|timed out|unhealthy|self cancelled|returned|succeeded|aborted|stopped|fatal"
)


class Keeper(logging.Handler):
    """Keeps records, each with the number of events that had been written before."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[tuple[int, logging.LogRecord]] = []
        self.seen = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((self.seen, record))


def log_of(events: Sequence[ev.Event]) -> list[tuple[int, logging.LogRecord]]:
    """What is logged of ``events``, with the timer of a collector."""
    logger = logging.Logger("sentences", logging.INFO)  # noqa: LOG001 - nothing else knows it
    keeper = Keeper()
    logger.addHandler(keeper)
    log = TreeLog(logger)
    for number, event in enumerate(events, 1):
        while log.due < event.time:
            log.tick(log.due)
        keeper.seen = number
        log.on_event(raw_of(event))
        following = events[number] if number < len(events) else None
        if following is None or following.time != event.time or following.path != event.path:
            log.flush()
    return keeper.records


def any_of(
    events: Sequence[ev.Event], cls: type[ev.Event], path: str, *attempts: str, **fields: Any
) -> list[ev.Event]:
    return [
        event
        for event in events
        if type(event) is cls and event.path == path
        if not attempts or event.attempt == int(attempts[0])
        if all(getattr(event, name) == value for name, value in fields.items())
    ]


def exited(past: Sequence[ev.Event], path: str, found: re.Match[str]) -> None:
    label, attempt = found.groups()
    kind = {"returned": "succeeded"}.get(label, label.replace(" ", "_"))
    (event,) = any_of(past, ev.ChildExited, path, attempt)[-1:]
    assert isinstance(event, ev.ChildExited)
    assert event.kind == kind or (label == "stopped" and event.kind in {"aborted", "stopped"})


def came_to_rest(past: Sequence[ev.Event], path: str, found: re.Match[str]) -> None:
    word, attempt = found.groups()
    kinds: dict[str, type[ev.Event]] = {
        "stopped": ev.ChildStopped,
        "done": ev.ChildDone,
        "quarantined": ev.ChildQuarantined,
        "removed": ev.ChildRemoved,
    }
    assert any_of(past, kinds[word], path)
    if word == "stopped":
        assert attempt, "what never ran cannot have stopped"
    if attempt:
        assert any_of(past, ev.ChildExited, path, attempt)


def not_started(past: Sequence[ev.Event], path: str, found: re.Match[str]) -> None:
    (event,) = any_of(past, ev.ChildStopped, path)[-1:]
    assert not any_of([e for e in past if e.run == event.run], ev.ChildStarted, path)


def is_ready(past: Sequence[ev.Event], path: str, found: re.Match[str]) -> None:
    (event,) = any_of(past, ev.ChildReady, path, found[1])[-1:]
    later = past[past.index(event) + 1 :]
    assert not any_of(later, ev.ChildExited, path, found[1]), "it is over when this is said"


def cut_off(past: Sequence[ev.Event], path: str, found: re.Match[str]) -> None:
    (cancel,) = any_of(past, ev.ChildCancelled, path, found[1])[-1:]
    (request,) = any_of(past, ev.ChildStopRequested, path, found[1])[-1:]
    assert isinstance(request, ev.ChildStopRequested)
    assert request.grace > 0
    assert cancel.time >= request.time


def happened(cls: type[ev.Event]) -> Callable[[Sequence[ev.Event], str, re.Match[str]], None]:
    def check(past: Sequence[ev.Event], path: str, found: re.Match[str]) -> None:
        attempts = [each for each in found.groups() if each]
        assert any_of(past, cls, path, *attempts)

    return check


def gave_up(past: Sequence[ev.Event], path: str, found: re.Match[str]) -> None:
    assert any_of(past, ev.ExitJudged, path, found[1], source="limit")


def repeated(past: Sequence[ev.Event], path: str, found: re.Match[str]) -> None:
    assert len(any_of(past, ev.ChildExited, path)) > int(found[1])


SENTENCES: list[tuple[str, Callable[[Sequence[ev.Event], str, re.Match[str]], None]]] = [
    (rf"(?:failed to start: )?({LABELS})(?: although permanent)? attempt=(\d+)\b.* up=.*", exited),
    (r"(stopped|done|quarantined|removed)(?: attempt=(\d+))?(?: reason=.*)?", came_to_rest),
    (r"not started(?: reason=.*)?", not_started),
    (r"ready attempt=(\d+) after=.*", is_ready),
    (r"not ready attempt=(\d+).*", happened(ev.ChildLostReadiness)),
    (r"cut off attempt=(\d+) .*", cut_off),
    (r"gave up: .*; attempt=(\d+) last=.*", gave_up),
    (r"(?:same failure|returned again) x(\d+) in .*", repeated),
    (r"(?:unhealthy|timed out) attempt=(\d+) .*; (?:stopping|cancelling) it.*",
     happened(ev.ChildStopRequested)),
    (r"still stopping attempt=(\d+) after .*", happened(ev.ChildStopRequested)),
    (r"unresponsive .*", happened(ev.ChildUnresponsive)),
    (r"accepted .*", happened(ev.CommandAccepted)),
    (r"ready after=.*", happened(ev.SupervisorReady)),
    (r"idle: .*", happened(ev.SupervisorIdle)),
    (r"stopping(?: cause=.*)?(?: reason=.*)?", happened(ev.SupervisorStopping)),
    (r"stopped in .*", happened(ev.SupervisorFinished)),
    (r"decide\(\) raised .*", happened(ev.ExitJudged)),
]  # fmt: skip


def check_sentence(record: logging.LogRecord, past: Sequence[ev.Event]) -> str:
    assert record.msg == "%s %s", record.getMessage()  # else something could not be logged
    path, line = record.args  # type: ignore[misc]
    assert isinstance(path, str)
    assert isinstance(line, str)
    assert record.path == path  # type: ignore[attr-defined]
    assert " inf" not in line
    for pattern, check in SENTENCES:
        found = re.fullmatch(pattern, line)
        if found is not None:
            check(past, path, found)
            return pattern
    raise AssertionError(f"no test knows this sentence: {line}")


def check_log(events: Sequence[ev.Event], seen: Counter[str]) -> None:
    told: Counter[str] = Counter()
    by_number = {event.sequence: event for event in events}
    for count, record in log_of(events):
        past = events[:count]
        seen[check_sentence(record, past)] += 1
        sequence = getattr(record, "sequence", None)
        if sequence is not None:
            event = by_number[sequence]
            assert record.created == event.wall
            assert record.event == type(event).__name__  # type: ignore[attr-defined]
            assert sequence <= past[-1].sequence
        exit_ = getattr(record, "exit", None)
        if exit_ in FAILURES:
            told[record.path] += getattr(record, "repeats", 1)  # type: ignore[attr-defined]
    failed = Counter(
        event.path
        for event in events
        if isinstance(event, ev.ChildExited) and event.kind in FAILURES
    )
    assert told == failed, "each failure is one line, or counted in one"


@st.composite
def lifecycles(draw: st.DrawFn) -> Any:
    spec = draw(supervisor_specs(depth=1))
    return spec, draw(commands(spec))


def test_no_sentence_contradicts_the_events_and_no_failure_is_left_out() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=200, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(lifecycles())
    def search(case: Any) -> None:
        check_log(simulate(exercise, *case).trees[0].events, seen)  # type: ignore[arg-type]

    search()
    assert len(seen) >= 8, seen
