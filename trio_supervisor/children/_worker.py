"""The other side of `in_process`: one attempt, in a process of its own.

The attempt is an ordinary one, run by the same code as in the supervisor's process. Its host sends
what the attempt reports through the socket. A thread reads the socket, so that the end of the
supervisor's process is noticed, and ends this process with all that it has started, whatever the
attempt is doing.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import socket
import sys
from itertools import count
from math import inf
from threading import Event, Thread, get_ident
from typing import TYPE_CHECKING, Any, Final, NoReturn, final

import trio

from trio_supervisor._attempts.attempt import Attempt, run_attempt
from trio_supervisor._errors import SupervisorError
from trio_supervisor._events.exits import SelfCancelled, Succeeded, TaskExit
from trio_supervisor._specs.child import ChildSpec
from trio_supervisor._text import short_repr
from trio_supervisor.children._frames import LENGTH, Message, dumps, error_message, pack

if TYPE_CHECKING:
    from trio_supervisor._attempts.observer import TreeObserver
    from trio_supervisor._runtime.supervisor import Supervisor

_BEAT_AT_MOST_EVERY: Final = 0.05
_LONGEST_ANSWER: Final = 10.0

is_importing_main: bool = False
"""Whether this is a worker that executes the program's main module anew."""


def main(connection: socket.socket) -> NoReturn:
    """Run the attempt that arrives through ``connection``, report its exit, and end the process."""
    faulthandler.enable()
    try:
        last = _work(connection)
    except BaseException as error:  # noqa: ASYNC103 - raised in the supervisor's process
        last = error_message(error)
    connection.sendall(pack(last))
    sys.exit()


def _work(connection: socket.socket) -> Message:
    global is_importing_main  # noqa: PLW0603
    from multiprocessing import spawn  # noqa: PLC0415 - a worker alone needs it

    prepared, job = pickle.loads(_receive(connection))  # noqa: S301 - from the supervisor
    is_importing_main = True
    try:
        spawn.prepare(prepared)
    finally:
        is_importing_main = False
    run, args = pickle.loads(job["call"])  # noqa: S301
    spec: ChildSpec[Any] = ChildSpec(job["name"], run, *args, readiness=job["readiness"])
    verdict = trio.run(_run, connection, spec, job)
    if isinstance(verdict, Succeeded):
        return "exit", "returned", _pickled("what the function returned", verdict.value)
    if isinstance(verdict, SelfCancelled):
        return "exit", "cancelled itself", verdict.reason
    if not isinstance(verdict, TaskExit):
        raise verdict
    if verdict.error is not None:
        return error_message(verdict.error)
    return "exit", "stopped"


async def _run(
    connection: socket.socket, spec: ChildSpec[Any], job: dict[str, Any]
) -> TaskExit | BaseException:
    host = _RemoteHost(connection)
    now = trio.current_time()
    attempt = Attempt(
        spec, job["path"], job["number"], job["generation"], host, started_at=now, watched=True
    )
    token = trio.lowlevel.current_trio_token()
    host.post_up()
    Thread(target=host.listen, args=(attempt, token), name="supervisor", daemon=True).start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.send_beats, attempt)
        async with trio.open_nursery() as alone:  # noqa: ASYNC112 - a task of its own, as ever
            alone.start_soon(run_attempt, attempt, name=attempt.task_name)
        nursery.cancel_scope.cancel("the attempt has ended")
    return attempt.judge()


