"""End the programs of this process when this process is ended by ``kill -9``.

The kernel sends a program its parent-death signal, but not to the processes that the program has
started. So, while there are programs, a small shell waits at the other end of a pipe. It learns the
number of each process group. When the pipe closes and groups are left on its list, this process has
died without ending them, and the shell does: first the groups, then each process that has the token
of this process in its environment. Without a shell only the parent-death signal is left.
"""

from __future__ import annotations

import logging
import os
import secrets
import subprocess
from contextlib import suppress
from threading import Lock
from typing import Final

from trio_supervisor.children._own_processes import started

_SCRIPT: Final = """
trap '' HUP INT QUIT TERM
groups=
while read -r sign number; do
    rest=
    for group in $groups; do
        [ "$group" = "$number" ] || rest="$rest $group"
    done
    groups=$rest
    [ "$sign" = + ] && groups="$groups $number"
done
[ -n "$groups" ] || exit 0
for group in $groups; do
    kill -s KILL -- "-$group"
done
for file in $(grep -ls -- "$1" /proc/[0-9]*/environ); do
    pid=${file#/proc/}
    kill -s KILL "${pid%/environ}"
done
"""

_LONGEST_END: Final = 1.0

_log = logging.getLogger("trio_supervisor.children")

_lock = Lock()
_groups: set[int] = set()
_shell: subprocess.Popen[bytes] | None = None
_shell_missing = False
_token = secrets.token_hex(8)


def token() -> str:
    """Return what each environment of a program of this process has to contain."""
    return _token


def watch(group: int) -> None:
    """Have a group ended if this process dies. Blocks for milliseconds: call it in a thread."""
    with _lock:
        _groups.add(group)
        if not _tell(f"+ {group}\n"):
            _start_shell()


def unwatch(group: int) -> None:
    """Take a group off the list, after its end. Blocks likewise."""
    with _lock:
        _groups.discard(group)
        if not _groups:
            _end_shell()
        elif not _tell(f"- {group}\n"):
            _start_shell()


def _tell(line: str) -> bool:
    if _shell is None:
        return False
    assert _shell.stdin is not None
    try:
        os.write(_shell.stdin.fileno(), line.encode())
    except (BrokenPipeError, BlockingIOError):  # it has been killed, or stopped
        _end_shell()
        return False
    return True


def _start_shell() -> None:
    global _shell, _shell_missing  # noqa: PLW0603 - one per process is the point
    if _shell_missing:
        return
    try:
        _shell = subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
            ["sh", "-c", _SCRIPT, "trio-supervisor-guardian", _token],  # noqa: S607
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath)},
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        _shell_missing = True
        _log.warning("if this process is killed, what its programs started goes on: %s", error)
        return
    started.add(_shell.pid)
    assert _shell.stdin is not None
    with suppress(BrokenPipeError):  # ended already: the next line for it finds that out
        for group in _groups:
            os.write(_shell.stdin.fileno(), f"+ {group}\n".encode())
    os.set_blocking(_shell.stdin.fileno(), False)


def _end_shell() -> None:
    global _shell  # noqa: PLW0603
    if _shell is not None:
        assert _shell.stdin is not None
        _shell.stdin.close()
        try:
            _shell.wait(_LONGEST_END)
        except subprocess.TimeoutExpired:
            _shell.kill()
            _shell.wait()
        started.discard(_shell.pid)
        _shell = None


def _forget_shell() -> None:
    """In a forked child of this process: close its copy of the pipe, or the end goes unnoticed."""
    global _shell, _token  # noqa: PLW0603
    if _shell is not None:
        assert _shell.stdin is not None
        _shell.stdin.close()
        _shell.returncode = 0  # not a child of this process
        _shell = None
    _groups.clear()
    _token = secrets.token_hex(8)
    _lock._at_fork_reinit()  # type: ignore[attr-defined]  # as the standard library does


os.register_at_fork(after_in_child=_forget_shell)
