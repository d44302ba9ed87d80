"""ChildHandle: one child of a supervisor, over all its attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast, final

import trio

from trio_supervisor._brain import messages as o
from trio_supervisor._errors import (
    ChildNotFound,
    ChildNotReady,
    SupervisorClosed,
    SupervisorError,
)
from trio_supervisor._events.exits import ChildRunReport
from trio_supervisor._events.snapshot import ChildState
from trio_supervisor._lazy import public
from trio_supervisor._runtime.commands import await_effect, give, is_down
from trio_supervisor._specs.checks import refuse
from trio_supervisor._specs.supervisor import ChildSpec

if TYPE_CHECKING:
    from trio_supervisor._runtime.child_slot import Slot, View

T_co = TypeVar("T_co", covariant=True)


@public
@final
class ChildHandle(Generic[T_co]):
    """One child, from when it was added until it is removed, over all its attempts.

    There is one handle per child's life: after a removal, a child of the same name is another one.
    None can be made by hand; `Supervisor.start_child` and `Supervisor.child` give them.
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
        """Its name among its siblings."""
        return self._slot.life.name

    @property
    def path(self) -> str:
        """Where it stands in the tree: ``"app/sessions/s-1"``."""
        return self._slot.life.path

    @property
    def spec(self) -> ChildSpec[T_co]:
        """What was declared."""
        return cast("ChildSpec[T_co]", self._slot.life.spec)

    @property
    def state(self) -> ChildState:
        """Where it is now."""
        return self._slot.life.state

    @property
    def unresponsive(self) -> bool:
        """Whether its attempt was cancelled and is still there, ``report_after`` seconds later."""
        return self._slot.life.is_unresponsive

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """The names of those that keep a waiting child from starting."""
        slot = self._slot
        if slot.life.state is not ChildState.WAITING or not slot.shell.machine.accepts:
            return ()
        return slot.shell.machine.ordering.waits_for(slot.life)

    @property
    def attempt(self) -> int:
        """The number of its newest attempt; 0 before the first."""
        return self._slot.life.attempt

    @property
    def generation(self) -> int:
        """How often it has been restarted by hand."""
        return self._slot.life.generation

    @property
    def restarts(self) -> int:
        """How often policy has restarted it because of a failure of its own."""
        return self._slot.life.restarts

    @property
    def value(self) -> T_co:
        """The ready value of its present attempt.

        Raises:
            ChildNotReady: It has no ready attempt now.
        """
        found, value = self._slot.ready_value
        if not found:
            raise ChildNotReady(f"{self.path} is {self.state}: it has no value now")
        return cast("T_co", value)

    @property
    def last_heartbeat(self) -> float | None:
        """When its present attempt last gave a sign of life, in seconds on Trio's clock."""
        attempt = self._slot.attempt
        return None if attempt is None else attempt.beat_at

    @property
    def last_report(self) -> ChildRunReport | None:
        """How its newest finished attempt ended, with the live exception; `None` before that."""
        return self._slot.last_report

    @property
    def reports(self) -> tuple[ChildRunReport, ...]:
        """The last 8 reports, oldest first. Only the newest holds a live exception."""
        return self._slot.reports

    async def wait_ready(self) -> T_co:
        """Wait until it is ready, over restarts if need be; returns its ready value.

        Cancelling the wait changes nothing about the child.

        Raises:
            ChildNotReady: It is held down, done, removed or given up, and will not become ready.
            SupervisorClosed: Its supervisor has ended.
        """
        slot = self._slot
        while True:
            view = await slot.wait(
                lambda view: view.closed or view.is_at_rest or view.state is ChildState.READY
            )
            found, value = slot.ready_value
            if found:
                return cast("T_co", value)
            await trio.lowlevel.checkpoint_if_cancelled()  # that would be why
            if slot.shell.is_stopping or (view.closed and not slot.life.gone):
                raise SupervisorClosed(f"{self.path} is {view.state}: its supervisor has ended")
            if view.is_at_rest:
                why = slot.life.last_exit
                raise ChildNotReady(f"{self.path} is {view.state}{f' after: {why}' if why else ''}")
            await trio.lowlevel.checkpoint()

    async def wait_state(self, *states: ChildState | str) -> ChildState:
        """Wait until it is in one of ``states``; returns which.

        States that pass in no time can be missed.

        Raises:
            SpecError: A state that does not exist, or none given.
            ChildNotFound: It was removed first.
            SupervisorClosed: Its supervisor ended first.
        """
        wanted = _check_states(states)
        view = await self._slot.wait(lambda view: view.closed or view.state in wanted)
        if view.state not in wanted:
            if view.state is ChildState.REMOVED and not self._slot.shell.is_stopping:
                raise ChildNotFound(f"{self.path} was removed")
            raise SupervisorClosed(f"{self.path} is {view.state}: its supervisor has ended")
        return view.state

    async def wait_finished(self) -> ChildRunReport:
        """Wait until it is done, stopped, quarantined or removed; returns its last report.

        Raises:
            SupervisorError: It came to rest without ever having run.
            SupervisorClosed: Its supervisor broke down; leaving the block says why.
        """
        view = await self._slot.wait(lambda view: view.is_at_rest or view.closed)
        report = self._slot.last_report
        if not view.is_at_rest:
            raise SupervisorClosed(f"{self.path} is {view.state}: its supervisor broke down")
        if report is None:
            raise SupervisorError(f"{self.path} is {self.state} and has never finished an attempt")
        return report

    async def stop(self, reason: str = "") -> None:
        """Hold it down until `restart`; see `Supervisor.stop_child`."""
        await give(self._slot.shell, self._slot, o.StopChild(self.name, reason), is_down)

    async def restart(self, reason: str = "") -> None:
        """A new attempt, now; see `Supervisor.restart_child`."""
        await restart(self._slot, reason)


async def restart(slot: Slot, reason: str) -> None:
    """Give the command, and wait for the new attempt to be ready or the child to be at rest."""
    shell = slot.shell
    reply = await give(shell, slot, o.RestartChild(slot.life.name, reason), None)
    wanted = slot.life.generation

    def is_ready(view: View) -> bool:
        return view.generation >= wanted and view.live and view.state is ChildState.READY

    view = await await_effect(reply, lambda view: is_ready(view) or view.is_at_rest)
    if shell.is_stopping and not is_ready(view):
        raise SupervisorClosed(f"{slot!r} was stopped with its supervisor before it was ready")


def _check_states(states: tuple[ChildState | str, ...]) -> frozenset[ChildState]:
    known = ", ".join(repr(state.value) for state in ChildState)
    if not states:
        refuse("wait_state", "states", states, f"at least one of {known}")
    found = set()
    for state in states:
        try:
            found.add(ChildState(state))
        except ValueError:
            refuse("wait_state", "states", state, f"one of {known}")
    return frozenset(found)
