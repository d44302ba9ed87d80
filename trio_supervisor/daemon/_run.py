"""`run`: a tree from the first start to the exit code."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from typing import TYPE_CHECKING, final

import trio

import trio_supervisor
from trio_supervisor._errors import SpecError, SupervisorClosed, TaskFailure
from trio_supervisor._events.exits import leaves
from trio_supervisor._lazy import public
from trio_supervisor._logging.safe import say
from trio_supervisor._runtime.open import open_supervisor
from trio_supervisor._runtime.views import stacks_below
from trio_supervisor._specs.supervisor import SupervisorSpec
from trio_supervisor._text import one_line, some, text_of
from trio_supervisor.daemon._control import control_socket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_supervisor._events.shutdown import ShutdownReport
    from trio_supervisor._runtime.journal_file import JournalFile
    from trio_supervisor._runtime.supervisor import Supervisor

_log = logging.getLogger("trio_supervisor.daemon")
_MOST_NAMES = 8


@public
@final
class ExitCode(IntEnum):
    """How `run` ends the process, as the operator sees it; the table is in `run`."""

    ORDERLY = 0
    FAILED = 1
    BAD_SPEC = 2
    START_FAILED = 3
    UNRESPONSIVE = 4
    SIGNAL = 128
    """Not a code itself: 128 + the number of the signal."""


@public
def run(
    spec: SupervisorSpec | Callable[[], SupervisorSpec],
    *,
    log_level: int | str = logging.INFO,
    control: bool | str = True,
    journal: int | trio_supervisor.JournalFile | None = None,
) -> None:
    """Run a tree as this process until it has ended; then return, or exit with a code saying how.

    SIGINT (Ctrl-C), SIGTERM and SIGHUP stop the tree in order, each child with its grace. A second
    signal drops the grace: whatever is left is cancelled. From the third on the log says what is
    still there and where it hangs, for Trio cannot abandon a task; SIGKILL ends any process.
    Signals are heard during the first start too, and nobody hears them while a child blocks the
    event loop.

    | signal | what it means here |
    |---|---|
    | SIGINT | Ctrl-C |
    | SIGTERM | somebody ends the process: an init system, a container, ``kill`` |
    | SIGHUP | the terminal was closed; left alone where it is ignored, as under ``nohup``, or where
      the program has a handler of its own for it, and on platforms that do not have it |

    | exit code | how it ended |
    |---|---|
    | 0 | in order: stopped by one signal, or by ``auto_shutdown``; `run` returns |
    | 1 | the tree failed: a restart limit, an escalation, a crash of the supervisor; it is logged |
    | 2 | the declaration cannot work (`SpecError`), nothing was started; logged as one line |
    | 3 | the first start failed; logged, with a traceback unless the child raised `TaskFailure` |
    | 4 | stopped by one signal or ``auto_shutdown``, but a child did not end when cancelled |
    | 128 + n | stopped, but it took a second signal: 129 SIGHUP, 130 SIGINT, 143 SIGTERM |
    | any other | a child raised ``SystemExit(code)``; of several, the first counts |

    Where two apply, what comes first in this list counts: a child's ``SystemExit``, 2, 3, 1,
    128 + n, 4. A child's `KeyboardInterrupt` ends the tree and is raised as it is. What else went
    wrong beside one of these two is logged.

    If nobody has configured logging, everything from ``log_level`` up goes to standard error.

    Args:
        spec: The tree, or a function that declares it. Only with the function can an error in the
            declaration become exit code 2: otherwise it is raised before `run` is even called.
        log_level: As for `logging.basicConfig`; ignored if logging is configured already.
        control: Whether to serve the control socket, for the command ``trio-supervisor``; or the
            socket's path. Only this user and root can connect. If the default socket cannot be
            made, the log says so and the tree runs without; a path that is given must work.
            Default: true.
        journal: As for `open_supervisor`: how many events are kept in memory, or a `JournalFile`.

    Raises:
        SystemExit: For every exit code but 0.
        KeyboardInterrupt: A child raised it.
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
    _configure_logging(log_level)
    try:
        tree = _declared(spec)
    except SpecError as error:
        say(_log, logging.CRITICAL, "bad declaration: %s", error)
        raise SystemExit(ExitCode.BAD_SPEC) from None
    ending = _Ending(tree.name)
    try:
        trio.run(_main, tree, ending, control, journal)
    except Exception as error:
        ending.error = error
    except (BaseExceptionGroup, SystemExit) as error:
        raise ending.first_of(error) from None
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


def _configure_logging(level: int | str) -> None:
    ours = logging.getLogger("trio_supervisor")
    configured = [*logging.root.handlers, *ours.handlers]
    if all(isinstance(handler, logging.NullHandler) for handler in configured):
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)-8s %(message)s")


