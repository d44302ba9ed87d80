"""What is opened and not closed is found, and said: what, by whom, where."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trio_supervisor import ChildContext, ChildSpec, SupervisorSpec, open_supervisor
from trio_supervisor.testing import (
    ResourceLeak,
    Resources,
    crash_everywhere,
    resources,
    simulate,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Connection:
    def close(self) -> None: ...

    async def aclose(self) -> None:
        await trio.sleep(0.1)


class Database:
    def connect(self) -> Connection:
        return Connection()

    async def connect_slowly(self) -> Connection:
        await trio.sleep(0.1)
        return Connection()


@asynccontextmanager
async def careful(database: Database) -> AsyncIterator[Connection]:
    connection = database.connect()
    try:
        yield connection
    finally:
        connection.close()


async def works_carefully(child: ChildContext, database: Database) -> None:
    while True:
        async with careful(database):
            await trio.sleep(1)
        await trio.sleep(1)


async def works_carelessly(child: ChildContext, database: Database) -> None:
    while True:
        connection = database.connect()
        await trio.sleep(1)
        connection.close()
        await trio.sleep(1)


async def a_minute(body: Any) -> None:
    database = Database()
    with resources() as opened:
        opened.hook(database, "connect")
        async with open_supervisor(SupervisorSpec("app", [ChildSpec("w", body, database)])):
            await trio.sleep(3.5)


@pytest.mark.parametrize("kind", ["crash", "cancel"])
def test_a_fault_that_leaks_is_found(kind: Any) -> None:
    crash_everywhere(a_minute, works_carefully, child="app/w", fault=kind).check()
    found = crash_everywhere(a_minute, works_carelessly, child="app/w", fault=kind)
    with pytest.raises(
        ResourceLeak, match=r"Database\.connect\(\), opened by app/w#1 at .*:\d+ in"
    ):
        found.check()


def test_what_an_async_function_opens_and_an_async_method_closes() -> None:
    async def main(closes: bool) -> None:
        database = Database()
        with resources() as opened:
            opened.hook(database, "connect_slowly", close="aclose")
            connection = await database.connect_slowly()
            assert list(opened) == [connection]
            if closes:
                await connection.aclose()
                assert len(opened) == 0
        assert "connect_slowly" not in vars(database)

    simulate(main, True).check()
    with pytest.raises(ResourceLeak, match="connect_slowly"):
        simulate(main, False).check()


def test_hooks_on_a_class_are_put_back() -> None:
    original = Database.connect
    with resources() as opened:
        opened.hook(Database, "connect")
        Database().connect().close()
    assert Database.connect is original
    with pytest.raises(AttributeError), resources() as opened:
        opened.hook(Database, "nothing")


def test_files_and_sockets_are_counted_by_the_system(tmp_path: Path) -> None:
    kept: list[Any] = []
    with resources():
        (tmp_path / "a").write_text("closed again")
    with pytest.raises(ResourceLeak, match=r"descriptor \d+ \(.*/kept\)"), resources():
        kept.append((tmp_path / "kept").open("w"))
    with pytest.raises(ResourceLeak, match=r"descriptor \d+ \(socket"), resources():
        kept.append(socket.socket())
    with resources(descriptors=False):
        kept.append(socket.socket())
    for thing in kept:
        thing.close()


def test_an_error_of_the_block_comes_out_with_a_note() -> None:
    with pytest.raises(ValueError, match="mine") as caught, resources() as opened:
        opened.opened(object(), "a thing")
        raise ValueError("mine")
    assert "still open: a thing, opened by the test" in caught.value.__notes__[0]


def test_closing_twice_or_what_is_unknown_does_nothing() -> None:
    opened = Resources()
    thing = object()
    opened.closed(thing)
    opened.opened(thing)
    opened.closed(thing)
    opened.closed(thing)
    assert not list(opened)
