"""The journal: a ring of events whose base and events always add up to the present."""

from __future__ import annotations

import gc
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_supervisor import _events as ev
from trio_supervisor._errors import SpecError
from trio_supervisor._fold import fold
from trio_supervisor._journal import Journal
from trio_supervisor._snapshot import BLANK, SupervisorSnapshot

if TYPE_CHECKING:
    from trio_supervisor._fold import RawEvent

CRASHED = ("crashed", "crashed: boom", 0.5, None)
RESTART = ("restart", "table", 0.0, 1, 10, 120.0, (), "")


def no_wall() -> float:
    return 0.0


def a_journal(capacity: int = 1024) -> Journal:
    journal = Journal(capacity, wall=no_wall)
    journal.append(ev.SupervisorStarted, 0.0, journal.next_run(), "app", 0, (("feed", "web"),))
    return journal


def a_restart(journal: Journal, now: float, path: str = "app/feed", attempt: int = 1) -> None:
    journal.append(ev.ChildExited, now, 1, path, attempt, CRASHED)
    journal.append(ev.ExitJudged, now, 1, path, attempt, RESTART)
    journal.append(ev.ChildStarted, now, 1, path, attempt + 1, (0,))
    journal.append(ev.ChildReady, now, 1, path, attempt + 1, (0.0,))


def state_of(journal: Journal) -> SupervisorSnapshot:
    snapshot = journal.base
    for event in journal:
        snapshot = fold(snapshot, event)
    return snapshot


# ---------------------------------------------------------------- appending and looking

steps = st.lists(
    st.one_of(
        st.tuples(st.just("restart"), st.sampled_from(["app/feed", "app/web", "app/new"])),
        st.tuples(st.sampled_from(["add", "remove"]), st.just("app/new")),
        st.tuples(st.sampled_from(["base", "events", "len", "listen", "leave"]), st.just("")),
    ),
    max_size=60,
)


@given(st.integers(1, 20), steps)
def test_base_and_events_add_up_for_any_capacity(
    capacity: int, steps: list[tuple[str, str]]
) -> None:
    journal = a_journal(capacity)
    everything: list[ev.Event] = list(journal.events)
    heard: list[ev.Event] = []
    present = state_of(journal)
    for (what, path), now in zip(steps, count(1)):
        before = journal.last_sequence
        if what == "restart":
            a_restart(journal, float(now), path)
        elif what == "add":
            journal.append(ev.ChildAdded, float(now), 1, path, 0, ())
        elif what == "remove":
            journal.append(ev.ChildRemoved, float(now), 1, path, 0, ())
        elif what == "base":
            assert journal.base is journal.base
        elif what == "events":
            assert len(journal.events) == min(capacity, before)
        elif what == "len":
            assert len(journal) == min(capacity, before)
        elif what == "listen":
            journal.detach(heard.append)
            journal.attach(heard.append)
            heard_from = before
            assert heard_from >= 0
        else:
            journal.detach(heard.append)
        new = journal.last_sequence - before
        events = Journal.events.fget(journal) if new <= capacity else ()  # type: ignore[attr-defined]
        for event in events[len(events) - new :]:
            everything.append(event)
            present = fold(present, event)
        if new > capacity:
            return  # what came at once was more than is kept: nothing to compare with
        assert state_of(journal) == present
        kept = journal.events
        assert list(kept) == everything[-capacity:]
        assert [event.sequence for event in kept] == list(
            range(journal.last_sequence - len(kept) + 1, journal.last_sequence + 1)
        )
        assert [event for event in heard if event in kept] == [
            event for event in kept if event in heard
        ]
