"""Body: an async function of the context, and what is known about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar, final

import attrs

import trio_supervisor
from trio_supervisor._lazy import public
from trio_supervisor._specs.checks import check_choice
from trio_supervisor._specs.policy import ReadinessPolicy
from trio_supervisor._text import is_a, plain_str, type_name

T_co = TypeVar("T_co", covariant=True)

DEFAULT_GRACE: Final = 5.0
"""Seconds of grace for an attempt that can notice a stop request, if none are declared."""


@public
@final
@attrs.frozen(repr=False, weakref_slot=False)
class Body(Generic[T_co]):
    """An adapted function, ready to be the ``run`` of a `ChildSpec`; ``T_co`` is its ready value.

    Adapters (`plain`, `serving`, ...) make these. An adapter of your own may too, or may just
    return an async function; the difference is that a declaration which a `Body` cannot fulfil is
    refused when it is made. Bodies are equal if their ``call`` is: make that a value (a frozen
    class, say) and specs can be compared.

    Args:
        call: Called with the `ChildContext` for each attempt; what it returns is awaited.
        label: What logs and errors call it (``"holding(open_store)"``).
        readiness: When it is ready; `None` leaves that to the declaration.
        hears_stop: Whether it ends in its own time after a stop request. If not, a ``grace`` would
            only delay the cancel, and is refused.
        can_heartbeat: Whether it can send heartbeats. If not, ``stale_after`` would end every
            attempt, and is refused.
    """

    call: Callable[..., Awaitable[object]]
    label: str = attrs.field(eq=False)
    readiness: ReadinessPolicy | None = None
    hears_stop: bool = True
    can_heartbeat: bool = False

    def __attrs_post_init__(self) -> None:
        if self.readiness is not None:
            chosen = check_choice(
                f"Body {self.label}", "readiness", self.readiness, ReadinessPolicy
            )
            object.__setattr__(self, "readiness", chosen)

    def __call__(self, child: trio_supervisor.ChildContext) -> Awaitable[object]:
        """Start one run of it; the attempt awaits what comes back."""
        return self.call(child)

    def __repr__(self) -> str:
        return self.label


def label_of(run: object) -> str:
    """Return the name of a function for log lines: its own, or that of the function it wraps."""
    if is_a(run, Body):
        return run.label
    try:
        return _name_of(run)
    except BaseException:  # an object that does not like to be asked; see `text_of`
        return type_name(run)


def _name_of(run: object) -> str:
    for _ in range(8):  # partials of partials, bounded
        name = getattr(run, "__qualname__", None) or getattr(run, "__name__", None)
        if is_a(name, str):
            return plain_str(name)
        inner: Any = getattr(run, "func", None)
        if inner is None:
            break
        run = inner
    return plain_str(type(run).__qualname__)
