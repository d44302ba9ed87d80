"""Adapters: make a child out of code that was not written as one.

The ``run`` of a `ChildSpec` is an async function whose first argument is its `ChildContext`. Code
that does not take one needs an adapter. Pass the adapter as ``run``: it reports readiness for the
wrapped code, and it knows whether that code can react to a stop request.

| adapter | for | ready | after a stop request |
|---|---|---|---|
| `plain` | any async function | when the attempt starts | is cancelled |
| `serving` | functions with ``task_status`` | at ``started(value)`` | is cancelled, or returns |
| `holding` | async context managers | once entered, with its value | is exited |
| `in_thread` | blocking functions | as the spec says | learns of it through `thread_child` |
| `accepting` | servers whose connections are children | when it listens | finishes them |
| `asgi` | web applications | when it listens | finishes its requests |
| `every` | jobs to run at intervals | when the attempt starts | finishes its run |
| `process` | external programs | as told by a port, a line, ... | gets a signal |
| `in_process` | async functions that may block or crash | as the spec says | learns of it |

A function given to `serving` returns by itself if it has a parameter to wait for, named with
``stop=``; `serve_tcp` and `serve_listeners` do. "Is cancelled" means that a ``grace`` above 0 could
have no effect; the spec refuses it.

Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_supervisor.children._accepting import Connections as Connections
    from trio_supervisor.children._accepting import accepting as accepting
    from trio_supervisor.children._asgi import asgi as asgi
    from trio_supervisor.children._failures import ProcessFailed as ProcessFailed
    from trio_supervisor.children._failures import RemoteError as RemoteError
    from trio_supervisor.children._holding import holding as holding
    from trio_supervisor.children._in_process import in_process as in_process
    from trio_supervisor.children._periodic import Schedule as Schedule
    from trio_supervisor.children._periodic import every as every
    from trio_supervisor.children._plain import plain as plain
    from trio_supervisor.children._process import RunningProcess as RunningProcess
    from trio_supervisor.children._process import process as process
    from trio_supervisor.children._serving import serve_listeners as serve_listeners
    from trio_supervisor.children._serving import serve_tcp as serve_tcp
    from trio_supervisor.children._serving import serving as serving
    from trio_supervisor.children._threads import ThreadChild as ThreadChild
    from trio_supervisor.children._threads import in_thread as in_thread
    from trio_supervisor.children._threads import thread_child as thread_child
else:
    from trio_supervisor._lazy import exports

    __all__, __getattr__, __dir__ = exports(__name__)
    del exports
