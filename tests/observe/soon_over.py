"""A tree that ends by itself."""

from __future__ import annotations

import trio

from trio_supervisor import ChildContext, ChildSpec, SupervisorSpec


async def job(child: ChildContext) -> None:
    child.ready()
    await trio.sleep(0.05)


APP = SupervisorSpec(
    "app",
    [ChildSpec("job", job, readiness="explicit", restart="transient")],
    auto_shutdown="all_done",
)
