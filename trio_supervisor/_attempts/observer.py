"""The seam for tests: one object that is told what every tree and every attempt does.

Trio has `trio.abc.Instrument` for a program that wants to see each step of each task.
`TreeObserver` is the same for supervision: it sees trees, supervisors, commands, events and
attempts. The testing kit is built on it, and so are this project's own tests; nothing in the
library has to be replaced.

How to use it::

    class Count(TreeObserver):
        def attempt_began(self, attempt):
            self.began.append(attempt)  # the object tells attempts apart, not its name

    with observing(count):
        trio.run(main)

`observing` sets a context variable. `open_supervisor` and `ChildRunner` read that variable when
they make a root or a single run, and keep what they find. So the observer sees everything that is
opened below the ``with`` block, in the same context or in one that was copied from it (as Trio does
for each new task and thread), and keeps seeing these trees after the block has been left.

Rules for an observer: its methods are called in the middle of the supervisor's or the attempt's
work, in Trio's thread. They must not wait, must not raise (what they raise is a bug of the
supervisor, and ends it), and must not call what gives a command. All of them do nothing here, so
override what you need; a tree without an observer pays for one comparison in each place.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from random import Random

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._attempts.context import ChildContext
    from trio_supervisor._brain.messages import Command, Shutdown
    from trio_supervisor._events.events import Event
    from trio_supervisor._events.exits import TaskExit
    from trio_supervisor._runtime.messages import Reply
    from trio_supervisor._runtime.shell import Shell


class TreeObserver:
    """Base class of observers: a test sees, and partly decides, what trees and attempts do.

    A *shell* is the Trio side of one supervisor (its ``path``, ``run``, ``parent``, ``slots``). An
    *attempt* knows its ``path``, ``number``, ``task`` and ``host``; the host of a supervised
    attempt is the shell of its supervisor. Attempts are told apart by identity: two trees may
    have the same name, and one spec may be opened twice.

    Attributes:
        writes_log: Whether trees that are opened from now on write to the log.
        log_wakes: Whether the log wakes a supervisor for a line that is due, such as that a start
            lasts. If not, the line comes with the next event, and a run does not depend on whether
            it is logged.
    """

    writes_log: bool = True
    log_wakes: bool = True

    # ------------------------------------------------------------ what a new tree is made with

    def random(self) -> Random | None:
        """Return the source of jitter of the next tree; `None` for one that is not repeatable.

        Asked only if `open_supervisor` was called without ``random``.
        """
        return None

    def wall_clock(self) -> Callable[[], float] | None:
        """Return what the next tree's events have for wall time; `None` for `time.time`."""
        return None

    # ------------------------------------------------------------ trees

    def supervisor_opened(self, shell: Shell) -> None:
        """A supervisor was made; it has no children yet, and no event was recorded.

        It is the root of a new tree if ``shell.parent`` is `None`.
        """

    def event_recorded(self, root: Shell, event: Event) -> None:
        """An event of the tree below ``root`` was recorded, after the log has had it."""

    def command_given(self, shell: Shell, command: Command, reply: Reply) -> None:
        """``command`` was given to a supervisor, which has not looked at it yet.

        ``reply.is_answered`` is true once it has.
        """

    def shutdown_requested(self, shell: Shell, request: Shutdown) -> None:
        """A supervisor that has not ended was asked to stop, which it has not looked at yet."""

    # ------------------------------------------------------------ attempts, in this order

    def attempt_ordered(self, attempt: Attempt) -> None:
        """The task of ``attempt`` is about to be started. From here on the attempt is live."""

    def attempt_began(self, attempt: Attempt) -> None:
        """The task ``attempt.task`` makes its first step."""

    def around_body(
        self, attempt: Attempt, context: ChildContext, body: Awaitable[object]
    ) -> Awaitable[object]:
        """Return what the attempt's task awaits in place of ``body``: the call of the child's body.

        ``body`` is a coroutine, so that a wrapper can drive it step by step. Not asked if the
        attempt was cancelled before its first step. A wrapper that does not await ``body`` has to
        close it.
        """
        return body

    def start_extended(self, attempt: Attempt, until: float) -> None:
        """``attempt`` asked for time to start, until the time ``until``."""

    def grace_forfeited(self, attempt: Attempt, *, taken_back: bool) -> None:
        """A task of ``attempt`` waits for the end of ``attempt``, which therefore has no grace.

        With ``taken_back``, the command that it waited for was refused.
        """

    def attempt_over(self, attempt: Attempt) -> None:
        """The scope of ``attempt`` has closed: nothing of it is left but the last step of its task.

        ``attempt.task`` is still set; ``attempt.ended_at`` is the time.
        """

    def exit_classified(self, attempt: Attempt, how: TaskExit) -> None:
        """The exit of ``attempt`` was classified as ``how``; nothing has followed from it yet.

        Not called for an attempt out of which a fatal exception came.
        """


