"""Snapshots: the state of a supervision tree at one moment.

A snapshot is plain data, all the way down: it can be compared, kept, sent as JSON or shown in a
terminal, and it stays as it is whatever happens to the tree. How events change one is told in
`trio_supervisor._events.fold`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, final

import attrs

from trio_supervisor._errors import ChildNotFound, SpecError
from trio_supervisor._events.plain import (
    SCHEMA,
    as_written,
    at_of,
    check_schema,
    number,
    to_plain,
    value_from,
)
from trio_supervisor._lazy import public
from trio_supervisor._text import no_such_child, one_line, some

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@public
@final
class ChildState(StrEnum):
    """The state of a child. *Unresponsive* is not a state: see `ChildSnapshot.unresponsive`."""

    WAITING = "waiting"
    """The child should run and cannot yet, or is between two states."""
    STARTING = "starting"
    READY = "ready"
    NOT_READY = "not_ready"
    """The child runs, and has withdrawn its readiness."""
    STOPPING = "stopping"
    BACKING_OFF = "backing_off"
    """The child starts again at a known time."""
    DONE = "done"
    """The child has ended for good; only a command starts it again."""
    STOPPED = "stopped"
    """The child was taken down by command, or because its supervisor ends."""
    QUARANTINED = "quarantined"
    """The child was taken down and marked for inspection."""
    REMOVED = "removed"
    """The child was removed. A handle still knows of it; no snapshot does."""


@public
@final
class SupervisorState(StrEnum):
    """The state of a supervisor."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FINISHED = "finished"


@public
@final
@attrs.frozen
class ChildSnapshot:
    """One child at one moment. Times are on Trio's clock, in seconds."""

    name: str
    path: str
    state: ChildState
    attempt: int
    """The newest attempt, counted from 1; 0 before the first."""
    generation: int
    """How many times the child had been restarted by command when that attempt started."""
    since: float
    """When the present state began."""
    until: float | None
    """When the child starts again, while it is backing off."""
    reason: str
    """Why the child is in its state; empty if no reason is known."""
    unresponsive: bool
    """Whether the attempt was cancelled and is still alive, ``report_after`` later."""
    restarts: int
    """How many restarts policy has admitted over the child's life."""
    last_exit: str
    """How the last attempt ended, in one line; empty before the first exit."""
    supervisor: SupervisorSnapshot | None = None
    """The tree below the child, if it is a nested supervisor with a live attempt."""
    waiting_for: tuple[str, ...] = attrs.field(default=(), eq=False)
    """The children that this one waits for. `Supervisor.state` computes them; no event has them.

    Of the members of a group that have to stop before any of it starts, at most 8 are named.
    """
    opened: tuple[SupervisorSnapshot, ...] = ()
    """The supervisors that its attempt has opened with `ChildContext.open_supervisor`."""
    previous: SupervisorSnapshot | None = None
    """The end of the run before, if the child is a nested supervisor that was restarted.

    So the restarts and last exits of its children are not lost with them. What was below these
    children, and earlier runs, are not kept.
    """


