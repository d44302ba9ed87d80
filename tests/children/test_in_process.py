"""`in_process`: a child in a process of its own, however that process ends."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import threading
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from helpers import hostile, isolated
from helpers.children import (
    SIZE,
    children_of,
    is_alive,
    once,
    open_files,
    stop_when_ready,
    wait_gone,
)
from helpers.processes import Program
from helpers.support import run_real, run_virtual

from trio_supervisor import (
    ChildContext,
    ChildSpec,
    SpecError,
    SupervisorError,
    SupervisorSpec,
    open_supervisor,
)
from trio_supervisor._events.exits import (
    Aborted,
    Crashed,
    Failed,
    SelfCancelled,
    Stopped,
    Succeeded,
    TimedOut,
    Unhealthy,
)
from trio_supervisor.children import ProcessFailed, RemoteError, _frames, in_process, plain
from trio_supervisor.children._worker import _RemoteHost
from trio_supervisor.testing import Behaviour, with_bodies

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_supervisor._attempts.runner import ChildRunHandle


def failure(exit_: object) -> ProcessFailed:
    assert isinstance(exit_, Failed), exit_
    assert isinstance(exit_.error, ProcessFailed)
    return exit_.error


# ---- the same context, elsewhere


def test_it_runs_in_another_process_with_its_arguments_and_returns_a_value() -> None:
    exit_ = once(ChildSpec("c", in_process(isolated.identify, 1, "x"))).exit
    assert isinstance(exit_, Succeeded)
    value: Any = exit_.value
    assert value[0] != os.getpid()
    assert not is_alive(value[0])
    assert value[1:] == ("c", "c", 1, 0, (1, "x"))


def test_ready_values_and_the_stop_request_get_across(tmp_path: Path) -> None:
    seen: list[object] = []

    async def act(handle: ChildRunHandle[Any]) -> None:
        seen.append(await handle.wait_ready())
        handle.request_stop("enough")

    spec = ChildSpec("c", in_process(isolated.be_ready, {"a": 1}), readiness="explicit", grace=20)
    assert once(spec, act).exit == Stopped("enough")
    assert seen == [{"a": 1}]

    path = tmp_path / "result"
    body = in_process(isolated.stop_slowly, str(path), 0.3)
    report = once(ChildSpec("c", body, readiness="explicit", grace=20), stop_when_ready)
    assert report.exit == Stopped("enough")
    assert path.read_text() == "finished"


def test_it_is_ready_when_it_says_so_and_may_take_longer() -> None:
    body = in_process(isolated.start_slowly)
    spec = ChildSpec("c", body, readiness="explicit", start_timeout=10, grace=20)
    report = once(spec, stop_when_ready)
    assert report.exit == Stopped("enough")
    assert report.ready_at is not None
    assert report.ready_at - report.started_at > 1
    timed_out = ChildSpec("c", in_process(isolated.identify), readiness="explicit")
    assert isinstance(once(timed_out).exit, Succeeded)  # it has simply ended
    never = ChildSpec(
        "c", in_process(isolated.start_slowly), readiness="explicit", start_timeout=0.01
    )
    assert isinstance(once(never).exit, TimedOut)


def test_heartbeats_busy_and_readiness_get_across() -> None:
    seen: list[object] = []

    async def act(handle: ChildRunHandle[Any]) -> None:
        async with handle.heartbeats.clone() as beats, trio.open_nursery() as nursery:
            nursery.start_soon(watch_readiness, handle, seen)
            last: object = None
            async for beat in beats:
                last = beat.detail if beat.detail is not None else last
            seen.append(last)

    body = in_process(isolated.beat, "be busy")
    report = once(ChildSpec("c", body, readiness="explicit", stale_after=0.7), act)
    assert report.exit == Succeeded(None)
    assert seen[-1] in (99, "not_ready", "ready")
    assert [each for each in seen if isinstance(each, str)][:2] == ["not_ready", "ready"]


async def watch_readiness(handle: ChildRunHandle[Any], seen: list[object]) -> None:
    await handle.wait_ready()
    async for state in handle.readiness.clone():
        if state != "ready" or "not_ready" in seen:
            seen.append(str(state))


def test_values_of_siblings_get_across() -> None:
    late = ChildSpec("late", Behaviour(value=[1, 2], ready_at=0.1), readiness="explicit")
    function = ChildSpec("lambda", Behaviour(value=lambda: None), readiness="explicit")
    never = ChildSpec("never", plain(trio.sleep_forever), restart="temporary")
    asking = ChildSpec("asking", in_process(isolated.ask, "x"), readiness="explicit", grace=20)

    async def main() -> list[Any]:
        tree = SupervisorSpec("app", [late, function, never, asking])
        async with open_supervisor(tree) as supervisor:
            found: list[Any] = supervisor.child(asking).value
            return found

    found = run_real(main)
    assert found[:2] == [[1, 2], [1, 2]]
    assert found[2].startswith("ChildNotFound: ")
    assert found[3].startswith("SupervisorError: the value of 'lambda' cannot be sent")


class Overtaken(socket.socket):
    """A socket whose ``sendall`` returns once the answer to what it has sent has been heard."""

    heard: threading.Event

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        super().sendall(data, flags)
        assert self.heard.wait(20)


def test_an_answer_that_is_there_before_the_question_has_been_sent_is_heard() -> None:
    ours, theirs = socket.socketpair()

    def answer(host: _RemoteHost, token: trio.lowlevel.TrioToken, connection: Overtaken) -> None:
        _, number, name, wait = _frames.unpack(bytearray(theirs.recv(1000))) or ()
        host._hear(token, number, wait, pickle.dumps(name))
        connection.heard.set()

    async def main() -> object:
        with Overtaken(fileno=ours.detach()) as connection, trio.fail_after(20):
            connection.heard = threading.Event()
            host = _RemoteHost(connection)
            token = trio.lowlevel.current_trio_token()
            thread = threading.Thread(target=answer, args=(host, token, connection))
            thread.start()
            try:
                attempt: Any = None
                return await host.wait_value_of(attempt, "late")
            finally:
                thread.join()

    with theirs:
        assert run_real(main) == "late"


def test_a_question_that_no_task_waits_for_any_more_ends_on_both_sides() -> None:
    never = ChildSpec("late", Behaviour(ready_at=inf), readiness="explicit", start_timeout=inf)
    body = in_process(isolated.ask_impatiently, 20)
    asking = ChildSpec("asking", body, readiness="explicit", grace=20)

    async def main() -> object:
        tree = SupervisorSpec("app", [never])
        async with open_supervisor(tree, wait_ready=False) as supervisor:
            with trio.fail_after(20):
                return (await supervisor.start_child(asking)).value

    asked: Any = run_real(main)
    assert 0 < asked <= 20


# ---- how it ends


@pytest.mark.parametrize(
    ("how", "kind", "error", "text"),
    [
        ("crash", Crashed, KeyError, "'x'"),
        ("fail", Failed, None, "on purpose"),
        ("background", Crashed, KeyError, "'x'"),
        ("refuses", Crashed, RemoteError, "helpers.isolated.Refuses: never to arrive"),
        ("unreadable", Crashed, RemoteError, "helpers.isolated.Unreadable: 1 and 2"),
        ("supervisor", Crashed, SupervisorError, "cannot be reached"),
        ("open", Crashed, SupervisorError, "cannot open a supervisor in the tree"),
        ("exit", Crashed, RemoteError, "builtins.SystemExit: 7"),
        ("interrupt", Crashed, RemoteError, "builtins.KeyboardInterrupt: "),
    ],
)
def test_exceptions_come_back_with_their_traceback(
    how: str, kind: type, error: type | None, text: str
) -> None:
    exit_ = once(ChildSpec("c", in_process(isolated.fail, how))).exit
    assert type(exit_) is kind
    found = exit_.error
    assert found is not None
    assert error is None or type(found) is error
    assert text in str(found)
    (note,) = found.__notes__
    assert note.startswith("traceback in the process of fail:\nTraceback")
    assert "isolated.py" in note
    if how == "fail":
        assert found.category == "here"  # type: ignore[attr-defined]


def test_several_exceptions_come_back_as_a_group() -> None:
    exit_ = once(ChildSpec("c", in_process(isolated.fail, "group"))).exit
    assert isinstance(exit_, Crashed)
    assert exit_.has(KeyError)
    assert isinstance(exit_.error, ExceptionGroup)


def test_a_child_that_cancels_itself_has_done_so() -> None:
    exit_ = once(ChildSpec("c", in_process(isolated.fail, "cancel itself"))).exit
    assert isinstance(exit_, SelfCancelled)
    assert "had enough" in exit_.reason


@pytest.mark.parametrize(
    ("how", "code", "number"),
    [
        ("_exit", 3, None),
        ("_exit 0", 0, None),
        ("segfault", None, signal.SIGSEGV),
        ("abort", None, signal.SIGABRT),
        ("kill", None, signal.SIGKILL),
    ],
)
def test_the_end_of_the_process_is_an_exit_with_a_cause(
    how: str, code: int | None, number: int | None
) -> None:
    error = failure(once(ChildSpec("c", in_process(isolated.fail, how))).exit)
    assert (error.exit_code, error.signal) == (code, number)
    assert str(error).startswith("the process of fail ")
    if how in ("segfault", "abort"):  # faulthandler says where
        assert any("isolated.py" in line for line in error.stderr)
    if code is not None:
        assert "has not said how its child ended" in str(error)


@contextlib.contextmanager
def memory_limit(size: int) -> Iterator[Path]:
    """A control group whose processes the kernel kills when they use more memory."""
    root, limit = Path("/sys/fs/cgroup"), "memory.max"
    if (root / "memory").is_dir():  # version 1 of control groups
        root, limit = root / "memory", "memory.limit_in_bytes"
    group = root / f"trio-supervisor-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(size))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"control groups with a limit of memory cannot be made here: {error}")
    try:
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


def test_an_end_for_lack_of_memory_is_an_exit_with_a_cause() -> None:
    with memory_limit(150_000_000) as processes:
        spec = ChildSpec("c", in_process(isolated.eat_memory, str(processes)))
        error = failure(once(spec).exit)
    assert error.signal == signal.SIGKILL
    assert "SIGKILL (by another process, or by the kernel for lack of memory)" in str(error)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (isolated.return_lambda, "what the function returned"),
        (isolated.ready_with_lambda, "the value given to ready()"),
    ],
)
def test_what_cannot_be_pickled_is_named(body: Any, what: str) -> None:
    explicit = body is isolated.ready_with_lambda
    spec = ChildSpec("c", in_process(body), readiness="explicit" if explicit else "immediate")
    exit_ = once(spec).exit
    assert isinstance(exit_, Crashed)
    assert isinstance(exit_.error, TypeError)
    assert f"{what} cannot be sent to the supervisor's process" in str(exit_.error)


def test_a_process_that_a_thread_keeps_alive_is_ended() -> None:
    report = once(ChildSpec("c", in_process(isolated.keep_a_thread)))
    assert report.exit == Succeeded("value")
    assert report.seconds < 20


# ---- stopping and force


def test_a_cancel_lets_the_function_clean_up(tmp_path: Path) -> None:
    path = tmp_path / "result"

    async def act(handle: ChildRunHandle[Any]) -> None:
        await handle.wait_ready()
        handle.abort("now")

    body = in_process(isolated.clean_up, str(path), 0.1, kill_after=20)
    report = once(ChildSpec("c", body, readiness="explicit"), act)
    assert report.exit == Aborted("now")
    assert path.read_text() == "cleaned up"


@pytest.mark.parametrize("kill_after", [0, 0.3])
def test_a_cleanup_that_takes_too_long_is_cut_off(tmp_path: Path, kill_after: float) -> None:
    path = tmp_path / "result"

    async def act(handle: ChildRunHandle[Any]) -> None:
        pids.append(await handle.wait_ready())
        handle.abort("now")

    pids: list[int] = []
    body = in_process(isolated.clean_up, str(path), 1000, kill_after=kill_after)
    report = once(ChildSpec("c", body, readiness="explicit"), act)
    assert report.exit == Aborted("now")
    assert not path.exists()
    assert not is_alive(pids[0])


def test_a_crash_in_the_cleanup_is_a_crash() -> None:
    async def act(handle: ChildRunHandle[Any]) -> None:
        await handle.wait_ready()
        handle.abort("now")

    body = in_process(isolated.crash_in_cleanup, kill_after=20)
    exit_ = once(ChildSpec("c", body, readiness="explicit"), act).exit
    assert isinstance(exit_, Crashed)
    assert str(exit_.error) == "in the cleanup"


def test_a_blocked_loop_is_ended_by_force() -> None:
    pids: list[int] = []

    async def act(handle: ChildRunHandle[Any]) -> None:
        pids.append(await handle.wait_ready())
        await trio.sleep(0.1)
        handle.request_stop("enough")

    body = in_process(isolated.block, kill_after=0.2)
    report = once(ChildSpec("c", body, readiness="explicit", grace=0.2), act)
    assert report.exit == Aborted("enough")
    assert not is_alive(pids[0])


def test_a_blocked_loop_is_silent() -> None:
    body = in_process(isolated.beat, "block", kill_after=0.1)
    report = once(ChildSpec("c", body, readiness="explicit", stale_after=0.5))
    assert isinstance(report.exit, Unhealthy)
    assert report.seconds > 1.3


def test_a_process_that_is_stopped_like_a_job_is_silent() -> None:
    async def act(handle: ChildRunHandle[Any]) -> None:
        os.kill(await handle.wait_ready(), signal.SIGSTOP)

    body = in_process(isolated.beat, "be busy", kill_after=0.1)
    report = once(ChildSpec("c", body, readiness="explicit", stale_after=0.5, grace=0.1), act)
    assert isinstance(report.exit, Unhealthy)


def test_the_start_of_the_interpreter_is_no_silence() -> None:
    spec = ChildSpec("c", in_process(isolated.identify), stale_after=0.3)
    assert isinstance(once(spec).exit, Succeeded)


def test_all_that_the_process_has_started_ends_with_it() -> None:
    pids: list[int] = []

    async def act(handle: ChildRunHandle[Any]) -> None:
        pids.extend(await handle.wait_ready())
        os.kill(pids[0], signal.SIGKILL)

    exit_ = once(ChildSpec("c", in_process(isolated.have_children), readiness="explicit"), act).exit
    assert failure(exit_).signal == signal.SIGKILL
    assert len(pids) == 3
    assert not any(map(is_alive, pids))


@pytest.mark.parametrize("ticks", range(8))
def test_a_stop_request_at_the_start_is_heard_after_it(ticks: int) -> None:
    async def act(handle: ChildRunHandle[Any]) -> None:
        for _ in range(2 * ticks):
            await trio.lowlevel.checkpoint()
        handle.request_stop("at once")

    report = once(
        ChildSpec("c", in_process(isolated.be_ready, 1), readiness="explicit", grace=20), act
    )
    assert report.exit == Stopped("at once")


@pytest.mark.parametrize("ticks", range(4))
def test_a_cancel_at_the_start_leaves_nothing(ticks: int) -> None:
    async def act(handle: ChildRunHandle[Any]) -> None:
        await trio.sleep(0.02 * ticks)
        handle.abort("at once")

    before = set(children_of(os.getpid())), open_files()
    report = once(ChildSpec("c", in_process(isolated.be_ready, 1), readiness="explicit"), act)
    assert report.exit == Aborted("at once")
    assert (set(children_of(os.getpid())), open_files()) == before


SUPERVISING = """
import trio
from helpers import isolated
from trio_supervisor import ChildSpec, SupervisorSpec, open_supervisor
from trio_supervisor.children import in_process
async def main():
    children = [
        ChildSpec("blocked", in_process(isolated.block), readiness="explicit"),
        ChildSpec("parent", in_process(isolated.have_children), readiness="explicit"),
    ]
    async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
        print(supervisor.child("blocked").value, *supervisor.child("parent").value, flush=True)
        print("all up", flush=True)
        await trio.sleep_forever()
