"""The machine keeps up and stays small: long sequences, crash storms, heaps behind a stuck head."""

from __future__ import annotations

from math import inf
from random import Random
from time import process_time
from typing import TYPE_CHECKING, Any

import pytest

from brain.oracle import Oracle
from brain.rig import BOOM, OK
from brain.shapes import body, child, supervisor
from trio_supervisor._brain import messages as o
from trio_supervisor._brain.machine import SupervisionMachine
from trio_supervisor._brain.ordering import SequenceOrdering
from trio_supervisor._specs.decisions import RestartAfter
from trio_supervisor._specs.policy import Ordering, RestartLimit
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable


# The spare room that a heap may have beyond twice what is alive in it.
SPARE = 70


class Bare:
    """A machine without anybody who watches it."""

    def __init__(self, spec: SupervisorSpec) -> None:
        self.machine = SupervisionMachine(spec, "top", Random(0))
        self.now = 0.0
        self.orders = self.machine.start(0.0)

    def take(self, signal: o.Signal) -> list[o.Order]:
        self.orders = self.machine.receive(signal, self.now)
        return self.orders

    def crash(self, name: str) -> None:
        number = self.machine.children[name].attempt
        self.take(o.Exited(name, number, BOOM, None, "boom"))

    def started(self) -> int:
        return sum(isinstance(order, o.StartAttempt) for order in self.orders)


def many(count: int, **options: Any) -> Iterable[ChildSpec[Any]]:
    return (child(f"c{number}", **options) for number in range(count))


@pytest.mark.parametrize("ordering", list(Ordering))
def test_a_hundred_thousand_start_and_stop_without_recursion(ordering: Ordering) -> None:
    count = 100_000 if ordering is Ordering.SEQUENCE else 10_000
    children = [ChildSpec(f"c{number}", body) for number in range(count)]
    bare = Bare(SupervisorSpec("top", children, ordering=ordering))
    assert bare.started() == count
    assert bare.machine.state == "running"
    bare.take(o.Shutdown("the end"))
    for number in reversed(range(count)):
        bare.take(o.Exited(f"c{number}", 1, OK))
    assert bare.machine.state == "finished"


def test_a_chain_of_requirements_without_recursion() -> None:
    count = 10_000
    chain = [child("c0", explicit=False)]
    chain += [child(f"c{n}", explicit=False, requires=(f"c{n - 1}",)) for n in range(1, count)]
    bare = Bare(supervisor(*chain, ordering="graph", strategy="one_for_all"))
    assert bare.started() == count
    bare.crash("c0")
    for number in reversed(range(1, count)):
        bare.take(o.Exited(f"c{number}", 1, OK))
    assert bare.started() == count
    bare.take(o.StopChild("c0"))
    bare.take(o.Exited("c0", 2, OK))
    bare.take(o.Shutdown("the end"))
    for number in reversed(range(1, count)):
        bare.take(o.Exited(f"c{number}", 2, OK))
    assert bare.machine.state == "finished"


def test_chain_behind_a_child_that_is_down_delays_no_successor() -> None:
    count = 10_000
    chain = [child("c0")]
    chain += [child(f"c{n}", explicit=False, requires=(f"c{n - 1}",)) for n in range(1, count)]
    bare = Bare(supervisor(*chain, child("last", explicit=False)))
    began = process_time()
    bare.take(o.StopChild("c0"))
    assert bare.started() == 1  # the one that requires nobody
    assert bare.machine.state == "running"
    bare.take(o.Exited("c0", 1, OK))
    bare.take(o.RestartChild("c0"))
    bare.take(o.BecameReady("c0", 2))
    assert bare.started() == count - 1
    assert process_time() - began < 5.0  # quadratic would be minutes


def test_heap_of_the_line_stays_bounded_behind_a_stuck_head() -> None:
    bare = Bare(supervisor(child("head"), *many(3)))
    order = bare.machine.ordering
    assert isinstance(order, SequenceOrdering)
    for number in range(10_000):
        name = f"c{number % 3}"
        bare.take(o.StopChild(name))
        bare.take(o.RestartChild(name))
    assert len(order._start_set._entries) <= 2 * 4 + SPARE
    assert order._start_set.count == 4
    bare.take(o.BecameReady("head", 1))
    assert bare.started() == 1


def test_stop_set_stays_bounded_behind_a_child_that_does_not_end() -> None:
    children = many(3, explicit=False, grace=inf)
    bare = Bare(supervisor(*children, strategy="one_for_all"))
    order = bare.machine.ordering
    assert isinstance(order, SequenceOrdering)
    bare.crash("c0")  # c2 never ends
    for _ in range(10_000):
        bare.take(o.RestartChild("c1"))
        bare.take(o.Exited("c1", bare.machine.children["c1"].attempt, OK))
    assert len(order._stop_set._entries) <= 2 * 2 + SPARE


