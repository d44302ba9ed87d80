"""What a daemon says to systemd, over a real datagram socket; sockets that it is handed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import closing
from signal import SIGHUP, SIGTERM
from typing import TYPE_CHECKING

import pytest
import trio
from helpers.processes import Program, wait_until
from helpers.service_manager import Manager

from trio_supervisor import SpecError, SupervisorSpec, open_supervisor
from trio_supervisor.daemon import listener
from trio_supervisor.daemon._notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers.daemons import Start

linux = pytest.mark.skipif(sys.platform != "linux", reason="systemd is for Linux only")
pytestmark = linux


@pytest.fixture(params=["path", "abstract"])
def manager(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Manager]:
    address = (
        f"{tmp_path}/n" if request.param == "path" else f"@test/{os.getpid()}/{time.time_ns()}"
    )
    made = Manager(address)
    yield made
    made.close()


OBEDIENT = """
    async def look(child):
        import os
        ours = ("NOTIFY", "WATCHDOG", "LISTEN", "FDSTORE")
        say([name for name in os.environ if name.startswith(ours)])
        await obedient(child)
    run(SupervisorSpec("app", [ChildSpec("a", look)]), control=False)
"""


def test_ready_status_and_stopping_are_said_and_nothing_is_inherited(
    start: Start, manager: Manager
) -> None:
    given = {"LISTEN_FDS": "0", "LISTEN_PID": "1", "FDSTORE": "3"}
    program = start(OBEDIENT, NOTIFY_SOCKET=manager.address, **given)
    manager.wait_for("READY=1")
    manager.wait_for("STATUS=1 of 1 ready")
    program.signal(SIGTERM)
    assert program.ended() == 0
    assert any(each.startswith("STATUS=stopping: SIGTERM") for each in manager.fields)
    assert manager.fields.count("STOPPING=1") == manager.fields.count("READY=1") == 1
    assert program.out.startswith("[]\n")


def test_the_status_says_what_is_wrong(start: Start, manager: Manager) -> None:
    start(
        """
        run(SupervisorSpec("app", [
            ChildSpec("good", obedient),
            SupervisorSpec("pool", [ChildSpec("bad", crash, TaskFailure("no … route"), 0.1,
                backoff=BackoffPolicy.delays(1000))]),
        ]), control=False)
    """,
        NOTIFY_SOCKET=manager.address,
    )
    manager.wait_for("STATUS=1 of 2 ready; pool/bad backing off ")
    told = next(field for field in manager.fields if "backing off" in field)
    assert re.search(r"backing off \d+s \(1/10\): .*no … route", told), told


def test_the_watchdog_is_fed_at_half_its_interval_and_no_more(
    start: Start, manager: Manager
) -> None:
    program = start(OBEDIENT, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="400000")
    manager.wait_for("READY=1")
    time.sleep(2)
    fed = manager.fields.count("WATCHDOG=1")
    program.signal(SIGTERM)
    assert program.ended() == 0
    assert 3 <= fed <= 16


def test_the_watchdog_of_another_process_is_not_ours(start: Start, manager: Manager) -> None:
    program = start(OBEDIENT, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="1", WATCHDOG_PID="1")
    manager.wait_for("READY=1")
    program.signal(SIGTERM)
    assert program.ended() == 0
    assert "WATCHDOG=1" not in manager.fields


def test_a_blocked_loop_does_not_feed_the_watchdog(start: Start, manager: Manager) -> None:
    start(
        """
        async def block(child):
            await trio.sleep(0.5)
            say("blocking")
            time.sleep(1000)
        run(SupervisorSpec("app", [ChildSpec("a", block)]), control=False)
    """,
        NOTIFY_SOCKET=manager.address,
        WATCHDOG_USEC="200000",
    ).wait_for("blocking")
    before = manager.fields.count("WATCHDOG=1")
    time.sleep(0.5)
    assert manager.fields.count("WATCHDOG=1") == before


def test_an_unresponsive_child_triggers_the_watchdog(start: Start, manager: Manager) -> None:
    start(
        """
        async def main(child):
            await child.supervisor.stop_child("mule")
        run(SupervisorSpec("app", [ChildSpec("mule", stubborn, 1000, grace=0.1),
                                   ChildSpec("stops", main)], report_after=0.1), control=False)
    """,
        NOTIFY_SOCKET=manager.address,
        WATCHDOG_USEC="400000",
    )
    manager.wait_for("WATCHDOG=trigger")
    fed = manager.fields.count("WATCHDOG=1")
    time.sleep(0.6)
    assert manager.fields.count("WATCHDOG=1") == fed


def test_a_start_and_a_stop_that_come_further_ask_for_time(start: Start, manager: Manager) -> None:
    program = start(
        """
        async def slow_start(child):
            await trio.sleep(0.7)
            child.ready()
            await child.wait_stop_requested()
            await trio.sleep(0.7)
        run(SupervisorSpec("app", [
            ChildSpec(name, slow_start, readiness="explicit", grace=5) for name in "abc"
        ]), control=False)
    """,
        NOTIFY_SOCKET=manager.address,
    )
    manager.wait_for("READY=1")
    assert "EXTEND_TIMEOUT_USEC=15000000" in manager.fields
    before = manager.fields.count("EXTEND_TIMEOUT_USEC=15000000")
    program.signal(SIGTERM)
    assert program.ended() == 0
    assert manager.fields.count("EXTEND_TIMEOUT_USEC=15000000") > before


def test_time_in_good_health_resets_the_managers_own_backoff(
    start: Start, manager: Manager
) -> None:
    start(
        """
        run(SupervisorSpec("app", [
            ChildSpec("a", obedient, backoff=BackoffPolicy(reset_after=0.5))
        ]), control=False)
    """,
        NOTIFY_SOCKET=manager.address,
    )
    manager.wait_for("RESTART_RESET=1")


def test_hanging_up_ends_in_ready_again(start: Start, manager: Manager) -> None:
    program = start(
        """
        run(lambda: SupervisorSpec("app", [ChildSpec("a", obedient)]), control=False)
    """,
        NOTIFY_SOCKET=manager.address,
    )
    manager.wait_for("READY=1")
    program.signal(SIGHUP)
    manager.wait_for("RELOADING=1")
    (datagram,) = (each for each in manager.collect() if "RELOADING=1" in each)
    assert datagram[1].startswith("MONOTONIC_USEC=")
    wait_until(lambda: manager.fields.count("READY=1") == 2, lambda: str(manager.datagrams))


def test_a_manager_that_is_gone_or_full_harms_nobody(start: Start, manager: Manager) -> None:
    # Never read from: after a few hundred datagrams the socket is full.
    program = start(
        """
        async def main(child):
            from trio_supervisor.daemon import _listen
            notifier = _listen.manager[0]
            say("full:", not all(notifier.send(f"STATUS={n}") for n in range(100_000)))
            await obedient(child)
        run(SupervisorSpec("app", [ChildSpec("a", main)]), control=False)
    """,
        NOTIFY_SOCKET=manager.address,
    )
    program.wait_for("full: True")
    manager.socket.close()
    program.signal(SIGTERM)
    assert program.ended() == 0


def test_an_address_that_is_none_is_said_once(start: Start, tmp_path: Path) -> None:
    for address in ("nonsense", "vsock:1", f"{tmp_path}/nothing"):
        program = start(OBEDIENT, NOTIFY_SOCKET=address)
        program.wait_for("app is up")
        program.signal(SIGTERM)
        assert program.ended() == 0
        assert program.err.count("the service manager cannot be reached") == 1


@pytest.mark.skipif(not hasattr(socket, "AF_VSOCK"), reason="this Python knows no vsock")
@pytest.mark.parametrize("kind", ["vsock-stream", "vsock-seqpacket", "vsock"])
def test_a_vsock_address_is_connected_to(kind: str) -> None:
    stream = socket.SOCK_STREAM if kind == "vsock-stream" else socket.SOCK_SEQPACKET
    local = 1  # VMADDR_CID_LOCAL
    with socket.socket(socket.AF_VSOCK, stream) as listening:
        try:
            listening.bind((local, socket.VMADDR_PORT_ANY))
            listening.listen()
        except OSError:  # no loopback for vsock here: the attempt to connect is all there is to see
            with pytest.raises(OSError, match=r"^(?!.*expected)"):
                Notifier(f"{kind}:{local}:1234")
            return
        address = f"{kind}:{local}:{listening.getsockname()[1]}"
        with closing(Notifier(address)) as notifier:
            assert notifier.send("READY=1")
            with listening.accept()[0] as accepted:
                assert accepted.recv(100) == b"READY=1"


def test_a_barrier_is_over_when_the_manager_has_closed_its_copy(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    assert not notifier.barrier(0.05)
    manager.collect()
    os.close(manager.files.pop())
    import threading

    def answer() -> None:
        wait_until(lambda: manager.collect() and manager.files, lambda: "nothing came")
        os.close(manager.files.pop())

    thread = threading.Thread(target=answer)
    thread.start()
    assert notifier.barrier(10)
    thread.join()
    notifier.close()


def test_no_value_can_smuggle_a_field_in(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    assert notifier.send("STATUS=a\nMAINPID=1", "X=\udc80")
    assert manager.collect() == [["STATUS=a MAINPID=1", "X=?"]]
    notifier.close()


@pytest.mark.skipif(
    shutil.which("systemd-notify") is None, reason="systemd-notify is not installed"
)
def test_we_speak_as_systemds_own_client_does(manager: Manager) -> None:
    environment = os.environ | {"NOTIFY_SOCKET": manager.address}
    subprocess.run(
        ["systemd-notify", "--no-block", "--ready", "--status=x"], env=environment, check=True
    )
    theirs = set(manager.collect()[0])
    notifier = Notifier(manager.address)
    notifier.send("READY=1", "STATUS=x")
    notifier.close()
    assert theirs == set(manager.collect()[-1])


# ---------------------------------------------------------------- sockets


SERVE = """
    import os
    from trio_supervisor.daemon import listener
    os.environ["LISTEN_PID"] = str(os.getpid())
    HTTP = ChildSpec("http", listener("http"{more}), on_limit="escalate",
                     backoff=BackoffPolicy.delays(0))
    async def serve(child):
        listeners = child.value(HTTP)
        say("listens", len(listeners))
        async def answer(stream):
            await stream.send_all(b"%d" % child.attempt)
            await stream.aclose()
        mine = [trio.SocketListener(each.socket.dup()) for each in listeners]
        await trio.serve_listeners(answer, mine)
    run(SupervisorSpec("app", [HTTP, ChildSpec("web", serve, requires=())]), control=False)
