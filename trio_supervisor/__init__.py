"""Supervision for Trio: children that are run, watched, and restarted by policy or given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_supervisor._attempt import Heartbeat as Heartbeat
    from trio_supervisor._body import Body as Body
    from trio_supervisor._context import ChildContext as ChildContext
    from trio_supervisor._enclosure import open_supervisor as open_supervisor
    from trio_supervisor._enclosure import run_supervisor as run_supervisor
    from trio_supervisor._errors import ChildAlreadyExists as ChildAlreadyExists
    from trio_supervisor._errors import ChildEscalated as ChildEscalated
    from trio_supervisor._errors import ChildNotFound as ChildNotFound
    from trio_supervisor._errors import ChildNotReady as ChildNotReady
    from trio_supervisor._errors import ChildStartError as ChildStartError
    from trio_supervisor._errors import CommandRefused as CommandRefused
    from trio_supervisor._errors import PastError as PastError
    from trio_supervisor._errors import RestartLimitExceeded as RestartLimitExceeded
    from trio_supervisor._errors import SpecError as SpecError
    from trio_supervisor._errors import SupervisorClosed as SupervisorClosed
    from trio_supervisor._errors import SupervisorError as SupervisorError
    from trio_supervisor._errors import TaskFailure as TaskFailure
    from trio_supervisor._errors import TooManyChildren as TooManyChildren
    from trio_supervisor._events import ChildAdded as ChildAdded
    from trio_supervisor._events import ChildBackingOff as ChildBackingOff
    from trio_supervisor._events import ChildCancelled as ChildCancelled
    from trio_supervisor._events import ChildDone as ChildDone
    from trio_supervisor._events import ChildExited as ChildExited
    from trio_supervisor._events import ChildLostReadiness as ChildLostReadiness
    from trio_supervisor._events import ChildQuarantined as ChildQuarantined
    from trio_supervisor._events import ChildReady as ChildReady
    from trio_supervisor._events import ChildRemoved as ChildRemoved
    from trio_supervisor._events import ChildStarted as ChildStarted
    from trio_supervisor._events import ChildStopped as ChildStopped
    from trio_supervisor._events import ChildStopRequested as ChildStopRequested
    from trio_supervisor._events import ChildUnresponsive as ChildUnresponsive
    from trio_supervisor._events import ChildWaiting as ChildWaiting
    from trio_supervisor._events import CommandAccepted as CommandAccepted
    from trio_supervisor._events import Event as Event
    from trio_supervisor._events import EventGap as EventGap
    from trio_supervisor._events import ExitJudged as ExitJudged
    from trio_supervisor._events import SupervisorFinished as SupervisorFinished
    from trio_supervisor._events import SupervisorIdle as SupervisorIdle
    from trio_supervisor._events import SupervisorReady as SupervisorReady
    from trio_supervisor._events import SupervisorStarted as SupervisorStarted
    from trio_supervisor._events import SupervisorStopping as SupervisorStopping
    from trio_supervisor._exits import Aborted as Aborted
    from trio_supervisor._exits import ChildRunReport as ChildRunReport
    from trio_supervisor._exits import Crashed as Crashed
    from trio_supervisor._exits import Failed as Failed
    from trio_supervisor._exits import SelfCancelled as SelfCancelled
    from trio_supervisor._exits import Stopped as Stopped
    from trio_supervisor._exits import Succeeded as Succeeded
    from trio_supervisor._exits import TaskExit as TaskExit
    from trio_supervisor._exits import TimedOut as TimedOut
    from trio_supervisor._exits import Unhealthy as Unhealthy
    from trio_supervisor._fold import fold as fold
    from trio_supervisor._handle import ChildHandle as ChildHandle
    from trio_supervisor._journal import Journal as Journal
    from trio_supervisor._policy import INHERIT as INHERIT
    from trio_supervisor._policy import AutoShutdown as AutoShutdown
    from trio_supervisor._policy import BackoffPolicy as BackoffPolicy
    from trio_supervisor._policy import Done as Done
    from trio_supervisor._policy import DoNotRestart as DoNotRestart
    from trio_supervisor._policy import Escalate as Escalate
    from trio_supervisor._policy import OnLimit as OnLimit
    from trio_supervisor._policy import Ordering as Ordering
    from trio_supervisor._policy import Quarantine as Quarantine
    from trio_supervisor._policy import ReadinessPolicy as ReadinessPolicy
    from trio_supervisor._policy import ReadinessState as ReadinessState
    from trio_supervisor._policy import Restart as Restart
    from trio_supervisor._policy import RestartAfter as RestartAfter
    from trio_supervisor._policy import RestartDecision as RestartDecision
    from trio_supervisor._policy import RestartLimit as RestartLimit
    from trio_supervisor._policy import RestartPolicy as RestartPolicy
    from trio_supervisor._policy import Shutdown as Shutdown
    from trio_supervisor._policy import ShutdownTree as ShutdownTree
    from trio_supervisor._policy import SupervisionStrategy as SupervisionStrategy
    from trio_supervisor._runner import ChildRunHandle as ChildRunHandle
    from trio_supervisor._runner import ChildRunner as ChildRunner
    from trio_supervisor._shutdown import ChildShutdown as ChildShutdown
    from trio_supervisor._shutdown import ShutdownReport as ShutdownReport
    from trio_supervisor._snapshot import ChildSnapshot as ChildSnapshot
    from trio_supervisor._snapshot import ChildState as ChildState
    from trio_supervisor._snapshot import SupervisorSnapshot as SupervisorSnapshot
    from trio_supervisor._snapshot import SupervisorState as SupervisorState
    from trio_supervisor._spec import ChildSpec as ChildSpec
    from trio_supervisor._spec import SupervisorSpec as SupervisorSpec
    from trio_supervisor._subscription import Subscription as Subscription
    from trio_supervisor._supervisor import ChildCounts as ChildCounts
    from trio_supervisor._supervisor import Supervisor as Supervisor
    from trio_supervisor.children import ThreadChild as ThreadChild
    from trio_supervisor.children import holding as holding
    from trio_supervisor.children import in_thread as in_thread
    from trio_supervisor.children import plain as plain
    from trio_supervisor.children import serving as serving
    from trio_supervisor.children import thread_child as thread_child
else:  # each is imported when somebody asks for it
    from trio_supervisor._facade import OFFERED as __all__  # noqa: F401, N811
    from trio_supervisor._facade import __dir__, __getattr__  # noqa: F401
