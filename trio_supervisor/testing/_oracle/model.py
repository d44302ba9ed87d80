"""What the oracle believes about a tree: a naive picture, kept from events and specs alone.

Nothing of the supervisor's own code is used here but the declarations and the events' types: a
mistake that both share would not be found.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_supervisor._events import events as ev
    from trio_supervisor._events.snapshot import ChildSnapshot
    from trio_supervisor._specs.policy import RestartLimit
    from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

WishName: TypeAlias = Literal["up", "done", "stopped", "quarantined", "removed"]
Doom: TypeAlias = Literal["", "hand", "group", "closing", "fault", "unknown"]

ENDED: frozenset[str] = frozenset({"done", "stopped", "quarantined", "removed"})


@final
class Kid:
    """One child.

    Attributes:
        known: Whether everything that ever happened to it has been seen.
        wish: Where it should be.
        doom: Why its live attempt has to end.
        settled: Whether those who come after it need not wait for it.
        alone: Whether it was restarted by hand, and so waits for no predecessor.
        let_go: Whether nobody in its round need wait for it: at some time it waited for somebody
            whom nobody brings back.
        held_until: Before that it must not start.
        streak: Failures in a row.
    """

    def __init__(
        self,
        path: str,
        spec: ChildSpec[Any] | None,
        index: int,
        *,
        dynamic: bool = False,
        known: bool = True,
    ) -> None:
        self.path = path
        self.name = path.rpartition("/")[2]
        self.spec = spec
        self.index = index
        self.dynamic = dynamic
        self.known = known
        self.wish: WishName = "up"
        self.doom: Doom = ""
        self.live = self.ready = self.was_ready = False
        self.ever_ready = self.done_well = self.removed_by_hand = False
        self.settled = dynamic
        self.alone = self.let_go = False
        self.attempt = self.generation = 0
        self.started_at = self.ready_at = 0.0
        self.asked_at: float | None = None
        self.asked_grace: float = inf
        self.asked_reason = ""
        self.cancelled_at: float | None = None
        self.reported = False
        self.held_until = -inf
        self.streak = 0
        self.charges: deque[float] = deque()
        self.verdict_due: ev.ChildExited | None = None
        self.node: Node | None = None  # what is below it
        self.history: deque[ev.Event] = deque(maxlen=8)

    @property
    def is_met(self) -> bool:
        """Whether those who require it may start."""
        if self.live:
            return self.ready and self.doom in ("", "unknown") and self.asked_at is None
        return self.wish == "done" and self.done_well

    @property
    def comes_back(self) -> bool:
        """Whether it is alive, or will be without help."""
        return self.live or self.wish == "up"

    def begin(self, event: ev.ChildStarted) -> None:
        """A new attempt."""
        self.live = True
        self.ready = self.was_ready = False
        self.attempt = event.attempt
        self.started_at = event.time
        self.doom = ""
        self.asked_at = self.cancelled_at = None
        self.asked_grace = inf
        self.reported = False
        self.held_until = -inf
        self.history.clear()

    def forget_failures(self, now: float) -> None:
        """If it was ready for long enough, its backoff begins anew."""
        if (
            self.spec is not None
            and self.ready
            and now - self.ready_at >= self.spec.backoff.reset_after
        ):
            self.streak = 0


@final
class Node:
    """One run of one supervisor.

    Attributes:
        known: Whether its beginning has been seen.
        rounds: For each group restart under way, who takes part and who of them is still leaving.
        must_stop: Why its stop has to begin at once, and the event that says so.
    """

    def __init__(
        self,
        path: str,
        run: int,
        spec: SupervisorSpec | None,
        above: Kid | None,
        over: Node | None,
        *,
        known: bool = True,
    ) -> None:
        self.path = path
        self.run = run
        self.spec = spec
        self.above = above
        self.over = over
        self.known = known
        self.kids: dict[str, Kid] = {}
        self.dependent: list[Kid] = []  # those that were declared and require somebody
        self.state: Literal["starting", "running", "stopping", "finished"] = "starting"
        self.stopping: ev.SupervisorStopping | None = None
        self.rounds: list[tuple[set[str], dict[str, Kid]]] = []
        self.charges: deque[float] = deque()
        self.must_stop: tuple[str, ev.Event] | None = None
        self.unresponsive = 0
        self.idle_said = False
        self.count = 0

    # ------------------------------------------------------------ who is there

    def add(self, kid: Kid) -> None:
        """A new child, at the end."""
        self.kids[kid.name] = kid
        if not kid.dynamic and kid.spec is not None and kid.spec.requires:
            self.dependent.append(kid)

    def drop(self, kid: Kid) -> None:
        """A child is gone."""
        del self.kids[kid.name]
        if kid in self.dependent:
            self.dependent.remove(kid)

    @property
    def accepts(self) -> bool:
        """Whether anybody may still start."""
        return self.state in ("starting", "running")

    @property
    def is_graph(self) -> bool:
        """Whether only requirements order the children."""
        return self.spec is not None and self.spec.ordering == "graph"

    @property
    def is_grouped(self) -> bool:
        """Whether one child's failure concerns others."""
        return self.spec is not None and self.spec.strategy != "one_for_one"

    def statics(self) -> Iterator[Kid]:
        """Those that were declared."""
        return (kid for kid in self.kids.values() if not kid.dynamic)

    def requires(self, kid: Kid) -> list[Kid]:
        """Those that ``kid`` requires itself."""
        names = () if kid.spec is None else kid.spec.requires
        return [self.kids[name] for name in names if name in self.kids]

    def dependents(self, kid: Kid) -> set[str]:
        """The names of all that require ``kid``, directly or not."""
        found: set[str] = set()
        grows = True
        while grows:
            grows = False
            for other in self.kids.values():
                if other.name in found or other.spec is None:
                    continue
                if any(name == kid.name or name in found for name in other.spec.requires):
                    found.add(other.name)
                    grows = True
        found.discard(kid.name)
        return found

    # ------------------------------------------------------------ the order

    def radius(self, kid: Kid) -> list[Kid]:
        """Those that share the fate of ``kid``."""
        if self.spec is None or self.spec.strategy == "one_for_one":
            return [kid]
        if self.spec.strategy == "one_for_all":
            return list(self.kids.values())
        after = self.dependents(kid)
        found = [kid]
        for other in self.kids.values():
            if other is kid:
                continue
            later = not self.is_graph and not kid.dynamic and other.index > kid.index
            rest = not kid.dynamic and other.dynamic
            if other.name in after or later or rest:
                found.append(other)
        return sorted(found, key=lambda member: member.index)

    def comes_after(self, kid: Kid) -> list[Kid]:
        """Those that have to be gone before ``kid`` may be stopped in order."""
        if kid.dynamic:
            return []
        if self.is_graph:
            after = self.dependents(kid)
            return [other for other in self.kids.values() if other.dynamic or other.name in after]
        return [other for other in self.kids.values() if other.dynamic or other.index > kid.index]

    def comes_before(self, kid: Kid) -> list[Kid]:
        """Those that have to be settled before ``kid`` may start in a round."""
        if self.is_graph and not kid.dynamic:
            return []  # requirements say it all
        return [other for other in self.statics() if kid.dynamic or other.index < kid.index]

    def blocker(self, kid: Kid, now: float = inf, *, surely: bool = False) -> Kid | None:
        """Who comes before ``kid`` in its round and is not settled.

        Whoever was let go once may be waited for or not, should what it requires come back in the
        same round: with ``surely`` only those count for whom everybody has to wait.
        """
        if kid.settled or kid.alone or (surely and kid.let_go):
            return None
        for other in self.comes_before(kid):
            if self.blocks(other, now) and not (surely and other.let_go):
                return other
        return None

    def blocks(self, kid: Kid, now: float = inf) -> bool:
        """Whether those after ``kid`` wait for it: not if it waits for somebody who is down.

        With ``now``, they may wait for it as well as long as it backs off.
        """
        return not kid.settled and kid.wish == "up" and not self.is_hopeless(kid, now)

    def is_hopeless(self, kid: Kid, now: float = inf) -> bool:
        """Whether ``kid`` waits for one that is down, or for one that waits for such a one."""
        seen = {kid.name}
        pending = [kid]
        while pending:
            waiting = pending.pop()
            if waiting.live or waiting.held_until > now:
                continue  # it needs nobody any more, or has not come to that yet
            for target in self.requires(waiting):
                if target.is_met:
                    continue
                if target.wish != "up":
                    return True
                if target.name not in seen:
                    seen.add(target.name)
                    pending.append(target)
        return False

    def let_go(self) -> None:
        """Note who waits in vain by now: nobody has to wait for those, whatever follows."""
        for kid in self.dependent:
            if not (kid.settled or kid.live or kid.let_go) and self.is_hopeless(kid):
                kid.let_go = True

    def leaving_with(self, kid: Kid) -> list[Kid]:
        """Those of a round of ``kid`` that are still to be gone."""
        return [
            other
            for members, leaving in self.rounds
            if kid.name in members or kid.name in leaving
            for other in leaving.values()
        ]

    def gone(self, kid: Kid) -> None:
        """Its attempt has ended: rounds go on."""
        for _, leaving in self.rounds:
            leaving.pop(kid.name, None)
        self.rounds = [entry for entry in self.rounds if entry[1]]

    @property
    def deadline(self) -> float:
        """When everything that is left has to be cancelled."""
        found = inf
        if self.stopping is not None and self.spec is not None:
            found = self.stopping.time + self.spec.shutdown_deadline
        if self.above is not None and self.above.asked_at is not None:
            found = min(found, self.above.asked_at + self.above.asked_grace)
        if self.over is not None:
            found = min(found, self.over.deadline)
        return found

    @property
    def hurries(self) -> bool:
        """Whether nobody gets any grace."""
        if self.stopping is not None and self.stopping.cause in ("cancelled", "fatal", "broken"):
            return True
        return self.above is not None and self.above.cancelled_at is not None


