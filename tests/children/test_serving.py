"""`serving` with a stop of its own, and the servers that finish what they have begun."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_real, run_virtual

from trio_supervisor import ChildSpec, SpecError, SupervisorSpec, open_supervisor
from trio_supervisor._attempts.runner import ChildRunHandle, ChildRunner
from trio_supervisor._events.exits import Aborted, ChildRunReport, Crashed, Stopped
from trio_supervisor.children import serve_listeners, serve_tcp, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def watched(
    run: Callable[..., ChildRunReport],
    spec: ChildSpec[Any],
    act: Callable[[ChildRunHandle[Any]], Awaitable[object]],
) -> ChildRunReport:
    async def main() -> ChildRunReport:
        async with trio.open_nursery() as nursery:
            handle = ChildRunner().spawn_once(nursery, spec)
            await act(handle)
        assert handle.report is not None
        return handle.report

    return run(main)


@pytest.mark.parametrize("form", ["called", "awaited", "event"])
def test_a_function_that_takes_something_to_wait_for_ends_by_itself(form: str) -> None:
    async def serve(
        *, shutdown_trigger: Any, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started("up")
        if form == "called":
            await shutdown_trigger()
        elif form == "awaited":
            await shutdown_trigger
        else:
            assert not shutdown_trigger.is_set()
            await shutdown_trigger.wait()
            assert shutdown_trigger.is_set()
        await trio.sleep(3)

    async def act(handle: ChildRunHandle[Any]) -> None:
        assert await handle.wait_ready() == "up"
        handle.request_stop("enough")

    spec = ChildSpec("web", serving(serve, stop="shutdown_trigger"), grace=5)
    report = watched(run_virtual, spec, act)
    assert report.exit == Stopped("enough")
    assert report.seconds == 3
    spec = spec.replace(grace=2)
    report = watched(run_virtual, spec, act)
    assert report.exit == Aborted("enough")
    assert report.seconds == 2


def test_a_function_without_such_a_parameter_is_refused() -> None:
    async def serve(
        port: int, *, until: Any = None, task_status: trio.TaskStatus[None] = ...
    ) -> None:
        pass

    with pytest.raises(SpecError, match=r"stop='shutdown_trigger'.*port, until, task_status"):
        serving(serve, 1, stop="shutdown_trigger")
    for wrong in ("no name", 3):
        with pytest.raises(SpecError, match="the name of a parameter"):
            serving(serve, 1, stop=wrong)  # type: ignore[arg-type]

    async def takes_all(**options: Any) -> None:
        pass

    for fine in (
        serving(takes_all, stop="shutdown_trigger"),
        serving(functools.partial(takes_all, x=1), stop="shutdown_trigger"),
        serving(serve, 1, stop="until"),
    ):
        assert fine.hears_stop


def test_a_function_whose_signature_is_unknown_shows_it_when_it_is_called() -> None:
    async def act(handle: ChildRunHandle[Any]) -> None:
        await handle.wait()

    report = watched(run_virtual, ChildSpec("c", serving(max, stop="x")), act)
    assert isinstance(report.exit, Crashed)
    assert isinstance(report.exit.error, TypeError)


def test_servings_with_another_stop_differ() -> None:
    assert serving(serve_tcp, print, 0, stop="shutdown_trigger") == serving(
        serve_tcp, print, 0, stop="shutdown_trigger"
    )
    assert serving(serve_tcp, print, 0, stop="shutdown_trigger") != serving(
        serve_tcp, print, 0, stop="host"
    )


async def answer_slowly(stream: trio.SocketStream) -> None:
    async with stream:
        question = await stream.receive_some()
        await trio.sleep(0.2)
        await stream.send_all(question.upper())


def test_serve_tcp_refuses_new_connections_and_finishes_those_it_has() -> None:
    async def main() -> None:
        server = functools.partial(serve_tcp, host="127.0.0.1")
        spec = ChildSpec("web", serving(server, answer_slowly, 0, stop="shutdown_trigger"), grace=9)
        async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
            listener = supervisor.child(spec).value[0]
            address = listener.socket.getsockname()
            stream = await trio.testing.open_stream_to_socket_listener(listener)
            await stream.send_all(b"hello")
            await trio.sleep(0.05)
            supervisor.request_shutdown("enough")
            await trio.sleep(0.05)
            with pytest.raises(OSError, match="all attempts"):
                await trio.open_tcp_stream(*address)
            assert await stream.receive_some() == b"HELLO"
            await stream.aclose()
        report = await supervisor.wait_finished()
        assert not report.unresponsive
        last = supervisor.child("web").last_report
        assert last is not None
        assert last.exit == Stopped("enough")

    run_real(main)


def test_serve_tcp_cuts_connections_when_the_grace_is_over() -> None:
    async def main() -> ChildRunReport:
        server = functools.partial(serve_tcp, host="127.0.0.1")
        spec = ChildSpec(
            "web", serving(server, answer_slowly, 0, stop="shutdown_trigger"), grace=0.1
        )
        async with trio.open_nursery() as nursery:
            handle = ChildRunner().spawn_once(nursery, spec)
            listeners = await handle.wait_ready()
            stream = await trio.testing.open_stream_to_socket_listener(listeners[0])
            await trio.sleep(0.05)
            handle.request_stop("enough")
            assert await stream.receive_some() == b""
            await stream.aclose()
        assert handle.report is not None
        return handle.report

    assert run_real(main).exit == Aborted("enough")


def test_a_handler_that_crashes_ends_the_server_and_its_listeners() -> None:
    async def crash(stream: trio.SocketStream) -> None:
        async with stream:
            raise OSError("handler")

    async def main() -> ChildRunReport:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        body = serving(serve_listeners, crash, listeners, stop="shutdown_trigger")
        async with trio.open_nursery() as nursery:
            handle = ChildRunner().spawn_once(nursery, ChildSpec("web", body))
            await handle.wait_ready()
            stream = await trio.testing.open_stream_to_socket_listener(listeners[0])
            await stream.aclose()
            report = await handle.wait()
        assert listeners[0].socket.fileno() == -1
        return report

    exit_ = run_real(main).exit
    assert isinstance(exit_, Crashed)
    assert str(exit_.error) == "handler"
