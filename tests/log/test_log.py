"""The log: one line per fact, and no fact lost in what is folded."""

from __future__ import annotations

import gc
import io
import logging
import math
import weakref
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_virtual
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_supervisor import BackoffPolicy, ChildContext, ChildSpec, SupervisorSpec, open_supervisor
from trio_supervisor._errors import TaskFailure
from trio_supervisor._events import events as ev
from trio_supervisor._events.exits import Crashed, Failed, TaskExit, TimedOut
from trio_supervisor._events.journal import EventRecorder
from trio_supervisor._logging import lines, memory, repeats
from trio_supervisor._logging.memory import place_of
from trio_supervisor._logging.tree_log import WINDOW, TreeLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FEED, WEB = "app/feed", "app/web"


@pytest.fixture(autouse=True)
def _no_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that fails again and again has been said to be ready often enough; see test_truth."""
    monkeypatch.setattr(memory, "READY_AT_ONCE", 0)
    monkeypatch.setattr(repeats, "READY_AT_ONCE", 0)
    monkeypatch.setattr(repeats, "STABLE", math.inf)


class Recorder(logging.Handler):
    """Keeps lines as ``LEVEL text``; ``!`` stands for a traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        mark = "!" if record.exc_info else ""
        self.lines.append(f"{record.levelname}{mark} {record.getMessage()}")

    def take(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


class Tree:
    """A tree that consists of its journal and its log alone."""

    def __init__(self, level: int = logging.INFO, children: tuple[str, ...] = ("feed",)) -> None:
        # One of its own, which nothing outside this test knows or configures.
        self.logger = logging.Logger("test", level)  # noqa: LOG001
        self.recorder = Recorder()
        self.logger.addHandler(self.recorder)
        self.log = TreeLog(self.logger)
        self.journal = EventRecorder(wall=lambda: 0.0)
        self.journal.tap = self.log.on_event
        self.now = 0.0
        self.attempts: dict[str, int] = {}
        self.write(ev.SupervisorStarted, "app", children)

    def write(
        self,
        cls: type[ev.Event],
        path: str,
        *fields: Any,
        error: BaseException | None = None,
        run: int = 1,
    ) -> None:
        attempt = self.attempts.get(path, 0)
        self.journal.append(cls, self.now, run, path, attempt, fields, error)

    def take(self) -> list[str]:
        return self.recorder.take()

    def start(self, path: str = FEED, *, ready: bool = True) -> None:
        self.attempts[path] = self.attempts.get(path, 0) + 1
        self.write(ev.ChildStarted, path, 0)
        if ready:
            self.write(ev.ChildReady, path, 0.21)

    def exit(self, how: TaskExit | str, path: str = FEED, stop_reason: str | None = None) -> None:
        kind = how if isinstance(how, str) else how.kind
        detail = how if isinstance(how, str) else how.describe()
        error = None if isinstance(how, str) else how.error
        self.write(ev.ChildExited, path, kind, detail, 41.2, stop_reason, error=error)

    def judge(
        self,
        action: str = "restart",
        path: str = FEED,
        *,
        source: str = "table",
        delay: float = 0.4,
        limit: int | None = 10,
        within: float = 120.0,
        also: tuple[str, ...] = (),
        error: str = "",
    ) -> None:
        used = 0 if limit is None else 2
        self.write(ev.ExitJudged, path, action, source, delay, used, limit, within, also, error)

    def crash(self, how: TaskExit | str | None = None, path: str = FEED, **verdict: Any) -> None:
        """Crash, be judged, and start again."""
        self.exit(crashed() if how is None else how, path)
        self.judge(path=path, **verdict)
        self.start(path)

    def finish(self, seconds: float = 2.31) -> None:
        self.write(ev.SupervisorFinished, "app", "shutdown", "SIGTERM", seconds, 0)


def crashed(text: str = "boom", cls: Callable[[str], Exception] = ValueError) -> TaskExit:
    try:
        raise cls(text)
    except Exception as error:
        return Crashed(error)


def crashed_elsewhere(text: str = "boom") -> TaskExit:
    try:
        raise ValueError(text)
    except ValueError as error:
        return Crashed(error)


@pytest.fixture
def tree() -> Tree:
    tree = Tree()
    tree.start()
    tree.take()
    return tree


CRASHED = (
    "WARNING! app/feed crashed attempt=1 ValueError: boom up=41.2s restart in 0.4s (2/10 in 120s)"
)

# ---------------------------------------------------------------- single facts


@pytest.mark.parametrize("together", [False, True])
def test_a_child_that_is_added_beside_an_exit_counts_in_the_last_line(
    tree: Tree, *, together: bool
) -> None:
    tree.journal.tap = tree.log.take
    tree.exit(crashed())
    if not together:
        tree.log.flush()
    tree.write(ev.ChildAdded, "app/late")
    tree.finish()
    tree.log.flush()
    first, last = tree.take()
    assert first.startswith("WARNING! app/feed crashed attempt=1 ValueError: boom up=41.2s")
    assert last == 'INFO app stopped in 2.31s (2 children, 0 unresponsive) reason="SIGTERM"'


def test_a_level_that_is_lowered_later_says_nothing_of_an_earlier_step() -> None:
    tree = Tree(logging.WARNING)
    tree.journal.tap = tree.log.take
    tree.start()
    tree.log.flush()
    tree.exit("stopped", stop_reason="deploy")
    assert not tree.log.pending
    tree.logger.setLevel(logging.INFO)
    tree.logger._cache.clear()  # type: ignore[attr-defined] # `logging` does for its own loggers
    tree.write(ev.SupervisorIdle, "app")
    tree.log.flush()
    assert tree.take() == [f"INFO app {lines.IDLE}"]


def test_what_decide_raised_is_said_although_the_child_has_done_its_work() -> None:
    tree = Tree(logging.WARNING)
    tree.journal.tap = tree.log.take
    tree.start()
    tree.exit("succeeded")
    tree.judge("remove", error="ValueError: x")
    tree.write(ev.ChildRemoved, FEED)
    tree.log.flush()
    line = "ERROR app/feed decide() raised ValueError: x; the restart policy decides"
    assert tree.take() == [line]


def test_a_request_and_its_cancel_in_one_step_are_a_child_that_was_cut_off() -> None:
    tree = Tree(logging.WARNING)
    tree.journal.tap = tree.log.take
    tree.start()
    tree.write(ev.ChildStopRequested, FEED, "deploy", 5.0)
    tree.write(ev.ChildCancelled, FEED, "deploy")
    tree.log.flush()
    (line,) = tree.take()
    assert line.startswith("WARNING app/feed cut off attempt=1 0.0s after the stop request")


def test_a_repeated_failure_ends_the_stop_that_it_follows() -> None:
    tree = Tree(logging.WARNING)
    tree.journal.tap = tree.log.take
    tree.start()
    failure = crashed()
    for _ in range(3):
        tree.crash(failure)
        tree.log.flush()
    tree.take()
    tree.write(ev.ChildStopRequested, FEED, "unhealthy: no heartbeat for 2s", 5.0)
    tree.log.flush()
    tree.crash(failure)
    tree.log.flush()
    tree.take()
    tree.write(ev.ChildUnresponsive, FEED, 5.0, ())
    tree.log.flush()
    (line,) = tree.take()
    assert "no heartbeat" not in line
    assert FEED not in tree.log._stops


def test_the_life_of_a_tree() -> None:
    tree = Tree(logging.DEBUG, ("store", "feed", "web"))
    tree.start("app/store")
    tree.now = 0.5
    tree.write(ev.SupervisorReady, "app")
    tree.write(ev.CommandAccepted, "app/store", "stop", "dep\nloy")
    tree.write(ev.ChildStopRequested, "app/store", "deploy", 5.0)
    tree.exit("stopped", "app/store", "deploy")
    tree.write(ev.ChildStopped, "app/store", "deploy")
    tree.write(ev.SupervisorIdle, "app")
    tree.write(ev.SupervisorStopping, "app", "shutdown", "SIGTERM")
    tree.finish()
    assert tree.take() == [
        "DEBUG app started with 3 children",
        "DEBUG app/store started attempt=1",
        "INFO app/store ready attempt=1 after=0.21s",
        "INFO app ready after=0.5s (3 children)",
        'INFO app/store accepted stop reason="dep loy"',
        'INFO app/store stopped attempt=1 reason="deploy"',
        f"INFO app {lines.IDLE}",
        'INFO app stopping reason="SIGTERM"',
        'INFO app stopped in 2.31s (3 children, 0 unresponsive) reason="SIGTERM"',
    ]


def test_a_crash_and_what_follows_from_it_are_one_line(tree: Tree) -> None:
    tree.exit(crashed())
    assert tree.take() == []
    tree.judge(also=("web", "db"))
    tree.write(ev.ChildBackingOff, FEED, 0.4)
    tree.start()
    assert tree.take() == [
        CRASHED + "; also restarting: web, db",
        "INFO app/feed ready attempt=2 after=0.21s",
    ]


@pytest.mark.parametrize(
    ("how", "verdict", "line"),
    [
        (
            Failed(TaskFailure("no upstream", category="net")),
            {"limit": None, "delay": 0.0},
            "WARNING app/feed failed attempt=1 no upstream (net) up=41.2s restart now",
        ),
        (
            TimedOut("start", 30),
            {"within": inf, "source": "decide"},
            (
                "WARNING app/feed timed out attempt=1 not ready within 30s up=41.2s"
                " restart in 0.4s (2/10) (by decide)"
            ),
        ),
        (
            "succeeded",
            {},
            (
                "WARNING app/feed returned although permanent attempt=1 up=41.2s"
                " restart in 0.4s (2/10 in 120s)"
            ),
        ),
        (
            "succeeded",
            {"source": "decide"},
            "INFO app/feed returned attempt=1 up=41.2s restart in 0.4s (2/10 in 120s) (by decide)",
        ),
        ("succeeded", {"action": "done"}, "INFO app/feed succeeded attempt=1 up=41.2s; done"),
        ("succeeded", {"action": "remove"}, "INFO app/feed succeeded attempt=1 up=41.2s; removed"),
        (
            crashed(),
            {"action": "remove"},
            "WARNING! app/feed crashed attempt=1 ValueError: boom up=41.2s; removed",
        ),
        (
            crashed(),
            {"action": "done", "source": "decide"},
            "WARNING! app/feed crashed attempt=1 ValueError: boom up=41.2s; done (by decide)",
        ),
        (
            crashed(),
            {"action": "escalate", "source": "limit"},
            (
                "ERROR! app/feed gave up: 10 restarts in 120s; attempt=1"
                " last=crashed: ValueError: boom; escalating to app"
            ),
        ),
        (
            crashed(),
            {"action": "quarantine", "source": "limit"},
            (
                "ERROR! app/feed gave up: 10 restarts in 120s; attempt=1"
                " last=crashed: ValueError: boom; quarantined"
            ),
        ),
        (
            crashed(),
            {"action": "escalate", "source": "decide"},
            (
                "ERROR! app/feed crashed attempt=1 ValueError: boom up=41.2s;"
                " escalating to app (by decide)"
            ),
        ),
        (
            "succeeded",
            {"action": "shutdown", "source": "decide"},
            "INFO app/feed succeeded attempt=1 up=41.2s; shutting down app (by decide)",
        ),
        (
            crashed(),
            {"action": "start_failed", "source": "first_start"},
            (
                "ERROR! app/feed failed to start: crashed attempt=1 ValueError: boom up=41.2s;"
                " not tried again"
            ),
        ),
        (
            crashed(),
            {"action": "something new"},
            "WARNING! app/feed crashed attempt=1 ValueError: boom up=41.2s; something new",
        ),
    ],
)
def test_verdicts(tree: Tree, how: TaskExit | str, verdict: dict[str, Any], line: str) -> None:
    tree.exit(how)
    tree.judge(**verdict)
    assert tree.take() == [line]


@pytest.mark.parametrize(
    ("action", "rest"),
    [
        ("done", (ev.ChildDone,)),
        ("quarantine", (ev.ChildQuarantined, "10 restarts")),
        ("remove", (ev.ChildRemoved,)),
    ],
)
def test_the_rest_that_a_verdict_announced_is_no_second_line(
    tree: Tree, action: str, rest: tuple[Any, ...]
) -> None:
    tree.exit(crashed())
    tree.judge(action)
    assert len(tree.take()) == 1
    tree.write(rest[0], FEED, *rest[1:])
    assert tree.take() == []
    tree.write(rest[0], FEED, *rest[1:])
    assert len(tree.take()) == 1, "told by hand it is"


@pytest.mark.parametrize("reason", ["", " cancelled due to explicit"])
def test_who_cancels_itself_is_told_what_to_do_instead(tree: Tree, reason: str) -> None:
    tree.write(ev.ChildExited, FEED, "self_cancelled", f"self cancelled:{reason}", 1.0, None)
    tree.judge()
    (line,) = tree.take()
    told = f"self cancelled attempt=1{reason} (to be finished, return from the body) up=1.0s "
    assert told in line


def test_children_that_come_to_rest_by_hand(tree: Tree) -> None:
    tree.write(ev.ChildStopped, WEB, "")
    tree.exit("aborted")
    tree.write(ev.ChildQuarantined, FEED, 'a "b" \\ c')
    tree.write(ev.ChildDone, FEED)
    tree.exit("stopped")
    tree.write(ev.ChildStopped, WEB, "")
    tree.write(ev.ChildRemoved, FEED)
    assert tree.take() == [
        "INFO app/web not started",
        'INFO app/feed quarantined attempt=1 reason="a \\"b\\" \\\\ c"',
        "INFO app/feed done attempt=1",
        "INFO app/web not started",
        "INFO app/feed removed attempt=1",
    ]


def test_readiness_that_is_withdrawn(tree: Tree) -> None:
    tree.write(ev.ChildLostReadiness, FEED, "no upstream")
    tree.write(ev.ChildLostReadiness, FEED, "")
    assert tree.take() == [
        'INFO app/feed not ready attempt=1 reason="no upstream"',
        "INFO app/feed not ready attempt=1",
    ]


def test_who_is_unresponsive_and_where(tree: Tree) -> None:
    tree.write(ev.ChildUnresponsive, FEED, 5.0, ("handler.py:88 in flush()",))
    tree.write(ev.ChildUnresponsive, FEED, 5.0, ())
    tree.write(ev.ChildUnresponsive, FEED, 5.0, tuple("abcdef"))
    assert tree.take() == [
        "WARNING app/feed unresponsive 5.0s after cancel; at handler.py:88 in flush()",
        "WARNING app/feed unresponsive 5.0s after cancel",
        "WARNING app/feed unresponsive 5.0s after cancel; at a; b; c; d; and 2 more",
    ]


def test_a_supervisor_that_had_to_stop(tree: Tree) -> None:
    tree.write(ev.SupervisorStopping, "app", "limit", "gave up")
    tree.write(ev.SupervisorFinished, "app", "limit", "gave up", 120.4, 1)
    assert tree.take() == [
        'INFO app stopping cause=limit reason="gave up"',
        "WARNING app stopped in 120s (1 child, 1 unresponsive) cause=limit",
    ]


def test_what_decide_raised_is_an_error_of_its_own(tree: Tree) -> None:
    tree.exit(crashed())
    tree.judge(error="KeyError: 'x'")
    first, second = tree.take()
    assert first == ("ERROR app/feed decide() raised KeyError: 'x'; the restart policy decides")
    assert second == CRASHED


def test_a_failure_that_nobody_judges(tree: Tree) -> None:
    tree.exit(crashed(), stop_reason="deploy")
    tree.write(ev.ChildStopped, FEED, "deploy")
    tree.exit("stopped")
    tree.log.flush()
    tree.exit(crashed_elsewhere(), WEB)
    tree.log.flush()
    tree.log.flush()
    assert tree.take() == [
        (
            "WARNING! app/feed crashed attempt=1 ValueError: boom up=41.2s while stopping"
            ' reason="deploy"'
        ),
        'INFO app/feed stopped attempt=1 reason="deploy"',
        "WARNING! app/web crashed attempt=0 ValueError: boom up=41.2s while stopping",
    ]


def test_two_exits_in_a_row(tree: Tree) -> None:
    tree.exit(crashed())
    tree.exit("stopped", WEB)
    tree.exit(crashed(), WEB)
    tree.judge(path=WEB)
    assert tree.take() == [
        "WARNING! app/feed crashed attempt=1 ValueError: boom up=41.2s while stopping",
        (
            "WARNING! app/web crashed attempt=0 ValueError: boom up=41.2s"
            " restart in 0.4s (2/10 in 120s)"
        ),
    ]


def test_what_is_fatal_says_so_without_a_traceback(tree: Tree) -> None:
    tree.write(ev.ChildExited, FEED, "fatal", "fatal: SystemExit 7", 1.0, None, error=SystemExit(7))
    tree.write(ev.SupervisorStopping, "app", "fatal", "")
    assert tree.take() == [
        "WARNING app/feed fatal attempt=1 SystemExit 7 up=1.0s; stopping app",
        "INFO app stopping cause=fatal",
    ]


def test_nested_supervisors_are_ready_through_their_child() -> None:
    tree = Tree(logging.DEBUG)
    tree.write(ev.SupervisorStarted, "app/in", ("x",), run=2)
    tree.write(ev.ChildAdded, "app/in/s-1", run=2)
    tree.write(ev.SupervisorReady, "app/in", run=2)
    tree.write(ev.SupervisorReady, "app/unknown", run=2)
    tree.write(ev.ChildRemoved, "app/in/x", run=2)
    tree.write(ev.ChildAdded, "app/in/s-2", run=2)
    tree.write(ev.SupervisorFinished, "app/in", "shutdown", "", 0.0, 0, run=2)
    tree.write(ev.SupervisorFinished, "app/unknown", "shutdown", "", 0.0, 0, run=2)
    assert tree.take()[1:] == [
        "DEBUG app/in started with 1 child",
        "DEBUG app/in ready after=0.0s (2 children)",
        "INFO app/in/x removed",
        "INFO app/in stopped in 0.0s (2 children, 0 unresponsive)",
        "INFO app/unknown stopped in 0.0s (0 children, 0 unresponsive)",
    ]


def test_a_log_that_begins_late_copes(tree: Tree) -> None:
    late = TreeLog(tree.logger)
    tree.journal.tap = late.on_event
    tree.crash()
    tree.write(ev.ChildAdded, "other/x")
    tree.write(ev.ChildRemoved, "other/x")
    tree.journal.tap(tree.journal.append(ev.ExitJudged, 0.0, 1, FEED, 1, ()), None)
    assert len(tree.take()) == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0s"),
        (0.004, "0.0s"),
        (0.21, "0.21s"),
        (0.4, "0.4s"),
        (5, "5.0s"),
        (2.31, "2.31s"),
        (41.2, "41.2s"),
        (60.0, "60s"),
        (99.96, "100s"),
        (120.4, "120s"),
        (86400.0, "86400s"),
    ],
)
def test_seconds_are_as_short_as_they_can_be_read(value: float, text: str) -> None:
    assert lines.seconds(value) == text


