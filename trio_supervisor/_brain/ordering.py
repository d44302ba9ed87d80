"""Who waits for whom, in a sequence and in a graph; the radius of each strategy.

A *round* is one coordinated change of several children. Two sets carry it: the *line* of those that
are being started in order and are not settled yet, and the *leaving*, the live attempts that are
being stopped in order. Nobody in a round starts while somebody of the same round is leaving (the
*barrier*), so "all of it gone before any of it starts" needs no further bookkeeping.

Each change appends to ``todo`` the children that have to be looked at again because of it; nothing
here ever walks over children that are not concerned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from trio_supervisor._brain.index_heap import IndexHeap
from trio_supervisor._brain.lifecycle import DesiredState
from trio_supervisor._specs.policy import SupervisionStrategy

if TYPE_CHECKING:
    from collections import deque

    from trio_supervisor._brain.lifecycle import ChildLife


class ChildOrdering(ABC):
    """What both orderings have in common: requirements, children added later, the barrier."""

    def __init__(self, strategy: SupervisionStrategy, todo: deque[ChildLife]) -> None:
        self.todo = todo
        self.grouped = strategy is not SupervisionStrategy.ONE_FOR_ONE
        self.together = strategy is SupervisionStrategy.ONE_FOR_ALL
        self.dynamics: dict[ChildLife, None] = {}
        self.dynamic_start_set: dict[ChildLife, None] = {}
        self.static_stopping = self.dynamic_stopping = 0
        self.static_round_stopping = (
            0  # of the latter, those that leave because of a declared child
        )
        self._waiting_for_barrier: dict[ChildLife, None] = {}

    # ------------------------------------------------------------ who exists

    def add(self, child: ChildLife, requires: tuple[ChildLife, ...]) -> None:
        """A new child; what it requires exists already."""
        child.requires = requires
        for required in requires:
            if required.dependents is None:
                required.dependents = {}
            required.dependents[child] = None
        if child.dynamic:
            self.dynamics[child] = None
        else:
            self._add_static(child)

    def drop(self, child: ChildLife) -> None:
        """Forget a child that is down and that nobody requires."""
        for required in child.requires:
            assert required.dependents is not None  # since `add`
            required.dependents.pop(child)
            if required.watchers is not None:
                required.watchers.pop(child, None)
        child.requires = ()
        self._waiting_for_barrier.pop(child, None)
        if child.dynamic:
            self.dynamics.pop(child, None)
        else:
            self._drop_static(child)

    def group_of(self, child: ChildLife) -> list[ChildLife]:
        """Those who share the fate of ``child`` under the strategy, in order of starting."""
        if not self.grouped:
            return [child]
        if self.together:
            return [*self._statics_from(None), *self.dynamics]
        if child.dynamic:
            return self._with_dependents(child)
        return [*self._statics_from(child), *self.dynamics]

    @staticmethod
    def _with_dependents(child: ChildLife) -> list[ChildLife]:
        found = {child: None}
        queue = [child]
        for member in queue:
            for dependent in member.dependents or ():
                if dependent not in found:
                    found[dependent] = None
                    queue.append(dependent)
        return queue

    # ------------------------------------------------------------ starting

    def may_start(self, child: ChildLife) -> bool:
        """Whether it is the child's turn; if not, it is looked at again when that may change."""
        if (
            not child.in_start_set
            and not child.requires
            and not self.static_stopping
            and not self.dynamic_stopping
        ):
            return True
        if self._unsettled_predecessor(child) is not None:
            return False
        if self._barrier_is_closed(child):
            self._waiting_for_barrier[child] = None
            return False
        return not child.requires or self._requirements_met(child)

    def _requirements_met(self, child: ChildLife) -> bool:
        missing: ChildLife | None = None
        requirement_down = False
        for required in child.requires:
            if not required.is_met:
                requirement_down = (
                    required.desired is not DesiredState.UP or required.requirement_down
                )
                if requirement_down or missing is None:
                    missing = required
                if requirement_down:
                    break
        if missing is not None:
            # One watch is enough: when that one passes, all are looked at again.
            if missing.watchers is None:
                missing.watchers = {}
            missing.watchers[child] = None
        if requirement_down is not child.requirement_down:
            child.requirement_down = requirement_down
            self.wake_dependents(child)
        if requirement_down:
            # It comes back by somebody's hand or never; those behind it do not wait for that.
            self.leave_start_set(child)
        return missing is None

    def waits_for(self, child: ChildLife) -> tuple[str, ...]:
        """The names of those that keep a waiting child from starting."""
        blocker = self._unsettled_predecessor(child)
        if blocker is not None:
            return (blocker.name,)
        if self._barrier_is_closed(child):
            return tuple(member.name for member in self.stop_set())
        return tuple(required.name for required in child.requires if not required.is_met)

    def _unsettled_predecessor(self, child: ChildLife) -> ChildLife | None:
        if not child.in_start_set or child.skips_predecessors:
            return None
        first = self.first_unsettled_static(child)
        return None if first is child else first

    def _barrier_is_closed(self, child: ChildLife) -> bool:
        if not self.grouped or not (self.static_stopping or self.dynamic_stopping):
            return False
        if not child.in_start_set:
            return False  # new here, or restarted by hand: in nobody's round
        if self.together:
            return True
        if child.dynamic:
            return bool(
                self.static_stopping
                or child.dependents_stopping
                or (child.in_static_round and self.static_round_stopping)
            )
        return self.dynamic_stopping > 0 or self._static_barrier_is_closed(child)

    def join_static_round(self, child: ChildLife) -> None:
        """A child that was added later shares the round of a declared one."""
        if (
            child.dynamic
            and not child.in_static_round
            and (child.in_start_set or child.in_stop_set)
        ):
            child.in_static_round = True
            self.static_round_stopping += child.in_stop_set

    def join_start_set(self, child: ChildLife) -> None:
        """It takes part in starting; it is not settled."""
        if not child.in_start_set:
            child.in_start_set = True
            if child.dynamic:
                self.dynamic_start_set[child] = None
            else:
                self._static_joins_start_set(child)

    def leave_start_set(self, child: ChildLife) -> None:
        """It is settled, or out of the round: the next ones have their turn."""
        if not child.in_start_set:
            return
        child.in_start_set = child.skips_predecessors = False
        if child.dynamic:
            del self.dynamic_start_set[child]
            child.in_static_round = child.in_static_round and child.in_stop_set
        else:
            self._static_leaves_start_set(child)
            self._wake_start_set()

    @abstractmethod
    def _wake_start_set(self) -> None: ...

    def wake_watchers(self, child: ChildLife) -> None:
        """Those who wait for ``child`` look again."""
        if child.watchers:
            self.todo.extend(child.watchers)
            child.watchers = None

    def wake_dependents(self, child: ChildLife) -> None:
        """Those who require ``child`` and are not alive look again, whomever they wait for now."""
        child.watchers = None  # who require it, too
        for dependent in child.dependents or ():
            if not dependent.live and dependent.desired is DesiredState.UP:
                self.todo.append(dependent)

    # ------------------------------------------------------------ stopping

    def may_stop(self, child: ChildLife) -> bool:
        """Whether nobody who comes after it in its round is still leaving."""
        return child.dynamic or (not self.dynamic_stopping and self._static_may_stop(child))

    def begin_stop(self, child: ChildLife) -> None:
        """Its attempt is to be stopped in order."""
        if child.in_stop_set:
            return
        child.in_stop_set = True
        if child.dynamic:
            self.dynamic_stopping += 1
            self.static_round_stopping += child.in_static_round
        else:
            self.static_stopping += 1
            self._static_joins_stop_set(child)
        if child.requires and child.dependents_stopping == 0:
            self._count_stopping(child, +1)

    def stop_finished(self, child: ChildLife) -> None:
        """The attempt of a child that is leaving is gone."""
        child.in_stop_set = False
        if child.requires and child.dependents_stopping == 0:
            self._count_stopping(child, -1)
        if child.dynamic:
            self.dynamic_stopping -= 1
            self.static_round_stopping -= child.in_static_round
            barrier_opened = not self.dynamic_stopping or (
                child.in_static_round and not self.static_round_stopping
            )
            child.in_static_round = child.in_static_round and child.in_start_set
        else:
            self.static_stopping -= 1
            self._static_leaves_stop_set(child)
            barrier_opened = not self.static_stopping
        if child.dynamic and not self.dynamic_stopping:
            self._wake_stop_set()
        if barrier_opened and not (
            self.together and (self.static_stopping or self.dynamic_stopping)
        ):
            self.todo.extend(self._waiting_for_barrier)
            self._waiting_for_barrier.clear()

    def _count_stopping(self, child: ChildLife, by: int) -> None:
        """``child`` began (+1) or ceased (-1) to be leaving or undrained: tell what it requires."""
        stack = [child]
        while stack:
            for required in stack.pop().requires:
                before = required.dependents_stopping
                required.dependents_stopping += by
                if not required.in_stop_set and (before == 0 or required.dependents_stopping == 0):
                    stack.append(required)
                if required.dependents_stopping == 0:
                    self.todo.append(required)

    # ------------------------------------------------------------ for the two orderings

    @abstractmethod
    def first_unsettled_static(self, child: ChildLife) -> ChildLife | None:
        """The static child that ``child`` would have to wait for, or itself."""

    @abstractmethod
    def has_unsettled_static(self) -> bool:
        """Whether a declared child is not settled yet."""

    def stop_set(self) -> list[ChildLife]:
        """All who are being stopped in order."""
        return [m for m in (*self._statics_from(None), *self.dynamics) if m.in_stop_set]

    @abstractmethod
    def _statics_from(self, child: ChildLife | None) -> list[ChildLife]: ...

    @abstractmethod
    def _add_static(self, child: ChildLife) -> None: ...

    @abstractmethod
    def _drop_static(self, child: ChildLife) -> None: ...

    @abstractmethod
    def _static_barrier_is_closed(self, child: ChildLife) -> bool: ...

    @abstractmethod
    def _static_may_stop(self, child: ChildLife) -> bool: ...

    @abstractmethod
    def _static_joins_start_set(self, child: ChildLife) -> None: ...

    @abstractmethod
    def _static_leaves_start_set(self, child: ChildLife) -> None: ...

    @abstractmethod
    def _static_joins_stop_set(self, child: ChildLife) -> None: ...

    @abstractmethod
    def _static_leaves_stop_set(self, child: ChildLife) -> None: ...

    @abstractmethod
    def _wake_stop_set(self) -> None: ...


