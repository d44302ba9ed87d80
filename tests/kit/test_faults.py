"""`crash_everywhere` reaches what a child has started, and leaves alone what is none of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from trio_supervisor import BackoffPolicy, ChildSpec, SupervisorSpec, open_supervisor
from trio_supervisor.testing import Behaviour, Fault, SimulatedCrash, crash_everywhere, simulate

if TYPE_CHECKING:
    from trio_supervisor import ChildContext


async def use(body: Any) -> None:
    log: list[str] = []
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", body, log)])):
        await trio.sleep(10)
    assert log.count("open") == log.count("close")


async def careless(child: ChildContext, log: list[str]) -> None:
    log.append("open")
    await trio.sleep(1)
    log.append("close")
    await trio.sleep_forever()


async def in_the_background(child: ChildContext, log: list[str]) -> None:
    child.nursery.start_soon(careless, child, log, name="careless")
    async with trio.open_nursery() as own:
        own.start_soon(trio.sleep, 2)


async def with_a_tree_inside(child: ChildContext, log: list[str]) -> None:
    inner = SupervisorSpec("inner", [ChildSpec("x", Behaviour())])
    async with open_supervisor(inner):
        await trio.sleep_forever()


@pytest.mark.parametrize("fault", ["crash", "cancel"])
def test_a_fault_in_the_tasks_that_a_child_has_started(fault: Any) -> None:
    found = crash_everywhere(
        use, in_the_background, child="app/a", fault=fault, places=["checkpoint"]
    )
    assert found.complete
    # The body at the end of its own nursery, the task in that one, and `careless`, twice.
    assert len(found.points) == 4
    lines = [point.where for point in found.failures]
    assert any("in careless" in line for line in lines), lines
    with pytest.raises(AssertionError) as caught:
        found.check()
    assert f"the fault was app/a {fault} #" in "".join(caught.value.__notes__)


def test_a_supervisor_in_a_body_is_no_part_of_the_body() -> None:
    found = crash_everywhere(use, with_a_tree_inside, child="app/a")
    found.check()
    assert found.complete
    assert found.points
    assert all("with_a_tree_inside" in point.where for point in found.points)


# ---------------------------------------------------------------- places and kinds

AT_ONCE = BackoffPolicy.delays(0)


async def run(*children: ChildSpec[Any], seconds: float = 10) -> None:
    async with open_supervisor(SupervisorSpec("app", children)):
        await trio.sleep(seconds)


def exits(trace: Any) -> list[tuple[float, str, str]]:
    """When, which and how attempts ended by themselves."""
    return [
        (event.time, event.path, event.detail)
        for event in trace.events
        if type(event).__name__ == "ChildExited" and not event.stop_reason
    ]


async def steps(child: ChildContext, log: list[Any]) -> None:
    for number in range(3):
        log.append((child.attempt, number, trio.current_time()))
        await trio.sleep(2)
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("fault", "when"), [("app/a crash #2", 2), ("app/a crash ~2", 4), ("app/a crash @2.5", 2.5)]
)
def test_a_crash_strikes_where_it_is_told(fault: str, when: float) -> None:
    log: list[Any] = []
    trace = simulate(run, ChildSpec("a", steps, log, backoff=AT_ONCE), fault=fault)
    trace.check(allow_crashes=False)  # the kit itself provoked it
    assert exits(trace) == [(when, "app/a", f"crashed: SimulatedCrash: {fault}")]
    assert log[-3:] == [(2, number, when + 2 * number) for number in range(3)]


@pytest.mark.parametrize("place", ["#2", "~2", "@2.5"])
def test_a_cancelled_attempt_ends_at_its_next_wait(place: str) -> None:
    log: list[Any] = []
    trace = simulate(
        run, ChildSpec("a", steps, log, backoff=AT_ONCE), fault=f"app/a cancel {place}"
    )
    trace.check()
    ((when, _, detail),) = exits(trace)
    assert when == {"#2": 2, "~2": 2, "@2.5": 2.5}[place]
    assert detail.startswith("self cancelled: app/a cancel")


@pytest.mark.parametrize(("place", "late"), [("#2", 7), ("~2", 7), ("@2.5", 7)])
def test_a_slow_wait_ends_late(place: str, late: float) -> None:
    log: list[Any] = []
    fault = f"app/a slow=3 {place}"
    simulate(run, ChildSpec("a", steps, log), fault=fault).check()
    assert log == [(1, 0, 0), (1, 1, 2), (1, 2, late)]


@pytest.mark.parametrize(("place", "asked"), [("#2", 7), ("~2", 7), ("@2.5", 7)])
def test_a_wait_that_hangs_ends_when_it_is_cancelled(place: str, asked: float) -> None:
    log: list[Any] = []
    child = ChildSpec("a", steps, log, max_runtime=asked, grace=0, backoff=AT_ONCE)
    trace = simulate(run, child, fault=f"app/a hang {place}")
    trace.check()
    assert log == [(1, 0, 0), (1, 1, 2), (2, 0, 7), (2, 1, 9)]


def test_two_faults_in_one_run() -> None:
    log: list[Any] = []
    child = ChildSpec("a", steps, log, backoff=AT_ONCE)
    faults: list[Fault | str] = ["app/a crash @2.5", Fault("app/a", "crash", "#4")]
    trace = simulate(run, child, fault=faults)
    assert [when for when, _, _ in exits(trace)] == [2.5, 4.5]
    assert trace.faults == (Fault.parse("app/a crash @2.5"), Fault("app/a", "crash", "#4"))


@pytest.mark.parametrize(
    "text", ["app/a", "app/a crash", "app/a explode #1", "app/a crash 4", "app/a crash #", ""]
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected 'PATH KIND PLACE'"):
        simulate(run, fault=text)


def test_a_fault_prints_as_it_is_written() -> None:
    for fault in (
        Fault("app/*", "hang", "~12"),
        Fault("a/b", "slow", "@2.5", 7),
        Fault("a", "crash", "@1e-05"),
    ):
        assert Fault.parse(str(fault)) == fault
    with pytest.raises(ValueError, match="expected 'PATH KIND PLACE'"):
        Fault("app/a", "crash", "7")


# ---------------------------------------------------------------- replay


async def two_step_claim(child: ChildContext, claims: dict[str, str], done: list[str]) -> None:
    """Claims a job, works, and writes that it is done; what is claimed and not done is lost."""
    child.ready()
    for job in ("a", "b"):
        if job not in claims:
            claims[job] = "claimed"
            await trio.sleep(1)
            done.append(job)
            claims[job] = "done"
    await trio.sleep_forever()


async def every_job_is_done() -> None:
    claims: dict[str, str] = {}
    done: list[str] = []
    worker = ChildSpec("w", two_step_claim, claims, done, readiness="explicit")
    beats = ChildSpec("b", Behaviour(beat_every=0.7))
    async with open_supervisor(SupervisorSpec("app", [worker, beats])):
        await trio.sleep(30)
    assert done == ["a", "b"], claims


@pytest.mark.parametrize("drift", [False, True])
@pytest.mark.parametrize("kind", ["crash", "cancel"])
def test_the_line_of_each_failing_run_repeats_that_run(kind: Any, drift: bool) -> None:
    found = crash_everywhere(
        every_job_is_done, child="app/w", fault=kind, drift=drift, seed=3, pairs=5
    )
    assert found.failures
    assert {point.faults[-1].at[0] for point in found.points} == {"#", "~", "@"}
    assert any(len(point.faults) == 2 for point in found.points)
    for point in found.points:
        again = eval(f"simulate(every_job_is_done, {point.trace.replay})", globals())
        assert again.digest == point.trace.digest
        assert again.ok == point.trace.ok


def test_the_failure_itself_says_the_line() -> None:
    with pytest.raises(AssertionError) as caught:
        crash_everywhere(every_job_is_done, child="app/w", places=["time"]).check()
    (line, *_) = [one for one in caught.value.__notes__ if one.startswith("to repeat this run: ")]
    arguments = line.removeprefix("to repeat this run: simulate(..., ").removesuffix(")")
    assert arguments.startswith("fault='app/w crash @")
    with pytest.raises(AssertionError, match="claimed"):
        eval(f"simulate(every_job_is_done, {arguments})", globals()).check()


# ---------------------------------------------------------------- what no program can meet


async def uses_a_lock(child: ChildContext, lock: trio.Lock) -> None:
    while True:
        async with lock:
            await trio.sleep(1)
        await trio.sleep(1)


async def receives(child: ChildContext, channel: Any, seen: list[int]) -> None:
    while True:
        seen.append(await channel.receive())
        await trio.sleep(0.5)


async def sends(child: ChildContext, channel: Any, sent: list[int]) -> None:
    while True:
        await channel.send(len(sent))
        sent.append(len(sent))
        await trio.sleep(1)


async def nothing_is_lost() -> None:
    lock = trio.Lock()
    send, receive = trio.open_memory_channel[int](2)
    seen: list[int] = []
    sent: list[int] = []
    children = [
        ChildSpec("one", uses_a_lock, lock, backoff=AT_ONCE),
        ChildSpec("two", uses_a_lock, lock, backoff=AT_ONCE),
        ChildSpec("from", receives, receive, seen, backoff=AT_ONCE),
        ChildSpec("to", sends, send, sent, backoff=AT_ONCE),
    ]
    async with open_supervisor(SupervisorSpec("app", children)):
        await trio.sleep(8)
        assert seen[:5] == [0, 1, 2, 3, 4], seen
    with trio.fail_after(1):
        await lock.acquire()


@pytest.mark.parametrize("child", ["one", "two", "from", "to"])
@pytest.mark.parametrize("kind", ["crash", "cancel"])
def test_what_trio_hands_over_is_not_lost_by_a_fault(child: str, kind: Any) -> None:
    found = crash_everywhere(nothing_is_lost, child=f"app/{child}", fault=kind)
    found.check()
    assert len(found.points) > 10


async def cleans_up(child: ChildContext, log: list[str]) -> None:
    log.append("open")
    try:
        await trio.sleep(100)
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        log.append("close")


def test_faults_in_a_cleanup_and_in_a_stop_are_delivered() -> None:
    """Also when the attempt itself is cancelled in the same moment."""
    found = crash_everywhere(
        use, cleans_up, child="app/a", fault=["crash", "cancel", "hang", "slow"]
    )
    assert {point.faults[0].kind for point in found.points} == {"crash", "cancel", "hang", "slow"}
    # Only a crash or a hang in the shielded part of the cleanup keeps it from being finished.
    for point in found.failures:
        assert point.faults[0].kind in {"crash", "hang"}
        assert isinstance(point.trace.error, AssertionError)


def test_failed_starts_are_left_out_unless_they_are_declared_as_ordinary() -> None:
    async def slow_start(child: ChildContext) -> None:
        await trio.sleep(1)
        child.ready()
        await trio.sleep(1)
        await trio.sleep_forever()

    async def main(retry: bool) -> None:
        child = ChildSpec("a", slow_start, readiness="explicit", retry_first_start=retry)
        await run(child, seconds=5)

    careful = crash_everywhere(main, False, child="app/a")
    careful.check()
    bold = crash_everywhere(main, True, child="app/a")
    bold.check()
    assert len(bold.points) > len(careful.points) > 0
    assert not crash_everywhere(main, False, child="app/a", once_ready=False).points[0].trace.ok


def test_the_error_of_a_crash_can_be_chosen() -> None:
    found = crash_everywhere(every_job_is_done, child="app/w", error=OSError, max_points=2)
    assert not found.complete
    shown = found.points[0].trace.render()
    assert "OSError" in shown
    assert SimulatedCrash.__name__ not in shown
