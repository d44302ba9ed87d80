"""`asgi`: a web application as a child, served by anycorn or hypercorn.

Both servers send under a shielded cancel scope, so that a client which does not read keeps its task
from ending, and the server from stopping. What ends such a task at once is an error of its socket.
So this adapter makes the listening sockets itself. They have a time limit for data that is not
acknowledged (``TCP_USER_TIMEOUT``), which the connections inherit. And when the time for the open
requests is over, the adapter shuts down each connection of those sockets.
"""

from __future__ import annotations

import copy
import logging
import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final

import trio

from trio_supervisor._errors import SpecError, SupervisorError
from trio_supervisor._lazy import public
from trio_supervisor._record import Record
from trio_supervisor._specs.body import Body, label_of
from trio_supervisor._specs.policy import ReadinessPolicy
from trio_supervisor.children._check import check_target, is_number

if TYPE_CHECKING:
    from trio_supervisor._attempts.context import ChildContext

Server: TypeAlias = Literal["anycorn", "hypercorn"]

_PLACES: Final = {
    "anycorn": ("anycorn", "anycorn.config"),
    "hypercorn": ("hypercorn.trio", "hypercorn.config"),
}
_DEFAULT_GRACE: Final = 5.0
_SHARE_FOR_THE_REST: Final = 0.1
_LEAST_FOR_THE_REST: Final = 0.5
_CUT_AGAIN_AFTER: Final = 0.05
_LOOK_AFTER: Final = 0.05


class _Asgi(Record):
    """The arguments of `asgi`, checked."""

    app: Any
    port: int
    host: str | None
    config: Any
    server: Server
    send_timeout: float
    backlog: int | None

    async def __call__(self, child: ChildContext) -> None:
        listeners = await trio.open_tcp_listeners(self.port, host=self.host, backlog=self.backlog)
        held = [_Held(listener, self.send_timeout) for listener in listeners]
        try:
            await _Run(self, child, held).run()
        finally:
            for each in held:
                each.close()


@final
class _Run:
    """One attempt of an `asgi` child."""

    def __init__(self, what: _Asgi, child: ChildContext, held: Sequence[_Held]) -> None:
        self._what = what
        self._child = child
        self._held = held
        self._is_over = False
        self._nursery: trio.Nursery
        grace: float | None = child._attempt.spec.grace
        grace = _DEFAULT_GRACE if grace is None else grace
        # The rest of the grace is for the application's own shutdown.
        rest = max(_SHARE_FOR_THE_REST * grace, _LEAST_FOR_THE_REST)
        self._drain = max(grace - rest, grace / 2)

    async def run(self) -> None:
        serve = import_module(_PLACES[self._what.server][0]).serve
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._cut_in_time)
            try:
                await serve(
                    self._what.app,
                    self._config(),
                    shutdown_trigger=self._child.wait_stop_requested,
                    task_status=self,
                )
            finally:
                self._is_over = True
            nursery.cancel_scope.cancel("the server has ended")

    def started(self, binds: Sequence[str]) -> None:
        """Report the child as ready soon; the server calls this with the addresses."""
        self._nursery.start_soon(self._report_ready, tuple(binds))

    async def _report_ready(self, binds: tuple[str, ...]) -> None:
        # Where the application's start has failed, the server goes on up to here before it hears
        # of that.
        await trio.sleep(_LOOK_AFTER)
        self._child.ready(binds)

    def _config(self) -> Any:
        if self._what.config is None:
            config = import_module(_PLACES[self._what.server][1]).Config()
            config.errorlog = logging.getLogger("trio_supervisor.asgi")
        else:
            config = copy.copy(self._what.config)
        config.bind = [f"fd://{each.descriptor}" for each in self._held]
        config.graceful_timeout = self._drain
        return config

    async def _cut_in_time(self) -> None:
        """Shut connections down: after the time for open requests, or at the cancel at once."""
        try:
            await self._child.wait_stop_requested()
            await trio.sleep(self._drain)
        finally:
            with trio.CancelScope(shield=True):  # noqa: ASYNC912 - ends with the server
                while not self._is_over:
                    for each in self._held:
                        each.cut_connections()
                    await trio.sleep(_CUT_AGAIN_AFTER)


