"""The words of a declaration: enums, restart limits, backoff."""

from __future__ import annotations

import sys
from enum import Enum, StrEnum
from random import Random
from typing import Final, Literal, Self, TypeAlias, final

import attrs

from trio_supervisor._errors import SpecError
from trio_supervisor._lazy import public
from trio_supervisor._specs.checks import check_count, check_number, check_seconds, refuse
from trio_supervisor._text import is_a


@public
@final
class RestartPolicy(StrEnum):
    """Whether a child that ended by itself is started again (the names and rules are OTP's)."""

    PERMANENT = "permanent"
    """Always, even after it returned."""
    TRANSIENT = "transient"
    """After a failure; once it has returned it is done."""
    TEMPORARY = "temporary"
    """Never; it is forgotten when it ends, however it ends."""


@public
@final
class SupervisionStrategy(StrEnum):
    """The strategy of a supervisor: which children restart together (OTP's strategies)."""

    ONE_FOR_ONE = "one_for_one"
    """The failed child alone."""
    ONE_FOR_ALL = "one_for_all"
    """The failed child and every sibling."""
    REST_FOR_ONE = "rest_for_one"
    """The failed child, its successors, and all that require it, also indirectly."""


@public
@final
class Ordering(StrEnum):
    """The ordering of a supervisor: which children wait for which in a round."""

    SEQUENCE = "sequence"
    """Each child waits for the one before it in the list."""
    GRAPH = "graph"
    """Each child waits for its requirements only; others start and stop concurrently."""


@public
@final
class ReadinessPolicy(StrEnum):
    """The readiness of a child: from when on an attempt counts as ready."""

    IMMEDIATE = "immediate"
    """From its start."""
    EXPLICIT = "explicit"
    """From the body's call of ``child.ready()``."""


@public
@final
class ReadinessState(StrEnum):
    """The last statement of an attempt about its readiness."""

    UNREPORTED = "unreported"
    READY = "ready"
    NOT_READY = "not_ready"


@public
@final
class AutoShutdown(StrEnum):
    """Whether a supervisor finishes because of its children (EEP-56, and ``all_done``)."""

    NEVER = "never"
    """Not even when all children are at rest."""
    ANY_SIGNIFICANT = "any_significant"
    """When one significant child has ended for good."""
    ALL_SIGNIFICANT = "all_significant"
    """When the last significant child has ended for good."""
    ALL_DONE = "all_done"
    """When no child is alive and none can come back without a command."""


@public
@final
class OnLimit(StrEnum):
    """The reaction to a child that has used up its own restart limit."""

    ESCALATE = "escalate"
    """The supervisor stops all its children and raises `RestartLimitExceeded`."""
    QUARANTINE = "quarantine"
    """The child is taken down and marked for inspection; its siblings go on."""


RestartPolicyLike: TypeAlias = RestartPolicy | Literal["permanent", "transient", "temporary"]
StrategyLike: TypeAlias = (
    SupervisionStrategy | Literal["one_for_one", "one_for_all", "rest_for_one"]
)
OrderingLike: TypeAlias = Ordering | Literal["sequence", "graph"]
ReadinessPolicyLike: TypeAlias = ReadinessPolicy | Literal["immediate", "explicit"]
AutoShutdownLike: TypeAlias = (
    AutoShutdown | Literal["never", "any_significant", "all_significant", "all_done"]
)
OnLimitLike: TypeAlias = OnLimit | Literal["escalate", "quarantine"]


@public
@final
class Inherit(Enum):
    """The type of `INHERIT`."""

    INHERIT = "inherit"

    def __repr__(self) -> str:
        return "INHERIT"


INHERIT: Final = Inherit.INHERIT
"""A child's ``restart_limit`` when it has none of its own: its supervisor's rule applies."""


def _show(seconds: float) -> str:
    """A number as one would have typed it: 30, not 30.0."""
    return repr(int(seconds)) if seconds == seconds // 1 and abs(seconds) < 1e15 else repr(seconds)


@public
@final
@attrs.frozen(repr=False)
class RestartLimit:
    """At most ``max_restarts`` restarts within any ``within`` seconds.

    A sliding window, exact: a restart at time ``t`` counts at ``now`` while ``t > now - within``,
    and the next one is admitted if fewer than ``max_restarts`` count. (OTP: intensity and period.)

    Args:
        max_restarts: How many; 0 means that the first failure is already one too many.
        within: Length of the window in seconds, more than 0. `math.inf` counts over the whole life.

    Raises:
        SpecError: A value out of range or of the wrong type.

    Example:
        ``RestartLimit(10, within=120)``
    """

    max_restarts: int
    within: float

    def __attrs_post_init__(self) -> None:
        count = check_count("RestartLimit", "max_restarts", self.max_restarts)
        within = check_seconds("RestartLimit", "within", self.within, positive=True)
        object.__setattr__(self, "max_restarts", count)
        object.__setattr__(self, "within", within)

    def __repr__(self) -> str:
        return f"RestartLimit({self.max_restarts}, within={_show(self.within)})"


def check_limit(owner: str, field: str, value: object) -> None:
    """Refuse what is neither a `RestartLimit` nor `None`; a tuple is the likely mistake."""
    if value is not None and not is_a(value, RestartLimit):
        refuse(owner, field, value, "a RestartLimit, such as RestartLimit(10, within=120), or None")


