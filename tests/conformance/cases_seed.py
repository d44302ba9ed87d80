"""The starred scenarios of the seed system, and the weaknesses that its review found."""

from __future__ import annotations

from .cases import Suite, none, passes

_IPC = "the library opens no socket and has no wire protocol"
_GROUP = "a group is a supervisor of its own"
_ROLE = "there are no roles: what a role meant is said by `restart` and `requires`"

SEED = Suite(
    "The seed system's scenarios",
    "The starred scenarios of rust-tokio-supervisor's tests. Each test here also asserts what the "
    "original leaves out: never two live attempts of one child.",
    "test_seed_[sc]*.py",
    (
        (
            "Strategies",
            (
                passes("one_for_one_restarts_only_failed_child_after_failure"),
                passes("one_for_all_restarts_every_child_after_failure"),
                passes("rest_for_one_restarts_failed_child_and_following_children"),
                passes("group_strategy_restarts_only_group_members_after_failure", _GROUP),
                passes(
                    "group_strategy_limits_restart_plan_to_group_members",
                    "those that `requires` binds together",
                ),
                passes(
                    "child_override_wins_over_group_strategy_and_selects_limit",
                    "a child's own `restart_limit`",
                ),
                passes(
                    "test_group_fuse_does_not_affect_other_groups",
                    _GROUP,
                    tests="test_group_fuse_does_not_affect_other_groups",
                ),
            ),
        ),
        (
            "State",
            (
                passes("current_state_exposes_full_runtime_state_fields_test"),
                passes("current_state_distinguishes_unreported_from_degraded_readiness_test"),
                passes(
                    "current_state_distinguishes_no_heartbeat_from_stale_test",
                    "with the assertion about staleness, which had been removed",
                ),
            ),
        ),
        (
            "Control",
            (
                passes("pause_child_delivers_real_cancellation_test", "pause = `stop_child`"),
                passes("remove_child_cancels_and_eventually_removes_runtime_state_test"),
                passes("remove_without_active_instance_returns_no_active_instance_test"),
                passes("quarantine_child_blocks_auto_restart_test"),
                passes("pause_child_blocks_auto_restart_after_exit_test"),
                passes("operation_wins_over_auto_restart_race_test", "in both orders"),
                passes("repeated_stop_commands_are_idempotent_after_cancel_delivery_test"),
                passes("control_command_targets_current_instance_test"),
                passes(
                    "stop_failure_outcome_carries_phase_and_reason_test",
                    "`ChildUnresponsive`, once, with the stack",
                ),
                passes("restart_limit_exhaustion_visible_in_outcome_test"),
                passes("restart_child_sends_cancel_before_second_spawn_test"),
                passes("restart_child_queues_after_stop_decision_test"),
                passes("duplicate_restart_child_merges_to_already_pending_test"),
                passes("restart_child_blocked_during_tree_shutdown_test"),
                passes("auto_restart_and_manual_restart_share_fence_gate_test"),
                passes("stale_exit_report_never_overwrites_current_attempt_test"),
                passes("pending_restart_target_spawn_failure_retains_prior_outcomes_test"),
                none(
                    "control_commands_reject_empty_audit_metadata",
                    "commands come from the same program; a reason may be given and is recorded",
                ),
                passes("add_child_respects_dynamic_supervisor_limit", "and the child runs"),
            ),
        ),
        (
            "Shutdown and late observers",
            (
                passes("shutdown_tree_cancels_all_running_children"),
                passes("shutdown_tree_waits_in_shutdown_order"),
                passes("shutdown_tree_records_graceful_child_outcomes"),
                passes("shutdown_tree_aborts_straggler_after_timeout", "`shutdown_deadline`"),
                passes("shutdown_tree_marks_inactive_children_already_exited"),
                passes(
                    "shutdown_tree_records_late_child_report_when_abort_is_disabled", "`grace=inf`"
                ),
                passes("repeated_shutdown_tree_returns_cached_idempotent_report"),
                passes("shutdown_pipeline_waits_for_paused_runtime_state_report"),
                passes("shutdown_pipeline_waits_for_quarantined_runtime_state_report"),
                passes(
                    "shutdown_pipeline_skips_removed_runtime_state",
                    "the opposite: who is being removed is waited for like the others",
                ),
                passes("supervisor_join_returns_cached_exit_report_repeatedly"),
                passes("supervisor_shutdown_after_completion_returns_cached_exit_report"),
                passes("supervisor_health_reports_failed_control_loop", "a bug in the brain"),
                passes("supervisor_command_after_control_loop_exit_reports_known_reason"),
            ),
        ),
        (
            "Policy",
            (
                passes("validation_rejects_*", tests="test_validation_rejects"),
                passes("exponential_backoff_caps_at_maximum"),
                passes("stable_runtime_resets_backoff_window"),
                passes(
                    "jitter bounds, reproducibility",
                    tests="test_jitter_bounds_and_reproducibility",
                ),
                passes("budget waveform", "a sliding window, exact", tests="test_budget_waveform"),
                none(
                    "test_merge_*, test_lead_scope_*",
                    "there are two limits, and one rule: the child's own is asked first",
                ),
                passes("job_success_exit_does_not_request_restart", _ROLE),
                passes("service_success_exit_allows_restart", _ROLE),
                passes("sidecar rules", _ROLE, tests="test_sidecar_follows_its_primary"),
            ),
        ),
        (
            "Observability and the rest",
            (
                passes("pipeline_fans_out_signals_and_accounts_for_lag"),
                passes("journal ring", tests="test_journal_ring"),
                none("metric label refusal", "the library keeps no metrics"),
                none("create_new_rejects_existing_live_socket", _IPC),
                none("replace_stale_deletes_only_unserved_unix_socket", _IPC),
                none("replace_stale_rejects_{live_socket,symlink_path}", _IPC),
                none("target_ipc_rejects_command_for_different_target_id", _IPC),
                none("registration_heartbeat_stops_on_non_retryable_ack", _IPC),
                none("the session gating of the relay", _IPC),
            ),
        ),
    ),
)

