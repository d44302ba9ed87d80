"""The entry point: finds the verb, parses its options, turns errors into exit codes."""

from __future__ import annotations

import os
import sys

from trio_supervisor._lazy import TYPE_CHECKING, import_module
from trio_supervisor.cli import _parse, _table

if TYPE_CHECKING:
    from typing import Any, NoReturn


class Failure(Exception):
    """A verb that ends with a message and an exit code other than 0."""

    def __init__(
        self, code: int, message: str, *, kind: str = "failed", candidates: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.kind = kind
        self.candidates = candidates


def main(argv: list[str] | None = None) -> NoReturn:
    """Run ``trio-supervisor`` and exit."""
    code = 1
    try:
        code = run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:  # such as `| head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def run(argv: list[str]) -> int:
    """Carry out one command line and return its exit code."""
    before: list[str] = []
    while argv and argv[0].startswith("-") and argv[0] not in {"-h", "--help", "--version"}:
        takes_value = argv[0] == "--socket"
        before += argv[: 1 + takes_value]
        argv = argv[1 + takes_value :]
    if not argv:
        print(_table.overview(), file=sys.stderr)
        return 2
    verb, rest = argv[0], before + argv[1:]
    if verb in {"-h", "--help", "help"}:
        print(_table.overview())
        return 0
    if verb == "--version":
        from trio_supervisor._version import __version__

        print(f"trio-supervisor {__version__}")
        return 0
    if verb == "_names":
        return _names()
    if verb not in _table.VERBS:
        return _unknown(verb)
    return _carry_out(verb, _parse.parse(verb, rest))


def _names() -> int:
    """Print the paths of children, for completion; nothing if no daemon can be asked."""
    from trio_supervisor.control.client import ControlClient, ControlError

    try:
        with ControlClient(timeout=2) as client:
            names = client.request("names", limit=500)["names"]
    except ControlError:
        return 5
    safe = [name for name in names if name.isprintable() and not set(name) & set(" \t'\"\\$`;")]
    print("\n".join(safe))
    return 0


def _carry_out(verb: str, args: _parse.Options) -> int:
    from trio_supervisor.control.client import ControlError

    module: Any = import_module(f"trio_supervisor.cli.{_table.VERBS[verb].module}")
    try:
        code: int = module.run(verb, args)
    except ControlError as error:
        _say_failure(args, error.code, error.message, error.candidates)
        return error.exit_code
    except Failure as error:
        _say_failure(args, error.kind, error.message, error.candidates)
        return error.code
    return code


def _say_failure(args: Any, kind: str, message: str, candidates: tuple[str, ...]) -> None:
    from trio_supervisor.cli._output import clean, print_json

    if getattr(args, "json", False):
        told: dict[str, Any] = {"code": kind, "message": message}
        if candidates:
            told["candidates"] = list(candidates)
        print_json({"error": told})
    print(f"trio-supervisor: {clean(message)}", file=sys.stderr)
    if candidates:
        which = "one of" if kind == "ambiguous" else "did you mean"
        print(f"  {which}: {', '.join(map(clean, candidates))}", file=sys.stderr)


def _unknown(verb: str) -> int:
    from difflib import get_close_matches

    close = get_close_matches(verb, _table.VERBS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    print(f"trio-supervisor: unknown verb {verb!r}{hint}", file=sys.stderr)
    print("`trio-supervisor --help` lists the verbs", file=sys.stderr)
    return 2
