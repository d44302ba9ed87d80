"""The adapters: each thing that one may want to supervise, from its first step to its last."""

from __future__ import annotations

import re
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.support import run_real, run_virtual

import trio_supervisor
from trio_supervisor import BackoffPolicy, SupervisorSpec, open_supervisor, run_supervisor
from trio_supervisor._attempts.runner import ChildRunHandle, ChildRunner
from trio_supervisor._attempts.stacks import _in_thread, threads
from trio_supervisor._errors import (
    ChildNotFound,
    ChildNotReady,
    SpecError,
    SupervisorError,
    TaskFailure,
)
from trio_supervisor._events.exits import (
    Aborted,
    ChildRunReport,
    Crashed,
    Failed,
    Stopped,
    Succeeded,
    TimedOut,
    Unhealthy,
)
from trio_supervisor._runtime.views import stacks_below
from trio_supervisor._specs.policy import ReadinessPolicy
from trio_supervisor._specs.supervisor import ChildSpec
from trio_supervisor.children import every, holding, in_thread, plain, serving, thread_child

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator


def once(spec: ChildSpec[Any], *, real: bool = False) -> ChildRunReport:
    run = run_real if real else run_virtual
    return run(ChildRunner().run_once, spec)


def watched(
    spec: ChildSpec[Any],
    act: Callable[[ChildRunHandle[Any]], Awaitable[object]],
    *,
    real: bool = False,
) -> ChildRunReport:
    """Run ``spec`` once while ``act(handle)`` does things to it."""

    async def main() -> ChildRunReport:
        async with trio.open_nursery() as nursery:
            handle = ChildRunner().spawn_once(nursery, spec)
            await act(handle)
        assert handle.report is not None
        return handle.report

    return (run_real if real else run_virtual)(main)


async def stop(handle: ChildRunHandle[Any]) -> None:
    await trio.sleep(1)
    handle.request_stop("enough")


# ---- plain


def test_plain_calls_the_function_with_its_arguments_alone() -> None:
    async def work(a: int, b: str) -> str:
        await trio.sleep(1)
        return f"{a}{b}"

    report = once(ChildSpec("c", plain(work, 1, "x")))
    assert report.exit == Succeeded("1x")
    assert report.became_ready


def test_plain_is_immediate_and_a_stop_cancels_it() -> None:
    spec = ChildSpec("c", plain(trio.sleep_forever))
    assert spec.readiness is ReadinessPolicy.IMMEDIATE
    report = watched(spec, stop)
    assert report.exit == Aborted("enough")
    assert report.seconds == 1


def test_plain_cannot_use_a_grace() -> None:
    with pytest.raises(SpecError, match="grace") as caught:
        ChildSpec("c", plain(trio.sleep_forever), grace=1)
    assert "plain(sleep_forever)" in str(caught.value)


def test_plain_with_a_function_that_is_not_async_is_a_clear_crash() -> None:
    not_async: Any = len
    report = once(ChildSpec("c", plain(not_async, "abc")))
    assert isinstance(report.exit, Crashed)
    assert isinstance(report.exit.error, TypeError)


# ---- serving


def test_serving_is_ready_with_the_value_given_to_started() -> None:
    async def serve(host: str, *, task_status: trio.TaskStatus[str]) -> None:
        await trio.sleep(2)
        task_status.started(f"{host}:80")
        await trio.sleep_forever()

    async def act(handle: ChildRunHandle[Any]) -> None:
        assert not handle.is_ready
        assert await handle.wait_ready() == "h:80"
        handle.request_stop("enough")

    report = watched(ChildSpec("c", serving(serve, "h")), act)
    assert report.exit == Aborted("enough")
    assert report.ready_at == report.started_at + 2


def test_serving_runs_a_real_server() -> None:
    async def shout(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data.upper())

    async def act(handle: ChildRunHandle[Any]) -> None:
        listeners = await handle.wait_ready()
        stream = await trio.testing.open_stream_to_socket_listener(listeners[0])
        async with stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"HELLO"
        handle.request_stop("enough")

    server = partial(trio.serve_tcp, shout, 0, host="127.0.0.1")
    report = watched(ChildSpec("c", serving(server)), act, real=True)
    assert report.exit == Aborted("enough")


def test_serving_that_never_calls_started_times_out() -> None:
    async def serve(*, task_status: trio.TaskStatus[None]) -> None:  # noqa: ASYNC128
        await trio.sleep_forever()

    report = once(ChildSpec("c", serving(serve), start_timeout=7))
    assert report.exit == TimedOut("start", 7)
    assert not report.became_ready


