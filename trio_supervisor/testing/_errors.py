"""The exceptions that the kit raises; a failed check is an `AssertionError`."""

from __future__ import annotations

from typing import final

from trio_supervisor._lazy import public


@public
@final
class TrioMoved(RuntimeError):
    """The installed release of Trio keeps its scheduler elsewhere, so runs cannot be replayed.

    The message names the missing name and the releases that are known to work.
    """


@public
@final
class LiveLock(AssertionError):
    """Tasks took thousands of steps while no time passed, or a task ignored its cancellation.

    The notes show every task and the line at which it waits.
    """


@public
@final
class Stuck(AssertionError):
    """Virtual time ran out while a task was still waiting; the notes show which, and where."""


@public
@final
class NeverAwaited(AssertionError):
    """A coroutine of the run was never awaited, so the call that made it had no effect.

    The message names the coroutine and the line that made it.
    """


@public
@final
class UnprovokedFailure(AssertionError):
    """A child failed by itself: neither the kit nor a `Behaviour` made it fail.

    Raised only where ``allow_crashes=False`` was given. The message shows each such exit.
    """


@public
@final
class TaskLeftBehind(AssertionError):
    """A task that was not there before the scenario was still there after it."""
