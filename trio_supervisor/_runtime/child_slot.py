"""Slot: what the shell keeps of one child: live attempt, latest exits, and waiting tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from trio.lowlevel import enable_ki_protection

from trio_supervisor._errors import PastError
from trio_supervisor._events.exits import (
    ChildRunReport,
    Crashed,
    TaskExit,
    brief_of,
)
from trio_supervisor._events.snapshot import ChildState, SupervisorSnapshot, as_previous
from trio_supervisor._runtime.handle import ChildHandle
from trio_supervisor._runtime.observable import Observable
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._brain.lifecycle import ChildLife
    from trio_supervisor._events.shutdown import ShutdownReport
    from trio_supervisor._runtime.ended_shell import EndedShell
    from trio_supervisor._runtime.messages import Reply
    from trio_supervisor._runtime.shell import Shell

_REPORTS_KEPT = 8
_WAITED_FOR = "a child can be waited for"


class View(NamedTuple):
    """A child as it is after a signal was handled; what waiting tasks look at.

    ``closed`` says that nothing will change any more. A view with a ``nonce`` differs from all
    others, so that setting it makes each waiting task look.
    """

    state: ChildState
    attempt: int
    generation: int
    live: bool
    closed: bool = False
    nonce: object = None

    @property
    def is_at_rest(self) -> bool:
        """Whether no attempt is live, and none will start without a command."""
        return not self.live and self.state in _AT_REST


_AT_REST = frozenset(
    {ChildState.DONE, ChildState.STOPPED, ChildState.QUARANTINED, ChildState.REMOVED}
)


class Slot:
    """The shell's record of one child, from its addition to its removal.

    What is seldom asked for (the handle, the observable view, older reports) is made on demand.

    Args:
        shell: Of the child's supervisor; an `EndedShell` once that has ended.
        life: What the machine knows of the child.
        context: In which each attempt runs, as a copy.
        addition: The reply to the command that added the child, while a task waits for its start.

    Attributes:
        attempt: The live attempt, if there is one.
        nested: The shell of the nested supervisor that runs in this attempt, if one does.
        opened: The shells of supervisors that this attempt has opened, by name.
        ended: The newest attempt that has ended.
        exit: How that attempt ended; `None` as well if that was fatal.
        failing_since: When the first of the failures in a row that still count ended its attempt.
        previous: The end of the newest nested supervisor that has ended.
    """

    __slots__ = (
        "_addition",
        "_detail",
        "_handle",
        "_older",
        "_view",
        "_waiters",
        "attempt",
        "context",
        "ended",
        "exit",
        "failing_since",
        "life",
        "nested",
        "opened",
        "previous",
        "shell",
    )

    def __init__(
        self, shell: Shell, life: ChildLife, context: Context, addition: Reply | None = None
    ) -> None:
        self.shell: Shell | EndedShell = shell
        self.life = life
        self.context = context
        self.attempt: Attempt | None = None
        self.nested: Shell | None = None
        self.opened: dict[str, Shell] | None = None
        self.ended: Attempt | None = None
        self.exit: TaskExit | None = None
        self.failing_since = 0.0
        self.previous: SupervisorSnapshot | None = None
        self._addition = addition
        self._detail = ""
        self._older: list[tuple[Attempt, TaskExit | str]] | None = None  # str: of a crash
        self._view: Observable[View] | None = None
        self._waiters = 0
        self._handle: ChildHandle[Any] | ref[ChildHandle[Any]] | None = None

    def __repr__(self) -> str:
        return f"{self.life.path} ({self.life.state})"

    @property
    def handle(self) -> ChildHandle[Any]:
        """The one public handle of this child."""
        kept = self._handle
        handle = kept() if isinstance(kept, ref) else kept
        if handle is None:
            handle = ChildHandle._create(self)
            over = self.life.gone or self.shell.is_over
            self._handle = ref(handle) if over else handle
        return handle

    def is_declared_with(self, spec: ChildSpec[Any] | SupervisorSpec) -> bool:
        """Whether ``spec`` is, or equals, what the child was declared with."""
        own: ChildSpec[Any] | SupervisorSpec | None = self.life.spec
        if not isinstance(spec, ChildSpec):
            own = self.life.spec.supervisor
        elif self.life.spec._stands_for is not None:
            own = self.life.spec._stands_for
        if own is spec or self.life.spec is spec:
            return True
        try:
            return bool(own == spec)
        except Exception:  # arguments may refuse to be compared
            return False

    def forget_handle(self) -> None:
        """The child was removed, or its supervisor has ended: let its handle go.

        A handle and its slot would hold on to each other. Each child of a pool would be garbage,
        with its last exception, until Python's cycle collector runs.
        """
        if self._handle is not None and not isinstance(self._handle, ref):
            self._handle = ref(self._handle)

    def fail_start(self) -> None:
        """Give the report of the attempt that has just failed to the task that added the child.

        That task waits no longer if it was cancelled in the same turn of the event loop.
        """
        addition, self._addition = self._addition, None
        if addition is not None:
            addition.failed_start = self.last_report

    def forget_addition(self) -> None:
        """The task that added the child waits no longer."""
        self._addition = None

    def detach_below(self) -> ShutdownReport | None:
        """The attempt has ended: forget the supervisors in it; return how a nested one ended."""
        nested, self.nested = self.nested, None
        self.opened = None
        if nested is None:
            return None
        if nested.is_visible:
            self.previous = as_previous(nested.snapshot())
        return nested.report

    # ------------------------------------------------------------ watching

    def view(self) -> View:
        """Return the child as it is now."""
        life = self.life
        closed = self.shell.is_over or life.gone  # nothing will change any more
        return View(life.state, life.attempt, life.reported_generation, life.live, closed)

    @enable_ki_protection  # an interrupt would leave waiters and view at odds
    async def wait(self, condition: Callable[[View], bool]) -> View:
        """Wait until the child is as ``condition`` wants it; returns how it was then.

        Before the waiting task has its turn, the child may have changed again.
        """
        if not self.shell.is_over:
            self.shell.tree.check_thread(self.life.path, _WAITED_FOR)
        met: list[View] = []

        def meets(view: View) -> bool:
            if not met and condition(view):
                met.append(view)
            return bool(met)

        if self._view is None:
            self._view = Observable(self.view())
            if not self.life.gone:  # else its path may be that of another child by now
                self.shell.watched[self.life.path] = self
        self._waiters += 1
        try:
            await self._view.wait(meets)
        finally:
            self._waiters -= 1
            if not self._waiters:
                # A child that no task waits for costs nothing more.
                self._view = None
                if self.shell.watched.get(self.life.path) is self:
                    del self.shell.watched[self.life.path]
        return met[0]

    def end_waiting(self) -> None:
        """Let the waiting tasks see that nothing will change any more. Can be repeated."""
        assert self._view is not None  # the shell watches only children that tasks wait for
        self._view.set(self.view()._replace(closed=True, nonce=object()))

    def refresh(self) -> None:
        """Let the waiting tasks look at the child again."""
        if self._view is not None:
            self._view.set(self.view())

    # ------------------------------------------------------------ values and reports

    @property
    def ready_value(self) -> tuple[bool, object]:
        """Whether there is a ready attempt that is not stopping yet, and its value."""
        attempt = self.attempt
        if attempt is None or not attempt.is_ready or self.life.stage:
            return False, None
        return True, attempt.ready_value

    def record(self, attempt: Attempt, how: TaskExit, detail: str, now: float) -> None:
        """Keep the newest exit as it is, and of the one before it only a line of text.

        A live exception holds on to every local variable of the attempt that has ended.
        """
        if self.ended is not None and self.exit is not None:
            if self._older is None:
                self._older = []
            elif len(self._older) >= _REPORTS_KEPT - 1:
                del self._older[0]
            self._older.append((self.ended, _without_objects(self.exit, self._detail)))
        attempt.ready_value = None
        attempt.failures_in_row = self.life.count_failures(now, failed=how.is_failure)
        if attempt.failures_in_row <= 1 and how.is_failure:
            self.failing_since = now
        self.ended = attempt
        self.exit = how
        self._detail = detail

    @property
    def has_succeeded(self) -> bool:
        """Whether the newest finished attempt has done its work."""
        return self.exit is not None and self.exit.is_success

    @property
    def last_report(self) -> ChildRunReport | None:
        """The report of the newest finished attempt; `None` before the first exit."""
        if self.ended is None or self.exit is None:
            return None
        return self.ended.report(self.exit)

    @property
    def reports(self) -> tuple[ChildRunReport, ...]:
        """The reports of the newest finished attempts, oldest first."""
        older = [(attempt, _summarised(how)) for attempt, how in self._older or ()]
        self._older = [*older]  # a second call returns the same exits
        last = self.last_report
        reports = tuple(attempt.report(how) for attempt, how in older)
        return reports if last is None else (*reports, last)


def _without_objects(how: TaskExit, detail: str) -> TaskExit | str:
    """Return ``how`` without objects of the attempt that ended with it; of a crash, only its line.

    A child may crash thousands of times a second, and its older reports are hardly ever read.
    """
    if isinstance(how, Crashed):
        return detail
    return brief_of(how)


def _summarised(how: TaskExit | str) -> TaskExit:
    return Crashed(PastError(how.removeprefix("crashed: "))) if isinstance(how, str) else how
