"""The supervision tree of the log keeper.

.. code-block:: text

    logkeeper       rest_for_one: whoever comes after a child that fails is restarted with it
    ├── listener    holds the socket, so that clients who come during a restart only wait
    ├── store       a thread with the database
    ├── followers   one_for_one: one log file is no other one's business
    │   └── ...     one for each log file
    └── desk        answers queries
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    RestartLimit,
    SupervisorSpec,
    TaskFailure,
)
from trio_supervisor.children import holding, in_thread

from .desk import answer_queries
from .follow import LogReader
from .sabotage import Saboteur
from .store import Store, load_position, run_store, save_batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

_log: Final = logging.getLogger("logkeeper")

# Patience for those who crash things for fun.
_PATIENT: Final = RestartLimit(100, within=60)
_SOON: Final = BackoffPolicy(initial=0.2, maximum=5)


@attrs.frozen
class Options:
    """What one may choose. Times are in seconds."""

    logs: Sequence[Path]
    database: Path
    host: str = "127.0.0.1"
    port: int = 8023
    poll: float = 0.25
    linger: float = 1.0


def declare(options: Options, announce: Callable[[str, int], None]) -> SupervisorSpec:
    """The tree. ``announce(host, port)`` is called each time that the desk opens."""
    saboteur = Saboteur()
    listener = ChildSpec(
        "listener",
        holding(open_listeners, options.host, options.port, saboteur),
        grace=1,
        backoff=_SOON,
    )
    store: ChildSpec[Store] = ChildSpec(
        "store",
        in_thread(run_store, options.database, saboteur),
        readiness="explicit",
        stale_after=30,
        grace=5,
        backoff=_SOON,
    )
    followers = SupervisorSpec(
        "followers",
        [
            ChildSpec(
                name,
                follow_log,
                path,
                store,
                saboteur,
                options,
                readiness="explicit",
                stale_after=30,
                grace=5,
                backoff=_SOON,
                on_limit="quarantine",
            )
            for name, path in _named(options.logs)
        ],
        child_restart_limit=_PATIENT,
    )
    desk = ChildSpec(
        "desk",
        answer_queries,
        listener,
        store,
        saboteur,
        announce,
        readiness="explicit",
        grace=1,
        backoff=_SOON,
    )
    return SupervisorSpec(
        "logkeeper",
        [listener, store, followers, desk],
        strategy="rest_for_one",
        child_restart_limit=_PATIENT,
        shutdown_deadline=20,
    )


def _named(logs: Sequence[Path]) -> list[tuple[str, Path]]:
    """A name for each file: its own, with a number where two have the same."""
    named: dict[str, Path] = {}
    for path in dict.fromkeys(path.resolve() for path in logs):
        name, number = path.name, 1
        while name in named:
            number += 1
            name = f"{path.name}-{number}"
        named[name] = path
    return list(named.items())


@asynccontextmanager
async def open_listeners(
    host: str, port: int, saboteur: Saboteur
) -> AsyncIterator[list[trio.SocketListener]]:
    """Listen for clients. That the port is taken is no bug, and is said in one line."""
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        reason = error.strerror or str(error)
        raise TaskFailure(f"cannot listen on {host}, port {port}: {reason}") from error
    async with AsyncExitStack() as stack:
        for each in listeners:
            await stack.enter_async_context(each)
        async with saboteur.haunts("listener"):
            yield listeners


async def follow_log(
    child: ChildContext,
    path: Path,
    store: ChildSpec[Store],
    saboteur: Saboteur,
    options: Options,
) -> None:
    """Store the lines of one log file as they come; the body of each follower."""
    database = child.value(store)
    position = await database.call(partial(load_position, path=str(path)))
    async with saboteur.haunts(child.name):
        with closing(LogReader(path, position, linger=options.linger)) as reader:
            while not child.stop_requested:
                batch = await trio.to_thread.run_sync(reader.read)
                if batch is not None:
                    save = partial(save_batch, path=str(path), batch=batch, program=path.stem)
                    await database.call(save)
                while reader.notes:
                    _log.warning("%s %s", child.path, reader.notes.pop())
                child.ready()
                child.heartbeat()
                if batch is None:
                    with child.stop_scope():
                        await trio.sleep(options.poll)
