"""The programs of the guides do what their pages say."""

from __future__ import annotations

import importlib.util
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_real, run_virtual

from documentation.code_blocks import load
from trio_supervisor import (
    BackoffPolicy,
    ChildAlreadyExists,
    ChildSpec,
    SupervisorSpec,
    open_supervisor,
)
from trio_supervisor.children import accepting

if TYPE_CHECKING:
    from trio_supervisor import ChildContext, Supervisor


def guide(name: str, needs: str = "") -> dict[str, Any]:
    if needs and importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed here; the extra `docs` brings it")
    return load(f"docs/guides/{name}.md")


def changed(app: SupervisorSpec, name: str, **changes: Any) -> SupervisorSpec:
    """The tree of a page, with some options of one child changed: its port, for example."""
    return app.replace(
        children=[
            child.replace(**changes) if child.name == name else child for child in app.children
        ]
    )


async def ask(stream: trio.SocketStream, data: bytes) -> bytes:
    await stream.send_all(data)
    return bytes(await stream.receive_some())


async def hung_up(stream: trio.SocketStream) -> bool:
    """Wait for the end of a connection; a reset is an end too."""
    try:
        return bytes(await stream.receive_some()) == b""
    except trio.BrokenResourceError:
        return True


def test_a_crash_in_one_connection_ends_that_connection_only() -> None:
    page = guide("connections")
    server = accepting(page["converse"], host="127.0.0.1", port=0)

    async def scenario() -> None:
        async with open_supervisor(changed(page["APP"], "server", run=server)) as app:
            serving = app.child("server").value
            connections: Supervisor = serving.supervisor
            one = await trio.open_tcp_stream("127.0.0.1", serving.port)
            two = await trio.open_tcp_stream("127.0.0.1", serving.port)
            assert await ask(one, b"hello") == b"HELLO"
            assert await ask(two, b"hello") == b"HELLO"
            assert serving.open == 2
            crashing = next(iter(connections.children.values()))
            assert await ask(one, b"bug") == b""
            report = await crashing.wait_finished()
            assert report.exit.has(ValueError)
            assert await ask(two, b"still here") == b"STILL HERE"
            assert connections.count_children().specs == 1
            assert app.child("server").restarts == 0
            left = two
        assert await left.receive_some() == b""  # the stop closed it
        await one.aclose()
        await two.aclose()

    run_real(scenario)


def test_a_full_server_closes_the_connection() -> None:
    page = guide("connections")
    server = accepting(
        page["converse"], host="127.0.0.1", port=0, max_children=1, when_full="refuse"
    )

    async def scenario() -> None:
        async with open_supervisor(changed(page["APP"], "server", run=server)) as app:
            port = app.child("server").value.port
            async with (
                await trio.open_tcp_stream("127.0.0.1", port) as one,
                await trio.open_tcp_stream("127.0.0.1", port) as two,
            ):
                assert await ask(one, b"a") == b"A"
                assert await hung_up(two)
                assert await ask(one, b"b") == b"B"

    run_real(scenario)


def test_a_user_has_one_session() -> None:
    page = guide("connections")

    async def scenario() -> None:
        async with open_supervisor(page["POOL"]) as pool:
            await page["log_in"](pool, "ada")
            with pytest.raises(ChildAlreadyExists):
                await page["log_in"](pool, "ada")

    run_virtual(scenario)


def test_the_feed_reconnects_and_loses_no_line() -> None:
    page = guide("reconnecting")
    connections = 0

    async def hang_up(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        await stream.send_all(b"price %d\n" % connections)

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, hang_up, 0, host="127.0.0.1")
            [listener] = await nursery.start(serve)
            port = listener.socket.getsockname()[1]
            tree = page["declare"]("127.0.0.1", port)
            shown: list[str] = []
            three = trio.Event()

            def show(line: str) -> None:
                shown.append(line)
                if len(shown) == 3:
                    three.set()

            page["print"] = show
            quick = BackoffPolicy(initial=0.01, maximum=0.02)
            async with open_supervisor(changed(tree, "feed", backoff=quick)) as ticker:
                feed = ticker.child("feed")
                await three.wait()
                assert feed.restarts >= 2
                assert feed.last_report is not None
                assert "has closed the connection" in str(feed.last_report.exit.error)
            assert shown[:3] == ["price 1", "price 2", "price 3"]
            nursery.cancel_scope.cancel()

    run_real(scenario)


