"""OTP's supervisor suite: restart types. One test per case, under OTP's name.

The exit reason ``normal`` is a return here; ``shutdown`` and ``{shutdown, Info}`` are a return with
a word about why; everything else is an exception.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from conformance.kit import Boom, Lab, scenario

from trio_supervisor import Crashed, Failed, SelfCancelled, Succeeded, TaskFailure

if TYPE_CHECKING:
    from conformance.kit import Puppet

INFOS = ["shutdown", ("shutdown", "info")]


@scenario
async def test_external_start_no_progress_log(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="trio_supervisor")

    def lines(level: int) -> list[str]:
        found = [record.getMessage() for record in caplog.records if record.levelno == level]
        return [line for line in found if "app/a" in line]

    async with lab.run() as supervisor:
        await supervisor.start_child(lab.child("a"))
        # A start that was asked for is no more than a note; a restart calls for attention.
        assert lines(logging.WARNING) == []
        assert lab.actions() == []
        await lab["a"].crash()
        assert len(lines(logging.WARNING)) == 1
        assert "restart now (1/10 in 120s)" in lines(logging.WARNING)[0]
        assert lab.actions("a") == ["restart"]


@scenario
async def test_permanent_normal(lab: Lab) -> None:
    async with lab.run(lab.child("a")) as supervisor:
        await lab["a"].finish()
        handle = supervisor.child("a")
        assert (handle.state, handle.attempt, lab.counts()) == ("ready", 2, (1, 1, 1))
        assert lab.exits("a") == ["succeeded"]


@scenario
async def test_transient_normal(lab: Lab) -> None:
    async with lab.run(lab.child("a", restart="transient")) as supervisor:
        await lab["a"].finish()
        handle = supervisor.child("a")
        assert (handle.state, handle.attempt, lab.counts()) == ("done", 1, (1, 0, 0))


@scenario
async def test_temporary_normal(lab: Lab) -> None:
    async with lab.run(lab.child("a", restart="temporary")) as supervisor:
        handle = supervisor.child("a")
        await lab["a"].finish()
        assert (handle.state, lab.names(), lab.counts()) == ("removed", [], (0, 0, 0))


@pytest.mark.parametrize("info", INFOS)
@scenario
async def test_permanent_shutdown(lab: Lab, info: object) -> None:
    async with lab.run(lab.child("a")) as supervisor:
        await lab["a"].finish(info)
        handle = supervisor.child("a")
        assert (handle.state, handle.attempt, lab.counts()) == ("ready", 2, (1, 1, 1))
        assert handle.last_report is not None
        assert handle.last_report.exit == Succeeded(info)


@pytest.mark.parametrize("info", INFOS)
@scenario
async def test_transient_shutdown(lab: Lab, info: object) -> None:
    async with lab.run(lab.child("a", restart="transient")) as supervisor:
        await lab["a"].finish(info)
        handle = supervisor.child("a")
        assert (handle.state, lab.counts()) == ("done", (1, 0, 0))
        assert (await handle.wait_finished()).exit == Succeeded(info)
        await supervisor.restart_child("a")
        assert (handle.state, handle.attempt, lab.counts()) == ("ready", 2, (1, 1, 1))


@pytest.mark.parametrize("info", INFOS)
@scenario
async def test_temporary_shutdown(lab: Lab, info: object) -> None:
    async with lab.run(lab.child("a", restart="temporary")) as supervisor:
        handle = supervisor.child("a")
        await lab["a"].finish(info)
        assert (handle.state, lab.counts()) == ("removed", (0, 0, 0))
        assert (await handle.wait_finished()).exit == Succeeded(info)


ERROR = Boom("abnormal")
FAILURE = TaskFailure("abnormal")
WAYS = ["crash", "fail", "kill"]


async def end(puppet: Puppet, way: str) -> None:
    if way == "kill":
        await puppet.cancel_itself()
    else:
        await puppet.crash(FAILURE if way == "fail" else ERROR)


def is_right(way: str, how: object) -> bool:
    if way == "kill":
        return isinstance(how, SelfCancelled)
    return how == (Failed(FAILURE) if way == "fail" else Crashed(ERROR))


async def _restarts(lab: Lab, restart: str, way: str) -> None:
    async with lab.run(lab.child("a", restart=restart)) as supervisor:
        await end(lab["a"], way)
        handle = supervisor.child("a")
        assert (handle.state, handle.attempt, lab.counts()) == ("ready", 2, (1, 1, 1))
        assert handle.last_report is not None
        assert is_right(way, handle.last_report.exit)
        assert handle.restarts == 1


@pytest.mark.parametrize("way", WAYS)
@scenario
async def test_permanent_abnormal(lab: Lab, way: str) -> None:
    await _restarts(lab, "permanent", way)


@pytest.mark.parametrize("way", WAYS)
@scenario
async def test_transient_abnormal(lab: Lab, way: str) -> None:
    await _restarts(lab, "transient", way)


@pytest.mark.parametrize("way", WAYS)
@scenario
async def test_temporary_abnormal(lab: Lab, way: str) -> None:
    async with lab.run(lab.child("a", restart="temporary")) as supervisor:
        handle = supervisor.child("a")
        await end(lab["a"], way)
        assert (handle.state, lab.names(), lab.counts()) == ("removed", [], (0, 0, 0))
        assert is_right(way, (await handle.wait_finished()).exit)
