"""The page /metrics: there when prometheus-client is installed, and only then."""

from __future__ import annotations

import gzip
import sys

import pytest
from helpers.http_client import child, connect, get, open_both
from helpers.support import run_real

from trio_supervisor import BackoffPolicy, ChildContext, ChildSpec, SupervisorSpec, open_supervisor
from trio_supervisor.http import open_http

pytest.importorskip("prometheus_client", reason="the extra `metrics` brings it")


async def crash_once(child: ChildContext) -> None:
    if child.attempt == 1:
        raise ValueError("once")
    child.ready()
    await child.wait_stop_requested()


TREE = SupervisorSpec(
    "app",
    [
        child("store"),
        ChildSpec(
            "feed",
            crash_once,
            readiness="explicit",
            retry_first_start=True,
            backoff=BackoffPolicy(initial=0.01),
        ),
    ],
)


def test_a_scrape_counts_what_happened_before_it() -> None:
    async def scenario() -> None:
        async with open_both(TREE) as (server, app):
            answer = await get(server, "/metrics")
            assert answer.status == 200
            assert answer.headers["content-type"].startswith("text/plain; version=")
            restarts = [line for line in answer.body.splitlines() if "_restarts_total{" in line]
            assert any('child="app/feed"' in line and line.endswith(" 1.0") for line in restarts)
            assert any('child="app/store"' in line and line.endswith(" 0.0") for line in restarts)
            await app.restart_child("store")
            again = await get(server, "/metrics")
            starts = [line for line in again.body.splitlines() if "_starts_total{" in line]
            assert any('child="app/store"' in line and line.endswith(" 2.0") for line in starts)

    run_real(scenario)


def test_before_a_tree_and_with_another_one() -> None:
    async def scenario() -> None:
        async with open_http(address=0) as server:
            assert (await get(server, "/metrics")).status == 503
            for name in ("one", "two"):
                async with open_supervisor(SupervisorSpec(name, [child("a")])) as supervisor:
                    server.attach(supervisor)
                    assert f'child="{name}/a"' in (await get(server, "/metrics")).body
            assert 'child="two/a"' in (await get(server, "/metrics")).body  # after its end

    run_real(scenario)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with open_both(TREE) as (server, _):
            monkeypatch.setitem(sys.modules, "prometheus_client", None)
            answer = await get(server, "/metrics")
            assert (answer.status, "extra `metrics`" in answer.body) == (404, True)

    run_real(scenario)


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("", False),
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
    ],
)
def test_the_page_is_compressed_where_that_is_understood(accepted: str, compressed: bool) -> None:
    async def scenario() -> None:
        async with open_both(TREE) as (server, _):
            request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            if accepted:
                request += f"Accept-Encoding: {accepted}\r\n"
            stream = await connect(server)
            async with stream:
                await stream.send_all(f"{request}\r\n".encode())
                answer = b"".join([part async for part in stream])
            head, _, body = answer.partition(b"\r\n\r\n")
            assert (b"content-encoding: gzip" in head.lower()) == compressed
            plain = gzip.decompress(body) if compressed else body
            assert b'trio_supervisor_child_starts_total{child="app/feed"}' in plain

    run_real(scenario)
