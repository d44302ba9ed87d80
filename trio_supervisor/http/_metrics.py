"""The page ``/metrics``: installed means available, and costs nothing before the first scrape."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Final, final

import trio

from trio_supervisor.http._exchange import Request, Response, text

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from trio_supervisor._attempts.context import ChildContext
    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor.http._probes import Probes
    from trio_supervisor.http._watchdog import LoopMonitor

_PATIENCE: Final = 5.0
"""Seconds that a scrape waits for the collector to begin."""


@final
class MetricsPage:
    """Collects the metrics of the tree from the first scrape on.

    Args:
        probes: Knows the tree.
        monitor: Measures the event loop; its counts are shown if it has any.
    """

    def __init__(self, probes: Probes, monitor: LoopMonitor | None) -> None:
        self._probes = probes
        self._monitor = monitor
        self._wanted = trio.Event()
        self._replaced = trio.Event()
        self._open = trio.Event()
        self._registry: CollectorRegistry | None = None

    def forget_tree(self) -> None:
        """Collect anew: another tree is shown from now on."""
        self._open = trio.Event()
        self._replaced.set()

    async def keep(self, child: ChildContext) -> None:
        """Keep the collector up to date; the body of a child of the server's supervisor."""
        await self._wanted.wait()
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 - optional: an extra

        from trio_supervisor.observe import StallMonitor, open_metrics  # noqa: PLC0415 - likewise

        monitor: object = self._monitor
        stalls = monitor if isinstance(monitor, StallMonitor) else None

        while True:
            supervisor: Supervisor | None = self._probes.supervisor
            assert supervisor is not None  # a scrape has seen one
            registry = CollectorRegistry()
            self._replaced = trio.Event()
            async with open_metrics(supervisor, registry=registry, monitor=stalls):
                self._registry = registry
                self._open.set()
                await self._replaced.wait()

    async def answer(self, request: Request) -> Response:
        """Answer a scrape."""
        try:
            from prometheus_client import CONTENT_TYPE_LATEST  # noqa: PLC0415
        except ImportError:
            await trio.lowlevel.checkpoint()
            return text(404, "prometheus-client is not installed: the extra `metrics` brings it")
        if self._probes.supervisor is None:
            await trio.lowlevel.checkpoint()
            return text(503, "the tree has not been opened yet")
        self._wanted.set()
        with trio.move_on_after(_PATIENCE):
            await self._open.wait()
        registry = self._registry
        if registry is None:
            return text(503, "the collector does not start; the log says why")
        # A collector may be asked in any thread, and rendering takes time.
        small = _takes_gzip(request.headers.get("accept-encoding", ""))
        page = await trio.to_thread.run_sync(rendered, registry, small, abandon_on_cancel=True)
        return Response(
            200, page, CONTENT_TYPE_LATEST, (("Content-Encoding", "gzip"),) if small else ()
        )


def rendered(registry: CollectorRegistry, compressed: bool) -> bytes:
    """Return the page; to be called in a thread.

    The page of 5,000 children has 23 MB. Compressed, as Prometheus asks for it, less than 2 % of
    that is left to be sent by the event loop.
    """
    from prometheus_client import generate_latest  # noqa: PLC0415 - optional: an extra

    page = generate_latest(registry)
    return gzip.compress(page, 1, mtime=0) if compressed else page


def _takes_gzip(accepted: str) -> bool:
    """Whether a client that says ``Accept-Encoding: <accepted>`` can read gzip."""
    for each in accepted.lower().split(","):
        coding, _, weight = each.partition(";")
        if coding.strip() == "gzip":
            return weight.replace(" ", "").removeprefix("q=").rstrip("0.") != "" or not weight
    return False
