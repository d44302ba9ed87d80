"""The public face: one list of names, each of which says where it is public and resolves its types.

`typing.get_type_hints` is what Sphinx, beartype and pydantic ask; it fails where an annotation
mentions a name that is imported for type checkers only.
"""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import attrs
import pytest

import trio_supervisor
from trio_supervisor._lazy import public, resolvable
from trio_supervisor._record import Record
from trio_supervisor._specs import options

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "trio_supervisor"
ROOT = Path(trio_supervisor.__file__).parent
PRINT: Any = print  # not async, and never called


def public_packages() -> list[str]:
    """The root and each package or module directly below it whose name is public."""
    found = [NAME]
    for path in sorted(ROOT.iterdir()):
        if path.name.startswith(("_", ".")):
            continue
        if path.suffix == ".py" or (path / "__init__.py").exists():
            found.append(f"{NAME}.{path.stem}")
    return found


def public_names() -> Iterator[tuple[str, str, Any]]:
    """Package, name and object of each public name."""
    for package in public_packages():
        module = import_module(package)
        for name in getattr(module, "__all__", ()):
            yield package, name, getattr(module, name)


def definitions() -> Iterator[tuple[str, Any]]:
    """Each public class and function once, with its name."""
    seen: set[int] = set()
    for _, name, thing in public_names():
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and id(thing) not in seen:
            seen.add(id(thing))
            yield name, thing


def members_of(owner: type) -> Iterator[tuple[str, Any]]:
    """The public and special methods and properties that ``owner`` defines itself."""
    for name, member in vars(owner).items():
        function = member
        if isinstance(member, property):
            function = member.fget
        elif isinstance(member, classmethod | staticmethod):
            function = member.__func__
        hidden = name.startswith("_") and not name.startswith("__")
        # attrs gives all of its classes one and the same `__replace__` (Python 3.13 and newer).
        hidden |= name == "__replace__" and attrs.has(owner)
        if inspect.isfunction(function) and not hidden:
            yield f"{owner.__name__}.{name}", function


def is_private(module: str) -> bool:
    return any(part.startswith("_") for part in module.split("."))


def test_every_definition_names_the_package_that_offers_it() -> None:
    offered = public_packages()
    wrong = []
    for name, thing in definitions():
        if thing.__module__ not in offered:
            wrong.append(f"{name} says {thing.__module__}")
        elif getattr(sys.modules[thing.__module__], name, None) is not thing:
            wrong.append(f"{thing.__module__} has no {name}")
        if inspect.isclass(thing):
            wrong += [
                f"{member} says {function.__module__}"
                for member, function in members_of(thing)
                if is_private(function.__module__) and function.__module__.startswith(NAME)
            ]
    assert not wrong


def test_type_hints_of_everything_public_resolve() -> None:
    count, wrong = 0, []
    # Signatures in `observe` mention types of optional packages, imported when they are used.
    things = {
        name: thing
        for name, thing in definitions()
        if thing.__module__ != "trio_supervisor.observe"
    }
    things |= {
        name: thing
        for name, thing in vars(options).items()
        if name.endswith(("Options", "Changes"))
    }
    for name, thing in things.items():
        members = members_of(thing) if inspect.isclass(thing) else ()
        for each, asked in [(name, thing), *members]:
            count += 1
            try:
                get_type_hints(asked)
            except Exception as error:
                wrong.append(f"{each}: {error}")
    # A base class of Hypothesis mentions a name that Hypothesis imports for type checkers only.
    wrong = [each for each in wrong if not each.startswith("LifecycleMachine: name 'defaultdict'")]
    assert not wrong
    assert count > 300


def test_annotations_of_a_record_are_those_of_its_initializer() -> None:
    hints = get_type_hints(trio_supervisor.ChildExited.__init__)
    assert hints["sequence"] is int
    hints = get_type_hints(type(trio_supervisor.Restart(2)).__init__)
    assert hints == {"delay": float | None, "return": type(None)}
    assert (
        str(inspect.signature(trio_supervisor.Restart)) == "(delay: 'float | None' = None) -> None"
    )


def test_equal_annotations_of_one_module_are_compiled_once() -> None:
    events, exits = "trio_supervisor._events.events", "trio_supervisor._events.exits"
    made = resolvable("Any", events)
    assert resolvable("Any", events) is made
    assert resolvable("Any", exits) is not made
    assert resolvable("Any", exits).__forward_module__ == exits
    assert resolvable("float | None", events) == "float | None"  # resolves anywhere


def test_public_classes_are_pickled_by_their_public_names() -> None:
    for name, thing in definitions():
        data = pickle.dumps(thing)
        assert pickle.loads(data) is thing
        assert b"trio_supervisor._" not in data, name


