"""Objects that misbehave in a running tree: the child concerned pays, no other one notices.

Each kind of object goes through each entry and each path out of a tree, beside a child that must
not notice anything, and with tasks that wait in all ways for what becomes of it.
"""

from __future__ import annotations

import logging
import random
import traceback
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers import hostile
from helpers.hostile import Boom, Text
from helpers.support import run_virtual
from helpers.trees import AT_ONCE, assert_fold_is_state

from trio_supervisor import (
    ChildContext,
    ChildRunner,
    ChildRunReport,
    ChildSpec,
    Escalate,
    Quarantine,
    RestartAfter,
    RestartLimit,
    SpecError,
    Supervisor,
    SupervisorError,
    SupervisorSpec,
    open_supervisor,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

KINDS = hostile.EXCEPTIONS


@pytest.fixture(autouse=True)
def _bounded_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Lines are made and written, and not kept: they hold the exceptions."""
    logger = logging.getLogger("trio_supervisor")
    logger.addHandler(handler := logging.StreamHandler(_Nowhere()))
    logger.propagate = False
    yield
    logger.propagate = True
    logger.removeHandler(handler)


class _Nowhere:
    def write(self, text: str) -> None:
        assert text is not None

    def flush(self) -> None: ...


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run ``main``; fail with a plain error, because pytest cannot show what is tested here."""
    try:
        run_virtual(main)
    except BaseException as error:  # noqa: ASYNC103 - after the end of the Trio run
        lines = []
        pending: list[BaseException] = [error]
        for one in pending[:20]:
            kind = "AssertionError " if issubclass(type(one), AssertionError) else ""
            lines.append(kind + str(type.__dict__["__name__"].__get__(type(one))))
            if kind:
                lines.append(str(one))
            trace = BaseException.__dict__["__traceback__"].__get__(one)
            lines += [
                f"  {frame.f_code.co_filename}:{line} {frame.f_code.co_name}"
                for frame, line in traceback.walk_tb(trace)
            ][-6:]
            if issubclass(type(one), BaseExceptionGroup):
                pending.extend(BaseExceptionGroup.exceptions.__get__(one))
        told = "\n".join(lines)
    else:
        return
    raise AssertionError(told)


async def calm(child: ChildContext) -> None:
    await child.wait_stop_requested()


# ---------------------------------------------------------------- exceptions out of a body


def raises_at_once(make: Callable[[], Exception]) -> Callable[..., Any]:
    async def body(child: ChildContext) -> None:
        if child.attempt < 3:
            raise make()
        child.nursery.cancel_scope.deadline = float("inf")
        await child.wait_stop_requested()

    return body


def raises_in_background(make: Callable[[], Exception]) -> Callable[..., Any]:
    async def body(child: ChildContext) -> None:
        async def fail() -> None:
            raise make()

        if child.attempt < 3:
            child.nursery.start_soon(fail)
            child.nursery.start_soon(fail)
            await trio.sleep_forever()
        await child.wait_stop_requested()

    return body


def raises_beside_another(make: Callable[[], Exception]) -> Callable[..., Any]:
    async def body(child: ChildContext) -> None:
        async def fail() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise make()

        if child.attempt < 3:
            child.nursery.start_soon(fail)
            await trio.sleep(0.1)
            raise make()
        await child.wait_stop_requested()

    return body


def raises_the_same_again(make: Callable[[], Exception]) -> Callable[..., Any]:
    shared = make()

    async def body(child: ChildContext) -> None:
        if child.attempt < 3:
            raise shared
        await child.wait_stop_requested()

    return body


ALONE = [raises_at_once, raises_the_same_again]
BESIDE = [raises_in_background, raises_beside_another]
IN_NURSERIES = ("talker", "subtle", "nameless", "frozen", "circle", "surrogates")
"""The kinds that Trio's own nursery survives; the others break any program with them in a task."""
WAYS = [
    *[(kind, way) for kind in KINDS for way in ALONE],
    *[(kind, way) for kind in IN_NURSERIES for way in BESIDE],
]


@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_an_exception_restarts_its_child_alone(kind: str, way: Callable[..., Any]) -> None:
    async def main() -> None:
        body = way(KINDS[kind])
        spec = ChildSpec("bad", body, backoff=AT_ONCE)
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("calm", calm)])) as app:
            async with app.subscribe() as events:
                handle = await app.start_child(spec)
                await handle.wait_ready(after=2)
                assert handle.attempt == 3
                assert handle.restarts == 2
                assert len(handle.reports) == 2
                assert all(report.exit.is_failure for report in handle.reports)
                assert handle.last_report is not None
                assert isinstance(handle.last_report.to_dict(), dict)
                assert app.child("calm").attempt == 1
                assert app.state().render()
                assert app.state().to_dict()
                assert_fold_is_state(app)
                for event in app.journal:
                    assert event.to_dict()
                assert repr(await events.__anext__())
            report = await app.shutdown()
        assert report.to_dict()
        assert "bad" in report.render()

    run(main)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_that_ends_a_nested_supervisor_and_then_the_tree(kind: str) -> None:
    async def fail(child: ChildContext) -> None:
        error = KINDS[kind]()
        raise error

    bad = ChildSpec("bad", fail, backoff=AT_ONCE, restart_limit=RestartLimit(1, within=9))
    nested = SupervisorSpec("nested", [bad]).as_child(
        backoff=AT_ONCE, restart_limit=RestartLimit(1, within=9)
    )

    async def main() -> None:
        with pytest.raises(SupervisorError) as caught:
            async with open_supervisor(SupervisorSpec("app", [ChildSpec("calm", calm), nested])):
                await trio.sleep_forever()
        assert caught.value.args

    run(main)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_of_a_first_start_while_stopping_and_of_a_block(kind: str) -> None:
    async def fail(child: ChildContext) -> None:
        error = KINDS[kind]()
        raise error

    async def fail_at_the_end(child: ChildContext) -> None:
        await child.wait_stop_requested()
        error = KINDS[kind]()
        raise error

    async def main() -> None:
        spec = SupervisorSpec("app", [ChildSpec("calm", calm)])
        async with open_supervisor(spec) as app:
            with pytest.raises(SupervisorError):
                await app.start_child(ChildSpec("bad", fail, readiness="explicit"))
            await app.start_child(ChildSpec("late", fail_at_the_end, grace=5))
            report = await app.shutdown()
        assert {child.path for child in report.children} >= {"app/late", "app/calm"}
        error = KINDS[kind]()
        caught: BaseException | None = None
        try:
            async with open_supervisor(spec):
                raise error
        except BaseException as raised:  # noqa: ASYNC103 - it is what is looked at
            caught = raised
        assert caught is error

    run(main)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lone_run_is_always_waited_for(kind: str) -> None:
    async def main() -> None:
        for way in ALONE if kind not in IN_NURSERIES else [*ALONE, *BESIDE]:
            async with trio.open_nursery() as nursery:
                spec = ChildSpec("lone", way(KINDS[kind]))
                run = ChildRunner().spawn_once(nursery, spec)
                report = await run.wait()
                assert report.exit.is_failure
                assert report.to_dict()
                assert repr(run)

    run(main)


