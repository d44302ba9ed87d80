"""What happens to those who use the library in a way that it is not meant to be used."""

# flake8: noqa: ASYNC124 - bodies are async functions, whether they wait or not

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers.trees import AT_ONCE, Boom, events_of, forever, real_scenario, scenario

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildEscalated,
    ChildExited,
    ChildLostReadiness,
    ChildRunner,
    ChildSpec,
    ChildState,
    Escalate,
    Quarantine,
    ShutdownTree,
    SpecError,
    Stopped,
    Supervisor,
    SupervisorError,
    SupervisorSpec,
    TaskFailure,
    TimedOut,
    open_supervisor,
)

if TYPE_CHECKING:
    from collections.abc import Callable

POOL = SupervisorSpec("app", [ChildSpec("a", forever)])

# ---------------------------------------------------------------- from another thread


async def refused_in_a_thread(call: Callable[..., object], *args: object) -> str:
    """What a worker thread that calls this is told."""

    def work() -> None:
        call(*args)

    with pytest.raises(SupervisorError) as caught:
        await trio.to_thread.run_sync(work)
    return str(caught.value)


@real_scenario
async def test_a_command_from_another_thread_is_refused_and_does_no_harm() -> None:
    async with open_supervisor(POOL) as supervisor:
        for call, args in (
            (supervisor.request_shutdown, ()),
            (supervisor.start_child_soon, (ChildSpec("b", forever),)),
        ):
            told = await refused_in_a_thread(call, *args)
            assert told.startswith("app: commands have to be given in Trio's thread")
            assert "trio.from_thread.run_sync()" in told
        await supervisor.restart_child("a")  # the tree goes on
        request = supervisor.request_shutdown
        await trio.to_thread.run_sync(lambda: trio.from_thread.run_sync(request, "from a thread"))
        assert (await supervisor.wait_finished()).reason == "from a thread"


@real_scenario
async def test_a_context_in_another_thread_is_refused_and_nothing_has_changed() -> None:
    contexts = []

    async def body(child: ChildContext) -> None:
        contexts.append(child)
        await trio.sleep_forever()

    spec = ChildSpec("c", body, readiness="explicit", start_timeout=30, stale_after=60)
    async with open_supervisor(SupervisorSpec("app", [spec]), wait_ready=False) as supervisor:
        handle = supervisor.child("c")
        while not contexts:
            await trio.lowlevel.checkpoint()
        child = contexts[0]
        for call, args in (
            (child.ready, ("value",)),
            (child.heartbeat, ()),
            (child.extend_start_timeout, (5,)),
            (child.busy(5).__enter__, ()),
        ):
            told = await refused_in_a_thread(call, *args)
            assert told.startswith("app/c: ")
            assert "has to be called in Trio's thread" in told
        assert handle.state == "starting"
        child.ready("first")
        assert await handle.wait_ready() == "first"
        assert "not_ready()" in await refused_in_a_thread(child.not_ready)
        assert handle.state == "ready"
        await supervisor.stop_child("c")  # the tree goes on


@real_scenario
async def test_nothing_on_a_context_works_in_another_thread_with_or_without_a_trio_run() -> None:
    """Each call is refused at once, and the tree goes on."""
    kept: list[ChildContext] = []

    async def body(child: ChildContext) -> None:
        kept.append(child)
        await trio.sleep_forever()

    spec = ChildSpec("c", body, readiness="explicit", stale_after=60)
    async with open_supervisor(SupervisorSpec("app", [spec]), wait_ready=False) as supervisor:
        while not kept:
            await trio.lowlevel.checkpoint()
        child = kept[0]

        async def use(name: str) -> None:
            arguments = {"busy": (5,), "extend_start_timeout": (5,), "value": ("x",)}
            found = getattr(child, name)
            if callable(found):
                found = found(*arguments.get(name, ("x",) if name == "wait_value" else ()))
            if hasattr(found, "__await__"):
                await found

        facts = {"name", "path", "attempt", "generation"}
        names = [name for name in dir(child) if not name.startswith("_") and name not in facts]
        assert len(names) == 13, names
        for name in names:
            for run in (trio.run, run_without_trio):
                told = await refused_in_a_thread(run, use, name)
                assert told.startswith("app/c: "), (name, told)
                assert "has to be called in Trio's thread" in told
        for name in facts:
            await trio.to_thread.run_sync(getattr, child, name)
        child.ready()
        assert await supervisor.child("c").wait_ready() is None


