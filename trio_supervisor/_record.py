"""Plain data, as `attrs` makes it, but made when it is first used.

Generating one class costs `attrs` a third of a millisecond; a library that speaks in dozens of
small types would spend more time on its own import than on anything else, and most programs use
only a few of the types. So the class statement only notes the fields here. The initializer is
compiled for the first instance, and all that `attrs` wants to know is built when it asks, so that
`attrs.asdict`, `attrs.evolve` and their like work on records as on its own classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

import attrs

from trio_supervisor._lazy import resolvable

if TYPE_CHECKING:
    from inspect import Signature


class _RecordType(type):
    """Makes classes with a slot for each annotated field; a value in the body is its default."""

    __match_args__: tuple[str, ...]
    _defaults: dict[str, Any]
    _mutable: bool

    def __new__(
        mcs, name: str, bases: tuple[Any, ...], namespace: dict[str, Any], *, mutable: bool = False
    ) -> Any:
        """Make a class; ``mutable`` ones are changed in place, and equal only to themselves."""
        own = [
            field
            for field, annotation in namespace.get("__annotations__", {}).items()
            if not annotation.startswith("ClassVar")
        ]
        fields: tuple[str, ...] = ()
        defaults: dict[str, Any] = {}
        for base in bases:  # records inherit from records only
            fields += base.__match_args__
            defaults |= base._defaults
            mutable |= base._mutable
        defaults |= {field: namespace.pop(field) for field in own if field in namespace}
        made: Any = super().__new__(
            mcs,
            name,
            bases,
            {
                **namespace,
                "__slots__": tuple(own),
                "__match_args__": (*fields, *own),
                "_defaults": defaults,
                "_mutable": mutable,
            },
        )
        if "__init__" not in namespace:

            def init(self: Any, *args: Any, **kwargs: Any) -> None:
                made.__init__ = _compiled_init(made)
                made.__init__(self, *args, **kwargs)

            init.__module__ = made.__module__
            made.__init__ = init
        return made

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **_: Any):
        super().__init__(name, bases, namespace)

    if not TYPE_CHECKING:  # for attrs and inspect, which ask the class

        @property
        def __attrs_attrs__(cls) -> Any:
            """The fields, as `attrs.fields` returns them."""
            fields = {
                name: attrs.field(default=cls._defaults[name])
                if name in cls._defaults
                else attrs.field()
                for name in cls.__match_args__
            }
            return attrs.fields(attrs.make_class(cls.__name__, fields, init=False))

        @property
        def __signature__(cls) -> Signature:
            """The parameters of the initializer."""
            from inspect import signature  # noqa: PLC0415 - seldom asked for

            found = signature(_compiled_init(cls))
            return found.replace(parameters=list(found.parameters.values())[1:])


def _compiled_init(cls: Any) -> Any:
    """Compile the initializer of ``cls``: all fields, in order, by position or by name."""
    fields, defaults, types = cls.__match_args__, cls._defaults, _types_of(cls)
    known: dict[str, Any] = {"__name__": cls.__module__}
    lines = ["def __init__(" + ", ".join(["self", *(_parameter(f, defaults) for f in fields)])]
    lines[0] += "):"
    for field in fields:
        known[f"_default_{field}"] = defaults.get(field)
        if cls._mutable:
            lines.append(f" self.{field} = {field}")
        else:  # past the `__setattr__` that refuses
            known[f"_set_{field}"] = getattr(cls, field).__set__
            lines.append(f" _set_{field}(self, {field})")
    if hasattr(cls, "_check"):
        lines.append(" self._check()")
    exec("\n".join([*lines, " return None"]), known)  # noqa: S102 - names of fields, no more
    made = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__module__ = cls.__module__
    made.__annotations__ = {field: types[field] for field in fields} | {"return": None}
    return made


def _types_of(cls: Any) -> dict[str, Any]:
    """Return the annotation of each field, also of the fields of base classes."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for field, annotation in vars(base).get("__annotations__", {}).items():
            found[field] = resolvable(annotation, base.__module__)
    return found


def _parameter(field: str, defaults: dict[str, Any]) -> str:
    return f"{field}=_default_{field}" if field in defaults else field


@dataclass_transform(frozen_default=True)
class RecordType(_RecordType):
    """The metaclass of frozen records: two of them are equal if all of their fields are."""


@dataclass_transform(eq_default=False)
class MutableRecordType(_RecordType):
    """The metaclass of mutable records: two of them are never equal."""


class Record(metaclass=RecordType):
    """A frozen class with slots: ``class Point(Record)`` is what ``@attrs.frozen`` would make."""

    if TYPE_CHECKING:
        __attrs_attrs__: ClassVar[Any]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record) or type(other) is not type(self):
            return NotImplemented
        return values_of(self) == values_of(other)

    def __hash__(self) -> int:
        return hash((type(self), values_of(self)))

    def __repr__(self) -> str:
        return _shown(self)

    def __setattr__(self, name: str, value: object) -> None:
        raise attrs.exceptions.FrozenInstanceError

    def __delattr__(self, name: str) -> None:
        raise attrs.exceptions.FrozenInstanceError

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), values_of(self)


class MutableRecord(metaclass=MutableRecordType, mutable=True):
    """A class with slots whose instances can be changed and are compared by identity."""

    def __repr__(self) -> str:
        return _shown(self)


def values_of(record: Record | MutableRecord) -> tuple[Any, ...]:
    """Return the values of the fields, in order."""
    return tuple([getattr(record, field) for field in _fields_of(record)])


def _fields_of(record: Record | MutableRecord) -> tuple[str, ...]:
    fields: tuple[str, ...] = type(record).__match_args__
    return fields


def _shown(record: Record | MutableRecord) -> str:
    shown = (f"{field}={getattr(record, field)!r}" for field in _fields_of(record))
    return f"{type(record).__qualname__}({', '.join(shown)})"
