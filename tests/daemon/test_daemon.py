"""daemon.run: real processes that get real signals, and the exit code that says how they ended."""

from __future__ import annotations

import threading
from signal import SIGHUP, SIGINT, SIGTERM
from typing import TYPE_CHECKING

import pytest
import trio

from trio_supervisor import SupervisorSpec
from trio_supervisor.daemon import ExitCode, run

if TYPE_CHECKING:
    from signal import Signals

    from helpers.daemons import Start

TWO_OBEDIENT = """
run(SupervisorSpec("app", [
    ChildSpec("a", obedient, "a", grace=5), ChildSpec("b", obedient, "b", grace=5),
]))
say("run returned")
"""


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
def test_one_signal_stops_the_tree_in_order_and_run_returns(start: Start, number: Signals) -> None:
    program = start(TWO_OBEDIENT)
    program.wait_for("app is up")
    program.signal(number)
    assert program.ended() == 0
    assert program.out.split("\n")[-4:] == ["b stopped True", "a stopped True", "run returned", ""]
    assert "Traceback" not in program.err
    assert f"pid {program.process.pid}" in program.err
    assert number.name in program.err


@pytest.mark.parametrize(("number", "code"), [(SIGINT, 130), (SIGTERM, 143)])
def test_a_second_signal_drops_the_grace(start: Start, number: Signals, code: int) -> None:
    program = start("""
        run(SupervisorSpec("app", [ChildSpec("a", slow, 100, grace=1000)]))
    """)
    program.wait_for("app is up")
    program.signal(SIGTERM)
    program.wait_for("saying goodbye")
    program.signal(number)
    assert program.ended() == code
    assert program.out == "saying goodbye\ncut short\n"
    assert "Traceback" not in program.err
    last = program.err.splitlines()[-1]
    told = f"app stopped, but it took a second signal, {number.name} (exit code {code})"
    assert last.endswith(told)


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "lambda *_: say('reloads')"])
def test_a_hangup_that_is_dealt_with_already_is_left_alone(start: Start, handler: str) -> None:
    program = start(f"""
        import signal
        signal.signal(signal.SIGHUP, {handler})
        run(SupervisorSpec("app", [ChildSpec("a", slow, 0, grace=5)]))
    """)
    program.wait_for("app is up")
    program.signal(SIGHUP)
    if "reloads" in handler:
        program.wait_for("reloads")
    program.signal(SIGTERM)
    assert program.ended() == 0
    assert "SIGHUP" not in program.err


def test_a_signal_that_comes_too_late_is_not_heard(start: Start) -> None:
    program = start("""
        async def blocks(child):
            await child.wait_stop_requested()
            say("blocks")
            time.sleep(0.5)
        run(SupervisorSpec("app", [ChildSpec("a", blocks, grace=10)]))
    """)
    program.wait_for("app is up")
    program.signal(SIGTERM)
    program.wait_for("blocks")
    program.signal(SIGINT)
    code = program.ended()
    told = program.err.splitlines()
    # Either it was in time, and so it is told and counts, or it was not, and nothing is said.
    late = [number for number, line in enumerate(told) if "without grace" in line]
    stopped = next(number for number, line in enumerate(told) if "app stopped in" in line)
    assert all(number < stopped for number in late), program.err
    assert code == (130 if late else 0)


def test_one_signal_leaves_the_grace(start: Start) -> None:
    program = start("""
        run(SupervisorSpec("app", [ChildSpec("a", slow, 0.3, grace=1000)]))
    """)
    program.wait_for("app is up")
    program.signal(SIGTERM)
    assert program.ended() == 0
    assert program.out == "saying goodbye\nsaid goodbye\n"


def test_the_third_signal_shows_what_is_still_there_and_exits(start: Start) -> None:
    program = start("""
        def mules_work():
            while True:
                time.sleep(0.01)
        deep = SupervisorSpec("deep", [ChildSpec("thread", in_thread(mules_work))])
        run(SupervisorSpec("app", [ChildSpec("mule", stubborn, 1000), deep], ordering="graph"))
    """)
    program.wait_for("app is up")
    program.signal(SIGTERM)
    program.wait_for("stopping in order")
    program.signal(SIGTERM)
    program.wait_for("without grace")
    program.signal(SIGINT)
    assert program.ended() == 130
    assert "in mules_work() [thread of app/deep/thread#1]" in program.err
    assert "in stubborn() [app/mule#1]" in program.err


def test_what_does_not_end_when_cancelled_shows_in_the_exit_code(start: Start) -> None:
    program = start("""
        run(SupervisorSpec("app", [ChildSpec("mule", stubborn, 0.5, grace=0)], report_after=0.05))
    """)
    program.wait_for("app is up")
    program.signal(SIGTERM)
    assert program.ended() == ExitCode.UNRESPONSIVE
    assert "app/mule unresponsive" in program.err
    last = program.err.splitlines()[-1]
    assert last.endswith("app stopped, but some did not end when cancelled: app/mule (exit code 4)")


