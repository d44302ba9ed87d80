"""`hunt` and `LifecycleMachine`: short counterexamples that repeat, and no step that is invalid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trio_supervisor import BackoffPolicy, ChildContext, ChildSpec, SupervisorSpec
from trio_supervisor.testing import (
    Add,
    Advance,
    AtOnce,
    Behaviour,
    Crash,
    LifecycleMachine,
    Pilot,
    QuarantineChild,
    Remove,
    Reopen,
    RestartByHand,
    ShutDownTree,
    Stop,
    Tick,
    hunt,
)
from trio_supervisor.testing._drive.hunt import Engine, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = BackoffPolicy.delays(0)
CALM = SupervisorSpec("app", [ChildSpec("a", Behaviour()), ChildSpec("b", Behaviour())])


class Van:
    """Something that is taken and brought back."""

    def __init__(self) -> None:
        self.is_out = False


async def drives(child: ChildContext, van: Van) -> None:
    while True:
        await trio.sleep(5)
        van.is_out = True
        await trio.sleep(0.01)
        van.is_out = False


def fresh() -> tuple[SupervisorSpec, Van]:
    van = Van()
    children = [ChildSpec("driver", drives, van), ChildSpec("other", Behaviour())]
    return SupervisorSpec("app", children), van


def the_van_comes_back(tree: Pilot, van: Van) -> None:
    driving = tree.is_open and "driver" in tree.paths() and tree.state("driver") == "ready"
    assert driving or not van.is_out, "the van is lost"


def pasted(error: BaseException) -> str:
    """The test that the error shows."""
    (note,) = [one for one in error.__notes__ if "shortest counterexample" in one]
    return note.partition("\n")[2]


def unindented(code: str) -> str:
    return "\n".join(line[4:] for line in code.splitlines())


def test_a_narrow_window_is_found_and_shown_in_a_few_steps() -> None:
    with pytest.raises(AssertionError, match="the van is lost") as caught:
        hunt(fresh, the_van_comes_back, examples=500)
    found = caught.value.hunt  # type: ignore[attr-defined]
    assert len(found.steps) <= 3, found.steps
    assert found.examples > 0


def test_the_test_that_it_shows_fails_in_the_same_way() -> None:
    with pytest.raises(AssertionError) as caught:
        hunt(fresh, the_van_comes_back, examples=500)
    names: dict[str, Any] = dict(globals())
    exec(unindented(pasted(caught.value)), names)  # as a user pastes it
    with pytest.raises(AssertionError, match="the van is lost"):
        names["test_it"]()


def test_the_same_seed_finds_the_same() -> None:
    shown = []
    for _ in range(2):
        with pytest.raises(AssertionError) as caught:
            hunt(fresh, the_van_comes_back, examples=500, seed=4)
        shown.append(pasted(caught.value))
    assert shown[0] == shown[1]


def test_a_program_without_a_bug_passes() -> None:
    assert hunt(CALM, lambda tree: tree.paths(), examples=15).examples == 15
    assert hunt(CALM, examples=10_000, max_seconds=0.5).examples < 10_000


def test_promises_of_the_supervisor_are_checked_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    from trio_supervisor._brain.windows import Window

    monkeypatch.setattr(Window, "admits", lambda self, now: False)
    with pytest.raises(AssertionError, match="limits: given up, although there was room") as caught:
        hunt(CALM, examples=50)
    assert len(caught.value.hunt.steps) == 1  # type: ignore[attr-defined]


def test_what_does_not_fail_again_is_said() -> None:
    calls: list[int] = []

    def fails_once(tree: Pilot) -> None:
        calls.append(1)
        assert len(calls) != 7, "once"

    with pytest.raises(AssertionError, match="passed when it was repeated"):
        hunt(CALM, fails_once, examples=5)


class Diary:
    """Counts openings; what survives the end of a tree."""

    def __init__(self) -> None:
        self.openings = 0


def declare(diary: Diary) -> SupervisorSpec:
    diary.openings += 1
    return CALM


def twice_at_most(tree: Pilot, diary: Diary) -> None:
    assert diary.openings <= 2, "opened a third time"


def test_a_tree_that_has_ended_is_opened_again_from_its_world() -> None:
    def made() -> tuple[SupervisorSpec, Diary]:
        diary = Diary()
        return declare(diary), diary

    assert hunt(made, twice_at_most, examples=30).examples == 30
    with pytest.raises(AssertionError, match="opened a third time") as caught:
        hunt(made, twice_at_most, reopen=declare, examples=300, steps=40)
    steps = caught.value.hunt.steps  # type: ignore[attr-defined]
    assert [type(step) for step in steps].count(Reopen) == 2
    assert len(steps) == 4


# ---------------------------------------------------------------- making it short


class Steps:
    """A subject without a tree: fails once it has taken certain steps, in order."""

    def __init__(self, wanted: tuple[Any, ...], extra: int = 0) -> None:
        self.left = list(wanted)
        self.is_open = True

    def open(self, plan: Plan, *, drift: bool) -> None:
        self.plan = plan

    def apply(self, step: Any) -> None:
        for part in step.parts():
            if self.left and part == self.left[0]:
                del self.left[0]

    def check(self) -> None:
        assert self.left, "found"

    def close(self) -> None: ...

    def drawn(self) -> Plan:
        return self.plan

    def paths(self) -> list[str]:
        return ["a", "b"]


def noise() -> Iterator[Any]:
    for path in "abab":
        yield from (Tick(), Stop(path), Advance(5), AtOnce((Crash("b"), Remove(path))), Tick())


def test_only_the_steps_that_matter_are_left() -> None:
    wanted = (Crash("a"), Tick(), Stop("b"))
    engine = Engine(lambda: Steps(wanted))
    steps = (*noise(), AtOnce((Crash("a"), Stop("a"))), *noise(), *noise(), Stop("b"), *noise())
    short = engine.shrink(Plan(steps=steps, schedule=(0, 2, 0, 1), drift=(1, 2)))
    assert short == Plan(steps=wanted)
    assert engine.runs < 200


def test_ticks_in_a_row_are_one_step() -> None:
    async def ends(child: ChildContext, seen: list[int]) -> None:
        for _ in range(3):
            await trio.sleep(1)
            seen.append(1)
        await trio.sleep_forever()

    def made() -> tuple[SupervisorSpec, list[int]]:
        seen: list[int] = []
        return SupervisorSpec("app", [ChildSpec("a", ends, seen)]), seen

    def fewer_than_three(tree: Pilot, seen: list[int]) -> None:
        assert len(seen) < 3

    with pytest.raises(AssertionError) as caught:
        hunt(made, fewer_than_three, examples=50, seconds=[0.3], drift=False)
    assert caught.value.hunt.steps == (Tick(3),)  # type: ignore[attr-defined]


# ---------------------------------------------------------------- the commands


def test_a_tick_goes_to_the_next_deadline_of_any_task() -> None:
    children = [ChildSpec(name, Behaviour(ends_at=at)) for name, at in (("a", 1.5), ("b", 4))]
    with Pilot(SupervisorSpec("app", children)) as tree:
        tree.tick()
        assert tree.now == 1.5
        tree.tick(3)
        assert 3.2 < tree.now < 3.4


def test_a_tick_does_not_wait_for_what_is_far_away() -> None:
    with Pilot(SupervisorSpec("app", [ChildSpec("a", Behaviour(ends_at=100_000))])) as tree:
        tree.tick()
        assert tree.now == 0


# ---------------------------------------------------------------- the state machine


class Couriers(LifecycleMachine):
    def __init__(self) -> None:
        self.spec, self.van = fresh()
        super().__init__()

    @invariant()
    def the_van_comes_back(self) -> None:
        assert self.pilot is None or self.van_is_where_it_should_be(), "the van is lost"

    def van_is_where_it_should_be(self) -> bool:
        return not self.van.is_out or (self.is_open and self.state("driver") == "ready")


def test_a_machine_finds_it_fast_and_shows_it_short() -> None:
    with pytest.raises(AssertionError, match="the van is lost") as caught:
        Couriers.hunt(examples=500)
    assert len(caught.value.hunt.steps) <= 3  # type: ignore[attr-defined]
    names: dict[str, Any] = dict(globals())
    exec(unindented(pasted(caught.value)), names)  # as a user pastes it
    with pytest.raises(AssertionError, match="the van is lost"):
        names["test_it"]()


def test_the_test_case_of_a_machine_runs_that_first() -> None:
    case = Couriers.TestCase()
    case.settings = settings(case.settings, max_examples=400)
    with pytest.raises(AssertionError, match="the van is lost") as caught:
        case.runTest()
    assert pasted(caught.value)


class Calm(LifecycleMachine):
    spec = CALM
    adds = (ChildSpec("new", Behaviour()),)
    asked = 0

    @rule()
    def by_the_user(self) -> None:
        type(self).asked += 1

    @precondition(lambda self: False)
    @invariant()
    def never_asked(self) -> None:
        raise AssertionError("its precondition does not hold")


def test_rules_of_the_user_are_left_to_hypothesis() -> None:
    case = Calm.TestCase()
    case.settings = settings(
        case.settings, max_examples=8, stateful_step_count=10, deadline=None, database=None
    )
    case.runTest()
    assert Calm.asked


def test_steps_do_nothing_where_they_do_not_apply() -> None:
    Calm.replay(
        Remove("a"),
        Remove("a"),
        Crash("a"),
        AtOnce((Stop("a"), QuarantineChild("nobody"))),
        Add(ChildSpec("b", Behaviour())),
        Reopen(),
        ShutDownTree(),
        Crash("b"),
        Add(ChildSpec("z", Behaviour())),
        RestartByHand("b"),
        Tick(2),
        Reopen(),
        Crash("b"),
        Advance(1),
        schedule=[0, 1],
        drift=[3],
        seed=5,
    )


def test_it_is_still_a_state_machine_of_hypothesis() -> None:
    assert issubclass(LifecycleMachine, RuleBasedStateMachine)
    assert Calm.TestCase.runTest.is_hypothesis_test
