"""Supervision trees for Trio: children that are run, watched, restarted by policy, or given up.

General layout:

_text, _record, _errors, _lazy    What every other module may use.

_events/     What happened, as data: exits, events, snapshot, fold, journal, reports. No Trio.
_specs/      What a user declares: policy, decisions, child and supervisor specs. No Trio.
_logging/    Events to log lines.
_brain/      The supervision machine: signals in, orders out. Never waits, never reads a clock.
_attempts/   One attempt of a child in its own nursery; knows no supervisor.
_runtime/    The Trio side of one supervisor: carries out the machine's orders.
children/    Public: adapters that make a child out of code that was not written as one.
daemon/      Public: a supervision tree as an operating-system process.
control/     Public: the socket over which a running tree is seen and steered, and its client.
http/        Public: probes and the dashboard.
observe/     Public: metrics and traces.
cli/         The command trio-supervisor.
testing/     Public: the lifecycle-testing kit.

Each line imports only from the lines above it. This module imports the others when one of their
public names is first used.
"""

from __future__ import annotations

from trio_supervisor._lazy import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_supervisor._attempts.attempt import Heartbeat as Heartbeat
    from trio_supervisor._attempts.context import ChildContext as ChildContext
    from trio_supervisor._attempts.runner import ChildRunHandle as ChildRunHandle
    from trio_supervisor._attempts.runner import ChildRunner as ChildRunner
    from trio_supervisor._errors import ChildAlreadyExists as ChildAlreadyExists
    from trio_supervisor._errors import ChildEscalated as ChildEscalated
    from trio_supervisor._errors import ChildNotFound as ChildNotFound
    from trio_supervisor._errors import ChildNotReady as ChildNotReady
    from trio_supervisor._errors import ChildStartError as ChildStartError
    from trio_supervisor._errors import CommandRefused as CommandRefused
    from trio_supervisor._errors import PastError as PastError
    from trio_supervisor._errors import QuarantineError as QuarantineError
    from trio_supervisor._errors import RestartLimitExceeded as RestartLimitExceeded
    from trio_supervisor._errors import SpecError as SpecError
    from trio_supervisor._errors import SupervisorClosed as SupervisorClosed
    from trio_supervisor._errors import SupervisorError as SupervisorError
    from trio_supervisor._errors import TaskFailure as TaskFailure
    from trio_supervisor._errors import TooManyChildren as TooManyChildren
    from trio_supervisor._events.events import ChildAdded as ChildAdded
    from trio_supervisor._events.events import ChildBackingOff as ChildBackingOff
    from trio_supervisor._events.events import ChildCancelled as ChildCancelled
    from trio_supervisor._events.events import ChildDone as ChildDone
    from trio_supervisor._events.events import ChildExited as ChildExited
    from trio_supervisor._events.events import ChildLostReadiness as ChildLostReadiness
    from trio_supervisor._events.events import ChildQuarantined as ChildQuarantined
    from trio_supervisor._events.events import ChildReady as ChildReady
    from trio_supervisor._events.events import ChildRemoved as ChildRemoved
    from trio_supervisor._events.events import ChildStarted as ChildStarted
    from trio_supervisor._events.events import ChildStopped as ChildStopped
    from trio_supervisor._events.events import ChildStopRequested as ChildStopRequested
    from trio_supervisor._events.events import ChildUnresponsive as ChildUnresponsive
    from trio_supervisor._events.events import ChildWaiting as ChildWaiting
    from trio_supervisor._events.events import CommandAccepted as CommandAccepted
    from trio_supervisor._events.events import CommandHadNoEffect as CommandHadNoEffect
    from trio_supervisor._events.events import Event as Event
    from trio_supervisor._events.events import EventGap as EventGap
    from trio_supervisor._events.events import ExitJudged as ExitJudged
    from trio_supervisor._events.events import SupervisorFinished as SupervisorFinished
    from trio_supervisor._events.events import SupervisorIdle as SupervisorIdle
    from trio_supervisor._events.events import SupervisorReady as SupervisorReady
    from trio_supervisor._events.events import SupervisorStarted as SupervisorStarted
    from trio_supervisor._events.events import SupervisorStopping as SupervisorStopping
    from trio_supervisor._events.exits import Aborted as Aborted
    from trio_supervisor._events.exits import ChildRunReport as ChildRunReport
    from trio_supervisor._events.exits import Crashed as Crashed
    from trio_supervisor._events.exits import Failed as Failed
    from trio_supervisor._events.exits import SelfCancelled as SelfCancelled
    from trio_supervisor._events.exits import Stopped as Stopped
    from trio_supervisor._events.exits import Succeeded as Succeeded
    from trio_supervisor._events.exits import TaskExit as TaskExit
    from trio_supervisor._events.exits import TimedOut as TimedOut
    from trio_supervisor._events.exits import Unhealthy as Unhealthy
    from trio_supervisor._events.exits import exit_from_dict as exit_from_dict
    from trio_supervisor._events.fold import fold as fold
    from trio_supervisor._events.journal import Journal as Journal
    from trio_supervisor._events.journal_reader import JournalContents as JournalContents
    from trio_supervisor._events.journal_reader import JournalStretch as JournalStretch
    from trio_supervisor._events.journal_reader import read_journal as read_journal
    from trio_supervisor._events.shutdown import ChildShutdown as ChildShutdown
    from trio_supervisor._events.shutdown import ShutdownReport as ShutdownReport
    from trio_supervisor._events.snapshot import ChildSnapshot as ChildSnapshot
    from trio_supervisor._events.snapshot import ChildState as ChildState
    from trio_supervisor._events.snapshot import SupervisorSnapshot as SupervisorSnapshot
    from trio_supervisor._events.snapshot import SupervisorState as SupervisorState
    from trio_supervisor._events.why import Statement as Statement
    from trio_supervisor._events.why import explain as explain
    from trio_supervisor._events.wire import event_from_dict as event_from_dict
    from trio_supervisor._runtime.handle import ChildHandle as ChildHandle
    from trio_supervisor._runtime.journal_file import JournalFile as JournalFile
    from trio_supervisor._runtime.open import open_supervisor as open_supervisor
    from trio_supervisor._runtime.open import run_supervisor as run_supervisor
    from trio_supervisor._runtime.subscription import Subscription as Subscription
    from trio_supervisor._runtime.supervisor import ChildCounts as ChildCounts
    from trio_supervisor._runtime.supervisor import Supervisor as Supervisor
    from trio_supervisor._specs.body import Body as Body
    from trio_supervisor._specs.child import ChildSpec as ChildSpec
    from trio_supervisor._specs.decisions import DoNotRestart as DoNotRestart
    from trio_supervisor._specs.decisions import Escalate as Escalate
    from trio_supervisor._specs.decisions import Quarantine as Quarantine
    from trio_supervisor._specs.decisions import Restart as Restart
    from trio_supervisor._specs.decisions import RestartAfter as RestartAfter
    from trio_supervisor._specs.decisions import RestartDecision as RestartDecision
    from trio_supervisor._specs.decisions import ShutdownTree as ShutdownTree
    from trio_supervisor._specs.lint import LintWarning as LintWarning
    from trio_supervisor._specs.lint import lint as lint
    from trio_supervisor._specs.policy import INHERIT as INHERIT
    from trio_supervisor._specs.policy import AutoShutdown as AutoShutdown
    from trio_supervisor._specs.policy import BackoffPolicy as BackoffPolicy
    from trio_supervisor._specs.policy import Inherit as Inherit
    from trio_supervisor._specs.policy import OnLimit as OnLimit
    from trio_supervisor._specs.policy import Ordering as Ordering
    from trio_supervisor._specs.policy import ReadinessPolicy as ReadinessPolicy
    from trio_supervisor._specs.policy import ReadinessState as ReadinessState
    from trio_supervisor._specs.policy import RestartLimit as RestartLimit
    from trio_supervisor._specs.policy import RestartPolicy as RestartPolicy
    from trio_supervisor._specs.policy import SupervisionStrategy as SupervisionStrategy
    from trio_supervisor._specs.supervisor import SupervisorSpec as SupervisorSpec
    from trio_supervisor._version import __version__ as __version__
    from trio_supervisor.children._accepting import accepting as accepting
    from trio_supervisor.children._asgi import asgi as asgi
    from trio_supervisor.children._failures import ProcessFailed as ProcessFailed
    from trio_supervisor.children._failures import RemoteError as RemoteError
    from trio_supervisor.children._holding import holding as holding
    from trio_supervisor.children._in_process import in_process as in_process
    from trio_supervisor.children._periodic import every as every
    from trio_supervisor.children._plain import plain as plain
    from trio_supervisor.children._process import process as process
    from trio_supervisor.children._serving import serving as serving
    from trio_supervisor.children._threads import ThreadChild as ThreadChild
    from trio_supervisor.children._threads import in_thread as in_thread
    from trio_supervisor.children._threads import thread_child as thread_child
else:
    from trio_supervisor._lazy import exports_on_demand

    __getattr__, __dir__ = exports_on_demand(
        __name__, ("children", "cli", "control", "daemon", "http", "observe", "testing")
    )
    del exports_on_demand
