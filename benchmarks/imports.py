"""Imports, each in a process that has imported nothing yet."""

from __future__ import annotations

from benchmarks.measure import Result, Watch


def _timed(code: str) -> Result:
    watch = Watch()
    exec(code, {})
    return watch.per(1)


def trio(_count: int) -> Result:
    return _timed("import trio")


def trio_supervisor(_count: int) -> Result:
    """The import statement, with Trio beside it: the package asks for it when it is used."""
    return _timed("import trio, trio_supervisor")


def to_open_a_tree(_count: int) -> Result:
    """What a program that runs a tree needs."""
    return _timed("from trio_supervisor import ChildSpec, SupervisorSpec, open_supervisor")


def everything(_count: int) -> Result:
    """Every public name."""
    return _timed("from trio_supervisor import *")