@final
class _RemoteHost:
    """The host of an attempt, for a supervisor in another process."""

    is_supervisor = False

    def __init__(self, connection: socket.socket) -> None:
        self.thread = get_ident()
        self._connection = connection
        self._beat = trio.Event()
        self._numbers = count()
        self._waiting: dict[int, _Answer] = {}

    def _send(self, *message: object) -> None:
        self._connection.sendall(pack(message))

    def post_up(self) -> None:
        """Say that the function is about to begin."""
        self._send("up")

    # ---- what the attempt posts

    @property
    def supervisor(self) -> Supervisor:
        raise SupervisorError(
            "this child runs in a process of its own: its supervisor cannot be reached from there"
        )

    @property
    def observer(self) -> TreeObserver | None:
        return None

    def open_supervisor(
        self, attempt: Attempt, spec: object, options: object, *, wait_ready: bool
    ) -> NoReturn:
        raise SupervisorError(
            "this child runs in a process of its own: it cannot open a supervisor in the tree; "
            "trio_supervisor.open_supervisor() opens a tree of its own there"
        )

    def post_ready(self, attempt: Attempt) -> None:
        self._send("ready", _pickled("the value given to ready()", attempt.ready_value))

    def post_not_ready(self, attempt: Attempt, reason: str) -> None:
        self._send("not_ready", reason)

    def post_beat(self, attempt: Attempt) -> None:
        self._beat.set()

    async def send_beats(self, attempt: Attempt) -> None:
        """Send heartbeats, many as one, while the loop turns."""
        while True:
            await self._beat.wait()
            self._beat = trio.Event()
            attempt.beat_noted = False
            try:
                detail = dumps(attempt.beat_detail)
            except Exception:
                detail = pickle.dumps(short_repr(attempt.beat_detail))
            self._send("beat", detail)
            await trio.sleep(_BEAT_AT_MOST_EVERY)

    def post_busy(self, attempt: Attempt, until: float) -> None:
        self._send("busy", until - trio.current_time() if until > -inf else 0)

    def post_extend(self, attempt: Attempt, until: float) -> None:
        self._send("extend", until - trio.current_time())

    def post_exit(self, attempt: Attempt) -> None:
        """Nothing: `_work` sends it, with all that is known then."""

    def value_of(self, attempt: Attempt, of: Any) -> object:
        _, answer = self._ask(of, None)
        if not answer.heard.wait(_LONGEST_ANSWER):
            raise SupervisorError(f"no answer from the supervisor in {_LONGEST_ANSWER:g} s")
        return answer.value()

    async def wait_value_of(self, attempt: Attempt, of: Any) -> object:
        event = trio.Event()
        number, answer = self._ask(of, event)
        try:
            await event.wait()
        finally:
            if not answer.heard.is_set():
                self._send("forget", number)
        return answer.value()

    def _ask(self, of: Any, event: trio.Event | None) -> tuple[int, _Answer]:
        """Ask for a value; with ``event`` for the one that a sibling will have when it is ready."""
        number = next(self._numbers)
        # All is in place before the question is sent: the answer is heard in another thread.
        answer = self._waiting[number] = _Answer(event)
        self._send("ask", number, getattr(of, "name", of), event is not None)
        return number, answer

    # ---- what the supervisor says

    def listen(self, attempt: Attempt, token: trio.lowlevel.TrioToken) -> None:
        """Pass on what the supervisor says; end this process with the supervisor's. In a thread."""
        try:
            while True:
                kind, *rest = pickle.loads(_receive(self._connection))  # noqa: S301
                if kind == "answer":
                    self._hear(token, *rest)
                elif kind == "stop":
                    reason, seconds = rest
                    token.run_sync_soon(_request_stop, attempt, reason, seconds)
                elif kind == "cancel":
                    token.run_sync_soon(attempt.cancel, *rest)
        except trio.RunFinishedError:
            pass  # the attempt has ended: the supervisor is told so
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)

    def _hear(self, token: trio.lowlevel.TrioToken, number: int, found: bool, value: bytes) -> None:
        answer = self._waiting.pop(number)
        answer.found, answer.packed = found, value
        answer.heard.set()
        if answer.event is not None:
            token.run_sync_soon(answer.event.set)


def _request_stop(attempt: Attempt, reason: str, seconds: float) -> None:
    attempt.request_stop(reason, trio.current_time() + seconds)


@final
class _Answer:
    """An answer that is waited for, in the loop's thread or by a task."""

    def __init__(self, event: trio.Event | None) -> None:
        self.heard = Event()
        self.event = event
        self.found = False
        self.packed = b""

    def value(self) -> object:
        value = pickle.loads(self.packed)  # noqa: S301 - from the supervisor
        if not self.found:
            raise value
        return value


def _receive(connection: socket.socket) -> bytes:
    return _exactly(connection, int.from_bytes(_exactly(connection, LENGTH), "big"))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _pickled(what: str, value: object) -> bytes:
    try:
        return dumps(value)
    except Exception as error:
        message = f"{what} cannot be sent to the supervisor's process: {error}"
        raise TypeError(message) from error
