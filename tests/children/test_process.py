"""`process`: real programs, from their start to the end of the last process they have started."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import trio
from helpers.children import (
    SIZE,
    children_of,
    is_alive,
    once,
    open_files,
    pids_in,
    python,
    resident,
    stop_when_ready,
    wait_gone,
)
from helpers.processes import Program
from helpers.support import run_real, run_virtual

from trio_supervisor import (
    BackoffPolicy,
    ChildNotReady,
    ChildSpec,
    ChildStartError,
    SpecError,
    SupervisorSpec,
    open_supervisor,
)
from trio_supervisor._events.exits import (
    Aborted,
    Failed,
    Stopped,
    Succeeded,
    TimedOut,
    Unhealthy,
)
from trio_supervisor.children import ProcessFailed, process
from trio_supervisor.children._program import ExitStatus
from trio_supervisor.testing import Behaviour, with_bodies

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from trio_supervisor import ChildRunReport
    from trio_supervisor._attempts.runner import ChildRunHandle

FOREVER = python("import time; time.sleep(1000)")


def failure(report: ChildRunReport) -> ProcessFailed:
    assert isinstance(report.exit, Failed), report.exit
    assert isinstance(report.exit.error, ProcessFailed)
    return report.exit.error


def sh(script: str, *args: str) -> list[str]:
    return ["sh", "-c", script, "sh", *args]


# ---- start and exit


def test_the_ready_value_is_a_program_that_leads_a_group_of_its_own() -> None:
    seen: list[int] = []

    async def act(handle: ChildRunHandle[Any]) -> None:
        running = await handle.wait_ready()
        seen.extend([running.pid, os.getpgid(running.pid)])
        assert repr(running) == f"<RunningProcess {Path(sys.executable).name} pid={running.pid}>"
        running.send_signal(signal.SIGTERM)
        await handle.wait()
        with pytest.raises(ProcessLookupError):
            running.send_signal(signal.SIGTERM)

    report = once(ChildSpec("c", process(FOREVER)), act)
    assert seen[0] == seen[1] != os.getpgid(0)
    error = failure(report)
    assert (error.category, error.signal, error.exit_code) == ("signal", signal.SIGTERM, None)
    assert not is_alive(seen[0])


@pytest.mark.parametrize(
    ("command", "options", "reason"),
    [
        (["there-is-no-such-program"], {}, "No such file"),
        (["/dev/null"], {}, "Permission denied"),
        (["true"], {"cwd": "/no/such/folder"}, "No such file or directory: '/no/such/folder'"),
        (["/"], {}, "Permission denied"),
        (["{text}"], {}, "Exec format error"),
    ],
)
def test_a_program_that_cannot_be_started_fails_the_first_start(
    tmp_path: Path, command: list[str], options: dict[str, Any], reason: str
) -> None:
    text = tmp_path / "text"
    text.write_text("\0not a program")
    text.chmod(0o755)
    spec = ChildSpec("c", process([part.format(text=text) for part in command], **options))

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [spec])):
            raise AssertionError("it has started")

    before = open_files()
    with pytest.raises(ChildStartError, match=reason) as caught:
        run_real(main)
    assert isinstance(caught.value.__cause__, ProcessFailed)
    assert caught.value.__cause__.category == "start"
    assert isinstance(caught.value.__cause__.__cause__, OSError)
    assert open_files() == before


def test_exit_statuses_are_success_or_failure_with_the_last_words() -> None:
    assert once(ChildSpec("c", process(["true"]))).exit == Succeeded(None)
    assert once(ChildSpec("c", process(sh("exit 7"), ok_codes=(0, 7)))).exit == Succeeded(None)
    lines = "for i in 1 2 3 4 5 6 7 8 9 10 11; do echo line $i >&2; done; echo out; exit 3"
    error = failure(once(ChildSpec("c", process(sh(lines)))))
    assert str(error) == "sh exited with status 3; stderr: line 11"
    assert (error.category, error.exit_code, error.signal) == ("exit", 3, None)
    assert error.stderr == tuple(f"line {i}" for i in range(2, 12))
    assert error.__notes__ == [
        "the last lines of its standard error:\n  " + "\n  ".join(error.stderr)
    ]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGRTMIN + 3])
def test_a_program_that_a_signal_ends_has_failed_and_says_by_which(number: int) -> None:
    error = failure(once(ChildSpec("c", process(sh(f"kill -{int(number)} $$")))))
    assert (error.category, error.signal, error.exit_code) == ("signal", number, None)
    expected = "signal 37" if number == signal.SIGRTMIN + 3 else signal.Signals(number).name
    assert expected in str(error)


def test_exit_statuses_in_words() -> None:
    assert ExitStatus(code=3).describe() == "exited with status 3"
    assert ExitStatus(signal=11, core=True).describe() == "was ended by SIGSEGV (core dumped)"
    assert "other code in this process has collected" in ExitStatus().describe()


def test_environment_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/ours")
    monkeypatch.setenv("LISTEN_FDS", "3")
    monkeypatch.setenv("TO_GO", "x")
    monkeypatch.setenv("TO_STAY", "x")
    script = 'echo "$NOTIFY_SOCKET,$LISTEN_FDS,$TO_GO,$TO_STAY,$NEW,$PWD" > result'
    spec = ChildSpec("c", process(sh(script), cwd=tmp_path, env={"TO_GO": None, "NEW": "new"}))
    assert once(spec).exit == Succeeded(None)
    assert (tmp_path / "result").read_text() == f",,,x,new,{tmp_path}\n"


def test_a_program_inherits_no_descriptor_and_reads_nothing() -> None:
    code = "import os, sys; print(sorted(os.listdir('/proc/self/fd')), repr(sys.stdin.read()))"
    with socket.socket() as held:
        held.set_inheritable(True)  # to programs that are started with `close_fds=False`
        lines = output_of(python(code))
    assert lines == ["['0', '1', '2', '3'] ''"]  # 3 is the folder that is listed


def output_of(command: list[str], **options: Any) -> list[str]:
    heard = Heard()
    with heard:
        assert once(ChildSpec("c", process(command, **options))).exit == Succeeded(None)
    return heard.lines()


class Heard(logging.Handler):
    """What programs have written to the log."""

    def __init__(self, slow: float = 0) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self._slow = slow
        self._logger = logging.getLogger("trio_supervisor")

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        self._level = self._logger.level
        self._logger.setLevel(logging.DEBUG)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "trio_supervisor":
            time.sleep(self._slow)
            self.records.append(record)

    def lines(self) -> list[str]:
        texts = [each.getMessage() for each in self.records]
        return [text.removeprefix("c: ") for text in texts]


# ---- stopping


def test_a_program_that_ends_after_the_stop_signal_has_stopped() -> None:
    script = "trap 'exit {}' {}; echo up; while :; do sleep 0.01; done"
    with_trap = process(sh(script.format(0, "INT")), ready_line="up", stop_signal=signal.SIGINT)
    as_shells_say = process(sh(script.format(143, "TERM")), ready_line="up")
    for body in (process(FOREVER), with_trap, as_shells_say):
        report = once(ChildSpec("c", body, grace=20), stop_when_ready)
        assert report.exit == Stopped("enough")
        assert report.seconds < 10


def test_a_program_that_fails_while_it_stops_has_failed() -> None:
    body = process(sh("trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done"), ready_line="up")
    report = once(ChildSpec("c", body, grace=20), stop_when_ready)
    assert failure(report).exit_code == 5
    assert report.stop_reason == "enough"


@pytest.mark.parametrize("grace", [0.2, 0])
def test_a_program_that_ignores_the_stop_signal_is_ended_by_force(grace: float) -> None:
    pids: list[int] = []
    body = process(sh("trap '' TERM; echo up; while :; do sleep 0.01; done"), ready_line="up")

    async def act(handle: ChildRunHandle[Any]) -> None:
        pids.append((await handle.wait_ready()).pid)
        handle.request_stop("enough")

    report = once(ChildSpec("c", body, grace=grace), act)
    assert report.exit == Aborted("enough")
    assert not is_alive(pids[0])


@pytest.mark.parametrize("grace", [20, 0.2])
def test_a_program_that_is_stopped_like_a_job_ends_all_the_same(grace: float) -> None:
    async def act(handle: ChildRunHandle[Any]) -> None:
        running = await handle.wait_ready()
        os.kill(running.pid, signal.SIGSTOP)
        await trio.sleep(0.05)
        handle.request_stop("enough")

    report = once(ChildSpec("c", process(FOREVER), grace=grace), act)
    assert report.exit == Stopped("enough")
    assert report.seconds < 5


def test_all_of_a_pipeline_ends(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sh -c 'echo $$ >> {pids}; sleep 1000' | sh -c 'echo $$ >> {pids}; sleep 1000'"

    async def act(handle: ChildRunHandle[Any]) -> None:
        await handle.wait_ready()
        while len(pids_in(pids)) < 2:  # noqa: ASYNC110 - written by other processes
            await trio.sleep(0.01)
        handle.request_stop("enough")

    report = once(ChildSpec("c", process(sh(script)), grace=20), act)
    assert report.exit == Stopped("enough")
    assert len(pids_in(pids)) == 2
    assert not any(map(is_alive, pids_in(pids)))


def test_the_rest_of_a_group_uses_the_grace_after_its_leader_has_ended(tmp_path: Path) -> None:
    result = tmp_path / "result"
    tidy = (
        f"trap 'sleep 0.5; echo tidy > {result}; exit' TERM; echo up; while :; do sleep 0.01; done"
    )
    body = process(sh(f"({tidy}) & wait"), ready_line="up")
    report = once(ChildSpec("c", body, grace=20), stop_when_ready)
    assert report.exit == Stopped("enough")
    assert result.read_text() == "tidy\n"


@pytest.mark.parametrize("stubborn", [False, True])
def test_no_grandchild_is_left_when_its_leader_is_killed(tmp_path: Path, stubborn: bool) -> None:
    pids = tmp_path / "pids"
    trap = "trap '' TERM; " if stubborn else ""
    script = f"(echo $$ > /dev/null; {trap}sh -c 'echo $$ >> {pids}; sleep 1000') & echo up; wait"
    spec = ChildSpec("c", process(sh(script), ready_line="up"), backoff=BackoffPolicy.delays(0))

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
            handle = supervisor.child(spec)
            while len(pids_in(pids)) < 1:  # noqa: ASYNC110
                await trio.sleep(0.01)
            handle.value.send_signal(signal.SIGKILL)
            while handle.last_report is None:  # noqa: ASYNC110
                await trio.sleep(0.001)
            assert not is_alive(pids_in(pids)[0])
            assert failure(handle.last_report).signal == signal.SIGKILL
            await handle.wait_state("ready")

    run_real(main)
    assert not any(map(is_alive, pids_in(pids)))


DAEMONIZE = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if pid := os.fork():
        with open(sys.argv[1], "a") as pids:
            pids.write(f"{pid}\\n")
        os._exit(0)
    time.sleep(1000)
os.wait()
print("up", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("lives", ["1000", "0"])
def test_a_process_that_forks_twice_into_a_session_of_its_own_is_ended(
    tmp_path: Path, lives: str
) -> None:
    pids = tmp_path / "pids"

    async def act(handle: ChildRunHandle[Any]) -> None:
        with suppress(ChildNotReady):  # it may end before its line has been read
            await handle.wait_ready()
        while not pids_in(pids):  # noqa: ASYNC110
            await trio.sleep(0.01)
        handle.request_stop("enough")

    with Heard() as heard:
        body = process(python(DAEMONIZE, str(pids), lives), ready_line="up")
        report = once(ChildSpec("c", body, grace=20), act)
    assert isinstance(report.exit, Stopped | Succeeded)
    (escaped,) = pids_in(pids)
    wait_gone([escaped])
    assert any(
        line.startswith(f"ended 1 processes that had left its group: {escaped} (")
        for line in heard.lines()
    )


def test_a_program_that_closes_its_pipes_lives_on() -> None:
    code = "import os, time; os.close(1); os.close(2); time.sleep(1000)"

    async def act(handle: ChildRunHandle[Any]) -> None:
        running = await handle.wait_ready()
        await trio.sleep(0.3)
        assert is_alive(running.pid)
        handle.request_stop("enough")

    report = once(ChildSpec("c", process(python(code)), grace=20), act)
    assert report.exit == Stopped("enough")


def test_a_cancel_from_outside_ends_the_program() -> None:
    pids: list[int] = []

    async def main() -> None:
        spec = ChildSpec("c", process(FOREVER), grace=1000)
        with trio.move_on_after(0.5):
            async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
                pids.append(supervisor.child(spec).value.pid)
                await trio.sleep_forever()

    run_real(main)
    assert not is_alive(pids[0])


def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    before = set(children_of(os.getpid())), open_files()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            from trio_supervisor._attempts.runner import ChildRunner

            for _ in range(5):
                handle = ChildRunner().spawn_once(nursery, ChildSpec("c", process(FOREVER)))
                await trio.testing.wait_all_tasks_blocked()
                handle.abort("at once")

    run_real(main)
    assert (set(children_of(os.getpid())), open_files()) == before


# ---- readiness


def test_ready_when_a_port_accepts_connections() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = (
        "import socket, time; time.sleep(0.3);"
        f"s = socket.create_server(('127.0.0.1', {port})); time.sleep(1000)"
    )
    for ready_port in (port, ("localhost", port)):
        body = process(python(code), ready_port=ready_port)
        report = once(ChildSpec("c", body, grace=20), stop_when_ready)
        assert report.exit == Stopped("enough")
        assert report.ready_at is not None
        assert report.ready_at - report.started_at > 0.3


def test_a_port_that_something_else_listens_on_is_not_taken_for_the_programs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        body = process(FOREVER, ready_port=other.getsockname()[1])
        error = failure(once(ChildSpec("c", body)))
    assert error.category == "start"
    assert "accepts connections before the program is started" in str(error)


def test_ready_when_a_unix_socket_accepts_connections(tmp_path: Path) -> None:
    code = (
        "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]);"
        "time.sleep(0.2); s.listen(); time.sleep(1000)"
    )
    path = tmp_path / "socket"
    body = process(python(code, str(path)), ready_socket=path)
    report = once(ChildSpec("c", body, grace=20), stop_when_ready)
    assert report.exit == Stopped("enough")
    assert report.ready_at is not None
    assert report.ready_at - report.started_at > 0.2
    with socket.socket(socket.AF_UNIX) as other:
        path.unlink()
        other.bind(str(path))
        other.listen()
        assert str(path) in str(failure(once(ChildSpec("c", body))))


@pytest.mark.parametrize("stream", ["", ">&2"])
def test_ready_when_a_line_matches(stream: str) -> None:
    script = f"echo starting {stream}; sleep 0.2; echo 'listening on 80' {stream}; sleep 1000"
    body = process(sh(script), ready_line=r"listening on \d+")
    report = once(ChildSpec("c", body, grace=20), stop_when_ready)
    assert report.exit == Stopped("enough")
    assert report.ready_at is not None
    assert report.ready_at - report.started_at > 0.2


def test_ready_when_a_file_is_made_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    body = process(sh(f"sleep 0.2; echo x > {path}; sleep 1000"), ready_file=path)
    for _ in range(2):  # the second time it is there already
        report = once(ChildSpec("c", body, grace=20), stop_when_ready)
        assert report.exit == Stopped("enough")
        assert report.ready_at is not None
        assert report.ready_at - report.started_at > 0.2


def test_a_program_that_is_never_ready_times_out() -> None:
    body = process(FOREVER, ready_line="never")
    exit_ = once(ChildSpec("c", body, start_timeout=0.2)).exit
    assert isinstance(exit_, TimedOut)
    assert exit_.phase == "start"


def test_a_program_that_ends_before_it_is_ready_has_failed() -> None:
    report = once(ChildSpec("c", process(sh("exit 3"), ready_line="never")))
    assert failure(report).exit_code == 3
    assert not report.became_ready


# ---- notifications

NOTIFY = """
import array, os, socket, sys, time
address = os.environ["NOTIFY_SOCKET"]
def say(text, *descriptors):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.connect("\\0" + address[1:])
    socket.send_fds(s, [text.encode()], descriptors)
    s.close()
