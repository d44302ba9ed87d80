"""The code blocks of the pages: found, and run as the reader would run them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any, NamedTuple

ROOT: Path = Path(__file__).resolve().parents[2]
FENCE = re.compile(
    r"^(?P<indent>[ ]*)(?P<fence>```+)(?P<language>[^\n`]*)\n(?P<text>.*?)^[ ]*(?P=fence)[ ]*$",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Every page of the documentation, relative to the project's folder."""
    found = [ROOT / "README.md", ROOT / "examples" / "README.md", *(ROOT / "docs").rglob("*.md")]
    return sorted(str(page.relative_to(ROOT)) for page in found)


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = (ROOT / page).read_text()
    return [
        Block(
            page,
            text.count("\n", 0, found.start()) + 1,
            found["language"].strip(),
            found["text"],
        )
        for found in FENCE.finditer(text)
    ]


def load(page: str, name: str = "page") -> dict[str, Any]:
    """Run the Python blocks of a page, in order, in one module; returns the module's names.

    What follows ``if __name__ == "__main__":`` runs only if ``name`` says so. Where a block of
    ``text`` follows directly, what was printed must be equal to it.
    """
    names: dict[str, Any] = {"__name__": name}
    printed = ""
    for block in blocks(page):
        if block.language == "python":
            code = compile("\n" * block.line + block.text, str(ROOT / page), "exec")
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(code, names)
            printed = output.getvalue()
        elif block.language == "text" and printed:
            assert printed == block.text, f"{block}: the program prints {printed!r}"
            printed = ""
    return names
