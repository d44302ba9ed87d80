"""The fourteen invariants (docs/design.md, Invariants), each by at least one test of its own.

Besides: whatever a `scenario` does, it asserts invariants 1, 2 and the second half of 9 after every
single step (see `trees`).
"""

# flake8: noqa: ASYNC103 - what comes out is what is looked at
# flake8: noqa: ASYNC105 - tables hold functions whose result is awaited elsewhere
# flake8: noqa: ASYNC124 - bodies are async functions, whether they wait or not

from __future__ import annotations

import gc
import itertools
import logging
from collections import Counter
from contextlib import contextmanager, suppress
from random import Random
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing
from helpers.trees import (
    AT_ONCE,
    Boom,
    Trace,
    crash_after,
    events_of,
    forever,
    polite,
    ready_forever,
    scenario,
    state_of,
    stubborn,
    this_watch,
)

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildExited,
    ChildReady,
    ChildRemoved,
    ChildRunReport,
    ChildSpec,
    ChildStarted,
    ChildStopRequested,
    ChildUnresponsive,
    CommandAccepted,
    Event,
    ExitJudged,
    Quarantine,
    RestartLimit,
    RestartLimitExceeded,
    SpecError,
    Supervisor,
    SupervisorError,
    SupervisorSpec,
    TaskFailure,
    open_supervisor,
    plain,
)
from trio_supervisor._brain import messages as o
from trio_supervisor._runtime.child_slot import Slot
from trio_supervisor.testing._sim.tasks import all_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

INF = float("inf")


async def until_blocked() -> None:
    await trio.testing.wait_all_tasks_blocked()


# ---------------------------------------------------------------- a storm


WAYS_TO_END = ["crash", "crash", "failure", "return", "cancel", "background", "relapse"]
COMMANDS = ["stop", "restart", "restart", "remove", "quarantine", "start", "start", "soon"]


