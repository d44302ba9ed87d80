"""Events from their JSON forms; see `trio_supervisor._events.plain`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from trio_supervisor._errors import SpecError
from trio_supervisor._events import events
from trio_supervisor._events.plain import check_schema, record_from, wall_of
from trio_supervisor._lazy import public


@cache
def event_classes() -> dict[str, type[events.Event]]:
    """Every kind of event by its name."""
    return {
        cls.__name__: cls
        for cls in events.Event.__subclasses__()
        if vars(events).get(cls.__name__) is cls
    }


@public
def event_from_dict(data: Mapping[str, Any]) -> events.Event:
    """Return the event that `Event.to_dict` turned into ``data``.

    Use it to read what another process has written: a journal file, or the lines of
    ``trio-supervisor events --json``. `fold` accepts the result.

    Args:
        data: A JSON object, as `json.loads` returns it. Unknown keys are ignored.

    Raises:
        SpecError: It has another schema version, is no known kind of event, or a field is missing
            or has the wrong type.

    Example::

        for line in file:
            event = event_from_dict(json.loads(line))
    """
    owner = "event_from_dict()"
    data = check_schema(data, owner)
    kind = data.get("event")
    cls = event_classes().get(kind) if isinstance(kind, str) else None
    if cls is None:
        known = ", ".join(sorted(event_classes()))
        raise SpecError("event", kind, f"one of {known}", owner=owner)
    if "wall" not in data and (wall := wall_of(data.get("at"))) is not None:
        data = {**data, "wall": wall}
    return record_from(cls, data, owner)
