"""`run`: a tree from the first start to the exit code."""

from __future__ import annotations

import logging
import os
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from signal import SIGINT, SIGTERM
from typing import TYPE_CHECKING, Final, Literal, final

import trio

import trio_supervisor
from trio_supervisor._errors import SpecError, SupervisorClosed
from trio_supervisor._lazy import public
from trio_supervisor._logging.safe import say
from trio_supervisor._record import Record
from trio_supervisor._runtime.open import open_supervisor
from trio_supervisor._runtime.views import attempts_with_grace, stacks_below
from trio_supervisor._specs.checks import check_seconds
from trio_supervisor._specs.supervisor import SupervisorSpec
from trio_supervisor.daemon._control import control_socket
from trio_supervisor.daemon._ending import Ending, ExitCode, cut_off_in
from trio_supervisor.daemon._http import check_http, http_server
from trio_supervisor.daemon._signals import HANGUP, SHOW, SignalDesk, StoppedEarly
from trio_supervisor.daemon._surroundings import (
    Surroundings,
    monitor_of,
    surroundings,
    take_environment,
)
from trio_supervisor.observe import json_formatter

if TYPE_CHECKING:
    import signal
    from types import FrameType

    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor.daemon._notify import Notifier

_log = logging.getLogger("trio_supervisor.daemon")
MOST_FRAMES: Final = 12
DOUBLE: Final = 0.1
"""Seconds after the first signal before which a second one does not take effect: no operator has
seen yet what the first one did, while a terminal and a wrapper script often send one each."""


