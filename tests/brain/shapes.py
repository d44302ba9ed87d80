"""The small supervisors that are searched, and what may happen to each."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from trio_supervisor._brain.orders import FirstStart
from trio_supervisor._policy import (
    BackoffPolicy,
    DoNotRestart,
    Escalate,
    Quarantine,
    Restart,
    RestartLimit,
    ShutdownTree,
)
from trio_supervisor._spec import ChildSpec, SupervisorSpec

if TYPE_CHECKING:
    from trio_supervisor._context import ChildContext
    from trio_supervisor._policy import Decision

DECISIONS: dict[str, Decision] = {
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
    late: bool = False  # signals come after a deadline has passed, and before it is dealt with


async def _body(child: ChildContext) -> None:
    raise AssertionError("nobody runs this")


def _decide(report: object) -> None:
    return None


def child(name: str, *, explicit: bool = True, delays: tuple[float, ...] = (0,), **options: Any) -> ChildSpec[Any]:
    """A child whose times are whole ticks; explicit unless told otherwise."""
    if explicit:
        options.setdefault("readiness", "explicit")
        options.setdefault("start_timeout", inf)
    options.setdefault("grace", 1)
    if options.get("restart") == "temporary":
        options.setdefault("decide", _decide)
    backoff = BackoffPolicy.delays(*delays, reset_after=options.pop("reset_after", inf))
    return ChildSpec(name, _body, backoff=backoff, **options)


def supervisor(*children: ChildSpec[Any], **options: Any) -> SupervisorSpec:
    """A supervisor without limits, unless told otherwise."""
    options.setdefault("child_restart_limit", None)
    options.setdefault("report_after", 1)
    return SupervisorSpec("top", children, **options)


SHAPES: dict[str, Shape] = {}


def add(name: str, spec: SupervisorSpec, **options: Any) -> None:
    """One more shape."""
    SHAPES[name] = Shape(name, spec, **options)


STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
ORDERINGS = ("sequence", "graph")
EVERY = [(strategy, ordering) for strategy in STRATEGIES for ordering in ORDERINGS]


def _two(strategy: str, ordering: str) -> None:
    """Two children that fail, are stopped and restarted, with a backoff."""
    how = {"strategy": strategy, "ordering": ordering}
    first = child("a", delays=(1,), retry_first_start=True)
    requires = ("a",) if ordering == "graph" else ()
    second = child("b", restart="transient", requires=requires)
    add(f"two {strategy} {ordering}", supervisor(first, second, **how))


for each in EVERY:
    _two(*each)
