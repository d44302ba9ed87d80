"""``python -m tests.finds``: find every planted bug, and print how long it took."""

from __future__ import annotations

import argparse
import logging
import sys
from statistics import median

from .catalogue import BUGS, HEAD, MOST_SECONDS, false_alarms, find


def main() -> int:
    """Print the table, and ``N/N found`` last."""
    parser = argparse.ArgumentParser(prog="python -m tests.finds", description=__doc__)
    parser.add_argument("bugs", nargs="*", help=f"which: {', '.join(BUGS)}")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the first example")
    parser.add_argument("--show", action="store_true", help="print each counterexample")
    parser.add_argument(
        "--examples", type=int, default=0, help="also run so many examples of the repaired programs"
    )
    options = parser.parse_args()
    unknown = set(options.bugs) - set(BUGS)
    if unknown:
        parser.error(f"no such bug: {', '.join(sorted(unknown))}")
    logging.getLogger("trio_supervisor").propagate = False
    names = options.bugs or list(BUGS)
    print(HEAD, flush=True)
    findings = []
    for name in names:
        finding = find(name, seed=options.seed)
        findings.append(finding)
        print(finding, flush=True)
        if options.show:
            print(finding.shown, flush=True)
    found = [finding for finding in findings if finding.found]
    if found:
        slow = [f.bug for f in found if max(f.find_seconds, f.shrink_seconds) > MOST_SECONDS]
        print(
            f"steps: median {median(f.steps for f in found):g}, most {max(f.steps for f in found)}"
        )
        print(f"slower than {MOST_SECONDS:g} s: {', '.join(slow) or 'none'}")
    if options.examples:
        count, seconds = false_alarms(options.examples, seed=options.seed)
        print(f"repaired: no false alarm in {count} examples, {count / seconds:.0f} per second")
    print(f"{len(found)}/{len(names)} found")
    return 0 if len(found) == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
