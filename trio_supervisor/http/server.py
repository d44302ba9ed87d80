"""Serve probes, the dashboard and further pages of one tree over HTTP/1.1.

The server runs under a supervisor of its own, outside of the user's tree: it answers before the
tree is opened and until after it has ended, and an error in it is logged, restarted with backoff,
and never reaches the tree. It answers GET requests only, keeps no cookies, listens on the loopback
interface unless told otherwise, and no client can keep it from stopping.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import socket
from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from importlib.resources import files
from typing import Any, Final, final

import trio

from trio_supervisor._errors import ChildNotFound
from trio_supervisor._lazy import public
from trio_supervisor._runtime.supervisor import Supervisor
from trio_supervisor._specs.checks import check_seconds, refuse
from trio_supervisor._specs.child import ChildSpec
from trio_supervisor._specs.supervisor import SupervisorSpec
from trio_supervisor.children import serving
from trio_supervisor.control._enclosure import Enclosure
from trio_supervisor.http import _listening, _views
from trio_supervisor.http._connection import Connection
from trio_supervisor.http._exchange import (
    EVENT_STREAM,
    HTML,
    JSON,
    Request,
    Response,
    Route,
    comes_from_elsewhere,
    host_is_allowed,
    json_bytes,
    text,
)
from trio_supervisor.http._metrics import MetricsPage
from trio_supervisor.http._probes import Probes
from trio_supervisor.http._stream import stream
from trio_supervisor.http._watchdog import LoopMonitor, Watchdog

_log = logging.getLogger("trio_supervisor.http")

MOST_CONNECTIONS: Final = 256
MOST_STREAMS: Final = 32
LIVE_AFTER: Final = 30.0


@public
@final
class HttpServer:
    """The HTTP server of one tree; `open_http` makes it.

    Attributes:
        addresses: Where it listens, such as ``("127.0.0.1:8024",)``.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        probes: Probes,
        hosts: frozenset[str],
        monitor: LoopMonitor | None,
    ) -> None:
        self.addresses: tuple[str, ...] = _listening.in_text(sockets)
        self._sockets = sockets
        self._probes = probes
        self._hosts = hosts
        self._watchdog = Watchdog(sockets, self._hand_over, probes.live_by_thread, monitor)
        self._handed: deque[socket.socket] = deque()
        self._token = trio.lowlevel.current_trio_token()
        self._nursery: trio.Nursery | None = None
        self._connections: dict[Connection, None] = {}
        self._metrics = MetricsPage(probes, monitor)
        self._routes: dict[str, Route] = {
            "/": _dashboard,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/startupz": self._startupz,
            "/metrics": self._metrics.answer,
            "/api/events": self._events,
            "/api/children": self._children,
            "/api/child": self._child,
        }

    def __repr__(self) -> str:
        return f"<HttpServer at {', '.join(self.addresses)}>"

    def attach(self, supervisor: Supervisor) -> None:
        """Answer for ``supervisor`` from now on. Until then ``/readyz`` says 503."""
        self._probes.supervisor = supervisor
        self._metrics.forget_tree()

    def add_route(self, path: str, route: Route) -> None:
        """Answer GET requests for ``path`` with what ``await route(request)`` returns.

        The ``Host`` header has been checked before. If ``route`` raises, the answer is 500 and the
        log has the traceback.

        Args:
            path: Such as ``/metrics``; an existing one is replaced.
            route: Must not wait for the client; large bodies should be made in a thread.

        Raises:
            SpecError: ``path`` does not begin with ``/``.
        """
        if not str(path).startswith("/"):
            refuse("add_route()", "path", path, 'a path such as "/metrics"')
        self._routes[path] = route

    def begin_drain(self, reason: str) -> None:
        """Let ``/readyz`` say 503 from now on, although the tree still works.

        For the seconds between the announcement of a stop and the stop itself, in which a load
        balancer learns that it has to send its requests elsewhere.
        """
        self._probes.draining = reason or "stopping soon"

    # ------------------------------------------------------------ connections

    async def serve(self, *, task_status: trio.TaskStatus[tuple[str, ...]]) -> None:
        """Accept and serve connections until cancelled; the body of the server's child."""
        listeners = [
            trio.SocketListener(trio.socket.from_stdlib_socket(each.dup()))
            for each in self._sockets
        ]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watchdog.keep_stamp, name="http loop stamp")
            await nursery.start(
                partial(trio.serve_listeners, self._serve, listeners, handler_nursery=nursery)
            )
            self._nursery = nursery
            try:
                self._adopt()
                task_status.started(self.addresses)
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def _hand_over(self, connection: socket.socket) -> None:
        """Take a connection that the watchdog has accepted; called in its thread."""
        if len(self._handed) >= MOST_CONNECTIONS:
            connection.close()
            return
        self._handed.append(connection)
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._adopt)

    def _adopt(self) -> None:
        """Serve the connections that were handed over while the loop did not turn."""
        while self._handed and self._nursery is not None:
            connection = trio.socket.from_stdlib_socket(self._handed.popleft())
            self._nursery.start_soon(self._serve, trio.SocketStream(connection))

    def _close(self) -> None:
        """End the watchdog and close what it has handed over too late."""
        self._watchdog.stop()
        while self._handed:
            self._handed.popleft().close()

    async def _serve(self, stream_: trio.SocketStream) -> None:
        connection = Connection(stream_)
        if len(self._connections) >= MOST_CONNECTIONS:
            self._make_room()
        self._connections[connection] = None
        try:
            await connection.serve(self._answer)
        finally:
            del self._connections[connection]

    def _make_room(self) -> None:
        """End the connection that has kept the server waiting longest: a probe must get through."""
        found = min(self._connections, key=lambda each: (not each.is_reading, each.since))
        found.scope.cancel("too many connections")

    async def _answer(self, request: Request) -> Response:
        host = request.headers.get("host", "")
        if not host_is_allowed(host, self._hosts):
            await trio.lowlevel.checkpoint()
            return text(421, "this name is not one of this server: add it to hosts=")
        if comes_from_elsewhere(request):
            await trio.lowlevel.checkpoint()
            return text(403, "requests from pages of other sites are refused")
        route = self._routes.get(request.path)
        if route is None:
            await trio.lowlevel.checkpoint()
            return text(404, "not found; there are: " + " ".join(sorted(self._routes)))
        return await route(request)

    # ------------------------------------------------------------ answers

    async def _livez(self, request: Request) -> Response:
        return await _verdict(request, *self._probes.live())

    async def _readyz(self, request: Request) -> Response:
        return await _verdict(request, *self._probes.ready())

    async def _startupz(self, request: Request) -> Response:
        return await _verdict(request, *self._probes.started())

    async def _events(self, request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        if sum(each.is_streaming for each in self._connections) >= MOST_STREAMS:
            return text(503, "too many streams are open", (("Retry-After", "10"),))
        seen = request.headers.get("last-event-id") or request.query.get("since", "")
        whole = seen.isascii() and seen.isdecimal() and len(seen) < 16
        return Response(200, stream(self._probes, int(seen) if whole else None), EVENT_STREAM)

    async def _children(self, request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        if (supervisor := self._probes.supervisor) is None:
            return text(503, "the tree has not been opened yet")
        try:
            page = _views.children_page(supervisor, request.query)
        except ChildNotFound as error:
            return text(404, str(error))
        except ValueError as error:
            return text(400, f"bad request: {error}")
        return Response(200, json_bytes(page), JSON)

    async def _child(self, request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        if (supervisor := self._probes.supervisor) is None:
            return text(503, "the tree has not been opened yet")
        try:
            slot = _views.slot_at(supervisor, request.query.get("path", ""))
        except ChildNotFound as error:
            return text(404, str(error))
        facts = _views.child_facts(supervisor, slot)
        node = await trio.to_thread.run_sync(_views.details, facts, abandon_on_cancel=True)
        return Response(200, json_bytes(node), JSON)


async def _verdict(request: Request, good: bool, lines: list[str]) -> Response:
    await trio.lowlevel.checkpoint()
    status = 200 if good else 503
    if JSON in request.headers.get("accept", ""):
        return Response(status, json_bytes({"ok": good, "lines": lines}), JSON)
    return text(status, "\n".join(lines))


async def _dashboard(request: Request) -> Response:
    await trio.lowlevel.checkpoint()
    page, policy = _page()
    return Response(200, page, HTML, (("Content-Security-Policy", policy),))


@cache
def _page() -> tuple[bytes, str]:
    """Return the dashboard and a policy that allows its own script and style, and nothing else."""
    page = files("trio_supervisor.http").joinpath("dashboard.html").read_bytes()
    script = _hashes(rb"<script>(.*?)</script>", page)
    style = _hashes(rb"<style>(.*?)</style>", page)
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _hashes(pattern: bytes, page: bytes) -> str:
    digests = (hashlib.sha256(found).digest() for found in re.findall(pattern, page, re.DOTALL))
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


@public
@asynccontextmanager
async def open_http(
    supervisor: Supervisor | None = None,
    address: str | int = "127.0.0.1:8024",
    *,
    name: str = "http",
    hosts: Collection[str] = (),
    live_after: float = LIVE_AFTER,
    optional: Collection[str] = (),
    monitor: LoopMonitor | None = None,
) -> AsyncIterator[HttpServer]:
    """Serve probes and the dashboard of a tree while the block runs.

    Open it around the supervisor and not inside, so that it answers first and stops last::

        async with open_http(address=8024) as server, open_supervisor(APP) as supervisor:
            server.attach(supervisor)

    `daemon.run` does that with ``http="127.0.0.1:8024"``.

    | path | answer |
    |---|---|
    | ``/`` | the dashboard |
    | ``/livez`` | 200 while the process can do its work; busy is not dead |
    | ``/readyz`` | 200 while the tree is ready, otherwise 503 with one line per child that is not |
    | ``/startupz`` | 200 once the first start was complete |
    | ``/metrics`` | Prometheus metrics, collected from the first scrape on (extra ``metrics``) |

    ``/livez`` is answered by a thread while a child blocks the event loop. No dependency of the
    tree is ever part of it.

    Args:
        supervisor: The tree, if it is open already; otherwise call `HttpServer.attach`.
        address: Host and port, or a port on the loopback interface; port 0 takes any. Every client
            that can connect can look at the tree, error messages included.
        name: Of the server's own supervisor, in the log.
        hosts: Names under which a browser may ask, beside ``localhost`` and IP addresses. Other
            names are refused: they are what a DNS rebinding attack looks like.
        live_after: Seconds for which the event loop may not turn, or a child may be unresponsive
            after its cancel, before ``/livez`` says 503. Default: 30.
        optional: Paths of children that the tree is ready without.
        monitor: Measures how long the event loop has not turned, such as a
            `trio_supervisor.daemon.BlockedLoopMonitor`, whose counts are metrics then; default: one
            of its own.

    Yields:
        The server.

    Raises:
        SpecError: An argument cannot be understood.
        OSError: The address cannot be listened at.

    Cancelled, it ends at once: no client is waited for.
    """
    live = check_seconds("open_http()", "live_after", live_after, positive=True)
    host, port = _listening.parse_address("open_http()", "address", address)
    probes = Probes(live, frozenset(optional))
    sockets = await trio.to_thread.run_sync(_listening.listen, host, port)
    try:
        names = frozenset(each.lower().removesuffix(".") for each in hosts)
        server = HttpServer(sockets, probes, names, monitor)
        if supervisor is not None:
            server.attach(supervisor)
        child: ChildSpec[Any] = ChildSpec("server", serving(server.serve), restart_limit=None)
        metrics = ChildSpec("metrics", server._metrics.keep, on_limit="quarantine")
        server._watchdog.start()
        try:
            async with Enclosure(SupervisorSpec(name, [child, metrics]), "the HTTP server", _log):
                yield server
        finally:
            server._close()
    finally:
        for each in sockets:
            each.close()
