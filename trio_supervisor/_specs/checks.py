"""Checks of declared values. Every complaint names field, value and what was expected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any, Final, Never, TypeVar

from trio_supervisor._errors import SpecError
from trio_supervisor._text import is_a, name_of_type, plain_str

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import StrEnum

_MOST: Final = 10**300  # Python refuses to write numbers of more than 4,300 digits
_PLAIN: Final = 1 << 53  # up to here, every int has a float of its own
E = TypeVar("E", bound="StrEnum")
R = TypeVar("R")


def refuse(owner: str, field: str, value: object, expected: str) -> Never:
    """Raise the one kind of error that this module knows."""
    raise SpecError(field, value, expected, owner=owner)


def name_of(owner: str, of: object) -> str:
    """Return the name or path that refers to a child: given as text, or by its spec."""
    if is_a(of, str):
        return plain_str(of)
    expected = "a child's name or path, or its spec"
    name = looked_at(owner, "name", of, expected, lambda: getattr(of, "name", None))
    if not is_a(name, str):
        refuse(owner, "name", of, expected)
    return plain_str(name)


def looked_at(owner: str, field: str, value: object, expected: str, look: Callable[[], R]) -> R:
    """Return what ``look`` finds in ``value``, an object of the user's.

    Raises:
        SpecError: The object raises something when it is looked at.
    """
    try:
        return look()
    except (SpecError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise SpecError(field, value, expected, owner=owner) from error


def items_of(owner: str, field: str, value: object, expected: str) -> list[Any]:
    """Return the items of ``value``, if it can be iterated over and is neither text nor a dict."""
    if not is_a(value, Iterable) or is_a(value, (str, bytes, Mapping)):
        refuse(owner, field, value, expected)
    return looked_at(owner, field, value, expected, lambda: list(value))


def check_number(
    owner: str,
    field: str,
    value: object,
    *,
    least: float = 0.0,
    most: float = inf,
    finite: bool = False,
    positive: bool = False,
    unit: str = "",
) -> float:
    """``value`` as a float, if it is a number within the bounds (`bool` and NaN are none).

    Args:
        owner: The object with that field, for the message.
        field: The option as one writes it.
        value: What was given.
        least: The smallest value that is allowed.
        most: The largest that is allowed.
        finite: Whether infinity is refused.
        positive: Whether ``least`` itself is refused.
        unit: What to call the number in a complaint (``"seconds"``).

    Raises:
        SpecError: Anything else was given.
    """
    if is_a(value, (int, float)) and not is_a(value, bool):
        value = _plain_number(value)
        try:
            number = float(value)
        except OverflowError:
            number = inf if value > 0 else -inf
        # NaN fails each of these comparisons.
        low_enough = number < inf if finite and most == inf else number <= most
        if low_enough and (number > least if positive else number >= least):
            return number
    elif is_a(value, timedelta):
        unit = f"{unit or 'a number'}, as a number (.total_seconds())"
    bounds = f"{'>' if positive else '>='} {least:g}"
    if most < inf:
        bounds = f"from {least:g} to {most:g}"
    elif finite:
        bounds += ", finite"
    refuse(owner, field, value, f"{unit or 'a number'} {bounds}")


def _plain_number(value: float) -> float:
    """Return ``value`` as an `int` or `float` itself, whatever a subclass overrides."""
    return int.__int__(value) if is_a(value, int) else float.__float__(value)


def check_seconds(
    owner: str, field: str, value: object, *, positive: bool = False, finite: bool = False
) -> float:
    """``value`` as a number of seconds; see `check_number`."""
    if type(value) is float and 0.0 < value < inf:
        return value
    if type(value) is int and (0 < value < _PLAIN or (value == 0 and not positive)):
        return float(value)
    return check_number(owner, field, value, positive=positive, finite=finite, unit="seconds")


def check_count(owner: str, field: str, value: object) -> int:
    """``value``, if it is a whole number >= 0 that can be written."""
    if is_a(value, int) and not is_a(value, bool):
        number = int.__int__(value)
        if 0 <= number <= _MOST:
            return number
        if number > _MOST:
            refuse(owner, field, value, "a whole number from 0 to 1e300")
    refuse(owner, field, value, "a whole number >= 0")


def check_level(owner: str, field: str, value: object) -> int | None:
    """Return the number of a log level, given as one or by name (``"warning"``); `None` stays."""
    if value is None:
        return None
    if is_a(value, int) and not is_a(value, bool) and 0 <= int.__int__(value) <= _MOST:
        return int.__int__(value)
    if is_a(value, str):
        level = _LEVELS.get(plain_str(value).upper())
        if level is not None:
            return level
    names = ", ".join(repr(name.lower()) for name in _LEVELS)
    refuse(owner, field, value, f"a log level: a number >= 0 or one of {names}")


# As in `logging`, which this room does not import.
_LEVELS: Final = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}


def check_fatal_types(
    owner: str, value: tuple[type[BaseException], ...]
) -> tuple[type[BaseException], ...]:
    """Return the types that a child declares as failures, although they are no `Exception`."""
    field, expected = "fatal_is_failure", "a tuple of exception types outside Exception"
    kinds: tuple[Any, ...] = (value,)
    if type(value) in (tuple, list, set, frozenset):
        kinds = tuple(value)
    for kind in kinds:
        if not (is_a(kind, type) and issubclass(kind, BaseException)):
            refuse(owner, field, kind, expected)
        if issubclass(kind, Exception):
            refuse(owner, field, kind, f"{expected}: any Exception is a failure already")
        if kind is BaseException or issubclass(kind, _ENDS_THE_PROGRAM) or _is_cancelled(kind):
            more = "what interrupts, exits or cancels always gets through"
            refuse(owner, field, kind, f"{expected}: {more}")
    return kinds


_ENDS_THE_PROGRAM: Final = (KeyboardInterrupt, SystemExit, GeneratorExit, BaseExceptionGroup)


def _is_cancelled(kind: type) -> bool:
    # Past a metaclass, which may say anything of its classes.
    fields = type.__dict__["__dict__"].__get__(kind)
    module = fields.get("__module__", "")
    return name_of_type(kind) == "Cancelled" and module.partition(".")[0] == "trio"


def check_bool(owner: str, field: str, value: object) -> bool:
    """``value``, if it is True or False: a string such as "no" would otherwise count as yes."""
    if value is True or value is False:
        return value
    refuse(owner, field, value, "True or False")


def check_name(owner: str, value: object) -> str:
    """Return ``value`` as a plain `str`, if it can be one part of a path and of a log line."""
    if type(value) is str or is_a(value, str):
        name = plain_str(value)
        if name and "/" not in name and name.isprintable():
            return name
    refuse(owner, "name", value, "a non-empty str of printable characters without '/'")


def check_choice(owner: str, field: str, value: object, enum: type[E]) -> E:
    """``value`` as a member of ``enum``, given as the member or as its string."""
    if type(value) is enum:  # the usual case, as it is the default
        return value
    text = plain_str(value) if is_a(value, str) else ""
    found: E | None = _choices(enum).get(text)
    if found is not None:
        return found
    expected = "one of " + ", ".join(repr(str(member)) for member in enum)
    if text:
        from difflib import get_close_matches  # noqa: PLC0415 - only a mistake pays for it

        wanted = text.strip().lower().replace("-", "_")
        close = get_close_matches(wanted, [str(member) for member in enum], 1)
        if close:
            expected += f" (did you mean {close[0]!r}?)"
    refuse(owner, field, value, expected)


_CHOICES: Final[dict[type[StrEnum], dict[Any, Any]]] = {}


def _choices(enum: type[E]) -> dict[Any, E]:
    table = _CHOICES.get(enum)
    if table is None:
        table = _CHOICES[enum] = {str(member): member for member in enum}
    return table
