"""`in_process`: a Trio child in a process of its own, which can be ended by force."""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVarTuple, final

import trio

from trio_supervisor._attempts.context import ChildContext
from trio_supervisor._errors import SpecError, SupervisorError
from trio_supervisor._lazy import public
from trio_supervisor._record import Record
from trio_supervisor._specs.body import Body, label_of
from trio_supervisor._specs.check_run import check_run
from trio_supervisor.children import _spawner
from trio_supervisor.children._check import is_number
from trio_supervisor.children._frames import Message, dumps, error_of, pack, unpack, unpickle
from trio_supervisor.children._group import Group, inherited_environment
from trio_supervisor.children._process import OutputTo

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

Ts = TypeVarTuple("Ts")

# The path comes first: without it the worker might not find this package.
_BOOT: Final = (
    "import json,socket,sys;s=socket.socket(fileno=int(sys.argv[1]));"
    "n=int.from_bytes(s.recv(4,socket.MSG_WAITALL),'big');"
    "sys.path[:]=json.loads(s.recv(n,socket.MSG_WAITALL));"
    "from trio_supervisor.children._worker import main;main(s)"
)
_CHUNK: Final = 65536
_LAST_WORDS: Final = 1.0
_LONGEST_BOOT: Final = 60.0

_log = logging.getLogger("trio_supervisor.children")


class _InProcess(Record):
    """The arguments of `in_process`, checked."""

    async_fn: Callable[..., Awaitable[object]]
    args: tuple[Any, ...]
    kill_after: float
    output: OutputTo
    output_level: int

    async def __call__(self, child: ChildContext) -> object:
        return await _Run(self, child).run()


