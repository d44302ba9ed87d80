"""`process`: an external program, with its whole process group, as a child."""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final

import trio

from trio_supervisor._errors import SpecError
from trio_supervisor._lazy import public
from trio_supervisor._record import Record
from trio_supervisor._specs.body import Body
from trio_supervisor._specs.policy import ReadinessPolicy
from trio_supervisor.children._failures import ProcessFailed
from trio_supervisor.children._group import Group, inherited_environment
from trio_supervisor.children._notify import NotifySocket
from trio_supervisor.children._program import Program
from trio_supervisor.children._readiness import Answers, Makes, Writes
from trio_supervisor.children._spawner import check_platform

if TYPE_CHECKING:
    from trio_supervisor._attempts.context import ChildContext

OutputTo: TypeAlias = Literal["log", "inherit", "discard"]
Command: TypeAlias = Sequence[str | os.PathLike[str]]

_REST_GRACE: Final = 1.0
"""Seconds that the rest of a group gets after its leader has ended by itself."""

_log = logging.getLogger("trio_supervisor.children")


@public
@final
class RunningProcess:
    """The ready value of a `process` child: a program that is running, or was a moment ago."""

    __slots__ = ("_label", "_program")

    def __init__(self, program: Program, label: str) -> None:
        self._program = program
        self._label = label

    @property
    def pid(self) -> int:
        """The process id, which is the id of the process group as well."""
        return self._program.pid

    def send_signal(self, number: int) -> None:
        """Send a signal to the program itself, not to its group.

        Never hits another process that has the same id by now.

        Raises:
            ProcessLookupError: The program has ended.
        """
        self._program.send_signal(number)

    def __repr__(self) -> str:
        return f"<RunningProcess {self._label} pid={self.pid}>"


class _Process(Record):
    """The arguments of `process`, checked."""

    command: tuple[str, ...]
    cwd: str | None
    env: tuple[tuple[str, str | None], ...]
    stop_signal: int
    ok_codes: tuple[int, ...]
    notify: bool
    ready_when: Answers | Writes | None
    ready_file: str | None
    output: OutputTo
    output_level: int

    async def __call__(self, child: ChildContext) -> None:
        await _Run(self, child).run()


@final
class _Run:
    """One attempt of a `process` child."""

    def __init__(self, what: _Process, child: ChildContext) -> None:
        self._what = what
        self._child = child
        self._group = Group(child, what.command[0].rpartition("/")[2])
        self._notify: NotifySocket | None = None
        self._ready_when: Answers | Writes | Makes | None = what.ready_when
        if what.ready_file is not None:
            self._ready_when = Makes(what.ready_file)

    async def run(self) -> None:
        what = self._what
        if self._ready_when is not None:
            await self._ready_when.before()
        with ExitStack() as stack:
            if what.notify:
                self._notify = NotifySocket(self._group.token)
                stack.callback(self._notify.close)
            await self._group.start(
                what.command,
                env=self._environment(),
                cwd=what.cwd,
                output=what.output,
                level=what.output_level,
            )
            try:
                async with trio.open_nursery() as nursery:
                    await self._watch(nursery)
                    nursery.cancel_scope.cancel("the program has ended")
            finally:
                await self._group.end()  # noqa: ASYNC102 - shielded there
        self._judge()

    def _environment(self) -> dict[str, str]:
        env = inherited_environment()
        for name, changed in self._what.env:
            if changed is None:
                env.pop(name, None)
            else:
                env[name] = changed
        if self._notify is not None:
            env["NOTIFY_SOCKET"] = self._notify.address
            silence = self._child._attempt.spec.stale_after
            if silence < inf:
                env["WATCHDOG_USEC"] = str(int(silence * 1_000_000))
        return env

    # ---- while it runs

    async def _watch(self, nursery: trio.Nursery) -> None:
        program = self._group.program
        self._group.read_output(nursery)
        if self._notify is not None:
            nursery.start_soon(self._listen)
        if self._ready_when is not None:
            nursery.start_soon(self._wait_ready, self._ready_when)
        elif self._notify is None:
            self._report_ready()
        nursery.start_soon(self._stop_when_asked)
        await program.wait_ended()
        if self._notify is not None:
            self._hear(self._notify)  # while its sender can still be found
        program.collect()
        if self._child.stop_requested:
            await program.wait_group()
        elif program.signal_group(self._what.stop_signal):
            with trio.move_on_after(_REST_GRACE):
                await program.wait_group()

    def _report_ready(self) -> None:
        self._child.ready(RunningProcess(self._group.program, self._group.label))

    async def _wait_ready(self, when: Answers | Writes | Makes) -> None:
        await when.wait(self._group.output)
        self._report_ready()

    async def _stop_when_asked(self) -> None:
        await self._child.wait_stop_requested()
        self._group.program.signal_group(self._what.stop_signal)
        self._group.program.signal_group(signal.SIGCONT)  # a stopped process hears nothing else

    async def _listen(self) -> None:
        assert self._notify is not None
        while True:
            await self._notify.wait()
            self._hear(self._notify)

    def _hear(self, notify: NotifySocket) -> None:
        for said in notify.receive():
            if not self._is_ours(said.pid):
                _log.warning(
                    "%s: notification of process %d ignored: it is not in the group of %s",
                    self._child.path,
                    said.pid,
                    self._group.label,
                )
                continue
            fields = said.fields
            if fields.get("READY") == "1" and self._ready_when is None:
                self._report_ready()
            if fields.get("WATCHDOG") == "1":
                self._child.heartbeat(fields.get("STATUS"))
            elif fields.get("WATCHDOG") == "trigger":
                raise ProcessFailed(
                    f"{self._group.label} asked to be restarted (WATCHDOG=trigger)",
                    category="watchdog",
                )
            if fields.get("EXTEND_TIMEOUT_USEC", "").isdecimal():
                self._child.extend_start_timeout(int(fields["EXTEND_TIMEOUT_USEC"]) / 1_000_000)
            if "STATUS" in fields:
                _log.info("%s: status: %s", self._child.path, fields["STATUS"])

    def _is_ours(self, pid: int) -> bool:
        try:
            return os.getpgid(pid) == self._group.program.pid
        except OSError:
            return False  # it has ended; a sender that ends at once needs BARRIER=1

    # ---- the end

    def _judge(self) -> None:
        """Return if the program has done its work or was stopped by us, raise otherwise."""
        status = self._group.program.status
        assert status is not None
        if status.code in self._what.ok_codes:
            return
        ours = self._what.stop_signal
        if self._child.stop_requested and (status.signal == ours or status.code == 128 + ours):
            return
        raise self._group.failure(status)


