"""Addresses: from text to listening sockets."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from trio_supervisor._specs.checks import refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

_BACKLOG = 128


def parse_address(owner: str, field: str, address: object) -> tuple[str, int]:
    """Return host and port of ``"127.0.0.1:8024"``, ``"[::1]:8024"`` or ``8024``.

    A port alone means the loopback interface.

    Raises:
        SpecError: It is none of these.
    """
    expected = 'an address such as "127.0.0.1:8024" or "[::1]:8024", or a port'
    if isinstance(address, int) and not isinstance(address, bool):
        host, port = "127.0.0.1", str(address)
    elif isinstance(address, str):
        host, colon, port = address.strip().rpartition(":")
        if not colon:
            host = ""
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            refuse(owner, field, address, expected)
        host = host or "127.0.0.1"
    else:
        refuse(owner, field, address, expected)
    if not (port.isascii() and port.isdecimal() and int(port) < 2**16):
        refuse(owner, field, address, expected)
    return host, int(port)


def listen(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for each address of ``host``, all at the same port.

    Raises:
        OSError: It cannot be listened there.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, place in dict.fromkeys(found):
            address = place
            listener = socket.socket(family, kind, protocol)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if port == 0 and len(sockets) > 1:  # the port that the first one got
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            listener.bind(address)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
    except OSError:
        for listener in sockets:
            listener.close()
        raise
    return sockets


def in_text(sockets: Sequence[socket.socket]) -> tuple[str, ...]:
    """Return the addresses of listening sockets, as one types them."""
    names = [listener.getsockname() for listener in sockets]
    return tuple(f"[{n[0]}]:{n[1]}" if ":" in n[0] else f"{n[0]}:{n[1]}" for n in names)
