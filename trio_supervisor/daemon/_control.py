"""The control socket of a daemon: there by default, and never the reason why it does not run."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from trio_supervisor._logging.safe import say
from trio_supervisor.control import SocketInUse, UnsafeDirectory, open_control

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_supervisor.control import ControlServer

_log = logging.getLogger("trio_supervisor.daemon")


@asynccontextmanager
async def control_socket(control: bool | str, name: str) -> AsyncIterator[ControlServer | None]:
    """Serve the control socket of the tree ``name`` while the block runs, if it is wanted.

    Raises:
        SocketInUse: A path was given, and another process serves it.
        OSError: A path was given, and no socket can be made there.
    """
    if control is False:
        yield None
        return
    path = control if isinstance(control, str) else None
    async with AsyncExitStack() as stack:
        server: ControlServer | None = None
        try:
            server = await stack.enter_async_context(open_control(None, path, name=name))
            server.keep_log(logging.root)
            say(_log, logging.INFO, "%s control socket %s", name, server.path)
        except (SocketInUse, UnsafeDirectory, OSError) as error:
            if path is not None:
                raise
            say(_log, logging.WARNING, "%s runs without a control socket: %s", name, error)
        yield server
