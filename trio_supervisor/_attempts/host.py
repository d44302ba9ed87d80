"""AttemptHost: what runs an attempt, as the attempt sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeAlias, final

import trio_supervisor
from trio_supervisor._errors import SupervisorError
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._attempts.observer import TreeObserver

Target: TypeAlias = ChildSpec[Any] | SupervisorSpec | str


_ENDED = "this attempt has ended: its ChildContext can no longer reach a supervisor"


class AttemptHost(Protocol):
    """The object that runs an attempt: a supervisor's shell, or a single run of a `ChildRunner`.

    The ``post_*`` methods are called from the attempt's tasks. They never wait and never raise;
    `post_exit` is called once per attempt, as the last thing that its task does.
    """

    @property
    def thread(self) -> int:
        """The ident of the thread in which Trio runs the attempt."""
        ...

    @property
    def is_supervisor(self) -> bool:
        """Whether this is the shell of a supervisor, and not a single run."""
        ...

    @property
    def supervisor(self) -> trio_supervisor.Supervisor:
        """The supervisor of the child."""
        ...

    @property
    def observer(self) -> TreeObserver | None:
        """The observer of this attempt, in tests; usually `None`."""
        ...

    def open_supervisor(
        self,
        attempt: Attempt,
        spec: SupervisorSpec | None,
        options: Any,
        *,
        wait_ready: bool,
    ) -> AbstractAsyncContextManager[trio_supervisor.Supervisor]:
        """Return what `ChildContext.open_supervisor` returns."""
        ...

    def post_ready(self, attempt: Attempt) -> None:
        """Post that ``attempt`` has called `ChildContext.ready`, for the first time or again."""

    def post_not_ready(self, attempt: Attempt, reason: str) -> None:
        """Post that ``attempt`` has called `ChildContext.not_ready` with ``reason``."""

    def post_beat(self, attempt: Attempt) -> None:
        """Post that ``attempt`` has sent heartbeats; the latest is stored in it.

        There is no further post until the host clears ``attempt.beat_noted``.
        """

    def post_busy(self, attempt: Attempt, until: float) -> None:
        """Post that ``attempt`` may be silent until ``until``; ``-inf`` takes that back."""

    def post_extend(self, attempt: Attempt, until: float) -> None:
        """Post that the start of ``attempt`` may take until ``until``."""

    def post_exit(self, attempt: Attempt) -> None:
        """Post that the scope of ``attempt`` has closed; `Attempt.judge` tells how it ended."""

    def value_of(self, attempt: Attempt, of: Target) -> object:
        """Return the ready value of another child, for `ChildContext.value`."""

    async def wait_value_of(self, attempt: Attempt, of: Target) -> object:
        """Wait for the ready value of another child, for `ChildContext.wait_value`."""


@final
class NoHost:
    """The host of an attempt that has ended: nothing that is posted has an effect any more."""

    __slots__ = ()
    is_supervisor = False
    thread = 0
    observer: TreeObserver | None = None

    @property
    def supervisor(self) -> trio_supervisor.Supervisor:
        raise SupervisorError(_ENDED)

    def open_supervisor(
        self,
        attempt: Attempt,
        spec: SupervisorSpec | None,
        options: Any,
        *,
        wait_ready: bool,
    ) -> NoReturn:
        raise SupervisorError(_ENDED)

    def post_ready(self, attempt: Attempt) -> None: ...
    def post_not_ready(self, attempt: Attempt, reason: str) -> None: ...
    def post_beat(self, attempt: Attempt) -> None: ...
    def post_busy(self, attempt: Attempt, until: float) -> None: ...
    def post_extend(self, attempt: Attempt, until: float) -> None: ...
    def post_exit(self, attempt: Attempt) -> None: ...

    def value_of(self, attempt: Attempt, of: Target) -> object:
        raise SupervisorError(_ENDED)

    async def wait_value_of(self, attempt: Attempt, of: Target) -> object:
        raise SupervisorError(_ENDED)


NO_HOST: Final[AttemptHost] = NoHost()
