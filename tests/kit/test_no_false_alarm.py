"""The kit accuses no supervisor that did nothing wrong: odd names and programs, cut journals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    SupervisorSpec,
    fold,
    open_supervisor,
)
from trio_supervisor._events.snapshot import BLANK
from trio_supervisor.testing import (
    Behaviour,
    LifecycleCommand,
    Trace,
    check_trace,
    child_behaviours,
    commands,
    exercise,
    find_violations,
    simulate,
    supervisor_specs,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def calm(child: ChildContext) -> None:
    await trio.sleep_forever()


# ---------------------------------------------------------------- names


async def two_pools_of_one_name() -> None:
    async with open_supervisor() as a, open_supervisor() as b:
        await a.start_child(ChildSpec("w", calm))
        await b.start_child(ChildSpec("w", calm))


async def opener(child: ChildContext) -> None:
    async with open_supervisor(SupervisorSpec("inner", [ChildSpec("w", calm)])):
        await trio.sleep_forever()


async def one_spec_opened_by_two_children() -> None:
    children = [ChildSpec("x", opener), ChildSpec("y", opener)]
    async with open_supervisor(SupervisorSpec("app", children)):
        await trio.sleep(1)


async def one_tree_opened_twice() -> None:
    tree = SupervisorSpec("app", [ChildSpec("a", Behaviour(ends_at=1)), ChildSpec("b", calm)])
    async with open_supervisor(tree), open_supervisor(tree):
        await trio.sleep(5)


async def named_like_an_attempt(child: ChildContext) -> None:
    child.nursery.start_soon(trio.sleep_forever, name=f"{child.path}#1")
    child.nursery.start_soon(trio.sleep_forever, name=f"{child.path}#{child.attempt}")
    await trio.sleep_forever()


async def tasks_named_like_attempts() -> None:
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("x", named_like_an_attempt)])):
        await trio.sleep(1)


@pytest.mark.parametrize(
    "scenario",
    [
        two_pools_of_one_name,
        one_spec_opened_by_two_children,
        one_tree_opened_twice,
        tasks_named_like_attempts,
    ],
)
def test_names_are_no_identities(scenario: Callable[[], Awaitable[None]]) -> None:
    simulate(scenario).check()
    simulate(scenario, seed=1).check()


# ---------------------------------------------------------------- ancestors without grace


@pytest.mark.parametrize("grace", [0, 2, 3])
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_what_an_ancestor_is_denied_a_nested_supervisor_still_has_until_its_turn(
    grace: float, strategy: Any
) -> None:
    inner = SupervisorSpec(
        "inner",
        [
            ChildSpec("z", Behaviour(), grace=1),
            ChildSpec("x", Behaviour(ends_at=2, attempts=1)),
            ChildSpec("y", Behaviour(), grace=1),
        ],
        strategy=strategy,
    )
    stubborn = ChildSpec("stubborn", Behaviour(at_cancel="shield", cancel_takes=7))
    outer = SupervisorSpec("outer", [inner, stubborn]).as_child(grace=grace)

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [outer])) as supervisor:
            await trio.sleep(1)
            await supervisor.stop_child("outer")

    simulate(main).check()


# ---------------------------------------------------------------- missing knowledge

DYNAMIC: tuple[ChildSpec[Any], ...] = (
    ChildSpec("t", Behaviour(ends_at=2), restart="temporary"),
    ChildSpec("d", Behaviour(ready_at=1, ends_at=3), readiness="explicit"),
    ChildSpec("e", Behaviour(), requires=["d"], grace=1),
    ChildSpec("s", Behaviour(ends_at=1, how="return"), restart="transient"),
    SupervisorSpec(
        "n",
        [ChildSpec("q", Behaviour()), ChildSpec("r", Behaviour(ends_at=2), requires=["q"])],
        strategy="rest_for_one",
        ordering="graph",
    ).as_child(),
)


@st.composite
def runs(draw: st.DrawFn) -> tuple[SupervisorSpec, list[LifecycleCommand]]:
    spec = draw(supervisor_specs(max_children=3, bodies=child_behaviours(stubborn=False)))
    return spec, draw(commands(spec, adding=DYNAMIC))


def run(spec: SupervisorSpec, told: list[LifecycleCommand]) -> Trace[Any]:
    trace = simulate(exercise, spec, told)
    trace.check()
    return trace


@given(runs())
def test_children_whose_declaration_is_not_given_are_judged_by_what_is_known(
    case: tuple[SupervisorSpec, list[LifecycleCommand]],
) -> None:
    (tree,) = run(*case).trees
    check_trace(tree.spec, tree.events)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@pytest.mark.parametrize("command", ["stop_child", "quarantine_child", "remove_child"])
def test_a_group_delay_of_before_the_cut_ends_with_a_reason_that_is_not_known(
    strategy: Any, command: str
) -> None:
    children = [
        ChildSpec("a", Behaviour(ends_at=2, attempts=1), backoff=BackoffPolicy.delays(9)),
        ChildSpec("b", Behaviour()),
    ]
    tree = SupervisorSpec("app", children, strategy=strategy)

    async def main() -> None:
        async with open_supervisor(tree) as supervisor:
            await trio.sleep(5)
            await getattr(supervisor, command)("a")
            await trio.sleep(1)

    trace = simulate(main)
    trace.check()
    assert any(e.path == "app/b" and e.attempt == 2 and e.time == 5 for e in trace.events)
    base = BLANK
    for cut, event in enumerate(trace.events, 1):
        base = fold(base, event)
        found = find_violations(tree, trace.events[cut:], base=base)
        assert not found, f"cut after {event}:\n{found[0].render()}"


@given(runs(), st.floats(0, 1), st.booleans())
def test_a_journal_whose_beginning_is_cut_off_anywhere_is_judged_by_what_is_known(
    case: tuple[SupervisorSpec, list[LifecycleCommand]], share: float, declared: bool
) -> None:
    (tree,) = run(*case).trees
    cut = int(share * len(tree.events))
    base = BLANK
    for event in tree.events[:cut]:
        base = fold(base, event)
    added = tree.added if declared else None
    found = find_violations(tree.spec, tree.events[cut:], base=base, added=added)
    assert not found, "\n".join(violation.render() for violation in found)
