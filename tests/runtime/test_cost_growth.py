"""The cost of public calls, counted at n, 2n and 4n of everything that it could grow with.

A case builds something of size n and returns what is to be measured. The measure is the number of
bytecode instructions that are executed meanwhile, what Trio and the tree's other tasks do included;
it does not depend on the machine. A call whose cost must not depend on n may cost at most `SLACK`
instructions more at 4n than at n. One in proportion to n may cost, for the last 2n, not much more
than twice what the n before have cost.
"""

from __future__ import annotations

import json
import logging
import pickle
import sys
from contextlib import AsyncExitStack, suppress
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from helpers.support import run_virtual

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildRunner,
    ChildSpec,
    Supervisor,
    SupervisorError,
    SupervisorSnapshot,
    SupervisorSpec,
    explain,
    fold,
    open_supervisor,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Measured = Callable[[], object]
    Case = Callable[[AsyncExitStack, int], Awaitable[Measured]]

SIZES = (32, 64, 128)
SLACK = 60
"""Instructions: a heap is deeper by a level or two."""


# ---------------------------------------------------------------- the measure


async def instructions(measured: Measured) -> int:
    """The number of instructions until ``measured()``, awaited if need be, has returned."""
    count = 0

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal count
        if event == "call":
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        elif event == "opcode":
            count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        result = measured()
        if isawaitable(result):
            await result
    finally:
        sys.settrace(before)
    return count


def costs(case: Case) -> list[int]:
    """What the case costs at each of the sizes."""

    async def main(size: int) -> int:
        async with AsyncExitStack() as stack:
            measured = await case(stack, size)
            await trio.testing.wait_all_tasks_blocked()
            return await instructions(measured)

    logging.disable(logging.CRITICAL)
    try:
        return [run_virtual(main, size) for size in SIZES]
    finally:
        logging.disable(logging.NOTSET)


def check(case: Case, grows: Callable[[list[int]], bool]) -> None:
    """Fail if the least costs of several runs grow.

    Trio runs the tasks of one step in any order, so that a call may take a step more.
    """
    least = costs(case)
    for _ in range(7):
        if not grows(least):
            return
        least = [min(pair) for pair in zip(least, costs(case), strict=True)]
    assert not grows(least), least


def grows(found: list[int]) -> bool:
    return found[2] > found[0] + SLACK


def grows_faster_than_n(found: list[int]) -> bool:
    return found[2] - found[1] > 2.25 * max(0, found[1] - found[0]) + SLACK


# ---------------------------------------------------------------- what cases are made of


async def rest(child: ChildContext) -> None:
    await trio.sleep_forever()


async def rest_ready(child: ChildContext) -> None:
    child.ready("value")
    await trio.sleep_forever()


async def hear_stop(child: ChildContext) -> None:
    await child.wait_stop_requested()


async def crash_later(child: ChildContext) -> None:
    await trio.sleep(1)
    raise ValueError("later")


async def crash_at_once(child: ChildContext) -> None:
    raise ValueError("at once")


def named(count: int, *, requires: Any = ()) -> list[ChildSpec[None]]:
    return [ChildSpec(f"c{number}", rest, requires=requires) for number in range(count)]


async def opened(stack: AsyncExitStack, *children: Any, **options: Any) -> Supervisor:
    spec = SupervisorSpec("app", children, **options)
    return await stack.enter_async_context(open_supervisor(spec))


async def context_among(
    stack: AsyncExitStack, count: int, **options: Any
) -> tuple[Supervisor, ChildContext]:
    """A supervisor with ``count`` children and one more, and the context of the latter."""
    contexts: list[ChildContext] = []

    async def keep(child: ChildContext) -> None:
        contexts.append(child)
        await trio.sleep_forever()

    supervisor = await opened(stack, *named(count), ChildSpec("kept", keep, **options))
    await trio.testing.wait_all_tasks_blocked()
    return supervisor, contexts[0]


def rest_spec() -> ChildSpec[None]:
    return ChildSpec("rest", rest)


def refused(call: Callable[[], object]) -> Measured:
    """``call()``, which has to be refused."""

    async def measured() -> None:
        with suppress(SupervisorError):
            result = call()
            if isawaitable(result):
                await result
            raise AssertionError("not refused")

    return measured


