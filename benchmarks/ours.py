"""The same things under a supervisor of ours, with policy, limits, events, journal and state."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from benchmarks.measure import (
    Attempts,
    BoomError,
    Census,
    Result,
    Watch,
    format_logs,
    sink_logs,
)
from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    RestartLimit,
    SupervisorSpec,
    open_supervisor,
)

if TYPE_CHECKING:
    from trio_supervisor import Supervisor

NO_BACKOFF = BackoffPolicy.delays(0)
NO_LIMIT = RestartLimit(10**9, within=3600)


class Crowd:
    """A batch of short-lived children, and the moment at which the last of them has ended."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.begin()

    def begin(self) -> None:
        self._left = self._size
        self.gone = trio.Event()

    def one_less(self) -> None:
        self._left -= 1
        if not self._left:
            self.gone.set()


async def idle(child: ChildContext) -> None:
    await trio.sleep_forever()


def failing(attempts: Attempts, done: trio.Event, *, checkpoint: bool = True) -> ChildSpec[Any]:
    """A child that fails whenever it is started."""

    async def body(child: ChildContext) -> None:
        if attempts.begin():
            done.set()
            await trio.sleep_forever()
        if checkpoint:
            await trio.lowlevel.checkpoint()
        raise BoomError("failed")

    return ChildSpec("failing", body, backoff=NO_BACKOFF, restart_limit=NO_LIMIT)


async def read(supervisor: Supervisor) -> None:
    async with supervisor.subscribe(max_buffer=4096) as events:
        async for _ in events:
            pass


def restart(
    count: int,
    *,
    checkpoint: bool = True,
    log: bool = False,
    siblings: int = 0,
    window: int = 200,
    subscribers: int = 0,
    freeze: bool = False,
) -> Result:
    """One child fails and is started again; a deadline an hour away is pending meanwhile.

    Args:
        count: Restarts that are measured.
        checkpoint: Whether a body makes one checkpoint before it fails.
        log: Whether logs are formatted, to nowhere.
        siblings: How many idle children stand beside it.
        window: Restarts before those that are measured; all stay in the window.
        subscribers: How many tasks read all events.
        freeze: Whether the collector is told to leave alone what is there when all are up.
    """
    attempts = Attempts(count, window)

    async def main() -> None:
        done = trio.Event()
        spec = SupervisorSpec("app", [ChildSpec(f"c{number}", idle) for number in range(siblings)])
        async with open_supervisor(spec) as supervisor, trio.open_nursery() as readers:
            await supervisor.start_child(ChildSpec("far", idle, max_runtime=3600))
            for _ in range(subscribers):
                readers.start_soon(read, supervisor)
            await trio.testing.wait_all_tasks_blocked()
            if freeze:
                gc.collect()
                gc.freeze()
            await supervisor.start_child(failing(attempts, done, checkpoint=checkpoint))
            await done.wait()
            readers.cancel_scope.cancel()

    if log:
        format_logs()
    else:
        sink_logs()
    trio.run(main)
    return attempts.result


def restart_at_once(count: int) -> Result:
    return restart(count, checkpoint=False)


def restart_logged(count: int) -> Result:
    return restart(count, log=True)


def children(
    count: int, *, ordering: Any = "sequence", collector: str = "as it is", until: str = ""
) -> Result:
    """Declare and start children that wait for ever, then stop them in order, with a report.

    Args:
        count: How many.
        ordering: Of the supervisor.
        collector: Garbage collector: ``"as it is"``, ``"freeze"`` when all are up, or ``"off"``.
        until: End the process when the children are ``"declared"`` or ``"up"``.
    """
    sink_logs()
    census = Census(count, until)

    async def main() -> None:
        specs = [ChildSpec(f"c{number}", idle) for number in range(count)]
        spec = SupervisorSpec("app", specs, ordering=ordering)
        census.declared()
        async with open_supervisor(spec) as supervisor:
            await trio.testing.wait_all_tasks_blocked()
            if collector == "freeze":
                gc.collect()
                gc.freeze()
            census.all_up()
            report = await supervisor.shutdown()
            census.all_down()
            assert len(report.children) == count

    if collector == "off":
        gc.disable()
    trio.run(main)
    return census.result


def children_in_graph(count: int, *, until: str = "") -> Result:
    return children(count, ordering="graph", until=until)


def children_dynamic(count: int) -> Result:
    """Children that are added one by one to a running supervisor; each is ready when it returns."""
    sink_logs()
    census = Census(count)

    async def main() -> None:
        async with open_supervisor() as supervisor:
            for number in range(count):
                await supervisor.start_child(ChildSpec(f"c{number}", idle, restart="temporary"))
            census.all_up()
            await supervisor.shutdown()
            census.all_down()

    trio.run(main)
    return census.result


