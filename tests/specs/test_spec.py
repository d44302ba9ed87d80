"""What a user declares is checked when it is made, and every complaint can be understood."""

from __future__ import annotations

import copy
import functools
import gc
import pickle
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from decimal import Decimal
from math import inf, nan
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from trio_supervisor._errors import SpecError, SupervisorError
from trio_supervisor._specs.body import Body, label_of
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
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec, check_child_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


async def body(child: Any) -> None:
    """A child that takes nothing."""


async def consume(child: Any, topic: str, *, limit: int = 10) -> None:
    """A child that takes an argument."""


def adapted(
    readiness: ReadinessPolicy | None = None, *, hears: bool = True, beats: bool = False
) -> Body[Any]:
    return Body(body, "adapted", readiness, hears_stop=hears, can_heartbeat=beats)


IMMEDIATE, EXPLICIT = ReadinessPolicy.IMMEDIATE, ReadinessPolicy.EXPLICIT


def refused(field: str, expected: str, make: Any, *args: Any, **options: Any) -> SpecError:
    """``make(...)`` has to complain about ``field``, and say ``expected`` somewhere."""
    with pytest.raises(SpecError) as caught:
        make(*args, **options)
    error = caught.value
    assert error.field == field, str(error)
    assert expected in error.expected, str(error)
    assert f"{field}=" in str(error)
    assert "\n" not in str(error)
    return error


def public_fields(attribute: Any, _: object) -> bool:
    return not attribute.name.startswith("_")


class TestDefaults:
    def test_of_a_child_are_those_of_the_documentation(self) -> None:
        spec = ChildSpec("web", body)
        assert attrs.asdict(spec, recurse=False, filter=public_fields) == {
            "name": "web",
            "run": body,
            "args": (),
            "restart": RestartPolicy.PERMANENT,
            "readiness": IMMEDIATE,
            "start_timeout": inf,
            "retry_first_start": False,
            "max_runtime": inf,
            "stale_after": inf,
            "grace": None,
            "backoff": BackoffPolicy(),
            "restart_limit": INHERIT,
            "on_limit": OnLimit.ESCALATE,
            "requires": (),
            "significant": False,
            "decide": None,
            "log_level": None,
            "fatal_is_failure": (),
            "supervisor": None,
        }
        assert not spec.is_explicit
        assert ChildSpec("web", body, readiness="explicit").start_timeout == 30

    def test_of_a_supervisor_are_those_of_the_documentation(self) -> None:
        assert attrs.asdict(SupervisorSpec(), recurse=False, filter=public_fields) == {
            "name": "supervisor",
            "children": (),
            "strategy": SupervisionStrategy.ONE_FOR_ONE,
            "ordering": Ordering.SEQUENCE,
            "restart_limit": None,
            "child_restart_limit": RestartLimit(10, within=120),
            "auto_shutdown": AutoShutdown.NEVER,
            "max_children": None,
            "shutdown_deadline": inf,
            "report_after": 5,
            "log_level": None,
        }

    def test_readiness_comes_from_the_adapter(self) -> None:
        assert ChildSpec("a", adapted(EXPLICIT)).is_explicit
        assert ChildSpec("a", adapted(EXPLICIT)).start_timeout == 30
        assert ChildSpec("a", adapted(EXPLICIT), readiness="explicit").is_explicit
        assert not ChildSpec("a", adapted(IMMEDIATE)).is_explicit
        assert not ChildSpec("a", adapted(None)).is_explicit
        assert ChildSpec("a", adapted(None), readiness="explicit").is_explicit

    def test_seconds_become_floats_and_may_be_infinite(self) -> None:
        spec = ChildSpec(
            "a",
            body,
            readiness="explicit",
            start_timeout=inf,
            max_runtime=9,
            stale_after=3,
            grace=inf,
        )
        assert spec.start_timeout == inf
        assert type(spec.max_runtime) is float
        assert type(spec.stale_after) is float
        assert spec.grace == inf
        assert type(ChildSpec("a", body, grace=0).grace) is float
        assert ChildSpec("a", body, grace=2**60).grace == 2.0**60
        assert SupervisorSpec(report_after=inf, shutdown_deadline=0).report_after == inf


class TestNames:
    @pytest.mark.parametrize(
        "name", ["", "a/b", "/", 3, None, b"a", "a\nb", "\x00", ["a"], "\udc80"]
    )
    def test_odd_ones_are_refused(self, name: Any) -> None:
        refused(
            "name", "a non-empty str of printable characters without '/'", ChildSpec, name, body
        )
        refused("name", "a non-empty str of printable characters", SupervisorSpec, name)

    @pytest.mark.parametrize("name", ["web", "s-1", "Größe", "消費者", "a b", "..", "x" * 1000])
    def test_others_are_not(self, name: str) -> None:
        assert ChildSpec(name, body).name == name

    def test_of_siblings_differ(self) -> None:
        one, two, three = (ChildSpec(name, body) for name in ("web", "db", "web"))
        error = refused("children[2].name", "children[0]", SupervisorSpec, "app", [one, two, three])
        assert str(error).startswith(
            "SupervisorSpec 'app': children[2].name='web': expected a name"
        )
        refused("children[1].name", "of its own", SupervisorSpec, "app", [one, one])
        refused(
            "children[1].name", "of its own", SupervisorSpec, "app", [one, SupervisorSpec("web")]
        )