# ---------------------------------------------------------------- n children

PROPERTIES = (
    *("name", "path", "spec", "state", "attempt", "generation", "restarts", "unresponsive"),
    *("waiting_for", "last_report", "last_heartbeat", "reports"),
)
READS: dict[str, Callable[[Supervisor], object]] = {
    "child": lambda app: app.child("c7"),
    "child by path": lambda app: app.child("app/c7"),
    "child by handle": lambda app: app.child(app.child("c7")),
    "children": lambda app: app.children["c7"],
    "children has": lambda app: "c7" in app.children,
    "len of children": lambda app: len(app.children),
    "journal": lambda app: app.journal.last_sequence,
    "journal.since": lambda app: app.journal.since(app.journal.last_sequence - 1),
    "repr": repr,
    "repr of a handle": lambda app: repr(app.child("c7")),
    "name": lambda app: app.name,
    "spec": lambda app: app.spec,
    "subscribe": lambda app: app.subscribe(),
    "properties of a handle": lambda app: [getattr(app.child("c7"), name) for name in PROPERTIES],
}
CALLS: dict[str, Callable[[Supervisor], object]] = {
    "stop_child": lambda app: app.stop_child("c7"),
    "stop_child soon": lambda app: app.stop_child("c7", grace=0),
    "restart_child": lambda app: app.restart_child("c7"),
    "quarantine_child": lambda app: app.quarantine_child("c7"),
    "remove_child": lambda app: app.remove_child("c7"),
    "start_child": lambda app: app.start_child(rest_spec()),
    "start_child_soon": lambda app: app.start_child_soon(rest_spec()),
    "wait_ready": lambda app: app.wait_ready(),
    "wait_ready of a handle": lambda app: app.child("c7").wait_ready(),
    "wait_state": lambda app: app.child("c7").wait_state("ready"),
    "stop of a handle": lambda app: app.child("c7").stop(),
    "remove of a handle": lambda app: app.child("c7").remove(),
    "a stop that changes nothing": lambda app: app.child("c3").stop(),
}
MISSING: dict[str, Callable[[Supervisor], object]] = {
    "child": lambda app: app.child("nobody"),
    "child by path": lambda app: app.child("app/nobody"),
    "child further down": lambda app: app.child("nobody/at/all"),
    "children": lambda app: app.child(ChildSpec("nobody", rest)),
    "stop_child": lambda app: app.stop_child("nobody"),
    "restart_child": lambda app: app.restart_child("nobody"),
    "quarantine_child": lambda app: app.quarantine_child("nobody"),
    "remove_child": lambda app: app.remove_child("nobody"),
    "a name in use": lambda app: app.start_child(ChildSpec("c7", rest)),
    "a name in use, soon": lambda app: app.start_child_soon(ChildSpec("c7", rest)),
    "a requirement": lambda app: app.start_child(ChildSpec("x", rest, requires=("nobody",))),
}


@pytest.mark.parametrize("ordering", ["sequence", "graph"])
@pytest.mark.parametrize("name", [*READS, *CALLS])
def test_what_concerns_one_child_of_n(name: str, ordering: str) -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        app = await opened(stack, *named(count), ordering=ordering)
        await app.stop_child("c3")
        return partial((READS | CALLS)[name], app)

    check(case, grows)


@pytest.mark.parametrize("name", [*READS, *CALLS])
def test_what_concerns_one_of_n_children_added_later(name: str) -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        app = await opened(stack)
        for spec in named(count):
            app.start_child_soon(spec)
        await trio.testing.wait_all_tasks_blocked()
        await app.stop_child("c3")
        return partial((READS | CALLS)[name], app)

    check(case, grows)


@pytest.mark.parametrize("name", MISSING)
def test_a_name_that_is_not_among_n(name: str) -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        app = await opened(stack, *named(count))
        return refused(partial(MISSING[name], app))

    check(case, grows)


CONTEXT: dict[str, Callable[[ChildContext], object]] = {
    "heartbeat": lambda child: child.heartbeat(),
    "not_ready": lambda child: child.not_ready("why"),
    "stop_requested": lambda child: child.stop_requested,
    "supervisor": lambda child: child.supervisor,
    "nursery": lambda child: child.nursery,
    "extend_start_timeout": lambda child: child.extend_start_timeout(9),
    "value": lambda child: child.value("c7"),
    "wait_value": lambda child: child.wait_value("c7"),
    "repr": repr,
}


