"""OpenTelemetry: spans of attempts and restarts, and meters, as an SDK records them."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from helpers.support import run_virtual

from trio_supervisor import BackoffPolicy, ChildContext, ChildSpec, SupervisorSpec, open_supervisor
from trio_supervisor.observe import open_meters, open_traces

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")
from opentelemetry import trace  # optional
from opentelemetry.sdk.metrics import MeterProvider  # optional
from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # optional
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # optional
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # optional
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # optional
    InMemorySpanExporter,
)


class Recorded:
    """A provider whose spans are kept in memory."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = trace.get_tracer("tests", tracer_provider=self.provider)

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]


def tree(body: Any) -> SupervisorSpec:
    return SupervisorSpec("app", [ChildSpec("feed", body, backoff=BackoffPolicy.delays(1))])


def test_attempts_are_spans_that_are_linked_and_not_nested() -> None:
    recorded = Recorded()

    async def feed(child: ChildContext) -> None:
        with recorded.tracer.start_as_current_span("query"):
            await trio.sleep(1)
        if child.attempt < 3:
            raise OSError("no route")
        await trio.sleep_forever()

    async def main() -> None:
        with open_traces(recorded.provider):
            async with open_supervisor(tree(feed)):
                await trio.sleep(10)

    run_virtual(main)
    first, second, third = recorded.spans("app/feed")
    assert [
        dict(span.attributes or {})["trio_supervisor.exit"] for span in (first, second, third)
    ] == [
        "crashed",
        "crashed",
        "aborted",
    ]
    assert dict(first.attributes or {})["error.type"] == "OSError"
    assert first.parent is second.parent is None
    assert [link.context.span_id for link in third.links] == [second.context.span_id]
    inner = recorded.spans("query")
    assert [span.parent.span_id for span in inner if span.parent] == [
        span.context.span_id for span in (first, second, third)
    ]


def test_a_restart_is_a_span_from_the_failure_to_readiness() -> None:
    recorded = Recorded()

    async def feed(child: ChildContext) -> None:
        if child.attempt == 1:
            await trio.sleep(5)
            raise OSError("no route")
        await trio.sleep_forever()

    async def main() -> None:
        with open_traces(recorded.provider):
            async with open_supervisor(tree(feed)):
                await trio.sleep(10)

    run_virtual(main)
    (restart,) = recorded.spans("restart app/feed")
    attributes = dict(restart.attributes or {})
    assert attributes["trio_supervisor.delay"] == 1
    assert attributes["trio_supervisor.became_ready"] is True
    (failed, _) = recorded.spans("app/feed")
    assert [link.context.span_id for link in restart.links] == [failed.context.span_id]


def test_a_fatal_exception_leaves_no_span_open() -> None:
    recorded = Recorded()

    async def feed(child: ChildContext) -> None:
        await trio.sleep(1)
        raise SystemExit(7)

    async def main() -> None:
        with open_traces(recorded.provider):
            async with open_supervisor(tree(feed)):
                await trio.sleep(10)

    with pytest.raises(SystemExit):
        run_virtual(main)
    assert len(recorded.spans("app/feed")) == 1


def test_an_exporter_that_raises_does_not_touch_the_tree(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(TracerProvider):
        def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
            class Tracer:
                def start_span(self, *args: Any, **kwargs: Any) -> Any:
                    raise RuntimeError("no collector")

            return Tracer()

    async def feed(child: ChildContext) -> None:
        if child.attempt == 1:
            raise OSError("no route")
        await trio.sleep_forever()

    async def main() -> None:
        with open_traces(Broken()):
            async with open_supervisor(tree(feed)) as supervisor:
                await trio.sleep(10)
                assert supervisor.state().child("feed").attempt == 2

    run_virtual(main)
    assert "a trace exporter raised" in caplog.text


def test_meters_report_what_the_metrics_say() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])

    async def feed(child: ChildContext) -> None:
        await trio.sleep(1)
        raise OSError("no route")

    def points(name: str) -> dict[tuple[Any, ...], Any]:
        found = {}
        data = reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        point: Any  # of one of three kinds; those that are asked for have a value
                        for point in metric.data.data_points:
                            found[tuple((point.attributes or {}).values())] = point.value
        return found

    async def main() -> None:
        async with (
            open_supervisor(tree(feed)) as supervisor,
            open_meters(supervisor, provider=provider),
        ):
            await trio.sleep(3.5)
            assert points("trio_supervisor.child.restarts")["app/feed",] == 2
            assert points("trio_supervisor.child.exits")["app/feed", "crashed"] == 2
            assert points("trio_supervisor.child.state") == {("app/feed", "backing_off"): 1}
        assert points("trio_supervisor.child.restarts") == {}

    run_virtual(main)
