"""Commands to a running tree, and failures of its children, as values that print as code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, final

import attrs
import trio

from trio_supervisor._errors import ChildNotFound
from trio_supervisor._lazy import public
from trio_supervisor._specs.supervisor import ChildSpec
from trio_supervisor.testing._script.code import as_code
from trio_supervisor.testing._script.failures import crash_of, failure_of, interrupt_of
from trio_supervisor.testing._sim.tasks import settle

if TYPE_CHECKING:
    from trio_supervisor._attempts.context import ChildContext
    from trio_supervisor._runtime.supervisor import Supervisor


class Target(Protocol):
    """The running tree as a command sees it: a `Rig`, or the tree around a body."""

    @property
    def supervisor(self) -> Supervisor:
        """The supervisor from which paths are counted."""
        ...

    def cancel(self) -> None:
        """Cancel the tree from outside."""

    def inject(self, path: str, error: BaseException | None) -> bool:
        """Make the live attempt at ``path`` raise ``error``, or cancel itself."""
        ...

    def prepare(self, spec: ChildSpec[Any]) -> ChildSpec[Any]:
        """Return the spec to add in place of ``spec``."""
        ...

    def running(self, path: str) -> frozenset[ChildContext]:
        """Return the contexts of the bodies that run at ``path`` or below it."""
        ...

    def check_gone(self, command: LifecycleCommand, before: frozenset[ChildContext]) -> None:
        """Check that a command that has returned ended the bodies that ran ``before``."""


@public
@attrs.frozen
class LifecycleCommand:
    """Something done to a running tree. Paths are counted from its root: ``"sessions/login"``."""

    @property
    def passes_time(self) -> bool:
        """True if the command takes virtual time by itself."""
        return False

    def parts(self) -> Iterator[LifecycleCommand]:
        """Yield the commands that are given in the same instant."""
        yield self

    async def run(self, rig: Target) -> None:
        """Do it, and wait for the effect.

        Raises:
            SupervisorError: The supervisor refused the command.
        """
        raise NotImplementedError


Command = LifecycleCommand
_AN_HOUR = 3_600.0


def _place(rig: Target, path: str) -> tuple[Supervisor, str]:
    """Return the supervisor right above ``path``, and the last name of the path."""
    above, _, name = path.rpartition("/")
    if not above:
        return rig.supervisor, name
    value = rig.supervisor.child(above).value
    return value, name


@public
@final
@attrs.frozen
class Advance(LifecycleCommand):
    """Let virtual time pass."""

    seconds: float

    @property
    def passes_time(self) -> bool:
        return True

    async def run(self, rig: Target) -> None:
        await trio.sleep(self.seconds)


@public
@final
@attrs.frozen
class Tick(LifecycleCommand):
    """Let virtual time pass to the next deadline of any task, ``times`` times.

    So the narrowest window in time is met as often as a wide one. Deadlines further than an hour
    away are left alone.
    """

    times: int = 1

    @property
    def passes_time(self) -> bool:
        return True

    async def run(self, rig: Target) -> None:
        for number in range(self.times):
            if number:
                await settle()
            wait = trio.lowlevel.current_statistics().seconds_to_next_deadline
            await trio.sleep(wait if 0 < wait <= _AN_HOUR else 0)


@public
@final
@attrs.frozen
class Crash(LifecycleCommand):
    """Make the child's live attempt, if it has one, raise a `SimulatedCrash`."""

    path: str

    async def run(self, rig: Target) -> None:
        rig.inject(self.path, crash_of(self.path))


@public
@final
@attrs.frozen
class Fail(LifecycleCommand):
    """Make the child's live attempt, if it has one, raise a `TaskFailure`."""

    path: str

    async def run(self, rig: Target) -> None:
        rig.inject(self.path, failure_of(self.path))


@public
@final
@attrs.frozen
class CancelItself(LifecycleCommand):
    """Make the child's live attempt, if it has one, cancel its own nursery."""

    path: str

    async def run(self, rig: Target) -> None:
        rig.inject(self.path, None)


