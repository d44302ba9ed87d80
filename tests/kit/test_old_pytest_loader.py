"""Old releases of pytest import plugins with a loader that has no ``get_code``."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import importlib.machinery, sys

class Loader(importlib.machinery.SourceFileLoader):
    def __getattribute__(self, name):
        if name == "get_code":
            raise AttributeError(name)
        return super().__getattribute__(name)

    def exec_module(self, module):
        source = self.get_data(self.path)
        exec(compile(source, self.path, "exec"), vars(module))

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] != "trio_supervisor":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = Loader(name, spec.origin)
        return spec

sys.meta_path.insert(0, Finder())
import trio_supervisor
from trio_supervisor.testing import simulate
assert not hasattr(trio_supervisor.__loader__, "get_code")
assert simulate and trio_supervisor.ChildSpec and "ChildSpec" in trio_supervisor.__all__
"""


def test_public_names_are_found_whatever_loads_the_package() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
