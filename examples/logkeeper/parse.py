"""One line of a log file, taken apart: when, which program, how serious, what.

Nothing here fails: a line that fits no known format is stored as it is.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, Final

import attrs

from . import times

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical")

_SPELLINGS: Final = {
    **{level: level for level in LEVELS},
    "trace": "debug",
    "verbose": "debug",
    "fine": "debug",
    "finer": "debug",
    "finest": "debug",
    "information": "info",
    "system": "info",
    "log": "info",
    "note": "notice",
    "warn": "warning",
    "err": "error",
    "severe": "error",
    "fatal": "critical",
    "crit": "critical",
    "alert": "critical",
    "emerg": "critical",
    "emergency": "critical",
    "panic": "critical",
    # Three or four letters, as .NET and Serilog write them.
    "dbg": "debug",
    "dbug": "debug",
    "trce": "debug",
    "vrb": "debug",
    "inf": "info",
    "wrn": "warning",
    "ftl": "critical",
}
_LETTERS: Final = {
    "V": "debug",
    "D": "debug",
    "I": "info",
    "N": "notice",
    "W": "warning",
    "E": "error",
    "C": "critical",
    "F": "critical",
}
# Severities 0 to 7 of syslog, from the priority in angle brackets.
_SEVERITIES: Final = ("critical",) * 3 + ("error", "warning", "notice", "info", "debug")

_WORDS: Final = "|".join(sorted(_SPELLINGS, key=len, reverse=True))
_LEVEL: Final = rf"(?P<level>{_WORDS})"
_NAME: Final = r"[A-Za-z_][\w.-]{0,100}"
_STRING: Final = r'"(?:[^"\\]|\\.)*"'

# What may stand before a time: a priority, a level (Ruby, Jupyter, Cassandra), brackets.
_PREFIX: Final = re.compile(
    r"\s{0,9}(?:[\w.-]{1,64}\s{1,20}\| |(?:https?|h2|grpcs?|wss?|tls) (?=\d)|[*.](?=[A-Z]))?"
    r"(?:<(?P<pri>\d{1,3})>(?P<version>1 )?)?"
    rf"(?:\[?(?:(?P<letter>[A-Z]),? (?=[\[\d])|{_LEVEL}\]?:?\s{{1,9}}(?=[\[\d]))"
    r"(?:\[[\w.:/ -]{1,60}\] (?=\d))?)?"
    r"\[?",
    re.IGNORECASE,
)

# ---- what may follow a time

_TAG: Final = r"(?P<program>[^\s\[\]:]+)(?:\[\d+\])?(?: \([^()]{1,200}\)(?:\[\d+\])?)?:(?!\d)"
_HOST_TAG: Final = re.compile(rf" (?:\S*[^\s:,] )?{_TAG} ?(?P<message>.*)", re.DOTALL)
_DPKG: Final = re.compile(
    r" (?P<message>(?P<action>startup|status|install|upgrade|configure|trigproc|disappear"
    r"|remove|purge|conffile)\b(?: (?P<state>\S+))?.*)",
    re.DOTALL,
)
# RFC 5424: program, process, message id, structured data.
_SYSLOG_5424: Final = re.compile(
    r" ?\S+ (?P<program>\S+) \S+ \S+ "
    rf"(?:-|(?:\[(?:{_STRING}|[^\]\"])*\])+) ?(?P<message>.*)",
    re.DOTALL,
)
# What a container runtime writes around each line.
_CONTAINER: Final = re.compile(r" (?:stdout|stderr) [FP] (?P<message>.*)", re.DOTALL)
# Between time and level: a process, a thread, a number; gunicorn, log4j, MySQL, nginx, Postgres.
_BETWEEN: Final = (
    r"[\s:,|-]{0,60}(?:::?[^\s:]{0,200}(?::[^\s:]{0,200})?:)?"
    r"(?:(?:\[[\w:.=@# -]*\]|#?\d+\]?|UTC)[\s:|-]+)?(?:\w{1,64}@\w{0,64} )?"
)
_LEVEL_NEXT: Final = re.compile(
    rf"\]?{_BETWEEN}[\[(<]?{_LEVEL}\b(?:/[\w-]{{1,64}})?\s*[\])>]?[\s:|-]*"
    rf"(?:(?P<program>{_NAME}): |(?P<crate>[A-Za-z_][\w:]*)\] )?(?P<message>.*)",
    re.DOTALL | re.IGNORECASE,
)
# Python's usual `time - name - LEVEL - message`, `time name LEVEL message`; BIND.
_NAME_LEVEL: Final = re.compile(
    rf"\]?[\s-]+(?P<program>{_NAME})(?:\s{{1,20}}\[\d+\]:|\s-\s\d+)?(?::\s|[\s-])[\s-]{{0,20}}\[?{_LEVEL}\b\]?[\s:-]+(?P<message>.*)",
    re.DOTALL | re.IGNORECASE,
)
_RUBY: Final = re.compile(
    rf" #\d+\]\s+{_LEVEL} -- (?P<program>[^:]{{0,200}}): (?P<message>.*)", re.DOTALL | re.IGNORECASE
)
_ANDROID: Final = re.compile(
    r"\s+\d+\s+\d+ (?P<letter>[VDIWEF]) (?P<program>[^:]{1,200}?)\s*: (?P<message>.*)", re.DOTALL
)
# MongoDB, and Android in brief.
_LETTER: Final = re.compile(r"\s(?P<letter>[VDIWEF]) (?=[A-Z-]{2,20}\s)(?P<message>.*)", re.DOTALL)
_ANDROID_BRIEF: Final = re.compile(
    r"\s?(?P<letter>[VDIWEF])/(?P<program>[^(]{1,100}?)\s*\(\s*\d+\): (?P<message>.*)", re.DOTALL
)
_REQUEST: Final = re.compile(r'[\s\]]{0,9}"[A-Z]+ [^"]{1,2000}" (?P<status>\d{3})\b')
_PLACE: Final = re.compile(r"\]?[\s:-]*(?P<message>.*)", re.DOTALL)
# Lines of Postgres that belong to the one before.
_POSTGRES: Final = re.compile(r".{0,200}?\b(?:DETAIL|HINT|STATEMENT|CONTEXT|QUERY):  ", re.DOTALL)

# ---- lines with a form of their own

_TAG_FIRST: Final = re.compile(r"(?P<program>[\w.-]+) (?=\d{4}-)")
_NO_TIME_5424: Final = re.compile(r"<(?P<pri>\d{1,3})>1 -")
_LEVEL_FIRST: Final = re.compile(
    rf"\[?(?:{_LEVEL})\]?:(?:(?P<program>{_NAME}):)?\s*(?P<message>.*)", re.DOTALL | re.IGNORECASE
)
# glog and Kubernetes: severity, month and day, time, thread, place.
_GLOG: Final = re.compile(
    r"(?P<letter>[IWEF])(?P<year>\d{4})?(?P<month>\d\d)(?P<day>\d\d) "
    r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?P<fraction>\.\d+)?\s+\d+ "
    r"[^\s\]]+\] ?(?P<message>.*)",
    re.DOTALL,
)
_REDIS: Final = re.compile(r"\d+:[XCSM] (?=\d\d )")
_REDIS_LEVEL: Final = re.compile(r" (?P<level>[.*#-]) (?P<message>.*)", re.DOTALL)
_REDIS_SIGNAL: Final = re.compile(r"\d+:signal-handler \((?=\d)")
_ACCESS: Final = re.compile(
    r"(?:[^\[\]\"{]{3,300} )?\[(?=\d\d/)(?P<at>[^\]\"]{20,40})\] "
    rf"{_STRING} (?P<status>\d{{3}})\b"
)
_APACHE_LEVEL: Final = re.compile(
    rf"\] \[(?:[\w.-]*:)?{_LEVEL}\d?\] (?P<message>.*)", re.DOTALL | re.IGNORECASE
)
_AUDIT: Final = re.compile(r"(?:node=\S+ )?type=\w+ msg=audit\((?=\d)")
_ERLANG: Final = re.compile(rf"={_LEVEL} REPORT==== (?=\d)", re.IGNORECASE)

_LOGFMT: Final = re.compile(rf"([\w.@-]+)=({_STRING}|[^\s\"]\S*|(?=\s|$))")
_LEVEL_WORD: Final = re.compile(
    r"\b(?:(?P<critical>panic|fatal|critical|emergency)|(?P<error>errors?|fail(?:ed|ure)?|severe)"
    r"|(?P<warning>warn(?:ing)?|deprecated)|(?P<notice>NOTICE)|(?P<debug>debug))\b"
    r"(?!\s*[=:]\s*(?:0|none|null|false)\b)(?![- ]free\b)",
    re.IGNORECASE,
)
_DENIED: Final = re.compile(r"(?:\b(?:0|no|zero|without|not|never)\s+|=)$", re.IGNORECASE)
_CISCO: Final = re.compile(r"[^%]{0,60}%[A-Z][\w-]{0,60}-(?P<severity>[0-7])-\w+:")
# A level that stands out: in capitals, or in brackets.
_EXPLICIT: Final = re.compile(
    r"(?:^|[\s\[(<|/>-])(?:(?P<level>TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|SEVERE|CRITICAL|FATAL"
    r"|DBG|INF|WRN|ERR|FTL)|(?P<xorg>EE|WW|II)(?=\)))(?=$|[\s\])>:|,;-])"
    rf"|[\[<](?P<word>(?i:{_WORDS}))[\]>]"
)
_TELLING: Final = 2048
# Colours, and what else a program says to a terminal.
_ESCAPE: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")

_TIMES: Final = (
    *("time", "timestamp", "ts", "@timestamp", "at", "date", "t", "@t", "datetime", "asctime"),
    "__realtime_timestamp",
)
_LEVELS: Final = (
    *("level", "severity", "lvl", "levelname", "log.level", "loglevel", "@level", "@l"),
    *("severitytext", "priority", "s"),
)
_MESSAGES: Final = (
    *("msg", "message", "@message", "event", "short_message", "log", "text", "@m", "@mt", "body"),
)
_PROGRAMS: Final = (
    *("logger", "program", "app", "service", "component", "syslog_identifier", "_comm"),
    *("name", "module", "@module", "c"),
)
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
    entry = _parsed(line, default_program, now)
    # Half a character can be written in JSON, and in no database.
    return Entry(
        *(text.encode("utf-8", "backslashreplace").decode() for text in attrs.astuple(entry))
    )


def _parsed(line: str, default: str, now: datetime) -> Entry:
    if (entry := _structured(line, default, now)) is not None:
        return entry
    # What tells stands at the beginning; patterns would take long for a line of a megabyte.
    begin, rest = line[:_TELLING], line[_TELLING:]
    entry = _unstructured(begin, default, now)
    return attrs.evolve(entry, message=entry.message + rest) if rest else entry


def _unstructured(line: str, default: str, now: datetime) -> Entry:
    plain = _ESCAPE.sub("", line) if "\x1b" in line else line
    plain = plain.removeprefix("\ufeff")
    for attempt in (_with_own_form, _with_time):
        if (entry := attempt(plain, default, now)) is not None:
            return entry
    if match := _LEVEL_FIRST.match(plain):
        message = match["message"] if match["level"].isupper() else line
        return Entry("", match["program"] or default, _spelt(match), message)
    if match := _NO_TIME_5424.match(plain):
        rest = _SYSLOG_5424.match(plain, match.end())
        if rest is not None:
            return Entry("", _named(rest, default), _severity(match["pri"]), rest["message"])
    return Entry("", default, _guessed_level(plain), line)


# ---- lines that begin with a time


def _with_time(line: str, default: str, now: datetime) -> Entry | None:
    before = _PREFIX.match(line)
    assert before is not None  # it may be empty
    found = times.read(line, before.end(), now)
    if found is None and (tag := _TAG_FIRST.match(line)) is not None:
        if (found := times.read(line, tag.end(), now)) is None or line[found[1] :][:1] != ":":
            return None
        message = line[found[1] + 1 :].removeprefix(" ")
        return Entry(found[0], tag["program"], _guessed_level(message), message)
    if found is None:
        return None
    at, end = found
    if before["version"] and (match := _SYSLOG_5424.match(line, end)):
        message = match["message"].removeprefix("\ufeff")
        return Entry(at, _named(match, default), _severity(before["pri"]), message)
    if match := _CONTAINER.match(line, end):
        inner = _parsed(match["message"], default, now)
        return attrs.evolve(inner, at=inner.at or at)
    if match := _DPKG.match(line, end):
        return Entry(at, "dpkg", _dpkg_level(match), match["message"])
    entry = _told(at, line, end, default)
    if before["pri"]:
        return attrs.evolve(entry, level=_severity(before["pri"]))
    if before["level"] or before["letter"]:
        return attrs.evolve(entry, level=_spelt(before))
    return entry


def _told(at: str, line: str, end: int, default: str) -> Entry:
    """What the line tells after its time."""
    if match := _REQUEST.match(line, end):
        return Entry(at, default, _status_level(match), line[end:].lstrip(" ]"))
    for form in (_RUBY, _ANDROID, _ANDROID_BRIEF, _LEVEL_NEXT, _NAME_LEVEL, _LETTER):
        if match := form.match(line, end):
            return Entry(at, _named(match, default), _spelt(match), match["message"])
    of_postgres = _POSTGRES.match(line, end) is not None
    match = None if of_postgres else _HOST_TAG.match(line, end)
    if match is not None and match["program"].lower() not in _SPELLINGS:
        return Entry(at, match["program"], _guessed_level(match["message"]), match["message"])
    match = _PLACE.match(line, end)
    assert match is not None  # it fits everything
    level = "info" if of_postgres else _guessed_level(match["message"])
    return Entry(at, default, level, match["message"])


def _named(match: re.Match[str], default: str) -> str:
    found = match.groupdict()
    program = found.get("program") or found.get("crate") or ""
    return default if program.strip() in {"", "-"} else program.strip()


def _spelt(match: re.Match[str]) -> str:
    found = match.groupdict()
    if word := found.get("level"):
        return _SPELLINGS[word.lower()]
    return _LETTERS.get((found.get("letter") or "").upper(), "info")


# ---- lines with a form of their own


def _with_own_form(line: str, default: str, now: datetime) -> Entry | None:
    if match := _GLOG.match(line):
        return Entry(times.glog(match.groupdict(), now), default, _spelt(match), match["message"])
    if match := _ACCESS.match(line):
        found = times.read(match["at"], 0, now)
        return Entry(found[0] if found else "", default, _status_level(match), line)
    if match := _ANDROID_BRIEF.match(line):
        return Entry("", match["program"], _spelt(match), match["message"])
    for form in (_REDIS, _REDIS_SIGNAL, _AUDIT, _ERLANG):
        if (match := form.match(line)) and (found := times.read(line, match.end(), now)):
            return _after_own_form(form, match, line, found, default)
    if line.startswith("[") and (found := times.read(line, 1, now)):
        match = _APACHE_LEVEL.match(line, found[1])
        if match is not None:
            return Entry(found[0], default, _spelt(match), match["message"])
    return None


def _after_own_form(
    form: re.Pattern[str], match: re.Match[str], line: str, found: tuple[str, int], default: str
) -> Entry:
    at, end = found
    if form is _AUDIT:
        return Entry(at, default, "info", line)
    if form is _ERLANG:
        return Entry(at, default, _spelt(match), line)
    if form is _REDIS_SIGNAL:
        return Entry(at, default, "info", line[end:].removeprefix(")").strip())
    rest = _REDIS_LEVEL.match(line, end)
    if rest is None:
        return Entry(at, default, _guessed_level(line[end:]), line[end:].strip())
    level = {".": "debug", "-": "info", "*": "notice", "#": "warning"}[rest["level"]]
    return Entry(at, default, level, rest["message"])


# ---- lines with named fields


def _structured(line: str, default: str, now: datetime) -> Entry | None:
    fields = _fields(line)
    if fields is None:
        return None
    moments = (times.moment(_number(fields.get(key)), now) for key in _TIMES)
    at = next(filter(None, moments), "")
    if isinstance(inner := fields.get("log"), str) and "stream" in fields:  # Docker
        entry = _parsed(inner.rstrip("\n"), default, now)
        return attrs.evolve(entry, at=entry.at or at)
    if isinstance(inner, dict):  # Elastic's common schema, not flattened
        fields.setdefault("log.level", inner.get("level"))
    level = next((fields[key] for key in _LEVELS if _is_plain(fields.get(key))), None)
    messages = (_text(fields.get(key)) for key in _MESSAGES)
    message = next((text for text in messages if text is not None), None)
    if level is None and message is None:
        return None
    shown = line if message is None else message.rstrip("\n")
    program = next((fields[key] for key in _PROGRAMS if isinstance(fields.get(key), str)), "")
    is_syslog = "__realtime_timestamp" in fields or "short_message" in fields
    return Entry(at, program or default, _named_level(level, shown, is_syslog=is_syslog), shown)


def _fields(line: str) -> dict[str, Any] | None:
    """The fields of an object in JSON, or of ``key=value`` pairs; their names in lower case."""
    if line.startswith("{"):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return {key.lower(): value for key, value in found.items()}
    if _LOGFMT.match(line) and not _AUDIT.match(line):
        return {key.lower(): _unquoted(value) for key, value in _LOGFMT.findall(line)}
    return None


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _text(value: object) -> str | None:
    """A message; the journal writes one that is no text as a list of bytes."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(type(x) is int and 0 <= x < 256 for x in value):
        return bytes(value).decode("utf-8", "backslashreplace")
    return None


