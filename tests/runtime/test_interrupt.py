"""Ctrl-C at any moment ends a running tree in order, leaves nothing behind, and gets out.

A real SIGINT, with Python's and Trio's own handlers, at moments between any two calls of functions:
in bodies, in the block, in the library, in Trio itself; while starting, running, backing off, and
while a stop with grace is under way. The moments are counted, so that each can be visited again.
"""

# flake8: noqa: ASYNC103 - what comes out is what is looked at
# flake8: noqa: ASYNC104 - the same
# flake8: noqa: ASYNC124 - bodies are async functions, whether they wait or not

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections import Counter
from inspect import CO_COROUTINE, CO_GENERATOR, CO_ITERABLE_COROUTINE
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.trees import AT_ONCE, Boom

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildExited,
    ChildSpec,
    ChildStarted,
    ChildStopRequested,
    Event,
    Supervisor,
    SupervisorFinished,
    SupervisorSpec,
    SupervisorStopping,
    fold,
    open_supervisor,
)
from trio_supervisor._events.exits import leaves
from trio_supervisor.testing._sim.tasks import all_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

MOMENTS = 200
TICK = 0.0005  # seconds


class Alive:
    """Counts those who are in the block; an interrupt never comes in the middle of counting."""

    def __init__(self, live: Counter[str], name: str) -> None:
        self.live = live
        self.name = name

    @trio.lowlevel.enable_ki_protection
    def __enter__(self) -> None:
        self.live[self.name] += 1

    @trio.lowlevel.enable_ki_protection
    def __exit__(self, *args: object) -> None:
        self.live[self.name] -= 1


class Scene:
    """A tree at work, and what is left of it.

    Attributes:
        live: Bodies that have begun and not ended.
    """

    def __init__(self) -> None:
        self.live: Counter[str] = Counter()
        self.supervisors: list[Supervisor] = []
        self.events: list[Event] = []
        self.tasks_left: list[str] | None = None

    async def body(self, child: ChildContext, starting: float, stopping: float) -> None:
        with Alive(self.live, child.path):
            if child._attempt.spec.is_explicit:
                await trio.sleep(starting)
                child.ready(child.attempt)
            while not child.stop_requested:
                with child.stop_scope():
                    await trio.sleep(TICK)
                    child.heartbeat()
            await trio.sleep(stopping)

    async def crashing(self, child: ChildContext) -> None:
        with Alive(self.live, child.path):
            child.nursery.start_soon(self.background, child)
            await trio.sleep(TICK)
            if child.attempt < 4:
                raise Boom
            await trio.sleep_forever()

    async def background(self, child: ChildContext) -> None:
        with Alive(self.live, "background"):
            while True:
                await trio.sleep(TICK / 2)
                child.value("a")

    def child(
        self, name: str, starting: float = 0, stopping: float = 0, **options: Any
    ) -> ChildSpec[Any]:
        options.setdefault("readiness", "explicit")
        return ChildSpec(name, self.body, starting, stopping, grace=3 * TICK, **options)

    def spec(self) -> SupervisorSpec:
        crashing = ChildSpec(
            "crashing",
            self.crashing,
            backoff=BackoffPolicy.delays(0, TICK),
            restart_limit=None,
            decide=lambda report: None,
        )
        nest = SupervisorSpec("nest", [self.child("x", 0, TICK), self.child("y", TICK)])
        return SupervisorSpec(
            "app",
            [self.child("a", TICK), crashing, nest, self.child("z", 0, TICK, stale_after=1)],
        )

    @trio.lowlevel.enable_ki_protection  # half of it would be a bug of this test
    def follow(self, supervisor: Supervisor) -> None:
        self.supervisors.append(supervisor)
        self.events.extend(supervisor.journal)
        supervisor._shell.tree.journal.attach(self.events.append)

    async def run(self) -> None:
        """Start, be busy, and stop with grace."""
        try:
            async with open_supervisor(self.spec(), wait_ready=False) as supervisor:
                self.follow(supervisor)
                await supervisor.wait_ready()
                await self.busy(supervisor)
        finally:
            self.count_tasks()

    async def busy(self, supervisor: Supervisor) -> None:
        await supervisor.restart_child("z")
        with trio.move_on_after(TICK):
            async with supervisor.subscribe() as events:
                await anext(events)
        with trio.move_on_after(TICK):
            await supervisor.start_child(self.child("late", 5))
        await supervisor.start_child(self.child("late", 0, TICK, backoff=AT_ONCE))
        await supervisor.stop_child("nest")
        await supervisor.restart_child("nest")
        await trio.sleep(TICK)

    @trio.lowlevel.enable_ki_protection
    def count_tasks(self) -> None:
        root = trio.lowlevel.current_root_task()
        main = trio.lowlevel.current_task()
        assert root is not None
        system = {task for nursery in root.child_nurseries for task in nursery.child_tasks}
        self.tasks_left = [task.name for task in all_tasks() if task not in (root, main, *system)]

    # ---- what must be so in the end

    def check(self) -> None:
        assert +self.live == Counter(), self.live
        assert self.tasks_left in ([], None), self.tasks_left
        for supervisor in self.supervisors:
            assert supervisor.state().state == "finished"
            snapshot = supervisor.journal.base
            for event in supervisor.journal:
                snapshot = fold(snapshot, event)
            assert snapshot == supervisor.state()
        self.check_order()

    def check_order(self) -> None:
        """Whoever was asked to stop by the end of all was so only when those after it were gone.

        Who ended by itself (as does the one in whose body the interrupt hit), or was being stopped
        by hand already, has no place in that order.
        """
        order = ["app/a", "app/crashing", "app/nest", "app/z", "app/late"]
        live: set[tuple[int, str, int]] = set()
        asked: dict[str, int] = {}
        ended: dict[str, int] = {}
        stopping = finished = False
        for event in self.events:
            if isinstance(event, ChildStarted):
                live.add((event.run, event.path, event.attempt))
            elif isinstance(event, ChildExited):
                live.remove((event.run, event.path, event.attempt))
                ended[event.path] = event.sequence
            elif isinstance(event, ChildStopRequested) and stopping:
                asked[event.path] = event.sequence
            elif isinstance(event, SupervisorStopping):
                stopping |= event.path == "app"
            elif isinstance(event, SupervisorFinished):
                finished |= event.path == "app"
        if self.events:
            assert finished
        assert not live
        for place, path in enumerate(order):
            for later in order[place + 1 :]:
                if path in asked and later in asked:
                    assert ended[later] < asked[path], f"{path} did not wait for {later}"


