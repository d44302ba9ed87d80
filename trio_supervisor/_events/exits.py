"""The exits of attempts: one type per cause, the report, and the function that classifies.

A nursery shows *that* a task ended. A supervisor needs to know *why*: did the body finish, did it
crash, did the supervisor stop it, did it cancel itself? Each cause is a type of its own, so that
policy, logs and tests can match on the type instead of guessing from exceptions.

Nothing in this module waits, reads a clock or knows Trio: `classify` sees only recorded facts, and
can be tested with every combination of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, final

from trio_supervisor._errors import PastError, SpecError, TaskFailure, leaf_first
from trio_supervisor._events.plain import (
    SCHEMA,
    check_schema,
    error_to_plain,
    number,
    record_from,
    to_plain,
)
from trio_supervisor._lazy import public
from trio_supervisor._record import Record
from trio_supervisor._text import (
    error_line,
    one_line,
    seconds_text,
    short_repr,
    text_of,
    type_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ExitKind = Literal[
    "succeeded",
    "failed",
    "crashed",
    "timed_out",
    "unhealthy",
    "stopped",
    "aborted",
    "self_cancelled",
]
TimedOutPhase = Literal["start", "run"]

_LONGEST_LINE = 200
_LONGEST_CATEGORY = 40
_MOST_CAUSES = 5


@public
class TaskExit(Record):
    """The exit of one attempt: one of the subclasses. Match on the type or on `kind`.

    Attributes:
        kind: The cause as a word: ``"crashed"``, ``"stopped"``, ...
        is_success: Whether the body did its work and returned.
        is_failure: Whether the exit counts against the child. Restart policy and limits look at
            nothing else.
    """

    kind: ClassVar[ExitKind]
    is_success: ClassVar[bool] = False
    is_failure: ClassVar[bool] = False

    @property
    def error(self) -> Exception | None:
        """The exception behind this exit, if there is one; a group, if there were several."""
        return None

    def has(self, wanted: type[Exception] | tuple[type[Exception], ...]) -> bool:
        """Return whether the error, or one inside a group at any depth, is a ``wanted`` one."""
        pending: list[BaseException] = [] if self.error is None else [self.error]
        opened: set[int] = set()
        while pending:
            found = pending.pop()
            cls = type(found)
            if issubclass(cls, wanted):
                return True
            if issubclass(cls, BaseExceptionGroup) and id(found) not in opened:
                opened.add(id(found))
                pending.extend(_EXCEPTIONS.__get__(found))
        return False

    @property
    def detail(self) -> str:
        """The facts beside the kind, on one line, such as ``ValueError: boom``; may be empty.

        At most 200 characters together with the kind. Never raises, whatever the error's ``str``
        does. The text stays the same when the exception itself is no longer kept.
        """
        text = self._detail()
        return one_line(text, _LONGEST_LINE - len(self.kind) - 2) if text else ""

    def describe(self) -> str:
        """Return this exit as one line of at most 200 characters: its kind, then its `detail`."""
        line, detail = self.kind.replace("_", " "), self.detail
        return f"{line}: {detail}" if detail else line

    def _detail(self) -> str:
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Return the exit as plain JSON values; `exit_from_dict` reads them.

        Keys are ``kind``, ``detail`` (as `describe` returns it) and the exit's fields. An exception
        becomes its ``type``, ``message`` and ``traceback``, a returned value its `repr`.
        """
        plain: dict[str, Any] = {"kind": self.kind, "detail": self.describe()}
        if self.error is not None:
            plain |= error_to_plain(self.error)
            if isinstance(self, Failed):
                plain["category"] = category_of(self.failure)
        elif isinstance(self, Succeeded):
            plain["value"] = None if self.value is None else short_repr(self.value)
        else:
            plain |= to_plain(self)
        return plain


@public
@final
class Succeeded(TaskExit):
    """The body returned without having been asked to stop.

    Attributes:
        value: What the body returned.
    """

    kind: ClassVar[ExitKind] = "succeeded"
    is_success: ClassVar[bool] = True
    value: object = None


@public
@final
class Failed(TaskExit):
    """The body raised `TaskFailure`: a failure on purpose.

    Attributes:
        failure: The exception; `error` is the same.
    """

    kind: ClassVar[ExitKind] = "failed"
    is_failure: ClassVar[bool] = True
    failure: TaskFailure

    @property
    def error(self) -> TaskFailure:
        """The `TaskFailure` that was raised."""
        return self.failure

    def _detail(self) -> str:
        return f"{text_of(self.failure)} ({category_of(self.failure)}){_causes_of(self.failure)}"


