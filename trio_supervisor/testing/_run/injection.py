"""Faults of children: what they are, and how a running body is made to suffer one.

A driver stands between Trio and the body: it passes on every wait of the body and of the tasks that
the body has started. It counts these waits, and it can call one off, delay its end, or end it with
an exception.

Where a fault would do what no program can do, it does not strike. An exception at a place that only
lets other tasks run while Trio hands over a lock or an item would lose that lock or item.
"""

from __future__ import annotations

import re
import types
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final

import attrs
import trio

import trio_supervisor
from trio_supervisor._attempts.observer import TreeObserver
from trio_supervisor._lazy import public
from trio_supervisor.testing._oracle.watch import note_provoked
from trio_supervisor.testing._script.bodies import matches
from trio_supervisor.testing._script.failures import SimulatedCrash
from trio_supervisor.testing._sim.trio_internals import is_shielded_checkpoint

if TYPE_CHECKING:
    from collections.abc import Generator

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._attempts.context import ChildContext

FaultKind: TypeAlias = Literal["crash", "cancel", "hang", "slow"]

KINDS: Final[tuple[FaultKind, ...]] = ("crash", "cancel", "hang", "slow")
SLOW: Final = 60.0
HANG: Final = 86_400.0  # a day: longer than any grace and any timeout, and not for ever
_LIBRARY: Final = Path(trio_supervisor.__file__).parent
_OUTSIDE: Final = ("/trio/", "/trio_supervisor/", "/contextlib.py", "/outcome/")
_TOKEN: Final = re.compile(r"(\S+) (crash|cancel|hang|slow)(?:=([0-9.e+-]+))? ([#~@])([0-9.e+-]+)")


