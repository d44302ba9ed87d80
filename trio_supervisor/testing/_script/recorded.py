"""Backoffs that wait as long as was recorded."""

from __future__ import annotations

from collections import deque
from typing import Any

from trio_supervisor._specs.policy import BackoffPolicy


class RecordedBackoff(BackoffPolicy):  # type: ignore[misc]  # final for users
    """The backoff of a child, with the delays that were recorded.

    On the real clock a start is a little late, so a recorded delay may exceed the declared one.
    """

    left: deque[float]

    def delay(self, step: int, random: Any) -> float:
        return self.left.popleft() if self.left else super().delay(step, random)


def recorded_backoff(policy: BackoffPolicy, delays: list[float]) -> BackoffPolicy:
    """Return ``policy`` with the delays that were recorded first."""
    found = object.__new__(RecordedBackoff)
    for name in ("initial", "factor", "maximum", "jitter", "reset_after", "steps"):
        object.__setattr__(found, name, getattr(policy, name))
    object.__setattr__(found, "left", deque(delays))
    return found