class SequenceOrdering(ChildOrdering):
    """Declared children one after the other: each waits for those declared before it."""

    def __init__(self, strategy: SupervisionStrategy, todo: deque[ChildLife]) -> None:
        super().__init__(strategy, todo)
        self._statics: list[ChildLife] = []
        self._gone = 0
        self._start_set = IndexHeap("in_start_set", last_first=False)
        self._stop_set = IndexHeap("in_stop_set", last_first=True)

    def first_unsettled_static(self, child: ChildLife) -> ChildLife | None:
        """The head of the line, whoever asks."""
        return self._start_set.head()

    def has_unsettled_static(self) -> bool:
        """Whether a declared child is not settled yet."""
        return self._start_set.count > 0

    def _statics_from(self, child: ChildLife | None) -> list[ChildLife]:
        found = []
        for member in reversed(self._statics):
            if not member.gone:
                found.append(member)
            if member is child:
                break
        found.reverse()
        return found

    def _add_static(self, child: ChildLife) -> None:
        self._statics.append(child)

    def _drop_static(self, child: ChildLife) -> None:
        child.gone = True
        self._gone += 1
        if self._gone > len(self._statics) // 2:
            self._statics = [member for member in self._statics if not member.gone]
            self._gone = 0

    def _static_barrier_is_closed(self, child: ChildLife) -> bool:
        return self.static_stopping > 0

    def _static_may_stop(self, child: ChildLife) -> bool:
        last = self._stop_set.head()
        return last is None or last is child

    def _static_joins_start_set(self, child: ChildLife) -> None:
        self._start_set.add(child)

    def _static_leaves_start_set(self, child: ChildLife) -> None:
        self._start_set.count -= 1

    def _wake_start_set(self) -> None:
        head = self._start_set.head()
        if head is not None:
            self.todo.append(head)
        else:
            self.todo.extend(self.dynamic_start_set)

    def _static_joins_stop_set(self, child: ChildLife) -> None:
        self._stop_set.add(child)

    def _static_leaves_stop_set(self, child: ChildLife) -> None:
        self._stop_set.count -= 1
        self._wake_stop_set()

    def _wake_stop_set(self) -> None:
        last = self._stop_set.head()
        if last is not None:
            self.todo.append(last)


