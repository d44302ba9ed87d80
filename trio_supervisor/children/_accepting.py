"""`accepting`: each connection of a listener is a child."""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import Any, Final, Literal, TypeAlias, final

import trio

import trio_supervisor
from trio_supervisor._attempts.context import ChildContext
from trio_supervisor._errors import SpecError, SupervisorClosed
from trio_supervisor._lazy import public
from trio_supervisor._record import MutableRecord, Record
from trio_supervisor._specs.body import Body, label_of
from trio_supervisor._specs.check_run import check_run
from trio_supervisor._specs.checks import check_level
from trio_supervisor._specs.child import ChildSpec
from trio_supervisor._specs.policy import ReadinessPolicy
from trio_supervisor._specs.supervisor import SupervisorSpec
from trio_supervisor._text import one_line
from trio_supervisor.children._check import check_target, is_number

WhenFull: TypeAlias = Literal["wait", "refuse"]
Listeners: TypeAlias = "Sequence[trio.abc.Listener[Any]]"

_DEFAULT_GRACE: Final = 5.0
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_PAUSE_WITHOUT_ROOM: Final = 0.1
_TELL_EVERY: Final = 10.0
_LONGEST_START: Final = 1.0

_log = logging.getLogger("trio_supervisor.children")


@public
@final
class Connections:
    """The ready value of an `accepting` child: its listeners and what has come of them."""

    __slots__ = ("_run",)

    def __init__(self, run: _Run) -> None:
        self._run = run

    @property
    def listeners(self) -> tuple[trio.abc.Listener[Any], ...]:
        """The listeners that connections are accepted from."""
        return self._run.listeners

    @property
    def port(self) -> int:
        """The port of the first listener, for a listener that was opened with port 0.

        Raises:
            ValueError: The first listener has no port.
        """
        try:
            return int(_socket_of(self._run.listeners[0]).getsockname()[1])
        except (AttributeError, IndexError, TypeError, ValueError):
            raise ValueError("the first listener has no port") from None

    @property
    def supervisor(self) -> trio_supervisor.Supervisor:
        """The supervisor whose children are the connections."""
        return self._run.pool

    @property
    def open(self) -> int:
        """The number of open connections."""
        return self._run.open

    @property
    def accepted(self) -> int:
        """The number of connections that have become children so far."""
        return self._run.accepted

    @property
    def refused(self) -> int:
        """The number of connections closed at once, because ``max_children`` were open."""
        return self._run.refused

    def __repr__(self) -> str:
        run = self._run
        return f"<Connections open={run.open} accepted={run.accepted} refused={run.refused}>"


class _Accepting(Record):
    """The arguments of `accepting`, checked."""

    handler: Callable[..., Awaitable[object]]
    listeners: Any
    port: int | None
    host: str | None
    backlog: int | None
    max_children: int | float
    when_full: WhenFull
    max_runtime: float
    stale_after: float
    log_level: int | str | None

    async def __call__(self, child: ChildContext) -> None:
        opened: Any = ()
        if self.port is not None:
            opened = await trio.open_tcp_listeners(self.port, host=self.host, backlog=self.backlog)
        elif callable(self.listeners):
            open_them: Any = self.listeners
            opened = await open_them()
        given: Any = opened or self.listeners
        run = _Run(self, child, tuple(given))
        try:
            pool = SupervisorSpec("connections", log_level=self.log_level)
            async with child.open_supervisor(pool) as run.pool:
                child.ready(Connections(run))
                try:
                    await run.accept_all()
                finally:  # before the open connections get their time
                    await _close_all(opened)  # noqa: ASYNC102 - shielded there
        finally:
            await run.close_left()  # noqa: ASYNC102 - likewise
            await _close_all(opened)  # noqa: ASYNC102 - likewise


