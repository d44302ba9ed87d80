"""The differences that another declaration would have made: restarts, outages, give-ups.

The recorded *times* are what counts, not the numbers of attempts. If the upstream was down from
10 s to 30 s, an attempt that starts at 20 s fails, whatever its number. What an attempt would have
met at a time at which none was alive is not known: so there are two answers, at best and at worst.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Final, final

import attrs
import trio

from trio_supervisor._errors import SpecError
from trio_supervisor._events import events as ev
from trio_supervisor._lazy import public
from trio_supervisor._specs.policy import BackoffPolicy, RestartLimit
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec
from trio_supervisor.testing._drive.behaviour import Behaviour
from trio_supervisor.testing._incident.record import Incident, Life, Recording, incident_of
from trio_supervisor.testing._incident.relive import relive
from trio_supervisor.testing._run.simulate import simulate
from trio_supervisor.testing._script.bodies import map_children, with_body, with_supervisor

if TYPE_CHECKING:
    from trio_supervisor._attempts.context import ChildContext

_NOW: Final = 1e-6


@public
@final
@attrs.frozen
class Figures:
    """The history of a tree's children, in numbers.

    Attributes:
        restarts: Restarts by policy, by path below the root.
        outage: Seconds from an end until the child was ready again, by path.
        given_up: Children that were quarantined by policy, and supervisors that gave up.
        end: How the tree ended: ``"running"``, ``"ended"``, or the name of an error.
    """

    restarts: Mapping[str, int]
    outage: Mapping[str, float]
    given_up: tuple[str, ...]
    end: str


@public
@final
@attrs.frozen
class WhatIf:
    """The result of `what_if`; it prints as a table.

    Attributes:
        recorded: What was recorded.
        declared: The recorded world under the declaration as it was, at best and at worst: how far
            this is from `recorded` tells how much the other columns are worth.
        changed: The recorded world under the changed declaration, at best and at worst.
    """

    recorded: Figures
    declared: tuple[Figures, Figures]
    changed: tuple[Figures, Figures]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return {
            "recorded": attrs.asdict(self.recorded),
            "declared": [attrs.asdict(one) for one in self.declared],
            "changed": [attrs.asdict(one) for one in self.changed],
        }

    def __str__(self) -> str:
        columns = (self.recorded, *self.declared, *self.changed)
        head = ("", "recorded", "declared: best", "worst", "changed: best", "worst")
        rows: list[tuple[str, ...]] = [head]
        paths = sorted({path for one in columns for path in (*one.restarts, *one.outage)})
        for path in paths:
            counts = (str(one.restarts.get(path, 0)) for one in columns)
            rows.append((f"{path}: restarts", *counts))
            rows.append(
                (f"{path}: out", *(f"{one.outage.get(path, 0.0):.1f} s" for one in columns))
            )
        rows.append(("given up", *(", ".join(one.given_up) or "-" for one in columns)))
        rows.append(("the tree", *(one.end for one in columns)))
        widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
        return "\n".join(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )


@public
def what_if(
    journal: Recording,
    spec: SupervisorSpec,
    changed_spec: SupervisorSpec | str | Iterable[str],
    *,
    added: Mapping[str, ChildSpec[Any]] | None = None,
) -> WhatIf:
    """Ask how a recorded incident would have gone under another declaration.

    The same world is met at the same times: an attempt that is alive at a time does what the
    recorded attempt did that was alive then. Between an end and the next recorded start it is
    not known what would have been: at best the child would have come up at once, at worst it
    would have gone on failing until the recorded start. Jitter is left out.

    Args:
        journal: As for `replay_journal`.
        spec: The tree that was recorded.
        changed_spec: The other tree; or changes to ``spec``, such as ``"feed.backoff.maximum=60"``
            or ``"restart_limit=5/60"``; see `change_spec`.
        added: As for `replay_journal`.

    Returns:
        Restarts, outages and give-ups, in a table.

    Raises:
        ValueError: As `replay_journal`.
        SpecError: A change is not possible.

    Example::

        print(what_if(newest, APP, ["feed.backoff.maximum=5", "restart_limit=20/60"]))
    """
    if isinstance(changed_spec, str):
        changed_spec = [changed_spec]
    if not isinstance(changed_spec, SupervisorSpec):
        changed_spec = change_spec(spec, *changed_spec)
    incident = incident_of(journal, spec, added)
    best, worst = (_play(incident, spec, hopeful=hopeful) for hopeful in (True, False))
    other_best, other_worst = (
        _play(incident, changed_spec, hopeful=hopeful) for hopeful in (True, False)
    )
    recorded = _figures(incident.events, incident, incident.begins_at, _recorded_end(incident))
    return WhatIf(recorded, (best, worst), (other_best, other_worst))


def _recorded_end(incident: Incident) -> str:
    causes = [
        event.cause
        for event in incident.events
        if isinstance(event, ev.SupervisorStopping) and event.path == incident.spec.name
    ]
    errors = {
        "limit": "RestartLimitExceeded",
        "escalated": "Escalated",
        "start_failed": "ChildStartError",
    }
    return errors.get(causes[0], "ended") if causes else "running"


def _play(incident: Incident, spec: SupervisorSpec, *, hopeful: bool) -> Figures:
    def changed(path: str, child: ChildSpec[Any]) -> ChildSpec[Any]:
        body = _AsTheWorldWas(incident.lives.get(path, ()), child, hopeful=hopeful)
        found = with_body(child, body)
        if found.restart != "temporary" and found.backoff.jitter:
            steady = BackoffPolicy(
                found.backoff.initial,
                found.backoff.factor,
                found.backoff.maximum,
                0.0,
                found.backoff.reset_after,
            )
            if not found.backoff.steps:
                found = found.replace(backoff=steady)
        return found

    def body_of_added(path: str) -> _AsTheWorldWas:
        lives = incident.lives.get(path, ())
        return _AsTheWorldWas(lives, incident.spec_of_added(path), hopeful=hopeful)

    trace = simulate(relive, incident, map_children(spec, changed), body_of_added)
    if trace.error is not None:
        raise trace.error
    return _figures(trace.events, incident, 0.0, str(trace.result))


class _AsTheWorldWas:
    """A body that does what the recorded attempt did that was alive at the same time."""

    def __init__(self, lives: Iterable[Life], spec: ChildSpec[Any], *, hopeful: bool) -> None:
        self._lives = tuple(lives)
        self._spec = spec
        self._hopeful = hopeful
        heard = [life.ended - life.asked for life in self._lives if life.ended < life.cancelled]
        waits = [seconds for seconds in heard if 0 <= seconds < inf]
        # How long a stop takes is a habit of the child: also of attempts that were never asked.
        self._stop_takes = (min(waits) if hopeful else max(waits)) if waits else inf

    async def __call__(self, child: ChildContext, *_: object) -> object:
        """Run one attempt."""
        body = Behaviour()
        if self._lives:
            body = self._at(trio.current_time()).behaviour(self._spec)
        if body.stop_takes == inf and body.at_cancel == "obey":
            body = attrs.evolve(body, stop_takes=self._stop_takes)
        return await body(child)

    def _at(self, now: float) -> Life:
        past = [life for life in self._lives if life.start <= now + _NOW]
        life = past[-1] if past else self._lives[0]
        later = self._lives[len(past)] if len(past) < len(self._lives) else None
        age = now - life.start
        if abs(age) <= _NOW or not life.ends_by_itself:
            return self._with_what_follows(life, age, later)
        if age < life.ended:
            return attrs.evolve(life, start=now, ended=life.ended - age)
        if later is None:  # it never came back in the recording
            return life if not self._hopeful else _calm(life)
        fails = not later.ready if self._hopeful else life.kind != "succeeded"
        if later.ready and not self._hopeful:
            return _failing(life, later.start - now)
        if fails:
            return attrs.evolve(later, start=now)
        return attrs.evolve(later, start=now, ended=later.start + later.ended - now)

    def _with_what_follows(self, life: Life, age: float, later: Life | None) -> Life:
        """Let an attempt that a command or a group restart ended go on as the next one."""
        if life.ends_by_itself or later is None or life.ended == inf:
            return life
        if not later.ends_by_itself:
            return _calm(life)
        end = later.start + later.ended - life.start - max(age, 0.0)
        return attrs.evolve(later, start=life.start, ready=life.ready or later.ready, ended=end)


def _calm(life: Life) -> Life:
    return Life(life.path, life.start, ready=[(life.ready[0][0] if life.ready else 0.0, True)])


def _failing(life: Life, left: float) -> Life:
    """Return an attempt that fails as ``life`` did, before ``left`` seconds have passed."""
    quick = life.ended if not life.ready else 0.1
    return attrs.evolve(life, ready=[], ended=min(max(quick, _NOW), max(left, _NOW)))


def _figures(events: Iterable[ev.Event], incident: Incident, begins_at: float, end: str) -> Figures:
    restarts: Counter[str] = Counter()
    outage: defaultdict[str, float] = defaultdict(float)
    down: dict[str, float] = {}
    given_up: list[str] = []
    last = begins_at
    root = incident.spec.name
    for event in events:
        path, last = event.path[len(root) + 1 :], event.time
        if isinstance(event, ev.ExitJudged) and event.action == "restart":
            restarts[path] += 1
        elif isinstance(event, ev.ExitJudged) and event.source == "limit":
            given_up.append(path)
        elif isinstance(event, ev.ChildExited):
            down.setdefault(path, event.time)
        elif isinstance(event, ev.ChildReady) and path in down:
            outage[path] += event.time - down.pop(path)
        elif isinstance(event, ev.SupervisorStopping) and event.path == root:
            if event.cause in ("limit", "escalated", "start_failed", "fatal", "broken"):
                for path in incident.lives:  # all is out for the rest of the recording
                    down.setdefault(path, event.time)
                last = max(last, begins_at + incident.seconds)
            break
    for path, since in down.items():
        outage[path] += last - since
    rounded = {path: round(seconds, 6) for path, seconds in outage.items() if seconds}
    return Figures(dict(restarts), rounded, tuple(given_up), end)


# ---------------------------------------------------------------- changes

_CHANGE: Final = re.compile(
    r"\s*(?:(?P<path>[^=]*?)\.)?(?P<field>\w+(?:\.\w+)?)\s*=\s*(?P<value>.*\S)\s*"
)
_BACKOFF: Final = ("initial", "factor", "maximum", "jitter", "reset_after")


@public
def change_spec(spec: SupervisorSpec, *changes: str) -> SupervisorSpec:
    """Return ``spec`` with changes that are written as text.

    Args:
        spec: A tree.
        *changes: ``"field=value"`` for the root, ``"path.field=value"`` for a child or a nested
            supervisor, such as ``"feed.backoff.maximum=60"``, ``"pool/w.grace=2"``,
            ``"restart_limit=5/60"`` (5 within 60 s) and ``"strategy=rest_for_one"``. Values are
            numbers, ``inf``, ``none``, ``true``, ``false``, limits, or words.

    Raises:
        SpecError: There is no such path or field, or the value is not possible.
    """
    for change in changes:
        found = _CHANGE.fullmatch(change)
        if found is None:
            raise SpecError("change", change, "'field=value' or 'path.field=value'")
        path, field, value = found["path"] or "", found["field"], _value(found["value"])
        if "." in field and field.partition(".")[0] != "backoff":
            first, _, field = field.partition(".")
            path = f"{path}.{first}" if path else first
        spec = _changed(spec, path, field, value)
    return spec


def _value(text: str) -> Any:
    words = {"none": None, "true": True, "false": False, "inf": inf}
    if text.lower() in words:
        return words[text.lower()]
    limit = re.fullmatch(r"(\d+)/([0-9.]+)", text)
    if limit is not None:
        return RestartLimit(int(limit[1]), within=float(limit[2]))
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        return text


def _changed(spec: SupervisorSpec, path: str, field: str, value: Any) -> SupervisorSpec:
    if not path:
        whole: SupervisorSpec = _replaced(spec, field, value)
        return whole
    name, _, below = path.partition("/")
    children = []
    known = False
    for child in spec.children:
        if child.name != name:
            children.append(child)
            continue
        known = True
        nested = child.supervisor
        if below and nested is None:
            raise SpecError("change", path, f"a child that is a supervisor ({name!r} is not one)")
        if below and nested is not None:
            children.append(with_supervisor(child, _changed(nested, below, field, value)))
        elif nested is not None and hasattr(nested, field) and field not in ("name", "children"):
            children.append(with_supervisor(child, _replaced(nested, field, value)))
        else:
            children.append(_replaced(child, field, value))
    if not known:
        there = ", ".join(child.name for child in spec.children) or "none"
        raise SpecError("change", path, f"the path of a child of {spec.name!r}: {there}")
    changed: SupervisorSpec = spec.replace(children=tuple(children))
    return changed


def _replaced(spec: Any, field: str, value: Any) -> Any:
    whole, _, part = field.partition(".")
    if not part:
        if not hasattr(spec, field):
            raise SpecError("change", field, f"an option of {spec.name!r}")
        return spec.replace(**{field: value})
    policy = getattr(spec, whole, None)
    if not isinstance(policy, BackoffPolicy) or part not in _BACKOFF:
        raise SpecError("change", field, f"backoff. and one of {', '.join(_BACKOFF)}")
    given = {name: getattr(policy, name) for name in _BACKOFF} | {part: value}
    return spec.replace(backoff=BackoffPolicy(**given))
