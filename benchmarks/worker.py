"""One measurement in a process of its own: ``python -m benchmarks.worker ours:restart 2000``.

Arguments after the count are keyword arguments of the program, as JSON.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from benchmarks.measure import Result


def main() -> None:
    program, count, *more = sys.argv[1:]
    module, _, name = program.partition(":")
    function = getattr(import_module(f"benchmarks.{module}"), name)
    options = json.loads(more[0]) if more else {}
    result = cast("Result", function(int(count), **options))
    sys.stderr.flush()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
