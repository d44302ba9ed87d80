"""A recorded tree as lives of attempts: when each was ready, when and how it ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any, Final, TypeAlias, final

import attrs

from trio_supervisor._events import events as ev
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec
from trio_supervisor.testing._drive.behaviour import Behaviour
from trio_supervisor.testing._script.bodies import matches, walk

Recording: TypeAlias = "Any"
"""A `Journal`, a `JournalStretch`, a `Subscription`'s events, or any events in order."""

_OWN_ENDS: Final[dict[str, Any]] = {
    "succeeded": "return",
    "failed": "fail",
    "crashed": "crash",
    "self_cancelled": "cancel_self",
    "fatal": "crash",
}


@final
@attrs.define
class Life:
    """One attempt; all times but `start` are seconds from its start.

    Attributes:
        start: Seconds from the beginning of the recording.
        ready: When it was ready, and (with false) when it withdrew that.
        asked: When its stop was requested.
        cancelled: When it was cancelled.
        ended: When it ended.
    """

    path: str
    start: float
    ready: list[tuple[float, bool]] = attrs.Factory(list)
    asked: float = inf
    cancelled: float = inf
    ended: float = inf
    kind: str = ""
    detail: str = ""

    @property
    def ends_by_itself(self) -> bool:
        """True if neither a command nor a deadline ended it."""
        return self.ended < inf and self.asked == inf and self.cancelled == inf

    def behaviour(self, spec: ChildSpec[Any]) -> Behaviour:
        """Return a body that behaves like this attempt."""
        options: dict[str, Any] = {}
        if spec.is_explicit:
            options["ready_at"] = next((at for at, is_ready in self.ready if is_ready), inf)
        lost = [at for at, is_ready in self.ready if not is_ready]
        if lost:
            options["not_ready_at"] = lost[0]
            again = [at for at, is_ready in self.ready if is_ready and at > lost[0]]
            options["ready_again_at"] = again[0] if again else inf
        options |= self._end()
        if spec.stale_after < inf:
            options |= self._heartbeats(spec.stale_after)
        defaults = {field.name: field.default for field in attrs.fields(Behaviour)}
        changed = {name: value for name, value in options.items() if value != defaults[name]}
        return Behaviour(**changed)

    def _end(self) -> dict[str, Any]:
        if self.ends_by_itself:
            cause = self.detail.partition(": ")[2] or self.detail
            return {"ends_at": self.ended, "how": _OWN_ENDS.get(self.kind, "crash")} | (
                {"message": cause} if self.kind in ("crashed", "failed", "fatal") else {}
            )
        options: dict[str, Any] = {}
        if self.asked < inf and self.ended < self.cancelled:
            options["stop_takes"] = self.ended - self.asked
        elif self.cancelled < self.ended < inf:
            options |= {"at_cancel": "shield", "cancel_takes": self.ended - self.cancelled}
        elif self.kind == "crashed":
            options["at_cancel"] = "crash"
        return options

    def _heartbeats(self, stale_after: float) -> dict[str, Any]:
        pause = stale_after / 2
        if self.kind != "unhealthy":
            return {"beat_every": pause}
        last = self.asked - stale_after  # of its last sign of life
        first = next((at for at, is_ready in self.ready if is_ready), 0.0)
        if last <= first:
            return {}  # it never sent a heartbeat
        beats = max(round(last / pause), 1)
        return {"beat_every": last / beats, "silent_at": last + pause / 10}


@final
@attrs.frozen
class Incident:
    """A recording, prepared for a replay.

    Attributes:
        events: All of them; the first one is the beginning of the tree.
        lives: The attempts of each path below the root, in order of their start.
        begins_at: The time of the first event.
        is_simulated: Whether the recording itself was made in virtual time.
    """

    spec: SupervisorSpec
    events: tuple[ev.Event, ...]
    lives: Mapping[str, tuple[Life, ...]]
    begins_at: float
    is_simulated: bool
    added: Mapping[str, ChildSpec[Any]]

    @property
    def seconds(self) -> float:
        """The length of the recording, in seconds."""
        return self.events[-1].time - self.begins_at

    def specs(self) -> dict[str, ChildSpec[Any]]:
        """Return the declaration of each path below the root that is in the recording."""
        declared = dict(walk(self.spec))
        root = len(self.spec.name) + 1
        for event in self.events:
            path = event.path[root:]
            if isinstance(event, ev.ChildAdded) and path not in declared:
                declared[path] = self.spec_of_added(path)
        return declared

    def spec_of_added(self, path: str) -> ChildSpec[Any]:
        """Return the declaration of a child that was added at run time."""
        name = path.rpartition("/")[2]
        for pattern, spec in self.added.items():
            if matches(pattern.removeprefix(f"{self.spec.name}/"), path):
                return spec.replace(name=name)
        return ChildSpec(name, Behaviour(), readiness="explicit", start_timeout=inf)


def incident_of(
    recording: Recording,
    spec: SupervisorSpec,
    added: Mapping[str, ChildSpec[Any]] | None,
) -> Incident:
    """Prepare a recording.

    Raises:
        ValueError: The recording is empty, has a gap, or does not begin with the tree, or it is of
            a tree of another name.
    """
    found: Any = getattr(recording, "events", recording)
    events: tuple[Any, ...] = tuple(found)
    if not events:
        raise ValueError("the recording is empty: there is nothing to replay")
    gap = next((event for event in events if isinstance(event, ev.EventGap)), None)
    if gap is not None:
        raise ValueError(f"the recording has a gap of {gap.lost} events: give it up to there")
    first = events[0]
    if not isinstance(first, ev.SupervisorStarted) or "/" in first.path:
        raise ValueError(
            f"the recording begins with #{first.sequence} ({type(first).__name__}), not with the "
            "start of the tree: give a journal from the beginning, such as a stretch of a "
            "JournalFile, or a larger journal"
        )
    if first.path != spec.name:
        raise ValueError(f"the recording is of {first.path!r}, and the spec of {spec.name!r}")
    simulated = all(event.wall == event.time for event in events)
    lives = _lives(events, len(spec.name) + 1)
    return Incident(spec, events, lives, first.time, simulated, dict(added or {}))


def _lives(events: Iterable[ev.Event], root: int) -> dict[str, tuple[Life, ...]]:
    found: defaultdict[str, list[Life]] = defaultdict(list)
    began: dict[str, float] = {}
    begins_at: float | None = None
    for event in events:
        begins_at = event.time if begins_at is None else begins_at
        path = event.path[root:]
        if isinstance(event, ev.ChildStarted):
            began[path] = event.time
            found[path].append(Life(path, event.time - begins_at))
            continue
        if path not in began or not event.attempt:
            continue
        life, age = found[path][-1], event.time - began[path]
        if isinstance(event, ev.ChildReady):
            life.ready.append((age, True))
        elif isinstance(event, ev.ChildLostReadiness):
            life.ready.append((age, False))
        elif isinstance(event, ev.ChildStopRequested):
            life.asked = age
        elif isinstance(event, ev.ChildCancelled):
            life.cancelled = age
        elif isinstance(event, ev.ChildExited):
            life.ended, life.kind, life.detail = age, event.kind, event.detail
    return {path: tuple(lives) for path, lives in found.items()}