def test_a_crowd_is_not_listed_whole(tree: Tree) -> None:
    tree.exit(crashed())
    tree.judge(also=tuple(f"c{number}" for number in range(500)))
    (line,) = tree.take()
    assert line.endswith("; also restarting: c0, c1, c2, c3, c4, c5, c6, c7, and 492 more")


# ---------------------------------------------------------------- folding


def same(times: int, seconds: str, attempt: int = 1, see: str = "traceback above") -> str:
    return f"WARNING app/feed same failure x{times} in {seconds} ({see}, attempt={attempt})"


def test_a_failure_that_goes_on_is_one_line_a_minute(tree: Tree) -> None:
    for _ in range(50):
        tree.crash()
        tree.now += 1.0
    assert tree.take() == [CRASHED, "INFO app/feed ready attempt=2 after=0.21s"]
    for _ in range(50):
        tree.crash()
        tree.now += 1.0
    assert tree.take() == [same(59, "60s")]
    for _ in range(25):
        tree.crash()
        tree.now += 1.0
    assert tree.take() == [same(60, "60s")]
    tree.finish()
    assert tree.take()[:-1] == [
        same(5, "5.0s"),
        "INFO app/feed ready attempt=126 after=0.21s",
    ]


def test_the_logger_is_not_even_asked_about_a_repeat(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.crash()
    tree.crash()
    tree.take()

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("asked")

    for name in ("log", "_log", "isEnabledFor", "handle"):
        monkeypatch.setattr(tree.logger, name, refuse)
    for _ in range(20):
        tree.crash()
        tree.write(ev.ChildBackingOff, FEED, 1.0)
        tree.write(ev.ChildWaiting, FEED)
    monkeypatch.undo()
    tree.finish()
    assert tree.take()[0] == same(21, "0.0s")


def test_once_it_has_recovered_this_is_said(tree: Tree) -> None:
    for _ in range(3):
        tree.crash()
    tree.take()
    assert tree.log.due == WINDOW
    tree.now = 59.9
    tree.start(WEB)
    assert tree.take() == ["INFO app/web ready attempt=1 after=0.21s"]
    tree.now = 60.0
    tree.start(WEB)
    assert tree.take() == [
        same(2, "60s"),
        "INFO app/feed ready attempt=4 after=0.21s",
        "INFO app/web ready attempt=2 after=0.21s",
    ]
    assert tree.log.due == inf
    assert not tree.log._children
    tree.crash()
    assert tree.take()[0] == CRASHED.replace("attempt=1", "attempt=4"), "a new story"


def test_a_timer_may_sum_up_what_no_event_comes_for(tree: Tree) -> None:
    tree.crash()
    tree.now = 40.0
    tree.crash()
    tree.take()
    tree.log.tick(WINDOW - 0.1)
    assert tree.take() == []
    tree.log.tick(tree.log.due)
    assert tree.take() == [same(1, "60s")]
    assert tree.log.due == 2 * WINDOW
    tree.log.tick(2 * WINDOW)
    assert tree.take() == ["INFO app/feed ready attempt=3 after=0.21s"]
    assert tree.log.due == inf
    tree.log.tick(3 * WINDOW)
    assert tree.take() == []


def test_what_happens_once_an_hour_is_told_each_time(tree: Tree) -> None:
    for _ in range(3):
        tree.crash()
        tree.now += 3600.0
    assert [line.partition(" ")[0] for line in tree.take()] == ["WARNING!", "INFO"] * 3


def test_different_failures_are_told_apart(tree: Tree) -> None:
    tree.crash()
    tree.crash(crashed_elsewhere())
    tree.crash(crashed(cls=KeyError))
    tree.crash(Failed(TaskFailure("boom")))
    tree.crash("timed_out")
    tree.crash("unhealthy")
    failures = [line for line in tree.take() if line.startswith("WARNING")]
    assert len(failures) == 6
    for _ in range(2):
        tree.crash("unhealthy")
        tree.crash()
        tree.crash(crashed(cls=KeyError))
    assert tree.take() == []
    tree.write(ev.SupervisorStopping, "app", "shutdown", "")
    assert sorted(tree.take()[:-2]) == [
        same(2, "0.0s", 6, "first above"),
        same(2, "0.0s", 1),
        same(2, "0.0s", 3),
    ]


def declared(how: str) -> TaskExit:
    try:
        try:
            raise OSError(28, "no space left")
        except OSError as error:
            if how == "from":
                raise TaskFailure("disk full") from error
            if how == "from none":
                raise TaskFailure("disk full") from None
            if how == "while":
                raise TaskFailure("disk full")  # noqa: B904 - that is the case
        raise TaskFailure("disk full")
    except TaskFailure as failure:
        return Failed(failure)


@pytest.mark.parametrize("how", ["alone", "from none", "from", "while"])
def test_a_failure_on_purpose_is_one_line_with_its_causes(tree: Tree, how: str) -> None:
    for _ in range(2):
        tree.crash(declared(how))
    tree.write(ev.SupervisorStopping, "app", "shutdown", "")
    first, *_, counted, _ready, _stopping = tree.take()
    cause = " from OSError: [Errno 28] no space left" if how in {"from", "while"} else ""
    assert first.startswith(f"WARNING app/feed failed attempt=1 disk full (error){cause} up=")
    assert counted == same(1, "0.0s", 1, "first above")


def crash_here_or_there(cls: type[Exception], *, here: bool) -> TaskExit:
    try:
        if here:
            raise cls("boom")
        raise cls("boom")
    except Exception as error:
        return Crashed(error)


@pytest.mark.parametrize("other", ["place", "code", "type", "kind", "none", "untraced", "verdict"])
def test_while_repeats_are_counted_others_are_still_told_apart(tree: Tree, other: str) -> None:
    for _ in range(4):
        tree.crash(crash_here_or_there(ValueError, here=True))
    tree.take()
    if other == "kind":
        boom = crash_here_or_there(ValueError, here=True).error
        tree.write(ev.ChildExited, FEED, "failed", "failed: boom", 1.0, None, error=boom)
    else:
        exits: dict[str, TaskExit | str] = {
            "place": crash_here_or_there(ValueError, here=False),
            "code": crashed(),
            "type": crash_here_or_there(KeyError, here=True),
            "none": "timed_out",
            "untraced": Crashed(ValueError("boom")),
            "verdict": crash_here_or_there(ValueError, here=True),
        }
        tree.exit(exits[other])
    tree.judge("done" if other == "verdict" else "restart")
    if other == "verdict":
        assert tree.take() == [
            same(3, "0.0s"),
            "WARNING app/feed crashed attempt=5 ValueError: boom up=41.2s; done",
        ]
    else:
        (line,) = tree.take()
        assert line.startswith("WARNING"), line
        assert " attempt=5" in line


def test_the_same_line_of_another_function_is_another_place(tree: Tree) -> None:
    def one() -> None:
        raise ValueError("boom")

    def twin() -> None:
        raise ValueError("boom")

    for function in (one, one, one, twin):
        try:
            function()
        except ValueError as error:
            tree.crash(Crashed(error))
    failures = [line for line in tree.take() if line.startswith("WARNING!")]
    assert len(failures) == 2


def test_one_that_is_down_at_the_end_of_a_minute_is_not_said_to_be_ready(tree: Tree) -> None:
    for _ in range(4):
        tree.crash()
    tree.exit(crashed())
    tree.judge()
    tree.take()
    tree.log.tick(100.0)
    assert tree.take() == [same(4, "60s")]


def test_each_story_has_minutes_of_its_own(tree: Tree) -> None:
    tree.crash()
    tree.crash()
    tree.now = 30.0
    tree.crash(path=WEB)
    tree.crash(path=WEB)
    tree.now = 59.0
    tree.crash()
    tree.take()
    tree.now = 60.0
    tree.crash()
    assert tree.take() == [same(2, "60s")]
    assert tree.log.due == 30.0 + WINDOW
    tree.log.tick(90.0)
    assert tree.take() == [
        "WARNING app/web same failure x1 in 60s (traceback above, attempt=0)",
        "INFO app/web ready attempt=2 after=0.21s",
    ]
    assert tree.log.due == 60.0 + WINDOW


def test_two_who_restart_each_other_are_quiet_until_both_are_done(tree: Tree) -> None:
    for _ in range(3):
        tree.crash(also=("web",))
        tree.crash(path=WEB, also=("feed",))
    tree.now = 30.0
    tree.crash(crashed_elsewhere(), also=("web",))
    tree.crash(crashed_elsewhere(), also=("web",))
    tree.take()
    tree.log.tick(60.0)
    assert tree.take() == [
        same(2, "60s"),
        "WARNING app/web same failure x2 in 60s (traceback above, attempt=0)",
    ]
    tree.log.tick(90.0)
    assert tree.take() == [
        same(1, "60s", 4),
        "INFO app/feed ready attempt=6 after=0.21s",
        "INFO app/web ready attempt=3 after=0.21s",
    ]
    assert tree.log._suppressed == 0


def test_groups_are_told_apart_by_what_is_in_them(tree: Tree) -> None:
    def group(*members: TaskExit) -> TaskExit:
        errors = [member.error for member in members if member.error is not None]
        try:
            raise ExceptionGroup("several", errors)
        except ExceptionGroup as error:
            return Crashed(error)

    for members in (
        (crashed(), crashed_elsewhere()),
        (crashed_elsewhere(), crashed()),
        (crashed(), crashed_elsewhere()),
        (crashed(),),
        (crashed(cls=KeyError),),
    ):
        tree.crash(group(*members))
    failures = [line for line in tree.take() if line.startswith("WARNING!")]
    assert len(failures) == 4
    tree.crash(group(crashed()))
    assert tree.take() == []


def test_an_exception_without_a_traceback_has_no_place() -> None:
    assert place_of(None) == place_of(ValueError()) == (None, None)
    tree = Tree()
    for _ in range(3):
        tree.crash(Crashed(ValueError("never raised")))
    assert len(tree.take()) == 2
    tree.finish()
    assert tree.take()[0] == same(2, "0.0s", 0)


def test_one_exception_raised_again_and_again_is_found_in_bounded_time(tree: Tree) -> None:
    error = ValueError("boom")

    def again() -> None:
        raise error

    for _ in range(1_000):
        try:
            again()
        except ValueError as caught:
            tree.crash(Crashed(caught))
    told = tree.take()
    assert len(told) < 10, "the same place, however often it was raised before"


def test_returning_although_permanent_is_a_warning_once(tree: Tree) -> None:
    tree.crash("succeeded")
    tree.crash("succeeded")
    tree.now = 300.0
    tree.crash("succeeded")
    assert tree.take() == [
        (
            "WARNING app/feed returned although permanent attempt=1 up=41.2s"
            " restart in 0.4s (2/10 in 120s)"
        ),
        "INFO app/feed ready attempt=2 after=0.21s",
        "INFO app/feed returned again x1 in 60s (first above, attempt=1)",
        "INFO app/feed ready attempt=3 after=0.21s",
        "INFO app/feed returned attempt=3 up=41.2s restart in 0.4s (2/10 in 120s)",
        "INFO app/feed ready attempt=4 after=0.21s",
    ]


def test_decide_that_raises_each_time_is_folded_by_type(tree: Tree) -> None:
    for number in range(5):
        tree.crash(error=f"KeyError: {number}")
    tree.crash(error="TypeError: x")
    errors = [line for line in tree.take() if line.startswith("ERROR")]
    assert errors == [
        "ERROR app/feed decide() raised KeyError: 0; the restart policy decides",
        "ERROR app/feed decide() raised TypeError: x; the restart policy decides",
    ]


def test_failures_while_stopping_are_folded_too(tree: Tree) -> None:
    for _ in range(5):
        tree.exit(crashed(), stop_reason="restarts with web")
        tree.start()
    assert tree.take() == [
        (
            "WARNING! app/feed crashed attempt=1 ValueError: boom up=41.2s while stopping"
            ' reason="restarts with web"'
        ),
        "INFO app/feed ready attempt=2 after=0.21s",
    ]
    tree.finish()
    assert tree.take()[0] == same(4, "0.0s")


def test_those_who_restart_with_it_are_as_quiet(tree: Tree) -> None:
    def group_restart() -> None:
        tree.exit(crashed())
        tree.judge(also=("web",))
        tree.exit("stopped", WEB, "restarts with feed")
        tree.start()
        tree.start(WEB)

    tree.start("app/other")
    tree.start(WEB)
    tree.take()
    group_restart()
    assert tree.take()[1].startswith("INFO app/web stopped attempt=")
    for _ in range(4):
        group_restart()
    tree.start("app/other")
    assert tree.take() == ["INFO app/other ready attempt=2 after=0.21s"]
    tree.now = 100.0
    tree.log.tick(tree.now)
    assert tree.take() == [
        same(4, "60s"),
        "INFO app/feed ready attempt=6 after=0.21s",
        "INFO app/web ready attempt=6 after=0.21s",
    ]
    assert not tree.log._children


def test_those_below_them_are_as_quiet() -> None:
    tree = Tree(logging.DEBUG)
    tree.start("app/in")

    def start_nested() -> None:
        tree.start("app/in")
        tree.write(ev.SupervisorStarted, "app/in", ("x", "y"), run=2)
        tree.attempts.pop("app/in/x", None)
        tree.attempts.pop("app/in/y", None)
        tree.start("app/in/x")
        tree.start("app/in/y")
        tree.write(ev.SupervisorReady, "app/in", run=2)

    def group_restart(unresponsive: int = 0) -> None:
        tree.exit(crashed())
        tree.judge(also=("in",))
        tree.write(ev.SupervisorStopping, "app/in", "shutdown", "restarts", run=2)
        for path in ("app/in/x", "app/in/y"):
            tree.exit("stopped", path)
            tree.write(ev.ChildStopped, path, "restarts")
        tree.write(ev.SupervisorFinished, "app/in", "shutdown", "", 0.0, unresponsive, run=2)
        tree.exit("stopped", "app/in", "restarts with feed")
        tree.start()
        start_nested()

    start_nested()
    group_restart()
    assert len(tree.take()) > 12
    group_restart()
    group_restart()
    assert tree.take() == []
    group_restart(unresponsive=1)
    tree.exit("stopped", "app/in/y")
    tree.write(ev.ChildStopped, "app/in/y", "by hand")
    tree.crash(path="app/in/x")
    assert [line.partition(" (")[0] for line in tree.take()] == [
        "WARNING app/in stopped in 0.0s",
        'INFO app/in/y stopped attempt=1 reason="by hand"',
        "WARNING! app/in/x crashed attempt=1 ValueError: boom up=41.2s restart in 0.4s",
    ]
    tree.log.tick(100.0)
    assert tree.take() == [
        same(3, "60s", 0),
        "INFO app/feed ready attempt=4 after=0.21s",
        "INFO app/in ready attempt=6 after=0.21s",
        "INFO app/in/x ready attempt=2 after=0.21s",
    ]
    assert not (tree.log._held_back)
    assert not (tree.log._suppressed)


def test_of_those_who_are_down_at_the_end_nothing_old_is_said(tree: Tree) -> None:
    tree.start(WEB)
    for _ in range(3):
        tree.crash(also=("web", "gone", "asked"))
        for path in (WEB, "app/gone", "app/asked"):
            tree.start(path)
    tree.take()
    tree.exit("stopped", WEB)
    tree.log.flush()
    tree.write(ev.ChildRemoved, "app/gone")
    tree.write(ev.ChildStopped, "app/asked", "")
    tree.exit(crashed())
    tree.judge("escalate", source="limit")
    assert tree.take() == [
        "INFO app/gone removed attempt=3",
        "INFO app/asked stopped attempt=3",
        same(2, "0.0s"),
        (
            "ERROR app/feed gave up: 10 restarts in 120s; attempt=4 last=crashed: ValueError: boom;"
            " escalating to app"
        ),
    ]


def test_a_child_of_the_same_name_is_another_one(tree: Tree) -> None:
    for _ in range(3):
        tree.crash(also=("web",))
    tree.write(ev.ChildRemoved, WEB)
    tree.take()
    tree.crash(path=WEB)
    tree.crash(path=WEB)
    assert len(tree.take()) == 2
    tree.write(ev.ChildStopped, FEED, "")
    assert tree.take()[0] == same(2, "0.0s")
    tree.crash(path=WEB)
    assert tree.take() == [], "what is counted of the new one goes on"


def test_the_kinds_of_failures_of_one_child_are_bounded(tree: Tree) -> None:
    for number in range(20):
        tree.crash(f"kind {number}")
        tree.crash(f"kind {number}")
    sums = [line for line in tree.take() if "same failure" in line]
    assert sums == [same(1, "0.0s", 1 + 2 * number, "first above") for number in range(12)]


def test_memory_is_bounded() -> None:
    tree = Tree()
    for number in range(300):
        path = f"app/s-{number}"
        tree.write(ev.ChildAdded, path)
        tree.crash("succeeded", path)
        tree.crash("succeeded", path)
        tree.exit(crashed(), path)
        tree.judge("remove", path)
        tree.write(ev.ChildRemoved, path)
    log = tree.log
    assert not (log._children)
    assert not (log._open)
    assert not (log._supervisors["app"].children)
    assert not (log._supervisors["app"].verdict_logged)
    for run in range(2, 100):
        tree.write(ev.SupervisorStarted, "app/in", ("x",), run=run)
        tree.crash(path="app/in/x")
        if run % 2:
            tree.write(ev.SupervisorFinished, "app/in", "shutdown", "", 0.0, 0, run=run)
    tree.write(ev.SupervisorStarted, "app/in", ("x",), run=100)
    tree.write(ev.ChildRemoved, "app/in")
    assert set(log._supervisors) == {"app"}
    tree.finish()
    tree.log.close(0.0)
    assert not (log._children)
    assert not (log._open)
    assert not (log._supervisors)


class Nested:
    """A pool in a tree, whose parent starts it again and again."""

    def __init__(self, **options: Any) -> None:
        self.tree = Tree(children=("pool",), **options)
        self.runs = 0
        self.tree.start("app/pool")
        self.start()

    def start(self) -> None:
        tree = self.tree
        self.runs += 1
        tree.write(ev.SupervisorStarted, "app/pool", ("db", "ok"), run=1 + self.runs)
        for path in ("app/pool/db", "app/pool/ok"):
            tree.attempts.pop(path, None)
            tree.start(path)

    def crash(self, how: TaskExit | None = None, path: str = "app/pool/db") -> None:
        self.tree.crash(how, path)

    def give_up(self, action: str = "escalate", source: str = "limit") -> None:
        tree, reason = self.tree, "db gave up"
        tree.exit(crashed(), "app/pool/db")
        tree.judge(action, "app/pool/db", source=source)
        tree.write(ev.SupervisorStopping, "app/pool", "limit", reason)
        self.end("limit", reason)
        tree.crash(crashed_elsewhere("pool"), "app/pool")
        self.start()

    def end(self, cause: str, reason: str) -> None:
        tree = self.tree
        tree.exit("stopped", "app/pool/ok", reason)
        for path in ("app/pool/ok", "app/pool/db"):
            tree.write(ev.ChildStopped, path, reason)
        tree.write(ev.SupervisorFinished, "app/pool", cause, reason, 0.0, 0)


@pytest.mark.parametrize(
    ("action", "source", "what"),
    [
        ("escalate", "limit", "gave up: 10 restarts in 120s; attempt=3 last=crashed: "),
        ("start_failed", "first_start", "failed to start: crashed attempt=3 "),
    ],
)
def test_a_nested_supervisor_that_fails_again_and_again_is_one_story(
    action: str, source: str, what: str
) -> None:
    pool = Nested()
    for _ in range(5):
        pool.crash()
        pool.crash()
        pool.give_up(action, source)
    told = pool.tree.take()
    assert sum("!" in line for line in told) == 2, told
    assert told[3] == (
        "WARNING! app/pool/db crashed attempt=1 ValueError: boom up=41.2s restart in 0.4s"
        " (2/10 in 120s)"
    )
    assert told[5] == "WARNING app/pool/db same failure x1 in 0.0s (traceback above, attempt=1)"
    assert told[6].startswith(f"ERROR app/pool/db {what}")
    assert told[7:] == [
        'INFO app/pool stopping cause=limit reason="db gave up"',
        "INFO app/pool/ok stopped attempt=1",
        "INFO app/pool stopped in 0.0s (2 children, 0 unresponsive) cause=limit",
        (
            "WARNING! app/pool crashed attempt=1 ValueError: pool up=41.2s restart in 0.4s"
            " (2/10 in 120s)"
        ),
        "INFO app/pool ready attempt=2 after=0.21s",
        "INFO app/pool/ok ready attempt=1 after=0.21s",
    ]
    pool.tree.now = 2.0
    pool.tree.write(ev.SupervisorStopping, "app", "shutdown", "SIGTERM")
    pool.tree.write(ev.SupervisorStopping, "app/pool", "shutdown", "SIGTERM")
    pool.end("shutdown", "SIGTERM")
    pool.tree.write(ev.ChildStopped, "app/pool", "SIGTERM")
    pool.tree.finish()
    sums = [line for line in pool.tree.take() if "same failure" in line]
    assert sums == [
        "WARNING app/pool same failure x4 in 2.0s (traceback above, attempt=1)",
        "WARNING app/pool/db same failure x12 in 2.0s (traceback above, attempt=1)",
    ]
    assert not pool.tree.log._children
    assert not pool.tree.log._supervisors


def test_what_went_on_in_a_pool_that_is_down_is_told_before_the_tree_stops() -> None:
    pool = Nested()
    pool.crash()
    pool.crash()
    pool.give_up()
    pool.crash()
    tree = pool.tree
    tree.take()
    tree.exit(crashed(), "app/pool/db")
    tree.judge("escalate", "app/pool/db", source="limit")
    tree.write(ev.SupervisorStopping, "app/pool", "limit", "")
    pool.end("limit", "")
    tree.exit(crashed_elsewhere(), "app/pool")
    tree.judge("escalate", "app/pool", source="limit")
    tree.write(ev.SupervisorStopping, "app", "limit", "")
    assert [line.partition(" (")[0] for line in tree.take()] == [
        (
            "ERROR app/pool gave up: 10 restarts in 120s; attempt=2 last=crashed: ValueError: boom;"
            " escalating to app"
        ),
        "WARNING app/pool/db same failure x2 in 0.0s",
        "INFO app stopping cause=limit",
    ]


@pytest.mark.parametrize("how", [ev.ChildStopped, ev.ChildRemoved, ev.ChildDone])
def test_of_a_pool_that_is_down_for_good_nothing_is_kept(how: type[ev.Event]) -> None:
    pool = Nested()
    tree = pool.tree
    for number in range(50):
        path = f"app/pool/s-{number}"
        tree.write(ev.ChildAdded, path)
        tree.write(ev.SupervisorStarted, path, ("x",), run=2)
        pool.crash(path=path)
        pool.crash(path=path)
        pool.crash(path=f"{path}/x")
        tree.write(ev.SupervisorFinished, path, "shutdown", "", 0.0, 0)
    pool.crash()
    pool.crash()
    assert len(tree.log._children) == 101
    tree.take()
    tree.write(ev.SupervisorStopping, "app/pool", "shutdown", "")
    assert "WARNING app/pool/db same failure x1 in 0.0s (traceback above, attempt=1)" in tree.take()
    pool.end("shutdown", "")
    assert set(tree.log._children) == {"app/pool/db"}, "only who is declared may come back"
    assert set(tree.log._supervisors) == {"app", "app/pool"}
    tree.write(how, "app/pool", *([] if how is not ev.ChildStopped else [""]))
    assert not tree.log._children
    assert not tree.log._open
    assert set(tree.log._supervisors) == {"app"}


def test_of_pools_in_pools_nothing_is_kept_either() -> None:
    pool = Nested()
    tree = pool.tree
    for path in ("app/pool/db", "app/pool/added"):
        tree.write(ev.SupervisorStarted, path, ("x",), run=9)
        pool.crash(path=f"{path}/x")
        tree.write(ev.SupervisorStopping, path, "shutdown", "")
        tree.write(ev.SupervisorFinished, path, "shutdown", "", 0.0, 0)
    tree.write(ev.SupervisorStopping, "app/pool", "shutdown", "")
    tree.write(ev.SupervisorFinished, "app/pool", "shutdown", "", 0.0, 0)
    assert set(tree.log._supervisors) == {"app", "app/pool", "app/pool/db"}
    tree.log._end("app/pool/db", 1.0)
    assert set(tree.log._supervisors) == {"app"}
    assert not tree.log._children
    assert not tree.log._supervisors["app"].below


def test_after_a_quiet_minute_a_pool_that_is_down_is_forgotten() -> None:
    pool = Nested()
    tree = pool.tree
    pool.crash()
    tree.write(ev.SupervisorStopping, "app/pool", "shutdown", "")
    pool.end("shutdown", "")
    assert "app/pool" in tree.log._supervisors
    tree.log.tick(100.0)
    assert set(tree.log._supervisors) == {"app"}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["crash"] * 5 + ["give up", "stop", "other"]),
            st.sampled_from([0.0, 0.5, 20.0, 70.0]),
        ),
        max_size=40,
    )
)
def test_no_count_is_lost_when_a_nested_supervisor_starts_again(
    steps: list[tuple[str, float]],
) -> None:
    pool = Nested()
    tree = pool.tree
    written = 0
    for what, later in steps:
        tree.now += later
        if what == "crash":
            pool.crash()
            written += 1
        elif what == "other":
            pool.crash(crashed_elsewhere(), "app/pool/ok")
            written += 1
        elif what == "give up":
            pool.give_up()
            written += 2
        else:
            tree.write(ev.SupervisorStopping, "app/pool", "shutdown", "by hand")
            pool.end("shutdown", "by hand")
            tree.write(ev.ChildStopped, "app/pool", "by hand")
            pool.start()
    tree.write(ev.SupervisorStopping, "app", "shutdown", "")
    tree.write(ev.SupervisorStopping, "app/pool", "shutdown", "")
    pool.end("shutdown", "")
    tree.finish()
    told = 0
    for line in tree.take():
        if " x" in line:
            told += int(line.partition(" x")[2].partition(" ")[0])
        elif "up=41.2s" in line or "gave up:" in line:
            told += 1
    assert told == written
    assert not tree.log._open
    assert not tree.log._children
    assert not tree.log._supervisors


