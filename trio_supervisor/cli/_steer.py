"""``start stop restart quarantine remove shutdown``: verbs that change something."""

from __future__ import annotations

from trio_supervisor._lazy import TYPE_CHECKING
from trio_supervisor.cli._output import Style, clean, connect, print_json

if TYPE_CHECKING:
    from typing import Any


def run(verb: str, args: Any) -> int:
    """Give one command and print what became of it."""
    given: dict[str, Any] = {
        "reason": args.reason or None,
        "wait": args.wait,
        "timeout": args.timeout,
        "dry_run": args.dry_run or None,
    }
    if verb == "shutdown":
        given["no_grace"] = args.no_grace or None
    else:
        given["names"] = args.names
        given["grace"] = getattr(args, "grace", None)
    with connect(args) as client:
        answer = client.request(verb, **given)
    if args.json:
        print_json(answer)
        return 0
    style = Style()
    would = f"would {verb} " if args.dry_run else ""
    for child in answer.get("children", ()):
        print(f"{would}{clean(child['path'])}  {style.state(child['state'])}")
    if verb == "shutdown":
        print(f"{would}{clean(answer['supervisor'])}{_ending(answer.get('report'))}")
    return 0


def _ending(report: dict[str, Any] | None) -> str:
    if report is None:
        return ""
    hung = [clean(child["path"]) for child in report["children"] if child["stack"]]
    stuck = f"; unresponsive: {', '.join(hung)}" if hung else ""
    return f"  ended in {report['seconds']:.2f}s{stuck}"
