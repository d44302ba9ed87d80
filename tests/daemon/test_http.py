"""The HTTP server of a daemon: there before the tree and until after it, and off by default."""

from __future__ import annotations

import re
import sys
import time
import urllib.error
import urllib.request
from signal import SIGTERM
from typing import TYPE_CHECKING, Any

import pytest

from trio_supervisor import SpecError, SupervisorSpec
from trio_supervisor.daemon import run

pytest.importorskip("h11", reason="h11 is not installed here; the extra `daemon` brings it")

if TYPE_CHECKING:
    from helpers.daemons import Start
    from helpers.processes import Program


def address_of(program: Program) -> str:
    program.wait_for("is shown at http://")
    found = re.search(r"is shown at (http://\S+)/", program.err)
    assert found is not None
    return found[1]


def ask(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def test_readyz_answers_while_the_daemon_starts_drains_and_stops(start: Start) -> None:
    program = start("""
        async def slow_start(child):
            say("starting")
            await trio.sleep(1)
            child.ready()
            say("works")
            await child.wait_stop_requested()
            say("stop requested")
            await trio.sleep(1)

        spec = ChildSpec("a", slow_start, readiness="explicit", grace=5)
        run(SupervisorSpec("app", [spec]), http="127.0.0.1:0", drain=1.5)
    """)
    address = address_of(program)
    program.wait_for("starting")
    status, body = ask(f"{address}/readyz")
    assert (status, body.splitlines()[0]) == (503, "app is starting")
    assert ask(f"{address}/startupz")[0] == 503
    program.wait_for("works")
    assert ask(f"{address}/readyz") == (200, "ready\n")
    program.signal(SIGTERM)
    program.wait_for("draining for 1.5s")
    assert ask(f"{address}/readyz") == (503, "draining: SIGTERM\n")
    assert "stop requested" not in program.out
    program.wait_for("stop requested")
    assert ask(f"{address}/readyz")[0] == 503
    assert ask(f"{address}/livez")[0] == 200
    assert program.ended() == 0


def test_it_is_off_unless_asked_for(start: Start) -> None:
    program = start("""
        run(SupervisorSpec("app", [ChildSpec("a", obedient)]))
        say(*sorted(name for name in sys.modules if "http" in name or name == "h11"))
    """)
    program.wait_for("is up after")
    program.signal(SIGTERM)
    assert program.ended() == 0
    assert "shown at" not in program.err
    assert "h11" not in program.out
    assert "trio_supervisor.http" not in program.out


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999", -1, 8.5])
def test_a_wrong_address_is_named_before_anything_starts(address: Any) -> None:
    with pytest.raises(SpecError, match=r"http=.*127\.0\.0\.1:8024"):
        run(SupervisorSpec("app"), http=address)


def test_an_address_in_use_ends_the_daemon_before_the_tree_is_started(start: Start) -> None:
    program = start("""
        import socket
        taken = socket.create_server(("127.0.0.1", 0))
        run(SupervisorSpec("app", [ChildSpec("a", obedient)]), http=taken.getsockname()[1])
    """)
    assert program.ended() == 3
    assert "in use" in program.err
    assert "runs" not in program.out


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h11", None)
    with pytest.raises(SpecError, match="extra `daemon`"):
        run(SupervisorSpec("app"), http=8024)


def test_one_monitor_serves_log_probe_and_metrics(start: Start) -> None:
    pytest.importorskip("prometheus_client", reason="the extra `metrics` brings it")
    program = start("""
        import time
        async def blocks(child):
            await trio.sleep(1)
            say("blocks")
            time.sleep(3)
            say("turns again")
            await child.wait_stop_requested()
        child = ChildSpec("a", blocks, grace=5)
        run(SupervisorSpec("app", [child]), http="127.0.0.1:0", blocked_after=0.5)
    """)
    address = address_of(program)
    program.wait_for("is up after")
    before = ask(f"{address}/metrics")[1]
    assert "trio_supervisor_loop_stalls_total 0.0" in before
    program.wait_for("blocks")
    deadline = time.monotonic() + 2.5
    said = ""
    while "has not turned for" not in said:
        assert time.monotonic() < deadline, said
        status, said = ask(f"{address}/livez")
        assert status == 200  # busy is not dead
    assert "turns again" not in program.out
    program.wait_for("turns again")
    program.wait_for("the event loop was blocked for")
    after = ask(f"{address}/metrics")[1]
    assert "trio_supervisor_loop_stalls_total 1.0" in after
    found = re.search(r"loop_blocked_seconds_total ([\d.]+)$", after, re.MULTILINE)
    assert found is not None
    assert 2.5 < float(found[1]) < 6
    program.signal(SIGTERM)
    assert program.ended() == 0
