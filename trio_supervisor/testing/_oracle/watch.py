"""Watching every supervision tree of a Trio run, and making it repeatable.

While `watching` is on, each tree that is opened gets a seeded random generator and virtual wall
time, and is looked at after every single step of every task: folding its events has to give its
state, and no child may have two tasks at once. Its events are kept, and given to the oracle.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, Final, final

import trio
from trio.lowlevel import enable_ki_protection

from trio_supervisor._events import events as ev
from trio_supervisor._events.fold import SnapshotBuilder, raw_of
from trio_supervisor._runtime import block as _enclosure
from trio_supervisor._runtime.shell import Shell
from trio_supervisor.testing._oracle import heartbeats as _pulse
from trio_supervisor.testing._oracle.oracle import Oracle, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._events.exits import TaskExit
    from trio_supervisor._events.snapshot import SupervisorSnapshot
    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor._runtime.tree import Reply
    from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

_MOST_CHILDREN: Final = 64  # of a tree whose state is compared after every step


@final
class WatchedTree:
    """One tree, its events so far, and what the oracle makes of them.

    Attributes:
        spec: What was declared at its root.
        events: All since its beginning.
        added: The specs of children that were added at run time, by the number of the event.
        extended: Until when attempts asked for time to start.
        inside: Attempts that gave a command and wait for their own end.
        oracle: Has seen all events up to `checked`.
    """

    def __init__(self, shell: Shell) -> None:
        self.spec: SupervisorSpec = shell.spec
        self.events: list[ev.Event] = []
        self.added: dict[int, ChildSpec[Any]] = {}
        self.extended: dict[Attempt, float] = {}
        self.inside: set[tuple[str, int]] = set()
        self.oracle = Oracle(shell.spec, added=self.added, inside=self.inside)
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
        elif isinstance(event, ev.ChildStopRequested) and self._shell is not None:
            _pulse.check_reason(self, self._shell, event)

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

    def time_passes(self, now: float) -> None:
        """It is ``now`` already: what had to happen before, has it?"""
        if self._shell is not None and self.events:
            _pulse.check_alive(self, self._shell, now)

    def fail(self, invariant: str, text: str) -> None:
        """A promise was broken that events do not show."""
        if not any(found.invariant == invariant for found in self.violations):
            last = self.events[-1]
            self.violations.append(Violation(invariant, text, last, tuple(self.events[-3:])))

    @property
    def shell(self) -> Shell | None:
        """The root, while the kit still holds it."""
        return self._shell

    def _differ(self, folded: SupervisorSnapshot, state: SupervisorSnapshot) -> None:
        text = f"the events, folded, give\n{folded.render()}\nand the state is\n{state.render()}"
        self.fail("fold_is_state", text)

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
        raised: What bodies of live attempts have raised.
        leaves: The same of attempts that have ended, by path and number.
    """

    def __init__(self, seed: object = 0) -> None:
        self.trees: list[WatchedTree] = []
        self.steps = 0
        self.bug: BaseException | None = None
        self.raised: dict[Attempt, list[BaseException]] = {}
        self.leaves: dict[tuple[str, int], list[BaseException]] = {}
        self._replies: list[tuple[float, WatchedTree | None, Reply, str]] = []
        self._now = -inf
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

    def tree_of(self, supervisor: Supervisor) -> WatchedTree | None:
        """The one of which this is the root, or a part."""
        return self._tree_of(supervisor._shell)

    def _tree_of(self, shell: Shell) -> WatchedTree | None:
        while shell.parent is not None:
            shell = shell.parent
        return next((tree for tree in self.trees if tree.shell is shell), None)

    def note_exit(self, shell: Shell, attempt: Attempt, how: TaskExit) -> None:
        """An attempt has ended: is what it raised in its report?"""
        raised = self.raised.pop(attempt, None)
        tree = self._tree_of(shell)
        if tree is not None:
            tree.extended.pop(attempt, None)
        if raised is None or tree is None:
            return
        self.leaves[attempt.path, attempt.number] = raised
        kept = [] if how.error is None else list(leaves_of(how.error))
        lost = [leaf for leaf in raised if not any(leaf is one for one in kept)]
        if lost and tree.events:
            tree.fail("errors", f"{attempt.path} raised {lost[0]!r}; its report: {how.describe()}")

    def note_extension(self, shell: Shell, attempt: Attempt, until: float) -> None:
        """An attempt asks for more time to start."""
        tree = self._tree_of(shell)
        if tree is not None:
            tree.extended[attempt] = max(until, tree.extended.get(attempt, until))

    def note_command(self, shell: Shell, command: object, reply: Reply) -> None:
        """A command was given, and has to be answered before time passes."""
        self._replies.append((trio.current_time(), self._tree_of(shell), reply, repr(command)))

    def _time_passes(self, now: float) -> None:
        self._now = now
        for at, tree, reply, command in self._replies:
            if at < now and tree is not None and not reply.answered.is_set():
                tree.fail("answered", f"{command}, given at {at:g}, was not answered by {now:g}")
        self._replies = [entry for entry in self._replies if entry[0] == now]
        for tree in self.trees:
            tree.time_passes(now)

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

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        now = trio.current_time()
        if now != self._now and self.bug is None:
            try:
                self._time_passes(now)
            except Exception as error:  # Trio would only log what an instrument raises
                self.bug = error

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
        for _, tree, reply, command in self._replies:
            if tree is not None and tree.events and not reply.answered.is_set():
                tree.fail("answered", f"{command} was never answered")
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
    _WATCHES.append(watch)
    try:
        with _listening(watch):
            yield
    finally:
        _enclosure._root = make_root
        _WATCHES.remove(watch)


