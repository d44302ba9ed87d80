"""What the seed system got wrong, W1 to W10 of its review: none of it can happen here."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import trio
from conformance.kit import Boom, Lab, scenario

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildEscalated,
    ChildNotFound,
    ChildSpec,
    CommandAccepted,
    Escalate,
    ExitJudged,
    RestartLimit,
    RestartLimitExceeded,
    ShutdownTree,
    SupervisorSpec,
    TaskExit,
    open_supervisor,
)

SLOWLY = BackoffPolicy.delays(10)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@scenario
async def test_w1_a_group_restart_makes_no_second_instance_of_a_sibling(
    lab: Lab, strategy: str
) -> None:
    async with lab.run(*lab.children("a b c", grace=3), strategy=strategy):
        lab["b"].stop_takes = lab["c"].stop_takes = 2.0
        lab.take()
        await lab["a"].crash()
        # Nobody starts while anybody of the old ones is still there.
        await lab.sleep(3.9)
        assert lab.take() == "-a ?c -c ?b"
        await lab.sleep(0.1)
        assert lab.take() == "-b +a +b +c"
        lab["b"].stop_takes = lab["c"].stop_takes = 0.0
    assert [puppet.most_live for puppet in lab.puppets.values()] == [1, 1, 1]


@scenario
async def test_w2_a_shutdown_during_the_delay_means_that_nothing_starts(lab: Lab) -> None:
    async with lab.run(lab.child("a", backoff=SLOWLY)) as supervisor:
        await lab["a"].crash()
        report = await supervisor.shutdown()
        await lab.sleep(100)
        assert report.child("a").outcome == "stopped"
        assert lab.starts("a") == [1]


@scenario
async def test_w2_a_stop_during_the_delay_means_that_it_does_not_start(lab: Lab) -> None:
    async with lab.run(lab.child("a", backoff=SLOWLY)) as supervisor:
        await lab["a"].crash()
        await supervisor.stop_child("a")
        await lab.sleep(100)
        assert (lab.state("a"), lab.starts("a")) == ("stopped", [1])


@scenario
async def test_w2_a_restart_by_hand_during_the_delay_is_the_only_one(lab: Lab) -> None:
    async with lab.run(lab.child("a", backoff=SLOWLY)) as supervisor:
        await lab["a"].crash()
        await lab.sleep(5)
        await supervisor.restart_child("a")
        assert trio.current_time() == 5
        await lab.sleep(100)
        assert (lab.state("a"), lab.starts("a")) == ("ready", [2])


@scenario
async def test_w3_no_way_out_of_the_block_abandons_a_child(lab: Lab) -> None:
    for error in (None, Boom("block"), KeyboardInterrupt()):
        with pytest.raises(type(error)) if error else trio.CancelScope():
            async with lab.run(*lab.children("a b")):
                if error is not None:
                    raise error
        assert lab["a"].live == lab["b"].live == 0
    with trio.move_on_after(5) as scope:
        async with lab.run(*lab.children("a b")):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert lab.take().endswith("!b -b !a -a")


@scenario
async def test_w4_deadlines_are_kept_although_nobody_says_a_word(lab: Lab) -> None:
    async with lab.run(lab.child("a", grace=10)) as supervisor:
        lab["a"].stop_takes = 3600.0
        await supervisor.restart_child("a")
        assert trio.current_time() == 10
        assert lab.state("a") == "ready"


@pytest.mark.parametrize("command", ["stop_child", "quarantine_child", "remove_child"])
@scenario
async def test_w5_every_stop_escalates_and_nothing_is_hidden(lab: Lab, command: str) -> None:
    async with lab.run(*lab.children("a b", grace=2), report_after=1) as supervisor:
        lab["a"].stop_takes = 3600.0
        lab["a"].cleanup = 10.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(getattr(supervisor, command), "a")
            await lab.sleep(3.5)
            # It was cancelled, it is named, and a shutdown still counts with it.
            assert supervisor.state().child("a").unresponsive
            report = await supervisor.shutdown()
        assert trio.current_time() == 12
        entry = report.child("a")
        assert (entry.outcome, entry.unresponsive) == ("aborted", True)
        assert any("kit.py" in place for place in entry.stack)
        assert report.unresponsive == (entry,)


@scenario
async def test_w5_a_body_that_raises_in_its_call_harms_nobody_else(lab: Lab) -> None:
    def build(child: ChildContext) -> Any:
        raise Boom("in the call, before there was anything to await")

    spec = ChildSpec("a", build, backoff=SLOWLY)
    async with lab.run(spec, lab.child("b")) as supervisor:
        await lab.settle()
        assert lab.states("a b") == ["backing_off", "ready"]
        last = supervisor.child("a").last_report
        assert last is not None
        assert last.exit.has(Boom)


@scenario
async def test_w5_what_a_child_has_started_ends_with_it(lab: Lab) -> None:
    alive = 0

    async def background() -> None:
        nonlocal alive
        alive += 1
        try:
            await trio.sleep_forever()
        finally:
            alive -= 1

    async with lab.run(*lab.children("a b")) as supervisor:
        for name in "ab":
            await lab[name].does(lambda child: child.nursery.start_soon(background))
        assert alive == 2
        await lab["a"].crash()
        assert alive == 1
        # It keeps the attempt alive beyond the body's end, but not beyond the grace.
        await supervisor.stop_child("b")
        assert (alive, trio.current_time()) == (0, 5)


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@scenario
async def test_w6_the_declared_policy_is_the_one_that_applies(lab: Lab, restart: str) -> None:
    async with lab.run(lab.child("a", restart=restart)):
        await lab["a"].finish()
        expected = {"permanent": ("ready", 2), "transient": ("done", 1), "temporary": ("", 1)}
        assert (lab.state("a"), lab["a"].starts) == expected[restart]


@scenario
async def test_w6_a_success_that_is_restarted_has_its_delay_and_its_budget(lab: Lab) -> None:
    limit = RestartLimit(3, within=60)
    spec = lab.child("a", backoff=BackoffPolicy.delays(1, 2), restart_limit=limit)
    with pytest.raises(RestartLimitExceeded):
        async with lab.run(spec):
            lab["a"].usually = "decline"
            await lab["a"].finish()
            await lab.sleep(1000)
    delays = [event.delay for event in lab.events(ExitJudged) if event.action == "restart"]
    assert delays == [1, 2, 2]
    assert lab.starts("a") == [4]


@scenario
async def test_w7_three_that_fail_once_each_all_come_back(lab: Lab) -> None:
    async with lab.run(*lab.children("a b c d")):
        for name in "abcd":
            await lab[name].crash()
            await lab.sleep(1)
        assert lab.states("a b c d") == ["ready"] * 4
        assert lab.starts("a b c d") == [2] * 4


@scenario
async def test_w7_nobody_dies_in_silence(lab: Lab) -> None:
    spec = lab.child("a", restart_limit=RestartLimit(1, within=60))
    with pytest.raises(RestartLimitExceeded) as caught:
        async with lab.run(spec):
            await lab["a"].crash(Boom("first"))
            await lab["a"].crash(Boom("last"))
    assert str(caught.value).startswith("app/a gave up: 1 restart in 60s; last: ")
    assert [report.exit.kind for report in caught.value.reports] == ["crashed"] * 2
    assert str(caught.value.exceptions[-1]) == "last"
    assert lab.actions() == ["restart", "escalate"]


@scenario
async def test_w8_a_limit_limits_exactly_and_no_clock_on_the_wall_matters(
    lab: Lab,
) -> None:
    spec = lab.child("a", restart_limit=RestartLimit(2, within=10), on_limit="quarantine")
    async with lab.run(spec) as supervisor:
        await lab["a"].crash()  # at 0
        supervisor._shell.tree.journal._wall = lambda: -1e9
        await lab.sleep(5)
        await lab["a"].crash()  # at 5
        supervisor._shell.tree.journal._wall = lambda: 1e12
        await lab.sleep(5)
        await lab["a"].crash()  # at 10, when that of 0 counts no more
        assert lab.state("a") == "ready"
        await lab.sleep(4.999)
        await lab["a"].crash()
        assert lab.state("a") == "quarantined"
        assert {event.wall for event in lab.events(ExitJudged)} >= {-1e9, 1e12}
        # A restart by command begins anew, with an empty window.
        await supervisor.restart_child("a")
        for state in ("ready", "ready", "quarantined"):
            await lab["a"].crash()
            assert lab.state("a") == state


@scenario
async def test_w9_jitter_has_no_seed_of_its_own(lab: Lab) -> None:
    async def delay(random: Random | None) -> float:
        async def work(child: ChildContext) -> None:
            await trio.lowlevel.checkpoint()
            raise Boom("once")

        spec = ChildSpec("a", work, backoff=BackoffPolicy(initial=10, jitter=1))
        async with open_supervisor(SupervisorSpec("app", [spec]), random=random) as supervisor:
            await trio.testing.wait_all_tasks_blocked()
            events = [event for event in supervisor.journal if isinstance(event, ExitJudged)]
            return events[0].delay

    assert len({await delay(None) for _ in range(5)}) == 5
    assert len({await delay(Random(7)) for _ in range(5)}) == 1


@scenario
async def test_w10_what_was_stopped_can_be_resumed(lab: Lab) -> None:
    async with lab.run(lab.child("a")) as supervisor:
        await supervisor.stop_child("a")
        await supervisor.restart_child("a")
        assert (lab.state("a"), lab.starts("a")) == ("ready", [2])
        # It is under supervision again.
        await lab["a"].crash()
        assert (lab.state("a"), lab.starts("a")) == ("ready", [3])


@scenario
async def test_w10_nobody_is_resurrected_without_a_word(lab: Lab) -> None:
    async with lab.run(*lab.children("a b")) as supervisor:
        await supervisor.quarantine_child("a", reason="suspicious")
        await supervisor.restart_child("a", reason="was innocent")
        said = [(event.command, event.reason) for event in lab.events(CommandAccepted, "a")]
        assert said == [("quarantine", "suspicious"), ("restart", "was innocent")]
        await supervisor.remove_child("b")
        with pytest.raises(ChildNotFound):
            await supervisor.restart_child("b")
        assert lab.starts("a b") == [2, 1]


@scenario
async def test_w10_a_decision_can_end_the_tree(lab: Lab) -> None:
    def by_kind(answer: object) -> object:
        return lambda report: answer if report.exit.is_failure else None

    spec = lab.child("a", decide=by_kind(ShutdownTree("enough")))
    async with lab.run(lab.child("b"), spec) as supervisor:
        await lab["a"].crash()
        report = await supervisor.wait_finished()
        assert (report.cause, report.reason) == ("shutdown", "enough")
    assert lab["b"].live == 0

    other = Lab()
    cause = Boom("disk full")
    spec = other.child("a", decide=by_kind(Escalate("cannot go on")))
    with pytest.raises(ChildEscalated, match="cannot go on") as caught:
        async with other.run(other.child("b"), spec):
            await other["a"].crash(cause)
    assert caught.value.__cause__ is cause
    assert isinstance(caught.value.reports[-1].exit, TaskExit)


@scenario
async def test_commands_for_unknown_children_create_nothing(lab: Lab) -> None:
    async with lab.run(lab.child("a")) as supervisor:
        last = supervisor.journal.last_sequence
        for command in (
            supervisor.restart_child,
            supervisor.stop_child,
            supervisor.quarantine_child,
            supervisor.remove_child,
        ):
            with pytest.raises(ChildNotFound, match="no child 'ghost'; it has: a"):
                await command("ghost")
        assert lab.names() == ["a"]
        assert supervisor.journal.last_sequence == last
