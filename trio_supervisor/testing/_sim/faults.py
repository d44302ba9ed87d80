"""A fault at every checkpoint, one run for each: what happens if it dies exactly here?"""

from __future__ import annotations

import types
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVarTuple, final

import attrs
import trio

from trio_supervisor._attempts import attempt as _attempt
from trio_supervisor.testing._drive.behaviour import SimulatedCrash
from trio_supervisor.testing._drive.bodies import matches
from trio_supervisor.testing._sim.simulate import MOST_SECONDS, MOST_STEPS, simulate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence

    from trio_supervisor._attempts.context import ChildContext
    from trio_supervisor.testing._sim.trace import Trace

Ts = TypeVarTuple("Ts")

Fault: TypeAlias = Literal["raise", "cancel"]
_LIBRARY: Final = Path(_attempt.__file__).parents[1]
_OUTSIDE: Final = ("/trio/", "/trio_supervisor/", "/contextlib.py", "/outcome/")


@final
@attrs.frozen
class FaultPoint:
    """One place at which a fault was injected.

    Attributes:
        number: Which checkpoint of the child it was, counted from 1 over all its attempts and all
            their tasks.
        where: The line of the child's own code that waited there.
        trace: The run.
    """

    number: int
    where: str
    trace: Trace[Any]


@final
@attrs.frozen
class FaultRuns:
    """What `crash_everywhere` has seen.

    Attributes:
        points: Every fault that was injected.
        complete: Whether every checkpoint that the child passes was tried.
    """

    points: tuple[FaultPoint, ...]
    complete: bool

    @property
    def failures(self) -> tuple[FaultPoint, ...]:
        """Those after which something was wrong."""
        return tuple(point for point in self.points if not point.trace.ok)

    def check(self) -> None:
        """Do nothing if no run failed.

        Raises:
            BaseException: As `Trace.check` of the first failure, with a note on where the fault
                was.
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
) -> FaultRuns:
    """Run a scenario again and again; the n-th time, the child dies at its n-th checkpoint.

    A checkpoint is any place where the child's body lets other tasks run, or one of the tasks that
    it has started, in ``child.nursery`` or in a nursery of its own: they belong to the child, and
    an error in one of them crashes the attempt as well. The tasks of a supervisor that the body
    opens are not meant. One more run, without a fault, comes first: it has to be fine.

    Args:
        scenario: As for `simulate`. It should end in a statement of what has to be true in the end
            whatever happened to the child.
        *args: As for `simulate`.
        child: The path of the child with its root's name, such as ``"app/store"``; ``*`` stands for
            any name.
        fault: ``"raise"``: the checkpoint raises ``error()`` instead of waiting. ``"cancel"``: the
            attempt's own scope is cancelled there, so that all later checkpoints are, too.
        error: Makes what is raised.
        once_ready: Count only from when the child was ready for the first time: before that, a
            fault is a failed start, which by default ends the tree.
        max_points: How many checkpoints to try at most.
        schedule: As for `simulate`.
        seed: As for `simulate`.
        max_seconds: As for `simulate`.
        max_steps: As for `simulate`.

    Returns:
        What was seen. `FaultRuns.check` raises the first failure.

    Raises:
        ValueError: No child of that path has ever run.
        BaseException: What the run without a fault fails with.
    """

    def run(injection: _Injection) -> Trace[Any]:
        with _injecting(injection):
            return simulate(
                scenario,
                *args,
                schedule=schedule,
                seed=seed,
                max_seconds=max_seconds,
                max_steps=max_steps,
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
class _Injection(trio.abc.Instrument):
    """One fault, at the checkpoint number ``at``; with 0, none.

    As an instrument it hears of each task that starts, and adopts those that the child has started.
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

    async def drive(self, coroutine: Any, context: ChildContext) -> object:
        """Await the body ``coroutine``, and let it come to grief where it is due."""
        if not self.attempts:
            trio.lowlevel.add_instrument(self)
        self.attempts += 1
        self._tasks[trio.lowlevel.current_task()] = context
        return await self._steps(coroutine, context)

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
    """Pass ``trap`` on, and have its wait called off as a cancellation would.

    The scope is right round the wait, so the body's own scopes see nothing of it, and a shield
    keeps nothing out.
    """
    with trio.CancelScope() as scope:
        scope.cancel("crash_everywhere")
        try:
            yield trap
        except trio.Cancelled:
            raise
        except BaseException:  # noqa: S110  # what the wait ended with is of no interest
            pass


def _is_machinery(coroutine: Any) -> bool:
    """Whether it is a task of the library itself, such as those of a supervisor inside a body."""
    code = getattr(coroutine, "cr_code", None)
    path = Path("" if code is None else code.co_filename)
    return path.is_relative_to(_LIBRARY) and path.relative_to(_LIBRARY).parts[0].startswith("_")


def _where(coroutine: Any) -> str:
    """The innermost line that is neither Trio's nor ours."""
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


@contextmanager
def _injecting(injection: _Injection) -> Iterator[None]:
    """Let every body that the injection is meant for run under it."""
    original = _attempt._await_body

    @trio.lowlevel.disable_ki_protection
    async def await_body(
        call: Callable[..., Awaitable[object]], context: ChildContext, args: tuple[object, ...]
    ) -> object:
        body = original(call, context, args)
        if matches(injection.child, context.path):
            return await injection.drive(body, context)
        return await body

    _attempt._await_body = await_body
    try:
        yield
    finally:
        _attempt._await_body = original
