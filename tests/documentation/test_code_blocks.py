"""Each code block of each page runs, and each command of a page exists."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib

import pytest

from documentation.code_blocks import ROOT, Block, blocks, load, pages

MAKEFILE = (ROOT / "Makefile").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Pages whose Python is run, with more questions asked, by a test of its own.
RUN_ELSEWHERE = {"docs/testing.md": "tests/kit/test_docs.py"}
# The languages that a page can be written in; what is in the others is text.
LANGUAGES = {"python", "sh", "console", "text", "mermaid", "ini", "yaml", "toml", "json", "promql"}
PYTHON_PAGES = [
    page
    for page in pages()
    if page not in RUN_ELSEWHERE and any(block.language == "python" for block in blocks(page))
]
SHELL = [block for page in pages() for block in blocks(page) if block.language in {"sh", "console"}]


def test_there_is_something_to_run() -> None:
    assert len(PYTHON_PAGES) >= 9
    assert len(SHELL) >= 2


@pytest.mark.parametrize("page", pages())
def test_every_block_names_its_language(page: str) -> None:
    for block in blocks(page):
        directive = block.language.startswith("{")
        assert directive or block.language in LANGUAGES, f"{block}: {block.language!r}"


@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_python_runs(page: str) -> None:
    _needs(page)
    assert load(page)


def _needs(page: str) -> None:
    for package in ("hypercorn", "trio_websocket"):
        uses = any(f"from {package}" in block.text for block in blocks(page))
        if uses and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed here; the extra `docs` brings it")


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_commands_exist(block: Block) -> None:
    for line in block.text.splitlines():
        command = line.removeprefix("$ ") if block.language == "console" else line
        if block.language == "console" and not line.startswith("$ "):
            continue  # output
        words = shlex.split(command, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            del words[0]
        if words:
            _check_command(words, f"{block}: {line}")


def _check_command(words: list[str], where: str) -> None:
    match words:
        case ["make", *targets]:
            for target in targets:
                assert "=" in target or re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), where
        case ["pip", "install", what]:
            extra = re.fullmatch(r"(?:trio-supervisor|\.)(?:\[(\w+)\])?", what)
            assert extra, where
            known = {None, *PYPROJECT["project"]["optional-dependencies"]}
            assert extra[1] in known, where
        case ["python", "-m", module, *_]:
            assert importlib.util.find_spec(module) is not None, where
        case ["trio-supervisor", verb, *_]:
            scripts = PYPROJECT["project"].get("scripts", {})
            assert "trio-supervisor" in scripts, where
            assert verb, where
        case ["curl" | "nc" | "kill" | "systemctl" | "kubectl" | "journalctl" | "ls" | "cd", *_]:
            pass
        case _:
            pytest.fail(f"{where}: no check knows this command")


def test_a_wrong_block_is_noticed() -> None:
    with pytest.raises(AssertionError):
        _check_command(["make", "no-such-target"], "here")
    with pytest.raises(AssertionError):
        _check_command(["pip", "install", "trio-supervisor[nothing]"], "here")
