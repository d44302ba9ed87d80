"""The oracle's rules about exits: the cause of the end, the restart table, limits, backoff."""

from __future__ import annotations

from math import inf, isclose
from typing import TYPE_CHECKING, Final

from trio_supervisor._events.events import ChildExited
from trio_supervisor._specs.policy import INHERIT
from trio_supervisor.testing._oracle.model import ChildModel, SupervisorModel, used
from trio_supervisor.testing._script.decides import LATER, Decides
from trio_supervisor.testing._script.recorded import RecordedBackoff

if TYPE_CHECKING:
    from trio_supervisor._events import events as ev
    from trio_supervisor._specs.policy import RestartLimit
    from trio_supervisor._specs.supervisor import ChildSpec
    from trio_supervisor.testing._oracle.tree_model import TreeModel

FAILURES: Final = ("failed", "crashed", "timed_out", "unhealthy", "self_cancelled")


def child_exited(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.ChildExited
) -> None:
    """Check that the exit ends the live attempt, once, and names the true cause of its end."""
    if not child.live or event.attempt != child.attempt:
        alive = f"attempt {child.attempt}" if child.live else "none"
        tree.fail("events", f"attempt {event.attempt} ended, alive is {alive}", event, child)
        return
    _check_blame(tree, supervisor, child, event)
    if child.known and child.stop_grace == 0 and child.cancelled_at is None:
        tree.fail("stop_time", "asked without grace, and not cancelled", event, child)
    if child.known and not isclose(
        event.seconds, event.time - child.started_at, abs_tol=tree.slack
    ):
        tree.fail("events", f"it lasted {event.seconds:g} s, it says", event, child)
    if child.below is not None:
        left = [other.name for other in child.below.children.values() if other.live]
        if left:
            tree.fail("nothing_left", f"ended while {left[0]} was alive in it", event, child)
        tree.drop(child.below)
        child.below = None
    child.forget_failures(event.time)
    child.live = child.ready = False
    supervisor.attempt_ended(child)
    if event.kind == "fatal":
        if supervisor.accepts:
            supervisor.must_stop = ("fatal", event)
    elif child.desired == "up" and child.stop_cause in ("", "fault") and supervisor.accepts:
        child.decision_due = event
    tree.pending[child] = supervisor
    for other in supervisor.children.values():
        if not other.live or other.stop_cause:
            tree.pending[other] = supervisor  # it may be their turn now


def judge_unexplained(tree: TreeModel, supervisor: SupervisorModel) -> None:
    """Report attempts that were ended without a request, now that time has passed.

    If a task of the program cancels the nursery of all attempts, their exits come first, and then
    the event that says that the supervisor is broken.
    """
    for child, event in supervisor.unexplained:
        tree.fail("blame", f"{event.kind}, but no stop had been requested", event, child)
    supervisor.unexplained.clear()


def _check_blame(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.ChildExited
) -> None:
    if child.stop_requested_at is None:
        if event.kind in ("stopped", "aborted") and not supervisor.is_broken:
            supervisor.unexplained.append((child, event))  # see `judge_unexplained`
        if event.stop_reason is not None:
            tree.fail("blame", "it has a stop reason, but no stop had been requested", event, child)
    by_deadline = event.kind in ("timed_out", "unhealthy") and not child.stop_unseen
    if by_deadline and child.stop_cause not in ("fault", "unknown"):
        by_now = child.stop_request_reason.startswith(("timed out", "unhealthy"))
        if child.stop_requested_at is None or not by_now:
            tree.fail("blame", f"{event.kind}, but that is not why it was ended", event, child)
    ours = (
        child.stop_request_reason and event.detail == f"self cancelled: {child.stop_request_reason}"
    )
    if event.kind == "self_cancelled" and child.cancelled_at is not None and ours:
        tree.fail("blame", "self_cancelled, but the cancel was ours", event, child)
    if (
        child.stop_cause == "fault"
        and child.stop_requested_at is not None
        and event.kind in ("stopped", "aborted")
    ):
        wrong = f"{event.kind}, but it was ended for time or health"
        tree.fail("blame", wrong, event, child)
    on_request = (
        child.stop_cause in ("command", "group", "shutdown") and child.stop_requested_at is not None
    )
    if on_request and event.kind == "succeeded" and event.stop_reason is not None:
        tree.fail("blame", "succeeded, but it had been asked to stop", event, child)


