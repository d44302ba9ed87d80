"""Show a tree to monitoring systems: Prometheus metrics and OpenTelemetry traces.

Each exporter is a reader of the tree's events: a slow or broken exporter cannot slow or break the
tree. The libraries that it needs are optional and imported when it is opened:

* `open_metrics` needs ``prometheus-client`` (extra ``metrics``).
* `json_formatter` needs ``python-json-logger`` (extra ``daemon``).
* `open_traces` and `open_meters` need ``opentelemetry-api`` (extra ``otel``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_supervisor.observe._json_log import json_formatter as json_formatter
    from trio_supervisor.observe._meters import open_meters as open_meters
    from trio_supervisor.observe._metrics import StallMonitor as StallMonitor
    from trio_supervisor.observe._metrics import TreeMetrics as TreeMetrics
    from trio_supervisor.observe._metrics import open_metrics as open_metrics
    from trio_supervisor.observe._traces import open_traces as open_traces
else:
    from trio_supervisor._lazy import exports

    __all__, __getattr__, __dir__ = exports(__name__)
    del exports
