"""Serve the control socket beside a tree: connections, limits, and what happens when they fail.

The server runs under a supervisor of its own, outside of the user's tree: it is there while
children start, hang and stop, and an error in it is logged, restarted with backoff, and never
reaches the tree. Nothing a client does can slow supervision: requests are bounded in size and
number, answers are sent with a time limit, large ones are made in a thread.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, final

import trio

from trio_supervisor._errors import SupervisorError
from trio_supervisor._lazy import public
from trio_supervisor._logging.safe import say
from trio_supervisor._runtime.supervisor import Supervisor
from trio_supervisor._specs.child import ChildSpec
from trio_supervisor._specs.supervisor import SupervisorSpec
from trio_supervisor._text import one_line
from trio_supervisor.control import _listening, _reading, _streams, _writing
from trio_supervisor.control._connection import Answers, Collected, Incoming
from trio_supervisor.control._peer import credentials_of, peer_of
from trio_supervisor.control._records import LogRecords
from trio_supervisor.control._writing import can_be_posted
from trio_supervisor.control.protocol import (
    VERBS,
    ProtocolError,
    Request,
    answer_line,
    error_line,
    parse_request,
)

if TYPE_CHECKING:
    from trio_supervisor._events.fold import RawEvent
    from trio_supervisor.control._peer import Peer

_log = logging.getLogger("trio_supervisor.control")

MOST_CONNECTIONS = 32
_LAST_WORDS = 1.0
"""Seconds that the end of the server waits for answers that are being sent."""


@public
@final
class ControlServer:
    """The control socket of one tree; `open_control` makes it.

    Attributes:
        path: The socket's file.
    """

    def __init__(self, file: _listening.SocketFile, group: int | None) -> None:
        self.path: str = file.path
        self._file = file
        self._group = group
        self._supervisor: Supervisor | None = None
        self._records: LogRecords | None = None
        self._connections = 0
        self._busy = 0
        self._closing = False
        self._draining = ""

    def attach(self, supervisor: Supervisor) -> None:
        """Answer for ``supervisor`` from now on; until then every request is refused."""
        self._supervisor = supervisor

    def begin_drain(self, reason: str) -> None:
        """Let ``ready`` say no from now on, although the tree still works."""
        self._draining = reason or "stopping soon"

    def keep_log(self, logger: logging.Logger) -> None:
        """Keep the newest records that reach ``logger``, for the verb ``logs``.

        Python's logging writes warnings to standard error only while no logger has a handler, so
        this is for programs that have configured logging.
        """
        if self._records is None:
            self._records = LogRecords()
            logger.addHandler(self._records)

    async def request(self, verb: str, /, **args: Any) -> Any:
        """Carry out a verb as a client of this process and user would, without the socket.

        Args:
            verb: One of `trio_supervisor.control.protocol.VERBS`.
            **args: Its arguments.

        Returns:
            The answer's data; for a stream, the list of its items. A stream that follows never
            returns.

        Raises:
            ProtocolError: It was refused, or an argument is wrong.
        """
        import json  # noqa: PLC0415 - seldom used
        import os  # noqa: PLC0415

        line = json.dumps({"v": 1, "verb": verb, "args": args}).encode()
        peer = await trio.to_thread.run_sync(
            peer_of, (os.getpid(), os.geteuid(), os.getegid()), None
        )
        items = Collected()
        data = await self._carry_out(parse_request(line), peer, items)
        return items.items if VERBS[verb].streams else data

    # ------------------------------------------------------------ connections

    async def serve(self, task_status: trio.TaskStatus[None]) -> None:
        """Accept and serve connections until cancelled; the body of the server's child."""
        listener = trio.socket.from_stdlib_socket(self._file.socket.dup())
        with listener:
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    try:
                        connection, _ = await listener.accept()
                    except OSError as error:
                        if error.errno not in _PASSING:
                            raise
                        await trio.sleep(0.1)  # others have to close files first
                        continue
                    nursery.start_soon(self._guard, connection, name="control connection")

    async def _guard(self, connection: trio.socket.SocketType) -> None:
        """Serve one connection; whatever goes wrong with it stays with it."""
        self._connections += 1
        with connection:
            try:
                if self._connections > MOST_CONNECTIONS:
                    most = f"there are {MOST_CONNECTIONS} connections already"
                    await Answers(connection, None).fail(ProtocolError("busy", most))
                else:
                    await self._serve_connection(connection)
            except (OSError, trio.TooSlowError):
                pass  # the client is gone, or takes nothing: its own affair
            except Exception as error:
                _surprised(error)
            finally:
                self._connections -= 1

    async def _serve_connection(self, connection: trio.socket.SocketType) -> None:
        credentials = credentials_of(connection._sock)  # type: ignore[attr-defined]
        peer = await trio.to_thread.run_sync(peer_of, credentials, self._group)
        answers = Answers(connection, None)
        if not peer.may_read:
            say(_log, logging.WARNING, "refused a connection of %s", _named(peer))
            await answers.fail(ProtocolError("not_allowed", f"{peer.user} may not read this tree"))
            return
        incoming = Incoming(connection)
        while True:
            try:
                lines = await incoming.next_lines()
            except ProtocolError as error:
                await answers.fail(error)
                return
            if lines is None:
                return
            posted: list[tuple[Request, _writing.Posted]] = []
            for line in lines:
                await self._answer(line, peer, connection, incoming, answers, posted)
            await _settle(posted, answers)
            await answers.flush()

    async def _answer(
        self,
        line: bytes,
        peer: Peer,
        connection: trio.socket.SocketType,
        incoming: Incoming,
        answers: Answers,
        posted: list[tuple[Request, _writing.Posted]],
    ) -> None:
        """Answer one request, in its turn; commands may first be collected in ``posted``.

        Nothing that happens here ends the connection but the client's own fault.
        """
        try:
            request = parse_request(line)
        except ProtocolError as error:
            await _settle(posted, answers)
            answers.add(error_line(error))
            return
        self._busy += 1
        try:
            if self._supervisor is not None and peer.may_write and can_be_posted(request):
                posted.append((request, _writing.post(self._supervisor, request, peer)))
                return
            await _settle(posted, answers)
            items = Answers(connection, request.id, answers)
            if _may_wait(request):
                await answers.flush()
                data = await incoming.while_connected(
                    partial(self._carry_out, request, peer, items)
                )
            else:
                data = await self._carry_out(request, peer, items)
            answers.add(await _encoded(request, data))
        except ProtocolError as error:
            await _settle(posted, answers)
            answers.add(error_line(error, request.id))
        except (OSError, trio.TooSlowError):
            raise
        except Exception as error:
            _surprised(error)
            text = f"an error of the server: {type(error).__name__}; its log says more"
            answers.add(error_line(ProtocolError("failed", text), request.id))
        finally:
            self._busy -= 1
        if _may_wait(request):
            await answers.flush()

    async def _carry_out(self, request: Request, peer: Peer, items: Any) -> Any:
        supervisor = self._supervisor
        if supervisor is None:
            raise ProtocolError("refused", "the tree has not been started yet")
        verb = VERBS[request.verb]
        if verb.writes:
            if not peer.may_write:
                what = one_line(request.verb)
                say(_log, logging.WARNING, "%s may not %s", _named(peer), what)
                raise ProtocolError("not_allowed", f"{peer.user} may look, but not {what}")
            return await _writing.write(supervisor, request, peer)
        if request.verb == "events":
            return await _streams.stream_events(supervisor, request.args, items)
        if request.verb == "logs":
            if self._records is None:
                raise ProtocolError("refused", "this program keeps no log lines for this socket")
            return await _streams.stream_logs(supervisor, self._records, request.args, items)
        if request.verb == "ready" and self._draining:
            return _reading.draining(supervisor, self._draining)
        return await _reading.read(supervisor, request)

    async def drain(self) -> None:
        """Wait, shortly, until no request is being answered."""
        with trio.move_on_after(_LAST_WORDS):
            while self._busy:  # noqa: ASYNC110 - once in a program, not an event per request
                await trio.sleep(0.01)

    def close(self) -> None:
        """Remove the socket, and the log handler if there is one."""
        self._file.close()
        if self._records is not None:
            self._records.close()
            for logger in (logging.root, logging.getLogger("trio_supervisor")):
                logger.removeHandler(self._records)


