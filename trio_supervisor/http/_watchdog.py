"""A thread that notices whether the event loop turns, and answers ``/livez`` while it does not.

While the loop turns, Trio accepts connections. While it does not, nothing in Trio can answer, so
this thread accepts from the same listening sockets: a probe learns within half a second that the
process is busy (200) or has been stuck for too long (503), instead of running into its timeout. The
thread looks at the first bytes of a connection without taking them. What does not ask for
``/livez`` is handed to Trio as it is, to be answered when the loop turns again.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, final

import trio

from trio_supervisor._lazy import public

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_STAMP_EVERY: Final = 0.1
_LATE: Final = 0.4
"""Seconds without a stamp after which the thread accepts connections."""
_LONGEST_TICK: Final = 0.5
_ANSWER_WITHIN: Final = 2.0
_MOST_CLIENTS: Final = 64
_MOST_REQUEST: Final = 8192
_LIVEZ: Final = b"GET /livez "


@public
class LoopMonitor(Protocol):
    """Tells how long the event loop has not turned; any thread may ask."""

    def blocked_for(self) -> float:
        """Return the seconds since the loop last turned.

        Time in which the whole process was suspended (SIGSTOP, a laptop that sleeps) does not
        count: nothing could turn then.
        """
        ...


@final
class LoopStamp:
    """A `LoopMonitor` made of a task, `keep`, and a thread that calls `tick` regularly."""

    def __init__(self) -> None:
        self._stamp = 0
        self._seen = 0
        self._blocked = 0.0
        self._ticked = time.monotonic()

    async def keep(self) -> None:
        """Renew the stamp until cancelled."""
        while True:
            self._stamp += 1
            await trio.sleep(_STAMP_EVERY)

    def tick(self) -> None:
        """Look at the stamp; to be called by one thread, several times a second."""
        now = time.monotonic()
        # The thread itself stands still while the process is suspended: a long tick is not the
        # loop's fault.
        passed, self._ticked = min(now - self._ticked, _LONGEST_TICK), now
        if self._stamp == self._seen:
            self._blocked += passed
        else:
            self._seen = self._stamp
            self._blocked = 0.0

    def blocked_for(self) -> float:
        return self._blocked


@final
class Watchdog:
    """The thread. It answers only while the loop is late; ``live`` says what to answer.

    Args:
        sockets: Listening sockets; the watchdog uses duplicates.
        hand_over: Called in the thread with a connection that asks for something else.
        monitor: Asked about the loop. Without one, the watchdog keeps a stamp of its own.
        live: Called in the thread with the seconds for which the loop has not turned; returns
            whether the process counts as alive, and a line of text.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        hand_over: Callable[[socket.socket], None],
        live: Callable[[float], tuple[bool, str]],
        monitor: LoopMonitor | None = None,
    ) -> None:
        self._listeners = [each.dup() for each in sockets]
        self._hand_over = hand_over
        self._live = live
        self._stamp = LoopStamp()
        self._monitor = monitor or self._stamp
        self._selector = selectors.DefaultSelector()
        self._accepting = False
        self._clients: dict[socket.socket, tuple[float, bytes]] = {}
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(
            target=self._run, name="trio_supervisor liveness", daemon=True
        )

    async def keep_stamp(self) -> None:
        """Renew the watchdog's own stamp until cancelled."""
        await self._stamp.keep()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Takes a few milliseconds, whatever its clients do."""
        self._wake.send(b"x")
        self._thread.join()
        self._wake.close()
        self._woken.close()

    # ------------------------------------------------------------ in the thread

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        finally:
            for client in list(self._clients):
                self._drop(client)
            for listener in self._listeners:
                listener.close()
            self._selector.close()

    def _turn(self) -> bool:
        ready = self._selector.select(_STAMP_EVERY)
        self._stamp.tick()
        for key, _ in ready:
            found = key.fileobj
            assert isinstance(found, socket.socket)
            if found is self._woken:
                return False
            if found in self._clients:
                self._read(found)
            else:
                self._accept(found)
        self._accept_if(self._monitor.blocked_for() >= _LATE)
        now = time.monotonic()
        for client, (deadline, _) in list(self._clients.items()):
            if now >= deadline:
                self._drop(client)
        return True

    def _accept_if(self, wanted: bool) -> None:
        if wanted == self._accepting:
            return
        self._accepting = wanted
        for listener in self._listeners:
            if wanted:
                self._selector.register(listener, selectors.EVENT_READ)
            else:
                self._selector.unregister(listener)

    def _accept(self, listener: socket.socket) -> None:
        if len(self._clients) >= _MOST_CLIENTS:
            # The one that has been there longest has had its time.
            self._drop(min(self._clients, key=lambda each: self._clients[each][0]))
        try:
            client, _ = listener.accept()
        except OSError:  # Trio was quicker, or there are no file descriptors left
            return
        client.setblocking(False)
        self._clients[client] = (time.monotonic() + _ANSWER_WITHIN, b"")
        self._selector.register(client, selectors.EVENT_READ)

    def _read(self, client: socket.socket) -> None:
        deadline, received = self._clients[client]
        try:
            if not received:
                start = client.recv(len(_LIVEZ), socket.MSG_PEEK)
                if start and start != _LIVEZ:
                    self._forget(client)
                    self._hand_over(client)
                    return
            more = client.recv(_MOST_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        received += more
        if more and b"\r\n\r\n" not in received and len(received) < _MOST_REQUEST:
            self._clients[client] = (deadline, received)
            return
        if more:
            with suppress(OSError):  # a client that does not read gets what its buffer holds
                client.send(self._answer())
        self._drop(client)

    def _answer(self) -> bytes:
        alive, line = self._live(self._monitor.blocked_for())
        body = f"{line}\n".encode("utf-8", "replace")
        status = "200 OK" if alive else "503 Service Unavailable"
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body

    def _forget(self, client: socket.socket) -> None:
        del self._clients[client]
        self._selector.unregister(client)

    def _drop(self, client: socket.socket) -> None:
        self._forget(client)
        client.close()
