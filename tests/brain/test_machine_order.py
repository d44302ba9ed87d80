"""Who waits for whom: first start, group restarts and shutdown, in a sequence and in a graph."""

from __future__ import annotations

import pytest

from brain.rig import Rig
from brain.shapes import ORDERINGS, STRATEGIES, child
from trio_supervisor._brain.messages import FirstStart


def family(strategy: str, ordering: str = "sequence", *, ready: bool = True) -> Rig:
    """a, b, c and d; in a graph b and c each require a, and d requires c."""
    needs = {"b": ("a",), "c": ("a",), "d": ("c",)} if ordering == "graph" else {}
    children = [
        child(name, grace=1, retry_first_start=True, requires=needs.get(name, ()))
        for name in "abcd"
    ]
    rig = Rig(*children, strategy=strategy, ordering=ordering)
    if ready:
        rig.ready("a", "b", "c", "d")
        rig.done()
    return rig


# ---------------------------------------------------------------- first start


def test_sequence_starts_one_after_the_other_as_they_become_ready() -> None:
    rig = Rig(child("a"), child("b", explicit=False), child("c"), child("d", explicit=False))
    assert rig.done() == ["start a#1"]
    rig.sleep(100)
    assert rig.done() == []
    rig.ready("a")
    assert rig.done() == ["start b#1", "start c#1"]
    assert rig.machine.ordering.waits_for(rig.machine.children["d"]) == ("c",)
    assert rig.machine.state == "starting"
    rig.ready("c")
    assert rig.done() == ["start d#1"]
    assert rig.machine.state == "running"


def test_graph_starts_whatever_has_what_it_requires() -> None:
    rig = family("one_for_one", "graph", ready=False)
    assert rig.done() == ["start a#1"]
    rig.ready("a")
    assert rig.done() == ["start b#1", "start c#1"]
    rig.ready("c")
    assert rig.done() == ["start d#1"]
    rig.ready("d")
    assert rig.machine.state == "starting"
    rig.ready("b")
    assert rig.machine.state == "running"


def test_supervisor_without_children_is_ready_at_once() -> None:
    rig = Rig()
    assert rig.machine.state == "running"
    rig.shutdown()
    assert rig.done() == ["stopping: shutdown", "finish: shutdown"]


def test_child_that_was_ready_once_no_longer_delays_the_first_start() -> None:
    rig = Rig(child("a", retry_first_start=True, delays=(9,)), child("b"), child("c"))
    rig.ready("a")
    rig.crash("a")
    rig.done()
    rig.ready("b")
    assert rig.done() == ["start c#1"]  # a backs off, and keeps nobody waiting
    rig.ready("c")
    assert rig.machine.state == "running"


def test_child_that_is_done_or_down_delays_no_successor() -> None:
    rig = Rig(child("a", restart="transient"), child("b"), child("c"), child("d"))
    rig.exit("a")
    assert rig.done()[-1] == "start b#1"
    rig.stop("b")  # it is still there
    assert sorted(rig.done()) == ["ask b#1", "cancel b#1", "start c#1"]
    rig.quarantine("d")
    rig.ready("c")
    assert rig.machine.state == "running"
    assert rig.states == {"a": "done", "b": "stopping", "c": "ready", "d": "quarantined"}


