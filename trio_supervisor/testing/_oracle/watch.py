"""Watch every supervision tree of a Trio run, and make the run repeatable.

While `watching` is on, each tree that is opened gets a seeded random generator and virtual wall
time. It is looked at after every single step of every task: folding its events has to give its
state, and no child may have two live attempts. Its events are kept, and judged by the oracle.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from random import Random
from typing import TYPE_CHECKING, Final, final

import attrs
import trio

from trio_supervisor._attempts.observer import TreeObserver, observing
from trio_supervisor._lazy import public
from trio_supervisor._runtime.shell import Shell
from trio_supervisor.testing._oracle.watched_tree import WatchedTree
from trio_supervisor.testing._sim.tasks import leaves_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._attempts.context import ChildContext
    from trio_supervisor._brain.messages import Command
    from trio_supervisor._events.events import Event
    from trio_supervisor._events.exits import TaskExit
    from trio_supervisor._runtime.messages import Reply
    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor.testing._oracle.violation import Violation


@final
class Watch(trio.abc.Instrument, TreeObserver):
    """All trees of one Trio run.

    Args:
        seed: The seed of the trees' jitter; `None` leaves it random.
        is_virtual: Whether the events' wall time is Trio's time, so that equal runs have equal
            events.
        is_judged: Whether the oracle judges the events; otherwise only folds and live attempts are
            checked.
        slack: Seconds by which anything may come late.

    Attributes:
        trees: The trees that were opened, in order.
        history: The events of all trees and the notes of the program, in order.
        steps: Number of steps of tasks.
        bug: An exception in the watch itself.
        is_checking: Whether trees are looked at; a test that breaks a supervisor turns it off.
        raised: The exceptions that bodies of live attempts have raised.
        live: The live attempts, by tree and path.
        provoked: The live attempts whose failure was scripted or injected.
    """

    def __init__(
        self,
        seed: object = 0,
        *,
        is_virtual: bool = True,
        is_judged: bool = True,
        slack: float = 0.0,
    ) -> None:
        self.trees: list[WatchedTree] = []
        self.history: list[Event | Note] = []
        self.steps = 0
        self.bug: BaseException | None = None
        self.is_checking = True
        self.raised: dict[Attempt, list[BaseException]] = {}
        self.live: dict[tuple[int, str], Attempt] = {}
        self._running: list[WatchedTree] = []
        self._by_root: dict[Shell, WatchedTree] = {}
        self.provoked: set[Attempt] = set()
        self._tasks: set[trio.lowlevel.Task] = set()
        self._places: dict[Attempt, tuple[WatchedTree, int]] = {}  # with the supervisor's run
        # With no handler, Python would print warnings of each run on standard error.
        self.writes_log = logging.getLogger("trio_supervisor").hasHandlers()
        self._seed = seed
        self._is_virtual = is_virtual
        self._is_judged = is_judged
        self._slack = slack
        self._replies: list[tuple[float, WatchedTree | None, Reply, str]] = []
        self._hooks: dict[int, Callable[[], object]] = {}
        self._now = -inf

    def release(self) -> None:
        """Let go of the trees themselves, not of their events."""
        for tree in self.trees:
            tree.release()
        self._by_root.clear()
        self._places.clear()
        self._tasks.clear()
        self.live.clear()

    def clear_steps(self) -> None:
        """Forget what `at_step` was given."""
        self._hooks.clear()

    def at_step(self, step: int, hook: Callable[[], object]) -> None:
        """Call ``hook`` once, ``step`` steps from now, between two steps of tasks."""
        self._hooks[self.steps + step] = hook

    def tree_of(self, supervisor: Supervisor) -> WatchedTree | None:
        """Return the tree of which ``supervisor`` is the root or a part."""
        return self._tree_of(supervisor._shell)

    def _tree_of(self, shell: Shell) -> WatchedTree | None:
        while shell.parent is not None:
            shell = shell.parent
        return self._by_root.get(shell)

    def _tree_with(self, attempt: Attempt) -> WatchedTree | None:
        return self._places[attempt][0] if attempt in self._places else None

    # ------------------------------------------------------------ as a tree observer

    def random(self) -> Random | None:
        if self._seed is None:
            return None
        return Random(f"{self._seed} {len(self.trees)}")  # noqa: S311  # to be repeated

    def wall_clock(self) -> Callable[[], float] | None:
        return trio.current_time if self._is_virtual else None

    def supervisor_opened(self, shell: Shell) -> None:
        if shell.parent is None:
            tree = WatchedTree(shell, is_judged=self._is_judged, slack=self._slack)
            self._by_root[shell] = tree
            self.trees.append(tree)
            self._running.append(tree)

    def event_recorded(self, root: Shell, event: Event) -> None:
        tree = self._tree_of(root)
        if tree is not None and self.is_checking:
            self.history.append(event)
            tree.take(event)

    def command_given(self, shell: Shell, command: Command, reply: Reply) -> None:
        if self._is_judged and self.is_checking:
            self._replies.append((trio.current_time(), self._tree_of(shell), reply, repr(command)))

    def attempt_ordered(self, attempt: Attempt) -> None:
        host = attempt.host
        tree = self._tree_of(host) if isinstance(host, Shell) else None
        if tree is None or not isinstance(host, Shell):
            return
        self._places[attempt] = tree, host.run
        place = id(tree), attempt.path
        if place in self.live:
            number = self.live[place].number
            text = f"{attempt.path}#{attempt.number} starts while #{number} is alive"
            tree.fail("one_live_attempt", text)
        self.live[place] = attempt

    def attempt_began(self, attempt: Attempt) -> None:
        if attempt.task is not None:
            self._tasks.add(attempt.task)

    def is_body(self, task: trio.lowlevel.Task) -> bool:
        """Return whether ``task`` is the task of an attempt."""
        return task in self._tasks

    def attempt_over(self, attempt: Attempt) -> None:
        if attempt.task is not None:
            self._tasks.discard(attempt.task)
        tree = self._tree_with(attempt)
        if tree is not None and self.live.get((id(tree), attempt.path)) is attempt:
            del self.live[id(tree), attempt.path]

    def exit_classified(self, attempt: Attempt, how: TaskExit) -> None:
        raised = self.raised.pop(attempt, None)
        provoked = attempt in self.provoked
        self.provoked.discard(attempt)
        tree, run = self._places.pop(attempt, (None, 0))
        if tree is None:
            return
        tree.extended.pop(attempt, None)
        if how.is_failure and not provoked:
            tree.unprovoked.add((run, attempt.path, attempt.number))
        if raised is None:
            return
        tree.leaves[run, attempt.path, attempt.number] = raised
        kept = [] if how.error is None else list(leaves_of(how.error))
        lost = [leaf for leaf in raised if not any(leaf is one for one in kept)]
        if lost:
            tree.fail("errors", f"{attempt.path} raised {lost[0]!r}; its report: {how.describe()}")

    def start_extended(self, attempt: Attempt, until: float) -> None:
        tree = self._tree_with(attempt)
        if tree is not None:
            tree.extended[attempt] = max(until, tree.extended.get(attempt, until))

    def grace_forfeited(self, attempt: Attempt, *, taken_back: bool) -> None:
        tree, run = self._places.get(attempt, (None, 0))
        if tree is not None:
            tree.inside.add((run, attempt.path, attempt.number))

    # ------------------------------------------------------------ as an instrument

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        now = trio.current_time()
        if now != self._now and self.bug is None and self.is_checking:
            try:
                self._time_passes(now)
            except Exception as error:  # Trio would only log what an instrument raises
                self.bug = error

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        hook = self._hooks.pop(self.steps, None) if self._hooks else None
        if self.bug is None:
            try:
                if hook is not None:
                    hook()
                if self.is_checking:
                    for tree in self._running:
                        tree.look()
            except Exception as error:  # Trio would only log what an instrument raises
                self.bug = error

    def _time_passes(self, now: float) -> None:
        self._now = now
        for at, tree, reply, command in self._replies:
            if at < now and tree is not None and not reply.is_answered:
                tree.fail("answered", f"{command}, given at {at:g}, was not answered by {now:g}")
        self._replies = [entry for entry in self._replies if entry[0] == now]
        for tree in self._running:
            tree.time_passes(now)
        self._running = [tree for tree in self._running if not tree.is_over]

    def found(self) -> list[Violation]:
        """Return everything that was found so far.

        Raises:
            Exception: The watch itself has failed.
        """
        if self.bug is not None:
            raise self.bug
        return [violation for tree in self.trees for violation in tree.found()]

    def finish(self) -> list[Violation]:
        """Check what had to happen by the end of the run, and return everything found."""
        if self.is_checking:
            for _, tree, reply, command in self._replies:
                if tree is not None and tree.events and not reply.is_answered:
                    tree.fail("answered", f"{command} was never answered")
            for tree in self.trees:
                tree.finish()
        return self.found()


@public
@final
@attrs.frozen
class Note:
    """One call of `note`.

    Attributes:
        time: Trio's time.
        task: The attempt and the task that made the call, such as ``"shop/north#2"``.
        text: What it said.
    """

    time: float
    task: str
    text: str

    def __str__(self) -> str:
        return f"      {self.time:<10.6g} {self.task:<20} {self.text}"


_CURRENT: Final[ContextVar[Watch | None]] = ContextVar("trio_supervisor.watch", default=None)


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Let ``watch`` see every tree that is opened inside this block."""
    token = _CURRENT.set(watch)
    try:
        with observing(watch):
            yield
    finally:
        _CURRENT.reset(token)


def note_provoked(context: ChildContext) -> None:
    """Note that the test makes the attempt of ``context`` fail, if it fails."""
    watch = current_watch()
    if watch is not None:
        watch.provoked.add(context._attempt)


def current_watch() -> Watch | None:
    """Return the watch that sees trees opened in this context, if there is one."""
    return _CURRENT.get()