@public
def process(
    command: Command,
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str | None] | None = None,
    notify: bool = False,
    ready_port: int | tuple[str, int] | None = None,
    ready_socket: str | os.PathLike[str] | None = None,
    ready_line: str | None = None,
    ready_file: str | os.PathLike[str] | None = None,
    stop_signal: int = signal.SIGTERM,
    ok_codes: Collection[int] = (0,),
    output: OutputTo = "log",
    output_level: int = logging.INFO,
) -> Body[RunningProcess]:
    """Supervise an external program and all processes that it starts.

    The program runs in a process group of its own. It is ready when it has been executed, or as one
    of the ``ready_`` options or ``notify`` says; ``child.value(...)`` gives siblings a
    `RunningProcess`. An exit status in ``ok_codes`` is success. Any other, and the end by a signal,
    is a failure: `ProcessFailed` has the status, the signal and the last lines of standard error.

    After a stop request the whole group gets ``stop_signal`` (and SIGCONT), and the spec's
    ``grace`` to end; then SIGKILL. The attempt ends when no process of the group is left. If the
    program ends by itself, the rest of its group gets ``stop_signal``, a second, and SIGKILL.
    Processes that have left the group, but inherited its environment, are ended by SIGKILL, and
    named in the log. If this process is killed, the program is killed too (Linux).

    Standard input is empty. Each line that the program writes is logged to
    ``trio_supervisor.output`` with the child's path. Lines over 4096 bytes are cut. The output is
    always read; if it comes faster than the log takes it, the oldest lines are dropped and counted.

    Not for a program that puts itself into the background: its first process ends at once, and the
    rest is then ended too. Run it in the foreground. Not for short commands either: use
    ``trio.run_process`` in a body. Needs Linux 5.3 or newer, and does not work in virtual time:
    use ``trio_supervisor.testing.with_bodies`` there.

    Args:
        command: The program and its arguments; no shell is involved. For a shell, say so:
            ``["sh", "-c", "a | b"]``.
        cwd: The working directory. Default: that of this process.
        env: Changes to the environment of this process; `None` as a value removes a variable.
        notify: Whether the program speaks systemd's notification protocol: ``READY=1`` makes the
            child ready, ``WATCHDOG=1`` is a heartbeat (needed for ``stale_after``, which becomes
            ``WATCHDOG_USEC``), ``EXTEND_TIMEOUT_USEC=`` extends ``start_timeout``. Only processes
            of the group are believed.
        ready_port: Ready when this TCP port (of ``"127.0.0.1"``, or of the given host) accepts a
            connection. If it does so before the program is started, the start fails.
        ready_socket: Likewise for the path of a Unix socket.
        ready_line: Ready when a line of the output matches this regular expression. Needs
            ``output="log"``.
        ready_file: Ready when this file has been made, replaced, or written to.
        stop_signal: The signal that asks the program to end. Default: SIGTERM.
        ok_codes: The exit statuses that mean success. Default: 0.
        output: ``"log"`` (default), ``"inherit"``: the program writes where this process does, or
            ``"discard"``.
        output_level: The level of the log lines. Default: `logging.INFO`.

    Returns:
        The ``run`` of a `ChildSpec`.

    Raises:
        SpecError: A value is out of range, or two ``ready_`` options are given.
        SupervisorError: This system has no process descriptors.

    Example:
        ``ChildSpec("redis", process(["redis-server", "--port", "7000"], ready_port=7000))``
    """
    parts = _check_command(command)
    owner = f"process({parts[0].rpartition('/')[2]})"
    conditions = {
        "ready_port": ready_port,
        "ready_socket": ready_socket,
        "ready_line": ready_line,
        "ready_file": ready_file,
    }
    given = [name for name, value in conditions.items() if value is not None]
    if len(given) > 1:
        expected = f"nothing beside {given[0]}: one condition makes the child ready"
        raise SpecError(given[1], conditions[given[1]], expected, owner=owner)
    if output not in ("log", "inherit", "discard"):
        raise SpecError("output", output, "'log', 'inherit' or 'discard'", owner=owner)
    when: Answers | Writes | None = None
    if ready_port is not None:
        when = Answers(_check_port(owner, ready_port))
    elif ready_socket is not None:
        when = Answers(os.fspath(ready_socket))
    elif ready_line is not None:
        if output != "log":
            raise SpecError("ready_line", ready_line, "output='log' beside it", owner=owner)
        when = Writes(_check_pattern(owner, ready_line))
    check_platform("process")
    body = _Process(
        parts,
        None if cwd is None else os.fspath(cwd),
        tuple(sorted((env or {}).items())),
        _check_signal(owner, stop_signal),
        _check_codes(owner, ok_codes),
        bool(notify),
        when,
        None if ready_file is None else os.fspath(ready_file),
        output,
        output_level,
    )
    return Body(body, owner, ReadinessPolicy.EXPLICIT, hears_stop=True, can_heartbeat=body.notify)


