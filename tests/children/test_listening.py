"""A listening socket that another library's server uses: what can still be done with it."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import pytest
import trio

from trio_supervisor.children._listening import Held, _is_unread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def listen(where: str | tuple[str, int]) -> socket.socket:
    family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.bind(where)
    found.listen(5)
    return found


class Site:
    """A held socket, and its clients."""

    def __init__(self, where: str | tuple[str, int], send_timeout: float = 3.0) -> None:
        listening = listen(where)
        self.family = listening.family
        self.address = listening.getsockname()
        self.held = Held(trio.socket.from_stdlib_socket(listening), send_timeout)
        self.sockets: list[socket.socket] = []

    def server(self) -> socket.socket:
        """The socket as a server makes it of the descriptor; a duplicate, to be closed."""
        found = socket.socket(fileno=os.dup(self.held.descriptor))
        self.sockets.append(found)
        return found

    def connect(self) -> socket.socket:
        client = socket.socket(self.family, socket.SOCK_STREAM)
        self.sockets.append(client)
        client.settimeout(10)
        client.connect(self.address)
        return client

    def accept(self) -> socket.socket:
        with self.server() as server:
            connection, _ = server.accept()
        self.sockets.append(connection)
        return connection


@pytest.fixture(params=["inet", "unix"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    found = Site(("127.0.0.1", 0) if request.param == "inet" else str(tmp_path / "s"))
    try:
        yield found
    finally:
        found.held.close()
        for each in found.sockets:
            each.close()


def becomes(condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` is true within ten seconds: bytes take a moment through the kernel."""
    limit = time.monotonic() + 10
    while not condition() and time.monotonic() < limit:
        time.sleep(0.001)
    return condition()


def test_a_connection_whose_client_acknowledges_nothing_is_given_up_in_time() -> None:
    site = Site(("127.0.0.1", 0), send_timeout=2.5)
    with site.server() as server:
        assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 2500
    site.held.close()


def test_clients_that_wait_are_seen(site: Site) -> None:
    assert not site.held.has_waiting()
    site.connect()
    assert becomes(site.held.has_waiting)
    site.accept()
    assert not site.held.has_waiting()


def test_bytes_that_the_server_has_not_read_are_seen(site: Site) -> None:
    assert not site.held.has_unread()
    client, connection = site.connect(), site.accept()
    # Over TCP the first request may be on its way; a Unix socket has it at once.
    assert site.held.has_unread() is (site.family == socket.AF_INET)
    client.sendall(b"GET")
    assert becomes(site.held.has_unread)
    assert connection.recv(10) == b"GET"
    assert not site.held.has_unread()


def test_a_client_that_has_gone_again_sends_nothing_more() -> None:
    site = Site(("127.0.0.1", 0))
    client = site.connect()
    with site.accept():
        assert site.held.has_unread()
        client.close()
        assert becomes(lambda: not site.held.has_unread())
    site.held.close()


def test_what_is_no_connection_has_nothing_unread() -> None:
    with listen(("127.0.0.1", 0)) as listening:
        assert not _is_unread(listening)


def test_no_client_gets_in_any_more_and_the_connections_go_on(site: Site) -> None:
    client, connection = site.connect(), site.accept()
    site.held.stop_accepting()
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        site.connect()
    assert not site.held.has_waiting()
    connection.sendall(b"still here")
    assert client.recv(100) == b"still here"


def test_connections_are_cut_and_others_are_left_alone(site: Site, tmp_path: Path) -> None:
    other = Site(("127.0.0.1", 0) if site.family == socket.AF_INET else str(tmp_path / "other"))
    client, connection = site.connect(), site.accept()
    far, near = other.connect(), other.accept()
    datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)  # of another kind altogether
    site.sockets.append(datagrams)
    site.held.cut_connections()
    assert client.recv(10) == b""
    assert connection.recv(10) == b""
    near.sendall(b"alive")
    assert far.recv(10) == b"alive"
    other.held.close()
    for each in other.sockets:
        each.close()


def test_a_descriptor_that_the_server_has_closed_is_left_alone(site: Site) -> None:
    os.close(site.held.descriptor)
    site.held.close()
    site.held.stop_accepting()
    assert not site.held.has_waiting()
    # Its number may belong to another file by now.
    with open(os.devnull, "rb") as another:  # noqa: PTH123
        if another.fileno() != site.held.descriptor:
            os.dup2(another.fileno(), site.held.descriptor)
        site.held.close()
        assert os.fstat(site.held.descriptor).st_ino == os.fstat(another.fileno()).st_ino
        if another.fileno() != site.held.descriptor:
            os.close(site.held.descriptor)
