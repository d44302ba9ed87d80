"""docs/design.md, Readiness and health: the ready value of a child, and who can read it."""

from __future__ import annotations

from typing import Any, Self

import pytest
import trio
import trio.testing
from helpers.trees import (
    AT_ONCE,
    Boom,
    forever,
    ready_forever,
    scenario,
    stubborn,
)

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildNotFound,
    ChildNotReady,
    ChildSpec,
    SpecError,
    Supervisor,
    SupervisorClosed,
    SupervisorError,
    SupervisorSpec,
    holding,
    open_supervisor,
)

INF = float("inf")


async def until_blocked() -> None:
    await trio.testing.wait_all_tasks_blocked()


class Puppet:
    """A child whose contexts a test can reach."""

    def __init__(self) -> None:
        self.contexts: list[ChildContext] = []

    @property
    def now(self) -> ChildContext:
        return self.contexts[-1]

    async def body(self, child: ChildContext) -> None:
        self.contexts.append(child)
        await trio.sleep_forever()

    async def ready_body(self, child: ChildContext) -> None:
        self.contexts.append(child)
        child.ready(f"v{child.attempt}")
        await trio.sleep_forever()


async def provide(child: ChildContext, life: float = INF) -> None:
    child.ready(f"{child.name}{child.attempt}")
    await trio.sleep(life)
    raise Boom


STORE: ChildSpec[str] = ChildSpec("store", provide, readiness="explicit", backoff=AT_ONCE)


@scenario
async def test_a_sibling_has_the_ready_value() -> None:
    reader = Puppet()
    async with open_supervisor(
        SupervisorSpec("app", [STORE, ChildSpec("reader", reader.body)])
    ) as supervisor:
        await until_blocked()
        assert reader.now.value(STORE) == "store1"
        assert reader.now.value("store") == "store1"
        assert await reader.now.wait_value(STORE) == "store1"
        assert supervisor.child(STORE).value == "store1"
        assert await supervisor.child(STORE).wait_ready() == "store1"


@scenario
async def test_an_immediate_child_is_there_but_has_nothing_to_offer() -> None:
    reader = Puppet()
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("plain", forever), ChildSpec("reader", reader.body)])
    ) as supervisor:
        await until_blocked()
        assert reader.now.value("plain") is None
        assert supervisor.child("plain").value is None


@scenario
async def test_before_it_is_ready_there_is_no_value_and_one_can_wait_for_it() -> None:
    reader, store = Puppet(), Puppet()
    heard: list[tuple[float, object]] = []

    async def wait() -> None:
        heard.append((trio.current_time(), await reader.now.wait_value("store")))

    spec = SupervisorSpec(
        "app",
        [
            ChildSpec("reader", reader.body),
            ChildSpec("store", store.body, readiness="explicit", start_timeout=INF),
        ],
    )
    async with open_supervisor(spec, wait_ready=False), trio.open_nursery() as nursery:
        await until_blocked()
        with pytest.raises(ChildNotReady, match="app/store is starting"):
            reader.now.value("store")
        nursery.start_soon(wait)
        await until_blocked()
        assert heard == []
        store.now.ready("at last")
        await until_blocked()
        assert heard == [(0, "at last")]


@scenario
async def test_the_first_value_stays() -> None:
    reader, store = Puppet(), Puppet()
    children = [
        ChildSpec("store", store.ready_body, readiness="explicit"),
        ChildSpec("reader", reader.body),
    ]
    async with open_supervisor(SupervisorSpec("app", children)):
        await until_blocked()
        store.now.ready("second")
        await until_blocked()
        assert reader.now.value("store") == "v1"


@scenario
async def test_while_it_is_not_ready_there_is_no_value() -> None:
    reader, store = Puppet(), Puppet()
    children = [
        ChildSpec("store", store.ready_body, readiness="explicit"),
        ChildSpec("reader", reader.body),
    ]
    heard: list[object] = []

    async def wait() -> None:
        heard.append(await reader.now.wait_value("store"))

    async with (
        open_supervisor(SupervisorSpec("app", children)) as supervisor,
        trio.open_nursery() as nursery,
    ):
        await until_blocked()
        store.now.not_ready("reconnecting")
        with pytest.raises(ChildNotReady):  # at once, before anybody has dealt with it
            reader.now.value("store")
        nursery.start_soon(wait)
        await until_blocked()
        with pytest.raises(ChildNotReady, match="app/store is not_ready"):
            _ = supervisor.child("store").value
        assert heard == []
        store.now.ready()
        await until_blocked()
        assert heard == ["v1"]  # the same as before, unless another one is given
        store.now.not_ready()
        store.now.ready("another")
        await until_blocked()
        assert reader.now.value("store") == "another"