ERROR = ValueError("x")
REPORT = trio_supervisor.ChildRunReport(
    "a", "app/a", 1, 0, trio_supervisor.Crashed(ERROR), False, False, 0.0, None, 1.0
)
LIMIT = trio_supervisor.RestartLimit(3, within=5)
TREE = trio_supervisor.SupervisorSnapshot(
    "app", "app", 1, trio_supervisor.SupervisorState.RUNNING, 0.0, "", ()
)
VALUES: list[Any] = [
    trio_supervisor.SpecError("grace", -1, "seconds >= 0", owner="ChildSpec 'web'"),
    trio_supervisor.ChildStartError("no", path="app/a", reports=[REPORT]),
    trio_supervisor.RestartLimitExceeded("no", path="app/a", limit=LIMIT, reports=[REPORT]),
    trio_supervisor.ChildEscalated("no", path="app/a", reason="r", reports=[REPORT]),
    trio_supervisor.QuarantineError("no", path="app/a", reports=[REPORT]),
    trio_supervisor.ChildNotFound("no"),
    trio_supervisor.SupervisorClosed("no"),
    trio_supervisor.TaskFailure("no", category="c"),
    trio_supervisor.Restart(1),
    trio_supervisor.RestartAfter(1),
    trio_supervisor.Quarantine("r"),
    trio_supervisor.ChildExited(1, 0.0, 0.0, 1, "app/a", 1, "crashed", "x", 1.0, None),
    trio_supervisor.EventGap(3),
    trio_supervisor.BackoffPolicy.delays(1, 2),
    trio_supervisor.INHERIT,
    trio_supervisor.ChildState.READY,
    trio_supervisor.plain(PRINT),
    trio_supervisor.SupervisorSpec(
        "app", [trio_supervisor.ChildSpec("a", trio_supervisor.plain(PRINT))]
    ),
    LIMIT,
    REPORT,
    TREE,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_no_pickle_of_a_public_value_names_a_private_module(value: Any) -> None:
    data = pickle.dumps(value)
    assert b"trio_supervisor._" not in data
    for twin in (pickle.loads(data), copy.deepcopy(value)):
        assert type(twin) is type(value)
        if isinstance(value, BaseException):
            assert str(twin) == str(value)
            assert vars(twin).keys() == vars(value).keys()
        elif value is not REPORT:  # its exception is another object, and so not equal
            assert twin == value


def test_a_traceback_names_the_public_module() -> None:
    with pytest.raises(trio_supervisor.SpecError) as caught:
        trio_supervisor.RestartLimit(-1, within=1)
    last = traceback.format_exception_only(caught.value)[-1]
    assert last.startswith("trio_supervisor.SpecError: RestartLimit: max_restarts=-1: expected")


def test_only_classes_and_functions_are_marked_and_others_keep_what_they_have() -> None:
    class Point(Record):
        """Not offered by anybody."""

        x: Path | None = None

    Point.__module__ = "trio_supervisor._elsewhere"
    sys.modules["trio_supervisor._elsewhere"] = sys.modules[__name__]
    try:
        assert public(Point) is Point
        assert Point.__module__ == NAME
        assert get_type_hints(Point) == {"x": Path | None}
    finally:
        del sys.modules["trio_supervisor._elsewhere"]


# ---------------------------------------------------------------- the list of names


def facade_imports() -> Iterator[tuple[str, ast.alias]]:
    """What type checkers see in the facade, each with the module that it comes from."""
    for node in ast.walk(ast.parse((ROOT / "__init__.py").read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"{NAME}."):
            for alias in node.names:
                if node.module not in {f"{NAME}._lazy", f"{NAME}._version"}:
                    yield str(node.module), alias


def test_the_facade_says_of_every_name_that_it_offers_it() -> None:
    assert all(alias.asname == alias.name for _, alias in facade_imports()), "import it `as` itself"


def test_the_facade_offers_public_names_once() -> None:
    names = [alias.name for _, alias in facade_imports()]
    assert len(names) == len(set(names))
    assert not [name for name in names if name.startswith("_")]
    assert sorted(names) == sorted(import_module(NAME).__all__)


def test_what_the_facade_hands_out_is_what_type_checkers_take_it_for() -> None:
    for module, alias in facade_imports():
        assert getattr(trio_supervisor, alias.name) is getattr(import_module(module), alias.name)
        assert alias.name in dir(trio_supervisor)
    assert trio_supervisor.children is import_module(f"{NAME}.children")
    with pytest.raises(AttributeError, match=r"'trio_supervisor' has no attribute 'chidlren'"):
        _ = trio_supervisor.chidlren  # type: ignore[attr-defined]


def test_dir_lists_the_public_names_and_nothing_else() -> None:
    listed = [name for name in dir(trio_supervisor) if not name.startswith("__")]
    packages = [package.partition(".")[2] for package in public_packages()[1:]]
    assert listed == sorted({*import_module(NAME).__all__, *packages})
    assert "__version__" in dir(trio_supervisor)