def test_serving_that_returns_without_started_has_simply_ended() -> None:
    async def serve(*, task_status: trio.TaskStatus[None]) -> str:  # noqa: ASYNC128
        await trio.lowlevel.checkpoint()
        return "done"

    report = once(ChildSpec("c", serving(serve)))
    assert report.exit == Succeeded("done")
    assert not report.became_ready


def test_serving_that_calls_started_twice_crashes_as_under_a_nursery() -> None:
    async def serve(*, task_status: trio.TaskStatus[int]) -> None:
        task_status.started(1)
        await trio.lowlevel.checkpoint()
        task_status.started(2)

    report = once(ChildSpec("c", serving(serve)))
    assert isinstance(report.exit, Crashed)
    assert isinstance(report.exit.error, RuntimeError)
    assert "called 'started' twice" in str(report.exit.error)
    assert report.became_ready


def test_serving_gives_each_attempt_a_task_status_of_its_own() -> None:
    async def serve(*, task_status: trio.TaskStatus[int]) -> None:
        await trio.lowlevel.checkpoint()
        task_status.started(1)

    spec = ChildSpec("c", serving(serve))
    for _ in range(2):
        assert once(spec).exit == Succeeded(None)


def test_serving_cannot_use_a_grace_nor_be_immediate() -> None:
    async def serve(*, task_status: trio.TaskStatus[None]) -> None: ...

    with pytest.raises(SpecError, match="grace"):
        ChildSpec("c", serving(serve), grace=1)
    with pytest.raises(SpecError, match="readiness"):
        ChildSpec("c", serving(serve), readiness="immediate")


# ---- holding


class Resource:
    def __init__(self) -> None:
        self.events: list[str] = []

    @asynccontextmanager
    async def open(self, opening: float = 0, closing: float = 0) -> AsyncIterator[str]:
        await trio.sleep(opening)
        self.events.append("opened")
        try:
            yield "value"
        except BaseException as error:
            self.events.append(type(error).__name__)
            raise
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(closing)
            self.events.append("closed")


def test_holding_is_ready_with_the_value_and_exits_on_the_stop_request() -> None:
    resource = Resource()
    spec = ChildSpec("c", holding(resource.open, 2.0, 3.0), grace=10)
    assert spec.is_explicit

    async def act(handle: ChildRunHandle[Any]) -> None:
        assert await handle.wait_ready() == "value"
        await trio.sleep(1)
        handle.request_stop("enough")

    report = watched(spec, act)
    assert report.exit == Stopped("enough")
    assert resource.events == ["opened", "closed"]
    assert report.seconds == 6


def test_holding_has_time_for_its_cleanup_by_default() -> None:
    resource = Resource()

    @asynccontextmanager
    async def open_it() -> AsyncIterator[None]:
        async with resource.open():
            yield
            await trio.sleep(4)  # what it has to write, say
            resource.events.append("written")

    report = watched(ChildSpec("c", holding(open_it)), stop)
    assert report.exit == Stopped("enough")
    assert resource.events == ["opened", "written", "closed"]
    assert report.seconds == 5


def test_holding_without_grace_is_exited_but_has_no_time_for_it() -> None:
    resource = Resource()

    @asynccontextmanager
    async def open_it() -> AsyncIterator[None]:
        async with resource.open():
            yield
            resource.events.append("saying goodbye")
            await trio.sleep(1)

    report = watched(ChildSpec("c", holding(open_it), grace=0), stop)
    assert report.exit == Aborted("enough")
    assert resource.events == ["opened", "saying goodbye", "Cancelled", "closed"]
    assert report.seconds == 1


def test_holding_asked_to_stop_while_it_enters_is_entered_and_exited() -> None:
    resource = Resource()
    report = watched(ChildSpec("c", holding(resource.open, 5.0), grace=10), stop)
    assert report.exit == Stopped("enough")
    assert resource.events == ["opened", "closed"]
    assert report.seconds == 5


def test_holding_that_does_not_get_entered_in_time_times_out() -> None:
    resource = Resource()
    report = once(ChildSpec("c", holding(resource.open, 9.0), start_timeout=2))
    assert report.exit == TimedOut("start", 2)
    assert resource.events == []


