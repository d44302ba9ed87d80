"""Bodies that tests run in processes of their own; those import this module."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from trio_supervisor import ChildNotReady, SupervisorError, TaskFailure

if TYPE_CHECKING:
    from trio_supervisor import ChildContext


class Refuses(Exception):
    """Cannot be pickled."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("never")


class Unreadable(Exception):
    """Can be pickled, but not unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


async def identify(child: ChildContext, *args: object) -> tuple[object, ...]:
    await trio.lowlevel.checkpoint()
    return os.getpid(), child.name, child.path, child.attempt, child.generation, args


async def be_ready(child: ChildContext, value: object) -> None:
    child.ready(value)
    await child.wait_stop_requested()


async def stop_slowly(child: ChildContext, path: str, seconds: float) -> str:
    child.ready(os.getpid())
    with child.stop_scope():
        await trio.sleep_forever()
    await trio.sleep(seconds)
    Path(path).write_text("finished")  # noqa: ASYNC240
    return "finished"


async def clean_up(child: ChildContext, path: str, seconds: float) -> None:
    child.ready(os.getpid())
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)
            await trio.Path(path).write_text("cleaned up")


async def crash_in_cleanup(child: ChildContext) -> None:
    child.ready()
    try:
        await trio.sleep_forever()
    finally:
        raise OSError("in the cleanup")


async def fail(child: ChildContext, how: str) -> None:
    await trio.lowlevel.checkpoint()
    if how == "crash":
        raise KeyError("x")
    if how == "fail":
        raise TaskFailure("on purpose", category="here")
    if how == "refuses":
        raise Refuses("never to arrive")
    if how == "unreadable":
        raise Unreadable(1, 2)
    if how == "group":
        raise ExceptionGroup("two", [KeyError("x"), TaskFailure("y")])
    if how == "background":
        child.nursery.start_soon(fail, child, "crash")
        await trio.sleep_forever()
    if how == "cancel itself":
        child.nursery.cancel_scope.cancel("had enough")
        await trio.sleep_forever()
    if how == "supervisor":
        _ = child.supervisor
    if how == "open":
        child.open_supervisor()
    leave(how)


def leave(how: str) -> None:
    if how == "exit":
        sys.exit(7)
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "_exit":
        os._exit(3)
    if how == "_exit 0":
        os._exit(0)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "abort":
        os.abort()
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


async def eat_memory(child: ChildContext, procs: str) -> None:
    await trio.lowlevel.checkpoint()
    Path(procs).write_text(str(os.getpid()))  # noqa: ASYNC240
    eaten: list[bytes] = []
    while len(eaten) < 100:  # where the limit does not work
        eaten.append(b"x" * 10_000_000)


async def return_lambda(child: ChildContext) -> object:
    await trio.lowlevel.checkpoint()
    return lambda: None


async def ready_with_lambda(child: ChildContext) -> None:
    await trio.lowlevel.checkpoint()
    child.ready(lambda: None)


async def beat(child: ChildContext, then: str) -> None:
    child.ready(os.getpid())
    for number in range(100):
        child.heartbeat(number if number != 50 else Refuses())
        await trio.sleep(0.01)
    if then == "block":
        time.sleep(1000)  # noqa: ASYNC251
    with child.busy(2):
        await trio.sleep(1)
    child.not_ready("tired")
    await trio.sleep(0.1)
    child.ready()
    await trio.sleep(0.1)


async def start_slowly(child: ChildContext) -> None:
    child.extend_start_timeout(30)
    await trio.sleep(1)
    child.ready()
    await child.wait_stop_requested()


async def ask(child: ChildContext, out: str) -> None:
    found: list[object] = [await child.wait_value("late"), child.value("late")]
    for name in ("nobody", "lambda", "never"):
        try:
            found.append(child.value(name))
        except SupervisorError as error:
            found.append(f"{type(error).__name__}: {error}")
        else:
            found.append("no error")
    try:
        child.value("never")
    except ChildNotReady:
        found.append("not ready")
    child.ready(found)
    await child.wait_stop_requested()


async def ask_impatiently(child: ChildContext, times: int) -> None:
    """Wait again and again, for a moment each time, for a value that does not come."""
    host: Any = child._attempt.host
    for _ in range(times):
        with trio.move_on_after(0.001):
            await child.wait_value("late")
    asked = len(host._waiting)
    while host._waiting:  # noqa: ASYNC110 - until each question is answered, though in vain
        await trio.sleep(0.01)
    child.ready(asked)
    await child.wait_stop_requested()


async def say(child: ChildContext) -> None:
    await trio.lowlevel.checkpoint()
    print("on stdout", flush=True)
    print("on stderr", file=sys.stderr, flush=True)
    logging.getLogger("x").warning("a log line")


async def keep_a_thread(child: ChildContext) -> str:
    await trio.lowlevel.checkpoint()
    threading.Thread(target=time.sleep, args=[1000]).start()
    return "value"


async def have_children(child: ChildContext) -> None:
    sleeper = subprocess.Popen(["sleep", "1000"])  # noqa: ASYNC220
    apart = subprocess.Popen(["sleep", "1000"], start_new_session=True)  # noqa: ASYNC220
    child.ready([os.getpid(), sleeper.pid, apart.pid])
    await trio.sleep_forever()


async def block(child: ChildContext) -> None:
    child.ready(os.getpid())
    await trio.lowlevel.checkpoint()
    time.sleep(1000)  # noqa: ASYNC251


def not_async(child: ChildContext) -> Any:
    return None


class Poison:
    """A value that raises something fatal when it is pickled."""

    def __reduce__(self) -> NoReturn:
        raise SystemExit(66)


class Trap(Exception):
    """Can be pickled; reading it back raises something fatal."""

    def __reduce__(self) -> tuple[Any, ...]:
        return spring, ()

    def add_note(self, note: str) -> NoReturn:
        raise SystemExit(66)


def spring() -> NoReturn:
    raise SystemExit(66)


class Stubborn(Exception):
    """Arrives as itself, and takes no notes."""

    def add_note(self, note: str) -> NoReturn:
        raise SystemExit(66)


async def return_trap(child: ChildContext) -> Trap:
    return Trap()


async def ask_for_poison(child: ChildContext) -> str:
    try:
        child.value("poison")
    except SupervisorError as error:
        return str(error)
    return "got it"
