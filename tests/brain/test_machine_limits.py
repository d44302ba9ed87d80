"""Restart limits and backoff: windows at their edges, holds of groups, what resets a streak."""

from __future__ import annotations

import pytest

from brain.rig import OK, Rig
from brain.shapes import child
from trio_supervisor._events import events as ev
from trio_supervisor._specs.decisions import DoNotRestart
from trio_supervisor._specs.policy import BackoffPolicy, RestartLimit

# ---------------------------------------------------------------- windows


def test_window_at_its_exact_edge() -> None:
    limit = RestartLimit(2, within=10)
    rig = Rig(child("a", explicit=False, restart_limit=limit))
    rig.crash("a")  # at 0
    rig.sleep(1)
    rig.crash("a")  # at 1
    rig.sleep(9)
    rig.crash("a")  # at 10: the one at 0 counts no more, since 0 is not > 10 - 10
    assert [verdict[4] for verdict in rig.events(ev.ExitJudged)] == [1, 2, 2]
    rig.done()
    rig.sleep(0.5)
    rig.crash("a")  # at 10.5: those at 1 and 10 count
    assert rig.done() == ["stopping: limit", "finish: limit"]


def test_at_a_limit_of_zero_the_first_failure_is_one_too_many() -> None:
    rig = Rig(child("a", explicit=False, restart_limit=RestartLimit(0, within=1)))
    rig.done()
    rig.crash("a")
    assert rig.done() == ["stopping: limit", "finish: limit"]


def test_limit_escalates_once_and_stops_the_others_in_order() -> None:
    spared = {name: child(name, explicit=False, grace=1) for name in "bc"}
    failing = child("a", explicit=False, restart_limit=RestartLimit(1, within=60))
    rig = Rig(failing, *spared.values())
    rig.crash("a")
    rig.done()
    rig.crash("a")
    assert rig.done() == ["stopping: limit", "ask c#1"]
    outcome = rig.machine.outcome
    assert outcome is not None
    assert outcome.reason == "top/a gave up: 1 restart in 60s; last: crashed: ValueError: boom"
    rig.crash("c")
    rig.gone("b")
    assert rig.done() == ["ask b#1", "finish: limit"]


def test_limit_quarantines_and_spares_the_others() -> None:
    limit = RestartLimit(1, within=60)
    held = child("a", explicit=False, restart_limit=limit, on_limit="quarantine")
    rig = Rig(held, child("b", explicit=False), strategy="one_for_all")
    rig.crash("a")
    rig.gone("b")
    rig.done()
    rig.crash("a")
    assert rig.done() == []  # if the failed child is not restarted, neither is its group
    assert rig.states == {"a": "quarantined", "b": "ready"}
    assert rig.child("a").reason == "1 restart in 60s"
    rig.restart("a")
    assert rig.done() == ["start a#3"]


def test_restart_command_is_never_charged() -> None:
    rig = Rig(child("a", explicit=False, restart_limit=RestartLimit(1, within=60)))
    for _ in range(20):
        rig.restart("a")
        rig.gone("a")
    rig.crash("a")
    assert rig.state("a") == "ready"
    assert rig.child("a").restarts == 1


def test_group_restart_is_one_charge_and_a_wider_one_charges_again() -> None:
    children = [child(name, retry_first_start=True) for name in "abc"]
    rig = Rig(*children, strategy="rest_for_one", restart_limit=RestartLimit(2, within=60))
    rig.ready("a", "b", "c")
    rig.crash("b")  # one
    rig.crash("a")  # widens the round: two
    rig.gone("c")
    rig.done()
    rig.ready("a")
    rig.crash("b")  # dies before it is ready: one more
    assert rig.done()[1] == "stopping: limit"


def test_two_siblings_crash_in_one_tick() -> None:
    for strategy, charges in (("one_for_all", 1), ("one_for_one", 2)):
        children = [child(name, explicit=False) for name in "ab"]
        rig = Rig(*children, strategy=strategy, restart_limit=RestartLimit(9, within=60))
        rig.crash("a", "b")
        assert rig.machine.window is not None
        assert rig.machine.window.used(0.0) == charges


