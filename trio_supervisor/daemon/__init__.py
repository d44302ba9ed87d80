"""A supervision tree as an operating-system process: signals in, log lines and an exit code out.

* `run` runs a tree as this process, with signals, systemd, orphans and an exit code.
* `listener` gives children the sockets that the service manager listens at.
* `BlockedLoopMonitor` warns when a child blocks the event loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_supervisor.daemon._blocked import BlockedLoopMonitor as BlockedLoopMonitor
    from trio_supervisor.daemon._ending import ExitCode as ExitCode
    from trio_supervisor.daemon._listen import listener as listener
    from trio_supervisor.daemon._run import run as run
else:
    from trio_supervisor._lazy import exports

    __all__, __getattr__, __dir__ = exports(__name__)
    del exports