@pytest.mark.parametrize("where", ["enter", "background", "exit"])
def test_holding_lets_errors_of_the_resource_out(where: str) -> None:
    async def fail() -> None:
        await trio.sleep(1)
        raise OSError(where)

    @asynccontextmanager
    async def open_it() -> AsyncIterator[None]:
        if where == "enter":
            await fail()
        async with trio.open_nursery() as nursery:
            if where == "background":
                nursery.start_soon(fail)
            yield
        if where == "exit":
            await fail()

    async def act(handle: ChildRunHandle[Any]) -> None:
        await trio.lowlevel.checkpoint()
        if where == "exit":
            handle.request_stop("enough")

    report = watched(ChildSpec("c", holding(open_it), grace=5), act)
    assert isinstance(report.exit, Crashed)
    assert isinstance(report.exit.error, OSError)
    assert str(report.exit.error) == where


# ---- in_thread


def test_in_thread_runs_in_another_thread_that_bears_the_childs_name() -> None:
    def work(a: int, b: int) -> tuple[int, str]:
        assert threading.current_thread() is not threading.main_thread()
        return a + b, threading.current_thread().name

    report = once(ChildSpec("sums", in_thread(work, 1, 2)), real=True)
    assert report.exit == Succeeded((3, "sums"))


def hangs_here(started: threading.Event, end: threading.Event) -> None:
    started.set()
    end.wait()


def places_while(work: Callable[[threading.Event, threading.Event], object]) -> list[str]:
    """Where `stacks_below` finds a nested child that runs ``work(started, end)``."""
    started, end = threading.Event(), threading.Event()

    async def main() -> list[str]:
        child = ChildSpec("c", in_thread(work, started, end))
        idle = ChildSpec("idle", plain(trio.sleep_forever))
        done = ChildSpec("done", plain(trio.lowlevel.checkpoint), restart="transient")
        tree = SupervisorSpec("app", [SupervisorSpec("in", [child]), idle, done])
        async with open_supervisor(tree) as supervisor:
            await supervisor.child("done").wait_state("done")
            await trio.to_thread.run_sync(started.wait)
            await trio.to_thread.run_sync(time.sleep, 0.05)  # now it waits
            found = list(stacks_below(supervisor._shell))
            end.set()
            return found

    try:
        return run_real(main)
    finally:
        end.set()


def test_who_hangs_in_a_thread_is_found_in_the_users_own_code() -> None:
    found = places_while(hangs_here)
    assert [line.rpartition(" [")[2] for line in found] == ["app/idle#1]", "thread of app/in/c#1]"]
    line = hangs_here.__code__.co_firstlineno + 2
    assert found[1] == f"test_children.py:{line} in hangs_here() [thread of app/in/c#1]"


def test_a_function_that_is_not_written_in_python_is_named() -> None:
    gate = threading.Lock()
    gate.acquire()

    async def main() -> list[str]:
        async with trio.open_nursery() as nursery:
            ChildRunner().spawn_once(nursery, ChildSpec("c", in_thread(gate.acquire)))
            try:
                while not threads:  # noqa: ASYNC110 - set by a thread
                    await trio.sleep(0.001)
                await trio.sleep(0.05)
                named = [_in_thread(task) for task in threads]
            finally:
                gate.release()
        return named

    assert run_real(main) == ["in lock.acquire() [thread of c#1]"]


def test_a_thread_that_has_ended_is_not_looked_for() -> None:
    found: list[str] = []

    async def main() -> None:
        task = trio.lowlevel.current_task()
        await trio.lowlevel.checkpoint()
        threads[task] = 0, time.sleep  # no thread has this ident any more
        try:
            found.append(_in_thread(task))
        finally:
            del threads[task]
        found.append(_in_thread(task))

    run_virtual(main)
    assert found[0].startswith("in sleep() [thread of ")
    assert found[1] == ""
    assert not threads


def test_in_thread_never_uses_the_default_limiter() -> None:
    def look() -> int:
        return trio.from_thread.run_sync(
            lambda: trio.to_thread.current_default_thread_limiter().borrowed_tokens
        )

    assert once(ChildSpec("c", in_thread(look)), real=True).exit == Succeeded(0)


def test_in_thread_children_outnumber_the_default_limiter() -> None:
    everyone = threading.Barrier(50)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            spec = ChildSpec("c", in_thread(everyone.wait, 30))
            handles = [ChildRunner().spawn_once(nursery, spec) for _ in range(50)]
            for handle in handles:
                assert isinstance((await handle.wait()).exit, Succeeded)

    run_real(main)


