"""What a declared tree takes at most, and numbers that do not fit together."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
import trio

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    RestartLimit,
    SupervisorSpec,
    lint,
)
from trio_supervisor._specs.numbers import seconds_until_given_up, start_seconds, stop_seconds
from trio_supervisor._specs.uses import uses_of


async def body(child: ChildContext) -> None:
    while not child.stop_requested:
        child.heartbeat()
        await trio.sleep(1)


def child(name: str, **options: Any) -> ChildSpec[Any]:
    return ChildSpec(name, body, **{"readiness": "explicit", "grace": 2, **options})


def test_a_sequence_takes_the_sum_and_a_graph_its_longest_chain() -> None:
    chain = [
        child("a", start_timeout=1),
        child("b", start_timeout=2, requires=["a"]),
        child("c", start_timeout=50),
        child("d", start_timeout=4, requires=["b", "a"], grace=7),
    ]
    line = SupervisorSpec("app", chain)
    assert (start_seconds(line), stop_seconds(line)) == (57, 13)
    for children in (chain, chain[::-1]):
        graph = SupervisorSpec("app", children, ordering="graph")
        assert (start_seconds(graph), stop_seconds(graph)) == (50, 11)
    assert start_seconds(SupervisorSpec("app", ordering="graph")) == 0


def test_nested_supervisors_count_with_what_is_in_them() -> None:
    inner = SupervisorSpec("pool", [child("x", start_timeout=9), child("y", start_timeout=9)])
    outer = SupervisorSpec("app", [inner, child("web", start_timeout=1)])
    assert (start_seconds(outer), stop_seconds(outer)) == (19, 6)
    short = SupervisorSpec("app", [inner.replace(shutdown_deadline=3)], shutdown_deadline=2)
    assert stop_seconds(short) == 2
    assert start_seconds(SupervisorSpec("app", [child("x", retry_first_start=True)])) == inf
    assert start_seconds(SupervisorSpec("app", [ChildSpec("x", body)])) == 0


@pytest.mark.parametrize(
    ("backoff", "limit", "expected"),
    [
        (BackoffPolicy(), RestartLimit(10, within=120), 81.1),
        (BackoffPolicy.delays(1, 2), RestartLimit(3, within=60), 5),
        (BackoffPolicy.delays(30), RestartLimit(3, within=60), inf),
        (BackoffPolicy(reset_after=1), RestartLimit(3, within=60), 0.7),
        (BackoffPolicy.delays(1, 60, reset_after=1), RestartLimit(3, within=60), 121),
        (BackoffPolicy(), RestartLimit(0, within=60), 0),
    ],
)
def test_until_given_up(backoff: BackoffPolicy, limit: RestartLimit, expected: float) -> None:
    assert seconds_until_given_up(backoff, limit) == pytest.approx(expected)


def codes(*children: Any, stop_timeout: float | None = None, **options: Any) -> list[str]:
    spec = SupervisorSpec("app", children, **options)
    return [found.code for found in lint(spec, stop_timeout=stop_timeout)]


def test_a_tree_with_defaults_is_clean() -> None:
    pool = SupervisorSpec("pool", [child("x")])
    assert codes(child("web"), pool, stop_timeout=90) == []
    assert codes() == []


def test_limits_and_loops() -> None:
    assert codes(child("a", restart_limit=None)) == []
    assert codes(child("a", restart_limit=None, backoff=BackoffPolicy(initial=0))) == ["hot-loop"]
    soon = {"backoff": BackoffPolicy.delays(0), "restart_limit": RestartLimit(3, within=9)}
    assert codes(child("a", **soon)) == ["gives-up-soon"]
    assert codes(child("a", restart="temporary")) == []
    never = {"backoff": BackoffPolicy.delays(30), "restart_limit": RestartLimit(3, within=9)}
    assert codes(child("a", **never)) == ["limit-never-trips"]
    shared = RestartLimit(3, within=9)
    assert codes(child("a", backoff=BackoffPolicy.delays(30)), restart_limit=shared) == [
        "limit-never-trips"
    ]


def test_budgets_that_do_not_nest() -> None:
    inner = SupervisorSpec(
        "pool",
        [child("x"), child("y", restart="temporary"), child("z", restart_limit=None)],
    )
    outer = inner.as_child(restart_limit=RestartLimit(3, within=60))
    assert codes(outer) == ["outer-limit-never-trips"]
    wide = inner.as_child(restart_limit=RestartLimit(3, within=600))
    assert codes(wide) == []


def test_stops() -> None:
    assert codes(child("a"), child("b"), stop_timeout=10) == []
    assert codes(child("a"), child("b"), stop_timeout=8) == ["stop-over-timeout"]
    assert codes(child("a", grace=inf), stop_timeout=8) == ["stop-without-end"]
    assert codes(child("a"), child("b"), shutdown_deadline=3) == ["grace-over-deadline"]


class Callable_:
    async def __call__(self, child: ChildContext) -> None:
        child.ready()


async def nothing() -> None:
    pass


async def hands_on(child: ChildContext) -> None:
    await body(child)


async def in_a_closure(child: ChildContext) -> None:
    async def inner() -> None:
        await child.wait_stop_requested()

    await inner()


async def shadows(child: ChildContext) -> None:
    def inner(child: int) -> int:
        return child

    child.ready(inner(3))


async def leaks_in_a_closure(child: ChildContext) -> None:
    async def inner() -> None:
        await body(child)

    await inner()


@pytest.mark.parametrize(
    ("run", "uses"),
    [
        (body, {"stop_requested", "heartbeat"}),
        (in_a_closure, {"wait_stop_requested"}),
        (shadows, {"ready"}),
        (hands_on, None),
        (leaks_in_a_closure, None),
        (nothing, None),
        (Callable_(), None),
    ],
)
def test_what_a_body_uses(run: Any, uses: set[str] | None) -> None:
    assert uses_of(run) == uses
