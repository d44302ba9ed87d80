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
from trio_supervisor._brain.lifecycle import Wish
from trio_supervisor._specs.policy import SupervisionStrategy

if TYPE_CHECKING:
    from collections import deque

    from trio_supervisor._brain.lifecycle import ChildLife


class Order(ABC):
    """What both orderings have in common: requirements, children added later, the barrier."""

    def __init__(self, strategy: SupervisionStrategy, todo: deque[ChildLife]) -> None:
        self.todo = todo
        self.grouped = strategy is not SupervisionStrategy.ONE_FOR_ONE
        self.together = strategy is SupervisionStrategy.ONE_FOR_ALL
        self.dynamics: dict[ChildLife, None] = {}
        self.dynamic_line: dict[ChildLife, None] = {}
        self.static_leaving = self.dynamic_leaving = 0
        self.rest_leaving = 0  # of the latter, those that leave because of a declared child
        self._barred: dict[ChildLife, None] = {}

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
        self._barred.pop(child, None)
        if child.dynamic:
            self.dynamics.pop(child, None)
        else:
            self._drop_static(child)

    def radius(self, child: ChildLife) -> list[ChildLife]:
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
            not child.in_line
            and not child.requires
            and not self.static_leaving
            and not self.dynamic_leaving
        ):
            return True
        if self._line_blocker(child) is not None:
            return False
        if self._is_barred(child):
            self._barred[child] = None
            return False
        return not child.requires or self._has_what_it_requires(child)

    def _has_what_it_requires(self, child: ChildLife) -> bool:
        missing: ChildLife | None = None
        hopeless = False
        for required in child.requires:
            if not required.is_met:
                hopeless = required.wish is not Wish.UP or required.hopeless
                if hopeless or missing is None:
                    missing = required
                if hopeless:
                    break
        if missing is not None:
            # One watch is enough: when that one passes, all are looked at again.
            if missing.watchers is None:
                missing.watchers = {}
            missing.watchers[child] = None
        if hopeless is not child.hopeless:
            child.hopeless = hopeless
            self.wake_dependents(child)
        if hopeless:
            # It comes back by somebody's hand or never; those behind it do not wait for that.
            self.leave_line(child)
        return missing is None

    def waits_for(self, child: ChildLife) -> tuple[str, ...]:
        """The names of those that keep a waiting child from starting."""
        blocker = self._line_blocker(child)
        if blocker is not None:
            return (blocker.name,)
        if self._is_barred(child):
            return tuple(member.name for member in self.leaving())
        return tuple(required.name for required in child.requires if not required.is_met)

    def _line_blocker(self, child: ChildLife) -> ChildLife | None:
        if not child.in_line or child.alone:
            return None
        first = self.first_static_in_line(child)
        return None if first is child else first

    def _is_barred(self, child: ChildLife) -> bool:
        if not self.grouped or not (self.static_leaving or self.dynamic_leaving):
            return False
        if not child.in_line:
            return False  # new here, or restarted by hand: in nobody's round
        if self.together:
            return True
        if child.dynamic:
            return bool(self.static_leaving or child.drain or (child.in_rest and self.rest_leaving))
        return self.dynamic_leaving > 0 or self._static_is_barred(child)

    def join_rest(self, child: ChildLife) -> None:
        """A child that was added later shares the round of a declared one."""
        if child.dynamic and not child.in_rest and (child.in_line or child.leaving):
            child.in_rest = True
            self.rest_leaving += child.leaving

    def join_line(self, child: ChildLife) -> None:
        """It takes part in starting; it is not settled."""
        if not child.in_line:
            child.in_line = True
            if child.dynamic:
                self.dynamic_line[child] = None
            else:
                self._join_static_line(child)

    def leave_line(self, child: ChildLife) -> None:
        """It is settled, or out of the round: the next ones have their turn."""
        if not child.in_line:
            return
        child.in_line = child.alone = False
        if child.dynamic:
            del self.dynamic_line[child]
            child.in_rest = child.in_rest and child.leaving
        else:
            self._leave_static_line(child)
            self._wake_line()

    @abstractmethod
    def _wake_line(self) -> None: ...

    def wake_watchers(self, child: ChildLife) -> None:
        """Those who wait for ``child`` look again."""
        if child.watchers:
            self.todo.extend(child.watchers)
            child.watchers = None

    def wake_dependents(self, child: ChildLife) -> None:
        """Those who require ``child`` and are not alive look again, whomever they wait for now."""
        child.watchers = None  # who require it, too
        for dependent in child.dependents or ():
            if not dependent.live and dependent.wish is Wish.UP:
                self.todo.append(dependent)

    # ------------------------------------------------------------ stopping

    def may_stop(self, child: ChildLife) -> bool:
        """Whether nobody who comes after it in its round is still leaving."""
        return child.dynamic or (not self.dynamic_leaving and self._static_may_stop(child))

    def join_leaving(self, child: ChildLife) -> None:
        """Its attempt is to be stopped in order."""
        if child.leaving:
            return
        child.leaving = True
        if child.dynamic:
            self.dynamic_leaving += 1
            self.rest_leaving += child.in_rest
        else:
            self.static_leaving += 1
            self._static_joins_leaving(child)
        if child.requires and child.drain == 0:
            self._drain(child, +1)

    def leave_leaving(self, child: ChildLife) -> None:
        """The attempt of a child that is leaving is gone."""
        child.leaving = False
        if child.requires and child.drain == 0:
            self._drain(child, -1)
        if child.dynamic:
            self.dynamic_leaving -= 1
            self.rest_leaving -= child.in_rest
            opened = not self.dynamic_leaving or (child.in_rest and not self.rest_leaving)
            child.in_rest = child.in_rest and child.in_line
        else:
            self.static_leaving -= 1
            self._static_leaves_leaving(child)
            opened = not self.static_leaving
        if child.dynamic and not self.dynamic_leaving:
            self._wake_leaving()
        if opened and not (self.together and (self.static_leaving or self.dynamic_leaving)):
            self.todo.extend(self._barred)
            self._barred.clear()

    def _drain(self, child: ChildLife, by: int) -> None:
        """``child`` began (+1) or ceased (-1) to be leaving or undrained: tell what it requires."""
        stack = [child]
        while stack:
            for required in stack.pop().requires:
                before = required.drain
                required.drain += by
                if not required.leaving and (before == 0 or required.drain == 0):
                    stack.append(required)
                if required.drain == 0:
                    self.todo.append(required)

    # ------------------------------------------------------------ for the two orderings

    @abstractmethod
    def first_static_in_line(self, child: ChildLife) -> ChildLife | None:
        """The static child that ``child`` would have to wait for, or itself."""

    @abstractmethod
    def has_static_line(self) -> bool:
        """Whether a declared child is not settled yet."""

    def leaving(self) -> list[ChildLife]:
        """All who are being stopped in order."""
        return [m for m in (*self._statics_from(None), *self.dynamics) if m.leaving]

    @abstractmethod
    def _statics_from(self, child: ChildLife | None) -> list[ChildLife]: ...

    @abstractmethod
    def _add_static(self, child: ChildLife) -> None: ...

    @abstractmethod
    def _drop_static(self, child: ChildLife) -> None: ...

    @abstractmethod
    def _static_is_barred(self, child: ChildLife) -> bool: ...

    @abstractmethod
    def _static_may_stop(self, child: ChildLife) -> bool: ...

    @abstractmethod
    def _join_static_line(self, child: ChildLife) -> None: ...

    @abstractmethod
    def _leave_static_line(self, child: ChildLife) -> None: ...

    @abstractmethod
    def _static_joins_leaving(self, child: ChildLife) -> None: ...

    @abstractmethod
    def _static_leaves_leaving(self, child: ChildLife) -> None: ...

    @abstractmethod
    def _wake_leaving(self) -> None: ...