# ---------------------------------------------------------------- the decision


def exit_judged(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.ExitJudged
) -> None:
    """Check that each exit of a child that should be up gets one decision, the declared one."""
    exit_event, child.decision_due = child.decision_due, None
    if exit_event is None:
        if child.stop_cause != "unknown" and not child.unsure:
            tree.fail("table", "judged, but the desired state decides what follows", event, child)
            return
        past = reversed(child.history)
        exit_event = next((seen for seen in past if isinstance(seen, ChildExited)), None)
    if exit_event is None and not child.known:
        _take_effect(tree, supervisor, child, event, None)
        return  # the exit came right before the first event that was seen
    if exit_event is None or exit_event.time != event.time:
        tree.fail("table", "judged without an exit", event, child)
        return
    if event.source != "limit":
        expected = _expected(child, exit_event, event)
        if expected and event.action not in expected:
            wrong = f"{event.action} after {exit_event.kind}, expected {' or '.join(expected)}"
            tree.fail("table", wrong, event, exit_event, child)
    _check_asked(tree, child, exit_event, event)
    _check_limits(tree, supervisor, child, event)
    _take_effect(tree, supervisor, child, event, exit_event)


def _take_effect(
    tree: TreeModel,
    supervisor: SupervisorModel,
    child: ChildModel,
    event: ev.ExitJudged,
    exit_event: ev.ChildExited | None,
) -> None:
    if event.action == "restart":
        _admit(tree, supervisor, child, event)
    else:
        _come_to_rest(tree, supervisor, child, event, exit_event)


def _expected(
    child: ChildModel, exit_event: ev.ChildExited, event: ev.ExitJudged
) -> tuple[str, ...]:
    spec = child.spec
    if spec is None:
        return ()
    succeeded = exit_event.kind == "succeeded" and not event.error
    first = not child.generation and not child.ever_ready and not spec.retry_first_start
    if first and not child.known:
        return ()  # it may have been ready before the first event that was seen
    if first and exit_event.kind != "succeeded":
        if not child.dynamic:
            return ("start_failed",)
        if event.source == "first_start":
            return ("start_failed",)
    if event.source == "decide":
        if spec.decide is None:
            return ("(there is no decide)",)
        return ("restart", "done", "remove", "quarantine", "escalate", "shutdown")
    return (_by_table(spec, succeeded=succeeded),)


def _answer(child: ChildModel, attempt: int) -> str:
    """Return the answer of the child's ``decide`` for this attempt; empty if it is not known."""
    decide = None if child.spec is None else child.spec.decide
    return decide.answer(attempt) if isinstance(decide, Decides) else ""


def _check_asked(
    tree: TreeModel, child: ChildModel, exit_event: ev.ChildExited, event: ev.ExitJudged
) -> None:
    """Check that the answer of a `Decides` was acted upon."""
    answer = _answer(child, exit_event.attempt)
    if not answer or event.source == "first_start":
        return
    spoiled = answer in ("raise", "nonsense")
    if bool(event.error) is not spoiled:
        what = f"its error is {event.error!r}" if event.error else "its error is not recorded"
        tree.fail("table", f"decide said {answer!r}, and {what}", event, child)
    restarts = answer in ("restart", "later")
    if event.source == "limit":
        if not (spoiled or answer == "table" or restarts):
            tree.fail("limits", f"asked, although decide said {answer!r}", event, child)
        return
    source = "table" if spoiled or answer == "table" else "decide"
    temporary = child.spec is not None and child.spec.restart == "temporary"
    action = {"later": "restart", "done": "remove" if temporary else "done"}.get(answer, answer)
    if event.source != source or (source == "decide" and event.action != action):
        wrong = f"decide said {answer!r}, and {event.source} {event.action}s"
        tree.fail("table", wrong, event, exit_event, child)


def _by_table(spec: ChildSpec[object], *, succeeded: bool) -> str:
    if spec.restart == "temporary":
        return "remove"
    if spec.restart == "transient" and succeeded:
        return "done"
    return "restart"


