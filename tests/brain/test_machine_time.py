"""What passing time does: timeouts, health, grace, deadlines, unresponsive children."""

from __future__ import annotations

from math import inf

import pytest

from brain.rig import Rig
from brain.shapes import child
from trio_supervisor._brain import messages as o
from trio_supervisor._events import events as ev
from trio_supervisor._events.exits import TimedOut, Unhealthy
from trio_supervisor._specs.policy import BackoffPolicy
from trio_supervisor._specs.supervisor import SupervisorSpec


def asked(rig: Rig) -> list[o.RequestStop]:
    return [order for order in rig.told if isinstance(order, o.RequestStop)]


# ---------------------------------------------------------------- faults


def test_start_timeout_ends_the_attempt_and_the_table_decides() -> None:
    rig = Rig(child("a", start_timeout=10, grace=2, retry_first_start=True))
    rig.done()
    rig.sleep(9.9)
    assert rig.done() == []
    rig.sleep(0.1)
    assert asked(rig)[0].fault == TimedOut("start", 10)
    assert asked(rig)[0].reason == "timed out: not ready within 10s"
    assert rig.done() == ["ask a#1"]
    rig.ready("a")  # too late
    assert rig.state("a") == "stopping"
    rig.sleep(2)
    assert rig.done() == ["cancel a#1"]
    rig.exit("a", TimedOut("start", 10))
    assert rig.done() == ["start a#2"]
    assert [verdict[:3] for verdict in rig.events(ev.ExitJudged)] == []


def test_start_timeout_of_a_first_start_fails_the_tree() -> None:
    rig = Rig(child("a", start_timeout=10))
    rig.sleep(10)
    rig.done()
    rig.exit("a", TimedOut("start", 10))
    assert rig.done() == ["stopping: start_failed", "finish: start_failed"]


def test_ready_at_the_instant_of_the_timeout_is_in_time() -> None:
    rig = Rig(child("a", start_timeout=10))
    rig.now = 10.0
    rig.ready("a")  # a signal goes before a deadline of the same instant
    rig.wake()
    assert rig.state("a") == "ready"
    rig.sleep(100)
    rig.lose("a")
    rig.sleep(100)  # the start is over for good
    assert rig.state("a") == "not_ready"


def test_extending_is_the_later_of_both_and_never_shortens() -> None:
    rig = Rig(child("a", start_timeout=10))
    for until in (5.0, 15.0, 12.0):
        rig.take(o.StartExtended("a", 1, until))
    rig.take(o.StartExtended("a", 0, 99.0))
    rig.done()
    rig.sleep(14.9)
    assert rig.done() == []
    rig.sleep(0.1)
    assert asked(rig)[0].fault == TimedOut("start", 15)
    rig.take(o.StartExtended("a", 1, 99.0))  # too late
    rig = Rig(child("a", start_timeout=10))
    rig.ready("a")
    rig.take(o.StartExtended("a", 1, 99.0))
    assert rig.machine.next_deadline == 10  # of which nothing will come
    rig.sleep(10)
    assert rig.machine.next_deadline == inf


def test_max_runtime_counts_from_the_start_of_the_attempt() -> None:
    rig = Rig(child("a", max_runtime=10, retry_first_start=True))
    rig.sleep(6)
    rig.ready("a")
    rig.done()
    rig.sleep(4)
    assert asked(rig)[0].fault == TimedOut("run", 10)
    assert rig.done() == ["ask a#1", "cancel a#1"]
    rig.exit("a", TimedOut("run", 10))
    rig.done()
    rig.sleep(9.9)
    assert rig.done() == []
    rig.sleep(0.1)
    assert rig.done() == ["ask a#2", "cancel a#2"]


def test_silence_is_measured_while_ready() -> None:
    rig = Rig(child("a", stale_after=10, retry_first_start=True))
    rig.sleep(50)  # not ready: nobody listens
    rig.ready("a")
    rig.done()
    rig.sleep(9.5)
    rig.heartbeat("a")
    rig.sleep(9.5)
    rig.heartbeat("a")
    rig.sleep(9.9)
    assert rig.done() == []
    rig.sleep(0.1)
    assert asked(rig)[0].fault == Unhealthy(10)
    assert rig.done() == ["ask a#1", "cancel a#1"]


def test_lost_readiness_disarms_health() -> None:
    rig = Rig(child("a", stale_after=10))
    rig.ready("a")
    rig.lose("a")
    rig.done()
    rig.sleep(100)
    assert rig.done() == []
    rig.ready("a")
    rig.sleep(9)
    assert rig.done() == []
    rig.sleep(1)
    assert rig.done() == ["ask a#1", "cancel a#1"]


def test_announced_silence_is_no_symptom() -> None:
    rig = Rig(child("a", stale_after=10))
    rig.ready("a")
    rig.heartbeat("a", busy=25)
    rig.done()
    rig.sleep(24.9)
    assert rig.done() == []
    rig.sleep(0.1)
    assert rig.done() == ["ask a#1", "cancel a#1"]
    rig = Rig(child("a", stale_after=10))
    rig.ready("a")
    rig.heartbeat("a", busy=25)
    rig.sleep(3)
    rig.heartbeat("a")  # it is not busy any more: the deadline comes nearer
    rig.done()
    rig.sleep(10)
    assert rig.done() == ["ask a#1", "cancel a#1"]


