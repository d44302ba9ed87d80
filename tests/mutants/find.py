"""Look for one planted bug: first with the testing kit, then with the search of the brain."""

from __future__ import annotations

import argparse
import sys
from time import process_time

from .catalogue import MUTANTS

KIT_SECONDS = 6.5
BRAIN_SECONDS = 3.0


def find_with_kit(ends: float, began: float) -> str:
    """Run drawn cases until one breaks a promise."""
    from model.draw import case_of  # only once the bug is planted
    from model.perform import run_case

    seed = 0
    while process_time() < ends:
        trace = run_case(case_of(seed), seed=seed)
        if not trace.ok:
            return f"kit: {', '.join(trace.fault)} (case {seed})"
        seed += 1
    return ""


def find_in_brain(ends: float) -> str:
    """Search small supervisors, a bit of each."""
    from brain.search import search
    from brain.shapes import SHAPES

    share = 150
    while process_time() < ends:
        for shape in SHAPES.values():
            result = search(shape, max_states=share)
            if result.violation:
                return f"brain: {shape.name}, {len(result.path)} steps"
            if process_time() > ends:
                return ""
        share *= 6
    return ""


def main() -> int:
    """Plant the bug with this name, and look for it; prints what found it, and the seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--by", choices=("kit", "brain", "both"), default="both")
    options = parser.parse_args()
    if options.name != "none":
        MUTANTS[options.name].plant()
    began = process_time()
    found = ""
    try:
        if options.by != "brain":
            found = find_with_kit(began + KIT_SECONDS, began)
        if not found and options.by != "kit":
            found = find_in_brain(process_time() + BRAIN_SECONDS)
    except Exception as error:
        found = f"crash: {type(error).__name__}: {error}".splitlines()[0][:100]
    print(f"{process_time() - began:.1f}\t{found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
