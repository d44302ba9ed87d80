"""The verbs of ``trio-supervisor``: what each is for, its options, an example.

Options are plain data, so that the overview, the shell completions and the parser of one verb are
made of the same table. Only the verb at hand gets a parser.
"""

from __future__ import annotations

from trio_supervisor._lazy import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

Option = tuple[tuple[str, ...], "dict[str, Any]"]


class Verb:
    """One verb.

    Attributes:
        summary: One line for the overview.
        text: What the verb's own help says beyond that.
        example: A command line that works.
        module: Where its function ``run`` is, below this package.
        options: Flags and positional arguments, as `argparse` takes them.
        names: Whether its arguments are names of children.
    """

    def __init__(
        self,
        summary: str,
        module: str,
        example: str,
        *options: Option,
        text: str = "",
        names: bool = False,
    ) -> None:
        self.summary = summary
        self.text = text
        self.example = example
        self.module = module
        self.options = options
        self.names = names


def seconds(text: str) -> float:
    """A duration as people write it: ``5``, ``1.5s``, ``2m``, ``1h``.

    Raises:
        ValueError: It is none.
    """
    factor = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:], 0.0)
    value = float(text[:-1]) * factor if factor else float(text)
    if not 0 <= value <= 1e9:
        raise ValueError(text)
    return value


_NAMES: Option = (
    ("names",),
    {"nargs": "*", "metavar": "NAME", "help": "path, unique suffix or pattern of children"},
)
_CHILDREN: Option = (("names",), {**_NAMES[1], "nargs": "+"})
_SPEC: Option = (
    ("spec",),
    {"metavar": "MODULE:SPEC", "help": "a SupervisorSpec, or a function that returns one"},
)
SOCKET: Option = (
    ("--socket",),
    {"metavar": "PATH", "help": "the daemon's socket; default: $TRIO_SUPERVISOR_SOCKET, or the "
     "only daemon of this user"},
)  # fmt: skip
JSON: Option = (("--json",), {"action": "store_true", "help": "print JSON"})
_TIMEOUT: Option = (
    ("--timeout",),
    {"type": seconds, "metavar": "SECONDS", "help": "give up waiting after this long (exit 124)"},
)
_EFFECT: tuple[Option, ...] = (
    (("--reason",), {"default": "", "help": "why; events, log and `why` show it"}),
    (
        ("--wait",),
        {"action": "store_true", "default": True, "help": "wait for the effect (the default)"},
    ),
    (
        ("--no-wait",),
        {"action": "store_false", "dest": "wait", "help": "return once the command is accepted"},
    ),
    _TIMEOUT,
    (("--dry-run",), {"action": "store_true", "help": "say which children are meant; do nothing"}),
)
_GRACE: Option = (
    ("--grace",),
    {"type": seconds, "metavar": "SECONDS", "help": "in place of the child's own grace"},
)
_FOLLOW: Option = (
    ("--follow", "-f"),
    {"action": "store_true", "help": "go on with what happens from now on"},
)
_LIMIT: Option = (
    ("--limit", "-n"),
    {"type": int, "metavar": "N", "help": "the newest N at most"},
)
_HTTP: Option = (
    ("--http",),
    {
        "metavar": "ADDRESS",
        "help": "serve probes and the dashboard there, such as 127.0.0.1:8024",
    },
)
_DRAIN: Option = (
    ("--drain",),
    {
        "type": seconds,
        "default": 0.0,
        "metavar": "SECONDS",
        "help": "time between SIGTERM and the stop; default: 0",
    },
)
_SYSTEMD: Option = (
    ("--systemd-version",),
    {"type": int, "metavar": "N", "help": "write for this version; default: the installed one"},
)

