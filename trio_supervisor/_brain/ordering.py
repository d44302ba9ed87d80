"""The order of starts and stops, and the children that one failure restarts.

The machine asks a `ChildOrdering` three questions: may this child start, may this attempt be asked
to stop, and which children form the *group* of a failed child. `SequenceOrdering` makes each static
child wait for the static children declared before it, `GraphOrdering` only for its requirements.

Terms:
    static, dynamic child: Declared in the spec; added at run time.
    round: One coordinated change of several children: first start, group restart, shutdown.
    start set: Children of a round that have not settled. A child leaves this set when it is ready,
        comes to rest, or requires a sibling that is down (also indirectly).
    stop set: Children with a live attempt that is being stopped in order.
    barrier: The rule that no member of a group starts while attempts of the same round stop.
    group restart: The round of one failure. Several may be under way, with members in common.
    met: Said of a requirement that is ready and not marked for stopping, or done after success.

Rules:
    Start. A child outside the start set needs only its requirements. A member waits for three
        things. First, its turn: in a sequence, to be the earliest static member; in a graph, static
        members have their turn at once; a dynamic member waits until no static member is left. A
        restart by command after the first start skips this. Second, under one_for_all and
        rest_for_one, the barrier. Third, its requirements.
    Stop. A static member of the stop set waits until no dynamic member is left and it is the latest
        member (sequence) or none of its direct and indirect dependents is left (graph). Dynamic
        members stop concurrently. An urgent stop, by command or fault, does not ask this module.
    Group. one_for_one: the child. one_for_all: every child. rest_for_one: a static child, the
        static children after it (sequence) or its dependents (graph), and every dynamic child; or a
        dynamic child and its dependents.

Invariants:
    * A child that is at rest delays only the children that require it.
    * A child whose start was refused is recorded where the event that can allow the start will look
      for it: in the start set, among the children waiting for the barrier, or as a watcher of one
      requirement that is not met.

Algorithm: each change appends the children it affects to the machine's work list. A sequence keeps
both sets as heaps by position with lazy deletion: O(log n) amortised. A graph counts, per child,
the direct dependents that are in the stop set or have such dependents. Nothing here recurses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from trio_supervisor._brain.index_heap import IndexHeap
from trio_supervisor._brain.lifecycle import DesiredState
from trio_supervisor._specs.policy import SupervisionStrategy

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterable

    from trio_supervisor._brain.lifecycle import ChildLife

MOST_STOPPING: Final = 8
"""How many of the children that delay a group restart are named."""


class GroupRestart:
    """The round that a child's failure begins under rest_for_one: its attempts that still stop.

    A member that a command has restarted is ready before they have ended. So it does not suffice
    that each member waits for its own requirements and dependents.

    A child that fails again before they have ended begins no other round: the members are the same.
    """

    __slots__ = ("failed", "stopping", "waiting")

    def __init__(self, failed: ChildLife) -> None:
        self.failed = failed
        self.stopping: dict[ChildLife, None] = {}
        self.waiting: dict[ChildLife, None] = {}


class ChildOrdering(ABC):
    """The rules common to both orderings: requirements, dynamic children, the barrier."""

    def __init__(self, strategy: SupervisionStrategy, todo: deque[ChildLife]) -> None:
        self.todo = todo
        self.grouped = strategy is not SupervisionStrategy.ONE_FOR_ONE
        self.together = strategy is SupervisionStrategy.ONE_FOR_ALL
        self.dynamics: dict[ChildLife, None] = {}
        self.dynamic_start_set: dict[ChildLife, None] = {}
        self.static_stopping = self.dynamic_stopping = 0
        self._waiting_for_barrier: dict[ChildLife, None] = {}
        self._group_restarts: dict[ChildLife, GroupRestart] = {}  # in which attempts stop

    # ------------------------------------------------------------ membership

    def add(self, child: ChildLife, requires: tuple[ChildLife, ...]) -> None:
        """Record a new child and the siblings that it requires."""
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
        """Forget a child that is down and has no dependents."""
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
        """The children that restart when ``child`` fails, in the order of their start."""
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

    def admit_start(self, child: ChildLife) -> bool:
        """Return whether ``child`` may start now; if not, record what it waits for.

        The child is appended to the work list again when the first obstacle may be gone.
        """
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
        group = self._stopping_group(child)
        if group is not None:
            group.waiting[child] = None
            return False
        if not child.requires:
            return True
        missing = self._unmet_requirement(child)
        self._note_requirement_down(child, missing)
        if missing is None:
            return True
        # One watch is enough: when that requirement changes, all of them are checked again.
        if missing.watchers is None:
            missing.watchers = {}
        missing.watchers[child] = None
        return False

    @staticmethod
    def _unmet_requirement(child: ChildLife) -> ChildLife | None:
        """A requirement of ``child`` that is not met, if possible one that is down; or `None`.

        While none is down, the search goes on where the last one ended. So a child whose n
        requirements become ready one after the other looks at each of them twice, not n times.
        """
        requires, begin = child.requires, child.unmet_from
        missing: ChildLife | None = None
        for index in chain(range(begin, len(requires)), range(begin)):
            required = requires[index]
            if not required.is_met:
                if required.is_down_for_dependents:
                    child.unmet_from = 0
                    return required
                if missing is None:
                    missing, child.unmet_from = required, index
                    if begin:
                        return missing
        if missing is None:
            child.unmet_from = 0
        return missing

    def _note_requirement_down(self, child: ChildLife, missing: ChildLife | None) -> None:
        """Record whether ``child`` waits for a sibling that is down, directly or indirectly."""
        down = missing is not None and missing.is_down_for_dependents
        if down is not child.requirement_down:
            child.requirement_down = down
            self.wake_dependents(child)
        if down:
            # Successors must not wait for a command that may never come.
            self.leave_start_set(child)

    def waits_for(
        self, child: ChildLife, stopping: tuple[str, ...] | None = None
    ) -> tuple[str, ...]:
        """The names of the children that keep a waiting child from starting.

        Args:
            child: The waiting child.
            stopping: What `names_of_stop_set` has returned, for a caller that asks about many.
        """
        blocker = self._unsettled_predecessor(child)
        if blocker is not None:
            return (blocker.name,)
        if self._barrier_is_closed(child):
            return self.names_of_stop_set() if stopping is None else stopping
        group = self._stopping_group(child)
        if group is not None:
            return tuple(member.name for member in islice(group.stopping, MOST_STOPPING))
        return tuple(required.name for required in child.requires if not required.is_met)

    def _unsettled_predecessor(self, child: ChildLife) -> ChildLife | None:
        if not child.in_start_set or child.skips_predecessors:
            return None
        first = self.first_unsettled_static(child)
        return None if first is child else first

    def _barrier_is_closed(self, child: ChildLife) -> bool:
        """Whether ``child`` waits for all attempts that stop, under one_for_all."""
        # A child outside the start set is new, or restarted by command: it is in no round.
        return (
            self.together
            and child.in_start_set
            and (self.static_stopping > 0 or self.dynamic_stopping > 0)
        )

    @staticmethod
    def _stopping_group(child: ChildLife) -> GroupRestart | None:
        """The group restart whose attempts have to end before ``child`` may start; rest_for_one."""
        if not child.in_start_set:
            return None  # new, or restarted by command: in no round
        return next((group for group in child.groups if group.stopping), None)

    def begin_group_restart(self, failed: ChildLife) -> GroupRestart | None:
        """Return the group restart of ``failed``; `None` under one_for_all."""
        if self.together:
            return None
        return self._group_restarts.get(failed) or GroupRestart(failed)

    def join_group_restart(self, child: ChildLife, group: GroupRestart) -> None:
        """Let ``child`` wait for the members that stop, and them for ``child`` if it stops."""
        if not (child.in_start_set or child.in_stop_set):
            return  # it stays down
        if group not in child.groups:
            child.groups = (*[old for old in child.groups if old.stopping], group)
        if child.in_stop_set:
            group.stopping[child] = None
            self._group_restarts[group.failed] = group

    def _leave_group_restarts(self, child: ChildLife) -> None:
        """Take ``child`` out of the attempts that stop, and look again at the ones that wait."""
        for group in child.groups:
            group.stopping.pop(child, None)
            if not group.stopping:
                self._group_restarts.pop(group.failed, None)
                self.todo.extend(group.waiting)
                group.waiting.clear()
        still = tuple([group for group in child.groups if group.stopping])
        child.groups = still if child.in_start_set else ()

    def join_start_set(self, child: ChildLife) -> None:
        """Let ``child`` take part in a round; it has not settled."""
        if not child.in_start_set:
            child.in_start_set = True
            if child.dynamic:
                self.dynamic_start_set[child] = None
            else:
                self._static_joins_start_set(child)

    def leave_start_set(self, child: ChildLife) -> None:
        """Record that ``child`` has settled; its successors are looked at."""
        if not child.in_start_set:
            return
        child.in_start_set = child.skips_predecessors = False
        if child.groups and not child.in_stop_set:
            for group in child.groups:
                group.waiting.pop(child, None)
            child.groups = ()
        if child.dynamic:
            del self.dynamic_start_set[child]
        else:
            self._static_leaves_start_set(child)
            self._wake_start_set()

    @abstractmethod
    def _wake_start_set(self) -> None: ...

    def wake_watchers(self, child: ChildLife) -> None:
        """Look again at the children that watch ``child``."""
        if child.watchers:
            self.todo.extend(child.watchers)
            child.watchers = None

    def wake_dependents(self, child: ChildLife) -> None:
        """Look again at all dependents of ``child`` that are due to start."""
        child.watchers = None  # they are dependents, too
        for dependent in child.dependents or ():
            dependent.unmet_from = 0
            if not dependent.live and dependent.desired is DesiredState.UP:
                self.todo.append(dependent)

    # ------------------------------------------------------------ stopping

    def may_stop(self, child: ChildLife) -> bool:
        """Whether no successor of ``child`` is in the stop set any more."""
        return child.dynamic or (not self.dynamic_stopping and self._static_may_stop(child))

    def begin_stop(self, child: ChildLife) -> None:
        """Put ``child``, which is live, into the stop set."""
        if child.in_stop_set:
            return
        child.in_stop_set = True
        if child.dynamic:
            self.dynamic_stopping += 1
        else:
            self.static_stopping += 1
            self._static_joins_stop_set(child)
        if child.requires and child.dependents_stopping == 0:
            self._count_stopping(child, +1)

    def stop_finished(self, child: ChildLife) -> None:
        """Take ``child`` out of the stop set: its attempt has ended."""
        child.in_stop_set = False
        if child.groups:
            self._leave_group_restarts(child)
        if child.requires and child.dependents_stopping == 0:
            self._count_stopping(child, -1)
        if child.dynamic:
            self.dynamic_stopping -= 1
            if not self.dynamic_stopping:
                self._wake_stop_set()
        else:
            self.static_stopping -= 1
            self._static_leaves_stop_set(child)
        if self._waiting_for_barrier and not (self.static_stopping or self.dynamic_stopping):
            self.todo.extend(self._waiting_for_barrier)
            self._waiting_for_barrier.clear()

    def _count_stopping(self, child: ChildLife, by: int) -> None:
        """Update the counts of the children that ``child`` requires, directly and indirectly.

        ``by`` is +1 if ``child`` has begun to be in the stop set or to have dependents there, and
        -1 if it has ceased to.
        """
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
        """The static member of the start set that comes first for ``child``, or ``child``."""

    @abstractmethod
    def has_unsettled_static(self) -> bool:
        """Whether a static child has not settled yet."""

    def names_of_stop_set(self) -> tuple[str, ...]:
        """The names of at most `MOST_STOPPING` children that are being stopped in order.

        During a group restart each member waits for all of them. With all their names, a snapshot
        of n children would have n times n names.
        """
        if not self.static_stopping and not self.dynamic_stopping:
            return ()
        members = chain(self._static_stop_set(), self.dynamics)
        found = (member.name for member in members if member.in_stop_set)
        return tuple(islice(found, MOST_STOPPING))

    @abstractmethod
    def _static_stop_set(self) -> Iterable[ChildLife]:
        """The static members of the stop set, and perhaps children that have left it."""

    @abstractmethod
    def _statics_from(self, child: ChildLife | None) -> list[ChildLife]: ...

    @abstractmethod
    def _add_static(self, child: ChildLife) -> None: ...

    @abstractmethod
    def _drop_static(self, child: ChildLife) -> None: ...

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
    """Static children start one after the other, each after the children declared before it."""

    def __init__(self, strategy: SupervisionStrategy, todo: deque[ChildLife]) -> None:
        super().__init__(strategy, todo)
        self._statics: list[ChildLife] = []
        self._gone = 0
        self._start_set = IndexHeap("in_start_set", last_first=False)
        self._stop_set = IndexHeap("in_stop_set", last_first=True)

    def first_unsettled_static(self, child: ChildLife) -> ChildLife | None:
        """The earliest static member of the start set; the same for every child."""
        return self._start_set.head()

    def has_unsettled_static(self) -> bool:
        """Whether a static child has not settled yet."""
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

    def _static_may_stop(self, child: ChildLife) -> bool:
        last = self._stop_set.head()
        return last is None or last is child

    def _static_stop_set(self) -> Iterable[ChildLife]:
        return self._stop_set.entries()

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
    """Static children wait for their requirements and for nothing else."""

    def __init__(self, strategy: SupervisionStrategy, todo: deque[ChildLife]) -> None:
        super().__init__(strategy, todo)
        self._statics: dict[ChildLife, None] = {}
        self._start_set: dict[ChildLife, None] = {}
        self._stop_set: dict[ChildLife, None] = {}

    def first_unsettled_static(self, child: ChildLife) -> ChildLife | None:
        """``child`` itself if it is static; dynamic children come after all static ones."""
        return next(iter(self._start_set), None) if child.dynamic else child

    def has_unsettled_static(self) -> bool:
        """Whether a static child has not settled yet."""
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

    def _static_may_stop(self, child: ChildLife) -> bool:
        return child.dependents_stopping == 0

    def _static_stop_set(self) -> Iterable[ChildLife]:
        return self._stop_set

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
