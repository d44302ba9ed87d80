"""Signals of a daemon: during the import, while it drains, when it hangs, and after its end."""

from __future__ import annotations

import time
from signal import SIGHUP, SIGINT, SIGTERM, SIGUSR1
from typing import TYPE_CHECKING

import pytest

from trio_supervisor import SpecError, SupervisorSpec
from trio_supervisor.daemon import ExitCode, run

if TYPE_CHECKING:
    from signal import Signals

    from helpers.daemons import Start

ONE = """
    run(SupervisorSpec("app", [ChildSpec("a", obedient)]))
    say("run returned")
"""
ON_A_TERMINAL = """
        import fcntl, os, pty, termios
        os.setsid()
        terminal, mine = pty.openpty()
        fcntl.ioctl(mine, termios.TIOCSCTTY, 0)
"""


# ---------------------------------------------------------------- before and after


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
def test_a_stop_during_the_import_starts_nothing(start: Start, number: Signals) -> None:
    program = start("""
        def declare():
            say("importing")
            for _ in range(600):  # a signal right before a long sleep would wait for its end
                time.sleep(0.1)
            raise AssertionError("not reached")
        run(declare)
        say("run returned")
    """)
    program.wait_for("importing")
    program.signal(number)
    assert program.ended() == 0
    assert program.out == "importing\nrun returned\n"
    assert f"{number.name} before the tree was declared: nothing was started" in program.err


def test_a_request_to_show_the_tree_during_the_import_is_no_reason_to_end(start: Start) -> None:
    program = start("""
        def declare():
            say("importing")
            time.sleep(0.3)
            return SupervisorSpec("app", [ChildSpec("a", obedient)])
        run(declare)
    """)
    program.wait_for("importing")
    program.signal(SIGUSR1)
    program.signal(SIGHUP)
    # Both are answered as soon as there is a tree.
    program.wait_for("app SIGUSR1:")
    program.wait_for("app SIGHUP ignored: a new declaration cannot be loaded")
    program.wait_for("app is up")
    program.signal(SIGTERM)
    assert program.ended() == 0


@pytest.mark.parametrize("gap", [0, 0.005, 0.02, 0.05, 0.1])
def test_a_signal_after_the_orderly_end_does_nothing(start: Start, gap: float) -> None:
    # An object whose end takes long keeps the interpreter in its own end for a while.
    program = start("""
        class Late:
            def __del__(self, sleep=time.sleep, write=sys.stderr.write):
                write("finalizing\\n")
                sleep(0.3)
        import atexit
        atexit.register(lambda: say("atexit"))
        run(SupervisorSpec("app", [ChildSpec("a", obedient, grace=1)]))
        say("run returned")
        late = Late()
        late.me = late
        del late
    """)
    program.wait_for("app is up")
    program.signal(SIGTERM)
    program.wait_for("run returned")
    time.sleep(gap)
    for number in (SIGTERM, SIGINT, SIGTERM, SIGTERM):
        if program.process.poll() is None:
            program.signal(number)
    assert program.ended() == 0, program.err
    assert "Traceback" not in program.err


@pytest.mark.parametrize("gap", [0, 0.001, 0.02])
def test_a_second_signal_that_the_tree_has_no_use_for_leaves_the_end_in_order(
    start: Start, gap: float
) -> None:
    program = start("""
        deep = SupervisorSpec("deep", [ChildSpec("b", obedient, "b", grace=1)])
        run(SupervisorSpec("app", [ChildSpec("a", obedient, "a", grace=1), deep]))
    """)
    program.wait_for("app is up")
    program.signal(SIGTERM)
    time.sleep(gap)
    program.signal(SIGINT)
    assert program.ended() == 0, program.err
    assert program.out.split("\n")[-3:] == ["b stopped True", "a stopped True", ""]
    assert "without grace" not in program.err


def test_two_signals_in_one_instant_still_drop_the_grace(start: Start) -> None:
    program = start("""
        run(SupervisorSpec("app", [ChildSpec("a", slow, 100, grace=1000)]))
    """)
    program.wait_for("app is up")
    program.signal(SIGTERM)
    program.signal(SIGINT)
    assert program.ended() in (130, 143)
    assert program.out == "saying goodbye\ncut short\n"


