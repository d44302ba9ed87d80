"""Patterns of Python code: find one place in a function, and put something else there.

A pattern is code, compared as a syntax tree: layout, quotes and comments do not matter. It is
looked for in one function (or in the body of a class or module, without the functions in it), and
has to be there exactly once.

* A **local name** of that function stands for its role: any local name matches it, the same one
  wherever the pattern repeats it, two different ones for two names. So a local variable may be
  renamed without any change of a pattern. ``self``, ``cls``, attributes, keywords, globals and
  builtins are matched by name. ``_1``, ``_2``, ... are the function's own parameters, counted
  without ``self``.
* ``...`` as a statement is any number of statements; as an expression it is any one expression;
  ``*...`` among arguments, and ``**...`` among the entries of a dict, is any number of them. What
  they stand for is put where the replacement has its ``...``, the first for the first, and so on.
* Where pattern and replacement both are expressions, an expression is replaced, else statements.
  An empty replacement takes the statements away.
"""

from __future__ import annotations

import ast
import builtins
import copy
import re
import textwrap
from typing import TYPE_CHECKING, Final, TypeAlias, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Scope: TypeAlias = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
NUMBERED: Final = re.compile(r"_[1-9]$")  # a parameter by its number
LITERAL: Final = frozenset({"self", "cls"})
# Identifiers that are plain strings in the tree, and name what is local to a function.
NAMING: Final = {
    ("Name", "id"),
    ("arg", "arg"),
    ("ExceptHandler", "name"),
    ("FunctionDef", "name"),
    ("AsyncFunctionDef", "name"),
    ("MatchAs", "name"),
}
IGNORED: Final = frozenset({"ctx", "type_comment", "kind"})


@final
@attrs.frozen
class Found:
    """What the names and the ellipses of a pattern stand for."""

    names: dict[str, str] = attrs.field(factory=dict)
    rests: tuple[list[ast.AST], ...] = ()

    def bind(self, name: str, actual: str) -> Found | None:
        """The same with one more name; `None` if either of the two means something else."""
        if name in self.names:
            return self if self.names[name] == actual else None
        if actual in (self.names[other] for other in self.names if not NUMBERED.match(other)):
            return None
        return attrs.evolve(self, names={**self.names, name: actual})

    def keep(self, nodes: Sequence[ast.AST]) -> Found:
        """The same with what one more ellipsis stands for."""
        return attrs.evolve(self, rests=(*self.rests, list(nodes)))


@final
@attrs.frozen
class Site:
    """Where a pattern was found: a field of a node, and which part of it if it is a list."""

    parent: ast.AST
    field: str
    first: int | None
    last: int
    found: Found


def scope_of(module: ast.Module, qualname: str) -> Scope:
    """The function or class with this dotted name; the module itself for an empty one.

    Raises:
        LookupError: There is none.
    """
    scope: Scope = module
    for name in filter(None, qualname.split(".")):
        inner = [
            node
            for node in ast.walk(scope)
            if node is not scope
            and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and node.name == name
        ]
        plain = [
            node
            for node in inner
            if not any("overload" in ast.dump(d) for d in node.decorator_list)
        ]
        if not plain:
            raise LookupError(f"nothing is called {name} in {getattr(scope, 'name', 'the module')}")
        scope = plain[0]
    return scope


def local_names(scope: Scope) -> frozenset[str]:
    """The names that belong to a function and to those in it; none for a class or a module."""
    if not isinstance(scope, FUNCTIONS):
        return frozenset()
    names: set[str] = set()
    foreign: set[str] = set()
    for node in ast.walk(scope):
        if node is scope:
            continue
        if isinstance(node, ast.Global):
            foreign.update(node.names)
        elif isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        else:
            for field in ("arg", "name"):
                if (type(node).__name__, field) in NAMING and (name := getattr(node, field)):
                    names.add(name)
    return frozenset(names - foreign - LITERAL)


def parameters(scope: Scope) -> dict[str, str]:
    """The parameters of a function by number: ``_1`` is the first one that is not ``self``."""
    if not isinstance(scope, FUNCTIONS):
        return {}
    names = [each.arg for each in (*scope.args.posonlyargs, *scope.args.args)]
    names += [each.arg for each in scope.args.kwonlyargs]
    counted = (name for name in names if name not in LITERAL)
    return {f"_{number}": name for number, name in enumerate(counted, start=1)}


