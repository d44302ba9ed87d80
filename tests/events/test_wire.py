"""The JSON forms of events, snapshots and reports: plain, complete, the same when they return."""

from __future__ import annotations

import json
import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_virtual
from hypothesis import given
from hypothesis import strategies as st

from trio_supervisor import (
    BackoffPolicy,
    ChildRunReport,
    ChildSnapshot,
    ChildSpec,
    ChildState,
    ShutdownReport,
    SpecError,
    SupervisorSnapshot,
    SupervisorSpec,
    SupervisorState,
    TaskFailure,
    event_from_dict,
    fold,
    open_supervisor,
)
from trio_supervisor._events import events as ev
from trio_supervisor._events import exits, schema
from trio_supervisor._events.plain import fields_of, to_plain, value_from, wall_of
from trio_supervisor._events.wire import event_classes
from trio_supervisor._record import values_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor import ChildContext


def check(plain: object) -> None:
    """Validate ``plain`` against the schema that is shipped.

    The job with the lowest dependencies has no validator; all others have one.
    """
    if find_spec("jsonschema") is not None:
        from jsonschema import Draft202012Validator

        Draft202012Validator(json.loads(schema.FILE.read_text())).validate(plain)


texts = st.text(max_size=20)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": texts,
    "int": st.integers(-(2**40), 2**40),
    "bool": st.booleans(),
    "float": st.floats(allow_nan=False, min_value=-1e15),
    "float | None": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "int | None": st.none() | st.integers(0, 2**40),
    "str | None": st.none() | texts,
    "tuple[str, ...]": st.lists(texts, max_size=3).map(tuple),
}


def one_of_each(cls: type[ev.Event]) -> st.SearchStrategy[ev.Event]:
    return st.builds(
        cls,
        **{name: VALUES.get(annotation, st.none()) for name, annotation in fields_of(cls)},
    )


any_event = st.sampled_from(sorted(event_classes().values(), key=lambda cls: cls.__name__)).flatmap(
    one_of_each
)


def through_json(plain: dict[str, Any]) -> dict[str, Any]:
    line = json.dumps(plain, allow_nan=False)
    assert "\n" not in line
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


@given(any_event)
def test_an_event_is_the_same_after_its_way_through_json(event: ev.Event) -> None:
    plain = through_json(event.to_dict())
    assert event_from_dict(plain) == event
    check(plain)


def test_every_kind_of_event_can_be_sent() -> None:
    public = {name for name in vars(ev) if isinstance(getattr(ev, name), type)}
    assert set(event_classes()) >= {name for name in public if name.startswith(("Child", "Super"))}


def test_the_wall_clock_time_has_a_zone_and_is_that_of_the_event() -> None:
    event = ev.ChildAdded(1, 2.0, 1_800_000_000.25, 1, "app/x", 0)
    plain = event.to_dict()
    assert plain["at"] == "2027-01-15T08:00:00.250000+00:00"
    assert wall_of(plain["at"]) == event.wall
    del plain["wall"]
    assert event_from_dict(plain) == event


def test_a_time_that_no_calendar_has_is_no_date() -> None:
    assert ev.ChildAdded(1, 2.0, 1e300, 1, "app/x", 0).to_dict()["at"] is None
    assert wall_of("yesterday") is None
    assert wall_of("2027-01-15T08:00:00") is None  # no zone


def broken(event: ev.Event, /, **changes: object) -> dict[str, Any]:
    return {k: v for k, v in {**event.to_dict(), **changes}.items() if v is not ...}


