"""What type checkers have to infer from a declaration, and what they have to reject.

Never run: mypy and pyright read it. Both complain about an ignored error that is none.
"""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, assert_type

import trio

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildRunReport,
    ChildSpec,
    Restart,
    RestartAfter,
    RestartDecision,
    RestartLimit,
    RestartPolicy,
    Supervisor,
    SupervisorSpec,
)
from trio_supervisor.children import (
    Connections,
    RunningProcess,
    Schedule,
    accepting,
    asgi,
    every,
    holding,
    in_process,
    in_thread,
    plain,
    process,
    serve_tcp,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Store:
    def __init__(self, path: str) -> None:
        self.path = path


@asynccontextmanager
async def open_store(path: str) -> AsyncGenerator[Store, None]:
    yield Store(path)


async def listen(  # noqa: ASYNC114
    port: int, *, task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED
) -> None:
    task_status.started(("localhost", port))
    await trio.sleep_forever()


async def consume(child: ChildContext, topic: str, most: int = 10) -> None:
    pass


async def returns_a_value(child: ChildContext) -> int:
    await trio.sleep(3)
    return 3


async def takes_no_context(topic: int) -> None:
    pass


def work(path: str) -> int:
    return len(path)


class Service:
    def __init__(self, name: str) -> None:
        self.name = name

    async def run(self, child: ChildContext) -> None:
        pass

    async def __call__(self, child: ChildContext, port: int) -> None:
        pass


def decide(report: ChildRunReport) -> RestartDecision | None:
    return RestartAfter(3) if report.attempt < 9 else None


def decide_less(report: ChildRunReport) -> Restart:
    return Restart()


async def talk(child: ChildContext, stream: trio.SocketStream) -> None:
    pass


async def handle(stream: trio.SocketStream) -> None:
    pass


def the_ready_value_comes_from_the_adapter_for_other_kinds_too() -> None:
    assert_type(ChildSpec("x", process(["x"], ready_port=80)), ChildSpec[RunningProcess])
    assert_type(ChildSpec("x", accepting(talk, port=80)), ChildSpec[Connections])
    assert_type(ChildSpec("x", every(3, takes_no_context, 3)), ChildSpec[Schedule])
    assert_type(ChildSpec("x", asgi(handle, 80)), ChildSpec[tuple[str, ...]])
    assert_type(ChildSpec("x", in_process(consume, "topic", 3)), ChildSpec[Any])
    assert_type(ChildSpec("x", serving(serve_tcp, handle, 80, stop="y")), ChildSpec[Any])
    every(3, takes_no_context, "x")  # type: ignore[arg-type]
    in_process(consume, 3)  # type: ignore[arg-type]
    accepting(handle, port=80)  # type: ignore[arg-type]


def the_ready_value_comes_from_the_adapter() -> None:
    assert_type(ChildSpec("x", holding(open_store, "p")), ChildSpec[Store])
    assert_type(ChildSpec("x", holding(open_store, "p"), grace=5), ChildSpec[Store])
    assert_type(ChildSpec("x", serving(listen, 8080)), ChildSpec[tuple[str, int]])
    assert_type(ChildSpec("x", plain(takes_no_context, 3)), ChildSpec[None])
    assert_type(ChildSpec("x", holding(open_store, "p")).replace(grace=5), ChildSpec[Store])
    assert_type(SupervisorSpec("x").as_child(grace=3), ChildSpec[Supervisor])
    assert_type(SupervisorSpec("x").replace(children=()), SupervisorSpec)


def the_ready_value_of_a_function_can_be_anything() -> None:
    assert_type(ChildSpec("x", consume, "orders"), ChildSpec[Any])
    assert_type(ChildSpec("x", consume, "orders", 3, readiness="explicit"), ChildSpec[Any])
    assert_type(ChildSpec("x", returns_a_value), ChildSpec[Any])
    assert_type(ChildSpec("x", Service("s").run), ChildSpec[Any])
    assert_type(ChildSpec("x", Service("s"), 8080), ChildSpec[Any])
    assert_type(ChildSpec("x", functools.partial(consume, topic="orders")), ChildSpec[Any])
    store: ChildSpec[Store] = ChildSpec("x", consume, "orders")
    anything: ChildSpec[object] = store
    assert_type(anything.name, str)


def arguments_are_checked_against_the_function() -> None:
    ChildSpec("x", consume, 3)  # type: ignore[arg-type]
    ChildSpec("x", consume)  # type: ignore[arg-type, call-arg]
    ChildSpec("x", consume, "orders", 3, 4)  # type: ignore[arg-type, call-arg]
    ChildSpec("x", takes_no_context)  # type: ignore[arg-type, call-arg]
    ChildSpec("x", work, "p")  # type: ignore[arg-type]
    ChildSpec("x", holding(open_store, "p"), "q")  # type: ignore[arg-type]
    ChildSpec("x", holding(open_store, 3))  # type: ignore[arg-type, call-arg]
    ChildSpec("x")  # type: ignore[call-overload]


def options_are_literals_or_members() -> None:
    ChildSpec("x", consume, "orders", restart=RestartPolicy.TRANSIENT)
    ChildSpec("x", consume, "orders", restart="transient", on_limit="quarantine", decide=decide)
    ChildSpec("x", consume, "orders", decide=decide_less)
    ChildSpec("x", consume, "orders", restart_limit=None, backoff=BackoffPolicy.delays(0, 1))
    ChildSpec("x", in_thread(work, "p"), restart="sometimes")  # type: ignore[call-overload, call-arg]
    ChildSpec("x", in_thread(work, "p"), grace="5")  # type: ignore[call-overload, call-arg]
    ChildSpec("x", in_thread(work, "p"), backoff=3)  # type: ignore[call-overload, call-arg]
    ChildSpec("x", in_thread(work, "p"), tiemout=3)  # type: ignore[call-overload]
    ChildSpec("x", in_thread(work, "p"), decide=work)  # type: ignore[arg-type, call-arg]
    SupervisorSpec("x", strategy="rest_for_one", ordering="graph")
    SupervisorSpec("x", restart_limit=RestartLimit(3, within=5), child_restart_limit=None)
    SupervisorSpec("x", strategy="rest-for-one")  # type: ignore[arg-type]
    SupervisorSpec("x", auto_shutdown="always")  # type: ignore[arg-type]
    SupervisorSpec("x").as_child(grace="3")  # type: ignore[arg-type]
    SupervisorSpec("x").as_child(tiemout=3)  # type: ignore[call-arg]
    SupervisorSpec("x").replace(strategy="any")  # type: ignore[arg-type]


def families_are_typed() -> None:
    store = ChildSpec("store", holding(open_store, "p"))
    children = [
        store,
        ChildSpec("x", consume, "orders", requires=[store, "y", SupervisorSpec("z")]),
    ]
    app = SupervisorSpec("app", children)
    SupervisorSpec("app", [store, app])
    assert_type(app.children, tuple[ChildSpec[Any], ...])
    SupervisorSpec("app", ["store"])  # type: ignore[list-item]
    SupervisorSpec("app", [consume])  # type: ignore[list-item]
    ChildSpec("x", consume, "orders", requires=[3])  # type: ignore[list-item]


def specs_are_frozen(store: ChildSpec[Store]) -> None:
    store.name = "other"  # type: ignore[misc]
