"""Inject a fault at every checkpoint of a child, one run for each."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVarTuple, final

import attrs
import trio

import trio_supervisor
from trio_supervisor._attempts.observer import TreeObserver, observing
from trio_supervisor._lazy import public
from trio_supervisor.testing._oracle.watch import note_provoked
from trio_supervisor.testing._run.simulate import MOST_SECONDS, MOST_STEPS, simulate
from trio_supervisor.testing._run.trace import Trace
from trio_supervisor.testing._script.bodies import matches
from trio_supervisor.testing._script.failures import SimulatedCrash

if TYPE_CHECKING:
    from collections.abc import Generator

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._attempts.context import ChildContext

Ts = TypeVarTuple("Ts")

Fault: TypeAlias = Literal["raise", "cancel"]
_LIBRARY: Final = Path(trio_supervisor.__file__).parent
_OUTSIDE: Final = ("/trio/", "/trio_supervisor/", "/contextlib.py", "/outcome/")


@public
@final
@attrs.frozen
class FaultPoint:
    """One place at which a fault was injected.

    Attributes:
        number: The number of the checkpoint, counted from 1 over all attempts of the child and all
            their tasks.
        where: The line of the child's own code that waited there.
        trace: The run.
    """

    number: int
    where: str
    trace: Trace[Any]


@public
@final
@attrs.frozen
class FaultRuns:
    """The result of `crash_everywhere`.

    Attributes:
        points: Every fault that was injected.
        complete: Whether every checkpoint that the child passes was tried.
    """

    points: tuple[FaultPoint, ...]
    complete: bool

    @property
    def failures(self) -> tuple[FaultPoint, ...]:
        """The faults after which the run failed."""
        return tuple(point for point in self.points if not point.trace.ok)

    def check(self) -> None:
        """Raise the first failure, if there is one.

        Raises:
            BaseException: As `Trace.check`, with a note that says where the fault was.
        """
        for point in self.failures[:1]:
            error = point.trace.error
            try:
                point.trace.check()
            except BaseException as raised:
                error = raised
                error.add_note(f"the fault was at checkpoint {point.number}: {point.where}")
                raise
            finally:
                del error

    def __str__(self) -> str:
        how = "every checkpoint" if self.complete else "INCOMPLETE"
        return f"{len(self.points)} faults, {how}, {len(self.failures)} failures"


@public
def crash_everywhere(
    scenario: Callable[[*Ts], Awaitable[object]],
    *args: *Ts,
    child: str,
    fault: Fault = "raise",
    error: Callable[[], Exception] = SimulatedCrash,
    once_ready: bool = False,
    max_points: int = 1_000,
    schedule: Sequence[int] | None = None,
    seed: int | None = None,
    max_seconds: float = MOST_SECONDS,
    max_steps: int = MOST_STEPS,
    allow_crashes: bool = True,
) -> FaultRuns:
    """Run a scenario once for each checkpoint of a child, with a fault at that checkpoint.

    A checkpoint is any place where the child's body lets other tasks run. The checkpoints of tasks
    that the body has started, in ``child.nursery`` or in a nursery of its own, count as well: an
    error in such a task crashes the attempt, too. The tasks of a supervisor that the body opens do
    not count. One more run, without a fault, comes first; it must not fail.

    Args:
        scenario: As for `simulate`. It should end with assertions that hold whatever happens to the
            child.
        *args: As for `simulate`.
        child: The path of the child with its root's name, such as ``"app/store"``; ``*`` stands for
            any name.
        fault: ``"raise"``: the checkpoint raises ``error()`` instead of waiting. ``"cancel"``: the
            attempt's own scope is cancelled there, and with it all later checkpoints.
        error: Makes the exception.
        once_ready: Count checkpoints only from the child's first readiness: before that, a fault is
            a failed start, which by default ends the tree.
        max_points: Greatest number of faults. Default: 1,000.
        schedule: As for `simulate`.
        seed: As for `simulate`.
        max_seconds: As for `simulate`.
        max_steps: As for `simulate`.
        allow_crashes: As for `simulate`.

    Returns:
        All faults with their runs. `FaultRuns.check` raises the first failure.

    Raises:
        ValueError: No child of that path has run.
        BaseException: The failure of the run without a fault.
    """

    def run(injection: _Injection) -> Trace[Any]:
        with observing(injection):
            return simulate(
                scenario,
                *args,
                schedule=schedule,
                seed=seed,
                max_seconds=max_seconds,
                max_steps=max_steps,
                allow_crashes=allow_crashes,
            )

    first = _Injection(child, 0, fault, error, once_ready=once_ready)
    run(first).check()
    if not first.attempts:
        raise ValueError(f"no child {child!r} has run in this scenario")
    points: list[FaultPoint] = []
    while len(points) < max_points:
        injection = _Injection(child, len(points) + 1, fault, error, once_ready=once_ready)
        trace = run(injection)
        if injection.where is None:
            return FaultRuns(tuple(points), True)
        points.append(FaultPoint(injection.at, injection.where, trace))
    return FaultRuns(tuple(points), False)


@final
class _Injection(trio.abc.Instrument, TreeObserver):
    """One fault, at the checkpoint number ``at``; with 0, none.

    As an instrument it sees each task that starts, and drives the tasks of the child, too.
    """

    def __init__(
        self,
        child: str,
        at: int,
        fault: Fault,
        error: Callable[[], Exception],
        *,
        once_ready: bool,
    ) -> None:
        self.child = child
        self.at = at
        self.where: str | None = None
        self.attempts = 0
        self._fault = fault
        self._armed = not once_ready
        self._error = error
        self._passed = 0
        self._tasks: dict[trio.lowlevel.Task, ChildContext] = {}

    def around_body(
        self, attempt: Attempt, context: ChildContext, body: Awaitable[object]
    ) -> Awaitable[object]:
        return self._drive(body, context) if matches(self.child, attempt.path) else body

    @trio.lowlevel.disable_ki_protection
    async def _drive(self, body: Any, context: ChildContext) -> object:
        """Await ``body``, and inject the fault at its checkpoint."""
        if not self.attempts:
            trio.lowlevel.add_instrument(self)
        self.attempts += 1
        self._tasks[trio.lowlevel.current_task()] = context
        return await self._steps(body, context)

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

    @types.coroutine
    def _steps(self, coroutine: Any, context: ChildContext) -> Generator[Any, Any, object]:
        send: Callable[[Any], Any] = coroutine.send
        value: Any = None
        try:
            while True:
                try:
                    trap = send(value)
                except StopIteration as end:
                    return end.value
                self._armed = self._armed or context._attempt.was_ready
                self._passed += self._armed
                if self._armed and self._passed == self.at:
                    self.where = _where(coroutine)
                    note_provoked(context)
                    if self._fault == "raise":
                        yield from _called_off(trap)
                        send, value = coroutine.throw, self._error()
                        continue
                    context.nursery.cancel_scope.cancel("crash_everywhere")
                try:
                    value = yield trap
                    send = coroutine.send
                except BaseException as error:
                    send, value = coroutine.throw, error
        finally:
            coroutine.close()


def _called_off(trap: Any) -> Generator[Any, Any, None]:
    """Pass ``trap`` on, and cancel its wait.

    The scope is directly around the wait, so the body's own scopes do not see the cancellation, and
    a shield does not keep it out.
    """
    with trio.CancelScope() as scope:
        scope.cancel("crash_everywhere")
        try:
            yield trap
        except trio.Cancelled:
            raise
        except BaseException:  # noqa: S110  # the injected error takes its place
            pass


def _is_machinery(coroutine: Any) -> bool:
    """Return whether a task is the library's own, as of a supervisor inside a body."""
    code = getattr(coroutine, "cr_code", None)
    path = Path("" if code is None else code.co_filename)
    return path.is_relative_to(_LIBRARY) and path.relative_to(_LIBRARY).parts[0].startswith("_")


def _where(coroutine: Any) -> str:
    """Return the innermost line that is neither Trio's nor the library's."""
    found = "?"
    here = coroutine
    while here is not None:
        frame = getattr(here, "cr_frame", None) or getattr(here, "ag_frame", None)
        frame = frame or getattr(here, "gi_frame", None)
        if frame is not None:
            code = frame.f_code
            if not any(part in code.co_filename for part in _OUTSIDE) or found == "?":
                found = f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"
        inner = getattr(here, "cr_await", None) or getattr(here, "gi_yieldfrom", None)
        here = inner or getattr(here, "ag_await", None)
    return found
