"""The control socket: what each verb does, and that no client and no bug can hurt the tree."""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_real

from control.kit import APP, Raw, ask, in_thread, ready, serving_tree
from trio_supervisor import (
    CommandAccepted,
    CommandHadNoEffect,
    SupervisorError,
    SupervisorSnapshot,
    SupervisorSpec,
    event_from_dict,
    fold,
    open_supervisor,
)
from trio_supervisor.control import (
    ControlClient,
    ControlError,
    DaemonUnreachable,
    ProtocolError,
    SocketInUse,
    UnsafeDirectory,
    _connection,
    _peer,
    _reading,
    open_control,
    paths,
)
from trio_supervisor.control import server as server_module
from trio_supervisor.control._listening import SocketFile, open_default, stale_sockets
from trio_supervisor.control.protocol import MAX_LINE

if TYPE_CHECKING:
    from pathlib import Path

    from trio_supervisor import Supervisor
    from trio_supervisor.control import ControlServer


def with_tree(tmp_path: Path, body: Any, spec: SupervisorSpec = APP, **options: Any) -> None:
    async def main() -> None:
        async with serving_tree(tmp_path, spec, **options) as (supervisor, server):
            await body(supervisor, server)
            assert supervisor.state().state == "running", "the tree was harmed"

    run_real(main)


async def until_gone(server: ControlServer) -> None:
    with trio.fail_after(60):
        while server._connections:  # noqa: ASYNC110 - the server has no event for this
            await trio.sleep(0.01)


async def never(child: Any) -> None:
    await trio.sleep_forever()


async def refused(code: str, server: ControlServer, verb: str, **args: Any) -> ControlError:
    with pytest.raises(ControlError) as caught:
        await ask(server, verb, **args)
    assert caught.value.code == code
    return caught.value


# ---------------------------------------------------------------- verbs


