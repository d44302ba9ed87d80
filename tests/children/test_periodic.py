"""`every`: in virtual time, to the second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_virtual
from hypothesis import given
from hypothesis import strategies as st

from trio_supervisor import ChildSpec, SpecError, SupervisorSpec, open_supervisor
from trio_supervisor._attempts.runner import ChildRunHandle, ChildRunner
from trio_supervisor._events.exits import Aborted, Crashed, Stopped, Unhealthy
from trio_supervisor.children import Schedule, every
from trio_supervisor.testing import Behaviour, with_bodies

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor import ChildRunReport


class Job:
    """Notes when it runs, from the start on."""

    def __init__(self, *durations: float) -> None:
        self.runs: list[float] = []
        self._durations = durations
        self._began: float | None = None

    def start(self) -> None:
        self._began = trio.current_time()

    async def __call__(self) -> None:
        assert self._began is not None
        self.runs.append(trio.current_time() - self._began)
        number = min(len(self.runs), len(self._durations)) - 1
        await trio.sleep(self._durations[number] if self._durations else 0)


def watch(
    job: Job, spec: ChildSpec[Any], seconds: float, look: Callable[[Schedule], object] = bool
) -> ChildRunReport:
    async def main() -> ChildRunReport:
        async with trio.open_nursery() as nursery:
            job.start()
            handle: ChildRunHandle[Any] = ChildRunner().spawn_once(nursery, spec)
            schedule = await handle.wait_ready()
            await trio.sleep(seconds)
            look(schedule)
            handle.request_stop("enough")
        assert handle.report is not None
        return handle.report

    return run_virtual(main)


def test_runs_are_due_at_fixed_distances() -> None:
    job = Job(3)
    seen: list[Any] = []

    def look(schedule: Schedule) -> None:
        seen.extend([schedule.finished, schedule.missed, schedule.last_duration, schedule.running])
        seen.append(schedule.next_run - (schedule.last_run or 0))
        seen.append(repr(schedule).partition(" ")[2].partition(" ")[0])
        seen.append(schedule.every)

    report = watch(job, ChildSpec("c", every(10, job), grace=5), 45, look)
    assert job.runs == [10, 20, 30, 40]
    assert seen == [4, 0, 3, False, 10, "every=10s", 10]
    assert report.exit == Stopped("enough")


def test_a_first_run_can_be_due_at_once() -> None:
    job = Job()
    watch(job, ChildSpec("c", every(10, job, at_once=True)), 25)
    assert job.runs == [0, 10, 20]


@pytest.mark.parametrize(
    ("overlap", "runs", "missed"),
    [("skip", [10, 50, 60, 70], 3), ("wait", [10, 45, 50, 60, 70], 2)],
)
def test_runs_that_are_due_meanwhile_are_left_out_or_follow(
    overlap: Any, runs: list[float], missed: int
) -> None:
    job = Job(35, 1)
    seen: list[int] = []
    spec = ChildSpec("c", every(10, job, overlap=overlap))
    watch(job, spec, 75, lambda schedule: seen.append(schedule.missed))
    assert job.runs == runs
    assert seen == [missed]


def test_a_run_that_takes_exactly_the_interval_misses_nothing() -> None:
    overlaps: list[Any] = ["skip", "wait"]
    for overlap in overlaps:
        job = Job(10)
        seen: list[int] = []
        spec = ChildSpec("c", every(10, job, overlap=overlap))
        watch(job, spec, 35, lambda schedule, seen=seen: seen.append(schedule.missed))  # type: ignore[misc]
        assert job.runs == [10, 20, 30]
        assert seen == [0]


@given(
    st.lists(st.floats(0, 50), min_size=1, max_size=8),
    st.sampled_from(["skip", "wait"]),
    st.booleans(),
)
def test_every_run_that_has_come_due_was_made_or_counted(
    durations: list[float], overlap: Any, at_once: bool
) -> None:
    job = Job(*durations, 0)
    seen: list[tuple[int, int]] = []

    def look(schedule: Schedule) -> None:
        seen.append((len(job.runs), schedule.missed))

    spec = ChildSpec("c", every(10, job, overlap=overlap, at_once=at_once))
    watch(job, spec, 1005, look)
    ((runs, missed),) = seen
    assert runs + missed == 100 + at_once
    assert all(later - earlier >= 0 for earlier, later in zip(job.runs, job.runs[1:], strict=False))
    if overlap == "skip":
        assert all(run % 10 == 0 for run in job.runs)


def test_jitter_delays_a_run_and_shifts_no_later_one() -> None:
    job = Job()
    watch(job, ChildSpec("c", every(10, job, jitter=5)), 10_005)
    delays = [run - 10 * number for number, run in enumerate(job.runs, 1)]
    assert len(job.runs) >= 999
    assert all(0 <= delay <= 5 for delay in delays)
    assert max(delays) > 4.5
    assert min(delays) < 0.5


def test_a_stop_lets_a_run_finish_within_the_grace() -> None:
    job = Job(8)
    assert watch(job, ChildSpec("c", every(10, job), grace=20), 15).exit == Stopped("enough")
    job = Job(8)
    report = watch(job, ChildSpec("c", every(10, job), grace=1), 15)
    assert report.exit == Aborted("enough")
    assert report.seconds == 16


def test_an_exception_of_the_job_is_the_childs() -> None:
    async def fail() -> None:
        raise OSError("job")

    async def main() -> ChildRunReport:
        return await ChildRunner().run_once(ChildSpec("c", every(10, fail)))

    report = run_virtual(main)
    assert isinstance(report.exit, Crashed)
    assert report.seconds == 10


def test_runs_are_heartbeats_and_a_run_that_hangs_is_silence() -> None:
    job = Job(1, 1, 1000)

    async def main() -> ChildRunReport:
        job.start()
        return await ChildRunner().run_once(ChildSpec("c", every(10, job), stale_after=5))

    report = run_virtual(main)
    assert report.exit == Unhealthy(5)
    assert report.seconds == 40  # 5 s of silence, and the grace of an adapter that hears a stop


def test_siblings_see_the_schedule() -> None:
    job = Job(2)
    spec = ChildSpec("cleaner", every(10, job))

    async def main() -> None:
        job.start()
        async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
            schedule = supervisor.child(spec).value
            assert schedule.last_run is None
            assert schedule.next_run == trio.current_time() + 10
            assert "last_run=never" in repr(schedule)
            await trio.sleep(11)
            assert schedule.running
            assert repr(schedule).endswith(" running>")
            assert schedule.next_run == trio.current_time() + 9

    run_virtual(main)


@pytest.mark.parametrize(
    ("arguments", "options", "match"),
    [
        ((0, trio.sleep), {}, r"seconds=0: expected seconds > 0"),
        ((float("inf"), trio.sleep), {}, "seconds=inf"),
        ((float("nan"), trio.sleep), {}, "seconds=nan"),
        ((True, trio.sleep), {}, "seconds=True"),
        ((trio.sleep, 10), {}, "run=10"),
        ((10, trio.sleep), {"jitter": 10}, "jitter=10"),
        ((10, trio.sleep), {"jitter": -1}, "jitter=-1"),
        ((10, trio.sleep), {"overlap": "both"}, "overlap='both'"),
    ],
)
def test_what_cannot_work_is_refused(arguments: Any, options: Any, match: str) -> None:
    with pytest.raises(SpecError, match=match):
        every(*arguments, **options)


def test_declarations_are_values() -> None:
    assert every(10, trio.sleep, 1) == every(10, trio.sleep, 1)
    assert every(10, trio.sleep, 1) != every(10, trio.sleep, 1, jitter=1)
    assert repr(every(10, trio.sleep, 1)) == "every(10, sleep)"


def test_a_behaviour_takes_its_place() -> None:
    tree = SupervisorSpec("app", [ChildSpec("job", every(10, trio.sleep, 1))])

    async def main() -> None:
        async with open_supervisor(with_bodies(tree, {"job": Behaviour(value=3)})) as supervisor:
            assert supervisor.child("job").value == 3

    run_virtual(main)
