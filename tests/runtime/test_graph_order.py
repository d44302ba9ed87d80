"""In a graph, children may be declared in any order: what they require decides."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from trio_supervisor import ChildSpec, ChildStarted, ChildStopRequested, SupervisorSpec
from trio_supervisor.testing import Advance, Behaviour, Crash, exercise, simulate

if TYPE_CHECKING:
    from trio_supervisor import SupervisionStrategy

REQUIRES = {"a": (), "b": ("a",), "c": ("b",)}


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
@pytest.mark.parametrize("names", list(permutations("abc")), ids="".join)
def test_a_child_may_require_one_that_is_declared_after_it(
    names: tuple[str, ...], strategy: SupervisionStrategy
) -> None:
    specs = [
        ChildSpec(name, Behaviour(ready_at=1), readiness="explicit", requires=REQUIRES[name])
        for name in names
    ]
    spec = SupervisorSpec("app", specs, ordering="graph", strategy=strategy)
    trace = simulate(exercise, spec, (Advance(4), Crash("a"), Advance(40)))
    trace.check()

    started = [event.path[-1] for event in trace.events if isinstance(event, ChildStarted)]
    stopped = [event.path[-1] for event in trace.events if isinstance(event, ChildStopRequested)]
    assert started[:3] == ["a", "b", "c"]
    assert started[3:] == (["a"] if strategy == "one_for_one" else ["a", "b", "c"])
    assert stopped[-3:] == ["c", "b", "a"]
