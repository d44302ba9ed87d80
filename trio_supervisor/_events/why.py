"""Explain how a child came to be where it is, from a snapshot and events alone.

The story of a child is told in this order: where it is now and since when; the exit of the attempt
before, what was decided about it and by which limit, and which siblings restarted with it; the
commands of operators, with their reasons; what it waits for; what happens next and when. Older
attempts are not told: the log and the journal have them.

Every statement is derived from events, or, where they are no longer kept, from the snapshot. So the
same code explains a running tree and yesterday's journal file. `Statement.kind` says what a
statement is about; tests compare each kind with the snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING, TypeVar, final

from trio_supervisor._errors import ChildNotFound
from trio_supervisor._events import events as ev
from trio_supervisor._events.fold import SnapshotBuilder, raw_of
from trio_supervisor._events.snapshot import (
    ChildSnapshot,
    ChildState,
    SupervisorSnapshot,
    SupervisorState,
)
from trio_supervisor._events.why_words import (
    asked,
    by_whom,
    caused,
    commanded,
    decided,
    ended,
    names,
    was_cancelled,
)
from trio_supervisor._lazy import public
from trio_supervisor._record import Record
from trio_supervisor._text import duration, last_name, one_line, parent_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@public
@final
class Statement(Record):
    """One sentence of an explanation.

    Attributes:
        kind: ``state`` (exactly one), ``exit decision command asked cancelled unresponsive group
            supervisor waiting next count note``.
        path: The child or supervisor that the sentence is about.
        text: The sentence.
    """

    kind: str
    path: str
    text: str


@public
def explain(
    path: str,
    base: SupervisorSnapshot,
    events: Iterable[ev.Event],
    *,
    state: SupervisorSnapshot | None = None,
) -> tuple[Statement, ...]:
    """Say how a child or supervisor came to be where it is.

    Args:
        path: Its full path, such as ``"app/feed"``.
        base: The tree before the first event: `Journal.base`, or `JournalStretch.base`.
        events: The events since then, in order.
        state: The tree after the last event. Default: that is folded. `Supervisor.state` knows more
            than the events: for which children a waiting child waits.

    Raises:
        ChildNotFound: Neither the tree nor the events know of it.

    Example::

        journal = supervisor.journal
        for statement in explain("app/feed", journal.base, journal.events):
            print(statement.text)
    """
    listed = list(events)
    if state is None:
        builder = SnapshotBuilder.from_snapshot(base)
        builder.extend(map(raw_of, listed))
        state = builder.freeze()
    return tuple(_Story(path, state, listed).tell())


@final
class _Story:
    def __init__(self, path: str, state: SupervisorSnapshot, events: Sequence[ev.Event]) -> None:
        self.path = path
        self.state = state
        self.events = events
        self.own = [event for event in events if event.path == path]
        self.now, self._wall = state.time or 0.0, state.wall
        if events and (state.time is None or events[-1].time > state.time):
            self.now, self._wall = events[-1].time, events[-1].wall

    def tell(self) -> Iterator[Statement]:
        child = _find(self.state, self.path)
        if child is None:
            supervisor = _supervisor_at(self.state, self.path)
            if supervisor is not None:
                yield from self._supervisor(supervisor)
                return
            yield from self._removed()
            return
        yield self._say("state", self._where(child))
        yield from self._earlier_runs(child)
        yield from self._history(child)
        if child.unresponsive and not any(isinstance(e, ev.ChildUnresponsive) for e in self.own):
            yield self._say("unresponsive", "It was cancelled and has not ended since.")
        yield from self._surroundings(child)
        yield from self._next(child)
        if child.restarts:
            times = "once" if child.restarts == 1 else f"{child.restarts} times"
            yield self._say("count", f"Policy has restarted it {times} so far.")
        if child.supervisor is not None:
            yield from self._supervisor(child.supervisor, kind="supervisor")

    def _say(self, kind: str, text: str) -> Statement:
        return Statement(kind, self.path, one_line(text))

    # ------------------------------------------------------------ times

    def at(self, time: float) -> str:
        """A time on Trio's clock as local time of day; with the date, if it is another day."""
        if self._wall is None:
            return f"{time:.1f} on Trio's clock"
        try:
            moment = datetime.fromtimestamp(self._wall - self.now + time).astimezone()
            today = datetime.fromtimestamp(self._wall).astimezone()
        except (OverflowError, ValueError, OSError):
            return f"{time:.1f} on Trio's clock"
        date = "" if moment.date() == today.date() else f"{moment:%Y-%m-%d} "
        return f"{date}{moment:%H:%M:%S}"

    def since(self, time: float) -> str:
        """``since 12:03:04 (for 3.2s)``."""
        return f"since {self.at(time)} (for {duration(max(0.0, self.now - time))})"

    # ------------------------------------------------------------ where it is

    def _where(self, child: ChildSnapshot) -> str:
        path, since = child.path, self.since(child.since)
        attempt = f"attempt {child.attempt}"
        match child.state:
            case ChildState.READY:
                return f"{path} is ready {since}, in {attempt}."
            case ChildState.STARTING:
                return f"{path} is starting {since}: {attempt} has not said that it is ready."
            case ChildState.NOT_READY:
                return f"{path} is running, but not ready {since}{caused(child.reason)}."
            case ChildState.STOPPING:
                return f"{path} is stopping {since}: {attempt} has not ended yet."
            case ChildState.BACKING_OFF:
                return f"{path} is down and backing off {since}: {attempt} has ended."
            case ChildState.WAITING:
                return f"{path} is waiting to start {since}."
            case ChildState.DONE:
                return f"{path} is done {since}: {attempt} has ended and nothing is left to do."
            case ChildState.STOPPED:
                return f"{path} is stopped {since}{caused(child.reason)}."
            case ChildState.QUARANTINED:
                return f"{path} is quarantined {since}{caused(child.reason)}."
            case _:  # no snapshot shows it
                return f"{path} was removed."

    def _removed(self) -> Iterator[Statement]:
        gone = next((e for e in reversed(self.own) if isinstance(e, ev.ChildRemoved)), None)
        if gone is None:
            above = [e for e in self.events if e.path == parent_of(self.path)]
            if not self.own or not above:
                raise ChildNotFound(f"neither the tree nor its events know of {self.path!r}")
            yield self._say(
                "state", f"{self.path} is gone: its supervisor {parent_of(self.path)} has ended."
            )
        else:
            yield self._say("state", f"{self.path} was removed at {self.at(gone.time)}.")
        yield from self._events(self.own[-8:])

    # ------------------------------------------------------------ how it got there

    def _earlier_runs(self, child: ChildSnapshot) -> Iterator[Statement]:
        """Leave out what was before the supervisor of ``child`` was started again."""
        parent = parent_of(child.path)
        supervisor = _supervisor_at(self.state, parent)
        run = 0 if supervisor is None else supervisor.run
        known, self.own = self.own, [event for event in self.own if event.run >= run]
        if len(self.own) < len(known):
            begun = [e for e in self.events if isinstance(e, ev.SupervisorStarted) and e.run == run]
            when = f" at {self.at(begun[-1].time)}" if begun else ""
            yield self._say("note", f"Its supervisor {parent} was started again{when}.")

    def _history(self, child: ChildSnapshot) -> Iterator[Statement]:
        live = child.state in _LIVE
        first = child.attempt - 1 if live else child.attempt
        begin = 0
        for number, event in enumerate(self.own):
            if isinstance(event, ev.ChildAdded) or (
                isinstance(event, ev.ChildStarted) and event.attempt <= first
            ):
                begin = number
        told = self.own[begin:]
        yield from self._events(told)
        if not any(isinstance(event, ev.ChildExited) for event in told) and child.last_exit:
            yield self._say("exit", f"Its last attempt that ended: {child.last_exit}.")
        if not self.own and child.attempt:
            yield self._say("note", "Its own events are no longer kept; this is its snapshot.")

    def _events(self, told: Sequence[ev.Event]) -> Iterator[Statement]:
        for number, event in enumerate(told):
            match event:
                case ev.ChildAdded():
                    parent = parent_of(self.path)
                    when, why = self.at(event.time), caused(event.reason)
                    yield self._say("note", f"It was added to {parent} at {when}{why}.")
                case ev.CommandAccepted() | ev.CommandHadNoEffect():
                    changed = isinstance(event, ev.CommandAccepted)
                    effect = "" if changed else "; that changed nothing"
                    did = commanded(event.command)
                    when = f"at {self.at(event.time)}"
                    why = caused(event.reason)
                    yield self._say("command", f"{by_whom(event)} {did} {when}{why}{effect}.")
                case ev.ChildStopRequested():
                    by_command = _command_of(told[:number], event)
                    yield self._say("asked", asked(event, self.at(event.time), by_command))
                case ev.ChildCancelled():
                    request = _last(told[:number], ev.ChildStopRequested)
                    if request is None or request.grace > 0:
                        yield self._say(
                            "cancelled", was_cancelled(event, request, self.at(event.time))
                        )
                case ev.ChildUnresponsive():
                    where = f"; it hangs at {names(event.stack)}" if event.stack else ""
                    late = f"had not ended {duration(event.seconds)} after its cancel"
                    yield self._say("unresponsive", f"Attempt {event.attempt} {late}{where}.")
                case ev.ChildExited():
                    yield self._say("exit", ended(event, self.at(event.time)))
                case ev.ExitJudged():
                    yield self._say("decision", decided(event))
                case _:
                    pass

    # ------------------------------------------------------------ what is around it

    def _surroundings(self, child: ChildSnapshot) -> Iterator[Statement]:
        """The sibling that failed and so restarts this child, and supervisors that stop."""
        cause = self._group_cause(child)
        if cause is not None:
            sibling, failed = cause
            detail = "" if failed is None else f": {failed.detail}"
            yield self._say("group", f"It restarts together with {sibling}, which failed{detail}.")
        stops = {e.path: e for e in self.events if isinstance(e, ev.SupervisorStopping)}
        for path in _above(self.path):
            if path not in stops:
                continue
            stop, supervisor = stops[path], _supervisor_at(self.state, path)
            if supervisor is not None and supervisor.state in _ENDING:
                yield self._say(
                    "supervisor",
                    f"Its supervisor {path} began to stop at {self.at(stop.time)}"
                    f" ({stop.cause}){caused(stop.reason)}.",
                )

    def _group_cause(self, child: ChildSnapshot) -> tuple[str, ev.ChildExited | None] | None:
        """The sibling that restarted this child by its exit, if the child's state is due to it."""
        parent = parent_of(self.path)
        begun = [e for e in self.own if isinstance(e, ev.ChildStarted)]
        after = begun[-2].time if len(begun) > 1 and child.state in _LIVE else None
        if after is None and begun and child.state not in _LIVE:
            after = begun[-1].time
        for event in reversed(self.events):
            if after is not None and event.time < after:
                return None
            if (
                isinstance(event, ev.ExitJudged)
                and event.action == "restart"
                and parent_of(event.path) == parent
                and child.name in event.also
            ):
                exits = [
                    e
                    for e in self.events
                    if isinstance(e, ev.ChildExited)
                    and (e.path, e.attempt) == (event.path, event.attempt)
                ]
                return last_name(event.path), exits[-1] if exits else None
        return None

    # ------------------------------------------------------------ what comes next

    def _next(self, child: ChildSnapshot) -> Iterator[Statement]:
        ending = _supervisor_at(self.state, parent_of(self.path))
        if ending is not None and ending.state in _ENDING:
            if child.state in _DOWN:
                yield self._say("next", "It does not start again: its supervisor is stopping.")
            elif child.state is ChildState.STOPPING:
                yield from self._next_of_stop(child)
            else:
                yield self._say("next", "It is stopped when its turn comes.")
            return
        match child.state:
            case ChildState.BACKING_OFF if child.until is not None:
                left = duration(max(0.0, child.until - self.now))
                yield self._say("next", f"It starts again at {self.at(child.until)} (in {left}).")
            case ChildState.WAITING:
                yield from self._waiting(child)
            case ChildState.STOPPING:
                yield from self._next_of_stop(child)
            case ChildState.STOPPED | ChildState.QUARANTINED:
                yield self._say("next", "It stays down until an operator starts it.")
            case ChildState.DONE:
                yield self._say("next", "It does not start again by itself.")
            case _:
                pass

    def _next_of_stop(self, child: ChildSnapshot) -> Iterator[Statement]:
        request = _last(self.own, ev.ChildStopRequested)
        cancelled = _last(self.own, ev.ChildCancelled)
        if request is None or request.attempt != child.attempt:
            return
        if cancelled is not None and cancelled.attempt == child.attempt:
            waited = duration(max(0.0, self.now - cancelled.time))
            yield self._say("next", f"It was cancelled {waited} ago; its end is waited for.")
        elif request.grace < inf:
            until = request.time + request.grace
            left = duration(max(0.0, until - self.now))
            yield self._say("next", f"If it has not ended by {self.at(until)} (in {left}), it is"
                            " cancelled.")  # fmt: skip
        else:
            yield self._say("next", "It takes the time that it needs: its grace has no end.")

    def _waiting(self, child: ChildSnapshot) -> Iterator[Statement]:
        if not child.waiting_for:
            yield self._say(
                "waiting",
                "It starts when its turn in the order comes and what it requires is ready.",
            )
            return
        yield self._say("waiting", f"It waits for {names(child.waiting_for)}.")
        for name in child.waiting_for[:3]:
            path = f"{parent_of(self.path)}/{name}"
            other = _find(self.state, path)
            if other is not None:
                story = _Story(path, self.state, self.events)
                tail = f" Last exit: {one_line(other.last_exit)}." if other.last_exit else ""
                text = story._where(other) + tail
                yield Statement("waiting", path, text)

    # ------------------------------------------------------------ supervisors

    def _supervisor(
        self, supervisor: SupervisorSnapshot, *, kind: str = "state"
    ) -> Iterator[Statement]:
        path = supervisor.path

        def say(kind: str, text: str) -> Statement:
            return Statement(kind, path, one_line(text))

        since = self.since(supervisor.since)
        count = len(supervisor.children)
        serving = sum(child.state in _SERVING for child in supervisor.children)
        missing = [child for child in supervisor.children if child.state not in _SERVING]
        ready = f"{serving} of {count} children are ready or done"
        match supervisor.state:
            case SupervisorState.STARTING:
                yield say(kind, f"{path} is starting {since}: {ready}.")
            case SupervisorState.RUNNING:
                yield say(kind, f"{path} is running {since}: {ready}.")
            case SupervisorState.STOPPING:
                yield say(kind, f"{path} is stopping {since}{caused(supervisor.reason)}.")
            case _:
                yield say(kind, f"{path} has finished {since}{caused(supervisor.reason)}.")
        for event in self.events:
            if event.path != path:
                continue
            if isinstance(event, ev.CommandAccepted) and event.command == "shutdown":
                when = self.at(event.time)
                yield say(
                    "command",
                    f"{by_whom(event)} shut it down at {when}{caused(event.reason)}.",
                )
            elif isinstance(event, ev.SupervisorFinished):
                hung = f", {event.unresponsive} unresponsive" if event.unresponsive else ""
                yield say("note", f"Its stop ({event.cause}) took {duration(event.seconds)}{hung}.")
        if supervisor.state in {SupervisorState.STARTING, SupervisorState.RUNNING}:
            for child in missing[:5]:
                story = _Story(child.path, self.state, self.events)
                last = f" Last exit: {one_line(child.last_exit)}." if child.last_exit else ""
                yield Statement("waiting", child.path, story._where(child) + last)
            if len(missing) > 5:
                yield say("waiting", f"So are {len(missing) - 5} more children not ready.")


