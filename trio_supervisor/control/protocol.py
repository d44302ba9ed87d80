"""The language of the control socket: one JSON object per line, in both directions. No I/O.

A client sends *requests*; the server answers each one, in order, on the same connection::

    -> {"v": 1, "id": 7, "verb": "stop", "args": {"names": ["app/web"], "reason": "deploy"}}
    <- {"v": 1, "id": 7, "ok": true, "data": {...}}
    <- {"v": 1, "id": 7, "ok": false, "error": {"code": "no_such_child", "message": "..."}}

A *stream* (``events`` with ``follow``) is answered by any number of lines ``{"v": 1, "id": 7,
"item": {...}}`` before its answer. A line that is no request is answered with ``id`` null. Where
the server cannot find the end of a line, it says why and closes the connection.

Verbs and arguments come from the fixed table `VERBS`. Each argument has a type and a bound; nothing
from the wire is ever imported, evaluated or looked up as an attribute. To add a verb that only
newer clients know is no new version; to change what a line means is.
"""

from __future__ import annotations

from trio_supervisor._lazy import TYPE_CHECKING
from trio_supervisor.control._messages import (
    EXIT_CODES,
    VERSION,
    ProtocolError,
    dumps,
    parse_answer,
    request_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = [
    "EXIT_CODES",
    "MAX_LINE",
    "STATES",
    "VERBS",
    "VERSION",
    "LineReader",
    "ProtocolError",
    "Request",
    "Verb",
    "answer_line",
    "error_line",
    "item_line",
    "parse_answer",
    "parse_request",
    "request_line",
]

MAX_LINE = 64 * 1024
"""Bytes of a request, at most. Answers may be longer: a tree has as many children as it has."""

_MOST_NAMES = 1000
_LONGEST_NAME = 4096
_LONGEST_REASON = 4096
_LONGEST_TIME = 10.0**9
STATES = (
    "waiting",
    "starting",
    "ready",
    "not_ready",
    "stopping",
    "backing_off",
    "done",
    "stopped",
    "quarantined",
    "removed",
)


class Verb:
    """One verb of the table.

    Attributes:
        writes: Whether it changes something; then the role ``write`` is needed.
        streams: Whether it may answer with items.
        args: The check of each argument it takes; a check returns the value or raises ValueError.
    """

    def __init__(
        self,
        args: dict[str, Callable[[Any], Any]],
        *,
        writes: bool = False,
        streams: bool = False,
    ) -> None:
        self.args = args
        self.writes = writes
        self.streams = streams


class Request:
    """A request that has been checked: its verb is in the table, its arguments have their types."""

    def __init__(self, request_id: int | str | None, verb: str, args: dict[str, Any]) -> None:
        self.id = request_id
        self.verb = verb
        self.args = args


# ---------------------------------------------------------------- arguments


def _text(longest: int) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > longest:
            raise ValueError(f"a string of at most {longest} characters")
        return value

    return check


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004 - one kind of error for the caller
    return value


def _seconds(value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= _LONGEST_TIME:
        raise ValueError(f"seconds from 0 to {_LONGEST_TIME:g}")
    return float(value)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise ValueError("a whole number from 0 to 2**53")
    return value


def _names(value: Any) -> tuple[str, ...]:
    one = _text(_LONGEST_NAME)
    if not isinstance(value, list) or len(value) > _MOST_NAMES:
        raise ValueError(f"a list of at most {_MOST_NAMES} strings")
    return tuple([one(each) for each in value])


def _states(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or any(each not in STATES for each in value):
        raise ValueError(f"a list of states: {', '.join(STATES)}")
    return tuple(value)


_NAME = _text(_LONGEST_NAME)
_EFFECT = {"reason": _text(_LONGEST_REASON), "wait": _flag, "timeout": _seconds, "dry_run": _flag}
_WRITE = {"names": _names, **_EFFECT}
_STOP = {**_WRITE, "grace": _seconds}

VERBS = {
    "ping": Verb({}),
    "tree": Verb({"names": _names}),
    "why": Verb({"names": _names}),
    "events": Verb(
        {"names": _names, "since": _count, "follow": _flag, "limit": _count}, streams=True
    ),
    "stacks": Verb({"names": _names}),
    "logs": Verb({"names": _names, "limit": _count, "follow": _flag}, streams=True),
    "names": Verb({"limit": _count}),
    "ready": Verb({"names": _names}),
    "live": Verb({}),
    "wait": Verb({"names": _names, "states": _states, "timeout": _seconds}),
    "start": Verb(_WRITE, writes=True),
    "stop": Verb(_STOP, writes=True),
    "restart": Verb(_STOP, writes=True),
    "quarantine": Verb(_STOP, writes=True),
    "remove": Verb(_STOP, writes=True),
    "shutdown": Verb({**_EFFECT, "no_grace": _flag}, writes=True),
}
"""Every verb that a server knows."""


# ---------------------------------------------------------------- lines


class LineReader:
    """Cuts a stream of bytes into lines; holds no more than one line that is not complete.

    Args:
        longest: Bytes of a line, at most, without its end.
    """

    def __init__(self, longest: int = MAX_LINE) -> None:
        self._longest = longest
        self._rest = b""

    @property
    def is_inside_a_line(self) -> bool:
        """Whether a line has begun and not ended."""
        return bool(self._rest)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that ``data`` completes, without their ends; empty ones are left out.

        Raises:
            ProtocolError: A line is too long. Nothing after it can be understood any more.
        """
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest
        for line in lines:
            self._check(line)
            if line.strip():
                yield line
        self._check(rest)

    def _check(self, line: bytes) -> None:
        if len(line) > self._longest:
            self._rest = b""
            raise ProtocolError("too_long", f"a line has at most {self._longest} bytes")


def parse_request(line: bytes) -> Request:
    """Return the request in ``line``.

    Raises:
        ProtocolError: It is no JSON object, of another version, has an unknown verb or argument, or
            an argument of the wrong type; the message says which.
    """
    import json  # noqa: PLC0415 - the server has it loaded, and the client does not need it

    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError("bad_request", "a request is a JSON object on one line") from None
    if not isinstance(found, dict):
        raise ProtocolError("bad_request", "a request is a JSON object on one line")
    given = found.get("id")
    request_id = given if _is_id(given) else None
    try:
        return _checked(found, request_id)
    except ProtocolError as error:
        error.request_id = request_id
        raise


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= 100
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _checked(found: dict[str, Any], request_id: int | str | None) -> Request:
    version = found.get("v")
    if version != VERSION or isinstance(version, bool):
        message = f"this server speaks version {VERSION} of the protocol, not {_shown(version)}"
        raise ProtocolError("bad_version", message)
    verb = found.get("verb")
    known = VERBS.get(verb) if isinstance(verb, str) else None
    if known is None:
        raise ProtocolError("bad_request", f"unknown verb {_shown(verb)}")
    args = found.get("args", {})
    if not isinstance(args, dict):
        raise ProtocolError("bad_request", "args must be a JSON object")
    checked: dict[str, Any] = {}
    for name, value in args.items():
        check = known.args.get(name)
        if check is None:
            raise ProtocolError("bad_request", f"{verb} takes no argument {_shown(name)}")
        try:
            checked[name] = check(value)
        except ValueError as error:
            raise ProtocolError(
                "bad_request", f"{verb}: {name}={_shown(value)}: expected {error}"
            ) from None
    return Request(request_id, str(verb), checked)


def _shown(value: object) -> str:
    text = dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def answer_line(request_id: int | str | None, data: Any) -> bytes:
    """Return the answer to a request that was carried out."""
    return _line({"v": VERSION, "id": request_id, "ok": True, "data": data})


def item_line(request_id: int | str | None, item: Any) -> bytes:
    """Return one item of a stream."""
    return _line({"v": VERSION, "id": request_id, "item": item})


def error_line(error: ProtocolError, request_id: int | str | None = None) -> bytes:
    """Return the answer to a request that was not carried out."""
    told: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.candidates:
        told["candidates"] = list(error.candidates)
    given = error.request_id if request_id is None else request_id
    return _line({"v": VERSION, "id": given, "ok": False, "error": told})


def _line(message: dict[str, Any]) -> bytes:
    import json  # noqa: PLC0415 - see `parse_request`

    return json.dumps(message, allow_nan=False).encode() + b"\n"