def busy(child: ChildContext) -> None:
    with child.busy(5):
        pass


def stop_scope(child: ChildContext) -> None:
    with child.stop_scope():
        pass


async def below(child: ChildContext) -> None:
    async with child.open_supervisor(name="below") as supervisor:
        await supervisor.start_child(rest_spec())


CONTEXT |= {"busy": busy, "stop_scope": stop_scope, "open_supervisor": below}


@pytest.mark.parametrize("name", CONTEXT)
def test_what_one_of_n_children_says(name: str) -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        _, child = await context_among(stack, count)
        return partial(CONTEXT[name], child)

    check(case, grows)


def test_one_of_n_children_is_ready() -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        contexts: list[ChildContext] = []

        async def keep(child: ChildContext) -> None:
            contexts.append(child)
            await child.wait_stop_requested()

        app = await opened(stack, *named(count))
        app.start_child_soon(ChildSpec("kept", keep, readiness="explicit", start_timeout=9999))
        await trio.testing.wait_all_tasks_blocked()

        async def measured() -> None:
            contexts[0].ready()
            await app.child("kept").wait_ready()
            await app.stop_child("kept", grace=5)

        return measured

    check(case, grows)


def test_a_value_that_nobody_has() -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        _, child = await context_among(stack, count)
        return refused(lambda: child.value("nobody"))

    check(case, grows)


@pytest.mark.parametrize("ordering", ["sequence", "graph"])
def test_a_crash_and_restart_of_one_of_n(ordering: str) -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        bad = ChildSpec("bad", crash_later, backoff=BackoffPolicy.delays(0))
        app = await opened(stack, *named(count), bad, *named(0), ordering=ordering)
        return partial(app.child("bad").wait_ready, after=1)

    check(case, grows)


# ---------------------------------------------------------------- in proportion to n children


async def shut_down(app: Supervisor) -> None:
    await app.shutdown()


async def _rendered(app: Supervisor) -> None:
    report = await app.shutdown()
    report.render()
    report.to_dict()


async def shut_down_soon(app: Supervisor) -> None:
    app.request_shutdown()
    await app.wait_finished()


WHOLE: dict[str, Callable[[Supervisor], object]] = {
    "state": lambda app: app.state(),
    "render": lambda app: app.state().render(),
    "to_dict": lambda app: app.state().to_dict(),
    "JSON": lambda app: json.dumps(app.state().to_dict()),
    "from_dict": lambda app: SupervisorSnapshot.from_dict(app.state().to_dict()),
    "pickle": lambda app: pickle.loads(pickle.dumps(app.state())),
    "count_children": lambda app: app.count_children(),
    "iterate children": lambda app: list(app.children.items()),
    "journal.base": lambda app: app.journal.base,
    "journal.events": lambda app: app.journal.events,
    "fold": lambda app: fold(app.journal.base, app.journal.events[-1]),
    "explain": lambda app: explain("app/c7", app.journal.base, app.journal.events),
    "child of a snapshot": lambda app: app.state().child("c7"),
    "shutdown": shut_down,
    "request_shutdown, wait_finished": shut_down_soon,
    "shutdown, rendered": _rendered,
    "replace": lambda app: app.spec.replace(name="other"),
}


@pytest.mark.parametrize("ordering", ["sequence", "graph"])
@pytest.mark.parametrize("name", WHOLE)
def test_what_concerns_all_n_children(name: str, ordering: str) -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        app = await opened(stack, *named(count), ordering=ordering)
        return partial(WHOLE[name], app)

    check(case, grows_faster_than_n)