@pytest.mark.parametrize("kind", KINDS)
def test_decide_raises_or_looks_at_the_exception(kind: str) -> None:
    async def fail(child: ChildContext) -> None:
        if child.attempt < 3:
            raise ValueError
        await child.wait_stop_requested()

    def decide(report: ChildRunReport) -> None:
        error = KINDS[kind]()
        raise error

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("calm", calm)])) as app:
            handle = await app.start_child(ChildSpec("bad", fail, decide=decide, backoff=AT_ONCE))
            await handle.wait_ready(after=2)
            assert app.child("calm").attempt == 1
            assert_fold_is_state(app)
            assert all(event.to_dict() for event in app.journal)

    run(main)


# ---------------------------------------------------------------- results, decisions, reasons


class Anything:
    """Raises whatever is done with it."""

    def __getattribute__(self, name: str) -> Any:
        raise Boom

    __str__ = __repr__ = __eq__ = __hash__ = __bool__ = __len__ = hostile._raise
    __iter__ = __reduce__ = __reduce_ex__ = __call__ = hostile._raise


RESULTS: dict[str, Callable[[], object]] = {
    "anything": Anything,
    "text": lambda: Text("x"),
    "an exception class": lambda: hostile.Mute,
    "an exception": hostile.Mute,
    "huge": lambda: "x" * 5_000_000,
}


