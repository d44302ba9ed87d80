"""What the shell keeps of one child: its live attempt, its latest exit, and who watches it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from trio.lowlevel import enable_ki_protection

from trio_supervisor._errors import PastError, TaskFailure
from trio_supervisor._events.exits import (
    ChildRunReport,
    Crashed,
    Failed,
    Succeeded,
    TaskExit,
    category_of,
)
from trio_supervisor._events.snapshot import ChildState
from trio_supervisor._runtime.handle import ChildHandle
from trio_supervisor._runtime.observable import Observable
from trio_supervisor._text import text_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._brain.lifecycle import ChildLife
    from trio_supervisor._runtime.shell import Shell

_REPORTS_KEPT = 8


class View(NamedTuple):
    """What waiting is about: a child as it is after a signal was dealt with."""

    state: ChildState
    attempt: int
    generation: int
    live: bool
    closed: bool = False

    @property
    def is_at_rest(self) -> bool:
        """Whether it is down, and stays so without help."""
        return not self.live and self.state in _AT_REST


_AT_REST = frozenset(
    {ChildState.DONE, ChildState.STOPPED, ChildState.QUARANTINED, ChildState.REMOVED}
)


class Slot:
    """One child's life in the shell; what is seldom asked for is made when it is."""

    __slots__ = (
        "_detail",
        "_handle",
        "_older",
        "_view",
        "_waiters",
        "attempt",
        "context",
        "ended",
        "exit",
        "failed_start",
        "life",
        "nested",
        "shell",
    )

    def __init__(self, shell: Shell, life: ChildLife, context: Context) -> None:
        self.shell = shell
        self.life = life
        self.context = context
        self.attempt: Attempt | None = None
        self.nested: Shell | None = None
        self.ended: Attempt | None = None
        self.exit: TaskExit | None = None
        self.failed_start: ChildRunReport | None = None
        self._detail = ""
        self._older: list[tuple[Attempt, TaskExit | str]] | None = None  # str: of a crash
        self._view: Observable[View] | None = None
        self._waiters = 0
        self._handle: ChildHandle[Any] | None = None

    def __repr__(self) -> str:
        return f"{self.life.path} ({self.life.state})"

    @property
    def handle(self) -> ChildHandle[Any]:
        """The child's one public handle."""
        handle = self._handle
        if handle is None:
            handle = ChildHandle._create(self)
            if not self.life.gone:
                self._handle = handle
        return handle

    def let_go(self) -> None:
        """The child was removed: from now on only a handle holds on to it, and not the other way.

        Or each child of a pool would be garbage, with its last exception, until it is collected.
        """
        self._handle = None

    # ------------------------------------------------------------ watching

    @property
    def now(self) -> View:
        """The child as it is."""
        life = self.life
        closed = self.shell.is_over or life.gone  # nothing will change any more
        return View(life.state, life.attempt, life.reported_generation, life.live, closed)

    @enable_ki_protection  # an interrupt would leave those who wait and what they wait for at odds
    async def wait(self, condition: Callable[[View], bool]) -> View:
        """Wait until the child is as ``condition`` wants it; returns how it was then.

        Until whoever waits has its turn, the child may have changed again.
        """
        met: list[View] = []

        def meets(view: View) -> bool:
            if not met and condition(view):
                met.append(view)
            return bool(met)

        if self._view is None:
            self._view = Observable(self.now)
            if not self.life.gone:  # or its path may be somebody else's by now
                self.shell.watched[self.life.path] = self
        self._waiters += 1
        try:
            await self._view.wait(meets)
        finally:
            self._waiters -= 1
            if not self._waiters:
                # A child that nobody waits for costs nothing more.
                self._view = None
                if self.shell.watched.get(self.life.path) is self:
                    del self.shell.watched[self.life.path]
        return met[0]

    def refresh(self) -> None:
        """Let those who wait look again."""
        if self._view is not None:
            self._view.set(self.now)

    # ------------------------------------------------------------ values and reports

    @property
    def ready_value(self) -> tuple[bool, object]:
        """Whether there is a ready attempt that is not ending, and its value."""
        attempt = self.attempt
        if attempt is None or not attempt.is_ready or self.life.stage:
            return False, None
        return True, attempt.ready_value

    def record(self, attempt: Attempt, how: TaskExit, detail: str) -> None:
        """Keep the newest exit as it is, and of the one before only what a line can hold.

        A live exception holds on to every local variable of the dead attempt.
        """
        if self.ended is not None and self.exit is not None:
            if self._older is None:
                self._older = []
            elif len(self._older) >= _REPORTS_KEPT - 1:
                del self._older[0]
            self._older.append((self.ended, _in_brief(self.exit, self._detail)))
        attempt.ready_value = None
        self.ended = attempt
        self.exit = how
        self._detail = detail

    @property
    def has_succeeded(self) -> bool:
        """Whether its newest finished attempt had done its work."""
        return self.exit is not None and self.exit.is_success

    @property
    def last_report(self) -> ChildRunReport | None:
        """Of the newest attempt that has ended."""
        if self.ended is None or self.exit is None:
            return None
        return self.ended.report(self.exit)

    @property
    def reports(self) -> tuple[ChildRunReport, ...]:
        """Of the newest attempts, oldest first."""
        older = [(attempt, _summarised(how)) for attempt, how in self._older or ()]
        self._older = [*older]  # whoever asks again gets the same exits
        last = self.last_report
        reports = tuple(attempt.report(how) for attempt, how in older)
        return reports if last is None else (*reports, last)


def _in_brief(how: TaskExit, detail: str) -> TaskExit | str:
    """The same exit without the objects of the attempt that ended with it; of a crash, its line.

    A child may crash thousands of times a second, and hardly ever does anybody ask for the reports.
    """
    if isinstance(how, Crashed):
        return detail
    if isinstance(how, Failed):
        return Failed(TaskFailure(text_of(how.error), category=category_of(how.error)))
    if isinstance(how, Succeeded):
        return Succeeded(None)
    return how


def _summarised(how: TaskExit | str) -> TaskExit:
    return Crashed(PastError(how.removeprefix("crashed: "))) if isinstance(how, str) else how
