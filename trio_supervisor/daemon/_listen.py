"""Listening sockets that the service manager made: `listener` hands them to children by name.

With socket activation systemd listens, starts the service when a client connects, and no client is
refused while the service restarts. The sockets come as open files from number 3 on; the environment
tells their number and names. They are taken once per process, and their duplicates are handed out.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import trio

from trio_supervisor._errors import TaskFailure
from trio_supervisor._lazy import public
from trio_supervisor._logging.safe import say
from trio_supervisor._specs.body import Body
from trio_supervisor._specs.checks import check_bool, check_count, refuse
from trio_supervisor._specs.child import ChildSpec
from trio_supervisor.children._holding import Holding, holding

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from trio_supervisor.daemon._notify import Notifier

_log = logging.getLogger("trio_supervisor.daemon")
FIRST: Final = 3
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_inherited: dict[str, list[socket.socket]] | None = None
manager: list[Notifier] = []
"""The connection to the service manager while `run` has one, for sockets that it is to keep."""


def take_inherited(environment: MutableMapping[str, str]) -> dict[str, list[socket.socket]]:
    """The sockets that were handed to this process, by name; taken from the environment once."""
    global _inherited  # noqa: PLW0603 - a process inherits once
    if _inherited is None:
        _inherited = _taken(environment)
    return _inherited


def _taken(environment: MutableMapping[str, str]) -> dict[str, list[socket.socket]]:
    pid, count, names, _ = (environment.pop(variable, "") for variable in _VARIABLES)
    found: dict[str, list[socket.socket]] = {}
    if pid != str(os.getpid()) or not count.isdecimal():
        return found
    listed = names.split(":") if names else []
    for index in range(int(count)):
        descriptor = FIRST + index
        os.set_inheritable(descriptor, False)
        try:
            made = socket.socket(fileno=descriptor)
        except OSError:
            continue  # a file, a pipe, or one that is not open: not for us
        name = listed[index] if index < len(listed) else "unknown"
        found.setdefault(name, []).append(made)
    return found


@public
def listener(
    name: str, *, host: str | None = None, port: int | None = None, keep: bool = False
) -> Body[list[trio.SocketListener]]:
    """Supervise listening sockets that outlive attempts, and with systemd the process as well.

    Without a service manager a server refuses clients between two attempts, and between two starts
    of the process. Let a child of its own hold the sockets: its ready value is a list of Trio
    listeners, and siblings get it with ``child.value(...)``. Close none of these: serve duplicates,
    ``trio.SocketListener(each.socket.dup())``.

    The sockets are those that systemd hands over under this name (``FileDescriptorName=`` of the
    socket unit, or a name under which an earlier process let them be kept). If there are none, the
    child listens at ``host`` and ``port`` itself.

    Args:
        name: The name, ASCII, without ``:``, at most 255 characters.
        host: Where to listen otherwise. Default: all interfaces.
        port: Where to listen otherwise; 0 for any port. Default: nowhere, so that the child fails
            if nothing was handed over.
        keep: Let systemd keep the sockets that the child opened itself, so that they are handed
            over at the next start (``FileDescriptorStoreMax=`` of the service has to allow it).
            Default: false.

    Returns:
        The ``run`` of a `ChildSpec`.

    Raises:
        SpecError: A name that systemd does not allow, or ``host`` without ``port``.

    Example:
        ``WEB = ChildSpec("socket", listener("http", port=8080))``
    """
    if not (is_text(name) and name.isascii() and name.isprintable() and ":" not in name):
        refuse("listener()", "name", name, "printable ASCII characters without ':'")
    if not 0 < len(name) <= 255:
        refuse("listener()", "name", name, "1 to 255 characters")
    if host is not None and port is None:
        refuse("listener()", "port", port, "a port, as there is a host")
    if port is not None and check_count("listener()", "port", port) >= 2**16:
        refuse("listener()", "port", port, "a whole number from 0 to 65535")
    check_bool("listener()", "keep", keep)
    return holding(_hold, name, host, port, keep)


def is_text(value: object) -> TypeGuard[str]:
    """Whether it is a string, whatever the annotation promised."""
    return isinstance(value, str)


def is_kept(child: ChildSpec[Any]) -> bool:
    """Whether the child is a `listener` whose sockets the service manager is to keep."""
    call = child.run.call if isinstance(child.run, Body) else None
    return isinstance(call, Holding) and call.open_cm is _hold and bool(call.args[-1])


@asynccontextmanager
async def _hold(
    name: str,
    host: str | None,
    port: int | None,
    keep: bool,
) -> AsyncIterator[list[trio.SocketListener]]:
    inherited = take_inherited(os.environ)
    if name not in inherited:
        inherited[name] = await _opened(name, host, port)
        if keep and manager:
            files = [each.fileno() for each in inherited[name]]
            if not manager[0].store(name, files):
                text = "the service manager does not keep the sockets %s: it keeps %d files"
                say(_log, logging.WARNING, text, name, manager[0].keeps)
    listeners = [trio.SocketListener(_for_trio(each)) for each in inherited[name]]
    try:
        yield listeners
    finally:
        for one in listeners:
            one.socket.close()


async def _opened(name: str, host: str | None, port: int | None) -> list[socket.socket]:
    if port is None:
        raise TaskFailure(
            f"no socket named {name!r} was handed over, and there is no port to listen at"
        )
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        reason = error.strerror or str(error)
        raise TaskFailure(f"cannot listen at {host or '*'}, port {port}: {reason}") from error
    # Kept open by the process itself: the next attempt of the child finds them.
    kept = [socket.socket(fileno=os.dup(each.socket.fileno())) for each in listeners]
    for each in listeners:
        each.socket.close()
    return kept


def _for_trio(original: socket.socket) -> Any:
    duplicate = original.dup()
    duplicate.setblocking(False)
    return trio.socket.from_stdlib_socket(duplicate)
