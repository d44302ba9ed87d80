"""`accepting`: connections as children, from the first to the last of very many."""

from __future__ import annotations

import errno
import gc
import os
import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.children import SIZE, open_files
from helpers.support import run_real, run_virtual

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildExited,
    ChildSpec,
    SpecError,
    Supervisor,
    SupervisorClosed,
    SupervisorSpec,
    open_supervisor,
)
from trio_supervisor._events.exits import Crashed, Stopped
from trio_supervisor.children import Connections, accepting, plain
from trio_supervisor.children._accepting import _Starting
from trio_supervisor.testing import Behaviour, with_bodies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

LOCAL = "127.0.0.1"


async def shout(child: ChildContext, stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data.upper())


async def hold(child: ChildContext, stream: trio.SocketStream) -> None:
    await stream.send_all(b"in")
    await trio.sleep_forever()


def serve(
    handler: Any,
    act: Callable[[Supervisor, Connections], Awaitable[object]],
    *,
    run: Any = run_real,
    spec_options: Any = None,
    **options: Any,
) -> None:
    """Run a server in a tree while ``act(tree, connections)`` does things to it."""
    if "listeners" not in options:
        options = {"port": 0, "host": LOCAL} | options
    spec = ChildSpec("web", accepting(handler, **options), **(spec_options or {"grace": 5}))

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
            await act(supervisor, supervisor.child(spec).value)

    run(main)


async def connect(connections: Connections) -> trio.SocketStream:
    return await trio.open_tcp_stream(LOCAL, connections.port)


async def is_closed(stream: trio.abc.ReceiveStream) -> bool:
    """Whether the other side has closed it, after what it may have said."""
    try:
        while await stream.receive_some() == b"in":
            pass
        return True
    except trio.BrokenResourceError:
        return True


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.001)


# ---- one connection


def test_each_connection_is_a_child_named_after_its_peer() -> None:
    async def act(tree: Supervisor, web: Connections) -> None:
        stream = await connect(web)
        host, port = stream.socket.getsockname()
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"HELLO"
        name = f"{host}:{port}"
        (name_there,) = web.supervisor.children
        assert name_there == name
        assert web.supervisor.child(name).path == f"app/web/connections/{name}"
        assert name in tree.state().render()
        assert (web.open, web.accepted, web.refused) == (1, 1, 0)
        assert repr(web) == "<Connections open=1 accepted=1 refused=0>"
        await stream.aclose()
        await until(lambda: not web.supervisor.children)
        assert web.open == 0

    serve(shout, act)


def test_a_crash_is_the_business_of_one_connection() -> None:
    async def crash(child: ChildContext, stream: trio.SocketStream) -> None:
        if await stream.receive_some() == b"crash":
            raise OSError("handler")
        await trio.sleep_forever()

    async def act(tree: Supervisor, web: Connections) -> None:
        one, two = await connect(web), await connect(web)
        await two.send_all(b"live")
        await one.send_all(b"crash")
        assert await is_closed(one)
        await until(lambda: len(web.supervisor.children) == 1)
        (left,) = web.supervisor.children
        assert left.endswith(f":{two.socket.getsockname()[1]}")
        assert tree.child("web").attempt == 1
        three = await connect(web)
        await three.send_all(b"live")
        await until(lambda: web.open == 2)
        for stream in (one, two, three):
            await stream.aclose()

    serve(crash, act, spec_options={"grace": 0})


def test_a_stream_is_closed_when_its_handler_has_returned() -> None:
    async def greet(child: ChildContext, stream: trio.SocketStream) -> None:
        await stream.send_all(b"hello")

    async def act(tree: Supervisor, web: Connections) -> None:
        stream = await connect(web)
        assert await stream.receive_some() == b"hello"
        assert await stream.receive_some() == b""
        await stream.aclose()

    serve(greet, act)


def test_an_operator_stops_one_connection() -> None:
    async def act(tree: Supervisor, web: Connections) -> None:
        one, two = await connect(web), await connect(web)
        assert await one.receive_some() == await two.receive_some() == b"in"
        name = "{}:{}".format(*one.socket.getsockname())
        await web.supervisor.stop_child(name)
        assert await is_closed(one)
        assert web.open == 1
        for stream in (one, two):
            await stream.aclose()

    serve(hold, act, spec_options={"grace": 0})


