"""The cases of Elixir's `Supervisor`, `DynamicSupervisor` and `Task.Supervisor`."""

from __future__ import annotations

from .cases import Case, Suite, none, passes

_OLD = "there is one form of spec"
_MFA = "there are no module-function-argument triples: a function and its arguments"
_PROCESS = "there are no processes with options or an initial call"
_POOL = "the parent replaces the pool by one of a changed spec"
_REASONS = "`:normal` is a return, everything else an exception or a cancel"


def _is(name: str, test: str, note: str = "") -> Case:
    return passes(name, note, tests=f"test_{test}")


SUPERVISOR = Suite(
    "Elixir `Supervisor`",
    "`lib/elixir/test/elixir/supervisor_test.exs`.",
    "test_elixir_supervisor.py",
    (
        (
            "",
            (
                _is(
                    "generates child_spec/1", "generates_child_spec_1", "`SupervisorSpec.as_child`"
                ),
                _is("child_spec/2", "child_spec_2", "`ChildSpec`, its adapters and `replace`"),
                _is(
                    "init/2", "init_2", "there is a default strategy: the one that concerns nobody"
                ),
                none("init/2 with old and new child specs", _OLD),
                _is("start_link/2 with via", "start_link_2_with_via", "found by its spec"),
                _is("start_link/3 with global", "start_link_3_with_global", "found by its path"),
                _is("start_link/3 with local", "start_link_3_with_local", "found by its name"),
                _is("start_link/2", "start_link_2"),
                none("start_link/2 with old and new specs", _OLD),
                _is("start_link/3", "start_link_3", "a function that returns a spec"),
                none("start_child/2 supports old child spec", _OLD),
                none("start_child/2 supports new child spec as tuple", _OLD),
                _is(
                    "start_child/2 supports new child spec", "start_child_2_supports_new_child_spec"
                ),
                _is(
                    "start_child/2 with invalid child spec", "start_child_2_with_invalid_child_spec"
                ),
                _is("start_child/2 with valid shutdown", "start_child_2_with_valid_shutdown"),
                _is("child life-cycle", "child_life_cycle"),
            ),
        ),
    ),
)

