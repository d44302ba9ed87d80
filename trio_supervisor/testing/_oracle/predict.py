"""Predict which children stop and start when a child ends, and in which order.

The prediction follows from the declaration alone. Like the oracle, it shares no code with the
supervisor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

import attrs

from trio_supervisor._errors import ChildNotFound
from trio_supervisor._lazy import public
from trio_supervisor._specs.supervisor import SupervisorSpec

if TYPE_CHECKING:
    from trio_supervisor._specs.supervisor import ChildSpec

Stages: TypeAlias = tuple[tuple[str, ...], ...]
Ending: TypeAlias = Literal[
    "crashed", "failed", "timed_out", "unhealthy", "self_cancelled", "succeeded"
]


@public
@final
@attrs.frozen
class Failure:
    """An end of a child that `predict` is asked about.

    Attributes:
        path: The child's path, counted from the root.
        kind: The kind of exit; a success can have consequences, too.
        first_start: Whether the child has never been ready.
        at_limit: Whether the child's restart limit is used up.
    """

    path: str
    kind: Ending = "crashed"
    first_start: bool = False
    at_limit: bool = False


@public
@final
@attrs.frozen
class Prediction:
    """The consequences of a child's end, when all other children are up and ready.

    Paths are counted from the root. Each stage is complete before the next begins; inside a stage
    there is no order.

    Attributes:
        stops: The children that are stopped, in stages.
        starts: The children that are started, in stages; the failed child among them, if it comes
            back.
        removed: The children that are removed.
        held_down: Whether the failed child is quarantined.
        ends: The paths of the supervisors that end, innermost first; ``""`` is the root.
        error: Whether the root ends with an error.
    """

    stops: Stages = ()
    starts: Stages = ()
    removed: tuple[str, ...] = ()
    held_down: bool = False
    ends: tuple[str, ...] = ()
    error: bool = False

    @property
    def touched(self) -> frozenset[str]:
        """The paths of all children that are stopped, started or removed."""
        stages = (*self.stops, *self.starts, self.removed)
        return frozenset(path for stage in stages for path in stage)

    def __str__(self) -> str:
        def show(stages: Stages) -> str:
            return " → ".join(" + ".join(stage) for stage in stages) or "none"

        parts = [f"stops {show(self.stops)}", f"starts {show(self.starts)}"]
        if self.removed:
            parts.append(f"forgets {', '.join(self.removed)}")
        if self.held_down:
            parts.append("quarantines it")
        if self.ends:
            names = ", ".join(path or "the root" for path in self.ends)
            parts.append(f"ends {names}{' with an error' if self.error else ''}")
        return "; ".join(parts)


@public
def predict(spec: SupervisorSpec, failure: Failure | str) -> Prediction:
    """Predict which children must stop and start when one ends, and in which order.

    All children are assumed to be up and ready; for a failed first start, its predecessors only.
    ``decide`` is not called.

    Args:
        spec: The tree.
        failure: How the child ends; a path alone means that it crashes, has been ready, and may be
            restarted.

    Raises:
        ChildNotFound: No child of that path is declared.

    Example:
        ``predict(APP, "store").stops`` is ``(("web",), ("consumer",))`` under rest_for_one
    """
    if isinstance(failure, str):
        failure = Failure(failure)
    above, _, name = failure.path.rpartition("/")
    supervisor = _supervisor(spec, above)
    child = _child(supervisor, name, failure.path)
    prefix = f"{above}/" if above else ""
    if failure.first_start and failure.kind != "succeeded" and not child.retry_first_start:
        return _give_up(spec, above, before=child, first_start=True)
    action = _action(child, failure)
    if action in ("done", "remove"):
        removed: tuple[str, ...] = (failure.path,) if action == "remove" else ()
        if _ends(supervisor, child):
            return _give_up(spec, above, without=child, removed=removed)
        return Prediction(removed=removed)
    if failure.at_limit:
        if child.on_limit == "quarantine":
            return Prediction(held_down=True)
        return _give_up(spec, above, without=child, error=True)
    radius = _radius(supervisor, child)
    others = [member for member in radius if member is not child]
    forgotten = tuple(prefix + m.name for m in others if m.restart == "temporary")
    starting = [m for m in radius if m is child or m.restart != "temporary"]
    return Prediction(
        stops=_stop_stages(supervisor, others, prefix),
        starts=_start_stages(supervisor, starting, prefix),
        removed=forgotten,
    )


def _action(child: ChildSpec[Any], failure: Failure) -> str:
    if child.restart == "temporary":
        return "remove"
    if child.restart == "transient" and failure.kind == "succeeded":
        return "done"
    return "restart"


def _ends(supervisor: SupervisorSpec, child: ChildSpec[Any]) -> bool:
    mode = supervisor.auto_shutdown
    others = [other for other in supervisor.children if other is not child]
    if mode == "any_significant":
        return child.significant
    if mode == "all_significant":
        return child.significant and not any(other.significant for other in others)
    return mode == "all_done" and not others


def _give_up(
    spec: SupervisorSpec,
    above: str,
    *,
    without: ChildSpec[Any] | None = None,
    before: ChildSpec[Any] | None = None,
    removed: tuple[str, ...] = (),
    error: bool = False,
    first_start: bool = False,
) -> Prediction:
    """Predict the consequences of the end of the supervisor at ``above``."""
    supervisor = _supervisor(spec, above)
    prefix = f"{above}/" if above else ""
    alive = [child for child in supervisor.children if child is not without]
    if before is not None:
        alive = _started_before(supervisor, before)
    stops = _stop_stages(supervisor, alive, prefix)
    error = error or first_start
    if not above:
        return Prediction(stops, (), removed, False, ("",), error)
    kind: Ending = "crashed" if error else "succeeded"
    outer = predict(spec, Failure(above, kind, first_start=first_start))
    return attrs.evolve(
        outer,
        stops=(*stops, *outer.stops),
        removed=(*removed, *outer.removed),
        ends=(above, *outer.ends),
    )


def _started_before(supervisor: SupervisorSpec, child: ChildSpec[Any]) -> list[ChildSpec[Any]]:
    if supervisor.ordering == "graph":
        return [other for other in supervisor.children if other is not child]
    return list(supervisor.children[: supervisor.children.index(child)])


def _radius(supervisor: SupervisorSpec, child: ChildSpec[Any]) -> list[ChildSpec[Any]]:
    children = list(supervisor.children)
    if supervisor.strategy == "one_for_one":
        return [child]
    if supervisor.strategy == "one_for_all":
        return children
    if supervisor.ordering == "sequence":
        return children[children.index(child) :]
    found = {child.name}
    for _ in children:
        found |= {other.name for other in children if found & set(other.requires)}
    return [other for other in children if other.name in found]


def _start_stages(supervisor: SupervisorSpec, members: list[ChildSpec[Any]], prefix: str) -> Stages:
    stages: list[tuple[str, ...]] = []
    for layer in _layers(supervisor, members):
        stages.append(tuple(prefix + member.name for member in layer))
        for member in layer:
            if member.supervisor is not None:
                inner = f"{prefix}{member.name}/"
                below = list(member.supervisor.children)
                stages += _start_stages(member.supervisor, below, inner)
    return tuple(stages)


def _stop_stages(supervisor: SupervisorSpec, members: list[ChildSpec[Any]], prefix: str) -> Stages:
    stages: list[tuple[str, ...]] = []
    for layer in reversed(_layers(supervisor, members)):
        for member in layer:
            if member.supervisor is not None:
                inner = f"{prefix}{member.name}/"
                below = list(member.supervisor.children)
                stages += _stop_stages(member.supervisor, below, inner)
        stages.append(tuple(prefix + member.name for member in layer))
    return tuple(stages)


def _layers(
    supervisor: SupervisorSpec, members: list[ChildSpec[Any]]
) -> list[list[ChildSpec[Any]]]:
    """Group the children that start together: singly in a sequence, by requirements in a graph."""
    if supervisor.ordering == "sequence":
        return [[member] for member in members]
    layers: list[list[ChildSpec[Any]]] = []
    placed: set[str] = set()
    names = {member.name for member in members}
    left = list(members)
    while left:
        layer = [m for m in left if not (set(m.requires) & names) - placed]
        layers.append(layer)
        placed |= {member.name for member in layer}
        left = [member for member in left if member.name not in placed]
    return layers


def _supervisor(spec: SupervisorSpec, path: str) -> SupervisorSpec:
    for step in path.split("/") if path else ():
        inner = _child(spec, step, path).supervisor
        if inner is None:
            raise ChildNotFound(f"{path!r} is no supervisor")
        spec = inner
    return spec


def _child(supervisor: SupervisorSpec, name: str, path: str) -> ChildSpec[Any]:
    for child in supervisor.children:
        if child.name == name:
            return child
    names = ", ".join(child.name for child in supervisor.children) or "none"
    raise ChildNotFound(f"there is no child {path!r}; {supervisor.name} has: {names}")