BAD_SECONDS = [
    -1,
    -0.1,
    nan,
    -inf,
    True,
    False,
    "5",
    None,
    timedelta(seconds=5),
    Decimal(5),
    5j,
    [5],
]


class TestSeconds:
    @pytest.mark.parametrize("value", BAD_SECONDS)
    @pytest.mark.parametrize("field", ["max_runtime", "stale_after", "grace"])
    def test_of_a_child_are_numbers(self, field: str, value: Any) -> None:
        if (field, value) == ("grace", None):  # the default
            assert ChildSpec("web", body, grace=value) == ChildSpec("web", body)
            return
        error = refused(field, "seconds", ChildSpec, "web", body, **{field: value})
        assert error.value is value
        assert str(error).startswith(f"ChildSpec 'web': {field}=")

    @pytest.mark.parametrize("value", [bad for bad in BAD_SECONDS if bad is not None])
    def test_start_timeout_is_a_number(self, value: Any) -> None:
        options: Any = {"readiness": "explicit", "start_timeout": value}
        refused("start_timeout", "seconds", ChildSpec, "web", body, **options)

    @pytest.mark.parametrize("value", BAD_SECONDS)
    @pytest.mark.parametrize("field", ["shutdown_deadline", "report_after"])
    def test_of_a_supervisor_are_numbers(self, field: str, value: Any) -> None:
        refused(field, "seconds", SupervisorSpec, "app", **{field: value})

    def test_no_time_at_all_is_refused_where_nothing_could_live(self) -> None:
        for field in ("max_runtime", "stale_after"):
            refused(field, "seconds > 0", ChildSpec, "web", body, **{field: 0})
        refused(
            "start_timeout", "> 0", ChildSpec, "web", body, readiness="explicit", start_timeout=0.0
        )

    def test_an_int_beyond_all_floats_counts_as_infinite(self) -> None:
        assert ChildSpec("web", body, grace=10**400).grace == inf
        refused("grace", "seconds >= 0", ChildSpec, "web", body, grace=-(10**400))

    def test_a_complaint_reads_well(self) -> None:
        with pytest.raises(SpecError) as caught:
            ChildSpec("web", body, grace=-1)
        assert str(caught.value) == "ChildSpec 'web': grace=-1: expected seconds >= 0"


class TestChoices:
    @pytest.mark.parametrize("field", ["restart", "readiness", "on_limit"])
    @pytest.mark.parametrize("value", ["sometimes", "", 1, True, ["permanent"], {}])
    def test_of_a_child_list_what_exists(self, field: str, value: Any) -> None:
        error = refused(field, "one of '", ChildSpec, "web", body, **{field: value})
        assert error.value is value

    @pytest.mark.parametrize("field", ["strategy", "ordering", "auto_shutdown"])
    @pytest.mark.parametrize("value", ["sometimes", "", 1, None, ["never"]])
    def test_of_a_supervisor_list_what_exists(self, field: str, value: Any) -> None:
        refused(field, "one of '", SupervisorSpec, "app", **{field: value})

    def test_a_near_miss_is_recognised(self) -> None:
        error = refused("strategy", "rest_for_one", SupervisorSpec, strategy="Rest-For-One")
        assert str(error) == (
            "SupervisorSpec 'supervisor': strategy='Rest-For-One': expected one of 'one_for_one', "
            "'one_for_all', 'rest_for_one' (did you mean 'rest_for_one'?)"
        )
        error = refused("restart", "permanent", ChildSpec, "a", body, restart="always")
        assert "did you mean" not in str(error)

    def test_members_serve_as_well_as_strings(self) -> None:
        assert ChildSpec("a", body, restart=RestartPolicy.TRANSIENT) == ChildSpec(
            "a", body, restart="transient"
        )
        spec = SupervisorSpec(strategy="one_for_all", ordering="graph", auto_shutdown="all_done")
        assert spec.strategy is SupervisionStrategy.ONE_FOR_ALL
        assert spec.ordering is Ordering.GRAPH
        assert spec.auto_shutdown is AutoShutdown.ALL_DONE

    @pytest.mark.parametrize("field", ["retry_first_start", "significant"])
    @pytest.mark.parametrize("value", ["no", 1, 0, None])
    def test_switches_are_bools(self, field: str, value: Any) -> None:
        options: Any = {"readiness": "explicit", "restart": "transient", field: value}
        refused(field, "True or False", ChildSpec, "web", body, **options)

    def test_an_unknown_option_is_pythons_own_error(self) -> None:
        with pytest.raises(TypeError, match="timeout"):
            ChildSpec("web", body, timeout=3)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="timeout"):
            SupervisorSpec("web", timeout=3)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="timeout"):
            SupervisorSpec("web").as_child(timeout=3)  # type: ignore[call-arg]


class Calls:
    async def __call__(self, child: Any) -> None: ...


class Streams:
    async def __call__(self, child: Any) -> AsyncIterator[int]:
        yield 1

    async def run(self, child: Any) -> None: ...

    async def short(self) -> None: ...

    async def listen(self, child: Any) -> AsyncIterator[int]:
        yield 1


async def agen(child: Any) -> AsyncIterator[int]:  # noqa: ASYNC124
    yield 1


