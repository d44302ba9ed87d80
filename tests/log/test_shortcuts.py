"""What the log takes as said at once makes no difference: lines and memory are the same without.

Of most events `TreeLog.take` knows at once that there is nothing to say. Here each tree has two
logs for each level, and one of the two has no such shortcut.
"""

from __future__ import annotations

import io
import logging
import sys
from collections import Counter
from functools import wraps
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_virtual
from model.draw import case_of
from model.perform import run_case

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildRunReport,
    ChildSpec,
    RestartDecision,
    SupervisorError,
    SupervisorSpec,
    open_supervisor,
)
from trio_supervisor._events import events as ev
from trio_supervisor._logging import memory, tree_log
from trio_supervisor._logging.tree_log import TreeLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_supervisor import Supervisor
    from trio_supervisor._events.fold import RawEvent

LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


class Lines(logging.Handler):
    """Keeps what records say; raises afterwards, if it is to."""

    def __init__(self, *, raises: bool) -> None:
        super().__init__(logging.DEBUG)
        self.found: list[tuple[object, ...]] = []
        self.raises = raises

    def emit(self, record: logging.LogRecord) -> None:
        more = vars(record)
        fields = [more.get(name) for name in ("path", "event", "sequence", "repeats", "exc_info")]
        self.found.append((record.levelname, record.getMessage(), record.created, *fields))
        if self.raises and len(self.found) % 3 == 0:
            raise ValueError("from a handler")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name of logging
        raise AssertionError(record)


class Patient(TreeLog):  # type: ignore[misc] # final for all but this test
    """A log without shortcuts."""

    def take(self, raw: RawEvent, error: BaseException | None = None) -> None:
        self.pending.append((raw, error))


class Twins:
    """Two logs of one tree, the second one without shortcuts."""

    def __init__(self, level: int, *, raises: bool, own_levels: bool, changes: bool) -> None:
        self.own_levels, self.changes = own_levels, changes
        self.logs = []
        self.lines = []
        for kind in (TreeLog, Patient):
            logger = logging.Logger("test", level)  # noqa: LOG001 - nothing else knows it
            self.lines.append(Lines(raises=raises))
            logger.addHandler(self.lines[-1])
            self.logs.append(kind(logger))

    def set_level(self, level: int) -> None:
        for log in self.logs:
            log._logger.setLevel(level)
            log._logger._cache.clear()  # type: ignore[attr-defined] # `logging` does for its own

    def differences(self) -> list[object]:
        """What one log has written, or remembers, and the other has not."""
        fast, slow = (lines.found for lines in self.lines)
        found: list[object] = [] if fast == slow else [set(fast) ^ set(slow) or "order"]
        here, there = (state_of(log) for log in self.logs)
        return found if here == there else [*found, here, there]


def state_of(log: TreeLog) -> tuple[object, ...]:
    children = {
        path: (
            [(failure.kind, failure.count, failure.last) for failure in child.failures],
            (child.suppressed_by, child.held_back, child.budget, child.watched, child.returned),
        )
        for path, child in log._children.items()
    }
    sizes = {path: supervisor.size for path, supervisor in log._supervisors.items()}
    held_back = sorted(log._held_back)
    return children, sizes, sorted(log._stops), held_back, log.levels, log.due, log._suppressed


class Both(dict[str, Any]):
    """What the runtime puts into a dictionary of a log, it puts into that of each."""

    def __init__(self, dictionaries: list[dict[str, Any]]) -> None:
        self.dictionaries = dictionaries

    def __setitem__(self, path: str, value: object) -> None:
        for each in self.dictionaries:
            each[path] = value

    def pop(self, path: str, *default: object) -> Any:
        for each in self.dictionaries:
            each.pop(path, *default)


class Stand:
    """Stands in for the log of a tree: hands everything on to pairs of logs, and compares them."""

    random = Random(0)  # of the case
    found: list[object]

    def __init__(self) -> None:
        raises = self.random.random() < 0.2
        self.twins = [
            Twins(level, raises=raises, own_levels=self.random.random() < 0.3, changes=False)
            for level in LEVELS
        ]
        self.twins.append(Twins(logging.INFO, raises=False, own_levels=False, changes=True))
        logs = [log for pair in self.twins for log in pair.logs]
        self.levels = Both([log.levels for log in logs])
        self.looks = Both([log.looks for log in logs])
        self.pending = True  # the shell calls `flush` at the end of each step

    @property
    def due(self) -> float:
        return self.twins[0].logs[0].due

    def take(self, raw: RawEvent, error: BaseException | None = None) -> None:
        path = raw[5]
        new = [path] if raw[0] is ev.ChildAdded else []
        if raw[0] is ev.SupervisorStarted:
            new = [f"{path}/{name}" for name in raw[7][0]]
        for pair in self.twins:
            for each in new if pair.own_levels else ():
                level = self.random.choice(LEVELS)
                for log in pair.logs:
                    log.levels[each] = level
            for log in pair.logs:
                log.take(raw, error)

    def _do(self, name: str, *arguments: object) -> None:
        for pair in self.twins:
            for log in pair.logs:
                getattr(log, name)(*arguments)
            if not self.found:
                self.found += pair.differences()
            if pair.changes:
                pair.set_level(self.random.choice(LEVELS))

    def flush(self) -> None:
        self._do("flush")

    def tick(self, now: float) -> None:
        self._do("tick", now)

    def untie(self) -> None:
        self._do("untie")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[tuple[str, bool]]]:
    """Let trees have a `Stand` for a log; counts how often each shortcut was (not) taken."""
    counts: Counter[tuple[str, bool]] = Counter()

    def counted(rule: Any) -> Any:
        @wraps(rule)
        def count(*arguments: object) -> bool:
            answer = rule(*arguments)
            counts[rule.__name__, answer] += 1
            return bool(answer)

        return count

    for cls, rule in tree_log._IDLE.items():
        monkeypatch.setitem(tree_log._IDLE, cls, counted(rule))
    for name in ("fails_again", "holds_back"):
        rule = getattr(memory.ChildMemory, name)
        monkeypatch.setattr(memory.ChildMemory, name, counted(rule))
    monkeypatch.setattr("trio_supervisor._runtime.tree.TreeLog", Stand)
    monkeypatch.setattr(Stand, "found", [], raising=False)
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # where failures of handlers go
    logger = logging.getLogger("trio_supervisor")
    handler = logging.NullHandler()  # a rig under simulation logs only if there is one
    logger.addHandler(handler)
    yield counts
    logger.removeHandler(handler)


