"""The most that a declared tree takes: seconds to start, to stop, and to give a child up."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from trio_supervisor._specs.policy import INHERIT, Ordering, ReadinessPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor._specs.child import ChildSpec
    from trio_supervisor._specs.policy import BackoffPolicy, RestartLimit
    from trio_supervisor._specs.supervisor import SupervisorSpec

_DEFAULT_GRACE = 5.0


def start_seconds(spec: SupervisorSpec) -> float:
    """Return how long the first start takes at most; `inf` if a child may try again for ever."""
    return _along(spec, _start_of)


def stop_seconds(spec: SupervisorSpec) -> float:
    """Return how long it takes at most until every child has been cancelled in an orderly stop."""
    return min(_along(spec, _stop_of), spec.shutdown_deadline)


def limit_of(child: ChildSpec[Any], supervisor: SupervisorSpec) -> RestartLimit | None:
    """Return the child's own limit, or else the one that its supervisor sets for each child."""
    limit = child.restart_limit
    return supervisor.child_restart_limit if limit is INHERIT else limit


def seconds_until_given_up(backoff: BackoffPolicy, limit: RestartLimit) -> float:
    """Return how long a child that fails at once, each time, is restarted before its limit trips.

    The answer is `inf` if the limit cannot trip: the delays of as many restarts as it admits fill
    its window.
    """
    delays = _delays(backoff, limit.max_restarts)
    total = sum(delays)
    # One that fails slowly has its backoff reset each time, at the price of being ready that long.
    slow = limit.max_restarts * (backoff.reset_after + (delays[0] if delays else 0.0))
    return total if min(total, slow) < limit.within else inf


def _delays(backoff: BackoffPolicy, count: int) -> list[float]:
    """The first delays without jitter; of long lists, the last one is repeated."""
    steps = backoff.steps
    if steps:
        return [steps[min(step, len(steps) - 1)] for step in range(min(count, 10_000))]
    found: list[float] = []
    delay = float(backoff.initial)
    for _ in range(min(count, 10_000)):
        found.append(min(delay, backoff.maximum))
        delay = min(delay * backoff.factor, 1e9)
    return found


def _along(spec: SupervisorSpec, of: Callable[[ChildSpec[Any]], float]) -> float:
    """The sum over a sequence; over a graph, that of the longest chain of requirements."""
    if spec.ordering is Ordering.SEQUENCE:
        return sum(of(child) for child in spec.children)
    longest: dict[str, float] = {}
    by_name = {child.name: child for child in spec.children}
    pending = list(by_name)
    while pending:  # no recursion: chains may be thousands long
        name = pending[-1]
        missing = [each for each in by_name[name].requires if each not in longest]
        if missing:
            pending.extend(missing)
            continue
        pending.pop()
        before = max((longest[each] for each in by_name[name].requires), default=0.0)
        longest[name] = before + of(by_name[name])
    return max(longest.values(), default=0.0)


def _start_of(child: ChildSpec[Any]) -> float:
    if child.readiness is ReadinessPolicy.IMMEDIATE:
        return 0.0
    if child.retry_first_start:
        return inf
    if child.supervisor is not None:
        return min(start_seconds(child.supervisor), child.start_timeout)
    return child.start_timeout


def _stop_of(child: ChildSpec[Any]) -> float:
    grace: float | None = child.grace
    grace = _DEFAULT_GRACE if grace is None else grace
    if child.supervisor is not None:
        return min(stop_seconds(child.supervisor), grace)
    return grace