@final
class _Ending:
    """What is known, bit by bit, about how the tree ends."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.was_ready = False
        self.signals: list[signal.Signals] = []
        self.report: ShutdownReport | None = None
        self.error: Exception | None = None

    def conclude(self) -> int:
        """Log what the supervisor has not logged, and say what the exit code is."""
        if self.error is not None:
            return self._conclude_error(self.error)
        if len(self.signals) > 1:
            second = self.signals[1]
            code = ExitCode.SIGNAL + second
            self._say("stopped, but it took a second signal, %s (exit code %d)", second.name, code)
            return code
        if self.report is not None and self.report.unresponsive:
            paths = [child.path for child in self.report.unresponsive]
            code = ExitCode.UNRESPONSIVE
            who = some(paths, _MOST_NAMES, ", ")
            self._say("stopped, but some did not end when cancelled: %s (exit code %d)", who, code)
            return code
        return ExitCode.ORDERLY

    def _say(self, text: str, *args: object) -> None:
        say(_log, logging.WARNING, f"%s {text}", self.name, *args)

    def _conclude_error(self, error: Exception) -> ExitCode:
        code = ExitCode.FAILED if self.was_ready else ExitCode.START_FAILED
        what = "failed" if self.was_ready else "could not be started"
        # A child that fails on purpose has said all there is to say: no traceback.
        on_purpose = isinstance(error.__cause__, TaskFailure)
        say(
            _log,
            logging.CRITICAL,
            "%s %s: %s: %s (exit code %d)",
            self.name,
            what,
            type(error).__name__,
            one_line(str(error)),
            code,
            exc_info=None if on_purpose else (type(error), error, error.__traceback__),
        )
        return code

    def first_of(self, error: BaseException) -> BaseException:
        """Of what has ended the tree, the one thing that the process ends with.

        If there are several, all are logged: Python itself says nothing of a `SystemExit`.
        """
        found = list(leaves(error))
        for leaf in tuple(found):
            beside = not isinstance(leaf, Exception)  # what one child raised together with it
            if beside and isinstance(leaf.__cause__, BaseExceptionGroup):
                found.extend(leaves(leaf.__cause__))
        exits = [leaf for leaf in found if isinstance(leaf, SystemExit)]
        interrupts = [leaf for leaf in found if isinstance(leaf, KeyboardInterrupt)]
        errors = [leaf for leaf in found if isinstance(leaf, Exception)]
        if len(found) > 1:
            code = f" (exit code {_code_of(exits[0])})" if exits else ""
            what = some([_in_short(leaf) for leaf in found], _MOST_NAMES, "; ")
            rest: Exception | None = None
            if errors:
                rest = ExceptionGroup("beside it", errors) if len(errors) > 1 else errors[0]
            say(
                _log,
                logging.CRITICAL,
                "%s ended by several things: %s%s",
                self.name,
                what,
                code,
                exc_info=None if rest is None else (type(rest), rest, rest.__traceback__),
            )
        return next(iter((*exits, *interrupts)), error)


def _in_short(error: BaseException) -> str:
    text = one_line(text_of(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _code_of(error: SystemExit) -> object:
    """What Python makes of it when the process ends."""
    if error.code is None:
        return 0
    return error.code if isinstance(error.code, int) else 1


def _stop_signals() -> list[signal.Signals]:
    """What stops the tree. A SIGHUP that somebody has dealt with already is not for us."""
    found = [signal.SIGINT, signal.SIGTERM]
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:
        found.append(hangup)
    return found


async def _main(
    spec: SupervisorSpec,
    ending: _Ending,
    control: bool | str,
    journal: int | JournalFile | None,
) -> None:
    failed: BaseException | None = None
    with trio.open_signal_receiver(*_stop_signals()) as signals:
        # Outside of the supervisor's block, which a failing tree cancels: its stop can take long,
        # and the operator must be heard as long as it takes.
        async with trio.open_nursery() as nursery:
            try:
                async with (
                    control_socket(control, spec.name) as server,
                    open_supervisor(spec, wait_ready=False, journal=journal) as supervisor,
                ):
                    if server is not None:
                        server.attach(supervisor)
                    nursery.start_soon(_obey, signals, supervisor, ending)  # noqa: ASYNC111
                    await _attend(supervisor, ending)
            except BaseException as error:  # noqa: ASYNC103 - raised below, bare
                failed = error
            nursery.cancel_scope.cancel("the tree has ended")
    try:
        if failed is not None:
            raise failed
    finally:
        del failed  # it holds this frame


async def _attend(supervisor: Supervisor, ending: _Ending) -> None:  # noqa: ASYNC910 - it waits
    begun = trio.current_time()
    with suppress(SupervisorClosed):  # stopped before it was ready
        await supervisor.wait_ready()
        ending.was_ready = True
        say(
            _log,
            logging.INFO,
            "%s is up after %.2fs, pid %d; SIGINT (Ctrl-C) or SIGTERM stops it",
            ending.name,
            trio.current_time() - begun,
            os.getpid(),
        )
    with suppress(SupervisorClosed):  # broken: leaving the block raises why
        ending.report = await supervisor.wait_finished()


async def _obey(signals: AsyncIterator[int], supervisor: Supervisor, ending: _Ending) -> None:
    """Carry out what the operator wants."""
    async for number in signals:
        if supervisor._shell.is_over:
            return  # it came while the last child blocked the event loop: nothing is left to stop
        received = signal.Signals(number)
        ending.signals.append(received)
        who = ending.name, received.name
        match len(ending.signals):
            case 1:
                say(
                    _log,
                    logging.INFO,
                    "%s %s: stopping in order; a second signal drops the grace",
                    *who,
                )
                supervisor.request_shutdown(received.name)
            case 2:
                say(_log, logging.WARNING, "%s %s: stopping without grace", *who)
                supervisor.request_shutdown(received.name, grace=False)
            case _:
                say(
                    _log,
                    logging.WARNING,
                    "%s %s: still waiting for what cannot be abandoned; only SIGKILL (kill -9 %d)"
                    " ends it sooner\n%s",
                    *who,
                    os.getpid(),
                    _what_is_left(supervisor),
                )


def _what_is_left(supervisor: Supervisor) -> str:
    """The tree as it is, and where each task that is alive hangs."""
    places = [f"  at {line}" for line in stacks_below(supervisor._shell)]
    return "\n".join([supervisor.state().render(now=trio.current_time()), *places])