@pytest.mark.parametrize(
    ("error", "kind"), [(ZeroDivisionError("x"), Crashed), (TaskFailure("x"), Failed)]
)
def test_an_exception_in_the_thread_is_the_childs(error: Exception, kind: type) -> None:
    def fail() -> None:
        raise error

    report = once(ChildSpec("c", in_thread(fail)), real=True)
    assert type(report.exit) is kind
    assert report.exit.error is error


def test_system_exit_in_the_thread_gets_out_of_the_runner() -> None:
    def leave() -> None:
        raise SystemExit(7)

    with pytest.raises(SystemExit) as caught:
        once(ChildSpec("c", in_thread(leave)), real=True)
    assert caught.value.code == 7


def test_thread_child_tells_who_it_is() -> None:
    def work() -> tuple[str, str, int, str]:
        me = thread_child()
        return me.name, me.path, me.attempt, repr(me)

    report = once(ChildSpec("c", in_thread(work)), real=True)
    assert report.exit == Succeeded(("c", "c", 1, "<ThreadChild 'c' attempt=1>"))


def test_thread_child_says_ready_and_the_value_is_passed_on() -> None:
    def work() -> bool:
        me = thread_child()
        me.ready("value")
        return me.wait_stop_requested()

    async def act(handle: ChildRunHandle[Any]) -> None:
        assert await handle.wait_ready() == "value"
        handle.request_stop("enough")

    spec = ChildSpec("c", in_thread(work), readiness="explicit", grace=5)
    assert watched(spec, act, real=True).exit == Stopped("enough")


def test_ready_in_a_thread_that_is_immediate_is_an_error_that_names_the_fix() -> None:
    def work() -> None:
        thread_child().ready()

    report = once(ChildSpec("c", in_thread(work)), real=True)
    assert isinstance(report.exit, Crashed)
    assert "readiness" in str(report.exit.error)


def test_a_thread_that_is_never_ready_times_out_and_is_waited_for() -> None:
    ended = threading.Event()

    def work() -> None:
        try:
            thread_child().wait_stop_requested()
        finally:
            time.sleep(0.1)
            ended.set()

    spec = ChildSpec("c", in_thread(work), readiness="explicit", start_timeout=0.05, grace=5)
    exit_ = once(spec, real=True).exit
    assert isinstance(exit_, TimedOut)
    assert exit_.phase == "start"
    assert ended.is_set()


def test_heartbeats_from_the_thread_keep_it_alive_and_arrive() -> None:
    def work() -> None:
        me = thread_child()
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            me.heartbeat("x")
            time.sleep(0.01)

    async def act(handle: ChildRunHandle[Any]) -> None:
        beat = await handle.heartbeats.receive()
        assert beat.detail == "x"

    spec = ChildSpec("c", in_thread(work), stale_after=0.3)
    report = watched(spec, act, real=True)
    assert report.exit == Succeeded(None)


def test_a_silent_thread_is_unhealthy() -> None:
    def work() -> None:
        thread_child().wait_stop_requested()

    spec = ChildSpec("c", in_thread(work), stale_after=0.05, grace=5)
    assert isinstance(once(spec, real=True).exit, Unhealthy)


def test_heartbeats_that_the_loop_has_not_seen_are_folded_into_one() -> None:
    blocked, go_on = threading.Event(), threading.Event()

    def work() -> None:
        me = thread_child()
        me.ready()
        blocked.wait(30)
        for number in range(10_000):
            me.heartbeat(number)
        go_on.set()
        me.wait_stop_requested()

    async def act(handle: ChildRunHandle[Any]) -> None:
        async with handle.heartbeats.clone() as beats:
            await handle.wait_ready()
            blocked.set()
            assert go_on.wait(30)  # blocks the loop on purpose
            beat = await beats.receive()
            while beat.detail != 9_999:
                beat = await beats.receive()
            assert beat.count < 10_000
        handle.request_stop("enough")

    spec = ChildSpec("c", in_thread(work), readiness="explicit", grace=5)
    assert watched(spec, act, real=True).exit == Stopped("enough")


