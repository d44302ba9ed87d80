"""Stories about what counts as ended, about beginning anew, and about delays that end early."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import trio

from trio_supervisor import (
    BackoffPolicy,
    ChildSpec,
    ChildStartError,
    DoNotRestart,
    Quarantine,
    RestartLimit,
    RestartLimitExceeded,
    ShutdownTree,
    SupervisorError,
    SupervisorFinished,
    SupervisorSpec,
    open_supervisor,
)
from trio_supervisor.testing import Behaviour

from .story import child, now, raises, settle, story, tree

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_supervisor import ChildContext, ChildRunReport, Supervisor

ONCE = child("a", run=Behaviour(ends_at=1, how="return"), restart="transient")


async def ends_at(
    *children: object, act: Callable[[Supervisor], Awaitable[object]] | None = None
) -> float:
    """The time at which a tree under ``all_done`` ends by itself; `inf` if it does not."""
    with trio.move_on_after(100) as limit:
        async with open_supervisor(
            SupervisorSpec("app", children, auto_shutdown="all_done"),  # type: ignore[arg-type]
            wait_ready=False,
        ) as app:
            if act is not None:
                await act(app)
            await app.wait_finished()
    return inf if limit.cancelled_caught else now()


@story()
async def all_done_ends_with_the_last_child_whatever_ends_it() -> None:
    async def fails(app: Supervisor) -> None:
        never = child("x", run=Behaviour(ready_at=9, ends_at=2), readiness="explicit")
        with raises(ChildStartError):
            await app.start_child(never)

    async def withdrawn(app: Supervisor) -> None:
        with trio.move_on_after(2):
            await app.start_child(child("x", run=Behaviour(ready_at=9), readiness="explicit"))

    async def removed(app: Supervisor) -> None:
        await app.start_child(child("x"))
        await trio.sleep(2)
        await app.remove_child("x")

    for number, act in enumerate((fails, withdrawn, removed), 1):
        began = now()
        assert await ends_at(ONCE, act=act) == began + 2, number


@story()
async def an_empty_supervisor_waits_for_its_first_child() -> None:
    async def act(app: Supervisor) -> None:
        await trio.sleep(5)
        await app.start_child(ONCE)

    assert await ends_at(act=act) == 6


@story()
async def all_done_does_not_wait_for_a_chain_that_waits_in_vain() -> None:
    a = child(
        "a",
        run=Behaviour(ready_at=9, ends_at=1),
        readiness="explicit",
        retry_first_start=True,
        decide=lambda report: DoNotRestart(),
    )
    b = child("b", requires=("a",))
    c = child("c", requires=("b",))
    assert await ends_at(a, b, c) == 1


@story()
async def what_an_operator_holds_keeps_a_supervisor_open() -> None:
    async def stop(app: Supervisor) -> None:
        await app.stop_child("x")
        await trio.sleep(9)
        await app.restart_child("x")

    async def quarantine(app: Supervisor) -> None:
        await app.quarantine_child("x")
        await trio.sleep(9)
        await app.remove_child("x")

    soon = child("x", run=Behaviour(ends_at=2, how="return"), restart="transient")
    assert await ends_at(ONCE, soon, act=stop) == 11
    began = now()
    assert await ends_at(ONCE, soon, act=quarantine) == began + 9


@story()
async def an_end_with_a_quarantined_child_is_a_failure_that_names_it() -> None:
    limited = child(
        "x", run=Behaviour(ends_at=1), restart_limit=RestartLimit(1, 60), on_limit="quarantine"
    )
    decided = child("x", run=Behaviour(ends_at=2), decide=lambda report: Quarantine("odd"))
    for spec in (limited, decided):
        began = now()
        with raises(SupervisorError) as found:
            await ends_at(ONCE, spec)
        assert "app/x" in str(found[0])
        assert now() == began + 2


@story(None, 1)
async def a_decision_to_end_the_tree_ends_it_from_the_root() -> None:
    ends = child("x", run=Behaviour(ends_at=1), decide=lambda report: ShutdownTree("enough"))
    slow = child("z", run=Behaviour(stop_takes=2), grace=5)
    middle = SupervisorSpec("middle", [SupervisorSpec("below", [ends, child("y")])])
    async with open_supervisor(tree(child("a"), middle, slow)) as app:
        report = await app.wait_finished()
    assert report.reason == "enough"
    ended = [event.path for event in app.journal if isinstance(event, SupervisorFinished)]
    assert ended == ["app/middle/below", "app/middle", "app"]
    assert app.child("middle").attempt == 1
    assert now() == 3


@story()
async def a_restart_by_command_starts_anew() -> None:
    spec = child(
        "x", run=Behaviour(ends_at=1), restart_limit=RestartLimit(2, 99), on_limit="quarantine"
    )
    async with open_supervisor(tree(spec)) as app:
        handle = app.child("x")
        await handle.wait_state("quarantined")
        assert handle.attempt == 3
        await handle.restart()
        await handle.wait_state("quarantined")
        assert handle.attempt == 6


@story()
async def the_delay_of_a_group_ends_with_the_child_that_asked_for_it() -> None:
    slow = BackoffPolicy.delays(50)
    for strategy in ("one_for_all", "rest_for_one"):
        specs = (child("a"), child("b", run=Behaviour(ends_at=1), backoff=slow), child("c"))
        for command in ("stop_child", "quarantine_child", "remove_child"):
            began = now()
            async with open_supervisor(tree(*specs, strategy=strategy)) as app:
                await trio.sleep(2)
                assert app.child("c").state == "backing_off"
                await getattr(app, command)("b")
                await app.child("c").wait_ready()
                assert now() == began + 2
                assert app.child("a").state == "ready"


@story()
async def the_delay_of_another_failure_remains() -> None:
    specs = (
        child("a", run=Behaviour(ends_at=1, attempts=1), backoff=BackoffPolicy.delays(50)),
        child("b", run=Behaviour(ends_at=2, attempts=2), backoff=BackoffPolicy.delays(4)),
        child("c"),
    )
    async with open_supervisor(tree(*specs, strategy="rest_for_one")) as app:
        await trio.sleep(1.5)
        await app.restart_child("b")  # by command: now, and it fails again at 3.5
        await trio.sleep(2.5)
        assert app.child("c").state == "backing_off"
        await app.stop_child("a")
        state = app.state().child("c")
        assert state.until == 7.5
        await app.child("c").wait_ready()
        assert now() == 7.5


@story()
async def a_shared_limit_alone_is_the_only_one() -> None:
    crash = child("x", run=Behaviour(ends_at=1))
    with raises(RestartLimitExceeded) as found:
        async with open_supervisor(tree(crash, restart_limit=RestartLimit(20, 60))):
            await trio.sleep_forever()
    assert "20 restarts in 60s" in str(found[0])
    assert now() == 21


@story()
async def failures_in_a_row_are_counted_in_the_report() -> None:
    seen: list[int] = []

    def decide(report: ChildRunReport) -> None:
        seen.append(report.failures_in_row)

    class Body:
        """Crashes after 1, 1, 9, 1 s, returns after 1 s, and crashes again."""

        async def __call__(self, child: ChildContext) -> None:
            await trio.sleep(9 if child.attempt == 3 else 1)
            if child.attempt != 5:
                raise ValueError("again")

    soon = BackoffPolicy.delays(0, reset_after=5)
    spec = ChildSpec("x", Body(), backoff=soon, decide=decide)
    async with open_supervisor(tree(spec)) as app:
        await trio.sleep(14.5)
        assert seen == [1, 2, 1, 2, 2, 3]
        assert [report.failures_in_row for report in app.child("x").reports] == seen
        await app.restart_child("x")
        await trio.sleep(1.5)
        assert seen[6:] == [1]


@story(None, 1)
async def shutting_a_branch_down_is_stopping_that_child() -> None:
    branch = SupervisorSpec("branch", [child("w")])
    async with open_supervisor(tree(child("a"), branch, strategy="one_for_all")) as app:
        nested = app.child("branch").value
        report = await nested.shutdown("drained")
        assert report.path == "app/branch"
        await app.child("branch").wait_state("stopped")
        await trio.sleep(100)
        assert app.child("branch").state == "stopped"
        assert app.child("a").attempt == 1
        assert app.child("branch").restarts == 0
        await app.restart_child("branch")
        assert app.child("branch").value is not nested
        nested.request_shutdown("of the past")
        await settle()
        assert app.child("branch/w").state == "ready"
        app.child("branch").value.request_shutdown("at once", grace=False)
        await app.child("branch").wait_state("stopped")


@story()
async def the_default_grace_is_for_attempts_that_can_hear_a_stop() -> None:
    hears = child("a", run=Behaviour(stop_takes=3))
    deaf = child("b")
    async with open_supervisor(tree(hears, deaf)) as app:
        await app.stop_child("b")
        assert now() == 0
        await app.stop_child("a")
        assert now() == 3
    kinds = [app.child(name).last_report.exit.kind for name in "ab"]  # type: ignore[union-attr]
    assert kinds == ["stopped", "aborted"]


@story()
async def a_nested_supervisor_works_until_its_turn_to_stop_has_come() -> None:
    """While ``z`` is still stopping, ``x`` in ``nest`` crashes and is restarted."""
    crashing = child("x", run=Behaviour(ends_at=2, attempts=1))
    nest = SupervisorSpec("nest", [crashing])
    async with open_supervisor(tree(nest, child("z", run=Behaviour(stop_takes=5), grace=9))) as app:
        await trio.sleep(1)
        nested: Supervisor = app.child("nest").value
        app.request_shutdown("in order")
        await trio.sleep(2)
        assert app.child("nest/x").attempt == 2
        assert app.child("nest/x").state == "ready"
        added = await nested.start_child(child("y"))
        assert added.state == "ready"
        await app.wait_finished()
    assert now() == 6