@public
@final
class Crashed(TaskExit):
    """An exception came out of the body or its background tasks; a group, if several did.

    Attributes:
        error: The exception itself, with its traceback, cause and notes. In older reports, a
            `PastError` with its text.
    """

    kind: ClassVar[ExitKind] = "crashed"
    is_failure: ClassVar[bool] = True
    # Frozen, so it reads like the property it overrides.
    error: Exception  # pyright: ignore[reportIncompatibleMethodOverride]

    def _detail(self) -> str:
        if type(self.error) is PastError:
            return text_of(self.error)
        name, text = type_name(self.error), leaf_first(self.error)
        return f"{name}: {text}" if text else name


@public
@final
class TimedOut(TaskExit):
    """The supervisor stopped the attempt because a time limit had passed.

    Attributes:
        phase: ``"start"``: the attempt was not ready within ``start_timeout``. ``"run"``: it ran
            for ``max_runtime``.
        seconds: How long that was.
    """

    kind: ClassVar[ExitKind] = "timed_out"
    is_failure: ClassVar[bool] = True
    phase: TimedOutPhase
    seconds: float

    def _detail(self) -> str:
        what = "not ready within" if self.phase == "start" else "still running after"
        return f"{what} {seconds_text(self.seconds)}"


@public
@final
class Unhealthy(TaskExit):
    """The supervisor stopped the attempt because it had sent no heartbeat for ``stale_after``.

    Attributes:
        silence: Seconds since the last heartbeat.
    """

    kind: ClassVar[ExitKind] = "unhealthy"
    is_failure: ClassVar[bool] = True
    silence: float

    def _detail(self) -> str:
        return f"no heartbeat for {seconds_text(self.silence)}"


@public
@final
class Stopped(TaskExit):
    """The body returned after it had been asked to stop.

    Attributes:
        reason: The reason of the stop request.
    """

    kind: ClassVar[ExitKind] = "stopped"
    reason: str = ""

    def _detail(self) -> str:
        return self.reason


@public
@final
class Aborted(TaskExit):
    """The attempt was cancelled by its supervisor, or from outside of the tree.

    Attributes:
        reason: The reason of the stop request, or what is known of the cancel.
    """

    kind: ClassVar[ExitKind] = "aborted"
    reason: str = ""

    def _detail(self) -> str:
        return self.reason


@public
@final
class SelfCancelled(TaskExit):
    """The body ended with a `trio.Cancelled` that no supervisor had asked for: a failure.

    The usual cause is ``child.nursery.cancel_scope.cancel()``, meant as "I am finished". Return
    from the body instead, and cancel a nursery of the background tasks' own.

    Attributes:
        reason: What is known of the cancel.
    """

    kind: ClassVar[ExitKind] = "self_cancelled"
    is_failure: ClassVar[bool] = True
    reason: str = ""

    def _detail(self) -> str:
        return self.reason