def pool(count: int, *, wait: bool = False, batch: int = 100, siblings: int = 0) -> Result:
    """Short-lived children under a pool, each from its start until it is forgotten.

    Args:
        count: How many; rounded up to whole batches.
        wait: Whether each is started with ``await start_child``, one after the other, instead of
            with ``start_child_soon``, a batch at a time.
        batch: How many are started before the next batch waits for all of them.
        siblings: How many idle children stand beside them.
    """
    sink_logs()
    crowd = Crowd(batch)

    async def body(child: ChildContext) -> None:
        await trio.lowlevel.checkpoint()
        crowd.one_less()

    async def main() -> None:
        tree = SupervisorSpec("app", [ChildSpec(f"s{number}", idle) for number in range(siblings)])
        async with open_supervisor(tree) as supervisor:
            watch.start()
            for first in range(0, count, batch):
                crowd.begin()
                for number in range(first, first + batch):
                    spec = ChildSpec(f"c{number}", body, restart="temporary")
                    if wait:
                        await supervisor.start_child(spec)
                    else:
                        supervisor.start_child_soon(spec)
                await crowd.gone.wait()
            result.update(watch.per(count))

    watch = Watch()
    result: Result = {}
    trio.run(main)
    return result


def group_restart(count: int, strategy: Any, rounds: int = 3) -> Result:
    """The first of ``count`` children fails, and all of them are stopped and started again."""
    sink_logs()
    watch = Watch()
    result: Result = {}
    made = 0

    async def main() -> None:
        up = trio.Event()

        async def first(child: ChildContext) -> None:
            await trio.testing.wait_all_tasks_blocked()
            nonlocal made
            made += 1
            if made == 1:
                watch.start()
            elif made == rounds + 1:
                result.update(watch.per(count * rounds))
                up.set()
                await trio.sleep_forever()
            raise BoomError("failed")

        one = ChildSpec("first", first, backoff=NO_BACKOFF, restart_limit=NO_LIMIT)
        rest = [ChildSpec(f"c{number}", idle) for number in range(count - 1)]
        async with open_supervisor(SupervisorSpec("app", [one, *rest], strategy=strategy)):
            await up.wait()

    trio.run(main)
    return result


def heartbeats(count: int, *, watched: bool = True) -> Result:
    """Calls of ``child.heartbeat()``, with a checkpoint after every thousand."""
    sink_logs()
    result: Result = {}

    async def body(child: ChildContext) -> None:
        watch = Watch()
        for _ in range(count // 1000):
            for _ in range(1000):
                child.heartbeat()
            await trio.lowlevel.checkpoint()
        result.update(watch.per(count // 1000 * 1000))

    async def main() -> None:
        options: dict[str, Any] = {"stale_after": 3600} if watched else {}
        async with open_supervisor() as supervisor:
            child = await supervisor.start_child(
                ChildSpec("c", body, restart="transient", **options)
            )
            await child.wait_finished()

    trio.run(main)
    return result


def readiness(count: int) -> Result:
    """``not_ready()`` and ``ready()``, each seen by the supervisor: two events."""
    sink_logs()
    result: Result = {}

    async def body(child: ChildContext) -> None:
        child.ready()
        watch = Watch()
        for _ in range(count):
            child.not_ready("busy")
            await trio.lowlevel.checkpoint()
            child.ready()
            await trio.lowlevel.checkpoint()
        result.update(watch.per(count))

    async def main() -> None:
        spec = ChildSpec("c", body, readiness="explicit", restart="transient")
        async with open_supervisor() as supervisor:
            child = await supervisor.start_child(spec)
            await child.wait_finished()

    trio.run(main)
    return result


def start_ready(count: int) -> Result:
    """Children that say when they are ready, added one after the other."""
    sink_logs()
    result: Result = {}

    async def body(child: ChildContext) -> None:
        await trio.lowlevel.checkpoint()
        child.ready()
        await trio.sleep_forever()

    async def main() -> None:
        async with open_supervisor() as supervisor:
            watch = Watch()
            for number in range(count):
                await supervisor.start_child(ChildSpec(f"c{number}", body, readiness="explicit"))
            result.update(watch.per(count))

    trio.run(main)
    return result


def nested(count: int, depth: int = 10) -> Result:
    """Supervisors in supervisors, each with one child, opened and closed."""
    sink_logs()
    result: Result = {}
    tree: SupervisorSpec | None = None
    for level in range(depth):
        below = [] if tree is None else [tree]
        tree = SupervisorSpec(f"level{level}", [ChildSpec("leaf", idle), *below])

    async def main() -> None:
        watch = Watch()
        for _ in range(count):
            async with open_supervisor(tree):
                pass
        result.update(watch.per(count))

    trio.run(main)
    return result