_WATCHES: Final[list[Watch]] = []


def current_watch() -> Watch | None:
    """The one that sees what is opened now, if there is one."""
    return _WATCHES[-1] if _WATCHES else None


@contextmanager
def _listening(watch: Watch) -> Iterator[None]:
    """Hear of what no event tells: commands as they are given, and exits with their exceptions."""
    give: Callable[..., Reply] = Shell.command
    end: Callable[..., None] = Shell.attempt_ended
    extend: Callable[..., None] = Shell.post_extend
    forfeit: Callable[..., None] = Shell.forfeit_grace

    def command(self: Shell, signal: Any) -> Reply:
        reply = give(self, signal)
        watch.note_command(self, signal, reply)
        return reply

    def attempt_ended(self: Shell, attempt: Attempt, how: TaskExit, detail: str) -> None:
        watch.note_exit(self, attempt, how)
        end(self, attempt, how, detail)

    def post_extend(self: Shell, attempt: Attempt, until: float) -> None:
        watch.note_extension(self, attempt, until)
        extend(self, attempt, until)

    def forfeit_grace(self: Shell, attempt: Attempt, *, taken_back: bool = False) -> None:
        tree = watch.tree_of(self.supervisor)
        if tree is not None:
            tree.inside.add((attempt.path, attempt.number))
        forfeit(self, attempt, taken_back=taken_back)

    changed: dict[str, Any] = {
        "command": command,
        "attempt_ended": attempt_ended,
        "post_extend": post_extend,
        "forfeit_grace": forfeit_grace,
    }
    before = {name: Shell.__dict__.get(name) for name in changed}
    for name, function in changed.items():
        setattr(Shell, name, enable_ki_protection(function))
    try:
        yield
    finally:
        for name, function in before.items():
            if function is None:
                delattr(Shell, name)
            else:
                setattr(Shell, name, function)


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """Every exception in a group, at any depth; of another one, itself."""
    pending = [error]
    while pending:
        one = pending.pop()
        if isinstance(one, BaseExceptionGroup):
            pending.extend(one.exceptions)
        else:
            yield one


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
