"""Bodies made from a script: one option for each thing that a child can do to its supervisor."""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final

import attrs
import trio

from trio_supervisor._attempts.context import ChildContext
from trio_supervisor._errors import SupervisorError, TaskFailure
from trio_supervisor._lazy import public
from trio_supervisor.testing._drive.commands import LifecycleCommand
from trio_supervisor.testing._oracle.watch import note_provoked
from trio_supervisor.testing._script.failures import SimulatedCrash

if TYPE_CHECKING:
    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor._specs.supervisor import ChildSpec

End: TypeAlias = Literal["return", "crash", "fail", "cancel_self"]
AtCancel: TypeAlias = Literal["obey", "crash", "swallow", "shield"]


@public
@final
@attrs.frozen(repr=False, kw_only=True)
class Behaviour:
    """A scripted body, for children with a real body that cannot run in virtual time.

    ``Behaviour()`` is ready at once and runs until it is cancelled; each option adds one habit.
    Give it as ``run`` of a `ChildSpec`, or to `with_bodies`. All times are seconds from the start
    of the attempt; `math.inf` means never. A behaviour prints as the code that makes it.

    Args:
        ready_at: When the child becomes ready, if it is declared explicit.
        value: The ready value, and the return value.
        beat_every: Seconds between two heartbeats.
        silent_at: When the heartbeats end.
        busy_at: When the child announces that it is busy (`ChildContext.busy`), and is silent.
        busy_for: Seconds for which it is busy.
        extend_at: When the child asks for more time to start
            (`ChildContext.extend_start_timeout`).
        extend_by: Seconds for which it asks.
        not_ready_at: When the child withdraws its readiness.
        ready_again_at: When the child is ready again after that.
        ends_at: When the body ends by itself.
        how: How it then ends: ``"return"``, ``"crash"`` (raise `SimulatedCrash`), ``"fail"`` (raise
            `TaskFailure`) or ``"cancel_self"``.
        message: The text of that exception. Default: the child's name and the time.
        stop_takes: Seconds from a stop request to the return; `math.inf` ignores stop requests.
        at_cancel: What happens at a cancel: ``"obey"``, ``"crash"`` in cleanup, ``"swallow"`` the
            cancellation and go on for ``cancel_takes``, or ``"shield"`` the cleanup for as long.
        cancel_takes: Seconds for ``"swallow"`` and ``"shield"``.
        background: Number of tasks in ``child.nursery``; they run until they are cancelled, also
            after the body has returned.
        background_crash_at: When a background task crashes.
        gives: Commands that the body gives to its own supervisor, each when the last one has taken
            effect: `Stop`, `RestartByHand`, `QuarantineChild`, `Remove`, `Add` and `ShutDownTree`.
            Their paths are names of siblings; ``"."`` is the child itself. Refusals are ignored.
        gives_at: When the first of them is given.
        attempts: How many attempts behave so; later ones are ready at once and run on.

    Example:
        ``ChildSpec("feed", Behaviour(ready_at=1, ends_at=5, how="crash"), readiness="explicit")``
    """

    ready_at: float = 0.0
    value: object = None
    beat_every: float = inf
    silent_at: float = inf
    busy_at: float = inf
    busy_for: float = 0.0
    extend_at: float = inf
    extend_by: float = 0.0
    not_ready_at: float = inf
    ready_again_at: float = inf
    ends_at: float = inf
    how: End = "crash"
    message: str = ""
    stop_takes: float = inf
    at_cancel: AtCancel = "obey"
    cancel_takes: float = 0.0
    background: int = 0
    background_crash_at: float = inf
    gives: tuple[LifecycleCommand, ...] = ()
    gives_at: float = 0.0
    attempts: float = inf

    async def __call__(self, child: ChildContext, *_: object) -> object:
        """Run one attempt."""
        note_provoked(child)
        if child.attempt > self.attempts:
            return await _CALM._run(child)
        return await self._run(child)

    async def _run(self, child: ChildContext) -> object:
        began = trio.current_time()
        nursery = child.nursery
        for number in range(self.background):
            nursery.start_soon(trio.sleep_forever, name=f"{child.path} background {number}")
        if self.background_crash_at < inf:
            nursery.start_soon(_crash_at, began + self.background_crash_at)
        try:
            async with trio.open_nursery() as habits:
                habits.start_soon(self._speak, child, began)
                habits.start_soon(self._beat, child, began)
                if self.busy_at < inf:
                    habits.start_soon(self._be_busy, child, began)
                if self.extend_at < inf:
                    habits.start_soon(self._extend, child, began)
                if self.gives:
                    habits.start_soon(self._give, child, began)
                await self._live(child, began)
                habits.cancel_scope.cancel("the body has ended")
        except BaseExceptionGroup as group:
            error = _only(group)
            if not isinstance(error, trio.Cancelled) or self.at_cancel == "obey":
                raise error from None
            await self._be_cancelled(error)
        return self.value

    async def _live(self, child: ChildContext, began: float) -> None:
        with trio.CancelScope(deadline=began + self.ends_at) as scope:
            if self.stop_takes < inf:
                await child.wait_stop_requested()
                await trio.sleep(self.stop_takes)
                return
            await trio.sleep_forever()
        if scope.cancelled_caught:
            self._end(child)
            await trio.lowlevel.checkpoint()

    def _end(self, child: ChildContext) -> None:
        text = self.message or f"{child.name} at {self.ends_at:g} s"
        if self.how == "crash":
            raise SimulatedCrash(text)
        if self.how == "fail":
            raise TaskFailure(text, category="simulated")
        if self.how == "cancel_self":
            child.nursery.cancel_scope.cancel("by itself")

    async def _speak(self, child: ChildContext, began: float) -> None:
        """Announce readiness and its withdrawal at their times."""
        explicit = _is_explicit(child)
        if explicit and self.ready_at < inf:
            if self.ready_at > 0:
                await trio.sleep_until(began + self.ready_at)
            child.ready(self.value)
        if self.not_ready_at < inf and (not explicit or self.ready_at <= self.not_ready_at):
            await trio.sleep_until(began + self.not_ready_at)
            child.not_ready("as told")
            if self.not_ready_at <= self.ready_again_at < inf:
                await trio.sleep_until(began + self.ready_again_at)
                child.ready(self.value)

    async def _beat(self, child: ChildContext, began: float) -> None:
        if self.beat_every == inf:
            return
        while (age := trio.current_time() - began) < self.silent_at:
            if not self.busy_at <= age < self.busy_at + self.busy_for:
                child.heartbeat()
            await trio.sleep(max(self.beat_every, 0.001))

    async def _be_busy(self, child: ChildContext, began: float) -> None:
        await trio.sleep_until(began + self.busy_at)
        with child.busy(self.busy_for):
            await trio.sleep(self.busy_for)

    async def _extend(self, child: ChildContext, began: float) -> None:
        await trio.sleep_until(began + self.extend_at)
        child.extend_start_timeout(self.extend_by)

    async def _give(self, child: ChildContext, began: float) -> None:
        await trio.sleep_until(began + self.gives_at)
        inside = _Inside(child)
        for given in self.gives:
            command: Any = given
            if getattr(command, "path", None) == ".":
                command = attrs.evolve(command, path=child.name)
            with suppress(SupervisorError):  # not found, refused, closed: documented as ignored
                await command.run(inside)

    async def _be_cancelled(self, error: trio.Cancelled) -> None:
        if self.at_cancel == "crash":
            raise SimulatedCrash("in the cleanup")
        with trio.CancelScope(shield=True):
            await trio.sleep(self.cancel_takes)
        if self.at_cancel == "shield":
            raise error

    def __repr__(self) -> str:
        return f"Behaviour({', '.join(_changes(self))})"


