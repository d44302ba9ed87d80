"""Whether a tree is ready, and what keeps it from being so: one answer for socket and probes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from trio_supervisor._events.snapshot import ChildState, SupervisorState
from trio_supervisor._record import Record
from trio_supervisor.control._names import shells_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from trio_supervisor._runtime.child_slot import Slot
    from trio_supervisor._runtime.shell import Shell

_SERVES: Final = frozenset({ChildState.READY, ChildState.DONE})


@final
class Missing(Record):
    """A supervisor that is not running, or a child that is neither ready nor done.

    Attributes:
        path: Of the supervisor or child.
        state: As it is reported.
        why: The reason; empty if there is none.
        slot: The child; `None` for a supervisor.
    """

    path: str
    state: str
    why: str
    slot: Slot | None


def missing_in(
    top: Shell, *, optional: Collection[str] = (), with_added: bool = False
) -> Iterator[Missing]:
    """Return what keeps the tree below ``top`` from being ready; nothing if it is.

    Ready means that every supervisor has completed its first start and every child is ready or
    done. A child that an operator has stopped does not serve, so the tree is not ready.

    Args:
        top: The supervisor.
        optional: Paths of children that the tree is ready without.
        with_added: Whether children that were added at run time count. They come and go (one for
            each connection, say), and whether the tree can serve does not depend on them.
    """
    pending = [top]
    for shell in pending:
        machine = shell.machine
        if machine.state is not SupervisorState.RUNNING:
            yield Missing(shell.path, machine.state.value, machine.reason, None)
        for slot in shell.slots.values():
            life = slot.life
            if life.path in optional or (life.dynamic and not with_added):
                continue
            if life.reported in _SERVES:
                pending.extend(shells_in(slot))
            else:
                yield Missing(life.path, life.reported.value, _why(slot), slot)


def _why(slot: Slot) -> str:
    life, machine = slot.life, slot.shell.machine
    if life.reported is ChildState.WAITING and machine.accepts:
        return f"waits for {', '.join(machine.ordering.waits_for(life))}"
    return life.reported_reason or str(life.last_exit or "")