_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED})


async def _settle(posted: list[tuple[Request, _writing.Posted]], answers: Answers) -> None:
    """Answer the requests of posted commands, in their order."""
    for request, commands in posted:
        try:
            answers.add(answer_line(request.id, await commands.answer()))
        except ProtocolError as error:
            answers.add(error_line(error, request.id))
    posted.clear()


def _may_wait(request: Request) -> bool:
    verb, args = VERBS[request.verb], request.args
    if verb.streams:
        return bool(args.get("follow", False))
    return request.verb == "wait" or (verb.writes and args.get("wait", True))


async def _encoded(request: Request, data: Any) -> bytes:
    if request.verb in {"tree", "stacks", "names"}:  # as long as the tree is wide
        return await trio.to_thread.run_sync(answer_line, request.id, data)
    return answer_line(request.id, data)


def _named(peer: Peer) -> str:
    return f"{one_line(peer.user)} (uid {peer.uid}, pid {peer.pid})"


def _surprised(error: Exception) -> None:
    say(
        _log,
        logging.ERROR,
        "an error of the control socket; the tree is not concerned: %s",
        type(error).__name__,
        exc_info=(type(error), error, error.__traceback__),
    )


@public
@asynccontextmanager
async def open_control(
    supervisor: Supervisor | None = None,
    path: str | None = None,
    *,
    name: str | None = None,
    group: int | str | None = None,
) -> AsyncIterator[ControlServer]:
    """Let operators see and steer a tree over a Unix socket while the block runs.

    ``trio_supervisor.daemon.run`` does this by itself. In a program of your own, open it beside the
    supervisor::

        async with open_supervisor(APP) as supervisor, open_control(supervisor):
            await supervisor.wait_finished()

    Then ``trio-supervisor tree`` shows the tree. Only this user and root can connect; the socket
    has mode 0600 from its birth. The server runs under a supervisor of its own, so an error in it
    is logged and never ends this block. Leaving the block removes the socket; a command that was
    accepted stands. If entering is cancelled, nothing is left behind.

    Args:
        supervisor: The root of the tree. Without it, give it to `ControlServer.attach` later.
        path: The socket. Default: ``$TRIO_SUPERVISOR_SOCKET``, or else a file named after the tree
            in the directory of sockets; see `trio_supervisor.control.paths`.
        name: Of the tree, for the name of the socket. Default: that of ``supervisor``.
        group: Name or number of a group. Its members may look at the tree, but not change it.
            Default: none.

    Raises:
        SocketInUse: Another process serves this socket, or something else lies there.
        UnsafeDirectory: The directory of sockets could be written by others.
        OSError: The socket cannot be made.
    """
    import os  # noqa: PLC0415 - what follows is seldom used

    from trio_supervisor.control.paths import VARIABLE  # noqa: PLC0415

    gid = _group_id(group)
    named = path or os.environ.get(VARIABLE)
    if name is None:
        name = "tree" if supervisor is None else supervisor.path
    if named:
        file = _listening.SocketFile(named, group=gid)
    else:
        file = _listening.open_default(name, group=gid)
    server = ControlServer(file, gid)
    try:
        if supervisor is not None:
            server.attach(supervisor)
        async with _enclosed(server):
            yield server
    finally:
        server.close()


@asynccontextmanager
async def _enclosed(server: ControlServer) -> AsyncIterator[None]:
    """Keep the server running. The log of its supervisor stays quiet while nothing fails."""
    from trio_supervisor.children import serving  # noqa: PLC0415 - only here
    from trio_supervisor.control._enclosure import Enclosure  # noqa: PLC0415 - likewise

    child = ChildSpec("server", serving(server.serve), restart_limit=None)
    spec = SupervisorSpec("control", [child])
    async with Enclosure(spec, "the control socket", _log, tap=_log_failure):
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await server.drain()  # takes a second at most


def _log_failure(raw: RawEvent, error: BaseException | None) -> None:
    if isinstance(error, Exception):
        _surprised(error)


def _group_id(group: int | str | None) -> int | None:
    if group is None or isinstance(group, int):
        return group
    import grp  # noqa: PLC0415 - not on every platform

    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise SupervisorError(f"there is no group {group!r}") from None