@real_scenario
async def test_a_supervisor_is_not_looked_at_from_another_thread_until_it_has_ended() -> None:
    async with open_supervisor(SupervisorSpec("app", [ChildSpec("c", forever)])) as supervisor:
        looks: dict[str, Callable[[], object]] = {
            "state": supervisor.state,
            "count_children": supervisor.count_children,
            "children": lambda: supervisor.children,
            "child": lambda: supervisor.child("c"),
            "subscribe": supervisor.subscribe,
        }
        for name, look in looks.items():

            async def call(look: Callable[[], object] = look) -> None:
                look()

            for run in (trio.run, run_without_trio):
                told = await refused_in_a_thread(run, call)
                assert told.startswith("app: a supervisor can be looked at in Trio's thread"), name
            look()
        for plain in ("path", "spec", "name", "journal"):
            await trio.to_thread.run_sync(getattr, supervisor, plain)
        state = await trio.to_thread.run_sync(trio.from_thread.run_sync, supervisor.state)
        assert state.child("c").state == "ready"
    for look in looks.values():
        await trio.to_thread.run_sync(look)


@real_scenario
async def test_a_handle_may_be_read_in_a_thread_while_its_child_restarts() -> None:
    """Each attribute is one immutable thing; what consists of several is refused."""
    restarts = 10_000

    async def fail(child: ChildContext) -> None:
        if child.attempt <= restarts:
            raise ValueError(child.attempt)
        await trio.sleep_forever()

    ended = threading.Event()

    def read() -> int:
        count = last = 0
        while not ended.is_set():
            assert handle.state in set(ChildState)
            assert (handle.path, handle.name, handle.spec) == ("app/c", "c", spec)
            assert 1 <= handle.attempt <= restarts + 1
            assert handle.path in repr(handle)
            assert last <= handle.attempt
            last = max(last, handle.attempt)
            count += 1
        return count

    at_once = BackoffPolicy(initial=0, jitter=0)
    spec = ChildSpec("c", fail, backoff=at_once, restart_limit=None, log_level="critical")
    async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
        handle = supervisor.child("c")
        for name in ("value", "last_report", "reports"):
            told = await refused_in_a_thread(getattr, handle, name)
            assert told.startswith("app/c: reports and values can be read in Trio's thread")
        counts: list[int] = []
        async with trio.open_nursery() as nursery:

            async def in_thread() -> None:
                counts.append(await trio.to_thread.run_sync(read))

            nursery.start_soon(in_thread)
            try:
                await handle.wait_ready(after=restarts)
            finally:
                ended.set()
        assert counts[0] > 10
        assert supervisor.state().child("c").restarts == restarts


def run_without_trio(async_fn: Any, *args: Any) -> None:
    """Run what makes no checkpoint, as any code that only calls functions would."""
    try:
        async_fn(*args).send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


# ---------------------------------------------------------------- errors of an odd make


class UpstreamDown(TaskFailure):
    """Has forgotten to call the initializer of its base."""

    def __init__(self, code: int) -> None:
        self.code = code

    def __str__(self) -> str:
        return f"upstream answered {self.code}"


