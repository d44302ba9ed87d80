"""What is left of a shell, for the children of a supervisor that has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, final
from weakref import ref

from trio_supervisor._errors import SupervisorClosed
from trio_supervisor._runtime.messages import Reply
from trio_supervisor._runtime.refusals import closed_error

if TYPE_CHECKING:
    from trio_supervisor._brain import messages as o
    from trio_supervisor._runtime.shell import Shell


@final
class EndedShell:
    """Stands in for a shell that has ended, in the slots of its children.

    A shell has its slots, and while it runs each slot has its shell. After the end the slots are
    given this instead, which does not lead back to them. So all of a supervisor is freed as soon as
    nothing refers to it, without a run of Python's cycle collector: a nested supervisor that is
    restarted often would else leave a whole tree behind each time.
    """

    is_over = True
    is_stopping = True

    def __init__(self, shell: Shell) -> None:
        self.path = shell.path
        self.run = shell.run
        self.tree = shell.tree
        self.machine = shell.machine
        self.watched = shell.watched
        self._shell = ref(shell)

    @property
    def parent(self) -> Shell | None:
        """The shell above, if it is still known."""
        shell = self._shell()
        return None if shell is None else shell.parent

    def command(self, command: o.Command) -> Reply:
        """Refuse ``command``."""
        shell = self._shell()
        reply = Reply()
        error = SupervisorClosed(f"{self.path} has ended") if shell is None else closed_error(shell)
        reply.refuse(error)
        return reply