@final
class _Inside:
    """The tree around a body, as the `Target` of the commands that the body gives."""

    def __init__(self, child: ChildContext) -> None:
        self._child = child

    @property
    def supervisor(self) -> Supervisor:
        return self._child.supervisor

    def running(self, path: str) -> frozenset[ChildContext]:
        return frozenset()

    def check_gone(self, command: LifecycleCommand, before: frozenset[ChildContext]) -> None:
        """Check nothing: which bodies run is seen only from outside."""

    def prepare(self, spec: ChildSpec[Any]) -> ChildSpec[Any]:
        return spec

    def cancel(self) -> None:
        """Do nothing: a body cannot cancel its tree from outside."""

    def inject(self, path: str, error: BaseException | None) -> bool:
        return False


def _is_explicit(child: ChildContext) -> bool:
    return child._attempt.spec.is_explicit


async def _crash_at(time: float) -> None:
    await trio.sleep_until(time)
    raise SimulatedCrash("in the background")


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that left the body's own nursery, or else a cancellation."""
    pending: list[BaseException] = [group]
    found: list[BaseException] = []
    while pending:
        error = pending.pop()
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        else:
            found.append(error)
    errors = [error for error in found if not isinstance(error, trio.Cancelled)]
    if len(errors) > 1:
        return group
    return errors[0] if errors else found[0]


def _changes(behaviour: Behaviour) -> list[str]:
    shown = []
    for field in attrs.fields(Behaviour):
        value: Any = getattr(behaviour, field.name)
        if value != field.default:
            if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
                value = int(value)
            shown.append(f"{field.name}={value!r}")
    return shown


_CALM: Final = Behaviour()


@public
@final
@attrs.frozen(repr=False)
class ByAttempt:
    """A scripted body with one behaviour for each attempt; `by_attempt` makes it."""

    behaviours: tuple[Behaviour, ...]

    async def __call__(self, child: ChildContext, *_: object) -> object:
        """Run one attempt."""
        at = min(child.attempt, len(self.behaviours)) - 1
        return await self.behaviours[at](child)

    def __repr__(self) -> str:
        return f"by_attempt({', '.join(map(repr, self.behaviours))})"


@public
def by_attempt(*behaviours: Behaviour) -> ByAttempt:
    """Make a body that behaves differently in each attempt; the last behaviour repeats.

    Raises:
        ValueError: No behaviour was given.

    Example:
        ``by_attempt(Behaviour(ends_at=1), Behaviour())`` crashes once.
    """
    if not behaviours:
        raise ValueError("by_attempt() needs at least one Behaviour")
    return ByAttempt(behaviours)


@public
@final
class InTurn:
    """A scripted body with one behaviour for each run of it; `in_turn` makes it."""

    def __init__(self, behaviours: tuple[Behaviour, ...]) -> None:
        self.behaviours = behaviours
        self._begun = 0

    async def __call__(self, child: ChildContext, *_: object) -> object:
        """Run one attempt."""
        at, self._begun = self._begun, self._begun + 1
        body = self.behaviours[at] if at < len(self.behaviours) else _CALM
        return await body(child)

    def __repr__(self) -> str:
        return f"in_turn({', '.join(map(repr, self.behaviours))})"


@public
def in_turn(*behaviours: Behaviour) -> InTurn:
    """Make a body that behaves differently each time it is run; afterwards it is calm.

    `by_attempt` goes by the number of the attempt, and attempts are numbered anew in each run of
    the supervisor above. What this function makes goes on where it was: it serves one run of the
    tree, so make it anew for each.

    Example:
        ``in_turn(Behaviour(ends_at=1))`` crashes once, however often its supervisor is restarted.
    """
    return InTurn(behaviours)