# ---------------------------------------------------------------- moments

TRIO = str(Path(trio.__file__).parent)


def may_interrupt(frame: FrameType, event: str) -> bool:
    """Whether CPython looks for signals here: where a function begins, and after a C function.

    It does not when a coroutine goes on after an ``await``: an exception would be raised in the
    frame that awaits, past the one that it awaits.
    """
    if event == "call":
        if frame.f_code.co_flags & (CO_COROUTINE | CO_GENERATOR | CO_ITERABLE_COROUTINE):
            return False
    elif event != "c_return":
        return False
    return not in_spawn_of_a_body(frame)


def in_spawn_of_a_body(frame: FrameType) -> bool:
    """Whether a body's own `trio.Nursery.start_soon` is under way.

    An interrupt in the middle of it breaks every Trio program: it leaves a task that Trio knows and
    the nursery does not.
    """
    inside: FrameType | None = frame
    while inside is not None and inside.f_code.co_filename.startswith(TRIO):
        if inside.f_code.co_name == "start_soon":
            return inside.f_back is not None and inside.f_back.f_code.co_filename == __file__
        inside = inside.f_back
    return False


class Alarm:
    """A profile function that raises SIGINT at the given moments, and counts them all.

    Only the moments in code of ``files`` count.
    """

    def __init__(self, *at: int, files: tuple[str, ...] = ("",)) -> None:
        self.at = at
        self.files = files
        self.count = 0
        self.where: list[str] = []

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if not (may_interrupt(frame, event) and frame.f_code.co_filename.endswith(self.files)):
            return
        self.count += 1
        if self.count in self.at:
            code = frame.f_code
            self.where.append(f"{event} in {code.co_name} ({code.co_filename}:{frame.f_lineno})")
            try:
                signal.raise_signal(signal.SIGINT)
            finally:
                if self.count < self.at[-1]:
                    sys.setprofile(self)  # what a profile function raises takes it off


def run_with(alarm: Alarm, scene: Scene | None = None) -> tuple[Scene, BaseException | None]:
    scene = scene or Scene()

    async def main() -> None:
        sys.setprofile(alarm)
        try:
            await scene.run()
        finally:
            sys.setprofile(None)

    try:
        trio.run(main)
    except BaseException as error:
        return scene, error
    finally:
        sys.setprofile(None)
    return scene, None


# Trio makes the coroutine of a background task in unprotected code: it may never be run.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


