"""One body alone, with a real child context; the test plays the supervisor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn, final

import trio

from trio_supervisor._attempts.attempt import Attempt, current_attempt
from trio_supervisor._attempts.host import Target
from trio_supervisor._errors import ChildNotFound, SupervisorError
from trio_supervisor._lazy import public
from trio_supervisor._runtime.open import open_supervisor
from trio_supervisor._runtime.supervisor import Supervisor
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec
from trio_supervisor.testing._script.bodies import calm
from trio_supervisor.testing._sim.tasks import open_bare_nursery

if TYPE_CHECKING:
    from trio_supervisor._attempts.context import ChildContext


@public
@final
class ChildProbe:
    """A child context as the test sees and controls it; `open_child_context` makes it.

    Attributes:
        context: The body's first argument.
        not_ready_reasons: The reasons with which the body withdrew its readiness.
    """

    def __init__(self, spec: ChildSpec[Any], attempt: int, values: Mapping[str, object]) -> None:
        from trio_supervisor._attempts.context import ChildContext  # noqa: PLC0415  # typing names it, too

        self.thread: int = get_ident()
        self._attempt = Attempt(spec, spec.name, attempt, 0, self, started_at=trio.current_time())
        self._values = values
        self._changed = trio.Event()
        self.context: ChildContext = ChildContext._create(self._attempt)
        self.not_ready_reasons: list[str] = []

    @property
    def was_ready(self) -> bool:
        """True if the body has ever called ``ready()``."""
        return self._attempt.was_ready

    @property
    def is_ready(self) -> bool:
        """True while the body is ready."""
        return self._attempt.is_ready

    @property
    def ready_value(self) -> Any:
        """The value of the body's ``ready()``."""
        return self._attempt.ready_value

    @property
    def heartbeats(self) -> int:
        """The number of heartbeats so far."""
        return self._attempt.beats

    @property
    def last_heartbeat(self) -> float | None:
        """The time of the newest heartbeat on Trio's clock; `None` before the first."""
        return self._attempt.beat_at

    @property
    def last_detail(self) -> object:
        """The detail of the newest heartbeat."""
        return self._attempt.beat_detail

    def start(self, body: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run ``body(context, *args)`` beside the test.

        An error of the body comes out of the block, bare. To get its result, await
        ``body(probe.context, *args)`` instead.
        """
        assert self._attempt.nursery is not None
        self._attempt.nursery.start_soon(body, self.context, *args)

    def request_stop(self, reason: str = "the test says so") -> None:
        """Request the body's stop. No cancel follows: call `cancel` when its grace is over."""
        self._attempt.request_stop(reason)

    def cancel(self, reason: str = "the test says so") -> None:
        """Cancel all tasks that were started with `start` or in the context's nursery."""
        self._attempt.cancel(reason)

    async def wait_ready(self) -> Any:
        """Wait until the body is ready, and return its ready value. A checkpoint."""
        await trio.lowlevel.checkpoint()
        while not self._attempt.is_ready:
            await self._changed.wait()
        return self._attempt.ready_value

    # ---- the attempt's host

    is_supervisor = False

    @property
    def observer(self) -> None:
        """No observer: this attempt is run by the test itself."""
        return

    @property
    def supervisor(self) -> Supervisor:
        raise SupervisorError("this child is tested alone: it has no supervisor")

    def open_supervisor(
        self,
        attempt: Any,
        spec: SupervisorSpec | None,
        options: Any,
        *,
        wait_ready: bool,
    ) -> AbstractAsyncContextManager[Supervisor]:
        return self._open_supervisor(attempt, spec, options, wait_ready)

    @asynccontextmanager
    async def _open_supervisor(
        self, attempt: Attempt, spec: SupervisorSpec | None, options: Any, wait_ready: bool
    ) -> AsyncIterator[Supervisor]:
        """Open a tree of its own: there is none that it could belong to."""
        async with open_supervisor(spec, wait_ready=wait_ready, **options) as supervisor:

            def stop_requested(attempt: Attempt) -> None:
                supervisor.request_shutdown(attempt.stop_reason or "")

            attempt.add_stop_listener(stop_requested)
            yield supervisor
            attempt.remove_stop_listener(stop_requested)

    def value_of(self, attempt: Any, of: Target) -> object:
        name = of if isinstance(of, str) else of.name
        if name not in self._values:
            self._missing(name)
        return self._values[name]

    async def wait_value_of(self, attempt: Any, of: Target) -> object:
        await trio.lowlevel.checkpoint()
        return self.value_of(attempt, of)

    def _missing(self, name: str) -> NoReturn:
        known = ", ".join(sorted(self._values)) or "none"
        raise ChildNotFound(
            f"open_child_context(values={{{name!r}: ...}}) was not given; there are: {known}"
        )

    def post_ready(self, attempt: Any) -> None:
        self._changed.set()

    def post_not_ready(self, attempt: Any, reason: str) -> None:
        self.not_ready_reasons.append(reason)
        self._changed = trio.Event()

    def post_beat(self, attempt: Any) -> None:
        attempt.beat_noted = False

    def post_busy(self, attempt: Any, until: float) -> None: ...

    def post_extend(self, attempt: Any, until: float) -> None: ...

    def post_exit(self, attempt: Any) -> None: ...


@public
@asynccontextmanager
async def open_child_context(
    spec: ChildSpec[Any] | str = "child",
    *,
    values: Mapping[str, object] | None = None,
    attempt: int = 1,
) -> AsyncIterator[ChildProbe]:
    """Open a child context for testing one body alone, without a supervisor.

    Leaving the block cancels the tasks that still run in the context's nursery.

    Args:
        spec: The child of the context: a spec, with its readiness, or the name of an
            explicit child.
        values: The ready values of siblings, by name: what ``child.value("store")`` gives.
        attempt: The number of the attempt, for bodies that behave differently after a restart.

    Raises:
        BaseException: The error of a task in the context's nursery; bare if it is a single one.

    Example::

        async with open_child_context(values={"store": store}) as probe:
            probe.start(consume, "orders")
            await probe.wait_ready()
            probe.request_stop()
    """
    if isinstance(spec, str):
        spec = ChildSpec(spec, calm, readiness="explicit")
    probe = ChildProbe(spec, attempt, {} if values is None else values)
    running = probe._attempt
    token = current_attempt.set(running)
    try:
        async with open_bare_nursery() as nursery:
            running.nursery = nursery
            running.task = trio.lowlevel.current_task()
            yield probe
            nursery.cancel_scope.cancel("the test of this child has ended")
    finally:
        current_attempt.reset(token)
        running.ended_at = trio.current_time()
        running.nursery = running.task = None
