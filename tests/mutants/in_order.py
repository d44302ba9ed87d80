"""Bugs in who waits for whom."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

_ORDER = "_brain.ordering"

MUTANTS: Final = (
    Mutant(
        "a group restart starts before the old scopes have closed",
        _ORDER,
        "        if self._barrier_is_closed(child):\n"
        "            self._waiting_for_barrier[child] = None\n",
        "        if False:\n            self._waiting_for_barrier[child] = None\n",
    ),
    Mutant(
        "children of a sequence stop in any order",
        _ORDER,
        "        return last is None or last is child\n",
        "        return True\n",
    ),
    Mutant(
        "children of a sequence stop in the order of their start",
        _ORDER,
        'self._stop_set = IndexHeap("in_stop_set", last_first=True)',
        'self._stop_set = IndexHeap("in_stop_set", last_first=False)',
    ),
    Mutant(
        "children of a graph stop before those that require them",
        _ORDER,
        "        return child.dependents_stopping == 0\n",
        "        return True\n",
    ),
    Mutant(
        "children of a sequence do not wait for those before them",
        _ORDER,
        "        return None if first is child else first\n",
        "        return None\n",
    ),
    Mutant(
        "requirements are not waited for",
        _ORDER,
        "        if not child.requires:\n",
        "        if True:\n",
    ),
    Mutant(
        "rest_for_one restarts those before the failing child, too",
        _ORDER,
        "            if member is child:\n                break\n",
        "",
    ),
    Mutant(
        "rest_for_one forgets the children added later",
        _ORDER,
        "        return [*self._statics_from(child), *self.dynamics]\n",
        "        return [*self._statics_from(child)]\n",
    ),
    Mutant(
        "rest_for_one in a graph forgets indirect dependents",
        _ORDER,
        "                    queue.append(dependent)\n",
        "",
    ),
    Mutant(
        "one_for_all forgets the children added later",
        _ORDER,
        "            return [*self._statics_from(None), *self.dynamics]\n",
        "            return [*self._statics_from(None)]\n",
    ),
    Mutant(
        "those who wait for a requirement are not woken",
        _ORDER,
        "            self.todo.extend(child.watchers)\n",
        "",
    ),
    Mutant(
        "the next in line is not woken",
        _ORDER,
        "            self._static_leaves_start_set(child)\n            self._wake_start_set()\n",
        "            self._static_leaves_start_set(child)\n",
    ),
    Mutant(
        "the next to stop is not woken",
        _ORDER,
        "        self._stop_set.count -= 1\n        self._wake_stop_set()\n",
        "        self._stop_set.count -= 1\n",
    ),
    Mutant(
        "statics are not told that the last added child is gone",
        _ORDER,
        "        if child.dynamic and not self.dynamic_stopping:\n"
        "            self._wake_stop_set()\n",
        "",
    ),
    Mutant(
        "the barrier opens, and nobody behind it is told",
        _ORDER,
        "            self.todo.extend(self._waiting_for_barrier)\n",
        "",
    ),
    Mutant(
        "drained requirements are not told further",
        _ORDER,
        "                if not required.in_stop_set and (before == 0 or "
        "required.dependents_stopping == 0):\n"
        "                    stack.append(required)\n",
        "",
    ),
    Mutant(
        "a removed child keeps its place among what others wait for",
        _ORDER,
        "            required.dependents.pop(child)\n",
        "            pass\n",
    ),
    Mutant(
        "a child restarted by hand waits for its predecessors",
        _ORDER,
        "        if not child.in_start_set or child.skips_predecessors:\n            return None\n",
        "        if not child.in_start_set:\n            return None\n",
    ),
    Mutant(
        "whoever waits for one that is held down holds up everybody behind",
        _ORDER,
        "            # Successors must not wait for a command that may never come.\n"
        "            self.leave_start_set(child)\n",
        "            pass\n",
    ),
    Mutant(
        "children added later stop after the declared ones",
        _ORDER,
        "return child.dynamic or (not self.dynamic_stopping and self._static_may_stop(child))",
        "return child.dynamic or self._static_may_stop(child)",
    ),
    Mutant(
        "in a graph, one_for_all starts some while others are leaving",
        _ORDER,
        "        if self.together:\n            return True\n        if child.dynamic:",
        "        if child.dynamic:",
    ),
    Mutant(
        "in a graph, one starts while those that require it are leaving",
        _ORDER,
        "        return child.dependents_stopping > 0\n",
        "        return False\n",
    ),
    Mutant(
        "in a graph, rest_for_one restarts everybody",
        _ORDER,
        "[member for member in self._with_dependents(child) if not member.dynamic]",
        "list(self._statics)",
    ),
    Mutant(
        "in a graph, children added later do not wait for the declared ones",
        _ORDER,
        "        return next(iter(self._start_set), None) if child.dynamic else child\n",
        "        return child\n",
    ),
)
