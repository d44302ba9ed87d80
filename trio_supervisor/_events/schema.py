"""The JSON schema of events, snapshots and reports, generated from their fields.

The wheel ships the result as ``trio_supervisor/schema.json``. After a change of a field, write it
anew with ``python -m trio_supervisor._events.schema``; a test compares the two.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import attrs

from trio_supervisor._events import exits
from trio_supervisor._events.plain import SCHEMA, as_written, fields_of
from trio_supervisor._events.shutdown import ChildShutdown, ShutdownReport
from trio_supervisor._events.snapshot import (
    ChildSnapshot,
    ChildState,
    SupervisorSnapshot,
    SupervisorState,
)
from trio_supervisor._events.wire import event_classes

FILE: Final = Path(__file__).parents[1] / "schema.json"

_SECONDS: Final = {"type": ["number", "null"]}  # null: endless
_DATE: Final = {"type": ["string", "null"], "format": "date-time"}
_ERROR: Final = {
    "type": ["object", "null"],
    "properties": {name: {"type": "string"} for name in ("type", "message", "traceback")},
}
_TYPES: Final[dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "bool": {"type": "boolean"},
    "float": _SECONDS,
    "float | None": _SECONDS,
    "str | None": {"type": ["string", "null"]},
    "int | None": {"type": ["integer", "null"]},
    "tuple[str, ...]": {"type": "array", "items": {"type": "string"}},
    "ChildState": {"enum": [state.value for state in ChildState]},
    "SupervisorState": {"enum": [state.value for state in SupervisorState]},
    "SupervisorSnapshot | None": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/supervisor"}]},
    "tuple[ChildSnapshot, ...]": {"type": "array", "items": {"$ref": "#/$defs/child"}},
    "tuple[SupervisorSnapshot, ...]": {
        "type": "array",
        "items": {"$ref": "#/$defs/supervisor"},
    },
    "tuple[ChildShutdown, ...]": {"type": "array", "items": {"$ref": "#/$defs/child_shutdown"}},
    "TaskExit": {"$ref": "#/$defs/exit"},
}
_VERSION: Final = {"schema": {"const": SCHEMA}}


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of everything that `to_dict` methods return."""
    events = {name: _event(cls) for name, cls in sorted(event_classes().items())}
    snapshot = {"type": "object", **_snapshot(SupervisorSnapshot)}
    defs: dict[str, Any] = {
        "supervisor": snapshot,
        "child": {"type": "object", **_snapshot(ChildSnapshot)},
        "snapshot": {
            "$ref": "#/$defs/supervisor",
            "properties": {**_VERSION, "at": _DATE},
            "required": ["schema", "at", "time", "wall"],
        },
        "exit": _exit(),
        "child_shutdown": _object(fields_of(ChildShutdown)),
        "shutdown_report": _object(fields_of(ShutdownReport), _VERSION),
        "child_run_report": _object(
            fields_of(exits.ChildRunReport), {**_VERSION, "seconds": _SECONDS}
        ),
        **events,
        "event": {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in events]},
        "gap": {
            "type": "object",
            "properties": {**_VERSION, "gap": {"type": "integer", "minimum": 1}},
            "required": ["schema", "gap"],
        },
        "start": {
            "type": "object",
            "properties": {
                **_VERSION,
                "sequence": {"type": "integer", "minimum": 0},
                "snapshot": {"$ref": "#/$defs/snapshot"},
            },
            "required": ["schema", "sequence", "snapshot"],
        },
        "line": {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in ("event", "gap", "start")]},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "trio_supervisor: events, snapshots, reports, and lines of streams and journals",
        "$defs": defs,
        "anyOf": [
            {"$ref": f"#/$defs/{name}"}
            for name in ("line", "snapshot", "shutdown_report", "child_run_report")
        ],
    }


def _event(cls: type[Any]) -> dict[str, Any]:
    head = {**_VERSION, "event": {"const": cls.__name__}, "at": _DATE}
    return _object(fields_of(cls), head)


def _object(fields: list[tuple[str, str]], head: dict[str, Any] | None = None) -> dict[str, Any]:
    head = head or {}
    properties = {**head, **{name: _type_of(annotation) for name, annotation in fields}}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _snapshot(cls: Any) -> dict[str, Any]:
    properties = {field.name: _type_of(as_written(field.type)) for field in attrs.fields(cls)}
    required = [name for name in properties if name not in {"time", "wall", "previous"}]
    derived = {"age": _SECONDS, "since_at": _DATE, "starts_in": _SECONDS, "until_at": _DATE}
    return {"properties": {**properties, **derived}, "required": required}


def _exit() -> dict[str, Any]:
    kinds = [cls.kind for cls in exits.TaskExit.__subclasses__()]
    return {
        "type": "object",
        "properties": {"kind": {"enum": sorted(kinds)}, "detail": {"type": "string"}},
        "required": ["kind", "detail"],
    }


def _type_of(annotation: str) -> dict[str, Any]:
    found: dict[str, Any] | None = _TYPES.get(annotation)
    if found is not None:
        return found
    return _ERROR if "Exception" in annotation else {}


def text() -> str:
    """Return the schema as it stands in the file."""
    return json.dumps(json_schema(), indent=1) + "\n"


if __name__ == "__main__":  # pragma: no cover - by hand, see above
    FILE.write_text(text())
