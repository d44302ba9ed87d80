"""The options of specs as types, for functions that hand them on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypedDict

import trio_supervisor
from trio_supervisor._events.exits import ChildRunReport
from trio_supervisor._specs.decisions import RestartDecision
from trio_supervisor._specs.policy import (
    AutoShutdownLike,
    BackoffPolicy,
    Inherit,
    OnLimitLike,
    OrderingLike,
    ReadinessPolicyLike,
    RestartLimit,
    RestartPolicyLike,
    StrategyLike,
)


class ChildOptions(TypedDict, total=False):
    """The options of a `ChildSpec`."""

    restart: RestartPolicyLike
    readiness: ReadinessPolicyLike | None
    start_timeout: float | None
    retry_first_start: bool
    max_runtime: float
    stale_after: float
    grace: float | None
    backoff: BackoffPolicy | None
    restart_limit: RestartLimit | Inherit | None
    on_limit: OnLimitLike | None
    requires: Iterable[str | trio_supervisor.ChildSpec[Any] | trio_supervisor.SupervisorSpec]
    significant: bool
    decide: Callable[[ChildRunReport], RestartDecision | None] | None
    log_level: int | str | None
    fatal_is_failure: tuple[type[BaseException], ...]


class ChildChanges(ChildOptions, total=False):
    """The fields that `ChildSpec.replace` can change."""

    name: str
    run: Callable[..., Awaitable[object]]
    args: tuple[Any, ...]


class SupervisorOptions(TypedDict, total=False):
    """The options of a `SupervisorSpec`, all of which `open_supervisor` takes as well."""

    name: str
    children: Iterable[trio_supervisor.ChildSpec[Any] | trio_supervisor.SupervisorSpec]
    strategy: StrategyLike
    ordering: OrderingLike
    restart_limit: RestartLimit | None
    child_restart_limit: RestartLimit | Inherit | None
    auto_shutdown: AutoShutdownLike
    max_children: int | None
    shutdown_deadline: float
    report_after: float
    log_level: int | str | None


class SupervisorChanges(SupervisorOptions, total=False):
    """The fields that `SupervisorSpec.replace` can change."""


class Declared:
    """The base class of both kinds of spec."""

    __slots__ = ()

    name: str
