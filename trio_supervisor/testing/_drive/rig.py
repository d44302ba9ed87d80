"""A tree under control: its bodies are what they are, and each can be made to crash."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, final

import trio
from trio.testing import wait_all_tasks_blocked

from trio_supervisor._errors import SupervisorError, TaskFailure
from trio_supervisor._runtime.block import open_supervisor
from trio_supervisor.testing._drive.behaviour import SimulatedCrash, SimulatedInterrupt
from trio_supervisor.testing._drive.bodies import walk, with_body, wrap_bodies
from trio_supervisor.testing._oracle.promises import Promises, note_raised

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from trio_supervisor._attempts.context import ChildContext
    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec
    from trio_supervisor.testing._drive.commands import LifecycleCommand

PATIENCE: Final = 1_000.0


@final
class Strings:
    """Holds the strings of all live attempts of a tree, by path below the root."""

    def __init__(self, root: str) -> None:
        self._prefix = len(root) + 1
        self._live: dict[str, ChildContext] = {}
        self._running: set[ChildContext] = set()

    def running(self, path: str) -> frozenset[ChildContext]:
        """The bodies that run at ``path``, or below it."""
        start = f"{path}/"
        prefix = self._prefix
        return frozenset(c for c in self._running if f"{c.path[prefix:]}/".startswith(start))

    def tie(self, spec: SupervisorSpec) -> SupervisorSpec:
        """The same tree, its bodies tied to these strings."""
        return wrap_bodies(spec, self._wrap)

    def tie_child(self, spec: ChildSpec[Any]) -> ChildSpec[Any]:
        """The same for a child to be added."""
        return with_body(spec, self._wrap(spec.name, spec))

    def _wrap(self, _path: str, child: ChildSpec[Any]) -> Callable[..., Awaitable[object]]:
        run = child.run

        async def tied(context: ChildContext, *args: object) -> object:
            self._live[context.path[self._prefix :]] = context
            self._running.add(context)
            try:
                return await run(context, *args)
            except BaseException as error:
                note_raised(context, error)
                raise
            finally:
                self._running.discard(context)

        tied.__qualname__ = getattr(run, "__qualname__", None) or repr(run)
        return tied

    def pull(self, path: str, error: BaseException | None) -> bool:
        """Make the child at ``path`` raise ``error`` or, without one, cancel itself.

        Returns:
            Whether it has a live attempt.
        """
        context = self._live.get(path)
        if context is None:
            return False
        try:
            nursery = context.nursery
            if error is None:
                nursery.cancel_scope.cancel("by itself")
            else:
                nursery.start_soon(_raise, context, error, name=f"{context.path} fate")
        except (SupervisorError, RuntimeError):  # it has ended, or is about to
            self._live.pop(path, None)
            return False
        return True


async def _raise(context: ChildContext, error: BaseException) -> None:
    note_raised(context, error)
    raise error


@final
class Rig:
    """A running tree to which commands can be given.

    Attributes:
        supervisor: Its root.
        strings: Of its bodies.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        strings: Strings,
        nursery: trio.Nursery,
        scope: trio.CancelScope,
    ) -> None:
        self.supervisor = supervisor
        self.strings = strings
        self._nursery = nursery
        self._scope = scope
        self._promises = Promises(supervisor, nursery)

    @property
    def has_finished(self) -> bool:
        """Whether nobody is alive in the tree any more, and nobody will be."""
        return self.supervisor._shell.is_over

    def cancel(self) -> None:
        """Cancel the tree from outside, together with the block that stands on it."""
        if self._promises.cancelled_at is None and not self.has_finished:
            self._promises.cancelled_at = trio.current_time()
        self._scope.cancel("the test cancels it from outside")

    def running(self, path: str) -> frozenset[ChildContext]:
        """The bodies that run at ``path``, or below it."""
        return self.strings.running(path)

    def check_gone(self, command: LifecycleCommand, before: frozenset[ChildContext]) -> None:
        """A command has returned that was to end the attempts that ran ``before``: has it?"""
        left = sorted(f"{c.path}#{c.attempt}" for c in before & self.strings._running)
        if left:
            self._promises.fail("answered", f"{command!r} has returned, and {left[0]} still runs")

    def post(self, command: LifecycleCommand) -> None:
        """Give a command, and wait for nothing. What is refused is refused."""
        for one in command.parts():
            self._nursery.start_soon(self._do, one, name=repr(one))

    async def _do(self, command: LifecycleCommand) -> None:
        # Not found, refused, closed: an operator would be told so.
        in_flight, token = self._promises.in_flight, object()
        in_flight[token] = f"{command!r} has not returned"
        with suppress(SupervisorError):
            await command.run(self)
        del in_flight[token]

    async def apply(self, *commands: LifecycleCommand) -> None:
        """Give commands one after the other, each once the last one's immediate effects are over.

        Time passes only where a command says so. A command that waits for an effect goes on
        waiting beside the next ones.
        """
        for command in commands:
            if command.passes_time:
                await command.run(self)
            else:
                self.post(command)
            await settle()


def crash_of(path: str) -> SimulatedCrash:
    """What a child is made to crash with."""
    return SimulatedCrash(f"{path} was made to crash")


def interrupt_of(path: str) -> SimulatedInterrupt:
    """What a child is made to raise as if by Ctrl-C."""
    return SimulatedInterrupt(f"{path} was interrupted")


def failure_of(path: str) -> TaskFailure:
    """What a child is made to fail with."""
    return TaskFailure(f"{path} was made to fail", category="simulated")


async def settle() -> None:
    """Wait until every task waits for something; no time passes."""
    await wait_all_tasks_blocked()


@asynccontextmanager
async def open_rig(spec: SupervisorSpec, *, wait_ready: bool = True) -> AsyncIterator[Rig]:
    """Run a tree around a block, with commands at hand: `Rig.apply`.

    Raises:
        BaseException: As `open_supervisor`.
    """
    strings = Strings(spec.name)
    scope = trio.CancelScope()
    promises: Promises | None = None
    async with _bare_nursery() as nursery:
        try:
            with scope:
                async with open_supervisor(strings.tie(spec), wait_ready=wait_ready) as supervisor:
                    rig = Rig(supervisor, strings, nursery, scope)
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


@asynccontextmanager
async def _bare_nursery() -> AsyncIterator[trio.Nursery]:
    """A nursery that hands on a single error as it is."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        errors = [e for e in group.exceptions if not isinstance(e, trio.Cancelled)]
        if len(errors) != 1:
            raise
        raise errors[0] from errors[0].__cause__


async def exercise(
    spec: SupervisorSpec, commands: Sequence[LifecycleCommand] = (), *, patience: float = PATIENCE
) -> BaseException | None:
    """Open a tree, give it commands, close it: a scenario for `simulate`.

    Args:
        spec: The tree.
        commands: See the strategy `commands`.
        patience: Virtual seconds for all of it; after that it is cancelled from outside.

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
    """``group``, if everything in it is what a tree may end with.

    Raises:
        BaseExceptionGroup: The rest of it.
    """
    known, rest = group.split((SupervisorError, SimulatedInterrupt))
    if rest is not None or known is None:
        raise rest or group
    return known


def paths_of(spec: SupervisorSpec) -> list[str]:
    """The paths of all declared children below the root."""
    return [path for path, _ in walk(spec)]