def test_a_tree_that_breaks_down_leaves_nothing_unsaid(tree: Tree) -> None:
    for _ in range(3):
        tree.crash()
    tree.take()
    tree.exit(crashed_elsewhere())
    tree.log.close(7.0)
    assert tree.take() == [
        "WARNING! app/feed crashed attempt=4 ValueError: boom up=41.2s while stopping",
        same(2, "7.0s"),
    ]
    tree.log.close(7.0)
    assert tree.take() == []


KINDS = (crashed, crashed_elsewhere, lambda: "timed_out", lambda: "succeeded")


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(KINDS) - 1),
            st.sampled_from([FEED, WEB]),
            st.sampled_from([0.0, 0.5, 20.0, 70.0]),
            st.sampled_from(["restart"] * 8 + ["stop", "unjudged"]),
        ),
        max_size=60,
    )
)
def test_no_count_is_ever_lost(steps: list[tuple[int, str, float, str]]) -> None:
    tree = Tree(children=("feed", "web"))
    written = 0
    for kind, path, later, what in steps:
        tree.now += later
        how = KINDS[kind]()
        tree.exit(how, path)
        if what == "unjudged":
            written += how != "succeeded"
            tree.log.flush()
        else:
            written += 1
            tree.judge(path=path, also=("web",) if path == FEED else ())
        if what == "stop":
            tree.write(ev.ChildStopped, path, "")
        else:
            tree.start(path)
    tree.write(ev.SupervisorStopping, "app", "shutdown", "")
    tree.finish()
    told = 0
    for line in tree.take():
        if " x" in line:
            told += int(line.partition(" x")[2].partition(" ")[0])
        elif "up=41.2s" in line and "stopped" not in line:
            told += 1
    assert told == written
    assert not (tree.log._open)
    assert not (tree.log._children)


