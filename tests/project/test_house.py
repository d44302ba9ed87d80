"""The house rules that reading alone would not keep: who imports whom, and how long things get."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import trio_supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "trio_supervisor"
ROOT = Path(trio_supervisor.__file__).parent

# A room imports only what stands in a line above its own, or beside it. A folder is one room.
HOUSE = (
    ("_lazy", "_record", "_text", "_version"),
    ("_errors",),
    ("_events",),
    ("_specs", "_logging"),
    ("_brain",),
    ("_attempts",),
    ("_runtime",),
    ("children",),
    ("__init__",),
    ("daemon",),
    ("testing",),
)
FLOOR = {room: floor for floor, rooms in enumerate(HOUSE) for room in rooms}
BRAIN = FLOOR["_brain"]

MAX_FILE = 600
MAX_FUNCTION = 60

# What nobody who merely imports the library should have to pay for.
NOT_ON_IMPORT = (
    "_pytest",
    "asyncio",
    "hypothesis",
    "logging.config",
    "logging.handlers",
    "multiprocessing",
    "pytest",
    "pytest_trio",
    "sqlite3",
    "unittest",
    f"{NAME}.daemon",
    f"{NAME}.testing",
)


def files() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join((NAME, *parts)).removesuffix(".__init__")


def room_of(module: str) -> str:
    """The room that a module of the package stands in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def is_type_checking(node: ast.AST) -> bool:
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            return True
    return False


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below ``node``, without what only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield other
                yield from at_run_time(other)
        else:
            yield child
            yield from at_run_time(child)


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every module that is imported at run time, in functions too."""
    modules = {module_of(each) for each in files()}
    for node in at_run_time(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: import by the full name"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield node.lineno, full if full in modules else node.module


def within_package(module: str) -> bool:
    return module == NAME or module.startswith(f"{NAME}.")


every_file = pytest.mark.parametrize("path", files(), ids=module_of)


@every_file
def test_every_module_has_its_room(path: Path) -> None:
    assert room_of(module_of(path)) in FLOOR, "say in HOUSE, in this file, where it stands"


@every_file
def test_a_room_imports_only_rooms_above_it(path: Path) -> None:
    here = FLOOR.get(room_of(module_of(path)), -1)
    wrong = [
        f"line {line}: {module}"
        for line, module in imports_of(path)
        if within_package(module) and FLOOR.get(room_of(module), -1) > here
    ]
    assert not wrong


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {
        module_of(path): {module for _, module in imports_of(path) if within_package(module)}
        for path in files()
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for imported in graph.get(module, ()):
                visit(imported, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def brain_and_above() -> list[Path]:
    return [path for path in files() if FLOOR.get(room_of(module_of(path)), BRAIN + 1) <= BRAIN]


@pytest.mark.parametrize("path", brain_and_above(), ids=module_of)
def test_the_brain_and_what_it_stands_on_know_no_io(path: Path) -> None:
    forbidden = {"asyncio", "select", "socket", "threading", "time", "trio", "trio_util"}
    assert not [
        f"line {line}: imports {module}"
        for line, module in imports_of(path)
        if module.partition(".")[0] in forbidden
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "_brain").rglob("*.py")), ids=module_of)
def test_the_brain_never_waits(path: Path) -> None:
    waits = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    assert not [
        f"line {node.lineno}: {type(node).__name__}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, waits)
    ]


IMPORT_WITHOUT_TRIO = """
import importlib, json, sys, types
name, root, modules = json.loads(sys.argv[1])
facade = types.ModuleType(name)  # the real one imports everything
facade.__path__ = [root]
sys.modules[name] = facade
for blocked in ("trio", "trio_util", "outcome", "sniffio"):
    sys.modules[blocked] = None
for module in modules:
    importlib.import_module(module)
"""


def test_the_brain_runs_where_trio_cannot_be_imported() -> None:
    modules = [module_of(path) for path in brain_and_above()]
    assert modules
    run_python(IMPORT_WITHOUT_TRIO, json.dumps([NAME, str(ROOT), modules]))


def run_python(code: str, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *args],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORT_AND_COMPARE = """
import json, sys
import attrs, trio, trio_util
before = set(sys.modules)
import trio_supervisor
early = set(sys.modules) - before
for name in trio_supervisor.__all__:
    getattr(trio_supervisor, name)
print(json.dumps([sorted(early), sorted(set(sys.modules) - before)]))
"""


def test_importing_the_library_loads_next_to_nothing() -> None:
    loaded, _ = json.loads(run_python(IMPORT_AND_COMPARE))
    assert set(loaded) == {NAME, f"{NAME}._lazy"}


def test_using_the_library_loads_no_optional_part() -> None:
    _, loaded = json.loads(run_python(IMPORT_AND_COMPARE))
    assert len(loaded) > 30
    assert not [
        module
        for module in loaded
        if any(module == name or module.startswith(f"{name}.") for name in NOT_ON_IMPORT)
    ]


@every_file
def test_no_file_is_too_long(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_FILE


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from signature to end, less the docstring: an explanation may be as long as it is."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        assert docstring.end_lineno is not None
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


@every_file
def test_no_function_is_too_long(path: Path) -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert not [
        f"{node.name}: {length_of(node)} lines"
        for node in ast.walk(tree_of(path))
        if isinstance(node, functions) and length_of(node) > MAX_FUNCTION
    ]


def is_re_export(node: ast.stmt) -> bool:
    match node:
        case ast.ImportFrom():
            return True
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
    return is_type_checking(node)


@pytest.mark.parametrize("path", sorted(ROOT.rglob("__init__.py")), ids=module_of)
def test_a_facade_only_re_exports(path: Path) -> None:
    assert not [
        f"line {node.lineno}: {type(node).__name__}"
        for node in tree_of(path).body
        if not is_re_export(node)
    ]


def facade_imports() -> Iterator[tuple[str, ast.alias]]:
    """What type checkers see in the facade, each with the room that it comes from."""
    for node in ast.walk(tree_of(ROOT / "__init__.py")):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"{NAME}."):
            for alias in node.names:
                if node.module not in {f"{NAME}._lazy", f"{NAME}._version"}:
                    yield str(node.module).removeprefix(f"{NAME}."), alias


def test_the_facade_says_of_every_name_that_it_offers_it() -> None:
    assert all(alias.asname == alias.name for _, alias in facade_imports()), "import it `as` itself"


def test_the_facade_offers_public_names_once() -> None:
    names = [alias.name for _, alias in facade_imports()]
    assert len(names) == len(set(names))
    assert not [name for name in names if name.startswith("_")]
    assert sorted(names) == sorted(vars(trio_supervisor)["__all__"])


def test_what_the_facade_hands_out_is_what_type_checkers_take_it_for() -> None:
    for room, alias in facade_imports():
        there = getattr(import_module(f"{NAME}.{room}"), alias.name)
        assert getattr(trio_supervisor, alias.name) is there
        assert alias.name in dir(trio_supervisor)
    assert trio_supervisor.children is import_module(f"{NAME}.children")
    with pytest.raises(AttributeError, match=r"'trio_supervisor' has no attribute 'chidlren'"):
        _ = trio_supervisor.chidlren  # type: ignore[attr-defined]


@every_file
def test_annotations_are_never_evaluated_on_import(path: Path) -> None:
    if path.read_text().strip():
        assert any(
            isinstance(node, ast.ImportFrom) and node.module == "__future__"
            for node in tree_of(path).body
        )
