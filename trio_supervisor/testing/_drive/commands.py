"""What an operator, or fate, may do to a running tree: as values that print as code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import attrs
import trio

from trio_supervisor._errors import ChildNotFound
from trio_supervisor.testing._drive.rig import crash_of, failure_of, interrupt_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor._specs.supervisor import ChildSpec
    from trio_supervisor.testing._drive.rig import Rig


@attrs.frozen
class LifecycleCommand:
    """Something done to a running tree. Paths are those below its root."""

    @property
    def passes_time(self) -> bool:
        """Whether it takes virtual time by itself."""
        return False

    def parts(self) -> Iterator[LifecycleCommand]:
        """What is to be done at once."""
        yield self

    async def run(self, rig: Rig) -> None:
        """Do it, and wait for the effect.

        Raises:
            SupervisorError: It was refused.
        """
        raise NotImplementedError


Command = LifecycleCommand


def _place(rig: Rig, path: str) -> tuple[Supervisor, str]:
    """The supervisor right above ``path``, and the last name."""
    above, _, name = path.rpartition("/")
    if not above:
        return rig.supervisor, name
    value = rig.supervisor.child(above).value
    return value, name


@final
@attrs.frozen
class Advance(LifecycleCommand):
    """Let virtual time pass."""

    seconds: float

    @property
    def passes_time(self) -> bool:
        return True

    async def run(self, rig: Rig) -> None:
        await trio.sleep(self.seconds)


@final
@attrs.frozen
class Crash(LifecycleCommand):
    """The child's live attempt, if it has one, raises something undeclared."""

    path: str

    async def run(self, rig: Rig) -> None:
        rig.strings.pull(self.path, crash_of(self.path))


@final
@attrs.frozen
class Fail(LifecycleCommand):
    """The child's live attempt, if it has one, raises a `TaskFailure`."""

    path: str

    async def run(self, rig: Rig) -> None:
        rig.strings.pull(self.path, failure_of(self.path))


@final
@attrs.frozen
class CancelItself(LifecycleCommand):
    """The child's live attempt, if it has one, cancels its own nursery."""

    path: str

    async def run(self, rig: Rig) -> None:
        rig.strings.pull(self.path, None)


@final
@attrs.frozen
class Interrupt(LifecycleCommand):
    """The child's live attempt, if it has one, raises what is to end the program.

    That is a `SimulatedInterrupt`, in place of a `KeyboardInterrupt`. The tree ends in order and
    without grace, and then it comes out.
    """

    path: str

    async def run(self, rig: Rig) -> None:
        rig.strings.pull(self.path, interrupt_of(self.path))


@final
@attrs.frozen
class CancelTree(LifecycleCommand):
    """The tree, and the block that stands on it, are cancelled from outside."""

    async def run(self, rig: Rig) -> None:
        rig.cancel()


@final
@attrs.frozen
class ShutDown(LifecycleCommand):
    """`Supervisor.shutdown` (or, with ``grace=False``, `Supervisor.request_shutdown` like that)."""

    grace: bool = True

    async def run(self, rig: Rig) -> None:
        if self.grace:
            await rig.supervisor.shutdown("test")
        else:
            rig.supervisor.request_shutdown("test", grace=False)


@final
@attrs.frozen
class Stop(LifecycleCommand):
    """`Supervisor.stop_child`."""

    path: str

    async def run(self, rig: Rig) -> None:
        supervisor, name = _place(rig, self.path)
        before = rig.running(self.path)
        await supervisor.stop_child(name, reason="test")
        rig.check_gone(self, before)


@final
@attrs.frozen
class RestartByHand(LifecycleCommand):
    """`Supervisor.restart_child`."""

    path: str

    async def run(self, rig: Rig) -> None:
        supervisor, name = _place(rig, self.path)
        before = rig.running(self.path)
        await supervisor.restart_child(name, reason="test")
        rig.check_gone(self, before)


@final
@attrs.frozen
class Quarantine(LifecycleCommand):
    """`Supervisor.quarantine_child`."""

    path: str

    async def run(self, rig: Rig) -> None:
        supervisor, name = _place(rig, self.path)
        before = rig.running(self.path)
        await supervisor.quarantine_child(name, reason="test")
        rig.check_gone(self, before)


@final
@attrs.frozen
class Remove(LifecycleCommand):
    """`Supervisor.remove_child`."""

    path: str

    async def run(self, rig: Rig) -> None:
        supervisor, name = _place(rig, self.path)
        before = rig.running(self.path)
        await supervisor.remove_child(name, reason="test")
        rig.check_gone(self, before)


@final
@attrs.frozen(repr=False)
class Add(LifecycleCommand):
    """`Supervisor.start_child` (or, with ``wait=False``, `Supervisor.start_child_soon`).

    Args:
        spec: What to add.
        under: The path of the supervisor; by default the root.
        wait: Whether somebody waits for it to be ready.
    """

    spec: ChildSpec[Any]
    under: str = ""
    wait: bool = True

    async def run(self, rig: Rig) -> None:
        supervisor = rig.supervisor
        if self.under:
            supervisor = supervisor.child(self.under).value
            if not hasattr(supervisor, "start_child"):
                raise ChildNotFound(f"{self.under} is no supervisor")
        spec = self.spec if self.under else rig.strings.tie_child(self.spec)
        if self.wait:
            await supervisor.start_child(spec, reason="test")
        else:
            supervisor.start_child_soon(spec, reason="test")

    def __repr__(self) -> str:
        from trio_supervisor.testing._drive.code import as_code  # noqa: PLC0415  # only for people

        options = [repr(self.under)] if self.under else []
        if not self.wait:
            options.append("wait=False")
        return f"Add({', '.join([as_code(self.spec), *options])})"


@final
@attrs.frozen
class AtOnce(LifecycleCommand):
    """Several commands in the same instant, before any of them has an effect."""

    commands: tuple[LifecycleCommand, ...]

    def parts(self) -> Iterator[LifecycleCommand]:
        return iter(self.commands)

    async def run(self, rig: Rig) -> None:
        raise NotImplementedError("its parts are run")
