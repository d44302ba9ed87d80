"""The supervision tree of the web shop.

.. code-block:: text

    webshop      one_for_one; stopped from the bottom to the top
    ├── socket   holds the listening socket, so that clients who come during a restart only wait
    ├── store    the database, used in threads
    ├── workers  ship the orders; one that fails is no business of the others
    │   └── ...  packer-1, packer-2, and the report of every minute
    └── site     the web application; stopped first, and has 10 s for its requests in flight
"""

from __future__ import annotations

import logging
import os
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
)
from trio_supervisor.children import asgi, every, holding
from trio_supervisor.daemon import listener

from .site import make_site
from .store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

_log: Final = logging.getLogger("webshop")
_SOON: Final = BackoffPolicy(initial=0.2, maximum=5)
DRAIN: Final = 3.0
"""Seconds between SIGTERM and the stop: what a load balancer needs to learn that it comes."""


@attrs.frozen
class Options:
    """What one may choose; `from_environment` reads it from variables. Times are in seconds."""

    database: Path = Path("webshop.db")
    host: str = "127.0.0.1"
    port: int = 8080
    pace: float = 0.05
    drain: float = DRAIN

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Options:
        """Read ``WEBSHOP_DATABASE``, ``_HOST``, ``_PORT``, ``_PACE`` and ``_DRAIN``.

        Raises:
            ValueError: A number is none.
        """
        get = environment.get
        return cls(
            Path(get("WEBSHOP_DATABASE", "webshop.db")),
            get("WEBSHOP_HOST", "127.0.0.1"),
            int(get("WEBSHOP_PORT", "8080")),
            float(get("WEBSHOP_PACE", "0.05")),
            float(get("WEBSHOP_DRAIN", str(DRAIN))),
        )


def declare(options: Options | None = None) -> SupervisorSpec:
    """The tree; without options, as the environment has them."""
    options = options or Options.from_environment(os.environ)
    keep = Store(options.database)
    socket = ChildSpec(
        "socket",
        listener("http", host=options.host, port=options.port, keep=True),
        grace=1,
        backoff=_SOON,
    )
    store = ChildSpec("store", holding(keep.opened), grace=5, backoff=_SOON)
    packers = [
        ChildSpec(
            f"packer-{number}",
            pack,
            keep,
            readiness="explicit",
            stale_after=30,
            grace=2,
            backoff=_SOON,
            on_limit="quarantine",
        )
        for number in (1, 2)
    ]
    report = ChildSpec("report", every(60, tell, keep), grace=2, on_limit="quarantine")
    site = ChildSpec(
        "site",
        asgi(make_site(keep, options.pace), listeners=socket),
        grace=10,
        backoff=_SOON,
    )
    return SupervisorSpec(
        "webshop",
        [socket, store, SupervisorSpec("workers", [*packers, report]), site],
        child_restart_limit=RestartLimit(12, within=60),
        shutdown_deadline=25,
    )


async def pack(child: ChildContext, store: Store) -> None:
    """Ship one order after the other; the body of each packer."""
    child.ready()
    while not child.stop_requested:
        child.heartbeat()
        number = await store.ship_next()
        if number is None:
            with child.stop_scope():
                await trio.sleep(0.5)
        else:
            _log.debug("order %d is shipped", number)


async def tell(store: Store) -> None:
    """Log how the business goes."""
    sums = await store.sums()
    _log.info("%d orders, %d of them shipped", sums.placed, sums.shipped)
