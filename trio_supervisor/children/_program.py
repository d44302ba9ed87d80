"""A running program and its process group: wait for it, signal it, end it, learn how it ended.

The group keeps the number of its leader. That number cannot be given to another process while the
leader has not been collected, nor while any member of the group is alive. So the group may be
signalled right after the leader was collected, and as long as the last look, a moment ago, found
members.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path
from select import POLLIN, poll
from typing import TYPE_CHECKING, Final, final

import trio

from trio_supervisor._record import Record
from trio_supervisor.children._own_processes import started

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN_VARIABLE: Final = "TRIO_SUPERVISOR_ATTEMPT_ID"  # noqa: S105 - not a secret
"""Names the attempts that a process belongs to, in its environment; descendants inherit it."""

_LOOK_FIRST_AFTER: Final = 0.001
_LOOK_EVERY: Final = 0.05
_UNKILLABLE_AFTER: Final = 5.0


@final
class ExitStatus(Record):
    """The end of a process: an exit or a signal."""

    code: int | None = None
    """What the process exited with; `None` if a signal ended it, or nothing is known."""
    signal: int | None = None
    """The signal that ended the process, if one did."""
    core: bool = False
    """Whether the process dumped core."""

    @property
    def is_known(self) -> bool:
        """Whether anything is known."""
        return self.code is not None or self.signal is not None

    def describe(self) -> str:
        """Say it in words, for a log line."""
        if self.code is not None:
            return f"exited with status {self.code}"
        if self.signal is None:
            return (
                "ended, but other code in this process has collected its exit status (a SIGCHLD "
                "handler, or waitpid(-1))"
            )
        if self.signal == signal.SIGKILL:
            return "was ended by SIGKILL (by another process, or by the kernel for lack of memory)"
        return f"was ended by {signal_name(self.signal)}{' (core dumped)' if self.core else ''}"


def signal_name(number: int) -> str:
    """Return ``"SIGTERM"`` for 15, and ``"signal 35"`` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@final