@pytest.mark.parametrize("name", ["state", "render", "to_dict", "JSON", "from_dict", "pickle"])
@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@pytest.mark.parametrize("ordering", ["sequence", "graph"])
def test_what_is_made_of_n_children_during_a_group_restart(
    name: str, strategy: str, ordering: str
) -> None:
    """Half of them have been stopped and wait for the other half, and for added ones."""

    async def linger(child: ChildContext) -> None:
        await child.wait_stop_requested()
        await trio.sleep(5)

    async def case(stack: AsyncExitStack, count: int) -> Measured:
        bad = ChildSpec("bad", crash_later, backoff=BackoffPolicy.delays(0))
        requires = ("bad",) if ordering == "graph" else ()
        slow = [ChildSpec(f"s{n}", linger, grace=9, requires=requires) for n in range(count)]
        quick = named(count, requires=requires)
        app = await opened(stack, bad, *slow, *quick, strategy=strategy, ordering=ordering)
        for number in range(count):
            app.start_child_soon(ChildSpec(f"d{number}", linger, grace=9))
        await trio.sleep(1.5)
        assert app.child("bad").waiting_for
        return partial(WHOLE[name], app)

    check(case, grows_faster_than_n)


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@pytest.mark.parametrize("ordering", ["sequence", "graph"])
def test_a_restart_of_all_n(strategy: str, ordering: str) -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        bad = ChildSpec("bad", crash_later, backoff=BackoffPolicy.delays(0))
        options: Any = {"ordering": ordering, "strategy": strategy}
        app = await opened(stack, bad, *named(count, requires=("bad",)), **options)

        async def restart() -> None:
            await app.child("bad").wait_ready(after=1)
            await app.child(f"c{count - 1}").wait_ready()

        return restart

    check(case, grows_faster_than_n)


@pytest.mark.parametrize("ordering", ["sequence", "graph"])
def test_the_declaration_and_the_start_of_n(ordering: Any) -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        async def start() -> None:
            spec = SupervisorSpec("app", named(count), ordering=ordering)
            async with open_supervisor(spec):
                pass

        return start

    check(case, grows_faster_than_n)


# ---------------------------------------------------------------- n requirements


def test_a_child_with_n_requirements_that_become_ready_one_by_one() -> None:
    """Each of them makes the child look again, which may not look at all of them every time."""

    async def case(stack: AsyncExitStack, count: int) -> Measured:
        async def slow(child: ChildContext, number: int) -> None:
            await trio.sleep(1 + number)
            child.ready()
            await trio.sleep_forever()

        async def start() -> None:
            first = [
                ChildSpec(f"c{number}", slow, number, readiness="explicit", start_timeout=9999)
                for number in range(count)
            ]
            last = ChildSpec("last", rest, requires=[spec.name for spec in first])
            async with open_supervisor(SupervisorSpec("app", [*first, last], ordering="graph")):
                pass

        return start

    check(case, grows_faster_than_n)


REQUIRING: dict[str, Callable[[Supervisor], object]] = {
    "restart of the child": lambda app: app.restart_child("last"),
    "restart of a required one": lambda app: app.restart_child("c7"),
    "stop of a required one": lambda app: app.stop_child("c7"),
    "stop of the child": lambda app: app.stop_child("last"),
    "a removal that is refused": lambda app: app.remove_child("c7"),
    "removal of the child": lambda app: app.remove_child("last"),
    "state": lambda app: app.state(),
    "waiting_for": lambda app: app.child("last").waiting_for,
}


@pytest.mark.parametrize("name", REQUIRING)
@pytest.mark.parametrize("later", [False, True])
def test_a_child_with_n_requirements(name: str, later: bool) -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        last = ChildSpec("last", rest, requires=[spec.name for spec in named(count)])
        app = await opened(stack, *named(count), *([] if later else [last]), ordering="graph")
        if later:
            await app.start_child(last)
        if name == "a removal that is refused":
            return refused(partial(REQUIRING[name], app))
        return partial(REQUIRING[name], app)

    alone = "required" in name or "refused" in name
    check(case, grows if alone else grows_faster_than_n)


@pytest.mark.parametrize("call", ["restart_child", "stop_child", "quarantine_child"])
def test_a_child_that_n_others_require(call: str) -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        app = await opened(stack, ChildSpec("db", rest), *named(count, requires=("db",)))
        return partial(getattr(app, call), "db")

    check(case, grows_faster_than_n)


def test_a_removal_that_n_dependents_forbid() -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        app = await opened(stack, ChildSpec("db", rest), *named(count, requires=("db",)))
        return refused(lambda: app.remove_child("db"))

    check(case, grows_faster_than_n)