"""


def start_with(listening: socket.socket, tmp_path: Path) -> Program:
    """Start the server as a service manager does that hands a listening socket over."""
    from textwrap import dedent

    from helpers.daemons import PREAMBLE

    script = tmp_path / "script.py"
    # The number of the first is 3 by definition.
    setup = "import os\nos.dup2(int(os.environ['THE_SOCKET']), 3)\n"
    script.write_text(setup + PREAMBLE + dedent(SERVE.format(more="")))
    environment = {
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "http",
        "THE_SOCKET": str(listening.fileno()),
    }
    descriptors = (listening.fileno(),)
    return Program(
        tmp_path, str(script), cwd=tmp_path, environment=environment, descriptors=descriptors
    )


def test_a_socket_that_was_handed_over_is_a_value_for_children(tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with start_with(listening, tmp_path) as program:
            program.wait_for("listens 1")
            with socket.create_connection(listening.getsockname(), timeout=10) as client:
                assert client.recv(10) == b"1"
            program.signal(SIGTERM)
            assert program.ended() == 0


def test_no_client_is_refused_between_two_processes(
    start: Start, manager: Manager, tmp_path: Path
) -> None:
    first = start(
        SERVE.format(more=", host='127.0.0.1', port=0, keep=True"),
        NOTIFY_SOCKET=manager.address,
        FDSTORE="8",
    )
    first.wait_for("listens 1")
    manager.wait_for("FDSTORE=1")
    with socket.socket(fileno=manager.files.pop()) as kept:
        first.signal(SIGTERM)
        assert first.ended() == 0
        # No process serves now: each of these connections waits for the next one.
        clients = [socket.create_connection(kept.getsockname(), timeout=10) for _ in range(20)]
        (tmp_path / "second").mkdir()
        with start_with(kept, tmp_path / "second") as second:
            for client in clients:
                assert client.recv(10) == b"1"
                client.close()
            second.signal(SIGTERM)
            assert second.ended() == 0


def test_without_a_socket_and_a_port_the_child_fails_with_a_sentence(start: Start) -> None:
    program = start(SERVE.format(more=""))
    assert program.ended() == 3
    assert "no socket named 'http' was handed over" in program.err


def test_a_socket_that_was_opened_here_is_given_to_the_manager_to_keep(
    start: Start, manager: Manager
) -> None:
    program = start(
        SERVE.format(more=", host='127.0.0.1', port=0, keep=True"),
        NOTIFY_SOCKET=manager.address,
        FDSTORE="8",
    )
    program.wait_for("listens 1")
    manager.wait_for("FDSTORE=1")
    assert {"FDNAME=http", "FDPOLL=0"} <= set(manager.fields)
    (kept,) = manager.files
    manager.files.clear()
    with socket.socket(fileno=kept) as same:
        # It goes on listening although the process is gone.
        program.process.kill()
        program.process.wait()
        with socket.create_connection(same.getsockname(), timeout=10):
            same.accept()[0].close()


@pytest.mark.parametrize("room", [{}, {"FDSTORE": "0"}, {"FDSTORE": "many"}])
def test_a_manager_without_room_for_files_is_sent_none(
    start: Start, manager: Manager, room: dict[str, str]
) -> None:
    program = start(
        SERVE.format(more=", host='127.0.0.1', port=0, keep=True"),
        NOTIFY_SOCKET=manager.address,
        **room,
    )
    program.wait_for("listens 1")
    manager.wait_for("READY=1")
    program.signal(SIGTERM)
    assert program.ended() == 0
    assert "FDSTORE=1" not in manager.fields
    assert manager.files == []
    assert "the service manager does not keep the sockets http: it keeps 0 files" in program.err


def test_a_listener_outlives_its_child() -> None:
    spec = SupervisorSpec("app", [])

    async def main() -> None:
        from trio_supervisor import ChildSpec

        child = ChildSpec("socket", listener("test-outlives", host="127.0.0.1", port=0))
        async with open_supervisor(spec) as tree:
            handle = await tree.start_child(child)
            (first,) = await handle.wait_ready()
            address = first.socket.getsockname()
            await tree.restart_child("socket")
            (second,) = await handle.wait_ready()
            assert second.socket.getsockname() == address
            stream = await trio.open_tcp_stream(*address)
            await (await second.accept()).aclose()
            await stream.aclose()

    trio.run(main)


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "a:b"},
        {"name": ""},
        {"name": "é"},
        {"name": "x" * 256},
        {"name": 1},
        {"name": "a", "host": "b"},
        {"name": "a", "port": 70000},
        {"name": "a", "port": "1"},
        {"name": "a", "keep": "no"},
    ],
)
def test_a_listener_that_cannot_work_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(SpecError):
        listener(**arguments)  # type: ignore[arg-type]
