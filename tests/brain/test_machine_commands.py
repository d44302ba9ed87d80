"""Stop, quarantine, restart, remove and add: at any moment, whoever else hangs."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from brain.rig import BOOM, Rig
from brain.shapes import ORDERINGS, child, supervisor
from trio_supervisor._brain import messages as o
from trio_supervisor._brain.machine import SupervisionMachine
from trio_supervisor._brain.messages import FirstStart, GraceForfeited
from trio_supervisor._events import events as ev
from trio_supervisor._specs.policy import RestartLimit

# ---------------------------------------------------------------- stop and quarantine


def test_stopped_child_stays_down_until_a_restart_command() -> None:
    rig = Rig(child("a", explicit=False, grace=5), strategy="one_for_all")
    rig.add(child("b", explicit=False))
    rig.stop("a", "because")
    assert rig.done()[-1] == "ask a#1"
    assert rig.child("a").reason == "because"
    rig.crash("a")
    assert (rig.state("a"), rig.child("a").reason) == ("stopped", "because")
    rig.crash("b")
    assert rig.done() == ["start b#2"]
    assert rig.state("a") == "stopped"
    rig.restart("a")
    assert rig.done() == ["start a#2"]


def test_commands_are_idempotent() -> None:
    rig = Rig(child("a", explicit=False, grace=5))
    for command in (rig.stop, rig.quarantine, rig.remove):
        command("a")
        rig.told.clear()
        command("a")
        assert rig.told == []
    rig.stop("a")  # nor does a weaker one take a stronger one back
    rig.quarantine("a")
    assert rig.told == []
    rig.gone("a")
    assert rig.states == {}


def test_quarantine_of_a_stopped_child_and_no_stop_of_a_quarantined_one() -> None:
    rig = Rig(child("a", explicit=False))
    rig.stop("a")
    rig.gone("a")
    rig.quarantine("a")
    assert rig.state("a") == "quarantined"
    rig.stop("a")
    assert rig.state("a") == "quarantined"


@pytest.mark.parametrize("command", ["stop", "quarantine"])
def test_a_backoff_ends_at_once(command: str) -> None:
    rig = Rig(child("a", explicit=False, delays=(10,)))
    rig.crash("a")
    getattr(rig, command)("a")
    assert rig.state("a") in {"stopped", "quarantined"}
    rig.done()
    rig.sleep(100)
    assert rig.done() == []


def test_stop_of_a_done_child_and_of_a_waiting_one() -> None:
    rig = Rig(child("a", restart="transient"), child("b"))
    rig.stop("b")
    assert rig.state("b") == "stopped"
    rig.exit("a")
    rig.stop("a")
    assert rig.states == {"a": "stopped", "b": "stopped"}
    assert rig.machine.state == "running"


def test_commands_are_accepted_although_others_hang() -> None:
    rig = Rig(*(child(name, explicit=False, grace=100) for name in "abc"), strategy="one_for_all")
    rig.crash("c")
    rig.gone("b")
    rig.done()
    rig.stop("a")  # it is still b's turn, and a does not queue
    assert rig.done() == []
    rig = Rig(*(child(name, explicit=False, grace=100) for name in "abc"), strategy="one_for_all")
    rig.crash("a")  # c hangs
    rig.done()
    rig.stop("b")
    assert rig.done() == ["ask b#1"]
    rig.restart("c")
    rig.gone("b")
    assert rig.states == {"a": "waiting", "b": "stopped", "c": "stopping"}


def test_commands_to_unknown_children_are_refused() -> None:
    rig = Rig(*(child(f"c{number}", explicit=False) for number in range(12)))
    rig.done()
    for command in (rig.stop, rig.quarantine, rig.restart, rig.remove):
        command("x")
        assert rig.done() == ["refused: ChildNotFound"]


# ---------------------------------------------------------------- restart


def test_restart_of_a_running_child_is_a_new_attempt_of_a_new_generation() -> None:
    rig = Rig(child("a", explicit=False, grace=5))
    rig.done()
    rig.restart("a")
    assert rig.done() == ["ask a#1"]
    rig.restart("a")  # it is under way
    assert rig.done() == []
    rig.crash("a")
    assert rig.done() == ["start a#2"]
    assert rig.child("a").generation == 1


def test_restart_command_starts_now_and_ends_the_backoff_of_that_child_only() -> None:
    rig = Rig(
        *(child(name, explicit=False, delays=(10,)) for name in "abc"), strategy="one_for_all"
    )
    rig.crash("a")
    rig.gone("c", "b")
    rig.done()
    rig.restart("b")
    assert rig.done() == ["start b#2"]
    assert rig.states == {"a": "backing_off", "b": "ready", "c": "backing_off"}
    rig.sleep(10)
    assert rig.done() == ["start a#2", "start c#2"]


def test_restart_starts_the_backoff_anew() -> None:
    rig = Rig(child("a", explicit=False, delays=(1, 8)))
    rig.crash("a")
    rig.restart("a")
    rig.crash("a")
    assert rig.child("a").until == 1


def test_restart_does_not_jump_the_line_of_the_first_start() -> None:
    rig = Rig(child("a"), child("b"), child("c"))
    rig.done()
    rig.restart("b")
    rig.stop("c")
    rig.restart("c")
    assert rig.done() == []
    rig.ready("a")
    assert rig.done() == ["start b#1"]
    rig.restart("b")
    rig.gone("b")
    assert rig.done() == ["ask b#1", "cancel b#1", "start b#2"]
    rig.ready("b")
    assert rig.done() == ["start c#1"]


def test_child_that_was_stopped_in_the_first_start_takes_part_again_after_a_restart() -> None:
    rig = Rig(child("a"), child("b"), child("c"))
    rig.stop("b")
    rig.restart("b")
    rig.done()
    rig.ready("a")
    assert rig.done() == ["start b#1"]


def test_restart_command_after_the_first_start_is_a_round_of_one() -> None:
    rig = Rig(*(child(name, retry_first_start=True) for name in "abc"), strategy="rest_for_one")
    rig.ready("a", "b", "c")
    rig.crash("a")
    rig.gone("c", "b")
    rig.done()
    rig.restart("c")  # a is starting, b waits
    assert rig.done() == ["start c#2"]
    assert rig.states == {"a": "starting", "b": "waiting", "c": "starting"}


def test_child_that_fails_after_a_restart_command_waits_for_its_turn_again() -> None:
    rig = Rig(child("a", retry_first_start=True), child("b"), strategy="rest_for_one")
    rig.ready("a", "b")
    rig.crash("a")
    rig.gone("b")
    rig.restart("b")
    rig.done()
    rig.crash("b")
    assert rig.done() == []
    rig.ready("a")
    assert rig.done() == ["start b#3"]


def test_child_that_never_was_ready_delays_no_successor_after_a_restart_command() -> None:
    rig = Rig(child("a"), child("b", explicit=False), strategy="rest_for_one")
    rig.stop("a")
    rig.gone("a")
    rig.restart("a")  # and hangs
    rig.done()
    rig.crash("b")
    assert rig.done() == ["start b#2"]


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_restart_command_does_not_wait_for_another_round(ordering: str) -> None:
    needs = ("a",) if ordering == "graph" else ()
    rig = Rig(
        child("a", explicit=False),
        child("b", explicit=False, requires=needs),
        child("c", explicit=False, requires=(*needs, "b") if needs else ()),
        strategy="rest_for_one",
        ordering=ordering,
    )
    rig.crash("b")  # c hangs
    rig.restart("a")
    rig.done()
    rig.gone("a")
    assert rig.done() == ["start a#2"]


def test_second_restart_command_ends_the_backoff_that_a_group_restart_began() -> None:
    rig = Rig(
        child("a", explicit=False, delays=(10,)),
        child("b", explicit=False, grace=1),
        strategy="one_for_all",
    )
    rig.restart("b")
    rig.crash("a")
    rig.gone("b")
    assert rig.state("b") == "backing_off"
    rig.done()
    rig.restart("b")
    assert rig.done() == ["start b#2"]


def test_restart_overrides_a_fault() -> None:
    rig = Rig(child("a", grace=5, start_timeout=1, retry_first_start=True, delays=(100,)))
    rig.sleep(1)
    rig.restart("a")
    rig.done()
    rig.crash("a")
    assert rig.done() == ["start a#2"]
    assert not rig.events(ev.ExitJudged)


def test_restart_of_a_done_and_of_a_quarantined_child() -> None:
    limit = RestartLimit(0, within=1)
    rig = Rig(
        child("a", explicit=False, restart="transient"),
        child("b", explicit=False, restart_limit=limit, on_limit="quarantine"),
    )
    rig.exit("a")
    rig.crash("b")
    rig.done()
    rig.restart("a")
    rig.restart("b")
    assert rig.done() == ["start a#2", "start b#2"]


def test_restart_waits_for_what_it_requires() -> None:
    rig = Rig(child("a", explicit=False), child("b", explicit=False, requires=("a",)))
    rig.stop("a")
    rig.gone("a")
    rig.restart("b")
    rig.gone("b")
    rig.done()
    assert rig.state("b") == "waiting"
    rig.restart("a")
    assert rig.done() == ["start a#2", "start b#2"]


def test_stop_takes_a_restart_back() -> None:
    rig = Rig(child("a", explicit=False, grace=5))
    rig.restart("a")
    rig.stop("a")
    rig.done()
    rig.gone("a")
    assert rig.done() == []
    rig.restart("a")
    assert rig.done() == ["start a#2"]


# ---------------------------------------------------------------- remove and add


def test_removed_child_is_stopped_and_forgotten() -> None:
    rig = Rig(child("a", explicit=False, grace=5), child("b", explicit=False))
    rig.remove("a")
    rig.restart("a")
    assert rig.done()[2:] == ["ask a#1", "refused: CommandRefused"]
    assert rig.state("a") == "stopping"
    rig.crash("a")
    assert rig.states == {"b": "ready"}
    rig.add(child("a", explicit=False))
    assert rig.states == {"b": "ready", "a": "ready"}


def test_removal_is_refused_while_others_require_the_child() -> None:
    rig = Rig(child("a", explicit=False), child("b", explicit=False, requires=("a",)))
    rig.done()
    rig.remove("a")
    assert rig.done() == ["refused: CommandRefused"]
    rig.remove("b")
    rig.gone("b")
    rig.remove("a")
    rig.gone("a")
    assert rig.states == {}


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_removal_in_the_middle_of_a_round(ordering: str) -> None:
    rig = Rig(
        *(child(name, explicit=False, grace=1) for name in "abc"),
        strategy="one_for_all",
        ordering=ordering,
    )
    rig.crash("a")
    rig.remove("b")
    rig.remove("a")
    assert rig.states == {"b": "stopping", "c": "stopping"}
    rig.gone("b")
    rig.gone("c")
    assert rig.states == {"c": "ready"}


def test_add_is_refused_with_a_reason() -> None:
    rig = Rig(
        child("a", explicit=False, grace=1),
        child("t", explicit=False, restart="temporary"),
        max_children=3,
    )
    rig.done()
    rig.add(child("a"))
    rig.add(child("b", requires=("x",)))
    rig.add(child("b", requires=("t",)))
    rig.remove("a")
    rig.add(child("b", requires=("a",)))
    assert [word for word in rig.done() if "refused" in word] == [
        "refused: ChildAlreadyExists",
        "refused: SpecError",
        "refused: SpecError",
        "refused: CommandRefused",
    ]
    rig.add(child("b"))
    rig.add(child("c"))
    rig.shutdown()
    rig.add(child("d"))
    rig.restart("b")
    assert [word for word in rig.done() if "refused" in word] == [
        "refused: TooManyChildren",
        "refused: SupervisorClosed",
        "refused: SupervisorClosed",
    ]


def test_added_child_starts_when_what_it_requires_is_there() -> None:
    rig = Rig(child("a"))
    rig.add(child("z", explicit=False, requires=("a",)), FirstStart.FORGETS_CHILD)
    assert rig.states == {"a": "starting", "z": "waiting"}
    rig.ready("a")
    assert rig.states == {"a": "ready", "z": "ready"}


# ---------------------------------------------------------------- while the supervisor stops


def test_commands_while_stopping() -> None:
    rig = Rig(*(child(name, explicit=False, grace=9) for name in "abc"))
    rig.shutdown()
    rig.done()
    rig.stop("a")  # its end is decided, and its turn will come
    assert rig.done() == []
    rig.quarantine("a")
    assert rig.done() == []
    rig.remove("b")
    assert rig.done() == ["ask b#1"]
    rig.gone("b")
    assert "b" not in rig.states
    rig.gone("c")
    rig.gone("a")
    assert rig.done() == ["ask a#1", "finish: shutdown"]


def test_attempt_that_waits_for_its_own_end_has_no_grace() -> None:
    rig = Rig(child("a", explicit=False, grace=9), child("b", explicit=False, grace=9))
    rig.stop("a")
    rig.done()
    rig.take(GraceForfeited("a", 1))
    assert rig.done() == ["cancel a#1"]
    rig.take(GraceForfeited("b", 1))
    rig.take(GraceForfeited("b", 0))
    rig.take(GraceForfeited("x", 1))
    assert rig.done() == []
    rig.stop("b")
    assert rig.done() == ["ask b#1", "cancel b#1"]
    rig.exit("b", BOOM)
    rig.restart("b")
    rig.stop("b")
    assert rig.done() == ["start b#2", "ask b#2"]


# ---------------------------------------------------------------- the grace of a command


def test_grace_of_a_command_replaces_that_of_the_child() -> None:
    rig = Rig(child("a", explicit=False, grace=9))
    rig.take(o.StopChild("a", "soon", grace=2.0))
    assert rig.events(ev.CommandAccepted) == [("a", "stop", "soon", "", None, None, 2.0)]
    assert rig.events(ev.ChildStopRequested) == [("a", "soon", 2.0)]
    rig.done()
    rig.sleep(2)
    assert rig.done() == ["cancel a#1"]


@pytest.mark.parametrize("kind", [o.StopChild, o.QuarantineChild, o.RemoveChild, o.RestartChild])
def test_command_without_grace_cancels_at_once(kind: Any) -> None:
    rig = Rig(child("a", explicit=False, grace=9))
    rig.done()
    rig.take(kind("a", "now", grace=0.0))
    assert rig.done() == ["ask a#1", "cancel a#1"]


@pytest.mark.parametrize("kind", [o.StopChild, o.QuarantineChild, o.RemoveChild, o.RestartChild])
def test_second_command_shortens_the_stop_that_is_under_way(kind: Any) -> None:
    rig = Rig(child("a", explicit=False, grace=9))
    rig.take(kind("a"))
    rig.done()
    rig.sleep(1)
    rig.take(kind("a", grace=20.0))  # longer than what is left: no effect
    rig.take(kind("a", grace=3.0))
    assert rig.done() == []
    assert len(rig.events(ev.CommandAccepted)) == 0  # `done` has taken them
    rig.sleep(2)
    assert rig.done() == []
    rig.sleep(1)
    assert rig.done() == ["cancel a#1"]
    rig.take(kind("a", grace=0.0))
    assert rig.done() == []


def test_command_that_only_shortens_a_stop_is_recorded() -> None:
    rig = Rig(child("a", explicit=False, grace=9))
    rig.stop("a")
    rig.done()
    rig.take(o.StopChild("a", "at once", grace=0.0))
    assert rig.events(ev.CommandAccepted) == [("a", "stop", "at once", "", None, None, 0.0)]
    assert rig.done() == ["cancel a#1"]


def test_grace_of_a_command_waits_for_the_turn_of_the_child_in_a_shutdown() -> None:
    rig = Rig(child("a", explicit=False, grace=9), child("b", explicit=False, grace=9))
    rig.shutdown()
    rig.done()
    rig.take(o.StopChild("a", grace=1.0))
    rig.gone("b")
    assert rig.events(ev.ChildStopRequested) == [("a", "the end", 1.0)]


def test_grace_of_a_command_is_for_one_attempt() -> None:
    rig = Rig(child("a", explicit=False, grace=9))
    rig.take(o.RestartChild("a", grace=1.0))
    rig.gone("a")
    rig.done()
    rig.stop("a")
    assert rig.events(ev.ChildStopRequested) == [("a", "by hand", 9.0)]


def test_default_grace_is_for_attempts_that_hear_a_stop_request() -> None:
    for hears, grace in ((True, 5.0), (False, 0.0)):
        spec = supervisor(child("a", explicit=False).replace(grace=None))
        machine = SupervisionMachine(spec, "top", Random(0), hears_stop=lambda *_, h=hears: h)
        machine.start(0.0)
        orders = machine.receive(o.StopChild("a"), 0.0)
        events = {order[0]: order[3] for order in orders if isinstance(order, tuple)}
        assert events[ev.ChildStopRequested] == ("", grace)


def test_restart_command_begins_with_an_empty_window_and_no_failures() -> None:
    limit = RestartLimit(2, within=99)
    rig = Rig(child("a", explicit=False, restart_limit=limit, on_limit="quarantine"))
    rig.crash("a", "a", "a")
    assert rig.state("a") == "quarantined"
    rig.restart("a")
    life = rig.machine.children["a"]
    assert (life.failures_in_row, life.consecutive_failures) == (0, 0)
    rig.crash("a", "a")
    assert (rig.state("a"), life.failures_in_row) == ("ready", 2)
    rig.crash("a")
    assert rig.state("a") == "quarantined"
