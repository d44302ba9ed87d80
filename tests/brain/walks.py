"""Random walks through larger supervisors than can be searched, judged step by step all the same.

    PYTHONPATH=tests python -m brain.walks --minutes 10

A seed stands for one supervisor, drawn with everything that a declaration may say, and for one way
through its life. `shrink` leaves out whatever a violation does not need.
"""

from __future__ import annotations

import argparse
import sys
from itertools import count
from math import inf
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Any

from brain.search import Action, State, actions
from brain.shapes import DECISIONS, ORDERINGS, STRATEGIES, Shape, child, supervisor
from trio_supervisor._brain.messages import FirstStart
from trio_supervisor._specs.policy import RestartLimit

if TYPE_CHECKING:
    from trio_supervisor._specs.supervisor import ChildSpec

STEPS = 60
MODES = ("never", "never", "any_significant", "all_significant", "all_done")


def shape_of(seed: int) -> Shape:
    """The supervisor that ``seed`` stands for, and what may happen to it."""
    random = Random(seed)
    mode = random.choice(MODES)
    ordering = random.choice(ORDERINGS)
    static: list[ChildSpec[Any]] = []
    for name in "abcdef"[: random.randint(0, 6)]:
        static.append(_child(random, name, static, mode))
    most = random.choice([None, None, len(static) + 1])
    if mode.endswith("significant") and most is not None:
        most += 1
    spec = supervisor(
        *static,
        strategy=random.choice(STRATEGIES),
        ordering=ordering,
        auto_shutdown=mode,
        max_children=most,
        restart_limit=random.choice([None, None, RestartLimit(3, within=4)]),
        child_restart_limit=random.choice([None, RestartLimit(2, within=3)]),
        shutdown_deadline=random.choice([inf, 3]),
        report_after=random.choice([inf, 0, 2]),
    )
    known = static.copy()
    extra = {}
    for name in "xyz":
        known.append(_child(random, name, known, mode))
        extra[name] = (known[-1], random.choice(list(FirstStart)[1:]))
    return Shape(
        f"walk {seed}",
        spec,
        extra=extra,
        commands=("stop", "quarantine", "restart", "remove", "abort", "stop in 1", "restart now"),
        exits=("fail", "ok"),
        shutdowns=("shutdown", "without_grace", "within", "later"),
        decisions=tuple(DECISIONS),
        unready=True,
        extends=True,
        forfeits=True,
        stale=True,
        late=random.random() < 0.5,
        stalls=random.random() < 0.5,
        nested=random.random() < 0.3,
    )


def _child(random: Random, name: str, before: list[ChildSpec[Any]], mode: str) -> ChildSpec[Any]:
    restart = random.choice(["permanent", "permanent", "transient", "temporary"])
    explicit = random.random() < 0.6
    required = [each.name for each in before if each.restart != "temporary"]
    options: dict[str, Any] = {
        "restart": restart,
        "explicit": explicit,
        "grace": random.choice([0, 0, 1, 3]),
        "delays": random.choice([(0,), (0,), (1,), (2,), (0, 1, 3)]),
        "reset_after": random.choice([inf, 2]),
        "max_runtime": random.choice([inf, inf, inf, 4]),
        "stale_after": random.choice([inf, inf, 2]),
        "requires": tuple(random.sample(required, min(random.choice([0, 0, 1, 2]), len(required)))),
        "significant": mode.endswith("significant") and restart != "permanent",
    }
    if explicit:
        options["start_timeout"] = random.choice([inf, inf, 2, 3])
        options["retry_first_start"] = random.random() < 0.8
    if random.random() < 0.3:
        options["restart_limit"] = RestartLimit(random.choice([0, 1, 2]), within=3)
        options["on_limit"] = random.choice(["escalate", "quarantine", "quarantine"])
    return child(name, **options)


# What ends everything comes seldom, so that walks are long.
_WEIGHTS = {
    "shutdown": 0.03,
    "without_grace": 0.03,
    "within": 0.03,
    "later": 0.03,
    "tick": 3.0,
    "ready": 3.0,
}
_FINAL = {"escalate", "shut down"}


def walk(seed: int, steps: int = STEPS) -> tuple[list[Action], Exception | None]:
    """One way through one life; returns what was done, and what was wrong with the last answer."""
    random, shape = Random(~seed), shape_of(seed)
    done: list[Action] = []
    try:
        state = State(shape)
        for _ in range(steps):
            choices = list(actions(state, shape))
            if not choices:
                break
            weights = [_weight(action) for action in choices]
            done.append(random.choices(choices, weights)[0])
            state.act(done[-1], shape)
    except Exception as error:
        return done, error
    return done, None


def _weight(action: Action) -> float:
    if len(action) > 2:
        return 0.02 if action[2] in _FINAL else 0.1
    return _WEIGHTS.get(action[0], 0.2 if action[0].startswith("stale") else 1.0)


def retrace(seed: int, path: list[Action]) -> Exception | None:
    """Walk as much of ``path`` as is possible; returns what was wrong, if anything was."""
    shape = shape_of(seed)
    try:
        state = State(shape)
        for action in path:
            if action in list(actions(state, shape)):
                state.act(action, shape)
    except Exception as error:
        return error
    return None


def shrink(seed: int, path: list[Action]) -> list[Action]:
    """A path from which nothing can be left out, and which still ends badly."""
    size = max(len(path) // 2, 1)
    while True:
        for start in range(len(path) - size, -1, -1):
            shorter = path[:start] + path[start + size :]
            if retrace(seed, shorter) is not None:
                path = shorter
        if size == 1:
            return path
        size //= 2


def judged(seed: int) -> int:
    """Walk, and return how many steps it was; raises what was wrong, with the path shrunk."""
    done, error = walk(seed)
    if error is not None:
        path = "; ".join(" ".join(action) for action in shrink(seed, done))
        raise AssertionError(f"walk {seed} goes wrong after: {path}") from error
    return len(done)


def main() -> int:
    """Walk for a while, and say how far it was."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    ends = perf_counter() + options.minutes * 60
    steps = 0
    for seed in count(options.first):
        if perf_counter() > ends:
            break
        steps += judged(seed)
    print(f"{seed - options.first:,} walks, {steps:,} steps, nothing wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
