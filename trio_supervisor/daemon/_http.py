"""The HTTP server of a daemon: off unless asked for, open before the tree and until after it."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from trio_supervisor._errors import SpecError
from trio_supervisor._logging.safe import say

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_supervisor.daemon._blocked import BlockedLoopMonitor
    from trio_supervisor.http import HttpServer

_log = logging.getLogger("trio_supervisor.daemon")


def check_http(address: str | int | None) -> None:
    """Refuse what `http_server` could not serve, before anything starts.

    Raises:
        SpecError: The address cannot be understood, or h11 is not installed.
    """
    if address is None:
        return
    from trio_supervisor.http._listening import parse_address  # noqa: PLC0415 - seldom used

    parse_address("run()", "http", address)
    try:
        import h11  # noqa: F401, PLC0415 - needs an extra
    except ImportError:
        expected = "h11 to be installed, which the extra `daemon` does"
        raise SpecError("http", address, expected, owner="run()") from None


@asynccontextmanager
async def http_server(
    address: str | int | None, name: str, monitor: BlockedLoopMonitor | None = None
) -> AsyncIterator[HttpServer | None]:
    """Serve probes and the dashboard of the tree ``name`` while the block runs, if it is wanted.

    Raises:
        OSError: The address cannot be listened at.
    """
    if address is None:
        yield None
        return
    from trio_supervisor.http import open_http  # noqa: PLC0415 - needs an extra

    async with open_http(address=address, name=f"{name}-http", monitor=monitor) as server:
        say(_log, logging.INFO, "%s is shown at http://%s/", name, server.addresses[0])
        yield server