@public
@final
class ChildRunReport(Record):
    """The record of one finished attempt. All times are on Trio's clock, in seconds."""

    name: str
    """The child's name among its siblings."""
    path: str
    """Where the child stands in the tree: ``"app/sessions/s-1"``."""
    attempt: int
    """Which run of the child this was, counted from 1 over the child's life."""
    generation: int
    """How often the child had been restarted by hand before."""
    exit: TaskExit
    """How the attempt ended."""
    became_ready: bool
    """Whether it was ever ready."""
    ready_at_exit: bool
    """Whether it was ready when it ended."""
    started_at: float
    ready_at: float | None
    """When it was ready for the first time, or `None`."""
    ended_at: float
    stop_reason: str | None = None
    """The reason for which it had been asked to stop, or `None` if it was not; not how it ended."""
    last_heartbeat: float | None = None
    """When it last gave a sign of life through its context, or `None` if it never did."""
    failures_in_row: int = 0
    """How many attempts of the child, this one included, have failed without ``reset_after``
    seconds of readiness between them (see `BackoffPolicy`). A restart by command begins anew."""

    @property
    def seconds(self) -> float:
        """The duration of the attempt."""
        return self.ended_at - self.started_at

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values; `from_dict` reads them.

        Beside the report's fields there are ``schema`` and ``seconds``, its duration.
        """
        head = {"schema": SCHEMA, "seconds": number(self.seconds)}
        return {**head, **to_plain(self), "exit": self.exit.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ChildRunReport:
        """Return the report that `to_dict` has turned into ``data``.

        Raises:
            SpecError: It has another schema version, or a field is missing or has the wrong type.
        """
        owner = "ChildRunReport.from_dict()"
        data = check_schema(data, owner)
        return record_from(cls, {**data, "exit": exit_from_dict(data.get("exit"))}, owner)


@public
def exit_from_dict(data: object) -> TaskExit:
    """Return the exit that `TaskExit.to_dict` has turned into ``data``.

    The exception itself stays in the process in which it was raised: a `Crashed` gets a `PastError`
    with its text, a `Failed` a `TaskFailure` with message and category.

    Raises:
        SpecError: The kind is unknown, or a field is missing or has the wrong type.
    """
    owner = "exit_from_dict()"
    kinds: dict[str, type[TaskExit]] = {each.kind: each for each in TaskExit.__subclasses__()}
    kind = data.get("kind") if isinstance(data, dict) else None
    cls = kinds.get(kind) if isinstance(kind, str) else None
    if cls is None or not isinstance(data, dict):
        raise SpecError(
            "exit", data, f"an object with kind= one of {', '.join(kinds)}", owner=owner
        )
    message = text_of(data.get("message", ""))
    if cls is Failed:
        return Failed(TaskFailure(message, category=text_of(data.get("category", "error"))))
    if cls is Crashed:
        return Crashed(PastError(f"{text_of(data.get('type', ''))}: {message}".removesuffix(": ")))
    return record_from(cls, data, owner)


def category_of(failure: TaskFailure) -> str:
    """Return the category of ``failure``, whatever a subclass has made of it."""
    try:
        return one_line(text_of(failure.category), _LONGEST_CATEGORY)
    except BaseException:  # a broken property must not hide how the attempt ended
        return "error"


def cause_of(error: BaseException) -> BaseException | None:
    """Return the exception that ``error`` followed from, as a traceback would show it."""
    cause: BaseException | None = _CAUSE.__get__(error)
    if cause is None and not _SUPPRESSED.__get__(error):
        cause = _CONTEXT.__get__(error)
    return cause


# Past what a subclass may have put in their place.
_CAUSE: Any = BaseException.__dict__["__cause__"]
_CONTEXT: Any = BaseException.__dict__["__context__"]
_SUPPRESSED: Any = BaseException.__dict__["__suppress_context__"]


def _causes_of(failure: BaseException) -> str:
    """The chain of causes, as it continues a line: `` from OSError: refused``."""
    text, cause = "", cause_of(failure)
    for _ in range(_MOST_CAUSES):
        if cause is None:
            return text
        past = type(cause) is PastError
        text += f" from {one_line(text_of(cause)) if past else error_line(cause)}"
        cause = cause_of(cause)
    return text if cause is None else f"{text} from ..."


def brief_of(how: TaskExit) -> TaskExit:
    """Return the same exit without the objects of the attempt that ended with it.

    Live exceptions keep every local variable of the attempt. `TaskExit.detail` stays the same.
    """
    if isinstance(how, Crashed):
        return Crashed(PastError(how.detail))
    if isinstance(how, Failed):
        past = TaskFailure(text_of(how.failure), category=category_of(how.failure))
        newer: BaseException = past
        cause = cause_of(how.failure)
        for _ in range(_MOST_CAUSES + 1):
            if cause is None:
                break
            line = text_of(cause) if type(cause) is PastError else error_line(cause)
            newer.__cause__ = older = PastError(one_line(line))
            newer, cause = older, cause_of(cause)
        return Failed(past)
    if isinstance(how, Succeeded):
        return Succeeded(None)
    return how


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions in ``error``. Only plain groups are opened: a subclass means something.

    A group that is contained several times is opened once.
    """
    pending = [error]
    opened: set[int] = set()
    while pending:
        found = pending.pop()
        if type(found) is ExceptionGroup or type(found) is BaseExceptionGroup:
            if id(found) not in opened:
                opened.add(id(found))
                pending.extend(reversed(found.exceptions))
        else:
            yield found


def unwrap_single(
    error: BaseException, *, beside: type[BaseException] | None = None
) -> BaseException:
    """Return the one exception in the groups that nurseries have made, or else ``error`` itself.

    Args:
        error: What came out of a nursery, or any other exception.
        beside: Exceptions of this type do not count, unless there are no others.
    """
    found = list(leaves(error))
    if beside is not None:
        found = [leaf for leaf in found if not issubclass(type(leaf), beside)] or found[:1]
    return found[0] if len(found) == 1 else error


# Past what a subclass may have put in its place.
_EXCEPTIONS: Any = BaseExceptionGroup.__dict__["exceptions"]


