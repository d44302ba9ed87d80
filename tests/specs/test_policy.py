"""Enums, limits, backoff, and what ``decide`` may answer."""

from __future__ import annotations

import copy
import pickle
import sys
from datetime import timedelta
from fractions import Fraction
from math import inf, isfinite, nan
from pathlib import Path
from random import Random
from typing import Any

import pytest
from helpers.hostile import Boom

from trio_supervisor import _errors as errors
from trio_supervisor._errors import SpecError
from trio_supervisor._specs import decisions, policy
from trio_supervisor._specs.decisions import RestartAfter
from trio_supervisor._specs.policy import BackoffPolicy, RestartLimit
from trio_supervisor._text import short_repr


class NoRandom(Random):
    """Fails if anybody draws from it."""

    def random(self) -> float:
        raise AssertionError("no jitter was asked for")

    def getrandbits(self, k: int, /) -> int:
        raise AssertionError("no jitter was asked for")


class Fixed(Random):
    """Always draws the same, from 0 to 1."""

    def __init__(self, draw: float) -> None:
        super().__init__(0)
        self.draw = draw

    def random(self) -> float:
        return self.draw


@pytest.mark.parametrize(
    "kind",
    [
        policy.RestartPolicy,
        policy.SupervisionStrategy,
        policy.Ordering,
        policy.ReadinessPolicy,
        policy.ReadinessState,
        policy.AutoShutdown,
        policy.OnLimit,
    ],
)
def test_members_of_each_enum_are_the_strings_that_one_writes(kind: Any) -> None:
    for member in kind:
        assert member == member.name.lower()
        assert isinstance(member, str)
        assert kind(str(member)) is member


class TestRestartLimit:
    def test_is_a_value(self) -> None:
        limit = RestartLimit(10, within=120)
        assert limit == RestartLimit(10, 120.0)
        assert hash(limit) == hash(RestartLimit(10, 120.0))
        assert limit != RestartLimit(10, 121)
        assert repr(limit) == "RestartLimit(10, within=120)"
        assert repr(RestartLimit(0, within=0.5)) == "RestartLimit(0, within=0.5)"
        assert repr(RestartLimit(3, within=inf)) == "RestartLimit(3, within=inf)"
        with pytest.raises(AttributeError):
            limit.within = 3  # type: ignore[misc]

    @pytest.mark.parametrize("bad", [-1, 1.0, True, "3", None, nan])
    def test_max_restarts_is_a_whole_number(self, bad: Any) -> None:
        with pytest.raises(SpecError, match=r"RestartLimit: max_restarts=.* a whole number >= 0"):
            RestartLimit(bad, within=1)

    @pytest.mark.parametrize("bad", [0, -1, nan, False, "60", None, -inf, timedelta(1)])
    def test_within_is_a_positive_time(self, bad: Any) -> None:
        with pytest.raises(SpecError, match=r"RestartLimit: within=.*: expected seconds.* > 0$"):
            RestartLimit(1, within=bad)


class TestBackoffFormula:
    def test_grows_by_the_factor_up_to_the_maximum(self) -> None:
        backoff = BackoffPolicy(initial=0.5, factor=3, maximum=10, jitter=0)
        waits = [backoff.delay(step, NoRandom()) for step in range(5)]
        assert waits == [0.5, 1.5, 4.5, 10, 10]

    def test_defaults_are_those_of_the_documentation(self) -> None:
        default = BackoffPolicy()
        assert default.initial == 0.1
        assert default.factor == 2
        assert default.maximum == 30
        assert default.jitter == 0.1
        assert default.reset_after == 60
        assert repr(default) == "BackoffPolicy()"

    def test_jitter_goes_both_ways_and_is_applied_after_the_maximum(self) -> None:
        backoff = BackoffPolicy(initial=8, maximum=10, jitter=0.5)
        assert backoff.delay(0, Fixed(0)) == 4
        assert backoff.delay(0, Fixed(0.5)) == 8
        assert backoff.delay(7, Fixed(1)) == 15

    def test_full_jitter_never_gives_less_than_nothing(self) -> None:
        backoff = BackoffPolicy(initial=8, jitter=1)
        assert backoff.delay(0, Fixed(0)) == 0
        assert backoff.delay(0, Fixed(1)) == 16

    @pytest.mark.parametrize("fault", [OSError, Boom, "much", nan, inf, 2])
    def test_a_source_of_jitter_that_fails_costs_no_restart(self, fault: Any) -> None:
        class Dice(Random):
            def uniform(self, a: float, b: float) -> Any:
                if isinstance(fault, type):
                    raise fault
                return fault

        assert BackoffPolicy(initial=8, jitter=0.5).delay(0, Dice()) == 8

    def test_jitter_is_reproducible(self) -> None:
        backoff = BackoffPolicy()
        first = [backoff.delay(step, Random(7)) for step in range(9)]
        assert first == [backoff.delay(step, Random(7)) for step in range(9)]

    @pytest.mark.parametrize("step", [1023, 1024, 10**6, 10**30, 10**400])
    def test_no_number_of_failures_overflows(self, step: int) -> None:
        assert BackoffPolicy(jitter=0).delay(step, NoRandom()) == 30
        assert BackoffPolicy(initial=7, factor=1, jitter=0).delay(step, NoRandom()) == 7
        assert BackoffPolicy(initial=0, factor=1e308, jitter=1).delay(step, Random(1)) == 0
        unbounded = BackoffPolicy(maximum=inf, jitter=1).delay(step, Fixed(1))
        assert isfinite(unbounded)
        assert isfinite(unbounded + sys.float_info.max / 2)

    def test_a_flat_one_never_calls_pow(self) -> None:
        assert BackoffPolicy(initial=2, factor=1.0, jitter=0).delay(10**9, NoRandom()) == 2