STOP = ev.ChildStopRequested(1, 2.0, 3.0, 1, "app/x", 1, "why", math.inf)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schema": 2}, "schema"),
        ({"schema": ...}, "schema"),
        ({"event": "ChildExploded"}, "event"),
        ({"event": "__class__"}, "event"),
        ({"event": ["ChildAdded"]}, "event"),
        ({"sequence": "1"}, "sequence"),
        ({"sequence": True}, "sequence"),
        ({"path": None}, "path"),
        ({"time": "soon"}, "time"),
        ({"time": True}, "time"),
        ({"reason": ...}, "reason"),
        ({"grace": [1]}, "grace"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        event_from_dict(broken(STOP, **changes))
    assert caught.value.field == field


@pytest.mark.parametrize("data", [None, [], "x", 3])
def test_what_is_no_object_is_refused(data: Any) -> None:
    for read in (
        event_from_dict,
        SupervisorSnapshot.from_dict,
        ShutdownReport.from_dict,
        ChildRunReport.from_dict,
    ):
        with pytest.raises(SpecError):
            read(data)


def test_unknown_keys_are_a_later_version_s_business() -> None:
    assert event_from_dict(broken(STOP, colour="blue")) == STOP


# ---------------------------------------------------------------- real streams


async def flaky(child: ChildContext) -> None:
    if child.attempt == 1:
        raise ConnectionResetError("line\nbreak \x1b[31m")
    if child.attempt == 2:
        raise TaskFailure("on purpose", category="test")
    await trio.sleep_forever()


async def short(child: ChildContext) -> None:
    await trio.sleep(1)


SPEC = SupervisorSpec(
    "app",
    [
        ChildSpec("flaky", flaky, backoff=BackoffPolicy(initial=1, jitter=0)),
        SupervisorSpec("nest", [ChildSpec("inner", short, restart="temporary")]),
    ],
)


def test_a_real_stream_comes_back_and_can_be_folded() -> None:
    async def main() -> None:
        async with open_supervisor(SPEC) as supervisor:
            await trio.sleep(0.5)
            middle = supervisor.state()
            assert middle.child("flaky").state == "backing_off"
            plain = through_json(middle.to_dict())
            check(plain)
            assert SupervisorSnapshot.from_dict(plain) == middle
            flaky_child = plain["children"][0]
            assert flaky_child["age"] == 0.5
            assert flaky_child["starts_in"] == 0.5
            since, until = wall_of(flaky_child["since_at"]), wall_of(flaky_child["until_at"])
            assert since is not None
            assert until is not None
            assert until - since == pytest.approx(1, abs=1e-5)
            await trio.sleep(10)
            await supervisor.stop_child("flaky", reason="enough")
            base = SupervisorSnapshot.from_dict(through_json(supervisor.journal.base.to_dict()))
            for event in supervisor.journal:
                plain = through_json(event.to_dict())
                check(plain)
                base = fold(base, event_from_dict(plain))
            assert base == supervisor.state()
            assert base.time == supervisor.journal.events[-1].time
            reports = supervisor.child("flaky").reports
            report = await supervisor.shutdown()
        for each in reports:
            plain = through_json(each.to_dict())
            check(plain)
            again = ChildRunReport.from_dict(plain)
            assert again.exit.kind == each.exit.kind
            assert again.exit.describe().partition(":")[0] == each.exit.describe().partition(":")[0]
            assert values_of(again)[:4] == values_of(each)[:4]
            assert values_of(again)[5:] == values_of(each)[5:]
        assert ShutdownReport.from_dict(through_json(report.to_dict())) == report
        check(report.to_dict())

    run_virtual(main)


@pytest.mark.parametrize(
    "found",
    [
        exits.Succeeded(),
        exits.Stopped("r"),
        exits.Aborted("r"),
        exits.SelfCancelled("r"),
        exits.TimedOut("start", 3.0),
        exits.Unhealthy(2.0),
    ],
)
def test_an_exit_without_an_exception_comes_back_equal(found: exits.TaskExit) -> None:
    assert exits.exit_from_dict(through_json(found.to_dict())) == found


def test_an_exception_goes_out_as_type_message_and_traceback() -> None:
    def crash() -> exits.Crashed:
        try:
            raise KeyError("x")
        except KeyError as error:
            return exits.Crashed(error)

    plain = through_json(crash().to_dict())
    assert (plain["type"], plain["message"]) == ("KeyError", "'x'")
    assert "in crash" in plain["traceback"]
    assert str(exits.exit_from_dict(plain).error) == "KeyError: 'x'"
    failed = exits.Failed(TaskFailure("no", category="c"))
    back = exits.exit_from_dict(through_json(failed.to_dict()))
    assert isinstance(back, exits.Failed)
    assert (str(back.failure), back.failure.category) == ("no", "c")


class Rude(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_exception_without_text_still_goes_out() -> None:
    plain = through_json(exits.Crashed(Rude()).to_dict())
    assert plain["message"] == "<its str() raised>"


def refuse(field: str, read: Callable[[], object]) -> None:
    with pytest.raises(SpecError) as caught:
        read()
    assert caught.value.field == field


def test_a_snapshot_that_is_none_names_what_is_wrong() -> None:
    good = SupervisorSnapshot.from_dict
    plain = {
        "schema": 1, "name": "a", "path": "a", "run": 1, "state": "running", "since": 0,
        "reason": "",
    }  # fmt: skip
    refuse("children", lambda: good(plain))
    refuse("children", lambda: good({**plain, "children": [3]}))
    refuse("state", lambda: good({**plain, "children": [], "state": "odd"}))
    refuse("run", lambda: good({**plain, "children": [], "run": "1"}))
    refuse("name", lambda: good({k: v for k, v in plain.items() if k != "name"} | {"children": []}))
    child = {
        "name": "c", "path": "a/c", "state": "ready", "attempt": 1, "generation": 0, "since": 0,
        "until": None, "reason": "", "unresponsive": False, "restarts": 0, "last_exit": "",
        "supervisor": 3,
    }  # fmt: skip
    refuse("supervisor", lambda: good({**plain, "children": [child]}))
    refuse("exit", lambda: exits.exit_from_dict({"kind": "vanished"}))
    report = {"schema": 1, "children": 3}
    refuse("children", lambda: ShutdownReport.from_dict(report))


def test_the_schema_that_is_shipped_is_the_one_that_is_generated() -> None:
    assert schema.FILE.read_text() == schema.text(), "run python -m trio_supervisor._events.schema"


# ---------------------------------------------------------------- single values


def test_fields_that_are_missing_have_their_defaults() -> None:
    event = ev.CommandAccepted(1, 2.0, 3.0, 1, "app/x", 0, "stop", "why")
    plain = {k: v for k, v in event.to_dict().items() if k not in {"user", "uid", "pid"}}
    assert event_from_dict(plain) == event


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        ("bool", True, 1),
        ("int", 3, True),
        ("tuple[str, ...]", ["a"], "a"),
        ("float | None", None, "x"),
        ("Exception | None", None, 3),
    ],
)
def test_values_are_checked_by_their_type(annotation: str, good: Any, bad: Any) -> None:
    value_from(annotation, good, "test", "field")
    with pytest.raises(SpecError) as caught:
        value_from(annotation, bad, "test", "field")
    assert caught.value.field == "field"


