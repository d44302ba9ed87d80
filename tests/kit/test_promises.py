"""What only a kit that drives a tree can see: promises that hold, and promises broken."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trio_supervisor import (
    BackoffPolicy,
    ChildSpec,
    RestartLimit,
    SupervisorSpec,
    open_supervisor,
)
from trio_supervisor._attempts.attempt import Attempt
from trio_supervisor._brain import messages, vitals
from trio_supervisor._brain.machine import _HANDLERS
from trio_supervisor._events import events as ev
from trio_supervisor._events.exits import Crashed
from trio_supervisor._runtime import block, commands, views
from trio_supervisor._runtime import shell as shell_module
from trio_supervisor._runtime.child_slot import Slot
from trio_supervisor._runtime.messages import CommandRequest
from trio_supervisor._runtime.shell import Shell
from trio_supervisor._runtime.subscription import Subscription
from trio_supervisor.testing import (
    Add,
    Advance,
    AtOnce,
    Behaviour,
    CancelTree,
    Crash,
    Fail,
    Interrupt,
    InvariantViolated,
    Pilot,
    RestartByHand,
    ShutDownTree,
    SimulatedInterrupt,
    Stop,
    as_code,
    decides,
    exercise,
    find_violations,
    simulate,
)

if TYPE_CHECKING:
    from trio_supervisor.testing import LifecycleCommand, Trace

AT_ONCE = BackoffPolicy.delays(0)


def play(spec: SupervisorSpec | ChildSpec[Any], *told: LifecycleCommand) -> Trace[Any]:
    if isinstance(spec, ChildSpec):
        spec = SupervisorSpec("app", [spec])
    return simulate(exercise, spec, told)


def kinds(trace: Trace[Any]) -> list[str]:
    return [event.kind for event in trace.events if isinstance(event, ev.ChildExited)]


# ---------------------------------------------------------------- new habits


def test_silence_that_was_announced_is_no_silence() -> None:
    busy = Behaviour(beat_every=1, busy_at=1, busy_for=6)
    trace = play(ChildSpec("a", busy, stale_after=2), Advance(20))
    trace.check()
    assert kinds(trace) == ["aborted"]
    silent = play(ChildSpec("a", Behaviour(beat_every=1, silent_at=3), stale_after=2), Advance(6))
    silent.check()
    assert kinds(silent)[0] == "unhealthy"


def test_a_start_may_be_extended() -> None:
    slow = Behaviour(ready_at=5, extend_at=1, extend_by=5)
    spec = ChildSpec("a", slow, readiness="explicit", start_timeout=2)
    trace = play(spec, Advance(9))
    trace.check()
    assert kinds(trace) == ["aborted"]


@pytest.mark.parametrize(
    ("gives", "expected"),
    [
        (Stop("."), "ChildStopped"),
        (RestartByHand("b"), "CommandAccepted"),
        (Add(ChildSpec("new", Behaviour())), "ChildAdded"),
        (ShutDownTree(), "SupervisorStopping"),
        (ShutDownTree(grace=False), "SupervisorStopping"),
    ],
    ids=repr,
)
def test_a_body_gives_commands_to_its_own_supervisor(gives: Any, expected: str) -> None:
    body = Behaviour(gives=(gives,), gives_at=1, stop_takes=5)
    spec = SupervisorSpec("app", [ChildSpec("a", body, grace=9), ChildSpec("b", Behaviour())])
    trace = play(spec, Advance(3))
    trace.check()
    (first, *_) = [one for one in trace.events if type(one).__name__ == expected]
    assert first.time == 1
    names = {"Behaviour": Behaviour, "Stop": Stop, "RestartByHand": RestartByHand, "Add": Add}
    names |= {
        "ChildSpec": ChildSpec,
        "SupervisorSpec": SupervisorSpec,
        "ShutDownTree": ShutDownTree,
    }
    assert eval(as_code(spec), dict(names)) == spec


@pytest.mark.parametrize(
    ("answer", "action"),
    [
        *(("table", "restart"), ("restart", "restart"), ("later", "restart"), ("done", "done")),
        *(("quarantine", "quarantine"), ("escalate", "escalate"), ("shutdown", "shutdown")),
        *(("raise", "restart"), ("nonsense", "restart")),
    ],
)
def test_decide_is_heard_whatever_it_says(answer: Any, action: str) -> None:
    spec = ChildSpec("a", Behaviour(ends_at=1, attempts=1), decide=decides(answer))
    spec = spec.replace(backoff=AT_ONCE)
    trace = play(spec, Advance(9))
    trace.check()
    (verdict,) = [event for event in trace.events if isinstance(event, ev.ExitJudged)]
    assert verdict.action == action
    assert verdict.source == ("table" if answer in ("table", "raise", "nonsense") else "decide")
    assert bool(verdict.error) is (answer in ("raise", "nonsense"))
    # And the oracle knows what would have been wrong.
    other = "restart" if answer not in ("restart", "later") else "done"
    wrong = [
        type(one)(**{n: getattr(one, n) for n in one.__match_args__} | {"action": other,
        "source": "decide", "error": ""}) if one is verdict else one
        for one in trace.events
    ]  # fmt: skip
    found = find_violations(SupervisorSpec("app", [spec]), wrong)
    assert "table" in {violation.invariant for violation in found}


def test_a_decision_prints_as_code() -> None:
    spec = ChildSpec("a", Behaviour(), decide=decides("later", "raise"))
    assert as_code(spec) == "ChildSpec('a', Behaviour(), decide=decides('later', 'raise'))"
    with pytest.raises(ValueError, match="no answer 'perhaps'"):
        decides("perhaps")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one"):
        decides()


# ---------------------------------------------------------------- how a tree may end


GRACEFUL = SupervisorSpec("app", [ChildSpec("a", Behaviour(stop_takes=3), grace=9)])


def test_an_interrupt_and_a_cancellation_come_out() -> None:
    interrupted = play(GRACEFUL, Advance(1), Interrupt("a"), Advance(1))
    interrupted.check()
    assert isinstance(interrupted.result, SimulatedInterrupt)
    cancelled = play(GRACEFUL, Advance(1), CancelTree(), Advance(1))
    cancelled.check()
    assert cancelled.result is None
    assert cancelled.seconds == 1
    hurried = play(GRACEFUL, Advance(1), AtOnce((ShutDownTree(), Stop("a"))), CancelTree())
    hurried.check()
    assert hurried.seconds == 1


def test_a_cancellation_reaches_each_supervisor_in_its_turn() -> None:
    """Drawn: what is deeper keeps its grace until the supervisor above it is asked."""
    group = SupervisorSpec(
        "pool",
        [
            ChildSpec("x", Behaviour(), grace=3),
            ChildSpec("y", Behaviour(ends_at=1, attempts=1), backoff=BackoffPolicy.delays(9)),
        ],
        strategy="one_for_all",
    )
    stubborn = ChildSpec("z", Behaviour(at_cancel="shield", cancel_takes=1))
    play(SupervisorSpec("app", [group, stubborn]), Advance(2), CancelTree(), Advance(1)).check()


@pytest.mark.parametrize(
    "end", [Interrupt("a"), CancelTree(), ShutDownTree(), ShutDownTree(grace=False)]
)
def test_a_pilot_whose_tree_has_ended_is_not_open(end: LifecycleCommand) -> None:
    with Pilot(GRACEFUL) as pilot:
        pilot.apply(end)
        pilot.advance(4)
        assert not pilot.is_open
        assert isinstance(pilot.failure, SimulatedInterrupt) is isinstance(end, Interrupt)


# ---------------------------------------------------------------- each promise, broken


def lost_error(patch: pytest.MonkeyPatch) -> None:
    judge = Attempt.judge

    def forgetful(self: Attempt) -> Any:
        how = judge(self)
        return Crashed(ValueError("another one")) if isinstance(how, Crashed) else how

    patch.setattr(Attempt, "judge", forgetful)


def lost_cause(patch: pytest.MonkeyPatch) -> None:
    error_of = views.error_of

    def forgetful(shell: Any, outcome: Any) -> Any:
        error: Any = error_of(shell, outcome)
        error.__cause__ = None
        error.reports = ()
        return error

    patch.setattr(shell_module, "error_of", forgetful)


def nothing_raised(patch: pytest.MonkeyPatch) -> None:
    def forgetful(self: Any, order: Any, now: float) -> None:
        stopping(self, order, now)
        self.error = None

    stopping = shell_module._CARRY_OUT[messages.Stopping]
    patch.setitem(shell_module._CARRY_OUT, messages.Stopping, forgetful)


def no_answer(patch: pytest.MonkeyPatch) -> None:
    take = shell_module._HANDLERS[CommandRequest]

    def late(self: Any, request: Any, now: float) -> None:
        command = request.command
        if isinstance(command, messages.StopChild) and self.machine.children["a"].live:
            self._attempts.start_soon(later, self, request)
        else:
            take(self, request, now)

    async def later(self: Any, request: Any) -> None:
        await trio.sleep(2)
        request.command = messages.QuarantineChild("a")
        self.collector.post(request)

    patch.setitem(shell_module._HANDLERS, CommandRequest, late)


def returns_at_once(patch: pytest.MonkeyPatch) -> None:
    async def stop(slot: Any, reason: str, grace: float | None = None) -> None:
        await commands.give(slot, messages.StopChild(slot.life.name, reason))

    patch.setattr(commands, "stop", stop)


def forgets_waiters(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Slot, "refresh", lambda self: None)
    patch.setattr(Slot, "end_waiting", lambda self: None)


def forgets_readers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Subscription, "_end", lambda self: None)


def swallows_interrupts(patch: pytest.MonkeyPatch) -> None:
    compose = block._compose

    def forgetful(shell: Any, raised: Any, passing: Any) -> Any:
        error = compose(shell, raised, passing)
        return None if isinstance(error, SimulatedInterrupt) else error

    patch.setattr(block, "_compose", forgetful)


def grace_after_all(patch: pytest.MonkeyPatch) -> None:
    shut_down = Shell.shut_down

    def patient(self: Shell, signal: messages.Shutdown) -> None:
        shut_down(self, messages.Shutdown(signal.reason))

    patch.setattr(Shell, "shut_down", patient)


def deaf_to_extensions(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(_HANDLERS, messages.StartExtended, lambda machine, signal, now: None)


def deaf_to_beats(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(_HANDLERS, messages.Heartbeat, lambda machine, signal, now: None)


def never_silent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vitals.Vitals, "_silent_at", lambda self, spec: inf)


def never_late(patch: pytest.MonkeyPatch) -> None:
    begin = vitals.Vitals.begin

    def forgetful(self: Any, spec: Any, now: float) -> None:
        begin(self, spec, now)
        self.start_due = inf

    patch.setattr(vitals.Vitals, "begin", forgetful)


LIMITED = RestartLimit(0, within=9)
LATE = ChildSpec("a", Behaviour(ready_at=5), readiness="explicit", start_timeout=2, grace=9,
                 retry_first_start=True)  # fmt: skip
EXTENDED = LATE.replace(run=Behaviour(ready_at=5, extend_at=1, extend_by=9))
SILENT = ChildSpec("a", Behaviour(beat_every=1, silent_at=4), stale_after=2)
GRACEFUL_CHILD = ChildSpec("a", Behaviour(stop_takes=3), grace=9)

STORIES: list[tuple[Any, Any, tuple[LifecycleCommand, ...], str]] = [
    (lost_error, ChildSpec("a", Behaviour()), (Crash("a"), Advance(1)), "errors"),
    (lost_cause, ChildSpec("a", Behaviour(), restart_limit=LIMITED), (Fail("a"),), "errors"),
    (nothing_raised, ChildSpec("a", Behaviour(), restart_limit=LIMITED), (Fail("a"),), "errors"),
    (no_answer, GRACEFUL_CHILD, (Advance(1), Stop("a"), Advance(9)), "answered"),
    (returns_at_once, GRACEFUL_CHILD, (Advance(1), Stop("a"), Advance(9)), "answered"),
    (forgets_waiters, GRACEFUL_CHILD, (Advance(1), Stop("a"), Advance(9)), "woken"),
    (forgets_readers, GRACEFUL_CHILD, (Advance(1),), "woken"),
    (swallows_interrupts, GRACEFUL_CHILD, (Advance(1), Interrupt("a"), Advance(1)), "through"),
    (grace_after_all, GRACEFUL_CHILD, (Advance(1), CancelTree(), Advance(1)), "through"),
    (deaf_to_extensions, EXTENDED, (Advance(9),), "timeouts"),
    (deaf_to_beats, SILENT, (Advance(9),), "timeouts"),
    (never_silent, SILENT, (Advance(9),), "timeouts"),
    (never_late, LATE, (Advance(9),), "timeouts"),
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story[0].__name__)
def test_a_broken_promise_is_seen(story: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bug, spec, told, invariant = story
    play(spec, *told).check()
    bug(monkeypatch)
    assert invariant in play(spec, *told).signature


def test_a_pilot_sees_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    lost_error(monkeypatch)
    with pytest.raises(InvariantViolated, match="errors"), Pilot(GRACEFUL) as pilot:
        pilot.crash("a")
        pilot.check()


def test_only_who_waits_for_its_own_end_gives_up_its_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = Behaviour(gives=(Stop("."),), gives_at=2, stop_takes=8)
    spec = ChildSpec("a", inside, grace=9)
    trace = play(spec, Advance(1), Stop("a"), Advance(9))
    trace.check()
    tree = SupervisorSpec("app", [spec])
    assert find_violations(tree, trace.events) == ()  # from events alone nobody can tell
    ask = vitals.Vitals.begin_grace
    monkeypatch.setattr(
        vitals.Vitals, "begin_grace", lambda self, now, grace: ask(self, now, min(grace, 0.5))
    )
    assert "stop_time" in play(spec, Advance(1), Stop("a"), Advance(9)).signature


def test_what_is_run_by_hand_is_watched_too() -> None:
    async def scenario() -> None:
        async with open_supervisor(SupervisorSpec("app", [SILENT.replace(stale_after=2)])):
            await trio.sleep(9)

    simulate(scenario).check()