def check_backoff(owner: str, value: object) -> None:
    """Refuse what is no `BackoffPolicy`; a number is the likely mistake."""
    if not is_a(value, BackoffPolicy):
        refuse(owner, "backoff", value, "a BackoffPolicy, such as BackoffPolicy(initial=1)")


@public
@final
@attrs.frozen(repr=False)
class BackoffPolicy:
    """The delays before restarts, growing with each consecutive failure.

    The wait before restart number ``n`` (counted from 0) is
    ``min(maximum, initial * factor**n) * (1 + jitter * U(-1, 1))`` seconds, where ``U`` is uniform:
    jitter keeps a fleet from coming back in step, and may exceed ``maximum`` by its own share.
    Counting starts anew once an attempt has been ready for ``reset_after``. (OTP has no backoff.)

    Args:
        initial: The first delay in seconds, finite; 0 restarts at once. Default: 0.1.
        factor: Ratio of each delay to the one before; finite, at least 1. Default: 2.
        maximum: The longest delay in seconds, at least ``initial``; `math.inf` for no bound.
            Default: 30.
        jitter: Share of the delay that is random, from 0 (none) to 1 (up to twice the delay).
            Default: 0.1.
        reset_after: Seconds of readiness after which earlier failures no longer count;
            `math.inf`: they always count. Default: 60.

    Raises:
        SpecError: A value out of range or of the wrong type, or ``initial`` above ``maximum``.

    Example:
        ``BackoffPolicy(initial=0.5, maximum=60)``, or waits by hand:
        ``BackoffPolicy.delays(0, 1, 1, 30)``
    """

    initial: float = 0.1
    factor: float = 2
    maximum: float = 30
    jitter: float = 0.1
    reset_after: float = 60
    steps: tuple[float, ...] = attrs.field(default=(), init=False)
    """The waits that `delays` was given, else empty."""

    def __attrs_post_init__(self) -> None:
        owner = "BackoffPolicy"
        initial = self.initial  # as it was written, for the complaint
        put = object.__setattr__  # the class is frozen
        # All as floats: an int raised to the number of failures would grow without bound.
        put(self, "initial", check_seconds(owner, "initial", self.initial, finite=True))
        factor = check_number(owner, "factor", self.factor, least=1.0, finite=True)
        put(self, "factor", factor)
        put(self, "maximum", check_seconds(owner, "maximum", self.maximum))
        put(self, "jitter", check_number(owner, "jitter", self.jitter, most=1.0))
        put(self, "reset_after", check_seconds(owner, "reset_after", self.reset_after))
        if self.initial > self.maximum:
            expected = f"at most maximum={_show(self.maximum)}"
            raise SpecError("initial", initial, expected, owner=owner)

    @classmethod
    def delays(cls, *seconds: float, jitter: float = 0.0, reset_after: float = 60) -> Self:
        """A policy that waits these ``seconds`` in turn; the last one repeats.

        Args:
            *seconds: The waits, at least one, each finite and 0 or more.
            jitter: As in the formula, but none unless asked for.
            reset_after: As in the class.

        Raises:
            SpecError: No wait was given, or a value is out of range or of the wrong type.
        """
        owner = "BackoffPolicy.delays"
        if not seconds:
            raise SpecError("seconds", seconds, "at least one delay", owner=owner)
        steps = tuple(
            check_seconds(owner, f"seconds[{index}]", value, finite=True)
            for index, value in enumerate(seconds)
        )
        policy = cls(steps[0], 1.0, max(steps), jitter, reset_after)
        object.__setattr__(policy, "steps", steps)
        return policy

    def delay(self, step: int, random: Random) -> float:
        """The wait before the restart number ``step``, in seconds; never negative, always finite.

        Args:
            step: Failures in a row before this one; any size.
            random: Where the jitter comes from; not touched if there is no jitter. A source that
                raises, or gives something else than a number from -1 to 1, counts as no jitter.
        """
        if self.steps:
            seconds = self.steps[step] if step < len(self.steps) else self.steps[-1]
        elif step == 0 or self.factor == 1 or self.initial == 0:
            seconds = self.initial
        else:
            try:
                seconds = min(self.maximum, self.initial * self.factor**step)
            except OverflowError:  # so many failures that the power has no float
                seconds = self.maximum
        if self.jitter:
            seconds *= 1 + self.jitter * _share(random)
        return min(seconds, _LONGEST)

    def __repr__(self) -> str:
        if self.steps:
            shown = [_show(step) for step in self.steps]
            names = {"jitter": 0.0, "reset_after": 60}
            head = "BackoffPolicy.delays"
        else:
            shown = []
            names = {"initial": 0.1, "factor": 2, "maximum": 30, "jitter": 0.1, "reset_after": 60}
            head = "BackoffPolicy"
        for name, default in names.items():
            value: float = getattr(self, name)
            if value != default:
                shown.append(f"{name}={_show(value)}")
        return f"{head}({', '.join(shown)})"


def _share(random: Random) -> float:
    """A random number from -1 to 1; 0 from a source that raises or returns anything else."""
    try:
        share = float(random.uniform(-1, 1))
    except BaseException:  # the source is the user's; a restart must not depend on it
        return 0.0
    return share if -1.0 <= share <= 1.0 else 0.0


# An unbounded policy that has failed a thousand times: "never" would be a lie, `inf` no time.
_LONGEST: Final = sys.float_info.max / 4
