"""Trees, commands and endings, drawn from a generator: everything may happen, at whole seconds.

Times lie on a coarse grid on purpose: most races need two things in the same instant. The generator
may be Hypothesis' (`hypothesis.strategies.randoms`), which then shrinks what was drawn.
"""

from __future__ import annotations

from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal, final

import attrs

from trio_supervisor import (
    INHERIT,
    BackoffPolicy,
    ChildSpec,
    RestartLimit,
    SupervisorSpec,
)

from . import kit

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES: Final = "abcdef"
Ending = Literal["leave", "shutdown", "hurry", "cancel", "raise"]
ENDINGS: Final[tuple[Ending, ...]] = ("leave", "shutdown", "hurry", "cancel", "raise")

ANSWERS: Final = (
    *("table", "restart", "later", "done", "quarantine", "escalate", "shutdown"),
    *("raise", "raise", "nonsense"),
)


@final
@attrs.frozen
class Case:
    """One lifecycle to run."""

    spec: SupervisorSpec
    commands: tuple[kit.Command, ...] = ()
    ending: Ending = "leave"
    wait_ready: bool = False

    def __str__(self) -> str:
        commands = ", ".join(map(repr, self.commands))
        return (
            f"Case({kit.as_code(self.spec)}, ({commands},), {self.ending!r}, "
            f"wait_ready={self.wait_ready})"
        )


def draw_case(random: Random) -> Case:
    """Anything."""
    if random.random() < 0.4:
        return draw_drill(random)
    spec = draw_tree(random, "app", depth=1)
    commands = draw_commands(random, spec)
    return Case(spec, tuple(commands), random.choice(ENDINGS), random.random() < 0.2)


def draw_drill(random: Random) -> Case:
    """A group whose members take their time to start and to stop, and much that disturbs it."""
    children: list[ChildSpec[Any]] = []
    for name in NAMES[:3]:
        body = kit.Behaviour(
            ready_at=random.choice((0, 1, 2)), stop_takes=random.choice((0, 1, 2, inf))
        )
        options: dict[str, Any] = {"grace": random.choice((0, 1, 3))}
        if random.random() < 0.6:
            options |= {"readiness": "explicit", "retry_first_start": True}
        if children and random.random() < 0.4:
            options["requires"] = (children[0].name,)
        backoff = BackoffPolicy.delays(random.choice((0, 0, 1, 3)))
        children.append(ChildSpec(name, body, backoff=backoff, **options))
    spec = SupervisorSpec(
        "app",
        children,
        strategy=random.choice(("one_for_all", "rest_for_one")),
        ordering=random.choice(("sequence", "graph")),
    )
    commands: list[kit.Command] = [kit.Advance(random.choice((0.5, 3, 6)))]
    for _ in range(random.choice((2, 3, 4, 6))):
        kind = random.choice((kit.Crash, kit.Crash, kit.RestartByHand, kit.RestartByHand, kit.Stop))
        commands.append(kind(random.choice(children).name))
        commands += [kit.Advance(random.choice((0.5, 1)))] * random.choice((0, 0, 1))
    return Case(spec, (*commands, kit.Advance(random.choice((3, 8)))))


def case_of(seed: int) -> Case:
    """The case with this number."""
    return draw_case(Random(f"case {seed}"))


_OPERATORS: Final[tuple[Any, ...]] = (kit.Stop, kit.RestartByHand, kit.QuarantineChild, kit.Remove)
_KINDS: Final[tuple[Any, ...]] = (*[kit.Crash] * 3, *_OPERATORS, kit.RestartByHand)

# ---------------------------------------------------------------- bodies

_HABITS: Final[dict[str, Sequence[Any]]] = {
    "ready_at": (1, 2, 5, inf),
    "ends_at": (0, 1, 2, 3, 5),
    "stop_takes": (0, 1, 2, 5),
    "beat_every": (1, 0.5),
    "silent_at": (1, 3, 5),
    "busy_at": (0, 1, 2),
    "extend_at": (0, 1, 2),
    "not_ready_at": (1, 2, 5),
    "ready_again_at": (3, 6),
    "background": (1, 2),
    "background_crash_at": (0, 1, 3),
    "at_cancel": ("crash", "swallow", "shield"),
}


