"""``python -m benchmarks.install_peers FOLDER PYTHON``: an environment with the peers.

They have one of their own, because some want a newer Python than this library does. A peer that
cannot be installed is left out, and said so; nothing is done when the environment is there already.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from benchmarks.peers import PEERS

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def main() -> None:
    """Make it, unless it is made of the same things already."""
    folder, base = Path(sys.argv[1]), sys.argv[2]
    core: list[str] = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    wanted = [requirement for _, requirement in PEERS.values()]
    stamp, made_of = folder / ".made-of", "\n".join([base, *core, *wanted])
    if stamp.exists() and stamp.read_text(encoding="utf-8") == made_of:
        return
    print(f"{folder.name}: {base} with {' '.join(wanted)}", flush=True)
    subprocess.run([base, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "-qq", *core], check=True)
    for requirement in wanted:
        done = subprocess.run(
            [*pip, "-qq", requirement], check=False, capture_output=True, text=True
        )
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
            print(f"{requirement} cannot be installed and is skipped: {why}", flush=True)
    stamp.write_text(made_of, encoding="utf-8")


if __name__ == "__main__":
    main()
