"""A supervision tree as an operating-system process: signals in, log lines and an exit code out."""

from __future__ import annotations

from trio_supervisor.daemon._ending import ExitCode as ExitCode
from trio_supervisor.daemon._run import run as run

__all__ = ["ExitCode", "run"]
