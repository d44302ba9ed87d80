"""One line of a log file, taken apart: when, which program, how serious, what.

Nothing here fails: a line that fits no known format is stored as it is.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

import attrs

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical")

_SPELLINGS: Final = {
    **{level: level for level in LEVELS},
    "trace": "debug",
    "warn": "warning",
    "err": "error",
    "severe": "error",
    "fatal": "critical",
    "crit": "critical",
    "alert": "critical",
    "emerg": "critical",
    "panic": "critical",
}
# Severities 0 to 7 of syslog, from the priority in angle brackets.
_SEVERITIES: Final = ("critical",) * 3 + ("error", "warning", "notice", "info", "debug")

_ISO = r"(?P<at>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)"
_TAG = r"(?P<program>[^\s\[\]:]+)(?:\[\d+\])?:"
_PRI = r"(?:<(?P<pri>\d{1,3})>(?:1 )?)?"
_WORDS = "|".join(sorted(_SPELLINGS, key=len, reverse=True))

_DPKG: Final = re.compile(
    rf"{_ISO} (?P<message>(?P<action>startup|status|install|upgrade|configure|trigproc|disappear"
    r"|remove|purge|conffile)\b(?: (?P<state>\S+))?.*)",
    re.DOTALL,
)
_SYSLOG: Final = re.compile(
    rf"{_PRI}(?P<at>[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d) (?:\S+ )?{_TAG} ?(?P<message>.*)",
    re.DOTALL,
)
_SYSLOG_ISO: Final = re.compile(rf"{_PRI}{_ISO} \S+ {_TAG} ?(?P<message>.*)", re.DOTALL)
_TAG_FIRST: Final = re.compile(rf"(?P<program>[\w.-]+) {_ISO}: ?(?P<message>.*)", re.DOTALL)
_ISO_LEVEL: Final = re.compile(
    rf"\[?{_ISO}\]?[\s:-]*\[?(?P<level>{_WORDS})\b\]?[\s:-]*"
    r"(?:(?P<program>[\w.-]+): )?(?P<message>.*)",
    re.DOTALL | re.IGNORECASE,
)
_ISO_ONLY: Final = re.compile(rf"\[?{_ISO}\]?[\s:-]*(?P<message>.*)", re.DOTALL)
_LEVEL_WORD: Final = re.compile(
    r"\b(?:(?P<critical>panic|fatal|critical|emergency)|(?P<error>errors?|fail(?:ed|ure)?)"
    r"|(?P<warning>warn(?:ing)?|deprecated)|(?P<debug>debug))\b",
    re.IGNORECASE,
)


@attrs.frozen
class Entry:
    """A line, taken apart. ``at`` is ISO 8601 as far as the line tells, or empty."""

    at: str
    program: str
    level: str
    message: str


def parse(line: str, *, default_program: str, now: datetime | None = None) -> Entry:
    """Take ``line`` apart.

    Args:
        line: Without its newline.
        default_program: For lines that do not name theirs.
        now: For time stamps without a year; the latest year that does not put them in the future.
    """
    if match := _DPKG.match(line):
        return Entry(_iso(match["at"]), "dpkg", _dpkg_level(match), match["message"])
    if match := _SYSLOG.match(line):
        at = _with_year(match["at"], now or datetime.now())  # noqa: DTZ005 - logs are local
        return Entry(at, match["program"], _syslog_level(match), match["message"])
    if match := _ISO_LEVEL.match(line):
        program = match["program"] or default_program
        level = _SPELLINGS[match["level"].lower()]
        return Entry(_iso(match["at"]), program, level, match["message"])
    if match := _SYSLOG_ISO.match(line):
        return Entry(_iso(match["at"]), match["program"], _syslog_level(match), match["message"])
    if match := _TAG_FIRST.match(line):
        message = match["message"]
        return Entry(_iso(match["at"]), match["program"], _guessed_level(message), message)
    if match := _ISO_ONLY.match(line):
        message = match["message"]
        return Entry(_iso(match["at"]), default_program, _guessed_level(message), message)
    return Entry("", default_program, _guessed_level(line), line)


def _iso(stamp: str) -> str:
    return stamp.replace(" ", "T", 1).replace(",", ".", 1)


def _with_year(stamp: str, now: datetime) -> str:
    # The year is put in before parsing: without one, 29 February would be refused.
    for year in (now.year, now.year - 1):
        try:
            at = datetime.strptime(f"{year} {stamp}", "%Y %b %d %H:%M:%S")  # noqa: DTZ007
        except ValueError:
            continue
        if at <= now + timedelta(days=1):
            return at.isoformat()
    return ""


def _dpkg_level(match: re.Match[str]) -> str:
    if match["action"] in {"remove", "purge", "disappear"}:
        return "notice"
    # In between two states: where an interrupted installation leaves a package.
    if match["action"] == "status" and (match["state"] or "").startswith("half-"):
        return "notice"
    return "info"


def _syslog_level(match: re.Match[str]) -> str:
    if match["pri"] is not None:
        return _SEVERITIES[int(match["pri"]) % 8]
    return _guessed_level(match["message"])


def _guessed_level(message: str) -> str:
    match = _LEVEL_WORD.search(message, 0, 200)
    return (match.lastgroup or "info") if match else "info"
