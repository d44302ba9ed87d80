"""What is measured: each row compares one number of a program with one of another."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from benchmarks.instructions import Count, count

QUICK: Final = 20  # by how much smaller everything is with --quick
NOISE: Final = 1.05


@dataclass(frozen=True)
class Run:
    """One program with its size. ``here`` is False for what needs the peers' Python."""

    program: str
    count: int
    options: tuple[tuple[str, Any], ...] = ()
    here: bool = True


CLOSELY = 3
"""How many times as often those rows are measured whose bar is that of doing it by hand."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: What is measured.
        ours: The run that is measured.
        key: Which of its numbers.
        floor: The run that it is compared with; None where the bar is absolute.
        against: What that run is, for the table.
        unit: Of the numbers, each divided by ``scale``.
        bar: The highest ratio (or, without a floor, number) that is allowed, if there is a limit.
        counts: How the instructions of both are counted. Where they are, the bar is that of the
            ratio of instructions, which does not depend on what else the machine does.
        time_bar: The highest ratio of times, where that is limited as well.
        rounds: How often it is measured at most.
        peer: Whose environment it needs, if any.
    """

    name: str
    ours: Run
    key: str = "cpu"
    floor: Run | None = None
    against: str = "by hand"
    unit: str = "us"
    scale: float = 1.0
    bar: float | None = None
    counts: tuple[Count, Count] | None = None
    time_bar: float | None = None
    rounds: int = 99
    peer: str = field(default="", compare=False)

    def rounds_of(self, rounds: int, *, closely: bool) -> int:
        """How often it is measured; ``closely``: more often where noise could decide."""
        near = closely and 1.0 in {self.bar, self.time_bar} and self.floor is not None
        return min(self.rounds, CLOSELY * rounds if near else rounds)


def run(program: str, count: int, *, here: bool = True, **options: Any) -> Run:
    return Run(program, count, tuple(sorted(options.items())), here)


def counted(
    ours: Run, floor: Run, small: int, large: int, *, without: dict[str, Any] | None = None
) -> tuple[Count, Count]:
    """Return how the instructions of two programs are counted, at the same sizes."""
    one, other = (
        count(each.program, small, large, without=without, **dict(each.options))
        for each in (ours, floor)
    )
    return one, other


def _restarts() -> list[Row]:
    here = run("ours:restart", 5000)
    hand = run("floors:restart", 5000)
    none = run("ours:restart", 3000)
    rows = [
        Row("restart", here, floor=hand, bar=0.85, counts=counted(here, hand, 500, 2000)),
        Row("restart, wall time", here, "wall", floor=hand),
        Row(
            "restart of a child that fails at once",
            run("ours:restart_at_once", 5000),
            floor=run("floors:restart_at_once", 5000),
            bar=1.0,
            counts=counted(
                run("ours:restart_at_once", 5000), run("floors:restart_at_once", 5000), 500, 2000
            ),
        ),
        Row(
            "restart, logs formatted",
            run("ours:restart_logged", 3000),
            floor=run("floors:restart_logged", 1000),
            against="by hand, logger.warning",
        ),
    ]
    rows += [
        Row(
            f"restart, {count} subscriber{'s' * (count > 1)}",
            run("ours:restart", 3000, subscribers=count),
            floor=none,
            against="without",
            bar=bar,
            counts=counted(run("ours:restart", 3000, subscribers=count), none, 500, 1500),
        )
        for count, bar in ((1, 1.2), (10, 2.2))
    ]
    return rows


def _pool() -> list[Row]:
    """Short-lived children under a pool: one child per connection, the hot path of embedding."""
    return [
        Row(
            f"a short-lived child, {how}",
            run("ours:pool", 5000, wait=wait),
            floor=run("floors:pool", 5000, wait=wait),
            bar=1.45,
            counts=counted(
                run("ours:pool", 0, wait=wait), run("floors:pool", 0, wait=wait), 500, 2500
            ),
        )
        for how, wait in (("`start_child_soon`", False), ("`await start_child`", True))
    ]


