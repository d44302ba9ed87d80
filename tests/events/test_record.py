"""Records: what `attrs` would make of them, made when they are first used."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import ClassVar

import attrs
import pytest

from trio_supervisor._record import MutableRecord, Record, values_of


class Point(Record):
    kind: ClassVar[str] = "point"
    x: int
    y: int = 0


class Named(Point):
    name: str = "?"


class Checked(Record):
    size: int

    def _check(self) -> None:
        if self.size < 0:
            raise ValueError(self.size)


class Own(Checked):
    def __init__(self, *sizes: int) -> None:
        super().__init__(sum(sizes))


class Remark(MutableRecord):
    text: str
    times: int = 1


def test_fields_are_given_by_position_or_by_name() -> None:
    assert Named(1, y=2, name="a") == Named(1, 2, "a") != Named(1, 2, "b")
    assert (Named(1).x, Named(1).y, Named(1).name, Named(1).kind) == (1, 0, "?", "point")
    with pytest.raises(TypeError, match=r"Point.__init__\(\) missing 1 required .* 'x'"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        Point(1, z=3)  # type: ignore[call-arg]


def test_a_base_that_was_used_first_does_not_lend_its_initializer() -> None:
    class Base(Record):
        a: int

    class Derived(Base):
        b: int

    assert Base(1).a == 1
    assert Derived(1, 2).b == 2


def test_classes_that_differ_are_never_equal() -> None:
    assert Point(1, 2) != Named(1, 2)
    assert Point(1, 2) != (1, 2)
    assert len({Point(1), Point(1), Named(1)}) == 2


def test_a_record_never_changes() -> None:
    point = Point(1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del point.y
    with pytest.raises(AttributeError):
        point.z = 3
    assert not hasattr(point, "__dict__")


def test_a_note_changes_and_is_equal_to_itself_alone() -> None:
    remark = Remark("a")
    remark.times = 2
    assert repr(remark) == "Remark(text='a', times=2)"
    assert remark == remark != Remark("a", 2)  # noqa: PLR0124
    assert values_of(remark) == ("a", 2)


def test_what_it_is_shown_as() -> None:
    assert repr(Named(1)) == "Named(x=1, y=0, name='?')"
    assert Named.__match_args__ == ("x", "y", "name")
    shown = "(x: 'int', y: 'int' = 0, name: 'str' = '?') -> None"
    assert str(inspect.signature(Named)) == shown
    match Named(1, 2, "a"):
        case Named(x, y, name):
            assert (x, y, name) == (1, 2, "a")


def test_values_are_checked_when_a_check_is_there() -> None:
    assert Own(1, 2) == Own(3)
    for make in (Checked, Own):
        with pytest.raises(ValueError, match="-1"):
            make(-1)


def test_it_can_be_copied_and_pickled() -> None:
    named = Named(1, 2, "a")
    assert pickle.loads(pickle.dumps(named)) == copy.deepcopy(named) == copy.copy(named) == named


def test_attrs_takes_it_for_one_of_its_own() -> None:
    named = Named(1, 2, "a")
    assert attrs.has(Named)
    assert [field.name for field in attrs.fields(Named)] == ["x", "y", "name"]
    assert attrs.asdict(named) == {"x": 1, "y": 2, "name": "a"}
    assert attrs.astuple(named) == (1, 2, "a")
    assert attrs.evolve(named, y=3) == Named(1, 3, "a")  # type: ignore[misc]