@scenario
async def test_a_value_belongs_to_the_present_attempt() -> None:
    reader = Puppet()
    store = STORE.replace(args=(5,), backoff=BackoffPolicy.delays(3))
    async with open_supervisor(
        SupervisorSpec("app", [store, ChildSpec("reader", reader.body)])
    ) as supervisor:
        await trio.sleep(6)
        assert supervisor.child("store").state == "backing_off"
        with pytest.raises(ChildNotReady, match="backing_off"):
            reader.now.value(store)
        assert await reader.now.wait_value(store) == "store2"
        assert trio.current_time() == 8
        assert len(reader.contexts) == 1


@scenario
async def test_while_its_attempt_is_ending_there_is_no_value_any_more() -> None:
    reader = Puppet()
    children = [
        ChildSpec("store", stubborn, 5, readiness="explicit"),
        ChildSpec("reader", reader.body),
    ]
    async with (
        open_supervisor(SupervisorSpec("app", children)) as supervisor,
        trio.open_nursery() as nursery,
    ):
        await until_blocked()
        nursery.start_soon(supervisor.stop_child, "store")
        await trio.sleep(1)
        with pytest.raises(ChildNotReady, match="app/store is stopping"):
            reader.now.value("store")


@scenario
async def test_waiting_for_one_that_is_held_down_lasts_until_it_is_restarted() -> None:
    reader = Puppet()
    heard: list[object] = []

    async def wait() -> None:
        heard.append(await reader.now.wait_value(STORE))

    async with (
        open_supervisor(
            SupervisorSpec("app", [STORE, ChildSpec("reader", reader.body)])
        ) as supervisor,
        trio.open_nursery() as nursery,
    ):
        await supervisor.stop_child("store")
        with pytest.raises(ChildNotReady, match="app/store is stopped"):
            reader.now.value(STORE)
        nursery.start_soon(wait)
        await trio.sleep(100)
        assert heard == []
        await supervisor.restart_child("store")
        await until_blocked()
        assert heard == ["store2"]


@scenario
async def test_waiting_ends_when_the_provider_is_removed() -> None:
    reader = Puppet()
    heard: list[str] = []

    async def wait() -> None:
        with pytest.raises(ChildNotFound) as caught:
            await reader.now.wait_value(STORE)
        heard.append(str(caught.value))

    async with (
        open_supervisor(
            SupervisorSpec("app", [STORE, ChildSpec("reader", reader.body)])
        ) as supervisor,
        trio.open_nursery() as nursery,
    ):
        await supervisor.stop_child("store")
        nursery.start_soon(wait)
        await until_blocked()
        await supervisor.remove_child("store")
        await until_blocked()
        assert heard == ["app/store was removed"]
        with pytest.raises(ChildNotFound, match="'store'"):
            reader.now.value(STORE)


@scenario
async def test_waiting_ends_when_the_supervisor_does() -> None:
    heard: list[object] = []

    async def reader(child: ChildContext) -> None:
        with trio.CancelScope(shield=True):
            try:
                await child.wait_value("store")
            except SupervisorError as error:
                heard.append(error)

    children = [
        ChildSpec("reader", reader, restart="transient"),
        ChildSpec("store", forever, readiness="explicit", start_timeout=INF),
    ]
    # Shielded, it is waited for until its value is there - or never will be.
    with trio.move_on_after(50):
        async with open_supervisor(SupervisorSpec("app", children), wait_ready=False) as supervisor:
            await until_blocked()
            await supervisor.shutdown()
    assert len(heard) == 1
    assert isinstance(heard[0], SupervisorClosed)
    assert trio.current_time() == 0


