"""A tree for tests of the command line."""

from __future__ import annotations

import trio

from trio_supervisor import BackoffPolicy, ChildContext, ChildSpec, RestartLimit, SupervisorSpec


async def idle(child: ChildContext) -> None:
    child.ready()
    await trio.sleep_forever()


async def crash(child: ChildContext) -> None:
    child.ready()
    await trio.sleep(0.05)
    raise ConnectionResetError("gone\x1b[2J\x07 away")


LATER = BackoffPolicy(initial=3600, maximum=3600, jitter=0)
APP = SupervisorSpec(
    "shop",
    [
        ChildSpec("store", idle, readiness="explicit"),
        ChildSpec("feed", crash, readiness="explicit", backoff=LATER, restart_limit=None),
        SupervisorSpec("sessions", [ChildSpec("s-1", idle, readiness="explicit")]),
    ],
)


def declare() -> SupervisorSpec:
    return APP


async def deaf(child: ChildContext) -> None:
    child.ready()
    await trio.sleep_forever()


async def passes_it_on(child: ChildContext) -> None:
    await idle(child)


async def hears(child: ChildContext) -> None:
    async def inner() -> None:
        with child.stop_scope():
            child.heartbeat()
            await trio.sleep_forever()

    await inner()


ODD = SupervisorSpec(
    "odd",
    [
        ChildSpec("deaf", deaf, grace=5, stale_after=9, readiness="explicit"),
        ChildSpec("fine", hears, grace=5, stale_after=9),
        ChildSpec("unknown", passes_it_on, grace=5),
        ChildSpec("slow", idle, backoff=LATER, restart_limit=RestartLimit(3, within=60)),
        ChildSpec(
            "fast", idle, backoff=BackoffPolicy.delays(0), restart_limit=RestartLimit(3, within=60)
        ),
        ChildSpec("hot", idle, backoff=BackoffPolicy(initial=0), restart_limit=None),
        SupervisorSpec(
            "pool", [ChildSpec("x", idle)], child_restart_limit=RestartLimit(10, within=120)
        ).as_child(restart_limit=RestartLimit(3, within=60)),
    ],
    shutdown_deadline=8,
)
PATIENT = ChildSpec("b", hears, start_timeout=float("inf"), readiness="explicit")
ENDLESS = SupervisorSpec("endless", [ChildSpec("a", passes_it_on, grace=float("inf")), PATIENT])
BROKEN = 3