class TestBackoffDelays:
    def test_go_through_the_list_and_repeat_the_last(self) -> None:
        backoff = BackoffPolicy.delays(0, 1, 1, 30)
        waits = [backoff.delay(step, NoRandom()) for step in (0, 1, 2, 3, 4, 10**400)]
        assert waits == [0, 1, 1, 30, 30, 30]

    def test_may_have_jitter_and_a_reset(self) -> None:
        backoff = BackoffPolicy.delays(10, jitter=0.1, reset_after=5)
        assert backoff.delay(0, Fixed(1)) == 11
        assert backoff.reset_after == 5
        assert repr(backoff) == "BackoffPolicy.delays(10, jitter=0.1, reset_after=5)"

    def test_are_values(self) -> None:
        assert BackoffPolicy.delays(0, 1, 30) == BackoffPolicy.delays(0, 1.0, 30)
        assert BackoffPolicy.delays(0, 1, 30) != BackoffPolicy.delays(0, 2, 30)
        assert BackoffPolicy.delays(5) != BackoffPolicy(5, 1, 5, 0)
        assert pickle.loads(pickle.dumps(BackoffPolicy.delays(0, 3))) == BackoffPolicy.delays(0, 3)
        assert repr(BackoffPolicy.delays(0, 0.5)) == "BackoffPolicy.delays(0, 0.5)"

    @pytest.mark.parametrize("bad", [-1, nan, inf, True, "1", None, 10**400])
    def test_each_is_checked_and_named(self, bad: Any) -> None:
        with pytest.raises(SpecError, match=r"delays: seconds\[1\]=.*: expected seconds >= 0"):
            BackoffPolicy.delays(0, bad)

    def test_none_at_all_is_a_mistake(self) -> None:
        with pytest.raises(SpecError, match="expected at least one delay"):
            BackoffPolicy.delays()


class TestBackoffValidation:
    @pytest.mark.parametrize(
        ("field", "value", "expected"),
        [
            ("initial", -0.1, "seconds >= 0, finite"),
            ("initial", inf, "seconds >= 0, finite"),
            ("initial", nan, "seconds >= 0, finite"),
            ("initial", True, "seconds >= 0, finite"),
            ("initial", "1", "seconds >= 0, finite"),
            ("initial", Fraction(1, 2), "seconds >= 0, finite"),
            ("initial", 31, "at most maximum=30"),
            ("factor", 0.99, "a number >= 1, finite"),
            ("factor", inf, "a number >= 1, finite"),
            ("factor", nan, "a number >= 1, finite"),
            ("factor", None, "a number >= 1, finite"),
            ("maximum", -1, "seconds >= 0"),
            ("maximum", nan, "seconds >= 0"),
            ("maximum", False, "seconds >= 0"),
            ("jitter", -0.1, "a number from 0 to 1"),
            ("jitter", 1.1, "a number from 0 to 1"),
            ("jitter", nan, "a number from 0 to 1"),
            ("jitter", inf, "a number from 0 to 1"),
            ("jitter", True, "a number from 0 to 1"),
            ("reset_after", -1, "seconds >= 0"),
            ("reset_after", nan, "seconds >= 0"),
            ("reset_after", timedelta(1), "seconds, as a number (.total_seconds()) >= 0"),
        ],
    )
    def test_refuses(self, field: str, value: Any, expected: str) -> None:
        with pytest.raises(SpecError) as caught:
            BackoffPolicy(**{field: value})
        assert caught.value.field == field
        assert caught.value.value is value
        assert caught.value.expected == expected
        assert str(caught.value) == f"BackoffPolicy: {field}={value!r}: expected {expected}"

    def test_accepts_the_edges(self) -> None:
        BackoffPolicy(initial=0, factor=1, maximum=0, jitter=0, reset_after=0)
        BackoffPolicy(initial=5, maximum=5, jitter=1, reset_after=inf)
        assert repr(BackoffPolicy(maximum=inf)) == "BackoffPolicy(maximum=inf)"
        assert repr(BackoffPolicy(1, jitter=0)) == "BackoffPolicy(initial=1, jitter=0)"


