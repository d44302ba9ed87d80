"""What a long run is doing, how far it is, and how long the rest will take."""

from __future__ import annotations

import sys
import time
from typing import final


@final
class Progress:
    """Tells of the steps of a long run on standard error.

    On a terminal one line is written over and over. Elsewhere, in a log of continuous integration
    say, there is a line every ``every`` seconds, so that a long silence means a hang.
    """

    def __init__(self, steps: int, *, every: float = 30.0) -> None:
        self._steps = steps
        self._done = 0
        self._every = every
        self._begin = self._told = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def step(self, what: str) -> None:
        """Tell that the next step, ``what``, begins."""
        now = time.monotonic()
        line = f"{self._done + 1}/{self._steps} {what}; {_clock(now - self._begin)} so far"
        if self._done:
            left = (now - self._begin) / self._done * (self._steps - self._done)
            line += f", about {_clock(left)} left"
        self._done += 1
        if self._terminal:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        elif self._done == 1 or now - self._told >= self._every:
            self._told = now
            print(line, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the terminal's line to what is printed next."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} min" if minutes else f"{rest} s"
