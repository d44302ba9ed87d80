"""Check the promises to callers of a tree, which can be seen only while the kit drives it.

Events do not show which tasks wait for a tree, nor exceptions as objects. A `Rig` therefore keeps
observers that wait for the tree, remembers what bodies raise, and checks what comes out.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, final

import trio
from trio.testing import wait_all_tasks_blocked

from trio_supervisor._errors import SupervisorError
from trio_supervisor._events import events as ev
from trio_supervisor.testing._oracle.watch import current_watch
from trio_supervisor.testing._sim.tasks import leaves_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_supervisor._attempts.context import ChildContext
    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor.testing._oracle.watched_tree import WatchedTree

_FAILURES: Final = ("limit", "escalated", "start_failed")


def leads_to(error: BaseException | None, wanted: BaseException) -> bool:
    """Return whether ``wanted`` is in ``error``: by causes, groups or reports."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        if one is wanted:
            return True
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        pending.append(one.__cause__)
        pending.extend(getattr(one, "exceptions", ()))
        pending.extend(report.exit.error for report in getattr(one, "reports", ()))
    return False


def note_raised(context: ChildContext, error: BaseException) -> None:
    """Remember an exception of a body or of a task beside it: it must not be lost."""
    watch = current_watch()
    real = [leaf for leaf in leaves_of(error) if not isinstance(leaf, trio.Cancelled)]
    if watch is not None and real:
        watch.raised.setdefault(context._attempt, []).extend(real)


@final
class Promises:
    """Watch what a tree owes to its callers.

    Args:
        supervisor: The root of the tree.
        nursery: The nursery of the observers, which is not cancelled together with the tree.
    """

    def __init__(self, supervisor: Supervisor, nursery: trio.Nursery) -> None:
        self.in_flight: dict[object, str] = {}
        self.cancelled_at: float | None = None
        self._supervisor = supervisor
        self._nursery = nursery
        watch = current_watch()
        self._watch = watch
        self._tree: WatchedTree | None = None if watch is None else watch.tree_of(supervisor)

    def fail(self, invariant: str, text: str) -> None:
        """Note that a promise was broken.

        Raises:
            AssertionError: No watch sees this tree, so the violation is raised at once.
        """
        if self._tree is None:
            raise AssertionError(f"{invariant}: {text}")
        self._tree.fail(invariant, text)

    # ------------------------------------------------------------ observers

    def observe(self) -> None:
        """Start one observer for each way of waiting for the end of the tree."""
        supervisor = self._supervisor
        self._wait("in Supervisor.wait_finished()", supervisor.wait_finished)
        self._wait("for the next event of a subscription", self._read)
        for name, handle in supervisor.children.items():
            self._wait(f"in wait_finished() of {name}", handle.wait_finished)

    def _wait(self, what: str, wait: Callable[[], Awaitable[object]]) -> None:
        token = object()
        self.in_flight[token] = f"a task still waits {what}"
        self._nursery.start_soon(self._observe, token, wait, name=f"observer: {what}")

    async def _observe(self, token: object, wait: Callable[[], Awaitable[object]]) -> None:
        try:
            await wait()
        except SupervisorError:
            pass  # an error is an answer, too
        except trio.Cancelled:
            if trio.current_effective_deadline() > -inf:
                self.fail("woken", f"{self.in_flight[token]}, and gets a Cancelled of the tree's")
            raise
        self.in_flight.pop(token, None)

    async def _read(self) -> None:
        async with self._supervisor.subscribe(max_buffer=8) as events:
            async for _ in events:
                pass

    async def check_told(self) -> None:
        """Check that no observer waits any more, now that the tree has ended."""
        if trio.current_effective_deadline() == -inf:
            return  # cancelled from outside, and not by the tree
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
        if self.in_flight:
            self.fail("woken", f"the tree has ended: {'; '.join(self.in_flight.values())}")
            self._nursery.cancel_scope.cancel("the tree has ended without waking them")

    # ------------------------------------------------------------ outcome

    def check_outcome(self, error: BaseException | None) -> None:
        """Check the exception, if any, that left the tree."""
        if self._tree is None or self._watch is None:
            return
        events = [event for event in self._tree.events if event.path == self._tree.path]
        stopping = next((one for one in events if isinstance(one, ev.SupervisorStopping)), None)
        if stopping is None:
            return
        interrupted = any(
            isinstance(one, ev.ChildExited) and one.kind == "fatal" for one in self._tree.events
        )
        if interrupted and not self._has_interrupt(error):
            self.fail(
                "through",
                f"a child raised an exception that ends a program, and {error!r} came out",
            )
        cancelled = error is not None and all(
            isinstance(leaf, trio.Cancelled) for leaf in leaves_of(error)
        )
        if stopping.cause in _FAILURES and not interrupted and not cancelled:
            self._check_failure(stopping, error)
        if self.cancelled_at is not None:
            self._check_no_grace(stopping, self.cancelled_at)

    @staticmethod
    def _has_interrupt(error: BaseException | None) -> bool:
        return error is not None and any(
            not isinstance(leaf, (Exception, trio.Cancelled)) for leaf in leaves_of(error)
        )

    def _check_failure(self, stopping: ev.SupervisorStopping, error: BaseException | None) -> None:
        assert self._tree is not None
        if error is None:
            if self.cancelled_at is None:
                self.fail("errors", f"the tree failed ({stopping.reason}), and nothing was raised")
            return
        before = [event for event in self._tree.events if event.sequence < stopping.sequence]
        verdict = next((one for one in reversed(before) if isinstance(one, ev.ExitJudged)), None)
        if verdict is None:
            return
        for leaf in self._tree.leaves.get((verdict.run, verdict.path, verdict.attempt), ()):
            if not leads_to(error, leaf):
                self.fail("errors", f"{error!r} does not lead to {leaf!r}, which caused it")

    def _check_no_grace(self, stopping: ev.SupervisorStopping, since: float) -> None:
        assert self._tree is not None
        if stopping.time > since:
            self.fail("through", f"cancelled from outside at {since:g}, and did not begin to stop")
        asked: dict[tuple[int, str, int], ev.ChildStopRequested] = {}
        children = f"{self._tree.path}/"
        for event in self._tree.events:
            if "/" in event.path.removeprefix(children):
                continue  # nested supervisors are stopped when their turn has come
            attempt = event.run, event.path, event.attempt
            if isinstance(event, ev.ChildStopRequested) and event.grace:
                asked[attempt] = event
            elif isinstance(event, (ev.ChildCancelled, ev.ChildExited)):
                request = asked.pop(attempt, None)
                if request is not None and event.time > max(since, request.time):
                    wrong = f"{event.path} had grace in spite of a cancellation from outside"
                    self.fail("through", wrong)