def test_ten_thousand_crashes_with_a_far_start_timeout_leave_no_timers() -> None:
    bare = Bare(supervisor(child("a", start_timeout=3600, retry_first_start=True)))
    for _ in range(10_000):
        bare.now += 0.1
        bare.crash("a")
    assert len(bare.machine.timers) <= 2 + SPARE
    assert bare.machine.children["a"].attempt == 10_001


def test_ten_thousand_heartbeats_leave_no_timers() -> None:
    bare = Bare(supervisor(child("a", explicit=False, stale_after=30)))
    for _ in range(10_000):
        bare.now += 1
        bare.take(o.Heartbeat("a", 1, bare.now))
        if bare.machine.next_deadline <= bare.now:
            bare.machine.wake(bare.now)
    assert len(bare.machine.timers) <= 2 + SPARE
    assert bare.machine.children["a"].attempt == 1


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all"])
def test_ten_thousand_backoffs_ended_by_command_leave_no_timers(strategy: str) -> None:
    spec = child("a", explicit=False)
    bare = Bare(supervisor(spec, *many(50, explicit=False), strategy=strategy))
    for number in range(50):
        bare.take(o.StopChild(f"c{number}"))
        bare.take(o.Exited(f"c{number}", 1, OK))
    far = RestartAfter(3600)
    for number in range(1, 10_001):
        bare.now += 0.01
        bare.take(o.Exited("a", number, BOOM, None, "boom", far))
        bare.take(o.RestartChild("a"))
    assert bare.machine.children["a"].attempt == 10_001
    assert len(bare.machine.timers) <= 2 + SPARE


def test_a_deadline_that_comes_ever_nearer_leaves_no_timers() -> None:
    bare = Bare(supervisor(child("a", explicit=False, stale_after=10**6)))
    heap = bare.machine.timers
    life = bare.machine.children["a"]
    for number in range(10_000):
        heap.arm(life, 10**5 - number)
    assert len(heap) <= 2 + SPARE
    assert heap.earliest == 10**5 - 9_999
    assert heap.pop_due(10**5) is life
    assert heap.pop_due(10**5) is None


def test_windows_forget_what_is_too_old_to_count() -> None:
    own, shared = RestartLimit(10**9, within=10), RestartLimit(10**9, within=20)
    spec = child("a", explicit=False, restart_limit=own)
    bare = Bare(supervisor(spec, restart_limit=shared))
    for _ in range(10_000):
        bare.now += 1
        bare.crash("a")
    life, window = bare.machine.children["a"], bare.machine.window
    assert life.window is not None
    assert window is not None
    assert len(life.window.times) == 10
    assert len(window.times) == 20


def test_children_that_come_and_go_leave_nothing() -> None:
    bare = Bare(supervisor(child("a", explicit=False), strategy="rest_for_one"))
    for number in range(5_000):
        spec = child(
            f"s{number}", explicit=False, restart="temporary", requires=("a",), max_runtime=9
        )
        bare.take(o.AddChild(spec, o.FirstStart.FORGETS_CHILD))
        bare.take(o.Exited(spec.name, 1, OK))
    machine = bare.machine
    assert list(machine.children) == ["a"]
    assert not machine.ordering.dynamics
    assert not machine.ordering.dynamic_start_set
    assert not machine.children["a"].dependents
    assert not machine.children["a"].watchers
    assert len(machine.timers) <= 2 + SPARE


def test_static_children_that_are_removed_leave_nothing() -> None:
    for ordering in ("sequence", "graph"):
        bare = Bare(supervisor(*many(1000, explicit=False), ordering=ordering))
        for number in range(999):
            bare.take(o.RemoveChild(f"c{number}"))
            bare.take(o.Exited(f"c{number}", 1, OK))
        order: Any = bare.machine.ordering
        assert len(order._statics) <= 2
        bare.take(o.Shutdown("the end"))
        bare.take(o.Exited("c999", 1, OK))
        assert bare.machine.state == "finished"


def test_one_crash_costs_the_same_among_few_and_among_many() -> None:
    def cost(count: int) -> float:
        limit = RestartLimit(10**9, within=60)
        bare = Bare(supervisor(*many(count, explicit=False, restart_limit=limit)))
        best = inf
        for _ in range(3):
            began = process_time()
            for _ in range(1_000):
                bare.crash(f"c{count // 2}")
            best = min(best, process_time() - began)
        return best

    cost(10)
    assert cost(20_000) < 4 * cost(10)


def test_the_oracle_knows_how_to_copy_itself() -> None:
    oracle = Oracle(supervisor(child("a")))
    copy = oracle.copy()
    copy.kids["a"].live = True
    copy.settle("a")
    assert not oracle.kids["a"].live
    assert oracle.unsettled("a")
