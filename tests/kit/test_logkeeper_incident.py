"""An incident of a daemon that runs: recorded in its file, replayed, made a test, and asked."""

from __future__ import annotations

import re
import signal
import socket
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from helpers.processes import Program, wait_until

from examples.logkeeper.tree import Options, declare
from trio_supervisor import SupervisorSpec, read_journal
from trio_supervisor.cli._main import main
from trio_supervisor.testing import as_test, change_spec, replay_journal, what_if

if TYPE_CHECKING:
    from pathlib import Path

CRASHES = 3


def ask(address: tuple[str, int], command: str) -> str:
    """The answer; empty while the desk is down."""
    with suppress(OSError), socket.create_connection(address, timeout=5) as client:
        client.sendall(f"{command}\n".encode())
        client.shutdown(socket.SHUT_WR)
        return client.recv(1000).decode()
    return ""


def has_come_back(program: Program, attempt: int) -> bool:
    parts = ("store", "followers", "desk")
    return all(f"logkeeper/{part} ready attempt={attempt}" in program.err for part in parts)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the log keeper wrote while its store crashed again and again."""
    folder = tmp_path_factory.mktemp("keeper")
    path, log = folder / "logkeeper.journal", folder / "app.log"
    log.write_text("2026-02-01 01:02:03 hello\n")
    daemon = ("-m", "examples.logkeeper", "--port=0", f"--journal={path}", str(log))
    socket_path = {"TRIO_SUPERVISOR_SOCKET": str(folder / "control")}
    with Program(folder, *daemon, environment=socket_path) as program:
        program.wait_for("answers on")
        found = re.search(r"answers on (\S+), port (\d+)", program.out)
        assert found is not None
        address = found[1], int(found[2])

        def describe() -> str:
            return program.err

        wait_until(partial(has_come_back, program, 1), describe)
        for crash in range(1, CRASHES + 1):
            wait_until(lambda: ask(address, "sabotage store").startswith("crashing"), describe)
            wait_until(partial(has_come_back, program, crash + 1), describe)
        wait_until(lambda: ask(address, "count").strip() == "1", describe)
        time.sleep(0.7)  # the clock of the daemon is the real one; jitter may not matter at its end
        program.signal(signal.SIGTERM)
        assert program.ended() == 0, program.err
    return path


@pytest.fixture
def app(tmp_path: Path) -> SupervisorSpec:
    log = tmp_path / "app.log"
    return declare(Options([log], tmp_path / "lines.db"), lambda host, port: None)


def test_the_recorded_crashes_replay(journal: Path, app: SupervisorSpec) -> None:
    newest = read_journal(journal).stretches[-1]
    replay = replay_journal(newest, app)
    assert replay.is_equal, str(replay)
    replay.trace.check()


def test_they_become_a_test_that_fails_until_the_tree_is_changed(
    journal: Path, app: SupervisorSpec
) -> None:
    newest = read_journal(journal).stretches[-1]
    names: dict[str, Any] = {}
    exec(
        "from collections import Counter\nimport trio\nfrom math import inf\n"
        "from trio_supervisor import *\nfrom trio_supervisor.testing import *\n",
        names,
    )
    happened = as_test(newest, app, name="store_crashes")
    exec(happened, names)
    names["test_store_crashes"]()
    wanted = re.sub(r"assert started == .*", "assert started['logkeeper/desk'] == 1", happened)
    assert wanted != happened
    exec(wanted, names)
    with pytest.raises(AssertionError):
        names["test_store_crashes"]()
    mended = wanted.replace("strategy='rest_for_one'", "strategy='one_for_one'")
    assert mended != wanted
    exec(mended, names)
    names["test_store_crashes"]()


def test_what_if_repeats_the_record_and_says_what_another_strategy_gives(
    journal: Path, app: SupervisorSpec
) -> None:
    found = what_if(
        read_journal(journal).stretches[-1], app, change_spec(app, "strategy=one_for_one")
    )
    assert found.recorded.restarts == {"store": CRASHES}
    best, worst = found.declared
    assert 1 <= best.restarts["store"] <= CRASHES <= worst.restarts["store"]
    for one in found.declared:
        assert one.outage["desk"] == pytest.approx(found.recorded.outage["desk"], abs=1)
    for one in found.changed:
        assert one.outage.get("desk", 0) == 0, str(found)


def test_the_command_prints_a_table(
    journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keeper_as_declared.py").write_text(
        "from pathlib import Path\n"
        "from examples.logkeeper.tree import Options, declare\n"
        "APP = declare(Options([Path('app.log')], Path('lines.db')), print)\n"
    )
    line = ["what-if", str(journal), "keeper_as_declared:APP", "--set", "store.restart_limit=2/60"]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as caught:
        patch.syspath_prepend(tmp_path)
        main(line)
    shown = capsys.readouterr().out
    assert caught.value.code == 0, shown
    assert re.search(r"^store: restarts +3 ", shown, re.MULTILINE), shown
    assert "RestartLimitExceeded" in shown
    head, *rows = shown.splitlines()
    start = head.index("recorded")
    assert all(row[start - 1] == " " != row[start] for row in rows), shown  # one below the other