tree_observer: ContextVar[TreeObserver | None] = ContextVar(
    "trio_supervisor.tree_observer", default=None
)
"""The observer of what is opened in this context; set by `observing`."""


@contextmanager
def observing(observer: TreeObserver) -> Iterator[None]:
    """Let ``observer`` see each tree and each single run that is made inside this block.

    Blocks may be nested: an outer observer goes on seeing what is opened, and is told first. Then
    the innermost observer that gives a `TreeObserver.random` or a wall clock decides these, one
    observer that wants no log is enough, and bodies are wrapped by all, the outermost last.
    """
    outer = tree_observer.get()
    token = tree_observer.set(observer if outer is None else _Both(outer, observer))
    try:
        yield
    finally:
        tree_observer.reset(token)


class _Both(TreeObserver):
    """Two observers as one."""

    def __init__(self, outer: TreeObserver, inner: TreeObserver) -> None:
        self._outer = outer
        self._inner = inner
        self.writes_log = outer.writes_log and inner.writes_log
        self.log_wakes = outer.log_wakes and inner.log_wakes

    def random(self) -> Random | None:
        found = self._inner.random()
        return self._outer.random() if found is None else found

    def wall_clock(self) -> Callable[[], float] | None:
        found = self._inner.wall_clock()
        return self._outer.wall_clock() if found is None else found

    def supervisor_opened(self, shell: Shell) -> None:
        self._outer.supervisor_opened(shell)
        self._inner.supervisor_opened(shell)

    def event_recorded(self, root: Shell, event: Event) -> None:
        self._outer.event_recorded(root, event)
        self._inner.event_recorded(root, event)

    def command_given(self, shell: Shell, command: Command, reply: Reply) -> None:
        self._outer.command_given(shell, command, reply)
        self._inner.command_given(shell, command, reply)

    def shutdown_requested(self, shell: Shell, request: Shutdown) -> None:
        self._outer.shutdown_requested(shell, request)
        self._inner.shutdown_requested(shell, request)

    def attempt_ordered(self, attempt: Attempt) -> None:
        self._outer.attempt_ordered(attempt)
        self._inner.attempt_ordered(attempt)

    def attempt_began(self, attempt: Attempt) -> None:
        self._outer.attempt_began(attempt)
        self._inner.attempt_began(attempt)

    def around_body(
        self, attempt: Attempt, context: ChildContext, body: Awaitable[object]
    ) -> Awaitable[object]:
        inner = self._inner.around_body(attempt, context, body)
        return self._outer.around_body(attempt, context, inner)

    def start_extended(self, attempt: Attempt, until: float) -> None:
        self._outer.start_extended(attempt, until)
        self._inner.start_extended(attempt, until)

    def grace_forfeited(self, attempt: Attempt, *, taken_back: bool) -> None:
        self._outer.grace_forfeited(attempt, taken_back=taken_back)
        self._inner.grace_forfeited(attempt, taken_back=taken_back)

    def attempt_over(self, attempt: Attempt) -> None:
        self._outer.attempt_over(attempt)
        self._inner.attempt_over(attempt)

    def exit_classified(self, attempt: Attempt, how: TaskExit) -> None:
        self._outer.exit_classified(attempt, how)
        self._inner.exit_classified(attempt, how)
