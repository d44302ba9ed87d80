"""Each argument of each declaration is given objects that misbehave in every special method.

Such an object is refused with an error that names the argument, or taken without harm: then the
declaration can be shown, compared with itself and hashed.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
from helpers import hostile

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    Escalate,
    JournalFile,
    Quarantine,
    RestartAfter,
    RestartLimit,
    ShutdownTree,
    SpecError,
    SupervisorSpec,
    open_supervisor,
)

if TYPE_CHECKING:
    from collections.abc import Callable


async def body(child: ChildContext) -> None:  # noqa: ASYNC124 - never runs
    raise AssertionError


DECLARATIONS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "ChildSpec": (ChildSpec, {"name": "a", "run": body}),
    "SupervisorSpec": (SupervisorSpec, {"name": "a"}),
    "BackoffPolicy": (BackoffPolicy, {}),
    "RestartLimit": (RestartLimit, {"max_restarts": 1, "within": 1}),
    "RestartAfter": (RestartAfter, {"delay": 1}),
    "Escalate": (Escalate, {}),
    "Quarantine": (Quarantine, {}),
    "ShutdownTree": (ShutdownTree, {}),
    "JournalFile": (JournalFile, {"path": "x"}),
    "open_supervisor": (open_supervisor, {}),
}
ARGUMENTS = [
    (declaration, argument.name)
    for declaration, (make, _) in DECLARATIONS.items()
    for argument in inspect.signature(make).parameters.values()
    if argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
]


@pytest.mark.parametrize(("declaration", "argument"), ARGUMENTS)
def test_it_is_refused_by_name_or_does_no_harm(declaration: str, argument: str) -> None:
    make, others = DECLARATIONS[declaration]
    for kind, value in hostile.ARGUMENTS.items():
        made = None
        with pytest.raises(SpecError, match=argument):
            made = make(**{**others, argument: value()})
            raise SpecError(argument, None, "something else, or to be taken")
        if made is not None:
            assert repr(made), kind
            if declaration != "open_supervisor":
                assert made == made, kind  # noqa: PLR0124 - that it can be compared
                assert hash(made) == hash(made), kind


@pytest.mark.parametrize("kind", hostile.ARGUMENTS)
def test_children_and_requirements_may_be_anything(kind: str) -> None:
    value = hostile.ARGUMENTS[kind]()
    with pytest.raises(SpecError, match="children"):
        SupervisorSpec("a", [value])
    if kind in {"text", "half a surrogate"}:
        assert str.__str__(ChildSpec("a", body, requires=[value]).requires[0]) == str.__str__(value)
    else:
        with pytest.raises(SpecError, match="requires"):
            ChildSpec("a", body, requires=[value])