@final
class _Run:
    """One attempt of an `in_process` child, as the supervisor's process sees it."""

    def __init__(self, what: _InProcess, child: ChildContext) -> None:
        self._what = what
        self._child = child
        self._where = f"the process of {label_of(what.async_fn)}"
        self._group = Group(child, self._where)
        self._stream: trio.SocketStream
        self._sending = trio.Lock()
        self._exit: Message | None = None
        self._exit_heard = trio.Event()
        self._silent = trio.Event()  # nothing more comes from the worker
        self._is_up = False
        self._asked: dict[int, trio.CancelScope] = {}  # questions of the worker, by number
        self._busy: AbstractContextManager[None] | None = None
        self._helpers = trio.CancelScope(shield=True)

    async def run(self) -> object:
        what = self._what
        _check_main_is_imported()
        self._set_busy(_LONGEST_BOOT)  # the time until the function can say anything
        ours, theirs = socket.socketpair()
        with ours:
            try:
                await self._group.start(
                    _command(theirs.fileno()),
                    env=inherited_environment(),
                    cwd=None,
                    output=what.output,
                    level=what.output_level,
                    pass_fds=(theirs.fileno(),),
                )
            finally:
                theirs.close()
            ours.setblocking(False)
            self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._help)
                    try:
                        await self._wait()
                    finally:
                        self._helpers.cancel("the process has ended")
            finally:
                await self._group.end()  # noqa: ASYNC102 - shielded there
        return await self._outcome()

    # ---- while it runs

    async def _help(self) -> None:
        """Talk to the worker and read its output until its end, in spite of a cancel."""
        with self._helpers:
            async with trio.open_nursery() as nursery:
                self._group.read_output(nursery)
                nursery.start_soon(self._listen)
                nursery.start_soon(self._end_after_exit)
                await self._send_job()
                await self._pass_on_stop()  # which the worker would take for its job before that

    async def _wait(self) -> None:
        """Wait for the end of the process. A cancel is passed on, and becomes force."""
        program = self._group.program
        try:
            await program.wait_ended()
        except trio.Cancelled as cancelled:
            if self._is_up:  # otherwise the function has not begun
                with trio.move_on_after(self._what.kill_after, shield=True):
                    await self._send("cancel", cancelled.reason or "cancelled")
                    await program.wait_ended()
            if program.has_ended():
                with trio.move_on_after(_LAST_WORDS, shield=True):
                    await self._silent.wait()
            if self._exit is not None and self._exit[1] == "error":
                # As of any child: what is raised in the cleanup is what comes out.
                raise error_of(self._exit, self._where) from None  # noqa: ASYNC104
            raise
        program.collect()
        with trio.move_on_after(_LAST_WORDS):
            await self._silent.wait()

    async def _send(self, *message: object) -> None:  # noqa: ASYNC910 - the lock is a checkpoint
        try:
            async with self._sending:
                await self._stream.send_all(pack(message))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the worker has ended, and that is noticed elsewhere

    async def _send_job(self) -> None:
        what, child = self._what, self._child
        path = json.dumps(sys.path).encode()
        job = {
            "call": dumps((what.async_fn, what.args)),
            "name": child.name,
            "path": child.path,
            "number": child.attempt,
            "generation": child.generation,
            "readiness": str(child._attempt.spec.readiness),
        }
        async with self._sending:
            try:
                await self._stream.send_all(len(path).to_bytes(4, "big") + path)
            except trio.BrokenResourceError:
                return
        await self._send(_preparation(), job)

    async def _pass_on_stop(self) -> None:
        await self._child.wait_stop_requested()
        attempt = self._child._attempt
        seconds = attempt.stop_deadline - trio.current_time()
        await self._send("stop", attempt.stop_reason, min(inf, seconds))

    async def _end_after_exit(self) -> None:
        """End a process that lives on after its child has ended: a thread keeps it alive, say."""
        await self._exit_heard.wait()
        await trio.sleep(max(self._what.kill_after, _LAST_WORDS))
        _log.warning("%s: %s lives on, and is ended by force", self._child.path, self._where)
        self._group.program.signal_group(signal.SIGKILL)

    # ---- what the worker says

    async def _listen(self) -> None:
        buffer = bytearray()
        async with trio.open_nursery() as answers:
            while True:
                try:
                    data = await self._stream.receive_some(_CHUNK)
                except trio.BrokenResourceError:
                    data = b""
                if not data:
                    break
                buffer += data
                while (message := unpack(buffer)) is not None:
                    if message[0] == "ask":
                        _, number, name, wait = message
                        scope = self._asked[number] = trio.CancelScope()
                        answers.start_soon(self._answer, scope, number, name, wait)
                    elif message[0] == "forget":
                        self._forget(*message[1:])
                    else:
                        self._hear(*message)
            answers.cancel_scope.cancel("the process has ended")
        self._silent.set()

    def _hear(self, kind: str, *rest: Any) -> None:
        child = self._child
        if kind == "up":
            self._is_up = True
            self._set_busy(0)
        elif kind == "ready":
            child.ready(unpickle(rest[0]))
        elif kind == "not_ready":
            child.not_ready(*rest)
        elif kind == "beat":
            child.heartbeat(unpickle(rest[0]))
        elif kind == "extend":
            child.extend_start_timeout(max(rest[0], 0))
        elif kind == "busy":
            self._set_busy(*rest)
        else:
            self._set_busy(_LONGEST_BOOT)  # the interpreter takes its time to end, too
            self._exit = (kind, *rest)
            self._exit_heard.set()

    def _set_busy(self, seconds: float) -> None:
        before, self._busy = self._busy, None
        if seconds > 0:
            self._busy = self._child.busy(seconds)
            self._busy.__enter__()
        if before is not None:
            before.__exit__(None, None, None)

    async def _answer(self, scope: trio.CancelScope, number: int, name: str, wait: bool) -> None:
        found, packed = False, b""
        with scope:
            try:
                value = await self._child.wait_value(name) if wait else self._child.value(name)
                found, packed = True, dumps(value)
            except Exception as error:
                packed = _packed_error(error, name)
        del self._asked[number]
        if scope.cancelled_caught:  # the worker keeps account of its question until it is answered
            packed = _packed_error(SupervisorError("forgotten"), name)
        await self._send("answer", number, found, packed)

    def _forget(self, number: int) -> None:
        if number in self._asked:  # else the answer is on its way
            self._asked[number].cancel("the worker does not wait for the answer any more")

    # ---- the end

    async def _outcome(self) -> object:
        status = self._group.program.status
        assert status is not None
        if self._exit is None:
            more = " and has not said how its child ended" if status.code is not None else ""
            raise self._group.failure(status, more)
        how = self._exit[1]
        if how == "returned":
            return unpickle(self._exit[2])  # noqa: ASYNC910
        if how == "error":
            raise error_of(self._exit, self._where)
        if how == "cancelled itself":
            self._child.nursery.cancel_scope.cancel(self._exit[2])
            await trio.lowlevel.checkpoint()
        return None  # noqa: ASYNC910


def _check_main_is_imported() -> None:
    worker = sys.modules.get("trio_supervisor.children._worker")
    if getattr(worker, "is_importing_main", False):
        raise SupervisorError(
            "an in_process() child imports the program's main module, and that starts the program "
            'anew: put what it does under if __name__ == "__main__":'
        )


def _packed_error(error: Exception, name: str) -> bytes:
    if not isinstance(error, SupervisorError):  # of pickle
        error = SupervisorError(f"the value of {name!r} cannot be sent to another process: {error}")
    return pickle.dumps(error)


def _command(descriptor: int) -> tuple[str, ...]:
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return sys.executable, *flags, "-c", _BOOT, str(descriptor)


