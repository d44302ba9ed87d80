"""Copies of a machine, fast and faithful, and what of it the future depends on.

`copy.deepcopy` would do, at a thousandth of the speed. What a copy has to contain is taken from the
classes themselves, so that a new attribute cannot be forgotten; and ``test_search`` compares copies
with those that `copy.deepcopy` makes. Dead entries in heaps are copied too.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Any

from trio_supervisor._brain.index_heap import IndexHeap
from trio_supervisor._brain.lifecycle import ChildLife
from trio_supervisor._brain.machine import ShutdownDeadline, SupervisionMachine
from trio_supervisor._brain.ordering import GroupRestart
from trio_supervisor._brain.outbox import Outbox
from trio_supervisor._brain.timers import DeadlineHeap
from trio_supervisor._brain.windows import SharedBackoff, Window

LINKS = ("backoff", "delaying", "dependents", "groups", "requires", "watchers", "window")
_SLOTS = [slot for cls in ChildLife.__mro__ for slot in getattr(cls, "__slots__", ())]
_PLAIN = [slot for slot in _SLOTS if slot not in LINKS]
_ORDER_DICTS = ("dynamics", "dynamic_start_set", "_waiting_for_barrier")
_GRAPH_DICTS = ("_statics", "_start_set", "_stop_set")

Groups = dict[GroupRestart, GroupRestart]
Lives = dict[ChildLife, ChildLife]
Backoffs = dict[SharedBackoff, SharedBackoff]


def _make_copy() -> Any:
    lines = [f"    new.{slot} = old.{slot}" for slot in _PLAIN]
    namespace: dict[str, Any] = {}
    exec("\n".join(["def copy(old, new):", *lines]), namespace)
    return namespace["copy"]


_copy_plain = _make_copy()


def clone(old: SupervisionMachine) -> SupervisionMachine:
    """An independent copy; specs and the random generator are shared."""
    lives: Lives = {}
    copies: Backoffs = {}
    restarts: Groups = {}

    def life(child: ChildLife) -> ChildLife:
        new = lives.get(child)
        if new is None:
            new = lives[child] = object.__new__(ChildLife)
            _copy_plain(child, new)
            new.backoff = None if child.backoff is None else backoff(child.backoff)
            new.window = window(child.window)
            new.requires = tuple([life(each) for each in child.requires])
            new.dependents = names(child.dependents)
            new.delaying = (
                None if child.delaying is None else {backoff(each): None for each in child.delaying}
            )
            new.watchers = names(child.watchers)
            new.groups = tuple([group(each) for each in child.groups])
        return new

    def names(children: dict[ChildLife, None] | None) -> dict[ChildLife, None] | None:
        return None if children is None else {life(child): None for child in children}

    def backoff(each: SharedBackoff) -> SharedBackoff:
        new = copies.get(each)
        if new is None:
            new = copies[each] = object.__new__(SharedBackoff)
            for slot in SharedBackoff.__slots__:
                setattr(new, slot, getattr(each, slot))
            new.members = [life(child) for child in each.members]
            if each.causes is not None:
                new.causes = {life(child): until for child, until in each.causes.items()}
        return new

    def group(each: GroupRestart) -> GroupRestart:
        new = restarts.get(each)
        if new is None:
            new = restarts[each] = object.__new__(GroupRestart)
            new.failed = life(each.failed)
            new.stopping = {life(child): None for child in each.stopping}
            new.waiting = {life(child): None for child in each.waiting}
        return new

    new = object.__new__(SupervisionMachine)
    new.__dict__.update(old.__dict__)
    new.children = {name: life(child) for name, child in old.children.items()}
    if old.kept_open_by is not None:
        new.kept_open_by = life(old.kept_open_by)
    new.significant = {life(child): None for child in old.significant}
    new.window = window(old.window)
    new.todo = deque()
    new.outbox = Outbox(old.path)
    new.judged_later = []
    closing = new._shutdown_deadline = ShutdownDeadline()
    for slot in ShutdownDeadline.__slots__:
        setattr(closing, slot, getattr(old._shutdown_deadline, slot))
    _copy_order(old, new, life)
    new.ordering._group_restarts = {
        life(child): group(each) for child, each in old.ordering._group_restarts.items()
    }

    def thing(due: Any) -> Any:
        if isinstance(due, ChildLife):
            return life(due)
        return backoff(due) if isinstance(due, SharedBackoff) else closing

    timers = new.timers = object.__new__(DeadlineHeap)
    timers._count, timers._live = old.timers._count, old.timers._live
    timers._entries = [(when, n, thing(due)) for when, n, due in old.timers._entries]
    return new


def window(old: Window | None) -> Window | None:
    """A copy of a sliding window."""
    if old is None:
        return None
    new = Window(old.limit)
    new.times = old.times.copy()
    return new


def _copy_order(old: SupervisionMachine, new: SupervisionMachine, life: Any) -> None:
    order: Any = object.__new__(type(old.ordering))
    new.ordering = order
    order.__dict__.update(old.ordering.__dict__)
    order.todo = new.todo
    for name in _ORDER_DICTS:
        setattr(order, name, {life(child): None for child in getattr(old.ordering, name)})
    if isinstance(order._statics, dict):
        for name in _GRAPH_DICTS:
            setattr(order, name, {life(child): None for child in getattr(old.ordering, name)})
        return
    order._statics = [life(child) for child in order._statics]
    for name in ("_start_set", "_stop_set"):
        heap: IndexHeap = getattr(old.ordering, name)
        copy = object.__new__(IndexHeap)
        copy._flag, copy._sign, copy.count = heap._flag, heap._sign, heap.count
        copy._entries = [(index, life(child)) for index, child in heap._entries]
        setattr(order, name, copy)


def key_of(machine: SupervisionMachine, now: float) -> tuple[Any, ...]:
    """All that the machine's future depends on, with times told from ``now``.

    The oracle keeps account of most of it too. That is no reason to leave it out here: where the
    two differ, only what follows can show it.
    """
    copies: dict[SharedBackoff, int] = {}
    order, shared = machine.ordering, machine.window
    return (
        machine.state.value,
        machine.is_started,
        machine.without_grace,
        machine._shutdown_deadline.wake_at - now,
        machine.idle_reported,
        order.static_stopping,
        order.dynamic_stopping,
        sorted(child.name for child in order._waiting_for_barrier),
        [] if shared is None or not shared.used(now) else [now - t for t in shared.times],
        [_key_of_child(machine, child, now, copies) for child in machine.children.values()],
    )


def _key_of_child(
    machine: SupervisionMachine, child: ChildLife, now: float, copies: dict[SharedBackoff, int]
) -> tuple[Any, ...]:
    shared, stop_cause, window = child.backoff, child.stop_cause, child.window
    steps = child.spec.backoff.steps
    return (
        child.name,
        child.desired.value,
        child.live,
        child.stage.value,
        stop_cause and stop_cause.value,
        child.fault_exit is None,
        (child.ready, child.was_ready, child.ever_ready, child.done_by_success),
        (
            child.urgent,
            child.without_grace,
            child.in_stop_set,
            child.in_start_set,
            child.skips_predecessors,
            child.held_by_operator and machine.spec.auto_shutdown == "all_done",
            child.command_grace,
        ),
        (child.restart_pending, child.requirement_down, machine.is_first_start(child)),
        child.unmet_from,
        child.dependents_stopping,
        shared and (copies.setdefault(shared, len(copies)), *_key_of_backoff(shared, now)),
        sorted(each.name for each in child.watchers or ()),
        sorted(
            (sorted(each.name for each in group.stopping), sorted(m.name for m in group.waiting))
            for group in child.groups
            if group.stopping
        ),
        sorted(each.name for each in child.dependents or ()),
        max(child.wake_at - now, -1.0),
        min(child.consecutive_failures, len(steps) - 1),
        [] if window is None or not window.used(now) else [now - t for t in window.times],
        _times_of(child, now) if child.live and not child.stage else (),
    )


def _key_of_backoff(backoff: SharedBackoff, now: float) -> tuple[Any, ...]:
    causes = backoff.causes or {}
    return backoff.until - now, sorted(
        (child.name, max(until - now, 0)) for child, until in causes.items()
    )


def _times_of(child: ChildLife, now: float) -> tuple[float, ...]:
    """What matters while nobody has asked the attempt to end."""
    ready, stable = child.ready, child.spec.backoff.reset_after
    return (
        min(now - child.ready_at, stable) if ready and stable < inf else 0.0,
        max(child.heartbeat_at + child.spec.stale_after - now, child.busy_until - now, 0.0)
        if ready
        else 0.0,
        max(child.busy_until - now, 0.0) if ready else 0.0,
        max(child.start_due - now, 0.0),
        max(child.run_due - now, 0.0),
        max(child.round_until - now, 0.0),
        child.rounds,
    )


def dump(thing: Any, seen: dict[int, int] | None = None) -> Any:
    """``thing`` and all it refers to as plain data: equal for copies, and for them only."""
    seen = {} if seen is None else seen
    if isinstance(thing, (str, int, float, type(None))):
        return thing
    if id(thing) in seen:
        return ("again", seen[id(thing)])
    seen[id(thing)] = len(seen)
    if isinstance(thing, dict):
        return [(dump(key, seen), dump(value, seen)) for key, value in thing.items()]
    if isinstance(thing, (list, tuple, deque)):
        return [dump(each, seen) for each in thing]
    if not type(thing).__module__.startswith("trio_supervisor._brain"):
        return type(thing).__name__
    slots = [slot for cls in type(thing).__mro__ for slot in getattr(cls, "__slots__", ())]
    fields = {slot: getattr(thing, slot) for slot in slots} | getattr(thing, "__dict__", {})
    return type(thing).__name__, [(name, dump(fields[name], seen)) for name in sorted(fields)]


def mutable_slots(machine: SupervisionMachine) -> set[str]:
    """Slots of children that hold something that can change, and so must not be shared."""
    return {
        slot
        for child in machine.children.values()
        for slot in _SLOTS
        if isinstance(getattr(child, slot), (dict, list, set, deque, Window, SharedBackoff))
    }
