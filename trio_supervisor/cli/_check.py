"""``check``: the declared tree with its policies, and the numbers that do not fit."""

from __future__ import annotations

from math import inf

from trio_supervisor._lazy import TYPE_CHECKING
from trio_supervisor._text import duration
from trio_supervisor.cli._output import Style, clean, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from trio_supervisor import ChildSpec, SupervisorSpec


def run(_verb: str, args: Any) -> int:
    """Print the tree and the warnings; exit code 3 if there are any."""
    from trio_supervisor import SpecError, lint
    from trio_supervisor._specs.numbers import start_seconds, stop_seconds
    from trio_supervisor.cli._main import Failure
    from trio_supervisor.cli._run import load

    try:
        spec = load(args.spec)
    except SpecError as error:
        raise Failure(1, str(error), kind="bad_spec") from None
    warnings = lint(spec, stop_timeout=args.stop_timeout)
    start, stop = start_seconds(spec), stop_seconds(spec)
    if args.json:
        print_json(
            {
                "spec": spec.name,
                "start_seconds": None if start == inf else start,
                "stop_seconds": None if stop == inf else stop,
                "warnings": [
                    {"code": each.code, "path": each.path, "message": each.message}
                    for each in warnings
                ],
            }
        )
        return 3 if warnings else 0
    style = Style()
    for line in lines_of(spec, ""):
        print(line)
    print(f"\nstarts within {_time(start)}, stops within {_time(stop)}")
    for each in warnings:
        print(f"\n{style.strong(clean(each.path))}: {clean(each.message)} [{each.code}]")
    return 3 if warnings else 0


def _time(seconds: float) -> str:
    return "no bound" if seconds == inf else duration(seconds)


def lines_of(spec: SupervisorSpec, indent: str) -> Iterator[str]:
    """Yield a line with the policy of each supervisor and child."""
    facts = [spec.strategy.value, spec.ordering.value]
    if spec.restart_limit is not None:
        facts.append(f"limit {_limit(spec.restart_limit)}")
    if spec.shutdown_deadline < inf:
        facts.append(f"stops within {duration(spec.shutdown_deadline)}")
    yield f"{indent}{clean(spec.name)}  {', '.join(facts)}"
    for child in spec.children:
        if child.supervisor is not None:
            first, *rest = lines_of(child.supervisor, f"{indent}  ")
            tail = ", ".join(_facts(child, spec))
            yield f"{first}; {tail}" if tail else first
            yield from rest
        else:
            yield f"{indent}  {clean(child.name)}  {', '.join(_facts(child, spec))}"


def _facts(child: ChildSpec[Any], spec: SupervisorSpec) -> Iterator[str]:
    from trio_supervisor._specs.numbers import limit_of, seconds_until_given_up

    yield child.restart.value
    if child.supervisor is None:
        yield f"ready {child.readiness.value}"
    limit = limit_of(child, spec)
    if child.restart.value == "temporary":
        pass
    elif limit is None:
        yield "no limit of its own"
    else:
        tolerated = seconds_until_given_up(child.backoff, limit)
        after = "" if tolerated == inf else f", given up after {duration(tolerated)} of failures"
        yield f"limit {_limit(limit)}{after}"
        if child.on_limit.value != "escalate":
            yield f"then {child.on_limit.value}"
    grace: float | None = child.grace
    if grace is not None and child.supervisor is None:
        yield f"grace {duration(grace)}" if grace < inf else "grace without end"
    if child.stale_after < inf:
        yield f"silent for at most {duration(child.stale_after)}"
    if child.requires:
        yield f"requires {' '.join(map(clean, child.requires))}"


def _limit(limit: Any) -> str:
    within = "" if limit.within == inf else f" in {duration(limit.within)}"
    return f"{limit.max_restarts}{within}"
