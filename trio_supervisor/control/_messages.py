"""The client's half of the protocol, and JSON without importing `json`.

`json` compiles regular expressions when it is imported, which takes a client most of its time. The
scanner behind it is in C and does not need them. It is private to Python, so whatever does not
work as expected falls back to `json` itself.
"""

from __future__ import annotations

from trio_supervisor._lazy import TYPE_CHECKING, public

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

VERSION = 1
"""Of the protocol."""


@public
class ProtocolError(Exception):
    """A request that cannot be carried out, as the client is told.

    Attributes:
        code: What kind of trouble; a key of `EXIT_CODES`.
        message: One line for people.
        candidates: Names that may have been meant.
        request_id: Of the request, if that much could be read.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        candidates: tuple[str, ...] = (),
        request_id: int | str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.candidates = candidates
        self.request_id = request_id


EXIT_CODES = {
    "refused": 1,
    "failed": 1,
    "busy": 1,
    "bad_request": 2,
    "bad_version": 2,
    "too_long": 2,
    "not_met": 3,
    "no_such_child": 4,
    "ambiguous": 4,
    "unreachable": 5,
    "not_allowed": 6,
    "timed_out": 124,
}
"""The command's exit code for each error code."""


class _Settings:
    """Settings for the scanner: the defaults of `json.loads`."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float  # NaN and Infinity, which no answer contains
    memo: dict[str, str] = {}  # noqa: RUF012 - of keys, for the time of one call


def _make_scan() -> Callable[[str, int], tuple[Any, int]] | None:
    try:
        from _json import make_scanner  # noqa: PLC0415 - not in every Python

        settings: Any = _Settings
        scan: Callable[[str, int], tuple[Any, int]] = make_scanner(settings)
        if scan('{"a": [1, 2.5, "x", null]}', 0)[0] == {"a": [1, 2.5, "x", None]}:
            return scan
    except Exception:
        return None
    return None


_scan = _make_scan()


def loads(line: bytes) -> Any:
    """Return the JSON value in ``line``.

    Raises:
        ValueError: There is none, or more than one.
    """
    if _scan is not None:
        try:
            text = line.decode().strip()
            value, end = _scan(text, 0)
        except (StopIteration, ValueError, RecursionError):
            pass  # `json` says what is wrong
        else:
            if end == len(text):
                return value
    import json  # noqa: PLC0415 - see above

    return json.loads(line)


def dumps(value: Any) -> str:
    """Return a request's value as JSON in ASCII: objects, lists, strings, numbers, constants."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{dumps(str(k))}: {dumps(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(dumps, value)) + "]"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, str) and value.isascii() and value.isprintable():
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    import json  # noqa: PLC0415 - see above

    return json.dumps(value, allow_nan=False)


def request_line(verb: str, args: dict[str, Any], request_id: int | str | None = None) -> bytes:
    """Return a request as a line."""
    message = {"v": VERSION, "id": request_id, "verb": verb, "args": args}
    return dumps(message).encode() + b"\n"


def parse_answer(line: bytes) -> dict[str, Any]:
    """Return an answer or item as it stands in ``line``.

    Raises:
        ProtocolError: It is none of this version.
    """
    try:
        found = loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("v") != VERSION:
        raise ProtocolError("bad_version", "the other end does not speak this protocol")
    return found
