"""Snapshots, and the fold of events into them, against a model that shares no code with either."""

from __future__ import annotations

import copy
import json
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_supervisor._errors import ChildNotFound, SpecError
from trio_supervisor._events import events as ev
from trio_supervisor._events.fold import SnapshotBuilder, event_of, fold, raw_of
from trio_supervisor._events.snapshot import (
    BLANK,
    ChildSnapshot,
    ChildState,
    SupervisorSnapshot,
    SupervisorState,
)

# ---------------------------------------------------------------- events to draw from

SUPERVISORS = ("app", "app/n", "app/n/m", "other", "app/a/p", "app/a/q", "app/n/x/p")
CHILDREN = (
    "app/a",
    "app/b",
    "app/n",
    "app/n/x",
    "app/n/m",
    "app/n/m/z",
    "app/nn",
    "other/a",
    "app/a/p/c",
    "app/a/p/d",
    "app/n/x/p/c",
)
DECLARED = {"app": ("a", "n"), "app/n": ("x", "m"), "app/n/m": ("z",), "other": ("a",)}
DECLARED |= {"app/a/p": ("c",), "app/a/q": (), "app/n/x/p": ("c",)}

texts = st.sampled_from(["", "why", "because"])
numbers = st.integers(1, 5)
durations = st.floats(0, 9)
actions = st.sampled_from(["restart", "done"])
verdicts = st.tuples(
    actions,
    st.just("table"),
    durations,
    numbers,
    st.none(),
    durations,
    st.just(("b",)),
    texts,
)
OWN_FIELDS: dict[type[ev.Event], st.SearchStrategy[tuple[Any, ...]]] = {
    ev.SupervisorReady: st.just(()),
    ev.SupervisorIdle: st.just(()),
    ev.SupervisorStopping: st.tuples(texts, texts),
    ev.SupervisorFinished: st.tuples(texts, texts, durations, numbers),
    ev.CommandAccepted: st.tuples(texts, texts),
    ev.ChildAdded: st.just(()),
    ev.ChildWaiting: st.just(()),
    ev.ChildStarted: st.tuples(numbers),
    ev.ChildReady: st.tuples(durations),
    ev.ChildLostReadiness: st.tuples(texts),
    ev.ChildStopRequested: st.tuples(texts, durations),
    ev.ChildCancelled: st.tuples(texts),
    ev.ChildUnresponsive: st.tuples(durations, st.just(("here",))),
    ev.ChildExited: st.tuples(texts, texts, durations, st.none()),
    ev.ExitJudged: verdicts,
    ev.ChildBackingOff: st.tuples(durations),
    ev.ChildDone: st.just(()),
    ev.ChildStopped: st.tuples(texts),
    ev.ChildQuarantined: st.tuples(texts),
    ev.ChildRemoved: st.just(()),
}


@st.composite
def bare_events(draw: st.DrawFn) -> tuple[type[ev.Event], str, tuple[Any, ...]]:
    starts = st.tuples(st.just(ev.SupervisorStarted), st.sampled_from(SUPERVISORS))
    others = st.tuples(st.sampled_from(sorted(OWN_FIELDS, key=lambda cls: cls.__name__)), st.none())
    cls, path = draw(st.one_of(others, others, others, starts))
    if path is not None:
        return cls, path, (DECLARED[path],)
    about = SUPERVISORS if cls.__name__.startswith("Supervisor") else CHILDREN
    return cls, draw(st.sampled_from(about)), draw(OWN_FIELDS[cls])


def numbered(
    bare: list[tuple[type[ev.Event], str, tuple[Any, ...]]], first: int = 1
) -> list[ev.Event]:
    return [
        cls(sequence, sequence / 4, 0.0, sequence + 100, path, sequence, *own)
        for sequence, (cls, path, own) in enumerate(bare, first)
    ]


Bare = tuple[type[ev.Event], str, tuple[Any, ...]]

HEAD: list[Bare] = [
    (ev.SupervisorStarted, path, (DECLARED[path],))
    for path in ("app", "app/n", "app/n/m", "app/a/p")
]
any_events = st.lists(bare_events(), max_size=40).map(numbered)
likely_events = st.lists(bare_events(), max_size=40).map(lambda bare: numbered(HEAD + bare))
histories = st.one_of(any_events, likely_events)

# ---------------------------------------------------------------- the model


