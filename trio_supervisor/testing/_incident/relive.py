"""The scenario of a replay: the recorded commands, at their times, to a tree of recorded bodies."""

from __future__ import annotations

from collections import defaultdict, deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import trio
from trio.testing import wait_all_tasks_blocked

from trio_supervisor._errors import SupervisorError
from trio_supervisor._events import events as ev
from trio_supervisor._runtime.open import open_supervisor
from trio_supervisor._specs.decisions import (
    DoNotRestart,
    Escalate,
    Quarantine,
    Restart,
    ShutdownTree,
)
from trio_supervisor.testing._drive.behaviour import in_turn
from trio_supervisor.testing._drive.rig import expected
from trio_supervisor.testing._script.bodies import map_children, walk, with_body
from trio_supervisor.testing._script.failures import SimulatedInterrupt
from trio_supervisor.testing._script.recorded import with_delays

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trio_supervisor._events.exits import ChildRunReport
    from trio_supervisor._runtime.supervisor import Supervisor
    from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec
    from trio_supervisor.testing._incident.record import Incident

_LATE: Final = 1_000.0
_FROM_INSIDE: Final = ("limit", "escalated", "start_failed", "auto_shutdown", "fatal", "broken")


def decisions_of(incident: Incident) -> tuple[dict[str, list[float]], dict[str, list[Any]]]:
    """Return the delays by policy of each path, and the answers of each ``decide``."""
    delays: defaultdict[str, list[float]] = defaultdict(list)
    answers: defaultdict[str, list[Any]] = defaultdict(list)
    root = len(incident.spec.name) + 1
    for event in incident.events:
        if not isinstance(event, ev.ExitJudged):
            continue
        path = event.path[root:]
        answer: Any = None
        if event.source == "decide":
            answer = {
                "restart": Restart(event.delay),
                "quarantine": Quarantine("as recorded"),
                "escalate": Escalate("as recorded"),
                "shutdown": ShutdownTree("as recorded"),
            }.get(event.action, DoNotRestart())
        elif event.action == "restart":
            delays[path].append(_wait_of(incident, event))
        answers[path].append(answer)
    return delays, answers


def _wait_of(incident: Incident, judged: ev.ExitJudged) -> float:
    """Return how long a restart waited: on the real clock, until the attempt really started."""
    if incident.is_simulated:
        return judged.delay
    following = incident.events[judged.sequence - incident.events[0].sequence + 1 :]
    for event in following:
        if event.path == judged.path and isinstance(event, ev.CommandAccepted):
            break
        if event.path == judged.path and isinstance(event, ev.ChildStarted):
            return event.time - judged.time
    return judged.delay


def as_recorded(incident: Incident) -> SupervisorSpec:
    """Return the tree with bodies, delays and decisions as recorded."""
    delays, answers = decisions_of(incident)

    def change(path: str, child: ChildSpec[Any]) -> ChildSpec[Any]:
        lives = incident.lives.get(path, ())
        body = in_turn(*(life.behaviour(child) for life in lives))
        changed = with_body(child, body)
        if child.decide is None:
            return changed
        return changed.replace(decide=_Answers(answers.get(path, [])))

    return with_delays(map_children(incident.spec, change), declared(incident.spec, delays))


def declared(spec: SupervisorSpec, delays: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Return the delays of the children that ``spec`` declares; others were added at run time."""
    return {path: delays[path] for path, _ in walk(spec) if delays.get(path)}


class _Answers:
    """A ``decide`` that answers as recorded."""

    def __init__(self, answers: list[Any]) -> None:
        self._left = deque(answers)

    def __call__(self, report: ChildRunReport) -> Any:
        return self._left.popleft() if self._left else None


async def relive(
    incident: Incident,
    spec: SupervisorSpec,
    body_of_added: Callable[[str], Callable[..., Awaitable[object]]],
) -> str:
    """Open ``spec``, and do to it what was recorded; return how the tree ended."""
    end = "ended"
    try:
        with trio.CancelScope(deadline=incident.seconds + 2 * _LATE) as outer:
            async with (
                open_supervisor(spec, wait_ready=False) as supervisor,
                trio.open_nursery() as nursery,
            ):
                stopping = await _play(incident, supervisor, nursery, body_of_added)
                if stopping is None:
                    if not supervisor._shell.is_over:
                        end = "running"
                elif stopping.cause == "cancelled":
                    outer.cancel("as recorded")
                    await trio.lowlevel.checkpoint()
                elif stopping.cause in _FROM_INSIDE:
                    with trio.move_on_after(_LATE):  # it ends by itself, or the replay differs
                        await supervisor.wait_finished()
                elif stopping.reason != "the block has ended":
                    await supervisor.shutdown(stopping.reason)
                nursery.cancel_scope.cancel("the recording has ended")
    except (SupervisorError, SimulatedInterrupt) as error:
        return type(error).__name__
    except BaseExceptionGroup as group:
        expected(group)
        return "several errors"
    return end


async def _play(
    incident: Incident,
    root: Supervisor,
    nursery: trio.Nursery,
    body_of_added: Callable[[str], Callable[..., Awaitable[object]]],
) -> ev.SupervisorStopping | None:
    prefix = len(incident.spec.name) + 1
    for event in incident.events:
        wanted = isinstance(event, ev.CommandAccepted | ev.ChildAdded)
        is_end = isinstance(event, ev.SupervisorStopping) and event.path == incident.spec.name
        if not (wanted or is_end):
            continue
        await trio.sleep_until(event.time - incident.begins_at)
        if root._shell.is_over:
            return None
        if isinstance(event, ev.SupervisorStopping):
            return event
        path = event.path[prefix:]
        if isinstance(event, ev.ChildAdded):
            spec = with_body(incident.spec_of_added(path), body_of_added(path))
            for _ in range(2):
                with suppress(SupervisorError, AttributeError):
                    _above(root, path).start_child_soon(spec, reason=event.reason)
                    break
                await settle()  # perhaps the nested supervisor is starting at this instant
        elif isinstance(event, ev.CommandAccepted) and path:
            nursery.start_soon(_command, root, path, event)
    await trio.sleep_until(incident.seconds)
    await settle()
    return None


def _above(root: Supervisor, path: str) -> Supervisor:
    above = path.rpartition("/")[0]
    if not above:
        return root
    nested: Supervisor = root.child(above).value
    return nested


async def settle() -> None:
    """Let the present instant come to its end."""
    await wait_all_tasks_blocked()


async def _command(root: Supervisor, path: str, event: ev.CommandAccepted) -> None:
    name = path.rpartition("/")[2]
    with suppress(SupervisorError, AttributeError):
        above = _above(root, path)
        options: dict[str, Any] = {"reason": event.reason}
        if event.grace is not None:
            options["grace"] = event.grace
        commands: dict[str, Any] = {
            "stop": above.stop_child,
            "restart": above.restart_child,
            "quarantine": above.quarantine_child,
            "remove": above.remove_child,
        }
        if event.command in commands:
            await commands[event.command](name, **options)