@public
@final
@attrs.frozen
class Fault:
    """One fault of one child, at one place: ``"app/store crash @2.51"``.

    Args:
        child: The path of the child with its root's name; ``*`` stands for any name.
        kind: ``"crash"``: the wait ends with an exception. ``"cancel"``: the attempt's own scope is
            cancelled. ``"hang"``: the wait does not end until it is cancelled (at most for a day).
            ``"slow"``: the wait ends ``seconds`` late.
        at: ``"#4"`` is the fourth checkpoint of the child, counted over all its attempts and tasks,
            where the task begins to wait; ``"~4"`` is the end of that wait; ``"@2.51"`` is that
            time, at which a task of the child is waiting.
        seconds: For ``"slow"``. Default: 60.

    Raises:
        ValueError: ``kind`` or ``at`` is not one of these.
    """

    child: str
    kind: FaultKind = "crash"
    at: str = "#1"
    seconds: float = SLOW

    def __attrs_post_init__(self) -> None:
        if _TOKEN.fullmatch(str(self)) is None:
            raise ValueError(
                f"Fault: {str(self)!r}; expected 'PATH KIND PLACE', such as "
                f"'app/store crash @2.5', with one of {', '.join(KINDS)} and one of "
                "#checkpoint, ~checkpoint and @seconds"
            )

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Return the fault that prints as ``text``.

        Raises:
            ValueError: ``text`` is no fault.
        """
        found = _TOKEN.fullmatch(text.strip())
        if found is None:
            raise ValueError(
                f"fault={text!r}: expected 'PATH KIND PLACE', such as "
                f"'app/store crash @2.5', with one of {', '.join(KINDS)} and one of "
                "#checkpoint, ~checkpoint and @seconds"
            )
        child, kind, seconds, how, number = found.groups()
        kinds: Any = kind
        return cls(child, kinds, how + number, float(seconds or SLOW))

    def __str__(self) -> str:
        seconds = f"={self.seconds:g}" if self.seconds != SLOW else ""
        return f"{self.child} {self.kind}{seconds} {self.at}"


Faults: TypeAlias = "Fault | str | Sequence[Fault | str]"


def faults_of(given: Faults | None) -> tuple[Fault, ...]:
    """Return the faults that a caller has given in any form."""
    if given is None:
        return ()
    listed = [given] if isinstance(given, Fault | str) else list(given)
    return tuple(one if isinstance(one, Fault) else Fault.parse(one) for one in listed)


@final
@attrs.frozen
class Checkpoint:
    """One checkpoint that a child has passed: the line, and whether a crash is possible there."""

    where: str
    was_ready: bool
    can_crash: bool


@final
class Probe:
    """Count the checkpoints of one child, and strike at one of them.

    Attributes:
        child: The path of the child; ``*`` stands for any name.
        fault: The fault; `None` only counts.
        passed: Number of checkpoints so far.
        where: The line at which the fault has struck.
        checkpoints: The checkpoints so far, if the probe only counts.
        instants: The times at which any task moved while the child had an attempt; likewise.
        attempts: Number of attempts so far.
        ready_at: The time of the first checkpoint at which the child had been ready.
        retries_first_start: Whether the child is declared with ``retry_first_start``.
        struck_at: When the fault has struck.
        struck_after: How many checkpoints the child had passed then.
    """

    def __init__(self, child: str, fault: Fault | None = None) -> None:
        self.child = child
        self.fault = fault
        self.passed = 0
        self.attempts = 0
        self.where: str | None = None
        self.checkpoints: list[Checkpoint] = []
        self.instants: list[float] = []
        self.alive = 0
        self.ready_at: float | None = None
        self.retries_first_start = False
        self.struck_at = 0.0
        self.struck_after = 0
        self._place = "" if fault is None else fault.at[0]
        self.number = 0.0 if fault is None else float(fault.at[1:])

    def strike(self, where: str) -> None:
        """Note that the fault strikes right now."""
        self.where = where
        self.struck_at = trio.current_time()
        self.struck_after = self.passed

    def is_at(self, place: str) -> bool:
        """Return whether the fault strikes at this checkpoint, in this way."""
        return self._place == place and self.where is None and self.passed == self.number

    @property
    def waits_for_time(self) -> bool:
        """True until a fault at a time has struck."""
        return self._place == "@" and self.where is None


@final
class Injection(trio.abc.Instrument, TreeObserver):
    """The faults of one run.

    As an instrument it sees each task that starts, and drives the tasks of the children, too.
    """

    def __init__(
        self,
        faults: Sequence[Fault] = (),
        *,
        error: Callable[[], BaseException] | None = None,
        counts: str | None = None,
    ) -> None:
        self.probes = [Probe(fault.child, fault) for fault in faults]
        if counts is not None:
            self.probes.append(Probe(counts))
        self._error = error
        self._tasks: dict[trio.lowlevel.Task, ChildContext] = {}
        self._waits: dict[trio.lowlevel.Task, tuple[ChildContext, trio.CancelScope, Any]] = {}
        self._due: dict[trio.lowlevel.Task, Probe] = {}
        self._pauses: dict[trio.CancelScope, ChildContext] = {}
        self._slow: dict[trio.lowlevel.Task, float] = {}
        self._now = -1.0

    @property
    def is_needed(self) -> bool:
        """True if there is anything to strike or to count."""
        return bool(self.probes)

    def start(self) -> list[trio.lowlevel.Task]:
        """Begin, inside of the run; returns the tasks that wait for the times of faults."""
        trio.lowlevel.add_instrument(self)
        return [
            trio.lowlevel.spawn_system_task(self._wait_for, probe, name="fault")
            for probe in self.probes
            if probe.waits_for_time
        ]

    # ------------------------------------------------------------ as observer and instrument

    def around_body(
        self, attempt: Attempt, context: ChildContext, body: Awaitable[object]
    ) -> Awaitable[object]:
        if attempt.spec.supervisor is not None:
            return body  # the library's own code; faults strike the children below it
        mine = [probe for probe in self.probes if matches(probe.child, attempt.path)]
        return self._drive(body, context, mine) if mine else body

    @trio.lowlevel.disable_ki_protection
    async def _drive(self, body: Any, context: ChildContext, mine: list[Probe]) -> object:
        task = trio.lowlevel.current_task()
        self._tasks[task] = context
        for probe in mine:
            probe.retries_first_start |= context._attempt.spec.retry_first_start
            probe.attempts += 1
            probe.alive += 1
        try:
            return await self._steps(body, context)
        finally:
            for probe in mine:
                probe.alive -= 1

    async def _drive_task(self, coroutine: Any, context: ChildContext) -> object:
        return await self._steps(coroutine, context)

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        nursery = task.parent_nursery
        context = None if nursery is None else self._tasks.get(nursery.parent_task)
        if context is not None and not _is_machinery(task.coro):
            self._tasks[task] = context
            driven: Any = self._drive_task(task.coro, context)
            task.coro = driven  # before its first step

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self._tasks.pop(task, None)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        # Right after the step that has cancelled it: there may be no other step for long.
        for scope, context in self._pauses.items():
            if _is_cancelled(context):
                scope.cancel("the attempt is cancelled")

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        now = trio.current_time()
        if now != self._now:
            self._now = now
            for probe in self.probes:
                if probe.alive and probe.fault is None:
                    probe.instants.append(now)

    # ------------------------------------------------------------ at a time

    async def _wait_for(self, probe: Probe) -> None:
        await trio.sleep_until(probe.number)
        fault = probe.fault
        assert fault is not None
        waiting = [
            task
            for task, (context, _, _) in self._waits.items()
            if matches(probe.child, context.path) and task not in self._due
        ]
        waiting.sort(key=lambda task: self._waits[task][0]._attempt.task is not task)
        for task in waiting[:1]:  # the body itself, if it waits
            context, scope, coroutine = self._waits[task]
            note_provoked(context)
            probe.strike(_where(coroutine))
            if fault.kind == "cancel":
                context.nursery.cancel_scope.cancel(str(fault))
            elif fault.kind == "slow":
                self._slow[task] = fault.seconds
            else:
                self._due[task] = probe
                scope.cancel(str(fault))

    # ------------------------------------------------------------ the driver

    @types.coroutine
    def _steps(self, coroutine: Any, context: ChildContext) -> Generator[Any, Any, object]:
        task = trio.lowlevel.current_task()
        mine = [probe for probe in self.probes if matches(probe.child, context.path)]
        send: Callable[[Any], Any] = coroutine.send
        value: Any = None
        try:
            while True:
                try:
                    trap = send(value)
                except StopIteration as end:
                    return end.value
                entry, wake = self._pass(mine, coroutine, context, trap)
                if entry is not None:
                    yield from _call_off(trap)
                    send, value = yield from self._suffer(entry, coroutine, context)
                    continue
                send, value, due = yield from self._wait(task, coroutine, context, trap, mine)
                if due is not None:
                    send, value = yield from self._suffer(due, coroutine, context)
                seconds = self._slow.pop(task, 0.0)
                if wake is not None:
                    assert wake.fault is not None
                    if wake.fault.kind != "crash":
                        seconds = HANG if wake.fault.kind == "hang" else wake.fault.seconds
                    elif is_shielded_checkpoint(trap) or _was_cancelled(value):
                        send, value = coroutine.throw, self._make_error(wake.fault)
                    else:
                        wake.where = None  # the wait has handed something over
                if seconds:
                    yield from self._pause(seconds, context)
        finally:
            coroutine.close()

    def _pass(
        self, mine: list[Probe], coroutine: Any, context: ChildContext, trap: Any
    ) -> tuple[Probe | None, Probe | None]:
        """Count a checkpoint; return the probes that strike at its entry, and at its end."""
        entry = wake = None
        for probe in mine:
            probe.passed += 1
            fault = probe.fault
            if fault is None:
                can_crash = _hands_nothing_over(coroutine, trap)
                was_ready = context._attempt.was_ready
                if was_ready and probe.ready_at is None:
                    probe.ready_at = trio.current_time()
                probe.checkpoints.append(Checkpoint(_where(coroutine), was_ready, can_crash))
                continue
            at_entry = probe.is_at("#")
            if not (at_entry or probe.is_at("~")):
                continue
            if fault.kind == "crash" and not _hands_nothing_over(coroutine, trap):
                continue
            if fault.kind == "hang" and at_entry and is_shielded_checkpoint(trap):
                continue  # it would end by a cancellation that cannot come there
            probe.strike(_where(coroutine))
            note_provoked(context)
            if fault.kind == "cancel":
                context.nursery.cancel_scope.cancel(str(fault))
            elif fault.kind == "slow" or not at_entry:
                wake = probe
            else:
                entry = probe
        return entry, wake

    def _wait(
        self,
        task: trio.lowlevel.Task,
        coroutine: Any,
        context: ChildContext,
        trap: Any,
        mine: list[Probe],
    ) -> Generator[Any, Any, tuple[Callable[[Any], Any], Any, Probe | None]]:
        """Wait as the body does; return how to go on, and the fault that called the wait off."""
        if not any(probe.waits_for_time for probe in mine):
            try:
                return coroutine.send, (yield trap), None
            except BaseException as error:  # for the body
                return coroutine.throw, error, None
        result: Any = None
        raised: BaseException | None = None
        scope = trio.CancelScope()
        self._waits[task] = context, scope, coroutine
        try:
            with scope:
                result = yield trap
                if task in self._due and _was_cancelled(result):
                    result.unwrap()  # for the scope
        except BaseException as error:  # likewise
            raised = error
        finally:
            self._waits.pop(task, None)
        due = self._due.pop(task, None)
        if due is not None and not scope.cancelled_caught:
            due.where = None
            due = None  # the wait had ended at the same moment, with something else
        if raised is not None:
            return coroutine.throw, raised, due
        return coroutine.send, result, due

    def _suffer(
        self, probe: Probe, coroutine: Any, context: ChildContext
    ) -> Generator[Any, Any, tuple[Callable[[Any], Any], Any]]:
        """Let a wait that was called off end with a crash, or not at all."""
        fault = probe.fault
        assert fault is not None
        if fault.kind == "hang":
            yield from self._pause(HANG, context)
            try:
                yield from trio.lowlevel.checkpoint_if_cancelled().__await__()  # noqa: ASYNC105
            except BaseException as error:  # for the body
                return coroutine.throw, error
        return coroutine.throw, self._make_error(fault)

    def _pause(self, seconds: float, context: ChildContext) -> Generator[Any, Any, None]:
        """Wait in addition, until the attempt is cancelled.

        Scopes of the body do not count: the wait that is being prolonged may have been ended by
        one. So the pause is shielded, and `after_task_step` ends it.
        """
        waiting = trio.sleep
        with trio.CancelScope(shield=True) as scope:  # noqa: ASYNC100  # it waits by `yield from`
            self._pauses[scope] = context
            try:
                yield from waiting(seconds).__await__()
            finally:
                del self._pauses[scope]

    def _make_error(self, fault: Fault) -> BaseException:
        return SimulatedCrash(str(fault)) if self._error is None else self._error()


def _call_off(trap: Any) -> Generator[Any, Any, None]:
    """Pass ``trap`` on, and cancel its wait.

    The scope is directly around the wait, so the body's own scopes do not see the cancellation, and
    a shield does not keep it out.
    """
    try:
        with trio.CancelScope() as scope:
            scope.cancel("a fault is injected")
            yield trap
    except BaseException:  # noqa: S110  # the fault takes the place of how the wait ended
        pass


def _was_cancelled(value: Any) -> bool:
    """Return whether a wait has ended with a cancellation; Trio sends its outcome to the task."""
    return isinstance(value, trio.Cancelled) or isinstance(
        getattr(value, "error", None), trio.Cancelled
    )


def _is_cancelled(context: ChildContext) -> bool:
    attempt = context._attempt
    nursery = attempt.nursery
    return attempt.cancel_called or (nursery is not None and nursery.cancel_scope.cancel_called)


# The functions through which a task of Trio yields; the name of the first differs by version.
_YIELDS: Final = frozenset({"_real_async_yield", "_async_yield", "cancel_shielded_checkpoint"})


def _hands_nothing_over(coroutine: Any, trap: Any) -> bool:
    """Return whether an exception in place of this wait is one that a program can meet.

    A checkpoint that cannot be cancelled is Trio's own last step of handing something over, unless
    the body or `trio.lowlevel.checkpoint` itself has asked for it.
    """
    if not is_shielded_checkpoint(trap):
        return True
    callers = [code for code, _ in _frames(coroutine)]
    for code in reversed(callers):
        if "/trio/" not in code.co_filename:
            return True
        if code.co_name in ("checkpoint", "sleep", "sleep_until"):
            return True
        if code.co_name not in _YIELDS:
            return False
    return True


def _is_machinery(coroutine: Any) -> bool:
    """Return whether a task is the library's own, as of a supervisor inside a body."""
    code = getattr(coroutine, "cr_code", None)
    path = Path("" if code is None else code.co_filename)
    return path.is_relative_to(_LIBRARY) and path.relative_to(_LIBRARY).parts[0].startswith("_")


def _frames(coroutine: Any) -> list[tuple[types.CodeType, int]]:
    """Return the code and line of each frame that waits, the innermost last."""
    found = []
    here = coroutine
    while here is not None:
        frame = getattr(here, "cr_frame", None) or getattr(here, "ag_frame", None)
        frame = frame or getattr(here, "gi_frame", None)
        if frame is not None:
            found.append((frame.f_code, frame.f_lineno))
        inner = getattr(here, "cr_await", None) or getattr(here, "gi_yieldfrom", None)
        here = inner or getattr(here, "ag_await", None)
    return found


def _where(coroutine: Any) -> str:
    """Return the innermost line that is neither Trio's nor the library's."""
    found = "?"
    for code, line in _frames(coroutine):
        if not any(part in code.co_filename for part in _OUTSIDE) or found == "?":
            found = f"{code.co_filename}:{line} in {code.co_qualname}"
    return found
