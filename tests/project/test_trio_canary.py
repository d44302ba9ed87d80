"""Says loudly when Trio has moved something private that this library leans on, and what to do."""

from __future__ import annotations

import inspect

import pytest
import trio
from helpers.support import run_virtual

from trio_supervisor._attempts.open_nurseries import close_leftovers


def test_a_nursery_can_be_closed_from_outside_its_block() -> None:
    """`_leftover.close_leftovers` uses these three; without them it has to learn a new way."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            finish = getattr(nursery, "_nested_child_finished", None)
            assert inspect.iscoroutinefunction(finish), "Nursery._nested_child_finished has moved"
            assert list(inspect.signature(finish).parameters) == ["nested_child_exc"]
            close = getattr(nursery.cancel_scope, "_close", None)
            assert inspect.ismethod(close), "CancelScope._close has moved"
            assert list(inspect.signature(close).parameters) == ["exc"]
            # Not needed for correctness: without it, every crash pays for cancelling its scope.
            assert getattr(nursery, "_pending_starts", None) == 0, "_pending_starts has moved"

    run_virtual(main)


def test_what_the_helper_is_for_still_breaks_a_plain_nursery() -> None:
    """If this fails, Trio has learnt to close abandoned nurseries, and the helper can go."""

    async def abandon() -> None:
        await trio.open_nursery().__aenter__()

    async def main() -> None:
        async with trio.open_nursery():
            await abandon()

    with pytest.raises((AssertionError, RuntimeError, trio.TrioInternalError)):
        trio.run(main)


def test_the_helper_leaves_a_task_as_it_was_before_the_nursery() -> None:
    async def main() -> None:
        task = trio.lowlevel.current_task()
        async with trio.open_nursery() as keep:
            inner = await trio.open_nursery().__aenter__()
            inner.start_soon(trio.sleep_forever)
            innermost = await trio.open_nursery().__aenter__()
            innermost.start_soon(trio.sleep_forever)
            found = await close_leftovers(task, keep)
            assert [type(error) for error in found] == [RuntimeError]
            assert task.child_nurseries == [keep]
            await trio.sleep(1)  # nothing is cancelled here
        assert trio.current_effective_deadline() > trio.current_time()

    run_virtual(main)
