"""What a supervisor's failure is about: the leaf far below that failed first, not who gave up last.

A supervisor that gives up is a crash of its parent's child, and so on up. Told from the top, each
floor puts its own words before those of the floor below, and the one thing that an operator wants
to know comes last, or is cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_supervisor._errors import ChildEscalated, RestartLimitExceeded, _TreeError, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator


def leaf_first(error: BaseException) -> str:
    """The text of ``error``; of a failure that came up through supervisors, the innermost first.

    For example ``app/pool/db/link gave up: 10 restarts in 60s; last: crashed: OSError: no route;
    then app/pool/db gave up, app/pool escalated: no database``.
    """
    if not isinstance(error, _TreeError):
        return text_of(error)
    *above, innermost = _floors(error)
    if not above:
        return text_of(error)
    return f"{text_of(innermost)}; then {', '.join(map(_in_brief, reversed(above)))}"


def _floors(error: _TreeError) -> Iterator[_TreeError]:
    """``error``, the one that its child ended with, and so on down."""
    below: BaseException | None = error
    while isinstance(below, _TreeError):
        yield below
        below = below.reports[-1].exit.error if below.reports else None


def _in_brief(error: _TreeError) -> str:
    if isinstance(error, RestartLimitExceeded):
        return f"{error.path} gave up"
    if isinstance(error, ChildEscalated):
        own = not error.reason.startswith(error.path)  # else it tells how its child ended, again
        return f"{error.path} escalated" + (f": {error.reason}" if own and error.reason else "")
    return f"{error.path} failed to start"
