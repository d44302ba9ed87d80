"""``what-if``: a recorded incident, under another declaration."""

from __future__ import annotations

from trio_supervisor._lazy import TYPE_CHECKING
from trio_supervisor.cli._output import clean, print_json

if TYPE_CHECKING:
    from typing import Any


def run(_verb: str, args: Any) -> int:
    """Print what would have been different."""
    from trio_supervisor import SpecError, read_journal, testing
    from trio_supervisor.cli._main import Failure
    from trio_supervisor.cli._run import load

    try:
        stretches = read_journal(args.journal).stretches
    except OSError as error:
        raise Failure(1, str(error), kind="bad_journal") from None
    if not stretches:
        raise Failure(1, f"{args.journal} holds no events", kind="empty")
    try:
        spec = load(args.spec)
        changed = testing.change_spec(spec, *(args.set or ()))
        found = testing.what_if(stretches[args.stretch], spec, changed)
    except SpecError as error:
        raise Failure(1, str(error), kind="bad_spec") from None
    except IndexError:
        text = f"{args.journal} has {len(stretches)} stretches; -1 is the newest"
        raise Failure(1, text, kind="no_stretch") from None
    except ValueError as error:
        raise Failure(1, str(error), kind="bad_journal") from None
    if args.json:
        print_json(found.to_dict())
        return 0
    for line in str(found).splitlines():
        print(clean(line, aligned=True))
    return 0
