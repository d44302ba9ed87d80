"""The fields of log records are those that the guide to the log lists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from trio_supervisor._events import events as ev
from trio_supervisor._logging.safe import fields_of
from trio_supervisor._logging.tree_log import _HEARD

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "log.md"


def test_every_field_is_in_the_guide_and_no_other() -> None:
    fields = {"repeats"}  # of lines that stand for several events
    cls: Any  # a class of events
    for cls in _HEARD:
        own = [None] * (len(cls.__match_args__) - 6 - (cls is ev.ChildExited))
        fields |= fields_of((cls, 1, 0.0, 0.0, 1, "app", 0, own)).keys()
    _, _, table = GUIDE.read_text(encoding="utf-8").partition("## Records for programs")
    listed = set()
    for line in table.splitlines():
        if line.startswith("| `"):
            listed |= set(re.findall(r"`(\w+)`", line.split("|")[1]))
    assert fields == listed


def test_no_field_hides_one_of_logging() -> None:
    import logging

    record = logging.LogRecord("x", 20, "", 0, "", (), None)
    taken = {*vars(record), "message", "asctime"}
    cls: Any  # a class of events
    for cls in _HEARD:
        own = [None] * (len(cls.__match_args__) - 6)
        assert not taken & fields_of((cls, 1, 0.0, 0.0, 1, "app", 0, own)).keys()
