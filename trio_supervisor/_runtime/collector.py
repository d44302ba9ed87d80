"""ReportCollector: the channel of one supervisor, and the task that reads it.

All attempts of a supervisor, its commands and its timer post to one unbounded memory channel, on
which anything can be posted from anywhere in the Trio run without waiting. One task takes the
messages off it, one after the other, in the order of posting, and hands each to the shell.
Deadlines come after every message that was posted at the same instant.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, final

import trio
from trio.lowlevel import enable_ki_protection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._brain.machine import SupervisionMachine
    from trio_supervisor._logging.tree_log import TreeLog
    from trio_supervisor._runtime.messages import Message

_MOST_AT_ONCE = 32
_TIMER_FIRED: Any = object()  # posted by the timer; not for the shell


@final
class ReportCollector:
    """The messages of one supervisor on their way to its shell.

    Args:
        machine: Asked for its next deadline.
        log: Asked likewise, for the lines that it holds back.
        handle: Called with each message and the time.
        wake: Called with the time when a deadline has passed.

    Attributes:
        is_closed: Whether the machine has finished, so that nothing is handled any more.
    """

    def __init__(
        self,
        machine: SupervisionMachine,
        log: TreeLog,
        handle: Callable[[Message, float], None],
        wake: Callable[[float], None],
    ) -> None:
        self.is_closed = False
        self._machine = machine
        self._log = log
        self._handle = handle
        self._wake = wake
        self._send: trio.MemorySendChannel[Message]
        self._receive: trio.MemoryReceiveChannel[Message]
        self._send, self._receive = trio.open_memory_channel[Any](inf)
        self._waiting = 0
        self._cancelled_in_turn = 0
        self._to_cancel: deque[Attempt] = deque()
        self._alarm = trio.CancelScope()
        self._alarm_at = inf

    @property
    def waiting(self) -> int:
        """The number of messages that were posted and not handled yet."""
        return self._waiting

    def post(self, message: Message) -> None:
        """Have ``message`` handled in the collector's task. Never waits."""
        self._waiting += 1
        self._send.send_nowait(message)

    # ------------------------------------------------------------ the tasks

    @enable_ki_protection
    async def collect(self) -> None:  # noqa: ASYNC910 - it is over only after a receive
        """Handle what is posted until the collector is closed."""
        while not self.is_closed:
            self._set_alarm()
            while self._to_cancel and not self._waiting:
                self._cancel_more()
                await trio.lowlevel.cancel_shielded_checkpoint()
            self._cancelled_in_turn = 0
            message = await self._receive.receive()
            now = trio.current_time()
            timer_fired = False
            while True:
                self._waiting -= 1
                if message is _TIMER_FIRED:
                    timer_fired = True
                else:
                    self._handle(message, now)
                if not self._waiting or self.is_closed:
                    break  # what comes after the end is answered by `rest`
                message = self._receive.receive_nowait()
            if timer_fired:
                self._alarm_at = inf
                self._wake(now)
                self._log.tick(now)

    @enable_ki_protection
    async def keep_time(self) -> None:
        """Wake the collector at the earliest deadline: the one timer of a supervisor."""
        while True:
            with trio.CancelScope(deadline=self._alarm_at) as self._alarm:
                await trio.sleep_forever()
            # Yield twice: tasks that run at this same instant post their messages first.
            await trio.lowlevel.cancel_shielded_checkpoint()
            await trio.lowlevel.cancel_shielded_checkpoint()
            self.post(_TIMER_FIRED)

    def _set_alarm(self) -> None:
        # Moved only to an earlier time: an alarm for nothing is cheaper than moving it each time.
        deadline = min(self._machine.next_deadline, self._log.due)
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

    # ------------------------------------------------------------ the end

    def close(self) -> Iterator[Message]:
        """Handle nothing more; yields each message that is left."""
        self.is_closed = True
        while self._waiting:
            self._waiting -= 1
            message = self._receive.receive_nowait()
            if message is not _TIMER_FIRED:
                yield message
