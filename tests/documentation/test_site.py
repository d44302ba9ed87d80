"""The built site: complete, without a request to anywhere else, and searchable offline."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from documentation.code_blocks import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("furo", reason="furo is not installed here; the extra `docs` brings it")
pytest.importorskip("myst_parser", reason="the extra `docs` brings it")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning", "--keep-going"]
    built = subprocess.run(
        [*command, "-b", "html", "docs", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|iframe|source)[^>]+src=[\"']([^\"']+)")
    linked = re.compile(r"<link[^>]+href=[\"']([^\"']+)")
    assert len(pages(site)) > 25
    for page in pages(site):
        text = page.read_text()
        for target in loaded.findall(text) + linked.findall(text):
            assert "//" not in target, f"{page.name}: {target}"


def test_each_page_can_be_reached_from_the_sidebar(site: Path) -> None:
    front = (site / "index.html").read_text()
    for source in (ROOT / "docs").rglob("*.md"):
        target = source.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert target == "index.html" or f'href="{target}"' in front, target


@pytest.mark.parametrize("word", ["quarantine", "rest_for_one", "JournalFile"])
def test_search_works_without_a_server(site: Path, tmp_path: Path, word: str) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no Chromium on this machine")
    shown = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            f"file://{site}/search.html?q={word}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    results = shown.partition('id="search-results"')[2]
    assert re.search(r"matching the search query|Search finished", results)
    assert "<li" in results
