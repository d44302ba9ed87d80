"""When a service manager is told what, to the second: virtual time, a real datagram socket."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

import pytest
import trio
from helpers.service_manager import Manager
from helpers.support import run_virtual

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    Supervisor,
    SupervisorSpec,
    TaskFailure,
    open_supervisor,
)
from trio_supervisor.daemon._notify import Notifier
from trio_supervisor.daemon._systemd import Informer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="abstract datagram sockets are Linux's"
)
Told = list[tuple[float, str]]


def told(
    spec: SupervisorSpec,
    act: Callable[[Supervisor, Informer], Awaitable[object]],
    watchdog: float | None = None,
) -> Told:
    """Run a tree until ``act`` returns, then stop it; what was said, and after how many seconds."""
    found: Told = []

    async def collect(manager: Manager) -> None:
        begun = trio.current_time()
        while True:
            for field in manager.fields:
                found.append((trio.current_time() - begun, field))
            manager.datagrams.clear()
            await trio.sleep(0.1)

    async def scenario() -> None:
        informer = Informer(notifier, spec)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, manager)
            async with open_supervisor(spec, wait_ready=False) as tree:
                nursery.start_soon(informer.follow, tree)
                await act(tree, informer)
                await tree.shutdown("that was all")
                await trio.sleep(2)
            nursery.cancel_scope.cancel()

    manager = Manager(f"@test/{os.getpid()}/{time.time_ns()}")
    try:
        with closing(Notifier(manager.address, watchdog)) as notifier:
            run_virtual(scenario)
    finally:
        manager.close()
    return found


def times(of: Told, field: str) -> list[float]:
    return [at for at, each in of if each.startswith(field)]


def after(seconds: float) -> Callable[[Supervisor, Informer], Awaitable[object]]:
    async def act(_: Supervisor, __: Informer) -> None:
        await trio.sleep(seconds)

    return act


async def at_once(child: ChildContext) -> None:
    child.ready()
    await child.wait_stop_requested()


async def after_a_second(child: ChildContext) -> None:
    await trio.sleep(1)
    await at_once(child)


async def never(child: ChildContext) -> None:
    await child.wait_stop_requested()


def explicit(name: str, body: Callable[[ChildContext], Awaitable[object]]) -> ChildSpec[None]:
    return ChildSpec(name, body, readiness="explicit", grace=5)


async def crash(child: ChildContext) -> None:
    await trio.sleep(1)
    raise TaskFailure("no route")


def test_the_watchdog_is_fed_at_half_its_interval_whatever_happens_meanwhile() -> None:
    busy = ChildSpec("b", crash, restart_limit=None, backoff=BackoffPolicy.delays(0.3))
    spec = SupervisorSpec("app", [explicit("a", at_once), busy])
    fed = times(told(spec, after(301), 30), "WATCHDOG=1")
    assert len(fed) == 21
    gaps = [late - early for early, late in pairwise(fed)]
    assert max(gaps) <= 15.2
    assert min(gaps) >= 14.8


def test_a_start_that_hangs_asks_for_no_more_time() -> None:
    patient = explicit("b", never).replace(start_timeout=inf)
    spec = SupervisorSpec("app", [explicit("a", after_a_second), patient])
    asked = times(told(spec, after(100)), "EXTEND_TIMEOUT_USEC=15000000")
    starting = [at for at in asked if at < 100]
    assert len(starting) == 1, "once for the child that was ready, never for the one that hangs"
    assert 1 <= starting[0] <= 2.1


def test_a_child_that_crashes_and_starts_by_turns_asks_for_no_time() -> None:
    again = ChildSpec("a", crash, readiness="explicit", retry_first_start=True, restart_limit=None)
    asked = times(told(SupervisorSpec("app", [again]), after(100)), "EXTEND_TIMEOUT_USEC")
    assert [at for at in asked if at < 100] == []


def test_the_managers_backoff_is_reset_once_for_each_time_of_lasting_readiness() -> None:
    spec = SupervisorSpec(
        "app",
        [
            explicit("a", at_once).replace(backoff=BackoffPolicy(reset_after=60)),
            explicit("b", at_once).replace(backoff=BackoffPolicy(reset_after=20)),
        ],
    )

    reset = times(told(spec, after(300)), "RESTART_RESET=1")
    assert len(reset) == 1
    assert 60 <= reset[0] <= 62, "the longest time that a child asks for"


def test_a_crash_lets_the_time_of_lasting_readiness_begin_anew() -> None:
    async def crash_once(child: ChildContext) -> None:
        child.ready()
        if child.attempt == 1:
            await trio.sleep(100)
            raise TaskFailure("no route")
        await child.wait_stop_requested()

    hasty = BackoffPolicy(initial=5, jitter=0, reset_after=60)
    spec = SupervisorSpec("app", [explicit("a", crash_once).replace(backoff=hasty)])
    reset = times(told(spec, after(300)), "RESTART_RESET=1")
    assert [round(at) for at in reset] in ([60, 165], [61, 166], [60, 166], [61, 165]), reset


def test_a_reload_that_is_refused_claims_no_readiness_that_is_not_there() -> None:
    async def act(tree: Supervisor, informer: Informer) -> None:
        await trio.sleep(5)
        informer.reload_refused("it is too early")
        await trio.sleep(5)

    said = told(SupervisorSpec("app", [explicit("a", never)]), act)
    assert times(said, "READY=1") == times(said, "RELOADING=1") == []
    assert times(said, "STATUS=not reloaded: it is too early; starting; 0 of 1 ready")


def test_a_reload_that_is_refused_during_the_stop_takes_the_stop_back_in_no_way() -> None:
    async def act(tree: Supervisor, informer: Informer) -> None:
        await trio.sleep(5)
        informer.stopping("SIGTERM")
        informer.reload_refused("it is too late")
        await trio.sleep(5)

    said = told(SupervisorSpec("app", [explicit("a", at_once)]), act)
    assert len(times(said, "READY=1")) == 1
    assert times(said, "RELOADING=1") == []
    assert len(times(said, "STOPPING=1")) == 1


def test_the_status_counts_children_and_not_their_supervisors() -> None:
    async def end(child: ChildContext) -> None:
        await trio.sleep(1)

    pool = SupervisorSpec("pool", [explicit("b", at_once), explicit("c", at_once)])
    once = ChildSpec("once", end, restart="transient")
    said = told(SupervisorSpec("app", [explicit("a", at_once), pool, once]), after(10))
    assert times(said, "STATUS=3 of 3 ready")