def classify(
    *,
    error: BaseException | None,
    body_cancelled: bool,
    cancel_called: bool,
    fault: TaskExit | None,
    stop_reason: str | None,
    value: object,
    cancelled_by: str = "",
    fatal_is_failure: tuple[type[BaseException], ...] = (),
) -> TaskExit | BaseException:
    """Judge an attempt after its scope has closed. The first rule that fits decides.

    Args:
        error: what came out of the body and its background tasks, without any ``Cancelled``.
        body_cancelled: the body's own outcome was ``Cancelled`` and nothing else.
        cancel_called: it was our cancel that reached it (or came before its first step), or that of
            a scope around everything.
        fault: why we ended it for time or health, if we did.
        stop_reason: why we asked it to stop, or `None` if we did not ask.
        value: what the body returned, if it did.
        cancelled_by: what is known about a ``Cancelled`` that we did not ask for.
        fatal_is_failure: types outside `Exception` that are failures of this child.

    Returns:
        The exit; or, if something came out that is no `Exception`, that fatal thing itself. It is
        not the child's failure, and the caller has to hand it on. Errors beside it become its
        ``__cause__``, or notes if it has one; several fatal things come in the group they are in.
    """
    if error is not None:
        return _judge_error(error, fatal_is_failure)
    if fault is not None:
        return fault
    if body_cancelled:
        if cancel_called:
            return Aborted(cancelled_by if stop_reason is None else stop_reason)
        return SelfCancelled(cancelled_by)
    if stop_reason is not None:
        return Stopped(stop_reason)
    return Succeeded(value)


def _judge_error(
    error: BaseException, fatal_is_failure: tuple[type[BaseException], ...]
) -> TaskExit | BaseException:
    # The type is asked, not the object, which may say anything of its ``__class__``.
    cls = type(error)
    if issubclass(cls, Exception) and not issubclass(cls, ExceptionGroup):  # nearly always
        return Failed(error) if issubclass(cls, TaskFailure) else Crashed(error)  # type: ignore[arg-type]
    found = list(leaves(error))
    if fatal_is_failure:
        declared = [_is_one_of(type(leaf), fatal_is_failure) for leaf in found]
        if any(declared):
            found = [
                _as_failure(leaf) if is_failure else leaf
                for leaf, is_failure in zip(found, declared, strict=True)
            ]
            if len(found) > 1:
                error = BaseExceptionGroup(text_of(_MESSAGE.__get__(error)), found)
    fatal = [leaf for leaf in found if not issubclass(type(leaf), Exception)]
    if fatal:
        return _with_the_rest(fatal[0], found, error) if len(fatal) == 1 else error
    judged = found[0] if len(found) == 1 else error
    if issubclass(type(judged), TaskFailure):
        return Failed(cast("TaskFailure", judged))
    # No leaf is fatal, so Python has made an `ExceptionGroup` of it, which is an `Exception`.
    return Crashed(cast("Exception", judged))


def _is_one_of(cls: type, kinds: tuple[type[BaseException], ...]) -> bool:
    # By identity: the metaclass of an exception may answer anything to `issubclass` and `==`.
    return any(base is kind for base in _MRO.__get__(cls) for kind in kinds)


def _as_failure(declared: BaseException) -> RuntimeError:
    """The error that stands for an exception whose type the child's spec calls a failure.

    As Python does it with a `StopIteration` out of a generator (PEP 479): what handles and groups
    failures expects an `Exception`.
    """
    failure = RuntimeError(error_line(declared))
    failure.__cause__ = declared
    return failure


def _with_the_rest(
    fatal: BaseException, found: list[BaseException], error: BaseException
) -> BaseException:
    """The one fatal exception among ``found``, bare; what was raised beside it goes along.

    A program ends as the fatal exception says. `BaseExceptionGroup.split` is not used: it calls a
    subclass's ``derive``, and recurses.
    """
    others = [cast("Exception", leaf) for leaf in found if leaf is not fatal]
    if not others:
        return fatal
    # An exception may be frozen, so nothing is set in its own way.
    if _CAUSE.__get__(fatal) is None:
        message = text_of(_MESSAGE.__get__(error)) if type(error) in _GROUPS else "beside it"
        _CAUSE.__set__(fatal, ExceptionGroup(message, others))
        return fatal
    for leaf in others:
        try:
            fatal.add_note(f"beside it: {error_line(leaf)}")
        except Exception:
            notes = [f"beside it: {error_line(leaf)}" for leaf in others]
            object.__setattr__(fatal, "__notes__", notes)
            break
    return fatal


_GROUPS = (ExceptionGroup, BaseExceptionGroup)
_MRO: Any = type.__dict__["__mro__"]
_MESSAGE: Any = BaseExceptionGroup.__dict__["message"]
