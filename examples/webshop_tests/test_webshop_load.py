"""The web shop as a process: stopped under load, and seen over HTTP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import trio

from examples.webshop import load

pytestmark = pytest.mark.slow
pytest.importorskip("anycorn", reason="the extra `asgi` brings it")
ROOT = Path(__file__).parents[2]


def test_no_request_is_lost_over_stops_under_load() -> None:
    """A short version of ``python -m examples.webshop.load``."""
    count = trio.run(load.run, 2, 60)
    assert count.in_flight["answered"] >= 55, str(count)
    assert count.is_perfect, str(count)


def test_the_count_tells_what_is_lost() -> None:
    """Without a socket that outlives the process, late clients are not served, and are counted."""

    async def main() -> load.Count:
        return await load.run(1, 20, own_socket=True)

    count = trio.run(main)
    # On a busy machine, one may still wait to be accepted when the socket closes.
    assert count.in_flight["answered"] >= 15, str(count)
    assert count.outcomes["lost"] + count.outcomes["refused"] > 0, str(count)
    assert not count.is_perfect


def test_it_shows_probes_metrics_and_dashboard_and_stops_in_order(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
        port, http = a.getsockname()[1], b.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.webshop", "--http", f"127.0.0.1:{http}"],
        cwd=ROOT,
        env={
            **os.environ,
            "TRIO_SUPERVISOR_SOCKET": str(tmp_path / "s"),
            "WEBSHOP_DATABASE": str(tmp_path / "shop.db"),
            "WEBSHOP_PORT": str(port),
            "WEBSHOP_DRAIN": "1",
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(http, "/readyz", 200)
        assert b"0 orders" in wait_for(port, "/", 200)
        assert b"alive" in wait_for(http, "/livez", 200)
        metrics = wait_for(http, "/metrics", 200)
        assert b'trio_supervisor_child_starts_total{child="webshop/site"} 1.0' in metrics
        assert b"<title>" in wait_for(http, "/", 200)
        process.send_signal(signal.SIGTERM)
        assert b"draining" in wait_for(http, "/readyz", 503)
        assert b"0 orders" in wait_for(port, "/", 200)  # it works on while it drains
        assert process.wait(30) == 0
    finally:
        process.kill()
        _, told = process.communicate()
    assert "stopping in order" in told


def wait_for(port: int, path: str, status: int) -> bytes:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                found, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            found, body = error.code, error.read()
        except OSError:
            found, body = 0, b""
        if found == status:
            return bytes(body)
        assert time.monotonic() < deadline, (found, body)
        time.sleep(0.05)
