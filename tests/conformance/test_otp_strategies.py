"""OTP's supervisor suite: strategies. One test per case, under OTP's name.

Intensity and period are the supervisor's ``restart_limit``; a ``simple_one_for_one`` supervisor is
one with children that were added at run time.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import trio
from conformance.kit import Boom, Lab, scenario

from trio_supervisor import ChildSpec, DoNotRestart, RestartLimit, RestartLimitExceeded

TWICE = RestartLimit(2, within=3600)
FOUR_TIMES = RestartLimit(4, within=3600)


@scenario
async def test_one_for_one(lab: Lab) -> None:
    with pytest.raises(RestartLimitExceeded) as caught:
        async with lab.run(*lab.children("a b"), restart_limit=TWICE):
            assert lab.take() == "+a +b"
            await lab["a"].crash()
            await lab["a"].crash()
            assert lab.take() == "-a +a -a +a"
            assert lab.counts() == (2, 2, 2)
            await lab["a"].crash()
    assert (caught.value.path, caught.value.limit) == ("app/a", TWICE)
    assert lab.take() == "-a ?b -b"
    assert lab.starts("a b") == [3, 1]


@scenario
async def test_one_for_one_escalation(lab: Lab) -> None:
    with pytest.raises(RestartLimitExceeded):
        async with lab.run(*lab.children("a b"), restart_limit=FOUR_TIMES):
            lab["a"].usually = Boom("restart")
            await lab["a"].crash()
    assert lab.starts("a b") == [5, 1]
    assert lab.actions("a") == ["restart"] * 4 + ["escalate"]
    assert lab.take() == "+a +b -a" + " +a -a" * 4 + " ?b -b"


@scenario
async def test_one_for_all(lab: Lab) -> None:
    with pytest.raises(RestartLimitExceeded):
        async with lab.run(*lab.children("a b"), strategy="one_for_all", restart_limit=TWICE):
            lab.take()
            await lab["a"].crash()
            assert lab.take() == "-a ?b -b +a +b"
            assert lab.counts() == (2, 2, 2)
            # A group restart is charged once.
            await lab["b"].crash()
            assert lab.take() == "-b ?a -a +a +b"
            await lab["b"].crash()
    assert lab.take() == "-b ?a -a"


@scenario
async def test_one_for_all_escalation(lab: Lab) -> None:
    with pytest.raises(RestartLimitExceeded):
        async with lab.run(*lab.children("a b"), strategy="one_for_all", restart_limit=FOUR_TIMES):
            lab["b"].usually = Boom("restart")
            lab.take()
            await lab["a"].crash()
    assert lab.take() == "-a ?b -b" + " +a +b -b ?a -a" * 4
    assert lab.actions() == ["restart"] * 4 + ["escalate"]


@scenario
async def test_one_for_all_other_child_fails_restart(lab: Lab) -> None:
    async with lab.run(*lab.children("a b"), strategy="one_for_all"):
        lab["b"].next_starts(Boom("restart"))
        lab.take()
        await lab["a"].crash()
        # The one that was restarted already is stopped again before the next try.
        assert lab.take() == "-a ?b -b +a +b -b ?a -a +a +b"
        assert lab.counts() == (2, 2, 2)


@scenario
async def test_simple_one_for_one(lab: Lab) -> None:
    with pytest.raises(RestartLimitExceeded):
        async with lab.run(restart_limit=TWICE) as supervisor:
            for spec in lab.children("1 2"):
                await supervisor.start_child(spec)
            lab.take()
            await lab["1"].crash()
            assert lab.counts() == (2, 2, 2)
            await lab["2"].crash()
            assert lab.take() == "-1 +1 -2 +2"
            await lab["1"].crash()
    assert lab.take() == "-1 ?2 -2"
    assert lab.starts("1 2") == [2, 2]


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@scenario
async def test_simple_one_for_one_restart_ignore(lab: Lab, restart: str) -> None:
    def decide(report: object) -> DoNotRestart | None:
        return DoNotRestart() if lab["1"].starts > 1 else None

    options: dict[str, Any] = {} if restart == "temporary" else {"decide": decide}
    async with lab.run() as supervisor:
        handle = await supervisor.start_child(lab.child("1", restart=restart, **options))
        lab["1"].next_starts("decline")
        await lab["1"].crash()
        # OTP forgets it; here it holds its name, until it is removed, unless it is temporary.
        if restart == "temporary":
            assert (handle.state, lab.counts()) == ("removed", (0, 0, 0))
        else:
            assert (handle.state, lab.counts()) == ("done", (1, 0, 0))
            await supervisor.remove_child("1")
        await supervisor.start_child(lab.child("1"))
        assert supervisor.state().state == "running"


@scenario
async def test_simple_one_for_one_shutdown(lab: Lab) -> None:
    needs = {"1": 10.0, "2": 10.0, "3": 50.0}
    async with lab.run() as supervisor:
        for name, seconds in needs.items():
            await supervisor.start_child(lab.child(name, grace=20))
            lab[name].stop_takes = seconds
        report = await supervisor.shutdown()
    # At the same time, and the slow one is cut short: 2T, neither T nor 5T nor their sum.
    assert report.seconds == 20
    assert {child.path: (child.outcome, child.seconds) for child in report.children} == {
        "app/1": ("stopped", 10),
        "app/2": ("stopped", 10),
        "app/3": ("aborted", 20),
    }


@scenario
async def test_simple_one_for_one_extra(lab: Lab) -> None:
    with pytest.raises(RestartLimitExceeded):
        async with lab.run(restart_limit=TWICE) as supervisor:
            for name in "12":
                lab[name].value = lambda attempt, name=name: f"extra {name}.{attempt}"
                await supervisor.start_child(lab.child(name))
            one, two = supervisor.child("1"), supervisor.child("2")
            await lab["1"].crash()
            assert (one.value, two.value) == ("extra 1.2", "extra 2.1")
            await lab["2"].crash()
            assert (one.value, two.value) == ("extra 1.2", "extra 2.2")
            await lab["1"].crash()
    assert lab.starts("1 2") == [2, 2]


@scenario
async def test_simple_one_for_one_corruption(lab: Lab) -> None:
    class Argument:
        pass

    async def work(child: object, argument: Argument) -> None:
        await trio.sleep(1)

    async with lab.run() as supervisor:
        kept = []
        for number in range(20):
            argument = Argument()
            kept.append(weakref.ref(argument))
            spec = ChildSpec(str(number), work, argument, restart="temporary")
            await supervisor.start_child(spec)
            await lab.sleep(2)
            del argument, spec
        # Whatever was handled last may still be in the collector's hands.
        await supervisor.start_child(lab.child("later"))
        gc.collect()
        assert [ref() for ref in kept] == [None] * 20


@scenario
async def test_simple_one_for_one_escalation(lab: Lab) -> None:
    with pytest.raises(RestartLimitExceeded):
        async with lab.run(restart_limit=FOUR_TIMES) as supervisor:
            for spec in lab.children("1 2"):
                await supervisor.start_child(spec)
            lab["1"].usually = Boom("restart")
            lab.take()
            await lab["1"].crash()
    assert lab.take() == "-1" + " +1 -1" * 4 + " ?2 -2"


@scenario
async def test_rest_for_one(lab: Lab) -> None:
    with pytest.raises(RestartLimitExceeded):
        async with lab.run(*lab.children("a b c"), strategy="rest_for_one", restart_limit=TWICE):
            lab.take()
            await lab["b"].crash()
            assert lab.take() == "-b ?c -c +b +c"
            assert lab.counts() == (3, 3, 3)
            await lab["b"].crash()
            assert lab.starts("a b c") == [1, 3, 3]
            lab.take()
            await lab["b"].crash()
    assert lab.take() == "-b ?c -c ?a -a"


@scenario
async def test_rest_for_one_escalation(lab: Lab) -> None:
    with pytest.raises(RestartLimitExceeded):
        async with lab.run(*lab.children("a b"), strategy="rest_for_one", restart_limit=FOUR_TIMES):
            lab["b"].usually = Boom("restart")
            lab.take()
            await lab["a"].crash()
    assert lab.take() == "-a ?b -b +a" + " +b -b" * 4 + " ?a -a"


@scenario
async def test_rest_for_one_other_child_fails_restart(lab: Lab) -> None:
    async with lab.run(*lab.children("a b"), strategy="rest_for_one"):
        lab["b"].next_starts(Boom("restart"))
        lab.take()
        await lab["a"].crash()
        assert lab.take() == "-a ?b -b +a +b -b +b"
        assert lab.starts("a b") == [2, 3]
