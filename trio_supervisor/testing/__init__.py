"""Testing supervision trees: yours, with the tools that this library itself is tested with.

Runs are deterministic: virtual time, and a schedule that can be drawn, replayed and shrunk. See
``docs/testing.md`` for a way from "my service" to a found race.

Names are imported when they are first used: Hypothesis only for `LifecycleMachine` and the
strategies, pytest only by its plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_supervisor.testing._behaviour import Behaviour as Behaviour
    from trio_supervisor.testing._behaviour import ByAttempt as ByAttempt
    from trio_supervisor.testing._behaviour import SimulatedCrash as SimulatedCrash
    from trio_supervisor.testing._behaviour import SimulatedInterrupt as SimulatedInterrupt
    from trio_supervisor.testing._behaviour import by_attempt as by_attempt
    from trio_supervisor.testing._bodies import with_bodies as with_bodies
    from trio_supervisor.testing._code import as_code as as_code
    from trio_supervisor.testing._commands import Add as Add
    from trio_supervisor.testing._commands import Advance as Advance
    from trio_supervisor.testing._commands import AtOnce as AtOnce
    from trio_supervisor.testing._commands import CancelItself as CancelItself
    from trio_supervisor.testing._commands import CancelTree as CancelTree
    from trio_supervisor.testing._commands import Crash as Crash
    from trio_supervisor.testing._commands import Fail as Fail
    from trio_supervisor.testing._commands import Interrupt as Interrupt
    from trio_supervisor.testing._commands import LifecycleCommand as LifecycleCommand
    from trio_supervisor.testing._commands import Quarantine as Quarantine
    from trio_supervisor.testing._commands import Remove as Remove
    from trio_supervisor.testing._commands import RestartByHand as RestartByHand
    from trio_supervisor.testing._commands import ShutDown as ShutDown
    from trio_supervisor.testing._commands import Stop as Stop
    from trio_supervisor.testing._decides import Decides as Decides
    from trio_supervisor.testing._decides import decides as decides
    from trio_supervisor.testing._errors import InvariantViolated as InvariantViolated
    from trio_supervisor.testing._errors import LiveLock as LiveLock
    from trio_supervisor.testing._errors import Stuck as Stuck
    from trio_supervisor.testing._errors import TaskLeftBehind as TaskLeftBehind
    from trio_supervisor.testing._errors import TrioMoved as TrioMoved
    from trio_supervisor.testing._explore import Exploration as Exploration
    from trio_supervisor.testing._explore import explore as explore
    from trio_supervisor.testing._faults import FaultPoint as FaultPoint
    from trio_supervisor.testing._faults import FaultRuns as FaultRuns
    from trio_supervisor.testing._faults import crash_everywhere as crash_everywhere
    from trio_supervisor.testing._lone import ChildProbe as ChildProbe
    from trio_supervisor.testing._lone import open_child_context as open_child_context
    from trio_supervisor.testing._oracle import INVARIANTS as INVARIANTS
    from trio_supervisor.testing._oracle import Violation as Violation
    from trio_supervisor.testing._oracle import check_trace as check_trace
    from trio_supervisor.testing._oracle import find_violations as find_violations
    from trio_supervisor.testing._pilot import Pilot as Pilot
    from trio_supervisor.testing._predict import Failure as Failure
    from trio_supervisor.testing._predict import Prediction as Prediction
    from trio_supervisor.testing._predict import predict as predict
    from trio_supervisor.testing._rig import Rig as Rig
    from trio_supervisor.testing._rig import exercise as exercise
    from trio_supervisor.testing._rig import open_rig as open_rig
    from trio_supervisor.testing._schedule import shrink_schedule as shrink_schedule
    from trio_supervisor.testing._simulate import search as search
    from trio_supervisor.testing._simulate import simulate as simulate
    from trio_supervisor.testing._trace import Trace as Trace
    from trio_supervisor.testing._trace import TreeTrace as TreeTrace
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
else:  # each is imported when somebody asks for it
    from trio_supervisor.testing._facade import OFFERED as __all__  # noqa: F401, N811
    from trio_supervisor.testing._facade import __dir__, __getattr__  # noqa: F401