@public
@final
@attrs.frozen
class Interrupt(LifecycleCommand):
    """Make the child's live attempt, if it has one, raise a `SimulatedInterrupt`.

    The exception stands for a `KeyboardInterrupt`: the tree ends in order and without grace, and
    then the exception comes out.
    """

    path: str

    async def run(self, rig: Target) -> None:
        rig.inject(self.path, interrupt_of(self.path))


@public
@final
@attrs.frozen
class CancelTree(LifecycleCommand):
    """Cancel the tree, and the block that stands on it, from outside."""

    async def run(self, rig: Target) -> None:
        rig.cancel()


@public
@final
@attrs.frozen
class ShutDownTree(LifecycleCommand):
    """`Supervisor.shutdown` of the root; ``grace=False`` is `Supervisor.request_shutdown` so."""

    grace: bool = True

    async def run(self, rig: Target) -> None:
        if self.grace:
            await rig.supervisor.shutdown("test")
        else:
            rig.supervisor.request_shutdown("test", grace=False)


@public
@final
@attrs.frozen
class Stop(LifecycleCommand):
    """`Supervisor.stop_child`."""

    path: str

    async def run(self, rig: Target) -> None:
        supervisor, name = _place(rig, self.path)
        before = rig.running(self.path)
        await supervisor.stop_child(name, reason="test")
        rig.check_gone(self, before)


@public
@final
@attrs.frozen
class RestartByHand(LifecycleCommand):
    """`Supervisor.restart_child`."""

    path: str

    async def run(self, rig: Target) -> None:
        supervisor, name = _place(rig, self.path)
        before = rig.running(self.path)
        await supervisor.restart_child(name, reason="test")
        rig.check_gone(self, before)


@public
@final
@attrs.frozen
class QuarantineChild(LifecycleCommand):
    """`Supervisor.quarantine_child`."""

    path: str

    async def run(self, rig: Target) -> None:
        supervisor, name = _place(rig, self.path)
        before = rig.running(self.path)
        await supervisor.quarantine_child(name, reason="test")
        rig.check_gone(self, before)


@public
@final
@attrs.frozen
class Remove(LifecycleCommand):
    """`Supervisor.remove_child`."""

    path: str

    async def run(self, rig: Target) -> None:
        supervisor, name = _place(rig, self.path)
        before = rig.running(self.path)
        await supervisor.remove_child(name, reason="test")
        rig.check_gone(self, before)


@public
@final
@attrs.frozen(repr=False)
class Add(LifecycleCommand):
    """`Supervisor.start_child` (or, with ``wait=False``, `Supervisor.start_child_soon`).

    Args:
        spec: The child to add.
        under: The path of the supervisor; by default the root.
        wait: Whether a task waits until the child is ready. If that task is cancelled, the child is
            removed again.
    """

    spec: ChildSpec[Any]
    under: str = ""
    wait: bool = True

    async def run(self, rig: Target) -> None:
        supervisor = rig.supervisor
        if self.under:
            supervisor = supervisor.child(self.under).value
            if not hasattr(supervisor, "start_child"):
                raise ChildNotFound(f"{self.under} is no supervisor")
        spec = self.spec if self.under else rig.prepare(self.spec)
        if self.wait:
            await supervisor.start_child(spec, reason="test")
        else:
            supervisor.start_child_soon(spec, reason="test")

    def __repr__(self) -> str:
        options = [repr(self.under)] if self.under else []
        if not self.wait:
            options.append("wait=False")
        return f"Add({', '.join([as_code(self.spec), *options])})"


@public
@final
@attrs.frozen
class AtOnce(LifecycleCommand):
    """Several commands in the same instant, before any of them has an effect."""

    commands: tuple[LifecycleCommand, ...]

    def parts(self) -> Iterator[LifecycleCommand]:
        return iter(self.commands)

    async def run(self, rig: Target) -> None:
        raise NotImplementedError("its parts are run")