if __name__ == "__main__":
    trio.run(main)
"""


def program(folder: Path, text: str) -> Program:
    script = folder / "script.py"
    tests = Path(isolated.__file__).parents[1]
    script.write_text(f"import sys; sys.path.insert(0, {str(tests)!r})\n" + text)
    return Program(folder, str(script))


def test_everything_ends_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with program(tmp_path, SUPERVISING) as running:
        running.wait_for("all up")
        pids = [int(word) for word in running.out.partition("\n")[0].split()]
        assert len(pids) == 4
        assert all(map(is_alive, pids))
        running.signal(signal.SIGKILL)
        running.ended()
        wait_gone(pids)


def test_the_worker_itself_notices_that_the_supervisor_is_gone(tmp_path: Path) -> None:
    # Without the parent-death signal and the shell, which Linux alone has.
    text = SUPERVISING.replace(
        "async def main():",
        "from trio_supervisor.children import _guardian, _spawner\n"
        "_guardian._shell_missing = True\n_spawner._find_prctl = lambda: None\n"
        "async def main():",
    )
    with program(tmp_path, text) as running:
        running.wait_for("all up")
        pids = [int(word) for word in running.out.partition("\n")[0].split()]
        running.signal(signal.SIGKILL)
        running.ended()
        wait_gone(pids[:3])
        os.kill(pids[3], signal.SIGKILL)  # in a session of its own: nothing is left to find it


def test_what_a_main_module_defines_gets_across(tmp_path: Path) -> None:
    text = """