DYNAMIC = Suite(
    "Elixir `DynamicSupervisor`",
    "`lib/elixir/test/elixir/dynamic_supervisor_test.exs`. A dynamic supervisor is a supervisor "
    "without declared children, a pool.",
    "test_elixir_dynamic_*.py",
    (
        (
            "Starting and restarting",
            (
                _is("can be supervised directly", "can_be_supervised_directly"),
                _is(
                    "multiple supervisors can be supervised and identified with simple child spec",
                    "multiple_supervisors_can_be_supervised_and_identified",
                ),
                _is("use/2 generates child_spec/1", "use_2_generates_child_spec_1"),
                _is("init/1 set default options", "init_1_set_default_options"),
                _is("start_link/3 with non-ok init", "start_link_3_with_non_ok_init"),
                _is(
                    "start_link/3 with registered process",
                    "start_link_3_with_registered_process",
                    "its name is its place in the tree",
                ),
                none("start_link/3 with spawn_opt", _PROCESS),
                none(
                    "start_link/3 sets initial call to the same as a regular supervisor", _PROCESS
                ),
                _is("code_change/3 with non-ok init", "code_change_3_with_non_ok_init"),
                _is("code_change/3 with ok init", "code_change_3_with_ok_init", _POOL),
                none("start_child/2 supports old child spec", _OLD),
                _is(
                    "start_child/2 supports new child spec as tuple",
                    "start_child_2_supports_new_child_spec_as_tuple",
                    "the other form of a child: a `SupervisorSpec` as it is",
                ),
                _is(
                    "start_child/2 supports new child spec", "start_child_2_supports_new_child_spec"
                ),
                _is(
                    "start_child/2 supports extra arguments",
                    "start_child_2_supports_extra_arguments",
                    "`template.replace(args=...)`",
                ),
                _is(
                    "start_child/2 with invalid child spec", "start_child_2_with_invalid_child_spec"
                ),
                _is("start_child/2 with different returns", "start_child_2_with_different_returns"),
                _is("start_child/2 with throw/error/exit", "start_child_2_with_throw_error_exit"),
                _is("start_child/2 with max_children", "start_child_2_with_max_children"),
                _is(
                    "temporary child is not restarted regardless of reason",
                    "temporary_child_is_not_restarted_regardless_of_reason",
                    _REASONS,
                ),
                _is(
                    "transient child is restarted unless normal/shutdown/{shutdown, _}",
                    "transient_child_is_restarted_unless_normal",
                    _REASONS,
                ),
                _is(
                    "permanent child is restarted regardless of reason",
                    "permanent_child_is_restarted_regardless_of_reason",
                    _REASONS,
                ),
                _is(
                    "child is restarted with different values",
                    "child_is_restarted_with_different_values",
                    "one that declines is `done` and keeps its name; those that fail back off",
                ),
                _is(
                    "restarting on init children counted in max_children",
                    "restarting_on_init_children_counted_in_max_children",
                ),
                _is(
                    "restarting on exit children counted in max_children",
                    "restarting_on_exit_children_counted_in_max_children",
                ),
                _is(
                    "restarting a child with extra_arguments successfully restarts child",
                    "restarting_a_child_with_extra_arguments",
                ),
                _is(
                    "child is restarted when trying again",
                    "child_is_restarted_when_trying_again",
                ),
                _is("child triggers maximum restarts", "child_triggers_maximum_restarts"),
                _is(
                    "child triggers maximum intensity when trying again",
                    "child_triggers_maximum_intensity_when_trying_again",
                ),
                _is("with valid shutdown", "start_child_2_with_valid_shutdown"),
                _is("with invalid valid shutdown", "start_child_2_with_invalid_valid_shutdown"),
            ),
        ),
        (
            "Terminating",
            (
                _is("terminates children with brutal kill", "terminates_children_with_brutal_kill"),
                _is(
                    "terminates children with infinity shutdown",
                    "terminates_children_with_infinity_shutdown",
                ),
                _is(
                    "terminates children with infinity shutdown and abnormal reason",
                    "terminates_children_with_infinity_shutdown_and_abnormal_reason",
                ),
                _is(
                    "terminates children with integer shutdown",
                    "terminates_children_with_integer_shutdown",
                ),
                _is(
                    "terminates children with integer shutdown and abnormal reason",
                    "terminates_children_with_integer_shutdown_and_abnormal_reason",
                ),
                _is(
                    "terminates children with expired integer shutdown",
                    "terminates_children_with_expired_integer_shutdown",
                ),
                _is(
                    "terminates children with permanent restart and normal reason",
                    "terminates_children_with_permanent_restart_and_normal_reason",
                ),
                _is("terminates with mixed children", "terminates_with_mixed_children"),
                _is("terminates child with brutal kill", "terminates_child_with_brutal_kill"),
                _is(
                    "terminates child with integer shutdown",
                    "terminates_child_with_integer_shutdown",
                ),
                _is("terminates restarting child", "terminates_restarting_child"),
            ),
        ),
    ),
)

_LINKS = "nobody is linked to a child here, so it is the case of `async_stream` over again"
_STREAM = "by a function of a few lines over a pool, which the test has in it"


def _stream(name: str, test: str, note: str = _STREAM) -> Case:
    return _is(f"async_stream {name}", f"async_stream_{test}", note)


