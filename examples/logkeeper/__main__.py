"""``python -m examples.logkeeper [FILE ...]``: see ``--help``."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trio_supervisor import JournalFile, daemon

from .follow import printable
from .tree import Options, declare, name_children

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# One of these is on most machines; the first that can be read and has something in it is taken.
USUAL_LOGS: Final = tuple(
    Path("/var/log", name)
    for name in (
        "dpkg.log",
        "syslog",
        "messages",
        "pacman.log",
        "dnf.rpm.log",
        "alternatives.log",
        "install.log",
        "system.log",
    )
)


def main() -> None:
    """Parse the command line and run the tree until it is stopped."""
    given = _parser().parse_args()
    logs: list[Path] = given.logs or _usual_log()
    problem = _problem_with(logs, given.db) or _problem_with_address(given.host, given.port)
    if problem is not None:
        print(f"logkeeper: {problem}", file=sys.stderr)
        raise SystemExit(daemon.ExitCode.BAD_SPEC)
    with tempfile.TemporaryDirectory(prefix="logkeeper-") as directory:
        database: Path = given.db or Path(directory, "lines.db")
        names = ", ".join(map(printable, logs))
        _tell(f"following {names}\nstoring lines in {printable(database)}")
        options = Options(logs, database, given.host, given.port, given.poll, given.linger)
        journal = None if given.journal is None else JournalFile(given.journal)
        daemon.run(lambda: declare(options, _announcer(logs)), http=given.http, journal=journal)


def _tell(text: str) -> None:
    """Print, as far as anything can be printed: a daemon does not end because its reader did."""
    if sys.stdout is None:
        return
    encoding = sys.stdout.encoding
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError:  # or Python would try once more at its end, and exit with 120
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="logkeeper",
        description="Follow growing log files, store their lines, answer queries over TCP.",
    )
    add = parser.add_argument
    add(
        "logs", nargs="*", type=Path, metavar="FILE", help="log files; default: one of this machine"
    )
    add("--db", type=Path, help="database; default: one that is deleted at the end")
    add("--host", default="127.0.0.1", help="address for queries (%(default)s)")
    add("--port", type=_port, default=8023, help="port for queries, 0 for any (%(default)s)")
    add("--poll", type=_seconds, default=0.25, help="pause between two looks (%(default)s s)")
    add("--linger", type=_seconds, default=1.0, help="quiet time of a renamed log (%(default)s s)")
    add("--journal", type=Path, metavar="FILE", help="where to record what happens in the tree")
    add(
        "--http",
        metavar="ADDRESS",
        help="where to serve probes and the dashboard, such as 127.0.0.1:8024; default: nowhere",
    )
    return parser


def _port(text: str) -> int:
    if text.isdecimal() and int(text) < 2**16:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if 0 <= seconds <= 3600:
        return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds (0 to 3600)")


def _usual_log() -> list[Path]:
    usable = (log for log in USUAL_LOGS if os.access(log, os.R_OK) and log.stat().st_size)
    return list(usable)[:1]


def _problem_with(logs: Sequence[Path], database: Path | None) -> str | None:
    if database is not None and not database.absolute().parent.is_dir():
        return f"{printable(database)}: there is no such directory"
    if not logs:
        looked = ", ".join(map(str, USUAL_LOGS))
        return f"none of the usual log files can be read ({looked}); name one: FILE"
    for log in logs:
        if log.exists() and not log.is_file():
            return f"{printable(log)} is not a regular file"
        if log.exists() and not os.access(log, os.R_OK):
            return f"{printable(log)} cannot be read: permission denied"
        if not log.absolute().parent.is_dir():
            return f"{printable(log)}: there is no such directory"
    return None  # a file that is not there yet is waited for


def _problem_with_address(host: str, port: int) -> str | None:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        return f"cannot listen on {host}, port {port}: {reason}; choose another with --port"
    return None


def _command() -> str:
    """How to call ``trio-supervisor`` here, where the package may not be installed."""
    if shutil.which("trio-supervisor") is not None:
        return "trio-supervisor"
    return f"{os.path.relpath(sys.executable)} -m trio_supervisor.cli"


def _announcer(logs: Sequence[Path]) -> Callable[[str, int], None]:
    last: tuple[str, int] | None = None
    name, first = name_children(logs)[0]

    def announce(host: str, port: int) -> None:
        nonlocal last
        if (host, port) == last:
            return  # only a restart
        last = (host, port)
        _tell(
            f"""
The log keeper answers on {host}, port {port}. In another terminal try:

    nc {host} {port}        and type: help

    count program       what wrote most
    last 5              the lines that came last
    sabotage {name:<10} the follower dies, and comes back
    sabotage store      the database thread dies, and so must your connection; connect again:
    count               nothing lost, nothing stored twice: compare with  wc -l {printable(first)}

The tree itself is seen and steered with the command of the library:

    {_command()} tree
    {_command()} why store
    {_command()} stop {name} --reason "to see what happens"
    {_command()} watch

Ctrl-C stops it in order.
"""
        )

    return announce


if __name__ == "__main__":
    main()