@public
def run(
    spec: SupervisorSpec | Callable[[], SupervisorSpec],
    *,
    log_level: int | str = logging.INFO,
    log_format: Literal["auto", "text", "json"] = "auto",
    control: bool | str = True,
    journal: int | trio_supervisor.JournalFile | None = None,
    drain: float = 0.0,
    blocked_after: float = 1.0,
    http: str | int | None = None,
) -> None:
    """Run a tree as this process until it has ended; then return, or exit with a code saying how.

    Use it as the last statement of a program that systemd, a container or a terminal starts.
    Signals are heard from the beginning of the call: give a function that imports and declares the
    tree, and a stop during a slow import is neither lost nor deadly.

    | signal | what it does |
    |---|---|
    | SIGTERM | stops the tree in order, each child with its grace, after ``drain`` seconds |
    | SIGINT (Ctrl-C) | the same without ``drain`` |
    | a second of these | drops the grace: what is left is cancelled, at the earliest 0.1 s after
      the first signal (a terminal and a wrapper script may send one each) |
    | a third | logs where each child that is left hangs, and ends the process at once; the exit
      code is 128 + its number. It is heard even while a child blocks the event loop |
    | SIGHUP | with a function as ``spec``: logged and ignored, for a reload is what it asks for.
      Without: stops the tree like SIGINT if there is a controlling terminal, which was closed then;
      logged and ignored if there is none |
    | SIGUSR1 | writes the tree and the stack of each task to the log |

    SIGINT, SIGHUP and SIGUSR1 are left alone where they are ignored, as under ``nohup`` and in the
    background of a shell, or where the program has a handler of its own. A signal that arrives
    after the tree has ended does nothing, so that an orderly end stays one.

    | exit code | how it ended |
    |---|---|
    | 0 | in order: stopped by one signal, or by ``auto_shutdown``; `run` returns |
    | 1 | the tree failed: a restart limit, an escalation, a crash of the supervisor; it is logged |
    | 2 | the declaration cannot work (`SpecError`), nothing was started; logged as one line |
    | 3 | the first start failed; logged, with a traceback unless the child raised `TaskFailure` |
    | 4 | stopped by one signal or ``auto_shutdown``, but a child did not end when cancelled |
    | 5 | stopped likewise, but a child used up its grace, or the ``shutdown_deadline`` passed |
    | 128 + n | stopped, but the second signal cut off a child that has a grace, or the drain: 129
      SIGHUP, 130 SIGINT, 143 SIGTERM |
    | any other | a child raised ``SystemExit(code)``; of several, the first counts |

    Where two apply, what comes first in this list counts: a child's ``SystemExit``, 2, 3, 1,
    128 + n, 4, 5. A child's `KeyboardInterrupt` ends the tree and is raised as it is. What else
    went wrong beside one of these two is logged.

    If logging is not configured, everything from ``log_level`` up goes to standard error.

    Args:
        spec: The tree, or a function that declares it. Only with the function can an error in the
            declaration become exit code 2: otherwise it is raised before `run` is even called.
        log_level: As for `logging.basicConfig`; ignored if logging is configured already.
        log_format: ``"json"``: one JSON object per line, with the fields of each record; needs the
            extra ``daemon``. ``"text"``: lines with time and level. ``"auto"`` (default): text,
            without the time where systemd's journal adds it. Ignored likewise.
        control: Whether to serve the control socket, for the command ``trio-supervisor``; or the
            socket's path. Only this user and root can connect. If the default socket cannot be
            made, the log says so and the tree runs without; a path that is given must work.
            Default: true.
        journal: As for `open_supervisor`: how many events are kept in memory, or a `JournalFile`.
        drain: Seconds between SIGTERM and the stop, in which the tree works on while its clients
            learn that it is going to stop; ``/readyz`` says so. Default: 0.
        http: An address such as ``"127.0.0.1:8024"``, or a port on the loopback interface, at which
            to serve probes and the dashboard; see `trio_supervisor.http.open_http`. Every client
            that can connect can look at the tree. Needs the extra ``daemon``. Default: not served.
        blocked_after: Seconds without a turn of the event loop after which the log names the child
            that blocks it, see `BlockedLoopMonitor`. Default: 1; ``inf`` never does.

    With ``NOTIFY_SOCKET`` in the environment, systemd is told of readiness, status, progress, the
    watchdog and the stop. Sockets that it hands over are for `listener`. The process adopts orphans
    of its children (as PID 1 of a container they come to it anyway) and collects them when they
    end.

    Raises:
        SystemExit: For every exit code but 0.
        KeyboardInterrupt: A child raised it.
        SpecError: ``drain`` is not a finite number of seconds, or ``http`` is no address, or h11 is
            not installed.
        RuntimeError: Not called in the main thread, where alone Python delivers signals; or called
            while Trio runs (there, use `run_supervisor`).
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "daemon.run() must be called in the main thread: Python delivers signals only there. "
            "Elsewhere, run the tree with trio.run() and run_supervisor(), and stop it with "
            "request_shutdown()"
        )
    if trio.lowlevel.in_trio_run():
        raise RuntimeError(
            "daemon.run() starts Trio itself; in a Trio program use run_supervisor()"
        )
    drain = check_seconds("run()", "drain", drain, finite=True)
    blocked_after = check_seconds("run()", "blocked_after", blocked_after, positive=True)
    check_http(http)
    _configure_logging(log_level, log_format)
    desk = SignalDesk(reloads=not isinstance(spec, SupervisorSpec))
    try:
        desk.install()
        notifier = take_environment()
        tree = _declared(spec)
        desk.declared()
        ending = Ending(tree.name)
        options = _Options(control, journal, drain, http, notifier, blocked_after)
        try:
            trio.run(_main, tree, ending, desk, options)
        except Exception as error:
            ending.error = error
        except (BaseExceptionGroup, SystemExit) as error:
            raise ending.first_of(error) from None
    except StoppedEarly as stop:
        say(_log, logging.INFO, "%s before the tree was declared: nothing was started", stop)
        return
    except SpecError as error:
        say(_log, logging.CRITICAL, "bad declaration: %s", error)
        raise SystemExit(ExitCode.BAD_SPEC) from None
    finally:
        desk.close()
    code = ending.conclude()
    if code:
        raise SystemExit(code)


def _declared(spec: SupervisorSpec | Callable[[], SupervisorSpec]) -> SupervisorSpec:
    tree: object = spec if isinstance(spec, SupervisorSpec) or not callable(spec) else spec()
    if not isinstance(tree, SupervisorSpec):
        raise SpecError(
            "spec", tree, "a SupervisorSpec, or a function that returns one", owner="run()"
        )
    return tree


def _configure_logging(level: int | str, log_format: str) -> None:
    if log_format not in _FORMATS:
        raise SpecError("log_format", log_format, "auto, text or json", owner="run()")
    ours = logging.getLogger("trio_supervisor")
    configured = [*logging.root.handlers, *ours.handlers]
    if all(isinstance(handler, logging.NullHandler) for handler in configured):
        handler = logging.StreamHandler()
        if log_format == "json":
            handler.setFormatter(json_formatter())
        else:
            journald = log_format == "auto" and "JOURNAL_STREAM" in os.environ
            handler.setFormatter(logging.Formatter(_SHORT if journald else _FORMATS["text"]))
        logging.basicConfig(level=level, handlers=[handler])


_SHORT = "%(levelname)-8s %(message)s"
_FORMATS = {"auto": _SHORT, "text": f"%(asctime)s {_SHORT}", "json": ""}


@final
class _Options(Record):
    """The surroundings of the tree; see `run`."""

    control: bool | str
    journal: int | trio_supervisor.JournalFile | None
    drain: float
    http: str | int | None
    notifier: Notifier | None
    blocked_after: float


async def _main(spec: SupervisorSpec, ending: Ending, desk: SignalDesk, options: _Options) -> None:
    desk.open()
    failed: BaseException | None = None
    # Outside of the supervisor's block, which a failing tree cancels: its stop can take long, and
    # the operator must be heard as long as it takes.
    async with trio.open_nursery() as nursery:
        stack = ExitStack()
        monitor = monitor_of(options.blocked_after, nursery)
        try:
            async with (
                control_socket(options.control, spec.name) as server,
                http_server(options.http, spec.name, monitor) as page,
            ):
                desk.last_words = partial(_say_last_words, spec.name, None)
                try:
                    around = stack.enter_context(
                        surroundings(spec, options.notifier, monitor, nursery)
                    )
                    async with open_supervisor(
                        spec, wait_ready=False, journal=options.journal
                    ) as supervisor:
                        if server is not None:
                            server.attach(supervisor)
                        around.attach(supervisor)
                        operator = _Operator(supervisor, ending, desk, options.drain, around)
                        if page is not None:
                            page.attach(supervisor)
                        operator.tell_drain = [
                            each.begin_drain for each in (page, server) if each is not None
                        ]
                        desk.last_words = partial(_say_last_words, spec.name, supervisor)
                        nursery.start_soon(operator.obey)  # noqa: ASYNC111 - it outlives the block
                        await _attend(supervisor, ending, desk)
                finally:
                    stack.close()
                    desk.close()  # from this moment on nothing is left to stop
        except BaseException as error:  # noqa: ASYNC103 - raised below, bare
            failed = error
        nursery.cancel_scope.cancel("the tree has ended")
    try:
        if failed is not None:
            raise failed
    finally:
        del failed  # it holds this frame


async def _attend(  # noqa: ASYNC910 - it waits
    supervisor: Supervisor, ending: Ending, desk: SignalDesk
) -> None:
    begun = trio.current_time()
    with suppress(SupervisorClosed):  # stopped before it was ready
        await supervisor.wait_ready()
        ending.was_ready = True
        say(
            _log,
            logging.INFO,
            "%s is up after %.2fs, pid %d; %s stops it",
            ending.name,
            trio.current_time() - begun,
            os.getpid(),
            "SIGINT (Ctrl-C) or SIGTERM" if SIGINT in desk.heard else "SIGTERM",
        )
    with suppress(SupervisorClosed):  # broken: leaving the block raises why
        ending.report = await supervisor.wait_finished()
        ending.cut_off = cut_off_in(supervisor.journal.events)


@final
class _Operator:
    """Carries out what the signals ask for."""

    def __init__(
        self,
        supervisor: Supervisor,
        ending: Ending,
        desk: SignalDesk,
        drain: float,
        around: Surroundings,
    ) -> None:
        self._around = around
        self._supervisor = supervisor
        self._ending = ending
        self._desk = desk
        self._drain = drain
        self._drains = False
        self._asked_at = 0.0
        self.tell_drain: list[Callable[[str], None]] = []

    def _say(self, level: int, text: str, *args: object) -> None:
        say(_log, level, f"%s {text}", self._ending.name, *args)

    async def obey(self) -> None:
        """Obey until cancelled."""
        async with trio.open_nursery() as nursery:
            async for received in self._desk:
                if self._supervisor._shell.is_over:
                    break  # it came while the last child blocked the loop: nothing is left to stop
                if received is SHOW:
                    self._say(logging.INFO, "%s:\n%s", received.name, self._what_is_left())
                elif received is HANGUP and not self._desk.hangup_stops:
                    self._ignore_hangup(received)
                else:
                    self._ending.signals.append(received)
                    self._stop(received, nursery)

    def _ignore_hangup(self, received: signal.Signals) -> None:
        why = (
            "there is no controlling terminal that could have been closed"
            if self._desk.has_spec
            else "a new declaration cannot be loaded into a running tree"
        )
        self._say(logging.WARNING, "%s ignored: %s", received.name, why)
        self._around.reload_refused(why)

    def _stop(self, received: signal.Signals, nursery: trio.Nursery) -> None:
        if len(self._ending.signals) > 1:
            nursery.start_soon(self._drop_grace, received)
            return
        self._asked_at = trio.current_time()
        if received is not SIGTERM or not self._drain:
            self._stop_in_order(received)
        else:
            self._say(
                logging.INFO,
                "%s: draining for %gs, then stopping in order; a second signal drops the grace",
                received.name,
                self._drain,
            )
            self._drains = True
            self._around.stopping(f"draining after {received.name}")
            for tell in self.tell_drain:
                tell(received.name)
            nursery.start_soon(self._stop_after_drain, received)

    async def _stop_after_drain(self, received: signal.Signals) -> None:
        await trio.sleep(self._drain)
        if self._drains:
            self._drains = False
            self._stop_in_order(received)

    async def _drop_grace(self, received: signal.Signals) -> None:
        await trio.sleep_until(self._asked_at + DOUBLE)
        if self._supervisor._shell.is_over:
            return
        self._ending.drain_was_cut, self._drains = self._drains, False
        self._ending.lost_grace = attempts_with_grace(self._supervisor._shell)
        self._say(logging.WARNING, "%s: stopping without grace", received.name)
        self._supervisor.request_shutdown(received.name, grace=False)

    def _stop_in_order(self, received: signal.Signals) -> None:
        self._say(
            logging.INFO, "%s: stopping in order; a second signal drops the grace", received.name
        )
        self._supervisor.request_shutdown(received.name)

    def _what_is_left(self) -> str:
        return _what_is_left(self._supervisor)


def _say_last_words(
    name: str, supervisor: Supervisor | None, received: signal.Signals, frame: FrameType | None
) -> None:
    """Log what is left and where it hangs: in the signal's handler, before the process ends."""
    here = "".join(traceback.format_stack(frame, limit=MOST_FRAMES)).rstrip()
    left = f"the event loop is at\n{here}"
    if supervisor is not None:  # else a child blocks the loop in its first step
        left = f"{_what_is_left(supervisor)}\n{left}"
    text = "%s %s: exiting at once (exit code %d), with this left:\n%s"
    say(_log, logging.CRITICAL, text, name, received.name, 128 + received, left)


def _what_is_left(supervisor: Supervisor) -> str:
    """The tree as it is, and where each task that is alive hangs."""
    places = [f"  at {line}" for line in stacks_below(supervisor._shell)]
    return "\n".join([supervisor.state().render(), *places])
