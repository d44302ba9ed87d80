"""The supervisor that keeps a surface running, apart from the user's tree in every respect."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, final

from trio_supervisor._logging.safe import say
from trio_supervisor._runtime.open import open_supervisor

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from trio_supervisor._events.fold import RawEvent
    from trio_supervisor._specs.supervisor import SupervisorSpec


@final
class Enclosure:
    """Run a surface under a supervisor of its own: ``async with Enclosure(...): ...``.

    A surface that fails is started again. Should the supervisor itself give up or break down, that
    is logged with its cause, and the block goes on without the surface.

    Args:
        spec: The children that make the surface.
        what: The surface, for the log, such as ``the control socket``.
        log: Where to.
        tap: Called with each event of this supervisor in place of its log. Default: it has one.
    """

    def __init__(
        self,
        spec: SupervisorSpec,
        what: str,
        log: logging.Logger,
        *,
        tap: Callable[[RawEvent, BaseException | None], None] | None = None,
    ) -> None:
        self._what = what
        self._log = log
        block: Any = open_supervisor(spec)
        if tap is not None:
            block._shell.tree.journal.tap = tap
        block.on_failure = self._broke_down  # in place of cancelling the block
        self._block = block

    async def __aenter__(self) -> None:
        await self._block.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        shell = self._block._shell
        try:
            return bool(await self._block.__aexit__(kind, raised, traceback))  # noqa: ASYNC102
        except BaseException as error:  # noqa: ASYNC103 - then the block's own exception is raised
            if not shell.has_failed or (raised is None and not isinstance(error, Exception)):
                raise  # a Ctrl-C, say, that came while the surface ended
            info = (type(error), error, error.__traceback__)
            say(self._log, logging.ERROR, "why %s had broken down:", self._what, exc_info=info)
            return False  # noqa: ASYNC104

    def _broke_down(self, reason: str) -> None:
        text = "%s has broken down, the tree goes on: %s"
        say(self._log, logging.ERROR, text, self._what, reason)
