"""Prometheus metrics of a tree.

Two sources: counters and durations come from the tree's events (`Tally`); everything that is true
*now* comes from a snapshot, into which the same events are folded. Both happens in the thread that
scrapes, and so does turning them into samples: a scrape of thousands of children costs the event
loop no more than handing over the events since the scrape before.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, final, runtime_checkable

from trio_supervisor import ChildState, SupervisorState
from trio_supervisor._lazy import public
from trio_supervisor._version import __version__
from trio_supervisor.observe._reading import reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import CollectorRegistry

    from trio_supervisor import ChildSnapshot, Supervisor, SupervisorSnapshot
    from trio_supervisor.observe._reading import TreeReading
    from trio_supervisor.observe._tally import Histogram, Tally

PREFIX: Final = "trio_supervisor"
_STATES: Final[tuple[ChildState, ...]] = tuple(
    state for state in ChildState if state is not ChildState.REMOVED
)


@public
@runtime_checkable
class StallMonitor(Protocol):
    """Counts how often and how long the event loop was blocked, as `BlockedLoopMonitor` does.

    Attributes:
        blocked_count: How often so far.
        total: Seconds altogether, of the times that have ended.
    """

    blocked_count: int
    total: float


@public
@final
class TreeMetrics:
    """A Prometheus collector for one tree; `open_metrics` makes and registers it.

    `collect` may be called in any thread, as Prometheus's registries do. It never raises because of
    the tree: if the event loop is blocked, or the tree has ended, it shows the newest snapshot that
    it has, and ``trio_supervisor_snapshot_age_seconds`` says how old that is.
    """

    def __init__(self, reading: TreeReading, monitor: StallMonitor | None = None) -> None:
        self._reading = reading
        self._monitor = monitor

    def __repr__(self) -> str:
        return f"<TreeMetrics {self._reading.path} labels={len(self._reading.tally.children)}>"

    def describe(self) -> Iterator[Metric]:
        """Return the families without samples: what a registry needs to refuse duplicates."""
        return iter(_Families().all())

    def collect(self) -> Iterator[Metric]:
        """Return all families with the samples of this moment."""
        snapshot, taken, now = self._reading.snapshot()
        families = _Families()
        _add_counters(families, self._reading.tally, now)
        _add_state(families, snapshot, self._reading.tally, now)
        families.lag.add_metric([], *_buckets(self._reading.lag))
        if self._monitor is not None:
            families.stalls.add_metric([], self._monitor.blocked_count)
            families.blocked.add_metric([], self._monitor.total)
        families.age.add_metric([], max(0.0, now - taken))
        families.info.add_metric([__version__], 1.0)
        return iter(families.all())


@public
@asynccontextmanager
async def open_metrics(
    supervisor: Supervisor,
    *,
    registry: CollectorRegistry | None = None,
    monitor: StallMonitor | None = None,
) -> AsyncIterator[TreeMetrics]:
    """Publish a tree's metrics in a Prometheus registry for as long as the block runs.

    Restarts inside a process are invisible from outside: a container that restarts its database
    connection nine times a minute looks healthy. With this, every start, exit, restart, give-up and
    quarantine of every child is a series, present at 0 from the first scrape.

    Declared children are labelled by their path, children that are added at run time by their
    supervisor's path with ``/*``. Exception texts and attempt numbers are never labels. The names
    are listed in the documentation, beside alert rules and a dashboard for Grafana.

    Args:
        supervisor: The root of the tree, or any supervisor in it.
        registry: Where to register. Default: `prometheus_client.REGISTRY`.
        monitor: Such as a `trio_supervisor.daemon.BlockedLoopMonitor`, to publish how often and how
            long the event loop was blocked. Default: these two series are left out. `daemon.run`
            gives its own.

    Raises:
        ImportError: ``prometheus-client`` is not installed (extra ``metrics``).
        SpecError: ``supervisor`` is not a `Supervisor`.
        ValueError: The registry has metrics of these names already, from another tree say. Give
            each tree a registry of its own.

    Entering and leaving are checkpoints. When the block ends, or is cancelled, the collector is
    unregistered.

    Example::

        async with open_supervisor(APP) as supervisor, open_metrics(supervisor):
            prometheus_client.start_http_server(9000)
            await supervisor.wait_finished()
    """
    if registry is None:
        from prometheus_client import REGISTRY  # noqa: PLC0415  # optional: an extra

        registry = REGISTRY
    async with reading(supervisor, "open_metrics") as found:
        metrics = TreeMetrics(found, monitor)
        registry.register(metrics)
        try:
            yield metrics
        finally:
            registry.unregister(metrics)


@final
class _Families:
    """Empty metric families, under the names that are documented."""

    def __init__(self) -> None:
        from prometheus_client.core import (  # noqa: PLC0415  # optional: an extra of the package
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        def counter(name: str, text: str, *labels: str) -> Any:
            return CounterMetricFamily(f"{PREFIX}_{name}", text, labels=labels)

        def gauge(name: str, text: str, *labels: str) -> Any:
            return GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)

        def histogram(name: str, text: str, *labels: str) -> Any:
            return HistogramMetricFamily(f"{PREFIX}_{name}", text, labels=labels)

        self.starts = counter("child_starts", "Attempts started.", "child")
        self.exits = counter("child_exits", "Attempts ended, by outcome.", "child", "outcome")
        self.restarts = counter("child_restarts", "Restarts admitted by policy.", "child")
        self.give_ups = counter("child_give_ups", "Restart limits reached.", "child")
        self.quarantines = counter("child_quarantines", "Quarantines.", "child")
        self.commands = counter("commands", "Commands accepted.", "child", "command")
        self.dropped = counter("events_dropped", "Events that were not counted.")
        self.state = gauge("child_state", "1 for the child's state.", "child", "state")
        self.since = gauge(
            "child_state_since_timestamp_seconds", "When the state was entered.", "child"
        )
        self.attempt = gauge("child_attempt", "Number of the newest attempt.", "child")
        self.failures = gauge(
            "child_consecutive_failures", "Failures without lasting readiness.", "child"
        )
        self.next_start = gauge(
            "child_next_start_seconds", "Seconds until a start in backoff; else 0.", "child"
        )
        self.headroom = gauge(
            "child_restart_headroom", "Restarts that the child's limit admits now.", "child"
        )
        self.unresponsive = gauge(
            "child_unresponsive", "1 while the child outlives its cancel.", "child"
        )
        self.children = gauge(
            "children", "Children added at run time, by state.", "supervisor", "state"
        )
        self.supervisor = gauge(
            "supervisor_state", "1 for the supervisor's state.", "supervisor", "state"
        )
        self.to_ready = histogram("child_time_to_ready_seconds", "Start to readiness.", "child")
        self.stop = histogram("child_stop_seconds", "Stop request to end.", "child")
        self.lag = histogram("loop_lag_seconds", "How late the event loop wakes a task.")
        self.stalls = counter("loop_stalls", "Times that the event loop was blocked.")
        self.blocked = counter("loop_blocked_seconds", "Time that the event loop was blocked.")
        self.age = gauge("snapshot_age_seconds", "Age of the snapshot behind these gauges.")
        self.info = gauge("build_info", "Version of trio_supervisor.", "version")

    def all(self) -> list[Metric]:
        return list(vars(self).values())


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    return histogram.cumulated(), histogram.total


def _add_counters(to: _Families, tally: Tally, now: float) -> None:
    for label, child in tally.items():
        at = [label]
        to.starts.add_metric(at, child.starts)
        for outcome, times in child.exits.items():
            to.exits.add_metric([label, outcome], times)
        to.restarts.add_metric(at, child.restarts)
        to.give_ups.add_metric(at, child.give_ups)
        to.quarantines.add_metric(at, child.quarantines)
        for command, times in child.commands.items():
            to.commands.add_metric([label, command], times)
        to.to_ready.add_metric(at, *_buckets(child.time_to_ready))
        to.stop.add_metric(at, *_buckets(child.stop_seconds))
        if child.declared:
            to.failures.add_metric(at, child.failures_in_row(now))
            to.headroom.add_metric(at, child.headroom(now))
    for command, times in tally.commands.items():
        to.commands.add_metric([tally.supervisors[0], command], times)
    to.dropped.add_metric([], tally.dropped)


def _add_state(to: _Families, snapshot: SupervisorSnapshot, tally: Tally, now: float) -> None:
    added: dict[str, dict[ChildState, int]] = {
        path: dict.fromkeys(_STATES, 0) for path in tally.supervisors
    }
    alive = {snapshot.path: snapshot.state}
    shown: set[str] = set()
    ahead = [snapshot]
    while ahead:
        supervisor = ahead.pop()
        for child in supervisor.children:
            if child.path in tally.children:
                shown.add(child.path)
                _add_child(to, child, snapshot, now)
            else:
                _count_added(added, tally.label_of(child.path), child)
            if child.supervisor is not None:
                alive[child.path] = child.supervisor.state
                ahead.append(child.supervisor)
    for path, states in added.items():
        for state, times in states.items():
            to.children.add_metric([path, state.value], times)
        for each in SupervisorState:
            to.supervisor.add_metric([path, each.value], float(alive.get(path) is each))
    _add_absent(to, tally, shown)


def _count_added(added: dict[str, dict[ChildState, int]], label: str, child: ChildSnapshot) -> None:
    states = added[label.removesuffix("/*")]
    if child.state in states:
        states[child.state] += 1


def _add_child(to: _Families, child: ChildSnapshot, root: SupervisorSnapshot, now: float) -> None:
    at = [child.path]
    for state in _STATES:
        to.state.add_metric([child.path, state.value], float(child.state is state))
    time, wall = root.time or 0.0, root.wall or 0.0
    to.since.add_metric(at, wall - (time - child.since))
    to.attempt.add_metric(at, child.attempt)
    to.unresponsive.add_metric(at, float(child.unresponsive))
    left = 0.0 if child.until is None else max(0.0, child.until - now)
    to.next_start.add_metric(at, left)


def _add_absent(to: _Families, tally: Tally, shown: set[str]) -> None:
    """Show declared children that the snapshot lacks: removed, or below a supervisor that is down.

    Their series stay, so that an alert on them ends by a value and not by silence.
    """
    for label, child in tally.items():
        if child.declared and label not in shown:
            for state in _STATES:
                to.state.add_metric([label, state.value], 0.0)
            for family in (to.since, to.attempt, to.unresponsive, to.next_start):
                family.add_metric([label], 0.0)
