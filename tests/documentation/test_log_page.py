"""Each line of the log that the page shows is a line of the log that its program writes."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import trio
from trio.testing import MockClock

from documentation.code_blocks import ROOT, load

if TYPE_CHECKING:
    import pytest

PAGE = "docs/guides/log.md"


def test_the_lines_on_the_page_are_those_of_the_program(caplog: pytest.LogCaptureFixture) -> None:
    page = load(PAGE)
    with caplog.at_level(logging.INFO, logger="trio_supervisor"):
        trio.run(page["night"], clock=MockClock(autojump_threshold=0))
    records = [f"{record.levelname} {record.getMessage()}" for record in caplog.records]
    written = [record.replace("log.md:", "night.py:") for record in records]
    text = (ROOT / PAGE).read_text()
    shown = re.findall(r"^<!-- log -->\n```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = "".join(shown).splitlines()
    assert len(lines) >= 10
    for line in lines:
        assert line in written, "\n".join(["not written:", line, "written:", *written])