def blank_child(path: str, time: float) -> dict[str, Any]:
    return {
        "name": path.rpartition("/")[2],
        "path": path,
        "state": "waiting",
        "attempt": 0,
        "generation": 0,
        "since": time,
        "until": None,
        "reason": "",
        "unresponsive": False,
        "restarts": 0,
        "last_exit": "",
        "supervisor": None,
        "opened": [],
        "previous": None,
        "waiting_for": [],
    }


def model_of_start(event: ev.SupervisorStarted) -> dict[str, Any]:
    return {
        "name": event.path.rpartition("/")[2],
        "path": event.path,
        "run": event.run,
        "state": "starting",
        "since": event.time,
        "reason": "",
        "children": [blank_child(f"{event.path}/{name}", event.time) for name in event.children],
    }


def bare(snapshot: SupervisorSnapshot) -> dict[str, Any]:
    """The JSON form without what depends on the moment at which the snapshot was taken."""
    return only_state(snapshot.to_dict())


def only_state(plain: dict[str, Any]) -> dict[str, Any]:
    moment = {"schema", "at", "time", "wall", "age", "since_at", "starts_in", "until_at"}
    kept = {key: value for key, value in plain.items() if key not in moment}
    for key, value in kept.items():
        if key in {"children", "opened"}:
            kept[key] = [only_state(child) for child in value]
        elif key in {"supervisor", "previous"} and value is not None:
            kept[key] = only_state(value)
    return kept


