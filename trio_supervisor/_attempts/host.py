"""What an attempt may ask of whoever runs it, and tell them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, final

import trio_supervisor
from trio_supervisor._errors import SupervisorError

if TYPE_CHECKING:
    from trio_supervisor._attempts.attempt import Attempt
    from trio_supervisor._attempts.observer import TreeObserver

_ENDED = "this attempt has ended: its context leads nowhere any more"


class AttemptHost(Protocol):
    """Whoever runs attempts: a supervisor, or a lone runner.

    The ``post_*`` methods are called from the attempt's tasks. They never wait and never raise;
    `post_exit` is called once per attempt, as the last thing that its task does.
    """

    @property
    def supervisor(self) -> trio_supervisor.Supervisor:
        """The supervisor that the child stands under."""
        ...

    @property
    def observer(self) -> TreeObserver | None:
        """What is told of each step of an attempt, for tests; hardly ever there is one."""
        ...

    def post_ready(self, attempt: Attempt, value: object) -> None:
        """It is ready, for the first time or again."""

    def post_not_ready(self, attempt: Attempt, reason: str) -> None:
        """It was ready and is not any more."""

    def post_beat(self, attempt: Attempt) -> None:
        """It has sent heartbeats; the latest is stored. Clear ``beat_noted`` to hear of more."""

    def post_busy(self, attempt: Attempt, until: float) -> None:
        """It may be silent until then; ``-inf`` takes that back."""

    def post_extend(self, attempt: Attempt, until: float) -> None:
        """Its start may take until then."""

    def post_exit(self, attempt: Attempt) -> None:
        """Its scope has closed; `Attempt.judge` tells how it ended."""

    def value_of(self, attempt: Attempt, name: str) -> object:
        """The ready value of a sibling, or of one in an enclosing supervisor."""

    async def wait_value_of(self, attempt: Attempt, name: str) -> object:
        """The same, as soon as there is one."""


@final
class NoHost:
    """Stands in once an attempt has ended: its late words are nobody's business."""

    __slots__ = ()

    @property
    def supervisor(self) -> trio_supervisor.Supervisor:
        raise SupervisorError(_ENDED)

    @property
    def observer(self) -> TreeObserver | None:
        return None

    def post_ready(self, attempt: Attempt, value: object) -> None: ...
    def post_not_ready(self, attempt: Attempt, reason: str) -> None: ...
    def post_beat(self, attempt: Attempt) -> None: ...
    def post_busy(self, attempt: Attempt, until: float) -> None: ...
    def post_extend(self, attempt: Attempt, until: float) -> None: ...
    def post_exit(self, attempt: Attempt) -> None: ...

    def value_of(self, attempt: Attempt, name: str) -> object:
        raise SupervisorError(_ENDED)

    async def wait_value_of(self, attempt: Attempt, name: str) -> object:
        raise SupervisorError(_ENDED)


NO_HOST: Final[AttemptHost] = NoHost()
