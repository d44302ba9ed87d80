"""The oracle's rules about an exit and what follows from it: blame, the table, limits, backoff."""

from __future__ import annotations

from math import inf, isclose
from typing import TYPE_CHECKING, Final

from trio_supervisor._events.events import ChildExited
from trio_supervisor._specs.policy import INHERIT
from trio_supervisor.testing._drive.decides import LATER, Decides
from trio_supervisor.testing._oracle.model import Kid, Node, used

if TYPE_CHECKING:
    from trio_supervisor._events import events as ev
    from trio_supervisor._specs.policy import RestartLimit
    from trio_supervisor._specs.supervisor import ChildSpec
    from trio_supervisor.testing._oracle.oracle import Oracle

FAILURES: Final = ("failed", "crashed", "timed_out", "unhealthy", "self_cancelled")


def child_exited(oracle: Oracle, node: Node, kid: Kid, event: ev.ChildExited) -> None:
    """Ends the attempt that was started, once; and says truly who ended it."""
    if not kid.live or event.attempt != kid.attempt:
        alive = f"attempt {kid.attempt}" if kid.live else "none"
        oracle.fail("events", f"attempt {event.attempt} ended, alive is {alive}", event, kid)
        return
    _check_blame(oracle, kid, event)
    if kid.known and kid.asked_grace == 0 and kid.cancelled_at is None:
        oracle.fail("stop_time", "asked without grace, and not cancelled", event, kid)
    if kid.known and not isclose(event.seconds, event.time - kid.started_at, abs_tol=oracle.slack):
        oracle.fail("events", f"it lasted {event.seconds:g} s, it says", event, kid)
    if kid.node is not None:
        left = [other.name for other in kid.node.kids.values() if other.live]
        if left:
            oracle.fail("nothing_left", f"ended while {left[0]} was alive in it", event, kid)
        oracle.drop(kid.node)
        kid.node = None
    kid.forget_failures(event.time)
    kid.live = kid.ready = False
    node.gone(kid)
    if event.kind == "fatal":
        if node.accepts:
            node.must_stop = ("fatal", event)
    elif kid.wish == "up" and kid.doom in ("", "fault") and node.accepts:
        kid.verdict_due = event
    oracle.restless[kid] = node
    for other in node.kids.values():
        if not other.live or other.doom:
            oracle.restless[other] = node  # it may be their turn now


def _check_blame(oracle: Oracle, kid: Kid, event: ev.ChildExited) -> None:
    if kid.asked_at is None:
        if event.kind in ("stopped", "aborted"):
            oracle.fail("blame", f"{event.kind}, but nobody had asked it to stop", event, kid)
        if event.stop_reason is not None:
            oracle.fail("blame", "it has a stop reason, but nobody had asked it", event, kid)
    if event.kind in ("timed_out", "unhealthy") and kid.doom not in ("fault", "unknown"):
        by_now = kid.asked_reason.startswith(("timed out", "unhealthy"))
        if kid.asked_at is None or not by_now:
            oracle.fail("blame", f"{event.kind}, but that is not why it was ended", event, kid)
    ours = kid.asked_reason and event.detail == f"self cancelled: {kid.asked_reason}"
    if event.kind == "self_cancelled" and kid.cancelled_at is not None and ours:
        oracle.fail("blame", "self_cancelled, but the cancel was ours", event, kid)
    if kid.doom == "fault" and kid.asked_at is not None and event.kind in ("stopped", "aborted"):
        wrong = f"{event.kind}, but it was ended for time or health"
        oracle.fail("blame", wrong, event, kid)
    on_request = kid.doom in ("hand", "group", "closing") and kid.asked_at is not None
    if on_request and event.kind == "succeeded" and event.stop_reason is not None:
        oracle.fail("blame", "succeeded, but it had been asked to stop", event, kid)


# ---------------------------------------------------------------- the verdict


def exit_judged(oracle: Oracle, node: Node, kid: Kid, event: ev.ExitJudged) -> None:
    """Once for each exit that no wish explains; and what was declared."""
    exit_event, kid.verdict_due = kid.verdict_due, None
    if exit_event is None:
        if kid.doom != "unknown":
            oracle.fail("table", "judged, but a wish decides what follows", event, kid)
            return
        past = reversed(kid.history)
        exit_event = next((seen for seen in past if isinstance(seen, ChildExited)), None)
    if exit_event is None and not kid.known:
        return  # it was cut off, right before this
    if exit_event is None or exit_event.time != event.time:
        oracle.fail("table", "judged without an exit", event, kid)
        return
    if event.source != "limit":
        expected = _expected(kid, exit_event, event)
        if expected and event.action not in expected:
            wrong = f"{event.action} after {exit_event.kind}, expected {' or '.join(expected)}"
            oracle.fail("table", wrong, event, exit_event, kid)
    _check_asked(oracle, kid, exit_event, event)
    _check_limits(oracle, node, kid, event)
    if event.action == "restart":
        _admit(oracle, node, kid, event)
    else:
        _come_to_rest(node, kid, event, exit_event)


