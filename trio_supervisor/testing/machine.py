"""A Hypothesis state machine over a supervision tree: subclass it, name the tree, and test.

Importing this imports Hypothesis.
"""

# Mypy needs the comment at the test case's base class, and pyright does not.
# pyright: reportUnnecessaryTypeIgnoreComment=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, final

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trio_supervisor._lazy import public
from trio_supervisor._runtime.supervisor import Supervisor
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec
from trio_supervisor.testing._drive import commands as command
from trio_supervisor.testing._drive.commands import LifecycleCommand
from trio_supervisor.testing._drive.hunt import (
    SECONDS,
    Engine,
    Plan,
    Reopen,
    as_machine_test,
    raise_shortest,
)
from trio_supervisor.testing._drive.pilot import MOST_STEPS, Pilot
from trio_supervisor.testing._script.bodies import walk
from trio_supervisor.testing.strategies import schedules

__all__ = ["LifecycleMachine"]

_INVARIANT = "hypothesis_stateful_invariant"


def _all_paths(machine: LifecycleMachine) -> list[str]:
    """Return every path that there may ever be: a draw means the same whatever came before."""
    declared = [path for path, _ in walk(machine.spec)]
    return [*declared, *(spec.name for spec in machine.adds)] or ["none"]


def _commands(machine: LifecycleMachine) -> st.SearchStrategy[list[LifecycleCommand]]:
    path = st.sampled_from(_all_paths(machine))
    kinds: tuple[Any, ...] = (
        command.Crash,
        command.Stop,
        command.RestartByHand,
        command.QuarantineChild,
        command.Remove,
    )
    return st.lists(st.one_of(*(st.builds(kind, path) for kind in kinds)), min_size=2, max_size=3)


_PATH = st.runner().flatmap(lambda machine: st.sampled_from(_all_paths(machine)))
_COMMANDS = st.runner().flatmap(_commands)
_SPEC = st.runner().flatmap(lambda machine: st.sampled_from((None, *machine.adds)))
_SCHEDULE = schedules(deviations=3, within=40)
_ENDINGS = ("interrupt", "shutdown", "no_grace", "cancel")
_RARELY = st.integers(0, 3).map(lambda number: number == 3)


class _TestCase:
    """The test case of a machine: first the machine's own steps, then Hypothesis with all rules."""

    def __get__(self, instance: object, machine: Any) -> Any:
        given: Any = vars(RuleBasedStateMachine)["TestCase"]
        base: Any = given.__get__(None, machine)

        class LifecycleTestCase(base):  # type: ignore[misc]
            def runTest(self) -> None:  # noqa: N802  # as unittest calls it
                machine.hunt(examples=self.settings.max_examples)
                super().runTest()

            runTest.is_hypothesis_test = True  # type: ignore[attr-defined]

        LifecycleTestCase.__name__ = base.__name__
        LifecycleTestCase.__qualname__ = base.__qualname__
        return LifecycleTestCase


