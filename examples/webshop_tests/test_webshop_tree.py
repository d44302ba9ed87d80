"""The tree of the web shop: in virtual time, and its files for systemd and Kubernetes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import yaml

from examples.webshop.store import Store, Sums
from examples.webshop.tree import DRAIN, Options, declare
from trio_supervisor import ChildContext, ChildState, open_supervisor
from trio_supervisor._specs.numbers import stop_seconds
from trio_supervisor.testing import check_trace, with_bodies

if TYPE_CHECKING:
    from trio_supervisor import SupervisorSpec

HERE = Path(__file__).parents[1] / "webshop"
ROOT = Path(__file__).parents[2]


async def quiet(child: ChildContext) -> None:
    """A body for those that would open sockets."""
    child.ready([])
    await child.wait_stop_requested()


def shop(tmp_path: Path, **bodies: Any) -> SupervisorSpec:
    """The real tree without its sockets."""
    spec = declare(Options(tmp_path / "shop.db"))
    return with_bodies(spec, {"socket": quiet, "site": quiet, **bodies})


def test_what_is_ordered_is_shipped_and_kept(tmp_path: Path) -> None:
    async def main() -> Sums:
        spec = shop(tmp_path)
        async with open_supervisor(spec) as tree:
            store: Store = tree.child("store").value
            first = await store.place("a", "tea")
            assert await store.place("a", "tea") == first
            assert await store.place("b", "cake") == first + 1
            with trio.fail_after(30):
                while (sums := await store.sums()).shipped < 2:
                    await trio.sleep(0.05)
        check_trace(spec, tree.journal)
        return sums

    assert trio.run(main) == Sums(2, 2)
    assert trio.run(main) == Sums(2, 2)  # they are found again


def test_a_packer_that_fails_is_no_business_of_the_site(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async def main() -> None:
        async def fails(child: ChildContext) -> None:
            child.ready()
            await trio.sleep(1)
            raise OSError("the conveyor is stuck")

        spec = shop(tmp_path, **{"store": quiet, "workers/packer-1": fails, "workers/*": quiet})
        async with open_supervisor(spec) as tree:
            await tree.child("workers/packer-1").wait_state(ChildState.QUARANTINED)
            assert tree.child("site").attempt == 1
            assert tree.child("site").state is ChildState.READY
        check_trace(spec, tree.journal)

    trio.run(main, clock=autojump_clock)


def test_a_store_that_is_closed_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        store = Store(tmp_path / "shop.db")
        with pytest.raises(ConnectionError, match="not open"):
            await store.sums()

    trio.run(main)


def printed(*arguments: str) -> str:
    """What ``trio-supervisor`` prints about the tree, as the folder's README tells to call it."""
    command = [sys.executable, "-m", "trio_supervisor.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


COMMON = ("--drain", f"{DRAIN:g}s")
UNIT = (
    "unit", "examples.webshop.tree:declare", "--python", "/opt/webshop/bin/python",
    "--systemd-version", "252", "--http", "127.0.0.1:8024", *COMMON,
)  # fmt: skip
MANIFEST = (
    "manifest", "examples.webshop.tree:declare", "--image", "webshop:1",
    "--http", "0.0.0.0:8024", *COMMON,
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "arguments"), [("webshop.service", UNIT), ("webshop.yaml", MANIFEST)]
)
def test_the_files_are_what_the_command_prints(name: str, arguments: tuple[str, ...]) -> None:
    assert (HERE / name).read_text() == printed(*arguments)


def test_the_unit_is_what_systemd_accepts(tmp_path: Path) -> None:
    unit = (HERE / "webshop.service").read_text()
    assert "Type=notify\n" in unit
    seconds = re.search(r"TimeoutStopSec=(\d+)", unit)
    assert seconds is not None
    assert int(seconds[1]) > DRAIN + stop_seconds(declare(Options()))
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    there = tmp_path / "shop-example.service"
    there.write_text(unit.replace("/opt/webshop/bin/python", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(there)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


def test_the_manifest_is_what_kubernetes_accepts() -> None:
    validate = pytest.importorskip(
        "kubernetes_validate", reason="only the extra `dev` brings the schemas (108 MB)"
    )
    manifest = yaml.safe_load((HERE / "webshop.yaml").read_text())
    validate.validate(manifest, "1.31", strict=True)
    pod = manifest["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > DRAIN + stop_seconds(declare(Options()))
    (container,) = pod["containers"]
    paths = {
        probe: container[f"{probe}Probe"]["httpGet"]["path"]
        for probe in ("startup", "readiness", "liveness")
    }
    assert paths == {"startup": "/startupz", "readiness": "/readyz", "liveness": "/livez"}
    container["livenessProbe"]["httpGet"]["prot"] = 1
    with pytest.raises(validate.ValidationError):
        validate.validate(manifest, "1.31", strict=True)


def test_the_container_file_starts_what_is_there() -> None:
    lines = (HERE / "Containerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    elsewhere = ("LICENSE", "trio_supervisor")  # not beside the tests when `make` runs them
    assert all((ROOT / each).exists() for each in copied if not each.startswith(elsewhere))
    start = 'ENTRYPOINT ["python", "-m", "examples.webshop"'
    assert any(line.startswith(start) for line in lines)
