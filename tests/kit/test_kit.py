"""Bodies, oracle, faults, strategies, pilot and state machine: each does what it says."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_virtual
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, run_state_machine_as_test

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildNotFound,
    ChildSpec,
    RestartLimit,
    SpecError,
    SupervisorSpec,
    open_supervisor,
    testing,
)
from trio_supervisor._events import events as ev
from trio_supervisor.children import holding, plain
from trio_supervisor.testing import (
    Add,
    Advance,
    Behaviour,
    Crash,
    Fail,
    Failure,
    InvariantViolated,
    LifecycleMachine,
    Pilot,
    SimulatedCrash,
    Stop,
    as_code,
    backoffs,
    by_attempt,
    check_trace,
    child_behaviours,
    commands,
    crash_everywhere,
    exercise,
    find_violations,
    invalid_supervisor_specs,
    open_child_context,
    open_rig,
    predict,
    schedules,
    simulate,
    supervisor_specs,
    with_bodies,
)

if TYPE_CHECKING:
    from collections.abc import Callable

AT_ONCE = BackoffPolicy.delays(0)
QUICK = settings(
    max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


def tree(strategy: Any = "rest_for_one", **options: Any) -> SupervisorSpec:
    children: list[ChildSpec[Any] | SupervisorSpec] = [
        ChildSpec("a", Behaviour(), backoff=AT_ONCE),
        ChildSpec("b", Behaviour(stop_takes=0), readiness="explicit", backoff=AT_ONCE, grace=2),
        SupervisorSpec("pool", [ChildSpec("x", Behaviour()), ChildSpec("y", Behaviour())]),
    ]
    return SupervisorSpec("app", children, strategy=strategy, **options)


# ---------------------------------------------------------------- behaviours


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (Behaviour(ends_at=1), "crashed"),
        (Behaviour(ends_at=1, how="fail"), "failed"),
        (Behaviour(ends_at=1, how="return"), "succeeded"),
        (Behaviour(ends_at=1, how="cancel_self"), "self_cancelled"),
        (Behaviour(ready_at=inf), "timed_out"),
        (Behaviour(beat_every=1, silent_at=3), "unhealthy"),
        (Behaviour(beat_every=1, background_crash_at=2), "crashed"),
        (Behaviour(beat_every=1, stop_takes=1), "stopped"),
        (Behaviour(beat_every=1), "aborted"),
        (Behaviour(beat_every=1, at_cancel="crash"), "crashed"),
        (Behaviour(beat_every=1, at_cancel="swallow", cancel_takes=2), "stopped"),
        (Behaviour(beat_every=1, at_cancel="shield", cancel_takes=2), "aborted"),
    ],
    ids=repr,
)
def test_a_behaviour_behaves(behaviour: Behaviour, kind: str) -> None:
    spec = ChildSpec(
        "a", behaviour, readiness="explicit", start_timeout=2, stale_after=4, grace=2,
        retry_first_start=True,
    )  # fmt: skip
    trace = simulate(exercise, SupervisorSpec("app", [spec]), [Advance(9.5)])
    trace.check()
    first = next(event for event in trace.events if isinstance(event, ev.ChildExited))
    assert first.kind == kind


def test_a_behaviour_prints_as_code_and_may_change_with_the_attempt() -> None:
    several = by_attempt(Behaviour(ends_at=1), Behaviour(how="return", ends_at=2), Behaviour())
    assert repr(several) == (
        "by_attempt(Behaviour(ends_at=1), Behaviour(ends_at=2, how='return'), Behaviour())"
    )
    trace = simulate(exercise, SupervisorSpec("app", [ChildSpec("a", several)]), [Advance(10)])
    kinds = [event.kind for event in trace.events if isinstance(event, ev.ChildExited)]
    assert kinds == ["crashed", "succeeded", "aborted"]
    with pytest.raises(ValueError, match="at least one"):
        by_attempt()


# ---------------------------------------------------------------- other bodies


async def consume(child: ChildContext, topic: str) -> None:
    raise NotImplementedError


def test_with_bodies_keeps_every_policy() -> None:
    spec = SupervisorSpec(
        "app",
        [
            ChildSpec("store", holding(trio.open_nursery), start_timeout=7, grace=3),
            ChildSpec("web", plain(trio.sleep_forever), requires=["store"]),
            SupervisorSpec("pool", [ChildSpec("c", consume, "topic", readiness="explicit")]),
        ],
    )
    seen: list[tuple[str, ...]] = []

    async def with_args(child: ChildContext, topic: str) -> None:
        seen.append((child.name, topic))
        child.ready()
        await trio.sleep_forever()

    changed = with_bodies(spec, {"store": Behaviour(value=42), "pool/*": with_args})
    store, web = changed.children[:2]
    assert (store.readiness, store.start_timeout, store.grace) == ("explicit", 7, 3)
    assert web == spec.children[1]

    async def scenario() -> Any:
        async with open_supervisor(changed) as supervisor:
            return supervisor.child("store").value

    assert simulate(scenario).result == 42
    assert seen == [("c", "topic")]
    with pytest.raises(SpecError, match=r"stroe.*store, web, pool/c"):
        with_bodies(spec, {"stroe": Behaviour()})
    assert with_bodies(spec, {"**": Behaviour()}).children[1].run == Behaviour()


def test_a_body_alone() -> None:
    async def body(child: ChildContext) -> str:
        child.ready(child.value("store") + 1)
        child.heartbeat("fine")
        await child.wait_stop_requested()
        child.not_ready("stopping")
        return "done"

    async def scenario() -> None:
        async with open_child_context("me", values={"store": 1}, attempt=3) as probe:
            assert probe.context.attempt == 3
            assert not probe.was_ready
            async with trio.open_nursery() as nursery:
                results: list[str] = []

                async def run() -> None:
                    results.append(await body(probe.context))

                nursery.start_soon(run)
                assert await probe.wait_ready() == 2
                assert (probe.heartbeats, probe.last_detail) == (1, "fine")
                probe.request_stop()
            assert results == ["done"]
            assert probe.not_ready_reasons == ["stopping"]
            with pytest.raises(ChildNotFound, match="there are: store"):
                probe.context.value("web")
        with pytest.raises(SimulatedCrash):
            async with open_child_context() as probe:
                probe.start(Behaviour(ends_at=1))
                await trio.sleep(5)

    run_virtual(scenario)


# ---------------------------------------------------------------- the oracle


def recorded() -> tuple[SupervisorSpec, list[ev.Event]]:
    spec = tree()
    trace = simulate(exercise, spec, [Crash("a"), Advance(5), Stop("b"), Advance(1)])
    trace.check()
    return spec, list(trace.events)


def rewritten(event: ev.Event, **changes: Any) -> ev.Event:
    fields = {name: getattr(event, name) for name in event.__match_args__}
    return type(event)(**(fields | changes))


def without(kind: type[ev.Event]) -> Callable[[list[ev.Event]], list[ev.Event]]:
    def change(events: list[ev.Event]) -> list[ev.Event]:
        at = next(at for at, event in enumerate(events) if isinstance(event, kind))
        left = events[:at] + events[at + 1 :]
        return [rewritten(event, sequence=number) for number, event in enumerate(left, 1)]

    return change


def altered(cls: type[ev.Event], **changes: Any) -> Callable[[list[ev.Event]], list[ev.Event]]:
    def change(events: list[ev.Event]) -> list[ev.Event]:
        at = next(at for at, event in enumerate(events) if isinstance(event, cls))
        return [*events[:at], rewritten(events[at], **changes), *events[at + 1 :]]

    return change


@pytest.mark.parametrize(
    ("change", "invariant"),
    [
        (without(ev.ChildExited), "one_live_attempt"),
        (without(ev.ExitJudged), "table"),
        (without(ev.ChildCancelled), "stop_time"),
        (without(ev.ChildStopRequested), "blame"),
        (without(ev.SupervisorStopping), "shutdown"),
        (altered(ev.ExitJudged, action="done"), "table"),
        (altered(ev.ExitJudged, also=("b",)), "radius"),
        (altered(ev.ExitJudged, delay=3.0), "backoff"),
        (altered(ev.ExitJudged, used=7), "limits"),
        (altered(ev.ChildExited, kind="aborted"), "blame"),
        (altered(ev.ChildStarted, attempt=2), "events"),
        (altered(ev.SupervisorStopping, cause="limit"), "shutdown"),
    ],
)
def test_the_oracle_names_what_is_wrong(change: Any, invariant: str) -> None:
    spec, events = recorded()
    assert find_violations(spec, events) == ()
    found = find_violations(spec, change(events))
    assert invariant in {violation.invariant for violation in found}
    with pytest.raises(InvariantViolated) as caught:
        check_trace(spec, change(events))
    assert "promised:" in str(caught.value)
    assert all(len(violation.excerpt) <= 20 for violation in caught.value.violations)


def test_the_oracle_takes_a_journal_whose_beginning_is_cut_off() -> None:
    from trio_supervisor import fold
    from trio_supervisor._events.snapshot import BLANK

    spec, events = recorded()
    base = BLANK
    for at, event in enumerate(events):
        assert find_violations(spec, events[at:], base=base) == (), f"cut before #{event.sequence}"
        base = fold(base, event)
    with pytest.raises(ValueError, match="base"):
        check_trace(spec, events[5:])


def test_the_oracle_takes_the_journal_of_a_tree_on_the_real_clock() -> None:
    spec = with_bodies(tree(), {"a": Behaviour(ends_at=0.02, attempts=2)})

    async def main() -> None:
        async with open_supervisor(spec) as supervisor:
            await trio.sleep(0.2)
            await supervisor.child("pool").value.start_child(ChildSpec("z", Behaviour()))
        journal = supervisor.journal
        added = {"app/pool/*": ChildSpec("z", Behaviour())}
        check_trace(spec, journal.events, base=journal.base, added=added)

    trio.run(main)


# ---------------------------------------------------------------- prediction


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@pytest.mark.parametrize("victim", ["a", "b", "pool/x"])
def test_a_prediction_comes_true(strategy: Any, victim: str) -> None:
    spec = tree(strategy)
    with Pilot(spec) as pilot:
        before = len(pilot.events)
        pilot.crash(victim)
        pilot.advance(1)
        news = pilot.events[before:]
    stopped = [e.path[4:] for e in news if isinstance(e, ev.ChildExited) and e.path[4:] != victim]
    started = [e.path[4:] for e in news if isinstance(e, ev.ChildStarted)]
    predicted = predict(spec, victim)
    assert [(path,) for path in stopped] == list(predicted.stops)
    assert [(path,) for path in started] == list(predicted.starts)


def test_predictions_beyond_a_restart() -> None:
    spec = tree()
    assert predict(spec, Failure("b", first_start=True)).ends == ("",)
    limit = predict(spec, Failure("pool/x", at_limit=True))
    assert limit.ends == ("pool",)
    assert limit.starts == (("pool",), ("pool/x",), ("pool/y",))
    assert "ends pool" in str(limit)
    done = SupervisorSpec("app", [ChildSpec("t", Behaviour(), restart="temporary")])
    assert predict(done, "t").removed == ("t",)
    with pytest.raises(ChildNotFound, match="app has: t"):
        predict(done, "x")


# ---------------------------------------------------------------- faults


async def careless(child: ChildContext, log: list[str]) -> None:
    log.append("open")
    await trio.sleep(1)
    log.append("close")
    await trio.sleep_forever()


async def careful(child: ChildContext, log: list[str]) -> None:
    log.append("open")
    try:
        await trio.sleep(1)
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
    finally:
        log.append("close")
    await trio.sleep_forever()


async def use(body: Any) -> None:
    log: list[str] = []
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", body, log)])):
        await trio.sleep(10)
    assert log.count("open") == log.count("close")


@pytest.mark.parametrize("fault", ["crash", "cancel"])
def test_a_fault_at_every_checkpoint(fault: Any) -> None:
    fine = crash_everywhere(use, careful, child="app/a", fault=fault, places=["checkpoint"])
    fine.check()
    assert fine.complete
    assert len(fine.points) == 3
    found = crash_everywhere(use, careless, child="app/a", fault=fault, places=["checkpoint"])
    assert [point.faults[0].at for point in found.failures] == ["#1"]
    assert "in careless" in found.failures[0].where
    with pytest.raises(AssertionError) as caught:
        found.check()
    assert f"app/a {fault} #1" in "".join(caught.value.__notes__)
    assert not crash_everywhere(use, careful, child="app/a", max_points=1).complete
    with pytest.raises(ValueError, match="app/z"):
        crash_everywhere(use, careful, child="app/z")


# ---------------------------------------------------------------- strategies


@QUICK
@given(supervisor_specs(depth=1))
def test_specs_are_valid_and_print_as_code(spec: SupervisorSpec) -> None:
    names = {name: getattr(testing, name) for name in dir(testing)}
    names |= {
        "SupervisorSpec": SupervisorSpec,
        "ChildSpec": ChildSpec,
        "BackoffPolicy": BackoffPolicy,
        "RestartLimit": RestartLimit,
        "inf": inf,
    }
    assert eval(as_code(spec), names) == spec


@QUICK
@given(invalid_supervisor_specs())
def test_invalid_specs_are_refused(attempt: Callable[[], object]) -> None:
    with pytest.raises(SpecError):
        attempt()


@QUICK
@given(supervisor_specs(), schedules(), backoffs(), child_behaviours())
def test_everything_can_be_drawn(spec: Any, schedule: Any, backoff: Any, body: Any) -> None:
    assert backoff.initial >= 0
    assert all(pick >= 0 for pick in schedule)
    assert repr(body).startswith(("Behaviour(", "by_attempt("))
    assert len(spec.children) <= 4


@st.composite
def cases(draw: st.DrawFn) -> Any:
    spec = draw(supervisor_specs(depth=0))
    return spec, draw(commands(spec))


def test_what_fails_is_shrunk_and_shown_as_code() -> None:
    @settings(QUICK, max_examples=200, phases=[Phase.generate, Phase.shrink])
    @given(cases())
    def search(case: Any) -> None:
        trace = simulate(exercise, *case)  # type: ignore[arg-type]  # it has defaults
        assert not any(isinstance(event, ev.ChildExited) for event in trace.events)

    with pytest.raises(AssertionError) as caught:
        search()
    shown = "".join(caught.value.__notes__)
    assert "SupervisorSpec('app', [ChildSpec('a', Behaviour())])" in shown


# ---------------------------------------------------------------- driving by hand


def test_a_pilot_drives_a_tree_step_by_step() -> None:
    spec = tree("one_for_one", child_restart_limit=RestartLimit(1, within=60))
    with Pilot(spec) as pilot:
        assert pilot.paths() == ["a", "b", "pool", "pool/x", "pool/y"]
        pilot.crash("a")
        assert pilot.child("a").attempt == 2
        pilot.stop("b")
        assert pilot.state("b") == "stopped"
        pilot.restart("b")
        pilot.quarantine("pool/x")
        assert pilot.state("pool/x") == "quarantined"
        pilot.apply(Add(ChildSpec("new", Behaviour(ready_at=3), readiness="explicit")))
        assert pilot.state("new") == "starting"
        pilot.advance(3)
        assert pilot.state("new") == "ready"
        pilot.remove("new")
        pilot.check()
        assert pilot.is_open
        pilot.apply(Fail("a"))
        assert not pilot.is_open
        assert "gave up" in str(pilot.failure)


def shown(caught: pytest.ExceptionInfo[BaseException]) -> str:
    return "".join(caught.value.__notes__)


class Service(LifecycleMachine):
    spec = tree()
    adds = (ChildSpec("new", Behaviour(ends_at=2), restart="transient"),)

    @invariant()
    def b_never_runs_without_a(self) -> None:
        if self.is_open and self.state("b") == "ready":
            assert self.state("a") != "backing_off"


def test_a_state_machine_over_a_tree() -> None:
    run_state_machine_as_test(Service, settings=settings(QUICK, max_examples=15))


def test_a_state_machine_finds_what_is_asserted() -> None:
    class Wrong(LifecycleMachine):
        spec = tree()

        @invariant()
        def a_is_always_up(self) -> None:
            assert not self.is_open or self.state("a") != "quarantined"

    with pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(
            Wrong, settings=settings(QUICK, max_examples=50, phases=[Phase.generate])
        )
    assert "QuarantineChild('a')" in shown(caught) or "quarantine=True" in shown(caught)


# ---------------------------------------------------------------- rig and pilot


async def drive_a_rig() -> None:
    async with open_rig(tree()) as rig:
        assert "pool/x" in rig.paths()
        await rig.crash("a")
        await rig.tick(2)
        assert rig.child("a").attempt == 2
        await rig.stop("b")
        assert rig.state("b") in ("stopping", "stopped")
        await rig.restart("b")
        await rig.quarantine("a")
        await rig.add(ChildSpec("new", Behaviour()))
        await rig.remove("new")
        assert "new" not in rig.paths()
        assert rig.state("a") == "quarantined"


def test_a_rig_has_the_manners_of_a_pilot() -> None:
    simulate(drive_a_rig).check()