@pytest.mark.parametrize("kind", RESULTS)
def test_what_a_body_returns_and_says(kind: str) -> None:
    async def body(child: ChildContext) -> object:
        child.ready(RESULTS[kind]())
        child.heartbeat(RESULTS[kind]())
        await trio.sleep(1)
        if child.attempt == 3:
            await child.wait_stop_requested()
        return RESULTS[kind]()

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("calm", calm)])) as app:
            spec = ChildSpec("odd", body, readiness="explicit", backoff=AT_ONCE)
            handle = await app.start_child(spec)
            await handle.wait_ready(after=2)
            assert app.child("calm").attempt == 1
            assert handle.last_report is not None
            assert handle.last_report.to_dict()
            assert all(event.to_dict() for event in app.journal)
            assert_fold_is_state(app)
            assert (await app.shutdown()).render()
        async with trio.open_nursery() as nursery:
            run = ChildRunner().spawn_once(nursery, spec)
            await run.wait_ready()
            assert (await run.wait()).to_dict()

    run(main)


class MyRestartAfter(RestartAfter):  # type: ignore[misc]  # final, for type checkers
    def __eq__(self, other: object) -> bool:
        raise Boom

    def __hash__(self) -> int:
        raise Boom

    def __repr__(self) -> str:
        raise Boom


class MyQuarantine(Quarantine):  # type: ignore[misc]
    def __str__(self) -> str:
        raise Boom

    __repr__ = __str__


DECISIONS: dict[str, Callable[[], object]] = {
    **RESULTS,
    "a subclass": lambda: MyRestartAfter(0),
    "a quarantine": lambda: MyQuarantine("why"),
    "a class": lambda: Escalate,
}


@pytest.mark.parametrize("kind", DECISIONS)
def test_what_decide_returns(kind: str) -> None:
    async def fail(child: ChildContext) -> None:
        if child.attempt == 1:
            raise ValueError
        await child.wait_stop_requested()

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("calm", calm)])) as app:
            decide: Any = lambda _: DECISIONS[kind]()  # noqa: E731
            handle = await app.start_child(ChildSpec("bad", fail, decide=decide, backoff=AT_ONCE))
            await trio.sleep(1)
            assert handle.state in {"ready", "quarantined"}
            assert app.child("calm").attempt == 1
            assert_fold_is_state(app)
            assert all(event.to_dict() for event in app.journal)

    run(main)


REASONS: dict[str, Callable[[], Any]] = {
    "text": lambda: Text("why"),
    "huge": lambda: "x" * 1_000_000,
    "control characters": lambda: "a\x1b[2J\nINFO b",
    "half a surrogate": lambda: "a\ud800",
    "anything": Anything,
    "bytes": lambda: b"why",
    "None": lambda: None,
}


@pytest.mark.parametrize("kind", REASONS)
def test_reasons(kind: str) -> None:
    """A reason is taken as text, or refused with an error that names it."""

    async def give(app: Supervisor, call: Callable[[Any], Any]) -> None:
        refused = kind in {"anything", "bytes", "None"}
        with suppress(SupervisorError, TypeError) if refused else nullcontext():
            await call(REASONS[kind]())

    async def main() -> None:
        spec = SupervisorSpec("app", [ChildSpec("calm", calm), ChildSpec("a", calm)])
        async with open_supervisor(spec) as app:
            a = app.child("a")
            await give(app, a.restart)
            await give(app, a.stop)
            await give(app, a.restart)
            await give(app, a.quarantine)
            await give(app, lambda why: app.start_child(ChildSpec("b", calm), reason=why))
            await give(app, lambda why: app.remove_child("a", reason=why))
            assert app.child("calm").attempt == 1
            assert_fold_is_state(app)
            assert all(event.to_dict() for event in app.journal)
            assert app.state().render()
            with trio.move_on_after(5):
                await give(app, app.shutdown)
            await app.shutdown()

    run(main)


