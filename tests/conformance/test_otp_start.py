"""OTP's supervisor suite: starting. One test per case, under OTP's name.

A child that *ignores* (declines to run) is one here whose body returns before it was ready. Under
``restart="permanent"`` that would be an exit to restart after, so such a child says by ``decide``
that it is content; a transient one need not.
"""

from __future__ import annotations

import inspect
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import trio
from conformance.kit import AT_ONCE, Boom, Lab, scenario

from trio_supervisor import (
    BackoffPolicy,
    ChildNotFound,
    ChildSpec,
    ChildStartError,
    DoNotRestart,
    Failed,
    RestartLimit,
    SpecError,
    SupervisorSpec,
    TaskFailure,
    open_supervisor,
    plain,
    run_supervisor,
)
from trio_supervisor._specs.policy import INHERIT

if TYPE_CHECKING:
    from trio_supervisor import ChildContext, ChildRunReport


def content(report: ChildRunReport) -> DoNotRestart | None:
    """A ``decide`` that takes a return for the end of the work."""
    return DoNotRestart() if report.exit.is_success else None


@scenario
async def test_sup_start_normal(lab: Lab) -> None:
    async with lab.run() as supervisor:
        assert supervisor.state().state == "running"
        assert lab.counts() == (0, 0, 0)
        report = await supervisor.shutdown("shutdown")
    assert (report.cause, report.reason, report.children) == ("shutdown", "shutdown", ())
    assert supervisor.state().state == "finished"


@scenario
async def test_sup_start_ignore_init(lab: Lab) -> None:
    lab["a"].next_starts("decline")
    spec = SupervisorSpec("app", lab.children("a", restart="transient"), auto_shutdown="all_done")
    report = await run_supervisor(spec)
    assert (report.cause, report.child("a").outcome) == ("auto_shutdown", "done")
    lab.check_end()


@scenario
async def test_sup_start_ignore_child(lab: Lab) -> None:
    lab["a"].next_starts("decline")
    async with lab.run() as supervisor:
        handle = await supervisor.start_child(lab.child("a", decide=content))
        other = await supervisor.start_child(lab.child("b"))
        assert (handle.state, other.state) == ("done", "ready")
        assert lab.names() == ["a", "b"]
        assert lab.counts() == (2, 1, 1)


@scenario
async def test_sup_start_ignore_temporary_child(lab: Lab) -> None:
    lab["a"].next_starts("decline")
    async with lab.run(*lab.children("a b", restart="temporary")):
        assert lab.names() == ["b"]
        assert lab.counts() == (1, 1, 1)


@scenario
async def test_sup_start_ignore_temporary_child_start_child(lab: Lab) -> None:
    lab["a"].next_starts("decline")
    async with lab.run() as supervisor:
        handle = await supervisor.start_child(lab.child("a", restart="temporary"))
        await supervisor.start_child(lab.child("b", restart="temporary"))
        assert handle.state == "removed"
        assert lab.names() == ["b"]
        assert lab.counts() == (1, 1, 1)


@scenario
async def test_sup_start_ignore_temporary_child_start_child_simple(lab: Lab) -> None:
    for number in (1, 3, 4):
        lab[str(number)].next_starts("decline")
    async with lab.run() as supervisor:
        for spec in lab.children("1 2 3 4", restart="temporary"):
            await supervisor.start_child(spec)
        assert lab.names() == ["2"]
        assert lab.counts() == (1, 1, 1)


@scenario
async def test_sup_start_ignore_permanent_child_start_child_simple(lab: Lab) -> None:
    async with lab.run() as supervisor:
        lab["1"].next_starts("decline")
        one = await supervisor.start_child(lab.child("1", decide=content))
        await supervisor.start_child(lab.child("2", decide=content))
        # OTP forgets it because nothing could name it; here it has a name, and goes by it.
        assert lab.counts() == (2, 1, 1)
        await supervisor.remove_child("1")
        assert one.state == "removed"
        assert lab.names() == ["2"]
        # The regression: that shutting down trips over it.
        report = await supervisor.shutdown()
    assert [child.path for child in report.children] == ["app/2"]


def test_sup_start_error_return() -> None:
    lab = Lab()
    anything: Any = "invalid"
    with pytest.raises(SpecError, match="spec='invalid': expected a SupervisorSpec"):
        open_supervisor(anything)
    with pytest.raises(SpecError, match="children"):
        SupervisorSpec("app", [lab.child("a"), anything])
    assert lab.take() == ""


@scenario
async def test_sup_start_fail(lab: Lab) -> None:
    error = Boom("init")
    lab["b"].next_starts(error)
    with pytest.raises(ChildStartError) as caught:
        async with lab.run(*lab.children("a b c")):
            raise AssertionError("the block must not be entered")
    assert caught.value.path == "app/b"
    assert caught.value.__cause__ is error
    assert lab.take() == "+a +b -b ?a -a"


@scenario
async def test_sup_start_child_returns_error(lab: Lab) -> None:
    def junk(child: ChildContext) -> str:
        return "junk"

    async with lab.run(lab.child("other")) as supervisor:
        reason = TaskFailure("reason", category="refused")
        lab["a"].next_starts(reason)
        with pytest.raises(ChildStartError) as caught:
            await supervisor.start_child(lab.child("a"))
        assert caught.value.exit == Failed(reason)
        assert caught.value.__cause__ is reason
        not_async: Any = junk
        with pytest.raises(ChildStartError, match="junk") as caught:
            await supervisor.start_child(ChildSpec("b", not_async, readiness="explicit"))
        assert isinstance(caught.value.__cause__, TypeError)
        assert lab.names() == ["other"]
        # Nothing is kept: the names are free.
        await supervisor.start_child(lab.child("a"))
        assert lab.counts() == (2, 2, 2)