def test_a_chain_of_n_requirements() -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        chain = [ChildSpec("c0", crash_later, backoff=BackoffPolicy.delays(0))]
        chain += [
            ChildSpec(f"c{number}", rest, requires=(f"c{number - 1}",))
            for number in range(1, count)
        ]
        app = await opened(stack, *chain, ordering="graph", strategy="rest_for_one")
        return partial(app.child("c0").wait_ready, after=1)

    check(case, grows_faster_than_n)


# ---------------------------------------------------------------- n open blocks


@pytest.mark.parametrize("name", ["busy", "stop_scope", "heartbeat", "not_ready"])
@pytest.mark.parametrize("of", ["busy", "stop_scope"])
def test_what_a_child_with_n_open_blocks_says(name: str, of: str) -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        _, child = await context_among(stack, 1, stale_after=1000)
        if of == "busy":
            for number in range(count):
                stack.enter_context(child.busy(10 + number))
        else:
            for _ in range(count):
                stack.enter_context(child.stop_scope())
        return partial(CONTEXT[name], child)

    check(case, grows)


@pytest.mark.parametrize("of", ["busy", "stop_scope"])
@pytest.mark.parametrize("last_first", [True, False])
def test_opening_and_closing_n_blocks(of: str, last_first: bool) -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        _, child = await context_among(stack, 1, stale_after=1000)

        def measured() -> None:
            if of == "busy":
                blocks: list[Any] = [child.busy(10 + number) for number in range(count)]
                for block in blocks:
                    block.__enter__()
                for block in reversed(blocks) if last_first else blocks:
                    block.__exit__(None, None, None)
            else:
                for _ in range(count):
                    with child.stop_scope():
                        pass

        return measured

    check(case, grows_faster_than_n)


# ---------------------------------------------------------------- n subscriptions, waits, events


async def subscribed(app: Supervisor) -> None:
    async with app.subscribe():
        pass


async def subscribe(stack: AsyncExitStack, app: Supervisor, count: int) -> None:
    for _ in range(count):
        await stack.enter_async_context(app.subscribe())


def test_one_more_subscription_beside_n() -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        app = await opened(stack, *named(3))
        await subscribe(stack, app, count)
        return partial(subscribed, app)

    check(case, grows)


def test_the_first_of_n_subscriptions_is_closed() -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        app = await opened(stack, *named(3))
        first = app.subscribe()
        await first.__aenter__()
        await subscribe(stack, app, count)
        return partial(first.__aexit__, None, None, None)

    check(case, grows)


def test_a_restart_beside_n_subscriptions_of_the_past() -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        app = await opened(stack, *named(3))
        for _ in range(count):
            await subscribed(app)
        return partial(app.restart_child, "c1")

    check(case, grows)


def test_a_restart_seen_by_n_subscriptions() -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        app = await opened(stack, *named(3))
        await subscribe(stack, app, count)
        return partial(app.restart_child, "c1")

    check(case, grows_faster_than_n)


def test_a_subscription_with_n_events_in_it_and_lost() -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        app = await opened(stack, *named(3))
        events = await stack.enter_async_context(app.subscribe(max_buffer=8))
        for _ in range(count):
            await app.restart_child("c1")
        return events.__anext__

    check(case, grows)


@pytest.mark.parametrize("name", ["journal", "journal.since", "subscribe", "state", "child"])
def test_what_does_not_concern_the_n_events_of_the_past(name: str) -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        app = await opened(stack, *named(9))
        for _ in range(count):
            await app.restart_child("c7")
        return partial((READS | WHOLE)[name], app)

    check(case, grows)


def test_a_restart_after_n_restarts() -> None:
    """The window, the reports and the journal are full by then, or nearly."""

    async def case(stack: AsyncExitStack, count: int) -> Measured:
        spec = ChildSpec(
            "bad",
            crash_at_once,
            backoff=BackoffPolicy.delays(*[0.0] * count, 5),
            restart_limit=None,
        )
        app = await opened(stack, spec)
        await trio.sleep(1)
        handle = app.child("bad")
        assert handle.attempt == count + 1
        return partial(handle.wait_exit, after=count + 1)

    check(case, grows)


