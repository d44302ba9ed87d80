"""Restarts that wait as long as was recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from trio_supervisor._errors import SpecError
from trio_supervisor._lazy import public
from trio_supervisor._specs.checks import check_seconds
from trio_supervisor._specs.policy import BackoffPolicy
from trio_supervisor._specs.supervisor import ChildSpec, SupervisorSpec
from trio_supervisor.testing._script.bodies import walk, with_supervisor


class RecordedBackoff(BackoffPolicy):  # type: ignore[misc]  # final for users
    """The backoff of a child, with the delays that were recorded.

    On the real clock a start is a little late, so a recorded delay may exceed the declared one.
    """

    left: deque[float]

    def delay(self, step: int, random: Any) -> float:
        return self.left.popleft() if self.left else super().delay(step, random)


def recorded_backoff(policy: BackoffPolicy, delays: Iterable[float]) -> BackoffPolicy:
    """Return ``policy`` with the delays that were recorded first."""
    found = object.__new__(RecordedBackoff)
    for name in ("initial", "factor", "maximum", "jitter", "reset_after", "steps"):
        object.__setattr__(found, name, getattr(policy, name))
    object.__setattr__(found, "left", deque(delays))
    return found


@public
def with_delays(spec: SupervisorSpec, delays: Mapping[str, Iterable[float]]) -> SupervisorSpec:
    """Return the tree with backoffs that first wait for ``delays``; all else stays as declared.

    Jitter makes each run wait for another time. An incident that is to be repeated has to wait as
    it did; `as_test` writes such a test.

    Args:
        spec: The tree. It can be run once: its backoffs use the delays up.
        delays: By path below the root, such as ``"store"`` or ``"pool/worker"``: the seconds before
            each restart that policy asked for, in turn. Once they are used up, the declared backoff
            goes on.

    Returns:
        A new spec.

    Raises:
        SpecError: A path names no child, or a delay is no finite number of seconds.

    Example:
        ``with_delays(APP, {"store": [0.104, 0.187]})``
    """
    checked = {
        path: [check_seconds("with_delays", f"delays[{path!r}]", one, finite=True) for one in found]
        for path, found in delays.items()
    }
    known = [path for path, _ in walk(spec)]
    for path in checked:
        if path not in known:
            expected = f"the path of a child (there are: {', '.join(known) or 'none'})"
            raise SpecError("delays", path, expected, owner=f"tree {spec.name!r}")
    return _delayed(spec, checked, "")


def _delayed(spec: SupervisorSpec, delays: Mapping[str, list[float]], above: str) -> SupervisorSpec:
    children: list[ChildSpec[Any]] = []
    for child in spec.children:
        path = f"{above}{child.name}"
        inner = child.supervisor
        changed = child.replace()
        if inner is not None:
            changed = with_supervisor(child, _delayed(inner, delays, f"{path}/"))
        if path in delays:  # not by `replace`, which refuses a backoff that can do nothing
            object.__setattr__(changed, "backoff", recorded_backoff(child.backoff, delays[path]))
        children.append(changed)
    return spec.replace(children=tuple(children))