class Storm:
    """A random tree whose children do everything that children do, under random commands.

    Attributes:
        raised: Every exception that a body raised.
        lives: For each child of each supervisor's run, when each attempt's body began and ended.
        events: All events of the tree.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.raised: list[Exception] = []
        self.lives: dict[tuple[int, str], list[list[float]]] = {}
        self.events: list[Event] = []
        self.supervisor: Supervisor
        self.order = itertools.count()

    # ---- children

    async def body(self, child: ChildContext) -> object:
        run = child.supervisor.state().run
        random = Random(f"{self.seed} {child.path} {run} {child.attempt}")
        life = [float(next(self.order)), INF]
        self.lives.setdefault((run, child.path), []).append(life)
        try:
            return await self._live(child, random)
        finally:
            if random.random() < 0.3:
                with trio.CancelScope(shield=True):
                    await trio.sleep(random.random())
            life[1] = float(next(self.order))
            if random.random() < 0.05:
                raise self._boom("in cleanup")

    async def _live(self, child: ChildContext, random: Random) -> object:
        if child._attempt.spec.is_explicit:
            await trio.sleep(random.choice([0, 0, 0.5, 2]))
            if random.random() < 0.2:
                raise self._boom("while starting")
            child.ready(child.attempt)
        with trio.move_on_after(random.expovariate(1 / 2.5)):
            if random.random() < 0.5:
                await child.wait_stop_requested()
                await trio.sleep(random.choice([0, 0, 0.3, 3]))
                if random.random() < 0.2:
                    raise self._boom("while stopping")
                return "stopped"
            await trio.sleep_forever()
        return await self._end(child, random)

    async def _end(self, child: ChildContext, random: Random) -> object:
        how = random.choice(WAYS_TO_END)
        if how == "crash":
            raise self._boom("crash")
        if how == "failure":
            failure = TaskFailure("failure")
            self.raised.append(failure)
            raise failure
        if how == "cancel":
            child.nursery.cancel_scope.cancel()
        elif how == "background":
            child.nursery.start_soon(self._crash_in_background)
        elif how == "relapse":
            child.not_ready("relapse")
        else:
            return "returned"
        await trio.sleep(random.random() * 5)
        return "after all"

    async def _crash_in_background(self) -> None:
        raise self._boom("in the background")

    def _boom(self, where: str) -> Boom:
        boom = Boom(f"{where} {len(self.raised)}")
        self.raised.append(boom)
        return boom

    # ---- the tree

    def child(self, name: str, **options: Any) -> ChildSpec[Any]:
        random = self.random
        options.update(
            restart=random.choice(["permanent", "permanent", "transient"]),
            grace=random.choice([0, 0, 1, 5]),
            stale_after=random.choice([INF, INF, 4]),
            max_runtime=random.choice([INF, INF, 3]),
            backoff=random.choice([AT_ONCE, BackoffPolicy(0.5, jitter=0.5, reset_after=3)]),
            restart_limit=random.choice([None, RestartLimit(2, within=10)]),
        )
        if random.random() < 0.6:
            options.update(readiness="explicit", retry_first_start=True, start_timeout=3)
        return ChildSpec(name, self.body, **options)

    def quarantined(self, spec: ChildSpec[Any]) -> ChildSpec[Any]:
        return spec if spec.restart_limit is None else spec.replace(on_limit="quarantine")

    def tree(self, name: str, children: list[Any]) -> SupervisorSpec:
        random = self.random
        return SupervisorSpec(
            name,
            children,
            strategy=random.choice(["one_for_one", "one_for_all", "rest_for_one"]),
            ordering=random.choice(["sequence", "graph"]),
            shutdown_deadline=random.choice([INF, INF, 4]),
            report_after=random.choice([0.5, 5]),
        )

    def spec(self) -> SupervisorSpec:
        leaf = self.quarantined(self.child("p"))
        nest = self.tree("nest", [leaf, self.child("q", requires=["p"])])
        nested = nest.as_child(
            retry_first_start=True, backoff=BackoffPolicy(0.5), restart_limit=None
        )
        return self.tree(
            "app",
            [
                self.quarantined(self.child("a")),
                self.quarantined(self.child("b", requires=["a"])),
                nested,
                self.quarantined(self.child("c")),
                self.quarantined(self.child("d", requires=["a", "c"])),
            ],
        )

    # ---- the weather

    async def operate(self, random: Random) -> None:
        for _ in range(15):
            await trio.sleep(random.expovariate(1))
            supervisor = self.supervisor
            if random.random() < 0.3:
                nested = supervisor.child("nest")._slot.nested
                supervisor = supervisor if nested is None else nested.supervisor
            names = [*supervisor.children] or ["nobody"]
            name = random.choice(names)
            with trio.move_on_after(random.choice([0, 1, 10])), suppress(SupervisorError):
                await self._command(supervisor, name, random)

    async def _command(self, supervisor: Supervisor, name: str, random: Random) -> None:
        what = random.choice(COMMANDS)
        if what in ("start", "soon"):
            spec = self.quarantined(self.child(f"x{random.randrange(4)}"))
            if spec.is_explicit and random.random() < 0.5:
                spec = spec.replace(retry_first_start=False)
            if what == "start":
                await supervisor.start_child(spec)
            else:
                supervisor.start_child_soon(spec)
        elif what == "remove" and name == "nest":
            await supervisor.stop_child(name)
        else:
            await getattr(supervisor, f"{what}_child")(name)

    async def rage(self) -> None:
        random = Random(-self.seed)
        with trio.move_on_after(random.choice([10, 1000])):
            try:
                async with open_supervisor(
                    self.spec(), wait_ready=False, random=Random(self.seed)
                ) as supervisor:
                    self.supervisor = supervisor
                    self.events.extend(supervisor.journal)
                    supervisor._shell.tree.journal.attach(self.events.append)
                    async with trio.open_nursery() as nursery:
                        for operator in range(3):
                            nursery.start_soon(self.operate, Random(f"{self.seed} {operator}"))
                    if random.random() < 0.3:
                        await supervisor.shutdown("over")
                    if random.random() < 0.3:
                        raise ValueError("the block's own")
            except (RestartLimitExceeded, ValueError):
                pass


def storms(count: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("seed", range(count))


# ---------------------------------------------------------------- 1: one live attempt


@storms(60)
@scenario
async def test_invariant_1_at_most_one_live_attempt_at_every_interleaving(seed: int) -> None:
    storm = Storm(seed)
    await storm.rage()
    assert len(storm.lives) >= 4
    for (_, path), lives in storm.lives.items():
        for (_, end), (start, _) in itertools.pairwise(lives):
            assert end < start, f"{path}: the next attempt began before the last one had ended"


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@scenario
async def test_invariant_1_the_next_attempt_starts_only_after_the_last_ones_scope_has_closed(
    strategy: Any,
) -> None:
    """What a child left running in its nursery counts as the attempt, too."""
    marks: list[tuple[float, str]] = []

    async def background(child: ChildContext) -> None:
        marks.append((trio.current_time(), f"+{child.name}{child.attempt}"))
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(5)
            marks.append((trio.current_time(), f"-{child.name}{child.attempt}"))

    async def body(child: ChildContext) -> None:
        child.nursery.start_soon(background, child)
        await trio.sleep(1)
        if child.attempt == 1 and child.name == "a":
            raise Boom
        await trio.sleep_forever()

    children = [ChildSpec(name, body, backoff=AT_ONCE) for name in "ab"]
    async with open_supervisor(SupervisorSpec("app", children, strategy=strategy)) as supervisor:
        await trio.sleep(20)
        await supervisor.restart_child("b")
        await trio.sleep(1)
    by_name: dict[str, list[str]] = {"a": [], "b": []}
    for _, mark in marks:
        by_name[mark[1]].append(mark)
    for name, seen in by_name.items():
        assert len(seen) >= 4
        for number in range(len(seen) // 2):
            attempt = number + 1
            assert seen[2 * number : 2 * number + 2] == [f"+{name}{attempt}", f"-{name}{attempt}"]


# ---------------------------------------------------------------- 2: no task left behind


async def leave_a_nursery_open(child: ChildContext) -> None:
    manager = trio.open_nursery()
    nursery = await manager.__aenter__()
    nursery.start_soon(trio.sleep_forever)
    await trio.sleep(1)


async def with_background(child: ChildContext) -> None:
    child.nursery.start_soon(trio.sleep_forever)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)


ENDINGS: dict[str, Callable[[Supervisor], Awaitable[object]]] = {
    "returns": lambda supervisor: trio.lowlevel.checkpoint(),
    "raises": lambda supervisor: _raise(ValueError()),
    "exits": lambda supervisor: _raise(SystemExit()),
    "shuts down": lambda supervisor: supervisor.shutdown(),
}


async def _raise(error: BaseException) -> None:
    raise error


async def _outlive(supervisor: Supervisor) -> None:
    supervisor.request_shutdown()
    await trio.sleep(100)


async def _exceed(supervisor: Supervisor) -> None:
    supervisor.start_child_soon(
        ChildSpec("bad", crash_after, 0, restart_limit=RestartLimit(0, within=1))
    )
    await trio.sleep_forever()


async def _cancel_me() -> None:
    _SCOPES[-1].cancel()
    await trio.sleep_forever()


_SCOPES: list[trio.CancelScope] = []
ENDINGS |= {
    "outlives it": _outlive,
    "waits for a limit": _exceed,
    "is cancelled": lambda supervisor: _cancel_me(),
}


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("ending", ENDINGS)
@scenario
async def test_invariant_2_when_the_block_has_ended_no_task_is_alive(
    ending: str, after: float
) -> None:
    nest = SupervisorSpec("nest", [ChildSpec("x", stubborn, 2), ChildSpec("y", with_background)])
    children: list[ChildSpec[Any] | SupervisorSpec] = [
        ChildSpec("a", with_background),
        ChildSpec("b", polite, 2, grace=9),
        ChildSpec("c", stubborn, 5),
        nest,
        ChildSpec("d", leave_a_nursery_open, backoff=AT_ONCE, restart_limit=None),
        ChildSpec("e", crash_after, 0.4, backoff=BackoffPolicy.delays(50), restart_limit=None),
    ]
    before = set(all_tasks())
    with trio.CancelScope() as scope:
        _SCOPES.append(scope)
        try:
            async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
                await trio.sleep(after)
                assert len(set(all_tasks())) > len(before) + 8
                await ENDINGS[ending](supervisor)
        except (ValueError, SystemExit, RestartLimitExceeded):
            pass
        finally:
            _SCOPES.pop()
            assert set(all_tasks()) == before


# ---------------------------------------------------------------- 3: order


def random_graph(random: Random, size: int) -> dict[str, list[str]]:
    names = [f"c{n}" for n in range(size)]
    return {
        name: [other for other in names[:place] if random.random() < 0.35]
        for place, name in enumerate(names)
    }


@pytest.mark.parametrize("ordering", ["sequence", "graph"])
@storms(15)
@scenario
async def test_invariant_3_start_order_respects_readiness_and_stop_order_is_its_reverse(
    ordering: Any, seed: int
) -> None:
    random = Random(seed)
    graph = random_graph(random, 7)
    if ordering == "sequence":
        names = list(graph)
        needs = {name: names[:place] for place, name in enumerate(names)}
    else:
        needs = graph
    trace = Trace()
    children = [
        trace.child(name, random.choice([0, 1, 3]), random.choice([0, 2, 4]), requires=requires)
        for name, requires in graph.items()
    ]
    async with open_supervisor(SupervisorSpec("app", children, ordering=ordering)) as supervisor:
        await trio.sleep(random.choice([0, 5]))
    at: dict[tuple[str, str], int] = {}
    for event in supervisor.journal:
        name = event.path.rpartition("/")[2]
        at[type(event).__name__, name] = event.sequence
    for name, needed in needs.items():
        for other in needed:
            assert at["ChildReady", other] < at["ChildStarted", name]
            assert at["ChildExited", name] < at["ChildStopRequested", other]
    if ordering == "graph":
        # And nobody waits for anybody else: whoever needs nobody starts at once.
        started = {e.path: e.time for e in events_of(supervisor, ChildStarted)}
        ready = {e.path: e.time for e in events_of(supervisor, ChildReady)}
        gone = {e.path: e.time for e in events_of(supervisor, ChildExited)}
        asked = {e.path: e.time for e in events_of(supervisor, ChildStopRequested)}
        begun = min(asked.values())
        for name, needed in needs.items():
            users = [other for other, uses in needs.items() if name in uses]
            assert started[f"app/{name}"] == max([0, *(ready[f"app/{n}"] for n in needed)])
            assert asked[f"app/{name}"] == max([begun, *(gone[f"app/{u}"] for u in users)])


@scenario
async def test_invariant_3_except_at_the_shutdown_deadline() -> None:
    trace = Trace()
    children = [trace.child(name, stopping=10) for name in "abc"]
    async with open_supervisor(SupervisorSpec("app", children, shutdown_deadline=5)) as supervisor:
        pass
    assert {e.time for e in events_of(supervisor, ChildExited)} == {5}


# ---------------------------------------------------------------- 4: the radius

RADIUS = {
    "one_for_one": {"a": "a", "b": "b", "c": "c", "d": "d"},
    "one_for_all": dict.fromkeys("abcd", "abcd"),
    "rest_for_one": {"a": "abcd", "b": "bcd", "c": "cd", "d": "d"},
}


@pytest.mark.parametrize("failing", list("abcd"))
@pytest.mark.parametrize("strategy", RADIUS)
@scenario
async def test_invariant_4_a_strategy_touches_its_radius_and_nobody_else(
    strategy: Any, failing: str
) -> None:
    told = trio.Event()

    async def body(child: ChildContext) -> None:
        if child.name == failing and child.attempt == 1:
            await told.wait()
            raise Boom
        await trio.sleep_forever()

    children = [ChildSpec(name, body, backoff=AT_ONCE) for name in "abcd"]
    async with open_supervisor(SupervisorSpec("app", children, strategy=strategy)) as supervisor:
        last = supervisor.journal.last_sequence
        told.set()
        await trio.sleep(1)
        touched = {e.path[-1] for e in supervisor.journal if e.sequence > last}
        assert touched == set(RADIUS[strategy][failing])
        for name in "abcd":
            inside = name in RADIUS[strategy][failing]
            assert supervisor.child(name).attempt == (2 if inside else 1)
            assert state_of(supervisor, name) == "ready"


@pytest.mark.parametrize("how", ["stopped", "quarantined", "backing_off", "stopping", "starting"])
@scenario
async def test_invariant_4_a_child_that_is_down_never_keeps_an_unrelated_one_down(how: str) -> None:
    async def down(child: ChildContext) -> None:
        if how == "starting" and child.attempt > 1:
            await trio.sleep_forever()
        child.ready()
        if how == "backing_off":
            await trio.sleep(1)
            raise Boom
        try:
            await trio.sleep_forever()
        finally:
            if how == "stopping":
                with trio.CancelScope(shield=True):
                    await trio.sleep(100)

    children = [
        ChildSpec(
            "down",
            down,
            readiness="explicit",
            start_timeout=INF,
            backoff=BackoffPolicy.delays(3600),
        ),
        ChildSpec("other", crash_after, 5, 1, backoff=AT_ONCE),
    ]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        command = {
            "stopped": supervisor.stop_child,
            "stopping": supervisor.stop_child,
            "quarantined": supervisor.quarantine_child,
            "starting": supervisor.restart_child,
        }.get(how)
        if command is not None:
            with trio.move_on_after(2):
                await command("down")
        await trio.sleep_until(6)
        assert state_of(supervisor, "down") == how
        assert (state_of(supervisor, "other"), supervisor.child("other").attempt) == ("ready", 2)
        await supervisor.restart_child("other")
        await supervisor.start_child(ChildSpec("later", forever))
        assert trio.current_time() == 6


# ---------------------------------------------------------------- 5: windows


@pytest.mark.parametrize("on_limit", ["escalate", "quarantine"])
@storms(20)
@scenario
async def test_invariant_5_no_window_holds_more_restarts_than_admitted_and_the_next_one_acts_once(
    on_limit: Any, seed: int
) -> None:
    random = Random(seed)
    limit = RestartLimit(random.randint(0, 4), within=random.choice([1, 5, 12.5]))
    pauses = [random.choice([0, 0.25, 1, 2, 5]) for _ in range(200)]
    crashes: list[float] = []

    async def body(child: ChildContext) -> None:
        await trio.sleep(pauses[child.attempt % 200])
        crashes.append(trio.current_time())
        raise Boom

    spec = ChildSpec("a", body, backoff=AT_ONCE, restart_limit=limit, on_limit=on_limit)
    events: list[Event] = []
    supervisor: Supervisor | None = None
    error: RestartLimitExceeded | None = None
    try:
        async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
            events.extend(supervisor.journal)
            supervisor._shell.tree.journal.attach(events.append)
            await trio.sleep(300)
    except RestartLimitExceeded as caught:
        error = caught
    assert error is None or (on_limit, error.limit) == ("escalate", limit)
    verdicts = [event for event in events if isinstance(event, ExitJudged)]
    admitted = [event.time for event in verdicts if event.action == "restart"]
    refused = [event.time for event in verdicts if event.action == on_limit]
    assert len(refused) <= 1
    assert [event.time for event in verdicts] == crashes
    # Shares no code with the library: admitted if and only if fewer than so many count.
    for time in crashes:
        before = [t for t in admitted if t <= time and t > time - limit.within]
        if time in refused:
            assert len(before) == limit.max_restarts
        else:
            assert len(before) <= limit.max_restarts
    if not refused:
        assert len(crashes) > 100 or crashes[-1] > 290
    if refused and on_limit == "quarantine":
        assert supervisor is not None
        assert supervisor.child("a").attempt == len(crashes)


@scenario
async def test_invariant_5_a_group_restart_is_charged_once_and_by_hand_never() -> None:
    told = trio.Event()

    async def body(child: ChildContext) -> None:
        await told.wait()
        if child.attempt == 1:
            raise Boom
        await trio.sleep_forever()

    # All three crash in one tick: one restart of all of them, one charge.
    children = [ChildSpec(name, body, backoff=AT_ONCE) for name in "abc"]
    spec = SupervisorSpec(
        "app", children, strategy="one_for_all", restart_limit=RestartLimit(1, within=1000)
    )
    async with open_supervisor(spec) as supervisor:
        told.set()
        await trio.sleep(1)
        for name in "abc":
            await supervisor.restart_child(name)
        assert [e.action for e in events_of(supervisor, ExitJudged)] == ["restart"]


@scenario
async def test_invariant_5_the_supervisors_own_window_counts_all_its_children() -> None:
    children = [ChildSpec(name, crash_after, 2, 1, backoff=AT_ONCE) for name in "abc"]
    children.append(ChildSpec("d", crash_after, 3, backoff=AT_ONCE))
    limit = RestartLimit(4, within=100)
    with pytest.raises(RestartLimitExceeded) as caught:
        async with open_supervisor(
            SupervisorSpec("app", children, restart_limit=limit)
        ) as supervisor:
            await trio.sleep_forever()
    # At 2 three of them, at 3 and at 6 the fourth: the fifth restart is one too many.
    assert trio.current_time() == 6
    assert (caught.value.path, caught.value.limit) == ("app/d", limit)
    actions = [event.action for event in events_of(supervisor, ExitJudged)]
    assert actions == ["restart"] * 4 + ["escalate"]


# ---------------------------------------------------------------- 6: the table

END_IT: dict[str, Callable[[ChildContext], Awaitable[object]]] = {
    "succeeded": lambda child: trio.sleep(1),
    "failed": lambda child: _raise(TaskFailure("failed")),
    "crashed": lambda child: _raise(Boom()),
    "timed_out": lambda child: trio.sleep_forever(),
    "unhealthy": lambda child: trio.sleep_forever(),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "timed_out": {"max_runtime": 2},
    "unhealthy": {"stale_after": 2},
}


async def _cancel_itself(child: ChildContext) -> None:
    child.nursery.cancel_scope.cancel()
    await trio.sleep(1)


END_IT["self_cancelled"] = _cancel_itself


def table(policy: str, kind: str) -> str:
    """docs/design.md, What follows an exit, written down once more."""
    if policy == "temporary":
        return ""
    if policy == "transient" and kind == "succeeded":
        return "done"
    return "backing_off"


@pytest.mark.parametrize("kind", END_IT)
@pytest.mark.parametrize("policy", ["permanent", "transient", "temporary"])
@scenario
async def test_invariant_6_the_table_holds_for_every_exit(policy: Any, kind: str) -> None:
    async def body(child: ChildContext) -> None:
        await END_IT[kind](child)

    options = dict(OPTIONS.get(kind, {}))
    if policy != "temporary":
        options["backoff"] = BackoffPolicy.delays(3600)
    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", body, restart=policy, **options)])
    ) as supervisor:
        await trio.sleep(10)
        assert [e.kind for e in events_of(supervisor, ChildExited)] == [kind]
        assert state_of(supervisor, "a") == table(policy, kind)


@pytest.mark.parametrize("kind", ["succeeded", "failed", "crashed", "self_cancelled"])
@pytest.mark.parametrize("policy", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("asked", [True, False])
@scenario
async def test_invariant_6_while_stopping_nobody_restarts_even_before_it_was_asked(
    policy: Any, kind: str, asked: bool
) -> None:
    told = trio.Event()
    decisions: list[ChildRunReport] = []

    async def body(child: ChildContext) -> None:
        await (child.wait_stop_requested() if asked else told.wait())
        await END_IT[kind](child)

    options: dict[str, Any] = {} if policy == "temporary" else {"backoff": AT_ONCE}
    children = [
        ChildSpec("a", body, restart=policy, grace=20, decide=decisions.append, **options),
        ChildSpec("last", stubborn, 10),  # `a` has to wait its turn to be asked
    ]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        supervisor.request_shutdown()
        await trio.sleep(2)
        told.set()
    assert len(events_of(supervisor, ChildStarted, "app/a")) == 1
    assert events_of(supervisor, ExitJudged) == []
    assert decisions == []
    expected = "stopped" if asked and kind == "succeeded" else kind
    assert [e.kind for e in events_of(supervisor, ChildExited, "app/a")] == [expected]


# ---------------------------------------------------------------- 7: stops end or are reported


async def deaf(child: ChildContext) -> None:
    """Hears no request; a cancel ends it."""
    if child._attempt.spec.is_explicit:
        await trio.sleep(1)
        child.ready()
    for _ in range(4):
        await trio.sleep(1)
        await trio.lowlevel.checkpoint()
    await trio.sleep_forever()


async def count_steps(play: Callable[[], Awaitable[object]]) -> int:
    before = this_watch().steps
    await play()
    return this_watch().steps - before


@pytest.mark.parametrize("grace", [0, 2])
@scenario
async def test_invariant_7_a_stop_at_any_moment_ends_within_grace_plus_one_step(
    grace: float,
) -> None:
    """At every step of its life, and nobody does anything but post that one command."""
    spec = SupervisorSpec(
        "app", [ChildSpec("a", deaf, readiness="explicit", grace=grace, backoff=AT_ONCE)]
    )

    async def is_stopped_at(step: int) -> bool:
        posted: list[float] = []
        async with open_supervisor(spec, wait_ready=False) as supervisor:

            def stop() -> None:
                posted.append(trio.current_time())
                supervisor._shell.command(o.StopChild("a", "now"))

            this_watch().at_step(step, stop)
            await trio.sleep(10)
            this_watch().clear_steps()
            if not posted or trio.current_time() - posted[0] < 3:
                return False
            assert state_of(supervisor, "a") == "stopped"
            (exited,) = events_of(supervisor, ChildExited)
            assert exited.time <= posted[0] + grace
            assert exited.kind == "aborted"
        return True

    step = 1
    while await is_stopped_at(step):
        step += 1
    assert step > 8


@pytest.mark.parametrize("grace", [0, 2])
@scenario
async def test_invariant_7_or_is_reported_within_grace_and_report_after(grace: float) -> None:
    for moment in (0, 0.5, 1, 1.5, 3):
        spec = SupervisorSpec("app", [ChildSpec("a", stubborn, 100, grace=grace)], report_after=3)
        async with open_supervisor(spec) as supervisor:
            start = trio.current_time()
            await trio.sleep(moment)
            supervisor._shell.command(o.StopChild("a", "now"))
            await trio.sleep(90)
            (event,) = events_of(supervisor, ChildUnresponsive)
            assert event.time == start + moment + grace + 3
            assert event.stack


# ---------------------------------------------------------------- 8: whose fault

CALM = {"stopped", "aborted", "succeeded"}


@storms(6)
@scenario
async def test_invariant_8_our_stop_is_never_the_childs_failure_at_any_moment(seed: int) -> None:
    """A blameless child, stopped between any two steps in every way that there is."""
    spec: ChildSpec[Any] = [
        ChildSpec("a", deaf, readiness="explicit"),
        ChildSpec("a", polite, 1),
        ChildSpec("a", ready_forever, readiness="explicit"),
        ChildSpec("a", forever),
        ChildSpec("a", with_background),
        ChildSpec("a", stubborn, 1),
    ][seed].replace(grace=1.5, backoff=AT_ONCE)
    nest = SupervisorSpec("nest", [spec.replace(name="x")])
    tree = SupervisorSpec("app", [spec, nest], strategy="one_for_all")

    def ways(supervisor: Supervisor) -> list[Callable[[], object]]:
        shell = supervisor._shell
        return [
            lambda: shell.command(o.StopChild("a")),
            lambda: shell.command(o.RestartChild("a")),
            lambda: shell.command(o.RemoveChild("a")),
            lambda: shell.command(o.StopChild("nest")),
            lambda: shell.command(o.RestartChild("nest")),
            supervisor.request_shutdown,
            lambda: supervisor.request_shutdown(grace=False),
        ]

    for way in range(7):
        for step in (1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27):
            async with open_supervisor(tree, wait_ready=False) as supervisor:
                this_watch().at_step(step, ways(supervisor)[way])
                await trio.sleep(8)
            for event in events_of(supervisor, ChildExited):
                assert event.kind in CALM, event
            assert events_of(supervisor, ExitJudged) == []


@scenario
async def test_invariant_8_a_cancel_that_is_not_ours_is_never_a_stop() -> None:
    async def own_nursery(child: ChildContext) -> None:
        child.nursery.cancel_scope.cancel("finished, I think")
        await trio.sleep_forever()

    async def own_nursery_from_the_background(child: ChildContext) -> None:
        async def background() -> None:
            child.nursery.cancel_scope.cancel()

        child.nursery.start_soon(background)
        await trio.sleep_forever()

    async def while_being_asked(child: ChildContext) -> None:
        await trio.sleep(1)
        child.nursery.cancel_scope.cancel()
        await trio.sleep_forever()

    async def stolen(child: ChildContext) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep_forever()
            except trio.Cancelled as cancelled:
                found = cancelled
        raise found

    bodies = [own_nursery, own_nursery_from_the_background, while_being_asked, stolen]
    children = [
        ChildSpec(body.__name__, body, backoff=BackoffPolicy.delays(3600)) for body in bodies
    ]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        await trio.sleep(2)
        assert {e.kind for e in events_of(supervisor, ChildExited)} == {"self_cancelled"}
        assert {c.state.value for c in supervisor.state().children} == {"backing_off"}
        assert len(events_of(supervisor, ExitJudged)) == len(bodies)


@scenario
async def test_invariant_8_a_child_that_cancels_itself_while_it_is_being_asked_to_stop() -> None:
    async def body(child: ChildContext) -> None:
        await child.wait_stop_requested()
        child.nursery.cancel_scope.cancel("my own way")
        await trio.sleep_forever()

    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", body, grace=5)])
    ) as supervisor:
        await supervisor.stop_child("a", reason="ours")
        report = supervisor.child("a").last_report
        assert report is not None
        assert (report.exit.kind, report.stop_reason) == ("self_cancelled", "ours")


# ---------------------------------------------------------------- 9: events and state


@storms(60)
@scenario
async def test_invariant_9_one_started_and_one_exited_event_for_every_attempt(seed: int) -> None:
    storm = Storm(1000 + seed)
    await storm.rage()  # after each of its steps: the fold of the journal is the state
    assert this_watch().steps > 100
    events = storm.events
    assert [e.sequence for e in events] == list(range(1, len(events) + 1))

    # A name that is free may be taken again: then (run, path, attempt) begins anew with the life.
    lives: Counter[tuple[int, str]] = Counter()
    at: dict[tuple[int, str, int, int], list[Event]] = {}
    for event in events:
        where = event.run, event.path
        if isinstance(event, ChildStarted | ChildExited):
            at.setdefault((*where, lives[where], event.attempt), []).append(event)
        elif isinstance(event, ChildRemoved):
            lives[where] += 1
    assert len(at) > 5
    for (run, path, life, attempt), found in at.items():
        assert [type(event) for event in found] == [ChildStarted, ChildExited]
        if attempt > 1:
            before = at[run, path, life, attempt - 1]
            assert before[1].sequence < found[0].sequence


# ---------------------------------------------------------------- 10: no exception is lost


def leaves_of(error: BaseException | None) -> Iterator[BaseException]:
    pending = [error]
    seen: set[int] = set()
    while pending:
        found = pending.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        pending.extend((found.__cause__, found.__context__))
        if isinstance(found, BaseExceptionGroup):
            pending.extend(found.exceptions)
        else:
            yield found


@storms(40)
@scenario
async def test_invariant_10_every_exception_is_in_a_report(seed: int) -> None:
    storm = Storm(2000 + seed)
    reported: list[BaseException] = []
    keep = Slot.record  # every report passes through here

    def note(slot: Any, attempt: Any, how: Any, *rest: Any) -> None:
        reported.extend(leaves_of(how.error))
        keep(slot, attempt, how, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Slot, "record", note)
        await storm.rage()
    assert storm.raised
    for error in storm.raised:
        assert sum(found is error for found in reported) >= 1, error


@scenario
async def test_invariant_10_every_leaf_of_one_attempt_is_in_its_report() -> None:
    raised = [Boom(f"leaf {n}") for n in range(6)]

    async def background(error: Boom) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise error

    async def body(child: ChildContext) -> None:
        for error in raised[:2]:
            child.nursery.start_soon(background, error)
        await trio.sleep(1)
        try:
            raise ExceptionGroup("two", raised[2:4])
        finally:
            async with trio.open_nursery() as nursery:
                for error in raised[4:]:
                    nursery.start_soon(background, error)
                nursery.cancel_scope.cancel()

    spec = ChildSpec("a", body, backoff=AT_ONCE, restart_limit=RestartLimit(0, within=1))
    with pytest.raises(RestartLimitExceeded) as caught:
        async with open_supervisor(SupervisorSpec("app", [spec])):
            await trio.sleep_forever()
    found = set(leaves_of(caught.value))
    # The group was on its way when the cleanup raised: Python keeps it as the context of that.
    assert {raised[0], raised[1], raised[4], raised[5]} <= found
    reported = caught.value.reports[-1].exit.error
    assert set(leaves_of(reported)) <= found


@scenario
async def test_invariant_10_the_final_error_of_a_nested_escalation_leads_to_every_leaf() -> None:
    raised: list[Boom] = []

    async def bad(child: ChildContext) -> None:
        boom = Boom(len(raised))
        raised.append(boom)
        await trio.sleep(1)
        raise boom

    no_restarts = RestartLimit(0, within=1)
    spec = SupervisorSpec("deep", [ChildSpec("bad", bad)], child_restart_limit=no_restarts)
    for level in range(5):
        spec = SupervisorSpec(f"level{level}", [spec], child_restart_limit=no_restarts)
    with pytest.raises(RestartLimitExceeded) as caught:
        async with open_supervisor(spec):
            await trio.sleep_forever()
    assert set(raised) <= set(leaves_of(caught.value))


@scenario
async def test_invariant_10_what_fails_while_everything_stops_is_in_the_report_of_the_stop() -> (
    None
):
    async def bad(child: ChildContext) -> None:
        await child.wait_stop_requested()
        raise Boom(f"{child.name} while stopping")

    children = [ChildSpec(name, bad, grace=1) for name in "ab"]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        pass
    report = await supervisor.wait_finished()
    for name in "ab":
        assert f"{name} while stopping" in report.child(name).detail
        last = supervisor.child(name).last_report
        assert last is not None
        assert last.exit.has(Boom)


# ---------------------------------------------------------------- 11: commands are accepted


@scenario
async def test_invariant_11_commands_are_accepted_although_everybody_hangs() -> None:
    nest = SupervisorSpec("nest", [ChildSpec("x", stubborn, 500), ChildSpec("y", stubborn, 500)])
    starting = ChildSpec("starting", forever, readiness="explicit", start_timeout=INF)
    children = [ChildSpec(name, stubborn, 500) for name in "abc"]
    async with open_supervisor(
        SupervisorSpec("app", [*children, nest, starting]), wait_ready=False
    ) as supervisor:
        await until_blocked()
        commands = {
            "stop": ("a", supervisor.stop_child),
            "remove": ("b", supervisor.remove_child),
            "restart": ("c", supervisor.restart_child),
            "quarantine": ("nest", supervisor.quarantine_child),
        }
        for round_ in range(3):
            async with trio.open_nursery() as nursery:
                for name, command in commands.values():
                    nursery.start_soon(command, name)
                await trio.sleep(1)
                nursery.cancel_scope.cancel()
            if not round_:
                accepted = {
                    e.command: (e.path, e.time) for e in events_of(supervisor, CommandAccepted)
                }
                assert accepted == {
                    word: (f"app/{name}", 0) for word, (name, _) in commands.items()
                }
        with trio.fail_after(0.5):
            await supervisor.start_child(ChildSpec("fresh", forever))
            await supervisor.stop_child("fresh")
        assert supervisor.count_children().active == 5


@scenario
async def test_invariant_11_within_one_turn_of_the_collector() -> None:
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", stubborn, 50)])) as supervisor:
        await until_blocked()
        reply = supervisor._shell.command(o.StopChild("a"))
        before = this_watch().steps
        await reply.wait()
        assert this_watch().steps - before <= 3  # ours, the collector's, and ours again


# ---------------------------------------------------------------- 12: memory


async def restart_often(times: int, check: Callable[[Supervisor], None], *, nest: bool) -> None:
    """Twice so many restarts for all kinds of reasons; calls ``check`` after each half."""

    async def crash_in_background() -> None:
        raise Boom("background")

    async def body(child: ChildContext) -> None:
        kind = child.attempt % 6
        with child.stop_scope():
            await trio.sleep(0.001)
        if kind == 0:
            raise Boom(child.attempt)
        if kind == 1:
            raise ExceptionGroup("g", [Boom(1), ValueError(2)])
        if kind == 2:
            child.nursery.cancel_scope.cancel()
        if kind == 3:
            child.nursery.start_soon(crash_in_background)
        if kind in (2, 3, 4):  # the last of these until its max_runtime
            await trio.sleep_forever()

    def decide(report: ChildRunReport) -> None:
        kinds[report.exit.kind] += 1
        raise LookupError("of no interest")

    kinds: Counter[str] = Counter()
    options: dict[str, Any] = {
        "restart_limit": None,
        "backoff": AT_ONCE,
        "max_runtime": 1,
        "grace": 0,
    }
    children: list[Any] = [ChildSpec("a", body, decide=decide, **options)]
    if nest:
        children.append(SupervisorSpec("nest", [ChildSpec("x", body, **options)]))
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        handle = supervisor.child("a")
        for half in (1, 2):
            while handle.attempt < half * times:
                await trio.sleep(5)
                with trio.move_on_after(0.0005):
                    await handle.wait_state("backing_off")
                late = await supervisor.start_child(ChildSpec(f"t{handle.attempt}", crash_soon))
                await late.wait_state("backing_off")
                await supervisor.remove_child(late.name)
                await supervisor.restart_child(children[-1])
                del late
            check(supervisor)
    assert set(kinds) == {"crashed", "self_cancelled", "succeeded", "timed_out"}


async def crash_soon(child: ChildContext) -> None:
    raise Boom(child.name)


@contextmanager
def logged_to_nobody() -> Iterator[None]:
    """Logs are written and forgotten: pytest would keep them, with every traceback."""
    logger = logging.getLogger("trio_supervisor")
    nobody = logging.NullHandler()
    logger.addHandler(nobody)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(nobody)


def test_invariant_12_a_thousand_restarts_leave_no_garbage() -> None:
    """What only the cycle collector could find would be there for a while, tracebacks and all."""
    found: list[str] = []

    def is_ours(thing: object) -> bool:
        module = type(thing).__module__ or ""
        ours = Boom, FrameType, TracebackType
        return module.startswith("trio_supervisor") or isinstance(thing, ours)

    def check(supervisor: Supervisor) -> None:
        gc.collect()
        found.extend(repr(thing) for thing in gc.garbage if is_ours(thing))
        gc.garbage.clear()

    @scenario
    async def main() -> None:
        this_watch().is_checking = False  # it would keep snapshots
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            await restart_often(500, check, nest=False)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    with logged_to_nobody():
        main()
    assert found == []


def test_invariant_12_memory_is_bounded_over_unbounded_run_time() -> None:
    sizes: list[dict[str, int]] = []

    def check(supervisor: Supervisor) -> None:
        gc.collect()
        shell = supervisor._shell
        counts = Counter(type(thing).__name__ for thing in gc.get_objects())
        sizes.append(
            {
                "journal": len(shell.tree.journal._raws) // 3000,
                "timers": len(shell.machine.timers) // 200,
                "watched": len(shell.watched),
                "slots": len(shell.slots),
                "reports": len(supervisor.child("a").reports),
                "left over": len(shell.fatal) + len(shell._shutdown_account),
                **{name: counts[name] for name in ("Attempt", "Shell", "Slot", "Boom", "Task")},
                "frames": counts["frame"] // 20,
            }
        )

    @scenario
    async def main() -> None:
        this_watch().is_checking = False
        await restart_often(900, check, nest=True)

    with logged_to_nobody():
        main()
    assert sizes[0] == sizes[1]


@scenario
async def test_invariant_12_heartbeats_cost_no_memory() -> None:
    contexts: list[ChildContext] = []

    async def body(child: ChildContext) -> None:
        contexts.append(child)
        await trio.sleep_forever()

    async with open_supervisor(
        SupervisorSpec("app", [ChildSpec("a", body, stale_after=5)])
    ) as supervisor:
        await until_blocked()
        shell = supervisor._shell
        for _ in range(200):
            await trio.sleep(0.1)
            for _ in range(50):
                contexts[0].heartbeat()
        assert len(shell.machine.timers) <= 70
        assert shell.collector.waiting <= 1
        assert state_of(supervisor, "a") == "ready"


# ---------------------------------------------------------------- 13: what always gets through


def busy_tree(told: trio.Event, error: BaseException | None) -> SupervisorSpec:
    async def fatal(child: ChildContext) -> None:
        await told.wait()
        assert error is not None
        raise error

    nest = SupervisorSpec("nest", [ChildSpec("x", polite, 1, grace=3), ChildSpec("fatal", fatal)])
    return SupervisorSpec(
        "app",
        [
            ChildSpec("slow", deaf, readiness="explicit"),
            ChildSpec("bad", crash_after, 0.5, backoff=BackoffPolicy(0.1), restart_limit=None),
            nest,
            ChildSpec("c", polite, 2, grace=3),
        ],
    )


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit, None])
@scenario
async def test_invariant_13_cancellation_and_fatal_exceptions_get_through_at_any_moment(
    fatal: type[BaseException] | None,
) -> None:
    """Between any two steps: while starting, running, backing off, or stopping with grace."""

    async def run(step: int | None) -> str:
        told = trio.Event()
        error = None if fatal is None else fatal(step)
        with trio.CancelScope() as outer:
            if step is not None:
                this_watch().at_step(step, told.set if fatal is not None else outer.cancel)
            try:
                async with open_supervisor(busy_tree(told, error)):
                    with trio.move_on_after(3):
                        await trio.sleep_forever()
            except (KeyboardInterrupt, SystemExit) as caught:
                return "fatal" if caught is error else "another one"
        return "cancelled" if outer.cancelled_caught else "returned"

    steps = await count_steps(lambda: run(None))
    assert steps > 70
    seen: Counter[str] = Counter()
    for step in range(1, steps, max(1, steps // 70)):
        this_watch().clear_steps()
        seen[await run(step)] += 1
    expected = "cancelled" if fatal is None else "fatal"
    # Before the child that raises it exists, or once it has been stopped, nothing is raised.
    assert set(seen) <= {expected, "returned"}
    assert seen[expected] > 40


# ---------------------------------------------------------------- 14: every field matters


class Panic(BaseException):
    pass


class OtherPanic(BaseException):
    pass


async def journal_of(spec: SupervisorSpec, play: Callable[[Supervisor], Awaitable[object]]) -> Any:
    """All that can be seen from outside: the events, with times since the start."""
    seen: list[str] = []
    start = trio.current_time()
    supervisor: Supervisor | None = None
    error: BaseException | None = None
    try:
        async with open_supervisor(spec, wait_ready=False, random=Random(1)) as supervisor:
            await play(supervisor)
    except (SupervisorError, ExceptionGroup, Panic) as caught:
        error = caught
    assert supervisor is not None
    for event in supervisor.journal:
        fields = attrs.asdict(event, filter=lambda field, _: field.name != "wall")
        for name in ("time", "until"):
            if name in fields:
                fields[name] -= start
        numbers = {k: round(v, 6) for k, v in fields.items() if isinstance(v, float)}
        del fields["sequence"]  # in one instant, independent children take turns by chance
        seen.append(
            f"{fields.pop('time'):09.3f} {type(event).__name__} { ({**fields, **numbers}) }"
        )
    return sorted(seen), type(error).__name__


async def wait_long(supervisor: Supervisor) -> None:
    await trio.sleep(100)


async def stop_a(supervisor: Supervisor) -> None:
    await trio.sleep(5)
    await supervisor.stop_child("a")
    await trio.sleep(20)


async def add_two(supervisor: Supervisor) -> None:
    await until_blocked()
    for name in ("x", "y"):
        with suppress(SupervisorError):
            supervisor.start_child_soon(ChildSpec(name, forever))
        await until_blocked()


async def late(child: ChildContext) -> None:
    await trio.sleep(3)
    if child._attempt.spec.is_explicit:
        child.ready()
    await trio.sleep(2)
    raise Boom


async def never_ready_first(child: ChildContext) -> None:
    if child.attempt == 1:
        raise Boom
    child.ready()
    await trio.sleep_forever()


def child_a(body: Any = late, *args: Any, **options: Any) -> ChildSpec[Any]:
    return ChildSpec("a", body, *args, **options)


QUICK = BackoffPolicy.delays(1)
LIMIT = RestartLimit(1, within=100)


async def panic(child: ChildContext) -> None:
    await trio.sleep(1)
    raise Panic


# For each option of a child: two values of it, what else the child needs, and what is done to it.
CHILD_FIELDS: dict[str, tuple[Any, Any, dict[str, Any], Callable[[Supervisor], Awaitable[object]]]]
CHILD_FIELDS = {
    "name": ("a", "b", {"run": late}, wait_long),
    "run": (late, forever, {}, wait_long),
    "args": ((1,), (2,), {"run": crash_after}, wait_long),
    "restart": ("permanent", "transient", {"run": plain(trio.sleep, 1)}, wait_long),
    "readiness": ("immediate", "explicit", {"run": late}, wait_long),
    "start_timeout": (2, 9, {"run": late, "readiness": "explicit"}, wait_long),
    "retry_first_start": (
        False,
        True,
        {"run": never_ready_first, "readiness": "explicit"},
        wait_long,
    ),
    "max_runtime": (1, 2, {"run": forever}, wait_long),
    "stale_after": (1, 2, {"run": forever}, wait_long),
    "grace": (0, 5, {"run": forever}, stop_a),
    "backoff": (BackoffPolicy.delays(1), BackoffPolicy.delays(2), {"run": late}, wait_long),
    "restart_limit": (LIMIT, None, {"run": late, "backoff": QUICK}, wait_long),
    "on_limit": (
        "escalate",
        "quarantine",
        {"run": late, "backoff": QUICK, "restart_limit": LIMIT},
        wait_long,
    ),
    "requires": ((), ("other",), {"run": forever}, wait_long),
    "significant": (False, True, {"run": plain(trio.sleep, 1), "restart": "transient"}, wait_long),
    "decide": (None, lambda report: Quarantine(), {"run": late}, wait_long),
    "fatal_is_failure": ((OtherPanic,), (Panic,), {"run": panic}, wait_long),
}


def around(child: ChildSpec[Any]) -> SupervisorSpec:
    other = ChildSpec("other", never_ready_first, readiness="explicit", retry_first_start=True)
    last = ChildSpec("last", forever, restart="transient", significant=True)
    return SupervisorSpec(
        "app", [other, child, last], ordering="graph", auto_shutdown="any_significant"
    )


@pytest.mark.parametrize("field", CHILD_FIELDS)
@scenario
async def test_invariant_14_every_option_of_a_child_changes_behaviour(field: str) -> None:
    one, two, needs, play = CHILD_FIELDS[field]
    seen = []
    for value in (one, two):
        options = {"name": "a", "args": (), **needs, field: value}
        name, run, args = options.pop("name"), options.pop("run"), options.pop("args")
        seen.append(await journal_of(around(ChildSpec(name, run, *args, **options)), play))
    assert seen[0] != seen[1]


@scenario
async def test_invariant_14_what_is_seen_is_the_same_if_nothing_was_changed() -> None:
    """Or the comparison above would prove nothing."""
    spec = around(child_a(backoff=BackoffPolicy(1)))
    first, second = [await journal_of(spec, wait_long) for _ in "ab"]
    assert first == second


def test_invariant_14_no_option_is_left_out() -> None:
    made = ChildSpec("a", forever)
    options = {name for name in dir(made) if not name.startswith("_")}
    options -= {"replace", "is_explicit", "supervisor", "_given"}
    options -= {"log_level"}  # changes the log and nothing else; see tests/log
    assert options == set(CHILD_FIELDS)
    made_too = SupervisorSpec("app")
    options = {name for name in dir(made_too) if not name.startswith("_")}
    options -= {"replace", "as_child", "log_level"}
    assert options == set(SUPERVISOR_FIELDS)


def pair(**options: Any) -> SupervisorSpec:
    children = [
        ChildSpec("a", crash_after, 2, 1, backoff=QUICK, grace=5),
        ChildSpec("b", stubborn, 3, grace=5),
        ChildSpec("w", _work, restart="transient", significant=True),
    ]
    if options.get("auto_shutdown") != "any_significant":
        children[2] = children[2].replace(significant=False)
    return SupervisorSpec("app", options.pop("children", children), **options)


async def _work(child: ChildContext) -> None:
    await trio.sleep(1)


SUPERVISOR_FIELDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "name": ("app", "other", {}),
    "children": ([ChildSpec("a", forever)], [ChildSpec("b", forever)], {}),
    "strategy": ("one_for_one", "one_for_all", {}),
    "ordering": ("sequence", "graph", {}),
    "restart_limit": (None, RestartLimit(0, within=1), {}),
    "child_restart_limit": (None, RestartLimit(0, within=1), {}),
    "auto_shutdown": ("never", "any_significant", {}),
    "max_children": (None, 3, {}),
    "shutdown_deadline": (INF, 1, {}),
    "report_after": (1, 5, {}),
}


@pytest.mark.parametrize("field", SUPERVISOR_FIELDS)
@scenario
async def test_invariant_14_every_option_of_a_supervisor_changes_behaviour(field: str) -> None:
    one, two, needs = SUPERVISOR_FIELDS[field]

    async def play(supervisor: Supervisor) -> None:
        await add_two(supervisor)
        await trio.sleep(10)

    seen = []
    for value in (one, two):
        options = {**needs, field: value}
        name = options.pop("name", "app")
        seen.append(await journal_of(pair(**options).replace(name=name), play))
    assert seen[0] != seen[1]


MEANINGLESS: list[tuple[str, Callable[[], object]]] = [
    ("start_timeout", lambda: child_a(forever, start_timeout=3)),
    ("start_timeout", lambda: child_a(forever, readiness="immediate", start_timeout=3)),
    ("retry_first_start", lambda: child_a(forever, retry_first_start=True)),
    ("grace", lambda: child_a(plain(trio.sleep_forever), grace=3)),
    ("stale_after", lambda: child_a(plain(trio.sleep_forever), stale_after=3)),
    ("readiness", lambda: child_a(plain(trio.sleep_forever), readiness="explicit")),
    ("backoff", lambda: child_a(forever, restart="temporary", backoff=QUICK)),
    ("restart_limit", lambda: child_a(forever, restart="temporary", restart_limit=LIMIT)),
    ("on_limit", lambda: child_a(forever, restart_limit=None, on_limit="quarantine")),
    ("on_limit", lambda: child_a(forever, restart="temporary", on_limit="quarantine")),
    ("significant", lambda: child_a(forever, significant=True)),
    (
        "significant",
        lambda: SupervisorSpec(
            "app", [child_a(forever, restart="transient", significant=True)], auto_shutdown="never"
        ),
    ),
    ("max_children", lambda: SupervisorSpec("app", [child_a(forever)], max_children=0)),
    ("stale_after", lambda: SupervisorSpec("app").as_child(stale_after=3)),
    ("requires", lambda: SupervisorSpec("app", [child_a(forever, requires=["nobody"])])),
]


@pytest.mark.parametrize(
    ("field", "make"), MEANINGLESS, ids=[f"{n}-{field}" for n, (field, _) in enumerate(MEANINGLESS)]
)
def test_invariant_14_a_combination_in_which_an_option_could_not_matter_is_refused(
    field: str, make: Callable[[], object]
) -> None:
    with pytest.raises(SpecError) as caught:
        make()
    assert caught.value.field in (field, "children")
    assert caught.value.expected


def test_the_storms_are_not_all_alike() -> None:
    """If they hardly did anything, what they show would be little."""
    kinds: Counter[str] = Counter()
    actions: Counter[str] = Counter()

    @scenario
    async def main(seed: int) -> None:
        storm = Storm(seed)
        await storm.rage()
        for event in storm.events:
            if isinstance(event, ChildExited):
                kinds[event.kind] += 1
            if isinstance(event, ExitJudged):
                actions[event.action] += 1

    for seed in range(25):
        main(seed)
    assert set(kinds) >= {
        "crashed",
        "failed",
        "succeeded",
        "stopped",
        "aborted",
        "timed_out",
        "unhealthy",
        "self_cancelled",
    }
    assert set(actions) >= {"restart", "done", "quarantine", "start_failed"}
