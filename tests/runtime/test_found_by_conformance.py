"""What the conformance cases found wrong here, each as small as it can be shown."""

from __future__ import annotations

import gc
import weakref

import pytest
import trio
from conformance.kit import Lab, scenario

from trio_supervisor import ChildNotFound, ChildNotReady


@scenario
async def test_a_removed_child_is_not_kept_for_having_been_waited_for(lab: Lab) -> None:
    async with lab.run() as supervisor:
        handle = await supervisor.start_child(lab.child("a", restart="temporary"))
        await lab["a"].finish()
        kept = weakref.ref(handle)
        del handle
        gc.collect()
        assert kept() is None
        assert not supervisor._shell.watched


@scenario
async def test_waiting_for_a_state_of_a_child_ends_when_that_is_removed(lab: Lab) -> None:
    async def wait(seen: list[type[Exception]]) -> None:
        with pytest.raises(ChildNotFound, match="app/a was removed") as caught:
            await handle.wait_state("done")
        seen.append(caught.type)

    async with lab.run(lab.child("a")) as supervisor:
        handle = supervisor.child("a")
        seen: list[type[Exception]] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, seen)
            await lab.settle()
            assert seen == []
            await supervisor.remove_child("a")
        assert seen == [ChildNotFound]
        # And for those who come late.
        await wait(seen)
        assert await handle.wait_state("removed") == "removed"
        with pytest.raises(ChildNotReady, match="app/a is removed"):
            await handle.wait_ready()


@scenario
async def test_a_stop_that_is_overtaken_by_a_restart_is_not_waited_for_for_ever(lab: Lab) -> None:
    async with lab.run(lab.child("a")) as supervisor:
        lab["a"].stop_takes = 2.0
        for stop in (
            supervisor.child("a").stop,
            lambda: supervisor.stop_child("a"),
            lambda: supervisor.quarantine_child("a"),
        ):
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stop)
                await lab.sleep(1)
                nursery.start_soon(supervisor.restart_child, "a")
            # The attempt that was to end has ended; that another one follows is another matter.
            assert trio.current_time() == began + 2
            assert lab.state("a") == "ready"
        assert lab.starts("a") == [4]