import trio
from trio_supervisor import ChildRunner, ChildSpec
from trio_supervisor.children import in_process
class Answer:
    pass
async def body(child, what):
    if what == "raise":
        raise Missing("from main")
    return Answer()
class Missing(Exception):
    pass
async def main():
    report = await ChildRunner().run_once(ChildSpec("c", in_process(body, "return")))
    if report.exit.is_failure:
        raise report.exit.error
    print(isinstance(report.exit.value, Answer), type(report.exit.value).__module__)
    report = await ChildRunner().run_once(ChildSpec("c", in_process(body, "raise")))
    print(isinstance(report.exit.error, Missing), report.exit.error)
GUARD
    trio.run(main)
"""
    guarded = text.replace("GUARD", 'if __name__ == "__main__":')
    with program(tmp_path, guarded) as running:
        assert running.ended() == 0, running.err
        assert running.out.splitlines() == ["True __main__", "True from main"]
    with program(tmp_path, text.replace("GUARD", "if True:")) as running:
        running.ended()
        assert 'if __name__ == "__main__":' in running.out + running.err


# ---- output, repetition, declarations


def test_what_it_writes_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        once(ChildSpec("c", in_process(isolated.say)))
    lines = [each.getMessage() for each in caplog.records if each.name.endswith(".output")]
    assert sorted(lines) == ["c: a log line", "c: on stderr", "c: on stdout"]


def test_many_starts_and_stops_leave_nothing() -> None:
    cycles = max(int(200 * SIZE), 4)
    spec = ChildSpec("c", in_process(isolated.be_ready, 1), readiness="explicit", grace=20)
    once(spec, stop_when_ready)
    before = children_of(os.getpid()), open_files(), threading.active_count()

    async def main() -> None:
        async with open_supervisor(SupervisorSpec("app", [])) as supervisor:
            for _ in range(cycles):
                await supervisor.start_child(spec)
                await supervisor.remove_child(spec)

    run_real(main, limit=600)
    assert (children_of(os.getpid()), open_files()) == before[:2]
    assert threading.active_count() <= before[2] + 2


def test_values_that_cannot_be_read_back_cost_their_child_and_nothing_else() -> None:
    """Pickling runs what the value's author wrote; `SystemExit` out of it would end the tree."""

    async def main() -> None:
        async def poison(child: ChildContext) -> None:
            child.ready(isolated.Poison())
            await trio.sleep_forever()

        children = [
            ChildSpec("poison", poison, readiness="explicit"),
            ChildSpec("asks", in_process(isolated.ask_for_poison), restart="temporary"),
            ChildSpec("trap", in_process(isolated.return_trap), restart="temporary"),
        ]
        async with open_supervisor(SupervisorSpec("app", children)) as supervisor:
            asks, trap = (supervisor.child(name) for name in ("asks", "trap"))
            with trio.fail_after(30):
                report, other = await asks.wait_exit(after=0), await trap.wait_exit(after=0)
            assert "pickling it raised SystemExit: 66" in repr(report.exit)
            assert other.exit.describe() == (
                "crashed: TypeError: unpickling it raised SystemExit: 66"
            )
            assert supervisor.child("poison").attempt == 1

    run_real(main)