def gen(child: Any) -> Iterator[int]:
    yield 1


@asynccontextmanager
async def open_store(path: str) -> AsyncIterator[int]:
    yield 1


@contextmanager
def sync_cm(path: str) -> Iterator[int]:
    yield 1


class Opened:
    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *exc_info: object) -> None: ...


def same(result: Any) -> Any:
    return result


def sync_returning_awaitable(child: Any) -> Any:
    return body(child)


class TestRun:
    @pytest.mark.parametrize(
        "run",
        [
            body,
            functools.partial(consume, topic="orders"),
            Calls(),
            Streams().run,
            sync_returning_awaitable,
            lambda child: same(body(child)),
            adapted(),
        ],
    )
    def test_may_be_anything_that_gives_an_awaitable(self, run: Any) -> None:
        assert ChildSpec("a", run).run is run

    @pytest.mark.parametrize(
        ("run", "expected"),
        [
            (None, "an async function"),
            ("body", "an async function"),
            (Streams, "not a class"),
            (dict, "not a class"),
            (agen, "async generator function"),
            (functools.partial(agen), "async generator function"),
            (Streams(), "async generator function"),
            (Streams().listen, "async generator function"),
            (gen, "generator function"),
            (open_store, "holding(open_store, ...)"),
            (sync_cm, "holding(sync_cm, ...)"),
            (open_store("p"), "holding(function, *args)"),
            (sync_cm("p"), "holding(function, *args)"),
            (Opened(), "holding(function, *args)"),
            (agen(None), "pass the function"),
            (SupervisorSpec("inner"), "stands among the children as it is"),
            (ChildSpec("inner", body), "an async function"),
        ],
    )
    def test_mistakes_are_recognised(self, run: Any, expected: str) -> None:
        error = refused("run", expected, ChildSpec, "web", run)
        assert error.value is run

    def test_a_coroutine_is_refused_and_closed(self) -> None:
        coroutine: Any = body(None)
        expected = "pass the function, do not call it"
        error: Any = refused("run", expected, ChildSpec, "web", coroutine)
        assert coroutine.cr_frame is None
        # Nothing is left that would warn of a coroutine that was never awaited.
        del coroutine, error
        gc.collect()

    def test_another_awaitable_is_refused(self) -> None:
        class Future:
            def __await__(self) -> Iterator[None]:
                return iter(())

        refused("run", "not what it returns", ChildSpec, "web", Future())

    def test_an_adapter_that_was_not_called_is_recognised(self) -> None:
        children = pytest.importorskip("trio_supervisor.children")
        expected = "what the adapter returns: write holding(function, *args)"
        refused("run", expected, ChildSpec, "store", children.holding, open_store, "p")

    @pytest.mark.parametrize(
        ("run", "args"),
        [
            (consume, ("orders",)),
            (Streams().run, ()),
            (lambda child, a=1, *rest: None, (1, 2, 3)),
            (lambda *args: None, ()),
            (lambda child, a=1, *, b=2: None, (1,)),
            (functools.partial(consume), ()),  # not looked into
        ],
    )
    def test_arguments_that_fit_pass(self, run: Any, args: tuple[Any, ...]) -> None:
        assert ChildSpec("a", run, *args).args == args

    @pytest.mark.parametrize(
        ("run", "args", "expected"),
        [
            (consume, (), "call as consume(child) with 1 in all, but it takes 2"),
            (consume, (1, 2), "call as consume(child, ...) with 3 in all, but it takes 2"),
            (lambda child, a, b=1: None, (), "with 1 in all, but it takes 2 to 3"),
            (
                Streams().short,
                (),
                "takes 0; for a function that takes no child context, write plain(",
            ),
            (lambda a, *rest: None, (), ""),
            (lambda child, *, key: None, (), "without required keyword-only"),
        ],
    )
    def test_arguments_that_do_not_fit_are_refused(
        self, run: Any, args: tuple[Any, ...], expected: str
    ) -> None:
        if expected:
            refused("run", expected, ChildSpec, "web", run, *args)
        else:
            ChildSpec("web", run, *args)

    def test_arguments_beside_an_adapter_are_refused(self) -> None:
        error = refused("args", "give them to adapted", ChildSpec, "web", adapted(), 8080)
        assert error.value == (8080,)


