"""The failure of a child that is a process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from trio_supervisor._errors import TaskFailure
from trio_supervisor._lazy import public


@public
@final
class ProcessFailed(TaskFailure):
    """The failure of a `process` or `in_process` child; its attempt ends as `Failed`.

    Attributes:
        message: One line: the program, how it ended, and its last line of standard error.
        category: ``"start"``: the program could not be started. ``"exit"``: it exited with a status
            that means failure. ``"signal"``: a signal ended it. ``"watchdog"``: it asked for a
            restart (``WATCHDOG=trigger``). ``"lost"``: its exit status is not known.
        exit_code: What the program exited with; `None` if it did not exit by itself.
        signal: The number of the signal that ended the program, or `None`.
        core_dumped: Whether the program dumped core.
        stderr: The last lines that the program wrote to standard error, at most ten.
    """

    def __init__(
        self,
        message: str = "",
        *,
        category: str = "exit",
        exit_code: int | None = None,
        signal: int | None = None,
        core_dumped: bool = False,
        stderr: Sequence[str] = (),
    ) -> None:
        super().__init__(message, category=category)
        self.exit_code = exit_code
        self.signal = signal
        self.core_dumped = core_dumped
        self.stderr: tuple[str, ...] = tuple(stderr)


@public
@final
class RemoteError(Exception):
    """Stands for an exception of an `in_process` child that cannot be brought over.

    An exception that can be pickled arrives as itself. In both cases a note has the traceback of
    the other process.

    Attributes:
        type_name: The qualified name of the exception's type.
    """

    def __init__(self, message: str = "", *, type_name: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
