"""``why``: how children came to be where they are, from a daemon or from a journal file."""

from __future__ import annotations

from trio_supervisor._lazy import TYPE_CHECKING
from trio_supervisor.cli._output import Style, clean, connect, print_json

if TYPE_CHECKING:
    from typing import Any


def run(_verb: str, args: Any) -> int:
    """Print one paragraph for each child."""
    if args.journal is not None:
        answer = _from_journal(args.journal, args.names)
    else:
        with connect(args) as client:
            answer = client.request("why", names=args.names)
    if args.json:
        print_json(answer)
        return 0
    style = Style()
    for child in answer["children"]:
        for number, statement in enumerate(child["statements"]):
            text = clean(statement["text"])
            print(f"  {text}" if number else style.strong(text))
    return 0


def _from_journal(file: str, names: list[str]) -> dict[str, Any]:
    from trio_supervisor import ChildNotFound, explain, read_journal
    from trio_supervisor.cli._main import Failure

    try:
        contents = read_journal(file)
    except OSError as error:
        raise Failure(1, f"{file}: {error.strerror or error}") from None
    if not contents.stretches:
        raise Failure(1, f"{file}: there is nothing in it that can be read")
    newest = contents.stretches[-1]
    state = newest.state()
    children = []
    for name in names or [state.path]:
        paths = {e.path for e in newest.events if f"/{e.path}".endswith(f"/{name}")}
        paths = {name} & paths or paths
        if len(paths) > 1:
            raise Failure(
                4, f"{name!r} is the name of several", kind="ambiguous", candidates=tuple(paths)
            )
        try:
            told = explain(next(iter(paths), name), newest.base, newest.events, state=state)
        except ChildNotFound as error:
            raise Failure(4, str(error), kind="no_such_child") from None
        statements = [{"kind": each.kind, "path": each.path, "text": each.text} for each in told]
        children.append({"path": told[0].path, "statements": statements})
    return {"children": children, "lost": contents.lost, "damaged": contents.damaged}