class TestCombinations:
    """Invariant 14: an option that could have no effect is refused."""

    def test_start_options_need_explicit_readiness(self) -> None:
        for options in ({"start_timeout": 5}, {"start_timeout": inf}, {"retry_first_start": True}):
            (field,) = options
            refused(field, "readiness='immediate'", ChildSpec, "web", body, **options)
            refused(field, "readiness='immediate'", ChildSpec, "web", adapted(IMMEDIATE), **options)
            ChildSpec("web", body, readiness="explicit", **options)
            ChildSpec("web", adapted(EXPLICIT), **options)
        assert ChildSpec("web", body, start_timeout=None, retry_first_start=False).args == ()

    def test_readiness_agrees_with_the_adapter(self) -> None:
        for declared, wanted in ((IMMEDIATE, "explicit"), (EXPLICIT, "immediate")):
            expected = f"'{declared}', as adapted declares it"
            refused("readiness", expected, ChildSpec, "a", adapted(declared), readiness=wanted)

    def test_grace_needs_ears(self) -> None:
        deaf = adapted(hears=False)
        refused("grace", "0: adapted cannot hear a stop request", ChildSpec, "a", deaf, grace=5)
        assert ChildSpec("a", deaf, grace=0).grace == 0
        assert ChildSpec("a", adapted(hears=True), grace=5).grace == 5

    def test_stale_after_needs_a_voice(self) -> None:
        refused("stale_after", "cannot send heartbeats", ChildSpec, "a", adapted(), stale_after=5)
        assert ChildSpec("a", adapted(), stale_after=inf).stale_after == inf
        assert ChildSpec("a", adapted(beats=True), stale_after=5).stale_after == 5

    def test_on_limit_needs_a_limit_of_the_child(self) -> None:
        options: Any = {"on_limit": "quarantine", "restart_limit": None}
        refused("on_limit", "restart_limit=None", ChildSpec, "a", body, **options)
        ChildSpec("a", body, on_limit="quarantine", restart_limit=RestartLimit(1, 1))
        ChildSpec("a", body, on_limit="quarantine")

    def test_on_limit_needs_a_limit_of_the_supervisor(self) -> None:
        named = ChildSpec("a", body, on_limit="escalate")
        error = refused(
            "on_limit",
            "a limit of this child",
            SupervisorSpec,
            "app",
            [named],
            child_restart_limit=None,
            restart_limit=RestartLimit(1, 1),
        )
        assert error.value == "escalate"
        assert str(error).startswith("ChildSpec 'a' in SupervisorSpec 'app': on_limit='escalate'")
        own = named.replace(restart_limit=RestartLimit(1, 1))
        SupervisorSpec("app", [own], child_restart_limit=None)
        SupervisorSpec("app", [ChildSpec("a", body)], child_restart_limit=None)

    def test_a_temporary_child_has_no_restarts_to_arrange(self) -> None:
        cases: list[dict[str, Any]] = [
            {"backoff": BackoffPolicy()},
            {"restart_limit": RestartLimit(1, 1)},
            {"restart_limit": None},
            {"on_limit": "escalate"},
        ]
        for options in cases:
            (field,) = options
            refused(field, "never", ChildSpec, "a", body, restart="temporary", **options)
            ChildSpec("a", body, restart="transient", **options)
            # Its `decide` may order a restart.
            ChildSpec("a", body, restart="temporary", decide=lambda _report: None, **options)

    def test_significant_needs_an_end(self) -> None:
        error = refused("significant", "EEP-56", ChildSpec, "a", body, significant=True)
        assert "restart='permanent'" in str(error)
        for restart in (RestartPolicy.TRANSIENT, RestartPolicy.TEMPORARY):
            assert ChildSpec("a", body, restart=restart, significant=True).significant

    def test_significant_needs_a_supervisor_that_asks(self) -> None:
        child = ChildSpec("a", body, restart="transient", significant=True)
        for mode in (AutoShutdown.NEVER, AutoShutdown.ALL_DONE):
            expected = f"False under auto_shutdown='{mode}'"
            refused("significant", expected, SupervisorSpec, "app", [child], auto_shutdown=mode)
        for mode in (AutoShutdown.ANY_SIGNIFICANT, AutoShutdown.ALL_SIGNIFICANT):
            SupervisorSpec("app", [child], auto_shutdown=mode)

    def test_a_supervisor_that_asks_needs_a_significant_child_or_room_for_one(self) -> None:
        plain = ChildSpec("a", body)
        for mode in (AutoShutdown.ANY_SIGNIFICANT, AutoShutdown.ALL_SIGNIFICANT):
            options: Any = {"auto_shutdown": mode}
            for children in ([plain], []):
                most = len(children)
                expected = f"max_children={most} leaves none"
                refused(
                    "auto_shutdown",
                    expected,
                    SupervisorSpec,
                    "app",
                    children,
                    max_children=most,
                    **options,
                )
                SupervisorSpec("app", children, max_children=most + 1, **options)
                SupervisorSpec("app", children, **options)
        SupervisorSpec("app", [plain], max_children=1, auto_shutdown="all_done")

    def test_max_children_has_room_for_the_static_ones(self) -> None:
        children = [ChildSpec(name, body) for name in "abc"]
        refused("max_children", "at least 3", SupervisorSpec, "app", children, max_children=2)
        assert SupervisorSpec("app", children, max_children=3).max_children == 3
        for bad in (-1, 2.0, True, "3", nan):
            refused("max_children", "a whole number", SupervisorSpec, "app", max_children=bad)

    @pytest.mark.parametrize("value", [1, (10, 120), "10/120", True])
    def test_limits_are_limits(self, value: Any) -> None:
        expected = "a RestartLimit, such as RestartLimit(10, within=120), or None"
        refused("restart_limit", expected, ChildSpec, "a", body, restart_limit=value)
        refused("restart_limit", expected, SupervisorSpec, restart_limit=value)
        refused("child_restart_limit", expected, SupervisorSpec, child_restart_limit=value)

    def test_default_limit_of_each_child_steps_aside_for_a_shared_limit(self) -> None:
        shared, own = RestartLimit(50, within=60), RestartLimit(3, within=5)
        assert SupervisorSpec().child_restart_limit == RestartLimit(10, within=120)
        assert SupervisorSpec(restart_limit=shared).child_restart_limit is None
        both = SupervisorSpec(restart_limit=shared, child_restart_limit=own)
        assert both.child_restart_limit == own
        # What was not given follows the shared limit; what was given stays.
        assert SupervisorSpec().replace(restart_limit=shared).child_restart_limit is None
        again = SupervisorSpec(restart_limit=shared).replace(restart_limit=None)
        assert again.child_restart_limit == RestartLimit(10, within=120)
        assert both.replace(restart_limit=None).child_restart_limit == own
        assert both.replace(child_restart_limit=INHERIT).child_restart_limit is None
        none = SupervisorSpec(child_restart_limit=None)
        assert none.replace(max_children=3).child_restart_limit is None

    @pytest.mark.parametrize("value", [1, 0.5, (0, 1), "slow", BackoffPolicy])
    def test_backoff_is_a_policy(self, value: Any) -> None:
        refused("backoff", "BackoffPolicy(initial=1)", ChildSpec, "a", body, backoff=value)

    def test_decide_answers_at_once(self) -> None:
        class Later:
            async def __call__(self, report: Any) -> None: ...

        for bad in ("restart", 3, RestartPolicy):
            refused("decide", "a function of the report", ChildSpec, "a", body, decide=bad)
        for later in (body, Later(), functools.partial(body)):
            refused("decide", "not an async one", ChildSpec, "a", body, decide=later)


