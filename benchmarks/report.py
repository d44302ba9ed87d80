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
    from benchmarks.instructions import Count
    from benchmarks.measure import Result

    Times = Mapping[Run, list[Result]]
    Counts = Mapping[str, Mapping[Count, float]]
    """Per Python version: the instructions of one operation."""

FLOOR = """\
"By hand" is the loop that a Trio user would write to get the same thing: a task for each attempt
that opens a cancel scope and a nursery, runs the body in a task of its own in there, and reports
how it ended over a memory channel to a supervising task, which starts the next one. It has no
policy, limits, order or deadlines, keeps no state, and tells nobody. It stops its children with one
cancel of one nursery, all at once; ours are stopped in their order, each with its own reason, and
every one of them is accounted for in the report. Ours runs with policy, limits, events, journal and
state switched on, a deadline an hour away, and a logger whose records nobody formats, unless it
says otherwise."""


def entries(rows: list[Row], times: Times, counts: Counts) -> Iterator[dict[str, Any]]:
    """Return what is written to the JSON file, without the rows of which nothing was measured."""
    for row in rows:
        ours = _values(row, row.ours, times)
        floor = _values(row, row.floor, times) if row.floor is not None else []
        complete = bool(ours) and (row.floor is None or bool(floor))
        counted = dict(_counted(row, counts))
        if not complete and not counted:
            continue
        ratio = _ratio(ours, floor) if complete and floor else None
        yield {
            "name": row.name,
            "unit": row.unit,
            "ours": round(median(ours), 3) if complete else None,
            "floor": round(median(floor), 3) if ratio is not None else None,
            "ratio": None if ratio is None else round(ratio, 3),
            "instructions": counted,
            "bar": row.bar,
            "time_bar": row.time_bar,
            "met": _met(row, counted, ratio, median(ours) if complete else None),
        }


def _counted(row: Row, counts: Counts) -> Iterator[tuple[str, dict[str, float]]]:
    """Return, per Python, the instructions of both programs of ``row`` and their ratio."""
    if row.counts is None:
        return
    one, other = row.counts
    for python, found in counts.items():
        if one in found and other in found:
            ours, floor = found[one], found[other]
            yield (
                python,
                {"ours": round(ours), "floor": round(floor), "ratio": round(ours / floor, 3)},
            )


def _met(
    row: Row, counted: dict[str, dict[str, float]], ratio: float | None, time: float | None
) -> bool | None:
    """Return whether the row's bars are met; None where it has none, or nothing to judge by."""
    measured: list[tuple[float, float]] = []
    if row.bar is not None and row.counts is not None:
        measured += [(each["ratio"], row.bar) for each in counted.values()]
    elif row.bar is not None and time is not None:
        measured.append((time if ratio is None else ratio, row.bar))
    if row.time_bar is not None and ratio is not None:
        measured.append((ratio, row.time_bar))
    return all(found <= bar * NOISE for found, bar in measured) if measured else None


def table(rows: list[Row], times: Times, counts: Counts) -> Iterator[str]:
    """Return the lines of a Markdown table.

    Times are medians, with the smallest and the largest in brackets; instructions are thousands.
    """
    found = {entry["name"]: entry for entry in entries(rows, times, counts)}
    pythons = list(counts)
    heads = [f"{python}: k instructions, ratio" for python in pythons]
    yield f"| {' | '.join(['what', *heads, 'unit', 'ours', 'compared with', '', 'ratio', 'bar'])} |"
    yield "|---" * (7 + len(pythons)) + "|"
    for row in rows:
        entry = found.get(row.name)
        if entry is None:
            continue
        counted = [_instructions(entry["instructions"].get(python)) for python in pythons]
        ours = _span(_values(row, row.ours, times))
        floor = _span(_values(row, row.floor, times)) if row.floor is not None else ""
        against = row.against if row.floor is not None else ""
        ratio = "" if entry["ratio"] is None else f"{entry['ratio']:.2f}"
        cells = [row.name, *counted, row.unit, ours, against, floor, ratio, _bar(entry)]
        yield f"| {' | '.join(cells)} |"


def heading(rounds: int, *, closely: bool) -> str:
    """Return on what, and how, it was measured."""
    near = f"{CLOSELY} times as many where a bar is 1, " if closely else ""
    return (
        f"CPython {platform.python_version()}, trio {version('trio')}, {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}. "
        "Instructions: of one operation, the difference of two sizes under valgrind; their ratio "
        "decides wherever it is given. Time: CPU time unless it says otherwise; median "
        f"(smallest-largest) of {rounds} interleaved rounds, {near}fewer for 100,000; the ratio is "
        "the median of the rounds' own; each measurement in a process of its own; the garbage "
        "collector as it is by default"
    )


def _ratio(ours: list[float], floor: list[float]) -> float:
    """Return the median of the rounds' own ratios: a machine may change its speed meanwhile."""
    return median(one / other for one, other in zip(ours, floor, strict=False))


def _values(row: Row, run: Run, times: Times) -> list[float]:
    return [result[row.key] / row.scale for result in times.get(run, ()) if row.key in result]


def _instructions(counted: dict[str, float] | None) -> str:
    if counted is None:
        return ""
    ours, floor = (_number(counted[key] / 1000) for key in ("ours", "floor"))
    return f"{ours} / {floor} = {counted['ratio']:.2f}"


def _span(values: list[float]) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return _number(values[0])
    return f"{_number(median(values))} ({_number(min(values))}-{_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _bar(entry: dict[str, Any]) -> str:
    bars = [f"≤ {entry['bar']:g}"] if entry["bar"] is not None else []
    if entry["time_bar"] is not None:
        bars.append(f"time ≤ {entry['time_bar']:g}")
    if not bars:
        return ""
    verdict = {True: "met", False: "MISSED", None: "not judged"}[entry["met"]]
    return f"{', '.join(bars)} {verdict}"
