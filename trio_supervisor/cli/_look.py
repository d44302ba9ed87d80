"""``stacks ready live wait``: verbs that look at one moment."""

from __future__ import annotations

from trio_supervisor._lazy import TYPE_CHECKING
from trio_supervisor.cli._output import Style, clean, connect, print_json

if TYPE_CHECKING:
    from typing import Any


def run(verb: str, args: Any) -> int:
    """Carry out one of these verbs."""
    return _VERBS[verb](args)


def _stacks(args: Any) -> int:
    with connect(args) as client:
        answer = client.request("stacks", names=args.names)
    if args.json:
        print_json(answer)
        return 0
    style = Style()
    for child in answer["children"]:
        flag = "  UNRESPONSIVE" if child["unresponsive"] else ""
        print(f"{style.strong(clean(child['path']))}  {style.state(child['state'])}{flag}")
        for line in child["tasks"]:
            print(f"  {clean(line)}")
    return 0


def _ready(args: Any) -> int:
    with connect(args) as client:
        answer = client.request("ready", names=args.names)
    if args.json:
        print_json(answer)
    else:
        for each in answer["missing"]:
            why = f": {clean(each['why'])}" if each["why"] else ""
            print(f"{clean(each['path'])} is {each['state']}{why}")
    return 0 if answer["ready"] else 3


def _live(args: Any) -> int:
    from trio_supervisor.cli._main import Failure
    from trio_supervisor.control.client import ControlError

    try:
        with connect(args, timeout=args.timeout or 10.0) as client:
            answer = client.request("live")
    except ControlError as error:
        if error.code != "timed_out":
            raise
        raise Failure(3, f"the event loop does not answer: {error}", kind="not_met") from None
    if args.json:
        print_json(answer)
    else:
        for each in answer["unresponsive"]:
            print(f"{clean(each['path'])} is unresponsive for {each['seconds']:.0f}s")
    return 0 if answer["live"] else 3


def _wait(args: Any) -> int:
    with connect(args) as client:
        states = args.state or ["ready"]
        answer = client.request("wait", names=args.names, states=states, timeout=args.timeout)
    if args.json:
        print_json(answer)
    return 0


_VERBS = {"stacks": _stacks, "ready": _ready, "live": _live, "wait": _wait}
