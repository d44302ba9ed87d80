"""Stories about who waits for whom."""

from __future__ import annotations

import trio

from trio_supervisor import BackoffPolicy, ChildStarted, DoNotRestart, Supervisor, open_supervisor
from trio_supervisor.testing import Behaviour, by_attempt

from .story import child, settle, story, tree


def starts(app: Supervisor, path: str) -> list[float]:
    """When the attempts of a child started."""
    return [
        event.time
        for event in app.journal.events
        if isinstance(event, ChildStarted) and event.path == path
    ]


@story()
async def who_is_ready_and_has_to_go_lets_nobody_start() -> None:
    a = child("a", run=by_attempt(Behaviour(ends_at=10), Behaviour(ready_at=5)))
    b = child("b", run=Behaviour(ready_at=1), readiness="explicit")
    c = child("c", run=Behaviour(stop_takes=3), grace=9)
    spec = tree(a.replace(readiness="explicit"), b, c, strategy="rest_for_one")
    async with trio.open_nursery() as nursery, open_supervisor(spec) as app:
        await trio.sleep_until(9.5)
        nursery.start_soon(app.restart_child, "b")
        await trio.sleep_until(19.5)
        # At 10 a fails; c is gone at 13, and then b, which has become ready meanwhile.
        assert starts(app, "app/a") == [0, 13]
        assert starts(app, "app/b") == [0, 9.5, 18]
        assert starts(app, "app/c") == [1, 19]


@story()
async def a_member_waits_for_its_round_though_what_it_requires_is_back() -> None:
    once = Behaviour(ends_at=5)
    a = child("a", run=by_attempt(once, Behaviour()), backoff=BackoffPolicy.delays(20))
    b = child("b", requires=["a"])
    c = child("c", run=Behaviour(stop_takes=4), grace=9, requires=["a"])
    async with open_supervisor(tree(a, b, c, strategy="rest_for_one", ordering="graph")) as app:
        await trio.sleep_until(6)  # a has failed, b has ended, and c stops until 9
        await app.stop_child("a")
        await app.restart_child("a")
        await trio.sleep_until(20)
        assert starts(app, "app/a") == [0, 6]
        assert starts(app, "app/b") == [0, 9]
        assert starts(app, "app/c") == [0, 9]


@story()
async def a_member_restarted_by_command_waits_for_its_round() -> None:
    a = child("a", run=by_attempt(Behaviour(ends_at=5), Behaviour()))
    b = child("b")
    c = child("c", run=Behaviour(stop_takes=4), grace=9)
    async with open_supervisor(tree(a, b, c, strategy="rest_for_one")) as app:
        await trio.sleep_until(6)  # all of them wait until c has ended, at 9
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.restart_child, "b")
        await trio.sleep_until(20)
        assert starts(app, "app/b") == [0, 9]


@story()
async def children_added_later_belong_to_the_rest() -> None:
    for strategy in ("one_for_all", "rest_for_one"):
        failing = child("a", run=by_attempt(Behaviour(ends_at=5), Behaviour(ready_at=2)))
        spec = tree(failing.replace(readiness="explicit"), child("b"), strategy=strategy)
        async with open_supervisor(spec) as app:
            began = trio.current_time()
            await app.start_child(child("x", run=Behaviour(stop_takes=3), grace=9))
            await trio.sleep_until(began + 11)
            # x is stopped first, and is the last one to start.
            assert starts(app, "app/a") == [began, began + 8]
            assert starts(app, "app/b") == [began, began + 10]
            assert starts(app, "app/x") == [began, began + 10]
            app.request_shutdown()


@story()
async def whoever_requires_one_that_was_done_badly_waits() -> None:
    done = Behaviour(ends_at=1)
    spec = child("a", run=done, restart="transient", decide=lambda report: DoNotRestart())
    async with open_supervisor(tree(spec, child("b", requires=["a"]))) as app:
        await trio.sleep(2)
        assert app.child("a").state == "done"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.restart_child, "b")
            await settle()
            assert (app.child("b").state, app.child("b").waiting_for) == ("waiting", ("a",))
            nursery.start_soon(app.restart_child, "a")
            await settle()
            assert app.child("b").state == "ready"


@story()
async def whoever_waits_for_two_keeps_nobody_waiting_once_one_of_them_is_held_down() -> None:
    late = BackoffPolicy.delays(9)
    a = child("a", run=by_attempt(Behaviour(ends_at=1), Behaviour()), backoff=late)
    b = child("b", run=Behaviour(ready_at=2), readiness="explicit")
    both = child("c", requires=["a", "b"])
    async with open_supervisor(tree(a, b, both, child("d")), wait_ready=False) as app:
        await trio.sleep(3)
        assert starts(app, "app/d") == []
        await app.stop_child("b")
        await settle()
        assert starts(app, "app/d") == [3]
        assert starts(app, "app/c") == []
