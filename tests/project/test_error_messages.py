"""Every error that a user can cause by a wrong argument, as it reads.

``errors.txt`` lists expressions and what they raise. Whoever changes a message reads it there: it
has to name the field, the value and what was expected, and the remedy where one is likely.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import trio

import trio_supervisor
from trio_supervisor import ChildSpec, SupervisorSpec, open_supervisor

LINES = Path(__file__).with_name("errors.txt").read_text(encoding="utf-8").splitlines()
CASES = [(LINES[at], LINES[at + 1].strip()) for at in range(0, len(LINES), 2)]


async def body(child: Any) -> None:
    """A child."""
    await child.wait_stop_requested()


async def noctx() -> None:
    """A function that knows of no context."""


def C(**options: Any) -> ChildSpec[Any]:  # noqa: N802 - short in the list
    return ChildSpec("web", body, **options)


PACKAGE: Any = trio_supervisor  # its `__all__` is made when it is asked for
NAMES: dict[str, Any] = {
    **{name: getattr(PACKAGE, name) for name in PACKAGE.__all__},
    "C": C,
    "body": body,
    "noctx": noctx,
    "math": __import__("math"),
    "trio": trio,
}


def as_it_reads(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}"
    return re.sub(r" at 0x[0-9a-f]+", "", text).rstrip()


@pytest.mark.parametrize(("expression", "message"), CASES, ids=[case[0] for case in CASES])
def test_a_wrong_argument(expression: str, message: str) -> None:
    with pytest.raises((ValueError, TypeError, trio_supervisor.SupervisorError)) as caught:
        eval(expression, dict(NAMES))
    assert as_it_reads(caught.value) == message
    assert "\n" not in str(caught.value)


ASKED: list[tuple[str, str]] = [
    ("app.child('wbe')", "ChildNotFound: app has no child 'wbe'; it has: web, api"),
    ("app.child(3)", "SpecError: app: name=3: expected a child's name or path, or its spec"),
    ("app.state().child('x')", "ChildNotFound: app has no child 'x'; it has: web, api"),
    ("app.start_child(C())", "ChildAlreadyExists: app/web exists already (it is ready)"),
    (
        "app.start_child(ChildSpec('new', body))",
        "TooManyChildren: app is full: max_children=2; cannot start new",
    ),
    (
        "app.start_child(3)",
        "SpecError: start_child: spec=3: expected a ChildSpec or SupervisorSpec",
    ),
    ("app.stop_child('x')", "ChildNotFound: app has no child 'x'; it has: web, api"),
    ("app.remove_child('web')", "CommandRefused: cannot remove app/web: it is required by api"),
    (
        "app.subscribe(max_buffer=0)",
        "SpecError: subscribe: max_buffer=0: expected a whole number of events >= 1",
    ),
    (
        "app.subscribe().snapshot",
        "RuntimeError: a subscription begins with `async with supervisor.subscribe() as events:`",
    ),
]
ENDED: list[tuple[str, str]] = [
    ("app.start_child_soon(C())", "SupervisorClosed: app has ended"),
    ("app.restart_child('web')", "SupervisorClosed: app has ended"),
    ("app.child('web').value", "ChildNotReady: app/web is stopped: it has no value now"),
    (
        "app.child('web').wait_ready()",
        "SupervisorClosed: app/web is stopped: its supervisor has ended",
    ),
]


async def check(cases: list[tuple[str, str]], app: trio_supervisor.Supervisor) -> None:
    for expression, message in cases:
        with pytest.raises((ValueError, RuntimeError, trio_supervisor.SupervisorError)) as caught:
            result = eval(expression, {**NAMES, "app": app})
            if hasattr(result, "__await__"):
                await result
        assert as_it_reads(caught.value) == message


def test_what_a_supervisor_is_asked_in_vain() -> None:
    async def main() -> None:
        children = [C(grace=1), ChildSpec("api", body, requires=("web",), grace=1)]
        async with open_supervisor(SupervisorSpec("app", children, max_children=2)) as app:
            await check(ASKED, app)
        await check(ENDED, app)

    trio.run(main)


def test_every_public_value_shows_itself_in_one_useful_line() -> None:
    async def main() -> list[str]:
        children = [C(grace=1), ChildSpec("api", body, requires=("web",), grace=1)]
        async with (
            open_supervisor(SupervisorSpec("app", children)) as app,
            app.subscribe() as events,
        ):
            await app.stop_child("api")
            report = app.child("api").last_report
            shown = [app, app.journal, app.child("web"), events, app.children, report]
            return [repr(each) for each in shown]
        raise AssertionError

    shown = trio.run(main)
    assert shown[:4] == [
        "<Supervisor app running>",
        shown[1],
        "<ChildHandle app/web ready attempt=1>",
        "<Subscription app buffered=4 lost=0>",
    ]
    assert re.fullmatch(r"<Journal app: \d+ of \d+ events>", shown[1])
    assert not [text for text in shown if "\n" in text or " object at 0x" in text]
