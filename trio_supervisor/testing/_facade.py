"""Where the kit's public names stand: each module is imported when somebody asks for what is in it.

So nobody pays for Hypothesis who does not use it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

NAMES: Final[dict[str, str]] = {
    "_behaviour": "Behaviour ByAttempt SimulatedCrash SimulatedInterrupt by_attempt",
    "_bodies": "with_bodies",
    "_code": "as_code",
    "_commands": "Add Advance AtOnce CancelItself CancelTree Crash Fail Interrupt LifecycleCommand"
    " Quarantine Remove RestartByHand ShutDown Stop",
    "_decides": "Decides decides",
    "_errors": "InvariantViolated LiveLock Stuck TaskLeftBehind TrioMoved",
    "_explore": "Exploration explore",
    "_faults": "FaultPoint FaultRuns crash_everywhere",
    "_lone": "ChildProbe open_child_context",
    "_oracle": "INVARIANTS Violation check_trace find_violations",
    "_pilot": "Pilot",
    "_predict": "Failure Prediction predict",
    "_rig": "Rig exercise open_rig",
    "_schedule": "shrink_schedule",
    "_simulate": "search simulate",
    "_trace": "Trace TreeTrace",
    "machine": "LifecycleMachine",
    "strategies": "backoffs child_behaviours commands decisions invalid_supervisor_specs"
    " schedules supervisor_specs",
}
_HOMES: Final = {name: module for module, names in NAMES.items() for name in names.split()}
OFFERED: Final = sorted(_HOMES)
_PACKAGE: Final = __name__.rpartition(".")[0]


def __getattr__(name: str) -> object:
    """What the package does not have yet: import its module, and keep it there."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {_PACKAGE!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{_PACKAGE}.{home}"), name)
    setattr(sys.modules[_PACKAGE], name, value)
    return value


def __dir__() -> list[str]:
    return sorted({*vars(sys.modules[_PACKAGE]), *OFFERED})
