"""Text from values that may misbehave, in the forms that messages, log lines and paths need.

A user's ``__str__`` or ``__repr__`` may raise anything, return a subclass of `str`, or return
megabytes. These functions never raise because of that, and what they return is a plain `str` of
bounded length. `BaseException` is caught too: these calls happen where an exception would end a
whole tree, with the interpreter's own interrupts held back.
"""

from __future__ import annotations

from itertools import islice
from math import inf

from trio_supervisor._lazy import TYPE_CHECKING  # not from `typing`: see there

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import TypeGuard, TypeVar

    T = TypeVar("T")
_LONGEST_VALUE = 80
_LONGEST_LINE = 500
_LONGEST_REASON = 1_000
_LONGEST_TEXT = 100_000
_MOST_NAMES = 10


def is_a(value: object, kind: type[T] | tuple[type[T], ...]) -> TypeGuard[T]:
    """Whether ``value`` is a ``kind``, by its type alone: `isinstance` asks ``__class__`` as well.

    That can be a property which raises.
    """
    return issubclass(type(value), kind)


def plain_str(text: str) -> str:
    """Return ``text`` as an instance of `str` itself, whatever a subclass overrides."""
    return text if type(text) is str else str.__str__(text)


def cut(text: str, longest: int) -> str:
    """Return ``text`` with at most ``longest`` characters; dots show that something is missing."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


def text_of(value: object) -> str:
    """Return ``str(value)``, or a remark if that raises."""
    try:
        return cut(plain_str(str(value)), _LONGEST_TEXT)
    except BaseException:  # a broken __str__ must not hide what happened
        return "<its str() raised>"


def type_name(value: object) -> str:
    """Return the name of the type of ``value``, whatever its metaclass makes of ``__name__``."""
    return name_of_type(type(value))


def name_of_type(kind: type) -> str:
    """Return the name of ``kind``, likewise."""
    return plain_str(type.__dict__["__name__"].__get__(kind))


def type_path(value: object) -> str:
    """Return module and name of the type of ``value``; of a builtin type, the name alone."""
    kind = type(value)
    try:
        name = plain_str(kind.__qualname__)
        return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"
    except BaseException:  # a metaclass may say anything
        return type_name(value)


def short_repr(value: object, longest: int = _LONGEST_VALUE) -> str:
    """Return ``repr(value)`` on one line of at most ``longest`` characters."""
    if type(value) in (str, bytes) and len(value) > 4 * longest:  # type: ignore[arg-type]
        value = value[: 4 * longest]  # type: ignore[index]
    try:
        if issubclass(type(value), BaseExceptionGroup):  # its repr is that of all in it
            text = f"{type_name(value)}({text_of(value)!r})"
        else:
            text = plain_str(repr(value))
    except BaseException:
        text = f"<{type_name(value)} object>"
    return one_line(text, longest)


def error_line(error: BaseException) -> str:
    """Return type and text of ``error`` on one line, such as ``OSError: no route to host``."""
    name, text = type_name(error), one_line(text_of(error))
    return f"{name}: {text}" if text else name


def as_reason(value: object) -> str:
    """Return what was given as a reason as text.

    An exception is a natural thing to give. The caller is about to do something more important
    than to learn that the reason has the wrong type.
    """
    if issubclass(type(value), str):
        return cut(plain_str(value), _LONGEST_REASON)  # type: ignore[arg-type]
    if value is None:
        return ""
    if issubclass(type(value), BaseException):
        return cut(f"{type_name(value)}: {text_of(value)}", _LONGEST_REASON)
    return cut(text_of(value), _LONGEST_REASON)


def one_line(text: str, longest: int = _LONGEST_LINE) -> str:
    """Return ``text`` without what would break a line or drive a terminal, cut to ``longest``."""
    line = " ".join(text[: 4 * longest].split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else "?" for c in line)
    return cut(line, longest)


def quoted(text: object) -> str:
    """Return ``text`` in quotes, on one line; of another object than a `str`, its `repr`."""
    text = plain_str(text) if issubclass(type(text), str) else short_repr(text)  # type: ignore[arg-type]
    return '"' + one_line(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def duration(seconds: float | None) -> str:
    """Return a duration as short as it can be read: ``0.4s``, ``41s``, ``12m``, ``3h05m``, ``4d``.

    `None`, as JSON writes it, and infinity are ``for ever``.
    """
    if seconds is None or seconds == inf:
        return "for ever"
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    if seconds < 100:
        return f"{seconds:.0f}s"
    minutes = int(seconds // 60)
    if minutes < 100:
        return f"{minutes}m"
    hours = minutes // 60
    return f"{hours}h{minutes % 60:02d}m" if hours < 48 else f"{hours // 24}d"


def seconds_text(seconds: float) -> str:
    """Return a measured duration with two decimals at most: ``2s``, ``2.02s``."""
    return f"{round(seconds, 2) or seconds:g}s"


def some(names: Sequence[str], most: int, between: str) -> str:
    """Return the first ``most`` of ``names``, and how many more there are."""
    shown = between.join(names[:most])
    more = len(names) - most
    return f"{shown}{between}and {more} more" if more > 0 else shown


def no_such_child(path: str, name: object, names: Collection[str]) -> str:
    """Return what to say of a child that the supervisor ``path`` does not have.

    Takes the same time however many ``names`` there are.
    """
    listed = ", ".join(islice(names, _MOST_NAMES)) or "none"
    more = len(names) - _MOST_NAMES
    and_more = f" and {more} more" if more > 0 else ""
    return f"{path} has no child {short_repr(name)}; it has: {listed}{and_more}"


def last_name(path: str) -> str:
    """Return the last part of ``path``."""
    return path.rpartition("/")[2]


def parent_of(path: str) -> str:
    """Return the path of the supervisor that has ``path`` as a child."""
    return path.rpartition("/")[0]