E = TypeVar("E", bound=ev.Event)

_LIVE = frozenset(
    {ChildState.STARTING, ChildState.READY, ChildState.NOT_READY, ChildState.STOPPING}
)
_DOWN = frozenset(
    {
        ChildState.WAITING,
        ChildState.BACKING_OFF,
        ChildState.DONE,
        ChildState.STOPPED,
        ChildState.QUARANTINED,
    }
)
_SERVING = frozenset({ChildState.READY, ChildState.DONE})
_ENDING = frozenset({SupervisorState.STOPPING, SupervisorState.FINISHED})


def _last(events: Sequence[ev.Event], cls: type[E]) -> E | None:
    return next((event for event in reversed(events) if isinstance(event, cls)), None)


def _command_of(before: Sequence[ev.Event], request: ev.ChildStopRequested) -> bool:
    """Whether a command that was just told is what a stop request carries out."""
    return any(isinstance(e, ev.CommandAccepted) and e.time == request.time for e in before)


def _above(path: str) -> Iterator[str]:
    while path := parent_of(path):
        yield path


def _find(state: SupervisorSnapshot, path: str) -> ChildSnapshot | None:
    return state._find(path)


def _supervisor_at(state: SupervisorSnapshot, path: str) -> SupervisorSnapshot | None:
    if path == state.path:
        return state
    child = _find(state, path)
    if child is not None:
        return child.supervisor
    opener = _find(state, parent_of(path))
    opened = () if opener is None else opener.opened
    return next((each for each in opened if each.path == path), None)