def test_own_window_is_asked_first_and_a_refusal_there_does_not_charge_the_shared_one() -> None:
    own = RestartLimit(1, within=60)
    held = child("a", explicit=False, restart_limit=own, on_limit="quarantine")
    rig = Rig(held, child("b", explicit=False), restart_limit=RestartLimit(2, within=60))
    rig.crash("a")
    rig.crash("a")
    assert rig.state("a") == "quarantined"
    rig.crash("b")
    assert rig.state("b") == "ready"
    rig.done()
    rig.crash("b")
    assert rig.done() == ["stopping: limit", "finish: limit"]


def test_child_inherits_the_limit_of_its_supervisor_unless_it_has_one_or_none() -> None:
    rig = Rig(
        child("a", explicit=False),
        child("b", explicit=False, restart_limit=None),
        child("c", explicit=False, restart_limit=RestartLimit(1, within=1)),
        child_restart_limit=RestartLimit(3, within=60),
    )
    rig.crash("a", "b", "c")
    assert [verdict[4:7] for verdict in rig.events(ev.ExitJudged)] == [
        (1, 3, 60.0),
        (0, None, 0.0),
        (1, 1, 1.0),
    ]


# ---------------------------------------------------------------- backoff


def test_backoff_grows_and_is_reset_by_having_been_ready_for_long() -> None:
    rig = Rig(child("a", delays=(1, 2, 4), reset_after=10, retry_first_start=True))
    waits: list[float | None] = []

    def crash_and_wait() -> None:
        rig.crash("a")
        waits.append(rig.child("a").until)
        assert rig.state("a") == "backing_off"
        rig.sleep((rig.child("a").until or 0) - rig.now)
        assert rig.state("a") == "starting"

    for _ in range(4):
        crash_and_wait()
    assert waits == [1, 3, 7, 11]
    rig.sleep(50)  # long, and never ready
    crash_and_wait()
    rig.ready("a")
    rig.sleep(9.5)  # ready, and not for long enough
    crash_and_wait()
    rig.ready("a")
    rig.sleep(10)
    crash_and_wait()
    assert waits[4:] == [65, 78.5, 89.5]


def test_readiness_that_was_lost_counts_as_far_as_it_went() -> None:
    for seconds, wait in ((10, 1), (9, 2)):
        rig = Rig(child("a", delays=(1, 2), reset_after=10, retry_first_start=True))
        rig.crash("a")
        rig.sleep(1)
        rig.ready("a")
        rig.sleep(seconds)
        rig.lose("a")
        rig.sleep(100)
        rig.crash("a")
        assert rig.child("a").until == rig.now + wait


def test_clock_of_reset_after_restarts_when_readiness_is_lost() -> None:
    rig = Rig(child("a", delays=(1, 2), reset_after=10, retry_first_start=True))
    rig.crash("a")
    rig.sleep(1)
    rig.ready("a")
    rig.sleep(6)
    rig.lose("a")
    rig.ready("a")
    rig.sleep(6)
    rig.crash("a")
    assert rig.child("a").until == rig.now + 2


def test_success_of_a_permanent_child_backs_off_like_a_failure() -> None:
    rig = Rig(child("a", explicit=False, delays=(0, 5)))
    rig.exit("a")
    assert rig.state("a") == "ready"
    rig.exit("a")
    assert rig.child("a").until == 5


def test_backoff_with_jitter_draws_from_the_given_generator() -> None:
    policy = BackoffPolicy(initial=1, factor=2, maximum=30, jitter=0.5)
    spec = child("a", explicit=False).replace(backoff=policy)
    rig = Rig(spec)
    rig.crash("a")  # the oracle draws the same number
    until = rig.child("a").until
    assert until is not None
    assert 0.5 <= until <= 1.5


