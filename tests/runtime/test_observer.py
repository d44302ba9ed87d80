"""The seam for tests: what an observer is told, in which order, and what it decides."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import trio
from helpers.support import run_virtual
from helpers.trees import AT_ONCE, Boom, forever

from trio_supervisor import (
    ChildContext,
    ChildRunner,
    ChildSpec,
    ExitJudged,
    SupervisorSpec,
    open_supervisor,
)
from trio_supervisor._attempts.observer import TreeObserver, observing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import pytest


class Notes(TreeObserver):
    """Keeps what it is told."""

    def __init__(self, mark: str = "", notes: list[str] | None = None) -> None:
        self.mark = mark
        self.notes: list[str] = [] if notes is None else notes
        self.attempts: list[Any] = []
        self.events: list[tuple[Any, Any]] = []
        self.shells: list[Any] = []

    def note(self, text: str) -> None:
        self.notes.append(self.mark + text)

    def supervisor_opened(self, shell: Any) -> None:
        self.shells.append(shell)
        self.note(f"open {shell.path}")

    def event_recorded(self, root: Any, event: Any) -> None:
        self.events.append((root, event))

    def command_given(self, shell: Any, command: Any, reply: Any) -> None:
        assert not reply.is_answered
        self.note(f"{type(command).__name__} {shell.path}")

    def shutdown_requested(self, shell: Any, request: Any) -> None:
        self.note(f"shutdown {shell.path}")

    def attempt_ordered(self, attempt: Any) -> None:
        self.attempts.append(attempt)
        self.note(f"order {attempt.path} {attempt.number}")

    def attempt_began(self, attempt: Any) -> None:
        assert attempt.task is trio.lowlevel.current_task()
        self.note(f"begin {attempt.path} {attempt.number}")

    def around_body(self, attempt: Any, context: Any, body: Any) -> Any:
        assert context._attempt is attempt
        self.note(f"body {attempt.path} {attempt.number}")
        return body

    def start_extended(self, attempt: Any, until: float) -> None:
        self.note(f"extend {attempt.path} {until - trio.current_time():g}")

    def grace_forfeited(self, attempt: Any, *, taken_back: bool) -> None:
        self.note(f"forfeit {attempt.path} {taken_back}")

    def attempt_over(self, attempt: Any) -> None:
        assert attempt.task is trio.lowlevel.current_task()
        self.note(f"over {attempt.path} {attempt.number}")

    def exit_classified(self, attempt: Any, how: Any) -> None:
        self.note(f"exit {attempt.path} {attempt.number} {how.kind}")


async def crash_once(child: ChildContext) -> None:
    child.extend_start_timeout(100)
    child.ready()
    if child.attempt == 1:
        raise Boom
    await child.supervisor.stop_child(child.name)


def crashing() -> ChildSpec[None]:
    return ChildSpec("a", crash_once, readiness="explicit", backoff=AT_ONCE)


async def one_tree() -> None:
    async with open_supervisor(SupervisorSpec("app", [crashing()])) as supervisor:
        await supervisor.child("a").wait_finished()


def test_an_observer_is_told_of_each_step_of_a_tree() -> None:
    notes = Notes()
    with observing(notes):
        run_virtual(one_tree)
    assert notes.notes == [
        "open app",
        "order app/a 1",
        "begin app/a 1",
        "body app/a 1",
        "extend app/a 100",
        "over app/a 1",
        "exit app/a 1 crashed",
        "order app/a 2",
        "begin app/a 2",
        "body app/a 2",
        "extend app/a 100",
        "forfeit app/a False",
        "StopChild app",
        "over app/a 2",
        "exit app/a 2 aborted",
        "shutdown app",
    ]
    (shell,) = notes.shells
    assert [root for root, _ in notes.events] == [shell] * len(notes.events)
    assert [event.sequence for _, event in notes.events] == list(range(1, len(notes.events) + 1))


def test_nested_supervisors_report_to_the_observer_of_their_tree() -> None:
    async def main() -> None:
        spec = SupervisorSpec("app", [SupervisorSpec("in", [ChildSpec("a", forever)])])
        async with open_supervisor(spec):
            pass

    notes = Notes()
    with observing(notes):
        run_virtual(main)
    assert [shell.path for shell in notes.shells] == ["app", "app/in"]
    assert notes.shells[1].parent is notes.shells[0]
    assert {root for root, _ in notes.events} == {notes.shells[0]}
    assert "app/in/a" in {event.path for _, event in notes.events}


def test_attempts_of_two_trees_of_one_name_are_told_apart() -> None:
    async def main() -> None:
        spec = SupervisorSpec("app", [ChildSpec("a", forever)])
        async with open_supervisor(spec), open_supervisor(spec):
            pass

    notes = Notes()
    with observing(notes):
        run_virtual(main)
    first, second = notes.attempts
    assert first is not second
    assert first.path == second.path == "app/a"


def test_single_runs_are_observed_likewise() -> None:
    async def body(child: ChildContext) -> None:
        child.extend_start_timeout(5)
        child.ready()

    async def main() -> None:
        await ChildRunner().run_once(ChildSpec("one", body, readiness="explicit"))

    notes = Notes()
    with observing(notes):
        run_virtual(main)
    assert notes.notes == [
        "order one 1",
        "begin one 1",
        "body one 1",
        "extend one 5",
        "over one 1",
        "exit one 1 succeeded",
    ]


def test_a_body_can_be_replaced() -> None:
    class Instead(TreeObserver):
        def around_body(self, attempt: Any, context: Any, body: Any) -> Awaitable[object]:
            body.close()
            return self.other()

        async def other(self) -> object:
            await trio.lowlevel.checkpoint()
            return "other"

    async def main() -> None:
        report = await ChildRunner().run_once(ChildSpec("one", forever))
        assert report.exit.is_success
        assert report.exit.value == "other"  # type: ignore[attr-defined]

    with observing(Instead()):
        run_virtual(main)


class Settings(TreeObserver):
    """Decides what a tree is made with."""

    def __init__(self, seed: int | None, *, writes_log: bool = True) -> None:
        self.seed = seed
        self.writes_log = writes_log

    def random(self) -> Random | None:
        return None if self.seed is None else Random(self.seed)

    def wall_clock(self) -> Callable[[], float] | None:
        return None if self.seed is None else (lambda: 1000.0)


async def delay_of_first_restart(**options: Any) -> tuple[float, float]:
    async with open_supervisor(**options) as supervisor:
        supervisor.start_child_soon(ChildSpec("a", crash_once, readiness="explicit"))
        async with supervisor.subscribe() as events:
            async for event in events:
                if isinstance(event, ExitJudged):
                    return event.delay, event.wall
    raise AssertionError("no restart")


def test_an_observer_decides_jitter_wall_time_and_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "trio_supervisor")
    with observing(Settings(7, writes_log=False)):
        first = run_virtual(delay_of_first_restart)
    with observing(Settings(7, writes_log=False)):
        assert run_virtual(delay_of_first_restart) == first
    assert first[1] == 1000
    assert not caplog.records
    with observing(Settings(None)):
        assert run_virtual(delay_of_first_restart)[1] > 1000
    assert caplog.records


def test_random_that_is_given_goes_before_the_observers() -> None:
    async def main() -> float:
        return (await delay_of_first_restart(random=Random(8)))[0]

    with observing(Settings(7)):
        delay = run_virtual(main)
    with observing(Settings(8)):
        assert run_virtual(delay_of_first_restart)[0] == delay


def test_two_observers_are_both_told_the_outer_one_first() -> None:
    told: list[str] = []
    with observing(Notes("outer ", told)), observing(Notes("inner ", told)):
        run_virtual(one_tree)
    pairs: Iterator[tuple[str, str]] = zip(told[::2], told[1::2], strict=True)
    for first, second in pairs:
        assert {first[:6], second[:6]} == {"outer ", "inner "}
        assert first[6:] == second[6:]
    assert told[0] == "outer open app"


def test_the_inner_of_two_observers_decides_if_it_wants_to() -> None:
    with observing(Settings(8)), observing(Settings(7, writes_log=False)):
        inner = run_virtual(delay_of_first_restart)
    with observing(Settings(7)), observing(Settings(None)):
        assert run_virtual(delay_of_first_restart) == inner


def test_a_tree_is_observed_by_what_was_there_when_it_was_made() -> None:
    notes = Notes()
    with observing(notes):
        pass
    run_virtual(one_tree)
    assert not notes.notes
