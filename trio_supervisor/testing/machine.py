"""A Hypothesis state machine over a supervision tree: subclass it, name the tree, and test.

Importing this imports Hypothesis.
"""

from __future__ import annotations

from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trio_supervisor._lazy import public
from trio_supervisor._runtime.supervisor import Supervisor
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec
from trio_supervisor.testing._drive import commands as command
from trio_supervisor.testing._drive.commands import LifecycleCommand
from trio_supervisor.testing._drive.pilot import MOST_STEPS, Pilot
from trio_supervisor.testing.strategies import schedules

__all__ = ["LifecycleMachine"]


def _paths(machine: LifecycleMachine) -> st.SearchStrategy[str]:
    return st.sampled_from(machine.paths())


def _commands(machine: LifecycleMachine) -> st.SearchStrategy[list[LifecycleCommand]]:
    path = _paths(machine)
    kinds: tuple[Any, ...] = (
        command.Crash,
        command.Stop,
        command.RestartByHand,
        command.QuarantineChild,
        command.Remove,
    )
    return st.lists(st.one_of(*(st.builds(kind, path) for kind in kinds)), min_size=2, max_size=3)


_PATH = st.runner().flatmap(_paths)
_COMMANDS = st.runner().flatmap(_commands)
_SPEC = st.runner().flatmap(lambda machine: st.sampled_from(machine.adds))


def _has_children(machine: LifecycleMachine) -> bool:
    return machine.is_open and bool(machine.paths())


def _is_open(machine: LifecycleMachine) -> bool:
    return machine.is_open


def _has_ended(machine: LifecycleMachine) -> bool:
    return not machine.is_open


def _can_add(machine: LifecycleMachine) -> bool:
    return machine.is_open and bool(machine.adds)


@public
class LifecycleMachine(RuleBasedStateMachine):
    """Crashes, stops, restarts, quarantines, removes and adds children of your tree, at any moment.

    It lets virtual time pass, tries schedules, and now and then shuts the tree down, cancels it
    from outside, or lets a child raise what is to end the program. After each step every promise of
    `check_trace` is checked, and that the events give the state. Hypothesis shrinks what fails to
    the fewest steps and the simplest schedule. A tree that has ended is opened again.

    Bodies run as they are, so give it a tree without threads and sockets: see `with_bodies`.

    Example::

        class Service(LifecycleMachine):
            spec = with_bodies(APP, {"**": Behaviour(beat_every=1)})

            @invariant()
            def the_store_outlives_the_web(self) -> None:
                if self.is_open and self.state("web") == "ready":
                    assert self.state("store") in ("ready", "backing_off")

        TestService = Service.TestCase

    Attributes:
        spec: The tree.
        adds: What may be added to the root.
        seconds: How much time may pass in one step.
        max_steps: See `Pilot`.
    """

    spec: ClassVar[SupervisorSpec]
    adds: ClassVar[tuple[ChildSpec[Any], ...]] = ()
    seconds: ClassVar[tuple[float, ...]] = (1.0, 0.1, 5.0, 60.0)
    max_steps: ClassVar[int] = MOST_STEPS

    def __init__(self) -> None:
        super().__init__()
        self.pilot: Pilot | None = None

    # ------------------------------------------------------------ for invariants

    @property
    def is_open(self) -> bool:
        """True while the tree runs."""
        return self.pilot is not None and self.pilot.is_open

    @property
    def supervisor(self) -> Supervisor:
        """The running root."""
        assert self.pilot is not None
        return self.pilot.supervisor

    def state(self, path: str) -> str:
        """Return a child's state; the empty string if there is no child of that path."""
        assert self.pilot is not None
        return self.pilot.state(path) if path in self.pilot.paths() else ""

    def paths(self) -> list[str]:
        """Return the paths of all children that there are now, counted from the root."""
        return [] if self.pilot is None else self.pilot.paths()

    # ------------------------------------------------------------ rules

    @initialize(schedule=schedules())
    def open(self, schedule: list[int]) -> None:
        """Open the tree."""
        self.pilot = Pilot(self.spec, schedule=schedule, max_steps=self.max_steps)

    @precondition(_has_ended)
    @rule(schedule=schedules())
    def open_again(self, schedule: list[int]) -> None:
        """Open the tree again after it has ended."""
        self._pilot.close()
        self.open(schedule)

    @precondition(_is_open)
    @rule(seconds=st.runner().flatmap(lambda machine: st.sampled_from(machine.seconds)))
    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._pilot.advance(seconds)

    @precondition(_has_children)
    @rule(path=_PATH)
    def crash(self, path: str) -> None:
        """Make a child crash."""
        self._pilot.crash(path)

    @precondition(_has_children)
    @rule(path=_PATH)
    def cancel_itself(self, path: str) -> None:
        """Make a child cancel its own nursery."""
        self._pilot.apply(command.CancelItself(path))

    @precondition(_has_children)
    @rule(path=_PATH)
    def stop(self, path: str) -> None:
        """Stop a child by command."""
        self._pilot.stop(path)

    @precondition(_has_children)
    @rule(path=_PATH)
    def restart(self, path: str) -> None:
        """Restart a child by command."""
        self._pilot.restart(path)

    @precondition(_has_children)
    @rule(path=_PATH)
    def quarantine(self, path: str) -> None:
        """Quarantine a child by command."""
        self._pilot.quarantine(path)

    @precondition(_has_children)
    @rule(path=_PATH)
    def remove(self, path: str) -> None:
        """Remove a child by command."""
        self._pilot.remove(path)

    @precondition(_has_children)
    @rule(path=_PATH)
    def interrupt(self, path: str) -> None:
        """Make a child raise an exception that ends the program."""
        self._pilot.apply(command.Interrupt(path))

    @precondition(_is_open)
    @rule(grace=st.booleans())
    def shut_down(self, grace: bool) -> None:
        """Shut the tree down by command."""
        self._pilot.apply(command.ShutDownTree(grace))

    @precondition(_is_open)
    @rule()
    def cancel(self) -> None:
        """Cancel the tree from outside."""
        self._pilot.apply(command.CancelTree())

    @precondition(_can_add)
    @rule(spec=_SPEC)
    def add(self, spec: ChildSpec[Any]) -> None:
        """Add a child by command."""
        self._pilot.add(spec)

    @precondition(_has_children)
    @rule(commands=_COMMANDS)
    def at_once(self, commands: list[LifecycleCommand]) -> None:
        """Let several things happen in the same instant."""
        self._pilot.apply(command.AtOnce(tuple(commands)))

    @precondition(_is_open)
    @rule(schedule=schedules())
    def reschedule(self, schedule: list[int]) -> None:
        """Let tasks run in another order from now on."""
        self._pilot.set_schedule(schedule)

    @invariant()
    def promises_hold(self) -> None:
        """Check every promise so far."""
        if self.pilot is not None:
            self.pilot.check()

    def teardown(self) -> None:
        """Close the tree, and check every promise once more."""
        if self.pilot is not None:
            self.pilot.close()

    @property
    def _pilot(self) -> Pilot:
        assert self.pilot is not None
        return self.pilot
