"""Records as plain JSON values, and back.

`to_plain` and `record_from` derive both directions from the annotations of a record's fields, so
that a new field of an event needs no code here. What cannot stand in JSON is written like this:

* An endless number of seconds is ``null``; so is a number that is none (``nan``).
* A time on the wall clock is a string in ISO 8601, in UTC.
* An exception is an object with ``type``, ``message`` and ``traceback``; it comes back as a
  `PastError` with the text of both.

Both directions check types. Keys that a record does not have are ignored: a later minor version may
have added them.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from trio_supervisor._errors import PastError, SpecError
from trio_supervisor._events.tracebacks import traceback_text
from trio_supervisor._record import Record
from trio_supervisor._text import text_of, type_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

R = TypeVar("R", bound=Record)

SCHEMA: Final = 1
"""The version of the JSON forms of events, snapshots and reports."""


def check_schema(data: object, owner: str) -> Mapping[str, Any]:
    """Return ``data`` if it is a JSON object of a schema version that this code reads.

    Raises:
        SpecError: It is something else.
    """
    if not isinstance(data, dict):
        raise SpecError("data", data, "a JSON object", owner=owner)
    if data.get("schema") != SCHEMA:
        raise SpecError("schema", data.get("schema"), f"{SCHEMA}", owner=owner)
    return data


def at_of(wall: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC; `None` for `None` and for what no date can be."""
    if wall is None:
        return None
    try:
        return datetime.fromtimestamp(wall, UTC).isoformat(timespec="microseconds")
    except (OverflowError, ValueError, OSError):
        return None


def wall_of(at: object) -> float | None:
    """Seconds since the epoch for a time in ISO 8601 with a zone; `None` for anything else."""
    try:
        moment = datetime.fromisoformat(at) if isinstance(at, str) else None
    except ValueError:
        return None
    return None if moment is None or moment.tzinfo is None else moment.timestamp()


def error_to_plain(error: BaseException) -> dict[str, str]:
    """Return an exception as type, message and traceback, whatever its ``__str__`` does."""
    if type(error) is PastError and isinstance(read := vars(error).get(_AS_READ), dict):
        return dict(read)
    return {"type": type_path(error), "message": text_of(error), "traceback": traceback_text(error)}


_AS_READ = "_as_read"
"""The attribute of a `PastError` that was read, with what was read: it is written the same way."""


def number(value: float) -> float | None:
    """``value`` if JSON can express it, else `None`."""
    return value if math.isfinite(value) else None


def to_plain(value: Any) -> Any:
    """``value`` as JSON values: a record's fields in order, a tuple as a list."""
    kind = type(value)  # `isinstance` asks an object for its class, and that can raise
    if value is None or issubclass(kind, (bool, int)):
        return value
    if issubclass(kind, float):
        return number(value)
    if issubclass(kind, str):
        return str.__str__(value)  # of a StrEnum: its value
    if issubclass(kind, (tuple, list)):
        return [to_plain(each) for each in value]
    if issubclass(kind, BaseException):
        return error_to_plain(value)
    if issubclass(kind, Record):
        return {name: to_plain(getattr(value, name)) for name in type(value).__match_args__}
    return text_of(value)


# ---------------------------------------------------------------- and back


def record_from(cls: type[R], data: Mapping[str, Any], owner: str) -> R:
    """Make a ``cls`` of the JSON object ``data``.

    Args:
        cls: A record class; its fields are of the types in the table below.
        data: As `to_plain` makes it.
        owner: For messages: the reader, such as ``"event_from_dict()"``.

    Raises:
        SpecError: A field is missing or has the wrong type.
    """
    values: dict[str, Any] = {}
    for name, annotation in fields_of(cls):
        if name in data:
            values[name] = value_from(annotation, data[name], f"{owner}: {cls.__name__}", name)
        elif name not in cls._defaults:
            raise SpecError(name, None, f"a {annotation}", owner=f"{owner}: {cls.__name__}")
    return cls(**values)


def fields_of(cls: type[Record]) -> list[tuple[str, str]]:
    """The fields of a record class with their annotations, as written, in order."""
    written: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for name, annotation in vars(base).get("__annotations__", {}).items():
            written[name] = str(getattr(annotation, "__forward_arg__", annotation))
    return [(name, written[name]) for name in cls.__match_args__]


def as_written(annotation: Any) -> str:
    """An annotation as text; in public classes it may have become a forward reference."""
    return str(getattr(annotation, "__forward_arg__", annotation))


def value_from(annotation: str, value: Any, owner: str, name: str) -> Any:
    """One field's value from its JSON form.

    Raises:
        SpecError: It has the wrong type.
    """
    read = READERS.get(annotation)
    if read is None:
        read = _read_error if "Exception" in annotation else _read_anything
    try:
        return read(value)
    except (TypeError, ValueError, OverflowError):
        raise SpecError(name, value, f"a JSON value for {annotation}", owner=owner) from None


def _read_str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _read_int(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _read_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _read_seconds(value: Any) -> float:
    if value is None:
        return math.inf
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError
    return float(value)


def _read_names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple([_read_str(each) for each in value])


def _read_error(value: Any) -> PastError | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise TypeError
    read = {key: _read_str(value.get(key)) for key in ("type", "message", "traceback")}
    error = PastError(f"{read['type']}: {read['message']}")
    setattr(error, _AS_READ, read)
    if read["traceback"]:
        error.add_note(read["traceback"])
    return error


def _read_anything(value: Any) -> Any:
    return value


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "str": _read_str,
    "int": _read_int,
    "bool": _read_bool,
    "float": _read_seconds,
    "tuple[str, ...]": _read_names,
    "str | None": _or_none(_read_str),
    "int | None": _or_none(_read_int),
    "float | None": _or_none(_read_seconds),
}
"""How the JSON form of a field is read, by the field's annotation."""
