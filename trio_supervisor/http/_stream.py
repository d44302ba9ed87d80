"""Server-sent events: the tree as it is, what has changed in it, and its events, in batches.

A page that watches costs a restart nothing: no subscription is attached to the tree. A few times a
second each stream looks whether the journal has grown, and sends what is new; a burst is cut to
what a person can read, and the page is told how much is missing. The id of each message is the
sequence number of the newest event, so a browser that reconnects resumes there.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_supervisor._events.events import Event
from trio_supervisor._version import __version__
from trio_supervisor.http._exchange import json_bytes
from trio_supervisor.http._views import overview

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor.http._probes import Probes
    from trio_supervisor.http._views import Node

PERIOD: Final = 0.25
"""Seconds between two looks at the tree."""
SHARE: Final = 0.02
"""The largest share of the event loop's time that looking at a tree takes, for each stream."""
SILENCE: Final = 5.0
"""Seconds without a change after which a message without content shows that the server is there."""
MOST_EVENTS: Final = 200
"""How many events one message holds; of more, the newest are sent."""


# A generator that the connection closes (`aclosing`), and that holds no scope across a `yield`.
# Each piece is sent, with a checkpoint, before the next one is asked for.
async def stream(  # noqa: ASYNC900
    probes: Probes, last_seen: int | None
) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of an event stream, for ever.

    Args:
        probes: Knows the tree, and whether the process drains.
        last_seen: The sequence number that the page has, if it reconnects.
    """
    known: dict[str, bytes] = {}
    seen = last_seen
    spoken = -SILENCE
    shown: object = None  # the run that `known` and `seen` belong to
    yield b"retry: 1000\n\n"  # noqa: ASYNC911
    while True:
        pause = PERIOD
        supervisor, now = probes.supervisor, trio.current_time()
        message: dict[str, Any] = {}
        if supervisor is not None:
            if shown is not supervisor:
                shown, known = supervisor, {}
                message["tree"] = _about(supervisor)
                if seen is not None and seen > supervisor.journal.last_sequence:
                    seen = None  # the page comes from another process
            newest = supervisor.journal.last_sequence
            if seen != newest or not known or message:
                events, lost = _new_events(supervisor, seen)
                began = time.perf_counter()
                message |= _changes(supervisor, known)
                # Of a large tree that never rests, a fixed share of the loop's time.
                pause = max(PERIOD, (time.perf_counter() - began) / SHARE)
                message["events"], message["lost"] = events, lost
                seen = newest
        if probes.draining:
            message["draining"] = probes.draining
        if message and (set(message) != {"draining"} or now - spoken >= SILENCE):
            spoken = now
            yield await trio.to_thread.run_sync(
                _as_message, message, now, seen, abandon_on_cancel=True
            )
        elif now - spoken >= SILENCE:
            spoken = now
            nothing = b": still here\n\n" if supervisor is None else _as_message({}, now, seen)
            yield nothing  # noqa: ASYNC911
        state = _state_of(probes)
        until = trio.current_time() + pause
        await trio.sleep(PERIOD)
        # That the whole tree stops is told at once, however large the tree is: it happens once.
        while trio.current_time() < until and _state_of(probes) == state:  # noqa: ASYNC110 - see above
            await trio.sleep(PERIOD)


def _state_of(probes: Probes) -> object:
    supervisor = probes.supervisor
    return None if supervisor is None else supervisor._shell.machine.state


def _about(supervisor: Supervisor) -> Node:
    return {
        "path": supervisor.path,
        "pid": os.getpid(),
        "version": __version__,
        "capacity": supervisor.journal.capacity,
    }


def _new_events(supervisor: Supervisor, seen: int | None) -> tuple[list[Node], int]:
    """Return the events after ``seen`` that are worth sending, and how many others there were."""
    journal = supervisor.journal
    fresh = journal.since(seen or 0)[-MOST_EVENTS:]
    lost = 0
    if seen is not None:
        lost = journal.last_sequence - seen - len(fresh)
    return [_as_node(event) for event in fresh], lost


def _as_node(event: Event) -> Node:
    plain = event.to_dict()
    for name, value in plain.items():
        if isinstance(value, str) and len(value) > 2000:
            plain[name] = value[:2000] + "..."
    return plain


def _changes(supervisor: Supervisor, known: dict[str, bytes]) -> Node:
    """Return the nodes that are not as ``known`` says, and bring ``known`` up to date."""
    nodes = overview(supervisor)
    changed: list[Node] = []
    for path, node in nodes.items():
        encoded = json_bytes(node)
        if known.get(path) != encoded:
            known[path] = encoded
            changed.append(node)
    gone = [path for path in known if path not in nodes]
    for path in gone:
        del known[path]
    return {"set": changed, "gone": gone}


def _as_message(message: Node, now: float, seen: int | None) -> bytes:
    message |= {"now": now, "wall": time.time(), "sequence": seen or 0}
    return b"id: %d\ndata: %s\n\n" % (seen or 0, json_bytes(message))
