"""ReportCollector: the mailbox of one supervisor, and the task that reads it.

All attempts of a supervisor and its commands post to one mailbox, in which anything can be put from
anywhere in the Trio run without waiting. One task takes the messages out, one after the other, in
the order of posting, and hands each to the shell. Deadlines come after every message that was
posted at the same instant.

The mailbox is a deque and one sleeping task. A memory channel does the same for any number of
readers, and costs a restart 3 % and a short-lived child 7 % more. The earliest deadline is that of
the cancel scope in which the task sleeps, so that a timer takes no task of its own.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, final

import trio
from trio.lowlevel import (
    Abort,
    Task,
    cancel_shielded_checkpoint,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._brain.machine import SupervisionMachine
    from trio_supervisor._logging.tree_log import TreeLog
    from trio_supervisor._runtime.messages import Message

current_time = trio.current_time  # a look-up in `trio` costs more than the call
_MOST_AT_ONCE = 32
_LATE = 0.002  # seconds: later than an event loop with little to do
_TURNS, _TURNS_IF_LATE = 3, 20


@final
class ReportCollector:
    """The messages of one supervisor on their way to its shell.

    Args:
        machine: Asked for its next deadline.
        log: Asked likewise, for the lines that it holds back; `None` lets them wait for an event.
        handle: Called with each message and the time.
        wake: Called with the time when a deadline has passed, and with how late the call is.
        nursery_cancelled: Called with the name of the task that has cancelled the nursery around
            `collect`, in which the children's tasks are.

    Attributes:
        is_closed: Whether the machine has finished, so that nothing is handled any more.
    """

    def __init__(
        self,
        machine: SupervisionMachine,
        log: TreeLog | None,
        handle: Callable[[Message, float], None],
        wake: Callable[[float, float], None],
        nursery_cancelled: Callable[[str], None],
    ) -> None:
        self.is_closed = False
        self._machine = machine
        self._log = log
        self._handle = handle
        self._wake = wake
        self._nursery_cancelled = nursery_cancelled
        self._messages: deque[Message] = deque()
        self._sleeper: Task | None = None
        self._cancelled_in_turn = 0
        self._to_cancel: deque[Attempt] = deque()
        self._alarm = trio.CancelScope()
        self._alarm_at = inf

    @property
    def waiting(self) -> int:
        """The number of messages that were posted and not handled yet."""
        return len(self._messages)

    def post(self, message: Message) -> None:
        """Have ``message`` handled in the collector's task. Never waits."""
        self._messages.append(message)
        if self._sleeper is not None:
            sleeper, self._sleeper = self._sleeper, None
            reschedule(sleeper)

    def untie(self) -> None:
        """Forget the shell and what nobody will handle any more: the collector has ended."""
        self._handle = self._wake = self._nursery_cancelled = _ignore
        self._messages.clear()
        self._to_cancel.clear()

    # ------------------------------------------------------------ the task

    @enable_ki_protection
    async def collect(self) -> None:  # noqa: ASYNC910 - it is over only after a message
        """Handle what is posted until the collector is closed.

        The task sleeps in the nursery of the children's tasks, so that it notices at once if
        something else cancels that nursery. From then on it is shielded, and goes on.
        """
        with trio.CancelScope() as shield:  # noqa: ASYNC912
            while not self.is_closed:
                try:
                    await self._collect_until_deadline()
                except trio.Cancelled as cancelled:  # noqa: ASYNC103 - dealt with: the end follows
                    shield.shield = True
                    source = getattr(cancelled, "source_task", None)
                    self._nursery_cancelled(source or "a task outside of the supervisor")
                else:
                    await self._deadline_passed()

    async def _collect_until_deadline(self) -> None:  # noqa: ASYNC910 - see `collect`
        """Handle messages until the collector is closed or the earliest deadline has passed."""
        with trio.CancelScope(deadline=self._alarm_at) as self._alarm:  # noqa: ASYNC912
            while not self.is_closed:
                self._set_alarm()
                while self._to_cancel and not self._messages:
                    self._cancel_more()
                    await cancel_shielded_checkpoint()
                self._cancelled_in_turn = 0
                if not self._messages:
                    await self._sleep()
                self._handle_all()

    async def _sleep(self) -> None:
        """Wait until there is a message. Cancelled by a deadline, or with the nursery."""
        self._sleeper = current_task()
        await wait_task_rescheduled(self._abort_sleep)

    def _abort_sleep(self, _: Any) -> Abort:
        self._sleeper = None
        return Abort.SUCCEEDED

    def _handle_all(self) -> None:
        """Handle the messages that there are; what comes after the end is left to `Shell.close`."""
        now = current_time()
        messages, handle = self._messages, self._handle
        while messages and not self.is_closed:
            handle(messages.popleft(), now)

    async def _deadline_passed(self) -> None:  # noqa: ASYNC910 - it yields at least once
        """Tell the machine and the log that their earliest deadline has passed."""
        if self.is_closed:
            return  # noqa: ASYNC910
        # How late this is tells for how long no task could run. Yield a few times, so that tasks
        # that run at this same instant post their messages first; oftener if all of them are late.
        late = current_time() - self._alarm_at
        for _ in range(_TURNS_IF_LATE if late > _LATE else _TURNS):
            await cancel_shielded_checkpoint()
        self._handle_all()
        now = current_time()
        late = now - self._alarm_at  # anew: a task may have blocked the loop meanwhile
        self._alarm_at = inf
        if not self.is_closed:
            self._wake(now, late)
            if self._log is not None:
                self._log.tick(now)

    def _set_alarm(self) -> None:
        # Moved only to an earlier time: an alarm for nothing is cheaper than moving it each time.
        deadline = self._machine.next_deadline
        if self._log is not None:
            deadline = min(deadline, self._log.due)
        if deadline < self._alarm_at:
            self._alarm_at = deadline
            self._alarm.deadline = deadline

    # ------------------------------------------------------------ cancelling very many attempts

    def cancel(self, attempt: Attempt, reason: str) -> None:
        """Cancel ``attempt`` now, or, if it is one of very many, within the next few turns.

        A task that is being cancelled holds dozens of objects until it has had its turn. If
        thousands of them did so at once, Python's cyclic garbage collector would walk over all
        of the tree again and again, and the stop would take twice as long.
        """
        # An attempt before its first step holds nothing yet, and must not make that step.
        at_once = attempt.nursery is None or attempt.spec.supervisor is not None
        if self._cancelled_in_turn < _MOST_AT_ONCE or at_once:
            self._cancelled_in_turn += 1
            attempt.cancel(reason)
        else:
            self._to_cancel.append(attempt)

    def _cancel_more(self) -> None:
        for _ in range(min(_MOST_AT_ONCE, len(self._to_cancel))):
            attempt = self._to_cancel.popleft()
            attempt.cancel(attempt.stop_reason or "")  # its stop was requested before


def _ignore(*_: Any) -> None:
    """Stands in for the functions of a shell that has ended."""
