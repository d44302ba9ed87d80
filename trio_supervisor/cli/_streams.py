"""``events`` and ``logs``: what has happened, and with ``--follow`` what happens."""

from __future__ import annotations

import sys

from trio_supervisor._lazy import TYPE_CHECKING
from trio_supervisor.cli._output import clean, connect, print_json

if TYPE_CHECKING:
    from typing import Any

_HEAD = {"schema", "event", "at", "sequence", "time", "wall", "run", "path", "attempt"}


def run(verb: str, args: Any) -> int:
    """Print a stream until it ends."""
    follow = args.follow or None
    given = {"names": args.names or None, "limit": args.limit, "follow": follow}
    if verb == "events":
        given["since"] = args.since
    with connect(args) as client:
        for item in client.stream(verb, **given):
            if "gap" in item:
                print(f"trio-supervisor: {item['gap']} are missing", file=sys.stderr)
            if args.json:
                if "snapshot" not in item or not args.no_snapshot:
                    print_json(item)
            elif "event" in item:
                print(event_line(item))
            elif "message" in item:
                where = f" {clean(item['path'])}:" if item["logger"] != "trio_supervisor" else ""
                print(f"{_clock(item['at'])} {item['level']:<8}{where} {clean(item['message'])}")
            sys.stdout.flush()
    return 0


def event_line(event: dict[str, Any]) -> str:
    """One event for people."""
    attempt = f" #{event['attempt']}" if event["attempt"] else ""
    own = " ".join(
        f"{key}={_value(value)}"
        for key, value in event.items()
        if key not in _HEAD and value not in ("", None, [])
    )
    head = f"{event['sequence']:>6} {_clock(event['at'])} {clean(event['path'])}{attempt}"
    return f"{head} {event['event']} {own}".rstrip()


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ",".join(clean(each) for each in value)
    if isinstance(value, dict):
        return clean(value.get("message", ""))
    return clean(value)


def _clock(at: str | None) -> str:
    """The local time of day of a time in ISO 8601."""
    from datetime import datetime

    if at is None:
        return "--:--:--.---"
    return datetime.fromisoformat(at).astimezone().strftime("%H:%M:%S.%f")[:-3]