@pytest.mark.parametrize("kind", [*RESULTS, *hostile.ARGUMENTS])
def test_names_that_are_asked_for(kind: str) -> None:
    """What is no name is refused, and what is no known name is not found."""

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("calm", calm)])) as app:
            name: Any = (RESULTS | hostile.ARGUMENTS)[kind]()
            calls: list[Callable[[Any], Any]] = [
                app.child,
                app.stop_child,
                app.restart_child,
                app.remove_child,
                app.quarantine_child,
                app.start_child,
                app.start_child_soon,
            ]
            for call in calls:
                with pytest.raises(SupervisorError):
                    await call(name)
            assert app.child("calm").attempt == 1

            async def ask(child: ChildContext) -> None:
                with pytest.raises(SupervisorError):
                    child.value(name)
                with pytest.raises(SupervisorError):
                    await child.wait_value(name)

            handle = await app.start_child(ChildSpec("asks", ask, restart="temporary"))
            report = await handle.wait_finished()
            assert report.exit.is_success, report.exit

    run(main)


@pytest.mark.parametrize("kind", hostile.ARGUMENTS)
def test_numbers_and_states_that_are_given_to_methods(kind: str) -> None:
    value: Any = hostile.ARGUMENTS[kind]()

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("calm", calm)])) as app:
            handle = app.child("calm")
            calls: list[Callable[[], Any]] = [
                lambda: app.stop_child("calm", grace=value),
                lambda: handle.restart(grace=value),
                lambda: handle.wait_ready(after=value),
                lambda: handle.wait_exit(after=value),
                lambda: handle.wait_state(value),
            ]
            for call in calls:
                with trio.move_on_after(1), suppress(SpecError):
                    await call()
            await handle.restart()
            with suppress(SpecError):
                app.subscribe(max_buffer=value)
            assert handle.state == "ready"
            assert_fold_is_state(app)

    run(main)


# ---------------------------------------------------------------- random, log, fatal exceptions


