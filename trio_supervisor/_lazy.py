"""Lazy exports: a package imports the module behind a public name when the name is first used.

Importing every module of this package takes more than half as long as importing Trio. A command
line that only prints its help, and a module that only declares specs, need few of them.

The package's ``__init__`` lists its public names once, as plain imports under ``TYPE_CHECKING``, so
that type checkers and editors see them. `exports` reads the same list at run time: it executes the
compiled ``__init__`` once more with an ``__import__`` that only takes notes. Reading the compiled
code instead of the source text works for zipped and frozen applications too.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


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
    places = public_names(package)
    offered = sorted(name for name in places if not name.startswith("_"))

    def module_getattr(name: str) -> object:
        if name in places:
            module, attribute = places[name]
            value: object = getattr(import_module(module), attribute)
        elif name in modules:
            return import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    def module_dir() -> list[str]:
        dunder = {name for name in vars(sys.modules[package]) if name.startswith("__")}
        return sorted({*dunder, *places, *modules})

    return offered, module_getattr, module_dir
