"""Say what does not happen: a start that does not complete, a stop that lasts, a child cut off."""

from __future__ import annotations

from functools import partial
from logging import INFO, WARNING
from math import inf
from typing import TYPE_CHECKING, Final

from trio_supervisor._events.snapshot import SupervisorState
from trio_supervisor._logging import lines
from trio_supervisor._logging.repeats import Folding
from trio_supervisor._record import Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Logger

    from trio_supervisor._events.fold import RawEvent
    from trio_supervisor._events.snapshot import SupervisorSnapshot
    from trio_supervisor._logging.memory import SupervisorMemory

START_PATIENCE: Final = 10.0
"""Seconds after which a start that is not complete is logged; then at doubling intervals."""

GRACE_PATIENCE: Final = 5.0
"""Seconds after which a grace that is not over is logged; then at doubling intervals."""


class _Stop(Record):
    """A stop request to an attempt that has not ended yet."""

    attempt: int
    since: float
    grace: float
    reason: str


class Waits(Folding):
    """The timers of the log.

    Attributes:
        looks: Of each supervisor, a function that returns its snapshot, by path. Lines about a
            start that does not complete need it: no event says which children wait for which.
    """

    def __init__(self, logger: Logger) -> None:
        super().__init__(logger)
        self.looks: dict[str, Callable[[], SupervisorSnapshot]] = {}
        self._stops: dict[str, _Stop] = {}

    # ------------------------------------------------------------ starts

    def _watch_start(self, supervisor: SupervisorMemory) -> None:
        again = partial(self._start_lasts, supervisor, supervisor.started, START_PATIENCE)
        self._call_at(supervisor.started + START_PATIENCE, again)

    def _start_lasts(
        self, supervisor: SupervisorMemory, started: float, waited: float, now: float
    ) -> None:
        """Say that the first start of ``supervisor`` is not complete, and why."""
        look = self.looks.get(supervisor.path)
        over = supervisor.ready or supervisor.stopping or not supervisor.running
        if look is None or over or supervisor.started != started:
            return
        tree = look()
        if tree.state is not SupervisorState.STARTING:
            return  # that is about to be said
        again = partial(self._start_lasts, supervisor, started, 2 * waited)
        self._call_at(started + 2 * waited, again)
        if not self._is_suppressed(supervisor.path):
            supervisor.delay_logged = True
            line = lines.start_lasts_line(tree, now - started, now)
            self._say(WARNING, supervisor.path, line, at=now, attempt=0, seconds=now - started)

    # ------------------------------------------------------------ stops

    def _stop_requested(self, raw: RawEvent) -> None:
        _, _, now, _, _, path, attempt, (reason, grace) = raw
        fault = reason.startswith(lines.FAULTS)
        if grace <= 0 and not fault:
            return
        self._stops[path] = stop = _Stop(attempt, now, grace, reason)
        if fault and not self._is_suppressed(path):
            self._say(WARNING, path, lines.fault_line(raw), raw)
        if grace > GRACE_PATIENCE and not self._is_running_supervisor(path):
            again = partial(self._grace_lasts, path, stop, GRACE_PATIENCE)
            self._call_at(now + GRACE_PATIENCE, again)

    def _is_running_supervisor(self, path: str) -> bool:
        """Whether ``path`` is a nested supervisor: the children that delay its stop are named."""
        supervisor = self._supervisors.get(path)
        return supervisor is not None and supervisor.running

    def _grace_lasts(self, path: str, stop: _Stop, waited: float, now: float) -> None:
        """Say that an attempt has not ended in a part of its grace."""
        if self._stops.get(path) is not stop:
            return
        self._call_at(stop.since + 2 * waited, partial(self._grace_lasts, path, stop, 2 * waited))
        left = stop.since + stop.grace - now
        line = lines.grace_lasts_line(stop.attempt, now - stop.since, left, stop.reason)
        self._say(
            INFO,
            path,
            line,
            at=now,
            attempt=stop.attempt,
            reason=stop.reason,
            seconds=now - stop.since,
            grace=stop.grace,
        )

    def _cancelled(self, raw: RawEvent) -> None:
        _, _, now, _, _, path, attempt, _ = raw
        stop = self._stops.get(path)
        if stop is None or stop.attempt != attempt or not stop.grace:
            return  # it had no grace
        self._stops[path] = _Stop(attempt, stop.since, 0.0, stop.reason)
        grace = "" if stop.grace == inf else f" (grace {lines.seconds(stop.grace)})"
        line = f"cut off attempt={attempt} {lines.seconds(now - stop.since)} after the stop request"
        self._say(WARNING, path, f"{line}{grace}{lines.because(stop.reason)}", raw)
