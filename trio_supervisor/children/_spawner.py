"""Start programs from one thread that lives as long as the interpreter.

A parent-death signal, which ends a program together with this process even after ``kill -9``, fires
when the *thread* that forked the program ends. Trio's worker threads end after ten idle seconds, so
a program that one of them had forked would be killed in good health. Hence a thread for this alone.

The thread opens the program's pidfd before anything else can happen to its process id, and records
the id among this library's own.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cache
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

import trio

from trio_supervisor._errors import SupervisorError
from trio_supervisor._record import Record
from trio_supervisor.children import _guardian as guardian
from trio_supervisor.children._own_processes import lock, started

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_PR_SET_PDEATHSIG: Final = 1


@final
class Launch(Record):
    """A program to start, and how to start it."""

    command: tuple[str, ...]
    env: dict[str, str]
    cwd: str | None = None
    output: str = "log"
    """``"log"``: through pipes to the caller; ``"inherit"``, ``"discard"``."""
    pass_fds: tuple[int, ...] = ()


@final
class Launched(Record):
    """A program that has been started: its process id, and descriptors for the caller to close."""

    pid: int
    pidfd: int
    stdout: int | None
    stderr: int | None


class ExitLostError(Exception):
    """The program was started, and other code has collected its exit before anything was known."""


def check_platform(adapter: str) -> None:
    """Refuse a platform on which a process cannot be waited for and signalled without a race.

    Raises:
        SupervisorError: The system has no pidfd (Linux has it since 5.3).
    """
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            return  # there are process descriptors, only none left now
        raise SupervisorError(
            f"{adapter}() needs process descriptors (pidfd_open, Linux 5.3 or newer); "
            f"this {sys.platform} system has none"
        ) from error


async def launch(what: Launch) -> Launched:
    """Start a program and return its descriptors. A checkpoint; cannot be cancelled meanwhile.

    Raises:
        OSError: The program cannot be started; the error says why.
        ExitLostError: The program was started, and other code has collected its exit status.
    """
    return await _run_in_the_thread(lambda: _start(what), _discard)


def _start(what: Launch) -> Launched:
    opened: list[int] = []
    try:
        out_read = err_read = None
        out_write = err_write = None if what.output == "inherit" else subprocess.DEVNULL
        if what.output == "log":
            out_read, out_write = _pipe(opened)
            err_read, err_write = _pipe(opened)
        with lock:
            process = subprocess.Popen(  # noqa: S603 - the user's own command
                what.command,
                stdin=subprocess.DEVNULL,
                stdout=out_write,
                stderr=err_write,
                env=what.env,
                cwd=what.cwd,
                pass_fds=what.pass_fds,
                process_group=0,
                preexec_fn=_in_the_new_process(os.getpid()),  # noqa: PLW1509 - see there
            )
            process.returncode = 0  # so that the object never waits for the process itself
            started.add(process.pid)
            try:
                pidfd = os.pidfd_open(process.pid)
            except ProcessLookupError as error:
                _end_unwatched(process.pid)
                raise ExitLostError from error
            except OSError:
                _end_unwatched(process.pid)
                raise
        guardian.watch(process.pid)
        for descriptor in opened[1::2]:  # the program's ends
            os.close(descriptor)
        return Launched(process.pid, pidfd, out_read, err_read)
    except BaseException:
        for descriptor in opened:
            os.close(descriptor)
        raise


def _pipe(opened: list[int]) -> tuple[int, int]:
    read, write = os.pipe()
    opened += read, write
    os.set_blocking(read, False)
    return read, write


def _end_unwatched(pid: int) -> None:
    """End a program that has no pidfd."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
    started.discard(pid)


def _discard(launched: Launched) -> None:
    """End a program that nothing waits for, because the Trio run has ended meanwhile."""
    _end_unwatched(launched.pid)
    guardian.unwatch(launched.pid)
    for descriptor in (launched.pidfd, launched.stdout, launched.stderr):
        if descriptor is not None:
            os.close(descriptor)


def _in_the_new_process(parent: int) -> Callable[[], None]:
    """Return what is to be run between fork and exec.

    Nothing there may import, allocate much, or take a lock: other threads of this process may have
    held one at the fork.
    """
    prctl = _find_prctl()

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            if os.getppid() != parent:  # it has died before the line above
                os._exit(127)

    return prepare


@cache
def _find_prctl() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    import ctypes  # noqa: PLC0415 - only needed to start programs

    return getattr(ctypes.CDLL(None), "prctl", None)


# ---- the thread

_requests: SimpleQueue[Callable[[], None]] = SimpleQueue()
_thread: Thread | None = None


async def _run_in_the_thread(work: Callable[[], T], discard: Callable[[T], None]) -> T:
    """Run ``work`` in the forking thread; ``discard`` its result if the Trio run has ended."""
    token = trio.lowlevel.current_trio_token()
    done = trio.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def job() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: ASYNC103 - raised in the waiting task
            errors.append(error)
        try:
            token.run_sync_soon(done.set)
        except trio.RunFinishedError:
            for result in results:
                discard(result)

    _ensure_thread()
    _requests.put(job)
    with trio.CancelScope(shield=True):
        await done.wait()
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()  # the traceback leads here
    return results[0]


def _ensure_thread() -> None:
    global _thread  # noqa: PLW0603 - one thread per process is the point
    if _thread is None or not _thread.is_alive():
        _thread = Thread(target=_serve, name="trio_supervisor starts programs", daemon=True)
        _thread.start()


def _serve() -> None:
    while True:
        _requests.get()()


def _forget_thread() -> None:
    """In a forked child of this process there is no such thread, and no request for it."""
    global _thread, _requests  # noqa: PLW0603
    _thread = None
    _requests = SimpleQueue()


os.register_at_fork(after_in_child=_forget_thread)
