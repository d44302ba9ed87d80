"""What a test must not pass over: forgotten awaits, unprovoked crashes, warnings, the log."""

from __future__ import annotations

import gc
import logging
import sys
import warnings
from typing import Any

import pytest
import trio
import trio.lowlevel
from helpers.support import run_virtual

from trio_supervisor import ChildContext, ChildSpec, SupervisorSpec, open_supervisor
from trio_supervisor.testing import (
    Behaviour,
    CancelItself,
    Crash,
    Fail,
    LiveLock,
    NeverAwaited,
    Pilot,
    Stop,
    UnprovokedFailure,
    crash_everywhere,
    exercise,
    explore,
    open_rig,
    search,
    simulate,
)

APP = SupervisorSpec("app", [ChildSpec("a", Behaviour()), ChildSpec("b", Behaviour())])


# ---------------------------------------------------------------- forgotten awaits


async def forgets_apply() -> None:
    async with open_rig(APP) as rig:
        rig.apply(Crash("a"))  # type: ignore[unused-coroutine]  # forgotten
        await trio.sleep(1)


async def forgets_a_command() -> None:
    async with open_rig(APP) as rig:
        Stop("a").run(rig)  # type: ignore[unused-coroutine]  # forgotten
        await trio.sleep(1)


async def forgets_exercise() -> None:
    exercise(APP, [Crash("a")])  # type: ignore[unused-coroutine]  # forgotten
    await trio.sleep(1)


async def forgets_a_method() -> None:
    async with open_supervisor(APP) as supervisor:
        supervisor.stop_child("a")  # type: ignore[unused-coroutine]  # forgotten
        await trio.sleep(1)


@pytest.mark.parametrize(
    ("scenario", "name"),
    [
        (forgets_apply, "Rig.apply"),
        (forgets_a_command, "Stop.run"),
        (forgets_exercise, "exercise"),
        (forgets_a_method, "Supervisor.stop_child"),
    ],
)
@pytest.mark.parametrize("how", ["error", "ignore"])
def test_a_forgotten_await_is_an_error(scenario: Any, name: str, how: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter(how)
        trace = simulate(scenario)
    assert not trace.ok
    with pytest.raises(NeverAwaited, match=rf"{name}.*was never awaited"):
        trace.check()


def test_it_says_which_line_forgot() -> None:
    with pytest.raises(NeverAwaited, match=r"test_strictness\.py:\d+ in forgets_a_method\(\)"):
        simulate(forgets_a_method).check()


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
def test_a_rig_in_a_run_of_its_own_notices_it_too() -> None:
    with pytest.raises(NeverAwaited, match=r"Rig\.apply\(Crash\(path='a'\)\) was never awaited"):
        run_virtual(forgets_apply)


def test_a_pilot_notices_it_too() -> None:
    async def forget(pilot: Pilot) -> None:
        pilot.supervisor.stop_child("a")  # type: ignore[unused-coroutine]  # forgotten
        await trio.sleep(1)

    with Pilot(APP) as pilot:
        with pytest.raises(NeverAwaited, match=r"Supervisor\.stop_child"):
            pilot.run(forget, pilot)
        assert pilot.state("a") == "ready"


async def awaits_everything() -> None:
    async with open_rig(APP) as rig:
        await rig.apply(Crash("a"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.apply, Stop("a"))
        await rig.apply()


def test_who_awaits_is_not_accused() -> None:
    simulate(awaits_everything).check()
    run_virtual(awaits_everything)


def test_a_coroutine_that_was_forgotten_before_the_run_is_not_the_run_s() -> None:
    async def forgotten() -> None: ...

    async def scenario() -> None:
        old.clear()
        gc.collect()
        await trio.lowlevel.checkpoint()

    old = [forgotten()]
    with pytest.warns(RuntimeWarning, match="forgotten"):
        simulate(scenario).check()


# ---------------------------------------------------------------- warnings and unraisable errors


async def warns() -> None:
    await trio.sleep(1)
    warnings.warn("look here", UserWarning, stacklevel=1)


def test_warnings_of_a_run_come_out_of_it() -> None:
    with pytest.warns(UserWarning, match="look here"):
        simulate(warns).check()


def test_warnings_that_are_errors_are_errors_in_the_run() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace = simulate(warns)
    assert isinstance(trace.error, UserWarning)


class Broken:
    def __del__(self) -> None:
        raise ValueError("broken finalizer")


async def leaves_a_broken_object() -> None:
    Broken()
    await trio.sleep(1)


async def breaks_off() -> None:
    cycle: list[Any] = [Broken()]
    cycle.append(cycle)
    del cycle
    while True:
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:  # noqa: ASYNC103
            continue  # noqa: ASYNC104


@pytest.mark.parametrize("scenario", [leaves_a_broken_object, breaks_off])
def test_unraisable_errors_reach_their_hook(scenario: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: heard.append(str(found.exc_value)))
    trace = simulate(scenario)
    assert trace.error is None or isinstance(trace.error, LiveLock)
    gc.collect()
    assert heard == ["broken finalizer"]


# ---------------------------------------------------------------- crashes by themselves


async def divide(child: ChildContext) -> float:
    await trio.sleep(1)
    return 1 / (child.attempt - 1)


DIVIDING = SupervisorSpec("app", [ChildSpec("a", divide), ChildSpec("b", Behaviour())])


async def one_day() -> None:
    async with open_supervisor(DIVIDING):
        await trio.sleep(1.5)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_crash_that_nothing_provoked_can_be_a_failure(allowed: bool) -> None:
    trace = simulate(one_day, allow_crashes=allowed)
    assert trace.ok is allowed
    assert [event.path for event in trace.unprovoked] == ["app/a"]
    trace.check(allow_crashes=True)
    with pytest.raises(UnprovokedFailure, match=r"app/a#1.*ZeroDivisionError"):
        trace.check(allow_crashes=False)


def test_every_way_of_running_can_be_told_so() -> None:
    search(one_day, runs=3)
    with pytest.raises(UnprovokedFailure):
        search(one_day, runs=3, allow_crashes=False)
    explore(one_day, deviations=0).check()
    with pytest.raises(UnprovokedFailure):
        explore(one_day, deviations=0, allow_crashes=False).check()
    crash_everywhere(one_day, child="app/b", once_ready=True).check()
    with pytest.raises(UnprovokedFailure):
        crash_everywhere(one_day, child="app/b", once_ready=True, allow_crashes=False)


async def provoked() -> None:
    scripted = ChildSpec("scripted", Behaviour(ends_at=1, attempts=2))
    silent = ChildSpec("silent", Behaviour(), stale_after=2)
    async with open_rig(SupervisorSpec("app", [*DIVIDING.children[1:], scripted, silent])) as rig:
        await rig.apply(Crash("b"))
        await trio.sleep(3)
        await rig.apply(Fail("b"))
        await trio.sleep(3)
        await rig.apply(CancelItself("b"))
        await trio.sleep(3)


def test_what_the_test_provoked_is_no_failure() -> None:
    simulate(provoked, allow_crashes=False).check()


# ---------------------------------------------------------------- the log


def test_the_log_of_a_run_can_be_captured(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    simulate(one_day).check()
    assert "app/a crashed attempt=1 ZeroDivisionError" in caplog.text
    assert "app/b ready" in caplog.text


def test_the_log_of_a_pilot_can_be_captured(caplog: pytest.LogCaptureFixture) -> None:
    with Pilot(APP) as pilot:
        pilot.crash("a")
    assert "app/a crashed attempt=1 SimulatedCrash" in caplog.text
