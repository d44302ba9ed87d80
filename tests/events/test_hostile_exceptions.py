"""Exceptions that misbehave are classified, described, written and forgotten like any other."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from helpers import hostile

import trio_supervisor
from trio_supervisor import Crashed, Failed, TaskFailure
from trio_supervisor._errors import leaf_first
from trio_supervisor._events.exits import TaskExit, brief_of, classify
from trio_supervisor._events.tracebacks import traceback_text, trimmed
from trio_supervisor._text import as_reason, error_line, one_line, quoted, short_repr, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = sorted(hostile.errors())


@pytest.fixture(params=KINDS)
def error(request: pytest.FixtureRequest) -> Exception:
    return hostile.errors()[request.param]


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    began = time.process_time()
    yield
    assert time.process_time() - began < 5, "costs grow with what the exception holds"


def judge(error: BaseException) -> TaskExit | BaseException:
    return classify(
        error=error,
        body_cancelled=False,
        cancel_called=False,
        fault=None,
        stop_reason=None,
        value=None,
    )


def check_line(text: str, longest: int = 200) -> None:
    assert type(text) is str
    assert text.isprintable()
    assert len(text) <= longest


def test_it_is_a_crash_that_can_be_described(error: Exception) -> None:
    how = judge(error)
    assert type(how) is Crashed
    check_line(how.describe())
    assert how.describe() == f"crashed: {how.detail}"
    assert how.has(KeyError) is False
    assert how.is_failure


def test_its_text_does_not_change_with_its_age(error: Exception) -> None:
    how = judge(error)
    assert isinstance(how, TaskExit)
    brief = brief_of(how)
    assert brief.error is not error
    assert (brief.kind, brief.detail, brief.describe()) == (how.kind, how.detail, how.describe())
    assert brief_of(brief).describe() == how.describe()


def test_beside_a_fatal_exception_it_is_not_lost(error: Exception) -> None:
    fatal = SystemExit(7)
    outcome = judge(BaseExceptionGroup("both", [fatal, error]))
    assert outcome is fatal
    assert isinstance(fatal.__cause__, ExceptionGroup)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, hostile.Boom])
def test_a_fatal_exception_that_is_frozen_comes_out_with_what_was_beside_it(
    kind: type[BaseException],
) -> None:
    def refuse(self: object, name: str, value: object) -> None:
        raise AttributeError(name)

    frozen = type("Frozen", (kind,), {"__setattr__": refuse})
    fatal: Any = frozen(7)
    beside = ValueError("beside")
    outcome: Any = judge(BaseExceptionGroup("both", [fatal, beside]))
    assert outcome is fatal
    assert fatal.__cause__.exceptions == (beside,)
    # It has a cause now, and a note cannot be set either.
    another = ValueError("another")
    outcome = judge(BaseExceptionGroup("both", [fatal, another]))
    assert outcome is fatal
    assert fatal.__notes__ == ["beside it: ValueError: another"]


def test_as_the_cause_of_a_task_failure_it_is_on_the_same_line(error: Exception) -> None:
    failure = TaskFailure("cannot listen")
    failure.__cause__ = error
    how = judge(failure)
    assert type(how) is Failed
    check_line(how.describe())
    assert how.describe().startswith("failed: cannot listen (error) from ")
    assert brief_of(how).describe() == how.describe()


def test_its_json_form_can_be_written(error: Exception) -> None:
    how = judge(error)
    assert isinstance(how, TaskExit)
    plain = json.loads(json.dumps(how.to_dict()))
    assert len(plain["traceback"]) <= 40_000
    assert len(plain["message"]) <= 100_000


def test_its_traceback_can_be_written(error: Exception) -> None:
    text = traceback_text(error)
    assert type(text) is str
    assert len(text) <= 32_768
    assert text.strip()


@pytest.mark.parametrize("kind", [RuntimeError, hostile.Boom])
def test_code_whose_source_cannot_be_had_still_has_a_traceback(kind: type[BaseException]) -> None:
    """A module of an importer of the user's, whose archive is broken by now."""

    class Importer:
        def get_source(self, name: str) -> str:
            raise kind("the archive is broken")

    module: dict[str, Any] = {"__name__": "plugin", "__loader__": Importer()}
    code = compile(
        "def body(): raise ValueError('no luck')", f"/archive/{kind.__name__}.py", "exec"
    )
    exec(code, module)
    with pytest.raises(ValueError, match="no luck") as caught:
        module["body"]()
    text = traceback_text(caught.value)
    assert "ValueError: no luck" in text
    assert f"formatting it failed: {kind.__name__}" in text


def test_helpers_of_text_never_raise(error: Exception) -> None:
    for make in (text_of, short_repr, as_reason, error_line, leaf_first, quoted):
        assert type(make(error)) is str
    check_line(error_line(error), 700)
    check_line(one_line(text_of(error)), 500)
    check_line(short_repr(error), 80)


def test_a_string_that_cannot_be_relied_upon_becomes_a_plain_one() -> None:
    evil = hostile.Text("evil")
    assert as_reason(evil) == "evil"
    assert text_of(evil) == "<its str() raised>"
    assert quoted(evil) == '"evil"'
    assert type(as_reason(evil)) is str


def test_reasons_are_bounded() -> None:
    assert len(as_reason("x" * 1_000_000)) == 1_000
    assert len(as_reason(ValueError("x" * 1_000_000))) == 1_000
    assert len(quoted("\x1b" * 1_000_000)) == 502


@pytest.mark.parametrize("category", ["mute", "broken"])
def test_a_category_may_misbehave(category: str) -> None:
    class Odd(TaskFailure):
        @property
        def category(self) -> str:
            if category == "broken":
                raise hostile.Boom
            return hostile.Text("odd")

        @category.setter
        def category(self, value: str) -> None: ...

    check_line(Failed(Odd("x")).describe())


def test_what_stands_before_the_users_first_frame_is_left_out() -> None:
    def body() -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x") as caught:
        body()
    error = caught.value
    assert trimmed(error) is error.__traceback__
    assert "in body" in traceback_text(error)
    with pytest.raises(trio_supervisor.SpecError) as caught_ours:
        trio_supervisor.RestartLimit(-1, within=1)
    assert trimmed(caught_ours.value) is caught_ours.value.__traceback__


@pytest.mark.parametrize("kind", sorted(hostile.ARGUMENTS))
def test_a_task_failure_can_be_shown_whatever_its_message_is(kind: str) -> None:
    failure = TaskFailure(hostile.ARGUMENTS[kind]())
    assert type(failure.message) is str
    assert repr(failure).startswith("TaskFailure(")
    assert type(str(failure)) is str


def test_a_task_failure_that_is_given_an_exception_says_what_that_says() -> None:
    failure = TaskFailure(OSError("no route"))  # type: ignore[arg-type]  # as users do
    assert (failure.message, str(failure)) == ("no route", "no route")
