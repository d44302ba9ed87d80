"""The private names of Trio that deterministic runs need: all of them, and in no other module.

Trio's scheduler shuffles the tasks that are runnable in one step with a generator of its own, if it
may be deterministic (a switch made for Hypothesis). Replacing that generator decides the order of
tasks. A test of this kit fails when Trio moves any of these names.
"""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_supervisor.testing._errors import TrioMoved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

_SWITCH: Final = "_ALLOW_DETERMINISTIC_SCHEDULING"
_GENERATOR: Final = "_r"
_CONTEXT: Final = "GLOBAL_RUN_CONTEXT"
_DEADLINES: Final = "Deadlines"
_REGISTERED: Final = "_registered_deadline"


def _core() -> Any:
    core = getattr(getattr(trio, "_core", None), "_run", None)
    for name in (_SWITCH, _GENERATOR, _CONTEXT, _DEADLINES):
        if not hasattr(core, name):
            raise TrioMoved(_moved(name))
    return core


def _moved(name: str) -> str:
    return (
        f"trio {trio.__version__} has no trio._core._run.{name}, by which schedules are "
        "replayed; trio_supervisor.testing works with trio 0.31 to 0.35, and a newer "
        "release of it may know this one"
    )


@contextmanager
def scheduling(source: Random) -> Iterator[None]:
    """Let Trio call ``source.shuffle(tasks)`` once per step, inside this block.

    The list holds the oldest task first; afterwards, the last task of the list runs first.

    Raises:
        TrioMoved: The installed release of Trio cannot be driven like that.
    """
    core = _core()
    before = getattr(core, _GENERATOR), getattr(core, _SWITCH)
    setattr(core, _GENERATOR, source)
    setattr(core, _SWITCH, True)
    try:
        yield
    finally:
        setattr(core, _GENERATOR, before[0])
        setattr(core, _SWITCH, before[1])


@contextmanager
def drifting(delay: Callable[[float], float]) -> Iterator[None]:
    """Let each deadline that is set inside this block be late by ``delay(deadline)`` seconds.

    Every finite deadline of every entered scope passes one method of Trio. The scope goes on
    showing the deadline that it was given.

    Raises:
        TrioMoved: The installed release of Trio cannot be driven like that.
    """
    core = _core()
    deadlines = getattr(core, _DEADLINES)
    add = getattr(deadlines, "add", None)
    registered = hasattr(trio.CancelScope(), _REGISTERED)
    if add is None or not registered:
        raise TrioMoved(_moved(f"{_DEADLINES}.add or CancelScope.{_REGISTERED}"))

    def late_add(self: object, deadline: float, cancel_scope: trio.CancelScope) -> None:
        seconds = delay(deadline)
        if seconds > 0:
            deadline += seconds
            setattr(cancel_scope, _REGISTERED, deadline)  # the heap's entry has to be equal to it
        add(self, deadline, cancel_scope)

    deadlines.add = late_add
    try:
        yield
    finally:
        deadlines.add = add


def is_shielded_checkpoint(trap: object) -> bool:
    """Return whether a task that yields ``trap`` only lets others run, and cannot be cancelled."""
    return type(trap).__name__ != "WaitTaskRescheduled"


def abandon_run() -> None:
    """Make this thread forget a guest run that cannot be finished, so that another may begin."""
    vars(getattr(_core(), _CONTEXT)).clear()


def bury(tasks: list[trio.lowlevel.Task]) -> None:
    """End the tasks of a run that was broken off.

    The garbage collector would end each task in no order, with a complaint for each. Complaints
    about other objects still come out.
    """
    hook = sys.unraisablehook
    nurseries: list[Any] = [nursery for task in tasks for nursery in task.child_nurseries]
    buried = {id(thing) for task in tasks for thing in (task, task.coro)} | set(map(id, nurseries))

    def pass_on(unraisable: sys.UnraisableHookArgs) -> None:
        if id(unraisable.object) not in buried:
            hook(unraisable)

    sys.unraisablehook = pass_on
    try:
        for task in reversed(tasks):
            _close(task)
        tasks.clear()
        for nursery in nurseries:
            children: set[object] = getattr(nursery, "_children", set())
            children.clear()  # or the nursery would complain of them later
        nurseries.clear()
        gc.collect()
    finally:
        sys.unraisablehook = hook


def _close(task: trio.lowlevel.Task) -> None:
    for _ in range(20):  # the task may go on awaiting, in its cleanup
        try:
            task.coro.close()
        except BaseException:  # noqa: S112  # the task is closer to its end, whatever it raised
            continue
        return