class TestRequires:
    def test_takes_names_and_specs(self) -> None:
        store, pool = ChildSpec("store", body), SupervisorSpec("pool")
        spec = ChildSpec("web", body, requires=["cache", store, pool])
        assert spec.requires == ("cache", "store", "pool")
        assert ChildSpec("web", body, requires=iter(["a"])).requires == ("a",)
        assert ChildSpec("web", body, requires=[]).requires == ()
        assert ChildSpec("web", body, requires=[pool.as_child()]).requires == ("pool",)

    @pytest.mark.parametrize(
        ("requires", "expected"),
        [
            ("db", "a tuple of names or specs, such as ('db',)"),
            (b"db", "a tuple of names"),
            (ChildSpec("db", body), "a tuple of names or specs"),
            (SupervisorSpec("db"), "a tuple of names or specs"),
            (3, "names or specs of siblings"),
            (None, "names or specs of siblings"),
            ([3], "names or specs of siblings"),
            ([""], "names or specs of siblings"),
            ([["db"]], "names or specs of siblings"),
            (["web"], "other children, not itself"),
            (["db", "db"], "each name once"),
        ],
    )
    def test_mistakes_in_the_list(self, requires: Any, expected: str) -> None:
        refused("requires", expected, ChildSpec, "web", body, requires=requires)

    def test_unknown(self) -> None:
        children = [ChildSpec("db", body), ChildSpec("web", body, requires=["bd"])]
        for ordering in Ordering:
            error = refused(
                "requires", "a sibling ('db')", SupervisorSpec, "app", children, ordering=ordering
            )
            assert error.value == "bd"
            assert str(error).startswith("ChildSpec 'web' in SupervisorSpec 'app': requires='bd'")
        alone = [ChildSpec("web", body, requires=["db"])]
        assert refused("requires", "a sibling", SupervisorSpec, "app", alone).expected.endswith(
            "ing"
        )
        crowd = [ChildSpec(f"c{i}", body) for i in range(30)]
        error = refused("requires", "'c7', ...)", SupervisorSpec, "app", [*crowd, *alone])
        assert "c8" not in str(error)

    def test_a_later_one_in_a_sequence(self) -> None:
        children = [ChildSpec("web", body, requires=["db"]), ChildSpec("db", body)]
        error = refused("requires", "an earlier sibling", SupervisorSpec, "app", children)
        assert "'db' starts after 'web'" in str(error)
        assert "ordering='graph'" in str(error)
        SupervisorSpec("app", children, ordering="graph")
        SupervisorSpec("app", children[::-1])

    def test_a_temporary_one(self) -> None:
        children = [
            ChildSpec("job", body, restart="temporary"),
            ChildSpec("web", body, requires=["job"]),
        ]
        refused("requires", "restart='temporary'", SupervisorSpec, "app", children)

    @pytest.mark.parametrize("ordering", list(Ordering))
    def test_a_cycle_is_printed(self, ordering: Ordering) -> None:
        children = [
            ChildSpec("root", body),
            ChildSpec("start", body, requires=["root", "a"]),
            ChildSpec("a", body, requires=["root", "b"]),
            ChildSpec("b", body, requires=["c"]),
            ChildSpec("c", body, requires=["root", "a"]),
        ]
        error = refused("requires", "no cycle", SupervisorSpec, "app", children, ordering=ordering)
        assert str(error) == "SupervisorSpec 'app': requires='a → b → c → a': expected no cycle"

    def test_a_diamond_is_no_cycle(self) -> None:
        children = [
            ChildSpec("top", body, requires=["left", "right"]),
            ChildSpec("left", body, requires=["base"]),
            ChildSpec("right", body, requires=["base"]),
            ChildSpec("base", body),
        ]
        assert len(SupervisorSpec("app", children, ordering="graph").children) == 4

    def test_a_chain_of_ten_thousand_does_not_recurse(self) -> None:
        last = 10_000
        chain = [ChildSpec(f"c{i}", body, requires=[f"c{i + 1}"]) for i in range(last)]
        end = ChildSpec(f"c{last}", body)
        SupervisorSpec("app", [*chain, end], ordering="graph")
        tied = end.replace(requires=["c0"])
        refused("requires", "no cycle", SupervisorSpec, "app", [*chain, tied], ordering="graph")


