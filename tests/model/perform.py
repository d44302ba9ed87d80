"""Running a drawn case: the tree, its operators, and those who watch it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import trio

from trio_supervisor import (
    ChildEscalated,
    ChildExited,
    ChildNotReady,
    ChildStartError,
    EventGap,
    RestartLimitExceeded,
    Supervisor,
    SupervisorError,
    SupervisorSnapshot,
    fold,
)

from . import kit

if TYPE_CHECKING:
    from .draw import Case

PATIENCE = 150.0


class BlockError(Exception):
    """What a block raises that is to raise."""


class WaiterError(AssertionError):
    """Somebody waits for what has happened, or was woken for what has not."""


@final
class Waiters:
    """Observers of a running tree: each has to be told when there is something to tell."""

    def __init__(self, supervisor: Supervisor, nursery: trio.Nursery) -> None:
        self.supervisor = supervisor
        self.nursery = nursery
        self.view: SupervisorSnapshot | None = None
        self.view_is_whole = True
        self.waiting: dict[str, Any] = {}

    def watch(self) -> None:
        """Let somebody wait for each child to be ready."""
        for name, handle in self.supervisor.children.items():
            if name not in self.waiting:
                self.waiting[name] = handle
                self.nursery.start_soon(self._wait_ready, name, handle)

    async def _wait_ready(self, name: str, handle: Any) -> None:
        try:
            value = await handle.wait_ready()
            if handle.state == "ready" and value != handle.value:
                raise WaiterError(f"{name} is ready with {handle.value!r}, and not with {value!r}")
        except ChildNotReady:
            # It came to rest; by now it may have gone on.
            pass
        except SupervisorError:
            pass
        finally:
            self.waiting.pop(name, None)

    async def follow(self, task_status: Any) -> None:
        """Fold the events of a subscription."""
        async with self.supervisor.subscribe(max_buffer=100_000) as events:
            self.view = events.snapshot
            task_status.started()
            async for event in events:
                assert not isinstance(event, EventGap)
                self.view = fold(self.view, event)

    def check(self) -> None:
        """When nobody moves any more: whoever waits has a reason to."""
        for name, handle in self.waiting.items():
            state = str(handle.state)
            if state in {"ready", "done", "stopped", "quarantined", "removed"}:
                raise WaiterError(f"{name} is {state}, and somebody still waits in wait_ready()")
        if self.view is not None and self.view != self.supervisor.state():
            raise WaiterError("a subscriber sees another state")
        self._check_reports()

    def _check_reports(self) -> None:
        last = {
            event.path: event for event in self.supervisor.journal if type(event) is ChildExited
        }
        for name, handle in self.supervisor.children.items():
            if handle.path in last and last[handle.path].kind == "fatal":
                continue  # it ends the tree, and is in no report
            reports = handle.reports
            numbers = [report.attempt for report in reports]
            finished = handle.attempt - (1 if str(handle.state) in _LIVE else 0)
            wanted = list(range(max(1, finished - 7), finished + 1))
            if numbers != wanted:
                raise WaiterError(f"{name}: reports of attempts {numbers}, expected {wanted}")
            if reports and reports[-1].exit.kind == "crashed" and reports[-1].exit.error is None:
                raise WaiterError(f"{name}: the error is lost")


_LIVE = frozenset({"starting", "ready", "not_ready", "stopping"})


async def perform(case: Case) -> str:
    """Run ``case``; returns what came out of it, in a word.

    Raises:
        WaiterError: Somebody was not woken, or an error is lost.
    """
    raised: BaseException | None = None
    found: list[Supervisor] = []
    # Whoever ignores stop requests and has all the time in the world needs somebody to cancel.
    with trio.CancelScope(deadline=trio.current_time() + 2 * PATIENCE) as outer:
        try:
            async with kit.open_rig(case.spec, wait_ready=case.wait_ready) as rig:
                found.append(rig.supervisor)
                with trio.move_on_after(PATIENCE):
                    await _inside(case, rig, outer)
        except (SupervisorError, BlockError, kit.SimulatedInterrupt) as error:
            raised = error
        except BaseExceptionGroup as group:
            raised = group
            kinds = {type(error) for error in _leaves_of(group)}
            if WaiterError in kinds:
                raise
            several = len(kinds) > 1 and kinds & {BlockError, kit.SimulatedInterrupt}
            if not several and kinds != {kit.SimulatedInterrupt}:
                raise
    outcome = _check_outcome(case, raised)
    if raised is None and found:
        causes = {getattr(event, "cause", "") for event in found[0].journal if event.path == "app"}
        if causes & {"limit", "escalated", "start_failed"} and not outer.cancelled_caught:
            raise WaiterError(f"the tree has failed ({causes}), and nothing was raised")
    return outcome


async def _inside(case: Case, rig: kit.Rig, outer: trio.CancelScope) -> None:
    supervisor = rig.supervisor
    await kit.settle()
    async with trio.open_nursery() as nursery:
        waiters = Waiters(supervisor, nursery)
        await nursery.start(_follow, waiters)
        waiters.watch()
        await kit.settle()
        for command in case.commands:
            await rig.apply(command)
            waiters.check()
            waiters.watch()
            await kit.settle()
        if case.ending == "shutdown":
            await supervisor.shutdown("the test ends")
        elif case.ending == "hurry":
            supervisor.request_shutdown("the test ends")
            await trio.sleep(1)
            supervisor.request_shutdown("now", grace=False)
            await supervisor.wait_finished()
        elif case.ending == "cancel":
            outer.cancel("the test ends")
        nursery.cancel_scope.cancel("the test ends")
    if case.ending == "raise":
        raise BlockError


async def _follow(waiters: Waiters, *, task_status: Any) -> None:
    await waiters.follow(task_status)


def _check_outcome(case: Case, raised: BaseException | None) -> str:
    if raised is None:
        return "ended"
    errors = raised.exceptions if isinstance(raised, BaseExceptionGroup) else (raised,)
    for error in errors:
        if isinstance(error, (RestartLimitExceeded, ChildEscalated, ChildStartError)):
            report = error.reports[-1] if getattr(error, "reports", ()) else None
            wanted = None if report is None else report.exit.error
            if wanted is not None and not _is_in(wanted, error.__cause__):
                raise WaiterError(f"{error!r} does not lead to {wanted!r}, which caused it")
    return type(raised).__name__


def _leaves_of(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for each in error.exceptions for leaf in _leaves_of(each)]


def _is_in(wanted: BaseException, error: BaseException | None) -> bool:
    pending = [error]
    while pending:
        one = pending.pop()
        if one is wanted:
            return True
        if one is not None:
            pending.append(one.__cause__)
            pending.extend(getattr(one, "exceptions", ()))
    return False


def run_case(case: Case, *, seed: int, schedule: Any = None) -> kit.Trace[str]:
    """In virtual time, under a schedule drawn from ``seed``."""
    return kit.simulate(perform, case, seed=seed, schedule=schedule, max_seconds=3 * PATIENCE)
