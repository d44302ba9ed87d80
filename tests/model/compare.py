"""What the model predicts, held against what happened."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from . import kit
from .reference import History, predict
from .tame import Tame, draw_tame, histories, play

if TYPE_CHECKING:
    from collections.abc import Sequence


def difference(case: Tame, *, seed: int = 0, schedule: Sequence[int] | None = None) -> str:
    """Run ``case`` and say where model and supervisor differ; empty if they do not."""
    trace = kit.simulate(play, case, seed=seed, schedule=schedule, max_seconds=5_000)
    if trace.error is not None:
        return f"{trace.error!r}"
    happened = histories(trace.events, case.spec)
    predicted = predict(case.spec, list(case.commands), case.ends).history
    for name in happened:
        at = first_difference(happened[name], predicted[name])
        if at is not None:
            return "\n".join(
                [
                    f"{name or 'the supervisor'}: from entry {at} on",
                    f"  predicted: {predicted[name][at : at + 4]}",
                    f"  happened:  {happened[name][at : at + 4]}",
                    str(case),
                    trace.render(),
                ]
            )
    return ""


def first_difference(one: History, other: History) -> int | None:
    """The first place where two histories differ."""
    for at in range(max(len(one), len(other))):
        if at >= len(one) or at >= len(other):
            return at
        (when, what), (then, that) = one[at], other[at]
        if what != that or abs(when - then) > 1e-6:
            return at
    return None


def case_of(seed: int) -> Tame:
    """The case with this number."""
    return draw_tame(Random(f"tame {seed}"))
