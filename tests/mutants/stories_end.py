"""Stories about the end: what leaving the block raises, and what becomes of those who wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from trio_supervisor import (
    RestartLimit,
    RestartLimitExceeded,
    SupervisorClosed,
    SupervisorError,
    SupervisorFinished,
    open_supervisor,
)
from trio_supervisor.testing import Behaviour

from .story import child, now, raises, settle, story, tree

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_supervisor import ChildContext, Supervisor

CRASHING = child("a", run=Behaviour(ends_at=1), restart_limit=RestartLimit(0, 9))


async def answer_of(answers: dict[str, Any], name: str, ask: Callable[[], Awaitable[Any]]) -> None:
    try:
        answers[name] = await ask()
    except SupervisorError as error:
        answers[name] = type(error)


@story()
async def whoever_waits_when_the_supervisor_ends_is_told() -> None:
    answers: dict[str, Any] = {}
    async with trio.open_nursery() as nursery:
        never = child("b", run=Behaviour(ready_at=99), readiness="explicit", start_timeout=999)
        async with open_supervisor(tree(child("a"), never), wait_ready=False) as app:
            await app.stop_child("a")
            a, b = app.child("a"), app.child("b")

            def ask(name: str, how: Callable[[], Awaitable[Any]]) -> None:
                nursery.start_soon(answer_of, answers, name, how)

            ask("a is ready", lambda: a.wait_state("ready"))
            ask("a is removed", lambda: a.wait_state("removed"))
            ask("b is ready", b.wait_ready)
            ask("b is done", lambda: b.wait_state("done"))
            ask("b has finished", b.wait_finished)
            ask("b is restarted", b.restart)
            ask("app is ready", app.wait_ready)
            ask("app has finished", app.wait_finished)
            await settle()
            assert not answers
    assert {what: answers.pop(what) for what in list(answers) if "finished" not in what} == (
        dict.fromkeys(("a is ready", "a is removed", "b is ready", "b is done"), SupervisorClosed)
        | dict.fromkeys(("b is restarted", "app is ready"), SupervisorClosed)
    )
    assert answers["b has finished"].exit.kind == "aborted"
    assert answers["app has finished"].path == "app"
    assert now() == 0


@story(None, 1, 2, 3)
async def commands_in_the_moment_of_the_end_are_answered() -> None:
    answers: dict[str, Any] = {}

    async def give(app: Supervisor, steps: int) -> None:
        await trio.sleep_until(2)
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        await answer_of(answers, f"x{steps}", lambda: app.remove_child(f"x{steps}"))

    names = [f"x{steps}" for steps in range(9)]
    idle = [child(name, run=Behaviour(ends_at=0, how="return")) for name in names]
    last = child("a", run=Behaviour(stop_takes=1), grace=9)
    specs = [*(spec.replace(restart="transient") for spec in idle), last]
    async with trio.open_nursery() as nursery, open_supervisor(tree(*specs)) as app:
        for steps in range(9):
            nursery.start_soon(give, app, steps)
        await trio.sleep(1)
    assert now() == 2
    assert sorted(answers) == names
    assert set(answers.values()) <= {None, SupervisorClosed}
    assert isinstance(app.journal.events[-1], SupervisorFinished)


@story()
async def a_command_after_the_end_is_refused() -> None:
    async with open_supervisor(tree(child("a"), child("b"))) as app:
        await app.stop_child("b")
    commands: dict[str, Callable[[], Awaitable[Any]]] = {
        "stop": lambda: app.stop_child("a"),
        "restart": lambda: app.restart_child("b"),
        "remove": lambda: app.remove_child("a"),
        "quarantine": lambda: app.quarantine_child("a"),
        "start": lambda: app.start_child(child("c")),
        "handle": app.child("a").stop,
    }
    answers: dict[str, Any] = {}
    for name, command in commands.items():
        await answer_of(answers, name, command)
    assert answers == dict.fromkeys(commands, SupervisorClosed)
    with raises(SupervisorClosed):
        app.start_child_soon(child("c"))
    assert (await app.wait_finished()).path == "app"


@story()
async def a_tree_that_fails_ends_its_block() -> None:
    with raises(RestartLimitExceeded) as found:
        async with open_supervisor(tree(CRASHING, child("b"))):
            await trio.sleep_forever()
    assert found[0].path == "app/a"
    assert len(found[0].exceptions) == 1
    assert now() == 1


@story()
async def both_what_the_block_and_what_the_tree_raises_are_kept() -> None:
    with raises(ExceptionGroup) as found:
        async with open_supervisor(tree(CRASHING)):
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("the block")
    kinds = {type(error) for error in found[0].exceptions}
    assert kinds == {KeyError, RestartLimitExceeded}


@story()
async def what_the_block_raises_comes_out_as_it_is() -> None:
    error = KeyError("the block")
    with raises(KeyError) as found:
        async with open_supervisor(tree(child("a"))):
            raise error
    assert found[0] is error


@story()
async def an_orderly_end_does_not_cancel_the_block() -> None:
    finished = []
    once = child("a", run=Behaviour(ends_at=1, how="return"), restart="transient")
    spec = tree(once.replace(significant=True), child("b"), auto_shutdown="any_significant")
    async with open_supervisor(spec) as app:
        await trio.sleep(5)
        finished.append(app.state().state)
    assert finished == ["finished"]


@story()
async def an_outer_cancellation_stops_the_tree_without_grace_and_gets_through() -> None:
    after: list[str] = []
    with trio.CancelScope() as outer:
        async with open_supervisor(tree(child("a", run=Behaviour(stop_takes=5), grace=30))) as app:
            await settle()
            outer.cancel()
            await trio.sleep_forever()
        after.append("swallowed")
    assert outer.cancelled_caught
    assert (after, now()) == ([], 0)
    report = app.child("a").last_report
    assert report is not None
    assert report.exit.kind == "aborted"


@story()
async def an_outer_cancellation_ends_an_orderly_shutdown_at_once() -> None:
    with trio.move_on_after(2) as outer:
        async with open_supervisor(tree(child("a", run=Behaviour(stop_takes=50), grace=90))):
            pass
    assert outer.cancelled_caught
    assert now() == 2


@story()
async def a_system_exit_out_of_a_child_ends_everything() -> None:
    async def body(child: ChildContext) -> None:
        await trio.sleep(1)
        raise SystemExit(7)

    slow = child("b", run=Behaviour(stop_takes=5), grace=30)
    with raises(SystemExit) as found:
        async with open_supervisor(tree(slow, child("a", run=body))):
            await trio.sleep_forever()
    assert found[0].code == 7
    assert now() == 1


@story()
async def the_report_names_everybody() -> None:
    pool = tree(child("x"), child("y")).replace(name="pool")
    async with open_supervisor(tree(child("a"), pool, child("b"))) as app:
        await app.stop_child("a")
        report = await app.shutdown("enough")
    paths = sorted(entry.path for entry in report.children)
    assert paths == ["app/a", "app/b", "app/pool", "app/pool/x", "app/pool/y"]


@story()
async def what_a_nested_supervisor_gives_up_is_its_parents_failure() -> None:
    pool = tree(CRASHING).replace(name="pool")
    async with open_supervisor(tree(pool.as_child(), child_restart_limit=None)) as app:
        await trio.sleep(3)
        handle = app.child("pool")
        report = handle.last_report
        assert report is not None
        assert report.exit.has(RestartLimitExceeded)
        assert handle.attempt > 1
        app.request_shutdown()


async def raise_all(_: ChildContext, *errors: BaseException) -> None:
    raise BaseExceptionGroup("several", errors)


@story()
async def an_error_beside_a_fatal_one_is_its_cause() -> None:
    spec = tree(child("a", SystemExit(7), ValueError("beside"), run=raise_all))
    with raises(SystemExit) as caught:
        async with open_supervisor(spec, wait_ready=False):
            await trio.sleep_forever()
    assert caught[0].code == 7
    assert "beside" in repr(caught[0].__cause__)


@story()
async def several_fatal_errors_come_together() -> None:
    spec = tree(child("a", SystemExit(7), SystemExit(8), run=raise_all))
    with raises(BaseExceptionGroup) as caught:
        async with open_supervisor(spec, wait_ready=False):
            await trio.sleep_forever()
    assert [getattr(leaf, "code", None) for leaf in caught[0].exceptions] == [7, 8]