def test_n_tasks_that_wait_for_other_children() -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        app = await opened(stack, *named(count), ChildSpec("mine", rest))
        nursery = await stack.enter_async_context(trio.open_nursery())
        for number in range(count):
            nursery.start_soon(app.child(f"c{number}").wait_exit)
        stack.callback(nursery.cancel_scope.cancel)
        return partial(app.restart_child, "mine")

    check(case, grows)


@pytest.mark.parametrize("name", ["request_stop", "abort", "wait", "wait_ready"])
def test_a_lone_run_that_n_tasks_wait_for(name: str) -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        run = ChildRunner().spawn_once(nursery, ChildSpec("lone", hear_stop, grace=5))
        for _ in range(count):
            nursery.start_soon(run.wait)

        async def measured() -> None:
            if name == "wait_ready":
                await run.wait_ready()
                return
            run.request_stop() if name != "abort" else run.abort()
            await run.wait()

        return measured

    check(case, grows_faster_than_n)


# ---------------------------------------------------------------- depth, and lengths of text


def nested(levels: int) -> SupervisorSpec:
    spec = SupervisorSpec("s", named(9))
    for _ in range(levels - 1):
        spec = SupervisorSpec("s", [*named(1), spec])
    return spec


@pytest.mark.parametrize("name", ["crash", "restart_child", "stop_child", *sorted(WHOLE)])
def test_what_concerns_a_tree_of_depth_n(name: str) -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        levels = count // 4
        app = await stack.enter_async_context(open_supervisor(nested(levels), journal=5000))
        lowest = app.child("s/" * (levels - 1) + "c7")
        if name == "crash":
            return partial(lowest.restart, "as after a crash")
        if name in {"restart_child", "stop_child"}:
            return partial(getattr(app, name), lowest.path)
        if name == "child of a snapshot":
            return partial(app.state().child, lowest.path)
        if name == "explain":
            return lambda: explain(lowest.path, app.journal.base, app.journal.events)
        return partial(WHOLE[name], app)

    check(case, grows_faster_than_n)


@pytest.mark.parametrize("name", [*CALLS, "state", "render", "to_dict", "explain"])
def test_names_and_reasons_of_length_n(name: str) -> None:
    """What Python's own string methods do does not count, only what is done for each character."""

    async def case(stack: AsyncExitStack, count: int) -> Measured:
        long = "x" * count * 100
        spec = SupervisorSpec("a" + long, [ChildSpec("c3", rest), ChildSpec("c7", rest)])
        app = await stack.enter_async_context(open_supervisor(spec))
        await app.restart_child("c7", reason=long)
        await app.stop_child("c3", reason=long)
        if name == "explain":
            path = app.child("c7").path
            return lambda: explain(path, app.journal.base, app.journal.events)
        return partial((READS | CALLS | WHOLE)[name], app)

    check(case, grows)


def test_a_crash_with_a_message_of_length_n() -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        async def crash(child: ChildContext) -> None:
            await trio.sleep(1)
            raise ValueError("x" * count * 100)

        bad = ChildSpec("bad", crash, backoff=BackoffPolicy.delays(0))
        app = await opened(stack, bad)
        return partial(app.child("bad").wait_ready, after=1)

    check(case, grows)


# ---------------------------------------------------------------- of a piece


def test_every_public_method_is_among_the_cases() -> None:
    """A method that is added has to be measured as well."""
    from pathlib import Path

    text = Path(__file__).read_text(encoding="utf-8")
    for owner in (Supervisor, ChildContext):
        missing = [name for name in dir(owner) if name[0] != "_" and name not in text]
        assert not missing, (owner, missing)


def test_the_measure_sees_growth() -> None:
    async def case(stack: AsyncExitStack, count: int) -> Measured:
        return lambda: [number for number in range(count)]  # noqa: C416

    async def square(stack: AsyncExitStack, count: int) -> Measured:
        return lambda: [one for _ in range(count) for one in range(count)]

    async def same(stack: AsyncExitStack, count: int) -> Measured:
        return lambda: count

    assert grows(costs(case))
    assert not grows_faster_than_n(costs(case))
    assert grows_faster_than_n(costs(square))
    assert not grows(costs(same))