# ---------------------------------------------------------------- shutdown


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_shutdown_of_a_sequence_is_the_reverse_of_its_start(strategy: str) -> None:
    rig = family(strategy)
    rig.shutdown()
    assert rig.done() == ["stopping: shutdown", "ask d#1"]
    for name, below in zip("dcb", "cba", strict=True):
        rig.sleep(0.5)
        assert rig.done() == []
        rig.gone(name)
        assert rig.done() == [f"ask {below}#1"]
    rig.gone("a")
    assert rig.done() == ["finish: shutdown"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_shutdown_of_a_graph_is_concurrent_for_independent_children(strategy: str) -> None:
    rig = family(strategy, "graph")
    rig.shutdown()
    assert sorted(rig.done()) == ["ask b#1", "ask d#1", "stopping: shutdown"]
    rig.gone("d")
    assert rig.done() == ["ask c#1"]
    rig.gone("c")
    assert rig.done() == []
    rig.gone("b")
    assert rig.done() == ["ask a#1"]


def test_shutdown_waits_for_successors_beyond_a_child_that_is_down() -> None:
    for ordering in ORDERINGS:
        rig = family("one_for_one", ordering)
        rig.stop("c")
        rig.gone("c")
        if ordering == "graph":
            rig.stop("b")
            rig.gone("b")
        rig.done()
        rig.shutdown()
        assert rig.done() == ["stopping: shutdown", "ask d#1"]


def test_stop_by_command_or_fault_does_not_wait_in_a_shutdown_or_group_restart() -> None:
    rig = Rig(
        child("a", explicit=False, grace=1),
        child("b", explicit=False, grace=1),
        child("c", explicit=False, grace=1),
        strategy="one_for_all",
    )
    rig.crash("a")
    rig.done()
    assert rig.states == {"a": "waiting", "b": "ready", "c": "stopping"}
    rig.stop("b")
    assert rig.done() == ["ask b#1"]


# ---------------------------------------------------------------- group restarts


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_one_for_one_restarts_the_failed_child_only(ordering: str) -> None:
    rig = family("one_for_one", ordering)
    rig.crash("a")
    assert rig.done() == ["start a#2"]
    assert rig.states == {"a": "starting", "b": "ready", "c": "ready", "d": "ready"}


def test_one_for_all_in_a_sequence() -> None:
    rig = family("one_for_all")
    rig.crash("b")
    assert rig.done() == ["ask d#1"]
    rig.gone("d")
    assert rig.done() == ["ask c#1"]
    rig.gone("c")
    assert rig.done() == ["ask a#1"]
    rig.gone("a")
    assert rig.done() == ["start a#2"]
    for name, after in zip("abc", "bcd", strict=True):
        rig.ready(name)
        assert rig.done() == [f"start {after}#2"]


def test_one_for_all_in_a_graph() -> None:
    rig = family("one_for_all", "graph")
    rig.crash("b")
    assert rig.done() == ["ask d#1"]
    rig.gone("d")
    assert rig.done() == ["ask c#1"]
    rig.gone("c")
    assert rig.done() == ["ask a#1"]
    rig.gone("a")
    assert rig.done() == ["start a#2"]
    rig.ready("a")
    assert sorted(rig.done()) == ["start b#2", "start c#2"]
    rig.ready("c")
    assert rig.done() == ["start d#2"]


def test_rest_for_one_in_a_sequence() -> None:
    rig = family("rest_for_one")
    rig.crash("b")
    assert rig.done() == ["ask d#1"]
    rig.gone("d")
    assert rig.done() == ["ask c#1"]
    rig.gone("c")
    assert rig.done() == ["start b#2"]
    assert rig.state("a") == "ready"
    rig.ready("b")
    assert rig.done() == ["start c#2"]


def test_rest_for_one_in_a_graph() -> None:
    rig = family("rest_for_one", "graph")
    rig.crash("c")
    assert rig.done() == ["ask d#1"]
    assert rig.state("b") == "ready"
    rig.gone("d")
    assert rig.done() == ["start c#2"]
    rig.ready("c")
    assert rig.done() == ["start d#2"]


def test_member_that_fails_to_start_in_a_group_restart() -> None:
    rig = family("one_for_all")
    rig.crash("d")
    rig.gone("c", "b", "a")
    rig.ready("a")
    rig.done()
    rig.crash("b")  # those already restarted are stopped again
    assert rig.done() == ["ask a#2"]
    rig = family("rest_for_one")
    rig.crash("a")
    rig.gone("d", "c", "b")
    rig.ready("a")
    rig.done()
    rig.crash("b")  # goes on from the one that failed
    assert rig.done() == ["start b#3"]


def test_a_failure_of_an_earlier_one_widens_the_round() -> None:
    rig = family("rest_for_one")
    rig.crash("c")
    rig.done()
    assert rig.states == {"a": "ready", "b": "ready", "c": "waiting", "d": "stopping"}
    rig.crash("a")
    assert rig.done() == []  # b waits for d too
    rig.gone("d")
    assert rig.done() == ["ask b#1"]
    rig.gone("b")
    assert rig.done() == ["start a#2"]


def test_readiness_of_an_attempt_marked_for_stopping_settles_no_child() -> None:
    rig = Rig(
        child("a", retry_first_start=True),
        child("b", retry_first_start=True),
        child("c", explicit=False),
        strategy="one_for_all",
    )
    rig.ready("a", "b")
    rig.restart("b")
    rig.gone("b")
    rig.crash("a")  # c hangs, and b starts still
    rig.ready("b")
    rig.gone("c")
    rig.done()
    rig.gone("b")
    assert rig.done() == ["start a#2"]
    rig.ready("a")
    assert rig.done() == ["start b#3"]


def test_members_that_are_down_stay_down_and_done_members_run_again() -> None:
    rig = Rig(
        child("a", explicit=False, restart="transient"),
        *(child(name, explicit=False) for name in "bcd"),
        strategy="one_for_all",
    )
    rig.exit("a")
    rig.stop("b")
    rig.gone("b")
    rig.quarantine("c")
    rig.gone("c")
    rig.done()
    rig.crash("d")
    assert rig.done() == ["start a#2", "start d#2"]
    assert rig.states == {"a": "ready", "b": "stopped", "c": "quarantined", "d": "ready"}


def test_group_waits_for_the_attempt_of_a_member_that_is_being_stopped() -> None:
    rig = family("one_for_all")
    rig.stop("c")
    rig.done()
    rig.crash("d")
    assert rig.done() == []
    rig.gone("c")
    assert rig.done() == ["ask b#1"]


def test_temporary_members() -> None:
    rig = Rig(
        child("a", retry_first_start=True),
        child("b", explicit=False, restart="temporary", grace=1),
        child("c"),
        child("d", restart="temporary"),
        strategy="one_for_all",
    )
    rig.ready("a")
    rig.done()
    rig.crash("a")  # b is alive, and removed; c is starting; d has not started yet
    assert rig.done() == ["ask c#1", "cancel c#1"]
    rig.gone("c")
    rig.gone("b")
    assert rig.done() == ["ask b#1", "start a#2"]
    rig.ready("a")
    assert rig.done() == ["start c#2"]
    rig.ready("c")
    assert rig.done() == ["start d#1"]


# ---------------------------------------------------------------- requires


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_requirement_binds_at_every_start(ordering: str) -> None:
    rig = Rig(
        child("a", retry_first_start=True, delays=(5,)),
        child("b", explicit=False, requires=("a",)),
        ordering=ordering,
    )
    rig.ready("a")
    rig.crash("a")
    assert rig.state("b") == "ready"  # losing a requirement stops nobody
    rig.done()
    rig.crash("b")
    assert rig.done() == []
    assert rig.machine.ordering.waits_for(rig.machine.children["b"]) == ("a",)
    rig.sleep(5)
    assert rig.done() == ["start a#2"]
    rig.ready("a")
    assert rig.done() == ["start b#2"]


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_requirement_is_met_while_ready_or_done_by_success(ordering: str) -> None:
    rig = Rig(
        child("a", restart="transient", retry_first_start=True),
        child("b", explicit=False, requires=("a",)),
        ordering=ordering,
    )
    rig.ready("a")
    rig.lose("a")
    rig.crash("b")
    assert rig.state("b") == "waiting"
    rig.ready("a")
    assert rig.state("b") == "ready"
    rig.exit("a")
    rig.crash("b")
    assert rig.states == {"a": "done", "b": "ready"}
    rig.restart("a")
    rig.crash("b")
    assert rig.states == {"a": "starting", "b": "waiting"}


def test_requirement_marked_for_stopping_is_not_met() -> None:
    rig = Rig(
        child("a", explicit=False, grace=1), child("b", explicit=False, requires=("a",), grace=1)
    )
    rig.restart("a")
    rig.restart("b")
    rig.gone("b")
    assert rig.states == {"a": "stopping", "b": "waiting"}
    rig.gone("a")
    assert rig.states == {"a": "ready", "b": "ready"}


def test_requirement_that_is_down_does_not_delay_unrelated_children() -> None:
    for ordering in ORDERINGS:
        rig = Rig(
            child("a"),
            child("b", requires=("a",)),
            child("c", requires=("b",)),
            child("d", explicit=False),
            ordering=ordering,
        )
        rig.stop("a")
        rig.gone("a")
        assert rig.states == {"a": "stopped", "b": "waiting", "c": "waiting", "d": "ready"}
        assert rig.machine.state == "running"
        waits = rig.machine.ordering.waits_for
        assert waits(rig.machine.children["b"]) == ("a",)
        assert waits(rig.machine.children["c"]) == ("b",)
        rig.restart("a")
        rig.ready("a")
        assert rig.states == {"a": "ready", "b": "starting", "c": "waiting", "d": "ready"}
        rig.ready("b")
        assert rig.state("c") == "starting"


def test_requirement_that_goes_down_later_no_longer_delays_successors() -> None:
    rig = Rig(
        child("a", retry_first_start=True, delays=(9,)),
        child("b", retry_first_start=True),
        child("c", requires=("a",)),
        child("d"),
    )
    rig.ready("a")
    rig.crash("a")
    rig.ready("b")
    assert rig.state("c") == "waiting"
    assert rig.state("d") == "waiting"
    rig.quarantine("a")
    assert rig.states == {"a": "quarantined", "b": "ready", "c": "waiting", "d": "starting"}


# ---------------------------------------------------------------- children added later


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_added_children_stop_first_and_all_at_once(ordering: str) -> None:
    rig = Rig(child("a", explicit=False, grace=1), ordering=ordering)
    for name in ("x", "y", "z"):
        rig.add(child(name, explicit=False, grace=1, requires=("a",)))
    assert rig.done() == ["start a#1", "start x#1", "start y#1", "start z#1"]
    rig.shutdown()
    assert sorted(rig.done()) == ["ask x#1", "ask y#1", "ask z#1", "stopping: shutdown"]
    rig.gone("x", "z")
    assert rig.done() == []
    rig.gone("y")
    assert rig.done() == ["ask a#1"]


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_added_children_come_after_all_static_ones_in_a_group_restart(ordering: str) -> None:
    rig = family("one_for_all", ordering)
    rig.add(child("y", explicit=False))
    rig.add(child("z", explicit=False))
    rig.done()
    rig.crash("y")
    assert rig.done() == ["ask z#1", "cancel z#1"]
    rig.gone("z", "d", "c", "b", "a")
    assert rig.done()[-1] == "start a#2"
    rig.ready("a", "b", "c")
    assert [word for word in rig.done() if word[-3] in "yz"] == []
    rig.ready("d")
    assert rig.done() == ["start y#2", "start z#2"]


def test_added_children_are_the_rest_of_every_static_one() -> None:
    for ordering in ORDERINGS:
        rig = family("rest_for_one", ordering)
        rig.add(child("z", explicit=False))
        rig.done()
        rig.crash("d")
        assert rig.done() == ["ask z#1", "cancel z#1"]
        rig.gone("z")
        assert rig.done() == ["start d#2"]
        rig.ready("d")
        assert rig.done() == ["start z#2"]
        rig.crash("z")
        assert rig.done() == ["start z#3"]


def test_added_children_have_no_order_among_themselves_beyond_what_they_require() -> None:
    rig = Rig(strategy="rest_for_one")
    rig.add(child("x", grace=1))
    rig.add(child("y", explicit=False, requires=("x",), grace=1))
    rig.add(child("z", explicit=False, grace=1))
    assert rig.states == {"x": "starting", "y": "waiting", "z": "ready"}
    rig.ready("x")
    rig.done()
    rig.crash("x")  # whoever requires it, and nobody else
    assert rig.done() == ["ask y#1"]
    rig.gone("y")
    assert rig.done() == ["start x#2"]
    rig.ready("x")
    assert rig.done() == ["start y#2"]


def test_child_added_during_the_first_start_or_a_group_restart_is_in_no_round() -> None:
    rig = family("one_for_all", ready=False)
    rig.add(child("z", explicit=False, grace=1), FirstStart.FORGETS_CHILD)
    assert rig.done() == ["start a#1", "start z#1"]
    rig.ready("a", "b", "c", "d")
    rig.crash("d")
    rig.done()
    rig.add(child("y", explicit=False))
    assert rig.done() == ["start y#1"]
    rig.crash("y")  # but its failure is everybody's
    rig.gone("z")
    assert rig.done() == ["ask c#1"]


def test_all_of_a_round_is_gone_before_any_of_it_starts_even_if_the_failed_one_is_taken_out() -> (
    None
):
    for ordering in ORDERINGS:
        rig = Rig(child("a", explicit=False), strategy="rest_for_one", ordering=ordering)
        rig.add(child("y", explicit=False))
        rig.add(child("z", explicit=False))
        rig.crash("a")
        rig.stop("a")
        rig.done()
        rig.gone("y")
        assert rig.done() == []
        rig.gone("z")
        assert sorted(rig.done()) == ["start y#2", "start z#2"]


@pytest.mark.parametrize("again", ["stop, then restart", "crash"])
def test_a_member_waits_for_the_rest_of_its_round_though_its_requirement_is_back(
    again: str,
) -> None:
    """The requirement, restarted by command, does not wait; the round of the others goes on."""
    for dynamic in (False, True):
        a = child("a", explicit=False)
        b, c, d = (child(name, explicit=False, grace=9, requires=("a",)) for name in "bcd")
        if dynamic:
            rig = Rig(strategy="rest_for_one", ordering="graph")
            for one in (a, b, c, d):
                rig.add(one)
        else:
            rig = Rig(a, b, c, d, strategy="rest_for_one", ordering="graph")
        rig.crash("a")
        rig.gone("b")
        rig.done()
        rig.stop("a")
        rig.restart("a")
        assert rig.done()[-1:] == ["start a#2"]
        assert rig.machine.ordering.waits_for(rig.machine.children["b"]) == ("c", "d")
        if again == "crash":  # a second round has the same members, and waits for the same ones
            rig.crash("a")
            assert rig.done() == []
        rig.gone("c")
        assert rig.done() == []
        rig.gone("d")
        more = {"b#2", "c#2", "d#2"} if again != "crash" else {"a#3", "b#2", "c#2", "d#2"}
        assert set(rig.done()) == {f"start {one}" for one in more}


def test_rest_for_one_in_a_diamond_takes_each_child_once() -> None:
    rig = Rig(
        child("a", explicit=False),
        child("b", explicit=False, grace=1, requires=("a",)),
        child("c", explicit=False, grace=1, requires=("a",)),
        child("d", explicit=False, grace=1, requires=("b", "c")),
        strategy="rest_for_one",
        ordering="graph",
    )
    rig.done()
    rig.crash("a")
    assert rig.done() == ["ask d#1"]
    rig.gone("d")
    assert rig.done() == ["ask b#1", "ask c#1"]
    rig.gone("b", "c")
    first, *between, last = rig.done()
    assert (first, sorted(between), last) == ("start a#2", ["start b#2", "start c#2"], "start d#2")


@pytest.mark.parametrize("requires", [("a", "b"), ("b", "a")])
def test_child_that_waits_for_one_requirement_notices_that_another_is_down(
    requires: tuple[str, str],
) -> None:
    rig = Rig(
        child("a", explicit=False, delays=(9,)),
        child("b"),
        child("c", explicit=False, requires=requires),
        child("d", explicit=False),
    )
    rig.crash("a")
    rig.ready("b")
    rig.done()
    rig.stop("b")
    assert rig.done() == ["ask b#1", "cancel b#1", "start d#1"]
    assert rig.machine.state == "running"
    rig.gone("b")
    rig.sleep(9)
    rig.restart("b")
    rig.ready("b")
    assert rig.done() == ["start a#2", "start b#2", "start c#1"]
