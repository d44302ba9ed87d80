"""Exhaustive search of the brain: breadth-first over all sequences of signals, all answers judged.

    PYTHONPATH=tests python -m brain.search --minutes 10

A *state* is a machine with the oracle's account of it; two states are the same if they differ only
in what cannot matter any more, with all times told from now. From each state every signal of the
shape is tried, so that the first violation that is found is also one of the shortest.
"""

from __future__ import annotations

import argparse
import marshal
import sys
from collections import deque
from functools import partial
from math import inf
from multiprocessing import Pool
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Any

from attrs import define

from brain.clones import clone, key_of
from brain.closed import CLOSED
from brain.oracle import Oracle
from brain.referee import PATH, SEEN, Referee
from brain.shapes import DECISIONS, SHAPES, Shape
from trio_supervisor._brain import messages as o
from trio_supervisor._brain.machine import SupervisionMachine
from trio_supervisor._events.exits import Aborted, Crashed, Stopped, Succeeded, TaskExit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain.kid import Kid
    from trio_supervisor._events.snapshot import SupervisorSnapshot

Action = tuple[str, ...]

_OK, _FAIL, _STOPPED = Succeeded(), Crashed(ValueError("boom")), Stopped("asked")
_ABORTED = Aborted("asked")


class State:
    """One state of the search: the machine, the oracle beside it, and the time."""

    __slots__ = ("late", "machine", "now", "oracle", "picture")

    def __init__(self, shape: Shape) -> None:
        self.machine = SupervisionMachine(shape.spec, PATH, Random(0), nested=shape.nested)
        self.oracle = Oracle(shape.spec, nested=shape.nested)
        self.now = 0.0
        self.late = False  # deadlines have passed, and nobody has looked at them yet
        orders = self.machine.start(0.0)
        self.picture: SupervisorSnapshot = self._judge(None, orders, woken=True)

    def copy(self) -> State:
        """An independent copy."""
        new = object.__new__(State)
        new.machine = clone(self.machine)
        new.oracle = self.oracle.copy()
        new.now, new.late, new.picture = self.now, self.late, self.picture
        return new

    def key(self) -> int:
        """The same for states from which the same things can happen."""
        now, oracle = self.now, self.oracle
        facts = (
            self.late,
            key_of(self.machine, now),
            oracle.phase,
            oracle.without_grace,
            oracle.idle_reported,
            max(oracle.deadline - now, -1.0),
            [now - t for t in oracle.times],
            sorted([sorted(who) for who in each] for each in oracle.rounds),
            [kid.key(now) for kid in oracle.kids.values()],
            [kid.held_by_operator for kid in oracle.kids.values()]
            if oracle.spec.auto_shutdown == "all_done"
            else [],
        )
        return hash(marshal.dumps(facts, 2))

    def _judge(
        self, before: SupervisorSnapshot | None, orders: list[o.Order], *, woken: bool
    ) -> SupervisorSnapshot:
        return Referee(self.oracle, self.machine, self.now, woken=woken).check(before, orders)

    def take(self, signal: o.Signal) -> None:
        """Let it happen, and judge the answer."""
        if isinstance(signal, o.Exited) and signal.name in self.oracle.kids:
            self._check_policy_will_decide(signal)
        self.oracle.hear(signal, self.now)
        orders = self.machine.receive(signal, self.now)
        self.picture = self._judge(self.picture, orders, woken=False)

    def _check_policy_will_decide(self, signal: o.Exited) -> None:
        failed = signal.exit is not None and signal.exit.is_failure
        told = self.machine.policy_will_decide(signal.name, signal.attempt, failed=failed)
        kid = self.oracle.kids[signal.name]
        current = kid.live and kid.attempt == signal.attempt
        truth = current and self.oracle.policy_will_decide(kid)
        truth = truth and not (failed and self.oracle.is_first_start(kid))
        assert told == truth, ("policy_will_decide", signal.name, told, truth)

    def wake(self, late: float = 0.0) -> None:
        """Let the deadlines be dealt with, ``late`` seconds after the first of them."""
        self.late = False
        self.oracle.prune(self.now)
        self.oracle.hear_time(self.now, late)
        orders = self.machine.wake(self.now, late)
        self.picture = self._judge(self.picture, orders, woken=True)

    def act(self, action: Action, shape: Shape) -> None:
        """Do what ``action`` says."""
        if action[0] == "tick":
            self.now += 1
            if self.machine.next_deadline > self.now:
                self.oracle.prune(self.now)
            elif shape.late:
                self.oracle.prune(self.now)
                self.late = True
            else:
                self.wake()
        elif action[0] == "wake":
            self.wake()
        elif action[0] == "wake late":
            self.wake(2.0)
        else:
            self.take(self._signal(action, shape))

    def _signal(self, action: Action, shape: Shape) -> o.Signal:
        what, name = action[0], action[1] if len(action) > 1 else ""
        if what == "add":
            return o.AddChild(*shape.extra[name])
        if what in _COMMANDS:
            command: o.Signal = _COMMANDS[what](name, what)
            return command
        if what in _SHUTDOWNS:
            grace, wait = _SHUTDOWNS[what]
            return o.Shutdown(what, grace=grace, deadline=self.now + wait)
        kid = self.oracle.kids[name]
        attempt = kid.attempt - (what.startswith("stale"))
        match what.removeprefix("stale "):
            case "ready":
                return o.BecameReady(name, attempt)
            case "unready":
                return o.LostReadiness(name, attempt, "tired")
            case "beat":
                return o.Heartbeat(name, attempt, self.now)
            case "busy":
                return o.Heartbeat(name, attempt, self.now, self.now + 2)
            case "extend":
                return o.StartExtended(name, attempt, self.now + 2)
            case "forfeit":
                return o.GraceForfeited(name, attempt)
        how = _how(kid, what.removeprefix("stale "))
        detail = "fatal" if how is None else how.describe()
        asked = kid.stage > 0
        signal = o.Exited(name, attempt, how, "asked" if asked else None, detail)
        if len(action) > 2:
            if action[2] == "raises":
                signal.decide_error = "ValueError: no"
            else:
                signal.decision = DECISIONS[action[2]]
        return signal


