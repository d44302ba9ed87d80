"""The rooms of the testing kit: imports go one way, also those that only type checkers see."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import trio_supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "trio_supervisor.testing"
ROOT = Path(trio_supervisor.__file__).parent / "testing"

# A room imports only from rooms in a line above its own, and from itself.
ROOMS = (
    ("_errors",),
    ("_sim",),
    ("_script",),
    ("_oracle",),
    ("_run",),
    ("_drive",),
    ("_incident", "strategies", "pytest_plugin"),
    ("machine",),
)
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}


def modules() -> dict[str, Path]:
    """Every module of the kit but the facades, by its name without the kit's."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in sorted(ROOT.rglob("*.py"))
        if path.name != "__init__.py"
    }


def imports_of(path: Path) -> Iterator[str]:
    """The modules of the kit that ``path`` imports, anywhere and for any purpose."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.ImportFrom) and node.module):
            continue
        for alias in node.names:
            full = f"{node.module}.{alias.name}".removeprefix(f"{NAME}.")
            module = node.module.removeprefix(f"{NAME}.")
            if node.module.startswith(NAME):
                yield full if full in modules() else module


def room_of(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("module", modules())
def test_a_room_imports_only_from_rooms_above_it(module: str) -> None:
    here = room_of(module)
    allowed = {here} | {room for room in FLOOR if FLOOR[room] < FLOOR[here]}
    imported = {room_of(other) for other in imports_of(modules()[module])}
    assert imported <= allowed


def test_no_two_modules_import_each_other() -> None:
    graph = {module: set(imports_of(path)) for module, path in modules().items()}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in done:
            for other in graph.get(module, ()):
                visit(other, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())
    assert len(done) > 20