def everybody(supervisor: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """All supervisors, and all children, by path."""
    supervisors, children = {supervisor["path"]: supervisor}, {}
    for child in supervisor["children"]:
        children[child["path"]] = child
        if child["supervisor"] is not None:
            below = everybody(child["supervisor"])
            supervisors |= below[0]
            children |= below[1]
        for opened in child["opened"]:
            below = everybody(opened)
            supervisors |= below[0]
            children |= below[1]
    return supervisors, children


SUPERVISOR_STATES = {
    "SupervisorReady": "running",
    "SupervisorStopping": "stopping",
    "SupervisorFinished": "finished",
}
CHILD_STATES = {
    "ChildWaiting": "waiting",
    "ChildStarted": "starting",
    "ChildReady": "ready",
    "ChildLostReadiness": "not_ready",
    "ChildStopRequested": "stopping",
    "ChildExited": "waiting",
    "ChildBackingOff": "backing_off",
    "ChildDone": "done",
    "ChildStopped": "stopped",
    "ChildQuarantined": "quarantined",
}


def is_opened(path: str, children: dict[str, Any]) -> bool:
    opener = children.get(path.rpartition("/")[0])
    return opener is not None and path in {each["path"] for each in opener["opened"]}


def model_after(model: dict[str, Any], event: ev.Event) -> dict[str, Any]:
    model = copy.deepcopy(model)
    supervisors, children = everybody(model)
    kind, path = type(event).__name__, event.path
    if isinstance(event, ev.SupervisorStarted):
        if model["path"] in ("", path):
            return model_of_start(event)
        if path in children:
            children[path] |= {"supervisor": model_of_start(event), "opened": []}
        elif path.rpartition("/")[0] in children:
            opener = children[path.rpartition("/")[0]]
            if opener["supervisor"] is None:
                opened = {each["path"]: each for each in opener["opened"]}
                opener["opened"] = list((opened | {path: model_of_start(event)}).values())
    elif kind == "SupervisorFinished" and is_opened(path, children):
        opener = children[path.rpartition("/")[0]]
        opener["opened"] = [each for each in opener["opened"] if each["path"] != path]
    elif kind in SUPERVISOR_STATES and path in supervisors:
        reason = getattr(event, "reason", "")
        supervisors[path] |= {
            "state": SUPERVISOR_STATES[kind],
            "since": event.time,
            "reason": reason,
        }
    elif isinstance(event, ev.ChildAdded | ev.ChildRemoved):
        parent = supervisors.get(path.rpartition("/")[0])
        if parent is not None:
            parent["children"] = [child for child in parent["children"] if child["path"] != path]
            if isinstance(event, ev.ChildAdded):
                parent["children"].append(blank_child(path, event.time))
    elif path in children:
        child_after(children[path], kind, event)
    return model


def child_after(child: dict[str, Any], kind: str, event: ev.Event) -> None:
    if kind in CHILD_STATES:
        child |= {"state": CHILD_STATES[kind], "since": event.time, "until": None, "reason": ""}
        child |= attrs.asdict(
            event, filter=lambda field, _: field.name in {"reason", "until", "generation"}
        )
    if isinstance(event, ev.ChildStarted):
        child |= {"attempt": event.attempt, "unresponsive": False}
    elif isinstance(event, ev.ChildExited):
        child |= {"last_exit": event.detail, "unresponsive": False}
        if child["supervisor"] is not None:
            nothing: dict[str, Any] = {"supervisor": None, "opened": [], "previous": None}
            left = [each | nothing for each in child["supervisor"]["children"]]
            child |= {"previous": child["supervisor"] | {"children": left}}
        child |= {"supervisor": None, "opened": []}
    elif isinstance(event, ev.ChildUnresponsive):
        child["unresponsive"] = True
    elif isinstance(event, ev.ExitJudged) and event.action == "restart":
        child["restarts"] += 1


# ---------------------------------------------------------------- fold


@settings(deadline=None)  # the machine may be busy
@given(histories)
def test_fold_builder_and_model_agree_after_every_event(events: list[ev.Event]) -> None:
    folded, builder, model = BLANK, SnapshotBuilder(), bare(BLANK)
    for event in events:
        before, was = folded, copy.deepcopy(bare(folded))
        folded = fold(folded, event)
        builder.apply(raw_of(event))
        model = model_after(model, event)
        assert bare(folded) == model
        assert builder.freeze() == folded
        assert bare(before) == was, "the fold has changed its argument"
        assert hash(folded) == hash(builder.freeze())


@settings(deadline=None)  # the machine may be busy
@given(histories, st.integers(0, 40))
def test_a_builder_can_go_on_from_any_snapshot(events: list[ev.Event], cut: int) -> None:
    folded = BLANK
    for event in events[:cut]:
        folded = fold(folded, event)
    builder = SnapshotBuilder.from_snapshot(folded)
    assert builder.freeze() == folded
    builder.extend(map(raw_of, events[cut:]))
    for event in events[cut:]:
        folded = fold(folded, event)
    assert builder.freeze() == folded


@settings(deadline=None)  # the machine may be busy
@given(histories)
def test_a_nested_supervisor_can_be_followed_on_its_own(events: list[ev.Event]) -> None:
    def nested(tree: SupervisorSnapshot) -> SupervisorSnapshot | None:
        return next((child.supervisor for child in tree.children if child.name == "n"), None)

    whole = BLANK
    for event in events:
        before = nested(whole)
        whole = fold(whole, event)
        after = nested(whole)
        if before is not None and after is not None:
            assert fold(before, event) == after


WITHOUT_EFFECT = (ev.ChildCancelled, ev.CommandAccepted, ev.SupervisorIdle)


@settings(deadline=None)  # the machine may be busy
@given(histories)
def test_what_an_event_does_not_concern_is_not_even_copied(events: list[ev.Event]) -> None:
    folded = BLANK
    for event in events:
        before = folded
        folded = fold(folded, event)
        supervisors, children = everybody(bare(before))
        known = event.path in supervisors or event.path in children
        at_most_coming = isinstance(event, ev.SupervisorStarted | ev.ChildAdded | ev.ChildRemoved)
        if isinstance(event, WITHOUT_EFFECT) or not (known or at_most_coming):
            assert folded is before


@settings(deadline=None)  # the machine may be busy
@given(histories)
def test_raw_events_are_events(events: list[ev.Event]) -> None:
    for event in events:
        raw = raw_of(event)
        own = attrs.astuple(event, recurse=False)[6:]
        if isinstance(event, ev.ChildExited):
            own = own[:-1]  # without the exception
        assert raw[:8] == (
            type(event),
            event.sequence,
            event.time,
            event.wall,
            event.run,
            event.path,
            event.attempt,
            own,
        )
        assert event_of(raw) == event


def test_a_vanished_subtree_leaves_nothing_behind() -> None:
    builder = SnapshotBuilder()
    start: list[Bare] = [*HEAD, (ev.ChildStarted, "app/n/m/z", (0,))]
    builder.extend(map(raw_of, numbered(start)))
    nested = {"app/n/x", "app/n/m", "app/n/m/z"}
    assert set(builder._children) == {"app/a", "app/a/p/c", "app/n", *nested}
    exited: Bare = (ev.ChildExited, "app/n", ("crashed", "boom", 1.0, None))
    builder.extend(map(raw_of, numbered([exited], 10)))
    assert set(builder._children) == {"app/a", "app/a/p/c", "app/n"}
    finished: Bare = (ev.SupervisorFinished, "app/a/p", ("shutdown", "", 1.0, 0))
    builder.extend(map(raw_of, numbered([finished], 11)))
    assert set(builder._children) == {"app/a", "app/n"}
    removed = [(ev.ChildRemoved, path, ()) for path in ("app/n", "app/a")]
    builder.extend(map(raw_of, numbered([*HEAD[1:], *removed], 20)))
    assert set(builder._children) == set()


def test_a_nested_supervisor_that_begins_anew_has_only_its_new_children() -> None:
    builder = SnapshotBuilder()
    again: Bare = (ev.SupervisorStarted, "app/n", (("y",),))
    builder.extend(map(raw_of, numbered([*HEAD, again])))
    assert set(builder._children) == {"app/a", "app/a/p/c", "app/n", "app/n/y"}


def test_before_the_first_event_there_is_nobody_to_add_to() -> None:
    addition: Bare = (ev.ChildAdded, "app", ())
    (added,) = numbered([addition])
    builder = SnapshotBuilder()
    builder.apply(raw_of(added))
    assert builder.freeze() == fold(BLANK, added) == BLANK


def test_only_an_event_can_be_folded_and_only_into_a_snapshot() -> None:
    (event,) = numbered([(ev.ChildAdded, "app", ())])
    wrong: Any
    for wrong in (event.to_dict(), ev.Event, None):
        with pytest.raises(SpecError, match="expected an Event") as caught:
            fold(BLANK, wrong)
        assert (caught.value.field, caught.value.value) == ("event", wrong)
    wrong = BLANK.to_dict()
    with pytest.raises(SpecError, match="expected a SupervisorSnapshot") as caught:
        fold(wrong, event)
    assert (caught.value.field, caught.value.value) == ("snapshot", wrong)


# ---------------------------------------------------------------- snapshots


def tree() -> SupervisorSnapshot:
    store = ChildSnapshot(
        "store", "app/store", ChildState.READY, 1, 0, 10.25, None, "", False, 0, ""
    )
    feed = ChildSnapshot(
        "feed", "app/feed", ChildState.BACKING_OFF, 3, 0, 11.0, 12.5, "", False, 2, "crashed: a\nb"
    )
    web = ChildSnapshot(
        "web", "app/web", ChildState.STOPPING, 1, 0, 11.5, None, "by\thand", True, 0, ""
    )
    late = ChildSnapshot(
        "late",
        "app/late",
        ChildState.WAITING,
        0,
        0,
        10.0,
        None,
        "",
        False,
        0,
        "",
        waiting_for=("feed", "web"),
    )
    one = ChildSnapshot("s-1", "app/in/s-1", ChildState.READY, 1, 0, 10.5, None, "", False, 0, "")
    inner = SupervisorSnapshot("in", "app/in", 2, SupervisorState.RUNNING, 10.5, "", (one,))
    nest = ChildSnapshot(
        "in", "app/in", ChildState.READY, 1, 0, 10.5, None, "", False, 0, "", inner
    )
    children = (store, feed, nest, web, late)
    return SupervisorSnapshot("app", "app", 1, SupervisorState.RUNNING, 10.5, "", children)


def test_render_shows_one_line_for_each() -> None:
    assert tree().render() == (
        "app  running      since 10.500  run 1\n"
        "  store  ready        since 10.250  attempt 1\n"
        "  feed   backing_off  since 11.000  until 12.500  attempt 3  restarts 2"
        "  last exit: crashed: a b\n"
        "  in     ready        since 10.500  attempt 1  supervisor running, run 2\n"
        "    s-1  ready        since 10.500  attempt 1\n"
        "  web    stopping     since 11.500  UNRESPONSIVE  attempt 1  reason: by hand\n"
        "  late   waiting      since 10.000  waiting for feed, web"
    )


def test_render_can_show_distances_from_now() -> None:
    first, _, feed, *_ = tree().render(now=12.0).splitlines()
    assert first == "app  running      for 1.5s  run 1"
    assert feed.startswith("  feed   backing_off  for 1.0s  again in 0.5s  ")


@pytest.mark.parametrize("wall", [1e12, 1e300, -1e12, float("inf"), float("nan")])
def test_render_of_a_wall_clock_that_no_calendar_knows_has_no_dates(wall: float) -> None:
    """Such a clock may be in a file, or be a board without a battery."""
    plain = {**tree().to_dict(), "time": 12.0, "wall": wall}
    shown = SupervisorSnapshot.from_dict(plain).render()
    plain["wall"] = 0.0
    dated = SupervisorSnapshot.from_dict(plain).render()
    assert "1970-01-01 00:00:00 UTC" in dated
    assert "UTC" not in shown
    assert len(shown.splitlines()) == len(dated.splitlines())


def test_render_lets_no_control_characters_through() -> None:
    odd = attrs.evolve(tree(), reason="a\x1b[2Jb\r\nc", children=())
    assert odd.render() == "app  running      since 10.500  run 1  reason: a?[2Jb c"


def test_to_dict_is_plain_and_goes_through_json() -> None:
    plain = tree().to_dict()
    assert json.loads(json.dumps(plain)) == plain

    def check(value: object) -> None:
        assert type(value) in {dict, list, str, int, float, bool, type(None)}
        if isinstance(value, dict):
            for inner in value.values():
                check(inner)
        elif isinstance(value, list):
            for inner in value:
                check(inner)

    check(plain)
    assert plain["children"][2]["supervisor"]["children"][0]["state"] == "ready"
    assert plain["children"][4]["waiting_for"] == ["feed", "web"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("feed", "app/feed"),
        ("app/feed", "app/feed"),
        ("in", "app/in"),
        ("in/s-1", "app/in/s-1"),
        ("app/in/s-1", "app/in/s-1"),
    ],
)
def test_children_are_found_by_name_and_by_path(wanted: str, found: str) -> None:
    assert tree().child(wanted).path == found


