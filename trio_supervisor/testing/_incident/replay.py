"""An incident replays: what a daemon recorded becomes a run in virtual time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final, final

import attrs

from trio_supervisor._events import events as ev
from trio_supervisor._events.events import Event
from trio_supervisor._lazy import public
from trio_supervisor._specs.body import Body
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec
from trio_supervisor.testing._drive.behaviour import Behaviour, InTurn, in_turn
from trio_supervisor.testing._incident.record import Incident, Recording, incident_of
from trio_supervisor.testing._incident.relive import (
    as_recorded,
    decisions_of,
    declared,
    relive,
)
from trio_supervisor.testing._run.simulate import simulate
from trio_supervisor.testing._run.trace import Trace
from trio_supervisor.testing._script.bodies import map_children, with_body
from trio_supervisor.testing._script.code import as_code

_REAL: Final = 1.0  # seconds by which a recording on the real clock may differ
_EXACT: Final = 1e-6


@public
@final
@attrs.frozen
class Replay:
    """The result of `replay_journal`.

    Attributes:
        trace: The run in virtual time; its events can be looked at, and checked.
        differences: What is different from the recording, in words; empty if nothing is.
    """

    trace: Trace[str]
    differences: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        """True if the run is the recording."""
        return not self.differences

    def __str__(self) -> str:
        if self.is_equal:
            return f"equal: {len(self.trace.events)} events"
        return "different: " + "\n".join(self.differences)


@public
def replay_journal(
    journal: Recording,
    spec: SupervisorSpec,
    *,
    added: Mapping[str, ChildSpec[Any]] | None = None,
    slack: float | None = None,
) -> Replay:
    """Run a recorded incident again, in virtual time, with bodies that behave as recorded.

    Each attempt is ready, sends heartbeats, falls silent, ends or takes its time to stop as it did;
    commands come when they came, a ``decide`` answers as it did, and restarts wait as long. What no
    event shows is not replayed: ready values, `ChildContext.busy`, requests for more time to start.

    Args:
        journal: What was recorded from the beginning of the tree on: `Supervisor.journal`, a
            stretch of `read_journal`, or events in order.
        spec: The tree that was recorded. Its bodies are not run.
        added: Specs of children that were added at run time, by path (``"app/sessions/*"``).
        slack: By how many seconds an event may be earlier or later than recorded. Default: nothing
            for recordings in virtual time, 1 s for others, where the loop was late by a little.

    Returns:
        The run, and what is different from the recording.

    Raises:
        ValueError: The recording is empty, has a gap, or does not begin with the tree.

    Example::

        newest = read_journal("/var/log/app.journal").stretches[-1]
        print(replay_journal(newest, APP))
    """
    incident = incident_of(journal, spec, added)
    bodies = {
        path: in_turn(*(life.behaviour(incident.spec_of_added(path)) for life in lives))
        for path, lives in incident.lives.items()
    }

    def body_of_added(path: str) -> InTurn:
        return bodies.get(path, in_turn())

    trace = simulate(relive, incident, as_recorded(incident), body_of_added)
    if slack is None:
        slack = _EXACT if incident.is_simulated else _REAL
    return Replay(trace, tuple(_differences(incident, trace.events, slack)))


def _differences(incident: Incident, events: Iterable[Event], slack: float) -> Iterable[str]:
    theirs, ours = list(incident.events), list(events)
    root = incident.spec.name
    ends = any(isinstance(one, ev.SupervisorFinished) and one.path == root for one in theirs)
    if not ends:  # the replay closed the tree, and the recording did not
        closing = (at for at, one in enumerate(ours) if isinstance(one, ev.SupervisorStopping))
        ours = ours[: next((at for at in closing if ours[at].path == root), len(ours))]
    recorded, played = _by_path(theirs), _by_path(ours)
    for path in recorded:
        one, other = recorded[path], played.get(path, [])
        for number, event in enumerate(one):
            if number >= len(other):
                yield f"{_say(event, incident.begins_at)} did not come"
                break
            mine = other[number]
            late = mine.time - (event.time - incident.begins_at)
            if _shape(mine) != _shape(event) or abs(late) > slack:
                was = _say(mine, 0.0)
                yield f"{was} instead of {_say(event, incident.begins_at)}"
                break
        else:
            more = other[len(one) :]
            if more and (ends or more[0].time < incident.seconds - slack):
                yield f"{_say(other[len(one)], 0.0)} was not recorded"
    for path, surplus in played.items():
        if path not in recorded and (ends or surplus[0].time < incident.seconds - slack):
            yield f"{_say(surplus[0], 0.0)} was not recorded"


def _by_path(events: Iterable[Event]) -> dict[str, list[Event]]:
    found: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        found[event.path].append(event)
    return dict(found)


def _shape(event: Event) -> tuple[object, ...]:
    fields = ("kind", "action", "command", "cause", "generation")
    shown = tuple(getattr(event, name, None) for name in fields)
    return (type(event).__name__, event.attempt, *shown)


def _say(event: Event, begins_at: float) -> str:
    subject = f"{event.path}#{event.attempt}" if event.attempt else event.path
    named = [getattr(event, name, "") for name in ("kind", "action", "command", "cause")]
    what = " ".join([type(event).__name__, *filter(None, named)])
    return f"{subject} {what} at {event.time - begins_at:g} s"


def _pasteable(_path: str, child: ChildSpec[Any]) -> ChildSpec[Any]:
    """Return ``child`` without what no source text can name; its body is replaced in any case."""
    if child.args or isinstance(child.run, Body):
        return with_body(child, Behaviour()).replace(args=())
    return child


@public
def as_test(
    journal: Recording,
    spec: SupervisorSpec,
    *,
    added: Mapping[str, ChildSpec[Any]] | None = None,
    name: str = "incident",
) -> str:
    """Return a test, to be pasted, that repeats a recorded incident.

    The test opens the tree with a `Behaviour` for each recorded attempt, gives the recorded
    commands, and asserts how often each child started. Change the tree until what you want is
    asserted: then it is the test that the incident does not come back.

    Args:
        journal: As for `replay_journal`.
        spec: The tree that was recorded.
        added: As for `replay_journal`.
        name: The test's name, after ``test_``.

    Raises:
        ValueError: As `replay_journal`.
    """
    incident = incident_of(journal, spec, added)
    specs = incident.specs()
    delays, _ = decisions_of(incident)
    lines = [
        f"def test_{name}():",
        f"    app = {as_code(map_children(spec, _pasteable))}".replace("\n", "\n    "),
        "    recorded = {",
    ]
    root = len(spec.name) + 1
    for path, lives in incident.lives.items():
        if specs[path].supervisor is not None:
            continue
        lines.append(f"        {path!r}: in_turn(")
        lines += [f"            {life.behaviour(specs[path])!r}," for life in lives]
        lines.append("        ),")
    lines += [
        "    }",
        "    # How long restarts waited; leave a child out, and it waits as declared.",
        "    delays = {",
        *(f"        {path!r}: {found!r}," for path, found in declared(spec, delays).items()),
        "    }",
        "",
        "    async def scenario():",
        "        tree = with_delays(with_bodies(app, recorded), delays)",
        "        async with open_supervisor(tree, wait_ready=False) as supervisor:",
    ]
    now = 0.0
    for event in incident.events:
        if isinstance(event, ev.CommandAccepted) and event.path != spec.name:
            at = event.time - incident.begins_at
            if at > now:
                lines.append(f"            await trio.sleep_until({at!r})")
                now = at
            call = f"{event.command}_child({event.path[root:]!r}, reason={event.reason!r})"
            lines.append(f"            await supervisor.{call}")
    stops = [
        event.time
        for event in incident.events
        if isinstance(event, ev.SupervisorStopping) and event.path == spec.name
    ]
    end = (stops[0] - incident.begins_at) if stops else incident.seconds
    lines.append(f"            await trio.sleep_until({end!r})")
    starts = Counter(event.path for event in incident.events if isinstance(event, ev.ChildStarted))
    lines += [
        "",
        "    trace = simulate(scenario)",
        "    started = Counter(e.path for e in trace.events if isinstance(e, ChildStarted))",
        f"    assert started == {dict(starts)!r}",
    ]
    return "\n".join(lines)
