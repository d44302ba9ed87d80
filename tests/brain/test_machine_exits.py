"""What follows from an exit: the table, `decide`, limits, backoff, first starts, auto_shutdown.

The oracle watches every step of these tests too; what they say is what a reader wants to see said.
"""

from __future__ import annotations

from typing import Any

import pytest

from brain.rig import BOOM, OK, Rig
from brain.shapes import Shape, child, supervisor
from trio_supervisor._brain.messages import Exited, FirstStart
from trio_supervisor._errors import TaskFailure
from trio_supervisor._events import events as ev
from trio_supervisor._events.exits import (
    Crashed,
    Failed,
    SelfCancelled,
    TaskExit,
    TimedOut,
    Unhealthy,
)
from trio_supervisor._specs.decisions import (
    DoNotRestart,
    Escalate,
    Quarantine,
    Restart,
    RestartAfter,
    RestartDecision,
    ShutdownTree,
)
from trio_supervisor._specs.policy import RestartLimit

FAILURES = [
    BOOM,
    Failed(TaskFailure("no luck")),
    TimedOut("run", 1.0),
    Unhealthy(2.0),
    SelfCancelled(),
]
POLICIES = ("permanent", "transient", "temporary")


def kinds(exits: list[TaskExit]) -> list[str]:
    return [each.kind for each in exits]


# ------------------------------------------------ docs/design.md, What follows an exit


@pytest.mark.parametrize("how", [OK, *FAILURES], ids=kinds([OK, *FAILURES]))
@pytest.mark.parametrize("restart", POLICIES)
def test_table(restart: str, how: TaskExit) -> None:
    rig = Rig(child("a", explicit=False, restart=restart), child("b", explicit=False))
    rig.done()
    rig.exit("a", how)
    again = restart == "permanent" or (restart == "transient" and how.is_failure)
    assert rig.done() == (["start a#2"] if again else [])
    if restart == "temporary":
        assert "a" not in rig.states
    else:
        assert rig.state("a") == ("ready" if again else "done")


@pytest.mark.parametrize("how", [OK, *FAILURES], ids=kinds([OK, *FAILURES]))
@pytest.mark.parametrize("restart", POLICIES)
def test_no_child_restarts_while_the_supervisor_stops(restart: str, how: TaskExit) -> None:
    rig = Rig(child("a", explicit=False), child("b", explicit=False, restart=restart, grace=5))
    rig.shutdown()
    rig.done()
    rig.exit("b", how)
    assert rig.done() == ["ask a#1", "cancel a#1"]
    assert rig.state("b") == "stopped"
    rig.gone("a")
    assert rig.done() == ["finish: shutdown"]


@pytest.mark.parametrize("how", [OK, *FAILURES], ids=kinds([OK, *FAILURES]))
def test_table_is_not_asked_once_the_desired_state_is_down(how: TaskExit) -> None:
    rig = Rig(child("a", explicit=False, grace=5), restart_limit=RestartLimit(0, within=1))
    rig.stop("a")
    rig.exit("a", how)
    assert rig.state("a") == "stopped"
    assert not rig.events(ev.ExitJudged)


def test_exit_of_a_group_member_before_its_stop_request_is_not_judged() -> None:
    rig = Rig(*(child(name, explicit=False) for name in "abc"), strategy="one_for_all")
    rig.crash("a")
    assert rig.done()[3:] == ["ask c#1", "cancel c#1"]
    rig.crash("b")  # it was b's turn only after c's
    assert len(rig.events(ev.ExitJudged)) == 0
    rig.gone("c")
    assert rig.done() == ["start a#2", "start b#2", "start c#2"]


@pytest.mark.parametrize("number", [0, 2])
def test_exit_of_another_attempt_is_ignored(number: int) -> None:
    rig = Rig(child("a", explicit=False))
    rig.done()
    rig.take(Exited("a", number, BOOM))
    rig.take(Exited("nobody", 1, BOOM))
    assert rig.done() == []
    assert rig.state("a") == "ready"