class TestDecisions:
    def test_are_values_of_distinct_types(self) -> None:
        answers = [
            decisions.Restart(),
            RestartAfter(2),
            decisions.DoNotRestart(),
            decisions.Quarantine("tired"),
            decisions.Escalate("cannot go on"),
            decisions.ShutdownTree("enough"),
        ]
        for answer in answers:
            assert isinstance(answer, decisions.DECISIONS)
            assert copy.deepcopy(answer) == answer
            assert pickle.loads(pickle.dumps(answer)) == answer
            assert sum(answer == other for other in answers) == 1
        assert decisions.Quarantine("tired").reason == "tired"

    def test_restart_after_is_a_restart_with_a_delay(self) -> None:
        assert isinstance(RestartAfter(2), decisions.Restart)
        assert RestartAfter(2).delay == 2
        assert decisions.Restart().delay is None
        assert repr(RestartAfter(delay=2)) == "RestartAfter(delay=2.0)"

    @pytest.mark.parametrize("bad", [-1, nan, inf, True, "soon", None])
    def test_a_delay_is_checked(self, bad: Any) -> None:
        with pytest.raises(
            SpecError, match=r"^RestartAfter: delay=.*: expected seconds >= 0, fini"
        ):
            RestartAfter(bad)

    def test_restart_checks_its_delay_too(self) -> None:
        with pytest.raises(SpecError, match="^Restart: delay=-1"):
            decisions.Restart(-1)


class TestErrors:
    def test_a_spec_error_names_field_value_and_expectation(self) -> None:
        error = SpecError("grace", -1, "seconds >= 0", owner="ChildSpec 'web'")
        assert str(error) == "ChildSpec 'web': grace=-1: expected seconds >= 0"
        assert str(SpecError("grace", -1, "seconds >= 0")) == "grace=-1: expected seconds >= 0"
        assert isinstance(error, ValueError)
        assert isinstance(error, errors.SupervisorError)

    def test_a_spec_error_survives_a_value_that_cannot_be_shown(self) -> None:
        class Rude:
            def __repr__(self) -> str:
                raise RuntimeError("no")

        assert str(SpecError("f", Rude(), "better")) == "f=<Rude object>: expected better"
        assert len(str(SpecError("f", "x" * 10_000, "less"))) < 120
        assert short_repr("a\nb" + "c" * 99, 12) == r"'a\nbcccc..."

    @pytest.mark.parametrize(
        "error",
        [
            SpecError("grace", -1, "seconds >= 0", owner="ChildSpec 'web'"),
            errors.ChildStartError("no", path="app/web"),
            errors.RestartLimitExceeded("no", path="app/web", limit=RestartLimit(1, 2)),
            errors.ChildEscalated("no", path="app/web", reason="because"),
            errors.TaskFailure("no", category="upstream"),
            errors.TooManyChildren("no"),
        ],
    )
    def test_errors_survive_pickling(self, error: Exception) -> None:
        twin = pickle.loads(pickle.dumps(error))
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert twin.__dict__ == error.__dict__

    def test_every_error_can_be_caught_as_one(self) -> None:
        for kind in (
            errors.ChildNotFound,
            errors.ChildNotReady,
            errors.ChildAlreadyExists,
            errors.TooManyChildren,
            errors.CommandRefused,
            errors.SupervisorClosed,
            errors.ChildStartError,
            errors.RestartLimitExceeded,
            errors.ChildEscalated,
        ):
            assert issubclass(kind, errors.SupervisorError)
        assert not issubclass(errors.TaskFailure, errors.SupervisorError)
        assert str(errors.ChildNotFound("no child 'x'")) == "no child 'x'"

    def test_errors_of_a_tree_hold_the_reports_behind_them(self) -> None:
        from types import SimpleNamespace

        from trio_supervisor._events.exits import Crashed, Succeeded

        boom = ValueError("boom")
        reports: Any = [
            SimpleNamespace(exit=Succeeded(None)),
            SimpleNamespace(exit=Crashed(boom)),
        ]
        limit = errors.RestartLimitExceeded("no", path="app/web", reports=reports)
        assert limit.reports == tuple(reports)
        assert limit.exceptions == (boom,)
        assert limit.last_exit == Crashed(boom)
        assert limit.limit is None
        assert errors.ChildStartError("no", reports=reports).exit == Crashed(boom)
        assert errors.ChildStartError("no").exit is None
        assert errors.ChildStartError("no", exit=Succeeded(1), reports=reports).exit == Succeeded(1)
        assert errors.RestartLimitExceeded("no", last_exit=Succeeded(1)).last_exit == Succeeded(1)
        assert errors.ChildEscalated("no", reason="why").exceptions == ()


def test_each_decision_is_in_the_table_of_the_design() -> None:
    page = Path(__file__).parents[2] / "docs" / "design.md"
    if not page.exists():
        pytest.skip("the documentation is not part of this copy of the tests")
    text = page.read_text(encoding="utf-8")
    missing = [d.__name__ for d in decisions.DECISIONS if f"| `{d.__name__}(" not in text]
    assert not missing, f"add to the table of 'What follows an exit' in {page.name}: {missing}"