def test_a_second_signal_that_cuts_nothing_off_does_not_count(start: Start) -> None:
    # The child has no grace to lose: it would have ended at the same moment.
    program = start("""
        run(SupervisorSpec("app", [ChildSpec("mule", stubborn, 0.5, grace=0)], report_after=10))
    """)
    program.wait_for("app is up")
    program.signal(SIGTERM)
    program.wait_for("stopping in order")
    program.signal(SIGINT)
    assert program.ended() == 0, program.err
    assert "SIGINT: stopping without grace" in program.err


def test_a_second_signal_that_cuts_only_the_drain_off_counts(start: Start) -> None:
    program = start("""
        run(SupervisorSpec("app", [ChildSpec("a", obedient, grace=0)]), drain=1000)
    """)
    program.wait_for("app is up")
    program.signal(SIGTERM)
    program.wait_for("draining")
    program.signal(SIGTERM)
    assert program.ended() == 143, program.err


# ---------------------------------------------------------------- who hears what


@pytest.mark.parametrize("number", ["SIGINT", "SIGHUP", "SIGUSR1"])
def test_a_signal_that_is_ignored_stays_ignored(start: Start, number: str) -> None:
    program = start(f"""
        import os, signal
        if not os.environ.get("AGAIN"):
            signal.signal(signal.{number}, signal.SIG_IGN)
            os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {{"AGAIN": "1"}})
        async def look(child):
            os.kill(os.getpid(), signal.{number})
            await trio.sleep(0.2)
            say("alive")
            await trio.sleep_forever()
        run(SupervisorSpec("app", [ChildSpec("a", look)]))
    """)
    program.wait_for("alive")
    program.signal(SIGTERM)
    assert program.ended() == 0
    assert f"{number}:" not in program.err


def test_hanging_up_means_nothing_without_a_terminal(start: Start) -> None:
    program = start("""
        import os
        os.setsid()
        run(SupervisorSpec("app", [ChildSpec("a", obedient)]))
    """)
    program.wait_for("app is up")
    program.signal(SIGHUP)
    program.wait_for("SIGHUP ignored: there is no controlling terminal")
    program.signal(SIGTERM)
    assert program.ended() == 0


def test_closing_the_terminal_stops_the_tree(start: Start) -> None:
    program = start(
        ON_A_TERMINAL
        + """
        async def close(child):
            os.close(terminal)
            await child.wait_stop_requested()
            say("asked")
        run(SupervisorSpec("app", [ChildSpec("a", close, grace=1)]))
    """
    )
    assert program.ended() == 0, program.err
    assert program.out == "asked\n"
    assert "SIGHUP: stopping in order" in program.err


def test_with_a_function_hanging_up_asks_for_a_reload_even_on_a_terminal(start: Start) -> None:
    program = start(
        ON_A_TERMINAL
        + """
        run(lambda: SupervisorSpec("app", [ChildSpec("a", obedient)]))
    """
    )
    program.wait_for("app is up")
    program.signal(SIGHUP)
    program.wait_for("SIGHUP ignored: a new declaration cannot be loaded")
    program.signal(SIGTERM)
    assert program.ended() == 0


def test_the_tree_and_its_stacks_are_written_to_the_log(start: Start) -> None:
    program = start(ONE)
    program.wait_for("app is up")
    program.signal(SIGUSR1)
    program.wait_for("() [app/a#1]")
    assert "running" in program.err or "ready" in program.err
    program.signal(SIGTERM)
    assert program.ended() == 0


# ---------------------------------------------------------------- drain, grace, the third


def test_draining_comes_before_the_stop(start: Start) -> None:
    program = start("""
        run(SupervisorSpec("app", [ChildSpec("a", obedient)]), drain=0.5)
    """)
    program.wait_for("app is up")
    began = time.monotonic()
    program.signal(SIGTERM)
    program.wait_for("draining for 0.5s")
    assert "stopping reason" not in program.err
    assert program.ended() == 0
    assert time.monotonic() - began > 0.5