def test_a_relative_path_goes_before_an_absolute_one() -> None:
    deep = ChildSnapshot("x", "app/app/x", ChildState.READY, 1, 0, 0.0, None, "", False, 0, "")
    inner = SupervisorSnapshot("app", "app/app", 2, SupervisorState.RUNNING, 0.0, "", (deep,))
    twin = attrs.evolve(deep, name="app", path="app/app", supervisor=inner)
    other = attrs.evolve(deep, path="app/x")
    root = attrs.evolve(tree(), children=(twin, other))
    assert root.child("app/x") is deep
    assert root.child("x") is other
    assert root.child("app") is twin


@pytest.mark.parametrize("wanted", ["nobody", "feed/x", "in/nobody", "app", "", "app/", "in/", "/"])
def test_a_child_that_is_not_there_is_named_beside_those_that_are(wanted: str) -> None:
    with pytest.raises(ChildNotFound, match="it has: store, feed, in, web, late") as caught:
        tree().child(wanted)
    assert repr(wanted) in str(caught.value)
    with pytest.raises(LookupError, match="it has: none"):
        BLANK.child("x")


def test_whom_a_child_waits_for_is_no_part_of_equality() -> None:
    one = tree()
    other = attrs.evolve(
        one, children=(*one.children[:-1], attrs.evolve(one.children[-1], waiting_for=()))
    )
    assert one == other
    assert hash(one) == hash(other)
    assert one != attrs.evolve(one, since=0.0)


def test_snapshots_cannot_be_changed() -> None:
    def set_state(snapshot: Any) -> None:
        snapshot.state = "ready"

    for snapshot in (tree(), tree().children[0]):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            set_state(snapshot)
        assert not hasattr(snapshot, "__dict__")


def test_wide_trees_need_no_deep_stack() -> None:
    names = tuple(f"c{number}" for number in range(20_000))
    start = ev.SupervisorStarted(1, 0.0, 0.0, 1, "app", 0, names)
    wide = fold(BLANK, start)
    assert len(wide.children) == 20_000
    ready = fold(wide, ev.ChildStarted(2, 1.0, 0.0, 1, "app/c19999", 1, 0))
    assert ready.child("c19999").state is ChildState.STARTING
    assert len(ready.render().splitlines()) == 20_001
    assert len(ready.to_dict()["children"]) == 20_000