def barrier():
    r, w = os.pipe()
    say("BARRIER=1", w)
    os.close(w)
    os.read(r, 1)
    os.close(r)
"""


def test_ready_and_heartbeats_by_notification_and_silence_ends_a_program() -> None:
    code = NOTIFY + (
        "time.sleep(0.2); say('READY=1\\nSTATUS=fine')\n"
        "assert os.environ['WATCHDOG_USEC'] == '1000000'\n"
        "for _ in range(4): time.sleep(0.4); say('WATCHDOG=1')\n"
        "time.sleep(1000)"
    )
    with Heard() as heard:
        body = process(python(code), notify=True)
        report = once(ChildSpec("c", body, stale_after=1, grace=20))
    assert isinstance(report.exit, Unhealthy)
    assert report.seconds > 2.4
    assert report.ready_at is not None
    assert report.ready_at - report.started_at > 0.2
    assert "status: fine" in heard.lines()


def test_a_program_that_is_stopped_like_a_job_is_silent_and_unhealthy() -> None:
    code = NOTIFY + "say('READY=1')\nwhile True: time.sleep(0.05); say('WATCHDOG=1')"

    async def act(handle: ChildRunHandle[Any]) -> None:
        running = await handle.wait_ready()
        await trio.sleep(1)
        assert handle.is_ready
        os.kill(running.pid, signal.SIGSTOP)

    report = once(
        ChildSpec("c", process(python(code), notify=True), stale_after=0.5, grace=20), act
    )
    assert isinstance(report.exit, Unhealthy)
    assert report.seconds < 10


def test_a_barrier_ends_when_all_before_it_has_had_its_effect() -> None:
    code = NOTIFY + "say('READY=1')\nbarrier()\nprint('through', flush=True)"
    with Heard() as heard:
        report = once(ChildSpec("c", process(python(code), notify=True)))
    assert report.exit == Succeeded(None)
    assert report.became_ready
    assert heard.lines() == ["through"]


def test_descriptors_that_are_sent_are_closed() -> None:
    code = NOTIFY + "say('READY=1\\nFDSTORE=1', *[0] * 200)\nbarrier()\ntime.sleep(1000)"

    async def act(handle: ChildRunHandle[Any]) -> None:
        await handle.wait_ready()
        await trio.sleep(0.2)
        assert open_files() < 100
        handle.request_stop("enough")

    report = once(ChildSpec("c", process(python(code), notify=True), grace=20), act)
    assert report.exit == Stopped("enough")


def test_a_helper_of_the_program_may_notify_and_a_stranger_may_not() -> None:
    addresses: list[str] = []

    async def act(handle: ChildRunHandle[Any]) -> None:
        await trio.sleep(0.5)
        pid = children_with("sleep 1000 # here")[0]
        environment = environment_of(pid)
        address = next(each for each in environment if each.startswith("NOTIFY_SOCKET=@"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.connect("\0" + address.partition("@")[2])
            stranger.send(b"READY=1")
        await trio.sleep(0.2)
        assert not handle.is_ready
        addresses.append(address)
        await handle.wait_ready()
        handle.request_stop("enough")

    helper = " ".join(f"'{part}'" for part in python("HELPER"))
    code = (NOTIFY + "say('READY=1')\nbarrier()").replace("'", '"')
    script = f"sleep 1.5; {helper.replace('HELPER', code)}; sleep 1000 # here"
    with Heard() as heard:
        report = once(ChildSpec("c", process(sh(script), notify=True), grace=20), act)
    assert report.exit == Stopped("enough")
    assert addresses
    assert any(f"notification of process {os.getpid()} ignored" in each for each in heard.lines())


def environment_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_text().split("\0")


def children_with(text: str) -> list[int]:
    return [
        pid
        for pid in children_of(os.getpid())
        if text in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    ]


def test_a_program_that_asks_to_be_restarted_has_failed() -> None:
    code = NOTIFY + "say('READY=1')\nbarrier()\nsay('WATCHDOG=trigger')\ntime.sleep(1000)"
    error = failure(once(ChildSpec("c", process(python(code), notify=True))))
    assert error.category == "watchdog"


def test_a_program_may_extend_its_start() -> None:
    code = NOTIFY + (
        "say('EXTEND_TIMEOUT_USEC=20000000')\ntime.sleep(1)\nsay('READY=1')\ntime.sleep(1000)"
    )
    spec = ChildSpec("c", process(python(code), notify=True), start_timeout=0.7, grace=20)
    assert once(spec, stop_when_ready).exit == Stopped("enough")


def test_what_a_program_said_right_before_its_end_counts() -> None:
    for _ in range(10):
        report = once(ChildSpec("c", process(python(NOTIFY + "say('READY=1')"), notify=True)))
        assert report.exit == Succeeded(None)
        assert report.became_ready


# ---- output


def test_lines_are_logged_with_path_stream_and_attempt() -> None:
    with Heard() as heard:
        once(ChildSpec("c", process(sh("echo one; echo two >&2; printf three"), output_level=10)))
    assert sorted(heard.lines()) == ["one", "three", "two"]
    found = {each.getMessage(): each for each in heard.records}
    fields: Any = found["c: two"]
    assert (fields.path, fields.attempt, fields.stream) == ("c", 1, "stderr")
    assert fields.levelno == logging.DEBUG
    assert fields.name == "trio_supervisor.output"
    assert found["c: one"].stream == "stdout"  # type: ignore[attr-defined]


def test_what_would_drive_a_terminal_is_made_visible() -> None:
    lines = output_of(sh(r"printf 'a\033[31mred\007\ttab\r\n\377\n'"))
    assert lines == ["a\\x1b[31mred\\x07  tab", "\ufffd"]


def test_a_long_line_is_cut_and_its_length_told() -> None:
    code = "import sys; sys.stdout.write('x' * 300_000 + '\\n' + 'y' * 5000 + '\\nz\\n')"
    lines = output_of(python(code))
    assert lines[0] == "x" * 4096 + " [and 295904 bytes more]"
    assert lines[1] == "y" * 4096 + " [and 904 bytes more]"
    assert lines[2] == "z"


def test_output_can_go_where_ours_goes_or_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    for output in ("inherit", "discard"):
        assert output_of(sh(f"echo {output}; echo {output} >&2"), output=output) == []
    assert capfd.readouterr() == ("inherit\n", "inherit\n")


@pytest.mark.parametrize("newlines", [True, False])
def test_a_flood_of_output_takes_bounded_memory_and_time(newlines: bool) -> None:
    size = int(SIZE * 1024**3)
    chunk = ("x" * 79 + "\\n") if newlines else "x" * 80
    code = f"import os\nb = b'{chunk}' * 4096\nfor _ in range({size} // len(b)): os.write(1, b)"
    most_late = 0.0

    async def act(handle: ChildRunHandle[Any]) -> None:
        nonlocal most_late
        await handle.wait_ready()
        while handle.report is None:
            began = time.monotonic()
            await trio.sleep(0.01)
            most_late = max(most_late, time.monotonic() - began)

    before = resident()
    with Heard() as heard:
        report = once(ChildSpec("c", process(python(code))), act)
    assert report.exit == Succeeded(None)
    assert resident() - before < 60 * 1024**2
    assert most_late < 2
    if newlines:
        dropped = [int(line.split()[0]) for line in heard.lines() if "lines of output" in line]
        logged = sum(line.startswith("xxx") for line in heard.lines())
        assert dropped
        assert sum(dropped) + logged == size // (80 * 4096) * 4096
    else:
        assert len(heard.lines()) == 1


def test_a_slow_log_does_not_stop_a_program() -> None:
    with Heard(slow=0.02) as heard:
        report = once(ChildSpec("c", process(python("for i in range(100_000): print(i)"))))
    assert report.exit == Succeeded(None)
    assert report.seconds < 20
    dropped = [int(line.split()[0]) for line in heard.lines() if "lines of output" in line]
    logged = [line for line in heard.lines() if line.isdecimal()]
    assert len(logged) + sum(dropped) == 100_000


def test_output_that_an_escaped_process_keeps_open_does_not_delay_the_end() -> None:
    code = "import os, time\nif os.fork() == 0: os.setsid(); time.sleep(1000)\nprint('up')"
    report = once(ChildSpec("c", process(python(code))))
    assert report.exit == Succeeded(None)
    assert report.seconds < 10


# ---- the exit status is never lost


def test_another_reaper_in_this_process_does_not_make_a_failure_a_success() -> None:
    over = threading.Event()

    def reap_all() -> None:
        while not over.is_set():
            try:
                os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                time.sleep(0.0001)

    thief = threading.Thread(target=reap_all)
    thief.start()
    try:
        errors = [failure(once(ChildSpec("c", process(sh("exit 3"))))) for _ in range(20)]
    finally:
        over.set()
        thief.join()
    # Newer kernels still tell what it was.
    assert {error.exit_code for error in errors} <= {3, None}
    for error in errors:
        assert error.category == ("exit" if error.exit_code == 3 else "lost")


def test_ignored_sigchld_does_not_make_a_failure_a_success() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        error = failure(once(ChildSpec("c", process(sh("exit 3")))))
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert error.category in ("exit", "lost")


# ---- this process ends, idles, repeats

SUPERVISING = """
import sys, trio
from trio_supervisor import ChildSpec, SupervisorSpec, open_supervisor
from trio_supervisor.children import process
async def main():
    children = [
        ChildSpec("plain", process([sys.executable, "-c", "import time; time.sleep(1000)"])),
        ChildSpec("pipe", process(["sh", "-c", "sleep 1000 | sleep 1000"])),
        ChildSpec("twice", process([sys.executable, "-c", *sys.argv[1:]], ready_line="up")),
    ]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        for name in ("plain", "pipe", "twice"):
            print(supervisor.child(name).value.pid, flush=True)
        print("all up", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


def descendants(pid: int) -> list[int]:
    found = children_of(pid)
    for each in found:
        found += children_of(each)
    return found


def test_everything_ends_when_this_process_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with Program(tmp_path, "-c", SUPERVISING, DAEMONIZE, str(pids), "1000") as program:
        program.wait_for("all up")
        deadline = time.monotonic() + 10
        while len(descendants(program.process.pid)) < 6 and time.monotonic() < deadline:
            time.sleep(0.01)
        everything = descendants(program.process.pid) + pids_in(pids)
        # Two programs alone, a shell with two more, one in a session of its own, and the shell
        # that ends them all.
        assert len(everything) == 7
        program.signal(signal.SIGKILL)
        program.ended()
        wait_gone(everything)


def test_the_shell_that_waits_for_our_end_is_replaced_when_it_is_killed(tmp_path: Path) -> None:
    from trio_supervisor.children import _guardian

    async def main() -> None:
        one, two = (ChildSpec(name, process(FOREVER), grace=20) for name in ("one", "two"))
        async with open_supervisor(SupervisorSpec("app", [one])) as supervisor:
            first = _guardian._shell
            assert first is not None
            first.kill()
            wait_gone([first.pid])
            await supervisor.start_child(two)
            second = _guardian._shell
            assert second is not None
            assert second.pid != first.pid
            os.kill(second.pid, signal.SIGSTOP)
        assert not is_alive(second.pid)

    before = children_of(os.getpid())
    run_real(main)
    assert children_of(os.getpid()) == before


def test_without_a_shell_programs_run_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from trio_supervisor.children import _guardian

    monkeypatch.setattr(_guardian, "_shell_missing", False)
    monkeypatch.setenv("PATH", "")
    with Heard() as heard:
        report = once(ChildSpec("c", process(FOREVER), grace=20), stop_when_ready)
    assert report.exit == Stopped("enough")
    assert any("if this process is killed" in line for line in heard.lines())


@pytest.mark.parametrize("seconds", [2])
def test_a_healthy_program_outlives_idle_threads(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Trio's worker threads end after ten idle seconds, and a parent-death signal fires when the
    # thread that forked ends. With a shorter time the trap shows without a wait of a minute.
    from trio._core import _thread_cache

    monkeypatch.setattr(_thread_cache, "IDLE_TIMEOUT", 0.1)

    async def act(handle: ChildRunHandle[Any]) -> None:
        running = await handle.wait_ready()
        await trio.sleep(seconds)
        assert is_alive(running.pid)
        handle.request_stop("enough")

    assert once(ChildSpec("c", process(FOREVER), grace=20), act).exit == Stopped("enough")


async def block_a_thread(over: threading.Event) -> None:
    await trio.to_thread.run_sync(over.wait)


def test_an_application_that_uses_all_threads_keeps_no_program_alive() -> None:
    over = threading.Event()
    before = children_of(os.getpid())

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(int(trio.to_thread.current_default_thread_limiter().total_tokens)):
                nursery.start_soon(block_a_thread, over)
            await trio.testing.wait_all_tasks_blocked()
            async with open_supervisor(SupervisorSpec("app", [ChildSpec("c", process(FOREVER))])):
                pass
            assert children_of(os.getpid()) <= before
            over.set()

    try:
        run_real(main, limit=20)
    finally:
        over.set()


def test_many_starts_and_stops_leave_nothing() -> None:
    cycles = max(int(1000 * SIZE), 10)
    spec = ChildSpec(
        "c", process(sh("echo up; sleep 1000 | sleep 1000"), ready_line="up"), grace=20
    )

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [])) as supervisor:
            for _ in range(cycles):
                handle = await supervisor.start_child(spec)
                pids.append(handle.value.pid)
                await supervisor.remove_child(handle.name)

    pids: list[int] = []
    once(spec, stop_when_ready)
    before = children_of(os.getpid()), open_files(), threading.active_count()
    run_real(main, limit=600)
    assert len(pids) == cycles
    assert not any(map(is_alive, pids))
    assert (children_of(os.getpid()), open_files()) == before[:2]
    assert threading.active_count() <= before[2] + 2


