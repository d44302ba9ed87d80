"""The programs on the pages pass a type checker: what they call exists as they call it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from documentation.code_blocks import ROOT, blocks, pages

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("mypy", reason="mypy is not installed here; the extra `dev` brings it")
# Shows how tests grow, with functions that are defined twice and fixtures without types.
NOT_CHECKED = {"docs/testing.md"}


def test_the_programs_on_the_pages_have_no_type_errors(tmp_path: Path) -> None:
    written = 0
    for page in pages():
        code = "".join(block.text for block in blocks(page) if block.language == "python")
        if code and page not in NOT_CHECKED:
            name = page.replace("/", "_").replace("-", "_").removesuffix(".md")
            (tmp_path / f"{name}.py").write_text(code)
            written += 1
    assert written > 10
    command = [sys.executable, "-m", "mypy", "--check-untyped-defs", "--no-error-summary"]
    options = ["--ignore-missing-imports", "--allow-redefinition", "--disable-error-code=no-redef"]
    # Imports of the library are followed and not reported.
    options += ["--config-file=", f"--cache-dir={tmp_path}/cache"]
    checked = subprocess.run(
        [*command, *options, *sorted(map(str, tmp_path.glob("*.py")))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line for line in checked.stdout.splitlines() if str(tmp_path) in line]
    assert not found, "\n".join(found)
    assert not checked.stderr