@pytest.mark.parametrize("kind", sorted(hostile.EXCEPTIONS))
def test_any_exception_gets_across_as_itself_or_as_its_description(kind: str) -> None:
    error = hostile.EXCEPTIONS[kind]()
    message = _frames.error_message(error)
    found = _frames.error_of(message, "a process")
    assert isinstance(found, Exception)
    assert type(found) in (type(error), RemoteError)
    assert message[3].endswith(type.__dict__["__name__"].__get__(type(error)))


@pytest.mark.parametrize("kind", [isolated.Trap, isolated.Stubborn])
def test_what_an_exception_does_when_it_is_read_or_noted_stays_in_the_child(
    kind: type[Exception],
) -> None:
    found = _frames.error_of(_frames.error_message(kind("x")), "a process")
    assert type(found) is (kind if kind is isolated.Stubborn else RemoteError)


def test_an_argument_that_cannot_be_pickled_is_refused_whatever_it_raises() -> None:
    with pytest.raises(SpecError, match="pickling it raised SystemExit: 66"):
        in_process(isolated.identify, isolated.Poison())


def test_what_another_process_could_not_import_is_refused() -> None:
    async def local(child: ChildContext) -> None:
        pass

    cases: list[tuple[Any, tuple[Any, ...], str]] = [
        (local, (), "a function that another process can import"),
        (isolated.identify, (1, lambda: None), "argument 2=.*can be pickled"),
        (isolated.say, (1,), r"say\(child, \.\.\.\) with 2 in all"),
        (plain(trio.sleep, 1), (), "not an adapter"),
        ("x", (), "in_process"),
    ]
    for function, args, match in cases:
        with pytest.raises(SpecError, match=match):
            in_process(function, *args)
    wrong: list[dict[str, Any]] = [{"kill_after": -1}, {"kill_after": "1"}, {"output": "file"}]
    for options in wrong:
        with pytest.raises(SpecError, match=next(iter(options))):
            in_process(isolated.say, **options)


def test_a_function_that_is_not_async_is_a_clear_crash() -> None:
    exit_ = once(ChildSpec("c", in_process(isolated.not_async))).exit
    assert isinstance(exit_, Crashed)
    assert "cannot be awaited" in str(exit_.error)


def test_declarations_are_values() -> None:
    assert in_process(isolated.be_ready, 1) == in_process(isolated.be_ready, 1)
    assert in_process(isolated.be_ready, 1) != in_process(isolated.be_ready, 2)
    assert repr(in_process(isolated.be_ready, 1)) == "in_process(be_ready)"
    assert isinstance(once(ChildSpec("c", in_process(partial(isolated.identify)))).exit, Succeeded)


def test_a_behaviour_takes_its_place_in_virtual_time() -> None:
    tree = SupervisorSpec("app", [ChildSpec("job", in_process(isolated.say))])

    async def main() -> None:
        behaviour = Behaviour(ends_at=5, how="return")
        async with open_supervisor(with_bodies(tree, {"job": behaviour})) as supervisor:
            await trio.sleep(6)
            assert supervisor.child("job").attempt == 2

    run_virtual(main)
