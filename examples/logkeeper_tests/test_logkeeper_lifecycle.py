"""Every line once, whoever dies when: the log keeper under faults, schedules and operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from examples.logkeeper import store as db
from trio_supervisor import open_supervisor
from trio_supervisor.testing import (
    Behaviour,
    LifecycleMachine,
    Pilot,
    crash_everywhere,
    open_child_context,
    predict,
    search,
    simulate,
    with_bodies,
)

from .kit import InlineStore, careless_follow, logkeeper, run_inline, stored

if TYPE_CHECKING:
    from pathlib import Path

LINES = [f"line {number}" for number in range(6)]


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio.to_thread, "run_sync", run_inline)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def begin_anew(log: Path) -> None:
    for file in log.parent.iterdir():
        file.unlink()


def write(log: Path, lines: list[str]) -> None:
    with log.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def follow_to_the_end(log: Path, follower: Any = None) -> Any:
    """A scenario: lines come in two lots; in the end each is stored, once and in order."""

    async def scenario() -> None:
        database = log.with_suffix(".db")
        begin_anew(log)
        write(log, LINES[:3])
        async with open_supervisor(logkeeper(log, database, follower)):
            await trio.sleep(20)
            write(log, LINES[3:])
            await trio.sleep(20)
        assert stored(database) == LINES

    return scenario


def test_each_line_is_stored_once(log: Path) -> None:
    simulate(follow_to_the_end(log)).check()


def test_each_line_is_stored_once_in_any_order_of_steps(log: Path) -> None:
    assert search(follow_to_the_end(log), runs=10) > 1


@pytest.mark.parametrize("fault", ["crash", "cancel"])
@pytest.mark.parametrize("child", ["followers/app.log", "store"])
def test_each_line_is_stored_once_wherever_it_dies(log: Path, child: str, fault: Any) -> None:
    runs = crash_everywhere(
        follow_to_the_end(log), child=f"logkeeper/{child}", fault=fault, once_ready=True
    )
    runs.check()
    assert runs.complete


def test_the_planted_bug_is_found_and_located(log: Path) -> None:
    simulate(follow_to_the_end(log, careless_follow)).check()  # all is well, as long as it lives
    runs = crash_everywhere(
        follow_to_the_end(log, careless_follow), child="logkeeper/followers/*", once_ready=True
    )
    assert runs.complete
    # Between the two calls of the store, as each wait begins and ends, and nowhere else:
    assert len(runs.failures) == 4
    assert all("InlineStore.call" in point.where for point in runs.failures)
    with pytest.raises(AssertionError, match="line 3"):
        runs.check()


def test_a_follower_alone(log: Path) -> None:
    """One body, without a tree: ready once it has read what there is."""

    async def scenario() -> None:
        write(log, ["hello"])
        connection = db.connect(":memory:")
        followers = logkeeper(log, log).children[2].supervisor
        assert followers is not None
        follower = followers.children[0]
        async with open_child_context(values={"store": InlineStore(connection)}) as probe:
            probe.start(follower.run, *follower.args)
            await probe.wait_ready()
            assert db.count_lines(connection) == 1
            probe.request_stop()
        connection.close()

    simulate(scenario).check()


def test_the_blast_radius_is_the_one_that_was_designed(log: Path) -> None:
    spec = with_bodies(logkeeper(log, log), {"**": Behaviour(stop_takes=0, beat_every=5)})
    assert predict(spec, "desk").touched == {"desk"}
    assert predict(spec, "followers/app.log").touched == {"followers/app.log"}
    assert "listener" not in predict(spec, "store").touched
    with Pilot(spec) as tree:
        listener = tree.child("listener").attempt
        tree.crash("store")
        tree.advance(1)
        assert tree.child("desk").attempt == 2
        assert tree.child("listener").attempt == listener


def test_operators_and_fate_do_what_they_like(log: Path) -> None:
    class LogKeeper(LifecycleMachine):
        spec = with_bodies(logkeeper(log, log), {"**": Behaviour(stop_takes=0, beat_every=5)})

        @invariant()
        def nobody_answers_without_a_store(self) -> None:
            if self.is_open and self.state("desk") == "starting":
                assert self.state("store") != "backing_off"

    run_state_machine_as_test(
        LogKeeper,
        settings=settings(
            max_examples=10,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
