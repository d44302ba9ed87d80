"""ChildHandle: one child of a supervisor, over all its attempts."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Generic, TypeVar, cast, final

import trio

from trio_supervisor._errors import (
    ChildNotFound,
    ChildNotReady,
    SupervisorClosed,
    SupervisorError,
)
from trio_supervisor._events.exits import ChildRunReport
from trio_supervisor._events.snapshot import ChildState
from trio_supervisor._lazy import public
from trio_supervisor._runtime import commands
from trio_supervisor._specs.checks import check_count, refuse
from trio_supervisor._specs.supervisor import ChildSpec
from trio_supervisor._text import is_a, plain_str

if TYPE_CHECKING:
    from trio_supervisor._runtime.child_slot import Slot, View

T_co = TypeVar("T_co", covariant=True)


@public
@final
class ChildHandle(Generic[T_co]):
    """One child of a running supervisor, from its addition until its removal.

    Use a handle to follow a child over restarts: its state, its ready value, its reports, and the
    commands that concern it alone. `Supervisor.start_child` and `Supervisor.child` return handles;
    there is one per child. After a removal, a new child of the same name has another handle, and
    the old one goes on saying how its own child ended.

    ``T_co`` is the type of the child's ready value.
    """

    __slots__ = ("__weakref__", "_slot")
    if TYPE_CHECKING:
        _slot: Slot

    def __init__(self) -> None:
        raise TypeError(
            "a ChildHandle cannot be made; start_child() and child() of a Supervisor give it"
        )

    @classmethod
    def _create(cls, slot: Slot) -> ChildHandle[T_co]:
        self = cls.__new__(cls)
        self._slot = slot
        return self

    def __repr__(self) -> str:
        return f"<ChildHandle {self.path} {self.state} attempt={self.attempt}>"

    @property
    def name(self) -> str:
        """The name of the child, unique among its siblings."""
        return self._slot.life.name

    @property
    def path(self) -> str:
        """The path of the child in its tree, such as ``"app/sessions/s-1"``."""
        return self._slot.life.path

    @property
    def spec(self) -> ChildSpec[T_co]:
        """The spec that the child was declared with."""
        return cast("ChildSpec[T_co]", self._slot.life.spec)

    @property
    def state(self) -> ChildState:
        """The state of the child now."""
        return self._slot.life.state

    @property
    def unresponsive(self) -> bool:
        """Whether the attempt is still alive ``report_after`` seconds after its cancel."""
        return self._slot.life.is_unresponsive

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """The names of the siblings that a waiting child waits for; empty in other states.

        Of the members of a group that have to stop before any of it starts, at most 8 are named.
        """
        slot = self._slot
        if slot.life.state is not ChildState.WAITING or not slot.shell.machine.accepts:
            return ()
        return slot.shell.machine.ordering.waits_for(slot.life)

    @property
    def attempt(self) -> int:
        """The number of the newest attempt; 0 before the first."""
        return self._slot.life.attempt

    @property
    def generation(self) -> int:
        """The number of restarts by command."""
        return self._slot.life.generation

    @property
    def restarts(self) -> int:
        """The number of restarts by policy because of the child's own failures."""
        return self._slot.life.restarts

    @property
    def value(self) -> T_co:
        """The ready value of the live attempt.

        Raises:
            ChildNotReady: The child is not ready now.
        """
        found, value = self._looked_at().ready_value
        if not found:
            raise ChildNotReady(f"{self.path} is {self.state}: it has no value now")
        return cast("T_co", value)

    @property
    def last_heartbeat(self) -> float | None:
        """The time of the live attempt's latest heartbeat, in seconds on Trio's clock.

        `None` if there is no live attempt, or it has sent none.
        """
        attempt = self._slot.attempt
        return None if attempt is None else attempt.beat_at

    @property
    def last_report(self) -> ChildRunReport | None:
        """The report of the newest finished attempt; `None` before the first exit.

        It holds the live exception, and with that the local variables of the failed attempt.
        """
        return self._looked_at().last_report

    @property
    def reports(self) -> tuple[ChildRunReport, ...]:
        """The last 8 reports, oldest first. Only the newest holds a live exception."""
        return self._looked_at().reports

    def _looked_at(self) -> Slot:
        """Return the slot, if this thread may read what consists of several things now."""
        slot = self._slot
        shell = slot.shell
        if not shell.is_over and get_ident() != shell.tree.thread:
            shell.tree.check_thread(slot.life.path, "reports and values can be read")
        return slot

    async def wait_ready(self, *, after: int = 0) -> T_co:
        """Wait until the child is ready, over restarts if need be.

        Args:
            after: Wait for an attempt with a higher number than this. ``handle.attempt`` skips the
                attempt that is live now, which may have crashed without anyone having seen it yet.
                Default: 0, any attempt.

        Returns:
            The ready value.

        Raises:
            ChildNotReady: The child is at rest (done, stopped, quarantined or removed), so it will
                not become ready without a command.
            SpecError: ``after`` is not a whole number of at least 0.
            SupervisorClosed: The supervisor is stopping or has ended.

        A checkpoint. Cancelling the wait changes nothing about the child.
        """
        slot = self._slot
        after = check_count(self.path, "after", after)

        def is_over(view: View) -> bool:
            return view.closed or (view.is_at_rest and view.state is not ChildState.READY)

        while True:
            view = await slot.wait(
                lambda view: (
                    is_over(view) or (view.state is ChildState.READY and view.attempt > after)
                )
            )
            found, value = slot.ready_value
            if found and slot.life.attempt > after:
                return cast("T_co", value)
            await trio.lowlevel.checkpoint_if_cancelled()  # that would be why
            if slot.shell.is_stopping or (view.closed and not slot.life.gone):
                raise SupervisorClosed(f"{self.path} is {view.state}: its supervisor has ended")
            if view.is_at_rest:
                why = slot.life.last_exit
                raise ChildNotReady(f"{self.path} is {view.state}{f' after: {why}' if why else ''}")
            await trio.lowlevel.checkpoint()

    async def wait_exit(self, *, after: int | None = None) -> ChildRunReport:
        """Wait until an attempt of the child has ended, whatever follows from that.

        `wait_finished` waits for the end of the last attempt; this waits for the next one. To see
        each exit, give the number of the last one::

            report = await handle.wait_exit()
            while True:
                report = await handle.wait_exit(after=report.attempt)

        Args:
            after: Wait for an attempt with a higher number than this. If one has ended already, its
                report is returned at once (the oldest of the last 8). Default: the newest attempt
                that has ended, so that this waits for the next exit.

        Returns:
            The report of that attempt.

        Raises:
            ChildNotReady: The child is at rest, and no such attempt has ended.
            SpecError: ``after`` is not a whole number of at least 0.
            SupervisorClosed: The supervisor has ended, and no such attempt has.

        A checkpoint. Cancelling the wait changes nothing about the child.
        """
        slot = self._slot
        if after is None:
            after = 0 if slot.ended is None else slot.ended.number
        last = check_count(self.path, "after", after)
        found: list[ChildRunReport] = []

        def has_ended(view: View) -> bool:
            if not found and slot.ended is not None and slot.ended.number > last:
                found.extend(report for report in slot.reports if report.attempt > last)
            return bool(found) or view.is_at_rest or view.closed

        view = await slot.wait(has_ended)
        if found:
            return found[0]
        if view.is_at_rest and not slot.shell.is_over:
            raise ChildNotReady(f"{self.path} is {view.state}: no attempt after {last} will end")
        raise SupervisorClosed(f"{self.path} is {view.state}: its supervisor has ended")

    async def wait_state(self, *states: ChildState | str) -> ChildState:
        """Wait until the child is in one of ``states``.

        A state that the child leaves within the same moment can be missed.

        Returns:
            The state that ended the wait.

        Raises:
            SpecError: One of ``states`` does not exist, or none is given.
            ChildNotFound: The child was removed first.
            SupervisorClosed: The supervisor ended first.

        A checkpoint. Cancelling the wait changes nothing about the child.
        """
        wanted = _check_states(states)
        view = await self._slot.wait(lambda view: view.closed or view.state in wanted)
        if view.state not in wanted:
            if view.state is ChildState.REMOVED and not self._slot.shell.is_stopping:
                raise ChildNotFound(f"{self.path} was removed")
            raise SupervisorClosed(f"{self.path} is {view.state}: its supervisor has ended")
        return view.state

    async def wait_finished(self) -> ChildRunReport:
        """Wait until the child is at rest: done, stopped, quarantined or removed.

        Returns:
            The report of its last attempt.

        Raises:
            SupervisorError: The child came to rest without ever having run.
            SupervisorClosed: The supervisor broke down; leaving its block raises why.

        A checkpoint. Cancelling the wait changes nothing about the child.
        """
        view = await self._slot.wait(lambda view: view.is_at_rest or view.closed)
        report = self._slot.last_report
        if not view.is_at_rest:
            raise SupervisorClosed(f"{self.path} is {view.state}: its supervisor broke down")
        if report is None:
            raise SupervisorError(f"{self.path} is {self.state} and has never finished an attempt")
        return report

    async def stop(self, reason: str = "", *, grace: float | None = None) -> None:
        """Stop the child and keep it down until `restart`. See `Supervisor.stop_child`."""
        await commands.stop(self._slot, reason, grace)

    async def restart(self, reason: str = "", *, grace: float | None = None) -> None:
        """Start a new attempt now. See `Supervisor.restart_child`."""
        await commands.restart(self._slot, reason, grace)

    async def quarantine(self, reason: str = "", *, grace: float | None = None) -> None:
        """Stop the child and mark it for inspection. See `Supervisor.quarantine_child`."""
        await commands.quarantine(self._slot, reason, grace)

    async def remove(self, reason: str = "", *, grace: float | None = None) -> None:
        """Stop the child and forget it. See `Supervisor.remove_child`."""
        await commands.remove(self._slot, reason, grace)


def _check_states(states: tuple[ChildState | str, ...]) -> frozenset[ChildState]:
    known = ", ".join(repr(state.value) for state in ChildState)
    if not states:
        refuse("wait_state", "states", states, f"at least one of {known}")
    found = set()
    for state in states:
        try:
            found.add(ChildState(plain_str(state) if is_a(state, str) else ""))
        except ValueError:
            refuse("wait_state", "states", state, f"one of {known}")
    return frozenset(found)
