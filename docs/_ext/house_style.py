"""Small things that the site needs beyond Sphinx: tables in docstrings, and state diagrams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docutils import nodes
from pygments.lexers.special import TextLexer

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def tables(
    _app: Sphinx, _what: str, _name: str, _obj: object, _options: Any, lines: list[str]
) -> None:
    """Turn the Markdown tables of docstrings, readable in a terminal, into those of reST."""
    found: list[str] = []
    table: list[str] = []
    for line in [*lines, ""]:
        if line.lstrip().startswith("|"):
            table.append(line)
        elif table and line.startswith(" ") and not table[-1].rstrip().endswith("|"):
            table[-1] += " " + line.strip()  # a row that goes on in the next line
        else:
            found.extend(_as_list_table(table))
            table = []
            found.append(line)
    lines[:] = found


def _as_list_table(table: list[str]) -> list[str]:
    if not table:
        return []
    indent = table[0][: len(table[0]) - len(table[0].lstrip())]
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table]
    rows = [row for row in rows if not all(set(cell) <= {"-", ":"} and cell for cell in row)]
    out = [f"{indent}.. list-table::", f"{indent}   :header-rows: 1", ""]
    for row in rows:
        for index, cell in enumerate(row):
            out.append(f"{indent}   {'*' if index == 0 else ' '} - {cell}".rstrip())
    return [*out, ""]


def transitions(app: Sphinx, document: nodes.document, _docname: str) -> None:
    """Show a mermaid state diagram, which no browser understands by itself, as a table.

    Forges draw it; the site has no script from elsewhere.
    """
    for block in list(document.findall(nodes.literal_block)):
        if block.get("language") != "mermaid":
            continue
        rows = []
        for line in block.astext().splitlines()[1:]:
            edge, _, cause = line.strip().partition(": ")
            start, _, end = edge.partition(" --> ")
            if end:
                rows.append((start, cause or "declared", end))
        block.replace_self(_table(("from", "because of", "to"), rows))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> nodes.table:
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    group += nodes.thead("", _row(head))
    body = nodes.tbody()
    body += [_row(row) for row in rows]
    group += body
    return nodes.table("", group)


def _row(cells: tuple[str, ...]) -> nodes.row:
    names = {"[*]": "(not there)"}
    entries = [
        nodes.entry("", nodes.paragraph(text=names.get(cell, cell).replace("_", " ")))
        for cell in cells
    ]
    return nodes.row("", *entries)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", tables, priority=400)  # before napoleon
    app.connect("doctree-resolved", transitions)
    app.add_lexer("mermaid", TextLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
