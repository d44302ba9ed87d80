"""Coroutines that a run made and never awaited, and the run's other warnings."""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_NEVER_AWAITED: Final = "coroutine .* was never awaited"


@contextmanager
def noting_unawaited(found: list[str]) -> Iterator[None]:
    """Put a text into ``found`` for each coroutine of the block that was never awaited.

    A coroutine that was made before the block, and is only found now, does not count. Every other
    warning is issued once more after the block, by the filters that hold there.
    """
    depth = sys.get_coroutine_origin_tracking_depth()
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message=_NEVER_AWAITED, category=RuntimeWarning)
        sys.set_coroutine_origin_tracking_depth(max(depth, 1))
        try:
            yield
        finally:
            sys.set_coroutine_origin_tracking_depth(depth)
    for warning in caught:
        origin = getattr(warning.source, "cr_origin", None)
        if origin is not None and "was never awaited" in str(warning.message):
            file, line, function = origin[0]
            text = str(warning.message).partition("\n")[0]
            found.append(f"{text}: it was made at {file}:{line} in {function}()")
        else:
            warnings.warn_explicit(
                warning.message,
                warning.category,
                warning.filename,
                warning.lineno,
                source=warning.source,
            )
    caught.clear()
