"""The chart: what one restart, start, stop and short-lived child cost, by the number of children.

A supervisor whose costs per operation grow with the number of its children shows it as a line that
rises. Ours, the loop by hand and other supervisors are measured in the same rounds, each point in
a process of its own, like the rows of the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median
from typing import TYPE_CHECKING, Final

from benchmarks.cases import QUICK, Row, run
from benchmarks.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.cases import Run
    from benchmarks.measure import Result

SIZES: Final = (100, 1000, 10_000)
OPERATIONS: Final = {
    "restart": 2000,
    # Beside 10,000 tasks, a full garbage collection takes as long as two thousand of these.
    "churn": 40_000,
}
TITLES: Final = {
    "restart": "one restart, beside idle children",
    "start": "start of all, each",
    "stop": "stop of all, each",
    "churn": "one short-lived child, beside idle children",
}
_COLOURS: Final = {
    "trio_supervisor": "#0b62c4",
    "by hand": "#333333",
    "triotp": "#c2571a",
    "otpylib": "#2e8b57",
    "mode": "#9a4fb5",
}


@dataclass(frozen=True)
class Curve:
    """One line of one panel.

    Attributes:
        panel: A key of `TITLES`.
        label: What was measured.
        sizes: The numbers of children.
        rows: A row of measurements for each of them.
        peer: Whose environment they need, if any.
    """

    panel: str
    label: str
    sizes: tuple[int, ...]
    rows: tuple[Row, ...]
    peer: str = ""


def missing() -> str:
    """Return why no chart can be drawn; empty if it can."""
    return "" if find_spec("matplotlib") else "matplotlib is not installed"


def curves(*, in_hurry: bool) -> list[Curve]:
    """Return what is to be measured and drawn; with ``in_hurry``, of a few children only."""
    sizes = tuple(size // QUICK for size in SIZES if size >= QUICK) if in_hurry else SIZES
    found = []
    for label, module, prefix in (
        ("trio_supervisor", "ours", ""),
        ("by hand", "floors", ""),
        *((name, "peers", f"{name}_") for name in PEERS),
    ):
        peer = label if label in PEERS else ""
        for panel in TITLES:
            if peer and panel == "churn":
                continue  # none of them has children that come, go and are forgotten
            program = {"start": "children", "stop": "children", "churn": "pool"}.get(panel, panel)
            rows = []
            for size in sizes:
                name, here = f"{module}:{prefix}{program}", not peer
                if program == "children":
                    each = run(name, size, here=here)
                else:
                    operations = OPERATIONS[panel] // (QUICK if in_hurry else 1)
                    each = run(name, operations, here=here, siblings=size)
                key = f"{panel}_cpu" if program == "children" else "cpu"
                rows.append(Row(f"{panel} {label} {size}", each, key, peer=peer))
            found.append(Curve(panel, label, sizes, tuple(rows), peer))
    return found


def draw(found: list[Curve], times: Mapping[Run, list[Result]], picture: Path) -> None:
    """Draw the medians of ``times`` and write them to ``picture``."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 7.2), sharex=True, layout="constrained")
    for axis, (panel, title) in zip(axes.flat, TITLES.items(), strict=True):
        for curve in found:
            points = [
                (size, median(result[row.key] for result in times[row.ours]))
                for size, row in zip(curve.sizes, curve.rows, strict=True)
                if times.get(row.ours)
            ]
            if curve.panel == panel and points:
                axis.plot(
                    *zip(*points, strict=True),
                    label=curve.label,
                    color=_COLOURS[curve.label],
                    marker="o",
                    markersize=4,
                    linewidth=1.2 if curve.peer else 2,
                    linestyle="--" if curve.label == "by hand" else "-",
                )
        axis.set(title=title, xscale="log")
        if panel == "restart":  # beside others it grows tenfold and more
            axis.set_yscale("log")
        else:
            axis.set_ylim(0, None)
        axis.grid(visible=True, alpha=0.25)
    for axis in axes[1]:
        axis.set_xlabel("number of children")
    for axis in axes[:, 0]:
        axis.set_ylabel("µs of CPU time")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(picture, dpi=110)
    plt.close(figure)
