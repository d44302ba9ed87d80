"""Test your supervision trees with the tools that this library itself is tested with.

Runs are deterministic: virtual time, and a schedule that can be drawn, replayed and shrunk.
``docs/testing.md`` leads from "my service" to a race that was found. The rooms, each of which
imports only from rooms above it:

    _errors      what the kit raises
    _sim/        Trio under control: schedules, tasks, and the private names of Trio
    _script/     bodies, decisions and failures from a script; specs as code
    _oracle/     watches trees, and checks the promises against the events
    _run/        runs a scenario once, often, in every order, with a fault at every checkpoint
    _drive/      drives a tree by commands: `Rig`, `Pilot`, `hunt`, `ChildProbe`
    _incident/   replays recorded incidents, also under another declaration
    strategies, machine, pytest_plugin

Names are imported when they are first used: Hypothesis only for `LifecycleMachine` and the
strategies, pytest only by its plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_supervisor.testing._drive.behaviour import Behaviour as Behaviour
    from trio_supervisor.testing._drive.behaviour import ByAttempt as ByAttempt
    from trio_supervisor.testing._drive.behaviour import InTurn as InTurn
    from trio_supervisor.testing._drive.behaviour import by_attempt as by_attempt
    from trio_supervisor.testing._drive.behaviour import in_turn as in_turn
    from trio_supervisor.testing._drive.child_probe import ChildProbe as ChildProbe
    from trio_supervisor.testing._drive.child_probe import open_child_context as open_child_context
    from trio_supervisor.testing._drive.commands import Add as Add
    from trio_supervisor.testing._drive.commands import Advance as Advance
    from trio_supervisor.testing._drive.commands import AtOnce as AtOnce
    from trio_supervisor.testing._drive.commands import CancelItself as CancelItself
    from trio_supervisor.testing._drive.commands import CancelTree as CancelTree
    from trio_supervisor.testing._drive.commands import Crash as Crash
    from trio_supervisor.testing._drive.commands import Fail as Fail
    from trio_supervisor.testing._drive.commands import Interrupt as Interrupt
    from trio_supervisor.testing._drive.commands import LifecycleCommand as LifecycleCommand
    from trio_supervisor.testing._drive.commands import QuarantineChild as QuarantineChild
    from trio_supervisor.testing._drive.commands import Remove as Remove
    from trio_supervisor.testing._drive.commands import RestartByHand as RestartByHand
    from trio_supervisor.testing._drive.commands import ShutDownTree as ShutDownTree
    from trio_supervisor.testing._drive.commands import Stop as Stop
    from trio_supervisor.testing._drive.commands import Tick as Tick
    from trio_supervisor.testing._drive.hunt import Hunt as Hunt
    from trio_supervisor.testing._drive.hunt import Reopen as Reopen
    from trio_supervisor.testing._drive.hunt import hunt as hunt
    from trio_supervisor.testing._drive.pilot import Pilot as Pilot
    from trio_supervisor.testing._drive.resources import ResourceLeak as ResourceLeak
    from trio_supervisor.testing._drive.resources import Resources as Resources
    from trio_supervisor.testing._drive.resources import resources as resources
    from trio_supervisor.testing._drive.rig import Rig as Rig
    from trio_supervisor.testing._drive.rig import exercise as exercise
    from trio_supervisor.testing._drive.rig import open_rig as open_rig
    from trio_supervisor.testing._errors import LiveLock as LiveLock
    from trio_supervisor.testing._errors import NeverAwaited as NeverAwaited
    from trio_supervisor.testing._errors import Stuck as Stuck
    from trio_supervisor.testing._errors import TaskLeftBehind as TaskLeftBehind
    from trio_supervisor.testing._errors import TrioMoved as TrioMoved
    from trio_supervisor.testing._errors import UnprovokedFailure as UnprovokedFailure
    from trio_supervisor.testing._incident.replay import Replay as Replay
    from trio_supervisor.testing._incident.replay import as_test as as_test
    from trio_supervisor.testing._incident.replay import replay_journal as replay_journal
    from trio_supervisor.testing._incident.what_if import Figures as Figures
    from trio_supervisor.testing._incident.what_if import WhatIf as WhatIf
    from trio_supervisor.testing._incident.what_if import change_spec as change_spec
    from trio_supervisor.testing._incident.what_if import what_if as what_if
    from trio_supervisor.testing._oracle.notes import note as note
    from trio_supervisor.testing._oracle.oracle import check_trace as check_trace
    from trio_supervisor.testing._oracle.oracle import find_violations as find_violations
    from trio_supervisor.testing._oracle.predict import Failure as Failure
    from trio_supervisor.testing._oracle.predict import Prediction as Prediction
    from trio_supervisor.testing._oracle.predict import predict as predict
    from trio_supervisor.testing._oracle.violation import INVARIANTS as INVARIANTS
    from trio_supervisor.testing._oracle.violation import InvariantViolated as InvariantViolated
    from trio_supervisor.testing._oracle.violation import Violation as Violation
    from trio_supervisor.testing._oracle.watch import Note as Note
    from trio_supervisor.testing._run.explore import Exploration as Exploration
    from trio_supervisor.testing._run.explore import explore as explore
    from trio_supervisor.testing._run.faults import FaultPoint as FaultPoint
    from trio_supervisor.testing._run.faults import FaultRuns as FaultRuns
    from trio_supervisor.testing._run.faults import crash_everywhere as crash_everywhere
    from trio_supervisor.testing._run.injection import Fault as Fault
    from trio_supervisor.testing._run.simulate import search as search
    from trio_supervisor.testing._run.simulate import simulate as simulate
    from trio_supervisor.testing._run.trace import Trace as Trace
    from trio_supervisor.testing._run.trace import TreeTrace as TreeTrace
    from trio_supervisor.testing._script.bodies import with_bodies as with_bodies
    from trio_supervisor.testing._script.code import as_code as as_code
    from trio_supervisor.testing._script.decides import Decides as Decides
    from trio_supervisor.testing._script.decides import decides as decides
    from trio_supervisor.testing._script.failures import SimulatedCrash as SimulatedCrash
    from trio_supervisor.testing._script.failures import SimulatedInterrupt as SimulatedInterrupt
    from trio_supervisor.testing._script.recorded import with_delays as with_delays
    from trio_supervisor.testing._sim.schedule import shrink_schedule as shrink_schedule
    from trio_supervisor.testing.machine import LifecycleMachine as LifecycleMachine
    from trio_supervisor.testing.strategies import backoffs as backoffs
    from trio_supervisor.testing.strategies import child_behaviours as child_behaviours
    from trio_supervisor.testing.strategies import commands as commands
    from trio_supervisor.testing.strategies import decisions as decisions
    from trio_supervisor.testing.strategies import (
        invalid_supervisor_specs as invalid_supervisor_specs,
    )
    from trio_supervisor.testing.strategies import schedules as schedules
    from trio_supervisor.testing.strategies import supervisor_specs as supervisor_specs
else:
    from trio_supervisor._lazy import exports

    __all__, __getattr__, __dir__ = exports(__name__)
    del exports
