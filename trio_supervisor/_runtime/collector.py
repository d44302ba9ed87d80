"""ReportCollector: reads the memory channel, classifies exits, feeds the brain.

All attempts of a supervisor share one unbounded channel: an exit can be posted on it from anywhere
without waiting. What is posted is dealt with by one task, one thing after the other, in the order
of posting; deadlines come after everything that was posted at the same instant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import disable_ki_protection, enable_ki_protection

from trio_supervisor._brain import messages as o
from trio_supervisor._events.exits import Crashed, TaskExit
from trio_supervisor._specs.decisions import DECISIONS
from trio_supervisor._text import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._attempts.observer import TreeObserver
    from trio_supervisor._brain.machine import SupervisionMachine
    from trio_supervisor._logging.tree_log import TreeLog
    from trio_supervisor._specs.decisions import RestartDecision

    Message = tuple[Callable[[Any, Any, float], None], Any]


_MOST_AT_ONCE = 32


class ReportCollector(ABC):
    """The mailbox of one supervisor, and the task that empties it.

    Attributes:
        machine: The brain.
        fatal: What came out of children that is no `Exception`, in order.
    """

    def __init__(
        self, machine: SupervisionMachine, log: TreeLog, observer: TreeObserver | None
    ) -> None:
        self.machine = machine
        self._log = log
        self.observer = observer
        self.fatal: list[BaseException] = []
        self.is_over = False
        self._send: trio.MemorySendChannel[Message]
        self._receive: trio.MemoryReceiveChannel[Message]
        self._send, self._receive = trio.open_memory_channel[Any](inf)
        self._waiting = 0
        self._cancelled = 0  # in this turn
        self._put_off: deque[Attempt] = deque()
        self._alarm = trio.CancelScope()
        self._alarm_at = inf
        self._rang = False

    # ------------------------------------------------------------ for the attempts (`AttemptHost`)

    def post_ready(self, attempt: Attempt, value: object) -> None:
        """It is ready, for the first time or again."""
        self.post(ReportCollector._take_ready, attempt)

    def post_not_ready(self, attempt: Attempt, reason: str) -> None:
        """It was ready and is not any more."""
        self.post(ReportCollector._take_not_ready, (attempt, reason))

    def post_beat(self, attempt: Attempt) -> None:
        """It has given signs of life; one notice is under way at most."""
        self.post(ReportCollector._take_beat, attempt)

    def post_busy(self, attempt: Attempt, until: float) -> None:
        """It announced silence, or took that back."""
        self.post(ReportCollector._take_beat, attempt)

    def post_extend(self, attempt: Attempt, until: float) -> None:
        """Its start may take until then."""
        if self.observer is not None:
            self.observer.start_extended(attempt, until)
        self.post(ReportCollector._take_extend, (attempt, until))

    def post_exit(self, attempt: Attempt) -> None:
        """Its scope has closed."""
        self.post(ReportCollector._take_exit, attempt)

    def post(self, handler: Callable[[Any, Any, float], None], subject: object) -> None:
        """Have ``handler(self, subject, now)`` run in the collector's task; never waits."""
        self._waiting += 1
        self._send.send_nowait((handler, subject))

    # ------------------------------------------------------------ the task

    @enable_ki_protection
    async def collect(self) -> None:  # noqa: ASYNC910 - it is over only after a receive
        """Start the tree, then deal with what is posted until the machine says that it is over."""
        now = trio.current_time()
        self.carry_out(self.machine.start(now), now)
        while not self.is_over:
            self._set_alarm()
            while self._put_off and not self._waiting:
                self._cancel_more()
                await trio.lowlevel.cancel_shielded_checkpoint()
            self._cancelled = 0
            handler, subject = await self._receive.receive()
            now = trio.current_time()
            while True:
                self._waiting -= 1
                handler(self, subject, now)
                if not self._waiting or self.is_over:
                    break  # what comes after the end is answered so, see `drain`
                handler, subject = self._receive.receive_nowait()
            if self._rang:
                self._rang = False
                self._alarm_at = inf
                self.carry_out(self.machine.wake(now), now)
                self._log.tick(now)

    @enable_ki_protection
    async def keep_time(self) -> None:
        """The one timer: wakes the collector at the earliest deadline."""
        while True:
            with trio.CancelScope(deadline=self._alarm_at) as self._alarm:
                await trio.sleep_forever()
            # Those who act at this very instant have their say first.
            await trio.lowlevel.cancel_shielded_checkpoint()
            await trio.lowlevel.cancel_shielded_checkpoint()
            self.post(ReportCollector._take_ring, None)

    def _set_alarm(self) -> None:
        # Moved only when it has to ring earlier: one that rings for nothing is cheaper than moving.
        deadline = min(self.machine.next_deadline, self._log.due)
        if deadline < self._alarm_at:
            self._alarm_at = deadline
            self._alarm.deadline = deadline

    def cancel(self, attempt: Attempt, reason: str) -> None:
        """Cancel ``attempt`` now, or, if it is one of very many, within the next few turns.

        A task that is being cancelled holds dozens of objects until it has had its turn. If
        thousands of them did so at once, Python's cyclic garbage collector would walk over all
        of the tree again and again, and the stop would take twice as long.
        """
        # Whoever has not made its first step holds nothing yet, and shall not make it.
        at_once = attempt.nursery is None or attempt.spec.supervisor is not None
        if self._cancelled < _MOST_AT_ONCE or at_once:
            self._cancelled += 1
            attempt.cancel(reason)
        else:
            self._put_off.append(attempt)

    def _cancel_more(self) -> None:
        for _ in range(min(_MOST_AT_ONCE, len(self._put_off))):
            attempt = self._put_off.popleft()
            attempt.cancel(attempt.stop_reason or "")  # asked it was before

    def drain(self, answer: Callable[[Any], None]) -> None:
        """Give what nobody will deal with any more to ``answer``."""
        while self._waiting:
            self._waiting -= 1
            _, subject = self._receive.receive_nowait()
            answer(subject)

    # ------------------------------------------------------------ what was posted

    def feed(self, signal: o.Signal, now: float) -> None:
        """Tell the brain, and do what it says."""
        self.carry_out(self.machine.receive(signal, now), now)

    def _take_ring(self, _: None, now: float) -> None:
        self._rang = True

    def _take_ready(self, attempt: Attempt, now: float) -> None:
        self.feed(o.BecameReady(attempt.name, attempt.number), now)

    def _take_not_ready(self, subject: tuple[Attempt, str], now: float) -> None:
        attempt, reason = subject
        self.feed(o.LostReadiness(attempt.name, attempt.number, reason), now)

    def _take_beat(self, attempt: Attempt, now: float) -> None:
        attempt.beat_noted = False
        at = attempt.started_at if attempt.beat_at is None else attempt.beat_at
        until = max(attempt.busy, default=-inf) if attempt.busy else -inf
        self.feed(o.Heartbeat(attempt.name, attempt.number, at, until), now)

    def _take_extend(self, subject: tuple[Attempt, float], now: float) -> None:
        attempt, until = subject
        self.feed(o.StartExtended(attempt.name, attempt.number, until), now)

    def _take_exit(self, attempt: Attempt, now: float) -> None:
        judged = attempt.judge()
        signal = o.Exited(attempt.name, attempt.number, None, attempt.stop_reason)
        if isinstance(judged, TaskExit):
            signal.exit = judged
            signal.detail = judged.describe()
            if self.observer is not None:
                self.observer.exit_classified(attempt, judged)
            self.attempt_ended(attempt, judged, signal.detail)
            if attempt.spec.decide is not None:
                self._ask(attempt, judged, signal)
        else:
            self._note_fatal(signal, judged)
        self.feed(signal, now)

    def _note_fatal(self, signal: o.Exited, error: BaseException) -> None:
        self.fatal.append(error)
        signal.exit = None
        signal.detail = f"fatal: {type(error).__name__} {error}".rstrip()

    def _ask(self, attempt: Attempt, how: TaskExit, signal: o.Exited) -> None:
        """Let the child's `decide` have its say, where the table would be used."""
        if not self.machine.policy_will_decide(attempt.name, attempt.number, failed=how.is_failure):
            return
        decide = attempt.spec.decide
        assert decide is not None
        try:
            signal.decision = _call_decide(decide, attempt.report(how))
        except Exception as error:  # the table for a crash applies, and the event shows this
            signal.decide_error = Crashed(error).describe().removeprefix("crashed: ")
        except BaseException as error:  # noqa: ASYNC103 - posted as if the child had raised it
            self._note_fatal(signal, error)

    # ------------------------------------------------------------ for the shell

    @abstractmethod
    def carry_out(self, orders: list[o.Order], now: float) -> None:
        """Do what the brain says, in order."""

    @abstractmethod
    def attempt_ended(self, attempt: Attempt, how: TaskExit, detail: str) -> None:
        """Keep the report."""


@disable_ki_protection
def _call_decide(
    decide: Callable[[Any], RestartDecision | None], report: object
) -> RestartDecision | None:
    decision = decide(report)
    if decision is not None and not isinstance(decision, DECISIONS):
        raise TypeError(
            f"decide returned {short_repr(decision)}: "
            "expected Restart, RestartAfter, DoNotRestart, Quarantine, Escalate, ShutdownTree "
            "or None"
        )
    return decision
