"""See and steer a running tree from outside of its program, over a Unix socket.

`open_control` serves the socket beside a supervisor; `trio_supervisor.daemon.run` does so by
default. `ControlClient` talks to it, and so does the command ``trio-supervisor``.

Layout:

_messages    The client's half of the protocol, and JSON without `json`. No I/O.
protocol     Verbs, requests and answers as lines of JSON. No I/O.
paths        Where sockets lie, for both sides.
client       The other end: imports neither Trio nor attrs.
_listening   A socket file with one owner: lock, mode, stale files.
_peer        The user at the other end, and what that user may do.
_names       Children by path, suffix or pattern.
_reading     Verbs that only look.
_writing     Verbs that change something.
_streams     Events and states as they happen.
_records     The newest log lines, by child.
server       Connections, limits, and the supervisor under which they are served.

Names are imported when they are first used.
"""

from __future__ import annotations

from trio_supervisor._lazy import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_supervisor.control._listening import SocketInUse as SocketInUse
    from trio_supervisor.control._messages import ProtocolError as ProtocolError
    from trio_supervisor.control.client import ControlClient as ControlClient
    from trio_supervisor.control.client import ControlError as ControlError
    from trio_supervisor.control.client import DaemonUnreachable as DaemonUnreachable
    from trio_supervisor.control.paths import UnsafeDirectory as UnsafeDirectory
    from trio_supervisor.control.server import ControlServer as ControlServer
    from trio_supervisor.control.server import open_control as open_control
else:
    from trio_supervisor._lazy import exports_on_demand

    __getattr__, __dir__ = exports_on_demand(__name__)
    del exports_on_demand
