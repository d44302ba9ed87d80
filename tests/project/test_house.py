"""The rules of the layout: which room imports which, what an import loads, how long things get.

One test for each rule; a failure lists every place that breaks it.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import trio_supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "trio_supervisor"
ROOT = Path(trio_supervisor.__file__).parent

# A room imports only rooms in the lines above its own, or beside it, for types as well. A folder is
# one room.
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
    ("daemon", "control", "http", "observe"),
    ("cli",),
    ("testing",),
)
FLOOR = {room: floor for floor, rooms in enumerate(HOUSE) for room in rooms}
BRAIN = FLOOR["_brain"]

# Type imports that go up, each with its reason. Elsewhere a type of a higher room is written
# ``trio_supervisor.Supervisor``, which the facade resolves; see `trio_supervisor._lazy`.
UPWARD_TYPES = {
    (f"{NAME}._attempts.observer", f"{NAME}._runtime.shell"),  # hands out what it was given
    (f"{NAME}._attempts.observer", f"{NAME}._runtime.messages"),
}

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


def imports_of(path: Path, *, types: bool = False) -> Iterator[tuple[int, str]]:
    """Line and full name of every module that is imported at run time, in functions too.

    With ``types``, of those that only type checkers import as well.
    """
    modules = {module_of(each) for each in files()}
    for node in ast.walk(tree_of(path)) if types else at_run_time(tree_of(path)):
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


def test_every_module_has_its_room() -> None:
    homeless = [module_of(path) for path in files() if room_of(module_of(path)) not in FLOOR]
    assert not homeless, "say in HOUSE, in this file, where they stand"


def is_facade(module: str) -> bool:
    """Whether an import names a package whose public names are imported when they are used."""
    return module in {NAME, f"{NAME}.testing"}


def test_a_room_imports_only_rooms_above_it_also_for_types() -> None:
    wrong = [
        f"{module_of(path)}, line {line}: {module}"
        for path in files()
        if path != ROOT / "__init__.py"
        for line, module in imports_of(path, types=True)
        if within_package(module) and not is_facade(module)
        if FLOOR[room_of(module)] > FLOOR[room_of(module_of(path))]
        if (module_of(path), module) not in UPWARD_TYPES
    ]
    assert not wrong


def annotations_of(tree: ast.Module) -> Iterator[ast.AST]:
    """Every annotation in ``tree``; also the types that `typing.cast` is given as text."""
    for node in ast.walk(tree):
        match node:
            case ast.arg(annotation=found) if found is not None:
                yield from ast.walk(found)
            case ast.AnnAssign(annotation=found):
                yield from ast.walk(found)
            case ast.FunctionDef(returns=found) | ast.AsyncFunctionDef(returns=found):
                if found is not None:
                    yield from ast.walk(found)


def test_the_rooms_ask_the_facade_for_types_only() -> None:
    below = [path for path in files() if FLOOR[room_of(module_of(path))] < FLOOR["__init__"]]
    for path in below:
        allowed = {id(node) for node in annotations_of(tree_of(path))}
        wrong = [
            f"{module_of(path)}, line {node.lineno}: {ast.unparse(node)}"
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == NAME
            if id(node) not in allowed
        ]
        assert not wrong


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {
        module_of(path): {
            module
            for _, module in imports_of(path)
            if within_package(module) and not is_facade(module)
        }
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


def test_the_brain_and_what_it_stands_on_know_no_io() -> None:
    forbidden = {"asyncio", "select", "socket", "threading", "time", "trio", "trio_util"}
    assert not [
        f"{module_of(path)}, line {line}: imports {module}"
        for path in brain_and_above()
        for line, module in imports_of(path)
        if module.partition(".")[0] in forbidden
    ]


def test_the_brain_never_waits() -> None:
    waits = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    brain = [path for path in files() if room_of(module_of(path)) == "_brain"]
    assert brain
    assert not [
        f"{module_of(path)}, line {node.lineno}: {type(node).__name__}"
        for path in brain
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


def test_no_file_is_too_long() -> None:
    lengths = {module_of(path): len(path.read_text().splitlines()) for path in files()}
    assert not {module: lines for module, lines in lengths.items() if lines > MAX_FILE}


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from signature to end, less the docstring: an explanation may be as long as it is."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        assert docstring.end_lineno is not None
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def test_no_function_is_too_long() -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert not [
        f"{module_of(path)}.{node.name}: {length_of(node)} lines"
        for path in files()
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


def test_a_facade_only_re_exports() -> None:
    assert not [
        f"{module_of(path)}, line {node.lineno}: {type(node).__name__}"
        for path in sorted(ROOT.rglob("__init__.py"))
        for node in tree_of(path).body
        if not is_re_export(node)
    ]