def test_a_program_that_cannot_have_a_descriptor_is_not_left_behind(tmp_path: Path) -> None:
    code = """
import os, resource, sys, trio
from trio_supervisor import ChildSpec
from trio_supervisor._attempts.runner import ChildRunner
from trio_supervisor.children import process
async def main():
    await ChildRunner().run_once(ChildSpec("c", process(["true"])))
    held = []
    limit = len(os.listdir("/proc/self/fd")) + 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    kinds = set()
    while True:
        try:
            held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            break
    while held:
        report = await ChildRunner().run_once(ChildSpec("c", process(["sleep", "0.01"])))
        kinds.add(report.exit.kind)
        assert report.exit.kind == "succeeded" or "Too many open files" in repr(report)
        os.close(held.pop())
    print(sorted(kinds), os.listdir(f"/proc/self/task/{os.getpid()}"), flush=True)
    children = [open(f"/proc/self/task/{t}/children").read() for t in os.listdir("/proc/self/task")]
    print("children:", "".join(children).split())
trio.run(main)
"""
    with Program(tmp_path, "-c", code) as program:
        assert program.ended() == 0, program.err
        assert "['failed', 'succeeded']" in program.out
        assert program.out.endswith("children: []\n")


# ---- declarations


def test_programs_that_are_declared_alike_are_equal() -> None:
    one = process(["a", Path("b")], env={"x": "1", "a": None}, ok_codes=[1, 0])
    assert one == process(("a", "b"), env={"a": None, "x": "1"}, ok_codes=(0, 1))
    assert one != process(["a", "c"], env={"x": "1", "a": None}, ok_codes=[1, 0])
    assert repr(process(["/usr/bin/redis-server"])) == "process(redis-server)"
    assert process(["a"], ready_port=80) == process(["a"], ready_port=("127.0.0.1", 80))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"command": "sleep 5"}, r"command='sleep 5': expected a list"),
        ({"command": []}, r"command=\[\]"),
        ({"command": ["a", 3]}, r"command=\['a', 3\]"),
        ({"command": [""]}, "a program in its first place"),
        ({"command": 3}, "command=3"),
        ({"ready_port": 0}, "ready_port=0"),
        ({"ready_port": "80"}, "ready_port='80'"),
        ({"ready_port": 80, "ready_line": "x"}, "ready_line='x': expected nothing beside"),
        ({"ready_line": "("}, "a regular expression"),
        ({"ready_line": "x", "output": "discard"}, "output='log' beside it"),
        ({"stop_signal": signal.SIGKILL}, "stop_signal="),
        ({"stop_signal": 1000}, "stop_signal=1000"),
        ({"ok_codes": [256]}, "ok_codes="),
        ({"output": "file"}, "output='file'"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_declared(
    options: dict[str, Any], match: str
) -> None:
    with pytest.raises(SpecError, match=match):
        process(**{"command": ["a"], **options})


def test_silence_needs_notifications() -> None:
    with pytest.raises(SpecError, match="stale_after"):
        ChildSpec("c", process(["a"]), stale_after=1)


def test_a_platform_without_process_descriptors_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from trio_supervisor import SupervisorError

    monkeypatch.delattr(os, "pidfd_open")
    with pytest.raises(SupervisorError, match=r"process\(\) needs process descriptors"):
        process(["a"])


def test_behaviours_take_the_place_of_programs_in_virtual_time() -> None:
    spec = SupervisorSpec("app", [ChildSpec("db", process(["postgres"], ready_port=5432))])
    tree = with_bodies(spec, {"db": Behaviour(ready_at=3, value="db")})

    async def main() -> None:
        began = trio.current_time()
        async with open_supervisor(tree) as supervisor:
            assert trio.current_time() - began == 3
            assert supervisor.child("db").value == "db"

    run_virtual(main)