def _expected(kid: Kid, exit_event: ev.ChildExited, event: ev.ExitJudged) -> tuple[str, ...]:
    spec = kid.spec
    if spec is None:
        return ()
    succeeded = exit_event.kind == "succeeded" and not event.error
    first = not kid.generation and not kid.ever_ready and not spec.retry_first_start
    if first and exit_event.kind != "succeeded":
        if not kid.dynamic:
            return ("start_failed",)
        if event.source == "first_start":
            return ("start_failed",)
    if event.source == "decide":
        if spec.decide is None:
            return ("(there is no decide)",)
        return ("restart", "done", "remove", "quarantine", "escalate", "shutdown")
    return (_by_table(spec, succeeded=succeeded),)


def _answer(kid: Kid, attempt: int) -> str:
    """What its ``decide`` says of this attempt, if that is known."""
    decide = None if kid.spec is None else kid.spec.decide
    return decide.answer(attempt) if isinstance(decide, Decides) else ""


def _check_asked(
    oracle: Oracle, kid: Kid, exit_event: ev.ChildExited, event: ev.ExitJudged
) -> None:
    """Whether ``decide`` was heard; with one of the kit's it is known what it said."""
    answer = _answer(kid, exit_event.attempt)
    if not answer or event.source == "first_start":
        return
    spoiled = answer in ("raise", "nonsense")
    if bool(event.error) is not spoiled:
        what = f"its error is {event.error!r}" if event.error else "its error is not told"
        oracle.fail("table", f"decide said {answer!r}, and {what}", event, kid)
    restarts = answer in ("restart", "later")
    if event.source == "limit":
        if not (spoiled or answer == "table" or restarts):
            oracle.fail("limits", f"asked, although decide said {answer!r}", event, kid)
        return
    source = "table" if spoiled or answer == "table" else "decide"
    temporary = kid.spec is not None and kid.spec.restart == "temporary"
    action = {"later": "restart", "done": "remove" if temporary else "done"}.get(answer, answer)
    if event.source != source or (source == "decide" and event.action != action):
        wrong = f"decide said {answer!r}, and {event.source} {event.action}s"
        oracle.fail("table", wrong, event, exit_event, kid)


def _by_table(spec: ChildSpec[object], *, succeeded: bool) -> str:
    if spec.restart == "temporary":
        return "remove"
    if spec.restart == "transient" and succeeded:
        return "done"
    return "restart"


def _come_to_rest(node: Node, kid: Kid, event: ev.ExitJudged, exit_event: ev.ChildExited) -> None:
    kid.settled = True
    action = event.action
    if action == "done":
        kid.wish = "done"
        kid.done_well = exit_event.kind == "succeeded"
    elif action == "remove":
        kid.wish = "removed"
    elif action == "quarantine":
        kid.wish = "quarantined"
    elif action == "escalate":
        node.must_stop = ("limit" if event.source == "limit" else "escalated", event)
    elif action == "shutdown":
        node.must_stop = ("shutdown", event)
    elif action == "start_failed" and not kid.dynamic:
        node.must_stop = ("start_failed", event)
    elif action == "start_failed":
        kid.wish = "stopped" if node.dependents(kid) else "removed"
    if action in ("done", "remove", "quarantine") and ends_supervisor(node, kid, action):
        node.must_stop = ("auto_shutdown", event)


def ends_supervisor(node: Node, kid: Kid, action: str) -> bool:
    """EEP-56, and ``all_done``: whether the supervisor has to end because ``kid`` came to rest."""
    mode = None if node.spec is None else node.spec.auto_shutdown
    counts = action != "quarantine" and kid.spec is not None and kid.spec.significant
    if mode == "any_significant":
        return counts
    if mode == "all_significant":
        others = [
            other
            for other in node.kids.values()
            if other is not kid and other.spec is not None and other.spec.significant
        ]
        return counts and not any(other.comes_back for other in others)
    if mode == "all_done":
        return not any(other.comes_back for other in node.kids.values())
    return False


# ---------------------------------------------------------------- limits


def limit_of(node: Node, kid: Kid) -> RestartLimit | None:
    """The window of this child alone."""
    if kid.spec is None or node.spec is None:
        return None
    limit = kid.spec.restart_limit
    return node.spec.child_restart_limit if limit is INHERIT else limit