VERBS: dict[str, Verb] = {
    "tree": Verb(
        "show all children with their states",
        "_tree",
        "trio-supervisor tree app/sessions",
        _NAMES,
        SOCKET,
        JSON,
        text="Exit code 0 whenever the tree could be read, whatever state it is in.",
        names=True,
    ),
    "why": Verb(
        "say how children came to be where they are",
        "_why",
        "trio-supervisor why feed",
        _NAMES,
        (
            ("--journal",),
            {"metavar": "FILE", "help": "read a JournalFile instead of asking a daemon"},
        ),
        SOCKET,
        JSON,
        names=True,
    ),
    "events": Verb(
        "print events, one JSON object per line with --json",
        "_streams",
        "trio-supervisor events --json --follow --since 1200",
        _NAMES,
        (
            ("--since",),
            {"type": int, "metavar": "SEQ", "help": "only events after this sequence number"},
        ),
        _LIMIT,
        _FOLLOW,
        (("--no-snapshot",), {"action": "store_true", "help": "leave out the start line"}),
        SOCKET,
        JSON,
        text="The first line of --json is the tree before the first event. Events that are no"
        " longer kept are counted in a line with 'gap'.",
        names=True,
    ),
    "watch": Verb(
        "show the tree live; keys stop, restart and quarantine children",
        "_watch",
        "trio-supervisor watch --once",
        _NAMES,
        (("--once",), {"action": "store_true", "help": "print the tree once and end"}),
        (
            ("--interval",),
            {"type": seconds, "default": 1.0, "metavar": "SECONDS", "help": "default: 1"},
        ),
        SOCKET,
        text="Needs the extra 'cli' (pip install 'trio-supervisor[cli]').",
        names=True,
    ),
    "stacks": Verb(
        "show where the tasks of running children are, now",
        "_look",
        "trio-supervisor stacks web",
        _NAMES,
        SOCKET,
        JSON,
        names=True,
    ),
    "logs": Verb(
        "show the newest log lines, of children or of all",
        "_streams",
        "trio-supervisor logs feed --follow",
        _NAMES,
        _LIMIT,
        _FOLLOW,
        SOCKET,
        JSON,
        names=True,
    ),
    "check": Verb(
        "validate a declared tree, show its policies, and warn of numbers that do not fit",
        "_check",
        "trio-supervisor check shop.tree:APP",
        _SPEC,
        (
            ("--stop-timeout",),
            {
                "type": seconds,
                "metavar": "SECONDS",
                "help": "TimeoutStopSec= of the unit, or terminationGracePeriodSeconds of the pod",
            },
        ),
        JSON,
        text="Exit code 3 if there are warnings. Imports the module.",
    ),
    "what-if": Verb(
        "ask how a recorded incident would have gone under another declaration",
        "_what_if",
        "trio-supervisor what-if app.journal shop.tree:APP --set feed.backoff.maximum=60",
        (("journal",), {"metavar": "JOURNAL", "help": "the file that a JournalFile has written"}),
        _SPEC,
        (
            ("--set",),
            {
                "action": "append",
                "metavar": "PATH.FIELD=VALUE",
                "help": "a change, such as feed.backoff.maximum=60 or restart_limit=5/60",
            },
        ),
        (
            ("--stretch",),
            {
                "type": int,
                "default": -1,
                "metavar": "N",
                "help": "which start of the program; by default the newest",
            },
        ),
        JSON,
        text="Imports the module; needs no extra. The columns are what was recorded, what the "
        "declaration as it was makes of it, at best and at worst, and what the changed one makes.",
    ),
    "ready": Verb(
        "exit 0 if the tree, or the named children, are ready; else 3",
        "_look",
        "trio-supervisor ready && echo serving",
        _NAMES,
        SOCKET,
        JSON,
        names=True,
    ),
    "live": Verb(
        "exit 0 if the event loop answers and no child is unresponsive; else 3",
        "_look",
        "trio-supervisor live --timeout 5",
        _TIMEOUT,
        SOCKET,
        JSON,
    ),
    "wait": Verb(
        "wait until children are in a state",
        "_look",
        "trio-supervisor wait web --state ready --timeout 30",
        _CHILDREN,
        (
            ("--state",),
            {"action": "append", "metavar": "STATE", "help": "default: ready; may be repeated"},
        ),
        _TIMEOUT,
        SOCKET,
        JSON,
        names=True,
    ),
    "start": Verb(
        "start children that are down; others are left alone",
        "_steer",
        "trio-supervisor start feed --reason 'upstream is back'",
        _CHILDREN,
        *_EFFECT,
        SOCKET,
        JSON,
        names=True,
    ),
    "stop": Verb(
        "stop children and keep them down until they are started",
        "_steer",
        "trio-supervisor stop 'sessions/*' --reason maintenance",
        _CHILDREN,
        *_EFFECT,
        _GRACE,
        SOCKET,
        JSON,
        names=True,
    ),
    "restart": Verb(
        "stop children and start them again at once",
        "_steer",
        "trio-supervisor restart web --reason 'new certificate'",
        _CHILDREN,
        *_EFFECT,
        _GRACE,
        SOCKET,
        JSON,
        names=True,
    ),
    "quarantine": Verb(
        "stop children and mark them for inspection",
        "_steer",
        "trio-supervisor quarantine feed --reason 'corrupts its output'",
        _CHILDREN,
        *_EFFECT,
        _GRACE,
        SOCKET,
        JSON,
        names=True,
    ),
    "remove": Verb(
        "stop children and forget them",
        "_steer",
        "trio-supervisor remove sessions/s-17",
        _CHILDREN,
        *_EFFECT,
        _GRACE,
        SOCKET,
        JSON,
        names=True,
    ),
    "shutdown": Verb(
        "stop the whole tree in order; the daemon ends",
        "_steer",
        "trio-supervisor shutdown --reason 'moving to another machine'",
        *_EFFECT,
        (("--no-grace",), {"action": "store_true", "help": "cancel each child at its turn"}),
        SOCKET,
        JSON,
    ),
    "unit": Verb(
        "print a systemd unit with the times of a declared tree",
        "_generate",
        "trio-supervisor unit shop.tree:APP > shop.service",
        _SPEC,
        _SYSTEMD,
        (("--python",), {"metavar": "PATH", "help": "default: the running one"}),
        _HTTP,
        _DRAIN,
        text="Imports the module. Options that both have are handed on to `run`.",
    ),
    "manifest": Verb(
        "print a Kubernetes Deployment with the times of a declared tree",
        "_generate",
        "trio-supervisor manifest shop.tree:APP --image shop:1.4",
        _SPEC,
        (("--image",), {"default": "IMAGE", "help": "of the container"}),
        _HTTP,
        _DRAIN,
        text="Imports the module. With --http, such as 0.0.0.0:8024, probes are asked over HTTP.",
    ),
    "schema": Verb(
        "print the JSON schema of events, snapshots and reports",
        "_generate",
        "trio-supervisor schema > schema.json",
    ),
    "completion": Verb(
        "print a completion script for bash, zsh or fish",
        "_completion",
        "source <(trio-supervisor completion bash)",
        (("shell",), {"choices": ("bash", "zsh", "fish")}),
    ),
    "run": Verb(
        "run a declared tree as a daemon",
        "_run",
        "trio-supervisor run shop.tree:APP --journal /var/lib/shop/journal",
        _SPEC,
        (("--journal",), {"metavar": "FILE", "help": "keep the events in this file as well"}),
        (("--log-level",), {"default": "INFO", "metavar": "LEVEL", "help": "default: INFO"}),
        (
            ("--log-format",),
            {"default": "auto", "choices": ("auto", "text", "json"), "help": "default: auto"},
        ),
        _HTTP,
        _DRAIN,
        (("--no-control",), {"action": "store_true", "help": "serve no control socket"}),
        SOCKET,
    ),
}

LOOKING = ("tree", "why", "events", "watch", "stacks", "logs", "ready", "live", "wait")
STEERING = ("start", "stop", "restart", "quarantine", "remove", "shutdown")

EXIT_CODES = """\
exit codes:
  0    done
  1    refused, or failed
  2    wrong usage
  3    the condition is not met (check, ready, live, wait)
  4    no such child, or the name means several
  5    no daemon can be reached
  6    not allowed
  124  timed out
"""


def overview() -> str:
    """The help of the command as a whole."""
    lines = ["usage: trio-supervisor VERB [OPTIONS] [NAME ...]", ""]
    for title, chosen in (
        ("look at a running tree:", LOOKING),
        ("steer it:", STEERING),
        ("without a running tree:", [v for v in VERBS if v not in LOOKING + STEERING]),
    ):
        lines.append(title)
        lines += [f"  {verb:<11} {VERBS[verb].summary}" for verb in chosen]
        lines.append("")
    lines.append("NAME is a path (app/web), a suffix that only one child has (web), or a pattern")
    lines.append("('sessions/*'). `trio-supervisor VERB --help` says more about a verb.")
    return "\n".join([*lines, "", EXIT_CODES.rstrip()])