def test_a_signal_during_the_first_start_is_heard(start: Start) -> None:
    program = start("""
        async def never_ready(child):
            say("starting")
            await child.wait_stop_requested()
            say("asked")
        run(SupervisorSpec("app", [ChildSpec("a", never_ready, readiness="explicit", grace=5)]))
    """)
    program.wait_for("starting")
    program.signal(SIGTERM)
    assert program.ended() == 0
    assert program.out == "starting\nasked\n"


def test_auto_shutdown_is_an_orderly_end(start: Start) -> None:
    program = start("""
        async def work(child): await trio.sleep(0.01)
        spec = ChildSpec("a", work, restart="transient", significant=True)
        run(SupervisorSpec("app", [spec], auto_shutdown="any_significant"))
        say("run returned")
    """)
    assert program.ended() == 0
    assert program.out == "run returned\n"


def test_a_tree_that_fails_says_why_in_one_line_with_traceback(start: Start) -> None:
    program = start("""
        spec = ChildSpec("a", crash, OSError("disk on fire"), 0.01, backoff=HASTY)
        run(SupervisorSpec("app", [spec], child_restart_limit=RestartLimit(2, within=60)))
    """)
    assert program.ended() == ExitCode.FAILED
    assert "app failed: RestartLimitExceeded: " in program.err
    assert program.err.count("Traceback (most recent call last)") == 1
    assert "_attempts" not in program.err
    assert "disk on fire" in program.err


@pytest.mark.parametrize("level", ["ERROR", "CRITICAL"])
def test_a_tree_whose_warnings_are_not_logged_still_says_where_it_failed(
    start: Start, level: str
) -> None:
    program = start(f"""
        spec = ChildSpec("a", crash, OSError("disk on fire"), 0.01, backoff=HASTY)
        limit = RestartLimit(2, within=60)
        run(SupervisorSpec("app", [spec], child_restart_limit=limit), log_level="{level}")
    """)
    assert program.ended() == ExitCode.FAILED
    assert "in crash" in program.err


def test_a_signal_while_the_tree_fails_does_not_hide_the_failure(start: Start) -> None:
    program = start("""
        run(SupervisorSpec("app", [
            ChildSpec("a", slow, 100, grace=1000),
            ChildSpec("b", crash, OSError("disk on fire"), 0.01, backoff=HASTY),
        ], child_restart_limit=RestartLimit(1, within=60)))
    """)
    program.wait_for("saying goodbye")
    program.signal(SIGTERM)
    program.wait_for("stopping in order")
    program.signal(SIGTERM)
    program.wait_for("cut short")
    assert program.ended() == ExitCode.FAILED
    assert "RestartLimitExceeded" in program.err


def test_a_first_start_that_fails_has_its_own_code(start: Start) -> None:
    program = start("""
        spec = ChildSpec("a", crash, OSError("no disk"), readiness="explicit")
        run(SupervisorSpec("app", [ChildSpec("z", obedient, "z", grace=5), spec]))
    """)
    assert program.ended() == ExitCode.START_FAILED
    assert "app could not be started: ChildStartError: " in program.err
    assert "no disk" in program.err
    assert program.err.count("Traceback (most recent call last)") == 1
    assert program.out == "z runs\nz stopped True\n"


def test_a_start_that_fails_on_purpose_needs_no_traceback(start: Start) -> None:
    program = start("""
        error = TaskFailure("cannot listen on port 80")
        run(SupervisorSpec("app", [ChildSpec("a", crash, error, readiness="explicit")]))
    """)
    assert program.ended() == ExitCode.START_FAILED
    assert "cannot listen on port 80" in program.err.splitlines()[-1]
    assert "Traceback" not in program.err


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("run(lambda: SupervisorSpec('app', [ChildSpec('a', obedient, grace=-1)]))", "grace=-1"),
        ("run(lambda: None)", "spec=None: expected a SupervisorSpec"),
        ("run('app')", "spec='app': expected a SupervisorSpec"),
        ("run(ChildSpec('a', obedient))", "expected a SupervisorSpec"),
    ],
)
def test_a_bad_declaration_is_one_readable_line(start: Start, source: str, said: str) -> None:
    program = start(source)
    assert program.ended() == ExitCode.BAD_SPEC
    assert said in program.err
    assert program.err.count("\n") == 1


def test_a_spec_error_at_run_time_is_no_bad_declaration(start: Start) -> None:
    program = start("""
        async def body(child): child.supervisor.child("a").spec.replace(grace=-1)
        run(SupervisorSpec("app", [ChildSpec("a", body, backoff=HASTY)],
            child_restart_limit=RestartLimit(1, within=60)))
    """)
    assert program.ended() == ExitCode.FAILED
    assert "grace=-1" in program.err


