"""Options of one verb. Plain command lines are read here; `argparse` gets the rest.

Importing `argparse` takes as long as starting Python. So command lines that are plainly right are
read by thirty lines of our own; whatever else comes, help and mistakes above all, goes to a parser
that `argparse` makes of the same table. A test compares the two.
"""

from __future__ import annotations

from trio_supervisor._lazy import TYPE_CHECKING
from trio_supervisor.cli import _table

if TYPE_CHECKING:
    import argparse
    from typing import Any


class Options:
    """The values of a verb's options, as attributes."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def parse(verb: str, argv: list[str]) -> Options:
    """Return the options in ``argv``.

    Raises:
        SystemExit: With code 2 for a mistake, which has been said, and with 0 for ``--help``.
    """
    values = read_plain(verb, argv)
    return Options(vars(parser_of(verb).parse_intermixed_args(argv)) if values is None else values)


def read_plain(verb: str, argv: list[str]) -> dict[str, Any] | None:
    """Return the values of a command line that is plainly right; `None` for any other."""
    values, flags, places = _defaults(_table.VERBS[verb].options)
    given: list[str] = []
    pending = list(reversed(argv))
    while pending:
        word = pending.pop()
        if not word.startswith("-") or word == "-":
            given.append(word)
            continue
        flag, has_value, value = word.partition("=")
        found = flags.get(flag)
        if found is None:
            return None
        name, options = found
        action = options.get("action")
        if action in {"store_true", "store_false"}:
            if has_value:
                return None
            values[name] = action == "store_true"
            continue
        if not has_value:
            if not pending or pending[-1].startswith("-"):
                return None
            value = pending.pop()
        try:
            value = options.get("type", str)(value)
        except ValueError:
            return None
        if value not in options.get("choices", (value,)):
            return None
        values[name] = [*(values[name] or ()), value] if action == "append" else value
    return _placed(values, places, given)


def _defaults(
    options: tuple[_table.Option, ...],
) -> tuple[dict[str, Any], dict[str, tuple[str, Any]], list[tuple[str, Any]]]:
    values: dict[str, Any] = {}
    flags: dict[str, tuple[str, Any]] = {}
    places: list[tuple[str, Any]] = []
    for names, settings in options:
        if not names[0].startswith("-"):
            places.append((names[0], settings))
            continue
        name = settings.get("dest") or names[0].lstrip("-").replace("-", "_")
        default = False if settings.get("action") == "store_true" else None
        values.setdefault(name, settings.get("default", default))
        for flag in names:
            flags[flag] = name, settings
    return values, flags, places


def _placed(
    values: dict[str, Any], places: list[tuple[str, Any]], given: list[str]
) -> dict[str, Any] | None:
    if not places:
        return None if given else values
    if len(places) > 1:  # of which each takes one word
        if len(given) != len(places):
            return None
        values.update({name: word for (name, _), word in zip(places, given, strict=True)})
        return values
    ((name, settings),) = places
    wants = settings.get("nargs")
    if wants is None:
        if len(given) != 1 or given[0] not in settings.get("choices", given):
            return None
        values[name] = given[0]
    elif wants == "+" and not given:
        return None
    else:
        values[name] = given
    return values


def parser_of(verb: str) -> argparse.ArgumentParser:
    """Return the `argparse` parser of a verb."""
    import argparse

    known = _table.VERBS[verb]
    text = f"{known.summary[0].upper()}{known.summary[1:]}. {known.text}".strip()
    parser = argparse.ArgumentParser(
        prog=f"trio-supervisor {verb}",
        description=text,
        epilog=f"example:\n  {known.example}\n\n{_table.EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for flags, options in known.options:
        parser.add_argument(*flags, **options)
    return parser
