"""Closes the nurseries that a body opened by hand and never closed.

Trio has no public way to do that: its answer to ``await nursery_manager.__aenter__()`` without the
``__aexit__`` is to fail an assertion in the nursery *around* it, which here would be the attempt's.
An attempt has to end with everything in it gone, whatever the body did. So this one module uses
three private names of Trio; ``tests/project/test_trio_canary.py`` fails when one of them moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import trio


async def close_leftovers(task: trio.lowlevel.Task, keep: trio.Nursery) -> list[BaseException]:
    """Cancel and close every nursery that ``task`` has open inside ``keep``, the innermost first.

    Waits for the tasks in them. Returns the crash that this is, and what came out of those tasks.
    """
    found: list[BaseException] = [
        RuntimeError(
            "the body ended and left a nursery open; open it with 'async with', or start its tasks "
            "in child.nursery, where they may outlive the body"
        )
    ]
    while (innermost := task.child_nurseries[-1]) is not keep:
        innermost.cancel_scope.cancel("the body ended and left this nursery open")
        nursery: Any = innermost
        error = await nursery._nested_child_finished(None)
        error = nursery.cancel_scope._close(error)
        if error is not None:
            found.append(error)
    return found  # noqa: ASYNC910 - called only when there is something to wait for
