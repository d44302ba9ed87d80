"""The set of static children that finds its first or last member at once."""

from __future__ import annotations

from typing import Any

from brain.shapes import child
from trio_supervisor._brain import messages as o
from trio_supervisor._brain.index_heap import IndexHeap
from trio_supervisor._brain.lifecycle import ChildLife


def lives(*names: str) -> list[ChildLife]:
    first: Any = o.FirstStart.FAILS_TREE
    return [
        ChildLife(child(name), f"app/{name}", index, dynamic=False, first_start=first, now=0.0)
        for index, name in enumerate(names)
    ]


def test_a_child_that_left_and_came_back_is_listed_once() -> None:
    a, b = lives("a", "b")
    members = IndexHeap("in_stop_set", last_first=False)
    for member in (a, b, a):
        if member.in_stop_set:  # it leaves, which the set notices when it is asked for its head
            member.in_stop_set = False
            members.count -= 1
        member.in_stop_set = True
        members.add(member)
    assert [member.name for member in members.entries()] == ["a", "b"]
    assert members.head() is a
    a.in_stop_set = False
    assert members.head() is b