class Dice(random.Random):
    """A source of randomness that raises, or lies."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        super().__init__(1)
        self.answer = answer

    def random(self) -> Any:
        return self.answer()

    uniform = random  # type: ignore[assignment]


ANSWERS: dict[str, Callable[[], Any]] = {
    "raises": hostile._raise,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "text": lambda: "x",
    "anything": Anything,
    "negative": lambda: -1e300,
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_source_of_randomness(kind: str) -> None:
    async def fail(child: ChildContext) -> None:
        if child.attempt == 1:
            raise ValueError
        await child.wait_stop_requested()

    async def main() -> None:
        spec = SupervisorSpec("app", [ChildSpec("calm", calm)])
        dice = Dice(ANSWERS[kind])
        dice.uniform = lambda *_: dice.answer()  # type: ignore[method-assign]
        async with open_supervisor(spec, random=dice) as app:
            handle = await app.start_child(ChildSpec("bad", fail))
            await handle.wait_ready(after=1)
            assert app.child("calm").attempt == 1
            assert_fold_is_state(app)

    run(main)


class Shouting(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise Boom

    def handle(self, record: logging.LogRecord) -> bool:
        raise Boom


class Sieve(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise Boom


@pytest.mark.parametrize("how", ["handler", "filter", "handler of the root"])
def test_a_log_that_raises(how: str) -> None:
    async def fail(child: ChildContext) -> None:
        if child.attempt < 3:
            raise ValueError
        await child.wait_stop_requested()

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("calm", calm)])) as app:
            handle = await app.start_child(ChildSpec("bad", fail, backoff=AT_ONCE))
            await handle.wait_ready(after=2)
            await app.stop_child("bad")
            assert app.child("calm").attempt == 1
            assert_fold_is_state(app)

    logger = logging.getLogger("trio_supervisor")
    handler, sieve = Shouting(), Sieve()
    try:
        if how == "handler":
            logger.addHandler(handler)
        elif how == "filter":
            logger.addFilter(sieve)
        else:
            logger.propagate = True
            logging.getLogger().addHandler(handler)
        run(main)
    finally:
        logger.removeHandler(handler)
        logger.removeFilter(sieve)
        logging.getLogger().removeHandler(handler)


class Fatal(BaseException):
    __str__ = __repr__ = __reduce__ = __reduce_ex__ = hostile._raise


class FatalAndFrozen(BaseException):
    def __setattr__(self, name: str, value: object) -> None:
        raise Boom


class FatalGroup(BaseExceptionGroup[BaseException]):  # noqa: ASYNC126
    derive = split = subgroup = __str__ = __repr__ = hostile._raise


FATAL: dict[str, Callable[[], BaseException]] = {
    "mute": Fatal,
    "frozen": FatalAndFrozen,
    "group": lambda: FatalGroup("x", [KeyboardInterrupt(), ValueError()]),
    "exit with anything": lambda: SystemExit(Text("x")),
}


PLACES = ("body", "background", "decide", "nested", "opened", "block")
IN_TRIO = {("mute", "background"), ("group", "background")}
"""Trio's own nursery around the task, in the body, breaks by these."""


@pytest.mark.parametrize(
    ("kind", "where"),
    [(kind, where) for kind in FATAL for where in PLACES if (kind, where) not in IN_TRIO],
)
def test_a_fatal_exception_comes_out_after_an_orderly_stop(kind: str, where: str) -> None:
    error = FATAL[kind]()
    ended: list[str] = []

    async def other(child: ChildContext) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("other")

    async def body(child: ChildContext) -> None:
        await trio.sleep(1)
        if where == "decide":
            raise ValueError
        raise error

    async def background(child: ChildContext) -> None:
        child.nursery.start_soon(body, child)
        await trio.sleep_forever()

    async def opens(child: ChildContext) -> None:
        async with child.open_supervisor(SupervisorSpec("o", [ChildSpec("bad", body)])):
            await trio.sleep_forever()

    def decide(report: ChildRunReport) -> None:
        raise error

    specs: dict[str, ChildSpec[Any] | SupervisorSpec] = {
        "body": ChildSpec("bad", body),
        "background": ChildSpec("bad", background),
        "decide": ChildSpec("bad", body, decide=decide),
        "nested": SupervisorSpec("n", [ChildSpec("bad", body)]),
        "opened": ChildSpec("bad", opens),
        "block": ChildSpec("bad", calm),
    }

    async def main() -> None:
        spec = SupervisorSpec("app", [ChildSpec("other", other), specs[where]])
        async with open_supervisor(spec):
            await trio.sleep(1 if where == "block" else 99)
            raise error

    caught: BaseException | None = None
    try:
        run_virtual(main)
    except BaseException as raised:  # noqa: ASYNC103 - after the end of the Trio run
        caught = raised
    assert caught is error or _holds(caught, error)
    assert ended == ["other"]


def _holds(group: BaseException | None, error: BaseException) -> bool:
    """Whether the leaves of ``error`` came out, in any group."""
    found: list[BaseException] = []
    pending = [] if group is None else [group]
    for each in pending:
        if isinstance(each, BaseExceptionGroup):
            pending.extend(BaseExceptionGroup.exceptions.__get__(each))
        found.append(each)
    wanted = [error]
    if isinstance(error, BaseExceptionGroup):
        wanted = list(BaseExceptionGroup.exceptions.__get__(error))
    return all(any(one is each for each in found) for one in wanted)
