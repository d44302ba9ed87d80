"""What a scenario measures, and whether that is good enough."""

from __future__ import annotations

import operator
import time
from time import perf_counter
from typing import TYPE_CHECKING, Final

import trio

from trio_supervisor._attempts.observer import TreeObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_supervisor import Event
    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._runtime.shell import Shell

_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
}


class Scene:
    """One scenario while it runs: what was measured, and what was asked for.

    Attributes:
        name: Of the scenario.
        length: How long it is to last, as a share of its full length.
        slack: By how much durations may exceed their bars.
        meter: Sees every tree of the scenario.
    """

    def __init__(self, name: str, length: float = 1.0, *, slack: float = 1.0) -> None:
        self.name = name
        self.length = length
        self.slack = slack
        self.ok = True
        self.meter = Meter()
        self._notes: list[str] = []
        self._began = perf_counter()
        self._ended = self._began

    def note(self, text: str) -> None:
        """Say something about how it went."""
        self._notes.append(text)

    def require(self, what: str, measured: float, how: str, bound: float, unit: str = "") -> None:
        """Ask that ``measured`` is ``<`` (and so on) ``bound``."""
        if unit and how == "<":
            bound *= self.slack
        ok = _COMPARE[how](measured, bound)
        self.ok &= ok
        scale = {"ms": 1e3, "µs": 1e6}.get(unit, 1)
        shown, limit = (f"{value * scale:,.4g}" for value in (measured, bound))
        unit = f" {unit}" if unit else ""
        mark = "" if ok else "  <-- "
        self._notes.append(f"{mark}{what} {shown}{unit} (has to be {how} {limit}{unit})")

    def check(self, what: str, fact: object) -> None:
        """Ask that something is the case; it is mentioned only if it is not."""
        if not fact:
            self.ok = False
            self._notes.append(f"  <-- not so: {what}")

    def end(self) -> Scene:
        """It is over."""
        self._ended = perf_counter()
        return self

    def __str__(self) -> str:
        verdict = "PASS" if self.ok else "FAIL"
        seconds = self._ended - self._began
        return f"{verdict}  {self.name:22} {seconds:5.1f} s  {'; '.join(self._notes)}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of ``values`` lie; 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


class Meter(TreeObserver):
    """Times the recording of events, and knows which attempts are alive.

    Attributes:
        seconds: How long it took to record the first event of each instant, log included.
        alive: The live attempts.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.alive: set[Attempt] = set()
        self._began: float | None = None

    def wall_clock(self) -> Callable[[], float]:
        return self._read_wall_clock

    def _read_wall_clock(self) -> float:
        # The journal reads it when it begins to record, and `event_recorded` comes when it has.
        self._began = perf_counter()
        return time.time()

    def event_recorded(self, root: Shell, event: Event) -> None:
        if self._began is not None:
            self.seconds.append(perf_counter() - self._began)
            self._began = None

    def attempt_ordered(self, attempt: Attempt) -> None:
        self.alive.add(attempt)

    def attempt_over(self, attempt: Attempt) -> None:
        self.alive.remove(attempt)

    @property
    def p99(self) -> float:
        """Seconds."""
        return percentile(self.seconds, 0.99)


async def until(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    """Wait until something is the case; false if it takes longer than ``seconds``."""
    with trio.move_on_after(seconds):
        while not condition():  # noqa: ASYNC110 - nothing announces what is looked for
            await trio.sleep(0.001)
        return True
    return False
