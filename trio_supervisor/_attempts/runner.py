"""The kernel alone: run a child once, without a supervisor, and see how it ends.

For tests of a body, for one-shot jobs that want the exit taxonomy, and for authors of a
supervisor of another kind. Readiness, time limits, health and grace of the spec are heeded; its
restart policy is not the runner's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, final

import trio
from trio.lowlevel import enable_ki_protection

from trio_supervisor._attempts.attempt import Heartbeat
from trio_supervisor._attempts.single_run import SingleRun
from trio_supervisor._errors import SpecError, SupervisorError
from trio_supervisor._events.exits import ChildRunReport, unwrap_single
from trio_supervisor._lazy import public
from trio_supervisor._specs.checks import refuse
from trio_supervisor._specs.policy import ReadinessState
from trio_supervisor._specs.supervisor import ChildSpec

T = TypeVar("T")
V_co = TypeVar("V_co", covariant=True)


@public
@final
class ChildRunner:
    """Runs single attempts of children.

    Args:
        spawn_fault: Asked before each spawn; an exception that it returns refuses that spawn. For
            tests of what a caller does when a child cannot be started.
    """

    def __init__(
        self, *, spawn_fault: Callable[[ChildSpec[Any]], Exception | None] | None = None
    ) -> None:
        self._spawn_fault = spawn_fault

    # An interrupt between two steps of `async with` would leave the nursery open for ever.
    @enable_ki_protection
    async def run_once(
        self, spec: ChildSpec[Any], *, attempt: int = 1, generation: int = 0
    ) -> ChildRunReport:
        """Run one attempt of ``spec`` and return the record of it. A checkpoint.

        If this is cancelled, the child is cancelled and waited for; it leaves nothing running.

        Args:
            spec: The child.
            attempt: The number to give to this attempt.
            generation: The generation to give to it.

        Raises:
            SpecError: ``spec`` is a nested supervisor.
            SupervisorError: The runner's ``spawn_fault`` refused (or its own exception, if that is
                a `SupervisorError`). Nothing was started.
            BaseException: What came out of the child and is no `Exception`, such as `SystemExit`:
                itself, not in a group. Other errors of that attempt are its ``__cause__``.
        """
        run = self._prepare(spec, attempt, generation)
        try:
            async with trio.open_nursery() as nursery:
                run.start(nursery)
        except BaseExceptionGroup as group:
            escaped = unwrap_single(group, beside=trio.Cancelled)
        else:
            return run.finished()
        try:
            raise escaped
        finally:
            del escaped, run

    @enable_ki_protection
    def spawn_once(
        self, nursery: trio.Nursery, spec: ChildSpec[T], *, attempt: int = 1, generation: int = 0
    ) -> ChildRunHandle[T]:
        """Start one attempt of ``spec`` in ``nursery``, and return at once. No checkpoint.

        What comes out of the child and is no `Exception` goes into ``nursery``; nothing else does.

        Args:
            nursery: Where the attempt, and a timer if it needs one, are started.
            spec: The child.
            attempt: The number to give to this attempt.
            generation: The generation to give to it.

        Raises:
            SpecError: ``spec`` is a nested supervisor.
            SupervisorError: The runner's ``spawn_fault`` refused. Nothing was started.
            RuntimeError: ``nursery`` is closed.
        """
        run = self._prepare(spec, attempt, generation)
        run.start(nursery)
        return ChildRunHandle._create(run)

    def _prepare(self, spec: ChildSpec[Any], attempt: int, generation: int) -> SingleRun:
        if not isinstance(spec, ChildSpec):
            refuse("ChildRunner", "spec", spec, "a ChildSpec (open_supervisor runs a supervisor)")
        refused = None if self._spawn_fault is None else self._spawn_fault(spec)
        if isinstance(refused, SupervisorError):
            raise refused
        if refused is not None:
            raise SupervisorError(f"the spawn of {spec.name} was refused: {refused}") from refused
        if spec.supervisor is not None:
            expected = "a child with a body of its own (open_supervisor runs a supervisor)"
            raise SpecError("supervisor", spec.supervisor, expected, owner=f"child {spec.name!r}")
        return SingleRun(spec, attempt, generation)


@public
@final
class ChildRunHandle(Generic[V_co]):
    """One attempt that `ChildRunner.spawn_once` has started. Any number of tasks may use it.

    Dropping it changes nothing: the attempt belongs to the nursery.
    """

    __slots__ = ("_run",)
    if TYPE_CHECKING:
        _run: SingleRun

    def __init__(self) -> None:
        raise TypeError("a ChildRunHandle cannot be made; ChildRunner.spawn_once returns one")

    @classmethod
    def _create(cls, run: SingleRun) -> ChildRunHandle[V_co]:
        self = cls.__new__(cls)
        self._run = run
        return self

    def __repr__(self) -> str:
        how = "running" if self._run.report is None else self._run.report.exit.describe()
        return f"<ChildRunHandle of {self._run.attempt!r}: {how}>"

    @property
    def spec(self) -> ChildSpec[Any]:
        """The spec of the child."""
        return self._run.attempt.spec

    @property
    def attempt(self) -> int:
        """The number of this attempt."""
        return self._run.attempt.number

    @property
    def generation(self) -> int:
        """The generation of this attempt."""
        return self._run.attempt.generation

    @property
    def report(self) -> ChildRunReport | None:
        """The record of the attempt, once it has ended."""
        return self._run.report

    @property
    def is_ready(self) -> bool:
        """Whether the child is ready now; after its end, whether it was then."""
        return self._run.attempt.is_ready

    @property
    def readiness_state(self) -> ReadinessState:
        """The readiness that the child has reported last."""
        return self._run.attempt.readiness

    @property
    def last_heartbeat(self) -> float | None:
        """The time of the latest heartbeat, on Trio's clock; `None` before the first."""
        return self._run.attempt.beat_at

    @property
    def readiness(self) -> trio.MemoryReceiveChannel[ReadinessState]:
        """Readiness as it changes, the present state first.

        Holds the latest state only: a slow reader misses states in between. Ends with the attempt.
        There is one such channel per handle, so two readers share what comes.
        """
        self._run.check_thread()
        return self._run.readiness_channel()

    @property
    def heartbeats(self) -> trio.MemoryReceiveChannel[Heartbeat]:
        """Heartbeats as they come, the latest before now first; otherwise like `readiness`."""
        self._run.check_thread()
        return self._run.heartbeat_channel()

    @enable_ki_protection
    def request_stop(self, reason: str = "stop requested") -> None:
        """Ask the child to stop, and cancel it after its ``grace``. The first reason wins."""
        self._run.check_thread()
        self._run.request_stop(reason)

    @enable_ki_protection
    def abort(self, reason: str = "aborted") -> None:
        """Cancel the child now, whatever it is doing. An attempt that has not begun never runs."""
        self._run.check_thread()
        self._run.cancel(reason)

    @enable_ki_protection
    async def wait(self) -> ChildRunReport:
        """Wait for the end of the attempt. A checkpoint; cancelling it does not touch the child.

        Raises:
            SupervisorError: Something came out of the child that is no `Exception`, so there is no
                report; it is the ``__cause__``.
        """
        self._run.check_thread()
        await self._run.done.wait()
        return self._run.finished()

    async def wait_ready(self) -> V_co:
        """Wait until the child is ready, and return its value.

        A checkpoint. Cancelling it does not touch the child.

        Raises:
            ChildNotReady: The attempt ended and was not ready then.
            SupervisorError: As for `wait`.
        """
        self._run.check_thread()
        return cast("V_co", await self._run.wait_ready())
