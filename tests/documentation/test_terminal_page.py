"""The sessions of the terminal page, typed again: the same commands give the same answers."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from documentation.code_blocks import ROOT, blocks

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "docs/guides/terminal.md"


def same(text: str) -> list[str]:
    """What has to be equal: the lines without numbers, which differ, and without their spaces."""
    lines = [re.sub(r"[\d.:]+", "N", line).split() for line in text.splitlines()]
    return [" ".join(line) for line in lines if line]


def sessions() -> list[tuple[str, str]]:
    """Each command of the page, and what follows it."""
    found: list[tuple[str, str]] = []
    for block in blocks(PAGE):
        if block.language == "console":
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, answer = part.partition("\n")
                found.append((command, answer))
    return found


def test_the_commands_of_the_page_answer_as_it_says(tmp_path: Path) -> None:
    program = "".join(block.text for block in blocks(PAGE) if block.language == "python")
    (tmp_path / "shop.py").write_text(program)
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "TRIO_SUPERVISOR_SOCKET": str(tmp_path / "s.sock"),
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }

    def ask(command: str) -> str:
        words = shlex.split(command)
        assert words[0] == "trio-supervisor"
        answer = subprocess.run(
            [sys.executable, "-m", "trio_supervisor.cli", *words[1:]],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return answer.stdout

    with (tmp_path / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [sys.executable, "shop.py"], cwd=tmp_path, env=environment, stderr=log
        )
    try:
        deadline = time.monotonic() + 60
        while "quarantined" not in (shown := ask("trio-supervisor tree")):
            assert time.monotonic() < deadline, shown
        asked = sessions()
        assert len(asked) > 7
        for command, expected in asked:
            answer = ask(command)
            if command.startswith("trio-supervisor check"):  # the page leaves out the advice
                answer = "\n".join(answer.splitlines()[: len(same(expected))])
            assert same(answer) == same(expected), f"{command}\n{answer}"
    finally:
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