def _how(kid: Kid, what: str) -> TaskExit | None:
    """How the attempt ends, as far as that is up to it."""
    if what == "fatal":
        return None
    if what == "fail":
        return _FAIL
    if kid.fault is not None:
        return kid.fault
    if kid.stage == 0:
        return _OK
    return _STOPPED if kid.stage == 1 else _ABORTED


_COMMANDS: dict[str, Any] = {
    "stop": o.StopChild,
    "quarantine": o.QuarantineChild,
    "restart": o.RestartChild,
    "remove": o.RemoveChild,
    "abort": partial(o.StopChild, grace=0.0),
    "stop in 1": partial(o.StopChild, grace=1.0),
    "restart now": partial(o.RestartChild, grace=0.0),
}
_SHUTDOWNS = {
    "shutdown": (True, inf),
    "without_grace": (False, inf),
    "within": (True, 1.0),
    "later": (True, 3.0),
}


def actions(state: State, shape: Shape) -> Iterator[Action]:
    """Everything that may happen next."""
    oracle = state.oracle
    if oracle.phase == "finished":
        return
    for kid in oracle.kids.values():
        name = kid.name
        if kid.live:
            yield from _words(kid, shape)
            for what in shape.exits:
                yield (what, name)
            if shape.decisions and oracle.policy_will_decide(kid):
                for what in ("ok", "fail"):
                    if kid.stage or (what == "fail" and oracle.is_first_start(kid)):
                        continue
                    for decision in shape.decisions:
                        yield (what, name, decision)
        if shape.stale and kid.attempt > (1 if kid.live else 0):
            for what in ("stale ready", "stale unready", "stale fail", "stale ok", "stale forfeit"):
                yield (what, name)
        for what in shape.commands:
            yield (what, name)
    for name in shape.extra:
        if name not in oracle.kids or shape.stale:
            yield ("add", name)
    for what in shape.shutdowns:
        yield (what,)
    if state.late and shape.stalls:
        yield ("wake late",)
    yield ("wake",) if state.late else ("tick",)


def _words(kid: Kid, shape: Shape) -> Iterator[Action]:
    """What an attempt may say of itself."""
    name = kid.name
    explicit = kid.spec.is_explicit
    if kid.stage == 0:
        if not kid.ready and (explicit or kid.was_ready):
            yield ("ready", name)
        if kid.ready and shape.unready:
            yield ("unready", name)
        if kid.ready and kid.spec.stale_after < inf:
            yield ("beat", name)
            yield ("busy", name)
        if shape.extends and kid.start_due < inf:
            yield ("extend", name)
    elif shape.stale:
        yield ("ready", name)
        yield ("unready", name)
    if shape.forfeits and not kid.without_grace:
        yield ("forfeit", name)


