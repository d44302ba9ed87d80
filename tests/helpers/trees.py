"""Trees under watch: after every single step of every task, what must always hold is checked.

``@scenario`` makes a test of an async function. While it runs, a Trio instrument looks at every
supervision tree in the program after each step of each task:

* folding the journal (its base and its events) gives the tree's state;
* no child has two live attempts, and a new one starts only once the old one's task is gone.

When it has ended, no task that was not there before may be left.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import trio

from helpers import support
from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    Event,
    Supervisor,
    SupervisorSnapshot,
    fold,
)
from trio_supervisor._events.fold import event_of
from trio_supervisor._events.snapshot import BLANK
from trio_supervisor._runtime import block

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trio_supervisor._runtime.shell import Shell

P = ParamSpec("P")
E = TypeVar("E", bound=Event)

AT_ONCE = BackoffPolicy.delays(0)
"""Restarts at once."""

_MOST_CHILDREN = 64  # of a tree whose state is looked at after every step


class Boom(Exception):
    """What crashes a child in these tests."""


# ---------------------------------------------------------------- watching


class Watch(trio.abc.Instrument):
    """Looks at all trees of one Trio run after every step.

    Attributes:
        steps: How many steps of tasks there were.
        failure: The first promise that was broken.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.failure: BaseException | None = None
        self.shells: list[Shell] = []
        self.is_checking = True
        self.hooks: dict[int, Callable[[], object]] = {}
        self._seen: dict[Shell, tuple[int, SupervisorSnapshot]] = {}
        self._live: Counter[str] = Counter()

    def adopt(self, shell: Shell) -> None:
        """A new tree."""
        self.shells.append(shell)
        self._seen[shell] = 0, BLANK

    def at_step(self, step: int, hook: Callable[[], object]) -> None:
        """Call ``hook`` once, ``step`` steps from now, between two steps of tasks."""
        self.hooks[self.steps + step] = hook

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        path, mark, _ = task.name.rpartition("#")
        if mark:
            self._live[path] += 1
            if self._live[path] > 1:
                self._fail(AssertionError(f"{path} has {self._live[path]} live attempts"))

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        path, mark, _ = task.name.rpartition("#")
        if mark:
            self._live[path] -= 1

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        hook = self.hooks.pop(self.steps, None)
        if hook is not None:
            try:
                hook()
            except BaseException as error:  # noqa: ASYNC103 - told in the end
                self._fail(error)
        if self.is_checking and self.failure is None:
            # Trio would only log what an instrument raises.
            try:
                for shell in list(self._seen):
                    self._look_at(shell)
            except BaseException as error:  # noqa: ASYNC103 - told in the end
                self._fail(error)

    def _look_at(self, shell: Shell) -> None:
        journal = shell.tree.journal
        sequence, snapshot = self._seen[shell]
        news = journal.last_sequence - sequence
        if news:
            for raw in journal._raws[-news:]:
                snapshot = fold(snapshot, event_of(raw))
            self._seen[shell] = journal.last_sequence, snapshot
        if len(snapshot.children) > _MOST_CHILDREN or not shell.slots:
            return
        assert snapshot == shell.snapshot(), _difference(snapshot, shell.snapshot())
        if shell.finished.is_set():
            del self._seen[shell]  # nothing happens to it any more

    def _fail(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error

    def conclude(self) -> None:
        """What must hold in the end, too: the same fold, as a user would write it."""
        if self.failure is not None:
            raise AssertionError("a promise was broken on the way") from self.failure
        left = +self._live
        assert not left, f"still alive: {left}"
        if self.is_checking:
            for shell in self.shells:
                assert_fold_is_state(shell.supervisor)


def _difference(folded: SupervisorSnapshot, state: SupervisorSnapshot) -> str:
    return f"fold of the journal:\n{folded.render()}\nstate:\n{state.render()}"


def assert_fold_is_state(supervisor: Supervisor) -> None:
    """The journal's events leave nothing out. To be used with the root of a tree."""
    snapshot = supervisor.journal.base
    for event in supervisor.journal:
        snapshot = fold(snapshot, event)
    assert snapshot == supervisor.state(), _difference(snapshot, supervisor.state())


_watches: list[Watch] = []


def this_watch() -> Watch:
    """The one that watches the running scenario."""
    return _watches[-1]


def unwatched() -> None:
    """From here on the scenario breaks a supervisor on purpose: its state is nobody's promise."""
    this_watch().is_checking = False


def play(
    async_fn: Callable[..., Awaitable[Any]], *args: Any, real: bool = False, limit: float = 0
) -> Any:
    """Run ``async_fn(*args)`` under watch, in virtual time unless told otherwise."""
    watch = Watch()
    make_root = block._root

    def note_root(*args: Any) -> Shell:
        shell = make_root(*args)
        watch.adopt(shell)
        return shell

    async def main() -> Any:
        trio.lowlevel.add_instrument(watch)
        before = set(all_tasks())
        try:
            return await async_fn(*args)
        finally:
            left = [task for task in all_tasks() if task not in before]
            if left:
                watch._fail(AssertionError(f"tasks left behind: {left}"))

    options = {"limit": limit} if limit else {}
    _watches.append(watch)
    vars(block)["_root"] = note_root
    try:
        result = (support.run_real if real else support.run_virtual)(main, **options)
    finally:
        vars(block)["_root"] = make_root
        _watches.pop()
        if watch.failure is not None:
            raise AssertionError("a promise was broken on the way") from watch.failure
    watch.conclude()
    return result


def scenario(async_fn: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Make a test of an async function: in virtual time, and under watch."""

    @functools.wraps(async_fn)
    def test(*args: P.args, **kwargs: P.kwargs) -> None:
        play(functools.partial(async_fn, *args, **kwargs))

    return test


def real_scenario(async_fn: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """The same on the real clock, for what threads and signals do."""

    @functools.wraps(async_fn)
    def test(*args: P.args, **kwargs: P.kwargs) -> None:
        play(functools.partial(async_fn, *args, **kwargs), real=True)

    return test


def all_tasks() -> Iterator[trio.lowlevel.Task]:
    """Every task of the running program."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    pending = [root]
    while pending:
        task = pending.pop()
        yield task
        for nursery in task.child_nurseries:
            pending.extend(nursery.child_tasks)


# ---------------------------------------------------------------- bodies


async def forever(child: ChildContext) -> None:
    """Lives until it is cancelled."""
    await trio.sleep_forever()


async def ready_forever(child: ChildContext, value: object = None) -> None:
    """Is ready at once, with ``value``, and lives until it is cancelled."""
    child.ready(value)
    await trio.sleep_forever()


async def polite(child: ChildContext, seconds: float = 0) -> None:
    """Heeds a stop request, and takes ``seconds`` for it."""
    if child._attempt.spec.is_explicit:
        child.ready()
    await child.wait_stop_requested()
    await trio.sleep(seconds)


async def stubborn(child: ChildContext, seconds: float) -> None:
    """Ignores its cancel for ``seconds``."""
    if child._attempt.spec.is_explicit:
        child.ready()
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await hang(seconds)


async def hang(seconds: float) -> None:
    """Where a stubborn child hangs; its name is looked for in stacks."""
    await trio.sleep(seconds)


async def crash_after(child: ChildContext, seconds: float, times: int = 1_000_000) -> None:
    """Crashes ``seconds`` after its start, in its first ``times`` attempts."""
    if child._attempt.spec.is_explicit:
        child.ready()
    await trio.sleep(seconds)
    if child.attempt <= times:
        raise Boom(f"{child.name} {child.attempt}")
    await trio.sleep_forever()


class Trace:
    """What bodies did, in order: ``"+a"`` began, ``"?a"`` was asked to stop, ``"-a"`` ended.

    There is no ``"?a"`` if the request came together with the cancel.
    """

    def __init__(self) -> None:
        self.marks: list[str] = []
        self.times: list[tuple[float, str]] = []

    def note(self, mark: str) -> None:
        """Add one."""
        self.marks.append(mark)
        self.times.append((trio.current_time(), mark))

    def take(self) -> str:
        """Those since the last time."""
        marks, self.marks = self.marks, []
        return " ".join(marks)

    async def body(
        self, child: ChildContext, starting: float = 0, stopping: float | None = None
    ) -> None:
        """Ready after ``starting``; heeds a stop request within ``stopping``, or is cancelled."""
        self.note(f"+{child.name}")
        try:
            if child._attempt.spec.is_explicit:
                await trio.sleep(starting)
                child.ready(f"{child.name}{child.attempt}")
            if stopping is None:
                await trio.sleep_forever()
            await child.wait_stop_requested()
            await trio.lowlevel.checkpoint_if_cancelled()
            self.note(f"?{child.name}")
            assert stopping is not None
            await trio.sleep(stopping)
        finally:
            self.note(f"-{child.name}")

    def child(
        self, name: str, starting: float = 0, stopping: float | None = None, **options: Any
    ) -> ChildSpec[Any]:
        """The spec of a child that leaves its marks here."""
        options.setdefault("readiness", "explicit")
        options.setdefault("backoff", AT_ONCE)
        if options.get("restart") == "temporary":
            del options["backoff"]
        if stopping is not None:
            options.setdefault("grace", 1000)
        return ChildSpec(name, self.body, starting, stopping, **options)


# ---------------------------------------------------------------- looking


def events_of(supervisor: Supervisor, cls: type[E], path: str = "") -> list[E]:
    """Those events of one kind, of one child if a path is given."""
    return [
        event for event in supervisor.journal if isinstance(event, cls) and path in ("", event.path)
    ]


def state_of(supervisor: Supervisor, name: str) -> str:
    """Where a child stands; the empty string if nobody has that name."""
    found = next((c for c in supervisor.state().children if c.name == name), None)
    return "" if found is None else found.state.value
