"""No attempt and no supervisor leaves objects behind that only Python's cycle collector frees."""

from __future__ import annotations

import gc
import logging
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_virtual

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildRunner,
    ChildSpec,
    RestartLimit,
    Supervisor,
    SupervisorError,
    SupervisorSpec,
    open_supervisor,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Use = Callable[[SupervisorSpec], Awaitable[None]]

AT_ONCE = BackoffPolicy.delays(0)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)  # records that are kept by handlers hold tracebacks
    gc.disable()
    try:
        yield
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        logging.disable(logging.NOTSET)


def garbage() -> Counter[str]:
    """What the cycle collector finds, by type."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    found = Counter(type(thing).__name__ for thing in gc.garbage)
    gc.set_debug(0)
    gc.garbage.clear()
    gc.collect()  # what was kept to be counted
    return found


async def rest(child: ChildContext) -> None:
    await trio.sleep_forever()


async def crash(child: ChildContext) -> None:
    await trio.sleep(1)
    raise ValueError("crash")


async def crash_in_background(child: ChildContext) -> None:
    async def fail() -> None:
        await trio.sleep(1)
        raise ValueError("in the background")

    child.nursery.start_soon(fail)
    with child.busy(5), child.stop_scope():
        await trio.sleep_forever()


async def return_at_once(child: ChildContext) -> None:
    child.heartbeat()
    await trio.sleep(1)


async def hear_stop(child: ChildContext) -> None:
    await child.wait_stop_requested()


async def never_ready(child: ChildContext) -> None:
    await trio.sleep_forever()


async def opens(child: ChildContext) -> None:
    async with child.open_supervisor(name="below") as supervisor:
        await supervisor.start_child(ChildSpec("w", rest))
        await trio.sleep(1)
    raise ValueError("after it")


async def opens_and_fails_inside(child: ChildContext) -> None:
    async with child.open_supervisor(name="below") as supervisor:
        await supervisor.start_child(ChildSpec("w", rest))
        await trio.sleep(1)
        raise ValueError("in it")


async def opens_what_fails(child: ChildContext) -> None:
    bad = ChildSpec("w", crash, restart_limit=RestartLimit(1, within=100), backoff=AT_ONCE)
    async with child.open_supervisor(SupervisorSpec("below", [bad])):
        await trio.sleep_forever()


FAILING = SupervisorSpec(
    "nested", [ChildSpec("w", crash, restart_limit=RestartLimit(1, within=100), backoff=AT_ONCE)]
)
DEEP = SupervisorSpec(
    "nested",
    [
        ChildSpec("v", rest),
        FAILING.replace(name="inner").as_child(
            backoff=AT_ONCE, restart_limit=RestartLimit(1, within=100)
        ),
    ],
)
GRAPH = SupervisorSpec(
    "nested",
    [
        ChildSpec("db", rest),
        ChildSpec("web", hear_stop, requires=("db",)),
        ChildSpec("w", crash, restart_limit=RestartLimit(1, within=100), requires=("web",)),
    ],
    ordering="graph",
    strategy="one_for_all",
)
ENDLESS: Any = {"backoff": AT_ONCE, "restart_limit": None}
CHILDREN: dict[str, ChildSpec[Any]] = {
    "crash": ChildSpec("c", crash, **ENDLESS),
    "crash in the background": ChildSpec("c", crash_in_background, **ENDLESS),
    "return": ChildSpec("c", return_at_once, **ENDLESS),
    "start timeout": ChildSpec(
        "c",
        never_ready,
        readiness="explicit",
        start_timeout=1,
        retry_first_start=True,
        **ENDLESS,
    ),
    "silence": ChildSpec("c", rest, stale_after=1, **ENDLESS),
    "nested that fails": FAILING.as_child(**ENDLESS),
    "nested in nested that fails": DEEP.as_child(**ENDLESS),
    "nested with requirements": GRAPH.as_child(**ENDLESS),
    "opens": ChildSpec("c", opens, **ENDLESS),
    "opens and fails inside": ChildSpec("c", opens_and_fails_inside, **ENDLESS),
    "opens what fails": ChildSpec("c", opens_what_fails, **ENDLESS),
}


@pytest.mark.parametrize("name", CHILDREN)
def test_restarts_by_policy(name: str) -> None:
    async def main() -> None:
        async with open_supervisor() as supervisor:
            supervisor.start_child_soon(CHILDREN[name])
            await trio.sleep(5)
            garbage()  # of the start of the test itself
            await trio.sleep(50)
            assert supervisor.child("c" if "c" in supervisor.children else "nested").restarts > 5
            assert not garbage()

    run_virtual(main)


@pytest.mark.parametrize("call", ["restart_child", "remove_child", "stop_child"])
@pytest.mark.parametrize("name", ["plain", "hears", "nested", "graph"])
def test_commands(name: str, call: str) -> None:
    spec: dict[str, ChildSpec[Any] | SupervisorSpec] = {
        "plain": ChildSpec("c", rest),
        "hears": ChildSpec("c", hear_stop, grace=5),
        "nested": SupervisorSpec("c", [ChildSpec("w", rest)]),
        "graph": GRAPH.replace(name="c"),
    }

    async def main() -> None:
        async with open_supervisor() as supervisor:
            for turn in range(5):
                if call == "remove_child" or not turn:
                    await supervisor.start_child(spec[name])
                if turn == 1:
                    garbage()
                handle = supervisor.child("c")
                if isinstance(handle.value, Supervisor):
                    async with handle.value.subscribe():  # and what others hold of it meanwhile
                        assert handle.value.child("w" if name == "nested" else "db").state
                await getattr(supervisor, call)("c")
                if call == "stop_child":
                    await supervisor.restart_child("c")
                del handle
            assert not garbage()

    run_virtual(main)


async def block(spec: SupervisorSpec) -> None:
    async with open_supervisor(spec) as supervisor:
        async with supervisor.subscribe() as events:
            await events.__anext__() if supervisor.journal.last_sequence < 0 else None
        assert supervisor.child(spec.children[0]).state
        await trio.sleep(10)


async def fail_in_block(spec: SupervisorSpec) -> None:
    async with open_supervisor(spec):
        raise ValueError("in the block")


async def cancelled(spec: SupervisorSpec) -> None:
    with trio.move_on_after(1):
        async with open_supervisor(spec):
            await trio.sleep_forever()


@pytest.mark.parametrize("use", [block, fail_in_block, cancelled])
@pytest.mark.parametrize(
    "spec",
    [
        SupervisorSpec("app", [ChildSpec("a", rest), ChildSpec("b", crash)]),
        SupervisorSpec("app", [ChildSpec("a", rest), SupervisorSpec("b", [ChildSpec("c", rest)])]),
        FAILING,
        DEEP,
        GRAPH,
    ],
    ids=["plain", "nested", "failing", "deep", "graph"],
)
def test_whole_trees(
    use: Callable[[SupervisorSpec], Awaitable[None]], spec: SupervisorSpec
) -> None:
    async def main() -> None:
        for turn in range(3):
            if turn == 1:
                garbage()
            with suppress(SupervisorError, ValueError):
                await use(spec)
        assert not garbage()

    run_virtual(main)


@pytest.mark.parametrize("body", [rest, crash, return_at_once, hear_stop])
def test_lone_runs(body: Callable[[ChildContext], Awaitable[None]]) -> None:
    async def main() -> None:
        for turn in range(3):
            if turn == 1:
                garbage()
            async with trio.open_nursery() as nursery:
                run = ChildRunner().spawn_once(nursery, ChildSpec("lone", body, grace=1))
                await trio.sleep(0.5)
                run.request_stop()
                await run.wait()
                del run
        assert not garbage()

    run_virtual(main)


def test_a_supervisor_that_has_ended_still_answers() -> None:
    """What is let go of at the end is not missed."""

    async def main() -> None:
        async with open_supervisor() as root:
            garbage()
            nested = (await root.start_child(GRAPH.replace(name="n"))).value
            handle = nested.child("web")
            await root.stop_child("n")
            assert nested.child("web") is handle
            assert nested.child(handle) is handle
            assert nested.children["web"] is handle
            assert root.child(handle) is handle
            assert [child.name for child in nested.state().children] == ["db", "web", "w"]
            assert (handle.state, handle.waiting_for) == ("stopped", ())
            with pytest.raises(SupervisorError, match="has ended"):
                await handle.restart()
            with pytest.raises(SupervisorError, match="has ended"):
                await nested.restart_child(handle)
            await root.restart_child("n")
            with pytest.raises(SupervisorError, match="Take the new one"):
                await handle.restart()
            del nested
            gc.collect()  # the errors above hold on to much
            with pytest.raises(SupervisorError, match="has ended"):
                await handle.restart()
            with pytest.raises(SupervisorError, match="is not below this supervisor"):
                root.child(handle)
            assert handle.state == "stopped"
            assert (await handle.wait_finished()).stop_reason == ""

    run_virtual(main)
