"""Watching every supervision tree of a Trio run, and making it repeatable.

While `watching` is on, each tree that is opened gets a seeded random generator and virtual wall
time, and is looked at after every single step of every task: folding its events has to give its
state, and no child may have two tasks at once. Its events are kept, and given to the oracle.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Final, final

import trio

from trio_supervisor import _enclosure
from trio_supervisor import _events as ev
from trio_supervisor._fold import SnapshotBuilder, raw_of
from trio_supervisor.testing._oracle import Oracle, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_supervisor._shell import Shell
    from trio_supervisor._snapshot import SupervisorSnapshot
    from trio_supervisor._spec import ChildSpec, SupervisorSpec

_MOST_CHILDREN: Final = 64  # of a tree whose state is compared after every step


@final
class WatchedTree:
    """One tree, its events so far, and what the oracle makes of them.

    Attributes:
        spec: What was declared at its root.
        events: All since its beginning.
        added: The specs of children that were added at run time, by the number of the event.
        oracle: Has seen all events up to `checked`.
    """

    def __init__(self, shell: Shell) -> None:
        self.spec: SupervisorSpec = shell.spec
        self.events: list[ev.Event] = []
        self.added: dict[int, ChildSpec[Any]] = {}
        self.oracle = Oracle(shell.spec, added=self.added)
        self.violations: list[Violation] = []
        self._shell: Shell | None = shell
        self._builder = SnapshotBuilder()
        self._folded = 0

    def take(self, event: ev.Event) -> None:
        """A new event, in the middle of the supervisor's work: only kept."""
        self.events.append(event)
        if isinstance(event, ev.ChildAdded):
            spec = self._spec_of(event.path)
            if spec is not None:
                self.added[event.sequence] = spec

    def _spec_of(self, path: str) -> ChildSpec[Any] | None:
        shell = self._shell
        if shell is None:
            return None
        *above, name = path[len(shell.path) + 1 :].split("/")
        for step in above:
            nested = shell.slots[step].nested if step in shell.slots else None
            if nested is None:
                return None
            shell = nested
        life = shell.machine.children.get(name)
        return None if life is None else life.spec

    def look(self) -> None:
        """Between two steps of tasks: judge what is new, and compare with the state."""
        if self._folded == len(self.events):
            return
        news = self.events[self._folded :]
        self._folded = len(self.events)
        for event in news:
            self.oracle.feed(event)
            self._builder.apply(raw_of(event))
        folded = self._builder.freeze()
        shell = self._shell
        if shell is not None and shell.slots and len(folded.children) <= _MOST_CHILDREN:
            state = shell.snapshot()
            if folded != state:
                self._differ(folded, state)

    def _differ(self, folded: SupervisorSnapshot, state: SupervisorSnapshot) -> None:
        if not any(violation.invariant == "fold_is_state" for violation in self.violations):
            text = (
                f"the events, folded, give\n{folded.render()}\nand the state is\n{state.render()}"
            )
            self.violations.append(
                Violation("fold_is_state", text, self.events[-1], tuple(self.events[-3:]))
            )

    def release(self) -> None:
        """Let go of the tree itself, not of what happened in it."""
        self._shell = None

    def found(self) -> list[Violation]:
        """Everything that was found so far."""
        return [*self.oracle.violations, *self.violations]


@final
class Watch(trio.abc.Instrument):
    """All trees of one run.

    Attributes:
        trees: Those that were opened, in order.
        steps: How many steps of tasks there were.
    """

    def __init__(self, seed: object = 0) -> None:
        self.trees: list[WatchedTree] = []
        self.steps = 0
        self.bug: BaseException | None = None
        self._seed = seed
        self._live: Counter[str] = Counter()
        self._reported: set[str] = set()

    def random(self) -> Random:
        """The source of jitter of the next tree."""
        return Random(f"{self._seed} {len(self.trees)}")  # noqa: S311  # to be repeated

    def adopt(self, shell: Shell) -> None:
        """A new tree."""
        tree = WatchedTree(shell)
        self.trees.append(tree)
        journal = shell.tree.journal
        journal._wall = trio.current_time  # so that the same run gives the same events
        journal.tap = None  # the log would cost more than all the rest
        journal.attach(tree.take)

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        path, mark, _ = task.name.rpartition("#")
        if not mark:
            return
        self._live[path] += 1
        if self._live[path] > 1 and path not in self._reported:
            for tree in self.trees:
                if path.startswith(f"{tree.spec.name}/") and tree.events:
                    self._reported.add(path)
                    text = f"{path} has {self._live[path]} tasks at once"
                    last = tree.events[-1]
                    tree.violations.append(Violation("one_live_attempt", text, last, (last,)))

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        path, mark, _ = task.name.rpartition("#")
        if mark:
            self._live[path] -= 1

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        if self.bug is None:
            try:
                for tree in self.trees:
                    tree.look()
            except Exception as error:  # Trio would only log what an instrument raises
                self.bug = error

    def finish(self) -> list[Violation]:
        """The run is over: everything that was found."""
        found = []
        for tree in self.trees:
            tree.look()
            tree.oracle.finish()
            found += tree.found()
        if self.bug is not None:
            raise self.bug
        return found


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Let ``watch`` see every tree that is opened inside this block, whoever opens it."""
    make_root = _enclosure._root

    def make_watched_root(
        spec: SupervisorSpec | None, random: Random | None, options: Any
    ) -> Shell:
        shell = make_root(spec, watch.random() if random is None else random, options)
        watch.adopt(shell)
        return shell

    _enclosure._root = make_watched_root
    try:
        yield
    finally:
        _enclosure._root = make_root


def all_tasks() -> list[trio.lowlevel.Task]:
    """Every task of the running program, Trio's own among them."""
    root = trio.lowlevel.current_root_task()
    found = []
    pending = [] if root is None else [root]
    while pending:
        task = pending.pop()
        found.append(task)
        for nursery in task.child_nurseries:
            pending.extend(nursery.child_tasks)
    return found


def where(task: trio.lowlevel.Task, indent: str = "") -> Iterator[str]:
    """One line for ``task`` and each task below it: its name, and where it waits."""
    frames = [
        f"{frame.f_code.co_filename.rpartition('/')[2]}:{line} {frame.f_code.co_name}"
        for frame, line in task.iter_await_frames()
    ]
    yield f"{indent}{task.name}: {' > '.join(frames[-4:])}"
    for nursery in task.child_nurseries:
        for child in sorted(nursery.child_tasks, key=lambda task: task.name):
            yield from where(child, indent + "  ")
