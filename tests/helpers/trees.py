"""Trees under watch: after every single step of every task, what must always hold is checked.

``@scenario`` makes a test of an async function. While it runs, the testing kit's `Watch` looks at
every supervision tree in the program after each step of each task:

* folding the events gives the tree's state;
* no child has two live attempts;
* in virtual time, the oracle judges every event.

When it has ended, no task that was not there before may be left, and folding the journal (its base
and its events) gives the state.
"""

from __future__ import annotations

import functools
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
from trio_supervisor.testing import InvariantViolated
from trio_supervisor.testing._oracle.watch import Watch, watching
from trio_supervisor.testing._sim.tasks import all_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

P = ParamSpec("P")
E = TypeVar("E", bound=Event)

AT_ONCE = BackoffPolicy.delays(0)
"""Restarts at once."""


class Boom(Exception):
    """What crashes a child in these tests."""


# ---------------------------------------------------------------- watching


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
    async_fn: Callable[..., Awaitable[Any]],
    *args: Any,
    real: bool = False,
    limit: float = 0,
    judged: bool = True,
) -> Any:
    """Run ``async_fn(*args)`` under watch, in virtual time unless told otherwise.

    In virtual time the oracle judges every event, too, unless told otherwise.
    """
    watch = Watch(None, is_virtual=False, is_judged=judged and not real)

    async def main() -> Any:
        trio.lowlevel.add_instrument(watch)
        before = set(all_tasks())
        result = await async_fn(*args)
        left = [task for task in all_tasks() if task not in before]
        assert not left, f"tasks left behind: {left}"
        return result

    options = {"limit": limit} if limit else {}
    _watches.append(watch)
    try:
        with watching(watch):
            result = (support.run_real if real else support.run_virtual)(main, **options)
    finally:
        _watches.pop()
    if watch.is_checking:
        violations = watch.finish()
        if violations:
            raise InvariantViolated(violations)
        for tree in watch.trees:
            if tree.root is not None:
                assert_fold_is_state(tree.root.supervisor)
    assert not watch.live, f"still alive: {watch.live}"
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