@pytest.fixture(autouse=True)
def undisturbed() -> Iterator[None]:
    """Nothing is logged: most moments would lie in the formatting of tracebacks."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_at_200_random_moments_ends_the_tree_in_order_with_nothing_left() -> None:
    counting = Alarm()
    scene, error = run_with(counting)
    assert error is None
    scene.check()
    assert counting.count > 5000
    random = Random("moments")
    places: Counter[str] = Counter()
    while places.total() < MOMENTS:
        moment = random.randrange(1, counting.count)
        alarm = Alarm(moment)
        scene, error = run_with(alarm)
        try:
            scene.check()
            if alarm.where:
                places[alarm.where[0]] += 1
                assert type(error) is KeyboardInterrupt, error
            else:
                assert error is None  # this time it was done before that
        except AssertionError as failed:
            failed.add_note(f"moment {moment} of {counting.count}: {alarm.where}")
            raise
    assert len(places) > 60  # or it would always be the same moment


WAITING = (
    "_sync.py",
    "_async_value.py",
    "_parking_lot.py",
    "commands.py",
    "child_slot.py",
    "tree.py",
)
POSTING = ("shell.py", "collector.py", "supervisor.py", "handle.py", "_channel.py")


@pytest.mark.parametrize("files", [WAITING, POSTING], ids=["waiting", "posting"])
def test_ctrl_c_while_something_is_posted_or_waited_for(files: tuple[str, ...]) -> None:
    """There an interrupt could leave those who wait at odds with what they wait for."""
    counting = Alarm(files=files)
    run_with(counting)
    random = Random("waiting")
    places: Counter[str] = Counter()
    for _ in range(80):
        alarm = Alarm(random.randrange(1, counting.count), files=files)
        scene, error = run_with(alarm)
        if alarm.where:
            scene.check()
            assert type(error) is KeyboardInterrupt, (error, alarm.where)
            places[alarm.where[0]] += 1
    assert len(places) > 8


def test_a_second_ctrl_c_at_a_random_moment_of_the_end_does_no_harm() -> None:
    counting = Alarm()
    run_with(counting)
    random = Random("pairs")
    twice = 0
    for _ in range(50):
        first = random.randrange(1, counting.count)
        alarm = Alarm(first, first + random.randrange(1, 2500))
        scene, error = run_with(alarm)
        assert +scene.live == Counter(), alarm.where
        assert scene.tasks_left in ([], None), alarm.where
        if alarm.where:
            assert error is not None
            assert {type(leaf) for leaf in leaves(error)} == {KeyboardInterrupt}, alarm.where
        twice += len(alarm.where) == 2
    assert twice > 20


def test_ctrl_c_from_outside_at_moments_of_the_real_clock() -> None:
    """As a terminal does it: the signal comes from another thread, whatever the loop is doing."""
    random = Random("clock")
    for _ in range(15):
        scene = Scene()
        pause = random.random() * 25 * TICK
        timer = threading.Timer(pause, os.kill, (os.getpid(), signal.SIGINT))
        error: BaseException | None = None

        async def main(scene: Scene = scene, timer: threading.Timer = timer) -> None:
            timer.start()
            await scene.run()
            await trio.sleep(1)  # late timers hit here

        try:
            trio.run(main)
        except BaseException as caught:
            error = caught
        timer.join()
        assert type(error) is KeyboardInterrupt
        scene.check()


def test_ctrl_c_in_a_child_is_not_its_failure() -> None:
    """Nobody restarts it, no limit is charged: it comes out of the block as it is."""
    seen: list[str] = []

    async def body(child: ChildContext) -> None:
        seen.append(f"attempt {child.attempt}")
        await trio.sleep(TICK)
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", body, backoff=AT_ONCE)])):
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert seen == ["attempt 1"]


def test_ctrl_c_in_decide_gets_out() -> None:
    async def crash(child: ChildContext) -> None:
        raise Boom

    def decide(report: object) -> None:
        signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", crash, decide=decide)])):
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)


def test_ctrl_c_while_everything_is_idle() -> None:
    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", idle)])):
            await trio.sleep_forever()

    async def idle(child: ChildContext) -> None:
        threading.Timer(5 * TICK, os.kill, (os.getpid(), signal.SIGINT)).start()
        await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)


class FailingBranch(Scene):
    """Children that open a supervisor of their own and fail in its block; two attempts of each."""

    def spec(self) -> SupervisorSpec:
        options: dict[str, Any] = {"backoff": AT_ONCE, "grace": 3 * TICK}
        return SupervisorSpec(
            "app",
            [self.child("a"), ChildSpec("owner", self.owner, **options), self.child("z")],
            restart_limit=None,
        )

    async def owner(self, child: ChildContext) -> None:
        with Alive(self.live, child.path):
            inner = SupervisorSpec("inner", [self.child("x", 0, TICK), self.child("y")])
            async with child.open_supervisor(inner):
                await trio.sleep(TICK)
                if child.attempt < 3:
                    raise Boom
                await child.wait_stop_requested()

    async def busy(self, supervisor: Supervisor) -> None:
        await supervisor.child("owner").wait_ready(after=2)
        await trio.sleep(2 * TICK)


def test_ctrl_c_while_a_failing_block_of_a_child_is_left_ends_the_tree_with_nothing_left() -> None:
    files = ("block.py", "closing.py", "nested.py", "ended_shell.py")
    counting = Alarm(files=files)
    scene, error = run_with(counting, FailingBranch())
    assert error is None
    scene.check()
    assert counting.count > 100
    places: Counter[str] = Counter()
    for moment in range(1, counting.count, max(1, counting.count // 100)):
        alarm = Alarm(moment, files=files)
        scene, error = run_with(alarm, FailingBranch())
        try:
            scene.check()
            if alarm.where:
                places[alarm.where[0]] += 1
                assert error is not None
                assert any(isinstance(one, KeyboardInterrupt) for one in leaves(error)), error
        except AssertionError as failed:
            failed.add_note(f"moment {moment} of {counting.count}: {alarm.where}")
            raise
    assert len(places) > 25