@pytest.mark.parametrize("where", ["crash, SystemExit(7), 0.01", "in_thread(sys.exit, 7)"])
def test_system_exit_of_a_child_is_the_exit_code(start: Start, where: str) -> None:
    program = start(f"""
        run(SupervisorSpec("app", [
            ChildSpec("a", obedient, "a", grace=5), ChildSpec("b", {where}),
        ]))
    """)
    assert program.ended() == 7
    assert "a stopped" in program.out


SEVERAL = "ended by several things: "


@pytest.mark.parametrize(
    ("children", "code", "said"),
    [
        (
            "('a', crash, SystemExit(7)), ('b', crash, SystemExit(8))",
            {7, 8},
            ["SystemExit: 7", "SystemExit: 8"],
        ),
        (
            "('a', crash, ValueError('boom'), 0.02), ('b', late, SystemExit(7))",
            {7},
            ["SystemExit: 7; RestartLimitExceeded: ", "(exit code 7)", "Traceback"],
        ),
        (
            "('a', crash, BaseExceptionGroup('', [ValueError('boom'), SystemExit(7)]))",
            {7},
            ["SystemExit: 7; ValueError: boom (exit code 7)"],
        ),
        (
            "('a', crash, SystemExit()), ('b', late, SystemExit(None))",
            {0},
            ["SystemExit; SystemExit: None (exit code 0)"],
        ),
        (
            "('a', crash, SystemExit('no disk')), ('b', late, SystemExit('no disk'))",
            {1},
            ["SystemExit: no disk; SystemExit: no disk (exit code 1)", "\nno disk\n"],
        ),
        (
            "('a', crash, KeyboardInterrupt()), ('b', late, GeneratorExit())",
            {130, -2},
            ["KeyboardInterrupt; GeneratorExit\n", "Traceback"],
        ),
        (
            "('a', crash, GeneratorExit()), ('b', late, GeneratorExit())",
            {1},
            ["GeneratorExit; GeneratorExit\n", "Traceback"],
        ),
    ],
)
def test_of_several_fatal_things_the_first_exit_counts(
    start: Start, children: str, code: set[int], said: list[str]
) -> None:
    program = start(f"""
        async def late(child, error):
            try:
                await trio.sleep_forever()
            finally:
                raise error
        specs = [ChildSpec(name, *run, backoff=HASTY) for name, *run in ({children},)]
        run(SupervisorSpec("app", specs, child_restart_limit=RestartLimit(1, within=60)))
    """)
    assert program.ended() in code
    assert program.err.count(SEVERAL) == 1
    told = program.err.partition(SEVERAL)[2]
    assert all(each in told for each in said), program.err


def test_keyboard_interrupt_of_a_child_passes(start: Start) -> None:
    program = start("""
        try:
            run(SupervisorSpec("app", [ChildSpec("b", crash, KeyboardInterrupt(), 0.01)]))
        except KeyboardInterrupt as error:
            say("passed", type(error).__name__)
    """)
    assert program.ended() == 0
    assert program.out == "passed KeyboardInterrupt\n"


def test_a_broken_log_does_not_end_the_tree(start: Start) -> None:
    program = start("""
        class Broken(logging.Handler):
            def emit(self, record): raise RuntimeError("broken")
        logging.basicConfig(handlers=[Broken()], level="INFO")
        sys.stderr = open("/dev/full", "w", buffering=1)
        run(SupervisorSpec("app", [ChildSpec("a", obedient, "a", grace=5)]))
        say("run returned")
    """)
    program.wait_for("a runs")
    program.signal(SIGTERM)
    assert program.ended() in (0, 120), program.err  # 120: Python itself could not flush
    assert program.out.endswith("a stopped True\nrun returned\n")


def test_logging_that_is_configured_is_left_alone(start: Start) -> None:
    program = start("""
        logging.basicConfig(stream=sys.stdout, format="mine %(message)s", level="INFO")
        run(SupervisorSpec("app", [ChildSpec("a", obedient, "a", grace=5)]))
    """)
    program.wait_for("mine app is up")
    program.signal(SIGTERM)
    assert program.ended() == 0
    assert program.err == ""


def test_log_level_is_heeded(start: Start) -> None:
    program = start("""
        run(SupervisorSpec("app", [ChildSpec("a", obedient, "a", grace=5)]), log_level="ERROR")
    """)
    program.wait_for("a runs")
    program.signal(SIGTERM)
    assert program.ended() == 0
    assert program.err == ""


def test_a_thread_other_than_the_main_one_is_refused_clearly() -> None:
    caught: list[RuntimeError] = []

    def call() -> None:
        try:
            run(SupervisorSpec("app"))
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_a_running_trio_is_refused_clearly() -> None:
    async def main() -> None:
        await trio.lowlevel.checkpoint()
        with pytest.raises(RuntimeError, match="run_supervisor"):
            run(SupervisorSpec("app"))

    trio.run(main)
