"""Says loudly when Trio has moved what deterministic runs lean on, and what to do."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
import trio

from trio_supervisor.testing import TrioMoved, simulate
from trio_supervisor.testing._sim import trio_internals as _private


def test_trio_still_asks_its_generator_for_the_order_of_tasks() -> None:
    """If this fails, `_private` has to learn where Trio's scheduler keeps it now."""
    asked: list[list[int]] = []

    class Recorder(random.Random):
        def shuffle(self, x: list[trio.lowlevel.Task]) -> None:  # type: ignore[override]
            counters = [task._counter for task in x]
            asked.append(counters)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(trio.lowlevel.checkpoint)

    with _private.scheduling(Recorder()):
        trio.run(main)
    assert max(map(len, asked)) == 3, "shuffle() is not called with the tasks of a step"
    assert all(counters == sorted(counters) for counters in asked), "not oldest first"


def test_everything_is_put_back() -> None:
    core = trio._core._run
    before = core._r, core._ALLOW_DETERMINISTIC_SCHEDULING
    with _private.scheduling(random.Random()):
        assert core._r is not before[0]
    assert (core._r, core._ALLOW_DETERMINISTIC_SCHEDULING) == before


@pytest.mark.parametrize("name", ["_r", "_ALLOW_DETERMINISTIC_SCHEDULING"])
def test_a_trio_that_has_moved_them_is_refused_in_clear_words(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None: ...

    monkeypatch.delattr(trio._core._run, name)
    with pytest.raises(TrioMoved, match=f"{name}.*works with trio"):
        simulate(main)


def test_a_run_can_be_forgotten() -> None:
    """In a process of its own: what is left of such a run is nothing to keep."""
    code = """
import trio
from trio_supervisor.testing._sim import trio_internals as _private
ticks = []
trio.lowlevel.start_guest_run(
    trio.sleep_forever,
    run_sync_soon_threadsafe=ticks.append,
    done_callback=ticks.append,
    host_uses_signal_set_wakeup_fd=True,
)
assert trio.lowlevel.in_trio_run()
_private.abandon_run()
assert not trio.lowlevel.in_trio_run()
trio.run(trio.sleep, 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_nobody_pays_who_does_not_use_it() -> None:
    code = (
        "import sys, trio_supervisor; "
        "assert not [m for m in sys.modules if m.startswith('trio_supervisor.testing')]; "
        "import trio_supervisor.testing.pytest_plugin; "
        "from trio_supervisor.testing import simulate, check_trace, Pilot; "
        "assert 'hypothesis' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