class GraphOrdering(ChildOrdering):
    """Declared children wait for what they require, and for nothing else."""

    def __init__(self, strategy: SupervisionStrategy, todo: deque[ChildLife]) -> None:
        super().__init__(strategy, todo)
        self._statics: dict[ChildLife, None] = {}
        self._start_set: dict[ChildLife, None] = {}
        self._stop_set: dict[ChildLife, None] = {}

    def first_unsettled_static(self, child: ChildLife) -> ChildLife | None:
        """Independent children start concurrently; those added later come after all of them."""
        return next(iter(self._start_set), None) if child.dynamic else child

    def has_unsettled_static(self) -> bool:
        """Whether a declared child is not settled yet."""
        return bool(self._start_set)

    def _statics_from(self, child: ChildLife | None) -> list[ChildLife]:
        if child is None:
            return list(self._statics)
        return [member for member in self._with_dependents(child) if not member.dynamic]

    def _add_static(self, child: ChildLife) -> None:
        self._statics[child] = None

    def _drop_static(self, child: ChildLife) -> None:
        child.gone = True
        del self._statics[child]

    def _static_barrier_is_closed(self, child: ChildLife) -> bool:
        return child.dependents_stopping > 0

    def _static_may_stop(self, child: ChildLife) -> bool:
        return child.dependents_stopping == 0

    def _static_joins_start_set(self, child: ChildLife) -> None:
        self._start_set[child] = None

    def _static_leaves_start_set(self, child: ChildLife) -> None:
        del self._start_set[child]

    def _wake_start_set(self) -> None:
        if not self._start_set:
            self.todo.extend(self.dynamic_start_set)

    def _static_joins_stop_set(self, child: ChildLife) -> None:
        self._stop_set[child] = None

    def _static_leaves_stop_set(self, child: ChildLife) -> None:
        del self._stop_set[child]

    def _wake_stop_set(self) -> None:
        self.todo.extend(self._stop_set)