TASK = Suite(
    "Elixir `Task.Supervisor`",
    "`lib/elixir/test/elixir/task/supervisor_test.exs`. A task is a temporary child whose function "
    "returns a value; to await it is to read that from its report.",
    "test_elixir_task_*.py",
    (
        (
            "Tasks",
            (
                _is("can be supervised directly", "can_be_supervised_directly"),
                none("start with spawn_opt", _PROCESS),
                _is(
                    "multiple supervisors can be supervised and identified with simple child spec",
                    "multiple_supervisors_can_be_supervised_and_identified",
                ),
                _is("counts and returns children", "counts_and_returns_children"),
                _is(
                    "async/1 spawns tasks under the supervisor",
                    "async_1_spawns_tasks_under_the_supervisor",
                ),
                _is("async/1 with custom shutdown", "async_1_with_custom_shutdown"),
                _is(
                    "async/1 raises when :max_children is reached",
                    "async_1_raises_when_max_children_is_reached",
                ),
                _is("async/1 with $callers", "async_1_with_callers", "by context variables"),
                none("async/3", _MFA),
                _is(
                    "async_nolink/1 spawns a task under the supervisor without linking to the "
                    "caller",
                    "async_nolink_1_spawns_without_linking_to_the_caller",
                ),
                _is("async_nolink/1 with custom shutdown", "async_nolink_1_with_custom_shutdown"),
                _is(
                    "async_nolink/1 raises when :max_children is reached",
                    "async_nolink_1_raises_when_max_children_is_reached",
                ),
                none("async_nolink/3", _MFA),
                _is("start_child/1", "start_child_1"),
                _is("start_child/3", "start_child_3", "with arguments"),
                _is("start_child/1 with custom shutdown", "start_child_1_with_custom_shutdown"),
                _is("start_child/1 with custom restart", "start_child_1_with_custom_restart"),
                _is(
                    "start_child/1 with $callers",
                    "start_child_1_with_callers",
                    "by context variables",
                ),
                _is("terminate_child/2", "terminate_child_2"),
                _is(
                    "await/1 demonitors and unalias on timeout",
                    "await_1_leaves_nothing_behind_on_timeout",
                    "whoever waits can leave; the task goes on",
                ),
                _is("await/1 exits on task throw", "await_1_exits_on_task_throw", "`TaskFailure`"),
                _is("await/1 exits on task error", "await_1_exits_on_task_error"),
                _is("await/1 exits on task exit", "await_1_exits_on_task_exit", "`SelfCancelled`"),
            ),
        ),
        (
            "Streams",
            (
                _stream("streams an enumerable with fun", "streams_an_enumerable_with_fun"),
                none("async_stream streams an enumerable with mfa", _MFA),
                _stream("streams an enumerable without leaking tasks", "without_leaking_tasks"),
                _stream("streams an enumerable with slowest first", "with_slowest_first"),
                _stream("streams an enumerable with exits", "with_exits"),
                _stream("shuts down unused tasks", "shuts_down_unused_tasks"),
                _stream(
                    "shuts down unused tasks without leaking messages",
                    "shuts_down_unused_tasks_without_leaking_messages",
                ),
                _stream(
                    "raises an error if :max_children is reached with clean stream shutdown",
                    "raises_if_max_children_is_reached",
                ),
                none("async_stream with $callers", "as for any child: see `async/1 with $callers`"),
                _stream("consuming from another process", "consuming_from_another_process"),
                _stream(
                    "with timeout and :zip_input_on_exit set to true",
                    "with_timeout",
                    f"`max_runtime`; {_STREAM}",
                ),
                _stream(
                    "with outer halt on failure and :zip_input_on_exit",
                    "with_outer_halt_on_failure",
                ),
                _stream(
                    "does not allow streaming with invalid :shutdown",
                    "does_not_allow_invalid_shutdown",
                    "`grace`",
                ),
                *(
                    none(f"async_stream_nolink {name}", _LINKS)
                    for name in (
                        "streams an enumerable with fun",
                        "streams an enumerable with mfa",
                        "streams an enumerable without leaking tasks",
                        "streams an enumerable with slowest first",
                        "streams an enumerable with exits",
                        "shuts down unused tasks",
                        "shuts down unused tasks without leaking messages",
                        "raises an error if :max_children is reached with clean stream shutdown",
                    )
                ),
            ),
        ),
    ),
)
