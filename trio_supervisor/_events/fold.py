"""Fold: apply events to snapshots.

The machine can make a snapshot of itself at any time. Folding the events since an older snapshot
into that one gives the same result. Both ways have to agree, always: this shows that the events
leave nothing out.

The rules are written once, each as the change of a single child. `fold` applies them to frozen
snapshots, along one path from the root; `SnapshotBuilder` applies them in place, to the tree that
the journal keeps behind its oldest event. An event about a child or supervisor that the snapshot
does not know changes nothing: it follows one that was missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import attrs

from trio_supervisor._errors import SpecError
from trio_supervisor._events import events as ev
from trio_supervisor._events.snapshot import (
    BLANK,
    ChildSnapshot,
    ChildState,
    SupervisorSnapshot,
    SupervisorState,
    as_previous,
    step_towards,
)
from trio_supervisor._lazy import public
from trio_supervisor._record import values_of
from trio_supervisor._text import last_name, parent_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

RawEvent: TypeAlias = tuple[Any, ...]
"""An event that has not been read yet: its class, the fields that all events have, and one tuple
of the fields that only its class has. (One tuple inside the other is what costs least to make.)"""

# Where to find what in a `RawEvent`.
CLS, SEQUENCE, TIME, WALL, RUN, PATH, ATTEMPT, FIELDS = range(8)


def raw_of(event: ev.Event) -> RawEvent:
    """Return the bare fields of ``event``, without a live exception."""
    fields = values_of(event)
    if type(event) is ev.ChildExited:
        fields = fields[:-1]
    return (type(event), *fields[: FIELDS - 1], fields[FIELDS - 1 :])


def event_of(raw: RawEvent, error: BaseException | None = None) -> ev.Event:
    """Return the event that ``raw`` stands for; a `ChildExited` with ``error``."""
    cls, sequence, time, wall, run, path, attempt, fields = raw
    event: ev.Event
    if error is None or cls is not ev.ChildExited:
        event = cls(sequence, time, wall, run, path, attempt, *fields)
    else:
        live: dict[str, Any] = {"error": error}
        event = cls(sequence, time, wall, run, path, attempt, *fields, **live)
    return event


# ---------------------------------------------------------------- what the rules work on


@final
class _Child:
    """A child on which the rules work."""

    __slots__ = (
        "attempt",
        "generation",
        "last_exit",
        "opened",
        "path",
        "previous",
        "reason",
        "restarts",
        "since",
        "state",
        "supervisor",
        "unresponsive",
        "until",
    )

    def __init__(self, path: str, since: float) -> None:
        self.path = path
        self.state = _WAITING
        self.attempt = self.generation = self.restarts = 0
        self.since = since
        self.until: float | None = None
        self.reason = self.last_exit = ""
        self.unresponsive = False
        self.supervisor: _Supervisor | None = None
        self.opened: dict[str, _Supervisor] | None = None
        self.previous: SupervisorSnapshot | None = None

    @classmethod
    def thaw(cls, child: ChildSnapshot) -> _Child:
        """A copy of ``child`` that can change, without what is below it."""
        node = cls(child.path, child.since)
        node.state, node.attempt, node.generation = child.state, child.attempt, child.generation
        node.until, node.reason, node.unresponsive = child.until, child.reason, child.unresponsive
        node.restarts, node.last_exit = child.restarts, child.last_exit
        node.previous = child.previous
        return node

    def freeze(
        self,
        supervisor: SupervisorSnapshot | None = None,
        opened: tuple[SupervisorSnapshot, ...] = (),
    ) -> ChildSnapshot:
        """A snapshot of the child, with ``supervisor`` and what it has ``opened`` below it."""
        return ChildSnapshot(
            last_name(self.path),
            self.path,
            self.state,
            self.attempt,
            self.generation,
            self.since,
            self.until,
            self.reason,
            self.unresponsive,
            self.restarts,
            self.last_exit,
            supervisor,
            opened=opened,
            previous=self.previous,
        )

    def clear_below(self) -> None:
        """Forget every supervisor in the attempt, which has ended."""
        if self.supervisor is not None:
            self.supervisor.vanish()
            self.supervisor = None
        if self.opened is not None:
            for below in self.opened.values():
                below.vanish()
            self.opened = None


@final
class _Supervisor:
    """A supervisor in a `SnapshotBuilder`; in ``index`` its children can be found by path."""

    __slots__ = ("children", "index", "path", "reason", "run", "since", "state")

    def __init__(self, path: str, run: int, since: float, index: dict[str, _Child]) -> None:
        self.path = path
        self.run = run
        self.state = SupervisorState.STARTING
        self.since = since
        self.reason = ""
        self.children: dict[str, _Child] = {}
        self.index = index

    @classmethod
    def begun(cls, raw: RawEvent, index: dict[str, _Child]) -> _Supervisor:
        """As a `SupervisorStarted` describes it."""
        path, time = raw[PATH], raw[TIME]
        here = cls(path, raw[RUN], time, index)
        for name in raw[FIELDS][0]:
            here.add(_Child(f"{path}/{name}", time))
        return here

    @classmethod
    def thaw(cls, snapshot: SupervisorSnapshot, index: dict[str, _Child]) -> _Supervisor:
        """A copy of ``snapshot`` that can change, with all that is below it."""
        here = cls(snapshot.path, snapshot.run, snapshot.since, index)
        here.state, here.reason = snapshot.state, snapshot.reason
        for child in snapshot.children:
            node = _Child.thaw(child)
            if child.supervisor is not None:
                node.supervisor = cls.thaw(child.supervisor, index)
            if child.opened:
                node.opened = {each.path: cls.thaw(each, index) for each in child.opened}
            here.add(node)
        return here

    def add(self, child: _Child) -> None:
        """Take in a child, as the last one."""
        self.children[child.path] = self.index[child.path] = child

    def drop(self, child: _Child) -> None:
        """Forget a child and what is below it."""
        del self.children[child.path], self.index[child.path]
        child.clear_below()

    def vanish(self) -> None:
        """Forget all children: nothing below this supervisor exists any longer."""
        for child in list(self.children.values()):
            self.drop(child)

    def freeze(self) -> SupervisorSnapshot:
        """A snapshot of the supervisor, with everything below it."""
        children = tuple(
            child.freeze(
                None if child.supervisor is None else child.supervisor.freeze(),
                () if child.opened is None else tuple([s.freeze() for s in child.opened.values()]),
            )
            for child in self.children.values()
        )
        name = last_name(self.path)
        return SupervisorSnapshot(
            name, self.path, self.run, self.state, self.since, self.reason, children
        )


# ---------------------------------------------------------------- the rules

# Plain names are what a fold over thousands of events can afford to look up.
_WAITING: Final = ChildState.WAITING
_STARTING: Final = ChildState.STARTING
_READY: Final = ChildState.READY


def _enter(state: ChildState, *, has_reason: bool = False) -> Callable[[_Child, RawEvent], None]:
    """The rule of most events: enter ``state``, for the reason that is their first own field."""

    def rule(child: _Child, raw: RawEvent) -> None:
        child.state = state
        child.since = raw[TIME]
        child.until = None
        child.reason = raw[FIELDS][0] if has_reason else ""

    return rule


def _started(child: _Child, raw: RawEvent) -> None:
    child.state = _STARTING
    child.since = raw[2]
    child.until = None
    child.reason = ""
    child.unresponsive = False
    child.attempt = raw[6]
    child.generation = raw[7][0]


def _ready(child: _Child, raw: RawEvent) -> None:
    child.state = _READY
    child.since = raw[2]
    child.until = None
    child.reason = ""


def _exited(child: _Child, raw: RawEvent) -> None:
    child.state = _WAITING
    child.since = raw[2]
    child.until = None
    child.reason = ""
    child.unresponsive = False
    child.last_exit = raw[7][1]
    if child.supervisor is not None or child.opened is not None:
        if child.supervisor is not None:
            child.previous = as_previous(child.supervisor.freeze())
        child.clear_below()


def _judged(child: _Child, raw: RawEvent) -> None:
    if raw[7][0] == "restart":
        child.restarts += 1


def _backing_off(child: _Child, raw: RawEvent) -> None:
    child.state = ChildState.BACKING_OFF
    child.since = raw[TIME]
    child.until = raw[FIELDS][0]
    child.reason = ""


def _unresponsive(child: _Child, _raw: RawEvent) -> None:
    child.unresponsive = True


# The rules of a restart's four events use numbers instead of these names, which costs less.
assert (TIME, ATTEMPT, FIELDS) == (2, 6, 7)

_CHILD_RULES: Final[dict[type[ev.Event], Callable[[_Child, RawEvent], None]]] = {
    ev.ChildWaiting: _enter(ChildState.WAITING),
    ev.ChildStarted: _started,
    ev.ChildReady: _ready,
    ev.ChildLostReadiness: _enter(ChildState.NOT_READY, has_reason=True),
    ev.ChildStopRequested: _enter(ChildState.STOPPING, has_reason=True),
    ev.ChildUnresponsive: _unresponsive,
    ev.ChildExited: _exited,
    ev.ExitJudged: _judged,
    ev.ChildBackingOff: _backing_off,
    ev.ChildDone: _enter(ChildState.DONE),
    ev.ChildStopped: _enter(ChildState.STOPPED, has_reason=True),
    ev.ChildQuarantined: _enter(ChildState.QUARANTINED, has_reason=True),
}

# What a supervisor's event makes of its state; a cause and a reason follow in some.
_SUPERVISOR_RULES: Final[dict[type[ev.Event], SupervisorState]] = {
    ev.SupervisorReady: SupervisorState.RUNNING,
    ev.SupervisorStopping: SupervisorState.STOPPING,
    ev.SupervisorFinished: SupervisorState.FINISHED,
}


_COMING_AND_GOING: Final = (ev.ChildAdded, ev.ChildRemoved)


def _why(raw: RawEvent) -> str:
    return "" if raw[CLS] is ev.SupervisorReady else raw[FIELDS][1]


# ---------------------------------------------------------------- on frozen snapshots


@public
def fold(snapshot: SupervisorSnapshot, event: ev.Event) -> SupervisorSnapshot:
    """Return the tree after ``event``, given the ``snapshot`` from right before.

    Use it to follow a tree without asking it again and again. Folding `Journal.events` into
    `Journal.base` gives what `Supervisor.state` gives; so does folding a subscription's events into
    its snapshot, as long as there was no `EventGap`. Neither argument is changed.

    Args:
        snapshot: Of the whole tree or of a nested supervisor. Events in which the enclosing
            supervisor speaks of a nested one, such as `ChildReady` of ``"app/sessions"``, do not
            belong to the nested supervisor's own snapshot.
        event: Any event. One of a child or supervisor that ``snapshot`` does not contain changes
            nothing.

    Raises:
        SpecError: An argument is something else. (After an `EventGap`, subscribe anew.)

    Example:
        ``functools.reduce(fold, journal.events, journal.base) == supervisor.state()``
    """
    if not isinstance(snapshot, SupervisorSnapshot):
        raise SpecError("snapshot", snapshot, "a SupervisorSnapshot", owner="fold")
    if not isinstance(event, ev.Event):
        raise SpecError("event", event, "an Event", owner="fold")
    after = _after(snapshot, raw_of(event))
    if after is snapshot:
        return snapshot
    return attrs.evolve(after, time=event.time, wall=event.wall)


def _after(here: SupervisorSnapshot, raw: RawEvent) -> SupervisorSnapshot:
    cls, path = raw[CLS], raw[PATH]
    if cls is ev.SupervisorStarted and (path == here.path or not here.path):
        return _begun(raw)
    if path == here.path:
        state = _SUPERVISOR_RULES.get(cls)
        if state is None:
            return here
        return attrs.evolve(here, state=state, since=raw[TIME], reason=_why(raw))
    step = step_towards(path, here.path)
    found = next((i for i, child in enumerate(here.children) if child.path == step), None)
    if step == path and cls in _COMING_AND_GOING:
        left = tuple(child for child in here.children if child.path != path)
        if cls is ev.ChildAdded:
            left = (*left, _Child(path, raw[TIME]).freeze())
        return attrs.evolve(here, children=left)
    if found is None:
        return here
    before = here.children[found]
    after = _child_after(before, raw)
    if after is before:
        return here
    return attrs.evolve(here, children=(*here.children[:found], after, *here.children[found + 1 :]))


def _child_after(child: ChildSnapshot, raw: RawEvent) -> ChildSnapshot:
    cls = raw[CLS]
    rule = _CHILD_RULES.get(cls) if raw[PATH] == child.path else None
    if rule is not None:
        node = _Child.thaw(child)
        rule(node, raw)
        if cls is ev.ChildExited:
            if child.supervisor is not None:
                node.previous = as_previous(child.supervisor)
            return node.freeze()
        return node.freeze(child.supervisor, child.opened)
    if cls is ev.SupervisorStarted and raw[PATH] == child.path:
        return attrs.evolve(child, supervisor=_begun(raw), opened=())
    if child.supervisor is None:
        return _opened_after(child, raw)
    inner = _after(child.supervisor, raw)
    return child if inner is child.supervisor else attrs.evolve(child, supervisor=inner)


def _opened_after(child: ChildSnapshot, raw: RawEvent) -> ChildSnapshot:
    """``child`` after an event at or below a supervisor that its attempt has opened."""
    cls, path = raw[CLS], raw[PATH]
    here = next(
        (i for i, each in enumerate(child.opened) if f"{path}/".startswith(f"{each.path}/")), None
    )
    if here is None:
        if cls is ev.SupervisorStarted and parent_of(path) == child.path:
            return attrs.evolve(child, opened=(*child.opened, _begun(raw)))
        return child
    before = child.opened[here]
    ended = cls is ev.SupervisorFinished and path == before.path
    after = () if ended else (_after(before, raw),)
    if after == (before,):
        return child
    return attrs.evolve(child, opened=(*child.opened[:here], *after, *child.opened[here + 1 :]))


def _begun(raw: RawEvent) -> SupervisorSnapshot:
    return _Supervisor.begun(raw, {}).freeze()


# ---------------------------------------------------------------- in place


@final
class SnapshotBuilder:
    """A snapshot in the making: takes in any number of events, each in constant time."""

    __slots__ = ("_children", "_root", "_taken")

    def __init__(self) -> None:
        self._taken: tuple[float | None, float | None] = (None, None)
        self._children: dict[str, _Child] = {}
        self._root = _Supervisor.thaw(BLANK, self._children)

    @classmethod
    def from_snapshot(cls, snapshot: SupervisorSnapshot) -> SnapshotBuilder:
        """Go on from ``snapshot``."""
        builder = cls()
        builder._root = _Supervisor.thaw(snapshot, builder._children)
        builder._taken = snapshot.time, snapshot.wall
        return builder

    def apply(self, raw: RawEvent) -> None:
        """Take in one event."""
        self.extend((raw,))

    def extend(self, raws: Iterable[RawEvent]) -> None:
        """Take in events, oldest first."""
        rule_for, child_at = _CHILD_RULES.get, self._children.get
        raw: RawEvent | None = None
        for raw in raws:
            rule = rule_for(raw[0])
            if rule is None:
                self._restructure(raw)
                continue
            child = child_at(raw[5])
            if child is not None:
                rule(child, raw)
        if raw is not None:
            self._taken = raw[TIME], raw[WALL]

    def freeze(self) -> SupervisorSnapshot:
        """The snapshot as it stands. Takes time in proportion to the number of children."""
        time, wall = self._taken
        return attrs.evolve(self._root.freeze(), time=time, wall=wall)

    def _restructure(self, raw: RawEvent) -> None:
        cls, path = raw[CLS], raw[PATH]
        if cls is ev.SupervisorStarted:
            self._begin(raw)
        elif cls is ev.ChildAdded or cls is ev.ChildRemoved:
            parent = self._supervisor_at(parent_of(path))
            if parent is not None:
                known = parent.children.get(path)
                if known is not None:
                    parent.drop(known)
                if cls is ev.ChildAdded:
                    parent.add(_Child(path, raw[TIME]))
        elif cls in _SUPERVISOR_RULES:
            here = self._supervisor_at(path)
            if here is not None and cls is ev.SupervisorFinished and self._forget_opened(path):
                here.vanish()
            elif here is not None:
                here.state, here.since, here.reason = _SUPERVISOR_RULES[cls], raw[TIME], _why(raw)

    def _begin(self, raw: RawEvent) -> None:
        path = raw[PATH]
        if path == self._root.path or not self._root.path:
            self._root.vanish()
            self._root = _Supervisor.begun(raw, self._children)
            return
        child = self._children.get(path)
        if child is not None:
            child.clear_below()
            child.supervisor = _Supervisor.begun(raw, self._children)
            return
        child = self._children.get(parent_of(path))
        if child is not None and child.supervisor is None:
            opened = child.opened = child.opened or {}
            if path in opened:
                opened[path].vanish()
            opened[path] = _Supervisor.begun(raw, self._children)

    def _forget_opened(self, path: str) -> bool:
        """Whether there was a supervisor at ``path`` that an attempt had opened."""
        child = self._children.get(parent_of(path))
        return (
            child is not None
            and child.opened is not None
            and child.opened.pop(path, None) is not None
        )

    def _supervisor_at(self, path: str) -> _Supervisor | None:
        if path and path == self._root.path:
            return self._root
        child = self._children.get(path)
        if child is not None:
            return child.supervisor
        child = self._children.get(parent_of(path))
        return None if child is None or child.opened is None else child.opened.get(path)