@public
@final
@attrs.frozen
class SupervisorSnapshot:
    """A supervisor and all below it, at one moment. Times are on Trio's clock, in seconds."""

    name: str
    path: str
    run: int
    """Which of the tree's supervisor runs this is."""
    state: SupervisorState
    since: float
    """When the present state began."""
    reason: str
    """Why the supervisor stops or has stopped."""
    children: tuple[ChildSnapshot, ...]
    """The declared children in their order, then the added ones."""
    time: float | None = attrs.field(default=None, eq=False)
    """When this was the state, if that is known; only in the snapshot of a whole tree."""
    wall: float | None = attrs.field(default=None, eq=False)
    """The same in seconds since the epoch."""

    def child(self, path_or_name: str) -> ChildSnapshot:
        """The child of that name, or further down by its path.

        Args:
            path_or_name: Relative to this supervisor (``"sessions/s-1"``) or absolute
                (``"app/sessions/s-1"``). If it could be either, the relative one is meant.

        Raises:
            ChildNotFound: There is no such child; the message lists the existing ones.
        """
        for path in (f"{self.path}/{path_or_name}", path_or_name):
            found = self._find(path)
            if found is not None:
                return found
        names = [child.name for child in self.children]
        raise ChildNotFound(no_such_child(self.path, path_or_name, names))

    def _find(self, path: str) -> ChildSnapshot | None:
        here: SupervisorSnapshot | None = self
        while here is not None:
            step = step_towards(path, here.path)
            child = next((child for child in here.children if child.path == step), None)
            if child is None or step == path:
                return child
            here = child.supervisor or next(
                (below for below in child.opened if path.startswith(f"{below.path}/")), None
            )
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return the snapshot as plain JSON values; `from_dict` reads them.

        Beside the snapshot's fields there is ``schema``. If the snapshot knows when it was taken,
        there is ``at`` (that moment on the wall clock, in ISO 8601, in UTC); each supervisor and
        child has ``age`` (seconds in its state) and ``since_at``; and a child that is backing off
        has ``starts_in`` (seconds) and ``until_at``.
        """
        plain = {"schema": SCHEMA, "at": at_of(self.wall), "time": self.time, "wall": self.wall}
        return plain | _supervisor_to_plain(self, _Moment(self.time, self.wall))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SupervisorSnapshot:
        """Return the snapshot that `to_dict` has turned into ``data``. Ages and dates are not read.

        Raises:
            SpecError: It has another schema version, or a field is missing or has the wrong type.
        """
        owner = "SupervisorSnapshot.from_dict()"
        return _supervisor_from(check_schema(data, owner), owner)

    def render(self, *, now: float | None = None) -> str:
        """Return the tree as text for people, one line for each supervisor and each child.

        Times are shown as ages ("for 2.5s"), and on the wall clock in UTC if that is known.

        Args:
            now: The moment from which ages are counted, in seconds on Trio's clock. Default: the
                moment of the snapshot (`time`). If neither is known, as for a snapshot that was
                folded from nothing, times are shown as they are ("since 7.500").
        """
        return "\n".join(_render(self, now))


def as_previous(ended: SupervisorSnapshot) -> SupervisorSnapshot:
    """Return what is kept of a run of a nested supervisor, which has ended, in the next one."""
    children = [
        child
        if child.supervisor is None and child.previous is None and not child.opened
        else attrs.evolve(child, supervisor=None, previous=None, opened=())
        for child in ended.children
    ]
    return attrs.evolve(ended, children=tuple(children))


def step_towards(path: str, here: str) -> str:
    """The child of ``here`` that ``path`` is or lies below; empty if it does not lead there."""
    head = here + "/"
    if not path.startswith(head):
        return ""
    end = path.find("/", len(head))
    return path if end < 0 else path[:end]


BLANK: Final = SupervisorSnapshot("", "", 0, SupervisorState.STARTING, 0.0, "", ())
"""What there is before the first event of a tree."""


# ---------------------------------------------------------------- as JSON


@final
class _Moment:
    """The moment at which a snapshot was taken: turns Trio's times into ages and dates."""

    def __init__(self, time: float | None, wall: float | None) -> None:
        self.time = time
        self.wall = wall

    def about(self, since: float, until: float | None = None) -> dict[str, Any]:
        """Return ages and dates of the state entered at ``since`` that ends at ``until``."""
        if self.time is None:
            return {}
        found: dict[str, Any] = {"age": number(max(0.0, self.time - since))}
        if self.wall is not None:
            found["since_at"] = at_of(self.wall - self.time + since)
        if until is not None:
            found["starts_in"] = number(max(0.0, until - self.time))
            if self.wall is not None:
                found["until_at"] = at_of(self.wall - self.time + until)
        return found


def _supervisor_to_plain(supervisor: SupervisorSnapshot, moment: _Moment) -> dict[str, Any]:
    plain = {
        field.name: to_plain(getattr(supervisor, field.name))
        for field in attrs.fields(SupervisorSnapshot)
        if field.name not in {"children", "time", "wall"}
    }
    children = [_child_to_plain(child, moment) for child in supervisor.children]
    return {**plain, **moment.about(supervisor.since), "children": children}


def _child_to_plain(child: ChildSnapshot, moment: _Moment) -> dict[str, Any]:
    plain = {
        name: to_plain(getattr(child, name))
        for name in _CHILD_FIELDS
        if name not in {"supervisor", "opened", "previous"}
    }
    below = child.supervisor
    nested = None if below is None else _supervisor_to_plain(below, moment)
    opened = [_supervisor_to_plain(each, moment) for each in child.opened]
    about = moment.about(child.since, child.until)
    before = child.previous
    previous = None if before is None else _supervisor_to_plain(before, moment)
    return {**plain, **about, "supervisor": nested, "opened": opened, "previous": previous}


def _supervisor_from(data: Mapping[str, Any], owner: str) -> SupervisorSnapshot:
    children = data.get("children")
    if not isinstance(children, list):
        raise SpecError("children", children, "a list", owner=owner)
    values = _values_from(SupervisorSnapshot, data, owner, skip=("children",))
    values["state"] = _state_from(SupervisorState, data.get("state"), owner)
    return SupervisorSnapshot(
        **values, children=tuple([_child_from(child, owner) for child in children])
    )


def _child_from(data: Any, owner: str) -> ChildSnapshot:
    if not isinstance(data, dict):
        raise SpecError("children", data, "a list of JSON objects", owner=owner)
    values = _values_from(ChildSnapshot, data, owner, skip=("supervisor", "opened", "previous"))
    values["state"] = _state_from(ChildState, data.get("state"), owner)
    opened = data.get("opened", [])
    if not isinstance(opened, list) or not all(isinstance(each, dict) for each in opened):
        raise SpecError("opened", opened, "a list of JSON objects", owner=owner)
    return ChildSnapshot(
        **values,
        supervisor=_supervisor_or_none(data, "supervisor", owner),
        opened=tuple([_supervisor_from(each, owner) for each in opened]),
        previous=_supervisor_or_none(data, "previous", owner),
    )


