"""A running tree to which commands are given, with children that can be made to fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, final

import trio

from trio_supervisor._attempts.context import ChildContext
from trio_supervisor._errors import SupervisorError
from trio_supervisor._events.snapshot import ChildSnapshot, SupervisorSnapshot
from trio_supervisor._lazy import public
from trio_supervisor._runtime.open import open_supervisor
from trio_supervisor._runtime.supervisor import Supervisor
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec
from trio_supervisor.testing._drive import commands as command
from trio_supervisor.testing._drive.commands import LifecycleCommand
from trio_supervisor.testing._errors import NeverAwaited
from trio_supervisor.testing._oracle.promises import Promises, note_raised
from trio_supervisor.testing._oracle.watch import note_provoked
from trio_supervisor.testing._script.bodies import walk, with_body, wrap_bodies
from trio_supervisor.testing._script.failures import SimulatedInterrupt
from trio_supervisor.testing._sim.tasks import open_bare_nursery, settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


PATIENCE: Final = 1_000.0


@final
class CrashInjector:
    """The live attempts of a tree by path, each of which can be made to fail."""

    def __init__(self, root: str) -> None:
        self._prefix = len(root) + 1
        self._live: dict[str, ChildContext] = {}
        self._running: set[ChildContext] = set()

    def running(self, path: str) -> frozenset[ChildContext]:
        """Return the contexts of the bodies that run at ``path`` or below it."""
        start = f"{path}/"
        prefix = self._prefix
        return frozenset(c for c in self._running if f"{c.path[prefix:]}/".startswith(start))

    def attach(self, spec: SupervisorSpec) -> SupervisorSpec:
        """Return the tree with bodies that this injector can reach."""
        return wrap_bodies(spec, self._wrap)

    def attach_child(self, spec: ChildSpec[Any]) -> ChildSpec[Any]:
        """Return the child with a body that this injector can reach."""
        return with_body(spec, self._wrap(spec.name, spec))

    def _wrap(self, _path: str, child: ChildSpec[Any]) -> Callable[..., Awaitable[object]]:
        run = child.run

        async def injectable(context: ChildContext, *args: object) -> object:
            self._live[context.path[self._prefix :]] = context
            self._running.add(context)
            try:
                return await run(context, *args)
            except BaseException as error:
                note_raised(context, error)
                raise
            finally:
                self._running.discard(context)

        injectable.__qualname__ = getattr(run, "__qualname__", None) or repr(run)
        return injectable

    def inject(self, path: str, error: BaseException | None) -> bool:
        """Make the child at ``path`` raise ``error`` or, without one, cancel itself.

        Returns:
            Whether it has a live attempt.
        """
        context = self._live.get(path)
        if context is None:
            return False
        note_provoked(context)
        try:
            nursery = context.nursery
            if error is None:
                nursery.cancel_scope.cancel("by itself")
            else:
                nursery.start_soon(_raise, context, error, name=f"{context.path} injected failure")
        except (SupervisorError, RuntimeError):  # it has ended, or is about to
            self._live.pop(path, None)
            return False
        return True


async def _raise(context: ChildContext, error: BaseException) -> None:
    note_raised(context, error)
    raise error


@public
@final
class Rig:
    """A running tree to which commands can be given; `open_rig` makes it.

    Attributes:
        supervisor: The root of the tree.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        injector: CrashInjector,
        nursery: trio.Nursery,
        scope: trio.CancelScope,
    ) -> None:
        self.supervisor = supervisor
        self.injector = injector
        self._nursery = nursery
        self._scope = scope
        self._promises = Promises(supervisor, nursery)
        self._unawaited: dict[object, str] = {}

    @property
    def has_finished(self) -> bool:
        """True when the tree has ended: no task of it is alive."""
        return self.supervisor._shell.is_over

    def child(self, path: str) -> ChildSnapshot:
        """Return a child's snapshot; see `SupervisorSnapshot.child`."""
        return self.supervisor.state().child(path)

    def state(self, path: str) -> str:
        """Return a child's state: ``"ready"``, ``"backing_off"``, ..."""
        return self.child(path).state.value

    def paths(self) -> list[str]:
        """Return the paths of all children that there are now, counted from the root."""
        return [] if self.has_finished else paths_in(self.supervisor.state())

    async def crash(self, path: str) -> None:
        """Make a child's live attempt crash. As all of these, with `apply`, and a checkpoint."""
        await self.apply(command.Crash(path))

    async def stop(self, path: str) -> None:
        """`Supervisor.stop_child`, without waiting for time to pass."""
        await self.apply(command.Stop(path))

    async def restart(self, path: str) -> None:
        """`Supervisor.restart_child`, likewise."""
        await self.apply(command.RestartByHand(path))

    async def quarantine(self, path: str) -> None:
        """`Supervisor.quarantine_child`, likewise."""
        await self.apply(command.QuarantineChild(path))

    async def remove(self, path: str) -> None:
        """`Supervisor.remove_child`, likewise."""
        await self.apply(command.Remove(path))

    async def add(self, spec: ChildSpec[Any], under: str = "") -> None:
        """`Supervisor.start_child`, likewise."""
        await self.apply(command.Add(spec, under))

    async def tick(self, times: int = 1) -> None:
        """Let time pass to the next deadline of any task, ``times`` times."""
        await self.apply(command.Tick(times))

    def cancel(self) -> None:
        """Cancel the tree from outside, together with the block that stands on it."""
        if self._promises.cancelled_at is None and not self.has_finished:
            self._promises.cancelled_at = trio.current_time()
        self._scope.cancel("the test cancels it from outside")

    def running(self, path: str) -> frozenset[ChildContext]:
        """Return the contexts of the bodies that run at ``path`` or below it."""
        return self.injector.running(path)

    def inject(self, path: str, error: BaseException | None) -> bool:
        """Make the live attempt at ``path`` raise ``error``; with `None`, cancel itself.

        Returns:
            Whether there is a live attempt at ``path``.
        """
        return self.injector.inject(path, error)

    def prepare(self, spec: ChildSpec[Any]) -> ChildSpec[Any]:
        """Return ``spec`` with a body that can be made to fail, for a child that is added."""
        return self.injector.attach_child(spec)

    def check_gone(self, command: LifecycleCommand, before: frozenset[ChildContext]) -> None:
        """Check that ``command``, which has returned, ended the attempts that ran ``before``."""
        left = sorted(f"{c.path}#{c.attempt}" for c in before & self.injector._running)
        if left:
            self._promises.fail("answered", f"{command!r} has returned, and {left[0]} still runs")

    def post(self, command: LifecycleCommand) -> None:
        """Give a command without waiting for its effect; a refusal is ignored."""
        for one in command.parts():
            self._nursery.start_soon(self._do, one, name=repr(one))

    async def _do(self, command: LifecycleCommand) -> None:
        # Not found, refused or closed: an operator would read the error.
        in_flight, token = self._promises.in_flight, object()
        in_flight[token] = f"{command!r} has not returned"
        with suppress(SupervisorError):
            await command.run(self)
        del in_flight[token]

    def apply(self, *commands: LifecycleCommand) -> Coroutine[Any, Any, None]:
        """Give commands, each once the immediate effects of the one before are over.

        Virtual time passes only in `Advance`. A command that waits for its effect goes on waiting
        in a task of its own beside the next ones. A checkpoint; cancelled, the commands that were
        given stay given.

        Args:
            *commands: See `LifecycleCommand`.
        """
        token = object()
        self._unawaited[token] = ", ".join(map(repr, commands))
        return self._apply(token, commands)

    async def _apply(self, token: object, commands: Sequence[LifecycleCommand]) -> None:
        del self._unawaited[token]
        for step in commands:
            if step.passes_time:
                await step.run(self)
            else:
                self.post(step)
            await settle()

    def check_awaited(self) -> None:
        """Check that every call of `apply` was awaited.

        Raises:
            NeverAwaited: A call was not, so its commands were not given.
        """
        for call in self._unawaited.values():
            raise NeverAwaited(f"Rig.apply({call}) was never awaited")