@final
class _Run:
    """One attempt of an `accepting` child."""

    pool: trio_supervisor.Supervisor

    def __init__(
        self, what: _Accepting, child: ChildContext, listeners: tuple[trio.abc.Listener[Any], ...]
    ) -> None:
        self.listeners = listeners
        self.open: int = 0
        self.accepted: int = 0
        self.refused: int = 0
        self._what = what
        self._child = child
        grace: float | None = child._attempt.spec.grace
        self._grace = _DEFAULT_GRACE if grace is None else grace
        self._freed: trio.Event | None = None
        self._number = 0
        # Connections whose child has not made its first step. One that is stopped before that never
        # runs, so nothing in it can close the connection.
        self._starting: dict[str, _Starting] = {}
        self._untold = 0
        self._told_at = -inf

    async def accept_all(self) -> None:
        """Accept from all listeners until the stop request."""
        with self._child.stop_scope():
            async with trio.open_nursery() as nursery:
                for listener in self.listeners:
                    nursery.start_soon(self._accept, listener)

    async def _accept(self, listener: trio.abc.Listener[Any]) -> None:
        waits = self._what.when_full == "wait"
        most = self._what.max_children
        while True:
            if self._starting:
                await self._close_forgotten()
            if waits:
                await self._wait_for_room()
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                _log.error("%s: cannot accept: %s; trying again", self._child.path, error.strerror)
                await trio.sleep(_PAUSE_WITHOUT_ROOM)
                continue
            if self.open < most:
                await self._start(stream)
            elif waits:  # another listener was faster
                await self._start_later(stream)
            else:
                await self._refuse(stream)

    async def _wait_for_room(self) -> None:  # noqa: ASYNC910 - `accept` is a checkpoint
        while self.open >= self._what.max_children:
            if self._freed is None:
                self._freed = trio.Event()
            await self._freed.wait()

    async def _start_later(self, stream: trio.abc.AsyncResource) -> None:
        try:
            await self._wait_for_room()
        except BaseException:
            await _close(stream)  # noqa: ASYNC102 - closes before it waits
            raise
        await self._start(stream)

    async def _refuse(self, stream: trio.abc.AsyncResource) -> None:
        await _close(stream)
        self.refused += 1
        self._untold += 1
        if trio.current_time() - self._told_at >= _TELL_EVERY:
            self._tell_refused()

    def _tell_refused(self) -> None:
        if self._untold:
            text = "%s: refused %d connections: %d are open"
            _log.warning(text, self._child.path, self._untold, self.open)
            self._untold = 0
            self._told_at = trio.current_time()

    async def _start(  # noqa: ASYNC910 - `accept` is a checkpoint
        self, stream: trio.abc.AsyncResource
    ) -> None:
        name = self._name_for(stream)
        what = self._what
        spec: ChildSpec[Any] = ChildSpec(
            name,
            self._serve,
            stream,
            restart="temporary",
            grace=self._grace,
            max_runtime=what.max_runtime,
            stale_after=what.stale_after,
        )
        try:
            self.pool.start_child_soon(spec)
        except SupervisorClosed:
            await _close(stream)  # noqa: ASYNC120 - closes before it waits
            if self._child.stop_requested:
                return
            raise  # it has been shut down by a command: nothing can be accepted any more
        self.open += 1
        self.accepted += 1
        self._starting[name] = _Starting(stream, trio.current_time())

    def _name_for(self, stream: trio.abc.AsyncResource) -> str:
        self._number += 1
        peer = _peer_of(stream)
        if not peer:
            return f"connection-{self._number}"
        if peer in self._starting or peer in self.pool.children:
            return f"{peer}-{self._number}"
        return peer

    async def _serve(self, child: ChildContext, stream: trio.abc.AsyncResource) -> None:
        """The body of a connection."""
        self._starting.pop(child.name, None)
        try:
            await self._what.handler(child, stream)
        finally:
            self._one_less()
            await _close(stream)  # noqa: ASYNC102 - closes before it waits

    def _one_less(self) -> None:
        self.open -= 1
        if self._freed is not None:
            self._freed.set()
            self._freed = None

    async def _close_forgotten(self) -> None:  # noqa: ASYNC910 - `accept` is a checkpoint
        """Close the connection of each child that was stopped before its first step."""
        before = trio.current_time() - _LONGEST_START
        for name, entry in list(self._starting.items()):
            if entry.since > before:
                continue
            # Missing twice, with a checkpoint between: after a long block of the loop the child may
            # just not have been added yet.
            entry.missing = entry.missing + 1 if name not in self.pool.children else 0
            if entry.missing > 1:
                await self._forget(name)

    async def close_left(self) -> None:  # noqa: ASYNC910 - mostly nothing is left
        """Close connections that no child will serve: the supervisor has ended."""
        self._tell_refused()
        for name in list(self._starting):
            await self._forget(name)

    async def _forget(self, name: str) -> None:
        entry = self._starting.pop(name)
        self._one_less()
        await _close(entry.stream)