def test_beat_of_an_old_attempt_is_ignored() -> None:
    rig = Rig(child("a", explicit=False, stale_after=10))
    rig.crash("a")
    rig.sleep(9)
    rig.take(o.Heartbeat("a", 1, 9.0))
    rig.take(o.Heartbeat("nobody", 1, 9.0))
    rig.done()
    rig.sleep(1)
    assert rig.done() == ["ask a#2", "cancel a#2"]


def test_attempt_marked_for_stopping_has_no_timeouts() -> None:
    rig = Rig(
        child("a", explicit=False, max_runtime=5),
        child("b", start_timeout=5, retry_first_start=True),
        child("c", explicit=False, grace=100),
        strategy="one_for_all",
    )
    rig.ready("b")
    rig.crash("b")  # c hangs, a waits for it
    rig.done()
    rig.sleep(50)
    assert rig.done() == []
    assert rig.states == {"a": "ready", "b": "waiting", "c": "stopping"}


# ---------------------------------------------------------------- request, grace, cancel


def test_grace_and_then_unresponsive_once() -> None:
    rig = Rig(child("a", explicit=False, grace=3), report_after=5)
    rig.stop("a")
    rig.done()
    rig.sleep(2.9)
    assert rig.done() == []
    rig.sleep(0.1)
    assert rig.done() == ["cancel a#1"]
    rig.sleep(4.9)
    assert rig.done() == []
    rig.sleep(0.1)
    assert rig.done() == ["unresponsive a#1"]
    assert rig.child("a").unresponsive
    assert rig.state("a") == "stopping"
    rig.sleep(1000)
    assert rig.done() == []
    rig.gone("a")
    assert not rig.child("a").unresponsive
    assert rig.machine.unresponsive == 1


def test_without_grace_request_and_cancel_are_one_step() -> None:
    rig = Rig(child("a", explicit=False))
    rig.done()
    rig.stop("a")
    assert rig.done() == ["ask a#1", "cancel a#1"]


def test_endless_grace_waits() -> None:
    rig = Rig(child("a", explicit=False, grace=inf))
    rig.stop("a")
    rig.done()
    rig.sleep(1e9)
    assert rig.done() == []
    assert rig.machine.next_deadline == inf


def test_report_after_nothing_or_never() -> None:
    rig = Rig(child("a", explicit=False, grace=1), report_after=0)
    rig.stop("a")
    rig.done()
    rig.sleep(1)
    assert rig.done() == ["cancel a#1", "unresponsive a#1"]
    rig = Rig(child("a", explicit=False), report_after=inf)
    rig.stop("a")
    assert rig.machine.next_deadline == inf


# ---------------------------------------------------------------- shutdown


def test_deadline_of_a_shutdown_cancels_everything_left_at_once() -> None:
    rig = Rig(
        child("a", explicit=False, grace=2),
        child("b", explicit=False),
        child("c", explicit=False, grace=100),
        shutdown_deadline=10,
    )
    rig.shutdown()
    rig.done()
    rig.sleep(9.9)
    assert rig.done() == []
    rig.sleep(0.1)
    assert [order.deadline for order in asked(rig)] == [10, 10]
    assert sorted(rig.done()) == ["ask a#1", "ask b#1", "cancel a#1", "cancel b#1", "cancel c#1"]
    rig.gone("a", "b", "c")
    assert rig.done() == ["finish: shutdown"]
    assert rig.events(ev.SupervisorFinished) == []


@pytest.mark.parametrize(("first", "second", "rules"), [(20, 5, 5), (5, 20, 5), (inf, 7, 7)])
def test_the_earlier_deadline_rules(first: float, second: float, rules: float) -> None:
    rig = Rig(child("a", explicit=False, grace=100))
    rig.shutdown(deadline=first)
    rig.shutdown(deadline=second)
    rig.done()
    rig.sleep(rules - 0.1)
    assert rig.done() == []
    rig.sleep(0.1)
    assert rig.done() == ["cancel a#1"]


def test_shutdown_without_grace_keeps_the_order() -> None:
    rig = Rig(*(child(name, explicit=False, grace=9) for name in "ab"))
    rig.done()
    rig.shutdown(grace=False)
    assert rig.done() == ["stopping: shutdown", "ask b#1", "cancel b#1"]
    rig.gone("b")
    assert rig.done() == ["ask a#1", "cancel a#1"]


def test_second_shutdown_without_grace_cancels_attempts_in_their_grace() -> None:
    rig = Rig(*(child(name, explicit=False, grace=9) for name in "ab"))
    rig.shutdown()
    rig.done()
    rig.shutdown(grace=False)
    assert rig.done() == ["cancel b#1"]
    rig.shutdown(grace=False)
    assert rig.done() == []
    rig.gone("b")
    assert rig.done() == ["ask a#1", "cancel a#1"]


