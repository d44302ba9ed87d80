"""``fatal_is_failure``: exceptions outside `Exception` that are a failure of one child."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_virtual

from trio_supervisor import (
    ChildRunner,
    ChildSpec,
    Crashed,
    SpecError,
    SupervisorSpec,
    open_supervisor,
)

if TYPE_CHECKING:
    from trio_supervisor import ChildContext, ChildRunReport


class Panic(BaseException):
    pass


class PanicOfAKind(Panic):
    pass


class Liar(type):
    """A metaclass that answers everything wrongly, or raises."""

    def __subclasscheck__(cls, other: type) -> bool:
        raise RuntimeError("no answer")

    def __eq__(cls, other: object) -> bool:
        return True

    __hash__ = type.__hash__


class Lying(BaseException, metaclass=Liar):
    pass


async def raising(child: ChildContext, *errors: BaseException) -> None:
    """Raise each of the errors in a task of its own."""
    for error in errors[1:]:
        child.nursery.start_soon(raising, child, error)
    with trio.CancelScope(shield=True):
        await trio.sleep(1)
    raise errors[0]


def report_of(*errors: BaseException, declared: tuple[type[BaseException], ...]) -> ChildRunReport:
    async def main() -> ChildRunReport:
        spec: ChildSpec[Any] = ChildSpec("a", raising, *errors, fatal_is_failure=declared)
        return await ChildRunner().run_once(spec)

    return run_virtual(main)


@pytest.mark.parametrize("error", [Panic("boom"), PanicOfAKind("boom")], ids=repr)
def test_a_declared_type_and_its_subclasses_are_a_crash_with_the_exception_as_cause(
    error: BaseException,
) -> None:
    report = report_of(error, declared=(Panic, asyncio.CancelledError))
    assert isinstance(report.exit, Crashed)
    assert report.exit.describe() == f"crashed: RuntimeError: {type(error).__name__}: boom"
    assert report.exit.error.__cause__ is error


def test_declared_ones_beside_ordinary_errors_come_in_one_group() -> None:
    report = report_of(Panic("one"), ValueError("two"), declared=(Panic,))
    assert isinstance(report.exit, Crashed)
    assert isinstance(report.exit.error, ExceptionGroup)
    shown = sorted(repr(error) for error in report.exit.error.exceptions)
    assert shown == ["RuntimeError('Panic: one')", "ValueError('two')"]


def test_what_is_not_declared_stays_fatal_and_keeps_the_declared_one_as_its_cause() -> None:
    with pytest.raises(SystemExit) as caught:
        report_of(SystemExit(7), Panic("beside"), declared=(Panic,))
    cause = caught.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert [repr(error) for error in cause.exceptions] == ["RuntimeError('Panic: beside')"]
    with pytest.raises(Panic):
        report_of(Panic("alone"), declared=(asyncio.CancelledError,))


def test_a_declared_type_that_lies_about_its_subclasses_is_not_asked() -> None:
    with pytest.raises(Panic):
        report_of(Panic("boom"), declared=(Lying,))


@pytest.mark.parametrize("nested", [False, True])
def test_only_the_child_that_declares_it_pays(nested: bool) -> None:
    attempts: list[str] = []

    async def body(child: ChildContext, name: str, error: BaseException | None) -> None:
        attempts.append(name)
        await trio.sleep(1)
        if error is not None and attempts.count(name) == 1:
            raise error
        await trio.sleep_forever()

    good = ChildSpec("good", body, "good", None)
    bad: Any = ChildSpec("bad", body, "bad", Panic("boom"), fatal_is_failure=(Panic,))
    if nested:
        inner = ChildSpec("in", body, "bad", Panic("boom"))
        bad = SupervisorSpec("bad", [inner]).as_child(fatal_is_failure=(Panic,))

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [good, bad])) as tree:
            await trio.sleep(5)
            assert tree.child("bad").attempt == 2
            assert tree.child("good").attempt == 1

    run_virtual(main)
    assert sorted(attempts) == ["bad", "bad", "good"]


@pytest.mark.parametrize(
    ("wrong", "shown", "why"),
    [
        ((BaseException,), "BaseException", "always gets through"),
        ((KeyboardInterrupt,), "KeyboardInterrupt", "always gets through"),
        ((SystemExit,), "SystemExit", "always gets through"),
        ((GeneratorExit,), "GeneratorExit", "always gets through"),
        ((BaseExceptionGroup,), "BaseExceptionGroup", "always gets through"),
        ((trio.Cancelled,), "Cancelled", "always gets through"),
        ((Panic, ValueError), "ValueError", "a failure already"),
        ((7,), "7", "a tuple of exception types"),
        ("Panic", "'Panic'", "a tuple of exception types"),
        (None, "None", "a tuple of exception types"),
    ],
)
def test_what_cannot_be_declared(wrong: Any, shown: str, why: str) -> None:
    with pytest.raises(SpecError, match=f"fatal_is_failure=.*{shown}.*{why}"):
        ChildSpec("a", raising, fatal_is_failure=wrong)


def test_the_declaration_is_kept_by_a_changed_copy() -> None:
    several: Any = [Panic]
    spec: ChildSpec[Any] = ChildSpec("a", raising, fatal_is_failure=several)
    assert spec.fatal_is_failure == (Panic,)
    assert spec.replace(name="b").fatal_is_failure == (Panic,)
    assert spec.replace(fatal_is_failure=()).fatal_is_failure == ()
