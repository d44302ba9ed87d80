"""What a supervision tree looks like at one moment.

A snapshot is plain data, all the way down: it can be compared, kept, sent as JSON or shown in a
terminal, and it stays as it is whatever happens to the tree. How events change one is told in
`trio_supervisor._events.fold`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, final

import attrs

from trio_supervisor._errors import ChildNotFound
from trio_supervisor._text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator


@final
class ChildState(StrEnum):
    """Where a child stands. To be unresponsive is no state: it is said beside this one."""

    WAITING = "waiting"
    """It should run and cannot yet, or is on its way from one state to the next."""
    STARTING = "starting"
    READY = "ready"
    NOT_READY = "not_ready"
    """It runs, and has withdrawn its readiness."""
    STOPPING = "stopping"
    BACKING_OFF = "backing_off"
    """It starts again at a known time."""
    DONE = "done"
    """It has ended, and nothing is left to do."""
    STOPPED = "stopped"
    """It is held down by an operator, or because its supervisor ends."""
    QUARANTINED = "quarantined"
    """It is held down, for somebody to look at."""
    REMOVED = "removed"
    """It is forgotten. Only a handle still knows of it; no snapshot does."""


@final
class SupervisorState(StrEnum):
    """Where a supervisor stands."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FINISHED = "finished"


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
    """How often it had been restarted by hand when that attempt started."""
    since: float
    """When it entered its state."""
    until: float | None
    """When it starts again, while it is backing off."""
    reason: str
    """Why it is in its state, if somebody gave a reason."""
    unresponsive: bool
    """Whether it was cancelled and is still there."""
    restarts: int
    """How many restarts policy has admitted over its life."""
    last_exit: str
    """How its last attempt ended, in one line; empty before that."""
    supervisor: SupervisorSnapshot | None = None
    """What is below it, if it is a nested supervisor whose attempt is alive."""
    waiting_for: tuple[str, ...] = attrs.field(default=(), eq=False)
    """Whom it waits for. Computed for `Supervisor.state` alone: events do not carry it."""


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
    """When it entered its state."""
    reason: str
    """Why it stops or has stopped."""
    children: tuple[ChildSnapshot, ...]
    """Those that were declared, in that order, and then those that were added."""

    def child(self, path_or_name: str) -> ChildSnapshot:
        """The child of that name, or further down by its path.

        Args:
            path_or_name: Relative to this supervisor (``"sessions/s-1"``) or absolute
                (``"app/sessions/s-1"``). If it could be either, the relative one is meant.

        Raises:
            ChildNotFound: There is no such child; the message lists those there are.
        """
        for path in (f"{self.path}/{path_or_name}", path_or_name):
            found = self._find(path)
            if found is not None:
                return found
        names = ", ".join(child.name for child in self.children) or "none"
        raise ChildNotFound(f"{self.path!r} has no child {path_or_name!r}; it has: {names}")

    def _find(self, path: str) -> ChildSnapshot | None:
        here: SupervisorSnapshot | None = self
        while here is not None:
            step = step_towards(path, here.path)
            child = next((child for child in here.children if child.path == step), None)
            if child is None or step == path:
                return child
            here = child.supervisor
        return None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain dictionaries, lists, strings and numbers, ready for JSON."""
        return attrs.asdict(self, value_serializer=_plain)

    def render(self, *, now: float | None = None) -> str:
        """A tree for people, one line for each supervisor and each child.

        Args:
            now: The present on Trio's clock, in seconds. With it, times are shown as distances from
                it ("for 2.5s"), without as they are ("since 7.5").
        """
        return "\n".join(_render(self, now))


def _plain(_owner: object, _field: object, value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def step_towards(path: str, here: str) -> str:
    """The child of ``here`` that ``path`` is or lies below; empty if it does not lead there."""
    head = here + "/"
    if not path.startswith(head):
        return ""
    end = path.find("/", len(head))
    return path if end < 0 else path[:end]


BLANK: Final = SupervisorSnapshot("", "", 0, SupervisorState.STARTING, 0.0, "", ())
"""What there is before the first event of a tree."""


# ---------------------------------------------------------------- for people


def _render(root: SupervisorSnapshot, now: float | None) -> Iterator[str]:
    yield _line(root.name, root, [f"run {root.run}"], now)
    pending = [("  ", iter(root.children), _widest(root))]
    while pending:
        indent, children, width = pending[-1]
        child = next(children, None)
        if child is None:
            pending.pop()
            continue
        yield indent + _line(child.name.ljust(width), child, list(_remarks(child, now)), now)
        if child.supervisor is not None:
            inner = child.supervisor
            pending.append((indent + "  ", iter(inner.children), _widest(inner)))


def _widest(supervisor: SupervisorSnapshot) -> int:
    return max((len(child.name) for child in supervisor.children), default=0)


def _line(
    name: str, what: ChildSnapshot | SupervisorSnapshot, remarks: list[str], now: float | None
) -> str:
    time = f"since {what.since:.3f}" if now is None else f"for {now - what.since:.1f}s"
    reason = [f"reason: {one_line(what.reason)}"] if what.reason else []
    return "  ".join([name, what.state.value.ljust(11), time, *remarks, *reason])


def _remarks(child: ChildSnapshot, now: float | None) -> Iterator[str]:
    if child.until is not None:
        yield f"until {child.until:.3f}" if now is None else f"again in {child.until - now:.1f}s"
    if child.unresponsive:
        yield "UNRESPONSIVE"
    if child.waiting_for:
        yield f"waiting for {', '.join(child.waiting_for)}"
    if child.attempt:
        yield f"attempt {child.attempt}"
    if child.restarts:
        yield f"restarts {child.restarts}"
    if child.last_exit:
        yield f"last exit: {one_line(child.last_exit)}"
    if child.supervisor is not None:
        yield f"supervisor {child.supervisor.state.value}, run {child.supervisor.run}"