def test_shutdown_without_grace_cancels_attempts_whose_stop_was_requested_before() -> None:
    rig = Rig(*(child(name, explicit=False, grace=9) for name in "ab"))
    rig.stop("a")
    rig.done()
    rig.shutdown(grace=False)
    assert sorted(rig.done()) == ["ask b#1", "cancel a#1", "cancel b#1", "stopping: shutdown"]


def test_shutdown_finishes_exactly_once_and_says_how() -> None:
    rig = Rig(child("a", explicit=False))
    rig.shutdown()
    rig.sleep(2)
    rig.told.clear()
    rig.gone("a")
    assert rig.events(ev.SupervisorFinished) == [("top", "shutdown", "the end", 2.0, 0)]
    rig.done()
    rig.shutdown(grace=False)
    assert rig.done() == []
    assert rig.machine.next_deadline == inf


def test_shutdown_ends_backoffs_and_waiting() -> None:
    rig = Rig(child("a", explicit=False, delays=(10,)), child("b"), child("c"))
    rig.crash("a")
    rig.done()
    rig.shutdown()
    assert rig.done() == ["stopping: shutdown", "ask b#1", "cancel b#1"]
    rig.gone("b")
    assert rig.done() == ["finish: shutdown"]
    assert set(rig.states.values()) == {"stopped"}


def test_limit_and_escalation_during_a_shutdown_are_ignored() -> None:
    rig = Rig(*(child(name, explicit=False, grace=9) for name in "ab"), child_restart_limit=None)
    rig.shutdown()
    rig.crash("b", "a")
    assert rig.machine.outcome is not None
    assert rig.machine.outcome.kind == "shutdown"
    assert not rig.events(ev.ExitJudged)


def test_nested_supervisor_hears_of_each_earlier_deadline() -> None:
    backoff = BackoffPolicy.delays(0)
    rig = Rig(
        child("a", explicit=False, grace=9),
        SupervisorSpec("b").as_child(backoff=backoff),
        SupervisorSpec("c").as_child(backoff=backoff),
    )
    rig.ready("b", "c")
    rig.stop("c")  # before there is a deadline
    rig.told.clear()
    rig.shutdown(deadline=20)
    assert [(order.name, order.deadline) for order in asked(rig)] == [("c", 20)]
    rig.told.clear()
    rig.shutdown(deadline=10)
    assert [(order.name, order.deadline) for order in asked(rig)] == [("c", 10)]
    rig.told.clear()
    rig.shutdown(deadline=30)
    assert asked(rig) == []
    rig.sleep(10)
    # Asked only now, b has to hear that this very moment is the deadline of all that is below it.
    assert {(order.name, order.deadline) for order in asked(rig)} == {("b", 10), ("a", 10)}


# ---------------------------------------------------------------- next_deadline


def test_next_deadline_is_never_too_late_and_never_stands_still() -> None:
    rig = Rig(child("a", start_timeout=10, grace=3, retry_first_start=True, delays=(2,)))
    assert rig.machine.next_deadline == 10
    rig.sleep(10)
    assert rig.machine.next_deadline == 13
    rig.exit("a", TimedOut("start", 10))
    rig.sleep(0)
    assert rig.machine.next_deadline <= 12
    rig.sleep(2)
    assert rig.state("a") == "starting"
    rig.ready("a")
    rig.sleep(100)
    assert rig.machine.next_deadline == inf


def test_waking_up_for_nothing_changes_nothing() -> None:
    rig = Rig(child("a", start_timeout=10), child("b"))
    rig.done()
    for now in (0.0, 5.0, 9.9):
        rig.now = now
        rig.wake()
        assert rig.told == []
    rig.stop("a")
    rig.gone("a")
    rig.done()
    rig.sleep(100)
    assert rig.done() == []


def test_deadline_that_is_handled_late_is_judged_one_round_later() -> None:
    rig = Rig(child("a", explicit=False, stale_after=2, max_runtime=9))
    rig.now = 5
    rig.wake(late=3)
    assert rig.done() == ["start a#1", "judge a later"]
    assert rig.machine.next_deadline == 8
    rig.heartbeat("a")
    rig.sleep(3)
    # It was silent again from 5 to 8, and nothing was late.
    assert rig.events(ev.ChildStopRequested) == [("a", "unhealthy: no heartbeat for 3s", 0.0)]
    assert rig.done() == ["ask a#1", "cancel a#1"]


def test_three_rounds_in_a_row_are_enough() -> None:
    rig = Rig(child("a", explicit=False, max_runtime=2))
    rig.now = 2
    for _ in range(3):
        rig.wake(late=0.06)
        assert rig.done()[-1] == "judge a later"
        rig.now += 1
    rig.wake(late=0.06)
    assert rig.done() == ["ask a#1", "cancel a#1"]


def test_lateness_of_a_moment_excuses_nothing() -> None:
    rig = Rig(child("a", start_timeout=2, retry_first_start=True))
    rig.now = 2.04
    rig.wake(late=0.04)
    assert rig.done() == ["start a#1", "ask a#1", "cancel a#1"]
