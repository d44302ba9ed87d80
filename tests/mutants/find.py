"""Look for one planted bug: stories, drawn cases, the naive model, and the search of the brain.

Bugs outside of what these see (daemon, log, examples, the suite itself) name tests of their own.

How far each of them looks is counted in steps. Seconds are only told.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
from itertools import count, islice
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

from .catalogue import MUTANTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROUNDS = (
    ("stories", 1_000),
    ("kit", 150),
    ("brain", 160),
    ("kit", 250),
    ("model", 100),
    ("brain", 40),
    ("kit", 600),
    ("model", 300),
)
"""Who looks, and how many steps: stories, drawn cases, small searches. Not for how many seconds, so
that a slow machine finds what a fast one finds."""
FINDERS = ("all", "stories", "kit", "model", "brain", "tests")

TESTS = Path(__file__).parents[1]
PLANTING = Path(__file__).with_name("planting")
MEMORY = 2**30
MOST_SECONDS = 180  # of one core: whatever takes that long does not come to an end


def with_stories() -> Iterator[str]:
    """Let small scenarios say what a user would see."""
    from .stories import tell_all  # only once the bug is planted

    return tell_all()


def with_kit() -> Iterator[str]:
    """Run drawn cases: what breaks a promise is said, empty for each case that does not."""
    from model.draw import case_of
    from model.perform import run_case

    for seed in count():
        try:
            trace = run_case(case_of(seed), seed=seed)
        except Exception as error:  # not even the simulation survives it
            yield f"{type(error).__name__} (case {seed})"
        else:
            yield "" if trace.ok else f"{', '.join(trace.signature)} (case {seed})"


def with_model() -> Iterator[str]:
    """Compare with what the naive model predicts."""
    from model.compare import case_of, difference

    for seed in count():
        found = difference(case_of(seed), seed=seed)
        yield f"{found.splitlines()[0]} (case {seed})" if found else ""


def with_brain() -> Iterator[str]:
    """Late words first; then search small supervisors, a bit of each, then more of each."""
    from brain.search import search
    from brain.shapes import SHAPES

    from .late import say_all

    yield from say_all()
    for power in count():
        for shape in SHAPES.values():
            result = search(shape, max_states=40 * 6**power)
            yield f"{shape.name}, {len(result.path)} steps" if result.violation else ""


def with_tests(name: str, tests: Sequence[str]) -> str:
    """Run tests with the bug planted, also in the programs that they start; what fails is said."""
    search = [str(PLANTING), os.environ.get("PYTHONPATH", "")]
    around = {"PLANTED_BUG": name, "PYTHONPATH": os.pathsep.join(search)}
    # Where the library is installed, pytest rewrites the modules of its plugin: past the planter.
    options = ("-q", "-x", "--assert=plain", "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=TESTS,
        env=os.environ | around,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):  # it is not the test that failed
        raise RuntimeError(done.stdout[-1000:] + done.stderr[-1000:])
    failed = re.search(r"^FAILED \S+::(.*)", done.stdout, re.MULTILINE)
    return f"test: {failed[1]}" if failed is not None else ""


def look(by: str) -> str:
    """Take turns; returns who has found something, and what."""
    finders = {
        "stories": with_stories(),
        "kit": with_kit(),
        "model": with_model(),
        "brain": with_brain(),
    }
    for name, steps in ROUNDS:
        if by in ("all", name):
            for found in islice(finders[name], steps):
                if found:
                    return f"{name}: {found}"
    return ""


def main() -> int:
    """Plant the bug with this name, and look for it; prints what found it, and the seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--by", choices=FINDERS, default="all")
    options = parser.parse_args()
    # A supervisor with a bug may loop and eat: better here than all over the machine.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    if options.name != "none":  # that one is a test of the finders
        tests = MUTANTS[options.name].tests
        if tests and options.by in ("all", "tests"):
            found = with_tests(options.name, tests)
            print(f"{sum(os.times()[2:4]):.1f}\t{found}")
            return 0
        MUTANTS[options.name].plant()
    began = process_time()
    found = look(options.by)
    print(f"{process_time() - began:.1f}\t{found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