class Program:
    """A process that was started as the leader of a group of its own."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.status: ExitStatus | None = None
        """How the process ended, once that has been collected."""
        self._pidfd = pidfd
        self._members: list[int] = []  # of the group, as far as they have been seen alive

    async def wait_ended(self) -> None:
        """Wait until the process has ended. A checkpoint; cancelling it changes nothing."""
        await trio.lowlevel.wait_readable(self._pidfd)

    def has_ended(self) -> bool:
        """Whether the process has ended, collected or not."""
        look = poll()
        look.register(self._pidfd, POLLIN)
        return bool(look.poll(0))

    def collect(self) -> None:
        """Collect the exit status of the process, which has ended."""
        try:
            found = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        except ChildProcessError:
            self.status = _recovered(self._pidfd)
        else:
            assert found is not None
            ended = found.si_status
            if found.si_code == os.CLD_EXITED:
                self.status = ExitStatus(code=ended)
            else:
                self.status = ExitStatus(signal=ended, core=found.si_code == os.CLD_DUMPED)
        started.discard(self.pid)

    def send_signal(self, number: int) -> None:
        """Send a signal to the process alone.

        Raises:
            ProcessLookupError: The process has ended.
            PermissionError: The process belongs to another user by now.
        """
        if self._pidfd < 0:
            raise ProcessLookupError("the process has ended")
        signal.pidfd_send_signal(self._pidfd, number)

    def signal_group(self, number: int) -> bool:
        """Send a signal to each process of the group; return whether there was any."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:  # each process that is left belongs to another user
            return True
        return True

    def group_is_empty(self) -> bool:
        """Whether no process of the group is alive. The leader must have been collected.

        Dead members that their parent has not collected count as gone: in a container whose first
        process collects nothing they would be there for ever.
        """
        with suppress(ChildProcessError):  # ours only if this process adopts orphans
            while os.waitid(os.P_PGID, self.pid, os.WEXITED | os.WNOHANG) is not None:
                pass
        if not self.signal_group(0):
            return True
        self._members = [pid for pid in self._members if _is_alive_in(pid, self.pid)]
        if not self._members:
            self._members = [pid for pid in _all_processes() if _is_alive_in(pid, self.pid)]
        return not self._members

    async def wait_group(self) -> None:
        """Wait until the group is empty. A checkpoint; the leader must have been collected."""
        pause = _LOOK_FIRST_AFTER
        while not self.group_is_empty():
            await trio.sleep(pause)
            pause = min(2 * pause, _LOOK_EVERY)
        await trio.lowlevel.checkpoint()

    async def kill(self) -> bool:
        """End the whole group by force and collect its leader.

        Returns:
            Whether the group is empty now. Processes in an uninterruptible wait, and processes of
            another user, may be left after five seconds.
        """
        with trio.CancelScope(shield=True):  # noqa: ASYNC912 - SIGKILL ends it
            if self.status is None:
                self.signal_group(signal.SIGKILL)
                await self.wait_ended()
                self.collect()
            pause = _LOOK_FIRST_AFTER
            with trio.move_on_after(_UNKILLABLE_AFTER):  # noqa: ASYNC912 - likewise
                while not self.group_is_empty():
                    # Again and again: a member may have forked while it was being killed.
                    self.signal_group(signal.SIGKILL)
                    await trio.sleep(pause)
                    pause = min(2 * pause, _LOOK_EVERY)
                return True  # noqa: ASYNC910 - an empty group needs no wait
        return False

    def close(self) -> None:
        """Close the descriptor. The process must have been collected."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


# struct pidfd_info of linux/pidfd.h, first version: 64 bytes, the exit status last.
_INFO: Final = struct.Struct("=QQ11Ii")
_GET_INFO: Final = 0xC040FF0B
_INFO_EXIT: Final = 1 << 3


def _recovered(pidfd: int) -> ExitStatus:
    """Return the exit status of a process that other code has collected, as far as it is known.

    The kernel keeps it as long as there is a pidfd (Linux 6.15).
    """
    if not sys.platform.startswith("linux"):
        return ExitStatus()
    import fcntl  # noqa: PLC0415 - for a rare accident

    ask = bytearray(_INFO.size)
    _INFO.pack_into(ask, 0, _INFO_EXIT, *[0] * 13)
    try:
        fcntl.ioctl(pidfd, _GET_INFO, ask)
    except OSError:
        return ExitStatus()
    mask, *_, status = _INFO.unpack(ask)
    if not mask & _INFO_EXIT:
        return ExitStatus()
    if os.WIFSIGNALED(status):
        return ExitStatus(signal=os.WTERMSIG(status), core=os.WCOREDUMP(status))
    return ExitStatus(code=os.WEXITSTATUS(status))


# ---- processes that have left the group


def end_escaped(token: str) -> list[str]:
    """End each process that has ``token`` in its environment; return their ids and names.

    A program that forks twice and opens a session of its own has left its group. What it has not
    left is the environment, which each process inherits. Reads the whole process table: call it in
    a thread.
    """
    ended: list[str] = []
    for pid in _with_token(token):
        with suppress(ProcessLookupError):
            name = _name_of(pid)
            pidfd = os.pidfd_open(pid)
            try:
                if _has_token(pid, token):  # still the same process: it is pinned now
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    ended.append(f"{pid} ({name})")
                    _await_end(pidfd)
            finally:
                os.close(pidfd)
    return ended


def _await_end(pidfd: int) -> None:
    waiting = poll()
    waiting.register(pidfd, POLLIN)
    waiting.poll(1000)
    with suppress(ChildProcessError):  # ours only if this process adopts orphans
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)


def _with_token(token: str) -> Iterator[int]:
    return (pid for pid in _all_processes() if _has_token(pid, token))


def _all_processes() -> Iterator[int]:
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                yield int(entry.name)


def _is_alive_in(pid: int, group: int) -> bool:
    """Whether ``pid`` is a process of ``group`` that has not ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    state, _, pgrp, *_ = stat.rpartition(b")")[2].split(maxsplit=3)
    return int(pgrp) == group and state not in (b"Z", b"X")


def _has_token(pid: int, token: str) -> bool:
    try:
        return token.encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone, or another user's
        return False


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "?"