@final
class _Starting(MutableRecord):
    """The connection of a child that has not made its first step."""

    stream: trio.abc.AsyncResource
    since: float
    missing: int = 0


def _socket_of(stream: Any) -> Any:
    """The socket of a stream or listener, below TLS if need be."""
    for _ in range(4):
        found = getattr(stream, "socket", None)
        if found is not None:
            return found
        stream = getattr(stream, "transport_stream", None) or getattr(
            stream, "transport_listener", None
        )
    return None


def _peer_of(stream: trio.abc.AsyncResource) -> str:
    """The address of the other side as the name of a child; empty if it has none."""
    try:
        address = _socket_of(stream).getpeername()
    except (AttributeError, OSError):  # no socket, or the client has gone already
        return ""
    if not isinstance(address, tuple) or len(address) < 2:
        return ""
    host, port = str(address[0]), address[1]
    return one_line(f"[{host}]:{port}" if ":" in host else f"{host}:{port}").replace("/", "?")


async def _close_all(  # noqa: ASYNC910 - there may be none
    listeners: Sequence[trio.abc.Listener[Any]],
) -> None:
    for listener in listeners:
        await _close(listener)


async def _close(stream: trio.abc.AsyncResource) -> None:  # noqa: ASYNC910 - see below
    """Close a stream or listener at once, without the politeness of TLS.

    Shielded: where the attempt has been cancelled, it would raise, and what comes next stay open.
    """
    if type(stream) is trio.SocketStream:  # nearly always, and nothing to wait for
        stream.socket.close()
    else:
        with trio.CancelScope(shield=True):  # noqa: ASYNC912 - closing never waits long
            await trio.aclose_forcefully(stream)


