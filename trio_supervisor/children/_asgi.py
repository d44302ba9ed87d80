"""`asgi`: a web application as a child, served by anycorn or hypercorn.

Both servers send under a shielded cancel scope, so that a client which does not read keeps its task
from ending, and the server from stopping. What ends such a task at once is an error of its socket.
So this adapter makes the listening sockets itself. They have a time limit for data that is not
acknowledged (``TCP_USER_TIMEOUT``), which the connections inherit. And when the time for the open
requests is over, the adapter shuts down each connection of those sockets.

At a stop both servers also close each connection on which they have not read a request yet, even
where a client has sent one already. So the adapter lets the server accept what has connected, takes
the listening socket from under the server, and tells the server to stop only when each request that
has arrived is being answered.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final

import trio

from trio_supervisor._errors import SpecError, SupervisorError
from trio_supervisor._lazy import public
from trio_supervisor._logging.safe import say
from trio_supervisor._record import Record
from trio_supervisor._specs.body import Body, label_of
from trio_supervisor._specs.child import ChildSpec
from trio_supervisor._specs.policy import ReadinessPolicy
from trio_supervisor.children._check import check_target, is_number
from trio_supervisor.children._listening import Held

if TYPE_CHECKING:
    from trio_supervisor._attempts.context import ChildContext

Server: TypeAlias = Literal["anycorn", "hypercorn"]

_PLACES: Final = {
    "anycorn": ("anycorn", "anycorn.config"),
    "hypercorn": ("hypercorn.trio", "hypercorn.config"),
}
_log = logging.getLogger("trio_supervisor.asgi")
_DEFAULT_GRACE: Final = 5.0
_SHARE_FOR_THE_REST: Final = 0.1
_LEAST_FOR_THE_REST: Final = 0.5
_CUT_AGAIN_AFTER: Final = 0.05
_LOOK_AFTER: Final = 0.05
_SETTLE: Final = 0.5  # seconds at most until each request that has arrived is read
_LOOK_EVERY: Final = 0.01
_QUIET_LOOKS: Final = 3


class _Asgi(Record):
    """The arguments of `asgi`, checked."""

    app: Any
    port: int | None
    host: str | None
    listeners: ChildSpec[Any] | None
    config: Any
    server: Server
    send_timeout: float
    backlog: int | None

    async def __call__(self, child: ChildContext) -> None:
        held = [Held(each, self.send_timeout) for each in await self._sockets(child)]
        try:
            await _Run(self, child, held).run()
        finally:
            for each in held:
                each.close()

    async def _sockets(self, child: ChildContext) -> list[trio.socket.SocketType]:
        if self.listeners is not None:
            await trio.lowlevel.checkpoint()
            # Duplicates: the server closes what it serves, and the sibling keeps its own.
            return [each.socket.dup() for each in child.value(self.listeners)]
        assert self.port is not None
        opened = await trio.open_tcp_listeners(self.port, host=self.host, backlog=self.backlog)
        return [each.socket for each in opened]


@final
class _Run:
    """One attempt of an `asgi` child."""

    def __init__(self, what: _Asgi, child: ChildContext, held: Sequence[Held]) -> None:
        self._what = what
        self._child = child
        self._held = held
        self._is_over = False
        self._is_stopping = False
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
                    self._answer,
                    self._config(),
                    mode="asgi",
                    shutdown_trigger=self._settle,
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

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        """Call the application; during a stop, each answer says that the connection ends."""

        async def send_last(message: Any) -> None:
            if self._is_stopping and message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                if not any(name.lower() == b"connection" for name, _ in headers):
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": headers}
            await send(message)

        persists = scope["type"] == "http" and str(scope.get("http_version")) == "1.1"
        await self._what.app(scope, receive, send_last if persists else send)

    async def _settle(self) -> None:
        """Return when the server may stop: no request has arrived that it has not begun to read."""
        await self._child.wait_stop_requested()
        self._is_stopping = True
        with trio.move_on_after(min(_SETTLE, self._drain / 2)):
            await trio.lowlevel.checkpoint()
            while any(each.has_waiting() for each in self._held):  # noqa: ASYNC110 - no event says
                await trio.lowlevel.checkpoint()
        for each in self._held:
            try:
                each.stop_accepting()
            except OSError as error:  # no descriptor left, say: what connects now may be cut
                say(_log, logging.WARNING, "the server goes on accepting while it stops: %s", error)
        with trio.move_on_after(min(_SETTLE, self._drain / 2)):
            await self._until_all_is_read()

    async def _until_all_is_read(self) -> None:
        # Several times in a row: what is read from a connection is taken in a few steps later.
        quiet = 0
        await trio.sleep(_LOOK_EVERY)
        while quiet < _QUIET_LOOKS:
            quiet = 0 if any(each.has_unread() for each in self._held) else quiet + 1
            await trio.sleep(_LOOK_EVERY)

    def _config(self) -> Any:
        if self._what.config is None:
            config = import_module(_PLACES[self._what.server][1]).Config()
            config.errorlog = _log
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


@public
def asgi(
    app: Any,
    port: int | None = None,
    *,
    host: str | None = "127.0.0.1",
    listeners: ChildSpec[list[trio.SocketListener]] | None = None,
    server: Server | None = None,
    config: Any = None,
    send_timeout: float = 20.0,
    backlog: int | None = None,
) -> Body[tuple[str, ...]]:
    """Supervise a web application: serve an ASGI ``app`` on a TCP port, or on a sibling's sockets.

    The child is ready when the application has started (its lifespan startup is complete) and the
    port is open; its ready value is the tuple of addresses, such as ``("http://127.0.0.1:8000",)``.
    An exception of the application while it starts fails the attempt; one in a request is that
    request's.

    After a stop request the server accepts no further connection and finishes the requests in
    flight: those it has read, and those that have arrived on a connection it has accepted. Each
    answer then says ``Connection: close``. The requests have nine tenths of the spec's ``grace``,
    the rest is for the application's own
    shutdown; then each connection that is left is shut down. No client can delay the stop: not one
    that does not read, nor one that holds an endless stream open.

    Needs the extra ``asgi`` (anycorn), or hypercorn. Not for the probes and metrics of the tree
    itself: those stop last, and belong to ``trio_supervisor.http``. Not for a server that speaks no
    ASGI: use `serving` or `accepting`.

    Args:
        app: The application: anything that the server takes, such as an object of Starlette,
            FastAPI, Litestar or Quart-Trio, or a function of scope, receive and send.
        port: The TCP port; 0 takes a free one. Default: none, ``listeners`` has the sockets.
        host: The address to listen on; `None` for all. Default: this machine only.
        listeners: The spec of an earlier sibling whose ready value is a list of Trio listeners,
            such as ``daemon.listener``. While this child restarts, clients wait instead of being
            refused; with sockets of systemd, also while the process restarts.
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
    _check_place(owner, port, listeners)
    if not is_number(send_timeout) or not 0.001 <= send_timeout <= 86400:
        raise SpecError("send_timeout", send_timeout, "seconds from 0.001 to 86400", owner=owner)
    if server is not None and server not in _PLACES:
        raise SpecError("server", server, "'anycorn' or 'hypercorn'", owner=owner)
    if config is not None and not hasattr(config, "graceful_timeout"):
        raise SpecError("config", config, "a Config of the server", owner=owner)
    body = _Asgi(app, port, host, listeners, config, _server(server), send_timeout, backlog)
    return Body(body, owner, ReadinessPolicy.EXPLICIT, hears_stop=True)


def _check_place(owner: str, port: Any, listeners: object) -> None:
    if listeners is not None:
        if not isinstance(listeners, ChildSpec):
            raise SpecError("listeners", listeners, "the ChildSpec of a sibling", owner=owner)
        if port is not None:
            raise SpecError("port", port, "no port beside listeners=", owner=owner)
    elif not is_number(port) or int(port) != port or not 0 <= port < 65536:
        raise SpecError("port", port, "a port from 0 to 65535", owner=owner)


def _server(wanted: Server | None) -> Server:
    choices: tuple[Server, ...] = ("anycorn", "hypercorn") if wanted is None else (wanted,)
    for choice in choices:
        if find_spec(choice) is not None:
            return choice
    raise SupervisorError(
        f"asgi() needs {' or '.join(choices)}: pip install 'trio-supervisor[asgi]' has anycorn"
    )
