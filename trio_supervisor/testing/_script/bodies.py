"""Replace the bodies of a tree and keep every policy."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from trio_supervisor._errors import SpecError
from trio_supervisor._lazy import public
from trio_supervisor._specs.body import Body, label_of
from trio_supervisor._specs.supervisor import SupervisorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_supervisor._attempts.context import ChildContext
    from trio_supervisor._specs.supervisor import ChildSpec

S = TypeVar("S", "ChildSpec[Any]", "SupervisorSpec")


@public
def with_bodies(
    spec: SupervisorSpec, bodies: Mapping[str, Callable[..., Awaitable[object]]]
) -> SupervisorSpec:
    """Return the tree with other bodies; names, order, limits, times and requirements stay.

    Threads and sockets do not live in virtual time: replace the bodies that use them.

    Args:
        spec: The tree.
        bodies: By path below the root, such as ``"store"`` or ``"sessions/login"``. ``*`` stands
            for any name and ``**`` for any path; the first entry that fits counts. The values are
            `Behaviour` objects or async functions, called as ``fn(child, *args)`` if they take the
            child's own arguments, and as ``fn(child)`` otherwise. A child that no entry fits keeps
            its body.

    Returns:
        A new spec. A child that an adapter made explicit stays explicit.

    Raises:
        SpecError: An entry fits no child (a supervisor has no body of its own), or a body cannot
            be called.

    Example:
        ``with_bodies(APP, {"store": Behaviour(value=FakeStore()), "sessions/*": fake_session})``
    """
    unused = dict.fromkeys(bodies)

    def replaced(path: str, child: ChildSpec[Any]) -> ChildSpec[Any]:
        for pattern, body in bodies.items():
            if matches(pattern, path):
                unused.pop(pattern, None)
                return with_body(child, body)._standing_for(child)
        return child

    result = map_children(spec, replaced)
    if unused:
        paths = ", ".join(path for path, child in walk(spec) if child.supervisor is None)
        expected = f"the path of a child with a body (there are: {paths or 'none'})"
        raise SpecError("bodies", next(iter(unused)), expected, owner=f"tree {spec.name!r}")
    return result


def with_body(child: ChildSpec[Any], body: Callable[..., Awaitable[object]]) -> ChildSpec[Any]:
    """Return ``child`` with another body and the same policies."""
    if isinstance(body, Body):
        return child.replace(run=body, args=(), readiness=None)
    run, args = body, child.args
    if not _takes(body, 1 + len(args)):
        args = ()
        if not _takes(body, 1):
            raise SpecError(
                "run", body, "an async function of the child context", owner=f"child {child.name!r}"
            )
    if not child.is_explicit:
        return child.replace(run=run, args=args, readiness="immediate")
    timeout = child.start_timeout
    return child.replace(run=run, args=args, readiness="explicit", start_timeout=timeout)


def _takes(function: Callable[..., object], count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True


def wrap_bodies(
    spec: SupervisorSpec, wrap: Callable[[str, ChildSpec[Any]], Callable[..., Awaitable[object]]]
) -> SupervisorSpec:
    """Return the tree with each body replaced by ``wrap(path, child)``."""

    def wrapped(path: str, child: ChildSpec[Any]) -> ChildSpec[Any]:
        call = wrap(path, child)
        old = child.run
        if isinstance(old, Body):
            return child.replace(run=attrs.evolve(old, call=call))._standing_for(child)
        return child.replace(run=call, args=child.args)._standing_for(child)

    return map_children(spec, wrapped)


def map_children(
    spec: SupervisorSpec,
    change: Callable[[str, ChildSpec[Any]], ChildSpec[Any]],
    above: str = "",
) -> SupervisorSpec:
    """Return ``spec`` with each child that has a body changed, at any depth."""
    children = []
    for child in spec.children:
        path = f"{above}{child.name}"
        if child.supervisor is None:
            children.append(change(path, child))
        else:
            inner = map_children(child.supervisor, change, f"{path}/")
            children.append(with_supervisor(child, inner))
    return spec.replace(children=tuple(children))


def with_supervisor(child: ChildSpec[Any], inner: SupervisorSpec) -> ChildSpec[Any]:
    """Return the nested supervisor ``child`` with other children."""
    changed = child.replace()
    object.__setattr__(changed, "supervisor", inner)  # frozen; `replace` has made it anew
    return changed


def walk(spec: SupervisorSpec, above: str = "") -> Iterator[tuple[str, ChildSpec[Any]]]:
    """Yield every child of the tree with its path from the root, in order of starting."""
    for child in spec.children:
        path = f"{above}{child.name}"
        yield path, child
        if child.supervisor is not None:
            yield from walk(child.supervisor, f"{path}/")


def matches(pattern: str, path: str) -> bool:
    """Return whether ``pattern`` fits ``path``: ``*`` is any name, ``**`` any path."""
    return _match(pattern.split("/"), path.split("/"))


def _match(pattern: list[str], path: list[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_match(pattern[1:], path[skip:]) for skip in range(len(path) + 1))
    return bool(path) and pattern[0] in ("*", path[0]) and _match(pattern[1:], path[1:])


def label(run: object) -> str:
    """Return a body's name for messages."""
    return label_of(run)


async def calm(child: ChildContext, *_: object) -> None:
    """Be ready at once, and run until a stop is requested."""
    if child._attempt.spec.is_explicit:
        child.ready()
    await child.wait_stop_requested()
