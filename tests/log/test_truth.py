"""What the log says of a real tree is true, complete, and said in time."""

from __future__ import annotations

import io
import logging
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers import hostile
from trio.testing import MockClock

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildReady,
    ChildSpec,
    RestartLimit,
    SupervisorSpec,
    TaskFailure,
    fold,
    open_supervisor,
)
from trio_supervisor._events.tracebacks import traceback_text
from trio_supervisor._logging.safe import write

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trio_supervisor import Supervisor


class Lines(logging.Handler):
    """Keeps records, each with the time on Trio's clock at which it was written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[tuple[float, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((trio.current_time(), record))

    @property
    def texts(self) -> list[str]:
        return [f"{record.levelname} {record.getMessage()}" for _, record in self.records]

    def about(self, *words: str) -> list[tuple[float, Any]]:
        return [
            (time, record)
            for time, record in self.records
            if all(word in record.getMessage() for word in words)
        ]

    def one(self, *words: str) -> tuple[float, Any]:
        found = self.about(*words)
        assert len(found) == 1, self.texts
        return found[0]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("trio_supervisor")
    level, logger.propagate = logger.level, False
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)
    logger.propagate = True


def run(spec: SupervisorSpec, use: Callable[[Supervisor], Awaitable[object]]) -> None:
    async def main() -> None:
        async with open_supervisor(spec, wait_ready=False) as supervisor:
            await use(supervisor)

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def steady(child: ChildContext) -> None:
    if child._attempt.spec.is_explicit:
        child.ready()
    await child.wait_stop_requested()


def failing(times: int, after: float, error: type[Exception] = ValueError) -> Any:
    async def body(child: ChildContext) -> None:
        child.ready()
        if child.attempt <= times:
            await trio.sleep(after)
            raise error("x")
        await child.wait_stop_requested()

    return body


# ---------------------------------------------------------------- time and recovery


def test_a_records_time_is_that_of_its_event(lines: Lines) -> None:
    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(5)
        events = {event.sequence: event for event in supervisor.journal}
        told = [record for _, record in lines.records if hasattr(record, "sequence")]
        assert len(told) > 4
        for record in told:
            event = events[record.sequence]
            assert (record.created, record.path) == (event.wall, event.path)
            assert record.event == type(event).__name__

    run(SupervisorSpec("app", [ChildSpec("feed", failing(2, 1), readiness="explicit")]), use)


@pytest.mark.parametrize("failures", [1, 2, 5, 9])
def test_ready_after_failures_is_said_at_once(lines: Lines, failures: int) -> None:
    async def use(supervisor: Supervisor) -> None:
        for attempt in range(1, failures + 2):
            await supervisor.child("feed").wait_ready()
            while supervisor.child("feed").attempt < attempt:
                await trio.sleep(0.01)
                await supervisor.child("feed").wait_ready()
            time, _ = lines.one("app/feed ready", f"attempt={attempt}")
            assert time == trio.current_time() or attempt > 1
        readies = [event for event in supervisor.journal if isinstance(event, ChildReady)]
        written = [time for time, _ in lines.about("app/feed ready")]
        assert written == [event.time for event in readies]

    spec = ChildSpec("feed", failing(failures, 0.3), readiness="explicit", restart_limit=None)
    run(SupervisorSpec("app", [spec]), use)


def test_a_child_that_flaps_for_ever_does_not_fill_the_log(lines: Lines) -> None:
    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(30)
        assert len(lines.about("app/feed ready")) == 12
        assert supervisor.child("feed").attempt > 200
        await trio.sleep(31)
        lines.one("same failure x")

    async def flap(child: ChildContext) -> None:
        child.ready()
        await trio.sleep(0.05)
        raise ValueError("x")

    from trio_supervisor import BackoffPolicy

    backoff = BackoffPolicy.delays(0.05)
    spec = ChildSpec("feed", flap, readiness="explicit", restart_limit=None, backoff=backoff)
    run(SupervisorSpec("app", [spec]), use)


def test_when_the_budget_is_used_up_a_second_of_readiness_is_said(lines: Lines) -> None:
    from trio_supervisor import BackoffPolicy

    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(20)
        time, record = lines.about("app/feed ready")[-1]
        (event,) = [e for e in supervisor.journal if isinstance(e, ChildReady) and e.attempt == 31]
        assert record.attempt == 31
        assert record.created == event.wall
        assert time == event.time + 1.0

    backoff = BackoffPolicy.delays(0.05)
    body = failing(30, 0.05)
    spec = ChildSpec("feed", body, readiness="explicit", restart_limit=None, backoff=backoff)
    run(SupervisorSpec("app", [spec]), use)


def test_the_effect_of_a_command_is_said_at_once(lines: Lines) -> None:
    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(6)
        now = trio.current_time()
        await supervisor.restart_child("store", reason="operator")
        time, _ = lines.one("app/store ready", f"attempt={supervisor.child('store').attempt}")
        assert time == trio.current_time()
        _, record = lines.one("app/store stopped", 'reason="operator"')
        assert record.exit == "stopped"
        await supervisor.stop_child("store", reason="maintenance")
        lines.one("app/store stopped", 'reason="maintenance"')
        assert now <= time

    spec = ChildSpec("store", failing(3, 1), readiness="explicit", grace=1)
    run(SupervisorSpec("app", [spec]), use)


def test_a_failure_after_a_command_is_told_in_full(lines: Lines) -> None:
    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(4)
        before = len(lines.about("app/store crashed"))
        await supervisor.restart_child("store")
        await trio.sleep(2)
        assert len(lines.about("app/store crashed")) > before
        assert lines.about("app/store crashed")[-1][1].exc_info

    async def body(child: ChildContext) -> None:
        child.ready()
        await trio.sleep(1)
        raise ValueError("x")

    spec = ChildSpec("store", body, readiness="explicit", grace=1)
    run(SupervisorSpec("app", [spec]), use)


# ---------------------------------------------------------------- what does not happen


def test_a_start_that_does_not_complete_is_said(lines: Lines) -> None:
    async def feed(child: ChildContext) -> None:
        raise TaskFailure("upstream is down")

    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(75)
        found = lines.about("app start not complete")
        assert [round(time) for time, _ in found] == [10, 20, 40]
        first = found[0][1].getMessage()
        assert first.startswith(
            "app start not complete after 10s: web, front wait for feed (backing off "
        ), first
        assert "failures: failed: upstream is down (error))" in first

    explicit: dict[str, Any] = {"readiness": "explicit", "retry_first_start": True}
    children = [
        ChildSpec("feed", feed, restart_limit=None, **explicit),
        ChildSpec("web", steady, readiness="explicit", grace=1),
        ChildSpec("front", steady, readiness="explicit", grace=1),
    ]
    run(SupervisorSpec("app", children), use)


def test_a_start_that_does_not_complete_below_a_level_is_not_said(lines: Lines) -> None:
    async def silence(child: ChildContext) -> None:
        await trio.sleep_forever()

    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(75)
        assert supervisor.state().child("pool").state == "starting"
        assert not lines.about("app/pool start not complete")
        assert len(lines.about("app start not complete")) == 3

    silent = ChildSpec("silent", silence, readiness="explicit", start_timeout=inf)
    pool = SupervisorSpec("pool", [silent], log_level="error")
    run(SupervisorSpec("app", [pool]), use)


def test_starts_that_last_are_part_of_the_story_of_a_pool_that_fails_again_and_again(
    lines: Lines,
) -> None:
    async def fail_late(child: ChildContext) -> None:
        await trio.sleep(12)
        raise ValueError("no upstream")

    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(55)
        assert supervisor.child("pool").attempt == 5
        found = [round(time) for time, _ in lines.about("app/pool start not complete")]
        assert found == [10, 22]  # none after the second failure, which is the first repeat

    again: dict[str, Any] = {"backoff": BackoffPolicy.delays(0), "restart_limit": None}
    feed = ChildSpec("feed", fail_late, readiness="explicit")
    pool = SupervisorSpec("pool", [feed]).as_child(retry_first_start=True, **again)
    run(SupervisorSpec("app", [pool]), use)


def test_a_start_that_completes_late_is_said_to_have(lines: Lines) -> None:
    async def slow(child: ChildContext) -> None:
        await trio.sleep(25)
        child.ready()
        await child.wait_stop_requested()

    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(60)
        assert len(lines.about("app start not complete")) == 2
        assert (
            lines.about("app start not complete")[0][1]
            .getMessage()
            .endswith(": slow (starting for 10s)")
        )
        lines.one("app ready after=25s")

    run(SupervisorSpec("app", [ChildSpec("slow", slow, readiness="explicit", grace=1)]), use)


def test_silence_is_said_when_it_is_noticed_and_at_each_later_step(lines: Lines) -> None:
    async def silent(child: ChildContext) -> None:
        child.ready()
        with trio.CancelScope(shield=True):
            await trio.sleep(14)

    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(20)
        time, record = lines.one("app/store unhealthy attempt=1 no heartbeat for 2s; stopping it")
        assert (time, record.levelname) == (2.0, "WARNING")
        time, record = lines.one(
            "app/store cut off attempt=1 3.0s after the stop request (grace 3.0s)"
        )
        assert (time, record.levelname) == (5.0, "WARNING")
        assert 'reason="unhealthy: no heartbeat for 2s"' in record.getMessage()
        time, record = lines.one("app/store unresponsive")
        assert time == 10.0
        assert 'reason="unhealthy: no heartbeat for 2s"' in record.getMessage()

    spec = ChildSpec("store", silent, readiness="explicit", stale_after=2, grace=3)
    run(SupervisorSpec("app", [spec]), use)


def test_a_long_grace_is_said_while_it_lasts(lines: Lines) -> None:
    async def busy(child: ChildContext) -> None:
        await child.wait_stop_requested()
        await trio.sleep(22)

    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(1)
        await supervisor.stop_child("web", reason="deploy")
        found = lines.about("app/web still stopping")
        assert [round(time - 1) for time, _ in found] == [5, 10, 20]
        assert found[0][1].getMessage() == (
            'app/web still stopping attempt=1 after 5.0s, 25s of its grace left reason="deploy"'
        )
        assert not lines.about("cut off")

    run(SupervisorSpec("app", [ChildSpec("web", busy, grace=30)]), use)


@pytest.mark.parametrize("grace", [2.0, 0.0])
def test_cut_off_is_a_warning_that_names_the_child(lines: Lines, grace: float) -> None:
    async def stubborn(child: ChildContext) -> None:
        await trio.sleep_forever()

    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(1)

    run(SupervisorSpec("app", [ChildSpec("web", stubborn, grace=grace)]), use)
    found = lines.about("app/web cut off")
    assert [record.levelname for _, record in found] == (["WARNING"] if grace else [])


# ---------------------------------------------------------------- who, why, once


def test_a_group_restart_says_who_was_stopped(lines: Lines) -> None:
    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(3)
        lines.one("app/feed crashed", "also restarting: web")
        lines.one("app/web stopped attempt=1", 'reason="restarts with feed"')

    children = [
        ChildSpec("feed", failing(1, 1), readiness="explicit"),
        ChildSpec("web", steady, grace=1),
    ]
    run(SupervisorSpec("app", children, strategy="one_for_all"), use)


def test_a_child_that_is_taken_down_while_its_group_restarts_is_said_to_be_stopped_once(
    lines: Lines,
) -> None:
    async def slow(child: ChildContext) -> None:
        await child.wait_stop_requested()
        await trio.sleep(1)

    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(1.5)
        assert supervisor.child("web").state == "stopping"
        await supervisor.stop_child("web", reason="deploy")
        time, record = lines.one("app/web stopped")
        assert (time, record.event) == (2.0, "ChildStopped")

    children = [
        ChildSpec("feed", failing(1, 1), readiness="explicit"),
        ChildSpec("store", steady, grace=1),  # its turn to stop comes with the end of web
        ChildSpec("web", slow, grace=5),
    ]
    run(SupervisorSpec("app", children, strategy="one_for_all"), use)


def with_tracebacks(lines: Lines) -> list[str]:
    return [r.getMessage() for _, r in lines.records if r.exc_info or r.exc_text]


def test_a_failure_has_one_traceback_however_far_it_comes_up(lines: Lines) -> None:
    spec: Any = ChildSpec("db", failing(99, 0.1), readiness="explicit", restart="permanent")
    for name in ("pool", "shard", "app"):
        spec = SupervisorSpec(name, [spec], child_restart_limit=RestartLimit(0, within=60))

    async def main() -> None:
        async with open_supervisor(spec):
            await trio.sleep_forever()

    with pytest.raises(Exception, match="gave up"):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    (traced,) = with_tracebacks(lines)
    assert traced.startswith("app/shard/pool/db ")


def test_a_quarantine_that_ends_a_supervisor_has_one_traceback(lines: Lines) -> None:
    limit = RestartLimit(0, within=60)
    child = ChildSpec("db", failing(99, 0.1), readiness="explicit", on_limit="quarantine")
    pool = SupervisorSpec(
        "pool", [child], auto_shutdown="all_done", child_restart_limit=limit
    ).as_child(restart_limit=limit)

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [pool])):
            await trio.sleep_forever()

    with pytest.raises(Exception, match="app/pool/db was quarantined"):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    (traced,) = with_tracebacks(lines)
    assert traced.startswith("app/pool/db ")


def test_the_traceback_comes_with_the_first_line_that_is_loud_enough(lines: Lines) -> None:
    """A pool of connections is quiet about each restart, and says where it gave up."""
    limit = RestartLimit(2, within=60)
    child = ChildSpec("db", failing(99, 0.1), readiness="explicit", log_level="ERROR")

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [child], child_restart_limit=limit)):
            await trio.sleep_forever()

    with pytest.raises(Exception, match="gave up"):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    _, record = lines.one("app/db gave up", "escalating")
    assert "in body" in logging.Formatter().format(record)


@pytest.mark.parametrize("way", ["cause", "context", "group"])
def test_the_traceback_of_what_lies_behind_a_failure_is_trimmed_too(lines: Lines, way: str) -> None:
    async def opens(child: ChildContext) -> None:
        try:
            async with child.open_supervisor(SupervisorSpec("in", [bad])):
                pass
        except Exception as error:
            if way == "cause":
                raise KeyError("outer") from error
            if way == "context":
                raise KeyError("outer")  # noqa: B904 - what is tried here
            raise ExceptionGroup("outer", [error, KeyError()]) from None

    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(1)
        _, record = lines.one("app/feed crashed")
        text = logging.Formatter().format(record)
        assert "in opens" in text
        assert "in body" in text
        assert "_attempts" not in text
        assert record.exc_info[1].args  # handlers have the exception itself
        assert "_attempts" not in traceback_text(record.exc_info[1])

    async def body(child: ChildContext) -> None:
        raise OSError("no luck")

    bad = ChildSpec("bad", body, readiness="explicit")
    run(SupervisorSpec("app", [ChildSpec("feed", opens, restart="temporary")]), use)


def test_a_traceback_begins_in_the_users_code(lines: Lines) -> None:
    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(2)
        _, record = lines.one("app/feed crashed")
        text = logging.Formatter().format(record)
        assert "in body" in text
        assert "_attempts" not in text

    run(SupervisorSpec("app", [ChildSpec("feed", failing(1, 1), readiness="explicit")]), use)


def test_a_formatter_has_its_own_way_with_a_failure_that_needs_no_trimming() -> None:
    class OneLine(logging.Formatter):
        def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
            return repr(super().formatException(ei))

    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(OneLine())
    logger = logging.getLogger("apart")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        try:
            raise OSError("behind")
        except OSError as error:
            raise KeyError("before") from error
    except KeyError as error:
        write(logger, logging.ERROR, "app/a", "crashed", created=0, fields={}, error=error)
    first, second = written.getvalue().splitlines()
    assert first == "app/a crashed"
    assert "OSError: behind" in second


def test_what_never_ran_is_not_said_to_have_stopped(lines: Lines) -> None:
    async def slow(child: ChildContext) -> None:
        await trio.sleep_forever()

    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(1)

    children = [ChildSpec("feed", slow, readiness="explicit"), ChildSpec("web", steady)]
    run(SupervisorSpec("app", children), use)
    assert not lines.about("app/web stopped")
    lines.one("app/web not started")


def test_endless_durations_are_written_in_words(lines: Lines) -> None:
    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(9)

    inf = float("inf")
    limit = RestartLimit(3, within=inf)
    spec = ChildSpec("feed", failing(9, 0.1), readiness="explicit", grace=inf, restart_limit=limit)

    with pytest.raises(Exception, match="gave up"):
        run(SupervisorSpec("app", [spec], report_after=inf), use)
    assert not [text for text in lines.texts if "inf" in text.replace("info", "").lower()[8:]]


# ---------------------------------------------------------------- levels, looking, hostility


def test_levels_of_a_child_and_of_a_supervisor_with_all_below_it(lines: Lines) -> None:
    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(1)
        pool = supervisor.child("pool").value
        await pool.start_child(ChildSpec("s-1", steady, grace=1))
        await pool.start_child(ChildSpec("s-2", steady, grace=1, log_level="info"))
        await pool.start_child(ChildSpec("bad", failing(1, 0.1), readiness="explicit"))
        await trio.sleep(2)
        await pool.remove_child("s-1")
        await pool.remove_child("s-2")

    children: list[Any] = [
        ChildSpec("quiet", failing(1, 0.5), readiness="explicit", log_level=logging.ERROR),
        ChildSpec("web", steady, grace=1),
        SupervisorSpec("pool", log_level="warning"),
    ]
    run(SupervisorSpec("app", children), use)
    assert not lines.about("app/quiet")
    assert not lines.about("app/pool/s-1")
    assert not lines.about("app/pool ready")
    lines.one("app/pool/s-2 removed")
    assert {record.levelname for _, record in lines.about("app/pool/bad")} == {"WARNING"}
    lines.one("app/web ready")


def test_the_level_of_the_root_is_that_of_the_whole_tree(lines: Lines) -> None:
    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(3)

    children: list[Any] = [
        ChildSpec("bad", failing(1, 0.5), readiness="explicit"),
        SupervisorSpec("pool", [ChildSpec("loud", steady, grace=1, log_level="info")]),
    ]
    run(SupervisorSpec("app", children, log_level="warning"), use)
    assert [record.levelname for _, record in lines.about("app/bad")] == ["WARNING"]
    assert not lines.about("app ready")
    assert not lines.about("app/pool ready")
    lines.one("app/pool/loud ready")


def test_a_handler_that_looks_sees_state_and_journal_agree(lines: Lines) -> None:
    seen: list[bool] = []

    class Looks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if tree:
                folded = tree[0].journal.base
                for event in tree[0].journal:
                    folded = fold(folded, event)
                seen.append(folded == tree[0].state())

    tree: list[Supervisor] = []
    handler = Looks()
    logging.getLogger("trio_supervisor").addHandler(handler)

    async def use(supervisor: Supervisor) -> None:
        tree.append(supervisor)
        await trio.sleep(3)
        await supervisor.restart_child("web")
        await supervisor.stop_child("feed")
        tree.clear()

    children: list[Any] = [
        ChildSpec("feed", failing(2, 0.5), readiness="explicit", grace=1),
        ChildSpec("web", steady, grace=1),
        SupervisorSpec("pool", [ChildSpec("x", failing(1, 0.7), readiness="explicit")]),
    ]
    try:
        run(SupervisorSpec("app", children, strategy="one_for_all"), use)
    finally:
        logging.getLogger("trio_supervisor").removeHandler(handler)
    assert len(seen) > 10
    assert all(seen)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, hostile.Boom])
@pytest.mark.parametrize("where", ["handler", "filter"])
def test_what_handlers_and_filters_raise_costs_nobody(
    lines: Lines, kind: type[BaseException], where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise kind("from a handler")

    def refuse(record: logging.LogRecord) -> bool:
        raise kind("from a filter")

    logger = logging.getLogger("trio_supervisor")
    handler = Broken()
    logger.addHandler(handler)
    if where == "filter":
        logger.addFilter(refuse)

    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(3)
        assert supervisor.child("feed").attempt == 3

    try:
        run(SupervisorSpec("app", [ChildSpec("feed", failing(2, 0.5), readiness="explicit")]), use)
    finally:
        logger.removeHandler(handler)
        logger.removeFilter(refuse)
    assert f"from a {where}" in capsys.readouterr().err


def test_hostile_exceptions_are_logged_and_restarted(lines: Lines) -> None:
    kinds = hostile.errors()

    async def body(child: ChildContext) -> None:
        if child.attempt == 1:
            raise kinds[child.name]
        await child.wait_stop_requested()

    async def use(supervisor: Supervisor) -> None:
        await trio.sleep(2)
        for name in kinds:
            lines.one(f"app/{name} crashed attempt=1")
            assert supervisor.child(name).attempt == 2
        for _, record in lines.records:
            assert record.getMessage().isprintable()
            assert len(record.getMessage()) < 500
            logging.Formatter().format(record)

    run(SupervisorSpec("app", [ChildSpec(name, body, grace=1) for name in kinds]), use)
