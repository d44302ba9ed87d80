"""The names of the public testing kit that are used here."""

from __future__ import annotations

from trio_supervisor.testing._drive.behaviour import (
    Behaviour,
    SimulatedCrash,
    SimulatedInterrupt,
    by_attempt,
)
from trio_supervisor.testing._drive.code import as_code
from trio_supervisor.testing._drive.commands import (
    Add,
    Advance,
    AtOnce,
    CancelTree,
    Command,
    Crash,
    Interrupt,
    Quarantine,
    Remove,
    RestartByHand,
    ShutDown,
    Stop,
)
from trio_supervisor.testing._drive.decides import decides
from trio_supervisor.testing._drive.rig import Rig, open_rig, paths_of, settle
from trio_supervisor.testing._sim.schedule import shrink_schedule
from trio_supervisor.testing._sim.simulate import simulate
from trio_supervisor.testing._sim.trace import Trace

__all__ = [
    "Add",
    "Advance",
    "AtOnce",
    "Behaviour",
    "CancelTree",
    "Command",
    "Crash",
    "Interrupt",
    "Quarantine",
    "Remove",
    "RestartByHand",
    "Rig",
    "ShutDown",
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