def _supervisor_or_none(
    data: Mapping[str, Any], name: str, owner: str
) -> SupervisorSnapshot | None:
    found = data.get(name)
    if found is not None and not isinstance(found, dict):
        raise SpecError(name, found, "a JSON object or null", owner=owner)
    return None if found is None else _supervisor_from(found, owner)


def _values_from(
    cls: Any, data: Mapping[str, Any], owner: str, *, skip: tuple[str, ...]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in attrs.fields(cls):
        name = field.name
        if name in skip or name == "state":
            continue
        if name in data:
            values[name] = value_from(as_written(field.type), data[name], owner, name)
        elif field.default is attrs.NOTHING:
            raise SpecError(name, None, f"a {field.type}", owner=owner)
    return values


def _state_from(cls: Any, value: object, owner: str) -> Any:
    try:
        return cls(value)
    except ValueError:
        raise SpecError("state", value, f"one of {', '.join(cls)}", owner=owner) from None


_CHILD_FIELDS: Final = tuple(field.name for field in attrs.fields(ChildSnapshot))


# ---------------------------------------------------------------- for people

_MOST_NAMES: Final = 8


class _Ages:
    """Turns times into text: ages before ``now``, and the wall clock if that is known."""

    def __init__(self, root: SupervisorSnapshot, now: float | None) -> None:
        self.now = root.time if now is None else now
        both = root.time is not None and root.wall is not None
        self._offset = root.wall - root.time if both else None  # type: ignore[operator]

    def date(self, time: float, form: str) -> str:
        """``time`` on the wall clock, in UTC, as `datetime.strftime` writes it; may be empty."""
        if self._offset is None:
            return ""
        try:
            return datetime.fromtimestamp(time + self._offset, UTC).strftime(form)
        except (OverflowError, ValueError, OSError):
            return ""

    def since(self, since: float) -> str:
        """Return for how long a state that began at ``since`` has lasted."""
        if self.now is None:
            return f"since {since:.3f}"
        clock = self.date(since, "%H:%M:%S")
        return f"for {self.now - since:.1f}s" + (f" since {clock}" if clock else "")

    def until(self, until: float) -> str:
        """Return in how many seconds ``until`` comes."""
        return f"until {until:.3f}" if self.now is None else f"again in {until - self.now:.1f}s"


def _render(root: SupervisorSnapshot, at: float | None) -> Iterator[str]:
    now = _Ages(root, at)
    date = "" if now.now is None else now.date(now.now, "%Y-%m-%d %H:%M:%S UTC")
    yield _line(root.name, root, [f"run {root.run}", *([f"at {date}"] if date else [])], now)
    below: list[ChildSnapshot | SupervisorSnapshot]
    below = list(root.children)
    pending = [("  ", iter(below), _widest(below))]
    while pending:
        indent, entries, width = pending[-1]
        entry = next(entries, None)
        if entry is None:
            pending.pop()
            continue
        name = entry.name.ljust(width)
        if isinstance(entry, SupervisorSnapshot):
            yield indent + _line(name, entry, [f"run {entry.run}"], now)
            below = list(entry.children)
        else:
            yield indent + _line(name, entry, list(_remarks(entry, now)), now)
            nested = () if entry.supervisor is None else entry.supervisor.children
            below = [*nested, *entry.opened]
        if below:
            pending.append((indent + "  ", iter(below), _widest(below)))


def _widest(entries: Iterable[ChildSnapshot | SupervisorSnapshot]) -> int:
    return max((len(entry.name) for entry in entries), default=0)


def _line(
    name: str, what: ChildSnapshot | SupervisorSnapshot, remarks: list[str], now: _Ages
) -> str:
    time = now.since(what.since)
    reason = [f"reason: {one_line(what.reason)}"] if what.reason else []
    return "  ".join([name, what.state.value.ljust(11), time, *remarks, *reason])


def _remarks(child: ChildSnapshot, now: _Ages) -> Iterator[str]:
    if child.until is not None:
        yield now.until(child.until)
    if child.unresponsive:
        yield "UNRESPONSIVE"
    if child.waiting_for:
        yield f"waiting for {some(child.waiting_for, _MOST_NAMES, ', ')}"
    if child.attempt:
        yield f"attempt {child.attempt}"
    if child.restarts:
        yield f"restarts {child.restarts}"
    if child.last_exit:
        yield f"last exit: {one_line(child.last_exit)}"
    if child.supervisor is not None:
        yield f"supervisor {child.supervisor.state.value}, run {child.supervisor.run}"