def _connections() -> list[Row]:
    ours, hand = run("connections:children", 3000), run("connections:by_hand", 3000)
    return [
        Row(
            "a connection that is a child",
            ours,
            floor=hand,
            against="`serve_tcp` by hand",
            bar=1.45,
            counts=counted(ours, hand, 300, 1500),
        )
    ]


def _scaling() -> list[Row]:
    one = run("ours:restart", 2000, siblings=1000)
    few = run("ours:restart", 2000, window=100)
    many = run("ours:restart", 2000, siblings=100_000)
    return [
        *(
            Row(
                f"restart one of {size:,}",
                run("ours:restart", 2000, siblings=size),
                floor=one,
                against="one of 1,000",
                bar=1.5 if size == 100_000 else None,
                rounds=2 if size == 100_000 else 99,
            )
            for size in (10_000, 100_000)
        ),
        Row(
            "restart one of 100,000 after gc.freeze()",
            replace(many, options=(*many.options, ("freeze", True))),
            floor=many,
            against="without",
            rounds=2,
        ),
        *(
            Row(
                f"restart with {size:,} in the window",
                run("ours:restart", 2000, window=size),
                floor=few,
                against="100 in it",
                bar=1.2 if size == 100_000 else None,
                rounds=2 if size == 100_000 else 99,
            )
            for size in (10_000, 100_000)
        ),
    ]


def _limits(what: str, size: int, program: str, ordering: str) -> dict[str, Any]:
    """Return the bars of a row about many children, and how its instructions are counted."""
    if what == "memory" or size > 10_000:
        return {"bar": 1.0 if size == 10_000 else None}
    if size == 10_000:
        return {"time_bar": 1.0}
    until: dict[str, Any] = {} if what == "stop" else {"until": "up"}
    without = {"until": "up" if what == "stop" else "declared"}
    ours, floor = run(f"ours:{program}", 0, **until), run("floors:children", 0, **until)
    stop = {"sequence": 1.35, "graph": 1.15}[ordering]
    return {
        "bar": stop if what == "stop" else None,
        "counts": counted(ours, floor, 200, 1000, without=without),
    }


def _children() -> list[Row]:
    rows = []
    for size in (1000, 10_000, 100_000):
        floor = run("floors:children", size)
        for ordering, program in (("sequence", "children"), ("graph", "children_in_graph")):
            for what, key in (("start", "start_cpu"), ("stop", "stop_cpu"), ("memory", "bytes")):
                rows.append(
                    Row(
                        f"{what} {size:,} children, {ordering}",
                        run(f"ours:{program}", size),
                        key,
                        floor,
                        unit="bytes" if what == "memory" else "us",
                        **_limits(what, size, program, ordering),
                        rounds=2 if size == 100_000 else 99,
                    )
                )
    ten = run("ours:children", 10_000)
    hundred = run("ours:children_in_graph", 100_000)
    silent = run("floors:children_unreported", 10_000)
    mode = "without reports"
    rows += [
        Row("start 10,000 children", ten, "start_cpu", silent, f"by hand, {mode}"),
        Row("stop 10,000 children", ten, "stop_cpu", silent, f"by hand, {mode}"),
        Row("declare 10,000 children", ten, "declare_cpu"),
        Row(
            "add 10,000 children one by one",
            run("ours:children_dynamic", 10_000),
            "start_cpu",
            run("floors:children", 10_000),
        ),
    ]
    for how, text in (("freeze", "after gc.freeze()"), ("off", "after gc.disable()")):
        without = run("ours:children", 100_000, ordering="graph", collector=how)
        key = "start_cpu" if how == "off" else "stop_cpu"
        word = "start" if how == "off" else "stop"
        rows.append(
            Row(f"{word} 100,000 children {text}", without, key, hundred, "without", rounds=2)
        )
    return rows


def _groups() -> list[Row]:
    return [
        Row(
            f"restart of a group of {size:,}, {strategy}",
            run("ours:group_restart", size, strategy=strategy),
            floor=run("floors:group_restart", size),
            unit="us a child",
        )
        for strategy in ("rest_for_one", "one_for_all")
        for size in (1000, 10_000)
    ]


