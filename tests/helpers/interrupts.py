"""A program that presses Ctrl-C at random moments of a child's life: ``interrupts.py ROUNDS``.

Run by `test_runner` in a process of its own: an interrupt may hit any line, and a coverage tool
would be left holding its lock.
"""

from __future__ import annotations

import random
import signal
import sys
from typing import TYPE_CHECKING

import trio

from trio_supervisor import ChildRunner, ChildSpec

if TYPE_CHECKING:
    from trio_supervisor import ChildContext

counts = {"open": 0, "finished": 0}


async def body(child: ChildContext) -> None:
    counts["open"] += 1
    try:
        with child.stop_scope(), child.busy(1):
            await trio.lowlevel.checkpoint()
        child.heartbeat()
        raise ValueError
    finally:
        counts["open"] -= 1


async def run_again_and_again(seconds: float) -> None:
    spec = ChildSpec("c", body, max_runtime=1000, stale_after=1000)
    await trio.lowlevel.checkpoint()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    while True:
        report = await ChildRunner().run_once(spec)
        assert report.exit.kind == "crashed"
        counts["finished"] += 1


def main(rounds: int) -> None:
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    draw = random.Random(rounds)
    for _ in range(rounds):
        try:
            trio.run(run_again_and_again, draw.uniform(0.0001, 0.01))
        except KeyboardInterrupt:
            assert not counts["open"], "a body was left"
        else:
            raise AssertionError("the interrupt was lost")
    print(f"{rounds} interrupts, {counts['finished']} attempts between them")


if __name__ == "__main__":
    main(int(sys.argv[1]))
