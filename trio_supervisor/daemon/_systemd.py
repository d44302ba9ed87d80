"""Keep the service manager informed: readiness, status, watchdog, progress, the end.

One task follows the tree's events. It speaks when something changed, at most once a second, and
twice per watchdog interval. A loop that is blocked cannot run it, so the watchdog is not fed then.
"""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Final, final

import trio

from trio_supervisor._errors import ChildNotFound, SupervisorClosed
from trio_supervisor._events.events import (
    ChildExited,
    ChildReady,
    Event,
    SupervisorReady,
    SupervisorStopping,
)
from trio_supervisor._events.snapshot import ChildState, SupervisorState
from trio_supervisor._text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_supervisor._events.snapshot import ChildSnapshot, SupervisorSnapshot
    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor._specs.supervisor import SupervisorSpec
    from trio_supervisor.daemon._notify import Notifier

EVERY: Final = 1.0
"""Seconds between two status lines, at least."""
EXTENSION: Final = 15.0
"""Seconds that are asked for each time that a start or stop has come further."""
LONGEST: Final = 200
_DOWN: Final = frozenset({ChildState.QUARANTINED, ChildState.STOPPED, ChildState.REMOVED})
_AT_REST: Final = _DOWN | {ChildState.DONE}


@final
class Informer:
    """The messages to the service manager about one tree."""

    def __init__(self, notifier: Notifier, spec: SupervisorSpec) -> None:
        self._notifier = notifier
        self._spec = spec
        self._changed = trio.Event()
        self._progress = False
        self._was_ready: set[str] = set()
        self._ready_said = False
        self._stopping_said = False
        self._triggered = False
        self._ready_since: float | None = None
        self._reset_after = max(_resets(spec), default=60.0)
        self._reset_said = False
        self._status = ""
        self.note = ""  # put before the status line

    def note_change(self, note: str | None = None) -> None:
        """Let the status be sent again; ``note`` begins it from now on."""
        if note is not None:
            self.note = note
        self._changed.set()

    def stopping(self, reason: str) -> None:
        """Say that the stop is decided. It cannot be taken back."""
        if not self._stopping_said:
            self._stopping_said = True
            self._notifier.send("STOPPING=1", f"STATUS=stopping: {one_line(reason)}"[:LONGEST])

    def reload_refused(self, why: str) -> None:
        """Answer an operator's request to reload, so that the operator does not wait for it.

        Before the tree is ready, and once its stop is decided, the manager waits for no answer, and
        a ``READY=1`` would claim what is not so.
        """
        if self._ready_said and not self._stopping_said:
            self._notifier.reloading()
            self._notifier.send("READY=1")
        self.note_change(f"not reloaded: {why}; ")

    async def follow(self, supervisor: Supervisor) -> None:
        """Follow the tree until it has ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._speak, supervisor)
            with suppress(SupervisorClosed):
                async with supervisor.subscribe() as events:
                    if supervisor.state().state is SupervisorState.RUNNING:
                        self._is_ready()  # it was before this task ran
                    async for event in events:
                        if isinstance(event, Event):
                            self._take(event, supervisor.path)
                        self._changed.set()
            nursery.cancel_scope.cancel("the tree has ended")

    def _take(self, event: Event, root: str) -> None:
        if isinstance(event, ChildReady) and event.path not in self._was_ready:
            if not self._ready_said:
                self._was_ready.add(event.path)
            self._progress = True
        elif isinstance(event, SupervisorReady) and event.path == root:
            self._is_ready()
        elif isinstance(event, SupervisorStopping) and event.path == root:
            self.stopping(event.reason)
        elif isinstance(event, ChildExited) and self._stopping_said:
            self._progress = True

    def _is_ready(self) -> None:
        if not self._ready_said:
            self._ready_said = True
            self._was_ready.clear()
            self._notifier.send("READY=1")

    async def _speak(self, supervisor: Supervisor) -> None:
        fed = -inf
        while True:
            now = trio.current_time()
            half = inf if self._notifier.watchdog is None else self._notifier.watchdog / 2
            snapshot = supervisor.state()
            if half < inf and now - fed >= half * 0.99:
                fed = now
                self._feed(snapshot)
            self._say_status(supervisor, snapshot, now)
            self._changed = trio.Event()
            await trio.sleep(min(EVERY, half))
            healthy = inf if self._ready_since is None else self._ready_since + self._reset_after
            if self._reset_said or healthy <= now:
                healthy = inf
            due = fed + half if half < inf else inf
            with trio.move_on_at(min(due, healthy, now + 60)):
                await self._changed.wait()

    def _feed(self, snapshot: SupervisorSnapshot) -> None:
        if any(child.unresponsive for child in _all(snapshot)):
            if not self._triggered:
                self._triggered = True
                self._notifier.send("WATCHDOG=trigger")
        else:
            self._triggered = False
            self._notifier.send("WATCHDOG=1")

    def _say_status(self, supervisor: Supervisor, snapshot: SupervisorSnapshot, now: float) -> None:
        fields: list[str] = []
        status = f"STATUS={self.note}{status_of(supervisor, snapshot, now)}"[:LONGEST]
        if status != self._status:
            fields.append(status)
        if self._progress and (not self._ready_said or self._stopping_said):
            fields.append(f"EXTEND_TIMEOUT_USEC={int(EXTENSION * 1e6)}")
        self._progress = False
        unready = [c for c in _all(snapshot) if c.state not in _AT_REST | {ChildState.READY}]
        if unready or snapshot.state is not SupervisorState.RUNNING:
            self._ready_since = None
        elif self._ready_since is None:
            self._ready_since = now
        elif now - self._ready_since >= self._reset_after and not self._reset_said:
            self._reset_said = True
            fields.append("RESTART_RESET=1")
        if self._ready_since is None:
            self._reset_said = False
        # A status that the manager's socket could not take is sent again.
        if fields and self._notifier.send(*fields):
            self._status = status


def status_of(supervisor: Supervisor, snapshot: SupervisorSnapshot, now: float) -> str:
    """One line: ``4 of 5 ready; feed backing off 8s (3/10): ConnectionResetError``.

    Nested supervisors are not counted, their children are. A child that is done is not counted: no
    reader should look for what is missing.
    """
    children = [
        child
        for child in _all(snapshot)
        if child.supervisor is None and child.state not in _NOT_COUNTED
    ]
    worst = [child for child in children if child.state is not ChildState.READY]
    parts = [f"{len(children) - len(worst)} of {len(children)} ready"]
    if snapshot.state is not SupervisorState.RUNNING:
        parts.insert(0, f"{snapshot.state}")
    for child in worst[:_MOST_NAMED]:
        name = child.path.removeprefix(f"{snapshot.path}/")
        parts.append(_remark(name, child, _charged(supervisor, child, now), now))
    if len(worst) > _MOST_NAMED:
        parts.append(f"and {len(worst) - _MOST_NAMED} more")
    return "; ".join(parts)


_NOT_COUNTED: Final = frozenset({ChildState.DONE, ChildState.REMOVED})
_MOST_NAMED: Final = 3


def _charged(supervisor: Supervisor, child: ChildSnapshot, now: float) -> str:
    """Return how much of its restart limit a child has used, such as `` (3/10)``."""
    try:
        slot = supervisor._find(child.path)
    except ChildNotFound:  # opened in the body of a child, or removed
        return ""
    window = slot.life.window or slot.shell.machine.window
    if window is None or not window.used(now):
        return ""
    return f" ({window.used(now)}/{window.limit.max_restarts})"


def _remark(name: str, child: ChildSnapshot, charged: str, now: float) -> str:
    text = f"{name} {str(child.state).replace('_', ' ')}"
    if child.unresponsive:
        text = f"{name} unresponsive"
    if child.until is not None and child.until > now:
        text += f" {child.until - now:.0f}s"
    if child.state in {ChildState.WAITING, ChildState.STARTING} and child.waiting_for:
        text += f" for {', '.join(child.waiting_for)}"
    text += charged
    if child.state is ChildState.BACKING_OFF or child.state is ChildState.QUARANTINED:
        text += f": {one_line(child.last_exit or child.reason)}"
    return text


def _all(snapshot: SupervisorSnapshot) -> Iterator[ChildSnapshot]:
    pending = list(reversed(snapshot.children))
    while pending:
        child = pending.pop()
        yield child
        if child.supervisor is not None:
            pending.extend(reversed(child.supervisor.children))


def _resets(spec: SupervisorSpec) -> Iterator[float]:
    for child in spec.children:
        if child.supervisor is None:
            yield child.backoff.reset_after
        else:
            yield from _resets(child.supervisor)
