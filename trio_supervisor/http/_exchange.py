"""A request and a response as values, the headers of every response, and the `Host` rule."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final, TypeAlias, final
from urllib.parse import parse_qs, urlsplit

from trio_supervisor._lazy import public
from trio_supervisor._record import Record

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"
HTML: Final = "text/html; charset=utf-8"
EVENT_STREAM: Final = "text/event-stream"

HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
"""Sent with every response. A response may replace one of them."""


@public
@final
class Request(Record):
    """One GET request.

    Attributes:
        path: Without the query: ``/api/child``.
        query: The first value of each parameter.
        headers: By lower-case name; of repeated ones, the first.
    """

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@public
@final
class Response(Record):
    """The answer to a request.

    Attributes:
        status: Such as 200.
        body: The bytes; or, for a stream, pieces that are sent as they come.
        content_type: The media type.
        headers: Sent beside the headers of every response, or in place of one of them.
    """

    status: int
    body: bytes | AsyncGenerator[bytes, None]
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()


Route: TypeAlias = Callable[[Request], Awaitable[Response]]


def text(status: int, body: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Return a response of plain text that ends with a line break."""
    return Response(status, f"{body}\n".encode("utf-8", "replace"), TEXT, headers)


def json_bytes(value: Any) -> bytes:
    """Return ``value`` as JSON. Characters outside ASCII are escaped, lone surrogates included."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def parse_target(target: str) -> tuple[str, dict[str, str]]:
    """Return path and query of a request target.

    Raises:
        ValueError: The target is not one of a GET request to this server.
    """
    parts = urlsplit(target)
    if parts.scheme or parts.netloc or not parts.path.startswith("/"):
        raise ValueError("the request target must be a path")
    # More parameters than any view knows are refused before they are stored.
    query = parse_qs(parts.query, keep_blank_values=True, max_num_fields=16)
    return parts.path, {name: values[0] for name, values in query.items()}


def host_is_allowed(host: str, allowed: frozenset[str]) -> bool:
    """Return whether ``host`` (a ``Host`` header) may be what a browser believes to talk to.

    A page of another site can make a browser connect here under a name of that site (DNS
    rebinding). Such a request carries the name. IP addresses and ``localhost`` cannot be rebound.
    """
    name = _without_port(host).lower().removesuffix(".")
    if name == "localhost" or name in allowed:
        return True
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]


def comes_from_elsewhere(request: Request) -> bool:
    """Return whether a page of another site has made the browser send ``request``.

    Such a page cannot read the answer, but it need not be able to send the request either. Opening
    the dashboard by a link from another site is allowed.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host", ""):
        return True
    site = request.headers.get("sec-fetch-site", "none")
    return site == "cross-site" and request.headers.get("sec-fetch-mode") != "navigate"
