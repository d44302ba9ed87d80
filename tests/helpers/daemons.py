"""Daemons under test: programs that call `daemon.run`, started as real processes."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent
from typing import TYPE_CHECKING, TypeAlias

from helpers.processes import Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Start: TypeAlias = Callable[..., Program]

PREAMBLE = """\
import logging, sys, threading, time
import trio
from trio_supervisor import *
from trio_supervisor.daemon import run

def say(*words):
    print(*words, flush=True)

async def obedient(child, name=""):
    say(name, "runs")
    try:
        await child.wait_stop_requested()
        await trio.sleep(0.01)
    finally:
        say(name, "stopped", child.stop_requested)

async def slow(child, seconds):
    try:
        await child.wait_stop_requested()
        say("saying goodbye")
        await trio.sleep(seconds)
        say("said goodbye")
    except trio.Cancelled:
        say("cut short")
        raise

async def stubborn(child, seconds):
    with trio.CancelScope(shield=True):
        await child.wait_stop_requested()
        await trio.sleep(seconds)

async def crash(child, error, after=0.0):
    await trio.sleep(after)
    raise error

HASTY = BackoffPolicy(initial=0.001, jitter=0)
"""


def starter(folder: Path) -> Iterator[Start]:
    """Yield a function that starts a program with this preamble; kill them all at the end."""
    started: list[Program] = []

    def start_script(source: str, **environment: str) -> Program:
        script = folder / f"script{len(started)}.py"
        script.write_text(PREAMBLE + dedent(source))
        program = Program(folder, str(script), cwd=folder, environment=environment)
        started.append(program)
        return program

    yield start_script
    for program in started:
        program.__exit__()