@final
class _Held:
    """A listening socket that is handed to a server by its descriptor."""

    def __init__(self, listener: trio.SocketListener, send_timeout: float) -> None:
        listening = listener.socket
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = int(send_timeout * 1000)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        self._family = listening.family
        self._address = listening.getsockname()
        self.descriptor = listening.detach()
        self._inode = os.fstat(self.descriptor).st_ino

    def close(self) -> None:
        """Close the socket if the server never came so far as to take it."""
        with suppress(OSError):
            if os.fstat(self.descriptor).st_ino == self._inode:
                os.close(self.descriptor)

    def cut_connections(self) -> None:
        """Shut down each connection that was accepted from this socket.

        The server keeps them where they cannot be reached; the operating system lists them.
        """
        for name in os.listdir("/dev/fd"):  # noqa: PTH208
            with suppress(OSError, ValueError):
                self._cut(int(name))

    def _cut(self, descriptor: int) -> None:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return
        with socket.socket(fileno=os.dup(descriptor)) as found:
            stream = found.family == self._family and found.type == socket.SOCK_STREAM
            if stream and found.getsockname()[1] == self._address[1]:
                found.getpeername()  # raises for the listening socket itself
                found.shutdown(socket.SHUT_RDWR)


@public
def asgi(
    app: Any,
    port: int,
    *,
    host: str | None = "127.0.0.1",
    server: Server | None = None,
    config: Any = None,
    send_timeout: float = 20.0,
    backlog: int | None = None,
) -> Body[tuple[str, ...]]:
    """Supervise a web application: serve an ASGI ``app`` on a TCP port.

    The child is ready when the application has started (its lifespan startup is complete) and the
    port is open; its ready value is the tuple of addresses, such as ``("http://127.0.0.1:8000",)``.
    An exception of the application while it starts fails the attempt; one in a request is that
    request's.

    After a stop request the server accepts no further connection and finishes the requests in
    flight. They have nine tenths of the spec's ``grace``, the rest is for the application's own
    shutdown; then each connection that is left is shut down. No client can delay the stop: not one
    that does not read, nor one that holds an endless stream open.

    Needs the extra ``asgi`` (anycorn), or hypercorn. Not for the probes and metrics of the tree
    itself: those stop last, and belong to ``trio_supervisor.http``. Not for a server that speaks no
    ASGI: use `serving` or `accepting`.

    Args:
        app: The application: anything that the server takes, such as an object of Starlette,
            FastAPI, Litestar or Quart-Trio, or a function of scope, receive and send.
        port: The TCP port; 0 takes a free one.
        host: The address to listen on; `None` for all. Default: this machine only.
        server: ``"anycorn"`` or ``"hypercorn"``. Default: anycorn if it is installed.
        config: The server's own ``Config``, for TLS and the like. Its ``bind`` and
            ``graceful_timeout`` are replaced in a copy.
        send_timeout: Seconds until a connection is given up whose client acknowledges nothing
            (``TCP_USER_TIMEOUT``, where the system has it). Default: 20.
        backlog: How many connections may wait to be accepted. Default: Trio's.

    Returns:
        The ``run`` of a `ChildSpec`.

    Raises:
        SpecError: A value is out of range.
        SupervisorError: No such server is installed.

    Example:
        ``ChildSpec("web", asgi(app, 8000), grace=10)``
    """
    check_target("asgi", app, "an ASGI application")
    owner = f"asgi({label_of(app)})"
    if not is_number(port) or int(port) != port or not 0 <= port < 65536:
        raise SpecError("port", port, "a port from 0 to 65535", owner=owner)
    if not is_number(send_timeout) or not 0.001 <= send_timeout <= 86400:
        raise SpecError("send_timeout", send_timeout, "seconds from 0.001 to 86400", owner=owner)
    if server is not None and server not in _PLACES:
        raise SpecError("server", server, "'anycorn' or 'hypercorn'", owner=owner)
    if config is not None and not hasattr(config, "graceful_timeout"):
        raise SpecError("config", config, "a Config of the server", owner=owner)
    body = _Asgi(app, port, host, config, _server(server), send_timeout, backlog)
    return Body(body, owner, ReadinessPolicy.EXPLICIT, hears_stop=True)


def _server(wanted: Server | None) -> Server:
    choices: tuple[Server, ...] = ("anycorn", "hypercorn") if wanted is None else (wanted,)
    for choice in choices:
        if find_spec(choice) is not None:
            return choice
    raise SupervisorError(
        f"asgi() needs {' or '.join(choices)}: pip install 'trio-supervisor[asgi]' has anycorn"
    )
