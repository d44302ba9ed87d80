"""Commands that are cancelled at any turn of the event loop, while children end at any turn."""

# flake8: noqa: ASYNC105 - tables hold functions whose result is awaited elsewhere

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import trio
from helpers.support import run_virtual
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    Supervisor,
    SupervisorError,
    SupervisorSpec,
    open_supervisor,
)

Body = Callable[[ChildContext], Awaitable[object]]
Command = Callable[[Supervisor, Body], Awaitable[object]]

AT_ONCE: Final = BackoffPolicy.delays(0)


async def turns(count: int) -> None:
    for _ in range(count):
        await trio.lowlevel.checkpoint()


def body_that(ends: str, after: int) -> Body:
    async def body(child: ChildContext) -> None:
        await turns(after)
        if ends == "ready, then fails":
            child.ready()
            await turns(2)
        if ends.endswith("fails"):
            raise ValueError("no")
        if ends == "returns":
            return
        if ends == "hears the stop":
            await child.wait_stop_requested()
            await turns(after)
            return
        await trio.sleep_forever()

    return body


def explicit(body: Body, **options: Any) -> ChildSpec[Any]:
    return ChildSpec("new", body, readiness="explicit", **options)


COMMANDS: Final[dict[str, Command]] = {
    "start": lambda app, body: app.start_child(explicit(body)),
    "start, and try again": lambda app, body: app.start_child(
        explicit(body, retry_first_start=True, backoff=AT_ONCE)
    ),
    "start a supervisor": lambda app, body: app.start_child(
        SupervisorSpec("new", [explicit(body)])
    ),
    "stop": lambda app, _: app.stop_child("a"),
    "stop at once": lambda app, _: app.stop_child("a", grace=0),
    "quarantine": lambda app, _: app.quarantine_child("a"),
    "restart": lambda app, _: app.restart_child("a"),
    "remove": lambda app, _: app.remove_child("a"),
    "shut down": lambda app, _: app.shutdown(),
    "wait until ready": lambda app, _: app.child("a").wait_ready(),
    "wait for an exit": lambda app, _: app.child("a").wait_exit(),
}
ENDS: Final = ("fails", "ready, then fails", "returns", "hears the stop", "sleeps")


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(COMMANDS)), st.integers(0, 9)), min_size=1, max_size=3
    ),
    st.sampled_from(ENDS),
    st.integers(1, 6),
)
def test_a_cancelled_command_never_ends_the_supervisor(
    commands: list[tuple[str, int]], ends: str, after: int
) -> None:
    body = body_that(ends, after)

    async def give(app: Supervisor, command: str, scope: trio.CancelScope) -> None:
        # Refused, or its effect does not come: that is said to the caller, and harms nothing else.
        with scope, suppress(SupervisorError):
            await COMMANDS[command](app, body)

    async def main() -> bool:
        spec = ChildSpec("a", body, backoff=AT_ONCE, restart_limit=None, grace=5)
        async with open_supervisor(SupervisorSpec("app", [spec], restart_limit=None)) as app:
            async with trio.open_nursery() as nursery:
                for command, late in commands:
                    scope = trio.CancelScope()
                    nursery.start_soon(give, app, command, scope)
                    await turns(late)
                    scope.cancel()
            await turns(12)
            return app.state().state == "running"

    asked = any(command == "shut down" for command, _ in commands)
    assert run_virtual(main) or asked
