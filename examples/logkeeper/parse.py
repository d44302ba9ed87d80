"""One line of a log file, taken apart: when, which program, how serious, what.

Nothing here fails: a line that fits no known format is stored as it is.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical")

_SPELLINGS: Final = {
    **{level: level for level in LEVELS},
    "trace": "debug",
    "verbose": "debug",
    "information": "info",
    "log": "info",
    "warn": "warning",
    "err": "error",
    "severe": "error",
    "fatal": "critical",
    "crit": "critical",
    "alert": "critical",
    "emerg": "critical",
    "emergency": "critical",
    "panic": "critical",
}
# Severities 0 to 7 of syslog, from the priority in angle brackets.
_SEVERITIES: Final = ("critical",) * 3 + ("error", "warning", "notice", "info", "debug")

_ISO = (
    r"(?P<at>\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?"
    r"(?:Z| ?[+-]\d\d(?::?\d\d)?\b| (?:UTC|GMT)\b)?)"
)
_TAG = r"(?P<program>[^\s\[\]:]+)(?:\[\d+\])?:"
_PRI = r"(?:<(?P<pri>\d{1,3})>(?:1 )?)?"
_WORDS = "|".join(sorted(_SPELLINGS, key=len, reverse=True))
_LEVEL = rf"(?P<level>{_WORDS})"
_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"

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
# RFC 5424: program, process, message id, structured data.
_SYSLOG_5424: Final = re.compile(
    rf"<(?P<pri>\d{{1,3}})>1 {_ISO} \S+ (?P<program>\S+) \S+ \S+ (?:-|(?:\[[^\]]*\])+) ?"
    r"(?P<message>.*)",
    re.DOTALL,
)
_TAG_FIRST: Final = re.compile(rf"(?P<program>[\w.-]+) {_ISO}: ?(?P<message>.*)", re.DOTALL)
# What stands between time and level: a process, a thread, a number; gunicorn, log4j, MySQL, nginx.
_BETWEEN = r"[\s:,|-]*(?:(?:\[[\w:.# -]*\]|\d+|UTC)[\s:|-]+)?"
_ISO_LEVEL: Final = re.compile(
    rf"\[?{_ISO}\]?{_BETWEEN}[\[(<]?{_LEVEL}\b\s*[\])>]?[\s:|-]*"
    r"(?:(?P<program>[A-Za-z][\w.-]*): )?(?P<message>.*)",
    re.DOTALL | re.IGNORECASE,
)
# Python's usual `time - name - LEVEL - message`, and `time name LEVEL message`.
_ISO_NAME_LEVEL: Final = re.compile(
    rf"\[?{_ISO}\]?[\s-]+(?P<program>[A-Za-z_][\w.-]*)[\s-]+\[?{_LEVEL}\b\]?[\s:-]+(?P<message>.*)",
    re.DOTALL | re.IGNORECASE,
)
_ISO_ONLY: Final = re.compile(rf"\[?{_ISO}\]?[\s:-]*(?P<message>.*)", re.DOTALL)
# What a container runtime writes around each line.
_CONTAINER: Final = re.compile(rf"{_ISO} (?:stdout|stderr) [FP] (?P<message>.*)", re.DOTALL)
_LEVEL_FIRST: Final = re.compile(
    r"(?P<level>TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)"
    r":(?:(?P<program>[A-Za-z_][\w.-]*):)?\s*(?P<message>.*)",
    re.DOTALL,
)
# glog and Kubernetes: severity, month and day, time, thread, place.
_GLOG: Final = re.compile(
    r"(?P<level>[IWEF])(?P<month>\d\d)(?P<day>\d\d) (?P<time>\d\d:\d\d:\d\d)(?:\.\d+)?\s+\d+ "
    r"[^\s\]]+\] ?(?P<message>.*)",
    re.DOTALL,
)
_REDIS: Final = re.compile(
    r"\d+:[XCSM] (?P<at>\d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d)(?:\.\d+)? (?P<level>[.*#-]) "
    r"(?P<message>.*)",
    re.DOTALL,
)
_ACCESS: Final = re.compile(
    r"\S+ \S+ \S+ \[(?P<at>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    r'"(?:[^"\\]|\\.)*" (?P<status>\d{3}) ',
    re.DOTALL,
)
_APACHE_ERROR: Final = re.compile(
    r"\[[A-Z][a-z]{2} (?P<at>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)? \d{4})\] "
    rf"\[(?:[\w.-]*:)?{_LEVEL}\d?\] (?P<message>.*)",
    re.DOTALL,
)
_LOGFMT: Final = re.compile(r'([\w.@-]+)=("(?:[^"\\]|\\.)*"|\S*)')
_LEVEL_WORD: Final = re.compile(
    r"\b(?:(?P<critical>panic|fatal|critical|emergency)|(?P<error>errors?|fail(?:ed|ure)?)"
    r"|(?P<warning>warn(?:ing)?|deprecated)|(?P<debug>debug))\b(?!\s*[=:]\s*(?:0|none|null|false)\b)"
    r"(?!-free\b)",
    re.IGNORECASE,
)
_DENIED: Final = re.compile(r"(?:\b(?:0|no|zero|without|not|never)\s+|=)$", re.IGNORECASE)

_TIMES: Final = ("time", "timestamp", "ts", "@timestamp", "at", "date", "t", "datetime")
_LEVELS: Final = ("level", "severity", "lvl", "levelname", "log.level", "loglevel", "priority")
_MESSAGES: Final = ("msg", "message", "event", "log", "text")
_PROGRAMS: Final = ("logger", "program", "app", "service", "component", "name", "module")
# Numbers that bunyan and pino use for levels.
_NUMBERS: Final = {10: "debug", 20: "debug", 30: "info", 40: "warning", 50: "error", 60: "critical"}


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
    now = now or datetime.now()  # noqa: DTZ005 - logs are local
    for attempt in (_structured, _with_own_time, _with_iso_time):
        if (entry := attempt(line, default_program, now)) is not None:
            return entry
    if match := _LEVEL_FIRST.match(line):
        level = _SPELLINGS[match["level"].lower()]
        return Entry("", match["program"] or default_program, level, match["message"])
    return Entry("", default_program, _guessed_level(line), line)


def _with_iso_time(line: str, default: str, now: datetime) -> Entry | None:
    if match := _DPKG.match(line):
        return Entry(_iso(match["at"]), "dpkg", _dpkg_level(match), match["message"])
    if match := _CONTAINER.match(line):
        inner = parse(match["message"], default_program=default, now=now)
        return attrs.evolve(inner, at=inner.at or _iso(match["at"]))
    if match := _SYSLOG_5424.match(line):
        program = default if match["program"] == "-" else match["program"]
        message = match["message"].removeprefix("\ufeff")
        return Entry(_iso(match["at"]), program, _syslog_level(match), message)
    if match := _ISO_LEVEL.match(line) or _ISO_NAME_LEVEL.match(line):
        program = match["program"] or default
        level = _SPELLINGS[match["level"].lower()]
        return Entry(_iso(match["at"]), program, level, match["message"])
    if match := _SYSLOG_ISO.match(line):
        return Entry(_iso(match["at"]), match["program"], _syslog_level(match), match["message"])
    for pattern in (_TAG_FIRST, _ISO_ONLY):
        if match := pattern.match(line):
            message = match["message"]
            program = match.groupdict().get("program") or default
            return Entry(_iso(match["at"]), program, _guessed_level(message), message)
    return None


def _with_own_time(line: str, default: str, now: datetime) -> Entry | None:
    if match := _SYSLOG.match(line):
        at = _with_year(match["at"], now)
        return Entry(at, match["program"], _syslog_level(match), match["message"])
    if match := _GLOG.match(line):
        month = _MONTHS[3 * int(match["month"]) - 3 : 3 * int(match["month"])]
        at = _with_year(f"{month} {match['day']} {match['time']}", now)
        level = {"I": "info", "W": "warning", "E": "error", "F": "critical"}[match["level"]]
        return Entry(at, default, level, match["message"])
    if match := _REDIS.match(line):
        level = {".": "debug", "-": "info", "*": "notice", "#": "warning"}[match["level"]]
        return Entry(_at(match["at"], "%d %b %Y %H:%M:%S"), default, level, match["message"])
    if match := _ACCESS.match(line):
        status = int(match["status"])
        level = "error" if status >= 500 else "warning" if status >= 400 else "info"
        return Entry(_at(match["at"], "%d/%b/%Y:%H:%M:%S %z"), default, level, line)
    if match := _APACHE_ERROR.match(line):
        at = _at(match["at"], "%b %d %H:%M:%S.%f %Y") or _at(match["at"], "%b %d %H:%M:%S %Y")
        return Entry(at, default, _SPELLINGS[match["level"].lower()], match["message"])
    return None


def _structured(line: str, default: str, _: datetime) -> Entry | None:
    fields: dict[str, Any] = {}
    if line.startswith("{"):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return None
        fields = found if isinstance(found, dict) else {}
    elif _LOGFMT.match(line):
        fields = {key: _unquoted(value) for key, value in _LOGFMT.findall(line)}
    level = next((fields[key] for key in _LEVELS if _is_plain(fields.get(key))), None)
    message = next((fields[key] for key in _MESSAGES if isinstance(fields.get(key), str)), None)
    if level is None and message is None:
        return None
    text = line if message is None else message.rstrip("\n")
    program = next((fields[key] for key in _PROGRAMS if isinstance(fields.get(key), str)), "")
    at = next((fields[key] for key in _TIMES if _is_plain(fields.get(key))), "")
    return Entry(_moment(at), program or default, _named_level(level, text), text)


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value[1:-1]


def _named_level(level: object, message: str) -> str:
    if isinstance(level, int | float):
        return _NUMBERS.get(int(level) if abs(level) < 1000 else 0) or _guessed_level(message)
    return _SPELLINGS.get(str(level).lower()) or _guessed_level(message)


def _moment(value: object) -> str:
    """A time as ISO 8601: given so, or as seconds or milliseconds since 1970."""
    if isinstance(value, str):
        match = re.fullmatch(_ISO, value.strip())
        return _iso(match["at"]) if match else ""
    seconds = float(value) if isinstance(value, int | float) else 0.0
    seconds = seconds / 1000 if seconds > 1e11 else seconds
    if not 1e8 < seconds < 1e11:
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _at(stamp: str, form: str) -> str:
    try:
        return datetime.strptime(stamp, form).isoformat()  # noqa: DTZ007 - as far as it says
    except ValueError:
        return ""


def _iso(stamp: str) -> str:
    date, rest = stamp[:10].replace("/", "-"), stamp[11:].replace(",", ".", 1)
    for name in (" UTC", " GMT"):
        rest = rest.replace(name, "Z")
    return f"{date}T{rest.replace(' ', '')}"


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
    for match in _LEVEL_WORD.finditer(message, 0, 200):
        # "no errors", "0 failed" say the opposite.
        if not _DENIED.search(message, max(match.start() - 10, 0), match.start()):
            return match.lastgroup or "info"
    return "info"
