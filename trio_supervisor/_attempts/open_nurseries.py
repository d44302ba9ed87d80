"""Closes the nurseries that a body has opened and not closed.

Trio has no public way to do that: its answer to ``await nursery_manager.__aenter__()`` without the
``__aexit__`` is to fail an assertion in the nursery *around* it, which here would be the attempt's.
An attempt has to end with everything in it gone, whatever the body did. So this one module uses
three private names of Trio; ``tests/project/test_trio_canary.py`` fails when one of them moves.

The usual way to leave a nursery open is an async generator that holds one: a body that raises or
returns inside ``async for`` drops the generator. Trio then closes the generator in a task of its
own, while the nursery is being closed here. There its ``__aexit__`` would take *another* nursery
off this task, the attempt's own; so a nursery that is closed here refuses to be closed again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import trio


async def close_leftovers(task: trio.lowlevel.Task, keep: trio.Nursery) -> list[BaseException]:
    """Cancel and close every nursery that ``task`` has open inside ``keep``, the innermost first.

    Waits for the tasks in them.

    Returns:
        The crash that this is, and the exceptions of the tasks.
    """
    found: list[BaseException] = [
        RuntimeError(
            "the body ended and left a nursery open; open it with 'async with', or start its tasks "
            "in child.nursery, where they may outlive the body. (A generator that holds a nursery "
            "is closed by `async with contextlib.aclosing(generator)`)"
        )
    ]
    while (innermost := task.child_nurseries[-1]) is not keep:
        innermost.cancel_scope.cancel("the body ended and left this nursery open")
        nursery: Any = innermost
        finish = nursery._nested_child_finished
        nursery._nested_child_finished = _refuse
        error = await finish(None)
        error = nursery.cancel_scope._close(error)
        if error is not None:
            found.append(error)
    return found  # noqa: ASYNC910 - called only when there is something to wait for


async def _refuse(nested_child_exc: BaseException | None) -> BaseException:  # noqa: ASYNC124 - Trio awaits it
    raise RuntimeError("this nursery was left open, and was closed with the attempt of its child")