@public
class LifecycleMachine(RuleBasedStateMachine):
    """Crashes, stops, restarts, quarantines, removes and adds children of your tree, at any moment.

    It lets virtual time pass, often just to the next deadline of any task, tries schedules and
    drift, and now and then shuts the tree down, cancels it from outside, or lets a child raise an
    exception that ends the program. After each step every promise of `check_trace` is checked, and
    that the events give the state. A tree that has ended is opened again.

    ``TestCase`` runs a loop of its own first (see `hunt`), which finds and shortens fast, and then
    Hypothesis, with rules of yours as well. Every rule does nothing where it does not apply.

    Bodies run as they are, so give it a tree without threads and sockets: see `with_bodies`. If the
    bodies share a world, such as a database, make both in ``__init__`` and set ``self.spec``: each
    example makes a new machine.

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
        adds: Children that may be added to the root.
        seconds: How much time may pass in one step.
        drift: Whether half of the examples drift; see `simulate`.
        max_steps: See `Pilot`.
    """

    spec: SupervisorSpec
    adds: ClassVar[tuple[ChildSpec[Any], ...]] = ()
    seconds: ClassVar[tuple[float, ...]] = SECONDS
    drift: ClassVar[bool] = True
    max_steps: ClassVar[int] = MOST_STEPS

    TestCase: Any = _TestCase()

    def __init__(self) -> None:
        super().__init__()
        self.pilot: Pilot | None = None
        self._plan = Plan()

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

    @initialize(schedule=_SCHEDULE, drift=st.lists(st.integers(0, 8), max_size=6))
    def open(self, schedule: Sequence[int], drift: Sequence[int] | bool = ()) -> None:
        """Open the tree."""
        self.pilot = Pilot(
            self.spec,
            schedule=schedule,
            seed=self._plan.seed,
            drift=drift if drift and type(self).drift else False,
            max_steps=self.max_steps,
        )

    @rule()
    def open_again(self) -> None:
        """Open the tree again if it has ended."""
        if not self.is_open:
            self._pilot.close()
            self.open(())

    @rule(seconds=st.runner().flatmap(lambda machine: st.sampled_from(machine.seconds)))
    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._pilot.advance(seconds)

    @rule()
    def tick(self) -> None:
        """Let time pass to the next deadline of any task."""
        self._pilot.tick()

    @rule()
    def tick_too(self) -> None:
        """Let time pass to the next deadline of any task: Hypothesis chooses evenly among rules."""
        self._pilot.tick()

    @rule(path=_PATH)
    def crash(self, path: str) -> None:
        """Make a child crash."""
        self._apply(command.Crash(path))

    @rule(path=_PATH)
    def crash_too(self, path: str) -> None:
        """Make a child crash; likewise."""
        self._apply(command.Crash(path))

    @rule(path=_PATH)
    def cancel_itself(self, path: str) -> None:
        """Make a child cancel its own nursery."""
        self._apply(command.CancelItself(path))

    @rule(path=_PATH)
    def stop(self, path: str) -> None:
        """Stop a child by command."""
        self._apply(command.Stop(path))

    @rule(path=_PATH)
    def restart(self, path: str) -> None:
        """Restart a child by command."""
        self._apply(command.RestartByHand(path))

    @rule(path=_PATH, quarantine=st.booleans())
    def take_down(self, path: str, quarantine: bool) -> None:
        """Quarantine or remove a child by command."""
        self._apply(command.QuarantineChild(path) if quarantine else command.Remove(path))

    @rule(
        path=_PATH,
        how=st.sampled_from(("interrupt", "shutdown", "no_grace", "cancel")),
        now=_RARELY,
    )
    def end(self, path: str, how: str, now: bool) -> None:
        """End the whole tree, now and then: by a child's exception, a command, or a cancel."""
        if now:
            endings: dict[str, LifecycleCommand] = {
                "interrupt": command.Interrupt(path),
                "shutdown": command.ShutDownTree(),
                "no_grace": command.ShutDownTree(grace=False),
                "cancel": command.CancelTree(),
            }
            self._apply(endings[how])

    @rule(spec=_SPEC)
    def add(self, spec: ChildSpec[Any] | None) -> None:
        """Add a child by command."""
        if spec is not None:
            self._apply(command.Add(spec))

    @rule(commands=_COMMANDS)
    def at_once(self, commands: list[LifecycleCommand]) -> None:
        """Let several things happen in the same instant."""
        self._apply(command.AtOnce(tuple(commands)))

    @rule(schedule=_SCHEDULE)
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

    def _apply(self, step: LifecycleCommand) -> None:
        if self.is_open:
            self._pilot.apply(step)

    @property
    def _pilot(self) -> Pilot:
        assert self.pilot is not None
        return self.pilot

    # ------------------------------------------------------------ the loop of its own

    @classmethod
    def hunt(cls, *, examples: int = 100, seed: int = 0) -> int:
        """Run the machine's own steps in a plain loop; raise the shortest counterexample found.

        Rules of a subclass are not drawn here, its invariants are checked.

        Args:
            examples: How many examples to try. Default: 100.
            seed: The seed of the first example.

        Returns:
            How many examples were tried.

        Raises:
            Exception: What the shortest example found fails with; its notes hold the steps.
        """
        engine = Engine(
            lambda: _MachineSubject(cls),
            adds=cls.adds,
            seconds=cls.seconds,
            drift=cls.drift,
            reopens=True,
        )
        found = engine.find(examples, seed)
        if found is not None:
            raise_shortest(engine, found, lambda plan: as_machine_test(plan, cls.__name__))
        return engine.examples

    @classmethod
    def replay(cls, *steps: LifecycleCommand, **options: Any) -> None:
        """Open the tree, take these steps, and check every invariant after each.

        Args:
            *steps: As a counterexample shows them; see also `Tick`.
            **options: ``schedule``, ``drift`` and ``seed``, likewise.

        Raises:
            Exception: What fails.
        """
        subject = _MachineSubject(cls)
        try:
            subject.open(attrs.evolve(Plan(), **options), drift=False)
            subject.check()
            for step in steps:
                subject.apply(step)
                subject.check()
        finally:
            subject.close()


@final
class _MachineSubject:
    """A machine without Hypothesis, as the subject of the engine."""

    def __init__(self, cls: type[LifecycleMachine]) -> None:
        self._machine = cls()
        self._invariants: list[tuple[Callable[..., object], Sequence[Callable[..., bool]]]] = []
        for name in dir(cls):
            found = getattr(getattr(cls, name, None), _INVARIANT, None)
            if found is not None:
                self._invariants.append((found.function, found.preconditions))

    def open(self, plan: Plan, *, drift: bool) -> None:
        self._machine._plan = plan
        self._machine.open(plan.schedule, drift or plan.drift)

    def apply(self, step: LifecycleCommand) -> None:
        machine = self._machine
        if isinstance(step, Reopen):
            machine.open_again()
        elif step.passes_time:
            machine._pilot.apply(step)
        else:
            machine._apply(step)

    def check(self) -> None:
        for function, preconditions in self._invariants:
            if all(holds(self._machine) for holds in preconditions):
                function(self._machine)

    def close(self) -> None:
        self._machine.teardown()

    def drawn(self) -> Plan:
        pilot = self._machine.pilot
        plan = self._machine._plan
        return plan if pilot is None else attrs.evolve(plan, drift=pilot.drift)

    @property
    def is_open(self) -> bool:
        return self._machine.is_open

    def paths(self) -> Sequence[str]:
        return self._machine.paths()
