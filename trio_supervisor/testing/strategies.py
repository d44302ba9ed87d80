"""Hypothesis strategies for lifecycles: all shrink to the simplest case, and print as code.

Importing this imports Hypothesis; nothing else of the kit but `LifecycleMachine` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from hypothesis.vendor import pretty

from trio_supervisor._lazy import public
from trio_supervisor._specs.policy import INHERIT, BackoffPolicy, Inherit, RestartLimit
from trio_supervisor._specs.supervisor import DEFAULT_CHILD_LIMIT, ChildSpec, SupervisorSpec
from trio_supervisor.testing._drive.behaviour import Behaviour, ByAttempt, by_attempt
from trio_supervisor.testing._drive.commands import (
    Add,
    Advance,
    AtOnce,
    CancelTree,
    Crash,
    Interrupt,
    LifecycleCommand,
    QuarantineChild,
    Remove,
    RestartByHand,
    ShutDownTree,
    Stop,
)
from trio_supervisor.testing._script.bodies import walk
from trio_supervisor.testing._script.code import as_code
from trio_supervisor.testing._script.decides import Decides, decides
from trio_supervisor.testing._sim.schedule import Picks

__all__ = [
    "backoffs",
    "child_behaviours",
    "commands",
    "decisions",
    "invalid_supervisor_specs",
    "schedules",
    "supervisor_specs",
]

NAMES: Final = "abcdefgh"
SECONDS: Final = (0.0, 1.0, 2.0, 0.5, 5.0)


def _print_spec(spec: Any, printer: Any, cycle: bool) -> None:
    printer.text(as_code(spec))


def _print_repr(value: Any, printer: Any, cycle: bool) -> None:
    printer.text(repr(value))


_SHOWN_AS_THEY_ARE: Final = (Behaviour, ByAttempt, BackoffPolicy, RestartLimit, Add, Decides)

# Hypothesis would show these by their attributes, which is no code that one could paste.
_PRINTERS: Final[dict[type[Any], Any]] = {
    SupervisorSpec: _print_spec,
    ChildSpec: _print_spec,
    **dict.fromkeys(_SHOWN_AS_THEY_ARE, _print_repr),
}
for _kind, _printer in _PRINTERS.items():
    pretty.for_type_by_name(_kind.__module__, _kind.__name__, _printer)


def _seconds(*more: float) -> SearchStrategy[float]:
    return st.sampled_from((*more, *SECONDS))


@public
@st.composite
def schedules(draw: DrawFn, *, deviations: int = 6, within: int = 60) -> list[int]:
    """Schedules for `simulate`: "the oldest task first", with a few exceptions.

    Most races need one or two steps out of turn. These schedules have few of them, in any place,
    and shrink to the empty one.

    Args:
        draw: Hypothesis gives it.
        deviations: How many exceptions at most.
        within: How many choices lie between two exceptions at most.
    """
    exception = st.tuples(st.integers(0, within), st.integers(1, 4))
    picks = Picks()
    for gap, pick in draw(st.lists(exception, max_size=deviations)):
        picks += [0] * gap + [pick]
    return picks


@public
@st.composite
def backoffs(draw: DrawFn) -> BackoffPolicy:
    """Backoff policies, with and without growth and jitter, from "at once" on."""
    if draw(st.booleans()):
        return BackoffPolicy(
            initial=draw(st.sampled_from((0.1, 0.0, 1.0))),
            factor=draw(st.sampled_from((2.0, 1.0))),
            maximum=draw(st.sampled_from((30.0, 1.0))),
            jitter=draw(st.sampled_from((0.1, 0.0, 1.0))),
            reset_after=draw(st.sampled_from((60.0, 0.0, 2.0, inf))),
        )
    waits = st.lists(st.sampled_from((0.0, 1.0, 5.0)), min_size=1, max_size=3)
    reset_after = draw(st.sampled_from((60.0, 2.0, 0.0)))
    return BackoffPolicy.delays(*draw(waits), reset_after=reset_after)


@public
@st.composite
def decisions(draw: DrawFn) -> Decides:
    """Functions for ``decide``: each answer that there is, raising, and nonsense; see `decides`.

    The simplest leaves everything to the table.
    """
    answers: tuple[Any, ...] = ("table", "restart", "later", "done", "quarantine", "raise")
    answers += ("nonsense", "shutdown", "escalate")
    return decides(*draw(st.lists(st.sampled_from(answers), min_size=1, max_size=2)))


@st.composite
def _given(draw: DrawFn) -> dict[str, Any]:
    """Draw the commands that a body gives to its own supervisor, and when."""
    targets = st.sampled_from((".", *NAMES[:3], "new"))
    kinds: tuple[Callable[[str], LifecycleCommand], ...] = (
        Stop,
        RestartByHand,
        QuarantineChild,
        Remove,
    )
    told: list[SearchStrategy[LifecycleCommand]] = [targets.map(kind) for kind in kinds]
    told.append(st.builds(Add, st.just(ChildSpec("new", Behaviour())), wait=st.booleans()))
    told.append(st.builds(ShutDownTree, st.booleans()))
    gives = tuple(draw(st.lists(st.one_of(*told), min_size=1, max_size=2)))
    at = draw(st.sampled_from((1.0, 0.5, 2.0, 0.0)))
    # At once and always, two bodies could restart each other for ever in no time.
    return {"gives": gives, "gives_at": at} | ({} if at else {"attempts": 1.0})


@st.composite
def _behaviours(draw: DrawFn, *, stubborn: bool) -> Behaviour:
    """At most a few habits differ from the simplest behaviour."""
    options: dict[str, Any] = {}
    habits: dict[str, SearchStrategy[Any]] = {
        "ready_at": st.sampled_from((1.0, 0.5, 5.0, inf)),
        "stop_takes": _seconds(),
        "beat_every": st.sampled_from((1.0, 0.5)),
        "silent_at": st.sampled_from((2.0, 1.0, 4.0)),
        "busy_at": st.sampled_from((1.0, 0.0, 2.0)),
        "extend_at": st.sampled_from((1.0, 0.0)),
        "not_ready_at": st.sampled_from((1.0, 2.0, 5.0)),
        "ready_again_at": st.sampled_from((3.0, 6.0)),
        "background": st.integers(1, 2),
        "background_crash_at": _seconds(),
    }
    if stubborn:
        habits["at_cancel"] = st.sampled_from(("crash", "swallow", "shield"))
        habits["cancel_takes"] = st.sampled_from((0.0, 1.0, 10.0))
    for habit in sorted(draw(st.sets(st.sampled_from(sorted(habits)), max_size=2))):
        options[habit] = draw(habits[habit])
    if "silent_at" in options:  # beats for a while first: else it would be silent anyway
        options["beat_every"] = draw(habits["beat_every"])
    if "busy_at" in options:
        options["busy_for"] = draw(st.sampled_from((2.0, 5.0)))
    if "extend_at" in options:
        options["extend_by"] = draw(st.sampled_from((3.0, 1.0, 0.0)))
        options.setdefault("ready_at", draw(st.sampled_from((3.0, 2.0, 5.0))))
    if draw(st.booleans()):
        options["ends_at"] = draw(st.sampled_from((1.0, 0.0, 3.0, 10.0)))
        options["how"] = draw(st.sampled_from(("crash", "fail", "return", "cancel_self")))
        options["attempts"] = draw(st.sampled_from((inf, 1.0, 2.0)))
    if draw(st.integers(0, 7)) == 7:
        options |= draw(_given())
    return Behaviour(**options)


@public
@st.composite
def child_behaviours(draw: DrawFn, *, stubborn: bool = True) -> Behaviour | ByAttempt:
    """Bodies with habits: see `Behaviour` for which. The simplest is ready and calm.

    Now and then one of them gives commands to its own supervisor, of which it knows the first few
    `supervisor_specs` names.

    Args:
        draw: Hypothesis gives it.
        stubborn: Whether some ignore, swallow or delay their cancellation.
    """
    first = draw(_behaviours(stubborn=stubborn))
    if draw(st.integers(0, 3)) < 3:
        return first
    more = draw(st.lists(_behaviours(stubborn=stubborn), min_size=1, max_size=2))
    return by_attempt(first, *more)


# ---------------------------------------------------------------- specs


_LIMITS: Final = (RestartLimit(1, within=5), RestartLimit(0, within=1), RestartLimit(3, within=10))


@st.composite
def _child_options(draw: DrawFn, earlier: list[ChildSpec[Any]]) -> dict[str, Any]:
    restart = draw(st.sampled_from(("permanent", "transient", "temporary")))
    options: dict[str, Any] = {"restart": restart}
    wanted = draw(st.sets(st.sampled_from(range(9)), max_size=4))
    if 0 in wanted:
        options["readiness"] = "explicit"
        options["start_timeout"] = draw(st.sampled_from((30.0, 2.0, inf)))
        options["retry_first_start"] = draw(st.booleans())
    if 1 in wanted:
        options["max_runtime"] = draw(st.sampled_from((10.0, 2.0)))
    if 2 in wanted:
        options["stale_after"] = draw(st.sampled_from((3.0, 1.0)))
    if 3 in wanted:
        options["grace"] = draw(st.sampled_from((1.0, 3.0, inf)))
    if restart != "temporary":
        if 4 in wanted:
            options["backoff"] = draw(backoffs())
        if 5 in wanted:
            options["restart_limit"] = draw(st.sampled_from((*_LIMITS, None)))
            if options["restart_limit"] is None:  # or a child could restart for ever in no time
                options["backoff"] = BackoffPolicy.delays(1)
        if 6 in wanted and options.get("restart_limit", 1) is not None:
            options["on_limit"] = "quarantine"
    if 8 in wanted:
        options["decide"] = draw(decisions())
    targets = [child.name for child in earlier if child.restart != "temporary"]
    if 7 in wanted and targets:
        names = st.lists(st.sampled_from(targets), min_size=1, max_size=2, unique=True)
        options["requires"] = tuple(draw(names))
    return options


@public
@st.composite
def supervisor_specs(
    draw: DrawFn,
    *,
    max_children: int = 4,
    depth: int = 1,
    bodies: SearchStrategy[Callable[..., Awaitable[object]]] | None = None,
    name: str = "app",
) -> SupervisorSpec:
    """Valid trees, from an empty supervisor on.

    Args:
        draw: Hypothesis gives it.
        max_children: Of one supervisor.
        depth: How many supervisors may lie within one another below the root.
        bodies: Of the children; by default `child_behaviours`.
        name: Of the root.
    """
    drawn: SearchStrategy[Any] = child_behaviours() if bodies is None else bodies
    children: list[ChildSpec[Any]] = []
    mode: Any = draw(st.sampled_from(("never", "any_significant", "all_significant", "all_done")))
    for child_name in NAMES[: draw(st.integers(0, max_children))]:
        options = draw(_child_options(children))
        if mode.endswith("significant") and options["restart"] != "permanent":
            options["significant"] = draw(st.booleans())
        if depth and draw(st.integers(0, 3)) == 3:
            inner = draw(
                supervisor_specs(
                    max_children=max_children, depth=depth - 1, bodies=drawn, name=child_name
                )
            )
            for option in ("readiness", "stale_after"):
                options.pop(option, None)
            children.append(inner.as_child(**options))
        else:
            children.append(ChildSpec(child_name, draw(drawn), **options))
    ordering: Any = draw(st.sampled_from(("sequence", "graph")))
    if ordering == "graph":  # in which a child may require one that is declared after it
        children = draw(st.permutations(children))
    return SupervisorSpec(
        name,
        children,
        strategy=draw(st.sampled_from(("one_for_one", "one_for_all", "rest_for_one"))),
        ordering=ordering,
        restart_limit=draw(st.sampled_from((None, None, *_LIMITS))),
        child_restart_limit=_child_limit(children),
        auto_shutdown=mode,
        shutdown_deadline=draw(st.sampled_from((inf, inf, 5.0, 0.0))),
    )


def _child_limit(children: Sequence[ChildSpec[Any]]) -> RestartLimit | Inherit:
    """A limit that a child with ``on_limit`` can inherit, if there is such a child.

    Otherwise the default, which may be none beside a shared ``restart_limit``.
    """
    inherits = any(c.restart_limit is INHERIT and c.on_limit == "quarantine" for c in children)
    return DEFAULT_CHILD_LIMIT if inherits else INHERIT


def _mistakes(spec: SupervisorSpec) -> list[tuple[str, dict[str, Any]]]:
    """Ways to spoil ``spec``: for the supervisor, and for one more child of it."""
    child: list[tuple[str, dict[str, Any]]] = [
        ("child", change)
        for change in (
            {"grace": -1},
            {"start_timeout": 1},
            {"retry_first_start": True},
            {"restart": "sometimes"},
            {"max_runtime": 0},
            {"stale_after": 0},
            {"requires": ("missing",)},
            {"requires": ("spoiled",)},
            {"restart": "temporary", "backoff": BackoffPolicy()},
            {"restart": "temporary", "on_limit": "quarantine"},
            {"restart_limit": None, "on_limit": "quarantine"},
            {"significant": True},
            {"restart_limit": (3, 10)},
            {"backoff": 1.0},
            {"name": ""},
            {"name": "a/b"},
        )
    ]
    whole: list[tuple[str, dict[str, Any]]] = [
        ("whole", change)
        for change in (
            {"strategy": "all_for_one"},
            {"ordering": "random"},
            {"auto_shutdown": True},
            {"max_children": -1},
            {"shutdown_deadline": -1},
            {"report_after": float("nan")},
            {"restart_limit": 3},
            {"name": "a/b"},
        )
    ]
    if spec.children:
        child.append(("child", {"name": spec.children[0].name}))
        whole.append(("whole", {"max_children": len(spec.children) - 1}))
    return child + whole


@public
@st.composite
def invalid_supervisor_specs(draw: DrawFn, *, max_children: int = 3) -> Callable[[], object]:
    """Trees that have to be refused, as functions that try to make them.

    Each of them raises `SpecError` when it is called; a test calls it in ``pytest.raises``.
    """
    spec = draw(supervisor_specs(max_children=max_children, depth=0))
    where, change = draw(st.sampled_from(_mistakes(spec)))
    return _Attempt(spec, where, change)


class _Attempt:
    """An attempt to make an invalid tree; prints as what it tries."""

    def __init__(self, spec: SupervisorSpec, where: str, change: dict[str, Any]) -> None:
        self._spec = spec
        self._where = where
        self._change = change

    def __call__(self) -> object:
        if self._where == "whole":
            return self._spec.replace(**self._change)
        options: dict[str, Any] = dict(self._change)
        name = options.pop("name", "spoiled")
        child = ChildSpec(name, Behaviour(), **options)
        return self._spec.replace(children=(*self._spec.children, child))

    def __repr__(self) -> str:
        change = ", ".join(f"{name}={value!r}" for name, value in self._change.items())
        if self._where == "whole":
            return f"lambda: {as_code(self._spec)}.replace({change})"
        return f"lambda: {as_code(self._spec)} with one more child with {change}"


# ---------------------------------------------------------------- commands


@public
@st.composite
def commands(
    draw: DrawFn,
    spec: SupervisorSpec,
    *,
    most: int = 16,
    adding: tuple[ChildSpec[Any], ...] = (),
) -> list[LifecycleCommand]:
    """Lists of commands for a tree: crash, stop, restart, quarantine, remove, let time pass.

    Run them with `exercise` or `Rig.apply`. Some are given at once, in the same instant. In the end
    the tree may be shut down, cancelled from outside, or interrupted.

    Args:
        draw: Hypothesis gives it.
        spec: The tree that they are for.
        most: How many at most.
        adding: Specs of children that may be added to the root.
    """
    passing: SearchStrategy[LifecycleCommand] = st.sampled_from((1.0, 0.1, 5.0, 30.0)).map(Advance)
    paths = [path for path, _ in walk(spec)] + [child.name for child in adding]
    if not paths:
        return draw(st.lists(passing, max_size=most))
    path = st.sampled_from(paths)
    kinds: tuple[Callable[[str], LifecycleCommand], ...] = (
        Stop,
        RestartByHand,
        QuarantineChild,
        Remove,
    )
    operator = st.one_of(*(path.map(kind) for kind in kinds))
    crash: SearchStrategy[LifecycleCommand] = path.map(Crash)
    any_of = [crash, operator]
    if adding:
        any_of.append(st.builds(Add, st.sampled_from(adding), wait=st.booleans()))
    at_once = st.lists(st.one_of(*any_of), min_size=2, max_size=3).map(tuple).map(AtOnce)
    least = draw(st.sampled_from((0, most // 2)))
    step = st.one_of(passing, crash, passing, *any_of, at_once)
    told: list[LifecycleCommand] = draw(st.lists(step, min_size=least, max_size=most))
    # At the end the tree may be shut down; later steps may not disturb the order of that.
    ending = st.sampled_from((None, None, ShutDownTree(), ShutDownTree(grace=False), CancelTree()))
    last: LifecycleCommand | None = draw(st.one_of(ending, path.map(Interrupt)))
    return told if last is None else [*told, last, *draw(st.lists(step, max_size=3))]