@final
class _Matcher:
    """Compares pattern and code."""

    def __init__(self, names: frozenset[str], known: frozenset[str]) -> None:
        self._locals = names
        self._known = known

    def name(self, pattern: str, actual: str, found: Found) -> Iterator[Found]:
        """A name for a name."""
        if actual in self._locals and pattern not in self._known:
            bound = found.bind(pattern, actual)
            if bound is not None:
                yield bound
        elif pattern == actual:
            yield found

    def node(self, pattern: ast.AST, actual: ast.AST, found: Found) -> Iterator[Found]:
        """A node for a node."""
        if _is_rest(pattern) and isinstance(actual, ast.expr):
            yield found.keep([actual])
        elif isinstance(pattern, ast.Dict) and isinstance(actual, ast.Dict):
            for _, each in self.run(_entries(pattern), _entries(actual), found, whole=True):
                yield each
        elif type(pattern) is type(actual):
            fields = [name for name in pattern._fields if name not in IGNORED]
            yield from self._fields(pattern, actual, fields, found)

    def _fields(
        self, pattern: ast.AST, actual: ast.AST, fields: list[str], found: Found
    ) -> Iterator[Found]:
        if not fields:
            yield found
            return
        name, *others = fields
        for each in self._value(
            (type(pattern).__name__, name), getattr(pattern, name), getattr(actual, name), found
        ):
            yield from self._fields(pattern, actual, others, each)

    def _value(
        self, where: tuple[str, str], pattern: object, actual: object, found: Found
    ) -> Iterator[Found]:
        if isinstance(pattern, list) and isinstance(actual, list):
            for _, each in self.run(pattern, actual, found, whole=True):
                yield each
        elif isinstance(pattern, ast.AST) and isinstance(actual, ast.AST):
            yield from self.node(pattern, actual, found)
        elif where in NAMING and isinstance(pattern, str) and isinstance(actual, str):
            yield from self.name(pattern, actual, found)
        elif type(pattern) is type(actual) and pattern == actual:
            yield found

    def run(
        self, pattern: Sequence[ast.AST], actual: Sequence[ast.AST], found: Found, *, whole: bool
    ) -> Iterator[tuple[int, Found]]:
        """The beginning of a list, or the whole of it; yields how many nodes were taken."""
        if not pattern:
            if not whole or not actual:
                yield 0, found
            return
        first, *others = pattern
        if _is_run(first):
            for taken in range(len(actual) + 1):
                kept = found.keep(actual[:taken])
                for more, each in self.run(others, actual[taken:], kept, whole=whole):
                    yield taken + more, each
        elif actual:
            for each in self.node(first, actual[0], found):
                for more, last in self.run(others, actual[1:], each, whole=whole):
                    yield 1 + more, last


