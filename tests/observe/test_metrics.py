"""Prometheus metrics: what a scrape shows of a real tree, and what it costs the event loop."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
import trio
from helpers.support import run_virtual

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    RestartLimit,
    SpecError,
    SupervisorSpec,
    open_supervisor,
)
from trio_supervisor.observe import open_metrics
from trio_supervisor.observe._tally import Tally

if TYPE_CHECKING:
    from trio_supervisor import Supervisor

pytest.importorskip("prometheus_client", reason="the extra `metrics` is not installed")
from prometheus_client import CollectorRegistry, generate_latest  # optional

FAST = BackoffPolicy.delays(1)


async def idle(child: ChildContext) -> None:
    await trio.sleep_forever()


async def failing(child: ChildContext) -> None:
    await trio.sleep(1)
    raise OSError("no route")


def read(registry: CollectorRegistry) -> dict[str, float]:
    lines = generate_latest(registry).decode().splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name.removeprefix("trio_supervisor_"): float(value) for name, _, value in samples}


def of(child: str, **labels: str) -> str:
    inside = ",".join(
        f'{key}="{value}"' for key, value in sorted({"child": child, **labels}.items())
    )
    return "{" + inside + "}"


TREE = SupervisorSpec(
    "app",
    [
        ChildSpec("feed", failing, backoff=FAST, restart_limit=RestartLimit(3, within=600)),
        ChildSpec("web", idle),
        SupervisorSpec("pool"),
    ],
)


def test_every_series_exists_at_zero_from_the_first_scrape() -> None:
    async def main() -> None:
        async with open_supervisor(TREE) as supervisor:
            registry = CollectorRegistry()
            async with open_metrics(supervisor, registry=registry):
                first = read(registry)
                await trio.sleep(3.5)
                later = read(registry)
        assert first["child_exits_total" + of("app/feed", outcome="crashed")] == 0
        assert first["child_restarts_total" + of("app/pool/*")] == 0
        assert first["child_starts_total" + of("app/web")] == 1, "those before it was opened, too"
        assert set(first) == set(later), "no series is born later"

    run_virtual(main)


def test_failures_are_counted_by_outcome_and_show_in_the_headroom() -> None:
    async def main() -> None:
        async with open_supervisor(TREE) as supervisor:
            registry = CollectorRegistry()
            async with open_metrics(supervisor, registry=registry):
                await trio.sleep(1.5)
                found = read(registry)
        assert found["child_exits_total" + of("app/feed", outcome="crashed")] == 1
        assert found["child_restarts_total" + of("app/feed")] == 1
        assert found["child_consecutive_failures" + of("app/feed")] == 1
        assert found["child_restart_headroom" + of("app/feed")] == 2
        assert found["child_state" + of("app/feed", state="backing_off")] == 1
        assert found["child_next_start_seconds" + of("app/feed")] == pytest.approx(0.5)
        assert found["child_state" + of("app/web", state="ready")] == 1

    run_virtual(main)


def test_added_children_are_summed_under_their_supervisor() -> None:
    async def main() -> None:
        async with open_supervisor(TREE) as supervisor:
            pool: Supervisor = supervisor.child("pool").value
            registry = CollectorRegistry()
            async with open_metrics(supervisor, registry=registry):
                for number in range(20):
                    await pool.start_child(ChildSpec(f"s-{number}", idle, restart="temporary"))
                found = read(registry)
                await pool.stop_child("s-3", reason="test")
                await trio.testing.wait_all_tasks_blocked()
                stopped = read(registry)
        assert found["child_starts_total" + of("app/pool/*")] == 20
        assert found['children{state="ready",supervisor="app/pool"}'] == 20
        assert not [name for name in found if "s-1" in name]
        assert stopped["commands_total" + of("app/pool/*", command="stop")] == 1
        assert stopped["child_stop_seconds_count" + of("app/pool/*")] == 1

    run_virtual(main)


def test_a_quarantine_and_a_limit_are_counted() -> None:
    spec = ChildSpec(
        "feed",
        failing,
        backoff=FAST,
        restart_limit=RestartLimit(2, within=600),
        on_limit="quarantine",
    )

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
            registry = CollectorRegistry()
            async with open_metrics(supervisor, registry=registry):
                await trio.sleep(60)
                found = read(registry)
        assert found["child_give_ups_total" + of("app/feed")] == 1
        assert found["child_quarantines_total" + of("app/feed")] == 1
        assert found["child_state" + of("app/feed", state="quarantined")] == 1
        assert found["child_restart_headroom" + of("app/feed")] == 0

    run_virtual(main)


def test_the_collector_is_unregistered_when_its_block_ends() -> None:
    async def main() -> None:
        registry = CollectorRegistry()
        async with open_supervisor(TREE) as supervisor:
            for _ in range(2):  # a second time would be a duplicate if the first one stayed
                async with open_metrics(supervisor, registry=registry):
                    assert read(registry)
                assert read(registry) == {}

    run_virtual(main)


def test_two_trees_in_one_registry_are_refused_by_name() -> None:
    async def main() -> None:
        registry = CollectorRegistry()
        async with (
            open_supervisor(TREE) as supervisor,
            open_metrics(supervisor, registry=registry),
        ):
            with pytest.raises(ValueError, match="Duplicated"):
                async with open_metrics(supervisor, registry=registry):
                    pass

    run_virtual(main)


def test_an_exception_of_the_block_comes_out_bare() -> None:
    async def main() -> None:
        async with (
            open_supervisor(TREE) as supervisor,
            open_metrics(supervisor, registry=CollectorRegistry()),
        ):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_virtual(main)


def test_what_is_no_supervisor_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(SpecError, match="expected a Supervisor"):
            async with open_metrics(TREE, registry=CollectorRegistry()):  # type: ignore[arg-type]
                pass

    run_virtual(main)


def test_a_scrape_in_a_thread_while_the_loop_is_blocked_shows_the_snapshot_before() -> None:
    async def main() -> None:
        async with open_supervisor(TREE) as supervisor:
            registry = CollectorRegistry()
            async with open_metrics(supervisor, registry=registry):
                found: list[dict[str, float]] = []
                scrape = threading.Thread(target=lambda: found.append(read(registry)))
                scrape.start()
                time.sleep(2.3)  # noqa: ASYNC251  # blocks the loop: that is what is tried
                scrape.join()
        assert found[0]["snapshot_age_seconds"] >= 2
        assert found[0]["child_state" + of("app/web", state="ready")] == 1

    trio.run(main)


def test_a_scrape_after_the_end_of_the_run_still_answers() -> None:
    kept: list[CollectorRegistry] = []

    async def main() -> None:
        async with open_supervisor(TREE) as supervisor:
            registry = CollectorRegistry()
            async with open_metrics(supervisor, registry=registry) as metrics:
                pass
            registry.register(metrics)
            kept.append(registry)

    trio.run(main)
    found: list[dict[str, float]] = []
    scrape = threading.Thread(target=lambda: found.append(read(kept[0])))
    scrape.start()
    scrape.join()
    assert found[0]["child_state" + of("app/web", state="ready")] == 1


@pytest.mark.parametrize("journal", [1, 7, 1024])
def test_no_event_is_missed_however_short_the_journal_is(journal: int) -> None:
    async def main() -> None:
        registry = CollectorRegistry()
        spec = ChildSpec("feed", failing, backoff=FAST, restart_limit=None)
        async with (
            open_supervisor(SupervisorSpec("app", [spec]), journal=journal) as supervisor,
            open_metrics(supervisor, registry=registry),
        ):
            before = read(registry)
            await trio.sleep(200.5)
            found = read(registry)
        assert found["child_exits_total" + of("app/feed", outcome="crashed")] == 100
        starts = "child_starts_total" + of("app/feed")
        assert found[starts] - before[starts] == 100
        assert found["child_state" + of("app/feed", state="starting")] == 0
        assert found["child_attempt" + of("app/feed")] == 101
        assert found["events_dropped_total"] == before["events_dropped_total"]

    run_virtual(main)


def test_events_that_the_journal_had_forgotten_are_said_to_be_missing() -> None:
    async def main() -> None:
        async with open_supervisor(TREE, journal=4) as supervisor:
            registry = CollectorRegistry()
            async with open_metrics(supervisor, registry=registry):
                found = read(registry)
                assert found["events_dropped_total"] == supervisor.journal.last_sequence - 4

    run_virtual(main)


def test_metrics_of_a_nested_supervisor_count_neither_its_siblings_nor_itself() -> None:
    tree = SupervisorSpec(
        "app",
        [
            ChildSpec("feed", failing, backoff=FAST, restart_limit=None),
            SupervisorSpec("pool", [ChildSpec("one", idle)]),
        ],
    )

    async def main() -> None:
        async with open_supervisor(tree) as supervisor:
            await trio.sleep(5)
            pool: Supervisor = supervisor.child("pool").value
            registry = CollectorRegistry()
            async with open_metrics(pool, registry=registry):
                await trio.sleep(5)
                await pool.restart_child("one", reason="test")
                found = read(registry)
                await supervisor.restart_child("pool", reason="test")
                await trio.sleep(1)
                ended = read(registry)
        assert found["child_starts_total" + of("app/pool/*")] == 0
        assert found["child_exits_total" + of("app/pool/*", outcome="crashed")] == 0
        assert found["child_starts_total" + of("app/pool/one")] == 2
        assert found["child_state" + of("app/pool/one", state="ready")] == 1
        assert ended["child_starts_total" + of("app/pool/one")] == 2, "the run has ended"
        assert ended['supervisor_state{state="finished",supervisor="app/pool"}'] == 1

    run_virtual(main)


def test_the_gauges_are_those_of_the_state_while_threads_scrape_and_the_tree_restarts() -> None:
    async def flaky(child: ChildContext) -> None:
        await trio.sleep(0.001)
        raise OSError("no route")

    children = [
        ChildSpec(f"c{each}", flaky, backoff=BackoffPolicy.delays(0), restart_limit=None)
        for each in range(5)
    ]

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", children), journal=64) as supervisor:
            registry = CollectorRegistry()
            async with open_metrics(supervisor, registry=registry):
                async with trio.open_nursery() as nursery:
                    for _ in range(8):
                        nursery.start_soon(trio.to_thread.run_sync, read, registry)
                while supervisor.journal.last_sequence < 300:  # noqa: ASYNC110
                    await trio.sleep(0.01)
                for name in supervisor.children:
                    await supervisor.stop_child(name, reason="test")
                found = await trio.to_thread.run_sync(read, registry)
                for child in supervisor.state().children:
                    at = of(child.path, outcome="crashed")
                    assert found["child_attempt" + of(child.path)] == child.attempt
                    assert found["child_starts_total" + of(child.path)] == child.attempt
                    assert found["child_exits_total" + at] >= child.attempt - 1
                    assert found["child_state" + of(child.path, state="stopped")] == 1
        assert found["events_dropped_total"] == 0

    trio.run(main)


def test_a_fault_in_the_counting_is_logged_and_counted_and_leaves_the_tree_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(tally: Tally, raws: object) -> None:
        raise LookupError("a bug of ours")

    async def main() -> None:
        registry = CollectorRegistry()
        # So short a journal that events are counted in the middle of recording others.
        async with (
            open_supervisor(SupervisorSpec("app", [ChildSpec("web", idle)]), journal=2) as tree,
            open_metrics(tree, registry=registry),
        ):
            monkeypatch.setattr(Tally, "extend", broken)
            for _ in range(5):
                await tree.restart_child("web")
            assert tree.child("web").state == "ready"
            monkeypatch.undo()
            assert read(registry)["events_dropped_total"] > 0

    run_virtual(main)
    lines = [record for record in caplog.records if "could not be counted" in record.getMessage()]
    assert lines
    assert all(line.exc_info and line.exc_info[0] is LookupError for line in lines)