def test_every_write_is_an_event_of_its_operator(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        for verb, state in (
            ("stop", "stopped"),
            ("start", "ready"),
            ("restart", "ready"),
            ("quarantine", "quarantined"),
            ("quarantine", "quarantined"),
            ("remove", "removed"),
        ):
            answer = await ask(server, verb, names=["web"], reason=f"to {verb}")
            assert answer["children"][0]["state"] == state
        accepted = [e for e in supervisor.journal if isinstance(e, CommandAccepted)]
        assert [(e.command, e.reason) for e in accepted] == [
            ("stop", "to stop"),
            ("restart", "to start"),
            ("restart", "to restart"),
            ("quarantine", "to quarantine"),
            ("remove", "to remove"),
        ]
        (idle,) = [e for e in supervisor.journal if isinstance(e, CommandHadNoEffect)]
        assert idle.command == "quarantine"
        commands: list[Any] = [*accepted, idle]
        for event in commands:
            assert (event.uid, event.pid) == (os.getuid(), os.getpid())
            assert event.user

    with_tree(tmp_path, body)


def test_commands_of_the_program_itself_have_no_operator(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        await supervisor.stop_child("web")
        await supervisor.stop_child("web")
        commands = [e for e in supervisor.journal if isinstance(e, CommandAccepted)]
        assert [(e.user, e.uid, e.pid) for e in commands] == [("", None, None)]

    with_tree(tmp_path, body)


def test_names_are_paths_suffixes_and_patterns(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        async def dry(*names: str) -> list[str]:
            answer = await ask(server, "stop", names=list(names), dry_run=True)
            return [child["path"] for child in answer["children"]]

        assert await dry("app/web") == await dry("web") == ["app/web"]
        assert await dry("a") == await dry("pool/a") == ["app/pool/a"]
        assert await dry("pool/*") == await dry("app/pool/*") == ["app/pool/a", "app/pool/web-2"]
        assert await dry("*/web*", "web") == ["app/web", "app/pool/web-2"]
        error = await refused("no_such_child", server, "stop", names=["wep"])
        assert error.candidates == ("app/web",)
        assert error.exit_code == 4
        await refused("no_such_child", server, "stop", names=["../web"])
        await refused("no_such_child", server, "stop", names=["__class__"])
        await refused("no_such_child", server, "stop", names=["nothing/*"])
        await refused("bad_request", server, "stop", names=[])
        assert supervisor.state().child("web").state == "ready"

    with_tree(tmp_path, body)


def test_a_suffix_of_several_lists_them(tmp_path: Path) -> None:
    spec = SupervisorSpec(
        "app", [SupervisorSpec("n", [ready("x")]), SupervisorSpec("m", [ready("x")])]
    )

    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        error = await refused("ambiguous", server, "restart", names=["x"])
        assert error.candidates == ("app/n/x", "app/m/x")
        assert (await ask(server, "restart", names=["n/x"]))["children"][0]["attempt"] == 2

    with_tree(tmp_path, body, spec)


def test_the_tree_comes_with_windows_and_heartbeats(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        await ask(server, "wait", names=["feed"], states=["backing_off"])
        tree = await ask(server, "tree")
        assert SupervisorSnapshot.from_dict(tree) == supervisor.state()
        feed = tree["children"][1]
        assert 3500 < feed["starts_in"] <= 3600
        part = await ask(server, "tree", names=["pool/*"])
        assert [child["path"] for child in part["children"]] == ["app/pool/a", "app/pool/web-2"]

    with_tree(tmp_path, body)


def test_conditions(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        await ask(server, "wait", names=["feed"], states=["backing_off"])
        answer = await ask(server, "ready")
        assert not answer["ready"]
        assert [each["path"] for each in answer["missing"]] == ["app/feed"]
        assert "gone" in answer["missing"][0]["why"]
        assert (await ask(server, "ready", names=["pool"]))["ready"]
        supervisor.start_child_soon(ready("late", never))
        await trio.sleep(0.05)
        assert [m["path"] for m in (await ask(server, "ready"))["missing"]] == ["app/feed"]
        assert not (await ask(server, "ready", names=["late"]))["ready"]
        assert (await ask(server, "live")) == {"live": True, "unresponsive": []}
        error = await refused("timed_out", server, "wait", names=["feed"], timeout=0.05)
        assert error.exit_code == 124
        await supervisor.stop_child("web")
        error = await refused("not_met", server, "wait", names=["web"], states=["ready"])
        assert error.exit_code == 3

    with_tree(tmp_path, body)


def test_events_can_be_folded_resumed_and_followed(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        def stream(count: int, **args: Any) -> list[Any]:
            with ControlClient(server.path) as client:
                items = []
                for item in client.stream("events", **args):
                    items.append(item)
                    if len(items) == count:
                        break
                return items

        await ask(server, "wait", names=["feed"], states=["backing_off"])
        start, *events = await in_thread(lambda: stream(10_000))
        state = SupervisorSnapshot.from_dict(start["snapshot"])
        for event in events:
            state = fold(state, event_from_dict(event))
        assert state == supervisor.state()
        last = supervisor.journal.last_sequence
        start, *events = await in_thread(lambda: stream(100, since=last - 3))
        assert start["sequence"] == last - 3
        assert [event["sequence"] for event in events] == [last - 2, last - 1, last]
        start, *events = await in_thread(lambda: stream(100, limit=2, names=["feed"]))
        assert {event["path"] for event in events} == {"app/feed"}
        found: list[Any] = []

        async def follow() -> None:
            found.extend(await in_thread(lambda: stream(3, follow=True, since=last)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await trio.sleep(0.2)
            await supervisor.stop_child("web", reason="now")
        assert found[1]["event"] == "CommandAccepted"

    with_tree(tmp_path, body)


def test_events_that_are_no_longer_kept_are_counted(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            open_supervisor(APP, journal=5) as supervisor,
            open_control(supervisor, str(tmp_path / "s")) as server,
        ):
            items = await server.request("events", since=0)
            last = supervisor.journal.last_sequence
            assert items[0] == {"schema": 1, "gap": last - 5}
            assert items[1]["sequence"] == last - 5
            assert [event["sequence"] for event in items[2:]] == list(range(last - 4, last + 1))

    run_real(main)


def test_log_lines_belong_to_the_child_that_wrote_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def talk(child: Any) -> None:
        logging.getLogger("mine").warning("hello\x1b[2J %s", child.name)
        child.ready()
        await trio.sleep_forever()

    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        await refused("refused", server, "logs")
        server.keep_log(logging.root)
        await supervisor.restart_child("web")
        items = await server.request("logs", names=["web"])
        ours = [item for item in items if item["logger"] == "mine"]
        assert [item["message"] for item in ours] == ["hello?[2J web"]
        assert any("ready" in item["message"] for item in items)

    with_tree(tmp_path, body, SupervisorSpec("app", [ready("web", talk)]))


def test_stacks_show_where_children_are(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        answer = await ask(server, "stacks", names=["pool"])
        assert [child["path"] for child in answer["children"]] == ["app/pool/a", "app/pool/web-2"]
        assert "in idle()" in answer["children"][0]["tasks"][0]

    with_tree(tmp_path, body)


def test_commands_work_while_children_hang(tmp_path: Path) -> None:
    async def main() -> None:
        release = trio.Event()

        async def hang(child: Any) -> None:
            child.ready()
            with trio.CancelScope(shield=True):
                await release.wait()

        spec = SupervisorSpec("app", [ready("web"), ready("stuck", hang, grace=0)])
        async with serving_tree(tmp_path, spec) as (_, server):
            await refused("timed_out", server, "stop", names=["stuck"], timeout=0.05)
            answer = await ask(server, "stop", names=["stuck"], wait=False)
            assert answer["children"][0]["state"] == "stopping"
            assert (await ask(server, "restart", names=["web"]))["children"][0]["attempt"] == 2
            assert (await ask(server, "shutdown", wait=False, reason="enough"))["supervisor"]
            assert (await ask(server, "tree"))["state"] == "stopping"
            release.set()
            report = (await ask(server, "shutdown"))["report"]
            assert report["cause"] == "shutdown"
            assert report["reason"] == "enough"

    run_real(main)


def test_before_the_tree_there_is_an_answer_and_after_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_control(None, str(tmp_path / "s")) as server:
            await refused("refused", server, "tree")
            async with open_supervisor(APP) as supervisor:
                server.attach(supervisor)
                assert (await ask(server, "tree"))["state"] == "running"
            assert (await ask(server, "tree"))["state"] == "finished"

    run_real(main)


def test_requests_of_the_program_itself_need_no_socket(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        assert (await server.request("ping")) == {"tree": "app"}
        assert (await server.request("names", limit=2))["names"] == ["app/web", "app/feed"]
        with pytest.raises(ProtocolError):
            await server.request("evil")

    with_tree(tmp_path, body)


# ---------------------------------------------------------------- attacks over the wire


def test_what_is_no_request_is_answered_and_the_next_one_works(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        def attack() -> None:
            evil = [
                b"nonsense",
                b"{}",
                b'{"v": 9, "verb": "tree"}',
                b'{"v": 1, "verb": "../../etc/passwd"}',
                b'{"v": 1, "verb": "__init__"}',
                b'{"v": 1, "verb": "os.system", "args": {"command": "true"}}',
                b'{"v": 1, "verb": "tree", "args": {"_shell": 1}}',
                b"GET / HTTP/1.1",
                b"\x00\xff" * 10,
                b"[" * 50_000,
            ]
            with Raw(server.path) as client:
                for line in evil:
                    client.send(line + b"\n")
                    assert client.answer()["ok"] is False
                client.send(b'{"v": 1, "id": 5, "verb": "ping"}\n')
                assert client.answer()["data"] == {"tree": "app"}

        await in_thread(attack)

    with_tree(tmp_path, body)


def test_a_gigabyte_without_a_newline_is_told_off_and_cut(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        def attack() -> None:
            with Raw(server.path) as client:
                sent, piece = 0, b"x" * (1 << 20)
                try:
                    for _ in range(1024):
                        client.send(piece)
                        sent += len(piece)
                except OSError:
                    pass
                assert sent < 1 << 24, "it went on reading"
                answer = client.answer()
                assert answer is None or answer["error"]["code"] == "too_long"

        await in_thread(attack)
        await in_thread(lambda: too_long(server.path))

    def too_long(path: str) -> None:
        with Raw(path) as client:
            client.send(b"x" * (MAX_LINE + 1))
            assert client.answer()["error"]["code"] == "too_long"
            assert client.answer() is None

    with_tree(tmp_path, body)


def test_ten_thousand_connections_leave_room_for_the_operator(tmp_path: Path) -> None:
    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        def attack() -> tuple[int, int]:
            busy = reached = 0
            held = [Raw(server.path) for _ in range(32)]
            for client in held:
                client.send(b'{"v": 1, "verb": "ping"}\n')
                assert client.answer()["ok"]
            for _ in range(10_000):
                with Raw(server.path) as client:
                    reached += 1
                    busy += client.answer()["error"]["code"] == "busy"
            for client in held:
                client.__exit__()
            return reached, busy

        assert await in_thread(attack) == (10_000, 10_000)
        await until_gone(server)
        assert (await ask(server, "ping")) == {"tree": "app"}

    with_tree(tmp_path, body)


def test_a_client_that_never_writes_is_told_and_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_connection, "READ_TIMEOUT", 0.1)

    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        def attack(beginning: bytes) -> None:
            with Raw(server.path) as client:
                client.send(beginning)
                assert client.answer()["error"]["code"] == "timed_out"
                assert client.answer() is None

        await in_thread(lambda: attack(b""))
        await in_thread(lambda: attack(b'{"v": 1,'))

    with_tree(tmp_path, body)


def test_a_client_that_never_reads_is_dropped_and_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_connection, "SEND_TIMEOUT", 0.2)
    many = SupervisorSpec("app", [ready(f"c{n}") for n in range(500)])

    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        deaf = [Raw(server.path) for _ in range(10)]
        for client in deaf:
            await in_thread(partial(client.send, b'{"v": 1, "verb": "tree"}\n' * 10))
        for client in deaf[:5]:
            follow = b'{"v": 1, "verb": "events", "args": {"follow": true}}\n'
            await in_thread(partial(client.send, follow))
        with trio.fail_after(20):
            await supervisor.restart_child("c7")
        await until_gone(server)
        for client in deaf:
            client.__exit__()

    with_tree(tmp_path, body, many)


def test_a_slow_reader_of_events_is_told_what_it_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trio_supervisor.control import _streams

    monkeypatch.setattr(_streams, "_BUFFER", 10)

    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        with Raw(server.path) as client:
            client.send(b'{"v": 1, "verb": "events", "args": {"follow": true}}\n')
            await trio.sleep(0.1)
            for _ in range(1000):
                await supervisor.restart_child("web", reason="x" * 4000)

            def read() -> int:
                missed: int = 0
                last = supervisor.journal.last_sequence
                while True:
                    item: dict[str, Any] = client.answer()["item"]
                    missed += int(item.get("gap", 0))
                    if item.get("sequence") == last and "event" in item:
                        return missed

            assert await in_thread(read) > 100

    with_tree(tmp_path, body)


def test_a_client_that_goes_away_while_it_waits_leaves_the_command(tmp_path: Path) -> None:
    async def main() -> None:
        release = trio.Event()

        async def stubborn(child: Any) -> None:
            child.ready()
            with trio.CancelScope(shield=True):
                await release.wait()

        spec = SupervisorSpec("app", [ready("web", stubborn, grace=0)])
        async with serving_tree(tmp_path, spec) as (supervisor, server):
            with Raw(server.path) as client:
                client.send(b'{"v": 1, "verb": "stop", "args": {"names": ["web"]}}\n')
                await supervisor.child("web").wait_state("stopping")
            await until_gone(server)
            release.set()
            await supervisor.child("web").wait_state("stopped")

    run_real(main)


# ---------------------------------------------------------------- who may do what


def test_a_group_may_look_but_not_touch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        mode = (tmp_path / "s").stat().st_mode
        assert stat.S_IMODE(mode) == 0o660
        stranger = _peer.Peer(1, 4711, 4712, "bob", may_read=True, may_write=False)
        monkeypatch.setattr(server_module, "peer_of", lambda credentials, group: stranger)
        assert (await ask(server, "tree"))["state"] == "running"
        error = await refused("not_allowed", server, "stop", names=["web"])
        assert error.exit_code == 6
        monkeypatch.setattr(
            server_module,
            "peer_of",
            lambda credentials, group: _peer.Peer(1, 4711, 4712, "bob", False, False),
        )
        await refused("not_allowed", server, "tree")
        assert supervisor.state().child("web").state == "ready"

    with_tree(tmp_path, body, group=os.getgid())


def test_rights_follow_from_user_and_group() -> None:
    own, other = os.geteuid(), 65_533
    assert _peer.peer_of((1, own, 0), None).may_write
    assert _peer.peer_of((1, 0, 0), None).may_write
    stranger = _peer.peer_of((1, other, 4711), None)
    assert (stranger.may_read, stranger.may_write, stranger.user) == (False, False, "65533")
    member = _peer.peer_of((1, other, 4711), 4711)
    assert (member.may_read, member.may_write) == (True, False)


AS_ANOTHER = """
import os, socket, sys
os.setgid(65533); os.setuid(65533)
client = socket.socket(socket.AF_UNIX)
try:
    client.connect(sys.argv[1])
except PermissionError:
    print("refused by the kernel")
else:
    print(client.makefile().readline())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_cannot_connect_and_is_told_if_it_could(tmp_path: Path) -> None:
    def as_another(path: str) -> str:
        command = [sys.executable, "-I", "-c", AS_ANOTHER, path]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        for directory in (tmp_path, *tmp_path.parents):
            if stat.S_IMODE(directory.stat().st_mode) & 0o111 != 0o111:
                directory.chmod(directory.stat().st_mode | 0o111)
        assert await in_thread(lambda: as_another(server.path)) == "refused by the kernel\n"
        (tmp_path / "s").chmod(0o666)
        answer = json.loads(await in_thread(lambda: as_another(server.path)))
        assert answer["error"]["code"] == "not_allowed"

    with_tree(tmp_path, body)


# ---------------------------------------------------------------- the socket's file


def test_the_socket_is_private_from_birth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = socket.socket.listen

    def listen(self: socket.socket, backlog: int) -> None:
        seen.append(stat.S_IMODE((tmp_path / "s").stat().st_mode))
        real(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", listen)
    before = os.umask(0)
    try:
        SocketFile(str(tmp_path / "s")).close()
    finally:
        os.umask(before)
    assert seen == [0o600]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.lock"]


def test_a_second_daemon_does_not_take_the_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    first = SocketFile(path)
    for _ in range(3):
        with pytest.raises(SocketInUse, match="another daemon"):
            SocketFile(path)
    probe = socket.socket(socket.AF_UNIX)
    probe.connect(path)  # the first one still listens there
    probe.close()
    first.close()
    SocketFile(path).close()


def test_a_stale_socket_does_not_block_the_start(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.close()
    held = SocketFile(path)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(path)
    held.close()
    assert not (tmp_path / "s").exists()


def test_a_socket_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        with pytest.raises(SocketInUse, match="another process listens"):
            SocketFile(path)
        assert (tmp_path / "s").is_socket()


@pytest.mark.parametrize("kind", ["file", "directory", "link", "dangling"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "s", tmp_path / "target"
    match kind:
        case "file":
            path.write_text("precious")
        case "directory":
            path.mkdir()
        case "link":
            target.write_text("precious")
            path.symlink_to(target)
        case "dangling":
            path.symlink_to(target)
    with pytest.raises(SocketInUse, match="is not a socket"):
        SocketFile(str(path))
    assert os.path.lexists(path)
    assert kind not in {"file", "link"} or path.read_text() == "precious"
    assert kind != "dangling" or not target.exists()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "s.lock").symlink_to(target)
    with pytest.raises(SocketInUse, match="symbolic link"):
        SocketFile(str(tmp_path / "s"))
    assert not target.exists()


def test_a_path_that_is_too_long_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(SocketInUse, match="at most 107 bytes"):
        SocketFile(str(tmp_path / ("x" * 120)))


def test_a_socket_that_was_replaced_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    file = SocketFile(str(path))
    path.unlink()
    path.write_text("another's")
    file.close()
    assert path.read_text() == "another's"


def test_where_sockets_lie(tmp_path: Path) -> None:
    where = paths.directory_of_sockets
    assert where({"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/x"}) == "/run/a"
    assert where({"XDG_RUNTIME_DIR": "/run/user/7"}) == "/run/user/7/trio-supervisor"
    assert where({"XDG_RUNTIME_DIR": "relative"}) == where({})
    assert where({}) not in {"/tmp", "/tmp/"}
    assert paths.file_name_of("../etc/x y") == "___etc_x_y.sock"


@pytest.mark.parametrize("trap", ["link", "file", "writable"])
def test_a_directory_that_others_prepared_is_not_used(
    tmp_path: Path, trap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "trio-supervisor"
    match trap:
        case "link":
            directory.symlink_to(tmp_path)
        case "file":
            directory.write_text("")
        case "writable":
            directory.mkdir()
            directory.chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    with pytest.raises(UnsafeDirectory):
        open_default("app")
    assert paths.sockets_of_user() == []


def test_the_only_daemon_of_a_user_needs_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.delenv(paths.VARIABLE, raising=False)
    dead = socket.socket(socket.AF_UNIX)

    def request() -> Any:
        with ControlClient() as client:
            return client.request("ping")

    async def main() -> None:
        with pytest.raises(DaemonUnreachable, match="no daemon of this user answers"):
            await in_thread(request)
        async with open_supervisor(APP) as one, open_control(one) as server:
            assert server.path == str(tmp_path / "trio-supervisor" / "app.sock")
            dead.bind(str(tmp_path / "trio-supervisor" / "dead.sock"))
            dead.close()
            assert await in_thread(request) == {"tree": "app"}
            async with open_control(one) as second:
                assert second.path.endswith(f"app-{os.getpid()}.sock")
                with pytest.raises(DaemonUnreachable, match="several daemons run"):
                    await in_thread(request)
                monkeypatch.setenv(paths.VARIABLE, second.path)
                assert await in_thread(request) == {"tree": "app"}
                monkeypatch.delenv(paths.VARIABLE)
            assert [path.rpartition("/")[2] for path in stale_sockets()] == ["dead.sock"]

    run_real(main)


# ---------------------------------------------------------------- bugs of our own


def test_a_bug_in_a_verb_is_answered_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(_reading, "read", broken)

    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        with Raw(server.path) as client:
            for _ in range(2):  # the connection lives on
                await in_thread(lambda: client.send(b'{"v": 1, "verb": "tree"}\n'))
                error = (await in_thread(client.answer))["error"]
                assert error["code"] == "failed"
                assert "ZeroDivisionError" in error["message"]

    with_tree(tmp_path, body)
    assert "the tree is not concerned" in caplog.text


def test_a_server_that_crashes_is_restarted_and_the_tree_does_not_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = trio.socket.from_stdlib_socket
    crashes = 3

    def broken(sock: socket.socket) -> Any:
        nonlocal crashes
        if crashes:
            crashes -= 1
            sock.close()
            raise ZeroDivisionError("a bug")
        return real(sock)

    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        assert (await ask(server, "ping")) == {"tree": "app"}
        assert crashes == 0

    async def main() -> None:
        async with (
            open_supervisor(APP) as supervisor,
            open_control(supervisor, str(tmp_path / "s")) as server,
        ):
            monkeypatch.setattr(trio.socket, "from_stdlib_socket", broken)
            for task in tasks_named("control/server"):
                for nursery in task.child_nurseries:
                    nursery.cancel_scope.cancel()  # the server's child ends
            await body(supervisor, server)

    def tasks_named(name: str) -> list[Any]:
        found, pending = [], [trio.lowlevel.current_root_task()]
        while pending:
            task = pending.pop()
            assert task is not None
            if task.name.startswith(name):
                found.append(task)
            for nursery in task.child_nurseries:
                pending.extend(nursery.child_tasks)
        return found

    run_real(main)
    assert caplog.text.count("ZeroDivisionError: a bug") == 3


def test_a_server_whose_supervisor_breaks_down_leaves_the_block_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from trio_supervisor._runtime.shell import Shell

    real = Shell.carry_out

    def broken(self: Shell, orders: Any, now: float) -> None:
        if self.path == "control" and self.machine.is_started:
            raise ZeroDivisionError("a bug of the collector")
        real(self, orders, now)

    async def main() -> str:
        async with open_supervisor(APP) as supervisor:
            async with open_control(supervisor, str(tmp_path / "s")):
                monkeypatch.setattr(Shell, "carry_out", broken)
                await trio.sleep(0.1)
            assert supervisor.state().state == "running"
            return "unharmed"

    assert run_real(main) == "unharmed"
    assert "the control socket has broken down, the tree goes on" in caplog.text
    assert "ZeroDivisionError: a bug of the collector" in caplog.text


def test_an_error_of_the_block_gets_through_as_it_is(tmp_path: Path) -> None:
    error = KeyError("mine")

    async def main() -> None:
        async with (
            open_supervisor(APP) as supervisor,
            open_control(supervisor, str(tmp_path / "s")),
        ):
            raise error

    with pytest.raises(KeyError) as caught:
        run_real(main)
    assert caught.value is error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.lock"]


def test_a_group_that_does_not_exist_is_said() -> None:
    async def main() -> None:
        async with open_control(None, "/nonexistent/s", group="no such group"):
            raise AssertionError("it was entered")

    with pytest.raises(SupervisorError, match="no group"):
        trio.run(main)


# ---------------------------------------------------------------- pace


def test_a_large_tree_is_shown_without_holding_up_the_loop(tmp_path: Path) -> None:
    many = SupervisorSpec("app", [ready(f"c{n}") for n in range(3000)])

    async def body(supervisor: Supervisor, server: ControlServer) -> None:
        worst = 0.0

        async def beat() -> None:
            nonlocal worst
            last = time.perf_counter()
            while True:
                await trio.sleep(0.001)
                now = time.perf_counter()
                worst, last = max(worst, now - last), now

        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat)
            for _ in range(3):
                assert len((await ask(server, "tree"))["children"]) == 3000
            nursery.cancel_scope.cancel()
        assert worst < 5  # seconds; it takes milliseconds, but the machine may be busy

    with_tree(tmp_path, body, many)