def _check_limits(oracle: Oracle, node: Node, kid: Kid, event: ev.ExitJudged) -> None:
    if kid.spec is None or node.spec is None:
        return
    own, shared = limit_of(node, kid), node.spec.restart_limit
    full_own = own is not None and used(kid.charges, own, event.time) >= own.max_restarts
    full_shared = (
        shared is not None and used(node.charges, shared, event.time) >= shared.max_restarts
    )
    if event.action == "restart":
        if full_own or full_shared:
            which = f"{own} of the child" if full_own else f"{shared} of its supervisor"
            oracle.fail("limits", f"restarted beyond {which}", event, kid)
    elif event.source == "limit":
        if kid.known and node.known and not (full_own or full_shared):
            oracle.fail("limits", "given up, although there was room", event, kid)
        wanted = str(kid.spec.on_limit) if full_own or not node.known else "escalate"
        if full_own and event.action != wanted:
            oracle.fail("limits", f"{event.action} at the limit, declared: {wanted}", event, kid)


# ---------------------------------------------------------------- restarts


def _admit(oracle: Oracle, node: Node, kid: Kid, event: ev.ExitJudged) -> None:
    now = event.time
    kid.charges.append(now)
    node.charges.append(now)
    own = limit_of(node, kid)
    window, charges = (own, kid.charges) if own is not None else (None, node.charges)
    if window is None and node.spec is not None:
        window = node.spec.restart_limit
    if kid.known and node.known and window is not None:
        counted = used(charges, window, now)
        if event.used != counted:
            oracle.fail("limits", f"counts {event.used} restarts, there were {counted}", event, kid)
    radius = node.radius(kid)
    until = max([now + event.delay, *(member.held_until for member in radius)])
    _check_delay(oracle, kid, event, radius)
    kid.streak += 1
    _check_radius(oracle, node, kid, event, radius)
    members: set[str] = set()
    leaving: dict[str, Kid] = {}
    for member in radius:
        oracle.restless[member] = node
        if member is not kid and member.wish not in ("up", "done"):
            if member.live:
                member.doom = member.doom if member.doom == "hand" else "group"
                members.add(member.name)
                leaving[member.name] = member
            continue
        members.add(member.name)
        if member.live and member is not kid:
            leaving[member.name] = member
            member.doom = member.doom if member.doom == "hand" else "group"
            if member.spec is not None and member.spec.restart == "temporary":
                member.wish = "removed"
                member.settled = True
                continue
        member.wish = "up"
        member.held_until = until
        if member is not kid or len(radius) > 1 or node.is_grouped:
            # A restart by hand that failed is an ordinary failure: policy's order binds it again.
            member.settled = member.let_go = member.alone = False
    if leaving:
        node.rounds.append((members, leaving))


def _check_delay(oracle: Oracle, kid: Kid, event: ev.ExitJudged, radius: list[Kid]) -> None:
    answer = _answer(kid, event.attempt)
    if kid.spec is None or (event.source == "decide" and not answer):
        return
    policy, step = kid.spec.backoff, kid.streak
    if answer == "later":
        base = LATER
    elif policy.steps:
        base = policy.steps[min(step, len(policy.steps) - 1)]
    else:
        base = min(policy.maximum, policy.initial * policy.factor ** min(step, 500))
    jitter = 0.0 if answer == "later" else policy.jitter
    least, most = base * (1 - jitter), base * (1 + jitter)
    if not kid.known and answer != "later":
        least = min(policy.steps, default=policy.initial) * (1 - policy.jitter)
        most = policy.maximum * (1 + policy.jitter)
    held = max((member.held_until for member in radius), default=-inf) - event.time
    least, most = max(least, held), max(most, held)
    if not least - oracle.slack <= event.delay <= most + oracle.slack:
        wrong = f"waits {event.delay:g} s, declared: {least:g} to {most:g} s (failure {step + 1})"
        oracle.fail("backoff", wrong, event, kid)


def _check_radius(
    oracle: Oracle, node: Node, kid: Kid, event: ev.ExitJudged, radius: list[Kid]
) -> None:
    if node.spec is None:
        return
    expected = {m.name for m in radius if m is not kid and m.wish in ("up", "done")}
    if set(event.also) != expected:
        surplus = sorted(set(event.also) - expected)
        missing = sorted(expected - set(event.also))
        parts = [f"{', '.join(surplus)} too"] if surplus else []
        parts += [f"not {', '.join(missing)}"] if missing else []
        wrong = f"{node.spec.strategy} of {kid.name} concerns {' and '.join(parts)}"
        oracle.fail("radius", wrong, event, kid)