# ---------------------------------------------------------------- windows


def used(charges: deque[float], limit: RestartLimit, now: float) -> int:
    """How many of ``charges`` count at ``now``."""
    return sum(1 for time in charges if time > now - limit.within)


# ---------------------------------------------------------------- from a snapshot

_WISHES: dict[str, WishName] = {
    "done": "done",
    "stopped": "stopped",
    "quarantined": "quarantined",
    "removed": "removed",
}
_LIVE = ("starting", "ready", "not_ready", "stopping")


def kid_from(shown: ChildSnapshot, spec: ChildSpec[Any] | None, index: int, dynamic: bool) -> Kid:
    """A child whose past was cut off."""
    kid = Kid(shown.path, spec, index, dynamic=dynamic, known=False)
    state = shown.state.value
    kid.wish = _WISHES.get(state, "up")
    kid.live = state in _LIVE
    kid.doom = "unknown"
    kid.attempt, kid.generation = shown.attempt, shown.generation
    kid.ready = state == "ready"
    kid.was_ready = state in ("ready", "not_ready", "stopping")
    kid.ever_ready = kid.ready or shown.restarts > 0 or shown.attempt > 1
    kid.settled = True
    kid.started_at = kid.ready_at = shown.since
    if state == "stopping":
        kid.asked_at = shown.since
        kid.reported = shown.unresponsive
    if shown.until is not None:
        kid.held_until = shown.until
    kid.done_well = kid.wish == "done"
    return kid
