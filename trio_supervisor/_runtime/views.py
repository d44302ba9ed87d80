"""Views of a shell: its state, its stacks, the children's values, its error."""

from __future__ import annotations

from time import time as wall_clock
from typing import TYPE_CHECKING

import trio

from trio_supervisor._attempts.stacks import stacks_of
from trio_supervisor._brain import messages as o
from trio_supervisor._brain.lifecycle import DesiredState
from trio_supervisor._errors import (
    ChildEscalated,
    ChildNotFound,
    ChildNotReady,
    ChildStartError,
    QuarantineError,
    RestartLimitExceeded,
    SupervisorClosed,
    SupervisorError,
    TreeError,
)
from trio_supervisor._events.exits import leaves
from trio_supervisor._events.snapshot import ChildSnapshot, ChildState, SupervisorSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._attempts.host import Target
    from trio_supervisor._events.exits import ChildRunReport
    from trio_supervisor._runtime.child_slot import Slot, View
    from trio_supervisor._runtime.shell import Shell


def snapshot_of(shell: Shell) -> SupervisorSnapshot:
    """Return the state of the tree from ``shell`` on down, built from the machine."""
    machine = shell.machine
    stopping = machine.ordering.names_of_stop_set() if machine.accepts else ()
    children = tuple([_child_snapshot(shell, slot, stopping) for slot in shell.slots.values()])
    return SupervisorSnapshot(
        shell.path.rpartition("/")[2],
        shell.path,
        shell.run,
        machine.state,
        machine.since,
        machine.reason,
        children,
        *(_now() if shell.parent is None else ()),
    )


def _now() -> tuple[float, float] | tuple[()]:
    """Return the time on Trio's clock and the wall time; nothing once Trio has ended."""
    return (trio.current_time(), wall_clock()) if trio.lowlevel.in_trio_run() else ()


def _child_snapshot(shell: Shell, slot: Slot, stopping: tuple[str, ...]) -> ChildSnapshot:
    life, nested = slot.life, slot.nested
    waits = life.reported is ChildState.WAITING and shell.machine.accepts
    return ChildSnapshot(
        name=life.name,
        path=life.path,
        state=life.reported,
        attempt=life.attempt,
        generation=life.reported_generation,
        since=life.since,
        until=life.reported_until,
        reason=life.reported_reason,
        unresponsive=life.is_unresponsive,
        restarts=life.restarts,
        last_exit=life.last_exit,
        supervisor=None if nested is None or not nested.is_visible else snapshot_of(nested),
        waiting_for=shell.machine.ordering.waits_for(life, stopping) if waits else (),
        opened=() if slot.opened is None else _opened(slot.opened.values()),
        previous=slot.previous,
    )


def _opened(shells: Iterable[Shell]) -> tuple[SupervisorSnapshot, ...]:
    return tuple([snapshot_of(shell) for shell in shells if shell.is_visible])


def error_of(shell: Shell, outcome: o.Outcome) -> SupervisorError:
    """Return the error that the supervisor raises because of ``outcome``, with its causes."""
    if outcome.child is None:
        return SupervisorError(f"{shell.path}: {outcome.reason}")
    slot = shell.slots[outcome.child]
    reports, path = slot.reports, slot.life.path
    error: SupervisorError
    if outcome.kind is o.OutcomeKind.LIMIT:
        window = slot.life.window
        own = window is not None and not window.admits(trio.current_time())
        limit = window.limit if own and window is not None else shell.spec.restart_limit
        error = RestartLimitExceeded(outcome.reason, path=path, limit=limit, reports=reports)
        if causes := [cause for cause in error.exceptions if isinstance(cause, Exception)]:
            error.__cause__ = ExceptionGroup(f"the failures of {path}, oldest first", causes)
        return error
    if outcome.kind is o.OutcomeKind.QUARANTINED:
        return _quarantine_error(shell, outcome, path)
    if outcome.kind is o.OutcomeKind.START_FAILED:
        error = ChildStartError(outcome.reason, path=path, reports=reports)
    else:
        given, message = outcome.given_reason, outcome.reason
        if given:
            assert slot.exit is not None  # the exit that decide was asked about
            message = f"{path} escalated: {given}; last: {slot.exit.describe()}"
        error = ChildEscalated(message, path=path, reason=given, reports=reports)
    error.__cause__ = None if slot.exit is None else slot.exit.error
    return error


