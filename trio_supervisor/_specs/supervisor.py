"""Supervisors as a user declares them. Frozen, validated when they are made."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any, Final, Never, Unpack, final

import attrs

import trio_supervisor
from trio_supervisor._errors import SupervisorError
from trio_supervisor._lazy import public
from trio_supervisor._specs.body import Body
from trio_supervisor._specs.check_tree import (
    check_child_of,
    check_depth,
    check_supervisor,
    depth_of,
)
from trio_supervisor._specs.checks import (
    check_choice,
    check_count,
    check_level,
    check_name,
    check_seconds,
    items_of,
    refuse,
)
from trio_supervisor._specs.child import ChildSpec
from trio_supervisor._specs.options import ChildOptions, Declared, SupervisorChanges
from trio_supervisor._specs.policy import (
    INHERIT,
    AutoShutdown,
    AutoShutdownLike,
    Inherit,
    Ordering,
    OrderingLike,
    ReadinessPolicy,
    RestartLimit,
    StrategyLike,
    SupervisionStrategy,
    check_limit,
)
from trio_supervisor._text import is_a

__all__ = ["INHERIT", "ChildSpec", "SupervisorSpec", "check_child_of", "check_depth"]

DEFAULT_CHILD_LIMIT: Final = RestartLimit(10, within=120)


def _run_nested(child: trio_supervisor.ChildContext) -> Never:
    """Stands in as the body of a nested supervisor, which only a supervisor can run."""
    raise SupervisorError(f"{child.path} is a nested supervisor: only a supervisor can run it")


_NESTED: Final[Body[Any]] = Body(
    call=_run_nested, label="supervisor", readiness=ReadinessPolicy.EXPLICIT, hears_stop=True
)


@public
@final
@attrs.frozen(init=False, repr=False, hash=False, weakref_slot=False)
class SupervisorSpec(Declared):
    """A supervisor: its children, their order, and what happens to all of them when one fails.

    Stands among the children of another supervisor as it is, or as what `as_child` returns.

    Args:
        name: The first part of every path below it; unique among its siblings if it is nested.
        children: `ChildSpec` and `SupervisorSpec` objects, in the order in which they start.
        strategy: Which children restart with a failed one: ``"one_for_one"`` (none, the default),
            ``"one_for_all"`` or ``"rest_for_one"`` (its successors and its dependents).
        ordering: ``"sequence"`` (default: each child waits for the one before it) or ``"graph"``
            (each child waits only for its ``requires``).
        restart_limit: OTP's shared window over all children (intensity and period); none by
            default. Beyond it the supervisor gives up.
        child_restart_limit: The window of each child that has none of its own; `None` for no limit.
            Default: 10 restarts in 120 s, or no limit if ``restart_limit`` is given.
        auto_shutdown: ``"never"``, ``"any_significant"``, ``"all_significant"`` (EEP-56) or
            ``"all_done"``: no child is alive, and none can come back without a command. A child
            that an operator stopped or quarantined keeps the supervisor open, and an empty
            supervisor waits for its first child. If policy has quarantined a child by then, the
            supervisor ends with a `SupervisorError` that names this child.
        max_children: How many children may hold a name at a time, static ones included; `None` for
            any number.
        shutdown_deadline: Seconds in which a shutdown has to have cancelled everything left.
        report_after: Seconds between the cancel of a child and the report that it does not end.
        log_level: The lowest level that is logged of this supervisor and all below it, such as
            ``"warning"`` for a pool of connections. A child's own ``log_level`` replaces it for
            that child. Default: that of the supervisor above, or else what the logger decides.

    Both seconds may be `math.inf`, meaning never.

    Raises:
        SpecError: A value out of range, children that do not fit together, or a combination in
            which an option could have no effect. Also more than 64 levels of supervisors, one below
            the other; one that is added or opened at run time counts from the root of its tree.

    Example:
        ``SupervisorSpec("app", [STORE, ChildSpec("web", serve, 8080)], strategy="rest_for_one")``
    """

    name: str
    children: tuple[ChildSpec[Any], ...]
    strategy: SupervisionStrategy
    ordering: Ordering
    restart_limit: RestartLimit | None
    child_restart_limit: RestartLimit | None
    auto_shutdown: AutoShutdown
    max_children: int | None
    shutdown_deadline: float
    report_after: float
    log_level: int | None
    _child_limit_given: bool = attrs.field(eq=False)
    _depth: int = attrs.field(eq=False)

    def __init__(
        self,
        name: str = "supervisor",
        children: Iterable[ChildSpec[Any] | SupervisorSpec] = (),
        *,
        strategy: StrategyLike = "one_for_one",
        ordering: OrderingLike = "sequence",
        restart_limit: RestartLimit | None = None,
        child_restart_limit: RestartLimit | Inherit | None = INHERIT,
        auto_shutdown: AutoShutdownLike = "never",
        max_children: int | None = None,
        shutdown_deadline: float = inf,
        report_after: float = 5,
        log_level: int | str | None = None,
    ) -> None:
        name = check_name("SupervisorSpec", name)
        owner = f"SupervisorSpec {name!r}"
        check_limit(owner, "restart_limit", restart_limit)
        given = child_restart_limit is not INHERIT
        if not given:
            # OTP's window, where it is used, is the only one unless another one is declared.
            child_restart_limit = DEFAULT_CHILD_LIMIT if restart_limit is None else None
        check_limit(owner, "child_restart_limit", child_restart_limit)
        if max_children is not None:
            max_children = check_count(owner, "max_children", max_children)
        put = object.__setattr__  # the class is frozen
        put(self, "name", name)
        put(self, "children", _as_children(owner, children))
        put(self, "_depth", depth_of(self.children))
        put(self, "strategy", check_choice(owner, "strategy", strategy, SupervisionStrategy))
        put(self, "ordering", check_choice(owner, "ordering", ordering, Ordering))
        put(self, "restart_limit", restart_limit)
        put(self, "child_restart_limit", child_restart_limit)
        put(self, "_child_limit_given", given)
        chosen = check_choice(owner, "auto_shutdown", auto_shutdown, AutoShutdown)
        put(self, "auto_shutdown", chosen)
        put(self, "max_children", max_children)
        deadline = check_seconds(owner, "shutdown_deadline", shutdown_deadline)
        put(self, "shutdown_deadline", deadline)
        put(self, "report_after", check_seconds(owner, "report_after", report_after))
        put(self, "log_level", check_level(owner, "log_level", log_level))
        check_supervisor(self)

    def as_child(self, **options: Unpack[ChildOptions]) -> ChildSpec[trio_supervisor.Supervisor]:
        """Return this supervisor as a child of another one, with options for that role.

        It is ready, with its `Supervisor` as value, once its own first start is complete. By
        default it may take any time to start and to stop, since its children have limits of their
        own (OTP: ``shutdown: infinity``); ``grace`` and ``start_timeout`` change that.

        Args:
            **options: Options of a `ChildSpec`. ``readiness`` can only be ``"explicit"``, and there
                is no ``stale_after``: a supervisor sends no heartbeats.

        Raises:
            SpecError: A value out of range, or an option that could have no effect.

        Example:
            ``SupervisorSpec("sessions").as_child(grace=10, restart="transient")``
        """
        if options.get("grace") is None:
            options["grace"] = inf
        options.setdefault("log_level", self.log_level)
        if options.get("start_timeout") is None:
            options["start_timeout"] = inf
        child: ChildSpec[trio_supervisor.Supervisor] = ChildSpec(self.name, _NESTED, **options)
        object.__setattr__(child, "supervisor", self)
        return child

    def replace(self, **changes: Unpack[SupervisorChanges]) -> SupervisorSpec:
        """Return a copy with some fields changed, validated anew.

        Args:
            **changes: Any field.

        Raises:
            SpecError: As for a new one.
        """
        fields: dict[str, Any] = {field: getattr(self, field) for field in _FIELDS}
        if not self._child_limit_given:
            del fields["child_restart_limit"]  # its default depends on `restart_limit`
        fields.update(changes)
        return SupervisorSpec(**fields)

    __replace__ = replace  # copy.replace() of newer Pythons

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        shown = [repr(self.name)]
        if self.children:
            count = len(self.children)
            shown.append(f"<{count} {'child' if count == 1 else 'children'}>")
        if self.strategy is not SupervisionStrategy.ONE_FOR_ONE:
            shown.append(f"strategy={str(self.strategy)!r}")
        return f"SupervisorSpec({', '.join(shown)})"


_FIELDS: Final = tuple(name for name in attrs.fields_dict(SupervisorSpec) if name[0] != "_")


def _as_children(owner: str, children: object) -> tuple[ChildSpec[Any], ...]:
    expected = "a list of ChildSpec and SupervisorSpec"
    if is_a(children, Declared):
        refuse(owner, "children", children, expected)
    found: list[ChildSpec[Any]] = []
    for index, child in enumerate(items_of(owner, "children", children, expected)):
        if is_a(child, ChildSpec):
            found.append(child)
        elif is_a(child, SupervisorSpec):
            found.append(child.as_child())
        else:
            refuse(owner, f"children[{index}]", child, "a ChildSpec or a SupervisorSpec")
    return tuple(found)
