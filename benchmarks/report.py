"""From the numbers of all rounds to a table that one can paste, and to JSON."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.cases import CLOSELY, NOISE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.cases import Row, Run
    from benchmarks.measure import Result

FLOOR = """\
"By hand" is the loop that a Trio user would write to get the same thing: a task for each attempt
that opens a cancel scope and a nursery, runs the body in a task of its own in there, and reports
how it ended over a memory channel to a supervising task, which starts the next one. It has no
policy, limits, order or deadlines, keeps no state, and tells nobody. It stops its children with one
cancel of one nursery, all at once; ours are stopped in their order, each with its own reason, and
every one of them is accounted for in the report. Ours runs with policy, limits, events, journal and
state switched on, a deadline an hour away, and a logger whose records nobody formats, unless it
says otherwise."""


def entries(rows: list[Row], results: Mapping[Run, list[Result]]) -> Iterator[dict[str, Any]]:
    """What is written to the JSON file; rows that could not be measured are left out."""
    for row in rows:
        ours = _values(row, row.ours, results)
        if not ours:
            continue
        floor = _values(row, row.floor, results) if row.floor is not None else []
        if row.floor is not None and not floor:
            continue
        ratio = _ratio(ours, floor) if floor else None
        measured = median(ours) if ratio is None else ratio
        yield {
            "name": row.name,
            "ours": round(median(ours), 3),
            "floor": round(median(floor), 3) if floor else None,
            "unit": row.unit,
            "ratio": None if ratio is None else round(ratio, 3),
            "bar": row.bar,
            "met": None if row.bar is None else measured <= row.bar * NOISE,
        }


def table(rows: list[Row], results: Mapping[Run, list[Result]]) -> Iterator[str]:
    """The lines of a Markdown table: median, and smallest to largest in brackets."""
    found = {entry["name"]: entry for entry in entries(rows, results)}
    yield "| what | unit | ours | compared with | | ratio | bar |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        entry = found.get(row.name)
        if entry is None:
            continue
        ours = _span(_values(row, row.ours, results))
        floor = _span(_values(row, row.floor, results)) if row.floor is not None else ""
        against = row.against if row.floor is not None else ""
        ratio = "" if entry["ratio"] is None else f"{entry['ratio']:.2f}"
        cells = [row.name, row.unit, ours, against, floor, ratio, _bar(entry)]
        yield f"| {' | '.join(cells)} |"


def heading(rounds: int, *, closely: bool) -> str:
    """On what, and how, it was measured."""
    near = f"{CLOSELY} times as many where the bar is 1, " if closely else ""
    return (
        f"CPython {platform.python_version()}, trio {version('trio')}, {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; CPU time "
        f"unless it says otherwise; median (smallest-largest) of {rounds} interleaved rounds, "
        f"{near}fewer for 100,000; the ratio is the median of the rounds' own; each measurement "
        "in a process of its own; the garbage collector as it is by default"
    )


def _ratio(ours: list[float], floor: list[float]) -> float:
    """The median of the rounds' own ratios: a machine may change its speed from round to round."""
    return median(one / other for one, other in zip(ours, floor, strict=False))


def _values(row: Row, run: Run, results: Mapping[Run, list[Result]]) -> list[float]:
    return [result[row.key] / row.scale for result in results.get(run, ()) if row.key in result]


def _span(values: list[float]) -> str:
    if len(values) == 1:
        return _number(values[0])
    return f"{_number(median(values))} ({_number(min(values))}-{_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _bar(entry: dict[str, Any]) -> str:
    if entry["bar"] is None:
        return ""
    return f"≤ {entry['bar']:g} {'met' if entry['met'] else 'MISSED'}"