# Drawn; the last ones have a sibling's turn between an exit and the child's rest, or a level that
# changes between an exit and the next event.
CASES = (*range(40), 98, 131, 358, 485, 495, 3334)


def test_drawn_lifecycles(taken: Counter[tuple[str, bool]]) -> None:
    for seed in CASES:
        Stand.random = Random(seed)
        run_case(case_of(seed), seed=seed)
        assert not Stand.found, seed
    for rule in tree_log._IDLE.values():
        assert taken[rule.__name__, True], rule
        assert taken[rule.__name__, False] or "addition" in rule.__name__, rule


# ---------------------------------------------------------------- children that fail for ever


def flapping(random: Random, *, explicit: bool) -> Any:
    """A body that is ready and ends in one of a few ways, again and again."""
    pause = random.choice((0.0, 0.02, 0.05, 0.3))
    kinds = random.choices((ValueError, KeyError, None), (6, 1, 1), k=7)
    steady = random.randrange(5, 60)
    fails_late = random.random() < 0.5

    async def flap(child: ChildContext) -> None:
        if explicit:
            child.ready()
        if child.attempt == steady:
            await trio.sleep(random.choice((0.5, 1.5, 20)))
        if explicit and child.attempt % 11 == 0:
            child.not_ready("overloaded")
        try:
            await trio.sleep(pause)
        except trio.Cancelled:
            if fails_late:
                raise OSError("late") from None  # noqa: ASYNC104 - some bodies do
            raise
        kind = kinds[child.attempt % len(kinds)]
        if kind is not None:
            raise kind("x")

    return flap


def undecided(report: ChildRunReport) -> RestartDecision:
    raise LookupError(report.path)


def drawn_child(random: Random, name: str) -> ChildSpec[Any]:
    explicit = random.random() < 0.7
    body = flapping(random, explicit=explicit)
    options: dict[str, Any] = {"grace": random.choice((0, 0, 1))}
    options["restart"] = random.choice(("permanent", "permanent", "transient", "temporary"))
    if explicit:
        options |= {"readiness": "explicit", "retry_first_start": True}
        options["max_runtime"] = random.choice((inf, inf, 0.2))
    if random.random() < 0.3:
        options["decide"] = undecided
    if options["restart"] != "temporary":
        delays = BackoffPolicy.delays(random.choice((0.01, 0.05, 0.5)))
        options |= {"restart_limit": None, "backoff": delays}
    return ChildSpec(name, body, **options)


async def flap_for_a_while(random: Random) -> None:
    groups: tuple[Any, ...] = ("one_for_one", "one_for_all", "rest_for_one")
    pool = [drawn_child(random, name) for name in ("x", "y")]
    children: list[Any] = [drawn_child(random, name) for name in ("a", "b")]
    children.append(SupervisorSpec("pool", pool, strategy=random.choice(groups)))
    spec = SupervisorSpec("app", children, strategy=random.choice(groups))
    try:
        async with open_supervisor(spec, wait_ready=False) as supervisor:
            await operate(supervisor, random)
    except* SupervisorError:
        pass


async def operate(supervisor: Supervisor, random: Random) -> None:
    for number in range(6):
        await trio.sleep(random.choice((0.0, 0.4, 3, 30)))
        supervisor.start_child_soon(drawn_child(random, f"late-{number}"))
        name = random.choice(list(supervisor.children))
        command = random.choice(("restart_child", "stop_child", "remove_child"))
        with trio.move_on_after(2):
            await getattr(supervisor, command)(name)


@pytest.mark.parametrize("seed", [2, 3])
def test_children_that_fail_again_and_again(taken: Counter[tuple[str, bool]], seed: int) -> None:
    Stand.random = Random(seed)
    run_virtual(flap_for_a_while, Random(seed))
    assert not Stand.found
    assert taken["fails_again", True] > 10
    assert taken["holds_back", True] > 10
