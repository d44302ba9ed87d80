"""OpenTelemetry metrics of a tree, under the same names as the Prometheus ones."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from trio_supervisor._lazy import public
from trio_supervisor._version import __version__
from trio_supervisor.observe._reading import reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from opentelemetry.metrics import MeterProvider, Observation

    from trio_supervisor import Supervisor, SupervisorSnapshot
    from trio_supervisor.observe._reading import TreeReading
    from trio_supervisor.observe._tally import ChildTally

NAME: Final = "trio_supervisor"
_COUNTERS: Final = ("starts", "restarts", "give_ups", "quarantines")


@public
@asynccontextmanager
async def open_meters(
    supervisor: Supervisor, *, provider: MeterProvider | None = None
) -> AsyncIterator[None]:
    """Publish a tree's metrics through OpenTelemetry for as long as the block runs.

    The instruments are observable: nothing is computed until the program's reader collects, which
    it does in a thread of its own. Names and labels are those of `open_metrics`, with dots:
    ``trio_supervisor.child.restarts`` with ``trio_supervisor.path``.

    Args:
        supervisor: The root of the tree, or any supervisor in it.
        provider: Default: the program's global provider; without one nothing is recorded.

    Raises:
        ImportError: ``opentelemetry-api`` is not installed (extra ``otel``).
        SpecError: ``supervisor`` is not a `Supervisor`.

    Entering and leaving are checkpoints. OpenTelemetry has no way to remove an instrument: after
    the block its callbacks report nothing.
    """
    from opentelemetry import metrics  # noqa: PLC0415  # optional: an extra of the package

    async with reading(supervisor, "open_meters") as found:
        meter = metrics.get_meter(NAME, __version__, meter_provider=provider)
        open_now = [True]

        def observable(
            make: Callable[..., object], name: str, values: Any, unit: str = "1"
        ) -> None:
            def report(_options: object) -> Iterator[Observation]:
                yield from (values(found) if open_now else ())

            make(f"{NAME}.{name}", callbacks=[report], unit="1")

        for counter in _COUNTERS:
            observable(meter.create_observable_counter, f"child.{counter}", _counts_of(counter))
        observable(meter.create_observable_counter, "child.exits", _exits)
        observable(meter.create_observable_counter, "commands", _commands)
        observable(meter.create_observable_counter, "events.dropped", _dropped)
        observable(meter.create_observable_gauge, "child.state", _states)
        observable(meter.create_observable_gauge, "child.consecutive_failures", _failures)
        observable(meter.create_observable_gauge, "child.unresponsive", _unresponsive)
        try:
            yield
        finally:
            open_now.clear()


def _at(value: float, path: str, **more: str) -> Observation:
    from opentelemetry.metrics import Observation  # noqa: PLC0415  # an extra of the package

    labels = {f"{NAME}.{key}": text for key, text in more.items()}
    return Observation(value, {f"{NAME}.path": path, **labels})


def _counts_of(counter: str) -> Callable[[TreeReading], Iterator[Observation]]:
    def counts(found: TreeReading) -> Iterator[Observation]:
        for label, child in found.counted().items():
            yield _at(getattr(child, counter), label)

    return counts


def _exits(found: TreeReading) -> Iterator[Observation]:
    for label, child in found.counted().items():
        for outcome, times in child.exits.items():
            yield _at(times, label, exit=outcome)


def _commands(found: TreeReading) -> Iterator[Observation]:
    tally = found.counted()
    counted: dict[str, dict[str, int]] = {found.path: tally.commands}
    counted.update((label, child.commands) for label, child in tally.items())
    for label, commands in counted.items():
        for command, times in commands.items():
            yield _at(times, label, command=command)


def _dropped(found: TreeReading) -> Iterator[Observation]:
    yield _at(found.counted().dropped, found.path)


def _declared(found: TreeReading) -> Iterator[tuple[str, ChildTally]]:
    return ((label, child) for label, child in found.tally.items() if child.declared)


def _failures(found: TreeReading) -> Iterator[Observation]:
    _snapshot, _taken, now = found.snapshot()
    for label, child in _declared(found):
        yield _at(child.failures_in_row(now), label)


def _states(found: TreeReading) -> Iterator[Observation]:
    for child in _children(found.snapshot()[0]):
        if child.path in found.tally.children:
            yield _at(1, child.path, state=child.state.value)


def _unresponsive(found: TreeReading) -> Iterator[Observation]:
    for child in _children(found.snapshot()[0]):
        if child.path in found.tally.children:
            yield _at(int(child.unresponsive), child.path)


def _children(snapshot: SupervisorSnapshot) -> Iterator[Any]:
    ahead = [snapshot]
    while ahead:
        for child in ahead.pop().children:
            yield child
            if child.supervisor is not None:
                ahead.append(child.supervisor)
