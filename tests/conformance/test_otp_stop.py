"""OTP's supervisor suite: stopping. One test per case, under OTP's name.

``shutdown => N`` is ``grace``, ``brutal_kill`` is ``grace=0``; the exit reason ``shutdown`` is
`Stopped` here, ``killed`` is `Aborted`.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import pytest
import trio
from conformance.kit import Boom, Lab, scenario

from trio_supervisor import SupervisorSpec, TaskFailure

if TYPE_CHECKING:
    from trio_supervisor import ShutdownReport

RESTARTS = ("permanent", "transient", "temporary")


def outcomes(report: ShutdownReport) -> dict[str, tuple[str, float]]:
    """Who ended how, and when."""
    return {child.path: (child.outcome, child.seconds) for child in report.children}


@scenario
async def test_sup_stop_infinity(lab: Lab) -> None:
    nested = SupervisorSpec("a", lab.children("x", grace=inf)).as_child(grace=inf)
    async with lab.run(nested, lab.child("b", grace=inf)) as supervisor:
        lab["x"].stop_takes = lab["b"].stop_takes = 1000.0
        report = await supervisor.shutdown()
    assert outcomes(report) == {
        "app/b": ("stopped", 1000),
        "app/a/x": ("stopped", 1000),
        "app/a": ("stopped", 2000),
    }


@scenario
async def test_sup_stop_timeout(lab: Lab) -> None:
    async with lab.run(*lab.children("a b", grace=1)) as supervisor:
        lab["b"].stop_takes = 200.0
        report = await supervisor.shutdown()
    assert outcomes(report) == {"app/b": ("aborted", 1), "app/a": ("stopped", 1)}
    assert lab.take() == "+a +b ?b !b -b ?a -a"


@scenario
async def test_sup_stop_timeout_dynamic(lab: Lab) -> None:
    names = [str(number) for number in range(10)]
    async with lab.run() as supervisor:
        for spec in lab.children(" ".join(names), grace=1):
            await supervisor.start_child(spec)
        for name in names[5:]:
            lab[name].hears = False
            await lab[name].does(lambda child: None)  # it has begun to wait for more already
        report = await supervisor.shutdown()
    assert report.seconds == 1
    assert outcomes(report) == {
        f"app/{name}": ("aborted", 1) if name in names[5:] else ("stopped", 0) for name in names
    }


@scenario
async def test_sup_stop_brutal_kill(lab: Lab) -> None:
    async with lab.run(lab.child("a", grace=1), lab.child("b", grace=0)) as supervisor:
        report = await supervisor.shutdown()
    assert outcomes(report) == {"app/b": ("aborted", 0), "app/a": ("stopped", 0)}
    assert lab.take() == "+a +b !b -b ?a -a"


@scenario
async def test_sup_stop_brutal_kill_dynamic(lab: Lab) -> None:
    names = [str(number) for number in range(10)]
    async with lab.run() as supervisor:
        for spec in lab.children(" ".join(names), grace=0):
            await supervisor.start_child(spec)
        report = await supervisor.shutdown()
    assert outcomes(report) == {f"app/{name}": ("aborted", 0) for name in names}


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@scenario
async def test_sup_stop_race(lab: Lab, strategy: str) -> None:
    expected = {}
    children = []
    for restart in RESTARTS:
        for kind in ("returns", "answers", "fails", "crashes"):
            name = f"{restart}-{kind}"
            children.append(lab.child(name, restart=restart))
            expected[f"app/{name}"] = {"fails": "failed", "crashes": "crashed"}.get(
                kind, "succeeded"
            )
    async with lab.run(*children, lab.child("slow", grace=9), strategy=strategy) as supervisor:
        lab["slow"].stop_takes = 5.0
        supervisor.request_shutdown()
        await lab.sleep(1)
        assert lab.state("slow") == "stopping"
        for restart in RESTARTS:
            await lab[f"{restart}-returns"].finish()
            await lab[f"{restart}-answers"].finish("shutdown")
            await lab[f"{restart}-fails"].crash(TaskFailure("other"))
            await lab[f"{restart}-crashes"].crash()
        report = await supervisor.wait_finished()
    # Each keeps its own exit, and none was started again.
    assert {path: outcome for path, (outcome, _) in outcomes(report).items()} == {
        **expected,
        "app/slow": "stopped",
    }
    assert {puppet.starts for puppet in lab.puppets.values()} == {1}
    assert lab.actions() == []
    assert (report.cause, report.seconds) == ("shutdown", 5)


@scenario
async def test_sup_stop_non_shutdown_exit_dynamic(lab: Lab) -> None:
    errors = {"returns": None, "fails": TaskFailure("other"), "crashes": Boom("other")}
    async with lab.run() as supervisor:
        for restart in RESTARTS:
            for kind, error in errors.items():
                spec = lab.child(f"{restart}-{kind}", restart=restart)
                lab[spec.name].at_stop = error
                await supervisor.start_child(spec)
        report = await supervisor.shutdown()
    kinds = {"returns": "stopped", "fails": "failed", "crashes": "crashed"}
    assert report.seconds == 0
    assert {child.path: child.outcome for child in report.children} == {
        f"app/{restart}-{kind}": kinds[kind] for restart in RESTARTS for kind in errors
    }
    assert {puppet.starts for puppet in lab.puppets.values()} == {1}


@scenario
async def test_child_unlink(lab: Lab) -> None:
    async with lab.run(*lab.children("a b", grace=1), report_after=2) as supervisor:
        # Heeds neither the request nor the cancel, for a long time.
        lab["a"].hears = False
        await lab["a"].does(lambda child: None)
        lab["a"].cleanup = 1000.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.stop_child, "a")
            await lab.sleep(3)
            assert lab.state("a") == "stopping"
            assert supervisor.state().child("a").unresponsive
            assert supervisor.child("a").unresponsive
            # The supervisor does not hang with it.
            await supervisor.stop_child("b")
            await supervisor.restart_child("b")
            await supervisor.start_child(lab.child("c"))
            assert lab.states("b c") == ["ready", "ready"]
            assert trio.current_time() == 3
        assert trio.current_time() == 1001
        assert lab.state("a") == "stopped"