def test_an_exception_comes_back_as_its_text() -> None:
    plain = to_plain(ValueError("x"))
    back = value_from("Exception | None", plain, "test", "error")
    assert str(back) == "ValueError: x"
    assert back.__notes__ == [plain["traceback"]]
    bare = value_from("Exception | None", {**plain, "traceback": ""}, "test", "error")
    assert not hasattr(bare, "__notes__")
    assert schema._type_of("Exception | None")["type"] == ["object", "null"]


def test_what_json_has_no_form_for_is_text() -> None:
    assert to_plain(object) == "<class 'object'>"
    assert value_from("object", [1], "test", "x") == [1]


def test_without_a_wall_clock_there_are_ages_but_no_dates() -> None:
    child = ChildSnapshot(
        "x", "app/x", ChildState.BACKING_OFF, 1, 0, 2.0, 9.0, "", False, 0, "boom"
    )
    snapshot = SupervisorSnapshot(
        "app", "app", 1, SupervisorState.RUNNING, 0.0, "", (child,), time=5.0
    )
    plain = snapshot.to_dict()["children"][0]
    assert (plain["age"], plain["starts_in"]) == (3.0, 4.0)
    assert "since_at" not in plain
    assert "until_at" not in plain
    refuse("opened", lambda: SupervisorSnapshot.from_dict(
        {**snapshot.to_dict(), "children": [{**plain, "opened": 3}]}
    ))  # fmt: skip
