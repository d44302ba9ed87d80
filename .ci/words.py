"""Say how the package's English reads, and fail if it has become worse than agreed.

    python .ci/words.py [--report] FOLDER

Two things make a docstring or a comment hard to follow: it begins with a word that stands for
something said elsewhere ("It ...", "What ..."), or it speaks of a child, a task or an operator
without saying which of them ("whoever", "those"). Both are counted; the limits are those that the
best-read packages of the field keep. ``--report`` only counts.
"""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

MOST_OPENINGS = 4.0  # per cent of the docstrings
MOST_VAGUE = 2.0  # per 1,000 lines

OPENINGS = re.compile(
    r"(?:he|how|its?|of|she|that|them|these|they|this|those|what|when|where|which|who|whoever|whom"
    r"|whose|why|everybody|nobody|somebody)\b",
    re.IGNORECASE,
)
VAGUE = re.compile(
    r"\b(?:who|whoever|whom|whose|those|anybody|everybody|nobody|somebody)\b", re.IGNORECASE
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def openings(source: str) -> tuple[int, list[int]]:
    """The number of docstrings, and the lines of those that begin with a pronoun."""
    total = 0
    wrong = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            total += 1
            if OPENINGS.match(text):
                wrong.append(node.body[0].lineno)
    return total, wrong


def vague(source: str) -> list[int]:
    """The line of each vague word."""
    return [
        number
        for number, line in enumerate(source.splitlines(), start=1)
        for _ in VAGUE.finditer(line)
    ]


def main() -> int:
    """Count, and say where."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--report", action="store_true", help="count, and never fail")
    parser.add_argument("--list", action="store_true", help="print file and line of each")
    options = parser.parse_args()
    docstrings = lines = 0
    places: list[str] = []
    wrong = words = 0
    for path in sorted(options.folder.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        count, begin = openings(source)
        found = vague(source)
        docstrings += count
        wrong += len(begin)
        words += len(found)
        lines += source.count("\n")
        places += [f"{path}:{line}: the docstring begins with a pronoun" for line in begin]
        places += [f"{path}:{line}: say which child, task or operator" for line in found]
    share = 100 * wrong / max(docstrings, 1)
    rate = 1000 * words / max(lines, 1)
    failed = share >= MOST_OPENINGS or rate >= MOST_VAGUE
    if options.list or (failed and not options.report):
        print("\n".join(places))
    print(
        f"words: {share:.1f} % of {docstrings} docstrings begin with a pronoun (below"
        f" {MOST_OPENINGS:g} %), {rate:.1f} vague words per 1,000 lines (below {MOST_VAGUE:g})"
    )
    return 1 if failed and not options.report else 0


if __name__ == "__main__":
    raise SystemExit(main())
