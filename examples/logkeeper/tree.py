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
import os
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
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
from .follow import LogReader, printable, storable
from .sabotage import Saboteur
from .store import PositionMoved, Store, load_position, run_store, save_batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

_log: Final = logging.getLogger("logkeeper")

_SOON: Final = BackoffPolicy(initial=0.2, maximum=5)
# With this backoff, what fails at once each time does so about 15 times in a minute. A limit that
# such a child cannot reach would keep it failing for ever.
_PATIENT: Final = RestartLimit(12, within=60)
# What is called so in the tree, and typed after "sabotage".
_TAKEN: Final = ("listener", "store", "followers", "desk")


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
            for name, path in name_children(options.logs)
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


def name_children(logs: Sequence[Path]) -> list[tuple[str, Path]]:
    """A name for each file: its own as far as it can be typed, with a number if it is taken.

    The path is made absolute and no more: a symbolic link on the way may be moved.
    """
    named: dict[str, Path] = {}
    for path in dict.fromkeys(Path(os.path.abspath(path)) for path in logs):  # noqa: PTH100
        own = "".join(each if each > " " else "_" for each in printable(path.name))
        name, number = own, 1
        while name in named or name in _TAKEN:
            number += 1
            name = f"{own}-{number}"
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
    key, program = storable(path), printable(path.stem)
    position = await database.call(partial(load_position, path=key))
    reader = LogReader(path, position, linger=options.linger)
    async with saboteur.haunts(child.name):
        with closing(reader):
            while not child.stop_requested:
                batch = await trio.to_thread.run_sync(reader.read)
                if batch is not None:
                    save = partial(save_batch, path=key, batch=batch, program=program)
                    try:
                        await database.call(save)
                    except PositionMoved:
                        # Another log keeper with the same database was faster.
                        reader.close()
                        reader.position = await database.call(partial(load_position, path=key))
                        batch = None
                while reader.notes:
                    _log.warning("%s %s", child.path, reader.notes.pop(0))
                child.ready()
                child.heartbeat()
                if batch is None:
                    with child.stop_scope():
                        await trio.sleep(options.poll)