def _come_to_rest(
    tree: TreeModel,
    supervisor: SupervisorModel,
    child: ChildModel,
    event: ev.ExitJudged,
    exit_event: ev.ChildExited | None,
) -> None:
    child.settled = True
    child.unsure = False
    action = event.action
    if action == "done":
        child.desired = "done"
        child.done_well = exit_event is None or exit_event.kind == "succeeded"
    elif action == "remove":
        child.desired = "removed"
    elif action == "quarantine":
        child.desired = "quarantined"
    elif action == "escalate":
        supervisor.must_stop = ("limit" if event.source == "limit" else "escalated", event)
    elif action == "shutdown" and supervisor.over is None:
        supervisor.must_stop = ("shutdown", event)
    elif action == "shutdown":
        child.desired, child.ends_with_tree = "stopped", True
        if tree.root is not None and tree.root.accepts:
            tree.root.tree_must_stop = event
    elif action == "start_failed" and not child.dynamic:
        supervisor.must_stop = ("start_failed", event)
    elif action == "start_failed":
        child.desired = "stopped" if supervisor.dependents(child) else "removed"
    if action not in ("escalate", "restart"):
        for other in supervisor.end_delays(child, event.time):
            tree.pending[other] = supervisor
    if action in ("done", "remove", "quarantine") and ends_supervisor(supervisor, child, action):
        supervisor.must_stop = ("auto_shutdown", event)


def ends_supervisor(supervisor: SupervisorModel, child: ChildModel, action: str) -> bool:
    """Return whether the supervisor has to end because a significant child came to rest."""
    mode = None if supervisor.spec is None else supervisor.spec.auto_shutdown
    counts = action != "quarantine" and child.spec is not None and child.spec.significant
    if mode == "any_significant":
        return counts
    others = [other for other in supervisor.children.values() if other is not child]
    if mode == "all_significant":
        return counts and not any(
            other.comes_back for other in others if other.spec is None or other.spec.significant
        )
    return False  # for "all_done" see `SupervisorModel.all_done`


# ---------------------------------------------------------------- limits


def limit_of(supervisor: SupervisorModel, child: ChildModel) -> RestartLimit | None:
    """Return the restart limit of the child itself."""
    if child.spec is None or supervisor.spec is None:
        return None
    limit = child.spec.restart_limit
    return supervisor.spec.child_restart_limit if limit is INHERIT else limit


def _check_limits(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.ExitJudged
) -> None:
    if child.spec is None or supervisor.spec is None:
        return
    own, shared = limit_of(supervisor, child), supervisor.spec.restart_limit
    full_own = own is not None and used(child.charges, own, event.time) >= own.max_restarts
    full_shared = (
        shared is not None and used(supervisor.charges, shared, event.time) >= shared.max_restarts
    )
    if event.action == "restart":
        if full_own or full_shared:
            which = f"{own} of the child" if full_own else f"{shared} of its supervisor"
            tree.fail("limits", f"restarted beyond {which}", event, child)
    elif event.source == "limit":
        if child.known and supervisor.known and not (full_own or full_shared):
            tree.fail("limits", "given up, although there was room", event, child)
        wanted = str(child.spec.on_limit) if full_own or not supervisor.known else "escalate"
        if full_own and event.action != wanted:
            tree.fail("limits", f"{event.action} at the limit, declared: {wanted}", event, child)


# ---------------------------------------------------------------- restarts


def _admit(
    tree: TreeModel, supervisor: SupervisorModel, child: ChildModel, event: ev.ExitJudged
) -> None:
    now = event.time
    child.charges.append(now)
    supervisor.charges.append(now)
    own = limit_of(supervisor, child)
    window, charges = (own, child.charges) if own is not None else (None, supervisor.charges)
    if window is None and supervisor.spec is not None:
        window = supervisor.spec.restart_limit
    if child.known and child.has_policy and supervisor.known and window is not None:
        counted = used(charges, window, now)
        if event.used != counted:
            tree.fail("limits", f"counts {event.used} restarts, there were {counted}", event, child)
    group = supervisor.group_of(child, event.also)
    delays = _delays(child, event, group)
    until = max([now + event.delay, *(member.backing_off_until for member in group)])
    _check_delay(tree, child, event, group)
    child.consecutive_failures += 1
    _check_group(tree, supervisor, child, event, group)
    members: set[str] = set()
    still_stopping: dict[str, ChildModel] = {}
    for member in group:
        tree.pending[member] = supervisor
        told = member.unsure and member.name in event.also
        if member is not child and member.desired not in ("up", "done") and not told:
            if member.live:
                member.stop_cause = member.stop_cause if member.stop_cause == "command" else "group"
                members.add(member.name)
                still_stopping[member.name] = member
            continue
        members.add(member.name)
        if member.live and member is not child:
            still_stopping[member.name] = member
            member.stop_cause = member.stop_cause if member.stop_cause == "command" else "group"
            if member.spec is not None and member.spec.restart == "temporary":
                member.desired = "removed"
                member.settled = True
                for other in supervisor.end_delays(member, now):
                    tree.pending[other] = supervisor
                continue
        member.desired = "up"
        member.unsure = False
        member.backing_off_until = until
        member.delays = delays.copy()
        if member is not child or len(group) > 1 or supervisor.is_grouped:
            # A restart by command that failed is an ordinary failure: the ordering binds it again.
            member.settled = member.excused = member.skips_predecessors = False
    if still_stopping:
        supervisor.rounds.append((members, still_stopping))