# ---------------------------------------------------------------- loggers


def test_with_pythons_defaults_warnings_reach_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("trio_supervisor")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    tree = Tree()
    tree.journal.tap = TreeLog().on_event
    assert not logger.handlers
    tree.start()
    for _ in range(10):
        tree.crash()
    tree.finish()
    error = capsys.readouterr().err
    told = [line for line in error.splitlines() if line.startswith("app")]
    assert told == [CRASHED.partition(" ")[2], same(9, "0.0s").partition(" ")[2]]
    assert error.count("Traceback (most recent call last)") == 1
    assert error.count("ValueError: boom") == 2


@pytest.fixture
def broken(tree: Tree) -> Iterator[Tree]:
    def explode(record: logging.LogRecord) -> bool:
        raise RuntimeError("broken filter")

    tree.logger.addFilter(explode)
    yield tree
    tree.logger.removeFilter(explode)


@pytest.mark.parametrize("loud", [True, False])
def test_a_broken_handler_does_not_end_the_tree(
    broken: Tree,
    loud: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", loud)
    broken.crash()
    assert ("broken filter" in capsys.readouterr().err) is loud


class BrokenStream:
    """Standard error on a disk that is full."""

    def write(self, text: str) -> None:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("stream", [BrokenStream(), None])
def test_a_broken_handler_on_a_full_disk_does_not_end_the_tree(
    broken: Tree, stream: BrokenStream | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    broken.crash()
    broken.crash()
    with pytest.MonkeyPatch.context() as repaired:
        repaired.setattr("sys.stderr", found := io.StringIO())
        broken.write(ev.ChildStopped, FEED, "it goes on")
    assert "it goes on" in found.getvalue()
    broken.finish()


def test_the_line_that_a_broken_handler_did_not_take_is_not_lost(
    broken: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    broken.write(ev.ChildStopped, FEED, "100 %s")
    assert 'app/feed stopped attempt=1 reason="100 %s"\n' in capsys.readouterr().err


def test_a_surprise_in_an_event_is_told_in_one_line(tree: Tree) -> None:
    tree.crash()
    tree.crash()
    tree.take()
    tree.write(ev.SupervisorFinished, "app", "shutdown", "", "soon", 0)
    told = tree.take()
    assert told[0] == same(1, "0.0s")
    assert told[1] == READY.replace("=1", "=3")
    assert told[2].startswith("ERROR app SupervisorFinished could not be logged: TypeError")
    assert "lines.py:" in told[2]
    tree.crash()
    assert tree.take() == [CRASHED.replace("attempt=1", "attempt=3"), READY.replace("=1", "=4")]


READY = "INFO app/feed ready attempt=1 after=0.21s"


def test_what_was_counted_is_told_though_a_surprise_comes_in_between(tree: Tree) -> None:
    for _ in range(4):
        tree.crash()
    tree.take()
    tree.write(ev.ChildUnresponsive, FEED, "long", ())
    surprise, counted = tree.take()
    assert "app/feed ChildUnresponsive could not be logged: " in surprise
    assert counted == same(3, "0.0s")
    assert not tree.log._children
    assert tree.log.due == inf


@pytest.mark.parametrize("how", ["flush", "close", "tick"])
def test_no_surprise_comes_out_of_the_log(tree: Tree, how: str) -> None:
    class Boom(ValueError):
        """Can be referred to weakly."""

    exit_ = crashed(cls=Boom)
    boom = weakref.ref(exit_.error) if exit_.error is not None else None
    tree.crash(exit_)
    tree.crash()
    tree.crash()
    for failure in tree.log._open:
        failure.kind = None  # type: ignore[assignment]
        failure.began = "long ago" if how != "flush" else failure.began  # type: ignore[assignment]
    tree.take()
    if how == "tick":
        tree.log.tick(100.0)
    elif how == "close":
        tree.log.close(100.0)
    else:
        error = exit_.error
        tree.write(ev.ChildExited, FEED, "crashed", 5, 0.0, None, error=error)
        tree.log.flush()
        del error
    assert "could not be logged: " in tree.take()[0]
    assert not tree.log._open
    del exit_
    gc.collect()
    assert boom is not None
    assert boom() is None


@pytest.mark.parametrize("reason", [5, None, ["a"]])
def test_a_reason_that_is_no_text_is_told_all_the_same(tree: Tree, reason: object) -> None:
    tree.write(ev.ChildLostReadiness, FEED, reason)
    because = f' reason="{reason}"' if reason else ""
    assert tree.take() == [f"INFO app/feed not ready attempt=1{because}"]


def test_below_its_level_a_logger_is_told_nothing() -> None:
    tree = Tree(logging.ERROR)
    tree.start()
    tree.crash()
    tree.write(ev.ChildStopped, FEED, "")
    tree.finish()
    assert tree.take() == []


def test_percent_signs_are_only_text(tree: Tree) -> None:
    tree.crash(crashed("100%s %d"))
    assert "ValueError: 100%s %d up" in tree.take()[0]


def test_no_exception_is_kept(tree: Tree) -> None:
    class Boom(ValueError):
        """Can be referred to weakly."""

    how = crashed(cls=Boom)
    boom = weakref.ref(how.error) if how.error is not None else None
    assert boom is not None
    tree.exit(how)
    tree.judge()
    del how
    gc.collect()
    assert boom() is None


@pytest.mark.parametrize("nested", [False, True])
def test_when_a_minute_is_over_a_live_tree_says_how_often_and_who_is_well_again(
    caplog: pytest.LogCaptureFixture, nested: bool
) -> None:
    async def frail(child: ChildContext) -> None:
        if child.attempt <= 5:
            raise ValueError("boom")
        await trio.sleep_forever()

    async def main() -> None:
        now = BackoffPolicy.delays(0)
        spec = SupervisorSpec("app", [ChildSpec("feed", frail, backoff=now)])
        async with open_supervisor(SupervisorSpec("top", [spec]) if nested else spec):
            await trio.sleep(59)
            assert "same failure" not in caplog.text
            await trio.sleep(2)
            assert "app/feed same failure x4 in 60s (traceback above, attempt=1)" in caplog.text
            assert "app/feed ready attempt=6" in caplog.text

    with caplog.at_level(logging.INFO, "trio_supervisor"):
        run_virtual(main)
