"""Plant bugs one by one and say what finds each; exit code 1 if one escapes."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Final

import trio_supervisor
from benchmarks.progress import Progress

from .catalogue import MUTANTS
from .find import FINDERS
from .run import hunt

ROOT: Final = Path(trio_supervisor.__file__).parent


def fits(name: str) -> bool:
    """Whether its pattern is found in the source; says so if it is not."""
    try:
        MUTANTS[name].check(ROOT)
    except (LookupError, SyntaxError) as error:
        print(f"does not fit: {error}", flush=True)
        return False
    return True


def main() -> int:
    """What ``python -m tests.mutants`` does."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of those to plant")
    parser.add_argument("--by", choices=FINDERS, default="all")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="only say which fit the source")
    parser.add_argument("--list", action="store_true", help="only say which there are")
    options = parser.parse_args()
    chosen = [
        name for name in MUTANTS if not options.names or any(part in name for part in options.names)
    ]
    if options.list:
        print("\n".join(f"{MUTANTS[name].module:18} {name}" for name in chosen))
        return 0
    unfit = [name for name in chosen if not fits(name)]
    if options.check:
        print(f"{len(chosen) - len(unfit)}/{len(chosen)} fit the source")
        return 1 if unfit else 0
    fitting = [name for name in chosen if name not in unfit]
    by: Counter[str] = Counter()
    slowest = 0.0
    total = 0.0
    escaped: list[str] = []
    expected: list[str] = []
    progress = Progress(len(fitting))
    with ThreadPool(options.jobs) as pool:
        results = pool.imap(lambda name: hunt(name, options.by), fitting)
        for name in fitting:
            progress.step(name)
            seconds, found = next(results)
            progress.end()
            known = MUTANTS[name].escapes
            verdict = "caught" if found else "escaped" if known else "ESCAPED"
            print(f"{verdict:8} {seconds:5.1f} s  {name}: {found or known}", flush=True)
            total += seconds
            if verdict == "escaped":
                expected.append(name)
            elif found:
                by[found.partition(":")[0]] += 1
                slowest = max(slowest, seconds)
            else:
                escaped.append(name)
    parts = ", ".join(f"{count} by the {what}" for what, count in by.most_common())
    print(
        f"{sum(by.values())}/{len(chosen)} caught ({parts}); {len(expected)} known to escape, "
        f"{len(escaped)} others, {len(unfit)} do not fit; the slowest after "
        f"{slowest:.1f} s, all of them in {total:.0f} s of one core"
    )
    return 1 if escaped or unfit else 0


if __name__ == "__main__":
    sys.exit(main())
