"""Run drawn lifecycles one after the other, and keep account of them."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from attrs import define, field
from model.draw import Case, case_of
from model.perform import run_case

if TYPE_CHECKING:
    from model.kit import Trace

_MOST_SHOWN = 10
_OF_CHILDREN = {
    "ChildAdded": "waiting",
    "ChildWaiting": "waiting",
    "ChildStarted": "starting",
    "ChildReady": "ready",
    "ChildLostReadiness": "not ready",
    "ChildStopRequested": "asked",
    "ChildCancelled": "cancelled",
    "ChildUnresponsive": "unresponsive",
    "ChildExited": "gone",
    "ChildBackingOff": "backing off",
    "ChildDone": "done",
    "ChildStopped": "stopped",
    "ChildQuarantined": "quarantined",
    "ChildRemoved": "removed",
}


@define
class Found:
    """A case that breaks a promise."""

    seed: int
    case: Case
    trace: Trace[str]

    def __str__(self) -> str:
        lines = [f"case {self.seed}: {', '.join(self.trace.signature)}", str(self.case)]
        lines += [f"  error: {self.trace.error!r}"] if self.trace.error is not None else []
        lines += [violation.render() for violation in self.trace.violations]
        return "\n".join(lines)


@define
class Account:
    """What a search has done so far."""

    lifecycles: int = 0
    steps: int = 0
    events: int = 0
    virtual: float = 0.0
    seconds: float = 0.0
    states: set[int] = field(factory=set)
    found: list[Found] = field(factory=list)
    violations: int = 0

    def __str__(self) -> str:
        rate = self.steps / max(self.seconds, 0.001)
        return (
            f"{self.lifecycles:,} lifecycles, {self.steps:,} steps ({rate:,.0f}/s), "
            f"{self.events:,} events in {self.virtual / 3600:,.1f} virtual hours, "
            f"{len(self.states):,} distinct states, {self.violations} violations"
        )

    def take(self, seed: int, case: Case, trace: Trace[str]) -> None:
        """One more."""
        self.lifecycles += 1
        self.steps += trace.steps
        self.virtual += trace.seconds
        for tree in trace.trees:
            self.events += len(tree.events)
            spec = tree.spec
            shape = (
                str(spec.strategy),
                str(spec.ordering),
                tuple((c.name, str(c.restart), c.is_explicit, c.requires) for c in spec.children),
            )
            now: dict[str, Any] = {}
            for event in tree.events:
                state = _OF_CHILDREN.get(type(event).__name__)
                if state is not None:
                    now[event.path] = state
                    self.states.add(hash((shape, tuple(now.items()))))
        if not trace.ok:
            self.violations += 1
            if len(self.found) < _MOST_SHOWN:
                self.found.append(Found(seed, case, trace))


def search(seconds: float, *, seed: int = 0, account: Account | None = None) -> Account:
    """Run cases ``seed``, ``seed + 1``, ... for so many seconds."""
    account = Account() if account is None else account
    began, worked = perf_counter(), process_time()
    while perf_counter() - began < seconds:
        case = case_of(seed)
        account.take(seed, case, run_case(case, seed=seed))
        seed += 1
    account.seconds += process_time() - worked
    return account


def rss() -> int:
    """Resident memory in bytes: now where the system tells, else the most so far."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def descriptors() -> int:
    """Open file descriptors, where the system tells."""
    try:
        return len(list(Path("/proc/self/fd").iterdir()))
    except OSError:
        return 0
