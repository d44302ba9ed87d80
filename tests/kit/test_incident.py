"""Recorded incidents replay, become tests, and are asked what would have been otherwise."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import trio
from hypothesis import given, settings

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildExited,
    ChildSpec,
    ChildStarted,
    JournalFile,
    RestartLimit,
    SpecError,
    SupervisorSpec,
    SupervisorStopping,
    TaskFailure,
    open_supervisor,
)
from trio_supervisor.testing import (
    Behaviour,
    as_test,
    by_attempt,
    change_spec,
    commands,
    exercise,
    replay_journal,
    simulate,
    supervisor_specs,
    what_if,
    with_delays,
)

PASTED = (
    "from collections import Counter\nimport trio\nfrom math import inf\n"
    "from trio_supervisor import *\nfrom trio_supervisor.testing import *\n"
)


async def feed(child: ChildContext) -> None:
    """The upstream is down from 10 s on, for 20 s."""
    if 10 <= trio.current_time() < 30:
        await trio.sleep(0.3)
        raise TaskFailure("upstream is down")
    await trio.sleep(0.2)
    child.ready()
    await trio.sleep(max(10 - trio.current_time(), 0) or 1e6)
    raise TaskFailure("upstream has gone")


async def web(child: ChildContext) -> None:
    await trio.sleep(0.05)
    child.ready()
    await child.wait_stop_requested()
    await trio.sleep(0.4)


def declare(maximum: float = 8.0, limit: RestartLimit | None = None) -> SupervisorSpec:
    options: dict[str, Any] = {"readiness": "explicit", "grace": 2, "retry_first_start": True}
    backoff = BackoffPolicy(0.5, maximum=maximum)
    children: list[ChildSpec[Any] | SupervisorSpec] = [
        ChildSpec("feed", feed, backoff=backoff, **options),
        ChildSpec("web", web, **options),
        SupervisorSpec("pool", [ChildSpec("w", Behaviour(ends_at=7), stale_after=50)]),
    ]
    limit = RestartLimit(10, within=60) if limit is None else limit
    return SupervisorSpec("app", children, strategy="rest_for_one", restart_limit=limit)


async def a_minute(spec: SupervisorSpec) -> None:
    async with open_supervisor(spec) as supervisor:
        await trio.sleep(40)
        await supervisor.restart_child("web", reason="by me")
        await trio.sleep(5)
        await supervisor.stop_child("pool", reason="no need")
        await trio.sleep(15)


def recorded(seed: int = 3) -> Any:
    trace = simulate(a_minute, declare(), seed=seed)
    trace.check()
    return trace.events


def test_a_recorded_outage_replays_event_by_event() -> None:
    events = recorded()
    replay = replay_journal(events, declare())
    assert replay.is_equal, str(replay)
    assert len(replay.trace.events) == len(events)
    replay.trace.check()
    assert str(replay) == f"equal: {len(events)} events"


def test_a_recording_of_a_tree_that_still_runs_replays() -> None:
    events = recorded()
    assert replay_journal(events[:40], declare()).is_equal


def test_a_difference_is_said() -> None:
    other = declare(limit=RestartLimit(3, within=60))
    replay = replay_journal(recorded(), other)
    assert not replay.is_equal
    assert "instead of app/feed#" in str(replay)


@pytest.mark.parametrize(
    ("behaviour", "options"),
    [
        (Behaviour(ends_at=3), {}),
        (Behaviour(ends_at=3, how="fail"), {}),
        (Behaviour(ends_at=3, how="return"), {"restart": "transient"}),
        (Behaviour(ends_at=3, how="cancel_self"), {}),
        (Behaviour(beat_every=1, silent_at=4), {"stale_after": 2}),
        (Behaviour(), {"stale_after": 2}),
        (Behaviour(), {"max_runtime": 4}),
        (
            Behaviour(ready_at=9),
            {"readiness": "explicit", "retry_first_start": True, "start_timeout": 3},
        ),
        (Behaviour(stop_takes=1), {"grace": 3}),
        (Behaviour(), {"grace": 3}),
        (Behaviour(at_cancel="shield", cancel_takes=2), {"max_runtime": 3}),
        (Behaviour(at_cancel="crash"), {"max_runtime": 3}),
        (Behaviour(ready_at=1, not_ready_at=2, ready_again_at=4), {"readiness": "explicit"}),
        (by_attempt(Behaviour(ends_at=1), Behaviour(ends_at=2, how="fail"), Behaviour()), {}),
    ],
    ids=repr,
)
def test_every_way_to_behave_replays(behaviour: Any, options: Any) -> None:
    spec = SupervisorSpec(
        "app", [ChildSpec("a", behaviour, **options), ChildSpec("b", Behaviour())]
    )

    async def main() -> None:
        async with open_supervisor(spec, wait_ready=False):
            await trio.sleep(10)

    trace = simulate(main, seed=1)
    trace.check()
    replay = replay_journal(trace.events, spec)
    assert replay.is_equal, f"{replay}\n{trace.render()}\n\n{replay.trace.render()}"


def test_children_added_at_run_time_replay() -> None:
    spec = SupervisorSpec("app", [SupervisorSpec("pool", [])])
    session = ChildSpec("s", Behaviour(ends_at=3, how="return"), restart="temporary")

    async def main() -> None:
        async with open_supervisor(spec) as supervisor:
            pool = supervisor.child("pool").value
            for number in range(3):
                await pool.start_child(session.replace(name=f"s{number}"))
                await trio.sleep(1)
            await trio.sleep(5)

    events = simulate(main).events
    replay = replay_journal(events, spec, added={"app/pool/*": session})
    assert replay.is_equal, str(replay)


def test_a_journal_of_the_real_clock_replays() -> None:
    spec = SupervisorSpec(
        "app", [ChildSpec("a", Behaviour(ends_at=0.05), backoff=BackoffPolicy.delays(0.05))]
    )
    kept: list[Any] = []

    async def main() -> None:
        async with open_supervisor(spec) as supervisor:
            await trio.sleep(0.3)
            kept.append(supervisor.journal)

    trio.run(main)
    replay = replay_journal(kept[0], spec)
    assert replay.is_equal, str(replay)


def test_a_start_that_was_late_on_the_real_clock_breaks_no_promise_in_the_replay() -> None:
    spec = SupervisorSpec(
        "app", [ChildSpec("a", Behaviour(ends_at=0.02), backoff=BackoffPolicy.delays(0.02))]
    )
    kept: list[Any] = []

    async def main() -> None:
        async with open_supervisor(spec) as supervisor:
            await trio.sleep(0.2)
            kept.append(supervisor.journal)

    trio.run(main)
    starts = [e.time for e in kept[0].events if isinstance(e, ChildStarted)]
    ends = [e.time for e in kept[0].events if isinstance(e, ChildExited)]
    late = [start - end - 0.02 for start, end in zip(starts[1:], ends, strict=False)]
    assert max(late) > 1e-6  # no loop is that exact
    replay_journal(kept[0], spec).trace.check()


def test_what_cannot_be_replayed_is_refused_with_the_reason() -> None:
    events = recorded()
    with pytest.raises(ValueError, match="begins with #6 .* not with the start of the tree"):
        replay_journal(events[5:], declare())
    with pytest.raises(ValueError, match="empty"):
        replay_journal([], declare())
    with pytest.raises(ValueError, match="of 'app', and the spec of 'other'"):
        replay_journal(events, SupervisorSpec("other", []))


def test_an_incident_becomes_a_test() -> None:
    code = as_test(recorded(), declare(), name="the_outage")
    assert code.startswith("def test_the_outage():\n")
    assert "upstream is down" in code
    assert "await supervisor.restart_child('web', reason='by me')" in code
    names: dict[str, Any] = {}
    exec(PASTED, names)  # as a user pastes it
    names |= {"feed": feed, "web": web}
    exec(code, names)  # likewise
    names["test_the_outage"]()


def test_the_test_waits_as_recorded_whatever_the_jitter() -> None:
    """Many crashes, each 0.1 s after a start: another jitter would move the end by a start."""

    async def crashing(child: ChildContext) -> None:
        await trio.sleep(0.1)
        raise TaskFailure("again")

    def tree() -> SupervisorSpec:
        backoff = BackoffPolicy(0.1, factor=1, jitter=1.0)
        child = ChildSpec(
            "worker", crashing, backoff=backoff, restart_limit=RestartLimit(9, within=60)
        )
        inner = SupervisorSpec("pool", [child], restart_limit=None)
        return SupervisorSpec("app", [inner])

    async def scenario() -> None:
        async with open_supervisor(tree(), random=Random(1)):
            await trio.sleep(30)

    events = simulate(scenario).events
    code = as_test(events, tree(), name="the_outage")
    assert "'pool/worker': [" in code
    names: dict[str, Any] = {"crashing": crashing}
    exec(PASTED, names)
    exec(code, names)
    names["test_the_outage"]()
    exec(code.replace("'pool/worker': [", "'pool/worker': [25, "), names)
    with pytest.raises(AssertionError):  # so it is the recorded delays that it waits for
        names["test_the_outage"]()
    assert replay_journal(events, tree()).is_equal


def test_delays_of_no_child_or_of_no_seconds_are_refused() -> None:
    with pytest.raises(SpecError, match=r"delays='fed': .*there are: feed, web"):
        with_delays(declare(), {"fed": [1]})
    with pytest.raises(SpecError, match=r"delays\['feed'\]=-1"):
        with_delays(declare(), {"feed": [-1]})


@settings(max_examples=25)
@given(supervisor_specs(depth=1).flatmap(lambda spec: commands(spec).map(lambda c: (spec, c))))
def test_whatever_is_recorded_can_be_replayed(case: Any) -> None:
    """Perhaps not equal: bodies of the kit do more than events show. But it never breaks."""
    spec, told = case
    trace = simulate(exercise, spec, told)
    replay = replay_journal(trace.events, spec)
    assert replay.trace.error is None, repr(replay.trace.error)


# ---------------------------------------------------------------- what if


def test_unchanged_it_is_between_best_and_worst() -> None:
    found = what_if(recorded(), declare(), [])
    best, worst = found.declared
    assert found.declared == found.changed
    out = found.recorded.outage["feed"]
    assert best.outage["feed"] - 0.1 <= out <= worst.outage["feed"] + 2
    assert found.recorded.restarts["feed"] == 6
    assert (best.end, worst.end, found.recorded.end) == ("ended", "ended", "ended")


def test_a_recording_that_stops_while_the_tree_runs_says_running() -> None:
    """As the journal of a daemon that was killed, or one that is read while the daemon runs."""
    events = recorded()
    stop = next(at for at, event in enumerate(events) if isinstance(event, SupervisorStopping))
    found = what_if(events[:stop], declare(), [])
    assert found.recorded.end == "running"
    assert {one.end for one in (*found.declared, *found.changed)} == {"running"}
    assert str(found).splitlines()[-1].split() == ["the", "tree"] + ["running"] * 5
    assert replay_journal(events[:stop], declare()).is_equal


def test_trying_more_often_uses_up_the_limit_at_worst() -> None:
    found = what_if(recorded(), declare(), "feed.backoff.maximum=2")
    best, worst = found.changed
    assert best.restarts["feed"] > found.declared[0].restarts["feed"]
    assert worst.given_up == ("feed",)
    assert worst.end == "RestartLimitExceeded"
    table = str(found)
    assert "feed: restarts" in table
    assert "RestartLimitExceeded" in table.splitlines()[-1]


def test_a_lower_limit_gives_up_and_is_out_for_the_rest() -> None:
    found = what_if(recorded(), declare(), declare(limit=RestartLimit(3, within=60)))
    for one in found.changed:
        assert one.given_up == ("feed",)
        assert one.outage["web"] > 40


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ("restart_limit=5/60", lambda spec: spec.restart_limit == RestartLimit(5, within=60)),
        ("strategy=one_for_all", lambda spec: spec.strategy == "one_for_all"),
        ("feed.backoff.maximum=60", lambda spec: spec.children[0].backoff.maximum == 60),
        ("feed.grace=7.5", lambda spec: spec.children[0].grace == 7.5),
        ("feed.restart_limit=none", lambda spec: spec.children[0].restart_limit is None),
        (
            "pool.strategy=one_for_all",
            lambda spec: spec.children[2].supervisor.strategy == "one_for_all",
        ),
        (
            "pool/w.stale_after=inf",
            lambda spec: spec.children[2].supervisor.children[0].stale_after == float("inf"),
        ),
        ("feed.retry_first_start=false", lambda spec: not spec.children[0].retry_first_start),
    ],
)
def test_changes_are_written_as_text(change: str, got: Any) -> None:
    assert got(change_spec(declare(), change))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("feed", "field=value"),
        ("nobody.grace=3", "there"),
        ("feed.colour=red", "colour"),
        ("feed.backoff.colour=3", "backoff"),
        ("web/x.grace=1", "is not one"),
        ("feed.grace=-1", "grace"),
        ("strategy=sideways", "strategy"),
    ],
)
def test_what_cannot_be_changed_is_refused(change: str, reason: str) -> None:
    with pytest.raises(SpecError):
        change_spec(declare(), change)


def test_the_command_prints_the_table(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from trio_supervisor.cli._main import main

    path = tmp_path / "app.journal"
    spec = SupervisorSpec("app", [ChildSpec("a", Behaviour(ends_at=0.02), backoff=FAST)])

    async def day() -> None:
        async with open_supervisor(spec, journal=JournalFile(path)):
            await trio.sleep(0.3)

    trio.run(day)
    (tmp_path / "declared_for_what_if.py").write_text(
        "from trio_supervisor import *\n"
        "from trio_supervisor.testing import Behaviour\n"
        "APP = SupervisorSpec('app', [ChildSpec('a', Behaviour(), "
        "backoff=BackoffPolicy.delays(0.02))])\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        line = ["what-if", str(path), "declared_for_what_if:APP", "--set", "a.restart_limit=1/60"]
        with pytest.raises(SystemExit) as caught:
            main(line)
    shown = capsys.readouterr().out
    assert caught.value.code == 0, shown
    assert "a: restarts" in shown
    assert "RestartLimitExceeded" in shown


FAST = BackoffPolicy.delays(0.02)
