"""Supervisor: what a program holds of a running supervisor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast, final, overload

from trio.lowlevel import enable_ki_protection

from trio_supervisor._brain import messages as o
from trio_supervisor._errors import ChildNotFound, SupervisorClosed
from trio_supervisor._events.journal import Journal
from trio_supervisor._events.shutdown import ShutdownReport
from trio_supervisor._events.snapshot import SupervisorSnapshot
from trio_supervisor._lazy import public
from trio_supervisor._record import Record
from trio_supervisor._runtime import commands
from trio_supervisor._runtime.handle import ChildHandle
from trio_supervisor._runtime.subscription import Subscription
from trio_supervisor._specs.checks import name_of, refuse
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec
from trio_supervisor._text import is_a, no_such_child

if TYPE_CHECKING:
    from trio_supervisor._runtime.child_slot import Slot
    from trio_supervisor._runtime.shell import Shell

T = TypeVar("T")
Named: TypeAlias = "ChildSpec[Any] | SupervisorSpec | ChildHandle[Any] | str"


@public
@final
class ChildCounts(Record):
    """The number of a supervisor's own children, by kind.

    Attributes:
        specs: Children that occupy a name, whatever their state.
        active: Children with a live attempt.
        ready: Children that are ready.
        supervisors: Nested supervisors.
        workers: Children that are not supervisors.
    """

    specs: int
    active: int
    ready: int
    supervisors: int
    workers: int


@public
@final
class Supervisor:
    """A running supervisor: look at its children, add to them, stop and restart them.

    `open_supervisor` and `run_supervisor` return the root of a tree; a nested one is the ready
    value of its child (``supervisor.child("sessions").value``). A `Supervisor` belongs to one run:
    when a nested supervisor is restarted, its child has a new one.

    A command is accepted or refused within one turn of the supervisor, even if a child hangs; the
    awaited commands then wait for their effect. If the wait is cancelled, the command stands (but
    see `start_child`). Commands may be given by any task of the same Trio run, also from a child's
    body. A command that stops its own caller ends by that cancellation.

    Everything but ``name``, ``path``, ``spec`` and ``journal`` is refused with a `SupervisorError`
    in another thread than the one in which the tree runs, until the supervisor has ended; there,
    ``trio.from_thread.run_sync(supervisor.state)`` looks at it. What was got, such as a snapshot or
    a report, may be read anywhere. So may a `ChildHandle`, but for its value and reports, and the
    journal's ``last_sequence``; its events belong to Trio's thread.
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
        """The name of the supervisor, the last part of its path."""
        return self.path.rpartition("/")[2]

    @property
    def path(self) -> str:
        """The path of the supervisor in its tree: ``"app"`` or ``"app/sessions"``."""
        return self._shell.path

    @property
    def spec(self) -> SupervisorSpec:
        """The spec that the supervisor was declared with."""
        return self._shell.spec

    @property
    def children(self) -> Mapping[str, ChildHandle[Any]]:
        """The children by name, in the order of declaration, then of addition; a live view."""
        return _Children(self._looked_at())

    @overload
    def child(self, of: ChildSpec[T]) -> ChildHandle[T]: ...
    @overload
    def child(self, of: SupervisorSpec) -> ChildHandle[Supervisor]: ...
    @overload
    def child(self, of: str) -> ChildHandle[Any]: ...
    @overload
    def child(self, of: ChildHandle[T]) -> ChildHandle[T]: ...
    def child(
        self, of: ChildSpec[Any] | SupervisorSpec | ChildHandle[Any] | str
    ) -> ChildHandle[Any]:
        """Return the handle of one child.

        Args:
            of: Its name, its path below this supervisor (``"sessions/s-1"``), the spec that it was
                declared with, or its handle.

        Raises:
            ChildNotFound: There is no such child; the message says which there are. A spec or a
                handle of a child that was removed does not stand for a new child of that name.
            SpecError: ``of`` is something else.
        """
        return self._find(of).handle

    def _looked_at(self) -> Shell:
        """Return the shell, if this thread may look at it now."""
        shell = self._shell
        if get_ident() != shell.tree.thread and not shell.is_over:
            shell.tree.check_thread(shell.path, "a supervisor can be looked at")
        return shell

    def _find(self, of: Named) -> Slot:
        self._looked_at()
        if is_a(of, ChildHandle):
            return self._find_same(of._slot)
        path, own = name_of(self.path, of), f"{self.path}/"
        if not is_a(of, str):
            slot = self._find_below(path)
            if not slot.is_declared_with(cast("ChildSpec[Any] | SupervisorSpec", of)):
                raise ChildNotFound(f"{slot.life.path} was declared with another spec")
            return slot
        try:
            return self._find_below(path)
        except ChildNotFound:
            if not path.startswith(own):
                raise
        return self._find_below(path[len(own) :])

    def _find_same(self, slot: Slot) -> Slot:
        """Return ``slot``, if it is of a child that is below this supervisor now."""
        if slot.life.gone:
            raise ChildNotFound(commands.stale_text(slot))
        if self._shell.slots.get(slot.life.name) is slot:
            return slot
        shell = slot.shell.parent
        while shell is not None and shell is not self._shell:
            shell = shell.parent
        if shell is None:
            raise ChildNotFound(f"{slot.life.path} is not below this supervisor, {self.path}")
        return slot

    def _find_below(self, path: str) -> Slot:
        shell = self._shell
        *above, name = path.split("/")
        slot: Slot | None = None  # of a child that is not a supervisor, but may have opened one
        for step in above:
            if slot is None:
                slot = shell.slots.get(step)
                below = None if slot is None else slot.nested
            else:
                below = (slot.opened or {}).get(step)
            if below is not None:
                shell, slot = below, None
            elif slot is None or slot.opened is None or step is above[-1]:
                raise ChildNotFound(
                    f"{shell.path} has no running supervisor {step!r} among its children"
                )
        slot = shell.slots.get(name)
        if slot is None:
            raise ChildNotFound(no_such_child(shell.path, name, shell.slots))
        return slot

    def state(self) -> SupervisorSnapshot:
        """Return the state of the tree from this supervisor on down, as it is now."""
        return self._looked_at().snapshot()

    @property
    def journal(self) -> Journal:
        """The newest events of the whole tree, and the snapshot before the oldest event."""
        return self._shell.tree.journal.view

    def count_children(self) -> ChildCounts:
        """Count the supervisor's own children; children of nested supervisors do not count."""
        machine = self._looked_at().machine
        lives = machine.children.values()
        supervisors = sum(life.spec.supervisor is not None for life in lives)
        ready = sum(life.live and life.ready and not life.stage for life in lives)
        total = len(machine.children)
        return ChildCounts(total, machine.live, ready, supervisors, total - supervisors)

    def subscribe(self, *, max_buffer: int = 1024) -> Subscription:
        """Return a subscription: a snapshot, and every event at or below this supervisor after it.

        Use it as ``async with supervisor.subscribe() as events:``.

        Args:
            max_buffer: How many events wait for a slow reader. Beyond that the oldest are lost, and
                an `EventGap` gives their number. Default: 1024.

        Raises:
            SpecError: ``max_buffer`` is not a whole number of at least 1.
        """
        shell = self._looked_at()
        return Subscription._create(
            shell.tree.journal,
            self.state,
            path=shell.path,
            is_root=shell.parent is None,
            max_buffer=max_buffer,
            readers=shell.readers,
        )

    @enable_ki_protection
    async def wait_ready(self) -> None:
        """Wait until the first start is complete: each declared child was ready, is done or down.

        Raises:
            SupervisorClosed: The supervisor ended, or began to stop, before that.

        A checkpoint. Cancelling the wait changes nothing.
        """
        shell = self._shell
        commands.check_wait(shell)
        await shell.first_start_over.wait()
        if not shell.machine.is_started:
            raise SupervisorClosed(f"{self.path} is {shell.machine.state}: {shell.machine.reason}")

    async def wait_finished(self) -> ShutdownReport:
        """Wait until the supervisor has ended.

        Returns:
            How the supervisor and each child ended.

        Raises:
            SupervisorClosed: The supervisor broke down without a report; leaving its block raises
                why.

        A checkpoint. Cancelling the wait changes nothing.
        """
        return await commands.wait_finished(self._shell)

    # ------------------------------------------------------------ commands

    @overload
    async def start_child(self, spec: ChildSpec[T], *, reason: str = "") -> ChildHandle[T]: ...
    @overload
    async def start_child(
        self, spec: SupervisorSpec, *, reason: str = ""
    ) -> ChildHandle[Supervisor]: ...
    async def start_child(
        self, spec: ChildSpec[Any] | SupervisorSpec, *, reason: str = ""
    ) -> ChildHandle[Any]:
        """Add a child and wait until it is ready.

        Use this for work that is not known when the tree is declared, such as one child per
        connection. `start_child_soon` does not wait, and treats a failed start as an ordinary
        failure.

        Args:
            spec: The child or nested supervisor. A child that is down still occupies its name.
            reason: Why the child is added; recorded in `ChildAdded` and told by ``why``.

        Returns:
            The child's handle, once the child is ready or has done its work successfully.

        Raises:
            ChildStartError: The child failed before it was ready, without ``retry_first_start``. It
                is removed; its siblings keep running.
            ChildNotReady: A command or policy took the child down before it was ready.
            CommandRefused: The name is in use, ``max_children`` is reached, or a requirement is
                being removed. Nothing has changed.
            SpecError: The spec does not fit this supervisor, for example an unknown requirement.
            SupervisorClosed: The supervisor is stopping or has ended.
            SupervisorError: Called in a thread other than Trio's.

        If cancelled, it removes the child again and waits, shielded, for its end before it raises
        `trio.Cancelled`. A child that a sibling has come to require meanwhile stays.

        Example: ``handle = await supervisor.start_child(ChildSpec("s-1", serve, stream))``
        """
        slot = await commands.start(self._shell, _as_child(spec), reason)
        return slot.handle

    def start_child_soon(self, spec: ChildSpec[Any] | SupervisorSpec, *, reason: str = "") -> None:
        """Add a child and return at once. Not a checkpoint.

        A failure of its start is an ordinary failure: policy restarts the child or gives it up.

        Args:
            spec: As for `start_child`.
            reason: As for `start_child`.

        Raises:
            CommandRefused: The name is in use, or ``max_children`` is reached. If that is known
                only after commands given before, the refusal goes to the log.
            SpecError: The spec does not fit this supervisor.
            SupervisorClosed: The supervisor is stopping or has ended.
            SupervisorError: Called in a thread other than Trio's.
        """
        child = _as_child(spec)
        self._shell.add_soon(o.AddChild(child, o.FirstStart.ORDINARY, reason))

    async def stop_child(
        self, name: Named, *, reason: str = "", grace: float | None = None
    ) -> None:
        """Stop a child, wait for its end, and keep it down until `restart_child`.

        A child that is done counts as stopped from then on, so that it keeps a supervisor with
        ``auto_shutdown="all_done"`` open; one in quarantine stays in quarantine.

        Args:
            name: The child: its name, its path below this supervisor, its spec, or its handle.
            reason: Recorded in events and reports, and written to the log.
            grace: Seconds from the stop request to the cancel, in place of the spec's ``grace``; 0
                cancels at once. It also shortens a stop that is under way. Default: the spec's.

        Raises:
            ChildNotFound: There is no such child, or the handle is of one that was removed.
            SpecError: ``name`` names nothing, or ``grace`` is no number of seconds.
            SupervisorClosed: The supervisor has ended, or ended before the child did.
            SupervisorError: Called in a thread other than Trio's.

        If cancelled while it waits, the child is stopped all the same. Called from inside of that
        child, the child gets no grace, and the call ends by its cancellation.
        """
        await commands.stop(self._find(name), reason, grace)

    async def quarantine_child(
        self, name: Named, *, reason: str = "", grace: float | None = None
    ) -> None:
        """Stop a child like `stop_child`, and mark it as one to be looked into.

        Args:
            name: As for `stop_child`.
            reason: As for `stop_child`.
            grace: As for `stop_child`.

        Raises:
            SupervisorError: As for `stop_child`; cancellation does the same as there.
        """
        await commands.quarantine(self._find(name), reason, grace)

    async def remove_child(
        self, name: Named, *, reason: str = "", grace: float | None = None
    ) -> None:
        """Stop a child and forget it. Its name is free when this returns.

        Args:
            name: As for `stop_child`.
            reason: As for `stop_child`.
            grace: As for `stop_child`.

        Raises:
            ChildNotFound: There is no such child.
            CommandRefused: Siblings require the child; the message names them.
            SupervisorClosed: The supervisor has ended, or ended before the child did.
            SupervisorError: Called in a thread other than Trio's.

        Cancellation does the same as for `stop_child`.
        """
        await commands.remove(self._find(name), reason, grace)

    async def restart_child(
        self, name: Named, *, reason: str = "", grace: float | None = None
    ) -> None:
        """Start a new attempt of a child now, whatever kept it down, and wait until it is ready.

        The child's backoff ends, and a live attempt is stopped first, with its grace. The new
        attempt waits for nothing but the siblings that the child requires. If it fails, policy
        decides as for any failure, and this goes on waiting; it also returns when the child comes
        to rest.

        Args:
            name: As for `stop_child`.
            reason: As for `stop_child`.
            grace: As for `stop_child`.

        Raises:
            ChildNotFound: There is no such child.
            CommandRefused: The child is being removed.
            SupervisorClosed: The supervisor is stopping or has ended.
            SupervisorError: Called in a thread other than Trio's.

        If cancelled while it waits, the child is restarted all the same.
        """
        await commands.restart(self._find(name), reason, grace)

    def request_shutdown(self, reason: str = "", *, grace: bool = True) -> None:
        """Begin to stop all children in order, and return at once. Not a checkpoint.

        Does nothing if the supervisor has ended. On a nested supervisor this is `stop_child` of it
        in the supervisor above: the child stays down until it is restarted.

        Args:
            reason: Recorded in events and reports, and written to the log.
            grace: If false, each child is cancelled at its turn without grace; this also shortens a
                stop that is under way.

        Raises:
            SupervisorError: Called in a thread other than Trio's.
        """
        commands.request_shutdown(self._shell, reason, grace=grace)

    async def shutdown(self, reason: str = "") -> ShutdownReport:
        """Stop all children in order, and wait until the supervisor has ended.

        A second call waits for the same end.

        Args:
            reason: As for `request_shutdown`.

        Returns:
            How the supervisor and each child ended.

        Raises:
            SupervisorClosed: The supervisor broke down without a report; leaving its block raises
                why.
            SupervisorError: Called in a thread other than Trio's.

        If cancelled while it waits, the supervisor stops all the same. Called from inside of a
        child, that child gets no grace, and the call ends by its cancellation.
        """
        return await commands.shut_down(self._shell, reason)


def _as_child(spec: Any) -> ChildSpec[Any]:
    if is_a(spec, SupervisorSpec):
        return spec.as_child()
    if not is_a(spec, ChildSpec):
        refuse("start_child", "spec", spec, "a ChildSpec or SupervisorSpec")
    return spec


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
