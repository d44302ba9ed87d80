"""Times as log files write them, as ISO 8601 as far as the line tells.

`read` takes the time that begins at a place in a line, `moment` one that is a value of a field.
A date that does not exist is no time. Where day and month cannot be told apart (``10/11/2026``),
nothing is guessed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NAMES: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"
_MONTHS: Final = {_NAMES[3 * at : 3 * at + 3]: at + 1 for at in range(12)}
_MONTH: Final = rf"(?P<month>{'|'.join(_MONTHS)})"
_CLOCK: Final = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?P<fraction>[.,]\d{1,9})?"
# Another name of a zone than UTC is passed over: several zones have it.
_ZONE: Final = (
    r"(?P<zone>Z\b| ?[+-]\d\d(?::?\d\d)?\b| ?(?:UTC|GMT)\b)?"
    r"(?: (?!CRIT)[A-Z]{1,3}T\b| [A-Z][a-z]+/\w+)?"
)

_FORMS: Final = tuple(
    re.compile(form)
    for form in (
        # ISO 8601, also with a space, slashes, or without seconds.
        r"(?P<year>\d{4})[-/.](?P<month>\d\d)[-/.](?P<day>\d\d)[T ]"
        r"(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?P<fraction>[.,]\d{1,9})?)?" + _ZONE,
        r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)T"
        r"(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)(?P<fraction>[.,]\d{1,9})?" + _ZONE,
        # Access logs, PHP, Tomcat, BIND, Redis, Erlang, RFC 2822.
        rf"(?:[A-Z][a-z]{{2}}, )?(?P<day>\d\d)[-/ ]{_MONTH}[-/ ](?P<year>\d{{4}})"
        rf"(?::{{1,2}}| ){_CLOCK}" + _ZONE,
        # java.util.logging
        (
            rf"{_MONTH} (?P<day>\d\d?), (?P<year>\d{{4}}) (?P<hour>\d\d?):(?P<minute>\d\d)"
            r":(?P<second>\d\d) (?P<half>[AP]M)\b"
        ),
        # Apache and ctime, with and without the day of the week; network equipment.
        rf"(?:[A-Z][a-z]{{2}} )?{_MONTH} (?P<day>[ \d]\d) {_CLOCK} (?P<year>\d{{4}})\b",
        rf"{_MONTH} (?P<day>[ \d]\d) (?P<year>\d{{4}}) {_CLOCK}",
        # Syslog.
        rf"{_MONTH} (?P<day>[ \d]\d) {_CLOCK}",
        # Two digits for the year: old MySQL, Tornado.
        (
            r"(?P<short>\d\d)(?P<month>\d\d)(?P<day>\d\d)  ?(?P<hour>\d?\d):(?P<minute>\d\d)"
            r":(?P<second>\d\d)\b"
        ),
        # Android: neither year nor zone.
        rf"(?P<month>\d\d)-(?P<day>\d\d) {_CLOCK}",
        # Seconds, milli-, micro- or nanoseconds since 1970.
        r"(?P<epoch>1\d{9}(?:\.\d{1,9}|\d{3}|\d{6}|\d{9})?)(?![\w.])",
    )
)


def read(text: str, begin: int, now: datetime) -> tuple[str, int] | None:
    """The time that begins at ``begin``, and where it ends; None if there is none.

    The time is empty if there is no such day or hour.

    Args:
        text: A line.
        begin: An index.
        now: For times without a year; the latest year that does not put them in the future.
    """
    if not text[begin : begin + 1].isalnum():
        return None
    for form in _FORMS:
        if match := form.match(text, begin):
            return _written(match.groupdict(), now), match.end()
    return None


def moment(value: object, now: datetime) -> str:
    """A time given as text, as a number since 1970, or in an object; empty if it is none."""
    if isinstance(value, dict):
        seconds = value.get("seconds")
        return moment(value.get("$date", seconds), now)
    if isinstance(value, str):
        found = read(value.strip(), 0, now)
        return found[0] if found is not None and found[1] == len(value.strip()) else ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _since_1970(value)
    return ""


def glog(match: Mapping[str, str | None], now: datetime) -> str:
    """The time of a line of glog, whose groups are named as in the forms here."""
    return _written(match, now)


def _written(found: Mapping[str, str | None], now: datetime) -> str:
    part: Callable[[str], str | None] = found.get
    if (epoch := part("epoch")) is not None:
        return _since_1970(float(epoch) if "." in epoch else int(epoch))
    month, hour = part("month") or "", int(part("hour") or 0)
    if (half := part("half")) is not None:
        hour = hour % 12 + 12 * (half == "PM")
    fields = (
        _MONTHS.get(month) or int(month),
        int(part("day") or 0),
        hour,
        int(part("minute") or 0),
        min(int(part("second") or 0), 59),  # a leap second is written as it is
    )
    if (year := part("year")) is None and (short := part("short")) is not None:
        year = f"20{short}"
    when = _at(int(year), fields) if year is not None else _latest(fields, now)
    if when is None:
        return ""
    zone = (part("zone") or "").strip()
    seconds = "" if part("second") is None else f":{part('second')}"
    fraction = (part("fraction") or "").replace(",", ".")
    if zone in {"UTC", "GMT"}:
        zone = "Z"
    elif zone not in {"", "Z"}:
        digits = zone[1:].replace(":", "")
        zone = f"{zone[0]}{digits[:2]}:{digits[2:] or '00'}"
    return f"{when:%Y-%m-%dT%H:%M}{seconds}{fraction}{zone}"


def _at(year: int, fields: tuple[int, int, int, int, int]) -> datetime | None:
    try:
        return datetime(year, *fields)  # noqa: DTZ001 - as far as it says
    except ValueError:
        return None


def _latest(fields: tuple[int, int, int, int, int], now: datetime) -> datetime | None:
    # A leap day may be up to eight years back.
    for year in range(now.year, now.year - 9, -1):
        at = _at(year, fields)
        if at is not None and at <= now + timedelta(days=1):
            return at
    return None


def _since_1970(number: float) -> str:
    if not 1e8 < number < 1e20:  # nor if it is not a number
        return ""
    for factor in (1, 1_000, 1_000_000, 1_000_000_000):
        if number < 1e11 * factor:
            break
    whole, rest = divmod(number, factor)
    at = datetime.fromtimestamp(int(whole), UTC)
    at += timedelta(microseconds=round(rest * 1_000_000 / factor))
    return at.isoformat()
