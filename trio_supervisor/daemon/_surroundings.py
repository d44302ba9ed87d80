"""The tasks beside the tree in a daemon: service manager, orphans, blocked loop.

Each part is a task of its own. One that fails is logged and begins anew after a while; none of them
can end the user's tree.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Any, Final, final

import trio

from trio_supervisor._logging.safe import say
from trio_supervisor._text import one_line
from trio_supervisor.daemon import _listen
from trio_supervisor.daemon._blocked import BlockedLoopMonitor
from trio_supervisor.daemon._notify import Notifier
from trio_supervisor.daemon._orphans import OrphanReaper, adopt_orphans
from trio_supervisor.daemon._systemd import Informer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor._specs.supervisor import SupervisorSpec

_log = logging.getLogger("trio_supervisor.daemon")
_LONGEST_PAUSE: Final = 60.0


def take_environment() -> Notifier | None:
    """Take what the service manager says to this process, so that no child inherits it."""
    _listen.take_inherited(os.environ)
    try:
        return Notifier.from_environment(os.environ)
    except OSError as error:
        say(_log, logging.WARNING, "the service manager cannot be reached: %s", error)
        return None


@final
class Surroundings:
    """The parts that are there for one run."""

    def __init__(
        self, informer: Informer | None, monitor: BlockedLoopMonitor | None, nursery: trio.Nursery
    ) -> None:
        self.monitor = monitor
        self._informer = informer
        self._nursery = nursery

    def attach(self, supervisor: Supervisor) -> None:
        """Follow this tree."""
        if self._informer is not None:
            self._nursery.start_soon(_again, "status", self._informer.follow, supervisor)

    def stopping(self, reason: str) -> None:
        """The stop is decided."""
        if self._informer is not None:
            self._informer.stopping(reason)

    def reload_refused(self, why: str) -> None:
        """A reload was asked for, and will not be done."""
        if self._informer is not None:
            self._informer.reload_refused(why)


def monitor_of(blocked_after: float, nursery: trio.Nursery) -> BlockedLoopMonitor | None:
    """Start the one monitor of the event loop, for log, probes and metrics, unless it is off."""
    if blocked_after == inf:
        return None
    monitor = BlockedLoopMonitor(after=blocked_after)
    nursery.start_soon(monitor.keep)
    return monitor


@contextmanager
def surroundings(
    spec: SupervisorSpec,
    notifier: Notifier | None,
    monitor: BlockedLoopMonitor | None,
    nursery: trio.Nursery,
) -> Iterator[Surroundings]:
    """Run the parts in ``nursery``, which the caller cancels when the tree has ended."""
    informer = None if notifier is None else Informer(notifier, spec)
    if adopt_orphans():
        nursery.start_soon(_again, "reaper", OrphanReaper().keep)
    if notifier is not None:
        _listen.manager.append(notifier)
    try:
        yield Surroundings(informer, monitor, nursery)
    finally:
        if notifier is not None:
            _listen.manager.remove(notifier)


async def _again(what: str, part: Callable[..., Awaitable[object]], *args: Any) -> None:
    pause = 1.0
    while True:
        try:
            await part(*args)
        except Exception as error:
            text = "the %s of the daemon failed and begins anew in %gs: %s: %s"
            name = type(error).__name__
            where = (type(error), error, error.__traceback__)
            said = one_line(str(error))
            say(_log, logging.ERROR, text, what, pause, name, said, exc_info=where)
        else:
            return
        await trio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
