"""What the oracle has to accept, and what it has to see: small stories, and edited traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from trio_supervisor import BackoffPolicy, ChildSpec, SupervisorSpec
from trio_supervisor._events import events as ev
from trio_supervisor._runtime import shell
from trio_supervisor._runtime.messages import ParentStop
from trio_supervisor.testing import (
    Advance,
    AtOnce,
    Behaviour,
    Crash,
    QuarantineChild,
    Remove,
    RestartByHand,
    ShutDownTree,
    Stop,
    exercise,
    find_violations,
    simulate,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_supervisor.testing import LifecycleCommand, Trace

AT_ONCE = BackoffPolicy.delays(0)


def play(spec: SupervisorSpec, *told: LifecycleCommand) -> Trace[Any]:
    """A run in which nothing is wrong."""
    trace = simulate(exercise, spec, told)
    trace.check()
    return trace


def changed(event: ev.Event, **changes: Any) -> ev.Event:
    """The same event but for some fields."""
    fields = {name: getattr(event, name) for name in event.__match_args__}
    return type(event)(**(fields | changes))


def numbered(events: Sequence[ev.Event]) -> list[ev.Event]:
    """The same events, without gaps in their numbers."""
    return [changed(event, sequence=number) for number, event in enumerate(events, 1)]


def broken(spec: SupervisorSpec, events: Sequence[ev.Event]) -> dict[str, str]:
    """What the oracle says about events: by invariant."""
    return {one.invariant: one.text for one in find_violations(spec, numbered(events))}


def at(events: Sequence[ev.Event], kind: type[ev.Event], path: str) -> int:
    """Where the first such event stands."""
    return next(
        n for n, event in enumerate(events) if isinstance(event, kind) and event.path == path
    )


# ---------------------------------------------------------------- those who are let go


def chain(ordering: Any = "sequence", strategy: Any = "one_for_one") -> SupervisorSpec:
    """``a`` takes its time; ``b`` requires it, ``c`` requires that, and ``d`` comes after all."""
    return SupervisorSpec(
        "app",
        [
            ChildSpec("a", Behaviour(ready_at=2), readiness="explicit", backoff=AT_ONCE),
            ChildSpec("b", Behaviour(), requires=["a"], backoff=AT_ONCE),
            ChildSpec("c", Behaviour(), requires=["b"], backoff=AT_ONCE),
            ChildSpec("d", Behaviour(), backoff=AT_ONCE),
        ],
        strategy=strategy,
        ordering=ordering,
    )


@pytest.mark.parametrize("ordering", ["sequence", "graph"])
@pytest.mark.parametrize("down", [Stop("a"), QuarantineChild("a")], ids=["stopped", "quarantined"])
def test_nobody_waits_for_a_chain_whose_beginning_is_held_down(ordering: Any, down: Any) -> None:
    trace = play(chain(ordering), Advance(1), down, Advance(5))
    (ready,) = [event for event in trace.events if isinstance(event, ev.SupervisorReady)]
    assert ready.time <= 2


def test_a_chain_that_nothing_keeps_down_still_keeps_others_waiting() -> None:
    spec = chain()
    events = list(play(spec, Advance(5)).events)
    ready = next(event for event in events if isinstance(event, ev.SupervisorReady))
    events.remove(ready)
    events.insert(at(events, ev.ChildStarted, "app/a") + 1, changed(ready, time=0.0, wall=0.0))
    assert "never ready" in broken(spec, events)["start_order"]


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@pytest.mark.parametrize("schedule", [[], [0, 1], [1, 1], [0, 0, 1, 1], [2, 1]])
def test_who_was_let_go_stays_out_of_its_round(strategy: Any, schedule: list[int]) -> None:
    """What it requires is held down and restarted in one instant: those behind it may go first."""
    spec = SupervisorSpec(
        "app",
        [
            ChildSpec("a", Behaviour(), backoff=AT_ONCE),
            ChildSpec("b", Behaviour(ready_at=3), readiness="explicit", requires=["a"]),
            ChildSpec("c", Behaviour(), requires=["b"]),
            ChildSpec("d", Behaviour()),
        ],
        strategy=strategy,
    )
    for pair in ([Stop("a"), RestartByHand("a")], [QuarantineChild("a"), RestartByHand("a")]):
        for more in ([], [Crash("b")], [Crash("a")]):
            told = [Advance(1), AtOnce((*pair, *more)), Advance(1), AtOnce((*more, *pair))]
            simulate(exercise, spec, [*told, Advance(9)], schedule=schedule).check()


def let_go_and_called_back() -> tuple[SupervisorSpec, list[ev.Event]]:
    """A first start: ``b`` is let go since ``a`` is down; that comes back at once, then ``c``."""
    spec = SupervisorSpec(
        "app",
        [
            ChildSpec("a", Behaviour(ready_at=2), readiness="explicit"),
            ChildSpec("b", Behaviour(), requires=["a"]),
            ChildSpec("c", Behaviour(ready_at=1), readiness="explicit"),
            ChildSpec("d", Behaviour()),
        ],
    )
    return spec, list(
        play(spec, Advance(1), AtOnce((Stop("a"), RestartByHand("a"))), Advance(9)).events
    )


def test_what_is_let_go_may_start_on_its_own() -> None:
    spec, events = let_go_and_called_back()
    assert broken(spec, events) == {}
    # But what it requires has to be ready all the same.
    start = events[at(events, ev.ChildStarted, "app/b")]
    early = [event for event in events if event is not start]
    early.insert(at(early, ev.ChildStopRequested, "app/a") + 1, changed(start, time=1.0))
    assert "requires a" in broken(spec, early)["start_order"]


def test_a_restart_by_hand_of_who_was_never_ready_is_a_round_of_one() -> None:
    """Drawn: ``b`` was held down in the first start; its group is about to start when it is not."""
    spec = SupervisorSpec(
        "app",
        [
            ChildSpec("a", Behaviour(ready_at=1), readiness="explicit", backoff=AT_ONCE),
            ChildSpec("b", Behaviour(ready_at=2), readiness="explicit"),
            ChildSpec("c", Behaviour()),
        ],
        strategy="rest_for_one",
    )
    told = [Advance(0.5), Stop("b"), Advance(1), Crash("a"), Advance(0.5), RestartByHand("b")]
    play(spec, *told, Advance(8))


def test_a_restart_by_hand_that_fails_waits_for_its_group_like_any_other() -> None:
    """Drawn: ``c`` is restarted by hand while ``b``, before it, backs off, and fails at once."""
    slow, later = Behaviour(ready_at=2), BackoffPolicy.delays(1)
    spec = SupervisorSpec(
        "app",
        [
            ChildSpec("b", slow, readiness="explicit", retry_first_start=True, backoff=later),
            ChildSpec("c", Behaviour(ready_at=1), readiness="explicit", backoff=AT_ONCE),
        ],
        strategy="rest_for_one",
    )
    trace = play(spec, Advance(4), Crash("b"), RestartByHand("c"), Crash("c"), Advance(5))
    events = list(trace.events)
    starts = [event for event in events if isinstance(event, ev.ChildStarted)]
    times = [(event.path, event.attempt, event.time) for event in starts[2:]]
    assert times == [("app/c", 2, 4.0), ("app/b", 2, 5.0), ("app/c", 3, 7.0)]

    early = [event for event in events if event is not starts[-1]]
    early.insert(early.index(starts[-2]) + 1, changed(starts[-1], time=5.0))
    assert "started before b" in broken(spec, early)["start_order"]


def test_who_backs_off_may_keep_its_place_for_so_long_although_in_vain() -> None:
    """Drawn: ``b`` backs off with its group while what it requires is stopped; ``c`` is behind."""
    slow = Behaviour(ready_at=2)
    later = BackoffPolicy.delays(1)
    spec = SupervisorSpec(
        "app",
        [
            ChildSpec("z", Behaviour(), backoff=later),
            ChildSpec("a", slow, readiness="explicit", retry_first_start=True),
            ChildSpec("b", Behaviour(), requires=["a"]),
            ChildSpec("c", Behaviour()),
        ],
        strategy="rest_for_one",
    )
    told = [Advance(0.5), Crash("z"), RestartByHand("c"), Advance(0.5), Stop("a"), Advance(0.5)]
    trace = play(spec, *told)
    assert trace.events[at(trace.events, ev.ChildStarted, "app/c")].time == 1.5


@pytest.mark.parametrize("requires", [("a", "b"), ("b", "a")])
def test_nobody_waits_for_who_loses_one_requirement_while_it_waits_for_another(
    requires: Any,
) -> None:
    """Drawn: ``c`` waits for ``a``; then ``b``, which it requires too, is held down."""
    spec = SupervisorSpec(
        "app",
        [
            ChildSpec(
                "a",
                Behaviour(ready_at=0.5, ends_at=1, attempts=1),
                readiness="explicit",
                backoff=BackoffPolicy.delays(9),
            ),
            ChildSpec("b", Behaviour(ready_at=1), readiness="explicit"),
            ChildSpec("c", Behaviour(), requires=requires),
            ChildSpec("d", Behaviour()),
        ],
    )
    trace = play(spec, Advance(3), Stop("b"), Advance(3))
    assert trace.events[at(trace.events, ev.ChildStarted, "app/d")].time == 3


# ---------------------------------------------------------------- nested supervisors hear of it


NESTED = SupervisorSpec(
    "app",
    [
        SupervisorSpec(
            "pool", [ChildSpec("x", Behaviour(stop_takes=2), grace=5)], shutdown_deadline=9
        )
    ],
)


def test_a_nested_supervisor_that_is_asked_to_stop_begins_at_once() -> None:
    events = list(play(NESTED, Advance(1), Stop("pool"), Advance(9)).events)
    stopping = events[at(events, ev.SupervisorStopping, "app/pool")]
    late = [
        changed(event, time=event.time + 1, wall=event.wall + 1)
        if event.sequence >= stopping.sequence
        else event
        for event in events
    ]
    assert "was asked to stop at 1, and does not begin to" in broken(NESTED, late)["shutdown"]


def test_a_supervisor_that_does_not_hear_of_its_parents_stop_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(shell._HANDLERS, ParentStop, lambda shell, message, now: None)
    trace = simulate(exercise, NESTED, [Advance(1), Stop("pool"), Advance(9)])
    assert any("does not begin to" in found.text for found in trace.violations)


# ---------------------------------------------------------------- after a removal


def removal() -> tuple[SupervisorSpec, list[ev.Event]]:
    spec = SupervisorSpec("app", [ChildSpec("a", Behaviour(stop_takes=2), grace=5)])
    return spec, list(play(spec, Advance(1), Remove("a"), Advance(5)).events)


def test_no_restart_is_accepted_once_a_removal_has_begun() -> None:
    spec, events = removal()
    accepted = events[at(events, ev.CommandAccepted, "app/a")]
    again = [*events]
    again.insert(
        at(events, ev.ChildStopRequested, "app/a") + 1, changed(accepted, command="restart")
    )
    assert "after its removal" in broken(spec, again)["operators_wish"]


def test_no_attempt_starts_once_a_removal_has_begun() -> None:
    spec, events = removal()
    started = events[at(events, ev.ChildStarted, "app/a")]
    gone = at(events, ev.ChildExited, "app/a")
    time = events[gone].time
    again = [*events]
    again.insert(gone + 1, changed(started, attempt=2, time=time, wall=time))
    assert "although it is removed" in broken(spec, again)["operators_wish"]


def test_nobody_has_grace_in_a_shutdown_without_it_whoever_asks() -> None:
    """Drawn: it is shut down without grace, and in the same instant a child is removed by hand."""
    spec = SupervisorSpec(
        "app",
        [
            ChildSpec("a", Behaviour(), grace=9),
            ChildSpec("b", Behaviour(at_cancel="shield", cancel_takes=2), grace=9),
        ],
    )
    play(spec, Advance(1), AtOnce((ShutDownTree(grace=False), Remove("a"))), Advance(5))