@pytest.mark.parametrize("limit", ["max_runtime", "stale_after"])
def test_connections_have_limits(limit: str) -> None:
    async def act(tree: Supervisor, web: Connections) -> None:
        stream = await connect(web)
        assert await stream.receive_some() == b"in"
        assert await is_closed(stream)
        await stream.aclose()

    serve(hold, act, spec_options={"grace": 0}, **{limit: 0.1})


def test_ipv6_unix_and_tls_streams_have_names(tmp_path: Path) -> None:
    async def open_unix() -> list[trio.SocketListener]:
        listening = trio.socket.socket(socket.AF_UNIX)
        await listening.bind(str(tmp_path / "socket"))
        listening.listen()
        return [trio.SocketListener(listening)]

    async def unix(tree: Supervisor, web: Connections) -> None:
        async with await trio.open_unix_socket(tmp_path / "socket") as stream:
            assert await stream.receive_some() == b"in"
            assert list(web.supervisor.children) == ["connection-1"]
        with pytest.raises(ValueError, match="no port"):
            _ = web.port

    serve(hold, unix, listeners=open_unix, spec_options={"grace": 0})

    async def six(tree: Supervisor, web: Connections) -> None:
        async with await trio.open_tcp_stream("::1", web.port) as stream:
            assert await stream.receive_some() == b"in"
            assert next(iter(web.supervisor.children)).startswith("[::1]:")

    serve(hold, six, host="::1", spec_options={"grace": 0})

    async def open_tls() -> Any:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        return await trio.open_ssl_over_tcp_listeners(0, context, host=LOCAL)

    async def wait(child: ChildContext, stream: trio.SSLStream[trio.SocketStream]) -> None:
        await trio.sleep_forever()

    async def tls(tree: Supervisor, web: Connections) -> None:
        stream = await connect(web)
        await until(lambda: web.supervisor.children)
        assert next(iter(web.supervisor.children)).startswith(f"{LOCAL}:")
        await web.supervisor.stop_child(next(iter(web.supervisor.children)))
        assert await is_closed(stream)
        await stream.aclose()

    serve(wait, tls, listeners=open_tls, spec_options={"grace": 0})


def test_two_connections_of_one_name_are_told_apart() -> None:
    """As when a port is used again before its first child is forgotten."""

    class Twice(trio.abc.Listener[Any]):
        def __init__(self) -> None:
            self.pairs = [trio.testing.memory_stream_pair() for _ in range(3)]
            self.left = [Named(each[0]) for each in self.pairs]

        async def accept(self) -> Any:
            await trio.lowlevel.checkpoint()
            if not self.left:
                await trio.sleep_forever()
            return self.left.pop()

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    class Named(trio.abc.AsyncResource):
        class socket:
            @staticmethod
            def getpeername() -> tuple[str, int]:
                return "198.51.100.1", 7

        def __init__(self, stream: Any) -> None:
            self.stream = stream

        async def aclose(self) -> None:
            await self.stream.aclose()

    async def wait(child: ChildContext, stream: Any) -> None:
        await trio.sleep_forever()

    async def act(tree: Supervisor, web: Connections) -> None:
        await until(lambda: web.open == 3)
        peer = "198.51.100.1:7"
        assert sorted(web.supervisor.children) == [peer, f"{peer}-2", f"{peer}-3"]

    listener = Twice()
    serve(wait, act, run=run_virtual, listeners=[listener], spec_options={"grace": 0})
    for _, other in listener.pairs:
        assert run_virtual(other.receive_some) == b""


# ---- limits


@pytest.mark.parametrize("listeners", [1, 2])
def test_when_full_clients_wait(listeners: int) -> None:
    async def open_them() -> list[trio.SocketListener]:
        return [(await trio.open_tcp_listeners(0, host=LOCAL))[0] for _ in range(listeners)]

    async def act(tree: Supervisor, web: Connections) -> None:
        ports = [each.socket.getsockname()[1] for each in web.listeners]  # type: ignore[attr-defined]
        streams = [await trio.open_tcp_stream(LOCAL, ports[n % listeners]) for n in range(6)]
        await until(lambda: web.open == 3)
        await trio.sleep(0.05)
        assert (web.open, web.accepted, web.refused) == (3, 3, 0)
        for number, stream in enumerate(streams):
            with trio.fail_after(10):
                assert await stream.receive_some() in (b"in", b"")
            await stream.aclose()
            await web.supervisor.stop_child(next(iter(web.supervisor.children)))
            del number
        await until(lambda: web.accepted == 6)
        assert web.refused == 0

    async def hold_until_gone(child: ChildContext, stream: trio.SocketStream) -> None:
        await stream.send_all(b"in")
        await stream.receive_some()

    serve(
        hold_until_gone,
        act,
        listeners=open_them,
        max_children=3,
        spec_options={"grace": 0},
    )


