"""Count what a program opens and closes: a crash or a cancel must leave nothing open."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

import attrs
import trio

from trio_supervisor._attempts.attempt import current_attempt
from trio_supervisor._lazy import public

_DESCRIPTORS: Final = next(
    (path for path in ("/proc/self/fd", "/dev/fd") if Path(path).is_dir()), ""
)


@public
@final
class ResourceLeak(AssertionError):
    """Something that was opened in a block of `resources` was still open at its end.

    The message says of each such thing what it is, which attempt opened it, and where.
    """


@final
@attrs.frozen
class _Opened:
    thing: object
    label: str
    by: str
    where: str

    def __str__(self) -> str:
        return f"{self.label}, opened by {self.by} at {self.where}"


@public
@final
class Resources:
    """The resources that are open at the moment, in a block of `resources`."""

    def __init__(self) -> None:
        self._open: dict[int, _Opened] = {}
        self._hooks: list[tuple[Any, str, Any, bool]] = []

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[object]:
        return iter([opened.thing for opened in self._open.values()])

    def opened(self, thing: object, label: str = "") -> None:
        """Count ``thing`` as open, until `closed` is called with it.

        Args:
            thing: Any object; it is told apart by identity, and kept alive.
            label: What to call it in a message. Default: its `repr`.
        """
        attempt = current_attempt.get(None)
        task = trio.lowlevel.current_task().name if trio.lowlevel.in_trio_task() else "the test"
        by = task if attempt is None else attempt.task_name
        self._open[id(thing)] = _Opened(thing, label or repr(thing), by, _caller())

    def closed(self, thing: object) -> None:
        """Count ``thing`` as closed. Closing it again, or what was never opened, does nothing."""
        self._open.pop(id(thing), None)

    def hook(self, owner: Any, name: str, *, close: str = "close") -> None:
        """Count what ``owner.name(...)`` returns as open, until its method ``close`` is called.

        The hook is taken away at the end of the block.

        Args:
            owner: A module, a class or an object, such as ``my_database``.
            name: A function or an async function in it that opens something, such as ``"connect"``.
            close: The method, ordinary or async, that closes what was opened.

        Raises:
            AttributeError: There is no such function, or (when it is called) no such method.
        """
        original = getattr(owner, name)
        inherited = name not in vars(owner)
        label = f"{getattr(owner, '__name__', type(owner).__name__)}.{name}()"

        def count(thing: Any) -> Any:
            closing = getattr(thing, close)

            def closes(*args: Any, **options: Any) -> Any:
                self.closed(thing)
                return closing(*args, **options)

            setattr(thing, close, closes)
            self.opened(thing, label)
            return thing

        async def count_awaited(waiting: Any) -> Any:
            return count(await waiting)

        def hooked(*args: Any, **options: Any) -> Any:
            result = original(*args, **options)
            return count_awaited(result) if inspect.isawaitable(result) else count(result)

        self._hooks.append((owner, name, original, inherited))
        setattr(owner, name, hooked)

    def _restore(self) -> None:
        for owner, name, original, inherited in reversed(self._hooks):
            if inherited:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
        self._hooks.clear()

    def _texts(self) -> list[str]:
        return [str(opened) for opened in self._open.values()]


@public
@contextmanager
def resources(*, descriptors: bool = True) -> Iterator[Resources]:
    """Fail if something that is opened inside this block is still open at its end.

    Put the block round the tree in a scenario for `simulate`, `search` or `crash_everywhere`: an
    attempt that crashes or is cancelled between opening and closing is what leaks. Files, sockets
    and pipes are counted by the operating system's own list; connections and whatever else you hold
    by `Resources.hook` or `Resources.opened`.

    Args:
        descriptors: Whether to count file descriptors (where the system lists them: Linux, macOS).
            Default: yes.

    Raises:
        ResourceLeak: Something is still open. If the block raises anyway, that gets a note instead.

    Example::

        async def a_day():
            with resources() as opened:
                opened.hook(database, "connect", close="aclose")
                async with open_supervisor(APP):
                    await trio.sleep(60)

        crash_everywhere(a_day, child="app/worker", fault=["crash", "cancel"]).check()
    """
    before = _descriptors() if descriptors else {}
    opened = Resources()
    try:
        yield opened
    except BaseException as error:
        leaks = _leaks(opened, before, descriptors=descriptors)
        if leaks:
            error.add_note("still open: " + "; ".join(leaks))
        raise
    finally:
        opened._restore()
    leaks = _leaks(opened, before, descriptors=descriptors)
    if leaks:
        raise ResourceLeak("still open: " + "; ".join(leaks))


def _leaks(opened: Resources, before: dict[int, str], *, descriptors: bool) -> list[str]:
    now = _descriptors() if descriptors else {}
    new = [f"descriptor {fd} ({what})" for fd, what in now.items() if before.get(fd) != what]
    return [*opened._texts(), *new]


def _descriptors() -> dict[int, str]:
    """Return the open file descriptors with what they lead to."""
    found: dict[int, str] = {}
    if not _DESCRIPTORS:
        return found
    for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208  # names are numbers
        fd = int(name)
        try:
            os.fstat(fd)
            found[fd] = os.readlink(f"{_DESCRIPTORS}/{name}")  # noqa: PTH115  # may be no path
        except OSError:  # it was the listing's own, or this system tells no more
            if _is_open(fd):
                found[fd] = "open"
    return found


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _caller() -> str:
    """Return the line outside of this module that opened something."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
