"""Text from values that may misbehave, in the forms that messages, log lines and paths need."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_VALUE = 80


def short_repr(value: object, longest: int = _LONGEST_VALUE) -> str:
    """``repr(value)`` on one line of at most ``longest`` characters, whatever `repr` does."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__} object>"
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 3] + "..."


def as_reason(value: object) -> str:
    """What somebody gives as a reason, as the text that it should have been.

    An exception is a natural thing to give; and whoever gives a reason is about to do something
    more important than to learn that it has the wrong type.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return (
        f"{type(value).__name__}: {text_of(value)}"
        if isinstance(value, BaseException)
        else text_of(value)
    )


def text_of(value: object) -> str:
    """``str(value)``, whatever that does."""
    try:
        return str(value)
    except Exception:  # a broken __str__ must not hide what happened
        return "<its str() raised>"


def one_line(text: str) -> str:
    """``text`` without what would break a line or drive a terminal."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(c if c.isprintable() else "?" for c in line)


def quoted(text: object) -> str:
    """``text`` in quotes, on one line; types alone do not keep people from giving another thing."""
    if not isinstance(text, str):
        text = short_repr(text)
    return '"' + one_line(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def some(names: Sequence[str], most: int, between: str) -> str:
    """The first of ``names``, and how many more there are."""
    shown = between.join(names[:most])
    more = len(names) - most
    return f"{shown}{between}and {more} more" if more > 0 else shown


def last_name(path: str) -> str:
    """The last part of ``path``."""
    return path.rpartition("/")[2]


def parent_of(path: str) -> str:
    """The path of the supervisor that ``path`` is a child of."""
    return path.rpartition("/")[0]