@scenario
async def test_a_cancelled_wait_changes_nothing() -> None:
    reader = Puppet()
    children = [ChildSpec("reader", reader.body), STORE]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        await supervisor.stop_child("store")
        before = supervisor.journal.last_sequence
        with trio.move_on_after(5) as scope:
            await reader.now.wait_value("store")
        assert scope.cancelled_caught
        assert supervisor.journal.last_sequence == before


@scenario
async def test_an_unknown_name_and_a_context_that_has_ended() -> None:
    reader = Puppet()
    async with open_supervisor(
        SupervisorSpec("app", [STORE, ChildSpec("reader", reader.body)])
    ) as supervisor:
        await until_blocked()
        with pytest.raises(ChildNotFound, match="neither app nor a supervisor above it"):
            reader.now.value("stroe")
        with pytest.raises(ChildNotFound):
            await reader.now.wait_value("stroe")
        old = reader.now
        await supervisor.restart_child("reader")
        for context_use in (lambda: old.value("store"), lambda: old.supervisor):
            with pytest.raises(SupervisorError, match="has ended"):
                context_use()
        with pytest.raises(SupervisorError, match="has ended"):
            await old.wait_value("store")


@scenario
async def test_under_one_for_one_a_value_goes_stale_and_under_rest_for_one_it_does_not() -> None:
    strategies: list[tuple[Any, bool]] = [("one_for_one", True), ("rest_for_one", False)]
    for strategy, stale in strategies:
        held: list[str] = []

        async def reader(child: ChildContext, held: list[str]) -> None:
            held.append(child.value("store"))
            await trio.sleep_forever()

        store = STORE.replace(args=(5,), restart_limit=None)
        spec = SupervisorSpec("app", [store, ChildSpec("reader", reader, held)], strategy=strategy)
        async with open_supervisor(spec) as supervisor:
            await trio.sleep(6)
            assert supervisor.child("store").value == "store2"
            assert held == (["store1"] if stale else ["store1", "store2"])


@scenario
async def test_a_background_task_of_a_child_asks_like_its_body() -> None:
    heard: list[object] = []

    async def ask(child: ChildContext) -> None:
        heard.append(await child.wait_value(STORE))

    async def reader(child: ChildContext) -> None:
        child.nursery.start_soon(ask, child)
        await trio.sleep_forever()

    async with open_supervisor(SupervisorSpec("app", [ChildSpec("reader", reader), STORE])):
        await until_blocked()
    assert heard == ["store1"]


@scenario
async def test_two_children_that_wait_for_each_other_are_not_our_deadlock() -> None:
    """Only starting waits for readiness; a stop gets through to those who wait for a value."""

    async def body(child: ChildContext, other: str) -> None:
        child.ready(await child.wait_value(other))

    children = [
        ChildSpec("a", body, "b", readiness="explicit", start_timeout=INF),
        ChildSpec("b", body, "a", readiness="explicit", start_timeout=INF),
    ]
    spec = SupervisorSpec("app", children, ordering="graph")
    async with open_supervisor(spec, wait_ready=False) as supervisor:
        await trio.sleep(10)
        assert [c.state.value for c in supervisor.state().children] == ["starting", "starting"]
    assert trio.current_time() == 10


@scenario
async def test_a_child_added_later_reads_and_is_read() -> None:
    reader, late = Puppet(), Puppet()
    async with open_supervisor(
        SupervisorSpec("app", [STORE, ChildSpec("reader", reader.body)])
    ) as supervisor:
        await supervisor.start_child(ChildSpec("late", late.ready_body, readiness="explicit"))
        assert late.now.value(STORE) == "store1"
        assert reader.now.value("late") == "v1"


@scenario
async def test_what_a_context_manager_gives_is_the_value_and_it_is_exited_after_its_users() -> None:
    marks: list[str] = []

    class Resource:
        async def __aenter__(self) -> Self:
            marks.append("enter")
            return self

        async def __aexit__(self, *args: object) -> None:
            marks.append("exit")

    resource = ChildSpec("resource", holding(Resource))

    async def user(child: ChildContext) -> None:
        assert isinstance(child.value(resource), Resource)
        marks.append("use")
        try:
            await trio.sleep_forever()
        finally:
            marks.append("used")

    async with open_supervisor(SupervisorSpec("app", [resource, ChildSpec("user", user)])):
        await until_blocked()
    assert marks == ["enter", "use", "used", "exit"]


