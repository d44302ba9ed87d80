"""Bugs around the tree, found by tests of their own: daemon, log, examples, numbers, the suite."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

_DAEMON: Final = "daemon/test_daemon.py::test_"
_SIGNALS: Final = "daemon/test_signals.py::test_"
_INFORMER: Final = "daemon/test_informer.py"
_VIEWS: Final = "http/test_views.py::test_"
_TRUTH: Final = "log/test_truth.py::test_"
_HEALTH: Final = "runtime/test_readiness_health.py::test_"
_KINDS: Final = "examples/test_logkeeper_kinds.py::test_"
_NUMBERS: Final = "documentation/test_numbers.py::test_"
_SUITE: Final = "project/test_surroundings.py::test_"
_LOGKEEPER: Final = "examples.logkeeper"

MUTANTS: Final = (
    # ---------------------------------------------------------------- the log
    Mutant(
        "the daemon shows a failure once more at its end",
        "daemon._ending",
        "Ending._conclude_error",
        "isinstance(error, TreeError) and ...",
        "False",
        tests=(f"{_DAEMON}a_tree_that_fails_says_why_in_one_line_with_traceback",),
    ),
    Mutant(
        "what lies behind a failure is shown with the frames of the library",
        "_events.tracebacks",
        "trimmed_text",
        "if found is not whole: ...",
        "",
        tests=(f"{_TRUTH}the_traceback_of_what_lies_behind_a_failure_is_trimmed_too",),
    ),
    Mutant(
        "a traceback counts as shown although its line was not loud enough",
        "_logging.repeats",
        "Folding._remember",
        "failure.traced and written",
        "failure.traced",
        tests=(f"{_TRUTH}the_traceback_comes_with_the_first_line_that_is_loud_enough",),
    ),
    # ---------------------------------------------------------------- the kit
    Mutant(
        "a simulation that is broken off swallows the complaints of others",
        "testing._sim.trio_internals",
        "bury",
        "hook(unraisable)",
        "pass",
        tests=("kit/test_strictness.py::test_unraisable_errors_reach_their_hook",),
    ),
    # ---------------------------------------------------------------- time that was not the child's
    Mutant(
        "a stall that begins while a deadline is dealt with does not count",
        "_runtime.collector",
        "ReportCollector._deadline_passed",
        "late = now - self._alarm_at",
        "",
        tests=(f"{_HEALTH}a_stall_that_begins_at_another_deadline_is_not_held_against_others",),
    ),
    # ---------------------------------------------------------------- the daemon
    Mutant(
        "after the orderly end signals have their default back",
        "daemon._signals",
        "SignalDesk.install",
        "atexit.register(_ignore, heard)",
        "",
        tests=(f"{_SIGNALS}a_signal_after_the_orderly_end_does_nothing",),
    ),
    Mutant(
        "a signal that is ignored is heard all the same",
        "daemon._signals",
        "SignalDesk.install",
        "now is default or isinstance(..., SignalDesk)",
        "True",
        tests=(f"{_SIGNALS}a_signal_that_is_ignored_stays_ignored",),
    ),
    Mutant(
        "hanging up stops a tree that has no terminal",
        "daemon._signals",
        "SignalDesk.__init__",
        "not reloads and has_terminal()",
        "not reloads",
        tests=(f"{_SIGNALS}hanging_up_means_nothing_without_a_terminal",),
    ),
    Mutant(
        "a signal that is no stop is forgotten during the import",
        "daemon._signals",
        "SignalDesk._hear",
        "self._received.append(received)",
        """
        if self._phase is not _Phase.DECLARING:
            self._received.append(received)
        """,
        tests=(f"{_SIGNALS}a_request_to_show_the_tree_during_the_import_is_no_reason_to_end",),
    ),
    Mutant(
        "a refused reload claims readiness that is not there",
        "daemon._systemd",
        "Informer.reload_refused",
        "self._ready_said and not self._stopping_said",
        "True",
        tests=(_INFORMER,),
    ),
    Mutant(
        "a start that hangs asks for more time again and again",
        "daemon._systemd",
        "Informer._say_status",
        "self._progress = False",
        "pass",
        tests=(_INFORMER,),
    ),
    Mutant(
        "the status counts nested supervisors as children",
        "daemon._systemd",
        "status_of",
        "child.supervisor is None and child.state not in _NOT_COUNTED",
        "child.state not in _NOT_COUNTED",
        tests=(_INFORMER,),
    ),
    Mutant(
        "stacks end inside of the library",
        "_attempts.stacks",
        "_innermost",
        "_is_users(code)",
        "False",
        tests=(
            "runtime/test_block.py::test_a_stack_ends_where_the_users_code_waits_and_not_inside_of_this_library",
        ),
    ),
    # ---------------------------------------------------------------- the dashboard
    Mutant(
        "the page forgets a child's failures as soon as it is ready",
        "http._views",
        "_streak",
        "life.is_stable(trio.current_time())",
        "life.ready",
        tests=(f"{_VIEWS}failures_are_told_until_the_supervisor_forgets_them",),
    ),
    Mutant(
        "a large pool does not list a child between two crashes",
        "http._views",
        "_is_troubled",
        "bool(...) and not life.is_stable(now)",
        "False",
        tests=(f"{_VIEWS}failures_are_told_until_the_supervisor_forgets_them",),
    ),
    Mutant(
        "the begin of a crash loop is that of its newest failure",
        "_runtime.child_slot",
        "Slot.record",
        "attempt.failures_in_row <= 1 and how.is_failure",
        "how.is_failure",
        tests=(f"{_VIEWS}failures_are_told_until_the_supervisor_forgets_them",),
    ),
    Mutant(
        "the stop of a large tree is told late",
        "http._stream",
        "stream",
        "_state_of(probes) == state",
        "True",
        tests=(f"{_VIEWS}the_stop_of_a_tree_that_is_seldom_looked_at_is_told_at_once",),
    ),
    # ---------------------------------------------------------------- how a daemon ends
    Mutant(
        "a grace that ran out does not show in the exit code",
        "daemon._ending",
        "cut_off_in",
        "found[event.path] = None",
        "pass",
        tests=(f"{_SIGNALS}a_grace_that_ran_out_shows_in_the_exit_code",),
    ),
    Mutant(
        "a type that is declared a failure ends the whole tree",
        "_events.exits",
        "_judge_error",
        "_is_one_of(type(leaf), fatal_is_failure)",
        "False",
        tests=("attempts/test_fatal_is_failure.py",),
    ),
    Mutant(
        "what the deadline cuts off before its turn counts as stopped",
        "_brain.on_deadline",
        "_shutdown_deadline_passed",
        """
        for child in machine.children.values():
            ...
        machine.without_grace = True
        """,
        """
        machine.without_grace = True
        for child in machine.children.values():
            ...
        """,
        tests=(
            "runtime/test_endings.py::test_the_deadline_cuts_off_those_whose_turn_had_not_come_too",
        ),
    ),
    # ---------------------------------------------------------------- the log keeper
    Mutant(
        "a new file that begins like the old one is taken for it",
        "follow",
        "_open_at",
        "copy is None and candidate != path and _can_be_copy(position, opened)",
        "copy is None",
        tests=(f"{_KINDS}a_new_file_that_begins_like_the_old_one_is_new",),
        package=_LOGKEEPER,
    ),
    Mutant(
        "a hole is part of the line behind it",
        "follow",
        "LogReader._look",
        r'data.startswith(b"\0")',
        "False",
        tests=(f"{_KINDS}a_hole_is_no_line_and_tears_none",),
        package=_LOGKEEPER,
    ),
    Mutant(
        "a log that is being packed is read twice",
        "follow",
        "rotated",
        'found.with_suffix("") in files and ...',
        "False",
        tests=(f"{_KINDS}a_file_that_is_being_packed_is_not_read_twice",),
        package=_LOGKEEPER,
    ),
    Mutant(
        "control characters of a log reach a client's terminal",
        "desk",
        "_shown",
        "printable(line[:_WIDEST])",
        "line[:_WIDEST]",
        tests=(f"{_KINDS}hostile_names_and_lines_reach_no_terminal",),
        package=_LOGKEEPER,
    ),
    Mutant(
        "a line with half a character stops its follower",
        "parse",
        "parse",
        'text.encode("utf-8", "backslashreplace").decode()',
        "text",
        tests=("examples/test_logkeeper_lines.py::test_a_line_with_half_a_character_is_stored",),
        package=_LOGKEEPER,
    ),
    # ---------------------------------------------------------------- the suite
    Mutant(
        "the programs of tests inherit signals that are ignored",
        "surroundings",
        "make_usual",
        "signal.signal(number, default)",
        "",
        tests=(f"{_SUITE}ignored_and_blocked_signals_and_closed_input_are_made_usual",),
        package="helpers",
    ),
    Mutant(
        "without standard input the next file gets its number",
        "surroundings",
        "make_usual",
        "os.open(os.devnull, os.O_RDONLY)",
        "pass",
        tests=(f"{_SUITE}ignored_and_blocked_signals_and_closed_input_are_made_usual",),
        package="helpers",
    ),
    # ---------------------------------------------------------------- statements and numbers
    Mutant(
        "an option that can have no effect is accepted",
        "_specs.check_tree",
        "_check_inherited",
        '"on_limit" in child._given',
        "False",
        tests=(
            "specs/test_spec.py::TestCombinations::test_on_limit_needs_a_limit_of_the_supervisor",
        ),
    ),
    Mutant(
        "the longest delay is another one than the pages say",
        "_specs.policy",
        "BackoffPolicy",
        "maximum: float = 30",
        "maximum: float = 60",
        tests=(f"{_NUMBERS}how_long_a_dead_dependency_is_survived_with_all_defaults",),
    ),
    Mutant(
        "the limit is another one than the pages say",
        "_specs.supervisor",
        "",
        "RestartLimit(10, within=120)",
        "RestartLimit(8, within=120)",
        tests=(f"{_NUMBERS}how_long_a_dead_dependency_is_survived_with_all_defaults",),
    ),
)
