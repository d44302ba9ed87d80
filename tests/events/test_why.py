"""Explanations: every state has one, and no sentence contradicts the snapshot or the events."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from helpers.support import run_virtual
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from trio_supervisor import (
    BackoffPolicy,
    ChildNotFound,
    ChildSnapshot,
    ChildSpec,
    ChildState,
    Quarantine,
    RestartLimit,
    Statement,
    SupervisorSnapshot,
    SupervisorSpec,
    SupervisorState,
    explain,
    open_supervisor,
)
from trio_supervisor._events import events as ev
from trio_supervisor._events.fold import SnapshotBuilder, raw_of
from trio_supervisor._events.snapshot import BLANK
from trio_supervisor._runtime.operator import on_behalf_of
from trio_supervisor._text import duration
from trio_supervisor.testing import commands, exercise, simulate, supervisor_specs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_supervisor import ChildContext, Supervisor

WORDS = {
    "waiting": " is waiting to start ",
    "starting": " is starting ",
    "ready": " is ready ",
    "not_ready": " is running, but not ready ",
    "stopping": " is stopping ",
    "backing_off": " is down and backing off ",
    "done": " is done ",
    "stopped": " is stopped ",
    "quarantined": " is quarantined ",
}
KINDS = {
    "state", "exit", "decision", "command", "asked", "cancelled", "unresponsive", "group",
    "supervisor", "waiting", "next", "count", "note",
}  # fmt: skip


def of_kind(told: Sequence[Statement], kind: str, path: str) -> list[str]:
    return [each.text for each in told if each.kind == kind and each.path == path]


# ---------------------------------------------------------------- any lifecycle


def check(
    path: str, child: ChildSnapshot, told: Sequence[Statement], events: Any, now: float
) -> None:
    assert told[0].kind == "state"
    (where,) = of_kind(told, "state", path)
    assert where.startswith(path + WORDS[child.state])
    assert f"(for {duration(max(0.0, now - child.since))})" in where
    if child.reason and child.state in {"stopped", "quarantined", "not_ready"}:
        assert where.endswith(f": {' '.join(child.reason.split())}.")
    for each in told:
        assert each.kind in KINDS
        assert each.text.isprintable()
        assert each.text.endswith(".")
    own = [event for event in events if event.path == path]
    check_exits(child, of_kind(told, "exit", path), own)
    check_next(child, of_kind(told, "next", path), now)
    judged = [e for e in own if isinstance(e, ev.ExitJudged)]
    for text in of_kind(told, "decision", path):
        if used := re.search(r"\(restart (\d+) of (\d+)", text):
            assert (int(used[1]), int(used[2])) in [(e.used, e.limit) for e in judged]
    given_commands = [e for e in own if isinstance(e, ev.CommandAccepted)]
    assert len(of_kind(told, "command", path)) <= len(given_commands)
    count = of_kind(told, "count", path)
    assert bool(count) == bool(child.restarts)
    assert all(f"{child.restarts} times" in text or child.restarts == 1 for text in count)
    if child.unresponsive:
        assert of_kind(told, "unresponsive", path)
    assert bool(of_kind(told, "supervisor", path)) <= ("/" in path)


def check_exits(child: ChildSnapshot, told: list[str], own: list[ev.Event]) -> None:
    exits = {e.attempt: e for e in own if isinstance(e, ev.ChildExited)}
    for text in told:
        if found := re.match(r"Attempt (\d+) ", text):
            event = exits[int(found[1])]
            assert f"after {duration(event.seconds)}" in text
            detail = " ".join(event.detail.split()).partition(": ")[2]
            assert detail in text
        else:
            assert " ".join(child.last_exit.split()) in text
    last = exits.get(child.attempt)
    if last is not None and child.state in {"backing_off", "done", "quarantined"}:
        assert any(text.startswith(f"Attempt {child.attempt} ") for text in told)


def check_next(child: ChildSnapshot, told: list[str], now: float) -> None:
    text = " ".join(told)
    stopping = "supervisor is stopping" in text or "when its turn comes" in text
    if child.state == "backing_off" and not stopping:
        assert child.until is not None
        assert f"(in {duration(max(0.0, child.until - now))})" in text
    elif child.state in {"stopped", "quarantined"} and not stopping:
        assert text == "It stays down until an operator starts it."
    elif child.state in {"ready", "starting", "not_ready"} and not stopping:
        assert not text
    assert len(told) <= 1


@st.composite
def lifecycles(draw: st.DrawFn) -> Any:
    spec = draw(supervisor_specs(depth=1))
    return spec, draw(commands(spec))


def everybody(supervisor: SupervisorSnapshot) -> list[ChildSnapshot]:
    found = list(supervisor.children)
    for child in found:
        if child.supervisor is not None:
            found.extend(child.supervisor.children)
    return found


def check_at(events: Sequence[ev.Event], begin: int, cut: int, seen: set[str]) -> None:
    """Check what is said of everybody after ``cut`` events, if those from ``begin`` are kept."""
    builder, kept = SnapshotBuilder(), events[begin:cut]
    builder.extend(map(raw_of, events[:begin]))
    base = builder.freeze()
    builder.extend(map(raw_of, kept))
    state = builder.freeze()
    if not state.path or state.time is None:
        return
    for child in everybody(state):
        told = explain(child.path, base, kept)
        seen.add(child.state.value)
        check(child.path, child, told, kept, state.time)
        whole = explain(child.path, BLANK, events[:cut], state=state)
        assert whole[0] == told[0], "what is no longer kept changes the present"
    (first, *_) = explain(state.path, base, kept)
    assert first.kind == "state"
    assert f" {STATES[state.state]} " in first.text


def test_no_sentence_contradicts_the_snapshot_in_any_lifecycle() -> None:
    seen: set[str] = set()

    @settings(max_examples=40, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(lifecycles(), st.data())
    def search(case: Any, data: st.DataObject) -> None:
        events = simulate(exercise, *case).trees[0].events  # type: ignore[arg-type]  # it has defaults
        cuts = st.lists(st.integers(0, len(events)), min_size=4, max_size=4)
        for cut in data.draw(cuts, label="cuts"):
            check_at(events, data.draw(st.integers(0, cut), label="begin"), cut, seen)

    search()
    events = simulate(visit_every_state).trees[0].events
    for cut in range(len(events) + 1):
        for begin in range(cut + 1):
            check_at(events, begin, cut, seen)
    assert seen == set(WORDS), f"never seen: {set(WORDS) - seen}"


async def visit_every_state() -> None:
    async def unsteady(child: ChildContext) -> None:
        child.ready()
        await trio.sleep(1)
        child.not_ready("lost\nits way")
        await trio.sleep(1)
        raise KeyError("gone")

    async def work(child: ChildContext) -> None:
        await trio.sleep(1)

    spec = spec_of(
        explicit("unsteady", unsteady, backoff=IN_TEN),
        explicit("web", grace=1),
        ChildSpec("job", work, restart="transient"),
        strategy="rest_for_one",
    )
    async with open_supervisor(spec) as supervisor:
        await trio.sleep(14)
        await supervisor.stop_child("web", reason="a\nb")
        await supervisor.restart_child("web", reason="c")
        await supervisor.quarantine_child("job")
        await trio.sleep(20)


STATES = {
    "starting": "is starting",
    "running": "is running",
    "stopping": "is stopping",
    "finished": "has finished",
}


# ---------------------------------------------------------------- stories


async def crash(child: ChildContext) -> None:
    child.ready()
    await trio.sleep(1)
    raise ConnectionResetError("gone")


async def idle(child: ChildContext) -> None:
    child.ready()
    await trio.sleep_forever()


async def never(child: ChildContext) -> None:
    await trio.sleep_forever()


def spec_of(*children: Any, **options: Any) -> SupervisorSpec:
    return SupervisorSpec("app", children, **options)


def explicit(name: str, run: Any = idle, **options: Any) -> ChildSpec[Any]:
    return ChildSpec(name, run, readiness="explicit", **options)


def story(spec: SupervisorSpec, path: str, seconds: float = 1.5, act: Any = None) -> str:
    async def main() -> str:
        async with open_supervisor(spec, wait_ready=False) as supervisor:
            await trio.sleep(seconds)
            if act is not None:
                await act(supervisor)
            return told_of(supervisor, path)

    return run_virtual(main)


def told_of(supervisor: Supervisor, path: str) -> str:
    journal = supervisor.journal
    told = explain(path, journal.base, journal.events, state=supervisor.state())
    text = "\n".join(each.text for each in told)
    return re.sub(r"\d\d:\d\d:\d\d", "TT", text)


IN_TEN = BackoffPolicy(initial=10, maximum=10, jitter=0)


def test_a_crash_its_limit_and_its_group() -> None:
    spec = spec_of(
        explicit("feed", crash, backoff=IN_TEN),
        explicit("web"),
        strategy="one_for_all",
        child_restart_limit=RestartLimit(3, within=60),
    )
    assert story(spec, "app/feed") == (
        "app/feed is down and backing off since TT (for 0.5s): attempt 1 has ended.\n"
        "Attempt 1 crashed at TT, after 1s: ConnectionResetError: gone.\n"
        "Its restart policy starts it again after 10s (restart 1 of 3 in 60s),"
        " together with web.\n"
        "It starts again at TT (in 9.5s).\n"
        "Policy has restarted it once so far."
    )
    web = story(spec, "app/web")
    assert (
        "It restarts together with feed, which failed: crashed: ConnectionResetError: gone." in web
    )
    assert "It starts again at TT (in 9.5s)." in web
    again = story(spec, "app/web", 11.5)
    assert again.startswith("app/web is ready since TT (for 0.5s), in attempt 2.")
    assert "It restarts together with feed" in again


def test_a_command_and_who_gave_it() -> None:
    async def act(supervisor: Supervisor) -> None:
        with on_behalf_of("alice", 1000, 77):
            await supervisor.stop_child("web", reason="deploy\x1b[2J 3")
        await trio.sleep(5)

    assert story(spec_of(explicit("web", grace=2)), "app/web", act=act) == (
        "app/web is stopped since TT (for 5s): deploy?[2J 3.\n"
        "Operator alice (uid 1000, pid 77) stopped it at TT: deploy?[2J 3.\n"
        "Attempt 1 was asked to stop at TT, with 2s to end by itself.\n"
        "Attempt 1 was cancelled at TT: its grace was over.\n"
        "Attempt 1 ended by its cancel at TT, after 3.5s: deploy?[2J 3.\n"
        "It stays down until an operator starts it."
    )


@pytest.mark.parametrize(
    ("grace", "told"),
    [
        (60, "was cancelled at TT, before its grace of 60s was over."),
        (math.inf, "was cancelled at TT, before it had ended by itself."),
    ],
)
@pytest.mark.parametrize("at_once", [False, True])
def test_a_cancel_before_the_end_of_the_grace(grace: float, told: str, *, at_once: bool) -> None:
    async def act(supervisor: Supervisor) -> None:
        handle = supervisor.child("web")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handle.stop)
            while handle.state != "stopping":  # noqa: ASYNC110 - in the same instant
                await trio.lowlevel.checkpoint()
            await trio.sleep(0 if at_once else 1)
            await handle.stop(grace=0)
        await trio.sleep(5)

    text = story(spec_of(explicit("web", grace=grace)), "app/web", act=act)
    assert f"Attempt 1 {told}" in text
    assert "its grace was over" not in text


def test_a_limit_that_is_used_up() -> None:
    spec = spec_of(
        explicit(
            "feed",
            crash,
            backoff=BackoffPolicy.delays(0),
            restart_limit=RestartLimit(2, within=60),
            on_limit="quarantine",
        ),
        explicit("web"),
    )
    told = story(spec, "app/feed", 10)
    assert told.startswith("app/feed is quarantined since TT (for 7s): 2 restarts in 60s.")
    assert "Its restart limit of 2 restarts in 60s was used up, so it was quarantined." in told
    assert "It stays down until an operator starts it." in told
    assert "Policy has restarted it 2 times so far." in told


def test_decide_is_named() -> None:
    spec = spec_of(
        explicit("feed", crash, decide=lambda report: Quarantine("look at it")), explicit("web")
    )
    assert "Its decide function quarantines it." in story(spec, "app/feed")


def test_what_a_waiting_child_waits_for() -> None:
    spec = spec_of(
        explicit("store", never, start_timeout=5, retry_first_start=True, backoff=IN_TEN),
        explicit("web", requires=["store"]),
        ordering="graph",
    )
    told = story(spec, "app/web", 7)
    assert "app/web is waiting to start since TT (for 7s)." in told
    assert "It waits for store." in told
    assert "app/store is down and backing off" in told
    assert "Last exit: timed out: not ready within 5s." in told
    assert story(spec, "app", 7).startswith("app is starting since TT (for 7s): 0 of 2 children")


def test_one_that_hangs_and_a_tree_that_stops() -> None:
    async def main() -> None:
        release = trio.Event()

        async def stubborn(child: ChildContext) -> None:
            child.ready()
            with trio.CancelScope(shield=True):
                await release.wait()

        spec = spec_of(explicit("web", stubborn, grace=2), explicit("late"), report_after=3)
        async with open_supervisor(spec) as supervisor:
            with on_behalf_of("bob", 7, 8):
                supervisor.request_shutdown("closing time")
            await trio.sleep(1)
            told = told_of(supervisor, "app/web")
            assert "If it has not ended by TT (in 1s), it is cancelled." in told
            assert "Its supervisor app began to stop at TT (shutdown): closing time." in told
            await trio.sleep(6)
            told = told_of(supervisor, "app/web")
            assert "had not ended 3s after its cancel; it hangs at test_why.py:" in told
            assert "It was cancelled 5s ago; its end is waited for." in told
            late = told_of(supervisor, "app/late")
            assert "It does not start again: its supervisor is stopping." in late
            app = told_of(supervisor, "app")
            assert "app is stopping since TT (for 7s): closing time." in app
            assert "Operator bob (uid 7, pid 8) shut it down at TT: closing time." in app
            release.set()
        assert "Its stop (shutdown) took 7s" in told_of(supervisor, "app")

    run_virtual(main)


def test_one_that_was_removed_and_one_that_never_was() -> None:
    async def act(supervisor: Supervisor) -> None:
        await supervisor.start_child(explicit("web"))
        await supervisor.remove_child("web", reason="no longer needed")

    told = story(spec_of(), "app/web", act=act)
    assert told.startswith("app/web was removed at TT.")
    assert "The program removed it at TT: no longer needed." in told
    assert "It was added to app at TT." in told
    with pytest.raises(ChildNotFound, match="know of 'app/nobody'"):
        story(spec_of(), "app/nobody")


def test_without_events_the_snapshot_speaks() -> None:
    async def main() -> None:
        async with open_supervisor(spec_of(explicit("feed", crash, backoff=IN_TEN))) as supervisor:
            await trio.sleep(2)
            state = supervisor.state()
            texts = [each.text for each in explain("app/feed", state, (), state=state)]
            assert any("Its last attempt that ended: crashed: Connection" in text for text in texts)
            assert any("no longer kept" in text for text in texts)
            assert any("It starts again at" in text for text in texts)

    run_virtual(main)


def test_a_nested_supervisor_speaks_for_its_children() -> None:
    spec = spec_of(SupervisorSpec("pool", [explicit("feed", crash, backoff=IN_TEN), explicit("b")]))
    told = story(spec, "app/pool")
    assert "app/pool is running since TT (for 1.5s): 1 of 2 children are ready or done." in told
    assert "app/pool/feed is down and backing off" in told


def test_what_was_before_its_supervisor_was_started_again_is_left_out() -> None:
    async def act(supervisor: Supervisor) -> None:
        await supervisor.restart_child("pool")

    pool = SupervisorSpec("pool", [explicit("feed", crash, backoff=BackoffPolicy.delays(0))])
    assert story(spec_of(pool), "app/pool/feed", 2.5, act) == (
        "app/pool/feed is ready since TT (for 0s), in attempt 1.\n"
        "Its supervisor app/pool was started again at TT."
    )


def test_a_supervisor_that_was_started_again_keeps_its_story() -> None:
    async def act(supervisor: Supervisor) -> None:
        await supervisor.restart_child("pool")

    told = story(spec_of(SupervisorSpec("pool", [explicit("feed")])), "app/pool", 2.5, act)
    assert "Attempt 1 stopped as it was asked to at TT" in told
    assert "was started again" not in told


def test_every_state_has_a_word() -> None:
    assert set(WORDS) | {"removed"} == {state.value for state in ChildState}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0s"), (9.96, "10s"), (41, "41s"), (720, "12m"), (11_100, "3h05m"), (400_000, "4d"),
     (float("inf"), "for ever")],
)  # fmt: skip
def test_durations_are_short(value: float, text: str) -> None:
    assert duration(value) == text


def a_child(**changes: Any) -> ChildSnapshot:
    child = ChildSnapshot("x", "app/x", ChildState.READY, 1, 0, 1.0, None, "", False, 0, "")
    return attrs.evolve(child, **changes)


def a_tree(*children: ChildSnapshot, **changes: Any) -> SupervisorSnapshot:
    tree = SupervisorSnapshot("app", "app", 1, SupervisorState.RUNNING, 0.0, "", children)
    return attrs.evolve(tree, **changes)


def told_from(tree: SupervisorSnapshot, path: str = "app/x", *events: ev.Event) -> str:
    return "\n".join(each.text for each in explain(path, tree, events, state=tree))


def test_without_a_wall_clock_times_are_trio_s() -> None:
    assert "since 1.0 on Trio's clock" in told_from(a_tree(a_child()))
    far = a_tree(a_child(), time=5.0, wall=1e300)
    assert "since 1.0 on Trio's clock" in told_from(far)
    yesterday = a_tree(a_child(since=0.0), time=100_000.0, wall=1_800_000_000.0)
    assert re.search(r"since 2027-01-\d\d \d\d:\d\d:\d\d", told_from(yesterday))


def test_one_whose_events_are_gone_is_still_called_unresponsive() -> None:
    stuck = a_child(state=ChildState.STOPPING, unresponsive=True)
    assert "It was cancelled and has not ended since." in told_from(a_tree(stuck))


def test_a_state_that_no_snapshot_shows_has_a_sentence_too() -> None:
    assert told_from(a_tree(a_child(state=ChildState.REMOVED))).startswith("app/x was removed.")


def test_one_below_a_supervisor_that_has_ended_is_gone() -> None:
    pool = a_child(name="pool", path="app/pool")
    events: list[ev.Event] = [
        ev.SupervisorFinished(1, 2.0, 0.0, 2, "app/pool", 0, "shutdown", "", 1.0, 2),
        ev.ChildStopped(2, 2.0, 0.0, 2, "app/pool/x", 1, "r"),
    ]
    told = told_from(a_tree(pool), "app/pool/x", *events)
    assert told.startswith("app/pool/x is gone: its supervisor app/pool has ended.")


def test_many_that_are_not_ready_are_counted() -> None:
    down = [a_child(name=f"c{n}", path=f"app/c{n}", state=ChildState.STOPPED) for n in range(8)]
    told = told_from(a_tree(*down), "app")
    assert told.count(" is stopped since ") == 5
    assert "So are 3 more children not ready." in told


def test_a_supervisor_that_a_child_has_opened_is_explained() -> None:
    inner = a_tree(name="own", path="app/x/own")
    told = told_from(a_tree(a_child(opened=(inner,))), "app/x/own")
    assert told.startswith("app/x/own is running since ")


def test_the_end_of_a_tree_says_who_hung() -> None:
    over = a_tree(state=SupervisorState.FINISHED, reason="r")
    end = ev.SupervisorFinished(1, 2.0, 0.0, 1, "app", 0, "shutdown", "r", 7.0, 2)
    assert "Its stop (shutdown) took 7s, 2 unresponsive." in told_from(over, "app", end)


def test_one_that_waits_for_a_name_that_is_not_there() -> None:
    waiting = a_child(state=ChildState.WAITING, waiting_for=("nobody",))
    assert told_from(a_tree(waiting)).endswith("It waits for nobody.")