class SequenceOrder(Order):
    """Declared children one after the other: each waits for those declared before it."""

    def __init__(self, strategy: SupervisionStrategy, todo: deque[ChildLife]) -> None:
        super().__init__(strategy, todo)
        self._statics: list[ChildLife] = []
        self._gone = 0
        self._line = IndexHeap("in_line", last_first=False)
        self._leaving = IndexHeap("leaving", last_first=True)

    def first_static_in_line(self, child: ChildLife) -> ChildLife | None:
        """The head of the line, whoever asks."""
        return self._line.head()

    def has_static_line(self) -> bool:
        """Whether a declared child is not settled yet."""
        return self._line.count > 0

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

    def _static_is_barred(self, child: ChildLife) -> bool:
        return self.static_leaving > 0

    def _static_may_stop(self, child: ChildLife) -> bool:
        last = self._leaving.head()
        return last is None or last is child

    def _join_static_line(self, child: ChildLife) -> None:
        self._line.add(child)

    def _leave_static_line(self, child: ChildLife) -> None:
        self._line.count -= 1

    def _wake_line(self) -> None:
        head = self._line.head()
        if head is not None:
            self.todo.append(head)
        else:
            self.todo.extend(self.dynamic_line)

    def _static_joins_leaving(self, child: ChildLife) -> None:
        self._leaving.add(child)

    def _static_leaves_leaving(self, child: ChildLife) -> None:
        self._leaving.count -= 1
        self._wake_leaving()

    def _wake_leaving(self) -> None:
        last = self._leaving.head()
        if last is not None:
            self.todo.append(last)


class GraphOrder(Order):
    """Declared children wait for what they require, and for nothing else."""

    def __init__(self, strategy: SupervisionStrategy, todo: deque[ChildLife]) -> None:
        super().__init__(strategy, todo)
        self._statics: dict[ChildLife, None] = {}
        self._line: dict[ChildLife, None] = {}
        self._leaving: dict[ChildLife, None] = {}

    def first_static_in_line(self, child: ChildLife) -> ChildLife | None:
        """Independent children start concurrently; those added later come after all of them."""
        return next(iter(self._line), None) if child.dynamic else child

    def has_static_line(self) -> bool:
        """Whether a declared child is not settled yet."""
        return bool(self._line)

    def _statics_from(self, child: ChildLife | None) -> list[ChildLife]:
        if child is None:
            return list(self._statics)
        return [member for member in self._with_dependents(child) if not member.dynamic]

    def _add_static(self, child: ChildLife) -> None:
        self._statics[child] = None

    def _drop_static(self, child: ChildLife) -> None:
        child.gone = True
        del self._statics[child]

    def _static_is_barred(self, child: ChildLife) -> bool:
        return child.drain > 0

    def _static_may_stop(self, child: ChildLife) -> bool:
        return child.drain == 0

    def _join_static_line(self, child: ChildLife) -> None:
        self._line[child] = None

    def _leave_static_line(self, child: ChildLife) -> None:
        del self._line[child]

    def _wake_line(self) -> None:
        if not self._line:
            self.todo.extend(self.dynamic_line)

    def _static_joins_leaving(self, child: ChildLife) -> None:
        self._leaving[child] = None

    def _static_leaves_leaving(self, child: ChildLife) -> None:
        del self._leaving[child]

    def _wake_leaving(self) -> None:
        self.todo.extend(self._leaving)
