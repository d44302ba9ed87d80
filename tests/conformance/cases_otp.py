"""The 91 cases of OTP's ``supervisor_SUITE`` (OTP 27)."""

from __future__ import annotations

from .cases import Suite, none, passes

_DECLINES = "to *ignore* is to return before being ready"
_NAMED = "a dynamic child has a name here and goes by it: kept as `done` until it is removed"
_GRACE = "timeout = `grace`; *killed* = `Aborted`, after exactly that long"
_REPLACED = "specs are values: a running child is replaced, a running supervisor by its parent"
_UPGRADED = "the parent replaces the supervisor; the new mode is in force, illegal starts refused"

OTP = Suite(
    "OTP `supervisor_SUITE`",
    "Erlang/OTP 27.3.4.1, `lib/stdlib/test/supervisor_SUITE.erl`. An Erlang process is an attempt, "
    "`init` is what a body does before it is ready, `simple_one_for_one` a supervisor with "
    "children that were added at run time, intensity and period are `restart_limit`.",
    "test_otp_*.py",
    (
        (
            "Start",
            (
                passes("sup_start_normal"),
                passes(
                    "sup_start_ignore_init", f"{_DECLINES}; `all_done` then ends the supervisor"
                ),
                passes("sup_start_ignore_child", f"{_DECLINES}; listed in the order of adding"),
                passes("sup_start_ignore_temporary_child"),
                passes("sup_start_ignore_temporary_child_start_child"),
                passes("sup_start_ignore_temporary_child_start_child_simple"),
                passes("sup_start_ignore_permanent_child_start_child_simple", _NAMED),
                passes("sup_start_error_return", "a typed error, before anything starts"),
                passes("sup_start_fail"),
                passes("sup_start_child_returns_error"),
                passes(
                    "sup_start_restart_child_returns_error",
                    "an ordinary failure: policy tries again up to the limit; the spec is kept",
                ),
                passes("sup_start_child_returns_error_simple"),
                passes("sup_start_map", "the defaults are this library's own"),
                passes("sup_start_map_simple"),
                passes("sup_start_map_faulty_specs", "unknown options are refused, too"),
            ),
        ),
        (
            "Stop",
            (
                passes("sup_stop_infinity"),
                passes("sup_stop_timeout", _GRACE),
                passes("sup_stop_timeout_dynamic", _GRACE),
                passes("sup_stop_brutal_kill", "`grace=0`"),
                passes("sup_stop_brutal_kill_dynamic", "`grace=0`"),
                passes("sup_stop_race"),
                passes("sup_stop_non_shutdown_exit_dynamic"),
            ),
        ),
        (
            "Administration and specs",
            (
                passes(
                    "child_adm",
                    "to restart a running child, and to remove one, stops it first instead of "
                    "being refused; nothing hibernates",
                ),
                passes("child_adm_simple", "by name and by handle; there are no pids"),
                passes("extra_return", "the value that a child is ready with, attempt by attempt"),
                passes("child_specs"),
                passes(
                    "child_specs_map",
                    "384 combinations per mode and strategy: those with an option that could "
                    "have no effect are refused, all others accepted",
                ),
                passes("sup_flags", "unknown options are refused, too"),
                passes("multiple_restarts"),
            ),
        ),
        (
            "Strategies",
            (
                passes("one_for_one"),
                passes("one_for_one_escalation"),
                passes("one_for_all"),
                passes("one_for_all_escalation"),
                passes("one_for_all_other_child_fails_restart"),
                passes("simple_one_for_one"),
                passes("simple_one_for_one_restart_ignore", _NAMED),
                passes("simple_one_for_one_shutdown", "exactly 2T, in virtual time"),
                passes("simple_one_for_one_extra", "the value that a child is ready with"),
                passes("simple_one_for_one_corruption", "shown by weak references"),
                passes("simple_one_for_one_escalation"),
                passes("rest_for_one"),
                passes("rest_for_one_escalation"),
                passes("rest_for_one_other_child_fails_restart"),
            ),
        ),
        (
            "Restart types",
            (
                passes(
                    "external_start_no_progress_log",
                    "a start by hand is a note in the log, a restart a warning",
                ),
                passes("permanent_normal"),
                passes("transient_normal"),
                passes("temporary_normal"),
                passes("permanent_shutdown", "a return with a word about why"),
                passes("transient_shutdown", "a return with a word about why"),
                passes("temporary_shutdown", "a return with a word about why"),
                passes("permanent_abnormal", "a crash, a declared failure, a kill"),
                passes("transient_abnormal", "a crash, a declared failure, a kill"),
                passes("temporary_abnormal", "a crash, a declared failure, a kill"),
                passes("faulty_application_shutdown", "the error is the `__cause__`, with stack"),
            ),
        ),
        (
            "Trees, counting, loops, order",
            (
                passes("child_unlink", "a child that ignores both request and cancel"),
                passes("tree"),
                passes("count_children", "with 300 and 600 children"),
                passes("count_children_supervisor", "with 50 and 100 supervisors"),
                passes("count_restarting_children"),
                none("get_callback_module", "for the release handler; there are no callbacks"),
                passes(
                    "do_not_save_start_parameters_for_temporary_children",
                    "shown by weak references instead of by sizes",
                ),
                passes(
                    "do_not_save_child_specs_for_temporary_children",
                    "a stop by hand holds a temporary child down, too, until it is removed",
                ),
                passes("simple_one_for_one_scale_many_temporary_children", "with 60 and 600"),
                passes("temporary_bystander"),
                passes("simple_global_supervisor", "paths and handles lead to the present attempt"),
                passes("hanging_restart_loop"),
                passes("hanging_restart_loop_rest_for_one"),
                passes("hanging_restart_loop_simple"),
                passes("code_change", _REPLACED),
                passes("code_change_map", _REPLACED),
                passes("code_change_simple", _REPLACED),
                passes("code_change_simple_map", f"{_REPLACED}; each has a spec of its own"),
                passes("order_of_children"),
                passes("scale_start_stop_many_children", "with 100 and 1,000"),
                passes("format_log_1", "one bounded line; the traceback is the logger's"),
                passes("format_log_2", "those that restart with it are named, the rest counted"),
                passes("already_started_outside_supervisor", "the error that says so is passed on"),
            ),
        ),
        (
            "Significant children",
            (
                passes("nonsignificant_temporary"),
                passes("nonsignificant_transient"),
                passes("significant_temporary"),
                passes("significant_transient"),
                passes(
                    "significant_simple",
                    "accepted here, since each dynamic child has a spec of its own; refused where "
                    "the supervisor does not ask",
                ),
                passes("significant_bystander"),
                passes("significant_escalation"),
                passes("significant_upgrade_never_any", _UPGRADED),
                passes("significant_upgrade_any_never", _UPGRADED),
                passes("significant_upgrade_never_all", _UPGRADED),
                passes("significant_upgrade_all_never", _UPGRADED),
                passes("significant_upgrade_any_all", _UPGRADED),
                passes("significant_upgrade_all_any", _UPGRADED),
                passes("significant_upgrade_child", "the child is replaced"),
            ),
        ),
    ),
)
