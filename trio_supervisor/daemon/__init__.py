"""A supervision tree as an operating-system process: signals in, log lines and an exit code out."""

from __future__ import annotations

from trio_supervisor.daemon._run import ExitCode, run

__all__ = ["ExitCode", "run"]
