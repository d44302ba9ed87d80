"""The verb ``ready`` and ``/readyz`` judge the same tree: whatever is wrong, they name the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from control.kit import ask
from helpers.http_client import child, get, open_both
from helpers.support import run_real

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    Supervisor,
    SupervisorSpec,
    TaskFailure,
)
from trio_supervisor.control import open_control

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

IN_AN_HOUR = BackoffPolicy(initial=3600, maximum=3600, jitter=0)


async def fail(child: ChildContext) -> None:
    child.ready()
    await trio.sleep(0.01)
    raise TaskFailure("connection refused")


def failing(name: str) -> ChildSpec[Any]:
    return ChildSpec(name, fail, readiness="explicit", backoff=IN_AN_HOUR)


async def nothing(app: Supervisor) -> None:
    await trio.lowlevel.checkpoint()


async def declared_stopped(app: Supervisor) -> None:
    await app.stop_child("store", reason="maintenance")


async def nested_stopped(app: Supervisor) -> None:
    await app.child("pool/a").stop(reason="maintenance")


async def supervisor_stopped(app: Supervisor) -> None:
    await app.stop_child("pool")


async def quarantined(app: Supervisor) -> None:
    await app.quarantine_child("store", reason="broken")


async def added_fails(app: Supervisor) -> None:
    handle = await app.start_child(failing("extra"))
    await handle.wait_state("backing_off")


async def added_below_fails(app: Supervisor) -> None:
    pool: Supervisor = app.child("pool").value
    handle = await pool.start_child(failing("extra"))
    await handle.wait_state("backing_off")


async def added_supervisor_with_a_failing_child(app: Supervisor) -> None:
    spec = SupervisorSpec("extra", [failing("inside")])
    await app.start_child(spec)
    await app.child("extra/inside").wait_state("backing_off")


async def added_stopped_and_declared_stopped(app: Supervisor) -> None:
    await app.start_child(child("extra"))
    await app.stop_child("extra")
    await app.stop_child("store")


@pytest.mark.parametrize(
    ("trouble", "named"),
    [
        (nothing, ()),
        (declared_stopped, ("app/store",)),
        (nested_stopped, ("app/pool/a",)),
        (supervisor_stopped, ("app/pool",)),
        (quarantined, ("app/store",)),
        (added_fails, ()),
        (added_below_fails, ()),
        (added_supervisor_with_a_failing_child, ()),
        (added_stopped_and_declared_stopped, ("app/store",)),
    ],
)
def test_both_name_the_same_children(
    tmp_path: Path, trouble: Callable[[Supervisor], Awaitable[None]], named: tuple[str, ...]
) -> None:
    tree = SupervisorSpec("app", [child("store"), SupervisorSpec("pool", [child("a")])])

    async def scenario() -> None:
        async with (
            open_both(tree) as (server, app),
            open_control(app, str(tmp_path / "s")) as control,
        ):
            await trouble(app)
            page = await get(server, "/readyz")
            verb = await ask(control, "ready")
            assert page.status == (503 if named else 200)
            assert verb["ready"] == (not named)
            lines = page.body.splitlines() if named else []
            assert tuple(line.split(" ")[0] for line in lines) == named
            assert tuple(each["path"] for each in verb["missing"]) == named

    run_real(scenario)


def test_an_added_child_counts_where_it_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            open_both(SupervisorSpec("app", [child("store")])) as (_, app),
            open_control(app, str(tmp_path / "s")) as control,
        ):
            await added_fails(app)
            assert (await ask(control, "ready"))["ready"]
            named = await ask(control, "ready", names=["extra"])
            assert [each["path"] for each in named["missing"]] == ["app/extra"]
            assert (await ask(control, "ready", names=["store"]))["ready"]

    run_real(scenario)


def test_both_say_that_a_drain_has_begun(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            open_both(SupervisorSpec("app", [child("store")])) as (server, app),
            open_control(app, str(tmp_path / "s")) as control,
        ):
            server.begin_drain("SIGTERM")
            control.begin_drain("SIGTERM")
            assert (await get(server, "/readyz")).body == "draining: SIGTERM\n"
            (missing,) = (await ask(control, "ready"))["missing"]
            assert missing["why"] == "draining: SIGTERM"

    run_real(scenario)