def _is_rest(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _is_run(node: ast.AST) -> bool:
    if isinstance(node, ast.keyword) and node.arg is not None:
        return False
    return isinstance(node, ast.Expr | ast.Starred | ast.keyword) and _is_rest(node.value)


def _entries(node: ast.Dict) -> list[ast.AST]:
    """The entries of a dict as nodes of their own: pairs, and ``**`` of something."""
    return [
        ast.keyword(None, value if key is None else ast.Tuple([key, value], ast.Load()))
        for key, value in zip(node.keys, node.values, strict=True)
    ]


def _dict_of(entries: list[ast.AST]) -> ast.Dict:
    """The inverse of `_entries`."""
    keys: list[ast.expr | None] = []
    values: list[ast.expr] = []
    for entry in entries:
        assert isinstance(entry, ast.keyword)
        if isinstance(entry.value, ast.Tuple) and len(entry.value.elts) == 2:
            key, value = entry.value.elts
            keys.append(key)
            values.append(value)
        else:
            keys.append(None)
            values.append(entry.value)
    return ast.Dict(keys, values)


def _parse(code: str) -> list[ast.stmt]:
    code = textwrap.dedent(code)
    try:
        return ast.parse(code).body
    except SyntaxError:  # an expression of several lines
        return ast.parse(f"({code})").body


def _as_expression(body: list[ast.stmt]) -> ast.expr | None:
    if len(body) == 1 and isinstance(body[0], ast.Expr) and not _is_run(body[0]):
        return body[0].value
    return None


def _inside(scope: Scope) -> Iterator[ast.AST]:
    """The nodes of a scope; for a class or module without the functions and classes in it."""
    queue: list[ast.AST] = [scope]
    while queue:
        node = queue.pop()
        yield node
        for child in ast.iter_child_nodes(node):
            apart = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if isinstance(scope, FUNCTIONS) or not apart:
                queue.append(child)


def sites(module: ast.Module, qualname: str, old: str, new: str) -> list[Site]:
    """Each place in which ``old`` is found."""
    scope = scope_of(module, qualname)
    own = local_names(scope)
    known = frozenset(_globals(module) | set(dir(builtins))) - own
    matcher = _Matcher(own, known)
    body = _parse(old)
    expression = _as_expression(body) if _as_expression(_parse(new)) else None
    begin = Found(parameters(scope))
    places: dict[tuple[int, str, int, int], Site] = {}
    for parent in _inside(scope):
        for field, value in ast.iter_fields(parent):
            if expression is None:
                if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                    for start in range(len(value)):
                        for taken, found in matcher.run(body, value[start:], begin, whole=False):
                            key = (id(parent), field, start, start + taken)
                            places.setdefault(key, Site(parent, field, start, start + taken, found))
                continue
            for at, node in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(node, ast.expr):
                    for found in matcher.node(expression, node, begin):
                        first = at if isinstance(value, list) else None
                        key = (id(parent), field, at, at + 1)
                        places.setdefault(key, Site(parent, field, first, at + 1, found))
    return list(places.values())


def _globals(module: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in _inside(module):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.If):
            names.update(
                each.name
                for each in node.body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            )
    return names


@final
class _Filler(ast.NodeTransformer):
    """Puts what was found into a replacement."""

    def __init__(self, found: Found, taken: frozenset[str]) -> None:
        self._found = found
        self._taken = taken
        self._rests = list(found.rests)

    def visit(self, node: ast.AST) -> ast.AST | list[ast.AST]:
        """The node, or the nodes, that stand there instead."""
        if _is_run(node):
            return self._rests.pop(0)
        if _is_rest(node):
            return self._rests.pop(0)[0]
        if isinstance(node, ast.Dict):
            filled: list[ast.AST] = []
            for entry in _entries(node):
                one = self.visit(entry)
                filled.extend(one if isinstance(one, list) else [one])
            return _dict_of(filled)
        for field in ("id", "arg", "name"):
            if (type(node).__name__, field) in NAMING and (name := getattr(node, field)):
                if name not in self._found.names and name in self._taken:
                    raise LookupError(f"{name} is a local name there: let the pattern contain it")
                setattr(node, field, self._found.names.get(name, name))
        self.generic_visit(node)
        return node


def replace(module: ast.Module, qualname: str, old: str, new: str) -> None:
    """Put ``new`` where ``old`` is, in the tree itself.

    Raises:
        LookupError: ``old`` is not there exactly once, or ``new`` uses a local name whose role the
            pattern does not show.
    """
    places = sites(module, qualname, old, new)
    if len(places) != 1:
        where = qualname or "the module"
        raise LookupError(f"{len(places)} times in {where}: {old!r}")
    site = places[0]
    filler = _Filler(site.found, local_names(scope_of(module, qualname)))
    body = copy.deepcopy(_parse(new))
    expression = _as_expression(_parse(old)) and _as_expression(body)
    if expression is not None and site.first is None:
        setattr(site.parent, site.field, filler.visit(expression))
    else:
        made = [expression] if expression is not None else body
        filled: list[ast.AST] = []
        for node in made:
            one = filler.visit(node)
            filled.extend(one if isinstance(one, list) else [one])
        value = getattr(site.parent, site.field)
        value[site.first : site.last] = filled
        if not value and site.field == "body":
            value.append(ast.Pass())
    ast.fix_missing_locations(module)


def with_other_locals(module: ast.Module) -> ast.Module:
    """The same module with other names for everything local to a function, for the tests."""
    other = copy.deepcopy(module)
    outermost = [node for node in ast.walk(other) if isinstance(node, FUNCTIONS[:2])]
    done: set[int] = set()
    for scope in outermost:  # ast.walk comes to an outer function first
        if id(scope) in done:
            continue
        own = local_names(scope)
        for node in ast.walk(scope):
            done.add(id(node))
            for field in ("id", "arg", "name"):
                if node is not scope and (type(node).__name__, field) in NAMING:
                    name = getattr(node, field)
                    setattr(node, field, f"{name}_" if name in own else name)
    return other
