"""Programs under test: started as real processes, heard, signalled, waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import trio_supervisor

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
LIMIT = 30.0


def wait_until(condition: Callable[[], object], what: Callable[[], str]) -> None:
    """Look until ``condition()`` is true; ``what()`` tells what had been seen if it never is."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)


class Program:
    """A Python program: ``with Program(folder, "-m", "examples.logkeeper") as program:``.

    It finds the same library as the tests do. At the end of the block it is killed if need be.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        cwd: Path = ROOT,
        environment: dict[str, str] | None = None,
        descriptors: tuple[int, ...] = (),
    ) -> None:
        self._paths = folder / "stdout.txt", folder / "stderr.txt"
        search = [str(Path(trio_supervisor.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        around = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, search))}
        with self._paths[0].open("wb") as out, self._paths[1].open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=cwd,
                env=around | (environment or {}),
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def out(self) -> str:
        """What it has written to standard output."""
        return self._paths[0].read_text()

    @property
    def err(self) -> str:
        """What it has written to standard error."""
        return self._paths[1].read_text()

    def wait_for(self, text: str) -> None:
        """Wait until it has written ``text`` to either."""
        wait_until(
            lambda: text in self.out + self.err or self.process.poll() is not None,
            lambda: f"no {text!r} in:\n{self.out}\n{self.err}",
        )
        assert text in self.out + self.err, f"it ended without {text!r}:\n{self.out}\n{self.err}"

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end; its exit code."""
        try:
            return self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running:\n{self.out}\n{self.err}") from None