class Shapeless(TaskFailure):
    """Nothing can be asked of it."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("category", "message"):
            raise RuntimeError(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UpstreamDown(503), "failed: upstream answered 503 (error)"),
        (Shapeless("boom"), "failed: boom (error)"),
    ],
)
def test_a_failure_of_an_odd_make_is_a_failure(error: TaskFailure, said: str) -> None:
    @scenario
    async def main() -> None:
        async def body(child: ChildContext) -> None:
            if child.attempt <= 3:
                raise error
            await trio.sleep_forever()

        spec = ChildSpec("feed", body, backoff=AT_ONCE)
        async with open_supervisor(SupervisorSpec("app", [spec, ChildSpec("web", forever)])) as sup:
            await trio.sleep(1)
            assert sup.child("feed").attempt == 4
            assert sup.child("web").attempt == 1
        exits = [event.detail for event in events_of(sup, ChildExited, "app/feed")]
        assert exits[:3] == [said] * 3

    main()


# ---------------------------------------------------------------- reasons that are no text


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("mute")


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (OSError("link down"), "OSError: link down"),
        (5, "5"),
        (None, ""),
        (Mute(), "<its str() raised>"),
    ],
)
def test_a_reason_that_is_no_text_is_made_one(
    reason: Any, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    @scenario
    async def main() -> None:
        async def body(child: ChildContext) -> None:
            child.not_ready(reason)
            await trio.sleep_forever()

        async with open_supervisor(SupervisorSpec("app", [ChildSpec("a", body)])) as supervisor:
            await trio.sleep(1)
            await supervisor.restart_child("a", reason=reason)
            await supervisor.quarantine_child("a", reason=reason)
            assert supervisor.state().child("a").reason == text
            assert text in supervisor.state().render()
            supervisor.start_child_soon(ChildSpec("b", forever), reason=reason)
            report = await supervisor.shutdown(reason)
        (lost, *_) = events_of(supervisor, ChildLostReadiness)
        assert lost.reason == text
        assert report.reason == (text or "shutdown requested")

    with caplog.at_level(logging.DEBUG, "trio_supervisor"):
        main()
    for decision in (Quarantine(reason), Escalate(reason), ShutdownTree(reason)):
        assert decision.reason == text


@scenario
async def test_a_lone_run_takes_any_reason_too() -> None:
    odd: Any = OSError("link down")
    async with trio.open_nursery() as nursery:
        handle = ChildRunner().spawn_once(nursery, ChildSpec("a", forever, grace=1))
        await trio.sleep(1)
        handle.request_stop(odd)
        report = await handle.wait()
    assert report.stop_reason == "OSError: link down"


# ---------------------------------------------------------------- fatal, and something beside it


@scenario
async def test_errors_beside_something_fatal_are_its_cause_or_its_notes() -> None:
    async def body(child: ChildContext, fatal: BaseException) -> None:
        raise BaseExceptionGroup("both", [fatal, ValueError("lost?")])

    with pytest.raises(SystemExit) as caught:
        async with open_supervisor(
            SupervisorSpec("app", [ChildSpec("c", body, SystemExit(7))]), wait_ready=False
        ) as supervisor:
            await supervisor.wait_finished()
    assert caught.value.code == 7
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert "ValueError('lost?')" in repr(caught.value.__cause__.exceptions)

    fatal = SystemExit(7)
    fatal.__cause__ = KeyError("mine")
    with pytest.raises(SystemExit) as caught:
        async with open_supervisor(
            SupervisorSpec("app", [ChildSpec("c", body, fatal)]), wait_ready=False
        ) as supervisor:
            await supervisor.wait_finished()
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__notes__ == ["beside it: ValueError: lost?"]


@pytest.mark.parametrize("nested", [False, True])
def test_several_fatal_things_come_together(nested: bool) -> None:
    @scenario
    async def main() -> None:
        async def body(child: ChildContext, code: int) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(code)
            raise SystemExit(code)

        spec = SupervisorSpec("in", [ChildSpec("a", body, 1), ChildSpec("b", body, 2)])
        with pytest.raises(BaseExceptionGroup) as caught:
            async with open_supervisor(SupervisorSpec("out", [spec]) if nested else spec) as sup:
                await sup.wait_finished()
        codes = [getattr(leaf, "code", None) for leaf in caught.value.exceptions]
        assert codes == [1, 2]

    main()


# ---------------------------------------------------------------- a block entered twice


@scenario
async def test_a_supervisor_can_be_opened_once() -> None:
    opened = open_supervisor(POOL)
    async with opened:
        with pytest.raises(SupervisorError, match="was entered before: call it again"):
            async with opened:
                raise AssertionError
    with pytest.raises(SupervisorError, match="was entered before"):
        async with opened:
            raise AssertionError


# ---------------------------------------------------------------- who is inside of whom


@scenario
async def test_a_command_from_a_job_that_stands_elsewhere_leaves_the_child_its_grace() -> None:
    async def stop(supervisor: Supervisor) -> None:
        await trio.sleep(1)
        await supervisor.stop_child("c")

    async def body(child: ChildContext, outer: trio.Nursery) -> None:
        outer.start_soon(stop, child.supervisor)
        await child.wait_stop_requested()
        await trio.sleep(2)

    async with trio.open_nursery() as outer:
        spec = ChildSpec("c", body, outer, grace=5)
        async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
            await trio.sleep(4)
            report = supervisor.child("c").last_report
    assert report is not None
    assert report.exit == Stopped("")
    assert report.ended_at == 3


@pytest.mark.parametrize("how", ["told", "scope"])
def test_what_waits_elsewhere_for_a_stop_is_woken_when_the_attempt_has_ended(how: str) -> None:
    woken = []

    async def wait(child: ChildContext) -> None:
        if how == "told":
            await child.wait_stop_requested()
        else:
            with child.stop_scope():
                await trio.sleep_forever()
        woken.append(trio.current_time())
        await child.wait_stop_requested()  # after the end
        with child.stop_scope():
            await trio.sleep_forever()

    async def body(child: ChildContext, outer: trio.Nursery) -> None:
        outer.start_soon(wait, child)
        await trio.sleep(3)

    @scenario
    async def main() -> None:
        async with trio.open_nursery() as outer:
            spec = ChildSpec("c", body, outer, restart="transient")
            async with open_supervisor(SupervisorSpec("app", [spec])):
                await trio.sleep(4)
        assert woken == [3]

    main()


# ---------------------------------------------------------------- words


@scenario
async def test_an_escalation_says_who_and_why() -> None:
    async def body(child: ChildContext) -> None:
        raise Boom("no disk")

    spec = ChildSpec("feed", body, decide=lambda report: Escalate("too weird"))
    with pytest.raises(ChildEscalated) as caught:
        async with open_supervisor(SupervisorSpec("app", [spec])) as supervisor:
            await supervisor.wait_finished()
    assert str(caught.value) == "app/feed escalated: too weird; last: crashed: Boom: no disk"
    assert caught.value.reason == "too weird"


@scenario
async def test_what_is_no_child_is_refused_by_name() -> None:
    odd: Any = 5
    async with open_supervisor(POOL) as supervisor:
        with pytest.raises(SpecError, match="app: name=5: expected a child's name or path"):
            supervisor.child(odd)
        with pytest.raises(SpecError, match="name=None"):
            await supervisor.stop_child(None)  # type: ignore[arg-type]
    odd = SupervisorSpec("app")
    with pytest.raises(SpecError, match="spec=.*: expected a ChildSpec"):
        await ChildRunner().run_once(odd)


@scenario
async def test_a_child_named_like_its_supervisor_is_found() -> None:
    inner = SupervisorSpec("app", [ChildSpec("x", forever)])
    async with open_supervisor(SupervisorSpec("app", [inner])) as supervisor:
        for path in ("app/x", "app/app/x"):
            assert supervisor.child(path).path == "app/app/x"
        assert supervisor.child("app").path == "app/app"
        assert repr(supervisor.children).startswith("{'app': <ChildHandle app/app ready")


@scenario
async def test_a_busy_block_that_is_open_cannot_be_entered_again() -> None:
    async def body(child: ChildContext) -> None:
        busy = child.busy(5)
        with busy, pytest.raises(SupervisorError, match="app/c: this busy.. block is open"):
            busy.__enter__()
        with busy:
            pass
        await trio.sleep_forever()

    async with open_supervisor(SupervisorSpec("app", [ChildSpec("c", body)])) as supervisor:
        await trio.sleep(1)
        assert supervisor.child("c").attempt == 1


@scenario
async def test_ready_that_comes_too_late_is_not_in_the_report() -> None:
    async def late(child: ChildContext) -> None:
        await child.wait_stop_requested()
        child.ready()

    spec = ChildSpec(
        "c", late, readiness="explicit", start_timeout=1, grace=5, retry_first_start=True
    )
    async with open_supervisor(SupervisorSpec("app", [spec]), wait_ready=False) as supervisor:
        await trio.sleep(1.05)
        report = supervisor.child("c").last_report
    assert report is not None
    assert report.exit == TimedOut("start", 1)
    assert (report.became_ready, report.ready_at_exit) == (False, False)


# ---------------------------------------------------------------- reasons that are not quite text


class Loose(str):
    """Equal to what differs in case alone, and so without a hash."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return str(self).casefold() == str(other).casefold()


class Hashed(Loose):
    """The same with a hash that fits."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(str(self).casefold())


@scenario
async def test_a_reason_of_a_kind_of_text_without_a_hash() -> None:
    async with open_supervisor(POOL) as supervisor:
        await supervisor.stop_child("a", reason=Loose("Why"))
        (exited,) = events_of(supervisor, ChildExited)
        assert exited.detail == "aborted: Why"


def test_reasons_that_are_equal_and_read_differently() -> None:
    assert [Stopped(Hashed(text)).describe() for text in ("Go", "GO")] == [
        "stopped: Go",
        "stopped: GO",
    ]


@pytest.mark.parametrize("reason", [123, Loose("Why")])
@scenario
async def test_a_child_cancels_itself_for_a_reason_that_is_no_text(reason: Any) -> None:
    async def body(child: ChildContext) -> None:
        child.nursery.cancel_scope.cancel(reason)
        await trio.lowlevel.checkpoint()

    spec = ChildSpec("b", body, restart="temporary")
    async with open_supervisor(POOL) as supervisor:
        supervisor.start_child_soon(spec)
        await trio.testing.wait_all_tasks_blocked()
        (exited,) = events_of(supervisor, ChildExited)
        assert exited.detail == f"self cancelled: {reason}"
