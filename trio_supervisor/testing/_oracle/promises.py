"""What is promised to those around a tree, and can be seen only while the kit drives it.

Events say nothing of who waits for whom, nor of exceptions as objects. A `Rig` therefore keeps
observers that wait for the tree, remembers what bodies raise, and looks at what comes out.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, final

import trio
from trio.testing import wait_all_tasks_blocked

from trio_supervisor._errors import SupervisorError
from trio_supervisor._events import events as ev
from trio_supervisor.testing._oracle.watch import current_watch, leaves_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_supervisor._attempts.context import ChildContext
    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor.testing._oracle.watch import WatchedTree

_FAILURES: Final = ("limit", "escalated", "start_failed")


def leads_to(error: BaseException | None, wanted: BaseException) -> bool:
    """Whether somebody who has ``error`` can find ``wanted`` in it: by causes, groups, reports."""
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
    """A body, or a task beside it, has raised ``error``: it may not be lost."""
    watch = current_watch()
    real = [leaf for leaf in leaves_of(error) if not isinstance(leaf, trio.Cancelled)]
    if watch is not None and real:
        watch.raised.setdefault(context._attempt, []).extend(real)


@final
class Promises:
    """Watches what a tree owes to those outside of it.

    Args:
        supervisor: Its root.
        nursery: Of those who wait; not inside of what is cancelled with the tree.
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
        """One of them was broken.

        Raises:
            AssertionError: Nobody watches this tree to whom it could be told.
        """
        if self._tree is None:
            raise AssertionError(f"{invariant}: {text}")
        self._tree.fail(invariant, text)

    # ------------------------------------------------------------ those who wait

    def observe(self) -> None:
        """Let somebody wait for everything that one can wait for until the end."""
        supervisor = self._supervisor
        self._wait("in Supervisor.wait_finished()", supervisor.wait_finished)
        self._wait("for the next event of a subscription", self._read)
        for name, handle in supervisor.children.items():
            self._wait(f"in wait_finished() of {name}", handle.wait_finished)

    def _wait(self, what: str, wait: Callable[[], Awaitable[object]]) -> None:
        token = object()
        self.in_flight[token] = f"somebody still waits {what}"
        self._nursery.start_soon(self._observe, token, wait, name=f"observer: {what}")

    async def _observe(self, token: object, wait: Callable[[], Awaitable[object]]) -> None:
        try:
            await wait()
        except SupervisorError:
            pass  # that, too, is an answer
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
        """The tree has ended: nobody may still wait for it."""
        if trio.current_effective_deadline() == -inf:
            return  # cancelled with all the rest, and not by the tree
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
        if self.in_flight:
            self.fail("woken", f"the tree has ended: {'; '.join(self.in_flight.values())}")
            self._nursery.cancel_scope.cancel("nobody would wake them any more")

    # ------------------------------------------------------------ what comes out

    def check_outcome(self, error: BaseException | None) -> None:
        """The tree has ended, and this came out of it."""
        if self._tree is None or self._watch is None:
            return
        events = [event for event in self._tree.events if event.path == self._tree.spec.name]
        stopping = next((one for one in events if isinstance(one, ev.SupervisorStopping)), None)
        if stopping is None:
            return
        interrupted = any(
            isinstance(one, ev.ChildExited) and one.kind == "fatal" for one in self._tree.events
        )
        if interrupted and not self._has_interrupt(error):
            self.fail("through", f"a child raised what ends a program, and {error!r} came out")
        cancelled = error is not None and all(
            isinstance(leaf, trio.Cancelled) for leaf in leaves_of(error)
        )
        if stopping.cause in _FAILURES and not interrupted and not cancelled:
            self._check_failure(stopping, error)
        if self.cancelled_at is not None:
            self._check_hurry(stopping, self.cancelled_at)

    @staticmethod
    def _has_interrupt(error: BaseException | None) -> bool:
        return error is not None and any(
            not isinstance(leaf, (Exception, trio.Cancelled)) for leaf in leaves_of(error)
        )

    def _check_failure(self, stopping: ev.SupervisorStopping, error: BaseException | None) -> None:
        assert self._tree is not None
        assert self._watch is not None
        if error is None:
            if self.cancelled_at is None:
                self.fail("errors", f"the tree failed ({stopping.reason}), and nothing was raised")
            return
        before = [event for event in self._tree.events if event.sequence < stopping.sequence]
        verdict = next((one for one in reversed(before) if isinstance(one, ev.ExitJudged)), None)
        if verdict is None:
            return
        for leaf in self._watch.leaves.get((verdict.path, verdict.attempt), ()):
            if not leads_to(error, leaf):
                self.fail("errors", f"{error!r} does not lead to {leaf!r}, which caused it")

    def _check_hurry(self, stopping: ev.SupervisorStopping, since: float) -> None:
        assert self._tree is not None
        if stopping.time > since:
            self.fail("through", f"cancelled from outside at {since:g}, and did not begin to stop")
        asked: dict[tuple[int, str, int], ev.ChildStopRequested] = {}
        children = f"{self._tree.spec.name}/"
        for event in self._tree.events:
            if "/" in event.path.removeprefix(children):
                continue  # what is deeper is told when its supervisor's turn has come
            attempt = event.run, event.path, event.attempt
            if isinstance(event, ev.ChildStopRequested) and event.grace:
                asked[attempt] = event
            elif isinstance(event, (ev.ChildCancelled, ev.ChildExited)):
                request = asked.pop(attempt, None)
                if request is not None and event.time > max(since, request.time):
                    wrong = f"{event.path} had grace in spite of a cancellation from outside"
                    self.fail("through", wrong)
