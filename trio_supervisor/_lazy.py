"""Public names: imported when they are first used, and named after the package that offers them.

Importing every module of this package takes more than half as long as importing Trio. A command
line that only prints its help, and a module that only declares specs, need few of them.

The package's ``__init__`` lists its public names once, as plain imports under ``TYPE_CHECKING``, so
that type checkers and editors see them. `exports` reads the same list at run time: it executes the
compiled ``__init__`` once more with an ``__import__`` that only takes notes. Reading the compiled
code instead of the source text works for zipped and frozen applications too.

`public` marks each definition behind such a name. Without the mark, tracebacks, `help` and pickles
would show the private module, and moving a definition would break the pickles that exist.

`typing.get_type_hints` has to resolve every annotation of a public name. A function's annotations
are looked up in the module that defines it, so what they mention is imported there at run time. A
type of a higher room is written ``trio_supervisor.Supervisor``: the facade imports it when asked.
"""

from __future__ import annotations

import sys

# Not from `typing`, whose import takes as long as all else that a command line client imports.
# Type checkers know the name.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ForwardRef, TypeVar

    T = TypeVar("T")


def import_module(name: str) -> Any:
    """Import a module by its full name."""
    __import__(name)
    return sys.modules[name]


class _Noted:
    """Stands for a module while the list is read: each attribute is the place of a name."""

    TYPE_CHECKING = True

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> tuple[str, str]:
        return self._module, name


def public_names(package: str) -> dict[str, tuple[str, str]]:
    """Return the module and attribute behind each public name of ``package``.

    Only imports of the form ``from module import name as name`` count, as for type checkers.
    """

    def note(
        name: str, globals_: object = None, locals_: object = None, from_: Any = (), level: int = 0
    ) -> _Noted:
        return _Noted(name)

    loader: Any = sys.modules[package].__loader__
    if not hasattr(loader, "get_code"):  # that of old releases of pytest, which rewrites plugins
        from importlib.machinery import SourceFileLoader  # noqa: PLC0415 - hardly ever needed

        loader = SourceFileLoader(package, str(sys.modules[package].__file__))
    code = loader.get_code(package)
    found: dict[str, Any] = {"__name__": package, "__builtins__": {"__import__": note}}
    exec(code, found)  # noqa: S102  # the package's own code
    private = {"__name__", "__builtins__", "annotations", "TYPE_CHECKING"}
    return {
        name: place
        for name, place in found.items()
        if isinstance(place, tuple) and name not in private
    }


def exports(
    package: str, modules: tuple[str, ...] = ()
) -> tuple[list[str], Callable[[str], object], Callable[[], list[str]]]:
    """Return ``__all__``, ``__getattr__`` and ``__dir__`` for the ``__init__`` of ``package``.

    Args:
        package: The package's full name.
        modules: Public modules in the package, imported when they are first asked for.
    """
    module_getattr, module_dir = exports_on_demand(package, modules)
    names: Any = module_getattr("__all__")
    return names, module_getattr, module_dir


def exports_on_demand(
    package: str, modules: tuple[str, ...] = ()
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__``; the list of names is read when it is first needed.

    The command line client imports the package in every call, and needs none of its names.
    """
    places: dict[str, tuple[str, str]] = {}

    def module_getattr(name: str) -> object:
        if not places:
            places.update(public_names(package))
        value: object
        if name == "__all__":
            value = sorted(each for each in places if not each.startswith("_"))
        elif name in places:
            module, attribute = places[name]
            value = getattr(import_module(module), attribute)
        elif name in modules:
            return import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    def module_dir() -> list[str]:
        module_getattr("__all__")
        dunder = {name for name in vars(sys.modules[package]) if name.startswith("__")}
        return sorted({*dunder, *places, *modules})

    return module_getattr, module_dir


def public(of: T) -> T:
    """Mark a class or function as public: its ``__module__`` becomes the package that offers it.

    It is the outermost decorator of the definition. Of a class, methods and properties are marked
    too, and annotations are made to resolve although ``__module__`` is not where they were written.
    """
    named: Any = of
    module: str = named.__module__
    package = _package_of(module)
    if isinstance(of, type):
        for member in vars(of).values():
            function: Any = member
            if isinstance(member, property):
                function = member.fget
            elif isinstance(member, classmethod | staticmethod):
                function = member.__func__
            if isinstance(function, type(public)) and function.__module__ == module:
                _mark(function, module, package)
        _make_resolvable(vars(of).get("__annotations__", {}), module)
        named.__module__ = package
    else:
        _mark(named, module, package)
        named.__qualname__ = named.__name__  # a decorator may have made it in a function
    return of


def _mark(function: Any, module: str, package: str) -> None:
    function.__module__ = package
    # What attrs and Hypothesis generate has globals of its own, which may lack a name.
    written = getattr(function, "__wrapped__", function)
    if written.__globals__ is not sys.modules[module].__dict__:
        _make_resolvable(function.__annotations__, module)


def _make_resolvable(annotations: dict[str, Any], module: str) -> None:
    for name, annotation in annotations.items():
        annotations[name] = resolvable(annotation, module)


def _package_of(module: str) -> str:
    """The public package, or public module directly below the root package, around ``module``."""
    parts = module.split(".")
    return parts[0] if parts[1].startswith("_") else ".".join(parts[:2])


def resolvable(annotation: Any, module: str) -> Any:
    """Return ``annotation`` so that `typing.get_type_hints` evaluates it in ``module``.

    Builtin types resolve anywhere. Only other texts are worth a `ForwardRef`, which costs a
    compilation when it is made: equal texts of one module share one.
    """
    if isinstance(annotation, str):
        text = annotation.replace("None", "")
        return annotation if text == text.lower() else _forward_ref(annotation, module)
    from typing import ForwardRef  # noqa: PLC0415 - see above

    parts = getattr(annotation, "__args__", ())
    if any(isinstance(part, ForwardRef) for part in parts):  # ``@composite`` makes these
        texts = [p.__forward_arg__ if isinstance(p, ForwardRef) else p for p in parts]
        origin: Any = annotation.__origin__
        return origin[*(resolvable(text, module) for text in texts)]
    return annotation


def _forward_ref(text: str, module: str) -> ForwardRef:
    from typing import ForwardRef  # noqa: PLC0415 - see above

    made = _forward_refs.get((text, module))
    if made is None:
        made = _forward_refs[text, module] = ForwardRef(text, module=module, is_class=True)
    return made


_forward_refs: dict[tuple[str, str], ForwardRef] = {}
