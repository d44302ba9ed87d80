"""The exit types, their one-line descriptions, and `classify` on plain values."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from trio_supervisor import (
    Aborted,
    ChildRunReport,
    Crashed,
    Failed,
    SelfCancelled,
    Stopped,
    Succeeded,
    TaskExit,
    TaskFailure,
    TimedOut,
    Unhealthy,
)
from trio_supervisor._events.exits import classify, leaves

if TYPE_CHECKING:
    from collections.abc import Sequence

EXITS: list[TaskExit] = [
    Succeeded(3),
    Failed(TaskFailure("no answer", category="upstream")),
    Crashed(ValueError("boom")),
    TimedOut("start", 30.0),
    Unhealthy(12.5),
    Stopped("deploy"),
    Aborted("deploy"),
    SelfCancelled("my own"),
]
NOTHING: dict[str, Any] = {
    "error": None,
    "body_cancelled": False,
    "cancel_called": False,
    "fault": None,
    "stop_reason": None,
    "value": None,
}


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class OwnGroup(ExceptionGroup[Exception]):
    def derive(self, errors: Sequence[Exception], /) -> OwnGroup:  # type: ignore[override]
        return OwnGroup(self.message, errors)


def judge(**facts: Any) -> TaskExit | BaseException:
    return classify(**(NOTHING | facts))


def test_only_success_is_a_success_and_our_own_stop_is_no_failure() -> None:
    assert [e.kind for e in EXITS if e.is_success] == ["succeeded"]
    assert [e.kind for e in EXITS if e.is_failure] == [
        "failed",
        "crashed",
        "timed_out",
        "unhealthy",
        "self_cancelled",
    ]


def test_kinds_are_all_different() -> None:
    assert len({e.kind for e in EXITS}) == 8


def test_an_exit_can_be_matched_on() -> None:
    match EXITS[2]:
        case Crashed(error):
            assert isinstance(error, ValueError)
        case _:
            pytest.fail("did not match")
    assert Stopped("a") == Stopped("a") != Stopped("b")
    assert Stopped("a") != Aborted("a")


def test_an_exit_is_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        EXITS[5].reason = "other"


def test_the_error_is_the_very_exception() -> None:
    crash = ValueError()
    failure = TaskFailure("x")
    assert Crashed(crash).error is crash
    assert Failed(failure).error is failure
    assert [e.error for e in EXITS if not isinstance(e, Crashed | Failed)] == [None] * 6


@pytest.mark.parametrize(
    ("exit_", "line"),
    list(
        zip(
            EXITS,
            [
                "succeeded",
                "failed: no answer (upstream)",
                "crashed: ValueError: boom",
                "timed out: not ready within 30s",
                "unhealthy: no heartbeat for 12.5s",
                "stopped: deploy",
                "aborted: deploy",
                "self cancelled: my own",
            ],
            strict=True,
        )
    ),
)
def test_describe_says_it_in_one_line(exit_: TaskExit, line: str) -> None:
    assert exit_.describe() == line


def test_describe_without_details() -> None:
    assert Stopped().describe() == "stopped"
    assert Crashed(KeyError()).describe() == "crashed: KeyError"
    assert TimedOut("run", 0.5).describe() == "timed out: still running after 0.5s"


def test_describe_is_one_bounded_line_whatever_the_error_says() -> None:
    line = Crashed(ValueError("a\nb\t" + "x" * 1000)).describe()
    assert line.startswith("crashed: ValueError: a b xxx")
    assert line.endswith("...")
    assert len(line) == 200


def test_describe_survives_a_broken_str() -> None:
    assert "Unspeakable" in Crashed(Unspeakable()).describe()
    group = ExceptionGroup("all", [Unspeakable()])
    assert Crashed(group).describe() == "crashed: ExceptionGroup: all (1 sub-exception)"


def test_has_looks_inside_groups_of_any_kind() -> None:
    crash = Crashed(ExceptionGroup("a", [OwnGroup("b", [KeyError("k")]), OSError()]))
    assert crash.has(KeyError)
    assert crash.has((ZeroDivisionError, OSError))
    assert crash.has(OwnGroup)
    assert not crash.has(ZeroDivisionError)
    assert Failed(TaskFailure("x")).has(TaskFailure)
    assert not Succeeded().has(Exception)


def test_leaves_opens_plain_groups_only_and_keeps_their_order() -> None:
    one, two, three = ValueError(1), ValueError(2), ValueError(3)
    own = OwnGroup("mine", [two])
    group = BaseExceptionGroup("", [ExceptionGroup("", [one, own]), SystemExit(), three])
    assert [type(leaf) for leaf in leaves(group)] == [ValueError, OwnGroup, SystemExit, ValueError]
    assert next(leaves(group)) is one


def test_leaves_of_a_very_deep_group_do_not_overflow_the_stack() -> None:
    error: Exception = ValueError()
    for _ in range(10_000):
        error = ExceptionGroup("", [error])
    assert [type(leaf) for leaf in leaves(error)] == [ValueError]
    # Python itself would take such a chain apart recursively, and some versions of it crash.
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]


def test_row_1_something_fatal_is_returned_itself_whatever_else_happened() -> None:
    fatal = SystemExit(7)
    alone = BaseExceptionGroup("", [fatal])
    for error in (fatal, alone, BaseExceptionGroup("", [ValueError(), alone])):
        assert judge(error=error, stop_reason="x", fault=Unhealthy(1), cancel_called=True) is fatal


def test_row_2_one_leaf_comes_bare_and_several_in_their_group() -> None:
    leaf = ValueError()
    assert judge(error=leaf) == Crashed(leaf)
    assert judge(error=ExceptionGroup("", [ExceptionGroup("", [leaf])])) == Crashed(leaf)
    group = ExceptionGroup("", [leaf, KeyError()])
    assert judge(error=group) == Crashed(group)
    own = OwnGroup("mine", [leaf])
    assert judge(error=own) == Crashed(own)


def test_row_2_a_task_failure_is_a_failure_unless_it_is_one_of_several() -> None:
    failure = TaskFailure("x")
    assert judge(error=failure) == Failed(failure)
    assert judge(error=ExceptionGroup("", [failure])) == Failed(failure)
    group = ExceptionGroup("", [failure, failure])
    assert judge(error=group) == Crashed(group)


def test_row_3_time_and_health_go_before_what_the_body_did_in_the_end() -> None:
    fault = TimedOut("run", 5)
    assert judge(fault=fault, stop_reason="timed out", value=3) is fault
    assert judge(fault=fault, body_cancelled=True, cancel_called=True) is fault
    assert judge(fault=fault, error=ValueError()).kind == "crashed"  # type: ignore[union-attr]


def test_row_4_who_cancelled_decides() -> None:
    ours = judge(body_cancelled=True, cancel_called=True, stop_reason="deploy", cancelled_by="x")
    assert ours == Aborted("deploy")
    around = judge(body_cancelled=True, cancel_called=True, cancelled_by="a scope around it")
    assert around == Aborted("a scope around it")
    own = judge(body_cancelled=True, stop_reason="deploy", cancelled_by="finished")
    assert own == SelfCancelled("finished")


def test_row_5_a_return_is_a_success_unless_we_had_asked() -> None:
    assert judge(value=42) == Succeeded(42)
    assert judge(value=42, stop_reason="deploy") == Stopped("deploy")
    assert judge(value=42, stop_reason="", cancel_called=True) == Stopped("")


def test_every_combination_of_facts_gets_exactly_one_answer() -> None:
    errors = (None, ValueError(), TaskFailure("x"), SystemExit())
    flags = (False, True)
    seen = set()
    for error, body, cancel, fault, stop in product(
        errors, flags, flags, (None, Unhealthy(1)), (None, "stop")
    ):
        answer = judge(
            error=error, body_cancelled=body, cancel_called=cancel, fault=fault, stop_reason=stop
        )
        assert isinstance(answer, TaskExit) or answer is error
        if isinstance(answer, TaskExit):
            seen.add(answer.kind)
            # Our stop is never the child's failure: only errors, faults and self-cancels are.
            assert answer.is_failure == bool(error or fault or (body and not cancel))
    assert seen == {e.kind for e in EXITS} - {"timed_out"}


def test_a_report_knows_how_long_it_took() -> None:
    report = ChildRunReport("a", "app/a", 1, 0, Succeeded(), True, False, 10.0, None, 12.5)
    assert report.seconds == 2.5
    assert report.stop_reason is None
    assert report.last_heartbeat is None


def test_judging_does_not_need_trio() -> None:
    code = "import sys, trio_supervisor._events.exits as e; sys.exit('trio' in sys.modules)"
    # The package's facade imports Trio, so it is left out: what counts is what this module needs.
    setup = (
        "import sys, types, importlib.util as u; m = types.ModuleType('trio_supervisor');"
        "m.__path__ = u.find_spec('trio_supervisor').submodule_search_locations;"
        "sys.modules['trio_supervisor'] = m;"
    )
    subprocess.run([sys.executable, "-c", setup + code], check=True)