def draw_behaviour(random: Random) -> kit.Behaviour:
    """A body with a few habits."""
    options: dict[str, Any] = {}
    for habit in random.sample(sorted(_HABITS), random.choice((0, 1, 1, 2, 2, 3))):
        options[habit] = random.choice(_HABITS[habit])
    if random.random() < 0.4:
        options["ends_at"] = random.choice(_HABITS["ends_at"])
    if "ends_at" in options:
        hows = ("crash", "crash", "fail", "return", "return", "cancel_self")
        options["how"] = random.choice(hows)
        options["attempts"] = random.choice((inf, 1, 2))
    if "at_cancel" in options:
        options["cancel_takes"] = random.choice((0, 1, 8))
    if "busy_at" in options:
        options["busy_for"] = random.choice((1, 3, 5))
    if "extend_at" in options:
        options["extend_by"] = random.choice((0, 1, 4))
        options.setdefault("ready_at", random.choice((2, 3, 5)))
    if "silent_at" in options:
        options["beat_every"] = random.choice((1, 0.5))
    if random.random() < 0.12:
        options["gives"] = draw_given(random)
        options["gives_at"] = random.choice((1, 1, 2, 0.5, 0))
        if options["gives_at"] == 0:
            options["attempts"] = 1  # or two bodies could restart each other for ever in no time
    return kit.Behaviour(**options)


def draw_given(random: Random) -> tuple[kit.Command, ...]:
    """What a body tells its own supervisor."""
    given: list[kit.Command] = []
    for _ in range(random.choice((1, 1, 2))):
        kind = random.choice((*_OPERATORS, *_OPERATORS, kit.Add, kit.ShutDownTree))
        if kind is kit.Add:
            restart: Any = random.choice(("permanent", "temporary"))
            new = ChildSpec("y", kit.Behaviour(ends_at=random.choice((1, inf))), restart=restart)
            given.append(kit.Add(new, wait=random.random() < 0.6))
        elif kind is kit.ShutDownTree:
            given.append(kit.ShutDownTree(grace=random.random() < 0.5))
        else:
            given.append(kind(random.choice((".", ".", "a", "b", "c", "y"))))
    return tuple(given)


def draw_body(random: Random) -> Any:
    """One behaviour, or another one in each attempt."""
    if random.random() < 0.3:
        return kit.by_attempt(draw_behaviour(random), draw_behaviour(random))
    return draw_behaviour(random)


# ---------------------------------------------------------------- specs

_LIMITS: Final = (
    RestartLimit(0, within=5),
    RestartLimit(1, within=4),
    RestartLimit(2, within=3),
    RestartLimit(3, within=10),
)


def draw_backoff(random: Random) -> BackoffPolicy:
    """How long a restart waits, at whole seconds mostly."""
    reset = random.choice((2, 4, 60))
    if random.random() < 0.2:
        return BackoffPolicy(initial=1, factor=2, maximum=4, jitter=0.5, reset_after=reset)
    delays = [random.choice((0, 1, 2, 4)) for _ in range(random.choice((1, 2, 3)))]
    return BackoffPolicy.delays(*delays, reset_after=reset)


def draw_options(random: Random, earlier: Sequence[ChildSpec[Any]], mode: str) -> dict[str, Any]:
    """A child's policies."""
    restart = random.choice(("permanent", "permanent", "transient", "temporary"))
    options: dict[str, Any] = {"restart": restart}
    if random.random() < 0.45:
        options["readiness"] = "explicit"
        options["start_timeout"] = random.choice((30, 2, inf))
        options["retry_first_start"] = random.random() < 0.6
    if random.random() < 0.15:
        options["max_runtime"] = random.choice((10, 2, 4))
    if random.random() < 0.2:
        options["stale_after"] = random.choice((3, 1, 2))
    if random.random() < 0.5:
        options["grace"] = random.choice((1, 3, 3, inf))
    if random.random() < 0.15:
        answers: Any = random.choices(ANSWERS, k=random.choice((1, 2)))
        options["decide"] = kit.decides(*answers)
    if restart != "temporary" or "decide" in options:
        options["backoff"] = draw_backoff(random)
        if random.random() < 0.4:
            options["restart_limit"] = random.choice(_LIMITS)
        if random.random() < 0.5:
            options["on_limit"] = "quarantine"
    targets = [child.name for child in earlier if child.restart != "temporary"]
    if targets and random.random() < 0.35:
        most = min(len(targets), random.choice((1, 2)))
        options["requires"] = tuple(random.sample(targets, most))
    if mode.endswith("significant") and restart != "permanent":
        options["significant"] = random.random() < 0.6
    return options


