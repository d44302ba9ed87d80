"""Patterns of code: what they find, what they refuse, and that local names do not matter."""

from __future__ import annotations

import ast
from textwrap import dedent

import pytest

from mutants.mutant import Change, Mutant
from mutants.pattern import replace, with_other_locals

SOURCE = '''
from collections import deque

LIMITS = {"a": 1, "b": 2, "c": 3}

class Line:
    size = 3

    def take(self, child, now, *, force=False):
        """Take it."""
        when = now + self.size
        for each in self.queue:
            if each is child:
                self.queue.remove(each)
                each.when = when
            else:
                each.count += 1
        self.told(child, when, force)
        return deque(child.parts)
'''


def changed(where: str, old: str, new: str) -> str:
    module = ast.parse(SOURCE)
    replace(module, where, dedent(old), dedent(new))
    return ast.unparse(module)


def gone(text: str, into: str, *lines: str) -> bool:
    return text not in into and all(line in into for line in lines)


def test_an_expression_in_a_function() -> None:
    assert "when = now - self.size" in changed("Line.take", "now + self.size", "now - self.size")


@pytest.mark.parametrize("name", ["now", "then", "t"])
def test_a_local_name_matches_whatever_it_is_called(name: str) -> None:
    assert "when = now - self.size" in changed(
        "Line.take", f"{name} + self.size", f"{name} - self.size"
    )


def test_the_same_name_is_the_same_variable() -> None:
    assert "self.queue.remove(child)" in changed("Line.take", "x is y\n", "x is y").replace(
        "remove(each)", "remove(child)"
    )
    with pytest.raises(LookupError, match="0 times"):
        changed("Line.take", "x is x", "True")


def test_an_attribute_is_matched_by_its_name() -> None:
    with pytest.raises(LookupError, match="0 times"):
        changed("Line.take", "each.total += 1", "pass")


def test_self_a_global_and_a_builtin_are_matched_by_their_names() -> None:
    for old in ("queue_of.queue", "list(child.parts)"):
        with pytest.raises(LookupError, match="0 times"):
            changed("Line.take", old, "None")


def test_more_than_one_place_is_refused() -> None:
    with pytest.raises(LookupError, match=r"2 times in Line\.take: 'self\.queue'"):
        changed("Line.take", "self.queue", "()")


def test_statements_and_what_stands_between_them() -> None:
    done = changed(
        "Line.take",
        """
        if a is b:
            self.queue.remove(a)
            ...
        else:
            ...
        """,
        """
        if a is b:
            ...
        else:
            ...
            b.count = 0
        """,
    )
    assert gone("self.queue.remove", done, "each.when = when", "each.count += 1", "child.count = 0")


def test_statements_are_taken_away_and_a_block_stays_a_block() -> None:
    assert "else" not in changed("Line.take", "each.count += 1", "")
    block = "if x is y:\n    ...\nelse:\n    ..."
    assert "in self.queue:\n            pass\n" in changed("Line.take", block, "")


def test_an_expression_of_several_lines() -> None:
    done = changed("Line.take", "now +\nself.size\n", "now -\nself.size\n")
    assert "when = now - self.size" in done


def test_arguments_and_entries_of_a_dict_that_do_not_matter() -> None:
    assert "self.told(child)" in changed("Line.take", "self.told(x, *...)", "self.told(x)")
    assert "'a': 1, 'b': 9, 'c': 3" in changed(
        "", "{**..., 'b': 2, **...}", "{**..., 'b': 9, **...}"
    )


def test_any_expression() -> None:
    assert "deque(reversed(child.parts))" in changed(
        "Line.take", "deque(...)", "deque(reversed(...))"
    )


def test_a_parameter_by_its_number() -> None:
    assert "each.when = now" in changed("Line.take", "each.when = when", "each.when = _2")
    assert "if force is child" in changed("Line.take", "each is _1", "_3 is _1")


def test_a_replacement_does_not_use_a_local_name_by_accident() -> None:
    with pytest.raises(LookupError, match="force is a local name there"):
        changed("Line.take", "x is y", "force")


def test_a_class_and_a_module_are_searched_without_their_functions() -> None:
    assert "size = 4" in changed("Line", "size = 3", "size = 4")
    with pytest.raises(LookupError, match="0 times"):
        changed("", "when = now + self.size", "pass")


def test_a_function_that_is_not_there() -> None:
    with pytest.raises(LookupError, match="nothing is called give in Line"):
        changed("Line.give", "a", "b")


def test_a_mutant_says_what_does_not_fit() -> None:
    mutant = Mutant("it is wrong", "_brain.line", "Line.take", "x is y", "x is y")
    with pytest.raises(LookupError, match=r"_brain\.line: it is wrong: changes nothing"):
        mutant.apply(SOURCE)
    mutant = Mutant(
        "both", "m", "Line.take", "x is y", "True", also=(Change("Line", "size = 3", "size = 4"),)
    )
    assert "size = 4" in ast.unparse(mutant.apply(SOURCE))


def test_every_local_name_can_be_changed() -> None:
    other = with_other_locals(ast.parse(SOURCE))
    assert "now" not in {node.id for node in ast.walk(other) if isinstance(node, ast.Name)}
    replace(other, "Line.take", "now + self.size", "now - self.size")
    assert "now_ - self.size" in ast.unparse(other)
