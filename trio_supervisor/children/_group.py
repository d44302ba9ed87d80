"""One attempt's processes: start the first of them, read what they write, end them all.

Both kinds of children that are processes stand on this: `process` and `in_process`.
"""

from __future__ import annotations

import logging
import os
import secrets
from typing import TYPE_CHECKING, Final, final

import trio

from trio_supervisor.children import _guardian as guardian
from trio_supervisor.children._failures import ProcessFailed
from trio_supervisor.children._output import Output
from trio_supervisor.children._program import (
    TOKEN_VARIABLE,
    ExitStatus,
    Program,
    end_escaped,
)
from trio_supervisor.children._spawner import ExitLostError, Launch, launch

if TYPE_CHECKING:
    from trio_supervisor._attempts.context import ChildContext

# What belongs to this process alone: a program would take them for its own.
_NOT_INHERITED: Final = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)

_log = logging.getLogger("trio_supervisor.children")


@final
class Group:
    """The processes of one attempt of ``child``; make one, `start` it, and `end` it in any case.

    Args:
        child: The context of the attempt.
        label: The name of the program in errors.
    """

    program: Program
    """The first process, the leader of the group; there after `start`."""
    output: Output
    """What the processes write; there after `start`."""

    def __init__(self, child: ChildContext, label: str) -> None:
        self.label = label
        self.token = f"{guardian.token()}.{secrets.token_hex(8)}"
        """In the environment of every process of this attempt, and of no other."""
        self._child = child

    async def start(
        self,
        command: tuple[str, ...],
        *,
        env: dict[str, str],
        cwd: str | None,
        output: str,
        level: int,
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        """Start the first process.

        Raises:
            ProcessFailed: It cannot be started.
        """
        inherited = env.get(TOKEN_VARIABLE)
        env[TOKEN_VARIABLE] = f"{inherited}:{self.token}" if inherited else self.token
        try:
            launched = await launch(Launch(command, env, cwd, output, pass_fds))
        except ExitLostError as error:
            raise self.failure(ExitStatus()) from error
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or str(error)
            place = getattr(error, "filename", None) or command[0]
            raise ProcessFailed(
                f"cannot start {self.label}: {problem}: {place!r}", category="start"
            ) from error
        self.program = Program(launched.pid, launched.pidfd)
        child = self._child
        self.output = Output(child.path, child.attempt, level, launched.pid)
        for name, descriptor in (("stdout", launched.stdout), ("stderr", launched.stderr)):
            if descriptor is not None:
                self.output.add(name, descriptor)

    def read_output(self, nursery: trio.Nursery) -> None:
        """Read and log what the processes write, in tasks that run until they are cancelled."""
        for stream in self.output.streams:
            nursery.start_soon(stream.read)
        nursery.start_soon(self.output.write)

    async def end(self) -> None:
        """End by force what is left, and clean up. Runs to its end when it is cancelled."""
        with trio.CancelScope(shield=True):
            path, program = self._child.path, self.program
            if not await program.kill():
                _log.error("%s: processes of its group %d cannot be ended", path, program.pid)
            # A limiter of its own: the application may have used up the default one.
            escaped = await trio.to_thread.run_sync(
                self._end_others, limiter=trio.CapacityLimiter(1)
            )
            if escaped:
                _log.warning(
                    "%s: ended %d processes that had left its group: %s",
                    path,
                    len(escaped),
                    ", ".join(escaped),
                )
            program.close()
            await self.output.finish()

    def _end_others(self) -> list[str]:
        escaped = end_escaped(self.token)
        guardian.unwatch(self.program.pid)
        return escaped

    def failure(self, status: ExitStatus, more: str = "") -> ProcessFailed:
        """Return the failure that an exit with ``status`` is."""
        stderr = tuple(self.output.tail) if hasattr(self, "output") else ()
        category = "lost" if not status.is_known else "exit" if status.signal is None else "signal"
        last = next((line for line in reversed(stderr) if line.strip()), "")
        error = ProcessFailed(
            f"{self.label} {status.describe()}{more}" + (f"; stderr: {last}" if last else ""),
            category=category,
            exit_code=status.code,
            signal=status.signal,
            core_dumped=status.core,
            stderr=stderr,
        )
        if len(stderr) > 1:
            error.add_note("the last lines of its standard error:\n  " + "\n  ".join(stderr))
        return error


def inherited_environment() -> dict[str, str]:
    """Return the environment of this process without what is meant for this process alone."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