def draw_tree(random: Random, name: str, *, depth: int) -> SupervisorSpec:
    """A supervisor of up to four children."""
    modes = ("never", "never", "any_significant", "all_significant", "all_done")
    mode: Any = random.choice(modes)
    children: list[ChildSpec[Any]] = []
    for child in NAMES[: random.choice((1, 2, 2, 3, 3, 4))]:
        options = draw_options(random, children, mode)
        if depth and random.random() < 0.12:
            for unfit in ("readiness", "stale_after", "start_timeout"):
                options.pop(unfit, None)
            inner = draw_tree(random, child, depth=depth - 1)
            children.append(inner.as_child(**options))
        else:
            children.append(ChildSpec(child, draw_body(random), **options))
    if mode.endswith("significant") and not any(child.significant for child in children):
        mode = "never"
    ordering: Any = random.choice(("sequence", "sequence", "graph"))
    if ordering == "graph":  # in which a child may require one that is declared after it
        random.shuffle(children)
    inherits = any(c.restart_limit is INHERIT and c.on_limit == "quarantine" for c in children)
    return SupervisorSpec(
        name,
        children,
        strategy=random.choice(("one_for_one", "one_for_all", "rest_for_one")),
        ordering=ordering,
        child_restart_limit=RestartLimit(10, within=120) if inherits else INHERIT,
        restart_limit=random.choice((None, None, *_LIMITS)),
        auto_shutdown=mode,
        shutdown_deadline=random.choice((inf, inf, 5, 2, 0)),
        report_after=random.choice((5, 1)),
        max_children=random.choice((None, None, len(children), len(children) + 1)),
    )


# ---------------------------------------------------------------- commands


def draw_added(random: Random, name: str, spec: SupervisorSpec) -> ChildSpec[Any]:
    """A child to be added."""
    mode = str(spec.auto_shutdown)
    options = draw_options(random, spec.children, mode)
    if spec.child_restart_limit is None and "restart_limit" not in options:
        options.pop("on_limit", None)
    return ChildSpec(name, draw_body(random), **options)


def draw_commands(random: Random, spec: SupervisorSpec) -> list[kit.Command]:
    """What happens to a running tree; some of it in the same instant."""
    paths = kit.paths_of(spec)
    added = [f"x{number}" for number in range(random.choice((0, 0, 1, 2)))]
    found: list[kit.Command] = []
    waiting = list(added)
    for _ in range(random.choice((0, 2, 3, 4, 5, 6))):
        together: list[kit.Command] = []
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            if waiting and random.random() < 0.4:
                new = draw_added(random, waiting.pop(), spec)
                together.append(kit.Add(new, wait=random.random() < 0.6))
            else:
                together.append(_draw_command(random, paths, added))
        found.append(together[0] if len(together) == 1 else kit.AtOnce(tuple(together)))
        if random.random() < 0.8:
            found.append(kit.Advance(random.choice((0.5, 1, 1, 2, 3, 5))))
    if random.random() < 0.3:
        found.append(kit.Advance(random.choice((10, 30, 70))))
    return found


def _draw_command(random: Random, paths: Sequence[str], added: Sequence[str]) -> kit.Command:
    if random.random() < 0.02:
        return random.choice((kit.CancelTree(), kit.ShutDownTree(), kit.ShutDownTree(grace=False)))
    path = random.choice((*paths, *added)) if paths or added else "nobody"
    if random.random() < 0.02:
        return kit.Interrupt(path)
    command: kit.Command = random.choice(_KINDS)(path)
    return command
