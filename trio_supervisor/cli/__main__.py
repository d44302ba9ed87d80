"""``python -m trio_supervisor.cli``: the same as ``trio-supervisor``."""

from __future__ import annotations

from trio_supervisor.cli._main import main

if __name__ == "__main__":
    main()
