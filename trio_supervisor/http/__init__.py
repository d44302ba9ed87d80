"""Probes, a dashboard and further pages of a running tree, over HTTP/1.1.

`open_http` serves them; `daemon.run` opens it with ``http=``. Needs the extra ``daemon`` (h11).

Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_supervisor.http._exchange import Request as Request
    from trio_supervisor.http._exchange import Response as Response
    from trio_supervisor.http._exchange import Route as Route
    from trio_supervisor.http._watchdog import LoopMonitor as LoopMonitor
    from trio_supervisor.http.server import HttpServer as HttpServer
    from trio_supervisor.http.server import open_http as open_http
else:
    from trio_supervisor._lazy import exports

    __all__, __getattr__, __dir__ = exports(__name__)
    del exports
