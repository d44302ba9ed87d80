"""How fast supervision is, beside the loops that one would write by hand, and beside peers.

``python -m benchmarks --help`` says how to run it; docs/performance.md what came out.
"""

from __future__ import annotations
