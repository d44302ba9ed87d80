"""``completion``: scripts for bash, zsh and fish, made of the table of verbs.

Verbs and options are written into the script; names of children are asked of the daemon with
``trio-supervisor _names``, which prints nothing if there is none.
"""

from __future__ import annotations

from trio_supervisor._lazy import TYPE_CHECKING
from trio_supervisor.cli import _table

if TYPE_CHECKING:
    from typing import Any

_NAMES = "trio-supervisor _names 2>/dev/null"


def run(_verb: str, args: Any) -> int:
    """Print the script for one shell."""
    print({"bash": bash, "zsh": zsh, "fish": fish}[args.shell](), end="")
    return 0


def _flags(verb: str) -> list[str]:
    options = _table.VERBS[verb].options
    return [flag for names, _ in options for flag in names if flag.startswith("--")] + ["--help"]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def bash() -> str:
    """Return the script for bash."""
    cases = "".join(
        f"    {verb}) flags={_quoted(' '.join(_flags(verb)))} ;;\n" for verb in _table.VERBS
    )
    with_names = "|".join(verb for verb, known in _table.VERBS.items() if known.names)
    return f"""\
_trio_supervisor() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
  local verb=${{COMP_WORDS[1]}} flags=
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W {_quoted(" ".join(_table.VERBS))} -- "$current"))
    return
  fi
  case $previous in
    --socket|--journal) COMPREPLY=($(compgen -f -- "$current")); return ;;
    completion) COMPREPLY=($(compgen -W 'bash zsh fish' -- "$current")); return ;;
  esac
  case $verb in
{cases}  esac
  case $current in
    -*) COMPREPLY=($(compgen -W "$flags" -- "$current")); return ;;
  esac
  case $verb in
    {with_names}) COMPREPLY=($(compgen -W "$({_NAMES})" -- "$current")) ;;
  esac
}}
complete -F _trio_supervisor trio-supervisor
"""


def zsh() -> str:
    """Return the script for zsh."""
    verbs = "".join(
        f"    {_quoted(f'{verb}:{known.summary}')}\n" for verb, known in _table.VERBS.items()
    )
    cases = "".join(f"    {verb}) flags=({' '.join(_flags(verb))}) ;;\n" for verb in _table.VERBS)
    with_names = "|".join(verb for verb, known in _table.VERBS.items() if known.names)
    return f"""\
#compdef trio-supervisor
_trio_supervisor() {{
  local -a verbs flags names
  verbs=(
{verbs}  )
  if (( CURRENT == 2 )); then
    _describe verb verbs
    return
  fi
  case $words[2] in
{cases}  esac
  case $words[CURRENT] in
    -*) compadd -- $flags; return ;;
  esac
  case $words[2] in
    {with_names}) names=(${{(f)"$({_NAMES})"}}); compadd -- $names ;;
    completion) compadd bash zsh fish ;;
  esac
}}
if [ "$funcstack[1]" = _trio_supervisor ]; then  # loaded by compinit at the first completion
  _trio_supervisor "$@"
else
  compdef _trio_supervisor trio-supervisor
fi
"""


def fish() -> str:
    """Return the script for fish."""
    lines = ["complete -c trio-supervisor -f"]
    first = "__fish_use_subcommand"
    for verb, known in _table.VERBS.items():
        lines.append(
            f"complete -c trio-supervisor -n {first} -a {verb} -d {_quoted(known.summary)}"
        )
        here = f"-n '__fish_seen_subcommand_from {verb}'"
        for names, options in known.options:
            long = next((name[2:] for name in names if name.startswith("--")), None)
            if long is not None:
                value = "" if options.get("action", "").startswith("store_") else " -r"
                about = _quoted(str(options.get("help", "")))
                lines.append(f"complete -c trio-supervisor {here} -l {long}{value} -d {about}")
        if known.names:
            lines.append(f"complete -c trio-supervisor {here} -a '({_NAMES})'")
    lines.append(
        "complete -c trio-supervisor -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'"
    )
    return "\n".join(lines) + "\n"
