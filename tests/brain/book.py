"""Who is there, who has to start and who has to go: the facts that the oracle reasons about.

Every *round* is kept as an explicit set of names: who of it has to go, and who of it has to start.
Of each child the book can say why it must not start, or why it may wait. Those are two questions on
purpose: where the contract leaves room, either answer is fine.
"""

from __future__ import annotations

from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, Self, final

from brain.kid import Kid
from trio_supervisor._brain import messages as o
from trio_supervisor._specs import policy as p

if TYPE_CHECKING:
    from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

Names = frozenset[str]
Round = tuple[Names, Names, Names]  # who has to start, who has to go, and whose fate it is
ALIVE = ("starting", "running")
TAKES_PART = ("up", "done")


class BrokenRuleError(AssertionError):
    """The brain has done what the contract forbids, or has not done what it asks for."""


def need(fact: object, *why: object) -> None:
    """Complain unless ``fact``."""
    if not fact:
        raise BrokenRuleError(*why)


@final
class Wants:
    """What has to be announced in this step, each thing exactly once."""

    __slots__ = (
        "accept",
        "added",
        "exit",
        "fail_start",
        "idle",
        "later",
        "lost",
        "ready",
        "refuse",
        "stop",
        "stop_tree",
        "verdict",
    )

    def __init__(self) -> None:
        self.exit: tuple[str, int] | None = None
        self.verdict: tuple[Any, ...] | None = None
        self.refuse: type[Exception] | None = None
        self.accept: tuple[str, str] | None = None
        self.added: str | None = None
        self.ready: str | None = None
        self.lost: str | None = None
        self.fail_start: str | None = None
        self.stop: str | None = None
        self.idle = False
        self.stop_tree = False
        self.later: list[str] = []

    def leftovers(self) -> list[str]:
        """What has not been announced."""
        return [f"{name}={value}" for name in self.__slots__ if (value := getattr(self, name))]


