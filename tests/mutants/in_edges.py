"""Bugs at the edges: objects that misbehave, other threads, what is kept of the past."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

MUTANTS: Final = (
    # ---------------------------------------------------------------- objects that misbehave
    Mutant(
        "an object is believed what it says of its class",
        "_text",
        "is_a",
        "issubclass(type(value), kind)",
        "isinstance(value, kind)",
    ),
    Mutant(
        "what an argument raises comes out of the declaration",
        "_specs.checks",
        "looked_at",
        "raise SpecError(field, value, expected, owner=owner) from error",
        "raise",
    ),
    Mutant(
        "a number compares itself with its bounds",
        "_specs.checks",
        "check_number",
        "value = _plain_number(value)",
        "",
    ),
    # ---------------------------------------------------------------- other threads
    Mutant(
        "a tree is looked at from any thread",
        "_runtime.supervisor",
        "Supervisor._looked_at",
        'shell.tree.check_thread(shell.path, "a supervisor can be looked at")',
        "pass",
    ),
    Mutant(
        "reports are read in any thread",
        "_runtime.handle",
        "ChildHandle._looked_at",
        'shell.tree.check_thread(slot.life.path, "reports and values can be read")',
        "pass",
    ),
    # ---------------------------------------------------------------- what is said and kept
    Mutant(
        "a subscriber is not given the exception",
        "_runtime.shell",
        "Shell._end_attempt",
        "return None if slot.exit is None else slot.exit.error",
        "return None",
    ),
    Mutant(
        "the run before of a nested supervisor is forgotten",
        "_runtime.child_slot",
        "Slot.detach_below",
        "self.previous = as_previous(nested.snapshot())",
        "pass",
    ),
    Mutant(
        "the events forget the run before",
        "_events.fold",
        "_exited",
        """
        if child.supervisor is not None:
            child.previous = as_previous(child.supervisor.freeze())
        """,
        "",
    ),
    Mutant(
        "all the runs before are kept, each in the next",
        "_events.snapshot",
        "as_previous",
        "attrs.evolve(child, supervisor=None, previous=None, opened=())",
        "child",
    ),
    # ---------------------------------------------------------------- a block in the wrong task
    Mutant(
        "a block that another task leaves waits for ever",
        "_runtime.block",
        "Block.__aexit__",
        """
        if trio.lowlevel.current_task() is not self._task:
            self._break_off()
        """,
        "",
    ),
    Mutant(
        "a tree goes on when its block was left in another task",
        "_runtime.block",
        "Block._break_off",
        "self._shell.shut_down(o.Shutdown(reason, grace=False, kind=o.OutcomeKind.BROKEN))",
        "",
    ),
    # ---------------------------------------------------------------- the log
    Mutant(
        "the log keeps the reason of a stop to itself",
        "_logging.lines",
        "because",
        'f" reason={quoted(reason)}" if reason else ""',
        '""',
    ),
    Mutant(
        "the log says infs where there is no limit",
        "_logging.lines",
        "seconds",
        """
        if value == inf:
            return "no limit"
        """,
        "",
    ),
    # ---------------------------------------------------------------- costs, the kit, the events
    Mutant(
        "a snapshot names all that stop, for each one that waits for them",
        "_brain.ordering",
        "ChildOrdering.names_of_stop_set",
        "islice(found, MOST_STOPPING)",
        "found",
    ),
    Mutant(
        "a snapshot names all of a round that stop, for each one that waits",
        "_brain.ordering",
        "ChildOrdering.waits_for",
        "islice(group.stopping, MOST_STOPPING)",
        "group.stopping",
    ),
    Mutant(
        "commands that a test forgets to await are no error",
        "testing._drive.rig",
        "Rig.check_awaited",
        'raise NeverAwaited(f"Rig.apply({call}) was never awaited")',
        "pass",
    ),
    Mutant(
        "the reason of an addition is forgotten",
        "_brain.on_command",
        "add_child",
        "command.reason",
        '""',
    ),
    Mutant(
        "a cancelled start does not expect that its child fails",
        "_runtime.child_slot",
        "Slot.fail_start",
        """
        if addition is not None:
            addition.failed_start = self.last_report
        """,
        """
        assert addition is not None
        addition.failed_start = self.last_report
        """,
    ),
)
