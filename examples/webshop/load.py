"""``python -m examples.webshop.load``: stop the shop under load, again and again, and count.

This program does what systemd does with a socket unit: it holds the listening socket, starts the
shop with it, ends it with SIGTERM, and starts it again. Meanwhile clients place orders. Of every
order it is known whether it was in flight at a SIGTERM (the client had begun to connect and had no
whole answer yet), and how it ended:

* answered: the whole answer has arrived, with status 201;
* cut: a part of the answer has arrived;
* lost: the connection was made, and no answer has arrived, or one with another status;
* refused: no connection was made. With a socket that outlives the process that cannot happen; with
  ``--own-socket`` the shop listens itself, and is deaf from the stop to the next start.

No client tries again. At the end the database is read: each order that was answered has to be in
it, once. The exit code is 0 if nothing was lost, cut or refused, and each stop ended with exit code
0. With ``--own-socket`` what was in flight is answered, and clients that come later are not: that
is what the socket of the service manager, or a load balancer and ``drain``, is for.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import attrs
import trio

ROOT: Final = Path(__file__).parents[2]
PAYMENT: Final = 0.4
"""Seconds that the shop takes for an order: longer than the clients take to come."""
COMING: Final = 0.3
LATE: Final = 0.2
"""Seconds after the SIGTERM in which clients still come, and a third of the clients."""
PATIENCE: Final = 60.0


# What systemd does between fork and exec.
_HAND_OVER: Final = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


@attrs.define
class Order:
    """One request of one client."""

    key: str
    asked: bool = False
    in_flight: bool = False
    outcome: str = "not answered"

    @property
    def is_to_come(self) -> bool:
        """Whether its client has not begun."""
        return not self.asked and self.outcome == "not answered"

    def note_signal(self) -> None:
        """Note whether it has begun and is not answered yet; called at the SIGTERM."""
        self.in_flight = self.asked and self.outcome == "not answered"


@attrs.define
class Count:
    """What came out."""

    stops: int = 0
    in_flight: Counter[str] = attrs.field(factory=Counter)
    exit_codes: Counter[int] = attrs.field(factory=Counter)
    outcomes: Counter[str] = attrs.field(factory=Counter)
    missing: int = 0
    stop_seconds: list[float] = attrs.field(factory=list)

    @property
    def is_perfect(self) -> bool:
        """Whether every request was answered, every answer is true, and every stop in order."""
        return (
            not self.missing and set(self.outcomes) == {"answered"} and set(self.exit_codes) == {0}
        )

    def __str__(self) -> str:
        outcome = self.outcomes
        return (
            f"{self.stops} stops by SIGTERM, exit codes {dict(self.exit_codes)}; "
            f"the longest took {max(self.stop_seconds, default=0):.2f}s\n"
            f"in flight at a SIGTERM: {_said(self.in_flight)}\n"
            f"all: {_said(outcome)}; answered but not in the database {self.missing}"
        )


def _said(counted: Counter[str]) -> str:
    parts = [f"{word} {counted[word]}" for word in ("answered", "lost", "cut", "refused")]
    return f"sent {counted.total()}, {', '.join(parts)}"


class Shop:
    """Starts the shop and stops it, as a service manager does.

    Args:
        place: A directory for its files.
        own_socket: Whether the shop has to listen itself.
    """

    def __init__(self, place: Path, *, own_socket: bool) -> None:
        self.database = place / "webshop.db"
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._socket.getsockname()[1]
        self._environment = {
            **os.environ,
            "TRIO_SUPERVISOR_SOCKET": str(place / "control"),
            "WEBSHOP_DATABASE": str(self.database),
            "WEBSHOP_PORT": str(self.port),
            "WEBSHOP_PACE": str(PAYMENT),
            "WEBSHOP_DRAIN": "0",
        }
        start = [sys.executable, "-m", "examples.webshop"]
        if own_socket:
            self._socket.close()
            self._command = start
        else:
            self._environment |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}
            number = self._socket.fileno()
            self._command = [sys.executable, "-S", "-c", _HAND_OVER, str(number), *start]

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process; it is not ready yet."""
        handed = () if self._socket.fileno() < 0 else (self._socket.fileno(),)
        return subprocess.Popen(  # noqa: S603 - this Python
            self._command,
            cwd=ROOT,
            env=self._environment,
            pass_fds=handed,
            stderr=subprocess.DEVNULL,
        )

    def close(self) -> None:
        """Let the socket go."""
        self._socket.close()