def test_a_thread_asks_whether_it_should_stop() -> None:
    def work() -> list[bool]:
        me = thread_child()
        heard = [me.stop_requested, me.wait_stop_requested(0), me.wait_stop_requested(0.01)]
        heard.append(me.wait_stop_requested())
        heard += [me.stop_requested, me.wait_stop_requested(0), me.wait_stop_requested(9)]
        return heard

    async def act(handle: ChildRunHandle[Any]) -> None:
        await trio.sleep(0.1)
        handle.request_stop("enough")

    done: list[object] = []

    def keep() -> None:
        done.append(work())

    spec = ChildSpec("c", in_thread(keep), grace=5)
    assert watched(spec, act, real=True).exit == Stopped("enough")
    assert done == [[False, False, False, True, True, True, True]]


@pytest.mark.parametrize("how", ["check_cancelled", "wait", "wait a little", "do not wait"])
def test_a_cancelled_thread_hears_of_it_and_is_waited_for(how: str) -> None:
    cleaned_up = threading.Event()

    def work() -> None:
        me = thread_child()
        me.ready()
        try:
            while True:
                match how:
                    case "check_cancelled":
                        time.sleep(0.001)
                        trio.from_thread.check_cancelled()
                    case "wait":
                        me.wait_stop_requested()
                        time.sleep(0.001)
                    case "wait a little":
                        me.wait_stop_requested(0.001)
                    case _:
                        me.wait_stop_requested(0)
        finally:
            time.sleep(0.1)
            cleaned_up.set()

    async def act(handle: ChildRunHandle[Any]) -> None:
        await handle.wait_ready()
        handle.abort("now")

    report = watched(ChildSpec("c", in_thread(work), readiness="explicit"), act, real=True)
    assert report.exit == Aborted("now")
    assert cleaned_up.is_set()


def test_a_thread_that_does_not_listen_is_waited_for_and_its_outcome_counts() -> None:
    def work() -> str:
        thread_child().ready()
        time.sleep(0.2)
        return "finished all the same"

    async def act(handle: ChildRunHandle[Any]) -> None:
        await handle.wait_ready()
        handle.abort("now")

    report = watched(ChildSpec("c", in_thread(work), readiness="explicit"), act, real=True)
    assert report.exit == Stopped("now")
    assert report.seconds > 0.15


def test_the_value_of_another_child_without_a_supervisor_is_the_runners_error() -> None:
    def work() -> None:
        thread_child().value("store")

    report = once(ChildSpec("c", in_thread(work)), real=True)
    assert isinstance(report.exit, Crashed)
    assert isinstance(report.exit.error, SupervisorError)
    assert "ChildRunner" in str(report.exit.error)


def test_thread_child_elsewhere_says_where_it_works() -> None:
    with pytest.raises(SupervisorError, match="in_thread"):
        thread_child()
    # Not in a worker thread of the same program that is no child either.
    with pytest.raises(SupervisorError, match="in_thread"):
        run_real(trio.to_thread.run_sync, thread_child)


def test_thread_child_does_not_leak_out_of_its_thread() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            handle = ChildRunner().spawn_once(nursery, ChildSpec("c", in_thread(thread_child)))
            await handle.wait()
            with pytest.raises(SupervisorError):
                await trio.to_thread.run_sync(thread_child)

    run_real(main)


# ---- in a tree


def test_values_get_from_child_to_child_through_threads_too() -> None:
    resource = Resource()
    store = ChildSpec("store", holding(resource.open), grace=1)
    seen: list[object] = []

    def work() -> None:
        me = thread_child()
        seen.extend([me.path, me.value(store), me.value("store")])
        with pytest.raises(ChildNotFound):
            me.value("nobody")
        with pytest.raises(ChildNotReady):
            me.value("later")
        me.ready("work's value")
        me.wait_stop_requested()

    worker = ChildSpec("worker", in_thread(work), readiness="explicit", grace=5)

    async def serve(*, task_status: trio.TaskStatus[str]) -> None:
        task_status.started("serve's value")
        await trio.sleep_forever()

    later = ChildSpec("later", serving(serve))

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [store, worker, later])) as supervisor:
            assert supervisor.child(worker).value == "work's value"
            assert supervisor.child(later).value == "serve's value"

    run_real(main)
    assert seen == ["app/worker", "value", "value"]
    assert resource.events == ["opened", "closed"]