class TestChildren:
    @pytest.mark.parametrize(
        "children", ["ab", b"ab", 3, None, {"a": 1}, ChildSpec("a", body), SupervisorSpec("a")]
    )
    def test_are_a_list(self, children: Any) -> None:
        refused(
            "children", "a list of ChildSpec and SupervisorSpec", SupervisorSpec, "app", children
        )

    @pytest.mark.parametrize("odd", [None, "a", body, ("a", body), ChildSpec])
    def test_are_specs(self, odd: Any) -> None:
        good = ChildSpec("a", body)
        refused(
            "children[1]", "a ChildSpec or a SupervisorSpec", SupervisorSpec, "app", [good, odd]
        )

    def test_may_come_from_a_generator(self) -> None:
        spec = SupervisorSpec("app", (ChildSpec(name, body) for name in "ab"))
        assert [child.name for child in spec.children] == ["a", "b"]


class TestAddedLater:
    app = SupervisorSpec("app", [ChildSpec("db", body)], auto_shutdown="any_significant")

    def siblings(self) -> dict[str, ChildSpec[Any]]:
        job = ChildSpec("job", body, restart="temporary")
        return {child.name: child for child in (*self.app.children, job)}

    def test_requires_is_checked(self) -> None:
        check_child_of(ChildSpec("s", body, requires=["db"]), self.app, self.siblings())
        unknown = ChildSpec("s", body, requires=["bd"])
        error = refused("requires", "a sibling", check_child_of, unknown, self.app, self.siblings())
        assert str(error).startswith("ChildSpec 's' in SupervisorSpec 'app': requires='bd'")
        job = ChildSpec("s", body, requires=["job"])
        refused("requires", "temporary", check_child_of, job, self.app, self.siblings())

    def test_significance_is_checked(self) -> None:
        child = ChildSpec("s", body, restart="temporary", significant=True)
        check_child_of(child, self.app, self.siblings())
        refused("significant", "'never'", check_child_of, child, SupervisorSpec("p"), {})

    def test_on_limit_is_checked(self) -> None:
        child = ChildSpec("s", body, on_limit="quarantine")
        check_child_of(child, self.app, {})
        pool = SupervisorSpec("pool", child_restart_limit=None)
        refused("on_limit", "a limit of this child", check_child_of, child, pool, {})
        check_child_of(ChildSpec("s", body), pool, {})


class TestNesting:
    def test_a_supervisor_stands_among_the_children_as_it_is(self) -> None:
        inner = SupervisorSpec("inner", [ChildSpec("a", body)])
        (child,) = SupervisorSpec("outer", [inner]).children
        assert child == inner.as_child()
        assert child.name == "inner"
        assert child.supervisor is inner
        assert child.is_explicit
        assert child.grace == inf
        assert child.start_timeout == inf
        assert child.restart is RestartPolicy.PERMANENT

    def test_as_child_takes_the_options_of_a_child(self) -> None:
        child = SupervisorSpec("inner").as_child(
            restart="transient",
            readiness="explicit",
            start_timeout=9,
            retry_first_start=True,
            max_runtime=3600,
            grace=5,
            backoff=BackoffPolicy(1),
            restart_limit=RestartLimit(1, 2),
            on_limit="quarantine",
            requires=["db"],
            significant=True,
            decide=lambda _report: None,
        )
        assert (child.start_timeout, child.grace, child.requires) == (9, 5, ("db",))
        assert child.supervisor == SupervisorSpec("inner")

    def test_as_child_refuses_what_could_not_matter(self) -> None:
        inner = SupervisorSpec("inner")
        refused("readiness", "'explicit', as supervisor", inner.as_child, readiness="immediate")
        refused("stale_after", "cannot send heartbeats", inner.as_child, stale_after=5)
        refused("grace", "seconds >= 0", inner.as_child, grace=-1)

    def test_replace_keeps_the_supervisor_and_renames_it(self) -> None:
        inner = SupervisorSpec("inner", [ChildSpec("a", body)])
        child = inner.as_child(start_timeout=9)
        assert child.replace() == child
        renamed = child.replace(name="other", grace=3)
        assert renamed.supervisor == inner.replace(name="other")
        assert (renamed.name, renamed.grace, renamed.start_timeout) == ("other", 3, 9)
        assert child.replace(start_timeout=None).start_timeout == inf
        refused("run", "a nested supervisor", child.replace, run=body)
        refused("args", "a nested supervisor", child.replace, args=(1,))
        refused("stale_after", "cannot send heartbeats", child.replace, stale_after=1)

    def test_only_a_supervisor_can_run_one(self) -> None:
        from types import SimpleNamespace

        run: Any = SupervisorSpec("inner").as_child().run
        with pytest.raises(SupervisorError, match="app/inner is a nested supervisor"):
            run(SimpleNamespace(path="app/inner"))

    def test_one_that_contains_itself_is_refused(self) -> None:
        inner = SupervisorSpec("inner")
        object.__setattr__(inner, "children", (inner.as_child(),))
        error = refused("children", "does not contain itself", SupervisorSpec, "outer", [inner])
        assert error.value == "inner → inner"
        refused("children", "does not contain itself", inner.replace, name="twin")

    def test_one_that_contains_itself_further_down_is_refused(self) -> None:
        low, side = SupervisorSpec("low"), SupervisorSpec("side", [ChildSpec("a", body)])
        middle = SupervisorSpec("middle", [ChildSpec("a", body), side, low])
        object.__setattr__(low, "children", (middle.as_child(),))
        error = refused("children", "does not contain", SupervisorSpec, "outer", [side, middle])
        assert error.value == "middle → low → middle"

    def test_equal_ones_on_one_branch_and_shared_ones_are_fine(self) -> None:
        shared = SupervisorSpec("x")
        spec = SupervisorSpec("x", [SupervisorSpec("x", [shared]), SupervisorSpec("y", [shared])])
        assert spec.children[0].supervisor == SupervisorSpec("x", [shared])

    def test_as_many_levels_as_everything_can_deal_with(self) -> None:
        spec = SupervisorSpec("leaf")
        for _ in range(63):
            spec = SupervisorSpec("node", [ChildSpec("a", body), SupervisorSpec("low"), spec])
        assert repr(spec) == "SupervisorSpec('node', <3 children>)"
        error = refused("children", "at most 64 levels", SupervisorSpec, "top", [spec])
        assert error.value == "65 levels"