def test_the_feed_may_be_down_at_the_start_and_never_trips_its_limit() -> None:
    page = guide("reconnecting")

    async def refused(host: str, port: int) -> trio.SocketStream:
        raise ConnectionRefusedError("nothing listens there")

    async def scenario() -> None:
        tree = page["declare"]("127.0.0.1", 1)
        page["trio"] = _Instead(trio, open_tcp_stream=refused)
        async with open_supervisor(tree, wait_ready=False) as ticker:
            await trio.sleep(3600)
            feed = ticker.child("feed")
            assert feed.state == "backing_off"
            assert feed.attempt > 60

    run_virtual(scenario)


class _Instead:
    """A module with some names replaced."""

    def __init__(self, module: Any, **names: Any) -> None:
        self._module = module
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@pytest.mark.parametrize("directly", [False, True])
def test_the_web_application_answers_and_finishes_what_is_in_flight(directly: bool) -> None:
    page = guide("web", needs="hypercorn")
    in_flight = trio.Event()
    answer = page["application"]

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/slow":
            in_flight.set()
            await trio.sleep(0.3)
        await answer(scope, receive, send)

    page["application"] = slow
    if directly:
        web = page["DIRECT"].replace(args=("127.0.0.1:0",))
    else:
        web = page["WEB"].replace(run=page["asgi"](slow, 0, server="hypercorn"))

    async def scenario() -> None:
        answers: list[bytes] = []
        async with trio.open_nursery() as nursery:
            async with open_supervisor(page["APP"].replace(children=[web])) as app:
                url = app.child("web").value[0]
                port = int(url.rpartition(":")[2])
                assert b"hello" in await get("127.0.0.1", port, "/")

                async def fetch() -> None:
                    answers.append(await get("127.0.0.1", port, "/slow"))

                nursery.start_soon(fetch)
                await in_flight.wait()
                handle = app.child("web")
            report = handle.last_report
            assert report is not None
            assert report.exit.kind == "stopped"
        assert len(answers) == 1
        assert b" 200 " in answers[0]
        assert b"hello" in answers[0]

    run_real(scenario)


def test_websockets_are_children_and_are_closed_by_the_stop() -> None:
    page = guide("websocket", needs="trio_websocket")
    from trio_websocket import ConnectionClosed, wrap_client_stream

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            closed = trio.Event()

            async def client(port: int, connected: trio.Event) -> None:
                # trio-websocket does not close the stream of a client whose server hangs up.
                async with (
                    await trio.open_tcp_stream("127.0.0.1", port) as stream,
                    trio.open_nursery() as nursery,
                ):
                    socket = await wrap_client_stream(nursery, stream, "127.0.0.1", "/")
                    await socket.send_message("four")
                    assert await socket.get_message() == "4"
                    connected.set()
                    with pytest.raises(ConnectionClosed) as caught:
                        await socket.get_message()
                    assert caught.value.reason is not None
                    assert caught.value.reason.code == 1001
                closed.set()

            async with open_supervisor(changed(page["APP"], "server", args=(0,))) as app:
                connected = trio.Event()
                nursery.start_soon(client, app.child("server").value, connected)
                await connected.wait()
                assert app.child("connections").value.count_children().active == 1
            await closed.wait()

    run_real(scenario)


def test_the_job_runs_once_a_minute_and_a_failed_run_is_a_crash() -> None:
    runs: list[float] = []

    async def clean_up(directory: str) -> None:
        runs.append(trio.current_time())
        if len(runs) == 3:
            raise OSError("disk full")
        await trio.sleep(2)

    page = guide("periodic")
    job = page["every"](60, clean_up, "/var/spool/app", at_once=True)

    async def scenario() -> None:
        async with open_supervisor(changed(page["APP"], "cleaner", run=job)) as app:
            begun = trio.current_time()
            await trio.sleep(200)
            cleaner = app.child("cleaner")
            assert [round(at - begun) for at in runs[:3]] == [0, 60, 120]
            assert 120 < runs[3] - begun < 121  # after the backoff
            assert cleaner.restarts == 1
            assert cleaner.value.missed == 0

    run_virtual(scenario)


