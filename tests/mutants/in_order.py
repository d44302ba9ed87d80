"""Bugs in who waits for whom."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

_ORDER = "_brain.ordering"

MUTANTS: Final = (
    Mutant(
        "a group restart starts before the old scopes have closed",
        _ORDER,
        "ChildOrdering.admit_start",
        "self._barrier_is_closed(child)",
        "False",
    ),
    Mutant(
        "children of a sequence stop in any order",
        _ORDER,
        "SequenceOrdering._static_may_stop",
        "last is None or last is child",
        "True",
    ),
    Mutant(
        "children of a sequence stop in the order of their start",
        _ORDER,
        "SequenceOrdering.__init__",
        "True",
        "False",
    ),
    Mutant(
        "children of a graph stop before those that require them",
        _ORDER,
        "GraphOrdering._static_may_stop",
        "child.dependents_stopping == 0",
        "True",
    ),
    Mutant(
        "children of a sequence do not wait for those before them",
        _ORDER,
        "ChildOrdering._unsettled_predecessor",
        "None if first is child else first",
        "None",
    ),
    Mutant(
        "requirements are not waited for",
        _ORDER,
        "ChildOrdering.admit_start",
        """
        if not child.requires:
            ...
        """,
        """
        if True:
            ...
        """,
    ),
    Mutant(
        "rest_for_one restarts those before the failing child, too",
        _ORDER,
        "SequenceOrdering._statics_from",
        """
        if member is child:
            break
        """,
        "",
    ),
    Mutant(
        "rest_for_one forgets the children added later",
        _ORDER,
        "ChildOrdering.group_of",
        "[*self._statics_from(child), *self.dynamics]",
        "[*self._statics_from(child)]",
    ),
    Mutant(
        "rest_for_one in a graph forgets indirect dependents",
        _ORDER,
        "ChildOrdering._with_dependents",
        "queue.append(dependent)",
        "",
    ),
    Mutant(
        "one_for_all forgets the children added later",
        _ORDER,
        "ChildOrdering.group_of",
        "[*self._statics_from(None), *self.dynamics]",
        "[*self._statics_from(None)]",
    ),
    Mutant(
        "those who wait for a requirement are not woken",
        _ORDER,
        "ChildOrdering.wake_watchers",
        "self.todo.extend(child.watchers)",
        "",
    ),
    Mutant(
        "the next in line is not woken",
        _ORDER,
        "ChildOrdering.leave_start_set",
        "self._wake_start_set()",
        "",
    ),
    Mutant(
        "the next to stop is not woken",
        _ORDER,
        "SequenceOrdering._static_leaves_stop_set",
        "self._wake_stop_set()",
        "",
    ),
    Mutant(
        "statics are not told that the last added child is gone",
        _ORDER,
        "ChildOrdering.stop_finished",
        """
        if not self.dynamic_stopping:
            self._wake_stop_set()
        """,
        "",
    ),
    Mutant(
        "the barrier opens, and nobody behind it is told",
        _ORDER,
        "ChildOrdering.stop_finished",
        "self.todo.extend(self._waiting_for_barrier)",
        "",
    ),
    Mutant(
        "drained requirements are not told further",
        _ORDER,
        "ChildOrdering._count_stopping",
        """
        if not required.in_stop_set and (before == 0 or required.dependents_stopping == 0):
            stack.append(required)
        """,
        "",
    ),
    Mutant(
        "a removed child keeps its place among what others wait for",
        _ORDER,
        "ChildOrdering.drop",
        "required.dependents.pop(child)",
        "pass",
    ),
    Mutant(
        "a child restarted by hand waits for its predecessors",
        _ORDER,
        "ChildOrdering._unsettled_predecessor",
        "not child.in_start_set or child.skips_predecessors",
        "not child.in_start_set",
    ),
    Mutant(
        "whoever waits for one that is held down holds up everybody behind",
        _ORDER,
        "ChildOrdering._note_requirement_down",
        "self.leave_start_set(child)",
        "pass",
    ),
    Mutant(
        "children added later stop after the declared ones",
        _ORDER,
        "ChildOrdering.may_stop",
        "child.dynamic or (not self.dynamic_stopping and self._static_may_stop(child))",
        "child.dynamic or self._static_may_stop(child)",
    ),
    Mutant(
        "in a graph, one_for_all starts some while others are leaving",
        _ORDER,
        "ChildOrdering._barrier_is_closed",
        "self.static_stopping > 0 or self.dynamic_stopping > 0",
        "self.dynamic_stopping > 0",
    ),
    Mutant(
        "under rest_for_one, a member starts while another one of its round stops",
        _ORDER,
        "ChildOrdering._stopping_group",
        "next((group for group in child.groups if group.stopping), None)",
        "None",
    ),
    Mutant(
        "under rest_for_one, a member restarted by command starts while another one stops",
        _ORDER,
        "ChildOrdering._stopping_group",
        "not child.in_start_set",
        "not child.in_start_set or child.skips_predecessors",
    ),
    Mutant(
        "in a graph, rest_for_one restarts everybody",
        _ORDER,
        "GraphOrdering._statics_from",
        "[member for member in self._with_dependents(child) if not member.dynamic]",
        "list(self._statics)",
    ),
    Mutant(
        "in a graph, children added later do not wait for the declared ones",
        _ORDER,
        "GraphOrdering.first_unsettled_static",
        "next(iter(self._start_set), None) if child.dynamic else child",
        "child",
    ),
)
