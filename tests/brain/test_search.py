"""All sequences of signals to small supervisors: nothing forbidden, left out, or stuck.

What is searched here is the part that is over in seconds. For the rest of it, and for more time:
``PYTHONPATH=tests python -m brain.search --minutes 30``.
"""

from __future__ import annotations

from collections import deque
from copy import deepcopy
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from brain.clones import LINKS, clone, dump, mutable_slots
from brain.closed import CLOSED
from brain.search import Result, State, actions, replay, search
from brain.shapes import SHAPES
from brain.walks import judged, retrace, shape_of, shrink, walk
from trio_supervisor._brain import on_attempt as signals
from trio_supervisor._brain.lifecycle import TRANSITIONS, ChildLife
from trio_supervisor._brain.ordering import ChildOrdering
from trio_supervisor._brain.windows import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor._brain.machine import SupervisionMachine

# Shapes with more transitions than this are only begun here.
QUICK = 4_000
BEGUN = 120

QUICK_ONES = [name for name, (_, transitions) in CLOSED.items() if transitions <= QUICK]
OTHERS = [name for name in SHAPES if name not in QUICK_ONES]

_seen: dict[str, frozenset[Any]] = {}


def look(name: str, max_states: int = 10**9) -> Result:
    result = search(SHAPES[name], max_states=max_states)
    _seen[name] = result.seen
    assert not result.violation, str(result)
    return result


@pytest.mark.parametrize("name", QUICK_ONES)
def test_the_search_comes_to_an_end(name: str) -> None:
    result = look(name)
    assert result.closed
    # A ratchet: see the remark on CLOSED before you write down another number.
    assert (result.states, result.transitions) == CLOSED[name]


@pytest.mark.parametrize("name", OTHERS)
def test_the_beginning_of_a_search(name: str) -> None:
    assert look(name, BEGUN).states >= BEGUN


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_walks_through_larger_supervisors(first: int) -> None:
    assert sum(judged(seed) for seed in range(first, first + 100)) > 2_000


def test_a_walk_that_goes_wrong_is_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChildOrdering, "_barrier_is_closed", _no)
    seed = next(seed for seed in range(200) if walk(seed)[1] is not None)
    done, _ = walk(seed)
    path = shrink(seed, done)
    assert retrace(seed, path) is not None
    assert all(
        retrace(seed, path[:step] + path[step + 1 :]) is None for step in range(len(path))
    ), (shape_of(seed), path)
    with pytest.raises(AssertionError, match=f"walk {seed} goes wrong after: "):
        judged(seed)


def test_what_is_known_to_close_exists() -> None:
    assert set(CLOSED) <= set(SHAPES)


def test_the_table_of_moves_is_what_happens() -> None:
    for name in ("alone, decide, transient", "alone, health", "alone, limit, quarantine"):
        if name not in _seen:
            look(name, 1_000)
    for name in ("two, one_for_all sequence", "requires, one_for_one sequence"):
        look(name, 600)
    happened = frozenset[Any]().union(*_seen.values())
    assert happened <= TRANSITIONS  # which the referee has checked, too
    never = {(str(start), cause, str(end)) for start, cause, end in TRANSITIONS - happened}
    # These two lie deeper than what is searched here; test_machine_*.py has them.
    deeper = {
        ("backing_off", "desired state", "backing_off"),
        ("quarantined", "desired state", "waiting"),
    }
    assert never <= deeper


# ---------------------------------------------------------------- can one rely on the search?


def somewhere(name: str, seed: int, steps: int) -> State:
    """A state somewhere inside."""
    shape, random = SHAPES[name], Random(seed)
    state = State(shape)
    for _ in range(steps):
        choices = list(actions(state, shape))
        if not choices:
            break
        state.act(random.choice(choices), shape)
    return state


@pytest.mark.parametrize(
    "name",
    [
        "alone, limit, quarantine",
        "three, one_for_all sequence",
        "three, rest_for_one graph",
        "two added, rest_for_one sequence",
        "deadline, one_for_all graph",
    ],
)
def test_clones_are_faithful_and_independent(name: str) -> None:
    for seed in range(25):
        state = somewhere(name, seed, seed)
        machine = state.machine
        copy = clone(machine)
        before = dump(machine)
        assert dump(copy) == before == dump(deepcopy(machine))
        assert mutable_slots(machine) <= set(LINKS)
        key = state.key()
        other = state.copy()
        assert other.key() == key
        for action in list(actions(other, SHAPES[name]))[:3]:
            other.act(action, SHAPES[name])
        assert dump(machine) == before
        assert state.key() == key


@pytest.mark.parametrize(
    "name",
    [
        "recycled, rest_for_one sequence",
        "shared limit, one_for_all graph",
        "merging, rest_for_one graph",
        "temporary, one_for_all sequence",
        "quarantine, one_for_all sequence",
    ],
)
def test_states_with_the_same_key_have_the_same_future(name: str) -> None:
    shape = SHAPES[name]

    def future(state: State) -> list[int]:
        keys = []
        for action in actions(state, shape):
            new = state.copy()
            new.act(action, shape)
            keys.append(new.key())
        return keys

    first = State(shape)
    futures = {first.key(): future(first)}
    queue = deque([first])
    while queue:
        state = queue.popleft()
        for action in actions(state, shape):
            new = state.copy()
            new.act(action, shape)
            key = new.key()
            if key not in futures:
                futures[key] = future(new)
                queue.append(new)
            else:
                assert future(new) == futures[key], (action, state.oracle.kids)
    assert len(futures) == CLOSED[name][0]


def test_the_same_path_leads_to_the_same_state() -> None:
    shape = SHAPES["two, rest_for_one sequence"]
    path = (("ready", "a"), ("fail", "a"), ("stop", "b"), ("tick",), ("restart", "b"))
    assert replay(shape, path).key() == replay(shape, path).key()


def _everyone(machine: SupervisionMachine, name: str, attempt: int) -> ChildLife | None:
    return machine.children.get(name)


def _no(*_: object) -> bool:
    return False


def _nothing(*_: object) -> None:
    return None


def _yes(*_: object) -> bool:
    return True


@pytest.mark.parametrize(
    ("name", "owner", "attribute", "bug"),
    [
        ("alone, backoff", signals, "_running", _everyone),
        ("alone, limit, escalate", Window, "admits", _yes),
        ("two, one_for_all sequence", ChildOrdering, "_barrier_is_closed", _no),
        ("two, one_for_all graph", ChildOrdering, "_unmet_requirement", staticmethod(_nothing)),
        ("stopping three, one_for_one sequence", ChildOrdering, "may_stop", _yes),
        ("two, one_for_one sequence", ChildOrdering, "wake_watchers", _no),
        ("requires, one_for_one graph", ChildOrdering, "wake_watchers", _no),
    ],
    ids=["stale words", "limit", "barrier", "requires", "stop order", "nothing", "watchers"],
)
def test_the_search_finds_planted_bugs(
    name: str,
    owner: Any,
    attribute: str,
    bug: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setattr(owner, attribute, bug)
    result = search(SHAPES[name], max_states=2_000)
    # Nobody requires anybody there, so that the bug does no harm: the search must not cry wolf.
    harmless = request.node.callspec.id == "nothing"
    assert bool(result.violation) is not harmless, str(result)


def test_a_violation_comes_with_the_shortest_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChildOrdering, "_barrier_is_closed", _no)
    result = search(SHAPES["two, one_for_all sequence"])
    assert result.path == (("ready", "a"), ("fail", "a"), ("restart", "a"))
    assert "VIOLATION" in str(result)
    assert "after: ready a; fail a; restart a" in str(result)
