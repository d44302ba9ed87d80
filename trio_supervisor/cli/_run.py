"""``run``: a declared tree as a daemon."""

from __future__ import annotations

import importlib
import sys

from trio_supervisor._lazy import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


def run(_verb: str, args: Any) -> int:
    """Run the tree until it has ended; the exit code is that of `trio_supervisor.daemon.run`."""
    from trio_supervisor import JournalFile, daemon

    journal = None if args.journal is None else JournalFile(args.journal)
    control: bool | str = not args.no_control
    if args.socket is not None:
        control = args.socket
    daemon.run(
        lambda: load(args.spec),
        log_level=args.log_level,
        log_format=args.log_format,
        control=control,
        journal=journal,
        drain=args.drain,
        http=args.http,
    )
    return 0


def load(place: str) -> Any:
    """Return the spec at ``package.module:attribute``; the current directory is searched as well.

    Raises:
        SpecError: There is none.
    """
    from trio_supervisor import SpecError, SupervisorSpec

    module_name, _, attribute = place.partition(":")
    expected = "package.module:SPEC, a SupervisorSpec or a function that returns one"
    if not module_name or not attribute.isidentifier():
        raise SpecError("spec", place, expected, owner="trio-supervisor")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise SpecError("spec", place, f"a module that can be imported: {error}") from None
    found = getattr(module, attribute, None)
    if callable(found) and not isinstance(found, SupervisorSpec):
        found = found()
    if not isinstance(found, SupervisorSpec):
        raise SpecError("spec", place, expected, owner="trio-supervisor")
    return found
