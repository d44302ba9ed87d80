"""Plant a bug in every interpreter that is started below: Python imports this by itself."""

from __future__ import annotations

import os

if _name := os.environ.get("PLANTED_BUG"):
    from mutants.catalogue import MUTANTS

    MUTANTS[_name].plant()
