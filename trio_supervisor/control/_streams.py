"""Events and log lines, as they are kept and as they happen."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import trio

from trio_supervisor._events.events import EventGap
from trio_supervisor._events.fold import SnapshotBuilder, raw_of
from trio_supervisor._events.plain import SCHEMA
from trio_supervisor._events.snapshot import SupervisorState
from trio_supervisor.control._names import find

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from trio_supervisor._events.events import Event
    from trio_supervisor._events.snapshot import SupervisorSnapshot
    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor.control._records import LogRecords

    class Send(Protocol):
        """Sends one item of a stream; items may be collected until `flush`."""

        async def __call__(self, item: Any) -> None: ...

        async def flush(self) -> None: ...


_BUFFER = 4096
_PAUSE = 0.25
"""Seconds between two looks for new log lines: records come from any thread."""


async def stream_events(supervisor: Supervisor, args: dict[str, Any], send: Send) -> Any:
    """Send a start line, then the events after ``since``, then, with ``follow``, the ones to come.

    The start line holds the tree before the first event that is sent, so that a reader can fold. If
    events after ``since`` are no longer kept, a line says how many are missing.
    """
    journal = supervisor.journal
    wanted = _wanted(supervisor, args)
    subscription = supervisor.subscribe(max_buffer=_BUFFER)
    # One step without a checkpoint after entering: no event falls between the journal and it.
    async with subscription as following:
        base, kept = journal.base, journal.events
        first = journal.last_sequence - len(kept)  # the number of the last event before `kept`
        since = min(args.get("since", first), journal.last_sequence)
        if "limit" in args:
            since = max(since, journal.last_sequence - args["limit"])
        if since < first:
            await send({"schema": SCHEMA, "gap": first - since})
            since = first
        snapshot = await trio.to_thread.run_sync(_fold, base, kept[: since - first])
        await send({"schema": SCHEMA, "sequence": since, "snapshot": snapshot.to_dict()})
        for event in kept[since - first :]:
            if wanted(event.path):
                await send(event.to_dict())
        if not args.get("follow") or following.snapshot.state is SupervisorState.FINISHED:
            return {"sequence": journal.last_sequence}
        await send.flush()
        async for item in following:
            if isinstance(item, EventGap):
                await send({"schema": SCHEMA, "gap": item.lost})
            elif wanted(item.path):
                await send(item.to_dict())
            await send.flush()
    return {"sequence": journal.last_sequence}


def _fold(base: SupervisorSnapshot, events: tuple[Event, ...]) -> SupervisorSnapshot:
    builder = SnapshotBuilder.from_snapshot(base)
    builder.extend(map(raw_of, events))
    return builder.freeze()


def _wanted(supervisor: Supervisor, args: dict[str, Any]) -> Callable[[str], bool]:
    """Return a test of paths: is an event of this child, or of one below it, asked for?

    A pattern also means children that do not exist yet, or no longer.
    """
    names = args.get("names", ())
    if not names:
        return lambda _: True
    patterns = [name for name in names if set("*?[") & set(name)]
    plain = [name for name in names if name not in patterns]
    heads = tuple(f"{slot.life.path}/" for slot in find(supervisor._shell, plain))
    root = f"{supervisor.path}/"

    def wanted(path: str) -> bool:
        return f"{path}/".startswith(heads or ("\0",)) or any(
            fnmatchcase(path, pattern) or fnmatchcase(path.removeprefix(root), pattern)
            for pattern in patterns
        )

    return wanted


async def stream_logs(
    supervisor: Supervisor, records: LogRecords, args: dict[str, Any], send: Send
) -> Any:
    """Send the newest log lines of the named children; with ``follow``, the ones to come."""
    wanted = _wanted(supervisor, args)
    seen = records.last
    kept = [plain for _, plain in records.after(0) if wanted(plain["path"])]
    for plain in kept[max(0, len(kept) - args.get("limit", 100)) :]:
        await send(plain)
    while args.get("follow"):
        await send.flush()
        await trio.sleep(_PAUSE)
        for number, plain in records.after(seen):
            if number > seen + 1:
                await send({"schema": SCHEMA, "gap": number - seen - 1})
            seen = number
            if wanted(plain["path"]):
                await send(plain)
    await trio.lowlevel.checkpoint()
    return {"sequence": seen}
