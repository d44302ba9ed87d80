"""Count what a tree's events say: restarts, exits by outcome, durations. Knows no exporter.

Labels are a closed set that follows from the spec. A declared child has its path. Children that are
added at run time come and go by the thousand, so they share one label per supervisor, its path with
``/*``. Every counter of every label exists at 0 from the beginning: a series that is born at 1 is
invisible to ``increase()``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, Final, final

from trio_supervisor import (
    INHERIT,
    ChildCancelled,
    ChildExited,
    ChildLostReadiness,
    ChildQuarantined,
    ChildReady,
    ChildStarted,
    ChildStopRequested,
    CommandAccepted,
    ExitJudged,
    SupervisorFinished,
    TaskExit,
)
from trio_supervisor._events.fold import ATTEMPT, CLS, FIELDS, PATH, RUN, TIME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from trio_supervisor import ChildSpec, RestartLimit, SupervisorSpec
    from trio_supervisor._events.fold import RawEvent

OUTCOMES: Final = tuple(sorted(each.kind for each in TaskExit.__subclasses__()))
COMMANDS: Final = ("quarantine", "remove", "restart", "shutdown", "stop")
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@final
class Histogram:
    """Observed durations in seconds, counted by upper bound."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts: list[int] = [0] * (len(BUCKETS) + 1)
        self.total: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def cumulated(self) -> list[tuple[str, float]]:
        """Return pairs of upper bound, as Prometheus writes it, and observations up to it."""
        bounds = [*(str(bound) for bound in BUCKETS), "+Inf"]
        found, so_far = [], 0
        for bound, each in zip(bounds, list(self.counts), strict=True):
            so_far += each
            found.append((bound, float(so_far)))
        return found


@final
class ChildTally:
    """The counts under one label.

    Attributes:
        supervisor: Path of the child's supervisor.
        declared: Whether the label is one declared child, not all added children of a supervisor.
    """

    __slots__ = (
        "commands",
        "consecutive_failures",
        "declared",
        "exits",
        "give_ups",
        "limit",
        "quarantines",
        "ready_since",
        "reset_after",
        "restart_times",
        "restarts",
        "starts",
        "stop_seconds",
        "supervisor",
        "time_to_ready",
    )

    def __init__(
        self, supervisor: str, limit: RestartLimit | None, reset_after: float, *, declared: bool
    ) -> None:
        self.supervisor = supervisor
        self.declared = declared
        self.limit = limit
        self.reset_after = reset_after
        self.starts = 0
        self.exits = dict.fromkeys(OUTCOMES, 0)
        self.commands: dict[str, int] = dict.fromkeys(COMMANDS, 0)
        self.restarts = 0
        self.give_ups = 0
        self.quarantines = 0
        self.time_to_ready = Histogram()
        self.stop_seconds = Histogram()
        self.restart_times: deque[float] = deque(maxlen=limit.max_restarts if limit else 0)
        self.ready_since: float | None = None
        self.consecutive_failures = 0

    def headroom(self, now: float) -> float:
        """Return how many restarts the child's own limit admits now; infinite without a limit."""
        if self.limit is None:
            return inf
        since = now - self.limit.within
        return self.limit.max_restarts - sum(time > since for time in list(self.restart_times))

    def failures_in_row(self, now: float) -> int:
        """Return the failures without ``reset_after`` seconds of readiness after them."""
        ready_since = self.ready_since
        healthy = ready_since is not None and now - ready_since >= self.reset_after
        return 0 if healthy else self.consecutive_failures


