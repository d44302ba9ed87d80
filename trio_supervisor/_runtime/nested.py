"""What a nested supervisor and the supervisor above it say to each other.

A nested supervisor is an attempt of its parent whose body opens a block of its own. Neither shell
changes a field of the other; all that passes between them passes here:

1. The parent starts an attempt whose body is `run_nested`, with a `NestedLink` to itself.
2. The nested shell calls `NestedLink.opened` when its children exist: the parent's slot of that
   child knows it from now on, for snapshots and for paths such as ``"sessions/s-1"``.
3. The body calls ``ready()`` with the nested `Supervisor`, once the first start is complete.
4. A stop request of the parent reaches the attempt. The link has asked to be told
   (`Attempt.listen_for_stop`) and posts a `ParentStop` to the nested shell, whose orderly shutdown
   begins. A second request with an earlier deadline takes the same way.
5. Without grace the parent cancels the attempt's scope. The cancellation watch of the nested block
   turns this into a signal, as it does for a root.
6. The body returns the `ShutdownReport`, or raises the error of the nested supervisor. When the
   parent notes the exit, `Slot.detach_nested` gives it that report and forgets the nested shell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from trio_supervisor._runtime.messages import ParentStop

if TYPE_CHECKING:
    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._runtime.shell import Shell


@final
class NestedLink:
    """The connection of a nested supervisor to the supervisor above it.

    Args:
        parent: The shell above.
        attempt: The attempt of the parent's child in which the nested supervisor runs.
    """

    __slots__ = ("attempt", "parent")

    def __init__(self, parent: Shell, attempt: Attempt) -> None:
        self.parent = parent
        self.attempt = attempt

    def opened(self, nested: Shell) -> None:
        """Let the parent find the nested supervisor below the child."""
        self.parent.slots[self.attempt.name].nested = nested

    def listen_for_stop(self, nested: Shell) -> None:
        """Have each stop request of the parent posted to the nested supervisor."""

        def stop_requested(attempt: Attempt) -> None:
            if not nested.is_over:
                nested.collector.post(ParentStop(attempt))

        self.attempt.listen_for_stop(stop_requested)