def _own_delay(child: ChildModel, event: ev.ExitJudged) -> tuple[float, float] | None:
    """Return the least and the most that this failure may ask for; `None` if that is not known."""
    answer = _answer(child, event.attempt)
    if child.spec is None or (event.source == "decide" and not answer):
        return None
    if answer == "later":
        return LATER, LATER
    policy, step = child.spec.backoff, child.consecutive_failures
    if isinstance(policy, RecordedBackoff):
        return None
    if not child.known:
        least = min(policy.steps, default=policy.initial) * (1 - policy.jitter)
        return least, policy.maximum * (1 + policy.jitter)
    if policy.steps:
        base = policy.steps[min(step, len(policy.steps) - 1)]
    else:
        base = min(policy.maximum, policy.initial * policy.factor ** min(step, 500))
    return base * (1 - policy.jitter), base * (1 + policy.jitter)


def _delays(
    child: ChildModel, event: ev.ExitJudged, group: list[ChildModel]
) -> dict[ChildModel, float]:
    """Return until when which failure delays the group: this one, and the earlier ones.

    The event gives the longest of them. If the delay of this failure is shorter and not declared
    exactly, the longest stands for it, and the members are unsure of their delays.
    """
    bounds = _own_delay(child, event)
    own = event.delay
    held = max((member.backing_off_until for member in group), default=-inf) - event.time
    if held >= event.delay and bounds is not None and bounds[0] == bounds[1]:
        own = bounds[0]
    elif held >= event.delay:
        for member in group:
            member.unsure_delay = True
    if any(m.unsure_delay and m.backing_off_until > event.time for m in group):
        for member in group:  # what holds one of them holds the others for as long
            member.unsure_delay = True
    delays = {child: event.time + own}
    for member in group:
        for cause, end in member.delays.items():
            if end > delays.get(cause, event.time):
                delays[cause] = end
    return delays


def _check_delay(
    tree: TreeModel, child: ChildModel, event: ev.ExitJudged, group: list[ChildModel]
) -> None:
    bounds = _own_delay(child, event)
    if bounds is None:
        return
    least, most = bounds
    step = child.consecutive_failures
    held = max((member.backing_off_until for member in group), default=-inf) - event.time
    least, most = max(least, held), max(most, held)
    if not least - tree.slack <= event.delay <= most + tree.slack:
        wrong = f"waits {event.delay:g} s, declared: {least:g} to {most:g} s (failure {step + 1})"
        tree.fail("backoff", wrong, event, child)


def _check_group(
    tree: TreeModel,
    supervisor: SupervisorModel,
    child: ChildModel,
    event: ev.ExitJudged,
    group: list[ChildModel],
) -> None:
    if supervisor.spec is None:
        return
    expected = {m.name for m in group if m is not child and m.desired in ("up", "done")}
    if set(event.also) != expected:
        certain = {m.name for m in supervisor.children.values() if m.is_certain}
        surplus = sorted((set(event.also) - expected) & certain)
        missing = sorted((expected - set(event.also)) & certain)
        parts = [f"{', '.join(surplus)} too"] if surplus else []
        parts += [f"not {', '.join(missing)}"] if missing else []
        wrong = f"{supervisor.spec.strategy} of {child.name} concerns {' and '.join(parts)}"
        if parts:
            tree.fail("radius", wrong, event, child)
