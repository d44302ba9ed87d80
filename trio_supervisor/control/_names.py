"""Children by name, as an operator writes them: a path, a unique suffix, or a pattern."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from trio_supervisor._errors import SupervisorError
from trio_supervisor.control.protocol import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trio_supervisor._runtime.child_slot import Slot
    from trio_supervisor._runtime.shell import Shell

_MOST_CANDIDATES = 10
_MOST_COMPARED = 5000
_PATTERN = frozenset("*?[")


def slots_below(shell: Shell) -> Iterator[Slot]:
    """Yield every child of a tree, supervisors before their children."""
    pending: list[Any] = [iter(tuple(shell.slots.values()))]
    while pending:
        slot = next(pending[-1], None)
        if slot is None:
            pending.pop()
            continue
        yield slot
        pending.extend(iter(tuple(below.slots.values())) for below in shells_in(slot))


def shells_in(slot: Slot) -> list[Shell]:
    """The supervisors that run in a child's attempt: the nested one, and the ones it has opened."""
    opened = [] if slot.opened is None else list(slot.opened.values())
    return opened if slot.nested is None else [slot.nested, *opened]


def find(shell: Shell, names: Sequence[str]) -> list[Slot]:
    """Return the children that ``names`` mean, each once, in the order of the names.

    Raises:
        ProtocolError: A name means none or, without being a pattern, several.
    """
    found: dict[Slot, None] = {}
    for name in names:
        for slot in _find_one(shell, name):
            found[slot] = None
    return list(found)


def _find_one(shell: Shell, name: str) -> list[Slot]:
    exact = _at(shell, name)
    if exact is not None:
        return [exact]
    everything = list(slots_below(shell))
    if _PATTERN & set(name):
        matching = [s for s in everything if _matches(s.life.path, shell.path, name)]
    else:
        end = f"/{name}"
        matching = [slot for slot in everything if slot.life.path.endswith(end)]
        if len(matching) > 1:
            paths = [slot.life.path for slot in matching]
            raise ProtocolError(
                "ambiguous",
                f"{name!r} is the name of {len(paths)} children",
                candidates=tuple(paths[:_MOST_CANDIDATES]),
            )
    if not matching:
        raise _not_found(name, [slot.life.path for slot in everything[:_MOST_COMPARED]])
    return matching


def _at(shell: Shell, path: str) -> Slot | None:
    """The child at a path that begins with or below the tree's name."""
    try:
        return shell.supervisor._find(path)
    except SupervisorError:
        return None


def _matches(path: str, root: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or fnmatchcase(path.removeprefix(f"{root}/"), pattern)


def _not_found(name: str, paths: list[str]) -> ProtocolError:
    from difflib import get_close_matches  # noqa: PLC0415 - slow to load, and seldom needed

    by_name: dict[str, str] = {}
    for path in paths:
        by_name.setdefault(path.rpartition("/")[2], path)
        by_name.setdefault(path, path)
    close = get_close_matches(name[:200], by_name, n=3, cutoff=0.6)
    candidates = tuple(dict.fromkeys(by_name[each] for each in close))
    return ProtocolError("no_such_child", f"there is no child {name!r}", candidates=candidates)