def test_fatal_ends_the_supervisor_without_grace() -> None:
    rig = Rig(child("a", explicit=False, grace=5), child("b", explicit=False))
    rig.done()
    rig.exit("b", None)
    assert rig.done() == ["stopping: fatal", "ask a#1", "cancel a#1"]
    rig.gone("a")
    assert rig.done() == ["finish: fatal"]


def test_fatal_while_stopping_drops_the_grace() -> None:
    rig = Rig(child("a", explicit=False, grace=5), child("b", explicit=False, grace=5))
    rig.shutdown()
    rig.done()
    rig.exit("b", None)
    assert rig.done() == ["ask a#1", "cancel a#1"]
    rig.gone("a")
    assert rig.done() == ["finish: shutdown"]


# ---------------------------------------------------------------- decide


@pytest.mark.parametrize("restart", POLICIES)
@pytest.mark.parametrize(
    ("decision", "words", "state"),
    [
        (Restart(), ["start a#2"], "ready"),
        (Restart(3), [], "backing_off"),
        (RestartAfter(3), [], "backing_off"),
        (DoNotRestart(), [], "done"),
        (Quarantine("look"), [], "quarantined"),
        (Escalate("why"), ["stopping: escalated", "ask b#1", "cancel b#1"], "stopped"),
        (ShutdownTree("so"), ["stopping: shutdown", "ask b#1", "cancel b#1"], "stopped"),
    ],
    ids=["restart", "restart in 3", "restart after 3", "done", "quarantine", "escalate", "stop"],
)
def test_decision(restart: str, decision: RestartDecision, words: list[str], state: str) -> None:
    rig = Rig(child("a", explicit=False, restart=restart), child("b", explicit=False))
    rig.done()
    rig.exit("a", BOOM, decision)
    assert rig.done() == words
    if state == "done" and restart == "temporary":
        assert "a" not in rig.states
    else:
        assert rig.state("a") == state


def test_reasons_of_decisions_are_shown() -> None:
    rig = Rig(child("a", explicit=False), child("b", explicit=False))
    rig.exit("a", BOOM, Quarantine("look here"))
    assert rig.child("a").reason == "look here"
    rig.exit("b", BOOM, Quarantine())
    assert rig.child("b").reason == "crashed: ValueError: boom"
    rig.restart("a")
    rig.exit("a", BOOM, Escalate("beyond me"))
    assert rig.machine.outcome is not None
    assert (rig.machine.outcome.reason, rig.machine.outcome.child) == ("beyond me", "a")


def test_when_decide_raises_the_row_of_a_crash_applies() -> None:
    rig = Rig(child("a", explicit=False, restart="transient"))
    rig.done()
    rig.take(Exited("a", 1, OK, None, "succeeded", None, "KeyError: 'x'"))
    verdict = rig.events(ev.ExitJudged)[0]
    assert (verdict[1], verdict[2], verdict[-1]) == ("restart", "table", "KeyError: 'x'")
    assert rig.done() == ["start a#2"]


def test_decided_restarts_are_limited_too() -> None:
    limit = RestartLimit(1, within=10)
    rig = Rig(child("a", explicit=False, restart="transient", restart_limit=limit))
    rig.exit("a", OK, Restart())
    rig.done()
    rig.exit("a", OK, Restart())
    assert rig.done() == ["stopping: limit", "finish: limit"]


def test_decide_is_asked_only_where_the_table_would_be() -> None:
    rig = Rig(child("a"), child("b", explicit=False, grace=1))
    asked = rig.machine.policy_will_decide
    assert not asked("a", 1, failed=True)  # its first start fails: nobody is asked
    assert asked("a", 1, failed=False)
    assert not asked("a", 2, failed=False)
    assert not asked("nobody", 1, failed=False)
    rig.ready("a")
    assert asked("a", 1, failed=True)
    assert asked("b", 1, failed=True)
    rig.stop("b")
    assert not asked("b", 1, failed=True)
    rig.shutdown()
    assert not asked("a", 1, failed=True)