class TestReplace:
    def test_what_was_not_given_stays_not_given(self) -> None:
        spec = ChildSpec("a", body)
        explicit = spec.replace(readiness="explicit")
        assert explicit.start_timeout == 30
        assert explicit.replace(readiness="immediate").start_timeout == inf
        # `on_limit` and `backoff` have defaults that are not in the way either.
        assert spec.replace(restart_limit=None).restart_limit is None
        assert spec.replace(restart="temporary").restart is RestartPolicy.TEMPORARY

    def test_what_was_given_stays_given(self) -> None:
        spec = ChildSpec("a", body, readiness="explicit", start_timeout=30)
        refused("start_timeout", "immediate", spec.replace, readiness="immediate")
        assert spec.replace(readiness=None, start_timeout=None) == ChildSpec("a", body)
        spec = ChildSpec("a", body, on_limit="escalate", backoff=BackoffPolicy())
        refused("on_limit", "nothing", spec.replace, restart_limit=None)
        refused("backoff", "nothing", spec.replace, restart="temporary")
        assert spec.replace(restart="temporary", backoff=None, on_limit=None).requires == ()

    def test_a_new_run_brings_its_own_readiness(self) -> None:
        spec = ChildSpec("a", adapted(EXPLICIT))
        assert spec.replace(run=body).readiness is IMMEDIATE
        assert ChildSpec("a", body).replace(run=adapted(EXPLICIT)).start_timeout == 30
        given = ChildSpec("a", body, readiness="explicit")
        refused("readiness", "'immediate'", given.replace, run=adapted(IMMEDIATE))

    def test_name_run_and_args_can_be_changed(self) -> None:
        spec = ChildSpec("a", consume, "orders", grace=3)
        assert spec.replace(name="b").name == "b"
        assert spec.replace(args=("bills",)).args == ("bills",)
        assert spec.replace(run=body, args=()) == ChildSpec("a", body, grace=3)
        refused("args", "beside an adapter", spec.replace, run=adapted())
        with pytest.raises(TypeError):
            spec.replace(timeout=3)  # type: ignore[call-arg]

    def test_it_validates_anew(self) -> None:
        refused("grace", "seconds", ChildSpec("a", body).replace, grace=-1)
        refused(
            "max_children",
            "at least",
            SupervisorSpec,
            "app",
            [ChildSpec("a", body)],
            max_children=0,
        )
        app = SupervisorSpec("app", [ChildSpec("a", body)])
        refused("max_children", "at least 1", app.replace, max_children=0)

    def test_of_a_supervisor_keeps_the_rest(self) -> None:
        app = SupervisorSpec("app", [ChildSpec("a", body)], strategy="one_for_all", max_children=7)
        assert app.replace() == app
        assert app.replace(children=()).max_children == 7
        assert app.replace(name="b") == SupervisorSpec(
            "b", app.children, strategy="one_for_all", max_children=7
        )

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="copy.replace is new in 3.13")
    def test_copy_replace_does_the_same(self) -> None:
        spec: Any = ChildSpec("a", body)
        assert copy.replace(spec, grace=3) == spec.replace(grace=3)  # type: ignore[attr-defined,unused-ignore]


FULL: dict[str, Any] = {
    "restart": "transient",
    "readiness": "explicit",
    "start_timeout": 9,
    "retry_first_start": True,
    "max_runtime": 99,
    "stale_after": 8,
    "grace": 7,
    "backoff": BackoffPolicy(initial=1),
    "restart_limit": RestartLimit(3, within=9),
    "on_limit": "quarantine",
    "requires": ("db",),
    "significant": True,
    "decide": print,
}


