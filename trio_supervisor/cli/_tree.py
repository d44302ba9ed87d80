"""``tree``: all children with state, age, restarts, and what each waits for."""

from __future__ import annotations

from trio_supervisor._lazy import TYPE_CHECKING
from trio_supervisor._text import duration
from trio_supervisor.cli._output import Style, clean, connect, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_STATE_WIDTH = 11


def run(_verb: str, args: Any) -> int:
    """Print the tree, or the named children."""
    with connect(args) as client:
        tree = client.request("tree", names=args.names)
    if args.json:
        print_json(tree)
    else:
        for line in lines_of(tree, Style(), whole=not args.names):
            print(line)
    return 0


def lines_of(tree: dict[str, Any], style: Style, *, whole: bool = True) -> Iterator[str]:
    """Yield one line for the supervisor and each child below it.

    Args:
        tree: As the verb ``tree`` answers.
        style: How it is shown.
        whole: Whether the children stand below the supervisor; else each is shown by its path.
    """
    rows = list(_rows(tree, style)) if whole else list(_chosen(tree, style))
    width = max((len(head) for head, _ in rows), default=0)
    for head, entry in rows:
        state = entry["state"]
        text = f"{head.ljust(width)}  "
        tail = f"  {duration(entry.get('age', 0)):<5}  {'  '.join(_remarks(entry))}".rstrip()
        if style.width is not None:
            room = style.width - len(text) - _STATE_WIDTH - 2 * style.symbols
            if len(tail) > room > 10:
                tail = tail[: room - 1] + ("…" if style.symbols else ">")
        yield f"{text}{style.glyph(state)}{style.state(state, _STATE_WIDTH)}{tail}".rstrip()


def _rows(tree: dict[str, Any], style: Style) -> Iterator[tuple[str, dict[str, Any]]]:
    branch, last, bar = ("├─ ", "└─ ", "│  ") if style.symbols else ("|- ", "`- ", "|  ")
    yield clean(tree["name"]), tree
    pending = [("", tree["children"], 0)]
    while pending:
        indent, children, at = pending.pop()
        if at == len(children):
            continue
        pending.append((indent, children, at + 1))
        child = children[at]
        is_last = at == len(children) - 1
        yield indent + (last if is_last else branch) + clean(child["name"]), child
        below = indent + ("   " if is_last else bar)
        if child.get("opened"):
            pending.append((below, child["opened"], 0))
        if child.get("supervisor") is not None:
            pending.append((below, child["supervisor"]["children"], 0))
        elif "children" in child:  # a supervisor that a child has opened
            pending.append((below, child["children"], 0))


def _chosen(tree: dict[str, Any], style: Style) -> Iterator[tuple[str, dict[str, Any]]]:
    for child in tree["children"]:
        yield clean(child["path"]), child
        if child["supervisor"] is not None:
            rows = _rows(child["supervisor"], style)
            next(rows)
            yield from rows


def _remarks(entry: dict[str, Any]) -> Iterator[str]:
    if "path" not in entry or "attempt" not in entry:  # the root
        if entry["reason"]:
            yield f"reason: {clean(entry['reason'])}"
        return
    if entry["unresponsive"]:
        yield "UNRESPONSIVE"
    if entry.get("starts_in") is not None and entry["state"] == "backing_off":
        yield f"starts in {duration(entry['starts_in'])}"
    if entry["waiting_for"]:
        yield f"waits for {', '.join(map(clean, entry['waiting_for']))}"
    below = entry["supervisor"]
    if below is not None and below["state"] != "running":
        yield f"supervisor {below['state']}"
    if entry["reason"]:
        yield f"reason: {clean(entry['reason'])}"
    if entry["attempt"] > 1:
        yield f"attempt {entry['attempt']}"
    if entry["restarts"]:
        yield _restarts(entry)
    if entry.get("heartbeat_age") is not None:
        yield f"heartbeat {duration(entry['heartbeat_age'])} ago"
    if entry["last_exit"]:
        yield f"last exit: {clean(entry['last_exit'])}"


def _restarts(entry: dict[str, Any]) -> str:
    if entry.get("limit") is None:
        return f"restarts {entry['restarts']}"
    within = "" if entry["within"] is None else f" in {duration(entry['within'])}"
    return f"restarts {entry['restarts']} ({entry['used']}/{entry['limit']}{within})"
