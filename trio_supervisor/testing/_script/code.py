"""Show specs as the code that makes them, to be pasted into a test."""

from __future__ import annotations

import functools
from math import inf
from typing import TYPE_CHECKING, Any, Final

from trio_supervisor._lazy import public
from trio_supervisor._specs.body import Body, label_of
from trio_supervisor._specs.policy import INHERIT, OnLimit, ReadinessPolicy
from trio_supervisor._specs.supervisor import DEFAULT_CHILD_LIMIT, ChildSpec, SupervisorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDTH: Final = 96


@public
def as_code(spec: SupervisorSpec | ChildSpec[Any]) -> str:
    """Return the Python expression that makes ``spec``, without options at their defaults.

    A body is shown by its `repr` if that is code (`Behaviour` is), else by its name; what a lambda
    does is not shown (``lambda child: ...``).
    """
    return _wrapped(spec, "")


def _wrapped(spec: SupervisorSpec | ChildSpec[Any], indent: str) -> str:
    flat = _flat(spec)
    if len(indent) + len(flat) <= _WIDTH:
        return flat
    inner = indent + "    "
    if isinstance(spec, ChildSpec) and spec.supervisor is None:
        return flat
    supervisor = spec.supervisor if isinstance(spec, ChildSpec) else spec
    assert supervisor is not None
    parts = [repr(supervisor.name)]
    if supervisor.children:
        children = "".join(
            f"{inner}    {_wrapped(child, inner + '    ')},\n" for child in supervisor.children
        )
        parts.append(f"[\n{children}{inner}]")
    parts += _supervisor_options(supervisor)
    lines = "".join(f"{inner}{part},\n" for part in parts)
    code = f"SupervisorSpec(\n{lines}{indent})"
    return code + (_as_child(spec) if isinstance(spec, ChildSpec) else "")


def _flat(spec: SupervisorSpec | ChildSpec[Any]) -> str:
    if isinstance(spec, SupervisorSpec):
        children = [f"[{', '.join(map(_flat, spec.children))}]"] if spec.children else []
        parts = [repr(spec.name), *children, *_supervisor_options(spec)]
        return f"SupervisorSpec({', '.join(parts)})"
    if spec.supervisor is not None:
        return _flat(spec.supervisor) + _as_child(spec)
    run = spec.run
    body = repr(run) if _is_code(run) else _named(run, "child")
    args = [] if isinstance(run, Body) else list(map(repr, spec.args))
    return f"ChildSpec({', '.join([repr(spec.name), body, *args, *_child_options(spec)])})"


def _is_code(run: object) -> bool:
    kind = type(run)
    return isinstance(run, Body) or (
        kind.__repr__ is not object.__repr__
        and not isinstance(run, functools.partial)
        and not hasattr(run, "__code__")
        and not hasattr(run, "__func__")
    )


def _as_child(spec: ChildSpec[Any]) -> str:
    options = list(_child_options(spec))
    return f".as_child({', '.join(options)})" if options else ""


def _supervisor_options(spec: SupervisorSpec) -> Iterator[str]:
    defaults = {
        "strategy": "one_for_one",
        "ordering": "sequence",
        "restart_limit": None,
        "child_restart_limit": DEFAULT_CHILD_LIMIT if spec.restart_limit is None else None,
        "auto_shutdown": "never",
        "max_children": None,
        "shutdown_deadline": inf,
        "report_after": 5,
    }
    for name, default in defaults.items():
        value = getattr(spec, name)
        if value != default:
            yield f"{name}={_value(value)}"


def _child_options(spec: ChildSpec[Any]) -> Iterator[str]:
    nested = spec.supervisor is not None
    declared = spec.run.readiness if isinstance(spec.run, Body) else None
    defaults: dict[str, Any] = {
        "restart": "permanent",
        "readiness": declared or ReadinessPolicy.IMMEDIATE,
        "start_timeout": inf if nested else (30 if spec.is_explicit else inf),
        "retry_first_start": False,
        "max_runtime": inf,
        "stale_after": inf,
        "grace": inf if nested else None,
        "backoff": spec.replace(backoff=None).backoff if "backoff" in spec._given else spec.backoff,
        "restart_limit": INHERIT,
        "on_limit": OnLimit.ESCALATE,
        "requires": (),
        "significant": False,
        "decide": None,
    }
    for name, default in defaults.items():
        value = getattr(spec, name)
        if value != default:
            yield f"{name}={_value(value)}"


def _value(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return repr(int(value))
    if isinstance(value, str):
        return repr(str(value))
    if callable(value) and not _is_code(value):
        return _named(value, "report")
    return repr(value)


def _named(function: object, argument: str) -> str:
    """Return the name by which code would use a function: its last one if it is local."""
    name = label_of(function).rpartition("<locals>.")[2]
    return f"lambda {argument}: ..." if name == "<lambda>" else name