def test_a_stop_waits_for_the_run_and_not_for_the_minute() -> None:
    page = guide("periodic")
    polling = ChildSpec("cleaner", page["poll"], grace=10)

    async def scenario(app_spec: SupervisorSpec) -> None:
        async with open_supervisor(app_spec) as app:
            await trio.sleep(1)  # in the middle of the first run
            begun = trio.current_time()
            cleaner = app.child("cleaner")
        assert trio.current_time() - begun == pytest.approx(1)
        assert cleaner.last_report is not None
        assert cleaner.last_report.exit.kind == "stopped"

    run_virtual(scenario, page["APP"])
    run_virtual(scenario, page["APP"].replace(children=[polling]))


def test_the_probes_of_the_operating_page_answer(capsys: pytest.CaptureFixture[str]) -> None:
    page = guide("operating", needs="h11")

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(page["main"], "127.0.0.1:0")
            address = ""
            while not address:
                await trio.sleep(0.05)
                address = capsys.readouterr().out.partition("http://")[2].strip("/\n")
            host, _, port = address.partition(":")
            for path in ("/livez", "/readyz", "/startupz", "/"):
                assert b" 200 " in await get(host, int(port), path)
            nursery.cancel_scope.cancel()

    run_real(scenario)


async def get(host: str, port: int, path: str) -> bytes:
    async with await trio.open_tcp_stream(host, port) as stream:
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        await stream.send_all(request.encode())
        return b"".join([bytes(part) async for part in stream])


def test_the_thread_works_and_stops() -> None:
    page = guide("threads")

    async def scenario() -> None:
        async with open_supervisor(page["APP"]) as app:
            for job in ("a", "b", "c"):
                page["JOBS"].put(job)
            while len(page["DONE"]) < 3:  # noqa: ASYNC110 - a thread cannot set a Trio event
                await trio.sleep(0.01)
            worker = app.child("worker")
        assert page["DONE"] == ["a", "b", "c"]
        assert worker.last_report is not None
        assert worker.last_report.exit.kind == "stopped"

    run_real(scenario)


def test_sequence_and_graph_take_the_time_that_the_page_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = guide("choosing")
    run_virtual(page["main"])
    assert capsys.readouterr().out == "sequence: ready after 40 s\ngraph: ready after 20 s\n"


def test_failures_that_the_failed_starts_page_quarantines_restarts_and_keeps_trying() -> None:
    page = guide("failed-starts")

    async def scenario() -> None:
        async with open_supervisor(page["APP"], wait_ready=False) as app:
            await trio.sleep(10_000)
            printer, database = app.child("printer"), app.child("database")
            assert printer.state == "quarantined"
            assert printer.attempt == 5
            first, last = printer.reports[0], printer.reports[-1]
            assert last.ended_at - first.ended_at == pytest.approx(900, rel=0.1)
            assert database.state == "backing_off"
            assert database.attempt > 300

    run_virtual(scenario)


@pytest.mark.parametrize(
    ("error", "arguments", "state"),
    [
        ("WrongPassword", ("no",), "quarantined"),
        ("TooManyRequests", (100,), "backing_off"),
        ("TaskFailure", ("that was all",), "done"),
    ],
)
def test_the_page_decides_by_the_kind_of_failure(
    error: str, arguments: tuple[object, ...], state: str
) -> None:
    page = guide("failed-starts")

    async def fail(child: ChildContext) -> None:
        child.ready()
        await trio.sleep(1)
        options = {"category": "finished"} if error == "TaskFailure" else {}
        raise page[error](*arguments, **options)

    async def scenario() -> None:
        spec = ChildSpec("c", fail, readiness="explicit", decide=page["by_kind"])
        async with open_supervisor(SupervisorSpec("app", [spec])) as app:
            await trio.sleep(50)
            assert app.child("c").state == state
            assert app.child("c").attempt == 1

    run_virtual(scenario)


def test_the_test_of_the_tutorial_passes(capsys: pytest.CaptureFixture[str]) -> None:
    load("docs/tutorial.md")["test_the_shop_is_open_whenever_the_store_dies"](capsys)