WEAKNESSES = Suite(
    "The seed system's weaknesses",
    "What a review of it found: races, lost children, and policy that does not do what it says. "
    "A case passes if it cannot happen here.",
    "test_seed_w*.py",
    (
        (
            "",
            (
                passes(
                    "W1: group restarts make second instances of siblings",
                    tests="test_w1_a_group_restart_makes_no_second_instance_of_a_sibling",
                ),
                passes(
                    "W2: delayed restarts ignore what happens during the delay",
                    tests=(
                        "test_w2_a_shutdown_during_the_delay_means_that_nothing_starts",
                        "test_w2_a_stop_during_the_delay_means_that_it_does_not_start",
                        "test_w2_a_restart_by_hand_during_the_delay_is_the_only_one",
                    ),
                ),
                passes(
                    "W3: ending the supervisor abandons its children",
                    tests="test_w3_no_way_out_of_the_block_abandons_a_child",
                ),
                passes(
                    "W4: deadlines are looked at only when a message arrives",
                    tests="test_w4_deadlines_are_kept_although_nobody_says_a_word",
                ),
                passes(
                    "W5: stops never escalate; a removal hides a child that still runs",
                    tests="test_w5_every_stop_escalates_and_nothing_is_hidden",
                ),
                passes(
                    "a factory that panics kills the control loop",
                    tests="test_w5_a_body_that_raises_in_its_call_harms_nobody_else",
                ),
                passes(
                    "cancellation does not reach what a child has spawned",
                    "for what it starts in `child.nursery` or in a nursery of its own",
                    tests="test_w5_what_a_child_has_started_ends_with_it",
                ),
                passes(
                    "W6: roles override policy; successes restart without delay or budget",
                    tests=(
                        "test_w6_the_declared_policy_is_the_one_that_applies",
                        "test_w6_a_success_that_is_restarted_has_its_delay_and_its_budget",
                    ),
                ),
                passes(
                    "W7: three different failures leave the third dead, in silence",
                    tests=(
                        "test_w7_three_that_fail_once_each_all_come_back",
                        "test_w7_nobody_dies_in_silence",
                    ),
                ),
                passes(
                    "W8: an exhausted budget admits everything; windows follow the wall clock",
                    tests="test_w8_a_limit_limits_exactly_and_no_clock_on_the_wall_matters",
                ),
                passes(
                    "W9: constant jitter, backoff that never resets",
                    "for the reset see `stable_runtime_resets_backoff_window`",
                    tests="test_w9_jitter_has_no_seed_of_its_own",
                ),
                passes(
                    "W10: resume does not resume, restart resurrects, some decisions do nothing",
                    tests=(
                        "test_w10_what_was_stopped_can_be_resumed",
                        "test_w10_nobody_is_resurrected_without_a_word",
                        "test_w10_a_decision_can_end_the_tree",
                    ),
                ),
                passes(
                    "commands for unknown children create placeholders and succeed",
                    tests="test_commands_for_unknown_children_create_nothing",
                ),
            ),
        ),
    ),
)
