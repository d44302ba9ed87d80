"""What the log remembers in order to tell a failure from one that it has told already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from trio_supervisor._errors import TaskFailure

if TYPE_CHECKING:
    from types import CodeType

    from trio_supervisor._events.fold import RawEvent

_DEEPEST = range(200)  # how far to look for the place where an exception was raised
_MOST_LEAVES = 8


def place_of(error: BaseException | None) -> tuple[CodeType | None, object]:
    """Where ``error`` was raised: the code and the instruction; line numbers would cost a search.

    Of a group, no code, and the types and places of its first leaves.
    """
    if error is None:
        return None, None
    if type(error) is ExceptionGroup:
        leaves = error.exceptions[:_MOST_LEAVES]
        return None, tuple([(type(leaf), *place_of(leaf)) for leaf in leaves])
    here = deeper = error.__traceback__
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
    """Whether there is more to see than the line says.

    A `TaskFailure` was raised on purpose, and says itself what there is to say: where it was raised
    is of interest only if another error lies behind it.
    """
    if not isinstance(error, TaskFailure):
        return True
    hidden = error.__context__ is None or error.__suppress_context__
    return error.__cause__ is not None or not hidden


@final
class Failure:
    """A way in which a child fails, for as long as its repeats are counted.

    Attributes:
        note: The type of what ``decide`` raised, if it did; `None` if the exit was not judged.
        attempt: The one that was logged.
        began: The start of the present window.
        last: The newest time that it happened.
        traced: Whether it was logged with a traceback.
        muted: The children of whom nothing is said meanwhile; empty before the first repeat.
        gave_up: Whether it was said that the supervisor fails with it; in the supervisor's next
            run this is a repeat as well.
    """

    __slots__ = (
        "also",
        "at",
        "attempt",
        "began",
        "child",
        "code",
        "count",
        "gave_up",
        "kind",
        "last",
        "muted",
        "note",
        "traced",
        "type",
    )

    def __init__(
        self,
        child: Child,
        exited: RawEvent,
        error: BaseException | None,
        note: str | None,
        also: tuple[str, ...],
    ) -> None:
        self.child = child
        self.kind: str = exited[7][0]
        self.type = type(error)
        self.code, self.at = place_of(error)
        self.traced = error is not None and deserves_traceback(error)
        self.note = note
        self.also = also
        self.attempt: int = exited[6]
        self.began: float = exited[2]
        self.last = self.began
        self.count = 0
        self.muted: list[Child] = []
        self.gave_up = False


@final
class Child:
    """What the log remembers of a child; most children never need one.

    Attributes:
        failures: Those whose repeats are counted, newest first.
        quiet: How many failures that are being counted concern it.
        unsaid: The newest event that was not logged because of that, and still holds.
        returned: Whether it was said that it returned although it is permanent.
    """

    __slots__ = ("failures", "path", "quiet", "returned", "unsaid")

    def __init__(self, path: str) -> None:
        self.path = path
        self.failures: list[Failure] = []
        self.quiet = 0
        self.unsaid: RawEvent | None = None
        self.returned = False

    def find(self, kind: str, error: BaseException | None, note: str | None) -> Failure | None:
        """The failure that this one repeats, if it does."""
        code, at = place_of(error)
        for failure in self.failures:
            if (
                failure.code is code
                and failure.at == at
                and failure.type is type(error)
                and failure.kind == kind
                and failure.note == note
            ):
                return failure
        return None

    def fails_again(
        self, exited: RawEvent, error: BaseException | None, verdict: tuple[Any, ...]
    ) -> bool:
        """Count this failure, if it is the newest one once more and its repeats are counted.

        Does nothing that `TreeLog` would not do without it. It is the short way for a child that
        fails hundreds of times a second, and finds the place of the error as `place_of` does.
        """
        if error is None or not self.failures:
            return False
        failure = self.failures[0]
        here = error.__traceback__
        if here is None or not failure.muted:
            return False
        for _ in _DEEPEST:
            deeper = here.tb_next
            if deeper is None:
                break
            here = deeper
        if (
            here.tb_lasti != failure.at
            or here.tb_frame.f_code is not failure.code
            or type(error) is not failure.type
            or exited[7][0] != failure.kind
            or verdict[7] != failure.note
            or verdict[0] != "restart"
        ):
            return False
        failure.count += 1
        failure.last = exited[2]
        self.unsaid = None
        return True


@final
class Supervisor:
    """What the log remembers of a supervisor: of a nested one, also between two runs.

    Attributes:
        declared: The names of the children that it starts with.
        running: Whether it has started, and not finished since.
        stopping: Whether it is about to finish.
        reason: Why it stops, if it failed: nobody else has to say that again.
        children: Those of whom something is remembered, by path.
        below: The paths of nested supervisors of which something is.
        told: The paths of those whose coming rest was told with the verdict.
        hushed: Whether it stops as part of what goes on and on: nothing is said of that.
    """

    __slots__ = (
        "below",
        "children",
        "declared",
        "hushed",
        "path",
        "reason",
        "running",
        "size",
        "started",
        "stopping",
        "told",
    )

    def __init__(self, path: str) -> None:
        self.path = path
        self.children: dict[str, Child] = {}
        self.below: set[str] = set()
        self.told: set[str] = set()
        self.begin((), 0.0)

    def begin(self, declared: tuple[str, ...], now: float) -> None:
        """A run of it starts."""
        self.declared = declared
        self.size = len(declared)
        self.started = now
        self.running = True
        self.stopping = self.hushed = False
        self.reason: str | None = None
        self.told.clear()