class Book:
    """The children of one supervisor, the rounds they take part in, and what order follows."""

    def __init__(self, spec: SupervisorSpec, *, nested: bool = False) -> None:
        self.spec = spec
        self.nested = nested
        self.grouped = spec.strategy is not p.SupervisionStrategy.ONE_FOR_ONE
        self.sequence = spec.ordering is p.Ordering.SEQUENCE
        self.kids: dict[str, Kid] = {}
        self.phase = "starting"
        self.rounds: list[Round] = []
        self.without_grace = False
        self.cut_short = self.dropped = False  # by the deadline; by what came before it
        self.deadline = inf
        self.times: tuple[float, ...] = ()  # of the shared window
        self.random = Random(0)
        self.outcome = ""
        self.idle_reported = False
        self.next_index = 0
        self.wants = Wants()
        for child in spec.children:
            self.create_child(child, o.FirstStart.FAILS_TREE, dynamic=False)
        self.rounds.append((frozenset(self.kids), frozenset(), frozenset()))

    def copy(self) -> Self:
        """An independent copy."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.kids = {name: kid.copy() for name, kid in self.kids.items()}
        new.rounds = self.rounds.copy()
        return new

    def create_child(self, spec: ChildSpec[Any], first: o.FirstStart, *, dynamic: bool) -> None:
        if spec.retry_first_start:
            first = o.FirstStart.ORDINARY
        self.kids[spec.name] = Kid(spec, self.next_index, first, dynamic=dynamic)
        self.next_index += 1

    @property
    def accepts(self) -> bool:
        return self.phase in ALIVE

    # ------------------------------------------------------------ order

    def requirers(self, kid: Kid) -> set[str]:
        """Whoever requires ``kid``, directly or not."""
        found = {kid.name}
        while True:
            more = {k.name for k in self.kids.values() if not found.isdisjoint(k.spec.requires)}
            if more <= found:
                return found - {kid.name}
            found |= more

    def after(self, kid: Kid) -> set[str]:
        """Whoever starts after ``kid`` and stops before it, in a round that both are in."""
        if kid.dynamic:
            return set()
        added = {k.name for k in self.kids.values() if k.dynamic}
        if self.sequence:
            return added | {k.name for k in self.kids.values() if k.index > kid.index}
        return added | {name for name in self.requirers(kid) if not self.kids[name].dynamic}

    def group_of(self, kid: Kid) -> set[str]:
        """Who shares the fate of ``kid``."""
        if not self.grouped:
            return {kid.name}
        if self.spec.strategy is p.SupervisionStrategy.ONE_FOR_ALL:
            return set(self.kids)
        return {kid.name} | self.after(kid) | self.requirers(kid)

    def unsettled(self, name: str) -> bool:
        """Whether ``name`` still has to start in some round."""
        return any(name in start for start, _, _ in self.rounds)

    def settle(self, name: str) -> None:
        """It was ready, is done, or is down: in no round any more, and nobody waits for it."""
        self.rounds = [(start - {name}, go, fate) for start, go, fate in self.rounds]
        if name in self.kids:
            self.kids[name].skips_predecessors = self.kids[name].let_go = False

    def is_gone(self, name: str) -> None:
        """Its attempt is."""
        self.rounds = [(start, go - {name}, fate) for start, go, fate in self.rounds]

    def begin_round(self, start: set[str], go: set[str], group: set[str]) -> None:
        """One more coordinated change."""
        self.rounds.append((frozenset(start), frozenset(go), frozenset(group)))

    def tidy(self) -> None:
        """Forget the rounds that are over, and those that say no more than another one."""
        rounds = {(start, go, group if go else go) for start, go, group in self.rounds}
        self.rounds = [
            each
            for each in rounds
            if (each[0] or each[1])
            and not any(
                other is not each and all(map(frozenset.issubset, each, other)) for other in rounds
            )
        ]

    def is_met(self, name: str) -> bool:
        """docs/design.md, Edges: met while the target is ready, or done by `Succeeded`."""
        kid = self.kids[name]
        if kid.live:
            return kid.ready and kid.stop_cause is None
        return kid.desired == "done" and kid.done_by_success

    def requirement_is_down(self, name: str, *, sure: bool = False) -> bool:
        """Not met, and will not be unless somebody does something by hand.

        With ``sure`` it is also known by now: whoever backs off, or waits for its turn, has yet to
        find that out.
        """
        kid = self.kids[name]
        if self.is_met(name):
            return False
        if kid.desired != "up":
            return True
        if kid.live:
            return False
        if sure and not all(why.startswith("requires") for why in self.may_wait(kid)):
            return False
        return any(self.requirement_is_down(each, sure=sure) for each in kid.spec.requires)

    def waits_for_requirement_down(self, kid: Kid) -> bool:
        """Whether nobody comes before ``kid``, and it has a requirement that stays unmet."""
        return (
            kid.desired == "up"
            and not kid.live
            and kid.backoff_until is None
            and not any("comes before" in why for why in self.why_not(kid))
            and any(map(self.requirement_is_down, kid.spec.requires))
        )

    def all_done(self) -> str:
        """docs/design.md, Automatic shutdown: why ``all_done`` ends the supervisor now, or nothing.

        The answer is the outcome.
        """
        kids = [kid for kid in self.kids.values() if kid.live or kid.desired != "removed"]
        if self.spec.auto_shutdown != "all_done" or not self.accepts or not self.next_index:
            return ""
        if any(kid.live for kid in kids):
            return ""
        # Grow the set of children that can come back: held by the operator, or up with all that
        # they require met, held, or coming back.
        back = {kid.name for kid in kids if kid.held_by_operator or kid.desired == "shutdown"}
        while True:
            more = {
                kid.name
                for kid in kids
                if kid.desired == "up"
                and all(name in back or self.is_met(name) for name in kid.spec.requires)
            }
            if more <= back:
                break
            back |= more
        if back:
            return ""
        return (
            "quarantined" if any(kid.desired == "quarantined" for kid in kids) else "auto_shutdown"
        )

    def _ahead(self, kid: Kid, others: Names) -> list[str]:
        """Who of ``others`` keeps ``kid`` from having its turn."""
        return [
            name
            for name in others
            if name != kid.name
            and name in self.kids
            and not self.kids[name].dynamic
            and (self.sequence or kid.dynamic)
            and (kid.dynamic or self.kids[name].index < kid.index)
        ]

    def why_not(self, kid: Kid) -> list[str]:
        """Why ``kid`` must not start now; empty if it may."""
        if not self.accepts:
            return ["the supervisor stops"]
        if kid.desired != "up" or kid.live or kid.backoff_until is not None:
            return [f"desired {kid.desired}, live {kid.live}, backoff {kid.backoff_until}"]
        why = [f"requires {name}" for name in kid.spec.requires if not self.is_met(name)]
        for start, go, _ in self.rounds:
            if kid.name in start:
                if go and self.grouped:
                    why.append(f"{set(go)} of its round are not gone")
                if not kid.skips_predecessors:
                    why += [
                        f"{name} comes before it in its round"
                        for name in self._ahead(kid, start)
                        if not self.kids[name].let_go
                    ]
        return why

    def may_wait(self, kid: Kid) -> list[str]:
        """Why ``kid`` may wait, although it should be up; empty if nothing excuses it."""
        why = self.why_not(kid)
        for _, go, group in self.rounds:
            if go and kid.name in group:
                why.append(f"shares the fate of {set(go)}, who are not gone")
        if not self.unsettled(kid.name):
            return why
        starting: Names = frozenset().union(*(start for start, _, _ in self.rounds))
        stop_set: Names = frozenset().union(*(go for _, go, _ in self.rounds))
        if not kid.skips_predecessors:
            # Rounds may be taken as one: the order among all who are unsettled is then kept too.
            why += [f"{name} is unsettled, and before it" for name in self._ahead(kid, starting)]
        why += [
            f"{name} is leaving, and they have an order"
            for name in stop_set
            if name in self.after(kid) or kid.name in self.after(self.kids[name])
        ]
        return why

    def why_not_stop(self, kid: Kid) -> set[str]:
        """Who of its rounds comes after ``kid`` and is still there: it must not be asked before."""
        if kid.urgent:
            return set()
        together = {name for _, go, _ in self.rounds if kid.name in go for name in go}
        return self.after(kid) & together

    def may_wait_to_stop(self, kid: Kid) -> set[str]:
        """Whoever comes after it and is leaving, in whatever round."""
        if kid.urgent:
            return set()
        return {name for name in self.after(kid) if any(name in go for _, go, _ in self.rounds)}

    def prune(self, now: float) -> None:
        """Forget what no window counts any more."""
        if self.spec.restart_limit is not None:
            edge = now - self.spec.restart_limit.within
            self.times = tuple(t for t in self.times if t > edge)
        for kid in self.kids.values():
            limit = kid.spec.restart_limit
            limit = self.spec.child_restart_limit if limit is p.INHERIT else limit
            if kid.times and isinstance(limit, p.RestartLimit):
                kid.times = tuple(t for t in kid.times if t > now - limit.within)
