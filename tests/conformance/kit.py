"""Children that a test moves by hand, and a supervisor whose promises are checked all the while.

A `Puppet` stands for one child over all its attempts. The test says how its attempts start and how
they take a stop, makes the live one crash or return, and reads off what happened: in ``lab.take()``
as a line of marks, one for each thing that a body sees::

    +a   an attempt of a began          ?a   it heard the request to stop
    -a   it ended                       !a   it was cancelled

Whatever else a test asserts, `Lab.run` asserts for all of them: never two live attempts of one
child, nobody left behind, one started and one exited event for each attempt, and a journal whose
fold is the state.
"""

from __future__ import annotations

import inspect
from collections import Counter, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import trio
from helpers.support import run_virtual
from trio.testing import wait_all_tasks_blocked

from trio_supervisor import (
    BackoffPolicy,
    ChildAdded,
    ChildContext,
    ChildExited,
    ChildSpec,
    ChildStarted,
    Event,
    ExitJudged,
    Supervisor,
    SupervisorSpec,
    fold,
    open_supervisor,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

P = ParamSpec("P")
E = TypeVar("E", bound=Event)

AT_ONCE = BackoffPolicy.delays(0)


class Boom(Exception):
    """The crash of a puppet."""


class _Finish(Exception):
    def __init__(self, value: object) -> None:
        self.value = value


class Puppet:
    """One child in the hands of the test.

    Attributes:
        starting: How the next attempts start, one entry each: ``"ok"``, ``"decline"`` (return
            before being ready), ``"hang"``, or an exception to raise. Then ``usually`` applies.
        start_takes: Seconds that an attempt needs before it does that.
        value: What it is ready with; a function of the attempt's number, or a plain value.
        hears: Whether it heeds a request to stop, or waits for the cancel.
        stop_takes: Seconds that it needs to heed one.
        cleanup: Seconds that it goes on for, shielded, after having been cancelled.
        at_stop: What it raises in the end when it is stopped.
        starts: How many attempts have begun.
        live: How many are alive.
        most_live: How many ever were at the same time.
        contexts: That of each attempt.
    """

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name
        self.starting: deque[str | Exception] = deque()
        self.usually: str | Exception = "ok"
        self.start_takes = 0.0
        self.value: object = None
        self.hears = True
        self.stop_takes = 0.0
        self.cleanup = 0.0
        self.at_stop: Exception | None = None
        self.starts = self.live = self.most_live = 0
        self.contexts: list[ChildContext] = []
        self._orders: trio.MemorySendChannel[Callable[[ChildContext], None]] | None = None

    async def body(self, child: ChildContext, *args: object) -> object:
        """What a `ChildSpec` runs."""
        self.starts += 1
        self.live += 1
        self.most_live = max(self.live, self.most_live)
        self.contexts.append(child)
        self.lab.note("+", self.name)
        try:
            return await self._perform(child)
        except _Finish as finish:
            return finish.value
        except trio.Cancelled:
            self.lab.note("!", self.name)
            with trio.CancelScope(shield=True):
                await trio.sleep(self.cleanup)
            if self.at_stop is not None:
                raise self.at_stop from None  # noqa: ASYNC104 - some bodies do
            raise
        finally:
            self.live -= 1
            self._orders = None
            self.lab.note("-", self.name)

    async def _perform(self, child: ChildContext) -> object:
        how = self.starting.popleft() if self.starting else self.usually
        if await self._hears_stop(child, trio.sleep, self.start_takes):
            await self._heed()
            return None
        if isinstance(how, Exception):
            raise how
        if how == "decline":
            return None
        if how == "hang":
            await self._hears_stop(child, trio.sleep_forever)
            await self._heed()
            return None
        if self.lab.is_explicit[self.name]:
            child.ready(self.value(child.attempt) if callable(self.value) else self.value)
        self._orders, orders = trio.open_memory_channel[Any](float("inf"))

        async def obey() -> None:
            while True:
                (await orders.receive())(child)
                if not self.hears:
                    return

        while not await self._hears_stop(child, obey):
            pass
        await self._heed()
        return None

    async def _hears_stop(
        self, child: ChildContext, wait: Callable[..., Awaitable[object]], *args: object
    ) -> bool:
        if not self.hears:
            await wait(*args)
            return False
        with child.stop_scope() as scope:
            await wait(*args)
        return scope.cancelled_caught

    async def _heed(self) -> None:
        self.lab.note("?", self.name)
        await trio.sleep(self.stop_takes)
        if self.at_stop is not None:
            raise self.at_stop

    # ------------------------------------------------------------ what the live attempt has to do

    async def does(self, order: Callable[[ChildContext], object]) -> None:
        """Let the live attempt call ``order(child)``, and all that follows from it happen."""
        self.do(order)
        await self.lab.settle()

    def do(self, order: Callable[[ChildContext], object]) -> None:
        """The same, but do not wait for it."""
        assert self._orders is not None, f"{self.name} has no attempt that could do this"

        def obey(child: ChildContext) -> None:
            order(child)

        self._orders.send_nowait(obey)

    async def crash(self, error: Exception | None = None) -> None:
        """It raises, and all that follows happens."""
        self.crash_soon(error)
        await self.lab.settle()

    def crash_soon(self, error: Exception | None = None) -> None:
        """It raises as soon as it runs."""

        def obey(child: ChildContext) -> None:
            raise Boom(self.name) if error is None else error

        self.do(obey)

    async def finish(self, value: object = None) -> None:
        """It returns."""
        await self.crash(_Finish(value))

    async def cancel_itself(self) -> None:
        """It ends by a cancel that nobody had asked for: what a kill is elsewhere."""
        await self.does(lambda child: child.nursery.cancel_scope.cancel())

    async def unready(self, reason: str = "") -> None:
        """It withdraws its readiness."""
        await self.does(lambda child: child.not_ready(reason))

    def next_starts(self, *how: str | Exception) -> None:
        """Say how the next attempts start."""
        self.starting.extend(how)


class Lab:
    """One supervisor with its puppets."""

    def __init__(self) -> None:
        self.puppets: dict[str, Puppet] = {}
        self.is_explicit: dict[str, bool] = {}
        self.trace: list[str] = []
        self._supervisor: Supervisor | None = None

    def __getitem__(self, name: str) -> Puppet:
        if name not in self.puppets:
            self.puppets[name] = Puppet(self, name)
        return self.puppets[name]

    @property
    def supervisor(self) -> Supervisor:
        """The one that runs, or ran last."""
        assert self._supervisor is not None
        return self._supervisor

    # ------------------------------------------------------------ declaring

    def child(self, name: str, *, args: tuple[object, ...] = (), **options: Any) -> ChildSpec[Any]:
        """The spec of a puppet: says itself when it is ready, is given time, restarts at once."""
        options.setdefault("readiness", "explicit")
        options.setdefault("grace", 5)
        if options.get("restart") != "temporary" or "decide" in options:
            options.setdefault("backoff", AT_ONCE)
        spec: ChildSpec[Any] = ChildSpec(name, self[name].body, *args, **options)
        self.is_explicit[name] = spec.is_explicit
        return spec

    def children(self, names: str, **options: Any) -> list[ChildSpec[Any]]:
        """Several alike: ``lab.children("a b c")``."""
        return [self.child(name, **options) for name in names.split()]

    # ------------------------------------------------------------ running

    @asynccontextmanager
    async def run(
        self,
        *children: ChildSpec[Any] | SupervisorSpec,
        name: str = "app",
        wait_ready: bool = True,
        check: bool = True,
        **options: Any,
    ) -> AsyncIterator[Supervisor]:
        """Run them under a supervisor around the block, and check it when it has ended."""
        spec = SupervisorSpec(name, children, **options)
        try:
            async with open_supervisor(spec, wait_ready=wait_ready) as supervisor:
                self._supervisor = supervisor
                await self.settle()
                yield supervisor
        finally:
            if check:
                self.check_end()

    async def settle(self) -> None:
        """Let everything happen that can happen now; time does not pass."""
        await wait_all_tasks_blocked()
        self.check()

    async def sleep(self, seconds: float) -> None:
        """Let time pass, and what falls due with it happen."""
        await trio.sleep(seconds)
        await self.settle()

    # ------------------------------------------------------------ seeing

    def note(self, mark: str, name: str) -> None:
        """Something happened to a body."""
        self.trace.append(mark + name)

    def take(self) -> str:
        """What happened since the last time."""
        trace, self.trace = self.trace, []
        return " ".join(trace)

    def starts(self, names: str) -> list[int]:
        """How often each of them was started."""
        return [self[name].starts for name in names.split()]

    def state(self, name: str) -> str:
        """Where a child stands; the empty string if nobody has that name."""
        above, _, last = name.rpartition("/")
        snapshot = self.supervisor.state()
        if above:
            nested = snapshot.child(above).supervisor
            if nested is None:
                return ""
            snapshot = nested
        return next((child.state.value for child in snapshot.children if child.name == last), "")

    def states(self, names: str) -> list[str]:
        """Where each of them stands."""
        return [self.state(name) for name in names.split()]

    def names(self) -> list[str]:
        """Who holds a name."""
        return [child.name for child in self.supervisor.state().children]

    def counts(self) -> tuple[int, int, int]:
        """Specs, active ones, ready ones."""
        counts = self.supervisor.count_children()
        return counts.specs, counts.active, counts.ready

    def events(self, cls: type[E], name: str = "") -> list[E]:
        """Those events of one kind, of one child if it is named."""
        path = f"{self.supervisor.path}/{name}" if name else ""
        return [
            event
            for event in self.supervisor.journal
            if isinstance(event, cls) and path in ("", event.path)
        ]

    def actions(self, name: str = "") -> list[str]:
        """What was decided, in order."""
        return [event.action for event in self.events(ExitJudged, name)]

    def exits(self, name: str) -> list[str]:
        """The kinds of the exits of a child, oldest first."""
        return [event.kind for event in self.events(ChildExited, name)]

    # ------------------------------------------------------------ what always holds

    def check(self) -> None:
        """What holds at every moment."""
        for puppet in self.puppets.values():
            assert puppet.most_live <= 1, f"{puppet.name} had {puppet.most_live} live attempts"
        if self._supervisor is not None:
            assert_fold_is_state(self._supervisor)

    def check_end(self) -> None:
        """What holds once the supervisor has ended."""
        self.check()
        for puppet in self.puppets.values():
            assert puppet.live == 0, f"{puppet.name} is still alive"
        if self._supervisor is not None:
            assert_attempts_are_told(self._supervisor)


def assert_fold_is_state(supervisor: Supervisor) -> None:
    """The events leave nothing out. (Only the root's state has all of the journal in it.)"""
    snapshot = supervisor.journal.base
    for event in supervisor.journal:
        snapshot = fold(snapshot, event)
    if snapshot.path == supervisor.path:
        assert snapshot == supervisor.state()


def assert_attempts_are_told(supervisor: Supervisor) -> None:
    """Each attempt has one started and one exited event, as far as the journal goes back."""
    started: Counter[tuple[int, str, int, int]] = Counter()
    exited: Counter[tuple[int, str, int, int]] = Counter()
    lives: Counter[tuple[int, str]] = Counter()
    for event in supervisor.journal:
        # A name that has become free may be taken again; attempts are counted anew then.
        lives[event.run, event.path] += isinstance(event, ChildAdded)
        key = event.run, event.path, lives[event.run, event.path], event.attempt
        started[key] += isinstance(event, ChildStarted)
        exited[key] += isinstance(event, ChildExited)
    assert max(started.values(), default=0) <= 1
    assert max(exited.values(), default=0) <= 1
    if supervisor.journal.last_sequence <= supervisor.journal.capacity:
        assert started == exited


def scenario(play: Callable[Concatenate[Lab, P], Awaitable[None]]) -> Callable[P, None]:
    """Make a test of an async function of a `Lab`, to be run in virtual time."""

    def test(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            await play(Lab(), *args, **kwargs)

        run_virtual(main)

    signature = inspect.signature(play)
    parameters = list(signature.parameters.values())[1:]
    test.__name__ = test.__qualname__ = play.__name__
    test.__module__ = play.__module__
    test.__doc__ = play.__doc__
    # For pytest: which arguments it is to pass, and where the test stands.
    vars(test).update(__wrapped__=play, __signature__=signature.replace(parameters=parameters))
    return test
