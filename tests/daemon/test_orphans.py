"""Orphans come to a daemon and are collected, and nobody's exit status is taken away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING

import pytest
from helpers.processes import wait_until

if TYPE_CHECKING:
    from helpers.daemons import Start

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="subreapers and lists of children are Linux's"
)


def zombies_below(pid: int) -> int:
    found = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        found += state == "Z" and parent == str(pid)
    return found


def test_orphans_are_collected(start: Start) -> None:
    program = start("""
        async def main(child):
            for _ in range(5):
                # The shell ends at once, and leaves its background job behind.
                await trio.run_process(["sh", "-c", "sleep 0.5 & :"])
            say("left")
            await child.wait_stop_requested()
        run(SupervisorSpec("app", [ChildSpec("a", main)]), control=False)
    """)
    program.wait_for("left")
    wait_until(lambda: zombies_below(program.process.pid) == 5, lambda: "not adopted")
    wait_until(lambda: zombies_below(program.process.pid) == 0, lambda: "not collected")
    program.signal(SIGTERM)
    assert program.ended() == 0


def test_an_exit_status_that_is_asked_for_late_is_still_there(start: Start) -> None:
    program = start("""
        import multiprocessing, os, subprocess
        async def main(child):
            popen = subprocess.Popen(["sh", "-c", "exit 3"])
            forked = os.fork()
            if not forked:
                os._exit(4)
            process = multiprocessing.get_context("fork").Process(target=sys.exit, args=(5,))
            process.start()
            quick = await trio.lowlevel.open_process(["sh", "-c", "exit 6"])
            await trio.sleep(6)
            process.join()
            say("codes", popen.wait(), os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]),
                process.exitcode, await quick.wait())
            await child.wait_stop_requested()
        import warnings
        warnings.simplefilter("ignore")
        run(SupervisorSpec("app", [ChildSpec("a", main)]), control=False)
    """)
    program.wait_for("codes 3 4 5 6")
    program.signal(SIGTERM)
    assert program.ended() == 0


@pytest.mark.skipif(
    shutil.which("unshare") is None or os.geteuid() != 0,
    reason="a PID namespace needs unshare, and root",
)
def test_as_pid_1_it_stops_in_order_and_collects_strangers(tmp_path: Path) -> None:
    from helpers.daemons import PREAMBLE

    script = tmp_path / "script.py"
    script.write_text(
        PREAMBLE
        + """
async def main(child):
    import os
    await trio.run_process(["sh", "-c", "(sh -c 'sleep 0.2; exit 9' &)"])
    say("pid", os.getpid())
    await child.wait_stop_requested()
    states = [open(f"/proc/{p}/stat").read().rpartition(")")[2].split()[0]
              for p in os.listdir("/proc") if p.isdecimal()]
    say("zombies", states.count("Z"))
async def stop(child):
    import os, signal
    await trio.sleep(8)
    os.kill(os.getpid(), signal.SIGTERM)
run(SupervisorSpec("app", [ChildSpec("a", main, grace=3), ChildSpec("b", stop)]), control=False)
say("over")
"""
    )
    import trio_supervisor

    environment = os.environ | {"PYTHONPATH": str(Path(trio_supervisor.__file__).parents[1])}
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, str(script)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    if "unshare failed" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip(f"no PID namespace on this machine: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "pid 1\nzombies 0\nover\n"