async def run(stops: int, requests: int, *, own_socket: bool = False, seed: int = 0) -> Count:
    """Stop the shop ``stops`` times with ``requests`` orders in flight altogether."""
    count = Count()
    choose = random.Random(seed)
    each = -(-requests // stops)
    orders: list[Order] = []
    with tempfile.TemporaryDirectory(prefix="webshop-") as directory:
        shop = Shop(Path(directory), own_socket=own_socket)
        process = shop.start()
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(stops):
                    await _until_open(process, shop.port)
                    now = [Order(f"{seed}-{len(orders) + number}") for number in range(each)]
                    late = [Order(f"late-{len(orders) + number}") for number in range(each // 3)]
                    orders += [*now, *late]
                    begun = trio.current_time()
                    for order in now:
                        at = begun + COMING * choose.random()
                        nursery.start_soon(_place, order, shop.port, at, choose.random() < 0.5)
                    for order in late:
                        at = begun + COMING + LATE * choose.random()
                        nursery.start_soon(_place, order, shop.port, at, False)
                    await trio.sleep_until(begun + COMING)
                    # On a busy machine a client may be late. One that sends its request on a
                    # connection that has been idle finds it closed after the SIGTERM: that is no
                    # request lost by the shop, and any client would connect anew.
                    while any(order.is_to_come for order in now):  # noqa: ASYNC110 - no event says
                        await trio.sleep(0.01)
                    await _stop(process, [*now, *late], count)
                    process = shop.start()
                nursery.cancel_scope.deadline = trio.current_time() + PATIENCE
        finally:
            process.send_signal(signal.SIGTERM)
            with trio.move_on_after(PATIENCE, shield=True):
                await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
            shop.close()
        count.outcomes.update(order.outcome for order in orders)
        count.in_flight.update(order.outcome for order in orders if order.in_flight)
        count.missing = _missing(shop.database, orders)
    return count


async def _stop(process: subprocess.Popen[bytes], orders: list[Order], count: Count) -> None:
    moment = trio.current_time()
    process.send_signal(signal.SIGTERM)
    for order in orders:
        order.note_signal()
    while process.poll() is None:  # noqa: ASYNC110 - a process is no Trio event
        await trio.sleep(0.01)
    count.exit_codes[process.returncode] += 1
    count.stop_seconds.append(trio.current_time() - moment)
    count.stops += 1


async def _until_open(process: subprocess.Popen[bytes], port: int) -> None:
    with trio.fail_after(PATIENCE):
        while True:
            if process.poll() is not None:
                raise ChildProcessError(f"the shop does not start: exit code {process.returncode}")
            with suppress(OSError):
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                async with stream:
                    await stream.send_all(_head("GET", "/", close=True))
                    if (await _answer(stream))[0] == 200:
                        return
            await trio.sleep(0.05)


async def _place(order: Order, port: int, at: float, keep: bool) -> None:
    """Place one order at a moment; ``keep``: on a connection that was used before."""
    try:
        stream = await _connected(order, port, at, keep)
    except OSError:
        order.outcome = "refused"
        return
    received = b""
    async with stream:
        try:
            await stream.send_all(_head("POST", f"/orders/{order.key}?item=tea", close=not keep))
            status, received = await _answer(stream)
        except OSError:
            status = 0
    if status == 201:
        order.outcome = "answered"
    else:
        order.outcome = "cut" if received else "lost"


async def _connected(order: Order, port: int, at: float, keep: bool) -> trio.SocketStream:
    if not keep:
        await trio.sleep_until(at)
        order.asked = True
        return await trio.open_tcp_stream("127.0.0.1", port)
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(_head("GET", "/", close=False))
    await _answer(stream)
    await trio.sleep_until(at)
    order.asked = True
    return stream


def _head(method: str, target: str, *, close: bool) -> bytes:
    connection = "close" if close else "keep-alive"
    return (
        f"{method} {target} HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n"
        f"Connection: {connection}\r\n\r\n"
    ).encode()


async def _answer(stream: trio.SocketStream) -> tuple[int, bytes]:
    """The status of a whole answer, 0 for anything else, and what has arrived."""
    received = b""
    with suppress(trio.BrokenResourceError):
        while not _is_whole(received):
            more = await stream.receive_some()
            if not more:
                break
            received += more
    return (int(received.split(b" ", 2)[1]) if _is_whole(received) else 0), received


def _is_whole(received: bytes) -> bool:
    head, found, body = received.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    return bool(found) and len(body) == int(length)


def _missing(database: Path, orders: list[Order]) -> int:
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT key FROM orders").fetchall()
    kept = Counter(key for (key,) in rows)
    return sum(kept[order.key] != 1 for order in orders if order.outcome == "answered")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.webshop.load", description=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--stops", type=int, default=30, help="default: %(default)s")
    parser.add_argument("--requests", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--own-socket", action="store_true", help="let the shop listen itself")
    given = parser.parse_args()
    begun = time.monotonic()
    count = trio.run(
        lambda: run(given.stops, given.requests, own_socket=given.own_socket, seed=given.seed)
    )
    print(f"{count}\n{time.monotonic() - begun:.0f}s")
    raise SystemExit(0 if count.is_perfect else 1)


if __name__ == "__main__":
    main()