# ---------------------------------------------------------------- first starts


def test_first_start_that_fails_stops_what_was_started_in_reverse() -> None:
    rig = Rig(*(child(name, grace=1) for name in "abc"), child("d"))
    rig.ready("a", "b")
    rig.done()
    rig.crash("c")
    assert rig.done() == ["stopping: start_failed", "ask b#1"]
    rig.gone("b", "a")
    assert rig.done() == ["ask a#1", "finish: start_failed"]
    assert rig.machine.outcome is not None
    assert (rig.machine.outcome.child, rig.machine.outcome.attempt) == ("c", 1)


def test_first_start_that_ends_by_success_is_no_failed_start() -> None:
    rig = Rig(child("a", restart="transient"))
    rig.exit("a")
    assert rig.state("a") == "done"
    assert rig.machine.state == "running"


def test_with_retry_first_start_it_is_an_ordinary_failure() -> None:
    rig = Rig(child("a", retry_first_start=True, delays=(2,)), child("b"))
    rig.done()
    rig.crash("a")
    rig.sleep(2)
    rig.ready("a")
    assert rig.done() == ["start a#2", "start b#1"]


def test_start_child_that_fails_forgets_the_child_and_leaves_siblings_alone() -> None:
    rig = Rig(child("a", explicit=False), strategy="one_for_all")
    rig.add(child("z"), FirstStart.FORGETS_CHILD)
    rig.done()
    rig.crash("z")
    assert rig.done() == ["failed start of z"]
    assert rig.states == {"a": "ready"}


def test_failed_start_of_a_child_with_a_dependent_keeps_its_name() -> None:
    rig = Rig()
    rig.add(child("y"), FirstStart.FORGETS_CHILD)
    rig.add(child("z", requires=("y",)), FirstStart.FORGETS_CHILD)
    rig.crash("y")
    assert rig.states == {"y": "stopped", "z": "waiting"}
    assert rig.child("y").reason == "failed to start: crashed: ValueError: boom"


def test_start_child_soon_that_fails_is_an_ordinary_failure() -> None:
    rig = Rig()
    rig.add(child("z", delays=(3,)), FirstStart.ORDINARY)
    rig.crash("z")
    assert rig.child("z").until == 3


def test_restart_command_that_fails_to_start_is_an_ordinary_failure() -> None:
    rig = Rig(child("a"), child("b", explicit=False))
    rig.restart("a")
    rig.gone("a")
    rig.done()
    rig.crash("a")
    assert rig.done() == ["start a#3"]


# The table of EEP-56.


def significant(mode: str, *restarts: str, **options: Any) -> Rig:
    children = [
        child(name, explicit=False, restart=restart, significant=True, **options)
        for name, restart in zip("abc", restarts, strict=False)
    ]
    return Rig(*children, child("other", explicit=False), auto_shutdown=mode)


@pytest.mark.parametrize("how", [OK, BOOM], ids=["succeeded", "crashed"])
@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_any_significant(restart: str, how: TaskExit) -> None:
    rig = significant("any_significant", restart, "transient")
    rig.done()
    rig.exit("a", how)
    ends = restart == "temporary" or how is OK
    assert rig.done()[:1] == (["stopping: auto_shutdown"] if ends else ["start a#2"])


def test_all_significant_waits_for_the_last_active_one() -> None:
    rig = significant("all_significant", "transient", "temporary", "transient")
    rig.exit("a")
    rig.crash("b")
    rig.done()
    rig.crash("c")
    assert rig.done() == ["start c#2"]
    rig.exit("c")
    assert rig.done()[0] == "stopping: auto_shutdown"


def test_significant_that_backs_off_is_still_to_come() -> None:
    rig = significant("all_significant", "transient", "transient", delays=(5,))
    rig.crash("b")
    rig.exit("a")
    assert rig.machine.state == "running"
    rig.sleep(5)
    rig.exit("b")
    assert rig.machine.state == "stopping"


