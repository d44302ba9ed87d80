"""The names of the public testing kit that are used here."""

from __future__ import annotations

from trio_supervisor.testing._drive.behaviour import Behaviour, by_attempt
from trio_supervisor.testing._drive.commands import (
    Add,
    Advance,
    AtOnce,
    CancelTree,
    Command,
    Crash,
    Interrupt,
    QuarantineChild,
    Remove,
    RestartByHand,
    ShutDownTree,
    Stop,
)
from trio_supervisor.testing._drive.rig import Rig, open_rig, paths_of
from trio_supervisor.testing._run.simulate import simulate
from trio_supervisor.testing._run.trace import Trace
from trio_supervisor.testing._script.code import as_code
from trio_supervisor.testing._script.decides import decides
from trio_supervisor.testing._script.failures import SimulatedCrash, SimulatedInterrupt
from trio_supervisor.testing._sim.schedule import shrink_schedule
from trio_supervisor.testing._sim.tasks import settle

__all__ = [
    "Add",
    "Advance",
    "AtOnce",
    "Behaviour",
    "CancelTree",
    "Command",
    "Crash",
    "Interrupt",
    "QuarantineChild",
    "Remove",
    "RestartByHand",
    "Rig",
    "ShutDownTree",
    "SimulatedCrash",
    "SimulatedInterrupt",
    "Stop",
    "Trace",
    "as_code",
    "by_attempt",
    "decides",
    "open_rig",
    "paths_of",
    "settle",
    "shrink_schedule",
    "simulate",
]