def _number(value: object) -> object:
    """A number since 1970 that is written as text."""
    if isinstance(value, str) and re.fullmatch(r"\d{9,19}(?:\.\d{1,9})?", value):
        return float(value) if "." in value else int(value)
    return value


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value[1:-1]


def _named_level(level: object, message: str, *, is_syslog: bool) -> str:
    if is_syslog and str(level) in set("01234567"):
        return _SEVERITIES[int(str(level))]
    if isinstance(level, int | float):
        return _NUMBERS.get(int(level) if abs(level) < 1000 else 0) or _guessed_level(message)
    word = str(level)
    return _SPELLINGS.get(word.lower()) or _LETTERS.get(word) or _guessed_level(message)


# ---- levels


def _dpkg_level(match: re.Match[str]) -> str:
    if match["action"] in {"remove", "purge", "disappear"}:
        return "notice"
    # In between two states: where an interrupted installation leaves a package.
    if match["action"] == "status" and (match["state"] or "").startswith("half-"):
        return "notice"
    return "info"


def _status_level(match: re.Match[str]) -> str:
    status = int(match["status"])
    return "error" if status >= 500 else "warning" if status >= 400 else "info"


def _severity(priority: str) -> str:
    return _SEVERITIES[int(priority) % 8]


def _guessed_level(message: str) -> str:
    if match := _CISCO.match(message):
        return _SEVERITIES[int(match["severity"])]
    if match := _LEVEL_FIRST.match(message):
        return _spelt(match)
    if (match := _EXPLICIT.search(message, 0, 100)) and not _is_denied(message, match):
        word = match["level"] or match["word"]
        return _SPELLINGS[word.lower()] if word else _LETTERS[match["xorg"][0]]
    for match in _LEVEL_WORD.finditer(message, 0, 200):
        if not _is_denied(message, match):
            return match.lastgroup or "info"
    return "info"


def _is_denied(message: str, match: re.Match[str]) -> bool:
    """Whether the words before say the opposite, as in "no errors" and "0 failed"."""
    begin = match.start(match.lastgroup or 0)
    return _DENIED.search(message, max(begin - 10, 0), begin) is not None