def _preparation() -> dict[str, Any]:
    """Return what ``multiprocessing.spawn.prepare`` needs to import the program's main module.

    The function there that collects it also fixes the start method of the whole program.
    """
    main = sys.modules["__main__"]
    data: dict[str, Any] = {"sys_path": sys.path, "sys_argv": sys.argv, "dir": os.getcwd()}  # noqa: PTH109
    name = getattr(main.__spec__, "name", None)
    path = getattr(main, "__file__", None)
    if name is not None:
        data["init_main_from_name"] = name
    elif path is not None:
        data["init_main_from_path"] = os.path.abspath(path)  # noqa: PTH100
    return data


@public
def in_process(
    async_fn: Callable[[ChildContext, *Ts], Awaitable[object]],
    *args: *Ts,
    kill_after: float = 1.0,
    output: OutputTo = "log",
    output_level: int = logging.INFO,
) -> Body[Any]:
    """Supervise ``await async_fn(child, *args)`` in a process and a Trio run of its own.

    Use it for work that may block the loop, crash the interpreter, leak, or refuse to end. What
    would bring a whole program down is an ordinary exit here: a segmentation fault, ``os._exit``,
    or an end by the kernel for lack of memory is a `ProcessFailed` with the signal or status. And
    it can be ended by force: when the attempt is cancelled, the function is cancelled in its
    process, and ``kill_after`` seconds later the process and all that it has started get SIGKILL.

    ``child`` is a `ChildContext` with readiness, heartbeats, the stop request and a nursery. A loop
    that is blocked, or a process that is stopped (SIGSTOP), sends no heartbeats: declare
    ``stale_after``. ``child.value(...)`` and ``wait_value(...)`` give values that can be pickled;
    ``value`` blocks the function's loop for the moment that the question takes.
    ``child.supervisor`` and ``child.open_supervisor`` cannot be used; a tree of its own can be
    opened there.

    The function, its arguments, its ready value and what it returns have to be importable from a
    module, or else able to be pickled; lambdas and functions inside of functions are not. An
    exception arrives as itself if it can be pickled, as a `RemoteError` otherwise, with the
    traceback as a note. `SystemExit` and `KeyboardInterrupt` end the child only. What the process
    writes is logged as by `process`. If the supervisor's process ends, this one ends too.

    A new interpreter is started for each attempt, which takes some tenths of a second. As with
    `multiprocessing`, a program's main module is imported there under another name, so protect what
    it does with ``if __name__ == "__main__":``. Not for short jobs: use a pool of workers, such as
    trio-parallel, in a body. Needs Linux 5.3 or newer, and does not work in virtual time.

    Args:
        async_fn: An async function of a child context, defined at the top of a module.
        *args: Its further arguments.
        kill_after: Seconds from the attempt's cancel to SIGKILL. Default: 1; 0 kills at once.
        output: ``"log"`` (default), ``"inherit"`` or ``"discard"``.
        output_level: The level of the log lines. Default: `logging.INFO`.

    Returns:
        The ``run`` of a `ChildSpec`. The child is ready at once, unless its spec says
        ``readiness="explicit"``.

    Raises:
        SpecError: The function cannot be called like that, or something cannot be pickled.
        SupervisorError: This system has no process descriptors.

    Example:
        ``ChildSpec("resizer", in_process(resize, "/images"), stale_after=30, grace=5)``
    """
    owner = f"in_process({label_of(async_fn)})"
    if isinstance(async_fn, Body):
        raise SpecError("run", async_fn, "an async function, not an adapter", owner="in_process()")
    check_run("in_process()", async_fn, args)
    _check_pickle(owner, async_fn, args)
    if not is_number(kill_after) or not 0 <= kill_after < inf:
        raise SpecError("kill_after", kill_after, "seconds >= 0", owner=owner)
    if output not in ("log", "inherit", "discard"):
        raise SpecError("output", output, "'log', 'inherit' or 'discard'", owner=owner)
    _spawner.check_platform("in_process")
    body = _InProcess(async_fn, args, kill_after, output, output_level)
    return Body(body, owner, hears_stop=True, can_heartbeat=True)


def _check_pickle(owner: str, async_fn: object, args: tuple[object, ...]) -> None:
    try:
        dumps(async_fn)
    except Exception as error:
        expected = f"a function that another process can import, at the top of a module ({error})"
        raise SpecError("run", async_fn, expected, owner=owner) from error
    for number, arg in enumerate(args, 1):
        try:
            dumps(arg)
        except Exception as error:
            expected = f"a value that can be pickled ({error})"
            raise SpecError(f"argument {number}", arg, expected, owner=owner) from error
