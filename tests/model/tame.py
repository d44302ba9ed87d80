"""Lifecycles in which no two independent things happen in the same instant, to be predicted."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final, final

import attrs
import trio

from trio_supervisor import (
    BackoffPolicy,
    ChildSpec,
    Event,
    RestartLimit,
    SupervisorError,
    SupervisorSpec,
)

from . import kit

if TYPE_CHECKING:
    from random import Random

    from .reference import History

COMMANDS: Final = ("crash", "crash", "stop", "restart", "restart", "quarantine", "remove")
_KINDS: Final[dict[str, Any]] = {
    "crash": kit.Crash,
    "stop": kit.Stop,
    "restart": kit.RestartByHand,
    "quarantine": kit.QuarantineChild,
    "remove": kit.Remove,
}


@final
@attrs.frozen
class Tame:
    """One lifecycle: a tree, commands as (when, what, to whom), and when it is closed."""

    spec: SupervisorSpec
    commands: tuple[tuple[float, str, str], ...]
    ends: float

    def __str__(self) -> str:
        return f"Tame({kit.as_code(self.spec)}, {self.commands}, {self.ends})"


@final
class _Times:
    """Draws times of which no two are equal, and no sum of a few equals another one."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._count = 0

    def about(self, *choices: float) -> float:
        """One of these seconds, with a fraction of its own."""
        self._count += 1
        # Square roots of different numbers: sums of them hardly ever meet.
        odd = ((self._count * 7919 % 1009) ** 0.5) / 100
        seconds = self._random.choice(choices)
        return seconds if seconds == inf else round(seconds + odd, 5)


def draw_tame(random: Random) -> Tame:
    """Any such lifecycle."""
    times = _Times(random)
    mode: Any = random.choice(("never", "never", "any_significant", "all_significant", "all_done"))
    children: list[ChildSpec[Any]] = []
    for name in "abcd"[: random.choice((1, 2, 3, 3, 4))]:
        children.append(_draw_child(random, times, name, children, mode))
    if mode.endswith("significant") and not any(child.significant for child in children):
        mode = "never"
    spec = SupervisorSpec(
        "app",
        children,
        strategy=random.choice(("one_for_one", "one_for_all", "rest_for_one")),
        ordering=random.choice(("sequence", "graph")),
        restart_limit=random.choice((None, None, RestartLimit(2, within=times.about(4)))),
        auto_shutdown=mode,
        shutdown_deadline=random.choice((inf, inf, times.about(1, 3))),
        report_after=times.about(1, 4),
    )
    moments = sorted(times.about(*range(16)) for _ in range(random.choice((0, 1, 2, 3, 5, 7))))
    commands = tuple(
        (when, random.choice(COMMANDS), random.choice(children).name) for when in moments
    )
    return Tame(spec, commands, max([18.0, *(when + 1 for when in moments)]))


def _draw_child(
    random: Random, times: _Times, name: str, earlier: list[ChildSpec[Any]], mode: str
) -> ChildSpec[Any]:
    body: dict[str, Any] = {}
    options: dict[str, Any] = {}
    if random.random() < 0.5:
        options["readiness"] = "explicit"
        options["start_timeout"] = times.about(2, 4, 30)
        options["retry_first_start"] = random.random() < 0.8
        body["ready_at"] = times.about(0, 1, 3)
    if random.random() < 0.6:
        body["ends_at"] = times.about(0, 1, 2, 4, 6)
        body["how"] = random.choice(("crash", "crash", "fail", "return", "cancel_self"))
        body["attempts"] = random.choice((inf, 1, 2))
    if random.random() < 0.5:
        body["stop_takes"] = times.about(0, 1, 3)
        options["grace"] = times.about(1, 2)
    elif random.random() < 0.3:
        options["grace"] = times.about(0, 1)
    if random.random() < 0.3:
        body["at_cancel"] = "shield"
        body["cancel_takes"] = times.about(0, 1, 5)
        body["attempts"] = inf
    if random.random() < 0.15:
        options["max_runtime"] = times.about(2, 5)
    options["restart"] = restart = random.choice(
        ("permanent", "permanent", "transient", "temporary")
    )
    if restart != "temporary":
        delays = [times.about(0, 1, 2) for _ in range(random.choice((1, 2)))]
        if random.random() < 0.2:
            delays[0] = 0
        options["backoff"] = BackoffPolicy.delays(*delays, reset_after=times.about(2, 60))
        if random.random() < 0.4:
            options["restart_limit"] = RestartLimit(random.choice((0, 1, 2)), within=times.about(5))
            options["on_limit"] = random.choice(("escalate", "quarantine"))
    targets = [child.name for child in earlier if child.restart != "temporary"]
    if targets and random.random() < 0.4:
        options["requires"] = (random.choice(targets),)
    if mode.endswith("significant") and restart != "permanent":
        options["significant"] = random.random() < 0.6
    run: Any = kit.Behaviour(**body)
    return ChildSpec(name, run, **options)


async def play(case: Tame) -> None:
    """Let it happen."""
    try:
        async with kit.open_rig(case.spec, wait_ready=False) as rig:
            for when, what, name in case.commands:
                await trio.sleep_until(when)
                rig.post(_KINDS[what](name))
            await trio.sleep_until(case.ends)
    except SupervisorError:
        pass  # it gave up, as the events say


def histories(events: tuple[Event, ...], spec: SupervisorSpec) -> dict[str, History]:
    """What happened to each child, without what is but on the way from one state to the next."""
    found: dict[str, History] = {name: [] for name in ("", *(c.name for c in spec.children))}
    for event in events:
        told = _TOLD.get(type(event).__name__)
        if told is not None:
            details = [getattr(event, field) for field in told]
            shown = [f"{each:g}" if isinstance(each, float) else str(each) for each in details]
            text = " ".join([type(event).__name__, *shown])
            found[event.path.partition("/")[2]].append((event.time, text))
    return found


_TOLD: Final[dict[str, tuple[str, ...]]] = {
    "SupervisorReady": (),
    "SupervisorIdle": (),
    "SupervisorStopping": ("cause",),
    "SupervisorFinished": ("cause",),
    "CommandAccepted": ("command",),
    "ChildStarted": ("attempt", "generation"),
    "ChildReady": (),
    "ChildStopRequested": ("grace",),
    "ChildCancelled": (),
    "ChildUnresponsive": (),
    "ChildExited": ("kind",),
    "ExitJudged": ("action",),
    "ChildDone": (),
    "ChildStopped": (),
    "ChildQuarantined": (),
    "ChildRemoved": (),
}
