"""All scenarios, and what is left out of the list that they come from."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

from trio_supervisor._attempts.observer import observing

from . import outside, storms, stubborn
from .verdict import Scene

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SCENARIOS: Final[dict[str, Callable[[Scene], Awaitable[None]]]] = {
    "panic_storm": storms.panic_storm,
    "block_forever": stubborn.block_forever,
    "ignore_cancel": stubborn.ignore_cancel,
    "rapid_failures": storms.rapid_failures,
    "slow_reader": outside.slow_reader,
    "command_load": outside.command_load,
    "junk_commands": outside.junk_commands,
    "reader_crash_loop": outside.reader_crash_loop,
    "clock_step": outside.clock_step,
    "starvation": storms.starvation,
}

NO_MEANING: Final[dict[str, str]] = {
    "socket_path_contention": "the library opens no socket, so none can be occupied",
}
"""Eleven scenarios were asked for. In two more of them a process at the other end of a socket plays
a part; there the part that is the library's own is tested: `junk_commands` instead of a storm of
junk connections, `reader_crash_loop` instead of a relay that is killed."""


def play(name: str, length: float, *, slack: float = 1.0) -> Scene:
    """Run one scenario, and say how it went."""
    scene = Scene(name, length, slack=slack)
    log = logging.getLogger("trio_supervisor")
    counter = _Counter()
    log.addHandler(counter)
    propagate, log.propagate = log.propagate, False
    try:
        with observing(scene.meter):
            trio.run(SCENARIOS[name], scene)
    except Exception as error:
        scene.check(f"no exception, but {error!r}", fact=False)
    finally:
        log.propagate = propagate
        log.removeHandler(counter)
    return scene.end()


class _Counter(logging.Handler):
    """Formats each record like a real handler would, and throws it away."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)