@final
class Tally:
    """The counters of all labels of a tree, kept up to date by `extend`.

    Args:
        path: The path of the supervisor whose children are counted.
        spec: Its spec.
        run: Its run. Events below ``path`` count until that run has finished.
    """

    def __init__(self, path: str, spec: SupervisorSpec, run: int) -> None:
        self.children: dict[str, ChildTally] = {}
        self.supervisors: list[str] = []
        self.commands: dict[str, int] = dict.fromkeys(COMMANDS, 0)
        self.dropped: int = 0
        self._stops: dict[tuple[int, str, int], float] = {}
        self._path, self._below, self._run = path, f"{path}/", run
        self._finished = False
        self._declare(path, spec)

    def _declare(self, path: str, spec: SupervisorSpec) -> None:
        ahead = [(path, spec)]
        while ahead:
            here, supervisor = ahead.pop()
            self.supervisors.append(here)
            for child in supervisor.children:
                below = f"{here}/{child.name}"
                reset_after = child.backoff.reset_after
                limit = _limit_of(child, supervisor)
                self.children[below] = ChildTally(here, limit, reset_after, declared=True)
                nested: SupervisorSpec | None = getattr(child, "supervisor", None)
                if nested is not None:
                    ahead.append((below, nested))
            self.children[f"{here}/*"] = ChildTally(here, None, inf, declared=False)

    def label_of(self, path: str) -> str:
        """Return the label of the child at ``path``.

        Whatever lies below an added child counts as that child's supervisor's.
        """
        if path in self.children:
            return path
        while path:
            path = path.rpartition("/")[0]
            label = f"{path}/*"
            if label in self.children:
                return label
        return f"{self.supervisors[0]}/*"

    def extend(self, raws: Iterable[RawEvent]) -> None:
        """Count events, oldest first. Making an `Event` of each would cost more than counting."""
        handlers = _HANDLERS.get
        path, child = "", None  # a crash is several events of one child in a row
        for raw in raws:
            handle = handlers(raw[CLS])
            if handle is None or self._finished:
                continue
            if raw[PATH] != path:
                path = raw[PATH]
                child = self._child_at(path)
            if child is not None:
                handle(self, child, raw)
            elif path == self._path:
                self._at_the_top(raw)

    def _child_at(self, path: str) -> ChildTally | None:
        """Return the counts for what happens at a path; None if it is not below the supervisor."""
        child = self.children.get(path)
        if child is None and path.startswith(self._below):
            child = self.children[self.label_of(path)]
        return child

    def _at_the_top(self, raw: RawEvent) -> None:
        """Count what happens to the supervisor itself, as far as it is no child of this tree."""
        if raw[CLS] is CommandAccepted:
            self._count_command(self.commands, raw)
        elif raw[CLS] is SupervisorFinished:
            self._finished = raw[RUN] == self._run

    def _started(self, child: ChildTally, raw: RawEvent) -> None:
        child.starts += 1
        child.ready_since = None

    def _ready(self, child: ChildTally, raw: RawEvent) -> None:
        child.time_to_ready.observe(raw[FIELDS][0])
        if child.declared:
            child.ready_since = raw[TIME]

    def _lost_readiness(self, child: ChildTally, raw: RawEvent) -> None:
        self._forget_failures_if_healthy(child, raw[TIME])

    def _stop_begins(self, child: ChildTally, raw: RawEvent) -> None:
        self._stops.setdefault((raw[RUN], raw[PATH], raw[ATTEMPT]), raw[TIME])

    def _exited(self, child: ChildTally, raw: RawEvent) -> None:
        kind = raw[FIELDS][0]
        if kind in child.exits:
            child.exits[kind] += 1
        self._forget_failures_if_healthy(child, raw[TIME])
        stops = self._stops
        since = stops.pop((raw[RUN], raw[PATH], raw[ATTEMPT]), None) if stops else None
        if since is not None:
            child.stop_seconds.observe(raw[TIME] - since)
        elif child.declared and kind not in {"succeeded", "stopped", "aborted"}:
            child.consecutive_failures += 1

    def _forget_failures_if_healthy(self, child: ChildTally, now: float) -> None:
        if child.consecutive_failures and child.failures_in_row(now) == 0:
            child.consecutive_failures = 0
        child.ready_since = None

    def _judged(self, child: ChildTally, raw: RawEvent) -> None:
        action, source = raw[FIELDS][:2]
        if action == "restart":
            child.restarts += 1
            child.restart_times.append(raw[TIME])
        elif source == "limit":
            child.give_ups += 1

    def _quarantined(self, child: ChildTally, raw: RawEvent) -> None:
        child.quarantines += 1

    def _command(self, child: ChildTally, raw: RawEvent) -> None:
        self._count_command(child.commands, raw)
        if raw[FIELDS][0] == "restart" and child.declared:
            child.restart_times.clear()
            child.consecutive_failures = 0

    def _count_command(self, counted: dict[str, int], raw: RawEvent) -> None:
        command = raw[FIELDS][0]
        if command in counted:
            counted[command] += 1

    def _below_finished(self, child: ChildTally, raw: RawEvent) -> None:
        """A nested supervisor has ended: its exit as a child is what counts."""

    def items(self) -> Iterator[tuple[str, ChildTally]]:
        """Iterate over labels and their tallies; the set of labels never changes."""
        return iter(self.children.items())


def _limit_of(child: ChildSpec[Any], supervisor: SupervisorSpec) -> RestartLimit | None:
    limit = child.restart_limit
    return supervisor.child_restart_limit if limit is INHERIT else limit


_HANDLERS: Final[dict[type, Any]] = {
    ChildStarted: Tally._started,
    ChildReady: Tally._ready,
    ChildLostReadiness: Tally._lost_readiness,
    ChildStopRequested: Tally._stop_begins,
    ChildCancelled: Tally._stop_begins,
    ChildExited: Tally._exited,
    ExitJudged: Tally._judged,
    ChildQuarantined: Tally._quarantined,
    CommandAccepted: Tally._command,
    SupervisorFinished: Tally._below_finished,
}