def test_an_interrupt_does_not_drain(start: Start) -> None:
    program = start("""
        run(SupervisorSpec("app", [ChildSpec("a", obedient)]), drain=1000)
    """)
    program.wait_for("app is up")
    program.signal(SIGINT)
    assert program.ended() == 0
    assert "draining" not in program.err


def test_a_second_signal_ends_the_draining_and_the_grace(start: Start) -> None:
    program = start("""
        run(SupervisorSpec("app", [ChildSpec("a", slow, 100, grace=1000)]), drain=1000)
    """)
    program.wait_for("app is up")
    program.signal(SIGTERM)
    program.wait_for("draining")
    program.signal(SIGINT)
    assert program.ended() == 130


def test_a_drain_that_is_no_number_of_seconds_is_refused() -> None:
    with pytest.raises(SpecError, match="drain"):
        run(SupervisorSpec("app"), drain=-1)


def test_a_grace_that_ran_out_shows_in_the_exit_code(start: Start) -> None:
    program = start("""
        run(SupervisorSpec("app", [ChildSpec("a", slow, 100, grace=0.1),
                                   ChildSpec("b", obedient, grace=0)]))
    """)
    program.wait_for("app is up")
    program.signal(SIGTERM)
    assert program.ended() == ExitCode.CUT_OFF
    last = program.err.splitlines()[-1]
    assert last.endswith("app stopped, but the grace of some ran out: app/a (exit code 5)")


def test_a_shutdown_deadline_that_passed_shows_in_the_exit_code(start: Start) -> None:
    program = start("""
        inner = SupervisorSpec("inner", [ChildSpec("a", slow, 100, grace=50)])
        run(SupervisorSpec("app", [inner], shutdown_deadline=0.1))
    """)
    program.wait_for("app is up")
    program.signal(SIGTERM)
    assert program.ended() == ExitCode.CUT_OFF
    assert "app/inner/a" in program.err.splitlines()[-1]


def test_a_deadline_that_passed_before_a_childs_turn_shows_in_the_exit_code(start: Start) -> None:
    program = start("""
        run(SupervisorSpec("app", [
            ChildSpec("a", slow, 100, grace=1000),
            ChildSpec("mule", stubborn, 0.5, grace=0),
        ], shutdown_deadline=0.2, report_after=10))
    """)
    program.wait_for("app is up")
    program.signal(SIGTERM)
    assert program.ended() == 5
    assert "app/a cut off" in program.err
    assert "the grace of some ran out: app/a (exit code 5)" in program.err


def test_the_third_signal_ends_a_process_whose_event_loop_is_blocked(start: Start) -> None:
    program = start("""
        async def block(child):
            say("blocking")
            time.sleep(1000)
        run(SupervisorSpec("app", [ChildSpec("a", block)]))
    """)
    program.wait_for("blocking")
    for _ in range(2):
        program.signal(SIGTERM)
        time.sleep(0.2)  # two signals of one kind that wait to be delivered are one
    program.signal(SIGTERM)
    assert program.ended() == 143
    assert "exiting at once (exit code 143)" in program.err
    assert "time.sleep(1000)" in program.err


def test_the_third_signal_ends_a_process_whose_log_hangs(start: Start) -> None:
    program = start("""
        class Hanging(logging.Handler):
            def emit(self, record):
                if "exiting" in record.getMessage():
                    say("hangs")
                    time.sleep(1000)
        logging.getLogger("trio_supervisor").addHandler(Hanging())
        from trio_supervisor.daemon import _signals
        _signals.PATIENCE = 0.2
        async def mule(child):
            say("runs")
            await stubborn(child, 1000)
        run(SupervisorSpec("app", [ChildSpec("mule", mule)]))
    """)
    program.wait_for("runs")
    for _ in range(3):
        program.signal(SIGTERM)
        time.sleep(0.3)
    assert program.ended() == 143
    assert "hangs" in program.out