def test_when_full_clients_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    async def act(tree: Supervisor, web: Connections) -> None:
        inside = [await connect(web) for _ in range(3)]
        for stream in inside:
            assert await stream.receive_some() == b"in"
        outside = [await connect(web) for _ in range(5)]
        for stream in outside:
            assert await is_closed(stream)
        assert (web.open, web.accepted, web.refused) == (3, 3, 5)
        await inside[0].aclose()
        await web.supervisor.stop_child("{}:{}".format(*inside[1].socket.getsockname()))
        late = await connect(web)
        assert await late.receive_some() == b"in"
        for stream in (*inside, *outside, late):
            await stream.aclose()

    serve(hold, act, max_children=3, when_full="refuse", spec_options={"grace": 0})
    told = [each.getMessage() for each in caplog.records if "refused" in each.getMessage()]
    assert told == [
        "app/web: refused 1 connections: 3 are open",
        f"app/web: refused 4 connections: {told[1].split()[-3]} are open",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("when_full", ["wait", "refuse"])
def test_very_many_connections(when_full: Any) -> None:
    """All of them are served or refused, none is lost, and nothing is left."""
    count = int(10_000 * max(SIZE, 0.1))
    most = count // 10
    served = refused = largest = 0

    async def answer(child: ChildContext, stream: trio.SocketStream) -> None:
        nonlocal largest
        largest = max(largest, len(present))
        present.add(child.name)
        async for data in stream:
            await stream.send_all(data)
            break
        present.discard(child.name)

    present: set[str] = set()

    async def client(web: Connections, limit: trio.CapacityLimiter) -> None:
        nonlocal served, refused
        async with limit:
            stream = await connect(web)
            async with stream:
                try:
                    await stream.send_all(b"x")
                    if await stream.receive_some() == b"x":
                        served += 1
                        return
                except trio.BrokenResourceError:
                    pass
            refused += 1

    async def act(tree: Supervisor, web: Connections) -> None:
        limit = trio.CapacityLimiter(2 * most)
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(client, web, limit)
        await until(lambda: not web.open)
        assert web.accepted + web.refused == count
        assert web.accepted >= served
        await until(lambda: not web.supervisor.children)

    gc.collect()
    before = open_files()
    serve(answer, partial(act), max_children=most, when_full=when_full, backlog=4096, run=run_long)
    assert largest <= most
    assert open_files() == before
    if when_full == "wait":
        assert served == count
    else:
        assert 0 < served <= count


run_long = partial(run_real, limit=600)


def test_connections_that_are_not_read_leave_others_alone() -> None:
    async def flood(child: ChildContext, stream: trio.SocketStream) -> None:
        if await stream.receive_some() == b"flood":
            while True:
                await stream.send_all(b"x" * 65536)
        await stream.send_all(b"fine")

    async def act(tree: Supervisor, web: Connections) -> None:
        deaf = [await connect(web) for _ in range(20)]
        for stream in deaf:
            await stream.send_all(b"flood")
        async with await connect(web) as other:
            await other.send_all(b"?")
            assert await other.receive_some() == b"fine"
        began = trio.current_time()
        await tree.shutdown("enough")
        assert trio.current_time() - began < 3
        for stream in deaf:
            await stream.aclose()

    serve(flood, act, spec_options={"grace": 1})


# ---- start and stop


def test_a_stop_refuses_first_and_lets_connections_finish() -> None:
    async def answer_slowly(child: ChildContext, stream: trio.SocketStream) -> None:
        question = await stream.receive_some()
        await trio.sleep(0.3)
        assert child.stop_requested
        await stream.send_all(question.upper())

    async def act(tree: Supervisor, web: Connections) -> None:
        port = web.port
        stream = await connect(web)
        await stream.send_all(b"hello")
        await until(lambda: web.open)
        await trio.sleep(0.05)
        tree.request_shutdown("enough")
        await trio.sleep(0.05)
        with pytest.raises(OSError, match="all attempts"):
            await trio.open_tcp_stream(LOCAL, port)
        assert await stream.receive_some() == b"HELLO"
        await stream.aclose()
        await tree.wait_finished()
        last = tree.child("web").last_report
        assert last is not None
        assert last.exit == Stopped("enough")

    serve(answer_slowly, act, spec_options={"grace": 20})


def test_connections_are_cut_off_at_the_end_of_the_grace() -> None:
    async def act(tree: Supervisor, web: Connections) -> None:
        stream = await connect(web)
        assert await stream.receive_some() == b"in"
        began = trio.current_time()
        await tree.shutdown("enough")
        assert 0.2 < trio.current_time() - began < 5
        assert await is_closed(stream)
        await stream.aclose()

    serve(hold, act, spec_options={"grace": 0.3})


def test_a_cancel_from_outside_closes_everything() -> None:
    streams: list[trio.SocketStream] = []
    gc.collect()
    before = open_files()

    async def act(tree: Supervisor, web: Connections) -> None:
        for _ in range(5):
            streams.append(await connect(web))
            assert await streams[-1].receive_some() == b"in"
        streams.append(await connect(web))  # not accepted yet, or in its first step
        scope.cancel()
        await trio.sleep_forever()

    scope = trio.CancelScope()

    async def main() -> None:
        spec = ChildSpec("web", accepting(hold, port=0, host=LOCAL), grace=1000)
        with scope:
            async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
                await act(supervisor, supervisor.child(spec).value)
        for stream in streams:
            assert await is_closed(stream)
            await stream.aclose()

    run_real(main)
    assert open_files() == before


def test_connections_whose_child_never_begins_are_closed() -> None:
    """The tree ends in the very tick in which they are accepted."""

    async def never(child: ChildContext, stream: Any) -> None:
        raise AssertionError("it has begun")

    class Sudden(trio.abc.Listener[Any]):
        def __init__(self, count: int) -> None:
            self.pairs = [trio.testing.memory_stream_pair() for _ in range(count)]
            self.left = [each[0] for each in self.pairs]
            self.tree: Supervisor | None = None

        async def accept(self) -> Any:
            await trio.lowlevel.checkpoint()
            if self.tree is None or not self.left:
                await trio.sleep_forever()
            stream = self.left.pop()
            if not self.left:
                assert self.tree is not None
                self.tree.request_shutdown("now", grace=False)
            return stream

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    async def main(listener: Sudden) -> None:
        spec = ChildSpec("web", accepting(hold, [listener]))
        async with open_supervisor(SupervisorSpec("app", []), wait_ready=False) as supervisor:
            listener.tree = supervisor
            supervisor.start_child_soon(spec)
            await supervisor.wait_finished()

    for count in (1, 2, 5):
        listener = Sudden(count)
        run_virtual(main, listener)
        for _, other in listener.pairs:
            data = run_virtual(other.receive_some)
            assert data in (b"", b"in")  # closed, in any case


class Given(trio.abc.Listener[Any]):
    """Gives one stream, when it is told to."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.ours, self.theirs = trio.testing.memory_stream_pair()
        self.may = trio.Event()
        self.stubborn = False
        if at_once:
            self.may.set()

    async def accept(self) -> Any:
        with trio.CancelScope(shield=self.stubborn):
            await self.may.wait()
        self.may = trio.Event()
        self.stubborn = False
        return self.ours

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("room", [False, True])
def test_a_connection_that_waits_for_its_turn_gets_it_or_is_closed(room: bool) -> None:
    pair = Given(), Given()
    heard: list[bytes] = []

    async def listen(given: Given) -> None:
        heard.append(b"" + await given.theirs.receive_some())

    async def act(tree: Supervisor, web: Connections) -> None:
        async with trio.open_nursery() as nursery:
            for given in pair:
                nursery.start_soon(listen, given)
            await trio.testing.wait_all_tasks_blocked()
            assert (web.open, web.accepted, heard) == (1, 1, [b"in"])
            if room:
                await web.supervisor.stop_child(next(iter(web.supervisor.children)))
            else:
                tree.request_shutdown("enough")
        assert heard == [b"in", b"in" if room else b""]

    options: Any = {"max_children": 1, "spec_options": {"grace": 0}}
    serve(hold, act, run=run_virtual, listeners=list(pair), **options)


def test_a_connection_that_comes_with_the_stop_is_closed() -> None:
    late = Given(at_once=False)
    late.stubborn = True

    async def act(tree: Supervisor, web: Connections) -> None:
        tree.request_shutdown("enough")
        await trio.sleep(1)
        late.may.set()
        await tree.wait_finished()
        assert web.accepted == 0

    serve(hold, act, run=run_virtual, listeners=[late], spec_options={"grace": 5})
    assert run_virtual(late.theirs.receive_some) == b""


def test_a_pool_that_is_shut_down_by_hand_ends_the_attempt() -> None:
    late = Given(at_once=False)

    async def act(tree: Supervisor, web: Connections) -> None:
        await web.supervisor.shutdown("by hand")
        late.may.set()
        await until_there(tree)
        last = tree.child("web").last_report
        assert last is not None
        assert isinstance(last.exit, Crashed)
        assert last.exit.has(SupervisorClosed)

    async def until_there(tree: Supervisor) -> None:
        while tree.child("web").last_report is None:  # noqa: ASYNC110
            await trio.sleep(0.01)

    serve(hold, act, run=run_virtual, listeners=[late], spec_options={"grace": 5})
    assert run_virtual(late.theirs.receive_some) == b""


def test_a_connection_whose_child_has_vanished_is_closed_later() -> None:
    """As when it was stopped by name before its first step."""
    listener = Given(at_once=False)
    ours, theirs = trio.testing.memory_stream_pair()

    async def act(tree: Supervisor, web: Connections) -> None:
        web._run._starting["vanished"] = _Starting(ours, trio.current_time())
        web._run.open += 1
        for _ in range(3):
            assert web.open == 1
            await trio.sleep(2)
            listener.ours, listener.theirs = trio.testing.memory_stream_pair()
            listener.may.set()
            await trio.testing.wait_all_tasks_blocked()
            await web.supervisor.stop_child(next(iter(web.supervisor.children)))
            if web.open == 0:
                break
        assert await theirs.receive_some() == b""

    serve(hold, act, run=run_virtual, listeners=[listener], spec_options={"grace": 0})


def test_a_server_that_crashes_listens_again_and_given_listeners_stay_open() -> None:
    class Broken(trio.abc.Listener[Any]):
        def __init__(self, inner: trio.SocketListener) -> None:
            self.inner = inner
            self.calls = 0

        async def accept(self) -> Any:
            self.calls += 1
            if self.calls == 2:
                raise OSError(errno.EIO, "broken")
            return await self.inner.accept()

        async def aclose(self) -> None:
            await self.inner.aclose()

    async def main() -> None:
        (inner,) = await trio.open_tcp_listeners(0, host=LOCAL)
        port = inner.socket.getsockname()[1]
        body = accepting(shout, [Broken(inner)])
        spec = ChildSpec("web", body, backoff=BackoffPolicy.delays(0.01))
        async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
            one = await trio.open_tcp_stream(LOCAL, port)
            assert await is_closed(one)
            await one.aclose()
            async with await trio.open_tcp_stream(LOCAL, port) as two:
                await two.send_all(b"again")
                assert await two.receive_some() == b"AGAIN"
            assert supervisor.child(spec).attempt == 2
            last = supervisor.child(spec).last_report
            assert last is not None
            assert isinstance(last.exit, Crashed)
        assert inner.socket.fileno() >= 0
        await inner.aclose()

    run_real(main)


def test_a_lack_of_descriptors_is_told_and_passes(caplog: pytest.LogCaptureFixture) -> None:
    class Poor(trio.abc.Listener[Any]):
        def __init__(self) -> None:
            self.calls = 0
            self.ours, self.theirs = trio.testing.memory_stream_pair()

        async def accept(self) -> Any:
            await trio.lowlevel.checkpoint()
            self.calls += 1
            if self.calls <= 3:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            if self.calls == 4:
                return self.ours
            return await trio.sleep_forever()

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    poor = Poor()

    async def act(tree: Supervisor, web: Connections) -> None:
        assert await poor.theirs.receive_some() == b"in"

    serve(hold, act, run=run_virtual, listeners=[poor], spec_options={"grace": 0})
    told = [each.getMessage() for each in caplog.records if "cannot accept" in each.getMessage()]
    assert told == ["app/web: cannot accept: Too many open files; trying again"] * 3


def test_a_port_that_is_in_use_fails_the_start() -> None:
    with socket.create_server((LOCAL, 0)) as other:
        port = other.getsockname()[1]

        async def act(tree: Supervisor, web: Connections) -> None:
            raise AssertionError("it has started")

        with pytest.raises(Exception, match="app/web failed to start") as caught:
            serve(hold, act, port=port)
        assert isinstance(caught.value.__cause__, OSError)


def test_the_pool_belongs_to_the_tree() -> None:
    async def act(tree: Supervisor, web: Connections) -> None:
        stream = await connect(web)
        assert await stream.receive_some() == b"in"
        paths = {event.path for event in tree.journal}
        name = "{}:{}".format(*stream.socket.getsockname())
        assert f"app/web/connections/{name}" in paths
        await stream.aclose()

    serve(hold, act, spec_options={"grace": 0})


@pytest.mark.parametrize("level", ["warning", "info", "error"])
def test_the_log_is_quiet_about_connections_unless_they_crash(
    level: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash_if_told(child: ChildContext, stream: trio.SocketStream) -> None:
        if await stream.receive_some() == b"crash":
            raise OSError("handler")

    async def act(tree: Supervisor, web: Connections) -> None:
        for word in (b"fine", b"crash"):
            async with await connect(web) as stream:
                await stream.send_all(word)
                assert await is_closed(stream)
            await until(lambda: not web.supervisor.children)
        assert tree._shell.tree.log.levels

    with caplog.at_level("DEBUG", "trio_supervisor"):
        serve(crash_if_told, act, log_level=level)
    told = [each.getMessage() for each in caplog.records if "connections/" in each.getMessage()]
    assert sum("crashed" in each for each in told) == (level != "error")
    assert sum("ready" in each for each in told) == (2 if level == "info" else 0)
    assert any("app/web ready" in each.getMessage() for each in caplog.records)


# ---- declarations


@pytest.mark.parametrize(
    ("arguments", "options", "match"),
    [
        ((hold,), {}, "listeners=None: expected listeners or a port"),
        ((hold, 80), {"port": 80}, "port=80: expected nothing beside listeners"),
        ((hold, [1]), {}, r"listeners=\[1\]: expected Trio listeners"),
        ((hold, []), {}, r"listeners=\[\]"),
        ((hold, 3.5), {}, "listeners=3.5"),
        ((hold,), {"port": 65536}, "port=65536"),
        ((hold,), {"port": "80"}, "port='80'"),
        ((hold, trio.open_tcp_listeners), {"host": "x"}, "host='x'"),
        ((hold, trio.open_tcp_listeners), {"backlog": 3}, "backlog=3"),
        ((hold, 80), {"max_children": 0}, "max_children=0"),
        ((hold, 80), {"max_children": True}, "max_children=True"),
        ((hold, 80), {"when_full": "drop", "max_children": 3}, "when_full='drop'"),
        ((hold, 80), {"when_full": "refuse"}, "max_children beside it"),
        ((hold, 80), {"max_runtime": 0}, "max_runtime=0"),
        ((hold, 80), {"log_level": "loud"}, "log_level='loud'"),
        ((hold, 80), {"stale_after": "x"}, "stale_after='x'"),
        ((plain(trio.sleep, 1), 80), {}, "not an adapter"),
        (("x", 80), {}, "accepting"),
        ((trio.sleep_forever, 80), {}, "sleep_forever"),
    ],
)
def test_what_cannot_work_is_refused(arguments: Any, options: Any, match: str) -> None:
    with pytest.raises(SpecError, match=match):
        accepting(*arguments, **options)


def test_declarations_are_values() -> None:
    assert accepting(hold, 80) == accepting(hold, port=80)
    assert accepting(hold, 80) != accepting(hold, 80, max_children=3)
    assert repr(accepting(hold, 80)) == "accepting(hold)"


def test_a_behaviour_takes_its_place_in_virtual_time() -> None:
    tree = SupervisorSpec("app", [ChildSpec("web", accepting(hold, 80))])

    async def main() -> None:
        behaviour = Behaviour(value="connections", ready_at=2)
        async with open_supervisor(with_bodies(tree, {"web": behaviour})) as supervisor:
            assert supervisor.child("web").value == "connections"

    run_virtual(main)


def test_exits_of_connections_are_in_the_events() -> None:
    exits: list[str] = []

    async def act(tree: Supervisor, web: Connections) -> None:
        stream = await connect(web)
        assert await stream.receive_some() == b"in"
        await web.supervisor.stop_child(next(iter(web.supervisor.children)), reason="by hand")
        exits.extend(event.detail for event in tree.journal if isinstance(event, ChildExited))
        await stream.aclose()

    serve(hold, act, spec_options={"grace": 0})
    assert exits == ["aborted: by hand"]
