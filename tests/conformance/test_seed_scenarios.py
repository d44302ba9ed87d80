"""The seed system's scenarios worth having, under their names: strategies, state, limits, policy.

Its tests count starts. Here each also asserts the missing half: never two live attempts of one
child (`Lab` does that), and siblings are stopped before anybody starts again.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import trio
from conformance.kit import AT_ONCE, Boom, Lab, scenario

from trio_supervisor import (
    BackoffPolicy,
    ChildBackingOff,
    ChildContext,
    ChildLostReadiness,
    ChildReady,
    ChildSpec,
    EventGap,
    ExitJudged,
    RestartLimit,
    SpecError,
    SupervisorSpec,
    TooManyChildren,
    open_supervisor,
)
from trio_supervisor._brain.windows import Window

# ---------------------------------------------------------------- strategies


@scenario
async def test_one_for_one_restarts_only_failed_child_after_failure(lab: Lab) -> None:
    async with lab.run(*lab.children("a b c")):
        lab.take()
        await lab["b"].crash()
        assert (lab.take(), lab.starts("a b c")) == ("-b +b", [1, 2, 1])


@scenario
async def test_one_for_all_restarts_every_child_after_failure(lab: Lab) -> None:
    async with lab.run(*lab.children("a b c"), strategy="one_for_all"):
        lab.take()
        await lab["b"].crash()
        assert (lab.take(), lab.starts("a b c")) == ("-b ?c -c ?a -a +a +b +c", [2, 2, 2])


@scenario
async def test_rest_for_one_restarts_failed_child_and_following_children(lab: Lab) -> None:
    async with lab.run(*lab.children("a b c"), strategy="rest_for_one"):
        lab.take()
        await lab["b"].crash()
        assert (lab.take(), lab.starts("a b c")) == ("-b ?c -c +b +c", [1, 2, 2])


@scenario
async def test_group_strategy_restarts_only_group_members_after_failure(lab: Lab) -> None:
    # A group is a supervisor of its own.
    group = SupervisorSpec("group", lab.children("b c"), strategy="one_for_all")
    async with lab.run(lab.child("a"), group, lab.child("d")):
        lab.take()
        await lab["c"].crash()
        assert (lab.take(), lab.starts("a b c d")) == ("-c ?b -b +b +c", [1, 2, 2, 1])


@scenario
async def test_group_strategy_limits_restart_plan_to_group_members(lab: Lab) -> None:
    # Or those that require each other: what does not depend on the failed one stays.
    b = lab.child("b")
    c = lab.child("c", requires=[b])
    async with lab.run(
        lab.child("a"), b, c, lab.child("d"), strategy="rest_for_one", ordering="graph"
    ):
        lab.take()
        await lab["b"].crash()
        assert (lab.take(), lab.starts("a b c d")) == ("-b ?c -c +b +c", [1, 2, 2, 1])
        assert [event.also for event in lab.events(ExitJudged)] == [("c",)]


# ---------------------------------------------------------------- state


@scenario
async def test_current_state_exposes_full_runtime_state_fields_test(lab: Lab) -> None:
    async with lab.run(*lab.children("a b")) as supervisor:
        await lab.sleep(7)
        await lab["b"].crash()
        state = supervisor.state()
        assert [(child.name, child.path) for child in state.children] == [
            ("a", "app/a"),
            ("b", "app/b"),
        ]
        b = state.child("b")
        assert (b.state, b.attempt, b.generation, b.restarts) == ("ready", 2, 0, 1)
        assert (b.since, b.last_exit, b.unresponsive) == (7, "crashed: Boom: b", False)
        assert state.to_dict()["children"][1]["state"] == "ready"
        # It is a value: reading it changes nothing, and it does not change.
        assert all(supervisor.state() == state for _ in range(20))
        await lab["a"].finish()
        assert supervisor.state() != state


@scenario
async def test_current_state_distinguishes_unreported_from_degraded_readiness_test(
    lab: Lab,
) -> None:
    lab["a"].start_takes = 5.0
    async with lab.run(lab.child("a"), wait_ready=False):
        assert lab.state("a") == "starting"
        await lab.sleep(5)
        assert lab.state("a") == "ready"
        await lab["a"].unready("overloaded")
        assert lab.state("a") == "not_ready"
        assert lab.supervisor.state().child("a").reason == "overloaded"
        assert [event.reason for event in lab.events(ChildLostReadiness)] == ["overloaded"]
        await lab["a"].does(lambda child: child.ready())
        assert lab.state("a") == "ready"
        assert len(lab.events(ChildReady, "a")) == 2


@scenario
async def test_current_state_distinguishes_no_heartbeat_from_stale_test(lab: Lab) -> None:
    watched = lab.child("watched", stale_after=5)
    async with lab.run(lab.child("silent"), watched) as supervisor:
        silent, handle = supervisor.child("silent"), supervisor.child("watched")
        assert (silent.last_heartbeat, handle.last_heartbeat) == (None, None)
        await lab.sleep(4)
        await lab["watched"].does(lambda child: child.heartbeat())
        assert handle.last_heartbeat == 4
        # Nobody expects the silent one to say anything. The other one is stale after 5 seconds.
        await lab.sleep(4.9)
        assert lab.starts("silent watched") == [1, 1]
        await lab.sleep(0.1)
        assert (lab.starts("silent watched"), lab.exits("watched")) == ([1, 2], ["unhealthy"])
        assert handle.last_report is not None
        assert handle.last_report.last_heartbeat == 4
        assert supervisor.child("watched").last_heartbeat is None
        assert silent.state == "ready"


# ---------------------------------------------------------------- limits, backoff, roles


@scenario
async def test_restart_limit_exhaustion_visible_in_outcome_test(lab: Lab) -> None:
    spec = lab.child("a", restart_limit=RestartLimit(2, within=60), on_limit="quarantine")
    async with lab.run(spec):
        for _ in range(3):
            await lab["a"].crash()
        judged = lab.events(ExitJudged)
        assert [(event.action, event.source) for event in judged] == [
            ("restart", "table"),
            ("restart", "table"),
            ("quarantine", "limit"),
        ]
        assert [(event.used, event.limit, event.within) for event in judged] == [
            (1, 2, 60),
            (2, 2, 60),
            (2, 2, 60),
        ]
        assert lab.supervisor.state().child("a").reason == "2 restarts in 60s"
        await lab.sleep(1000)
        assert (lab.state("a"), lab.starts("a")) == ("quarantined", [3])


@scenario
async def test_child_override_wins_over_group_strategy_and_selects_limit(lab: Lab) -> None:
    own: dict[str, Any] = {"restart_limit": RestartLimit(1, within=60), "on_limit": "quarantine"}
    async with lab.run(
        lab.child("own", **own),
        lab.child("common"),
        lab.child("unlimited", restart_limit=None),
        child_restart_limit=RestartLimit(3, within=60),
    ):
        for _ in range(3):
            await lab["common"].crash()
        for _ in range(20):
            await lab["unlimited"].crash()
        await lab["own"].crash()
        await lab["own"].crash()
        assert lab.states("own common unlimited") == ["quarantined", "ready", "ready"]
        limits = {event.path: event.limit for event in lab.events(ExitJudged)}
        assert limits == {"app/own": 1, "app/common": 3, "app/unlimited": None}


@scenario
async def test_group_fuse_does_not_affect_other_groups(lab: Lab) -> None:
    limit = RestartLimit(1, within=60)
    fused = SupervisorSpec("left", lab.children("a b"), restart_limit=limit)
    other = SupervisorSpec("right", lab.children("c d"), restart_limit=limit)
    held = fused.as_child(restart_limit=RestartLimit(0, within=60), on_limit="quarantine")
    async with lab.run(held, other):
        await lab["a"].crash()
        await lab["b"].crash()
        assert lab.states("left right") == ["quarantined", "ready"]
        # Neither hit by the other's end, nor charged for the other's failures.
        await lab["c"].crash()
        assert lab.states("right right/c right/d") == ["ready"] * 3
        assert lab.starts("a b c d") == [2, 1, 2, 1]


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("name", {"name": "a/b"}),
        ("grace", {"grace": -1}),
        ("initial", {"backoff": (5, 1)}),
        ("requires", {"requires": ["nobody"]}),
        ("children[1].name", {"name": "twin"}),
    ],
)
def test_validation_rejects(field: str, options: dict[str, object]) -> None:
    async def work(child: ChildContext) -> None:
        await trio.sleep_forever()

    with pytest.raises(SpecError) as caught:
        if isinstance(backoff := options.get("backoff"), tuple):
            options["backoff"] = BackoffPolicy(initial=backoff[0], maximum=backoff[1])
        spec = ChildSpec(**{"name": "a", "run": work, **options})  # type: ignore[call-overload]
        SupervisorSpec("app", [ChildSpec("twin", work), spec])
    assert caught.value.field == field


@scenario
async def test_exponential_backoff_caps_at_maximum(lab: Lab) -> None:
    backoff = BackoffPolicy(initial=1, factor=2, maximum=10, jitter=0)
    async with lab.run(lab.child("a", backoff=backoff), child_restart_limit=None):
        lab["a"].usually = Boom("again")
        await lab["a"].crash()
        await lab.sleep(100)
        delays = [event.delay for event in lab.events(ExitJudged)]
        assert delays[:7] == [1, 2, 4, 8, 10, 10, 10]
        assert [event.until - event.time for event in lab.events(ChildBackingOff)] == delays


@scenario
async def test_stable_runtime_resets_backoff_window(lab: Lab) -> None:
    backoff = BackoffPolicy(initial=1, factor=2, jitter=0, reset_after=60)
    async with lab.run(lab.child("a", backoff=backoff)):
        for stays_for in (0, 59.9, 60, 59.9):
            await lab.sleep(stays_for)
            await lab["a"].crash()
            await lab.sleep(lab.events(ExitJudged)[-1].delay)
        assert [event.delay for event in lab.events(ExitJudged)] == [1, 2, 1, 2]


def test_jitter_bounds_and_reproducibility() -> None:
    async def delays(seed: int | None) -> list[float]:
        random = None if seed is None else Random(seed)

        async def work(child: ChildContext) -> None:
            await trio.lowlevel.checkpoint()
            raise Boom("again")

        spec = ChildSpec("a", work, backoff=BackoffPolicy(initial=10, factor=1, jitter=0.5))
        app = SupervisorSpec("app", [spec], child_restart_limit=None)
        async with open_supervisor(app, random=random) as supervisor:
            await trio.sleep(1000)
            return [event.delay for event in supervisor.journal if isinstance(event, ExitJudged)]

    def run(seed: int | None) -> list[float]:
        return trio.run(delays, seed, clock=trio.testing.MockClock(autojump_threshold=0))

    found = run(1)
    assert found == run(1)
    assert found != run(2)
    assert run(None) != run(None)
    assert all(5 <= delay <= 15 for delay in found)
    assert max(found) - min(found) > 5


def test_budget_waveform() -> None:
    """10,000 tries over 300 s: what is admitted is what the window says, wherever one looks."""
    window = Window(RestartLimit(20, within=30))
    admitted = []
    for number in range(10_000):
        now = number * 0.03
        if window.admits(now):
            window.charge(now)
            admitted.append(now)
    assert len(admitted) == 200  # the seed's bound is 210
    assert all(
        later - earlier >= 30 for earlier, later in zip(admitted, admitted[20:], strict=False)
    )


@scenario
async def test_job_success_exit_does_not_request_restart(lab: Lab) -> None:
    async with lab.run(lab.child("job", restart="transient")):
        await lab["job"].finish()
        assert (lab.state("job"), lab.actions()) == ("done", ["done"])


@scenario
async def test_service_success_exit_allows_restart(lab: Lab) -> None:
    async with lab.run(lab.child("service")):
        await lab["service"].finish()
        assert (lab.state("service"), lab.starts("service")) == ("ready", [2])
        assert lab.actions() == ["restart"]


@scenario
async def test_sidecar_follows_its_primary(lab: Lab) -> None:
    # A sidecar requires its primary: it starts after it, stops before it, and shares its fate.
    primary = lab.child("primary")
    sidecar = lab.child("sidecar", requires=[primary])
    async with lab.run(primary, sidecar, strategy="rest_for_one"):
        lab.take()
        await lab["sidecar"].crash()
        assert lab.take() == "-sidecar +sidecar"
        await lab["primary"].crash()
        assert lab.take() == "-primary ?sidecar -sidecar +primary +sidecar"
    assert lab.take() == "?sidecar -sidecar ?primary -primary"


@scenario
async def test_add_child_respects_dynamic_supervisor_limit(lab: Lab) -> None:
    async with lab.run(lab.child("static"), max_children=3) as supervisor:
        for name in "ab":
            handle = await supervisor.start_child(lab.child(name))
            assert (handle.state, lab[name].live) == ("ready", 1)
        with pytest.raises(TooManyChildren):
            await supervisor.start_child(lab.child("c"))
        # Who is down keeps his place, until he gives up his name.
        await supervisor.stop_child("a")
        with pytest.raises(TooManyChildren):
            await supervisor.start_child(lab.child("c"))
        await supervisor.remove_child("a")
        await supervisor.start_child(lab.child("c"))
        assert lab.names() == ["static", "b", "c"]


# ---------------------------------------------------------------- observers


@scenario
async def test_pipeline_fans_out_signals_and_accounts_for_lag(lab: Lab) -> None:
    spec = lab.child("a", backoff=AT_ONCE, restart_limit=None)
    async with (
        lab.run(spec) as supervisor,
        supervisor.subscribe(max_buffer=10) as slow,
        supervisor.subscribe(max_buffer=1000) as quick,
    ):
        before = supervisor.journal.last_sequence
        for _ in range(20):
            await lab["a"].crash()
        total = supervisor.journal.last_sequence - before
        assert total > 20
        heard: dict[str, list[object]] = {"slow": [], "quick": []}
        for name, events in (("slow", slow), ("quick", quick)):
            with trio.move_on_after(0.1):
                async for event in events:
                    heard[name].append(event)
        assert len(heard["quick"]) == total
        gap = heard["slow"][0]
        assert isinstance(gap, EventGap)
        assert gap.lost + len(heard["slow"]) - 1 == total
        assert heard["slow"][1:] == heard["quick"][gap.lost :]


@scenario
async def test_journal_ring(lab: Lab) -> None:
    async with lab.run(lab.child("a", restart_limit=None)) as supervisor:
        journal = supervisor.journal
        for _ in range(journal.capacity // 2):
            lab["a"].crash_soon()
            await trio.testing.wait_all_tasks_blocked()
        assert len(journal) == len(journal.events) == journal.capacity
        assert journal.events[-1].sequence == journal.last_sequence > 3 * journal.capacity // 2
        lab.check()  # what was forgotten is in the base
