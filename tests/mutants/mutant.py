"""One planted bug, and how it gets into a running interpreter."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import attrs

if TYPE_CHECKING:
    from types import CodeType

PACKAGE: Final = "trio_supervisor"


@final
@attrs.frozen
class Mutant:
    """A change of source text that makes a supervisor wrong.

    Attributes:
        name: What is wrong then.
        module: Where, below the package.
        old: What stands there, exactly once.
        new: What stands there instead.
        also: More such pairs in the same module, where one line is guarded by another.
        escapes: Why none of the finders is known to see it, if that is so.
    """

    name: str
    module: str
    old: str
    new: str
    also: tuple[tuple[str, str], ...] = ()
    escapes: str = ""

    def apply(self, source: str) -> str:
        """The changed source.

        Raises:
            LookupError: ``old`` is not there exactly once; the catalogue has to follow the source.
        """
        changed = source
        for old, new in ((self.old, self.new), *self.also):
            if changed.count(old) != 1:
                found = changed.count(old)
                raise LookupError(f"{self.name}: {found} times in {self.module}: {old!r}")
            changed = changed.replace(old, new)
        compile(changed, self.module, "exec")
        return changed

    def check(self, root: Path) -> None:
        """Whether it still fits the package in ``root``."""
        path = root.joinpath(*self.module.split(".")).with_suffix(".py")
        self.apply(path.read_text(encoding="utf-8"))

    def plant(self) -> None:
        """Let this interpreter import the changed module. Nothing of the package may be loaded."""
        full = f"{PACKAGE}.{self.module}"
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
