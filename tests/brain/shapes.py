"""The small supervisors that are searched, and what may happen to each."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from trio_supervisor._brain.messages import FirstStart
from trio_supervisor._specs.decisions import (
    DoNotRestart,
    Escalate,
    Quarantine,
    Restart,
    ShutdownTree,
)
from trio_supervisor._specs.policy import BackoffPolicy, RestartLimit
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

if TYPE_CHECKING:
    from trio_supervisor._attempts.context import ChildContext
    from trio_supervisor._specs.decisions import RestartDecision

DECISIONS: dict[str, RestartDecision] = {
    "restart": Restart(),
    "restart in 2": Restart(2),
    "done": DoNotRestart(),
    "quarantine": Quarantine("odd"),
    "escalate": Escalate(),
    "shut down": ShutdownTree(),
}

Extra = dict[str, tuple[ChildSpec[Any], FirstStart]]


@frozen
class Shape:
    """One supervisor, and what may happen to it."""

    name: str
    spec: SupervisorSpec
    extra: Extra = field(factory=dict)  # who may be added
    commands: tuple[str, ...] = ("stop", "restart")
    exits: tuple[str, ...] = ("fail", "ok")
    shutdowns: tuple[str, ...] = ("shutdown",)
    decisions: tuple[str, ...] = ()
    unready: bool = False
    extends: bool = False
    forfeits: bool = False
    stale: bool = False  # words of attempts that are long gone, and commands that are refused
    stalls: bool = False  # deadlines are handled late, because no task could run
    nested: bool = False  # a child of another supervisor
    late: bool = False  # signals come after a deadline has passed, and before it is dealt with


async def body(child: ChildContext) -> None:
    """What all children do here: nothing, since nobody runs them."""
    raise AssertionError("nobody runs this")


def _decide(report: object) -> None:
    return None


def child(
    name: str, *, explicit: bool = True, delays: tuple[float, ...] = (0,), **options: Any
) -> ChildSpec[Any]:
    """A child whose times are whole ticks; explicit unless told otherwise."""
    if explicit:
        options.setdefault("readiness", "explicit")
        options.setdefault("start_timeout", inf)
    options.setdefault("grace", 0)
    if options.get("restart") == "temporary":
        options.setdefault("decide", _decide)
    backoff = BackoffPolicy.delays(*delays, reset_after=options.pop("reset_after", inf))
    return ChildSpec(name, body, backoff=backoff, **options)


def supervisor(*children: ChildSpec[Any], **options: Any) -> SupervisorSpec:
    """A supervisor without limits, unless told otherwise."""
    options.setdefault("child_restart_limit", None)
    options.setdefault("report_after", inf)
    return SupervisorSpec("top", children, **options)


SHAPES: dict[str, Shape] = {}


def add(name: str, spec: SupervisorSpec, **options: Any) -> None:
    """One more shape."""
    SHAPES[name] = Shape(name, spec, **options)


STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
ORDERINGS = ("sequence", "graph")
EVERY = [(strategy, ordering) for strategy in STRATEGIES for ordering in ORDERINGS]


def _after(ordering: str, *names: str) -> dict[str, Any]:
    """Options of a child that comes after ``names``: in a graph it has to say so."""
    return {"requires": names} if ordering == "graph" else {}


def _alone() -> None:
    """One child, and everything that can happen to one."""
    full = {
        "commands": ("stop", "quarantine", "restart", "remove"),
        "shutdowns": ("shutdown", "without_grace", "within"),
        "exits": ("fail", "ok", "fatal"),
        "stale": True,
    }
    soon = {"report_after": 1}
    failing = child("a", delays=(0, 2), retry_first_start=True, reset_after=2)
    add("alone, backoff", supervisor(failing), late=True, **full)
    patient = child("a", retry_first_start=True, grace=2)
    add("alone, grace", supervisor(patient, **soon), late=True, forfeits=True, **full)
    ways = ("stop", "abort", "stop in 1", "restart", "restart now")
    add("alone, grace of commands", supervisor(patient, **soon), commands=ways, late=True)
    first = child("a", restart="transient", start_timeout=2)
    add("alone, first start", supervisor(first), late=True, extends=True, **full)
    healthy = child("a", retry_first_start=True, stale_after=2, max_runtime=3, grace=1)
    add("alone, health", supervisor(healthy), unready=True, late=True)
    add("alone, stalls", supervisor(healthy), unready=True, late=True, stalls=True)
    starting = child("a", retry_first_start=True, start_timeout=2)
    add("alone, stalls at the start", supervisor(starting), late=True, stalls=True, extends=True)
    limit = RestartLimit(2, within=3)  # the delays of 1 fit into it three times
    for on_limit in ("escalate", "quarantine"):
        limited = child(
            "a", delays=(1,), restart_limit=limit, on_limit=on_limit, retry_first_start=True
        )
        add(f"alone, limit, {on_limit}", supervisor(limited), late=True, **full)
    for restart in ("permanent", "transient", "temporary"):
        options: dict[str, Any] = {}
        if restart != "temporary":
            options["retry_first_start"] = True
        decided = child("a", restart=restart, **options)
        add(f"alone, decide, {restart}", supervisor(decided), decisions=tuple(DECISIONS), **full)
    pool = supervisor(max_children=1)
    for kind in FirstStart:
        extra = {"z": (child("z", delays=(1,), start_timeout=2, grace=1), kind)}
        add(f"pool of one, {kind.value}", pool, extra=extra, **full)


def _two(strategy: str, ordering: str) -> None:
    how = {"strategy": strategy, "ordering": ordering}
    name = f"{strategy} {ordering}"
    first = child("a", delays=(1,), retry_first_start=True)
    second = child("b", restart="transient", **_after(ordering, "a"))
    add(f"two, {name}", supervisor(first, second, **how), shutdowns=("shutdown",))
    third = child("b", restart="transient", retry_first_start=True, requires=("a",))
    add(f"requires, {name}", supervisor(first, third, **how), unready=True, shutdowns=())
    held = child("b", explicit=False, requires=("a",))
    calm = {"exits": ("fail",), "shutdowns": ()}
    ways: tuple[str, ...] = ("quarantine", "restart")
    spec = supervisor(child("a", explicit=False), held, **how)
    add(f"quarantine, {name}", spec, commands=ways, **calm)
    slow = child("a", explicit=False, delays=(2,))
    slower = child("b", explicit=False, delays=(1,), **_after(ordering, "a"))
    add(f"merging, {name}", supervisor(slow, slower, **how), commands=("restart",), **calm)
    within = supervisor(
        child("a", retry_first_start=True, grace=2),
        child("b", explicit=False, grace=1, **_after(ordering, "a")),
        shutdown_deadline=2,
        **how,
    )
    ways = ("shutdown", "without_grace", "within")
    add(f"deadline, {name}", within, commands=("stop",), shutdowns=ways, late=True)
    shared = supervisor(
        child("a", retry_first_start=True),
        child(
            "b",
            explicit=False,
            restart_limit=RestartLimit(1, within=1),
            on_limit="quarantine",
            **_after(ordering, "a"),
        ),
        restart_limit=RestartLimit(1, within=2),
        **how,
    )
    add(f"shared limit, {name}", shared, commands=("restart",), shutdowns=())
    outer = supervisor(
        child("a", restart="transient", explicit=False, grace=1),
        SupervisorSpec("b").as_child(
            grace=3, backoff=BackoffPolicy.delays(0, reset_after=inf), **_after(ordering, "a")
        ),
        **how,
    )
    ways = ("shutdown", "within", "later")
    add(f"nested, {name}", outer, commands=("stop",), exits=("ok",), shutdowns=ways)


def _three(strategy: str, ordering: str) -> None:
    how = {"strategy": strategy, "ordering": ordering}
    name = f"{strategy} {ordering}"
    quiet = {"exits": ("fail",), "shutdowns": ()}
    a = child("a", retry_first_start=True)
    b = child("b", explicit=False, delays=(1,), **_after(ordering, "a"))
    c = child("c", retry_first_start=True, **_after(ordering, "b"))
    three = supervisor(a, b, c, **how)
    add(f"three, {name}", three, **quiet)
    ways = ("shutdown", "without_grace")
    add(f"stopping three, {name}", three, commands=("stop",), exits=("ok",), shutdowns=ways)
    a = child("a", explicit=False)
    b = child("b", retry_first_start=True, **_after(ordering, "a"))
    c = child("c", explicit=False, **_after(ordering, "b"))
    add(f"recycled, {name}", supervisor(a, b, c, **how), commands=("restart",), **quiet)
    b = child("b", explicit=False, **_after(ordering, "a"))
    add(f"plain, {name}", supervisor(a, b, c, **how), **quiet)
    a = child("a", retry_first_start=True)
    b = child("b", delays=(1,), retry_first_start=True)
    c = child("c", explicit=False, **_after(ordering, "a", "b"))
    add(f"fork, {name}", supervisor(a, b, c, **how), **quiet)
    b = child("b", restart="temporary", explicit=False)
    c = child("c", explicit=False, restart="transient", **_after(ordering, "a"))
    temporary = supervisor(a, b, c, **how)
    add(f"temporary, {name}", temporary, commands=("remove",), shutdowns=())
    chain = supervisor(
        child("a", explicit=False),
        child("b", explicit=False, requires=("a",)),
        child("c", explicit=False, requires=("b",)),
        child("d", retry_first_start=True),
        **how,
    )
    add(f"chain, {name}", chain, **quiet)


def _added(strategy: str, ordering: str) -> None:
    how = {"strategy": strategy, "ordering": ordering}
    name = f"{strategy} {ordering}"
    a = child("a", retry_first_start=True, delays=(1,))
    for kind in (FirstStart.ORDINARY, FirstStart.FORGETS_CHILD):
        extra = {"z": (child("z", delays=(1,)), kind)}
        add(
            f"added, {kind.value}, {name}",
            supervisor(a, **how),
            extra=extra,
            commands=("stop", "restart", "remove"),
            shutdowns=(),
        )
    a = child("a", explicit=False)
    for what, requires in (("two added", ("y",)), ("two apart", ())):
        extra = {
            "y": (child("y", explicit=False), FirstStart.ORDINARY),
            "z": (child("z", explicit=False, requires=requires), FirstStart.ORDINARY),
        }
        shape = {"extra": extra, "exits": ("fail",), "shutdowns": ()}
        add(f"{what}, {name}", supervisor(a, **how), **shape)


def _delays(strategy: str) -> None:
    """A group waits for the longest delay that a failure in it asks for, as long as it asks."""
    ways: tuple[str, ...] = ("stop", "restart")
    spec = supervisor(
        child("a", explicit=False, delays=(1,)),
        child("b", explicit=False, delays=(3,)),
        child("c", explicit=False),
        strategy=strategy,
    )
    add(f"delays, {strategy}", spec, commands=ways, exits=("fail",), shutdowns=())
    spec = supervisor(
        child("a", explicit=False, delays=(2,)),
        child("b", explicit=False, delays=(3,), restart_limit=RestartLimit(1, within=9)),
        strategy=strategy,
    )
    ways = ("quarantine", "remove", "restart")
    add(f"delays of two, {strategy}", spec, commands=ways, exits=("fail",), shutdowns=("shutdown",))


def _forks() -> None:
    """Two require one, and none the other; the one may be restarted while the other still stops."""
    shape: dict[str, Any] = {"exits": ("fail",), "shutdowns": ()}
    how = {"strategy": "rest_for_one", "ordering": "graph"}
    a = child("a", explicit=False)
    b, c = (child(name, explicit=False, grace=inf, requires=("a",)) for name in "bc")
    add("fork, graph", supervisor(a, b, c, **how), **shape)
    x = child("x", explicit=False)
    extra = {
        "y": (child("y", explicit=False, grace=inf, requires=("x",)), FirstStart.ORDINARY),
        "z": (child("z", explicit=False, grace=inf, requires=("x",)), FirstStart.ORDINARY),
    }
    extra["x"] = (x, FirstStart.ORDINARY)
    add("fork, added", supervisor(**how), extra=extra, **shape)


def _done() -> None:
    """All the ways in which the last child that keeps a supervisor open can cease to do so."""
    mode = {"auto_shutdown": "all_done"}
    ways: tuple[str, ...] = ("stop", "quarantine", "restart", "remove")
    a = child("a", explicit=False, restart="transient")
    extra = {
        kind: (child(kind[0], restart="temporary", requires=requires), kind)
        for kind, requires in ((FirstStart.FORGETS_CHILD, ("a",)), (FirstStart.ORDINARY, ()))
    }
    added = {spec.name: (spec, kind) for spec, kind in extra.values()}
    add("done, added", supervisor(a, **mode), extra=added, commands=ways, shutdowns=())
    add("done, pool", supervisor(**mode), extra={"o": added["o"]}, commands=ways, shutdowns=())
    for ordering in ORDERINGS:
        given_up = supervisor(
            child("a", explicit=False),
            child("b", explicit=False, restart="transient", requires=("a",)),
            child("c", explicit=False, restart="transient", requires=("b",)),
            ordering=ordering,
            **mode,
        )
        shape: dict[str, Any] = {"decisions": ("restart", "done", "quarantine"), "shutdowns": ()}
        add(f"done, waits, {ordering}", given_up, commands=("stop", "restart"), **shape)
    limited = supervisor(
        child("a", explicit=False, restart_limit=RestartLimit(1, within=2), on_limit="quarantine"),
        child("b", explicit=False, restart="transient", delays=(1,), requires=("a",)),
        **mode,
    )
    add("done, limit", limited, commands=("quarantine", "restart"), shutdowns=())
    below = supervisor(a, child("b", explicit=False, restart="transient", grace=1), **mode)
    tree = {"decisions": ("shut down",), "nested": True}
    add("done, nested", below, commands=("stop", "restart"), exits=("ok",), **tree)


def _auto(strategy: str) -> None:
    for mode in ("any_significant", "all_significant", "all_done", "never"):
        significant = mode.endswith("significant")
        spec = supervisor(
            child("a", explicit=False, restart="transient", significant=significant),
            child("b", restart="temporary", significant=significant),
            child("c", restart="transient", explicit=False),
            strategy=strategy,
            auto_shutdown=mode,
        )
        add(f"auto, {mode}, {strategy}", spec, commands=("stop", "remove"), shutdowns=())


_alone()
for each in EVERY:
    _two(*each)
    _three(*each)
    _added(*each)
for strategy in STRATEGIES:
    _auto(strategy)
for strategy in STRATEGIES[1:]:
    _delays(strategy)
_forks()
_done()
