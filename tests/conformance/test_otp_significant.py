"""OTP's supervisor suite: significant children (EEP-56). One test per case, under OTP's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conformance.kit import Lab, scenario

from trio_supervisor import SpecError, SupervisorFinished, SupervisorSpec

if TYPE_CHECKING:
    from trio_supervisor import Supervisor

ANY, ALL, NEVER = "any_significant", "all_significant", "never"
MODES = [NEVER, ANY, ALL]
STRATEGIES = ["one_for_one", "one_for_all", "rest_for_one"]


def is_over(lab: Lab) -> bool:
    """Whether the supervisor has ended because of its children."""
    state = lab.supervisor.state().state
    if state == "finished":
        assert lab.events(SupervisorFinished)[-1].cause == "auto_shutdown"
        assert all(puppet.live == 0 for puppet in lab.puppets.values())
    return state == "finished"


@pytest.mark.parametrize("mode", MODES)
@scenario
async def test_nonsignificant_temporary(lab: Lab, mode: str) -> None:
    temporary = lab.children("1 2 3 4", restart="temporary")
    async with lab.run(lab.child("other"), *temporary, auto_shutdown=mode) as supervisor:
        await supervisor.stop_child("1")
        await lab["2"].cancel_itself()
        await lab["3"].crash()
        await lab["4"].finish()
        assert not is_over(lab)
        assert (lab.names(), lab["other"].starts) == (["other", "1"], 1)


@pytest.mark.parametrize("mode", MODES)
@scenario
async def test_nonsignificant_transient(lab: Lab, mode: str) -> None:
    transient = lab.children("1 2 3 4", restart="transient")
    async with lab.run(lab.child("other"), *transient, auto_shutdown=mode) as supervisor:
        await supervisor.stop_child("1")
        await lab["2"].cancel_itself()
        await lab["3"].crash()
        await lab["4"].finish()
        assert not is_over(lab)
        assert lab.states("other 1 2 3 4") == ["ready", "stopped", "ready", "ready", "done"]
        assert lab.starts("other 1 2 3 4") == [1, 1, 2, 2, 1]


@pytest.mark.parametrize("way", ["kill", "abnormal", "normal"])
@pytest.mark.parametrize("mode", [ANY, ALL])
@scenario
async def test_significant_temporary(lab: Lab, mode: str, way: str) -> None:
    significant = lab.children("1 2", restart="temporary", significant=True)
    async with lab.run(lab.child("other"), *significant, auto_shutdown=mode) as supervisor:
        extra = lab.child("by hand", restart="temporary", significant=True)
        await supervisor.start_child(extra)
        await supervisor.stop_child("by hand")
        assert not is_over(lab)
        for number, name in enumerate("12"):
            ways = {"kill": lab[name].cancel_itself, "abnormal": lab[name].crash}
            await ways.get(way, lab[name].finish)()
            if mode == ANY or number == 1:
                break
            assert not is_over(lab)
        await lab.settle()
        assert is_over(lab)
        assert lab["other"].starts == 1


@pytest.mark.parametrize("mode", [ANY, ALL])
@scenario
async def test_significant_transient(lab: Lab, mode: str) -> None:
    significant = lab.children("1 2 3", restart="transient", significant=True)
    async with lab.run(lab.child("other"), *significant, auto_shutdown=mode) as supervisor:
        await supervisor.stop_child("3")
        await lab["1"].cancel_itself()
        await lab["1"].crash()
        assert not is_over(lab)
        assert lab.states("1 2 3") == ["ready", "ready", "stopped"]
        await lab["1"].finish()
        if mode == ALL:
            assert not is_over(lab)
            await lab["2"].finish()
        assert is_over(lab)
        assert lab.starts("other 1 2 3") == [1, 3, 1, 1]


@pytest.mark.parametrize("mode", [ANY, ALL])
@scenario
async def test_significant_simple(lab: Lab, mode: str) -> None:
    # OTP refuses this for dynamic children, having no way to say which of them are significant.
    # Here each has a spec of its own.
    async with lab.run(auto_shutdown=mode) as supervisor:
        for spec in lab.children("1 2", restart="transient", significant=True):
            await supervisor.start_child(spec)
        await supervisor.start_child(lab.child("3", restart="transient"))
        await lab["3"].finish()
        assert not is_over(lab)
        await lab["1"].finish()
        assert is_over(lab) == (mode == ANY)
        if mode == ALL:
            await lab["2"].finish()
            assert is_over(lab)
    with pytest.raises(SpecError, match="does not ask"):
        async with Lab().run() as plain_supervisor:
            await plain_supervisor.start_child(
                lab.child("4", restart="transient", significant=True)
            )


@pytest.mark.parametrize("mode", [ANY, ALL])
@pytest.mark.parametrize("strategy", STRATEGIES)
@scenario
async def test_significant_bystander(lab: Lab, strategy: str, mode: str) -> None:
    children = [
        lab.child("1"),
        lab.child("2", restart="transient", significant=True),
        lab.child("3", restart="temporary", significant=True),
    ]
    async with lab.run(*children, strategy=strategy, auto_shutdown=mode):
        await lab["1"].crash()
        assert not is_over(lab)
        if strategy == "one_for_one":
            assert lab.starts("1 2 3") == [2, 1, 1]
        else:
            # The temporary one went down with the others, and was not the cause of anything.
            assert (lab.starts("1 2 3"), lab.names()) == ([2, 2, 1], ["1", "2"])
        await lab["2"].finish()
        assert is_over(lab) == (mode == ANY or strategy != "one_for_one")


@pytest.mark.parametrize("significant", [True, False])
@pytest.mark.parametrize("mode", [ANY, ALL])
@scenario
async def test_significant_escalation(lab: Lab, mode: Any, significant: bool) -> None:
    c = lab.child("c", restart="transient", significant=True)
    b = SupervisorSpec("b", [c, lab.child("beside c")], auto_shutdown=mode)
    nested = b.as_child(restart="transient", significant=significant)
    async with lab.run(lab.child("beside b"), nested, auto_shutdown=mode) as supervisor:
        await lab["c"].finish()
        assert supervisor.state().child("b").state == "done"
        assert lab["beside c"].live == 0
        assert is_over(lab) == significant
        assert lab["beside b"].live == (not significant)


def declare(lab: Lab, mode: Any) -> SupervisorSpec:
    """Two that work until they are done; they count if the mode asks for such."""
    children = lab.children("1 2", restart="transient", significant=mode != NEVER)
    return SupervisorSpec("sub", children, auto_shutdown=mode)


async def upgrade(lab: Lab, old: str, new: str) -> None:
    """Replace a supervisor by one of another mode, and see that the new mode is in force."""
    spec = declare(lab, old).as_child(restart="transient")
    async with lab.run(spec, lab.child("other")) as supervisor:
        await supervisor.remove_child("sub")
        await supervisor.start_child(declare(lab, new).as_child(restart="transient"))
        sub: Supervisor = supervisor.child("sub").value
        assert sub.spec.auto_shutdown == new
        late = lab.child("late", restart="transient", significant=True)
        if new == NEVER:
            # What has become illegal is refused, and nobody is harmed by that.
            with pytest.raises(SpecError, match="auto_shutdown='never'"):
                await sub.start_child(late)
        else:
            await sub.start_child(late)
            await sub.remove_child("late")
        await lab["1"].finish()
        assert (lab.state("sub") == "done") == (new == ANY)
        if new != ANY:
            await lab["2"].finish()
            assert (lab.state("sub") == "done") == (new == ALL)
        assert (lab["other"].starts, supervisor.state().state) == (1, "running")


@scenario
async def test_significant_upgrade_never_any(lab: Lab) -> None:
    await upgrade(lab, NEVER, ANY)


@scenario
async def test_significant_upgrade_any_never(lab: Lab) -> None:
    await upgrade(lab, ANY, NEVER)


@scenario
async def test_significant_upgrade_never_all(lab: Lab) -> None:
    await upgrade(lab, NEVER, ALL)


@scenario
async def test_significant_upgrade_all_never(lab: Lab) -> None:
    await upgrade(lab, ALL, NEVER)


@scenario
async def test_significant_upgrade_any_all(lab: Lab) -> None:
    await upgrade(lab, ANY, ALL)


@scenario
async def test_significant_upgrade_all_any(lab: Lab) -> None:
    await upgrade(lab, ALL, ANY)


@scenario
async def test_significant_upgrade_child(lab: Lab) -> None:
    """A child's significance is changed by replacing it; refused while the mode is ``never``."""
    async with lab.run(lab.child("1", restart="transient")) as supervisor:
        changed = supervisor.child("1").spec.replace(significant=True)
        await supervisor.remove_child("1")
        with pytest.raises(SpecError, match="does not ask"):
            await supervisor.start_child(changed)
        assert not is_over(lab)
    again = Lab()
    async with again.run(again.child("1", restart="transient"), auto_shutdown=ANY) as supervisor:
        spec = supervisor.child("1").spec
        await supervisor.remove_child("1")
        await supervisor.start_child(spec.replace(significant=True))
        await again["1"].finish()
        assert is_over(again)