@scenario
async def test_sup_start_restart_child_returns_error(lab: Lab) -> None:
    limit = RestartLimit(2, within=60)
    spec = lab.child("a", restart_limit=limit, on_limit="quarantine")
    async with lab.run(spec) as supervisor:
        await supervisor.stop_child("a")
        lab["a"].usually = Boom("restart")
        await supervisor.restart_child("a")
        # An ordinary failure: policy tries again, as often as it may, and then leaves it.
        handle = supervisor.child("a")
        assert handle.state == "quarantined"
        assert handle.spec == spec
        assert [report.exit.kind for report in handle.reports] == ["stopped", *["crashed"] * 3]
        lab["a"].usually = "ok"
        await supervisor.restart_child("a")
        assert handle.state == "ready"


@scenario
async def test_sup_start_child_returns_error_simple(lab: Lab) -> None:
    async with lab.run() as supervisor:
        for spec in lab.children("1 2 3"):
            await supervisor.start_child(spec)
        reason = TaskFailure("no more")
        lab["4"].next_starts(reason)
        with pytest.raises(ChildStartError) as caught:
            await supervisor.start_child(lab.child("4"))
        assert caught.value.__cause__ is reason
        assert lab.names() == ["1", "2", "3"]
        assert lab.counts() == (3, 3, 3)


@scenario
async def test_sup_start_map(lab: Lab) -> None:
    async def work(child: ChildContext) -> None:
        await trio.sleep_forever()

    specs: list[Any] = [
        ChildSpec("a", work),
        ChildSpec("b", plain(trio.sleep_forever)),
        SupervisorSpec("c"),
    ]
    async with lab.run(*specs) as supervisor:
        worker = supervisor.child("a").spec
        expected = {
            "name": "a",
            "run": work,
            "args": (),
            "restart": "permanent",
            "readiness": "immediate",
            "start_timeout": float("inf"),
            "retry_first_start": False,
            "max_runtime": float("inf"),
            "stale_after": float("inf"),
            "grace": None,
            "backoff": BackoffPolicy(initial=0.1, factor=2, maximum=30, jitter=0.1, reset_after=60),
            "restart_limit": INHERIT,
            "on_limit": "escalate",
            "requires": (),
            "significant": False,
            "decide": None,
            "supervisor": None,
        }
        assert {field: getattr(worker, field) for field in expected} == expected
        assert supervisor.child("b").spec == specs[1]
        nested = supervisor.child("c").spec
        assert nested.restart == "permanent"
        assert nested.readiness == "explicit"
        assert nested.grace == float("inf")
        assert supervisor.spec.strategy == "one_for_one"
        assert supervisor.spec.child_restart_limit == RestartLimit(10, within=120)
        assert supervisor.spec.restart_limit is None
        with pytest.raises(ChildNotFound, match="no child 'd'; it has: a, b, c"):
            supervisor.child("d")


@scenario
async def test_sup_start_map_simple(lab: Lab) -> None:
    async def work(child: ChildContext, number: int) -> None:
        await trio.sleep_forever()

    template = ChildSpec("template", work, 0, restart="transient", grace=2, backoff=AT_ONCE)
    async with lab.run() as supervisor:
        for number in range(3):
            spec = template.replace(name=str(number), args=(number,))
            await supervisor.start_child(spec)
        for number in range(3):
            spec = supervisor.child(str(number)).spec
            assert spec.replace(name="template", args=(0,)) == template
            assert spec.args == (number,)
    async with lab.run() as other:
        handle = await other.start_child(template.replace(name="foreign"))
        with pytest.raises(ChildNotFound):
            supervisor.child("foreign")
        assert handle.state == "ready"


def test_sup_start_map_faulty_specs() -> None:
    async def work(child: ChildContext) -> None:
        await trio.sleep_forever()

    make: Any = ChildSpec
    with pytest.raises(TypeError, match="run"):
        make("a")
    with pytest.raises(TypeError, match="name"):
        make(run=work)
    with pytest.raises(SpecError) as caught:
        make("", work)
    assert caught.value.field == "name"
    with pytest.raises(SpecError) as caught:
        make("a", "work")
    assert (caught.value.field, caught.value.value) == ("run", "work")
    # OTP lets an unknown key pass; here a typing error shall not change what a tree does.
    with pytest.raises(TypeError, match="silly_flag"):
        make("a", work, silly_flag=True)
    with pytest.raises(SpecError, match="children"):
        SupervisorSpec("app", [make])


@scenario
async def test_faulty_application_shutdown(lab: Lab) -> None:
    async def deep_inside() -> None:
        await trio.lowlevel.checkpoint()
        raise Boom("the application cannot start")

    async def first(child: ChildContext) -> None:
        await deep_inside()

    with pytest.raises(ChildStartError) as caught:
        async with lab.run(ChildSpec("first", first, readiness="explicit"), lab.child("second")):
            raise AssertionError("the block must not be entered")
    assert caught.value.path == "app/first"
    cause = caught.value.__cause__
    assert isinstance(cause, Boom)
    frames = [frame.name for frame in traceback.extract_tb(cause.__traceback__)]
    assert frames[-2:] == ["first", "deep_inside"]
    assert inspect.getsourcefile(first) == traceback.extract_tb(cause.__traceback__)[-1].filename
    assert lab.take() == ""
