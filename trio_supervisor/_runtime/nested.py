"""The protocol between a nested supervisor and the supervisor above it.

A nested supervisor is an attempt of its parent whose body opens a block of its own. Neither shell
changes a field of the other; all that passes between them passes here:

1. The parent starts an attempt whose body is `run_nested`, with a `NestedLink` to itself.
2. When the block is entered, `NestedLink.enter` lets the parent's slot of that child know the
   nested shell, for snapshots and for paths such as ``"sessions/s-1"``.
3. The body calls ``ready()`` with the nested `Supervisor`, once the first start is complete.
4. A stop request of the parent reaches the attempt. The link has asked to be told
   (`Attempt.add_stop_listener`) and posts a `ParentStop` to the nested shell, whose orderly
   shutdown begins. A second request with an earlier deadline takes the same way.
5. Without grace the parent cancels the attempt's scope. The cancellation watch of the nested block
   turns this into a signal, as it does for a root.
6. `shutdown()` of the nested supervisor becomes a `StopChild` of that child in the parent. A
   decision `ShutdownTree` inside becomes a shutdown of the root.
7. The body returns the `ShutdownReport`, or raises the error of the nested supervisor. When the
   parent notes the exit, `Slot.detach_below` gives it that report and forgets the nested shell.

A supervisor that a body opens with `ChildContext.open_supervisor` uses the same link. It is no
child: it has no state of its own in the parent, the slot knows it by name, and it is forgotten as
soon as it has finished (`NestedLink.leave`), while the attempt may go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final
from weakref import ref

from trio_supervisor._brain import messages as o
from trio_supervisor._errors import SupervisorError
from trio_supervisor._runtime.messages import ParentStop

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._runtime.shell import Shell


@final
class NestedLink:
    """The connection of a supervisor to the supervisor above it.

    Args:
        parent: The shell above.
        attempt: The attempt of the parent's child in which the supervisor runs.
        opened_as: The name under which the attempt has opened it; `None` if the supervisor is the
            child itself.
    """

    __slots__ = ("_held", "_opened_as", "_parent", "_stop_listener", "attempt")

    def __init__(self, parent: Shell, attempt: Attempt, opened_as: str | None = None) -> None:
        self._parent = ref(parent)
        self._held: Shell | None = parent  # as long as this supervisor has not ended
        self._stop_listener: Callable[[Attempt], None] | None = None
        self.attempt = attempt
        self._opened_as = opened_as

    @property
    def parent(self) -> Shell | None:
        """The shell above; `None` once this supervisor and the one above have ended."""
        return self._parent()

    def untie(self) -> None:
        """The supervisor has ended: hold on to the one above no longer.

        The one above keeps the error of this one, with its traceback, and that leads to frames with
        this supervisor in a variable.
        """
        self._held = None
        self.attempt.remove_stop_listener(self._stop_listener)
        self._stop_listener = None

    @property
    def is_child(self) -> bool:
        """Whether the supervisor is a child of the parent, and not opened by one."""
        return self._opened_as is None

    def stop_child(self, reason: str, grace: float | None) -> None:
        """Have the supervisor above take the child down, as `stop_child` of it would.

        So the child stays down until it is restarted, and nothing is charged or restarted with it.
        Not to be called once the supervisor is over: the child's next run is another supervisor.
        """
        parent = self.parent
        assert parent is not None
        parent.command(o.StopChild(self.attempt.name, reason, grace=grace))

    def stop_tree(self, reason: str) -> None:
        """Stop the whole tree in order, from its root; each supervisor works until its turn."""
        root = above = self.parent
        while above is not None:
            root, above = above, above.parent
        assert root is not None
        root.collector.post(o.Shutdown(reason))

    def enter(self, nested: Shell) -> None:
        """Let the parent find the supervisor below the child, and have each stop request posted.

        Raises:
            SupervisorError: The attempt has ended, or has opened another one of that name.
        """
        attempt, name = self.attempt, self._opened_as
        if attempt.ended_at is not None:
            raise SupervisorError(f"{attempt!r} has ended: it cannot open {nested.path}")
        parent = self.parent
        assert parent is not None  # nothing has ended yet
        slot = parent.slots[attempt.name]
        if name is None:
            slot.nested = nested
        else:
            slot.opened = slot.opened or {}
            if name in slot.opened:
                raise SupervisorError(f"{nested.path} is open already: give it another name")
            slot.opened[name] = nested
            if nested.spec.log_level is not None:
                parent.tree.log.levels[nested.path] = nested.spec.log_level

        def stop_requested(attempt: Attempt) -> None:
            nested.collector.post(ParentStop(attempt))  # no effect once the supervisor is over

        attempt.add_stop_listener(stop_requested)
        self._stop_listener = stop_requested
        if attempt.stop_requested:
            stop_requested(attempt)

    def leave(self, nested: Shell) -> None:
        """The supervisor has finished: one that an attempt has opened is seen no longer."""
        name, parent = self._opened_as, self.parent
        if name is None or parent is None:
            return
        slot = parent.slots.get(self.attempt.name)
        if slot is not None and slot.opened is not None and slot.opened.get(name) is nested:
            del slot.opened[name]
            parent.tree.log.levels.pop(nested.path, None)
            if nested.report is not None:
                parent.note_report_below(nested.report)