class TestValues:
    def test_equal_by_what_they_say(self) -> None:
        one = ChildSpec("web", consume, "orders", **FULL)
        two = ChildSpec("web", consume, "orders", **FULL)
        assert one == two
        assert hash(one) == hash(two) == hash("web")
        assert {one} == {two}
        assert len({one, one.replace(grace=1)}) == 2
        assert one != object()

    @pytest.mark.parametrize("field", sorted(FULL))
    def test_every_option_counts(self, field: str) -> None:
        changed: dict[str, Any] = {
            "restart": "temporary",
            "restart_limit": RestartLimit(4, within=9),
            "backoff": None,
            "retry_first_start": False,
            "on_limit": None,
            "significant": False,
            "decide": len,
            "requires": (),
            "readiness": "immediate",
        }
        spec = ChildSpec("web", consume, "orders", **FULL)
        changes = {field: changed.get(field, 1)}
        if field == "readiness":
            changes |= {"start_timeout": None, "retry_first_start": False}
        assert spec.replace(**changes) != spec

    def test_name_run_and_args_count(self) -> None:
        spec = ChildSpec("web", consume, "orders")
        assert spec != spec.replace(name="bew")
        assert spec != spec.replace(args=("bills",))
        assert ChildSpec("web", body) != ChildSpec("web", sync_returning_awaitable)

    def test_bodies_are_equal_if_their_calls_are(self) -> None:
        assert ChildSpec("web", adapted()) == ChildSpec("web", adapted())
        assert adapted() != adapted(EXPLICIT)
        assert adapted() != Body(sync_returning_awaitable, "adapted")

    def test_are_frozen_and_slim(self) -> None:
        spec: Any = ChildSpec("web", body)
        app: Any = SupervisorSpec()
        a_body: Any = adapted()
        for target in (spec, app, a_body):
            with pytest.raises(AttributeError):
                target.name = "other"
            with pytest.raises(AttributeError):
                target.anything = 1
            assert not hasattr(target, "__dict__")
        assert sys.getsizeof(spec) <= 200

    def test_can_be_copied_and_pickled(self) -> None:
        child = ChildSpec("web", consume, "orders", **FULL)
        app = SupervisorSpec("app", [ChildSpec("db", body), SupervisorSpec("in")])
        for spec in (child, app):
            assert copy.deepcopy(spec) == spec
            assert pickle.loads(pickle.dumps(spec)) == spec
        twin: Any = pickle.loads(pickle.dumps(ChildSpec("web", body)))
        assert twin.restart_limit is INHERIT
        assert twin.replace(readiness="explicit").start_timeout == 30

    def test_may_be_subscripted_at_run_time(self) -> None:
        assert ChildSpec[int]("web", adapted()) == ChildSpec("web", adapted())

    def test_show_little_and_no_arguments(self) -> None:
        assert repr(ChildSpec("web", consume, "secret")) == "ChildSpec('web', consume)"
        spec = ChildSpec("web", adapted(), restart="transient")
        assert repr(spec) == "ChildSpec('web', adapted, restart='transient')"
        app = SupervisorSpec("app", [spec, SupervisorSpec("in")], strategy="one_for_all")
        assert repr(app) == "SupervisorSpec('app', <2 children>, strategy='one_for_all')"
        assert repr(app.as_child()) == f"ChildSpec('app', {app!r})"
        assert repr(SupervisorSpec()) == "SupervisorSpec('supervisor')"
        assert repr(INHERIT) == "INHERIT"


class TestBody:
    def test_calls_what_it_was_made_of(self) -> None:
        seen: list[Any] = []

        def call(child: Any) -> Any:
            seen.append(child)
            return body(child)

        child: Any = object()
        coroutine: Any = Body(call, "label")(child)
        coroutine.close()
        assert seen == [child]
        assert repr(Body(call, "label")) == "label"

    def test_readiness_may_be_a_string(self) -> None:
        odd: Any = "explicit"
        assert Body(body, "x", odd).readiness is EXPLICIT
        odd = "later"
        refused("readiness", "one of 'immediate', 'explicit'", Body, body, "x", odd)

    def test_labels(self) -> None:
        assert label_of(body) == "body"
        assert label_of(Streams().run) == "Streams.run"
        assert label_of(functools.partial(functools.partial(consume, 1), 2)) == "consume"
        assert label_of(Calls()) == "Calls"
        assert label_of(adapted()) == "adapted"
        endless: Any = functools.partial(body)
        for _ in range(20):
            endless = type("P", (), {"func": endless})()
        assert label_of(endless) == "P"


def test_ten_thousand_specs_cost_little() -> None:
    """A few microseconds each; the bound leaves room for a slow machine under load."""
    began = time.process_time()
    children = [ChildSpec(f"c{i}", body) for i in range(10_000)]
    SupervisorSpec("app", children)
    assert time.process_time() - began < 1.0


def test_declarations_do_not_need_trio() -> None:
    """Parsing a specification, or testing one, must not load an event loop."""
    code = (
        "import sys, types, pathlib, importlib.util as u;"
        "where = u.find_spec('trio_supervisor').submodule_search_locations;"
        "package = types.ModuleType('trio_supervisor'); package.__path__ = list(where);"
        "sys.modules['trio_supervisor'] = package;"
        "import trio_supervisor._specs.supervisor;"
        "assert 'trio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
