"""Specs and backoff under whatever one may declare."""

from __future__ import annotations

import pickle
import sys
from math import inf, isfinite
from random import Random
from typing import Any

import hypothesis.strategies as st
from hypothesis import assume, example, given

from trio_supervisor._errors import SpecError
from trio_supervisor._specs.policy import (
    INHERIT,
    AutoShutdown,
    BackoffPolicy,
    OnLimit,
    Ordering,
    ReadinessPolicy,
    RestartLimit,
    RestartPolicy,
    SupervisionStrategy,
)
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec


async def body(child: Any) -> None:
    """A child."""


def decide(report: Any) -> None:
    """Leave it to the table."""


class Extreme(Random):
    """Draws the ends of the range as often as anything else."""

    def random(self) -> float:
        return (0.0, 1.0, super().random())[super().getrandbits(8) % 3]


number = st.one_of(
    st.integers(min_value=0, max_value=2**1100), st.floats(min_value=0, allow_nan=False)
)
junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text("ab_/é\n ", max_size=5),  # the whole of Unicode takes seconds to set up
    st.binary(max_size=3),
    st.lists(st.integers(), max_size=2),
    st.complex_numbers(),
    st.just(ChildSpec("other", body)),
    st.just(SupervisorSpec("other")),
    st.just(BackoffPolicy()),
    st.just(RestartLimit(1, 1)),
    st.just(INHERIT),
    st.sampled_from([body, decide, ChildSpec, ReadinessPolicy]),
)


def either(value: Any) -> st.SearchStrategy[Any]:
    """A member of an enum, or its string."""
    return st.sampled_from([*value, *(str(member) for member in value)])


child_options: dict[str, st.SearchStrategy[Any]] = {
    "restart": either(RestartPolicy),
    "readiness": either(ReadinessPolicy),
    "start_timeout": number,
    "retry_first_start": st.booleans(),
    "max_runtime": number,
    "stale_after": number,
    "grace": number,
    "backoff": st.builds(BackoffPolicy.delays, st.floats(0, 100)),
    "restart_limit": st.none()
    | st.builds(RestartLimit, st.integers(0, 10**300), st.floats(1, 100)),
    "on_limit": either(OnLimit),
    "requires": st.lists(st.sampled_from("abcdef"), unique=True),
    "significant": st.booleans(),
    "decide": st.just(decide),
}
supervisor_options: dict[str, st.SearchStrategy[Any]] = {
    "strategy": either(SupervisionStrategy),
    "ordering": either(Ordering),
    "restart_limit": child_options["restart_limit"],
    "child_restart_limit": child_options["restart_limit"],
    "auto_shutdown": either(AutoShutdown),
    "max_children": st.none() | st.integers(0, 4),
    "shutdown_deadline": number,
    "report_after": number,
}


def optional(strategies: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=strategies)


def made(make: Any, *args: Any, **options: Any) -> Any:
    """What ``make`` gives, or `None` if it complains as it should."""
    try:
        return make(*args, **options)
    except SpecError as found:
        error = found
    text = str(error)
    assert error.field
    assert error.field in text
    assert error.expected
    assert text.endswith(error.expected)
    assert "\n" not in text
    return None


def conflicts(options: dict[str, Any]) -> bool:
    """Whether options of a child, each of them right, cannot stand together. Written anew here."""
    immediate = options.get("readiness", "immediate") == "immediate"
    restart = options.get("restart", "permanent")
    arranges = {"backoff", "restart_limit", "on_limit"} & set(options)
    no_limit = "restart_limit" in options and options["restart_limit"] is None
    return any(
        [
            immediate and "start_timeout" in options,
            immediate and options.get("retry_first_start"),
            any(options.get(field) == 0 for field in ("max_runtime", "stale_after")),
            not immediate and options.get("start_timeout") == 0,
            "on_limit" in options and no_limit,
            restart == "temporary" and arranges and "decide" not in options,
            restart == "permanent" and options.get("significant"),
        ]
    )


@given(optional(child_options))
def test_a_child_is_refused_iff_its_options_contradict_each_other(options: dict[str, Any]) -> None:
    spec = made(ChildSpec, "x", body, **options)
    assert (spec is None) == bool(conflicts(options))
    if spec is None:
        return
    for field, value in options.items():
        stored = getattr(spec, field)
        if field in {"max_runtime", "stale_after", "grace", "start_timeout"}:
            assert type(stored) is float
            assert stored == (inf if value > sys.float_info.max else float(value))
        else:
            assert stored == (tuple(value) if field == "requires" else value)


@given(optional(child_options), optional(child_options))
def test_replacing_is_declaring_anew(before: dict[str, Any], changes: dict[str, Any]) -> None:
    spec = made(ChildSpec, "x", body, **before)
    assume(spec is not None)
    changed = made(spec.replace, **changes)
    anew = made(ChildSpec, "x", body, **(before | changes))
    assert changed == anew
    if changed is not None:
        assert changed._given == anew._given
        assert hash(changed) == hash(anew)
        assert pickle.loads(pickle.dumps(changed)) == anew


@given(optional(child_options), optional(child_options))
def test_replacing_a_nested_supervisor_is_declaring_it_anew(
    before: dict[str, Any], changes: dict[str, Any]
) -> None:
    nested = SupervisorSpec("x", [ChildSpec("a", body)])
    spec = made(nested.as_child, **before)
    assume(spec is not None)
    assert made(spec.replace, **changes) == made(nested.as_child, **(before | changes))


