"""What every program measures with: CPU and wall time per operation, memory, garbage collection."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

Result = dict[str, float]
Program = Callable[[int], Result]


class BoomError(Exception):
    """What a failing child raises."""


class Watch:
    """A stop watch for CPU and wall time."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def per(self, count: int, prefix: str = "") -> Result:
        """Microseconds for each of ``count`` operations since the start."""
        cpu, wall = time.process_time() - self._cpu, time.perf_counter() - self._wall
        return {f"{prefix}cpu": cpu / count * 1e6, f"{prefix}wall": wall / count * 1e6}


class Attempts:
    """Counts the attempts of a failing child: the first ones warm up, the next ones count."""

    def __init__(self, count: int, warm_up: int = 200) -> None:
        self.count = count
        self.warm_up = warm_up
        self.made = 0
        self.result: Result = {}
        self._watch = Watch()

    def begin(self) -> bool:
        """First line of an attempt; True in the last one, which is to stay."""
        self.made += 1
        if self.made == self.warm_up:
            self._watch.start()
        elif self.made == self.warm_up + self.count:
            self.result = self._watch.per(self.count)
            return True
        return False


class Census:
    """Start, memory and stop of many children that do nothing.

    ``until`` ends the process at that point: what a longer run costs beyond it is the rest.
    """

    def __init__(self, count: int, until: str = "") -> None:
        self.count = count
        self._until = until
        self.result: Result = {}
        gc.collect()
        self._rss = rss()
        self._watch = Watch()

    def declared(self) -> None:
        """Note that all specs exist; what follows is the start."""
        if self._until == "declared":
            os._exit(0)
        self.result |= self._watch.per(self.count, "declare_")
        self._watch.start()

    def all_up(self) -> None:
        if self._until == "up":
            os._exit(0)
        self.result |= self._watch.per(self.count, "start_")
        gc.collect()
        self.result["bytes"] = (rss() - self._rss) / self.count
        self._watch.start()

    def all_down(self) -> None:
        self.result |= self._watch.per(self.count, "stop_")


def rss() -> int:
    """The resident set of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def sink_logs(name: str = "trio_supervisor") -> None:
    """Nothing is written anywhere, and nothing is formatted for it."""
    logger = logging.getLogger(name)
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


def format_logs() -> None:
    """Every record is formatted, and written to nowhere."""
    stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    logging.basicConfig(level=logging.INFO, stream=stream)