def test_a_thread_that_crashes_is_restarted_and_holding_with_it() -> None:
    resource = Resource()
    lives: list[int] = []

    def work() -> None:
        me = thread_child()
        lives.append(me.attempt)
        if me.attempt < 3:
            raise OSError("again")
        me.ready()
        me.wait_stop_requested()

    soon = BackoffPolicy(initial=0.001, jitter=0)
    worker = ChildSpec(
        "worker",
        in_thread(work),
        readiness="explicit",
        retry_first_start=True,
        grace=5,
        backoff=soon,
    )

    async def main() -> None:
        children = [ChildSpec("resource", holding(resource.open), grace=1, backoff=soon), worker]
        async with open_supervisor(SupervisorSpec("app", children, strategy="one_for_all")):
            pass

    run_real(main)
    assert lives == [1, 2, 3]
    assert resource.events == ["opened", "closed"] * 3


# ---- all of them


def test_what_is_no_function_is_refused_by_the_adapter_itself() -> None:
    adapters: list[Any] = [plain, serving, holding, in_thread]
    for adapter in adapters:
        with pytest.raises(SpecError) as caught:
            adapter("no function")
        assert f"{adapter.__name__}()" in str(caught.value)


def test_a_coroutine_function_is_neither_blocking_nor_a_context_manager() -> None:
    adapters: list[Any] = [holding, in_thread]
    for adapter in adapters:
        with pytest.raises(SpecError, match="run="):
            adapter(trio.sleep, 1)


def test_children_that_are_declared_alike_are_equal() -> None:
    async def serve(port: int, *, task_status: trio.TaskStatus[None]) -> None: ...

    open_it = Resource().open
    for one, same, other in (
        (plain(trio.sleep, 1), plain(trio.sleep, 1), plain(trio.sleep, 2)),
        (serving(serve, 1), serving(serve, 1), serving(serve, 2)),
        (holding(open_it, 1), holding(open_it, 1), holding(open_it, 2)),
        (in_thread(time.sleep, 1), in_thread(time.sleep, 1), in_thread(time.sleep, 2)),
    ):
        assert ChildSpec("c", one) == ChildSpec("c", same)
        assert ChildSpec("c", one) != ChildSpec("c", other)


def test_a_body_is_called_in_logs_what_it_was_made_from() -> None:
    assert repr(plain(trio.sleep, 1)) == "plain(sleep)"
    assert repr(serving(partial(trio.serve_tcp, host="x"))) == "serving(serve_tcp)"
    assert repr(holding(Resource().open)) == "holding(Resource.open)"
    assert repr(in_thread(time.sleep, 1)) == "in_thread(sleep)"


# ---------------------------------------------------------------- what an adapter is not for


ANY: Any = trio_supervisor  # as one whose types are not checked


@asynccontextmanager
async def opened() -> AsyncIterator[None]:
    yield


@contextmanager
def opened_at_once() -> Iterator[None]:
    yield


async def without_status() -> None: ...


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ANY.holding(opened_at_once), "decorate it with asynccontextmanager"),
        (lambda: ANY.holding(opened()), "pass the function, do not call it"),
        (lambda: ANY.holding(opened_at_once()), "pass the function, do not call it"),
        (lambda: ANY.serving(without_status), "a function that takes task_status"),
        (lambda: ANY.plain(without_status()), "pass the function, do not call it"),
        (lambda: ANY.every(1, without_status()), "pass the function, do not call it"),
        (lambda: ANY.ChildSpec("a", trio.serve_tcp, 1, 2), "write serving(serve_tcp, ...)"),
        (
            lambda: ANY.ChildSpec("a", run_supervisor, SupervisorSpec("b")),
            "a SupervisorSpec stands among the children as it is",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_the_way_to_do_it(make: Any, said: str) -> None:
    with pytest.raises(SpecError, match=re.escape(said)):
        make()


def test_what_takes_any_keyword_may_take_task_status() -> None:
    async def anything(**options: Any) -> None:
        options["task_status"].started()

    assert isinstance(once(ChildSpec("a", serving(anything))).exit, Succeeded)
    ANY.serving(partial(trio.serve_tcp, ANY, 0))


def test_a_decorator_may_take_task_status_for_its_function() -> None:
    @wraps(without_status)
    async def decorated(*, task_status: trio.TaskStatus[int]) -> None:
        task_status.started(5)
        await without_status()

    assert isinstance(once(ChildSpec("a", serving(decorated))).exit, Succeeded)


def test_a_job_that_cannot_be_awaited_says_how_to_define_it() -> None:
    job: Any = lambda: 5  # noqa: E731 - what a user would write
    report = once(ChildSpec("a", every(1, job)))
    assert "returned 5, which cannot be awaited; define it with 'async def'" in report.exit.detail
