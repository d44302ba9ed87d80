"""Run the scenarios and print one verdict line each; exit code 1 if any fails."""

from __future__ import annotations

import argparse
import sys

from benchmarks.progress import Progress

from .catalogue import NO_MEANING, SCENARIOS, play


def main() -> int:
    """What ``make chaos`` does."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(SCENARIOS)}")
    parser.add_argument("--full", action="store_true", help="as long as specified: some minutes")
    parser.add_argument("--length", type=float, default=0.15, help="share of the full length")
    options = parser.parse_args()
    unknown = set(options.names) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    failed = 0
    names = options.names or list(SCENARIOS)
    progress = Progress(len(names))
    for name in names:
        progress.step(name)
        scene = play(name, 1.0 if options.full else options.length)
        progress.end()
        print(scene, flush=True)
        failed += not scene.ok
    if not options.names:
        for name, why in NO_MEANING.items():
            print(f"none  {name:22}          {why}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