def _words() -> list[Row]:
    beats = 200_000
    return [
        Row(
            "heartbeat(), watched",
            run("ours:heartbeats", beats),
            floor=run("floors:current_time", beats),
            against="`trio.current_time()`",
            bar=2.0,
            counts=counted(run("ours:heartbeats", 0), run("floors:current_time", 0), 4000, 14_000),
        ),
        Row("heartbeat(), not watched", run("ours:heartbeats", beats, watched=False)),
        Row("not_ready() and ready()", run("ours:readiness", 5000)),
        Row(
            "add a child and wait until it says it is ready",
            run("ours:start_ready", 2000),
            floor=run("floors:start_ready", 2000),
            against="nursery.start by hand",
        ),
        Row(
            "open and close a tree of depth 10",
            run("ours:nested", 40),
            floor=run("floors:nested", 40),
            unit="ms",
            scale=1000,
            bar=1.9,
            counts=counted(run("ours:nested", 0), run("floors:nested", 0), 10, 40),
        ),
    ]


def _surfaces() -> list[Row]:
    off = run("surfaces:restart", 20_000)  # a second, so that several scrapes fall into it
    rows = [
        Row(
            f"restart, {what}",
            run("surfaces:restart", 20_000, seen=seen),
            floor=off,
            against="unseen",
            bar=bar,
        )
        for what, seen, bar in (
            ("HTTP, control and monitor idle", "idle", 1.1),
            ("and metrics collected", "metrics", 1.1),
            ("a dashboard open", "dashboard", 1.3),
            ("a dashboard open and metrics collected", "all", 1.3),
        )
    ]
    rows += [
        Row(
            "a scrape of 5,000 children keeps the loop busy",
            run("surfaces:scrape", 7),
            "ratio",
            unit="x `state()`",
            bar=1.0,
        ),
        *(
            Row(
                f"100,000 checkpoints beside {what}",
                run("surfaces:monitored", 100_000),
                key,
                unit="% more",
                bar=bar,
            )
            for what, key, bar in (
                ("the blocked-loop monitor, against any second thread", "own", 1.0),
                ("the blocked-loop monitor, against a single thread", "whole", None),
                ("any second thread, against a single thread", "thread", None),
            )
        ),
    ]
    return rows


def _imports() -> list[Row]:
    trio = run("imports:trio", 1)
    return [
        Row(
            f"import {what}",
            run(f"imports:{program}", 1),
            "wall",
            trio,
            "import trio",
            "ms",
            1000,
            bar,
            None
            if bar is None
            else (count(f"imports:{program}", 0, 1), count("imports:trio", 0, 1)),
        )
        for what, program, bar in (
            ("trio, trio_supervisor", "trio_supervisor", 1.25),
            ("what it takes to open a tree", "to_open_a_tree", 1.25),
            ("every public name", "everything", None),
        )
    ]


def _peers() -> list[Row]:
    rows = []
    for peer in ("triotp", "otpylib", "mode"):
        for what, key, program, size in (
            ("restart", "cpu", "restart", 5000),
            ("start 10,000 children", "start_cpu", "children", 10_000),
            ("stop 10,000 children", "stop_cpu", "children", 10_000),
            ("memory of 10,000 children", "bytes", "children", 10_000),
        ):
            rows.append(
                Row(
                    f"{what}, beside {peer}",
                    run(f"ours:{program}", size, here=False),
                    key,
                    run(f"peers:{peer}_{program}", size, here=False),
                    peer,
                    "bytes" if key == "bytes" else "us",
                    bar=1.0 if what == "restart" else None,
                    rounds=99 if what == "restart" else 3,
                    peer=peer,
                )
            )
    return rows


ROWS: Final = [
    *_restarts(),
    *_pool(),
    *_connections(),
    *_children(),
    *_scaling(),
    *_groups(),
    *_words(),
    *_surfaces(),
    *_imports(),
    *_peers(),
]


def smaller(run: Run) -> Run:
    """The same in a hurry: it shows that it works, not how fast."""
    options = tuple(
        (name, max(1, value // QUICK) if name in ("siblings", "window") else value)
        for name, value in run.options
    )
    floor = 1000 if "heartbeats" in run.program else 2
    return replace(run, count=max(floor, run.count // QUICK), options=options)
