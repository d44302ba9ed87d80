"""What operators of other supervisors have reported as bugs, replayed over the control socket.

Those that concern names, JSON and terminals are in ``tests/cli``; a second daemon on one socket and
commands while a child hangs are in ``test_server``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from helpers.support import run_real

from control.kit import Raw, ask, crash, in_thread, ready, serving_tree
from trio_supervisor import BackoffPolicy, ChildSpec, ChildStarted, RestartLimit, SupervisorSpec

if TYPE_CHECKING:
    from pathlib import Path

    from trio_supervisor import ChildContext

HERE = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))  # noqa: PTH120
AT_ONCE = BackoffPolicy.delays(0.01)


async def never_ready(child: ChildContext) -> None:
    await trio.sleep_forever()


def test_a_restart_of_a_child_that_waits_makes_no_twin(tmp_path: Path) -> None:
    """process-compose 530: stuck "Terminating", later an untracked twin that survives the stop."""
    live = most = 0

    async def web(child: ChildContext) -> None:
        nonlocal live, most
        live += 1
        most = max(most, live)
        try:
            child.ready()
            await trio.sleep_forever()
        finally:
            live -= 1

    async def main() -> None:
        release = trio.Event()

        async def store(child: ChildContext) -> None:
            await release.wait()
            child.ready()
            await trio.sleep_forever()

        spec = SupervisorSpec(
            "app", [ready("store", store), ready("web", web, requires=["store"])], ordering="graph"
        )
        async with serving_tree(tmp_path, spec, wait_ready=False) as (supervisor, server):
            answer = await ask(server, "restart", names=["web"], wait=False)
            assert answer["children"][0]["state"] == "waiting"
            await ask(server, "restart", names=["web"], wait=False)
            release.set()
            await ask(server, "wait", names=["web"], timeout=10)
            await ask(server, "restart", names=["web"])
            started = [
                e for e in supervisor.journal if isinstance(e, ChildStarted) and "web" in e.path
            ]
            assert [event.attempt for event in started] == [1, 2]
        assert (live, most) == (0, 1)

    run_real(main)


def test_a_restart_of_the_last_child_is_no_end(tmp_path: Path) -> None:
    """process-compose 528, goreman 112: the exit counts, and the whole project shuts down."""

    async def main() -> None:
        for mode in ("all_done", "any_significant"):
            web = ready("web", significant=mode != "all_done", restart="transient")
            spec = SupervisorSpec("app", [web], auto_shutdown=mode)
            place = tmp_path / mode
            place.mkdir()
            async with serving_tree(place, spec) as (supervisor, server):
                for attempt in (2, 3):
                    answer = await ask(server, "restart", names=["web"])
                    assert answer["children"][0]["attempt"] == attempt
                assert supervisor.state().state == "running"

    run_real(main)


def test_a_client_touches_no_file(tmp_path: Path) -> None:
    """process-compose 516: a client command truncates the running server's log."""

    async def main() -> None:
        place = tmp_path / "cwd"
        place.mkdir()
        (place / "app.log").write_text("precious")
        async with serving_tree(tmp_path) as (_, server):

            def run(*argv: str) -> None:
                subprocess.run(
                    [sys.executable, "-m", "trio_supervisor.cli", *argv, "--socket", server.path],
                    cwd=place,
                    env={**os.environ, "PYTHONPATH": HERE, "HOME": str(place)},
                    capture_output=True,
                    check=True,
                )

            for argv in (("tree",), ("events",), ("why",), ("restart", "web")):
                await in_thread(partial(run, *argv))
        assert [path.name for path in place.iterdir()] == ["app.log"]
        assert (place / "app.log").read_text() == "precious"

    run_real(main)


def test_one_that_never_says_ready_is_not_called_running(tmp_path: Path) -> None:
    """pm2 4355, kodosumi 69: "online", or "active", for days, and no limit counts it."""

    async def main() -> None:
        web = ready(
            "web", never_ready, start_timeout=0.1, retry_first_start=True, backoff=AT_ONCE,
            restart_limit=RestartLimit(3, within=60), on_limit="quarantine",
        )  # fmt: skip
        spec = SupervisorSpec("app", [web, ready("other")])
        async with serving_tree(tmp_path, spec, wait_ready=False) as (_, server):
            tree = await ask(server, "tree")
            assert tree["children"][0]["state"] in {"starting", "backing_off"}
            answer = await ask(server, "ready")
            assert answer["missing"][-1]["path"] in {"app/web", "app/other"}
            await ask(server, "wait", names=["web"], states=["quarantined"], timeout=20)
            (told,) = (await ask(server, "why", names=["web"]))["children"]
            text = " ".join(each["text"] for each in told["statements"])
            assert "took too long and was ended" in text
            assert "Its restart limit of 3 restarts in 60s was used up" in text

    run_real(main)


def test_a_start_that_succeeds_for_a_moment_counts(tmp_path: Path) -> None:
    """trusty-tools 3631: each respawn succeeds for a moment, and the counter never exceeds 1."""

    async def main() -> None:
        feed = ready(
            "feed", crash, backoff=AT_ONCE, restart_limit=RestartLimit(4, within=60),
            on_limit="quarantine",
        )  # fmt: skip
        async with serving_tree(tmp_path, SupervisorSpec("app", [feed])) as (_, server):
            await ask(server, "wait", names=["feed"], states=["quarantined"], timeout=20)
            (child,) = (await ask(server, "tree"))["children"]
            assert (child["restarts"], child["used"], child["limit"]) == (4, 4, 4)

    run_real(main)


def test_commands_that_nobody_waits_for_keep_their_order(tmp_path: Path) -> None:
    """circus 831: commands are refused while another one is under way."""

    async def main() -> None:
        async with serving_tree(tmp_path) as (supervisor, server):

            def flood() -> list[Any]:
                with Raw(server.path) as client:
                    head = b'{"v": 1, "id": %d, "verb": "%s", "args": '
                    args = b'{"names": ["web"], "wait": false}}\n'
                    lines = []
                    for number in range(200):
                        verb = (b"stop", b"restart")[number % 2]
                        lines.append(head % (number, verb) + args)
                    lines.append(head % (200, b"stop") + b'{"names": ["nobody"], "wait": false}}\n')
                    lines.append(head % (201, b"ping") + b"{}}\n")
                    client.send(b"".join(lines))
                    return [client.answer() for _ in lines]

            answers = await in_thread(flood)
            assert [answer["id"] for answer in answers] == list(range(202))
            assert all(answer["ok"] for answer in answers[:200])
            assert answers[200]["error"]["code"] == "no_such_child"
            await ask(server, "wait", names=["web"], states=["ready"], timeout=10)
            assert supervisor.child("web").state == "ready"

    run_real(main)


def test_an_immediate_child_can_be_commanded_as_well(tmp_path: Path) -> None:
    async def main() -> None:
        spec = SupervisorSpec("app", [ChildSpec("job", never_ready)])
        async with serving_tree(tmp_path, spec) as (_, server):
            assert (await ask(server, "restart", names=["job"]))["children"][0]["attempt"] == 2

    run_real(main)
