"""OpenTelemetry traces of a tree: one span for each attempt, one for each restart."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, final

from trio_supervisor import (
    ChildExited,
    ChildQuarantined,
    ChildReady,
    ChildRemoved,
    ChildStopped,
    Event,
    ExitJudged,
    SupervisorFinished,
)
from trio_supervisor._attempts.observer import TreeObserver, observing
from trio_supervisor._lazy import public
from trio_supervisor._version import __version__

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from opentelemetry.trace import Span, SpanContext, Tracer, TracerProvider

    from trio_supervisor import ChildContext, TaskExit
    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._runtime.shell import Shell

NAME: Final = "trio_supervisor"
_ENDS_RESTART: Final = (ChildReady, ChildExited, ChildStopped, ChildQuarantined, ChildRemoved)


@public
@contextmanager
def open_traces(provider: TracerProvider | None = None) -> Iterator[None]:
    """Trace the trees that are opened inside this block.

    Spans that a body makes itself say what it did, not which attempt of which child did it, nor
    that the attempt before failed. With this, each attempt is a span, current in the body, so that
    the body's own spans nest in it. A service runs for weeks and a span is exported only when it
    ends, so attempts are not nested in each other: the span of an attempt has a *link* to that of
    the attempt before. The time from a failure to the readiness that follows is a span of its own,
    named ``restart`` with the child's path.

    Attributes are ``trio_supervisor.path``, ``.attempt``, ``.generation``, ``.run``, ``.exit``,
    ``.stop_reason``, for a restart ``.decision`` and ``.delay``, and ``error.type``.

    Args:
        provider: Where spans go. Default: the program's global provider; without one, OpenTelemetry
            makes spans that are not recorded.

    Raises:
        ImportError: ``opentelemetry-api`` is not installed (extra ``otel``).

    An exporter that raises costs its span, with a line in the log; the tree is not affected.

    Example::

        with open_traces():
            async with open_supervisor(APP) as supervisor:
                ...
    """
    from opentelemetry import trace  # noqa: PLC0415  # optional: an extra of the package

    tracer = trace.get_tracer(NAME, __version__, tracer_provider=provider)
    with observing(_Traces(tracer)):
        yield


@final
class _Traces(TreeObserver):
    """Makes and ends spans as attempts begin and end. Everything that it calls may raise."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._spans: dict[Attempt, tuple[Any, Span]] = {}  # with the tree's root
        self._newest: dict[tuple[Shell, str], SpanContext] = {}
        self._restarts: dict[tuple[Shell, str], Span] = {}

    def attempt_began(self, attempt: Attempt) -> None:
        _guarded(self._begin, attempt)

    def _begin(self, attempt: Attempt) -> None:
        from opentelemetry.trace import Link  # noqa: PLC0415  # an extra of the package

        child = _child_of(attempt)
        before = self._newest.get(child)
        span = self._tracer.start_span(
            attempt.path,
            context=_no_parent(),
            links=() if before is None else [Link(before)],
            attributes={
                f"{NAME}.path": attempt.path,
                f"{NAME}.attempt": attempt.number,
                f"{NAME}.generation": attempt.generation,
            },
        )
        self._spans[attempt] = (child[0], span)
        self._newest[child] = span.get_span_context()

    def around_body(
        self, attempt: Attempt, context: ChildContext, body: Awaitable[object]
    ) -> Awaitable[object]:
        found = self._spans.get(attempt)
        return body if found is None else _within(found[1], body)

    def exit_classified(self, attempt: Attempt, how: TaskExit) -> None:
        _guarded(self._end, attempt, how)

    def _end(self, attempt: Attempt, how: TaskExit) -> None:
        from opentelemetry.trace import StatusCode  # noqa: PLC0415  # an extra of the package

        found = self._spans.pop(attempt, None)
        if found is None:
            return
        span = found[1]
        span.set_attribute(f"{NAME}.exit", how.kind)
        if how.is_failure:
            if how.error is not None:
                span.set_attribute("error.type", type(how.error).__qualname__)
                span.record_exception(how.error)
            span.set_status(StatusCode.ERROR, how.describe())
        span.end()

    def event_recorded(self, root: Shell, event: Event) -> None:
        _guarded(self._follow, root, event)

    def _follow(self, root: Shell, event: Event) -> None:
        child = (root, event.path)
        if type(event) is ExitJudged and event.action == "restart":
            newest = self._newest.get(child)
            self._restarts[child] = self._restart_span(event, newest)
        elif isinstance(event, _ENDS_RESTART):
            span = self._restarts.pop(child, None)
            if span is not None:
                span.set_attribute(f"{NAME}.became_ready", type(event) is ChildReady)
                span.end()
            if type(event) is ChildRemoved:
                self._newest.pop(child, None)
        elif type(event) is SupervisorFinished and event.path == root.path:
            self._forget(root)

    def _forget(self, root: Shell) -> None:
        """End what is left of a tree: an attempt with a fatal exception has no exit."""
        for attempt in [each for each, (tree, _) in self._spans.items() if tree is root]:
            self._spans.pop(attempt)[1].end()
        for child in [each for each in self._restarts if each[0] is root]:
            self._restarts.pop(child).end()
        for child in [each for each in self._newest if each[0] is root]:
            del self._newest[child]

    def _restart_span(self, event: ExitJudged, newest: SpanContext | None) -> Span:
        from opentelemetry.trace import Link  # noqa: PLC0415  # an extra of the package

        return self._tracer.start_span(
            f"restart {event.path}",
            context=_no_parent(),
            links=() if newest is None else [Link(newest)],
            attributes={
                f"{NAME}.path": event.path,
                f"{NAME}.attempt": event.attempt,
                f"{NAME}.run": event.run,
                f"{NAME}.decision": event.source,
                f"{NAME}.delay": event.delay,
            },
        )


async def _within(span: Span, body: Awaitable[object]) -> object:
    """Await ``body`` with ``span`` current, without ending the span."""
    from opentelemetry.trace import use_span  # noqa: PLC0415  # an extra of the package

    # The exit decides what is an error: an exception may be our own stop.
    with use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
        return await body


def _child_of(attempt: Attempt) -> tuple[Any, str]:
    """Return the identity of a child: its tree's root and its path."""
    host: Any = attempt.host
    while getattr(host, "parent", None) is not None:
        host = host.parent
    return host, attempt.path


def _no_parent() -> Any:
    """Return an empty OpenTelemetry context: a span that may live for weeks has no parent."""
    from opentelemetry.context import Context  # noqa: PLC0415  # an extra of the package

    return Context()


def _guarded(call: Callable[..., None], *args: Any) -> None:
    """Call an exporter; an `Exception` of it is logged and goes no further."""
    try:
        call(*args)
    except Exception:
        logging.getLogger(NAME).exception("a trace exporter raised; its span is lost")
