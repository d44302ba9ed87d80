"""A machine to play with by hand; the oracle and the referee watch every step."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from brain.search import State
from brain.shapes import Shape, supervisor
from trio_supervisor._brain import messages as o
from trio_supervisor._events.exits import Aborted, Crashed, Stopped, Succeeded

if TYPE_CHECKING:
    from trio_supervisor._events import events as ev
    from trio_supervisor._events.exits import TaskExit
    from trio_supervisor._events.snapshot import ChildSnapshot
    from trio_supervisor._specs.decisions import RestartDecision
    from trio_supervisor._specs.supervisor import ChildSpec

OK = Succeeded(None)
BOOM = Crashed(ValueError("boom"))


def _told(order: o.Order) -> str:
    match order:
        case o.StopAtOnce(name=name, attempt=attempt):
            return f"ask {name}#{attempt}, cancel {name}#{attempt}"
        case o.StartAttempt(name=name, attempt=attempt):
            return f"start {name}#{attempt}"
        case o.RequestStop(name=name, attempt=attempt):
            return f"ask {name}#{attempt}"
        case o.CancelAttempt(name=name, attempt=attempt):
            return f"cancel {name}#{attempt}"
        case o.ReportUnresponsive(name=name, attempt=attempt):
            return f"unresponsive {name}#{attempt}"
        case o.JudgedLater(names=names):
            return ", ".join(f"judge {name} later" for name in names)
        case o.StopTree(reason=reason):
            return f"stop the tree: {reason}"
        case o.FailStart(name=name):
            return f"failed start of {name}"
        case o.Refuse(error=error):
            return f"refused: {type(error).__name__}"
        case o.Stopping(outcome=outcome):
            return f"stopping: {outcome.kind}"
        case o.Finish(outcome=outcome):
            return f"finish: {outcome.kind}"
    return ""


class Rig(State):
    """One supervisor at time 0, its first start begun.

    `done` tells what was ordered since it was last asked, as short words.
    """

    def __init__(
        self, *children: ChildSpec[Any], shape: Shape | None = None, **options: Any
    ) -> None:
        self.told: list[o.Order] = []
        super().__init__(shape or Shape("by hand", supervisor(*children, **options)))

    def _judge(self, before: Any, orders: list[o.Order], *, woken: bool) -> Any:
        self.told += orders
        return super()._judge(before, orders, woken=woken)

    def done(self) -> list[str]:
        """What was ordered since the last call, events left out."""
        told, self.told = self.told, []
        return [word for order in told if (words := _told(order)) for word in words.split(", ")]

    def events(self, kind: type[ev.Event]) -> list[tuple[Any, ...]]:
        """The fields of all events of ``kind`` since `done` was last called, names first."""
        return [
            (order[1].rpartition("/")[2], *order[3])
            for order in self.told
            if isinstance(order, tuple) and order[0] is kind
        ]

    @property
    def states(self) -> dict[str, str]:
        """Of each child."""
        return {child.name: child.state.value for child in self.picture.children}

    def child(self, name: str) -> ChildSnapshot:
        """How one child is shown."""
        return self.picture.child(name)

    def state(self, name: str) -> str:
        """Of one child."""
        return self.child(name).state.value

    # ------------------------------------------------------------ what happens

    def attempt(self, name: str) -> int:
        """The number of the newest attempt."""
        return self.machine.children[name].attempt

    def ready(self, *names: str) -> None:
        """They say that they are ready, one after the other."""
        for name in names:
            self.take(o.BecameReady(name, self.attempt(name)))

    def lose(self, name: str) -> None:
        """It says that it is not ready any more."""
        self.take(o.LostReadiness(name, self.attempt(name), "tired"))

    def heartbeat(self, name: str, busy: float = -inf) -> None:
        """A sign of life; ``busy`` seconds of silence are announced."""
        self.take(o.Heartbeat(name, self.attempt(name), self.now, self.now + busy))

    def exit(
        self, name: str, how: TaskExit | None = OK, decision: RestartDecision | None = None
    ) -> None:
        """Its attempt ends."""
        reason = None if self.oracle.kids[name].stage == 0 else "asked"
        detail = "fatal" if how is None else how.describe()
        self.take(o.Exited(name, self.attempt(name), how, reason, detail, decision))

    def crash(self, *names: str) -> None:
        """Their attempts end by an exception, one after the other."""
        for name in names:
            self.exit(name, BOOM)

    def gone(self, *names: str) -> None:
        """Their attempts end as they were asked to."""
        for name in names:
            self.exit(name, Stopped("asked") if self.oracle.kids[name].stage == 1 else Aborted("x"))

    def stop(self, name: str, reason: str = "by hand") -> None:
        self.take(o.StopChild(name, reason))

    def quarantine(self, name: str) -> None:
        self.take(o.QuarantineChild(name, "by hand"))

    def restart(self, name: str) -> None:
        self.take(o.RestartChild(name, "by hand"))

    def remove(self, name: str) -> None:
        self.take(o.RemoveChild(name, "by hand"))

    def add(self, spec: ChildSpec[Any], kind: o.FirstStart = o.FirstStart.ORDINARY) -> None:
        self.take(o.AddChild(spec, kind))

    def shutdown(self, *, grace: bool = True, deadline: float = inf) -> None:
        """Everything is to end; ``deadline`` in seconds from now."""
        self.take(o.Shutdown("the end", grace=grace, deadline=self.now + deadline))

    def sleep(self, seconds: float) -> None:
        """Time passes; the machine is woken exactly when it wants to be."""
        end = self.now + seconds
        while (due := self.machine.next_deadline) <= end:
            self.now = max(self.now, due)
            self.wake()
        self.now = end