def _check_command(command: Any) -> tuple[str, ...]:
    expected = 'a list: the program and its arguments, such as ["redis-server", "--port", "7000"]'
    if isinstance(command, str | bytes) or not hasattr(command, "__iter__"):
        raise SpecError("command", command, expected, owner="process()")
    parts = tuple(os.fspath(part) if hasattr(part, "__fspath__") else part for part in command)
    if not parts or not all(isinstance(part, str) and "\0" not in part for part in parts):
        raise SpecError("command", command, expected, owner="process()")
    if not parts[0]:
        raise SpecError("command", command, "a program in its first place", owner="process()")
    return parts


def _check_port(owner: str, value: Any) -> tuple[str, int]:
    pair = value if isinstance(value, tuple) and len(value) == 2 else ("127.0.0.1", value)
    host, port = pair
    if not isinstance(port, int) or not 0 < port < 65536 or not isinstance(host, str):
        raise SpecError(
            "ready_port", value, "a port from 1 to 65535, or host and port", owner=owner
        )
    return host, port


def _check_pattern(owner: str, pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        expected = f"a regular expression ({error})"
        raise SpecError("ready_line", pattern, expected, owner=owner) from error
    return pattern


def _check_signal(owner: str, number: Any) -> int:
    if number not in signal.valid_signals() or number in (signal.SIGKILL, signal.SIGSTOP):
        expected = "a signal that a program can handle, such as signal.SIGTERM"
        raise SpecError("stop_signal", number, expected, owner=owner)
    return int(number)


def _check_codes(owner: str, codes: Any) -> tuple[int, ...]:
    if not all(isinstance(code, int) and 0 <= code < 256 for code in codes):
        raise SpecError("ok_codes", codes, "numbers from 0 to 255", owner=owner)
    return tuple(sorted(set(codes)))
