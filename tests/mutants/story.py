"""Small scenarios that say what a user of the library would see; each is a finder, and a test.

A story uses only the public names, runs in virtual time, and ends in a plain statement. `simulate`
checks the invariants of `check_trace` beside it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_supervisor import BackoffPolicy, ChildSpec, SupervisorSpec
from trio_supervisor.testing import Behaviour, simulate

if TYPE_CHECKING:
    from collections.abc import Iterator

E = TypeVar("E", bound=BaseException)
Story: TypeAlias = Callable[[], Awaitable[None]]

STORIES: Final[dict[str, tuple[Story, tuple[int | None, ...]]]] = {}
UNWATCHED: Final[set[str]] = set()
AT_ONCE: Final = BackoffPolicy.delays(0)
PATIENCE: Final = 300.0  # virtual seconds: no story takes longer


def story(*seeds: int | None) -> Callable[[Story], Story]:
    """Keep a scenario under its name, with the schedules under which it has to hold."""

    def keep(scenario: Story) -> Story:
        name = scenario.__name__.replace("_", " ")
        assert name not in STORIES
        STORIES[name] = scenario, seeds or (None,)
        return scenario

    return keep


def unwatched_story(scenario: Story) -> Story:
    """Keep a scenario in which a clock jumps: for `check_trace`, no deadline can come late."""
    UNWATCHED.add(scenario.__name__.replace("_", " "))
    return story()(scenario)


def tell(name: str) -> None:
    """Run one story under each of its schedules.

    Raises:
        BaseException: It does not hold.
    """
    scenario, seeds = STORIES[name]
    if name in UNWATCHED:
        trio.run(scenario, clock=MockClock(autojump_threshold=0))
        return
    for seed in seeds:
        simulate(scenario, seed=seed, max_seconds=PATIENCE).check()


def tell_all() -> Iterator[str]:
    """For each story what is wrong with it, empty if nothing is."""
    for name in STORIES:
        try:
            tell(name)
        except (Exception, SystemExit) as error:  # not even the simulation survives it
            yield f"{name} ({type(error).__name__})"
        except BaseExceptionGroup as group:
            yield f"{name} ({group})"
        else:
            yield ""


def child(name: str, *args: Any, run: Any = None, **options: Any) -> ChildSpec[Any]:
    """A child that is restarted at once, and calm unless something else is said."""
    options.setdefault("backoff", AT_ONCE)
    return ChildSpec(name, Behaviour() if run is None else run, *args, **options)


def tree(*children: ChildSpec[Any] | SupervisorSpec, **options: Any) -> SupervisorSpec:
    """A supervisor named ``app``."""
    return SupervisorSpec("app", children, **options)


@contextmanager
def raises(kind: type[E]) -> Iterator[list[E]]:
    """Like that of pytest, which not every search for a bug has to load."""
    found: list[E] = []
    try:
        yield found
    except kind as error:
        found.append(error)
    else:
        raise AssertionError(f"no {kind.__name__} was raised")


async def settle() -> None:
    """Let everybody do what can be done without time passing."""
    await wait_all_tasks_blocked()


def now() -> float:
    """Virtual seconds."""
    return trio.current_time()
