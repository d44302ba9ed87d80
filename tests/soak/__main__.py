"""Search for broken promises; exit code 1 if one is found."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from soak.search import Account, descriptors, rss, search


def main() -> int:
    """What ``make soak`` does."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1_000_000, help="the first case")
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two lines")
    options = parser.parse_args()
    logging.getLogger("trio_supervisor").setLevel(logging.CRITICAL)
    account = Account()
    left = options.minutes * 60
    search(min(left, 2.0), seed=options.seed, account=account)  # everything is loaded by then
    memory, files, states = rss(), descriptors(), len(account.states)
    left -= 2.0
    while left > 0:
        seed = options.seed + account.lifecycles
        search(min(left, options.every), seed=seed, account=account)
        left -= options.every
        ahead = f"{max(left, 0) / 60:.1f} of {options.minutes:g} min left"
        print(f"{ahead}: {account}", flush=True)
    # The states that are remembered grow, and should; nothing else may.
    grown = rss() - memory - 120 * (len(account.states) - states)
    print(f"memory {max(grown, 0) / 2**20:+.1f} MB, descriptors {descriptors() - files:+d}")
    for found in account.found:
        print(f"\n{found}")
    return 1 if account.violations else 0


if __name__ == "__main__":
    sys.exit(main())
