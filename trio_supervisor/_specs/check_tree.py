"""Checks that need all children: names, requirements, cycles, significance, nesting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trio_supervisor._specs.checks import refuse
from trio_supervisor._specs.policy import AutoShutdown, Inherit, Ordering, RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

_HEEDS_SIGNIFICANT = (AutoShutdown.ANY_SIGNIFICANT, AutoShutdown.ALL_SIGNIFICANT)
_MOST_NAMES = 8
MOST_LEVELS: Final = 64
"""How many parts the path of a supervisor may have.

Python's `pickle`, `copy.deepcopy` and comparison recurse, with some frames for each level of a
snapshot; at twice this depth the first of them fails.
"""


def check_depth(owner: str, path: str, spec: SupervisorSpec) -> None:
    """Check that the tree does not become too deep if ``spec`` runs below ``path``.

    Args:
        owner: For the message.
        path: Of the supervisor, or the child, right above; empty for the root of a tree.
        spec: The supervisor, with all below it.

    Raises:
        SpecError: The path of one of these supervisors would have more than `MOST_LEVELS` parts.
    """
    above = path.count("/") + 1 if path else 0
    if above + spec._depth > MOST_LEVELS:
        expected = f"at most {MOST_LEVELS} levels of supervisors, one below the other"
        refuse(owner, "children", f"{above + spec._depth} levels", expected)


def depth_of(children: tuple[ChildSpec[Any], ...]) -> int:
    """The number of levels of a supervisor with ``children``."""
    below = [child.supervisor._depth for child in children if child.supervisor is not None]
    return 1 + max(below, default=0)


def check_supervisor(spec: SupervisorSpec) -> None:
    """Everything about a supervisor that no field shows alone.

    Raises:
        SpecError: The declaration could not work, or an option in it could have no effect.
    """
    owner = f"SupervisorSpec {spec.name!r}"
    children = spec.children
    siblings: dict[str, ChildSpec[Any]] = {}
    for index, child in enumerate(children):
        siblings.setdefault(child.name, child)
        if len(siblings) == index:
            first = list(siblings).index(child.name)
            expected = f"a name of its own for each child (children[{first}] has this one too)"
            refuse(owner, f"children[{index}].name", child.name, expected)
    most = spec.max_children
    if most is not None and most < len(children):
        expected = f"at least {len(children)}, the number of static children"
        refuse(owner, "max_children", most, expected)
    required = nested = significant = False
    for child in children:
        _check_inherited(child, spec)
        required = required or bool(child.requires)
        nested = nested or child.supervisor is not None
        significant = significant or child.significant
    if not significant:
        _check_auto_shutdown(owner, spec)
    if required:
        _check_static_requires(spec, siblings)
    if nested:
        check_depth(owner, "", spec)
        _check_nesting(owner, spec)


def check_child_of(
    spec: ChildSpec[Any], supervisor: SupervisorSpec, siblings: Mapping[str, ChildSpec[Any]]
) -> None:
    """Check one child that is to be added at run time against its supervisor.

    Args:
        spec: The child.
        supervisor: The supervisor that it is to be added to.
        siblings: Its siblings by name; the required ones are enough.

    Raises:
        SpecError: It requires an unknown or a temporary sibling, or has an option that could have
            no effect under this supervisor. That its name is taken is not found here.
    """
    _check_inherited(spec, supervisor)
    for name in spec.requires:
        _check_required(spec, supervisor, name, siblings)


def _owner(child: ChildSpec[Any], supervisor: SupervisorSpec) -> str:
    return f"ChildSpec {child.name!r} in SupervisorSpec {supervisor.name!r}"


def _check_inherited(child: ChildSpec[Any], supervisor: SupervisorSpec) -> None:
    """Options of a child that need something of its supervisor."""
    if child.significant and supervisor.auto_shutdown not in _HEEDS_SIGNIFICANT:
        expected = (
            f"False under auto_shutdown={str(supervisor.auto_shutdown)!r}, which does not ask "
            "(give the supervisor auto_shutdown='any_significant' or 'all_significant')"
        )
        refuse(_owner(child, supervisor), "significant", True, expected)
    if (
        supervisor.child_restart_limit is None
        and child.restart_limit is Inherit.INHERIT
        and "on_limit" in child._given
    ):
        expected = (
            "no on_limit without a limit of this child (give it a restart_limit, or its supervisor "
            "a child_restart_limit)"
        )
        refuse(_owner(child, supervisor), "on_limit", str(child.on_limit), expected)


def _check_auto_shutdown(owner: str, spec: SupervisorSpec) -> None:
    """No child is significant: then a significant one must be able to come later."""
    if spec.auto_shutdown in _HEEDS_SIGNIFICANT and spec.max_children == len(spec.children):
        expected = (
            "a child with significant=True, or room for one to be added later "
            f"(max_children={spec.max_children} leaves none)"
        )
        refuse(owner, "auto_shutdown", str(spec.auto_shutdown), expected)


def _check_required(
    child: ChildSpec[Any],
    supervisor: SupervisorSpec,
    name: str,
    siblings: Mapping[str, ChildSpec[Any]],
) -> None:
    target = siblings.get(name)
    if target is None:
        others = [repr(other) for other in siblings if other != child.name]
        listed = ", ".join(others[:_MOST_NAMES]) + (", ..." if len(others) > _MOST_NAMES else "")
        known = f" ({listed})" if others else ""
        refuse(_owner(child, supervisor), "requires", name, f"the name of a sibling{known}")
    if target.restart is RestartPolicy.TEMPORARY:
        expected = (
            f"a child that stays known: {name!r} is restart='temporary', forgotten at its end"
        )
        refuse(_owner(child, supervisor), "requires", name, expected)


def _check_static_requires(spec: SupervisorSpec, siblings: dict[str, ChildSpec[Any]]) -> None:
    place = {name: index for index, name in enumerate(siblings)}
    later: tuple[ChildSpec[Any], str] | None = None
    for child in spec.children:
        for name in child.requires:
            _check_required(child, spec, name, siblings)
            if later is None and place[name] > place[child.name]:
                later = child, name
    # Without a requirement of a later child there can be no cycle.
    if later is None:
        return
    cycle = _find_cycle(siblings)
    if cycle is not None:
        refuse(f"SupervisorSpec {spec.name!r}", "requires", " → ".join(cycle), "no cycle")
    if spec.ordering is Ordering.SEQUENCE:
        child, name = later
        expected = (
            f"an earlier sibling: in ordering='sequence' {name!r} starts after {child.name!r} "
            "(list it first, or use ordering='graph')"
        )
        refuse(_owner(child, spec), "requires", name, expected)


def _find_cycle(siblings: Mapping[str, ChildSpec[Any]]) -> list[str] | None:
    """A cycle of requirements, its first name repeated at its end; never recursive."""
    done: set[str] = set()
    for start in siblings:
        if start in done:
            continue
        # The way down from `start`, in order, and what is still to be tried at each step of it.
        trail: dict[str, Iterator[str]] = {start: iter(siblings[start].requires)}
        while trail:
            here, choices = next(reversed(trail.items()))
            for name in choices:
                if name in trail:
                    names = list(trail)
                    return [*names[names.index(name) :], name]
                if name not in done:
                    trail[name] = iter(siblings[name].requires)
                    break
            else:
                done.add(here)
                del trail[here]
    return None


def _check_nesting(owner: str, spec: SupervisorSpec) -> None:
    """No supervisor below this one may contain itself: a tree of it would have no end.

    Frozen specs cannot be tied into a knot by fair means, hence by identity and not by value: two
    equal supervisors on one branch are fine.
    """
    done: set[int] = set()
    trail: dict[int, tuple[SupervisorSpec, Iterator[ChildSpec[Any]]]] = {}
    trail[id(spec)] = spec, iter(spec.children)
    while trail:
        here, (supervisor, children) = next(reversed(trail.items()))
        for child in children:
            below = child.supervisor
            if below is None or id(below) in done:
                continue
            if id(below) in trail:
                names = [outer.name for outer, _ in trail.values()]
                names = [*names[list(trail).index(id(below)) :], below.name]
                refuse(owner, "children", " → ".join(names), "a tree that does not contain itself")
            trail[id(below)] = below, iter(below.children)
            break
        else:
            done.add(here)
            del trail[id(supervisor)]