@define
class Result:
    """What a search has shown."""

    name: str
    states: int = 0
    transitions: int = 0
    depth: int = 0
    closed: bool = False
    seconds: float = 0.0
    violation: str = ""
    path: tuple[Action, ...] = ()
    seen: frozenset[Any] = frozenset()

    @property
    def _size(self) -> tuple[int, int]:
        return self.states, self.transitions

    @property
    def is_news(self) -> bool:
        """Whether it has come to another end than the one that is written down."""
        return self.closed and CLOSED.get(self.name, self._size) != self._size

    def __str__(self) -> str:
        rate = self.transitions / max(self.seconds, 0.001)
        end = "closed" if self.closed else "OPEN"
        line = (
            f"{self.name:28} {end:6} {self.states:9,} states {self.transitions:10,} transitions"
            f" {rate:7,.0f}/s  depth {self.depth:2}"
        )
        if self.is_news:
            line += f"\n    NOT what is written down: {CLOSED[self.name]}"
        if self.violation:
            steps = "; ".join(" ".join(action) for action in self.path)
            line += f"\n    VIOLATION {self.violation}\n    after: {steps}"
        return line


def search(shape: Shape, *, seconds: float = inf, max_states: int = 10**9) -> Result:
    """Visit every state of ``shape`` until all are visited, or time or space is up."""
    result = Result(shape.name)
    began = perf_counter()
    SEEN.clear()
    try:
        first = State(shape)
    except Exception as error:
        result.violation = f"{type(error).__name__}: {error}"
        return result
    key = first.key()
    came: dict[int, tuple[int, Action] | None] = {key: None}
    queue = deque([(first, key, 0)])
    result.closed = True
    while queue:
        if len(came) >= max_states or perf_counter() - began > seconds:
            result.closed = False
            break
        state, key, result.depth = queue.popleft()
        todo = list(actions(state, shape))
        for action in todo:
            new = state if action is todo[-1] else state.copy()  # the last one may have it
            result.transitions += 1
            try:
                new.act(action, shape)
            except Exception as error:
                result.violation = f"{type(error).__name__}: {error}"
                result.path = _path(came, key, action)
                result.closed = False
                queue.clear()
                break
            reached = new.key()
            if reached not in came:
                came[reached] = (key, action)
                queue.append((new, reached, result.depth + 1))
    result.states = len(came)
    result.seconds = perf_counter() - began
    result.seen = frozenset(SEEN)
    return result


def _path(came: dict[int, tuple[int, Action] | None], key: int, last: Action) -> tuple[Action, ...]:
    path = [last]
    while (step := came[key]) is not None:
        key, action = step
        path.append(action)
    return tuple(reversed(path))


def replay(shape: Shape, path: tuple[Action, ...]) -> State:
    """Walk one path; raises what is wrong with it."""
    state = State(shape)
    for action in path:
        state.act(action, shape)
    return state


def main() -> int:
    """Search all shapes for a while, and say what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="for all shapes together")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--only", default="", help="shapes whose names contain this")
    options = parser.parse_args()
    # Those that are known to close come first, and leave the rest of their time to the others.
    names = sorted((name for name in SHAPES if options.only in name), key=lambda n: n not in CLOSED)
    ends = perf_counter() + options.minutes * 60
    work = [(name, ends, options.jobs / (len(names) - n)) for n, name in enumerate(names)]
    results: list[Result] = []
    with Pool(options.jobs) as pool:
        for number, result in enumerate(pool.imap(_work, work), start=1):
            left = max(ends - perf_counter(), 0) / 60
            print(f"{number}/{len(names)}, {left:.1f} min left: {result}", flush=True)
            results.append(result)
    states = sum(result.states for result in results)
    transitions = sum(result.transitions for result in results)
    seconds = sum(result.seconds for result in results)
    violations = sum(bool(result.violation) for result in results)
    print(
        f"{len(results)} shapes, {sum(result.closed for result in results)} closed: "
        f"{states:,} states, {transitions:,} transitions, "
        f"{transitions / max(seconds, 0.001):,.0f}/s per process, "
        f"depth up to {max((result.depth for result in results), default=0)}, "
        f"{violations} violations"
    )
    return 1 if violations or any(result.is_news for result in results) else 0


def _work(task: tuple[str, float, float]) -> Result:
    name, ends, share = task
    return search(SHAPES[name], seconds=max(ends - perf_counter(), 1.0) * share)


if __name__ == "__main__":
    sys.exit(main())
