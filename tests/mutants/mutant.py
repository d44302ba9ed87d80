"""One planted bug, and how it gets into a running interpreter."""

from __future__ import annotations

import ast
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import attrs

from .pattern import replace, with_other_locals

if TYPE_CHECKING:
    from types import CodeType

PACKAGE: Final = "trio_supervisor"
_TESTS: Final = Path(__file__).parents[1]
_PLACES: Final = {
    "helpers": _TESTS / "helpers",
    "examples.logkeeper": _TESTS.parent / "examples" / "logkeeper",
}


@final
@attrs.frozen
class Change:
    """One place, and what stands there instead; `mutants.pattern` says how the two are written.

    Attributes:
        where: The function, as ``Class.method``; empty for the module itself.
        old: What stands there, exactly once.
        new: What stands there instead; empty if nothing does.
    """

    where: str
    old: str
    new: str


@final
@attrs.frozen
class Mutant:
    """A change of code that makes a supervisor wrong.

    Attributes:
        name: What is wrong then.
        module: Where, below the package.
        where: In which function, as ``Class.method``; empty for the module itself.
        old: What stands there, exactly once; a pattern, see `mutants.pattern`.
        new: What stands there instead.
        also: More changes of the same module, where one line is guarded by another.
        escapes: Why none of the finders is known to see it, if that is so.
        tests: Tests that fail then, where it lies outside of what stories and searches see; as
            pytest names them, from the folder ``tests`` on.
        package: Where the module is, if not in the library: among examples or helpers of tests.
    """

    name: str
    module: str
    where: str
    old: str
    new: str
    also: tuple[Change, ...] = ()
    escapes: str = ""
    tests: tuple[str, ...] = ()
    package: str = PACKAGE

    def apply(self, source: str) -> ast.Module:
        """The changed module.

        Raises:
            LookupError: A pattern is not there exactly once, or nothing changes; the catalogue has
                to follow the source.
        """
        module = ast.parse(source)
        try:
            for change in (Change(self.where, self.old, self.new), *self.also):
                replace(module, change.where, change.old, change.new)
        except LookupError as error:
            raise LookupError(f"{self.module}: {self.name}: {error}") from None
        if ast.dump(module) == ast.dump(ast.parse(source)):
            raise LookupError(f"{self.module}: {self.name}: changes nothing")
        compile(module, self.module, "exec")
        return module

    def check(self, root: Path) -> None:
        """Find its place, also if local names were other ones.

        Args:
            root: Where the library is. The other packages lie in the checkout of this file.

        Raises:
            LookupError: It does not fit.
        """
        if self.package != PACKAGE:
            root = _PLACES[self.package]
        path = root.joinpath(*self.module.split(".")).with_suffix(".py")
        source = path.read_text(encoding="utf-8")
        self.apply(source)
        self.apply(ast.unparse(with_other_locals(ast.parse(source))))

    def plant(self) -> None:
        """Let this interpreter import the changed module. Nothing of the package may be loaded."""
        full = f"{self.package}.{self.module}"
        assert full not in sys.modules, f"{full} is loaded already"
        sys.meta_path.insert(0, _Planter(full, self))


@final
class _Planter:
    """Finds one module, and loads another text for it."""

    def __init__(self, full: str, mutant: Mutant) -> None:
        self._full = full
        self._mutant = mutant

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """A spec for the one module, `None` for any other."""
        if name != self._full:
            return None
        spec = PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(name, spec.origin, self._mutant)
        return spec


@final
class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        """Compiled from the changed text, past all caches."""
        source = Path(self.path).read_text(encoding="utf-8")
        code = compile(self._mutant.apply(source), self.path, "exec", dont_inherit=True)
        assert code is not None
        return code