def _quarantine_error(shell: Shell, outcome: o.Outcome, path: str) -> QuarantineError:
    failed = [s for s in shell.slots.values() if s.life.desired is DesiredState.QUARANTINED]
    reports = [report for slot in failed for report in slot.reports]
    error = QuarantineError(f"{shell.path}: {outcome.reason}", path=path, reports=reports)
    found = [slot.exit.error for slot in failed if slot.exit is not None]
    causes = [cause for cause in found if isinstance(cause, Exception)]
    if len(causes) > 1:
        error.__cause__ = ExceptionGroup("the failures of the quarantined children", causes)
    elif causes:
        error.__cause__ = causes[0]
    return error


def add_failures(error: SupervisorError, reports: Sequence[ChildRunReport]) -> None:
    """Add the failures of children that came between the decision to end and the end.

    They are in the error's ``reports``, if it has any, and in the group that is its cause.
    """
    if isinstance(error, TreeError):
        error.reports = (*error.reports, *reports)
    before = [] if error.__cause__ is None else list(leaves(error.__cause__))
    found = [*before, *(report.exit.error for report in reports)]
    causes = [one for one in found if isinstance(one, Exception)]
    if len(causes) > len(before):
        error.__cause__ = ExceptionGroup("the failures behind this, and later ones", causes)


# ---------------------------------------------------------------- values


def value_of(shell: Shell, caller: Attempt, of: Target) -> object:
    """Return the ready value that ``caller``, an attempt of ``shell``, means by ``of``."""
    slot = _provider(shell, caller, of)
    found, value = slot.ready_value
    if not found:
        raise ChildNotReady(f"{slot.life.path} is {slot.life.state}: it has no value now")
    return value


async def wait_value_of(shell: Shell, caller: Attempt, of: Target) -> object:
    """Wait until `value_of` has something to return, and return it."""
    slot = _provider(shell, caller, of)

    def ends_with_its_supervisor(view: View) -> bool:
        return view.closed or (slot.shell.is_stopping and view.is_at_rest)

    while True:
        view = await slot.wait(
            lambda view: view.state in _ENDS_WAIT or ends_with_its_supervisor(view)
        )
        found, value = slot.ready_value
        if found:
            return value
        await trio.lowlevel.checkpoint_if_cancelled()  # that would be why
        if view.state is ChildState.REMOVED:
            raise ChildNotFound(f"{slot.life.path} was removed")
        if ends_with_its_supervisor(view):
            raise SupervisorClosed(f"{slot!r} ends with its supervisor")
        await trio.lowlevel.checkpoint()


_ENDS_WAIT = frozenset({ChildState.READY, ChildState.REMOVED})


def _provider(shell: Shell, caller: Attempt, of: Target) -> Slot:
    """Return the nearest child that ``of`` means, which is never the child of ``caller``."""
    name = of if isinstance(of, str) else of.name
    namesake: Slot | None = None
    above: Shell | None = shell
    while above is not None:
        slot = above.slots.get(name)
        if slot is not None and slot.attempt is not caller:
            if isinstance(of, str) or slot.is_declared_with(of):
                return slot
            namesake = namesake or slot
        above = above.parent
    if namesake is not None:
        raise ChildNotFound(
            f"no child was declared with the spec of {name!r} that was given; "
            f"{namesake.life.path} has another spec"
        )
    raise ChildNotFound(f"neither {shell.path} nor a supervisor above it has a child {name!r}")


# ---------------------------------------------------------------- stacks


def stacks_below(shell: Shell) -> Iterator[str]:
    """Yield a line for each task of each live attempt below ``shell``, nested ones included."""
    for attempt in _attempts_below(shell):
        yield from stacks_of(attempt)


def attempts_with_grace(shell: Shell) -> list[Attempt]:
    """The live attempts below ``shell`` that have a grace, to use it or to lose it."""
    found = []
    for attempt in _attempts_below(shell):
        grace = attempt.spec.grace
        has_grace = attempt.can_hear_stop if grace is None else grace > 0
        if has_grace and not attempt.cancel_called:
            found.append(attempt)
    return found


def _attempts_below(shell: Shell) -> Iterator[Attempt]:
    """Yield each live attempt below ``shell``; not those of nested supervisors themselves."""
    pending = [shell]
    for above in pending:
        for slot in above.slots.values():
            if slot.nested is not None:
                pending.append(slot.nested)
            elif slot.attempt is not None:
                yield slot.attempt
