"""``python -m examples.webshop [--http ADDRESS]``: run the shop until it is stopped."""

from __future__ import annotations

import argparse
import os

from trio_supervisor import daemon

from .tree import Options, declare


def main() -> None:
    """Parse the command line and run the tree."""
    parser = argparse.ArgumentParser(prog="webshop", description=__doc__)
    parser.add_argument(
        "--http",
        metavar="ADDRESS",
        help="where to serve probes, metrics and the dashboard, such as 127.0.0.1:8024",
    )
    given = parser.parse_args()
    options = Options.from_environment(os.environ)
    daemon.run(lambda: declare(options), http=given.http, drain=options.drain)


if __name__ == "__main__":
    main()
