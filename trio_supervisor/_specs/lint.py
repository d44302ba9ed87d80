"""Numbers of a declared tree that are valid and still do not do what they are there for.

A `SpecError` refuses what cannot work. What is found here works, and surprises its operator in
production: a restart limit that can never trip, graces that the init system does not wait for,
a supervisor that restarts a failing pool for ever.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, final

from trio_supervisor._lazy import public
from trio_supervisor._record import Record
from trio_supervisor._specs.numbers import limit_of, seconds_until_given_up, stop_seconds
from trio_supervisor._specs.policy import RestartLimit, RestartPolicy
from trio_supervisor._specs.supervisor import SupervisorSpec
from trio_supervisor._specs.uses import uses_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_supervisor._specs.child import ChildSpec

_SOON = 5.0
_DEFAULT = SupervisorSpec().child_restart_limit or RestartLimit(10, within=120)
_MARGIN = 5.0
"""Seconds that a process needs beside its children's graces."""


@public
@final
class LintWarning(Record):
    """One finding of `lint`.

    Attributes:
        code: What kind: ``limit-never-trips gives-up-soon outer-limit-never-trips hot-loop
            grace-over-deadline stop-over-timeout stop-without-end grace-unheard
            heartbeat-never-sent``.
        path: The child or supervisor.
        message: What follows from the numbers, and what would change it.
    """

    code: str
    path: str
    message: str


@public
def lint(spec: SupervisorSpec, *, stop_timeout: float | None = None) -> tuple[LintWarning, ...]:
    """Look for numbers in a tree that do not fit together.

    Use it in a test suite, ``assert not lint(APP)``, or as ``trio-supervisor check``.

    Args:
        spec: The tree.
        stop_timeout: Seconds after which the init system kills the process: ``TimeoutStopSec=`` of
            the unit, or ``terminationGracePeriodSeconds`` of the pod. Default: not checked.

    Returns:
        The findings, in the order of the tree; ideally none.
    """
    return tuple(_lint(spec, spec.name, stop_timeout))


def _lint(spec: SupervisorSpec, path: str, stop_timeout: float | None) -> Iterator[LintWarning]:
    pending = [(spec, path)]
    yield from _lint_whole_stop(spec, path, stop_timeout)
    while pending:
        supervisor, here = pending.pop(0)
        yield from _lint_stop(supervisor, here)
        for child in supervisor.children:
            below = f"{here}/{child.name}"
            yield from _lint_limits(supervisor, child, below)
            yield from _lint_body(child, below)
            if child.supervisor is not None:
                pending.append((child.supervisor, below))


# ---------------------------------------------------------------- stopping


def _lint_whole_stop(
    spec: SupervisorSpec, path: str, stop_timeout: float | None
) -> Iterator[LintWarning]:
    longest = stop_seconds(spec)
    if stop_timeout is None:
        return
    if longest == inf:
        yield LintWarning(
            "stop-without-end",
            path,
            f"a stop may take for ever, but the process is killed after {stop_timeout:g}s:"
            " give the tree a shutdown_deadline",
        )
    elif longest + _MARGIN > stop_timeout:
        yield LintWarning(
            "stop-over-timeout",
            path,
            f"an orderly stop takes up to {longest:g}s, but the process is killed after"
            f" {stop_timeout:g}s: allow {longest + _MARGIN:g}s, or set shutdown_deadline",
        )


def _lint_stop(spec: SupervisorSpec, path: str) -> Iterator[LintWarning]:
    graces = stop_seconds(spec.replace(shutdown_deadline=inf))
    if spec.shutdown_deadline < graces < inf:
        yield LintWarning(
            "grace-over-deadline",
            path,
            f"the graces add up to {graces:g}s, but shutdown_deadline is"
            f" {spec.shutdown_deadline:g}s: the last children to stop are cut off",
        )


# ---------------------------------------------------------------- restarting


def _lint_limits(
    supervisor: SupervisorSpec, child: ChildSpec[Any], path: str
) -> Iterator[LintWarning]:
    if child.restart is RestartPolicy.TEMPORARY:
        return
    limit = limit_of(child, supervisor) or supervisor.restart_limit
    if limit is None:
        if not child.backoff.steps and child.backoff.initial == 0:
            yield LintWarning(
                "hot-loop",
                path,
                "it is restarted without limit and without delay: a child that fails at once"
                " takes all the processor time that there is",
            )
        return
    tolerated = seconds_until_given_up(child.backoff, limit)
    times = f"{limit.max_restarts} restarts in {limit.within:g}s"
    if tolerated == inf:
        yield LintWarning(
            "limit-never-trips",
            path,
            f"its limit of {times} can never trip: the delays of its backoff fill that time",
        )
        return
    if child.supervisor is None and 0 < limit.max_restarts and tolerated < _SOON:
        yield LintWarning(
            "gives-up-soon",
            path,
            f"if what it needs is gone, it is given up after {tolerated:g}s ({times}):"
            " a longer backoff or a larger limit would bridge a restart of that",
        )
    yield from _lint_nesting(child, path, limit.max_restarts, limit.within)


def _lint_nesting(
    child: ChildSpec[Any], path: str, max_restarts: int, within: float
) -> Iterator[LintWarning]:
    """A nested supervisor fails as fast as its fastest child is given up, and no faster."""
    if child.supervisor is None:
        return
    inner = child.supervisor
    fastest = inf
    for below in inner.children:
        limit = limit_of(below, inner) or inner.restart_limit
        if limit is not None and below.restart is not RestartPolicy.TEMPORARY:
            fastest = min(fastest, seconds_until_given_up(below.backoff, limit))
    default = (max_restarts, within) == (_DEFAULT.max_restarts, _DEFAULT.within)
    if fastest < inf and max_restarts * fastest >= within and not default:
        yield LintWarning(
            "outer-limit-never-trips",
            path,
            f"a child below it is given up after {fastest:g}s at the earliest, so its own limit of"
            f" {max_restarts} restarts in {within:g}s is never reached: it restarts for ever",
        )


# ---------------------------------------------------------------- bodies


def _lint_body(child: ChildSpec[Any], path: str) -> Iterator[LintWarning]:
    uses = uses_of(child.run)
    if uses is None or child.supervisor is not None:
        return
    grace: float | None = child.grace
    if grace and not uses & {"stop_requested", "wait_stop_requested", "stop_scope"}:
        yield LintWarning(
            "grace-unheard",
            path,
            f"its body never looks at the stop request, so each stop waits {grace:g}s for nothing:"
            " use child.stop_scope(), or set grace=0",
        )
    if child.stale_after < inf and not uses & {"heartbeat", "busy"}:
        yield LintWarning(
            "heartbeat-never-sent",
            path,
            f"its body never calls child.heartbeat(), so each attempt is ended after"
            f" {child.stale_after:g}s",
        )