@public
def accepting(
    handler: Callable[[ChildContext, Any], Awaitable[object]],
    listeners: Sequence[trio.abc.Listener[Any]]
    | Callable[[], Awaitable[Sequence[trio.abc.Listener[Any]]]]
    | int
    | None = None,
    *,
    port: int | None = None,
    host: str | None = None,
    backlog: int | None = None,
    max_children: int | None = None,
    when_full: WhenFull = "wait",
    max_runtime: float = inf,
    stale_after: float = inf,
    log_level: int | str | None = "warning",
) -> Body[Connections]:
    """Supervise a server in which each connection is a child of its own.

    For each connection, ``await handler(child, stream)`` runs as a temporary child, named after the
    other side (``"app/web/connections/203.0.113.7:50412"``). An exception of a handler ends its own
    connection; ``trio.serve_tcp`` would end all of them. Each connection is visible in the tree and
    can be stopped by name; the handler has a `ChildContext`, with the stop request for example. The
    stream is closed when the handler has ended, however it ends.

    The child is ready when it listens; its ready value is a `Connections`. On a stop request it
    first stops accepting, then requests the stop of each connection. They have the spec's ``grace``
    (as the default: 5 seconds) to come to their end by themselves, and are cancelled then.

    Not for a server that is one thing, such as a server of a library, which accepts by itself: use
    `serving`, or `asgi` for web applications.

    Args:
        handler: An async function of the child context and the stream.
        listeners: The listeners; or an async function that opens them, which is called once per
            attempt; or a port, as ``port``. Listeners that are given open stay open: connections
            wait in their backlog while the child restarts, and closing them is up to the caller.
        port: The TCP port to listen on, instead of ``listeners``; 0 takes a free one.
        host: The address to listen on, beside ``port``. Default: all.
        backlog: How many connections may wait to be accepted, beside ``port``. Default: Trio's.
        max_children: The most connections at a time. Default: no limit.
        when_full: At ``max_children``: ``"wait"`` (default) accepts no further connection until
            one has ended, so that clients wait; ``"refuse"`` accepts and closes at once, and a
            warning in the log says how often.
        max_runtime: The longest a connection may last, in seconds. Default: no limit.
        stale_after: The longest that a handler may send no heartbeat (``child.heartbeat()``), in
            seconds. Default: no limit.
        log_level: The lowest level that is logged of connections. Default: ``"warning"``, so that
            crashes are logged, and that connections come and go is not; `None` for that of the
            tree.

    Returns:
        The ``run`` of a `ChildSpec`.

    Raises:
        SpecError: A value is out of range, or neither or both of ``listeners`` and ``port`` are
            given.

    Example::

        async def talk(child: ChildContext, stream: trio.SocketStream) -> None:
            async for data in stream:
                await stream.send_all(data)

        ChildSpec("echo", accepting(talk, port=7, max_children=1000), grace=10)
    """
    check_target("accepting", handler, "an async function of the child context and the stream")
    owner = f"accepting({label_of(handler)})"
    if isinstance(handler, Body):
        raise SpecError("handler", handler, "an async function, not an adapter", owner=owner)
    check_run("accepting()", handler, (None,))
    if isinstance(listeners, int):
        port, listeners = _only_one(owner, port, listeners), None
    if (port is None) == (listeners is None):
        expected = "listeners or a port, one of them"
        raise SpecError("listeners", listeners, expected, owner=owner)
    if port is None:
        for name, value in (("host", host), ("backlog", backlog)):
            if value is not None:
                raise SpecError(name, value, "nothing beside listeners", owner=owner)
    elif not is_number(port) or int(port) != port or not 0 <= port < 65536:
        raise SpecError("port", port, "a port from 0 to 65535", owner=owner)
    _check_limits(owner, max_children, when_full, max_runtime, stale_after)
    body = _Accepting(
        handler,
        _checked_listeners(owner, listeners),
        port,
        host,
        backlog,
        inf if max_children is None else max_children,
        when_full,
        max_runtime,
        stale_after,
        check_level(owner, "log_level", log_level),
    )
    return Body(body, owner, ReadinessPolicy.EXPLICIT, hears_stop=True)


def _only_one(owner: str, port: int | None, listeners: int) -> int:
    if port is not None:
        raise SpecError("port", port, "nothing beside listeners", owner=owner)
    return listeners


def _checked_listeners(owner: str, listeners: Any) -> Any:
    if listeners is None or callable(listeners):
        return listeners
    try:
        found = tuple(listeners)
    except TypeError:
        found = ()
    if not found or not all(isinstance(each, trio.abc.Listener) for each in found):
        expected = "Trio listeners, such as await trio.open_tcp_listeners(80)"
        raise SpecError("listeners", listeners, expected, owner=owner)
    return found


def _check_limits(
    owner: str, max_children: Any, when_full: object, max_runtime: object, stale_after: object
) -> None:
    whole = isinstance(max_children, int) and not isinstance(max_children, bool)
    if max_children is not None and (not whole or max_children < 1):
        raise SpecError("max_children", max_children, "a whole number > 0, or None", owner=owner)
    if when_full not in ("wait", "refuse"):
        raise SpecError("when_full", when_full, "'wait' or 'refuse'", owner=owner)
    if when_full == "refuse" and max_children is None:
        raise SpecError("when_full", when_full, "max_children beside it", owner=owner)
    for name, value in (("max_runtime", max_runtime), ("stale_after", stale_after)):
        if not is_number(value) or not value > 0:  # type: ignore[operator]
            raise SpecError(name, value, "seconds > 0", owner=owner)