@given(st.dictionaries(st.sampled_from(sorted(child_options)), junk, max_size=3))
def test_no_junk_gets_anything_but_a_spec_error_from_a_child(options: dict[str, Any]) -> None:
    made(ChildSpec, "x", body, **options)


@given(
    st.dictionaries(st.sampled_from(["children", *sorted(supervisor_options)]), junk, max_size=3)
)
def test_no_junk_gets_anything_but_a_spec_error_from_a_supervisor(options: dict[str, Any]) -> None:
    made(SupervisorSpec, "x", **options)


@given(junk, junk, st.lists(junk, max_size=2))
def test_no_junk_as_name_or_function_does_either(name: Any, run: Any, args: list[Any]) -> None:
    made(ChildSpec, name, run, *args)


@st.composite
def families(draw: st.DrawFn) -> list[ChildSpec[Any]]:
    children: list[ChildSpec[Any]] = []
    for name in draw(st.lists(st.sampled_from("abcde"), max_size=5)):
        options: dict[str, Any] = {
            "requires": draw(
                st.lists(st.sampled_from("abcde".replace(name, "")), unique=True, max_size=2)
            ),
            "restart": draw(st.sampled_from(RestartPolicy)),
        }
        if draw(st.booleans()) and options["restart"] != "permanent":
            options["significant"] = True
        if draw(st.booleans()) and options["restart"] != "temporary":
            options["on_limit"] = "quarantine"
        children.append(ChildSpec(name, body, **options))
    return children


def fits(children: list[ChildSpec[Any]], options: dict[str, Any]) -> bool:
    """Whether a family can live under these options. Written anew here, and naively."""
    names = [child.name for child in children]
    sequence = options.get("ordering", "sequence") == "sequence"
    asks = options.get("auto_shutdown") in {"any_significant", "all_significant"}
    most = options.get("max_children")
    if len(set(names)) < len(names) or (most is not None and most < len(names)):
        return False
    known = {child.name: child for child in children}
    reach = {child.name: set(child.requires) for child in children}
    for child in children:
        for name in child.requires:
            if name not in known or known[name].restart == "temporary":
                return False
            if sequence and names.index(name) > names.index(child.name):
                return False
        if child.significant and not asks:
            return False
        # The default of each child gives way to a shared limit.
        default = None if options.get("restart_limit") is not None else "three"
        inherits_none = options.get("child_restart_limit", default) is None
        if inherits_none and child.restart_limit is INHERIT and child.on_limit == "quarantine":
            return False
    for _ in names:
        reach = {name: far.union(*(reach[other] for other in far)) for name, far in reach.items()}
    if any(name in far for name, far in reach.items()):
        return False
    return not (asks and most == len(names) and not any(child.significant for child in children))


@given(families(), optional(supervisor_options))
def test_a_supervisor_is_refused_iff_its_family_does_not_fit(
    children: list[ChildSpec[Any]], options: dict[str, Any]
) -> None:
    spec = made(SupervisorSpec, "x", children, **options)
    assert (spec is not None) == fits(children, options)
    if spec is not None:
        assert spec.children == tuple(children)
        assert spec.replace() == spec
        assert pickle.loads(pickle.dumps(spec)) == spec


backoffs = st.builds(
    lambda ends, factor, jitter: BackoffPolicy(min(ends), factor, max(ends), jitter),
    # Below a nanosecond, a power without a float may stand for a product that has one.
    st.lists(st.just(0.0) | st.floats(1e-9, 1e290), min_size=2, max_size=2),
    st.floats(1, 1e300),
    st.floats(0, 1),
)


@given(backoffs, st.integers(0, 2**1100), st.integers())
@example(BackoffPolicy(1, 2, inf, 1), 2**1100, 0)
@example(BackoffPolicy(1, 2, 1.7e308, 1), 2000, 0)
def test_a_wait_is_never_negative_nor_endless_nor_beyond_its_jitter(
    backoff: BackoffPolicy, step: int, seed: int
) -> None:
    wait = backoff.delay(step, Extreme(seed))
    assert isfinite(wait)
    assert 0 <= wait <= backoff.maximum * (1 + backoff.jitter)


@given(backoffs, st.integers(0, 3000))
def test_without_jitter_waits_never_shrink_and_follow_the_formula(
    backoff: BackoffPolicy, step: int
) -> None:
    flat = BackoffPolicy(backoff.initial, backoff.factor, backoff.maximum, 0)
    wait = flat.delay(step, Random(0))
    assert wait <= flat.delay(step + 1, Random(0))
    assert flat.initial <= wait or step == 0
    exact = flat.initial
    for _ in range(min(step, 50)):
        exact = min(flat.maximum, exact * flat.factor)
    if step <= 50:
        assert abs(wait - exact) <= 1e-9 * exact
    else:
        assert wait >= exact * (1 - 1e-9)


@given(st.lists(st.floats(0, 1e300), min_size=1), st.integers(0, 40))
def test_explicit_waits_are_taken_in_turn(waits: list[float], step: int) -> None:
    backoff = BackoffPolicy.delays(*waits)
    assert backoff.delay(step, Random(0)) == waits[min(step, len(waits) - 1)]