def test_ends_by_command_or_as_a_group_member_never_count_as_significant() -> None:
    rig = significant("any_significant", "transient", "temporary")
    rig.stop("a")
    rig.gone("a")
    rig.remove("b")
    rig.gone("b")
    assert rig.machine.state == "running"
    children = [
        child("a", explicit=False, restart="transient"),
        child("b", explicit=False, restart="temporary", significant=True),
    ]
    rig = Rig(*children, strategy="one_for_all", auto_shutdown="any_significant")
    rig.crash("a")
    rig.gone("b")
    assert rig.states == {"a": "ready"}
    assert rig.machine.state == "running"


def test_others_do_not_count() -> None:
    rig = Rig(
        child("a", explicit=False, restart="transient", significant=True),
        child("b", explicit=False, restart="temporary"),
        auto_shutdown="any_significant",
    )
    rig.exit("b")
    assert rig.machine.state == "running"


def test_all_done() -> None:
    rig = Rig(
        *(child(name, explicit=False, restart="transient") for name in "ab"),
        child("c", explicit=False, restart="temporary"),
        auto_shutdown="all_done",
    )
    rig.exit("a")
    rig.exit("c")
    rig.crash("b")
    assert rig.machine.state == "running"
    rig.done()
    rig.exit("b")
    assert rig.done() == ["stopping: auto_shutdown", "finish: auto_shutdown"]


def test_quarantined_child_does_not_come_back() -> None:
    limit = RestartLimit(0, within=1)
    held = child("a", explicit=False, restart_limit=limit, on_limit="quarantine")
    rig = Rig(held, auto_shutdown="all_done")
    rig.crash("a")
    assert rig.machine.state == "finished"


def test_without_auto_shutdown_idleness_is_reported_once() -> None:
    rig = Rig(*(child(name, explicit=False, restart="transient") for name in "ab"))
    rig.exit("a")
    assert not rig.events(ev.SupervisorIdle)
    rig.exit("b")
    rig.restart("b")
    rig.exit("b")
    assert len(rig.events(ev.SupervisorIdle)) == 1
    assert rig.machine.state == "running"


# ---------------------------------------------------------------- words for people


def test_exit_kinds_reach_the_events() -> None:
    rig = Rig(child("a", explicit=False))
    rig.sleep(1.5)
    rig.exit("a", Crashed(ValueError("boom")))
    assert rig.events(ev.ChildExited) == [("a", "crashed", "crashed: ValueError: boom", 1.5, None)]


# ---------------------------------------------------------------- all children are done


def test_all_done_waits_for_the_first_child() -> None:
    rig = Rig(auto_shutdown="all_done")
    rig.sleep(9)
    assert rig.done() == []
    rig.add(child("x", explicit=False, restart="transient"))
    rig.exit("x")
    assert rig.done() == ["start x#1", "stopping: auto_shutdown", "finish: auto_shutdown"]


def test_all_done_counts_a_removal_by_command() -> None:
    rig = Rig(child("a", explicit=False), auto_shutdown="all_done")
    rig.done()
    rig.remove("a")
    rig.gone("a")
    assert rig.done()[2:] == ["stopping: auto_shutdown", "finish: auto_shutdown"]


def test_all_done_does_not_wait_for_a_chain_that_waits_in_vain() -> None:
    chain = [child(name, requires=name and (chr(ord(name) - 1),)) for name in "bcd"]
    first = child("a", retry_first_start=True)
    rig = Rig(first, *chain, child("x", explicit=False), auto_shutdown="all_done")
    rig.exit("a", BOOM, DoNotRestart())
    assert rig.done()[-1] == "start x#1"  # in its turn, since none of the chain can start
    assert rig.states["d"] == "waiting"
    rig.exit("x", OK, DoNotRestart())
    assert rig.done() == ["stopping: auto_shutdown", "finish: auto_shutdown"]


def test_all_done_waits_for_a_chain_whose_first_child_an_operator_holds() -> None:
    first = child("a", retry_first_start=True)
    rig = Rig(first, child("b", requires=("a",)), auto_shutdown="all_done")
    rig.stop("a")
    rig.gone("a")
    assert rig.machine.state == "running"
    rig.remove("b")  # it waits, and is at rest at once
    rig.remove("a")
    assert rig.done()[-1] == "finish: auto_shutdown"


