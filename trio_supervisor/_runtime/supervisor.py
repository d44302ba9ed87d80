"""Supervisor: the public face of a running supervisor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, final, overload

import trio
from trio.lowlevel import enable_ki_protection

from trio_supervisor._brain import messages as o
from trio_supervisor._errors import (
    ChildNotFound,
    ChildNotReady,
    ChildStartError,
    SupervisorClosed,
)
from trio_supervisor._events.journal import Journal
from trio_supervisor._events.shutdown import ShutdownReport
from trio_supervisor._events.snapshot import ChildState, SupervisorSnapshot
from trio_supervisor._lazy import public
from trio_supervisor._record import Record
from trio_supervisor._runtime.commands import forfeit_grace_if_inside, give, is_down
from trio_supervisor._runtime.handle import ChildHandle, restart
from trio_supervisor._runtime.subscription import Subscription
from trio_supervisor._specs.checks import name_of, refuse
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

if TYPE_CHECKING:
    from trio_supervisor._runtime.child_slot import Slot, View
    from trio_supervisor._runtime.shell import Shell
    from trio_supervisor._runtime.tree import Reply

T = TypeVar("T")
Named: TypeAlias = "ChildSpec[Any] | SupervisorSpec | str"


@public
@final
class ChildCounts(Record):
    """How many children there are, by what they are doing.

    Attributes:
        specs: All who hold a name.
        active: Those with a live attempt.
        ready: Those that are ready.
        supervisors: Those that are supervisors themselves.
        workers: The others.
    """

    specs: int
    active: int
    ready: int
    supervisors: int
    workers: int


@public
@final
class Supervisor:
    """A running supervisor; `open_supervisor` and `run_supervisor` give it.

    Every command is accepted or refused within one turn, whoever else hangs; the awaited ones then
    wait for the effect. Cancelled while waiting, the wish stands (but see `start_child`). All of
    them may be called from anywhere in the same Trio run, from a child's body too; a command that
    stops its own caller ends by that cancellation, at once.
    """

    __slots__ = ("__weakref__", "_shell")
    if TYPE_CHECKING:
        _shell: Shell

    def __init__(self) -> None:
        raise TypeError("a Supervisor cannot be made; open_supervisor() runs one")

    @classmethod
    def _create(cls, shell: Shell) -> Supervisor:
        self = cls.__new__(cls)
        self._shell = shell
        return self

    def __repr__(self) -> str:
        return f"<Supervisor {self.path} {self._shell.machine.state}>"

    # ------------------------------------------------------------ looking

    @property
    def name(self) -> str:
        """Its name."""
        return self.path.rpartition("/")[2]

    @property
    def path(self) -> str:
        """Where it stands in the tree: ``"app"``, ``"app/sessions"``."""
        return self._shell.path

    @property
    def spec(self) -> SupervisorSpec:
        """What was declared."""
        return self._shell.spec

    @property
    def children(self) -> Mapping[str, ChildHandle[Any]]:
        """Its children by name, in the order of declaration, then of adding; a live view."""
        return _Children(self._shell)

    @overload
    def child(self, of: ChildSpec[T]) -> ChildHandle[T]: ...
    @overload
    def child(self, of: SupervisorSpec) -> ChildHandle[Supervisor]: ...
    @overload
    def child(self, of: str) -> ChildHandle[Any]: ...
    def child(self, of: ChildSpec[Any] | SupervisorSpec | str) -> ChildHandle[Any]:
        """One child, by its spec, its name, or its path below this supervisor (``"sessions/s-1"``).

        Raises:
            ChildNotFound: There is none; the message says which there are.
        """
        return self._find(of).handle

    def _find(self, of: ChildSpec[Any] | SupervisorSpec | str) -> Slot:
        path, own = name_of(self.path, of), f"{self.path}/"
        try:
            return self._find_below(path)
        except ChildNotFound:
            if not path.startswith(own):
                raise
        return self._find_below(path[len(own) :])

    def _find_below(self, path: str) -> Slot:
        shell = self._shell
        *above, name = path.split("/")
        for step in above:
            nested = shell.slots[step].nested if step in shell.slots else None
            if nested is None:
                raise ChildNotFound(
                    f"{shell.path} has no running supervisor {step!r} among its children"
                )
            shell = nested
        slot = shell.slots.get(name)
        if slot is None:
            names = ", ".join(sorted(shell.slots)[:10]) or "none"
            raise ChildNotFound(f"{shell.path} has no child {name!r}; it has: {names}")
        return slot

    def state(self) -> SupervisorSnapshot:
        """The tree from here on down, as it is now."""
        return self._shell.snapshot()

    @property
    def journal(self) -> Journal:
        """The newest events of the whole tree, and the snapshot before the oldest of them."""
        return self._shell.tree.journal.view

    def count_children(self) -> ChildCounts:
        """Count its own children."""
        machine = self._shell.machine
        lives = machine.children.values()
        supervisors = sum(life.spec.supervisor is not None for life in lives)
        ready = sum(life.live and life.ready and not life.stage for life in lives)
        total = len(machine.children)
        return ChildCounts(total, machine.live, ready, supervisors, total - supervisors)

    def subscribe(self, *, max_buffer: int = 1024) -> Subscription:
        """``async with supervisor.subscribe() as events:`` a snapshot, and all events after it.

        Args:
            max_buffer: How many events wait for a slow reader; beyond that the oldest are lost, and
                an `EventGap` says how many.

        Raises:
            SpecError: ``max_buffer`` is not a whole number of at least 1.
        """
        journal = self._shell.tree.journal
        return Subscription._create(journal, self.state, path=self.path, max_buffer=max_buffer)

    @enable_ki_protection
    async def wait_ready(self) -> None:
        """Wait until its first start is complete.

        Raises:
            SupervisorClosed: It ended, or began to end, before that.
        """
        shell = self._shell
        await shell.settled.wait()
        if not shell.machine.is_started:
            raise SupervisorClosed(f"{self.path} is {shell.machine.state}: {shell.machine.reason}")

    @enable_ki_protection
    async def wait_finished(self) -> ShutdownReport:
        """Wait until it has ended; returns how.

        Raises:
            SupervisorClosed: It broke down without a report; leaving its block raises why.
        """
        await self._shell.finished.wait()
        if self._shell.report is None:
            raise SupervisorClosed(f"{self.path} broke down; leaving its block says why")
        return self._shell.report

    # ------------------------------------------------------------ commands

    @overload
    async def start_child(self, spec: ChildSpec[T], *, reason: str = "") -> ChildHandle[T]: ...
    @overload
    async def start_child(
        self, spec: SupervisorSpec, *, reason: str = ""
    ) -> ChildHandle[Supervisor]: ...
    @enable_ki_protection
    async def start_child(
        self, spec: ChildSpec[Any] | SupervisorSpec, *, reason: str = ""
    ) -> ChildHandle[Any]:
        """Add a child and wait until it is ready.

        Args:
            spec: What to run; its name must be free.
            reason: For the events.

        Returns:
            Its handle, once it is ready (or has already done its work).

        Raises:
            ChildStartError: It failed before it was ready; it is forgotten, its siblings live on.
            ChildNotReady: Somebody stopped it, or policy gave it up, before it was ready.
            CommandRefused: The name is taken, or there are ``max_children`` already.
            SpecError: It does not fit its supervisor.
            SupervisorClosed: The supervisor is ending.

        Cancelled while waiting, the child is stopped and removed again before this returns, as
        `trio.Nursery.start` would do.
        """
        spec = _as_child(spec)
        shell = self._shell
        reply = shell.command(o.AddChild(spec, o.FirstStart.FORGETS_CHILD, reason))
        try:
            await reply.answered.wait()
            if reply.error is not None:
                raise reply.error
            slot = reply.slot
            assert slot is not None
            await slot.wait(lambda view: _has_started(slot, view))
        except trio.Cancelled:
            await self._withdraw(reply)  # noqa: ASYNC102 - shielded inside
            raise
        if slot.failed_start is not None:
            report = slot.failed_start
            slot.failed_start = None
            path, how = slot.life.path, report.exit
            message = f"{path} failed to start: {how.describe()}"
            raise ChildStartError(message, path=path, reports=[report]) from how.error
        if not slot.life.ever_ready and not slot.has_succeeded:
            if shell.is_stopping:
                raise SupervisorClosed(
                    f"{slot!r} was stopped with its supervisor before it was ready"
                )
            raise ChildNotReady(f"{slot!r} came to rest before it was ready")
        return slot.handle

    @enable_ki_protection
    async def _withdraw(self, reply: Reply) -> None:
        shell = self._shell
        with trio.CancelScope(shield=True):
            await reply.answered.wait()
            slot = reply.slot
            if reply.error is not None or slot is None or slot.life.gone:
                return  # refused (then the slot is somebody else's), or gone already
            name = slot.life.name
            removal = shell.command(o.RemoveChild(name, "whoever started it was cancelled"))
            await removal.answered.wait()
            if removal.error is None:
                await slot.wait(_is_gone)

    def start_child_soon(self, spec: ChildSpec[Any] | SupervisorSpec, *, reason: str = "") -> None:
        """Add a child and do not wait. A failure to start is an ordinary failure: policy applies.

        Raises:
            CommandRefused: The name is taken, or there are ``max_children`` already. Where only the
                order in which commands arrive decides that, the refusal goes to the log.
            SpecError: It does not fit its supervisor.
            SupervisorClosed: The supervisor is ending.
        """
        self._shell.command_soon(o.AddChild(_as_child(spec), o.FirstStart.ORDINARY, reason))

    async def stop_child(self, name: Named, *, reason: str = "") -> None:
        """Stop a child with its grace, wait for that, and hold it down until `restart_child`.

        Raises:
            ChildNotFound: There is no such child.
        """
        await self._give(name, o.StopChild, reason, is_down)

    async def quarantine_child(self, name: Named, *, reason: str = "") -> None:
        """Like `stop_child`, and visible as a case for inspection.

        Raises:
            ChildNotFound: There is no such child.
        """
        await self._give(name, o.QuarantineChild, reason, is_down)

    async def remove_child(self, name: Named, *, reason: str = "") -> None:
        """Stop a child and forget it; its name is free when this returns.

        Raises:
            ChildNotFound: There is no such child.
            CommandRefused: Others require it; the message names them.
        """
        await self._give(
            name, o.RemoveChild, reason, lambda view, _: view.state is ChildState.REMOVED
        )

    async def restart_child(self, name: Named, *, reason: str = "") -> None:
        """A new attempt, now, whatever held the child down; waits until it is ready.

        Its backoff is cleared.

        A live attempt is stopped with its grace first. The new one waits for nobody but those that
        the child requires. If it fails, that is an ordinary failure: policy's order binds the next
        one, and this goes on waiting while policy goes on trying; it returns as well when the child
        comes to rest.

        Raises:
            ChildNotFound: There is no such child.
            SupervisorClosed: The supervisor is ending.
        """
        await restart(self._find(name), reason)

    async def _give(self, name: Any, command: Any, reason: str, until: Any) -> None:
        slot = self._find(name)
        await give(slot.shell, slot, command(slot.life.name, reason), until)

    def request_shutdown(self, reason: str = "", *, grace: bool = True) -> None:
        """Begin to stop all children in order; returns at once.

        Args:
            reason: For events, reports and the log.
            grace: If false, each child is cancelled at its turn without grace; also when a stop
                with grace is under way.
        """
        self._shell.shut_down(o.Shutdown(reason or "shutdown requested", grace=grace))

    async def shutdown(self, reason: str = "") -> ShutdownReport:
        """Stop all children in order and wait for the end. Idempotent.

        Called from a child's body, it ends by that child's own cancellation.
        """
        forfeit_grace_if_inside(self._shell, self.path)
        self.request_shutdown(reason)
        return await self.wait_finished()


def _as_child(spec: Any) -> ChildSpec[Any]:
    if isinstance(spec, SupervisorSpec):
        return spec.as_child()
    if not isinstance(spec, ChildSpec):
        refuse("start_child", "spec", spec, "a ChildSpec or SupervisorSpec")
    return spec


def _has_started(slot: Slot, view: View) -> bool:
    return slot.failed_start is not None or slot.life.ever_ready or view.is_at_rest or view.closed


def _is_gone(view: View) -> bool:
    return view.state is ChildState.REMOVED or view.closed


@final
class _Children(Mapping[str, ChildHandle[Any]]):
    """A live view of a supervisor's children."""

    __slots__ = ("_shell",)

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def __getitem__(self, name: str) -> ChildHandle[Any]:
        return self._shell.slots[name].handle

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._shell.slots))

    def __len__(self) -> int:
        return len(self._shell.slots)

    def __repr__(self) -> str:
        return repr(dict(self))
