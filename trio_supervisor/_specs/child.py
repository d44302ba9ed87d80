"""One child, as a user declares it. Frozen, validated when made, no behaviour."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from math import inf
from typing import (
    Any,
    Final,
    Generic,
    TypeVar,
    TypeVarTuple,
    Unpack,
    final,
    overload,
)

import attrs

import trio_supervisor
from trio_supervisor._events.exits import ChildRunReport
from trio_supervisor._lazy import public
from trio_supervisor._specs.body import Body, label_of
from trio_supervisor._specs.check_run import check_decide, check_run
from trio_supervisor._specs.checks import (
    check_bool,
    check_choice,
    check_fatal_types,
    check_level,
    check_name,
    check_seconds,
    items_of,
    refuse,
)
from trio_supervisor._specs.decisions import RestartDecision
from trio_supervisor._specs.options import ChildChanges, ChildOptions, Declared
from trio_supervisor._specs.policy import (
    INHERIT,
    BackoffPolicy,
    Inherit,
    OnLimit,
    OnLimitLike,
    ReadinessPolicy,
    ReadinessPolicyLike,
    RestartLimit,
    RestartPolicy,
    RestartPolicyLike,
    check_backoff,
    check_limit,
)
from trio_supervisor._text import is_a, plain_str

T_co = TypeVar("T_co", covariant=True)
Ts = TypeVarTuple("Ts")

DEFAULT_BACKOFF: Final = BackoffPolicy()
DEFAULT_START_TIMEOUT: Final = 30.0
_EXPLICIT: Final = ReadinessPolicy.EXPLICIT  # up to Python 3.11 the look-up takes far longer
_NO_TYPES: Final = ()
_NO_NAMES: Final = ()
_NONE_GIVEN: Final[frozenset[str]] = frozenset()
_OPTIONS: Final = tuple(ChildOptions.__annotations__)
# Options whose default depends on other things: `replace` has to know whether they were given.
_DEPENDENT: Final = frozenset({"readiness", "start_timeout", "backoff", "on_limit"})


@public
@final
@attrs.frozen(init=False, repr=False, hash=False, weakref_slot=False)
class ChildSpec(Declared, Generic[T_co]):
    """Declare one child: the function to keep running and the rules for restarting and stopping it.

    Use it for work that must survive its own failures, wait for other work to be ready, or finish
    cleanly at shutdown. In a plain nursery the first exception cancels every sibling instead. A
    spec is an immutable value, validated when it is created; `replace` makes changed copies. It
    runs nothing until a supervisor is opened with it. ``T_co`` is the type of the value that the
    child passes to ``child.ready()``.

    All durations are in seconds on Trio's clock; `math.inf` means no limit. With all defaults, a
    child whose dependency is dead is restarted 10 times in about 80 seconds (backoff 0.1, 0.2, ...
    up to 30) and then ends its supervisor; ``backoff`` and ``restart_limit`` change that, for
    example ``backoff=BackoffPolicy(maximum=10)`` and ``restart_limit=None``: for ever.

    Args:
        name: Unique among siblings; printable, without ``/``.
        run: Async function, called as ``run(child, *args)`` once per attempt; or an adapter
            (`plain`, `serving`, `holding`, `in_thread`).
        *args: Further positional arguments for ``run``.
        restart: ``"permanent"`` (default): restart after every exit. ``"transient"``: restart after
            a failure only. ``"temporary"``: never restart, and forget the child when it exits.
        readiness: ``"immediate"``: ready when the attempt starts. ``"explicit"``: ready when the
            body calls ``child.ready()``. Default: what the adapter declares, otherwise immediate.
        start_timeout: Time from the attempt's start to its first readiness; then the attempt is
            stopped as `TimedOut`. Explicit readiness only. Default: 30.
        retry_first_start: Whether a failure before the child was ever ready is retried by policy.
            Default: false; such a failure ends the start of the tree (or `start_child`). Explicit
            readiness only.
        max_runtime: Longest duration of one attempt; then it is stopped as `TimedOut`. Default: no
            limit.
        stale_after: Longest silence while ready; then the attempt is stopped as `Unhealthy`.
            Default: no limit.
        grace: Time from the stop request to the cancel; 0 makes one step of them. Default: 5 for an
            attempt that can notice the request, because its adapter listens for it or its body has
            used ``stop_requested``, ``stop_scope()`` or ``wait_stop_requested()``; 0 for any other.
        backoff: Delays before restarts. Default: `BackoffPolicy`, 0.1 doubling to 30, 10 % jitter.
        restart_limit: This child's own limit; `None` for no limit. Default: the supervisor's
            ``child_restart_limit``, which is 10 restarts in 120 seconds
            unless a shared ``restart_limit`` is given.
        on_limit: At this child's own limit (or ``child_restart_limit``), ``"escalate"`` (default):
            the supervisor stops all children and raises `RestartLimitExceeded`. ``"quarantine"``:
            take this child down; siblings continue. A supervisor's shared ``restart_limit`` always
            escalates.
        requires: Siblings (names or specs) that must be ready, or done after success, at every
            start. In a sequence, earlier ones only. Losing one does not stop a running child.
            Default: none.
        significant: Whether this child's end can trigger ``auto_shutdown``. Default: false.
        decide: Synchronous function from `ChildRunReport` to a decision that overrides ``restart``,
            or `None` to keep it. Not called for stopped attempts or a failed first start. Default:
            none.
        log_level: The lowest level that is logged of this child, such as ``"warning"`` for one of
            many connections. Default: that of its supervisor.
        fatal_is_failure: Exception types outside `Exception` that count as this child's failure.
            Any other one is fatal: it ends the whole tree. For the panic of a binding, or
            `asyncio.CancelledError` from another event loop. The exit is then `Crashed` with a
            `RuntimeError` that has the exception as its cause. Default: none.

    Raises:
        SpecError: A value is out of range, or an option could have no effect in this combination.

    Example:
        ``ChildSpec("feed", read_feed, "wss://prices", readiness="explicit", stale_after=30)``
    """

    name: str
    run: Callable[..., Awaitable[object]]
    args: tuple[Any, ...]
    restart: RestartPolicy
    readiness: ReadinessPolicy
    start_timeout: float
    retry_first_start: bool
    max_runtime: float
    stale_after: float
    grace: float | None
    backoff: BackoffPolicy
    restart_limit: RestartLimit | Inherit | None
    on_limit: OnLimit
    requires: tuple[str, ...]
    significant: bool
    decide: Callable[[ChildRunReport], RestartDecision | None] | None
    log_level: int | None
    fatal_is_failure: tuple[type[BaseException], ...]
    supervisor: trio_supervisor.SupervisorSpec | None
    """The nested supervisor that this child is, made by `SupervisorSpec.as_child`; else `None`."""
    _given: frozenset[str] = attrs.field(eq=False)
    # What a test's double was made from: siblings ask for the value of the spec that they know.
    _stands_for: ChildSpec[Any] | None = attrs.field(eq=False)
    """Which of the options with a default that depends on other things were named."""

    @overload
    def __init__(
        self,
        name: str,
        run: Body[T_co],
        *,
        restart: RestartPolicyLike = "permanent",
        readiness: ReadinessPolicyLike | None = None,
        start_timeout: float | None = None,
        retry_first_start: bool = False,
        max_runtime: float = inf,
        stale_after: float = inf,
        grace: float | None = None,
        backoff: BackoffPolicy | None = None,
        restart_limit: RestartLimit | Inherit | None = INHERIT,
        on_limit: OnLimitLike | None = None,
        requires: Iterable[str | ChildSpec[Any] | trio_supervisor.SupervisorSpec] = _NO_NAMES,
        significant: bool = False,
        decide: Callable[[ChildRunReport], RestartDecision | None] | None = None,
        log_level: int | str | None = None,
        fatal_is_failure: tuple[type[BaseException], ...] = _NO_TYPES,
    ) -> None: ...

    @overload
    def __init__(
        self: ChildSpec[Any],
        name: str,
        run: Callable[[trio_supervisor.ChildContext, *Ts], Awaitable[object]],
        *args: *Ts,
        restart: RestartPolicyLike = "permanent",
        readiness: ReadinessPolicyLike | None = None,
        start_timeout: float | None = None,
        retry_first_start: bool = False,
        max_runtime: float = inf,
        stale_after: float = inf,
        grace: float | None = None,
        backoff: BackoffPolicy | None = None,
        restart_limit: RestartLimit | Inherit | None = INHERIT,
        on_limit: OnLimitLike | None = None,
        requires: Iterable[str | ChildSpec[Any] | trio_supervisor.SupervisorSpec] = _NO_NAMES,
        significant: bool = False,
        decide: Callable[[ChildRunReport], RestartDecision | None] | None = None,
        log_level: int | str | None = None,
        fatal_is_failure: tuple[type[BaseException], ...] = _NO_TYPES,
    ) -> None: ...

    def __init__(
        self,
        name: str,
        run: Callable[..., Awaitable[object]],
        *args: object,
        restart: RestartPolicyLike = "permanent",
        readiness: ReadinessPolicyLike | None = None,
        start_timeout: float | None = None,
        retry_first_start: bool = False,
        max_runtime: float = inf,
        stale_after: float = inf,
        grace: float | None = None,
        backoff: BackoffPolicy | None = None,
        restart_limit: RestartLimit | Inherit | None = INHERIT,
        on_limit: OnLimitLike | None = None,
        requires: Iterable[str | ChildSpec[Any] | trio_supervisor.SupervisorSpec] = _NO_NAMES,
        significant: bool = False,
        decide: Callable[[ChildRunReport], RestartDecision | None] | None = None,
        log_level: int | str | None = None,
        fatal_is_failure: tuple[type[BaseException], ...] = _NO_TYPES,
    ) -> None:
        name = check_name("ChildSpec", name)
        owner = f"ChildSpec {name!r}"
        check_run(owner, run, args)
        put = object.__setattr__  # the class is frozen
        put(self, "name", name)
        put(self, "run", run)
        put(self, "args", args)
        put(self, "restart", check_choice(owner, "restart", restart, RestartPolicy))
        put(self, "decide", decide)
        put(self, "log_level", check_level(owner, "log_level", log_level))
        put(self, "fatal_is_failure", fatal_is_failure)
        if fatal_is_failure is not _NO_TYPES:
            put(self, "fatal_is_failure", check_fatal_types(owner, fatal_is_failure))
        put(self, "supervisor", None)
        put(self, "_given", _NONE_GIVEN)
        put(self, "_stands_for", None)
        put(self, "requires", ())
        put(self, "significant", significant)
        body: Body[Any] | None = run if issubclass(type(run), Body) else None  # type: ignore[assignment]
        if (
            (body is None and decide is None and readiness is None and start_timeout is None)
            and (grace is None and backoff is None and on_limit is None and requires is _NO_NAMES)
            and (retry_first_start is False and significant is False)
            and (max_runtime is inf and stale_after is inf and restart_limit is INHERIT)
        ):
            for set_slot, value in _ALL_DEFAULTS:  # a third of the instructions of what follows
                set_slot(self, value)
            return
        self._set_readiness(owner, body, readiness, start_timeout, retry_first_start)
        self._set_times(owner, body, max_runtime, stale_after, grace)
        self._set_restarts(owner, backoff, restart_limit, on_limit)
        if requires is not _NO_NAMES:
            put(self, "requires", _names(owner, name, requires))
        if significant is not False:
            self._check_significant(owner)
        if decide is not None:
            check_decide(owner, decide)

    def _set_readiness(
        self,
        owner: str,
        body: Body[Any] | None,
        readiness: ReadinessPolicyLike | None,
        start_timeout: float | None,
        retry_first_start: bool,
    ) -> None:
        put = object.__setattr__
        declared = None if body is None else body.readiness
        if readiness is None:
            chosen = declared or ReadinessPolicy.IMMEDIATE
        else:
            self._note("readiness")
            chosen = check_choice(owner, "readiness", readiness, ReadinessPolicy)
            if declared is not None and chosen is not declared:
                expected = f"{str(declared)!r}, as {label_of(body)} declares it"
                refuse(owner, "readiness", str(chosen), expected)
        put(self, "readiness", chosen)
        put(self, "retry_first_start", retry_first_start)
        if retry_first_start is not False:
            check_bool(owner, "retry_first_start", retry_first_start)
        if chosen is ReadinessPolicy.EXPLICIT:
            if start_timeout is None:
                start_timeout = DEFAULT_START_TIMEOUT
            else:
                self._note("start_timeout")
                start_timeout = check_seconds(owner, "start_timeout", start_timeout, positive=True)
            put(self, "start_timeout", start_timeout)
            return
        put(self, "start_timeout", inf)
        expected = "nothing: with readiness='immediate' it is ready as soon as it starts"
        if start_timeout is not None:
            refuse(owner, "start_timeout", start_timeout, expected)
        if retry_first_start:
            refuse(owner, "retry_first_start", retry_first_start, expected)

    def _set_times(
        self,
        owner: str,
        body: Body[Any] | None,
        max_runtime: float,
        stale_after: float,
        grace: float | None,
    ) -> None:
        put = object.__setattr__
        if max_runtime is not inf:
            max_runtime = check_seconds(owner, "max_runtime", max_runtime, positive=True)
        if stale_after is not inf:
            stale_after = check_seconds(owner, "stale_after", stale_after, positive=True)
        if grace is not None:
            grace = check_seconds(owner, "grace", grace)
        put(self, "max_runtime", max_runtime)
        put(self, "stale_after", stale_after)
        put(self, "grace", grace)
        if body is not None:
            if grace and not body.hears_stop:
                expected = f"0: {body.label} cannot hear a stop request and is cancelled at once"
                refuse(owner, "grace", grace, expected)
            if stale_after < inf and not body.can_heartbeat:
                expected = f"nothing: {body.label} cannot send heartbeats"
                refuse(owner, "stale_after", stale_after, expected)

    def _set_restarts(
        self,
        owner: str,
        backoff: BackoffPolicy | None,
        restart_limit: RestartLimit | Inherit | None,
        on_limit: OnLimitLike | None,
    ) -> None:
        put = object.__setattr__
        put(self, "backoff", DEFAULT_BACKOFF if backoff is None else backoff)
        put(self, "restart_limit", restart_limit)
        put(self, "on_limit", OnLimit.ESCALATE)
        never = self.restart is RestartPolicy.TEMPORARY and self.decide is None
        useless = "nothing: a temporary child without decide is never restarted"
        if backoff is not None:
            self._note("backoff")
            check_backoff(owner, backoff)
            if never:
                refuse(owner, "backoff", backoff, useless)
        if restart_limit is not INHERIT:
            check_limit(owner, "restart_limit", restart_limit)
            if never:
                refuse(owner, "restart_limit", restart_limit, useless)
        if on_limit is not None:
            self._note("on_limit")
            put(self, "on_limit", check_choice(owner, "on_limit", on_limit, OnLimit))
            if restart_limit is None:
                expected = "nothing: with restart_limit=None there is no limit to reach"
                refuse(owner, "on_limit", str(on_limit), expected)
            if never:
                refuse(owner, "on_limit", str(on_limit), useless)

    def _check_significant(self, owner: str) -> None:
        check_bool(owner, "significant", self.significant)
        if self.significant and self.restart is RestartPolicy.PERMANENT:
            expected = "False with restart='permanent', which always comes back (EEP-56)"
            refuse(owner, "significant", self.significant, expected)

    def _note(self, option: str) -> None:
        object.__setattr__(self, "_given", self._given | {option})

    @property
    def is_explicit(self) -> bool:
        """Whether the body itself says when it is ready."""
        return self.readiness is _EXPLICIT

    def _standing_for(self, original: ChildSpec[Any]) -> ChildSpec[T_co]:
        """Mark this spec as a double: `ChildContext.value` finds it for ``original``, too."""
        object.__setattr__(self, "_stands_for", original._stands_for or original)
        return self

    def replace(self, **changes: Unpack[ChildChanges]) -> ChildSpec[T_co]:
        """A copy with some options changed, validated anew.

        What was not given stays not given: a child made explicit gets the default
        ``start_timeout``, and one whose ``run`` is replaced the readiness of its new adapter. To
        take back one that was given, pass `None` (or `INHERIT` for ``restart_limit``).

        Args:
            **changes: Any option; also ``name``, ``run`` and ``args`` (a tuple).

        Raises:
            SpecError: As for a new one; also when ``run`` or ``args`` of a nested supervisor are to
                be changed.
        """
        options: dict[str, Any] = {
            option: getattr(self, option)
            for option in _OPTIONS
            if option not in _DEPENDENT or option in self._given
        }
        options |= changes
        name = options.pop("name", self.name)
        if self.supervisor is not None:
            for field in ("run", "args"):
                if field in options:
                    expected = "nothing: this child is a nested supervisor"
                    refuse(f"ChildSpec {self.name!r}", field, options[field], expected)
            nested = self.supervisor
            if name != nested.name:
                nested = nested.replace(name=name)
            child: ChildSpec[Any] = nested.as_child(**options)  # T_co is Supervisor here
            return child
        run = options.pop("run", self.run)
        args = options.pop("args", self.args)
        return ChildSpec(name, run, *args, **options)

    __replace__ = replace  # copy.replace() of newer Pythons

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        # Without args: they may be huge, or secret.
        if self.supervisor is not None:
            shown = [repr(self.name), repr(self.supervisor)]
        else:
            shown = [repr(self.name), label_of(self.run)]
        if self.restart is not RestartPolicy.PERMANENT:
            shown.append(f"restart={str(self.restart)!r}")
        return f"ChildSpec({', '.join(shown)})"


_ALL_DEFAULTS: Final = tuple(
    [
        (getattr(ChildSpec, field).__set__, value)
        for field, value in {
            "readiness": ReadinessPolicy.IMMEDIATE,
            "start_timeout": inf,
            "retry_first_start": False,
            "max_runtime": inf,
            "stale_after": inf,
            "grace": None,
            "backoff": DEFAULT_BACKOFF,
            "restart_limit": INHERIT,
            "on_limit": OnLimit.ESCALATE,
        }.items()
    ]
)
"""How to set the fields of a child without options, of which a pool makes one for each task."""


def _names(owner: str, name: str, requires: object) -> tuple[str, ...]:
    """The names in ``requires``, each once."""
    expected = "names or specs of siblings, such as ('db',)"
    if is_a(requires, (str, bytes, Declared)):
        refuse(owner, "requires", requires, "a tuple of names or specs, such as ('db',)")
    names: dict[str, None] = {}
    for item in items_of(owner, "requires", requires, expected):
        target = plain_str(item) if is_a(item, str) else item
        if is_a(item, Declared):
            target = item.name
        if not is_a(target, str) or target == "":
            refuse(owner, "requires", target, expected)
        if target == name:
            refuse(owner, "requires", target, "other children, not itself")
        if target in names:
            refuse(owner, "requires", target, "each name once")
        names[target] = None
    return tuple(names)