@public
@asynccontextmanager
async def open_rig(spec: SupervisorSpec, *, wait_ready: bool = True) -> AsyncIterator[Rig]:
    """Run a tree around a block, and give it commands with `Rig.apply`.

    Leaving the block stops the tree in order, as with `open_supervisor`.

    Args:
        spec: The tree.
        wait_ready: Whether the block begins only when every child is ready.

    Raises:
        NeverAwaited: A call of `Rig.apply` was not awaited.
        BaseException: As `open_supervisor`.
    """
    injector = CrashInjector(spec.name)
    scope = trio.CancelScope()
    promises: Promises | None = None
    rig: Rig | None = None
    async with open_bare_nursery() as nursery:
        try:
            with scope:
                async with open_supervisor(
                    injector.attach(spec), wait_ready=wait_ready
                ) as supervisor:
                    rig = Rig(supervisor, injector, nursery, scope)
                    promises = rig._promises
                    promises.observe()
                    yield rig
        except BaseException as error:
            if promises is not None:
                promises.check_outcome(error)
                await promises.check_told()  # noqa: ASYNC102 - shielded inside
            raise
        if promises is not None:
            promises.check_outcome(None)
            if promises.cancelled_at is not None and not scope.cancelled_caught:
                promises.fail("through", "it was cancelled from outside, and that did not come out")
            await promises.check_told()
        if rig is not None:
            rig.check_awaited()


@public
async def exercise(
    spec: SupervisorSpec, commands: Sequence[LifecycleCommand] = (), *, patience: float = PATIENCE
) -> BaseException | None:
    """Open a tree, give it commands, and close it: a ready-made scenario for `simulate`.

    Args:
        spec: The tree.
        commands: See the strategy `commands`.
        patience: Virtual seconds for the whole; after that the tree is cancelled from outside.

    Returns:
        The error with which the tree gave up, if it did, or the `SimulatedInterrupt` that ended it.
    """
    try:
        with trio.move_on_after(patience):
            async with open_rig(spec, wait_ready=False) as rig:
                await settle()
                await rig.apply(*commands)
    except (SupervisorError, SimulatedInterrupt) as error:
        return error
    except BaseExceptionGroup as group:
        return expected(group)
    return None


def expected(group: BaseExceptionGroup[BaseException]) -> BaseExceptionGroup[BaseException]:
    """Return ``group`` if a tree may end with every exception in it.

    Raises:
        BaseExceptionGroup: The other exceptions in it.
    """
    known, rest = group.split((SupervisorError, SimulatedInterrupt))
    if rest is not None or known is None:
        raise rest or group
    return known


def paths_in(state: SupervisorSnapshot) -> list[str]:
    """Return the paths of all children in a snapshot, counted from the root."""
    found = []
    pending = [state]
    root = len(state.path) + 1
    while pending:
        for child in pending.pop().children:
            found.append(child.path[root:])
            if child.supervisor is not None:
                pending.append(child.supervisor)
    return found


def paths_of(spec: SupervisorSpec) -> list[str]:
    """Return the paths of all declared children, counted from the root."""
    return [path for path, _ in walk(spec)]
