"""Objects that misbehave in every way in which a user's object can."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable


class Boom(BaseException):
    """What special methods here raise: no `Exception`, so that nothing catches it by habit."""


def _raise(*_: Any, **__: Any) -> NoReturn:
    raise Boom


class Text(str):
    """A string with methods that cannot be relied upon."""

    __slots__ = ()
    __hash__ = _raise
    __eq__ = __len__ = __iter__ = __contains__ = _raise
    split = isprintable = startswith = replace = __format__ = __str__ = _raise


class Float(float):
    """A number with methods that cannot be relied upon."""

    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __add__ = __float__ = _raise
    __hash__ = __bool__ = __str__ = __repr__ = _raise


class Int(int):
    """Likewise."""

    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __add__ = __float__ = _raise
    __hash__ = __bool__ = __str__ = __repr__ = __index__ = __int__ = _raise


class List(list[Any]):
    """Its items cannot be had."""

    __iter__ = __len__ = __getitem__ = __eq__ = __bool__ = _raise


class Tuple(tuple[Any, ...]):
    """Likewise."""

    __slots__ = ()
    __iter__ = __len__ = __getitem__ = __eq__ = __bool__ = __hash__ = _raise


class Object:
    """Nothing at all can be asked of it, not even its class."""

    __eq__ = __hash__ = __str__ = __repr__ = __len__ = __iter__ = __bool__ = __float__ = _raise
    __int__ = __index__ = __lt__ = __gt__ = __le__ = __ge__ = __add__ = __getattribute__ = _raise


class _Closed(type):
    """A metaclass of which nothing can be asked."""

    __instancecheck__ = __subclasscheck__ = __eq__ = __hash__ = __call__ = _raise
    __getattribute__ = _raise


class Class(metaclass=_Closed):
    """A class that is given where an object is wanted."""


class NoText:
    """It has a name, which is no text."""

    name = Object()


ARGUMENTS: dict[str, Callable[[], Any]] = {
    "object": Object,
    "class": lambda: Class,
    "text": lambda: Text("why"),
    "float": lambda: Float(1.5),
    "int": lambda: Int(2),
    "list": lambda: List([1]),
    "tuple": lambda: Tuple((1,)),
    "no text": NoText,
    "generator": lambda: (_raise() for _ in range(1)),
    "huge": lambda: 10**5000,
    "not a number": lambda: float("nan"),
    "half a surrogate": lambda: "\ud800",
}


class _Liar(type):
    """A metaclass that hides the name of its classes."""

    def __getattribute__(cls, name: str) -> Any:
        if name in {"__name__", "__qualname__", "__module__"}:
            raise Boom
        return super().__getattribute__(name)


class Mute(Exception):
    """Nothing that describes it works."""

    __str__ = __repr__ = __reduce__ = __reduce_ex__ = _raise
    __eq__ = _raise
    __hash__ = _raise
    add_note = with_traceback = _raise

    @property
    def __notes__(self) -> NoReturn:  # type: ignore[override]
        raise Boom


class Talker(Exception):
    """Says far too much, with control characters and line breaks."""

    def __str__(self) -> str:
        return "usage: x\nINFO app/db ready\x1b[2J" + "x" * 1_000_000


class Subtle(Exception):
    """Its text is a string that cannot be relied upon."""

    def __str__(self) -> str:
        return Text("subtle")


class Nameless(Exception, metaclass=_Liar):
    """Its class has no name that can be read."""


class Faceless(Exception):
    """It raises when it is asked for its class."""

    @property  # type: ignore[misc]  # typeshed's can be set
    def __class__(self) -> NoReturn:  # type: ignore[override]
        raise Boom


class Hollow(Exception):
    """Its cause and context cannot be read."""

    @property
    def __cause__(self) -> NoReturn:  # type: ignore[override]
        raise Boom

    @property
    def __context__(self) -> NoReturn:  # type: ignore[override]
        raise Boom

    @property
    def __traceback__(self) -> NoReturn:  # type: ignore[override]
        raise Boom


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    """Nothing can be set on it."""

    code: int = 7


class Closed(ExceptionGroup[Exception]):  # noqa: ASYNC126
    """A group that cannot be taken apart."""

    derive = split = subgroup = _raise

    @property
    def exceptions(self) -> NoReturn:
        raise Boom


def chain(length: int = 10_000) -> Exception:
    """An exception with that many causes behind it."""
    error = ValueError("0")
    for number in range(1, length):
        newer = ValueError(str(number))
        newer.__cause__ = error
        error = newer
    return error


def circle() -> Exception:
    """Two exceptions that are each other's context."""
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    return one


def nest(depth: int = 10_000) -> Exception:
    """A group in a group in a group."""
    error: Exception = ValueError("innermost")
    for _ in range(depth):
        error = ExceptionGroup("", [error])
    return error


def explosion(depth: int = 60) -> Exception:
    """A group that contains the same group twice, and so on: 2 ** depth leaves."""
    error: Exception = ValueError("leaf")
    for _ in range(depth):
        error = ExceptionGroup("twice", [error, error])
    return error


def crowd(size: int = 20_000) -> Exception:
    """A group of very many."""
    return ExceptionGroup("many", [ValueError(str(n)) for n in range(size)])


def recursive() -> Exception:
    """Its text is that of a list which contains itself 10,000 levels down."""
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    return ValueError(deep)


EXCEPTIONS: dict[str, Callable[[], Exception]] = {
    "mute": lambda: Mute("x"),
    "talker": Talker,
    "subtle": Subtle,
    "nameless": lambda: Nameless("x"),
    "faceless": lambda: Faceless("x"),
    "hollow": lambda: Hollow("x"),
    "frozen": Frozen,
    "closed": lambda: Closed("x", [ValueError("x")]),
    "group of mute": lambda: ExceptionGroup("x", [Mute("x"), Faceless("y")]),
    "chain": chain,
    "circle": circle,
    "nest": nest,
    "explosion": explosion,
    "crowd": crowd,
    "recursive": recursive,
    "surrogates": lambda: ValueError("\ud800"),
}


def errors() -> dict[str, Exception]:
    """One of each kind, made anew."""
    return {kind: make() for kind, make in EXCEPTIONS.items()}