@scenario
async def test_the_context_knows_its_place() -> None:
    seen: list[tuple[object, ...]] = []

    async def body(child: ChildContext) -> None:
        seen.append((child.name, child.path, child.attempt, child.generation, child.supervisor))
        await trio.sleep_forever()

    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", body)])) as supervisor:
        await supervisor.restart_child("a")
        await until_blocked()
        assert seen == [
            ("a", "app/a", 1, 0, supervisor),
            ("a", "app/a", 2, 1, supervisor),
        ]
        assert isinstance(supervisor, Supervisor)


@scenario
async def test_a_dead_attempt_does_not_hold_on_to_its_value() -> None:
    import gc
    import weakref

    class Big:
        pass

    alive: list[weakref.ref[Big]] = []

    async def body(child: ChildContext) -> None:
        big = Big()
        alive.append(weakref.ref(big))
        child.ready(big)
        await trio.sleep_forever()

    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", body, readiness="explicit")])
    ) as supervisor:
        await supervisor.restart_child("a")
        await supervisor.stop_child("a")
        await until_blocked()
        gc.collect()
        assert [ref() for ref in alive] == [None, None]
        await supervisor.start_child(ChildSpec("b", ready_forever, readiness="explicit"))


# ---------------------------------------------------------------- who is meant


@scenario
async def test_by_spec_the_child_that_was_declared_with_it_is_meant_and_no_namesake() -> None:
    found: dict[str, object] = {}

    async def ask(child: ChildContext, of: Any) -> None:
        found[child.path] = child.value(of)
        assert found[child.path] == await child.wait_value(of)
        await trio.sleep_forever()

    outer = ChildSpec("store", ready_forever, "outer", readiness="explicit")
    inner = ChildSpec("store", ready_forever, "inner", readiness="explicit")
    one = SupervisorSpec("one", [ChildSpec("store", ask, outer)])
    two = SupervisorSpec(
        "two", [inner, ChildSpec("spec", ask, outer), ChildSpec("name", ask, "store")]
    )
    equal = ChildSpec("store", ready_forever, "outer", readiness="explicit")
    three = SupervisorSpec("three", [ChildSpec("equal", ask, equal), ChildSpec("up", ask, one)])
    async with open_supervisor(SupervisorSpec("app", [outer, one, two, three])) as supervisor:
        assert found.pop("app/three/up") is supervisor.child("one").value
        assert found == {
            "app/one/store": "outer",
            "app/two/spec": "outer",
            "app/two/name": "inner",
            "app/three/equal": "outer",
        }


@scenario
async def test_a_child_never_finds_its_own_value() -> None:
    async def ask(child: ChildContext) -> None:
        child.ready("mine")
        for of in ("a", child.supervisor.child("a").spec):
            with pytest.raises(ChildNotFound):
                child.value(of)
            with pytest.raises(ChildNotFound):
                await child.wait_value(of)

    spec = ChildSpec("a", ask, readiness="explicit", restart="transient")
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        report = await supervisor.child("a").wait_finished()
        assert report.exit.is_success, report.exit.describe()


class NotComparable:
    """Raises when it is compared, as arrays do."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


@scenario
async def test_a_namesake_with_another_spec_is_named_in_the_error() -> None:
    async def ask(child: ChildContext) -> None:
        for of in (
            ChildSpec("store", forever),
            ChildSpec("store", ready_forever, NotComparable(), readiness="explicit"),
            SupervisorSpec("store"),
        ):
            with pytest.raises(ChildNotFound, match="app/store has another spec"):
                child.value(of)
        with pytest.raises(SpecError, match="a child's name or its spec"):
            child.value(5)  # type: ignore[call-overload]

    store = ChildSpec("store", ready_forever, NotComparable(), readiness="explicit")
    asking = ChildSpec("a", ask, restart="transient")
    async with open_supervisor(SupervisorSpec("app", [store, asking])) as supervisor:
        report = await supervisor.child("a").wait_finished()
        assert report.exit.is_success, report.exit.describe()
