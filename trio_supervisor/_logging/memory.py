"""The memory of the log, to tell a new failure from the repetition of an earlier one."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, final

from trio_supervisor._errors import TaskFailure, TreeError
from trio_supervisor._events.exits import leaves
from trio_supervisor._events.tracebacks import traceback_of

if TYPE_CHECKING:
    from types import CodeType

    from trio_supervisor._events.fold import RawEvent

_DEEPEST = range(200)  # how far to look for the place where an exception was raised
_MOST_LEAVES = 8

READY_AT_ONCE = 10
"""How many times per window a child that fails again and again is said to be ready at once."""


def place_of(error: BaseException | None) -> tuple[CodeType | None, object]:
    """Return where ``error`` was raised: code and instruction; line numbers would cost a search.

    Of a group, no code, and the types and places of its first leaves.
    """
    if error is None:
        return None, None
    if type(error) is ExceptionGroup:
        found = islice(leaves(error), _MOST_LEAVES)
        return None, tuple([(type(leaf), *place_of(leaf)) for leaf in found])
    here = deeper = traceback_of(error)
    if here is None:
        return None, None
    # Bounded: one exception object raised again and again has a traceback that grows and grows.
    for _ in _DEEPEST:
        deeper = here.tb_next
        if deeper is None:
            break
        here = deeper
    return here.tb_frame.f_code, here.tb_lasti


def deserves_traceback(error: BaseException) -> bool:
    """Return whether there is more to see than the line says.

    The line of a `TaskFailure` says what there is to say, causes included. The error of a nested
    supervisor tells of a failure below it; the traceback was logged there.
    """
    return not issubclass(type(error), TaskFailure | TreeError)


@final
class FailureStreak:
    """One way in which a child fails, for as long as its repetitions are counted.

    Attributes:
        decide_error: The type of what ``decide`` raised, or `None`; `None` also if the exit was
            not judged.
        attempt: The attempt of the failure that was logged.
        began: The start of the current window.
        last: When this failure last happened.
        traced: Whether it was logged with a traceback.
        suppressed: The children without lines meanwhile; empty before the first
            repetition.
        gave_up: Whether the log said that the supervisor fails with it; in the supervisor's next
            run this is a repetition too.
    """

    __slots__ = (
        "also",
        "at",
        "attempt",
        "began",
        "child",
        "code",
        "count",
        "decide_error",
        "gave_up",
        "kind",
        "last",
        "suppressed",
        "traced",
        "type",
    )

    def __init__(
        self,
        child: ChildMemory,
        exited: RawEvent,
        error: BaseException | None,
        decide_error: str | None,
        also: tuple[str, ...],
    ) -> None:
        _, _, now, _, _, _, attempt, (kind, *_) = exited
        self.child = child
        self.kind: str = kind
        self.type = type(error)
        self.code, self.at = place_of(error)
        self.traced = error is not None and deserves_traceback(error)
        self.decide_error = decide_error
        self.also = also
        self.attempt: int = attempt
        self.began: float = now
        self.last = self.began
        self.count = 0
        self.suppressed: list[ChildMemory] = []
        self.gave_up = False


@final
class ChildMemory:
    """The log's memory of a child; most children never need one.

    Attributes:
        failures: The streaks of the child that are open, newest first.
        suppressed_by: How many open streaks suppress lines about the child.
        held_back: The newest readiness event that was not logged because of that, and still holds.
        watched: Whether a timer looks after ``held_back``.
        budget: How many times the child's readiness may still be logged at once in this window.
        returned: Whether the log said that the child returned although it is permanent.
    """

    __slots__ = (
        "budget",
        "failures",
        "held_back",
        "path",
        "returned",
        "suppressed_by",
        "watched",
    )

    def __init__(self, path: str) -> None:
        self.path = path
        self.failures: list[FailureStreak] = []
        self.suppressed_by = 0
        self.held_back: RawEvent | None = None
        self.watched = False
        self.budget = READY_AT_ONCE
        self.returned = False

    def find(
        self, kind: str, error: BaseException | None, decide_error: str | None
    ) -> FailureStreak | None:
        """Return the open streak that this failure continues, if there is one."""
        code, at = place_of(error)
        for failure in self.failures:
            if (
                failure.code is code
                and failure.at == at
                and failure.type is type(error)
                and failure.kind == kind
                and failure.decide_error == decide_error
            ):
                return failure
        return None

    def fails_again(
        self, exited: RawEvent, error: BaseException | None, verdict: tuple[Any, ...]
    ) -> bool:
        """Count this failure if it continues the newest streak, and return whether it does.

        A shortcut for a child that fails hundreds of times a second: `TreeLog` would come to the
        same result without it.
        """
        if error is None or not self.failures:
            return False
        failure = self.failures[0]
        here = traceback_of(error)
        if here is None or not failure.suppressed:
            return False
        for _ in _DEEPEST:
            deeper = here.tb_next
            if deeper is None:
                break
            here = deeper
        _, _, now, _, _, _, _, (kind, *_) = exited
        action, _, _, _, _, _, _, decide_error = verdict
        if (
            here.tb_lasti != failure.at
            or here.tb_frame.f_code is not failure.code
            or type(error) is not failure.type
            or kind != failure.kind
            or decide_error != failure.decide_error
            or action != "restart"
        ):
            return False
        failure.count += 1
        failure.last = now
        self.held_back = None
        return True

    def holds_back(self, readiness: RawEvent) -> bool:
        """Hold back an event about readiness if a timer looks after that already; return whether.

        A shortcut like `fails_again`.
        """
        if not self.suppressed_by or self.budget or not self.watched:
            return False
        self.held_back = readiness
        return True


@final
class SupervisorMemory:
    """The log's memory of a supervisor; of a nested one, also between two runs.

    Attributes:
        declared: The names of the children that it starts with.
        running: Whether it has started, and not finished since.
        ready: Whether its first start is complete.
        delay_logged: Whether the log said that its start does not complete.
        stopping: Whether its stop has begun.
        reason: Why it stops, if it failed, so that no other line has to repeat that.
        children: Its children of which something is remembered, by path.
        below: The paths of nested supervisors of which something is remembered.
        verdict_logged: The paths of children that were said to be down together with the decision.
        suppressed: Whether it stops as part of a repeated failure, so that no line is written.
    """

    __slots__ = (
        "below",
        "children",
        "declared",
        "delay_logged",
        "path",
        "ready",
        "reason",
        "running",
        "size",
        "started",
        "stopping",
        "suppressed",
        "verdict_logged",
    )

    def __init__(self, path: str) -> None:
        self.path = path
        self.children: dict[str, ChildMemory] = {}
        self.below: set[str] = set()
        self.verdict_logged: set[str] = set()
        self.begin((), 0.0)

    def begin(self, declared: tuple[str, ...], now: float) -> None:
        """Note that a run of the supervisor starts."""
        self.declared = declared
        self.size = len(declared)
        self.started = now
        self.running = True
        self.ready = self.stopping = self.suppressed = self.delay_logged = False
        self.reason: str | None = None
        self.verdict_logged.clear()
