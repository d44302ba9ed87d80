"""What is shipped: the wheel, its metadata, and the proof that it is what the tests import.

`make test` sets ``SUPERVISOR_SOURCE`` to the source package. Without it these tests are skipped
where they need an installed wheel, so that the suite also runs straight from a checkout.
"""

from __future__ import annotations

import email
import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import trio_supervisor

PACKAGE = Path(trio_supervisor.__file__).parent
PROJECT = Path(__file__).parents[2]
SOURCE = os.environ.get("SUPERVISOR_SOURCE")

needs_wheel = pytest.mark.skipif(SOURCE is None, reason="not run by make: no wheel to look at")


def declared() -> dict[str, object]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert isinstance(project, dict)
    return project


@pytest.fixture
def shipped() -> metadata.Distribution:
    return metadata.distribution("trio-supervisor")


@needs_wheel
def test_the_package_under_test_is_the_installed_one() -> None:
    assert PACKAGE == Path(sysconfig.get_path("purelib")) / "trio_supervisor"


@needs_wheel
def test_the_source_tree_cannot_be_imported() -> None:
    assert SOURCE is not None
    source_root = Path(SOURCE).parent.resolve()
    assert source_root not in {Path(entry).resolve() for entry in sys.path}
    found = subprocess.run(
        [sys.executable, "-c", "import trio_supervisor; print(trio_supervisor.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).parent == PACKAGE


@needs_wheel
def test_the_installation_is_not_editable(shipped: metadata.Distribution) -> None:
    direct_url = shipped.read_text("direct_url.json") or ""
    assert "editable" not in direct_url
    assert not list(PACKAGE.parent.glob("*trio_supervisor*.pth"))


@needs_wheel
def test_the_wheel_holds_the_sources_as_they_are() -> None:
    assert SOURCE is not None

    def contents(root: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    assert contents(PACKAGE) == contents(Path(SOURCE))


@needs_wheel
def test_the_wheel_holds_the_package_and_nothing_else(shipped: metadata.Distribution) -> None:
    assert shipped.files is not None
    # The command lies in the environment's folder of programs.
    files = [file for file in shipped.files if file.name != "trio-supervisor"]
    assert len(files) == len(shipped.files) - 1
    top = {file.parts[0] for file in files}
    assert {name for name in top if not name.endswith(".dist-info")} == {"trio_supervisor"}


@needs_wheel
def test_metadata(shipped: metadata.Distribution) -> None:
    # `email` reads what `metadata.metadata` wraps; it keeps fields that older Pythons do not know.
    fields = email.message_from_string(shipped.read_text("METADATA") or "")
    assert fields["Name"] == "trio-supervisor"
    assert fields["Version"] == trio_supervisor.__version__
    assert fields["Requires-Python"] == ">=3.11"
    assert fields["License-Expression"] == "MIT OR Apache-2.0"
    assert set(fields.get_all("License-File") or ()) == {"LICENSE-MIT", "LICENSE-APACHE"}
    classifiers = fields.get_all("Classifier") or []
    assert {"Framework :: Trio", "Typing :: Typed"} <= set(classifiers)


@needs_wheel
def test_the_licences_are_in_the_wheel(shipped: metadata.Distribution) -> None:
    names = {file.name for file in shipped.files or ()}
    assert {"LICENSE-MIT", "LICENSE-APACHE"} <= names


@needs_wheel
def test_it_needs_trio_trio_util_and_attrs_only(shipped: metadata.Distribution) -> None:
    always = [each for each in shipped.requires or () if "extra ==" not in each]
    names = {re.split(r"[^A-Za-z0-9-]", each)[0] for each in always}
    assert names == {"trio", "trio-util", "attrs"}


@needs_wheel
def test_every_extra_asks_for_something(shipped: metadata.Distribution) -> None:
    asked_for = "\n".join(shipped.requires or ()).replace('"', "'")
    for extra in shipped.metadata.get_all("Provides-Extra") or []:
        assert f"extra == '{extra}'" in asked_for


def test_it_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_the_changelog_knows_this_version() -> None:
    changelog = PROJECT / "CHANGELOG.md"
    assert f"## [{trio_supervisor.__version__}]" in changelog.read_text()


def test_what_is_declared_for_python_is_where_it_runs() -> None:
    assert sys.version_info >= (3, 11)
    assert importlib.util.find_spec("trio_typing") is None, "its stubs shadow Trio's own types"