def test_all_done_waits_for_backoffs_behind_requirements_that_have_done_their_work() -> None:
    done: dict[str, Any] = {"explicit": False, "restart": "transient"}
    rig = Rig(
        child("migrate", **done),
        child("import", requires=("migrate",), **done),
        child("web", requires=("migrate", "import"), delays=(5,)),
        child("front", requires=("migrate", "import", "web")),
        auto_shutdown="all_done",
    )
    rig.exit("migrate")
    rig.exit("import")
    rig.ready("web")
    rig.exit("front", OK, DoNotRestart())
    rig.crash("web")
    assert (rig.machine.state, rig.state("web")) == ("running", "backing_off")
    rig.restart("front")
    assert (rig.machine.state, rig.state("front")) == ("running", "waiting")
    rig.sleep(5)
    rig.exit("web", OK, DoNotRestart())
    rig.exit("front", OK, DoNotRestart())
    assert rig.done()[-1] == "finish: auto_shutdown"


def test_all_done_keeps_open_what_the_operator_holds() -> None:
    rig = Rig(
        child("a", explicit=False, restart="transient"),
        child("b", explicit=False, restart="transient"),
        auto_shutdown="all_done",
    )
    rig.quarantine("b")
    rig.gone("b")
    rig.exit("a")
    assert rig.machine.state == "running"
    rig.restart("b")
    rig.done()
    rig.exit("b")
    assert rig.done() == ["stopping: auto_shutdown", "finish: auto_shutdown"]


def test_all_done_with_children_that_policy_quarantined_is_a_failure() -> None:
    names = "abcd"
    rig = Rig(*[child(name, explicit=False) for name in names], auto_shutdown="all_done")
    rig.done()
    for name in names:
        rig.exit(name, BOOM, Quarantine(f"odd {name}"))
    assert rig.done() == ["stopping: quarantined", "finish: quarantined"]
    outcome = rig.machine.outcome
    assert outcome is not None
    assert outcome.is_failure
    assert outcome.child == "a"
    assert outcome.reason == (
        "top/a was quarantined: odd a; top/b was quarantined: odd b; "
        "top/c was quarantined: odd c; and 1 more"
    )


def test_decision_to_end_the_tree_leaves_a_nested_supervisor_at_work() -> None:
    shape = Shape(
        "nested",
        supervisor(
            child("a", explicit=False), child("b", explicit=False), auto_shutdown="all_done"
        ),
        nested=True,
    )
    rig = Rig(shape=shape)
    rig.done()
    rig.exit("a", OK, ShutdownTree("enough"))
    assert rig.done() == ["stop the tree: enough"]
    assert (rig.state("a"), rig.child("a").reason) == ("stopped", "enough")
    rig.crash("b")
    assert rig.done() == ["start b#2"]
    rig.remove("b")
    rig.gone("b")
    assert rig.machine.state == "running"  # until its turn to stop has come
    rig.shutdown()
    assert rig.machine.state == "finished"


def test_subclass_of_a_decision_is_that_decision() -> None:
    class Odd(Quarantine):  # type: ignore[misc]  # final for type checkers only
        pass

    rig = Rig(child("a", explicit=False))
    rig.exit("a", BOOM, Odd("odd"))
    assert rig.state("a") == "quarantined"


def test_only_attempts_that_hang_in_this_stop_are_counted_as_unresponsive() -> None:
    rig = Rig(child("a", explicit=False), child("b", explicit=False), report_after=1)
    rig.restart("a")
    rig.sleep(2)
    rig.gone("a")  # it was unresponsive, and has ended
    rig.restart("b")
    rig.sleep(2)
    rig.shutdown()  # while b hangs
    rig.gone("b")
    rig.gone("a")
    assert rig.events(ev.SupervisorFinished)[0][-1] == 1