def test_group_waits_for_the_longest_delay_in_it() -> None:
    a = child("a", explicit=False, delays=(1,))
    b = child("b", explicit=False, delays=(10,))
    rig = Rig(a, b, strategy="rest_for_one")
    rig.crash("b")
    assert rig.child("b").until == 10
    rig.sleep(2)
    rig.crash("a")
    assert [rig.child(name).until for name in "ab"] == [10, 10]
    rig.done()
    rig.sleep(7.9)
    assert rig.done() == []
    rig.sleep(0.1)
    assert rig.done() == ["start a#2", "start b#2"]


def test_group_starts_together_after_its_backoff_and_a_stop_ends_a_backoff_at_once() -> None:
    rig = Rig(*(child(name, explicit=False, delays=(5,)) for name in "abc"), strategy="one_for_all")
    rig.crash("a")
    rig.gone("c", "b")
    assert set(rig.states.values()) == {"backing_off"}
    rig.stop("b")
    assert rig.state("b") == "stopped"
    rig.done()
    rig.sleep(5)
    assert rig.done() == ["start a#2", "start c#2"]


# ---------------------------------------------------------------- the delay of a group


@pytest.mark.parametrize("command", ["stop", "quarantine", "remove"])
@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_delay_of_a_group_ends_with_the_child_that_asked_for_it(
    strategy: str, command: str
) -> None:
    rig = Rig(
        child("a", explicit=False),
        child("b", explicit=False, delays=(50,)),
        child("c", explicit=False),
        strategy=strategy,
    )
    rig.crash("b")
    rig.gone("c")
    if strategy == "one_for_all":
        rig.gone("a")
    rig.done()
    rig.sleep(1)
    getattr(rig, command)("b")
    started = ["start a#2", "start c#2"] if strategy == "one_for_all" else ["start c#2"]
    assert rig.done() == started
    assert rig.machine.next_deadline > 1


def test_delay_of_another_failure_in_the_group_remains_and_is_shown() -> None:
    rig = Rig(
        child("a", explicit=False, delays=(50,)),
        child("b", explicit=False, delays=(4,)),
        child("c", explicit=False),
        strategy="one_for_all",
    )
    rig.crash("a")
    rig.gone("c", "b")
    rig.restart("b")
    rig.done()
    rig.sleep(1)
    rig.crash("b")
    assert rig.child("c").until == 50
    rig.stop("a")
    assert rig.events(ev.ChildBackingOff)[-2:] == [("b", 5.0), ("c", 5.0)]
    assert (rig.child("b").until, rig.child("c").until) == (5, 5)
    rig.done()
    rig.sleep(4)
    assert rig.done() == ["start b#3", "start c#2"]


def test_delay_that_is_over_does_not_count_when_a_longer_one_ends() -> None:
    rig = Rig(
        child("a", explicit=False, delays=(50,)),
        child("b", explicit=False, delays=(4,)),
        child("c", explicit=False),
        strategy="one_for_all",
    )
    rig.crash("a")
    rig.gone("c", "b")
    rig.restart("b")
    rig.crash("b")  # asks for 4, while ``a`` asks for 50
    rig.done()
    rig.sleep(9)
    rig.remove("a")
    assert rig.done() == ["start b#3", "start c#2"]


def test_delay_ends_when_policy_takes_the_child_down() -> None:
    limited = child(
        "b", explicit=False, delays=(50,), restart_limit=RestartLimit(1, 99), on_limit="quarantine"
    )
    rig = Rig(
        child("a", explicit=False), limited, child("c", explicit=False), strategy="one_for_all"
    )
    rig.crash("b")
    rig.gone("c", "a")
    rig.restart("b")
    rig.exit("b", OK, DoNotRestart())
    assert rig.states == {"a": "ready", "b": "done", "c": "ready"}


def test_child_that_delayed_groups_holds_on_to_none_of_them() -> None:
    rig = Rig(
        child("a", explicit=False, delays=(5,)), child("b", explicit=False), strategy="one_for_all"
    )
    for _ in range(3):
        rig.crash("a")
        rig.gone("b")
        rig.sleep(5)
    assert not rig.machine.children["a"].delaying
