"""A host for single attempts that writes down what it is told, for the tests of the kernel."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from trio_supervisor import ChildSpec, TaskExit
from trio_supervisor._attempts.attempt import Attempt, run_attempt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Host:
    """Implements `AttemptHost`. ``told`` has all that was posted, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.values: dict[str, object] = {}
        self.ended: list[Attempt] = []

    @property
    def supervisor(self) -> Any:
        return "the supervisor"

    def _tell(self, *what: object) -> None:
        assert trio.lowlevel.currently_ki_protected()
        self.told.append(what)

    is_supervisor = False
    thread = get_ident()

    @property
    def observer(self) -> None:
        return None

    def open_supervisor(
        self, attempt: Attempt, spec: Any, options: Any, *, wait_ready: bool
    ) -> NoReturn:
        raise NotImplementedError

    def post_ready(self, attempt: Attempt) -> None:
        self._tell("ready", attempt.ready_value)

    def post_not_ready(self, attempt: Attempt, reason: str) -> None:
        self._tell("not_ready", reason)

    def post_beat(self, attempt: Attempt) -> None:
        self._tell("beat", attempt.beat_at, attempt.beat_detail)

    def post_busy(self, attempt: Attempt, until: float) -> None:
        self._tell("busy", until)

    def post_extend(self, attempt: Attempt, until: float) -> None:
        self._tell("extend", until)

    def post_exit(self, attempt: Attempt) -> None:
        self._tell("exit", attempt)
        self.ended.append(attempt)

    def value_of(self, attempt: Attempt, of: Any) -> object:
        return self.values[of if isinstance(of, str) else of.name]

    async def wait_value_of(self, attempt: Attempt, of: Any) -> object:
        await trio.sleep(1)
        return self.value_of(attempt, of)


def make_attempt(
    body: Callable[..., Awaitable[object]],
    *args: Any,
    host: Host | None = None,
    watched: bool = False,
    **options: Any,
) -> Attempt:
    return Attempt(
        ChildSpec("c", body, *args, **options),
        "app/c",
        3,
        2,
        host or Host(),
        started_at=trio.current_time(),
        watched=watched,
    )


async def run_to_end(attempt: Attempt) -> TaskExit | BaseException:
    """Run an attempt in a task of its own and judge it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_attempt, attempt)
    return attempt.judge()


async def run_body(
    body: Callable[..., Awaitable[object]], *args: Any, **options: Any
) -> TaskExit | BaseException:
    return await run_to_end(make_attempt(body, *args, **options))
