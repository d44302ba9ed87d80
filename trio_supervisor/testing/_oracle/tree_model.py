"""The oracle's model of a whole tree, and the list of violations found in it.

The rules (`rules_exit`, `rules_rest`, `rules_run`, `rules_tree`) read and change this model; the
`Oracle` feeds them the events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from trio_supervisor.testing._oracle.model import ChildModel, SupervisorModel, child_from
from trio_supervisor.testing._oracle.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from trio_supervisor._events import events as ev
    from trio_supervisor._events.snapshot import SupervisorSnapshot
    from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

_MOST: Final = 20


@final
class TreeModel:
    """All supervisors of one tree as the events show them.

    Attributes:
        slack: Seconds by which anything may come late.
        now: The time of the newest event.
        last: The newest event.
        supervisors: The runs that are not over, by path.
        pending: Children that may owe a change before time passes, each with its supervisor.
        inside: Attempts, as (run, path, number), that gave up their grace; `None` if not known.
        violations: The broken promises found so far, each invariant once for each child.
    """

    def __init__(
        self,
        spec: SupervisorSpec,
        *,
        base: SupervisorSnapshot | None,
        added: Mapping[Any, ChildSpec[Any]] | None,
        slack: float,
        inside: Container[tuple[int, str, int]] | None,
    ) -> None:
        self.spec = spec
        self.inside = inside
        self.slack = slack + 1e-6
        self.now = 0.0
        self.last: ev.Event | None = None
        self.root: SupervisorModel | None = None
        self.supervisors: dict[str, SupervisorModel] = {}
        self.pending: dict[ChildModel, SupervisorModel] = {}
        self.violations: list[Violation] = []
        self._added = {} if added is None else added
        self._known: set[tuple[str, str]] = set()
        if base is not None and base.path:
            self._recall(base, None, None)

    def fail(
        self,
        invariant: str,
        text: str,
        event: ev.Event | None,
        *about: ChildModel | ev.Event | None,
    ) -> None:
        """Note a violation; ``about`` are the children and events that show it."""
        event = self.last if event is None else event
        assert event is not None
        if (invariant, event.path) in self._known or len(self.violations) >= _MOST:
            return
        self._known.add((invariant, event.path))
        found = {event.sequence: event}
        for one in about:
            if isinstance(one, ChildModel):
                found.update((past.sequence, past) for past in one.history)
            elif one is not None:
                found[one.sequence] = one
        excerpt = tuple(found[number] for number in sorted(found))
        self.violations.append(Violation(invariant, text, event, excerpt))

    def spec_of_added(self, event: ev.ChildAdded) -> ChildSpec[Any] | None:
        """Return the spec of a child that was added at run time, if it was given."""
        if event.sequence in self._added:
            return self._added[event.sequence]
        parts = event.path.split("/")
        for pattern, spec in self._added.items():
            wanted = pattern.split("/") if isinstance(pattern, str) else []
            if len(wanted) == len(parts) and all(
                want in ("*", part) for want, part in zip(wanted, parts, strict=True)
            ):
                return spec
        return None

    def spec_at(self, path: str, above: ChildModel | None) -> SupervisorSpec | None:
        """Return the declaration of the supervisor at ``path``, if it is known."""
        if above is not None:
            return None if above.spec is None else above.spec.supervisor
        return self.spec if path == self.spec.name or path.endswith(f"/{self.spec.name}") else None

    def drop(self, supervisor: SupervisorModel) -> None:
        """Forget a supervisor after its run, and all supervisors below it."""
        self.supervisors.pop(supervisor.path, None)
        for child in supervisor.children.values():
            self.pending.pop(child, None)
            if child.below is not None:
                self.drop(child.below)

    def _recall(
        self,
        shown: SupervisorSnapshot,
        above: ChildModel | None,
        over: SupervisorModel | None,
    ) -> None:
        """Build the model of a tree without its past, which is not in the events."""
        spec = self.spec_at(shown.path, above)
        supervisor = SupervisorModel(shown.path, shown.run, spec, above, over, known=False)
        state: Any = shown.state.value
        supervisor.state = state
        self.supervisors[shown.path] = supervisor
        if above is None:
            self.root = supervisor
        else:
            above.below = supervisor
        declared = {} if spec is None else {child.name: child for child in spec.children}
        for entry in shown.children:
            dynamic = entry.name not in declared
            child = child_from(entry, declared.get(entry.name), supervisor.count, dynamic)
            supervisor.count += 1
            supervisor.add(child)
            self.pending[child] = supervisor
            if entry.supervisor is not None:
                self._recall(entry.supervisor, child, supervisor)
