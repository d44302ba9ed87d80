"""POSIX signals of a daemon: heard from before the import of the user's module until the very end.

Python's default for SIGTERM ends the process without a word, and PID 1 of a container ignores a
signal for which it has no handler. So `run` installs its handlers before it calls the function that
declares the tree, and removes them never: a signal that arrives after the orderly end does nothing.

The handler itself does three things only: it ends a declaration that is under way, it ends the
process at the third signal, and it wakes the Trio task that does everything else.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections import deque
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Final, Self, final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

SHOW: Final[signal.Signals | None] = getattr(signal, "SIGUSR1", None)
HANGUP: Final[signal.Signals | None] = getattr(signal, "SIGHUP", None)
MOST_STOPS: Final = 3
PATIENCE: Final = 5.0  # seconds for the last words of a process that ends at the third signal


@final
class StoppedEarly(BaseException):
    """A signal came while the tree was being declared. Not an `Exception`: it ends the import."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


class _Phase(Enum):
    DECLARING = "declaring"
    RUNNING = "running"
    OVER = "over"


@final
class SignalDesk:
    """The signals of one call of `run`; iterate over it for the ones to obey.

    Args:
        reloads: Whether SIGHUP asks for a new declaration, because there is a function to call. If
            not, SIGHUP means that the terminal was closed, if there is one.
    """

    def __init__(self, *, reloads: bool) -> None:
        self.has_spec = not reloads
        self.hangup_stops = not reloads and has_terminal()
        self.last_words: Callable[[signal.Signals, FrameType | None], object] | None = None
        self.heard: list[signal.Signals] = []
        self._phase = _Phase.DECLARING
        self._stops = 0
        self._received: deque[signal.Signals] = deque()
        self._token: trio.lowlevel.TrioToken | None = None
        self._arrived = trio.Event()

    def install(self) -> None:
        """Hear SIGTERM, and each other signal unless it is ignored or has a handler already.

        A shell lets what it starts in the background ignore SIGINT, and ``nohup`` lets it ignore
        SIGHUP. Both stay ignored.
        """
        heard = self.heard
        heard.append(signal.SIGTERM)
        ours = {signal.SIGINT: signal.default_int_handler, HANGUP: signal.SIG_DFL}
        ours[SHOW] = signal.SIG_DFL
        for number, default in ours.items():
            if number is not None:
                now = signal.getsignal(number)
                if now is default or isinstance(getattr(now, "__self__", None), SignalDesk):
                    heard.append(number)
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            heard.append(signal.SIGINT)
        for number in heard:
            signal.signal(number, self._hear)
        # At its end Python gives every signal with a handler its default back, which is to die.
        atexit.register(_ignore, heard)

    def declared(self) -> None:
        """Queue every signal from now on, until the tree is there to obey it.

        Before, a stop ends the declaration, and the others are queued: SIGUSR1 shows the tree, and
        SIGHUP is answered, as soon as there is a tree.
        """
        self._phase = _Phase.RUNNING

    def close(self) -> None:
        """Let signals do nothing from now on."""
        self._phase = _Phase.OVER
        self.last_words = None

    def _hear(self, number: int, frame: FrameType | None) -> None:
        received = signal.Signals(number)
        if self._phase is _Phase.OVER:
            return
        stops = received is not SHOW and (received is not HANGUP or self.hangup_stops)
        if self._phase is _Phase.DECLARING and stops:
            raise StoppedEarly(received)
        self._stops += stops
        if stops and self._stops >= MOST_STOPS:
            self._end_now(received, frame)
        self._received.append(received)
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._wake, idempotent=True)

    def _end_now(self, received: signal.Signals, frame: FrameType | None) -> None:
        code = 128 + received
        # A log that blocks, say on a full pipe, does not keep the process alive.
        timer = threading.Timer(PATIENCE, os._exit, [code])
        timer.daemon = True
        timer.start()
        try:
            if self.last_words is not None:
                self.last_words(received, frame)
        finally:
            os._exit(code)

    def _wake(self) -> None:
        self._arrived.set()

    def open(self) -> None:
        """Wake the Trio run that calls this when a signal arrives."""
        self._token = trio.lowlevel.current_trio_token()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> signal.Signals:
        while not self._received:
            self._arrived = trio.Event()
            if self._received:  # it came between the two lines
                break
            await self._arrived.wait()
        await trio.lowlevel.checkpoint()
        return self._received.popleft()


def has_terminal() -> bool:
    """Whether this process has a controlling terminal, the closing of which sends SIGHUP."""
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return False
    os.close(descriptor)
    return True


def _ignore(numbers: list[signal.Signals]) -> None:
    for number in numbers:
        if isinstance(getattr(signal.getsignal(number), "__self__", None), SignalDesk):
            signal.signal(number, signal.SIG_IGN)
