"""Where the public names stand: the facade imports a room when somebody asks for what is in it.

Importing the whole house takes more than half as long as importing Trio. A command line that only
wants to print its help, or a module that only declares specs, need not wait for the machinery.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

NAMES: Final[dict[str, tuple[str, ...]]] = {
    "_attempt": ("Heartbeat",),
    "_body": ("Body",),
    "_context": ("ChildContext",),
    "_enclosure": ("open_supervisor", "run_supervisor"),
    "_errors": (
        "ChildAlreadyExists",
        "ChildEscalated",
        "ChildNotFound",
        "ChildNotReady",
        "ChildStartError",
        "CommandRefused",
        "PastError",
        "RestartLimitExceeded",
        "SpecError",
        "SupervisorClosed",
        "SupervisorError",
        "TaskFailure",
        "TooManyChildren",
    ),
    "_events": (
        "ChildAdded",
        "ChildBackingOff",
        "ChildCancelled",
        "ChildDone",
        "ChildExited",
        "ChildLostReadiness",
        "ChildQuarantined",
        "ChildReady",
        "ChildRemoved",
        "ChildStarted",
        "ChildStopped",
        "ChildStopRequested",
        "ChildUnresponsive",
        "ChildWaiting",
        "CommandAccepted",
        "Event",
        "EventGap",
        "ExitJudged",
        "SupervisorFinished",
        "SupervisorIdle",
        "SupervisorReady",
        "SupervisorStarted",
        "SupervisorStopping",
    ),
    "_exits": (
        "Aborted",
        "ChildRunReport",
        "Crashed",
        "Failed",
        "SelfCancelled",
        "Stopped",
        "Succeeded",
        "TaskExit",
        "TimedOut",
        "Unhealthy",
    ),
    "_fold": ("fold",),
    "_handle": ("ChildHandle",),
    "_journal": ("Journal",),
    "_policy": (
        "INHERIT",
        "AutoShutdown",
        "BackoffPolicy",
        "Done",
        "DoNotRestart",
        "Escalate",
        "OnLimit",
        "Ordering",
        "Quarantine",
        "ReadinessPolicy",
        "ReadinessState",
        "Restart",
        "RestartAfter",
        "RestartDecision",
        "RestartLimit",
        "RestartPolicy",
        "Shutdown",
        "ShutdownTree",
        "SupervisionStrategy",
    ),
    "_runner": ("ChildRunHandle", "ChildRunner"),
    "_shutdown": ("ChildShutdown", "ShutdownReport"),
    "_snapshot": ("ChildSnapshot", "ChildState", "SupervisorSnapshot", "SupervisorState"),
    "_spec": ("ChildSpec", "SupervisorSpec"),
    "_subscription": ("Subscription",),
    "_supervisor": ("ChildCounts", "Supervisor"),
    "children": ("ThreadChild", "holding", "in_thread", "plain", "serving", "thread_child"),
}
_ROOM: Final = {name: room for room, names in NAMES.items() for name in names}
_PACKAGE: Final = "trio_supervisor"

OFFERED: Final = sorted(_ROOM)


def __getattr__(name: str) -> object:
    """Import what is called ``name``, and let the package keep it."""
    if name in _ROOM:
        found: object = getattr(import_module(f"{_PACKAGE}.{_ROOM[name]}"), name)
    elif name in ("children", "daemon"):  # public modules
        found = import_module(f"{_PACKAGE}.{name}")
    else:
        raise AttributeError(f"module {_PACKAGE!r} has no attribute {name!r}")
    setattr(sys.modules[_PACKAGE], name, found)
    return found


def __dir__() -> list[str]:
    """What the package has, whether somebody has asked for it or not."""
    return sorted({*vars(sys.modules[_PACKAGE]), *OFFERED, "children"})
