"""Deep trees: as deep as they may be declared everything works, and deeper ones are refused."""

from __future__ import annotations

import copy
import json
import pickle
from typing import TYPE_CHECKING

import pytest
import trio
from helpers.support import run_virtual
from helpers.trees import assert_fold_is_state

from trio_supervisor import (
    ChildContext,
    ChildSpec,
    ChildStartError,
    SpecError,
    SupervisorSnapshot,
    SupervisorSpec,
    explain,
    open_supervisor,
)

if TYPE_CHECKING:
    from trio_supervisor import Supervisor

MOST = 64


async def work(child: ChildContext) -> None:
    await trio.sleep_forever()


def tree(levels: int, *innermost: ChildSpec[None]) -> SupervisorSpec:
    spec = SupervisorSpec("s", innermost or [ChildSpec("w", work)])
    for _ in range(levels - 1):
        spec = SupervisorSpec("s", [ChildSpec("w", work), spec])
    return spec


def test_everything_works_in_the_deepest_tree() -> None:
    spec = tree(MOST)

    async def main() -> None:
        async with open_supervisor(spec, journal=10_000) as supervisor:
            state = supervisor.state()
            assert state.render().count("ready") == 2 * MOST - 1
            assert SupervisorSnapshot.from_dict(json.loads(json.dumps(state.to_dict()))) == state
            assert pickle.loads(pickle.dumps(state)) == state
            assert copy.deepcopy(state) == state
            assert hash(copy.copy(state)) == hash(state)
            assert repr(state).count("SupervisorSnapshot") == MOST
            assert_fold_is_state(supervisor)
            lowest = "s/" * MOST + "w"
            assert supervisor.child(lowest).path == lowest
            assert state.child(lowest).state == "ready"
            await supervisor.stop_child(lowest)
            journal = supervisor.journal
            told = explain(lowest, journal.base, journal.events)
            assert any("stopped" in statement.text for statement in told)
            await supervisor.restart_child(lowest)
            report = await supervisor.shutdown()
        assert len(report.children) == 2 * MOST - 1
        assert pickle.loads(pickle.dumps(report)) == report
        assert str(report.to_dict()).count("'outcome'") >= 2 * MOST - 1

    run_virtual(main)
    assert pickle.loads(pickle.dumps(spec)) == copy.deepcopy(spec) == spec


def test_a_failure_gets_through_the_deepest_tree() -> None:
    async def crash(child: ChildContext) -> None:
        raise ValueError("from below")

    async def main() -> None:
        async with open_supervisor(tree(MOST, ChildSpec("w", crash, readiness="explicit"))):
            raise AssertionError("not entered")

    with pytest.raises(ChildStartError) as caught:
        run_virtual(main)
    error: BaseException | None = caught.value
    levels = 0
    while isinstance(error, ChildStartError):
        levels += 1
        error = error.__cause__
    assert levels == MOST
    assert repr(error) == "ValueError('from below')"
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), ChildStartError)


def test_what_is_added_and_opened_counts_from_the_root() -> None:
    opened: list[int] = []

    async def opens(child: ChildContext, level: int) -> None:
        opened.append(level)
        if level + 2 > MOST:  # the path of the child counts, too
            with pytest.raises(SpecError, match="at most 64 levels"):
                child.open_supervisor(name="s")
        else:
            inner = ChildSpec("w", opens, level + 2)
            async with child.open_supervisor(SupervisorSpec("s", [inner])):
                await trio.sleep_forever()
        await trio.sleep_forever()

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("s")) as root:
            supervisor: Supervisor = root
            for level in range(1, MOST):
                with pytest.raises(SpecError, match="at most 64 levels"):
                    await supervisor.start_child(tree(MOST - level + 1))
                with pytest.raises(SpecError, match="at most 64 levels"):
                    supervisor.start_child_soon(tree(MOST - level + 1))
                supervisor = (await supervisor.start_child(SupervisorSpec("s"))).value
            assert supervisor.path.count("/") == MOST - 1
            with pytest.raises(SpecError, match="at most 64 levels"):
                await supervisor.start_child(SupervisorSpec("s"))
            await root.start_child(ChildSpec("opens", opens, 1))
            await trio.sleep(1)
            state = root.state()
            assert pickle.loads(pickle.dumps(state)) == copy.deepcopy(state) == state
            assert SupervisorSnapshot.from_dict(state.to_dict()) == state
            assert_fold_is_state(root)

    run_virtual(main)
    assert opened == list(range(1, MOST, 2))
