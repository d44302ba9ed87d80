"""What the kit raises. What a test fails with is an `AssertionError`."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_supervisor.testing._oracle.oracle import Violation


@final
class TrioMoved(RuntimeError):
    """This release of Trio keeps its scheduler elsewhere: schedules cannot be replayed with it."""


@final
class LiveLock(AssertionError):
    """Tasks ran and ran, and no time passed; or a task ignored its cancellation like that."""


@final
class Stuck(AssertionError):
    """Virtual time ran out: somebody waits for what never comes. The notes say who and where."""


@final
class TaskLeftBehind(AssertionError):
    """A task that was not there before the scenario was still there after it."""


@final
class InvariantViolated(AssertionError):
    """A promise was broken; `violations` holds which, and the message shows the events.

    Attributes:
        violations: All that were found, the earliest first.
    """

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations: tuple[Violation, ...] = tuple(violations)
        super().__init__("\n\n".join(violation.render() for violation in self.violations))
