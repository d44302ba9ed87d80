"""Numbers that the pages state, worked out from the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from random import Random
from typing import TYPE_CHECKING, Never

import pytest
import trio
from helpers.support import run_virtual

from documentation.code_blocks import ROOT, blocks, load
from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    RestartLimit,
    RestartLimitExceeded,
    SupervisorSpec,
    open_supervisor,
)
from trio_supervisor.daemon import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

README = (ROOT / "README.md").read_text()


async def fail(child: ChildContext) -> Never:
    raise ConnectionRefusedError


def test_how_long_a_dead_dependency_is_survived_with_all_defaults() -> None:
    begun = ended = 0.0

    async def scenario() -> None:
        nonlocal begun, ended
        begun = trio.current_time()
        with pytest.raises(RestartLimitExceeded):
            async with open_supervisor(
                SupervisorSpec("app", [ChildSpec("c", fail)]), random=Random(0), wait_ready=False
            ):
                await trio.sleep_forever()
        ended = trio.current_time()

    run_virtual(scenario)
    exact = sum(BackoffPolicy(jitter=0).delay(step, Random(0)) for step in range(10))
    assert exact == pytest.approx(81.1)
    assert ended - begun == pytest.approx(exact, rel=0.1)
    assert "about 80 s after the first" in README


def test_the_delays_are_those_of_the_readme() -> None:
    policy = BackoffPolicy(jitter=0)
    shown = ", ".join(f"{policy.delay(step, Random(0)):g}" for step in range(9))
    assert f"{shown} and 30 s" in " ".join(README.split())


@pytest.mark.parametrize("seed", range(5))
def test_the_limit_of_the_readme_is_never_exceeded_by_a_dead_dependency(seed: int) -> None:
    async def scenario() -> None:
        spec = ChildSpec("c", fail, restart_limit=RestartLimit(13, within=120))
        tree = SupervisorSpec("app", [spec])
        async with open_supervisor(tree, random=Random(seed), wait_ready=False) as app:
            await trio.sleep(20_000)
            assert app.child("c").attempt > 500

    run_virtual(scenario)
    assert "RestartLimit(13, within=120)" in README


class Fatal(BaseException):
    """As some libraries derive their errors."""


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit, GeneratorExit, Fatal])
def test_exceptions_that_end_the_whole_tree(fatal: type[BaseException]) -> None:
    async def raise_it(child: ChildContext) -> None:
        await trio.sleep(1)
        raise fatal

    async def scenario() -> None:
        children = [ChildSpec("c", raise_it), ChildSpec("other", wait)]
        async with open_supervisor(SupervisorSpec("app", children)):
            await trio.sleep(10)

    async def wait(child: ChildContext) -> None:
        await child.wait_stop_requested()

    with pytest.raises(fatal):
        run_virtual(scenario)
    for named in (KeyboardInterrupt, SystemExit, GeneratorExit):
        assert f"`{named.__name__}`" in README


def test_the_exit_codes_of_the_deploy_page_are_those_of_the_daemon() -> None:
    page = (ROOT / "docs" / "guides" / "deploy.md").read_text()
    listed = re.findall(r"^\| (\d+)(?: \+ n)? \| ", page, re.MULTILINE)
    assert [int(code) for code in listed] == [code.value for code in ExitCode]


def test_unit_and_manifest_leave_time_for_the_orderly_stop(tmp_path: Path) -> None:
    tree = load("docs/guides/deploy.md")["APP"]
    longest = min(tree.shutdown_deadline, sum(child.grace for child in tree.children))
    program = "".join(
        block.text for block in blocks("docs/guides/deploy.md") if block.language == "python"
    )
    (tmp_path / "shop.py").write_text(program)
    found = {}
    for verb in ("unit", "manifest"):
        done = subprocess.run(
            [sys.executable, "-m", "trio_supervisor.cli", verb, "shop:APP"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        found[verb] = done.stdout
    stop = re.search(r"^TimeoutStopSec=(\d+)$", found["unit"], re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) > longest
    assert "RestartPreventExitStatus=2" in found["unit"]
    grace = re.search(r"terminationGracePeriodSeconds: (\d+)", found["manifest"])
    assert grace is not None
    assert int(grace[1]) > longest
