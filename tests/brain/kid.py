"""The oracle's account of one child."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, cast, final

if TYPE_CHECKING:
    from trio_supervisor._brain.messages import FirstStart
    from trio_supervisor._events.exits import TaskExit
    from trio_supervisor._specs.supervisor import ChildSpec


@final
class Kid:
    """One child, as far as the contract speaks of it."""

    __slots__ = (
        "attempt",
        "busy_until",
        "command_grace",
        "consecutive_failures",
        "delays",
        "desired",
        "done_by_success",
        "dynamic",
        "ever_ready",
        "fault",
        "first",
        "generation",
        "heard_of",
        "heartbeat_at",
        "held_by_operator",
        "index",
        "last_exit",
        "let_go",
        "live",
        "name",
        "pending",
        "ready",
        "ready_at",
        "reason",
        "reported_generation",
        "restarts",
        "round_until",
        "rounds",
        "run_due",
        "skips_predecessors",
        "spec",
        "stage",
        "start_due",
        "started_at",
        "step_due",
        "stop_cause",
        "times",
        "urgent",
        "was_ready",
        "without_grace",
    )

    def __init__(
        self, spec: ChildSpec[Any], index: int, first: FirstStart, *, dynamic: bool
    ) -> None:
        self.name = spec.name
        self.spec = spec
        self.index = index
        self.first = first
        self.dynamic = dynamic
        self.desired = "up"  # or done stopped quarantined removed shutdown
        self.reason = ""
        self.done_by_success = False
        self.live = False
        self.attempt = self.generation = self.reported_generation = 0
        self.stage = 0  # of the live attempt: running, asked, cancelled, unresponsive
        self.ready = self.was_ready = self.ever_ready = False
        self.stop_cause: str | None = None  # the attempt has to go, by a "wish" or by a "fault"
        self.fault: TaskExit | None = None
        self.urgent = self.without_grace = False
        self.delays: dict[str, float] = {}  # until when, by the failure of which child
        self.held_by_operator = False  # stopped, quarantined or removed by a command
        self.command_grace: float | None = None
        self.pending = False  # restarted by hand, and not started yet
        self.skips_predecessors = (
            False  # restarted by hand in the middle of a round: waits for nobody
        )
        self.let_go = False  # had its turn, and waits for who is down: nobody has to wait for it
        self.consecutive_failures = self.restarts = 0
        self.times: tuple[float, ...] = ()
        self.started_at = self.ready_at = self.heartbeat_at = 0.0
        self.busy_until = self.round_until = -inf
        self.rounds = 0  # granted because the deadline was handled late
        self.start_due = self.run_due = self.step_due = inf
        self.last_exit = ""
        self.heard_of = inf  # the deadline that it was told, if it is a supervisor itself

    def copy(self) -> Kid:
        """An independent copy."""
        new = object.__new__(Kid)
        _copy(self, new)
        new.delays = self.delays.copy()
        return new

    def begin(self, now: float) -> None:
        """A new attempt."""
        self.live = True
        self.attempt += 1
        self.reported_generation = self.generation
        self.pending = False
        self.started_at = now
        self.start_due = now + self.spec.start_timeout
        self.run_due = now + self.spec.max_runtime
        self.busy_until = self.round_until = -inf
        self.rounds = 0

    def become_ready(self, now: float) -> None:
        """It says so, or is so by declaration."""
        self.ready = self.was_ready = self.ever_ready = True
        self.ready_at = self.heartbeat_at = now
        self.rounds = 0
        self.start_due = inf

    def is_gone(self, last_exit: str) -> None:
        """Its attempt is."""
        self.live = self.ready = self.was_ready = self.urgent = self.without_grace = False
        self.stage = 0
        self.stop_cause = self.fault = self.command_grace = None
        self.last_exit = last_exit
        self.start_due = self.run_due = self.step_due = inf

    @property
    def backoff_until(self) -> float | None:
        """The end of the backoff; `None` if the child does not back off."""
        return max(self.delays.values(), default=None)

    @property
    def grace(self) -> float:
        """Of the live attempt: its own, unless a command has given another one."""
        grace = self.spec.grace if self.command_grace is None else self.command_grace
        return cast("float", grace)  # the shapes give each child one

    @property
    def silent_at(self) -> float:
        """When silence becomes a symptom."""
        return max(self.heartbeat_at + self.spec.stale_after, self.busy_until)

    @property
    def due(self) -> float:
        """When the brain has to look at this child at the latest."""
        if not self.live:
            return inf if self.backoff_until is None else self.backoff_until
        if self.stage:
            return self.step_due
        if self.stop_cause is not None:
            return inf
        due = min(self.start_due, self.run_due)
        due = min(due, self.silent_at) if self.ready else due
        return max(due, self.round_until)

    @property
    def state(self) -> str:
        """As the world is told."""
        if self.live:
            if self.stage:
                return "stopping"
            if self.ready:
                return "ready"
            return "not_ready" if self.was_ready else "starting"
        if self.desired == "up":
            return "waiting" if self.backoff_until is None else "backing_off"
        return "stopped" if self.desired == "shutdown" else self.desired

    def key(self, now: float) -> tuple[Any, ...]:
        """Everything that the future can depend on, with times told from ``now``."""
        live, spec = self.live, self.spec
        fresh = not (self.generation or self.ever_ready) and self.first != "ordinary"
        return (
            self.name,
            self.desired,
            self.done_by_success,
            live,
            self.stage,
            self.ready,
            self.was_ready,
            self.ever_ready,
            fresh,
            self.stop_cause,
            self.urgent,
            self.without_grace,
            self.pending,
            self.skips_predecessors,
            self.let_go,
            sorted((name, max(until - now, 0)) for name, until in self.delays.items()),
            self.command_grace,
            min(self.consecutive_failures, len(spec.backoff.steps) - 1),
            [now - t for t in self.times],
            max(self.due - now, -1.0),
            self._times(now) if live and self.stage == 0 else (),
        )

    def _times(self, now: float) -> tuple[float, ...]:
        """What matters while nobody has asked the attempt to end."""
        ready, stable = self.ready, self.spec.backoff.reset_after
        return (
            min(now - self.ready_at, stable) if ready and stable < inf else 0.0,
            max(self.silent_at - now, 0.0) if ready else 0.0,
            max(self.busy_until - now, 0.0) if ready else 0.0,
            max(self.start_due - now, 0.0),
            max(self.run_due - now, 0.0),
            max(self.round_until - now, 0.0),
            self.rounds,
        )


def _make_copy() -> Any:
    lines = [f"    new.{slot} = old.{slot}" for slot in Kid.__slots__]
    namespace: dict[str, Any] = {}
    exec("\n".join(["def copy(old, new):", *lines]), namespace)
    return namespace["copy"]


_copy = _make_copy()
