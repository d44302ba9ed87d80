"""Words of attempts that are long gone, told to the brain alone: no shell would let them through.

Each of them comes right after the restart; the referee judges what the machine makes of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain.rig import BOOM, Rig
from brain.shapes import child

from trio_supervisor._brain import messages as o

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORDS: Final[dict[str, Callable[[float], o.Signal]]] = {
    "ready": lambda now: o.BecameReady("a", 1),
    "not ready": lambda now: o.LostReadiness("a", 1, "tired"),
    "beat": lambda now: o.Heartbeat("a", 1, now),
    "busy": lambda now: o.Heartbeat("a", 1, now, now + 50),
    "extension": lambda now: o.StartExtended("a", 1, now + 50),
    "forfeit": lambda now: o.GraceForfeited("a", 1),
    "exit": lambda now: o.Exited("a", 1, BOOM, None, BOOM.describe()),
}


def say(word: str, *, explicit: bool) -> None:
    """Let attempt 1 say this when attempt 2 is half through its patience.

    Raises:
        AssertionError: The machine listens to it.
    """
    rig = Rig(
        child("a", explicit=explicit, retry_first_start=True, start_timeout=10, grace=2)
        if explicit
        else child("a", explicit=False, stale_after=10, grace=2)
    )
    rig.crash("a")
    rig.sleep(5)
    rig.take(WORDS[word](rig.now))
    rig.done()
    rig.sleep(5)
    assert rig.done() == ["ask a#2"], (word, rig.states)
    rig.sleep(2)
    assert rig.done() == ["cancel a#2"], (word, rig.states)


def say_all() -> Iterator[str]:
    """For each word what is wrong with the answer, empty if nothing is."""
    for word in WORDS:
        for explicit in (False, True):
            try:
                say(word, explicit=explicit)
            except Exception as error:
                yield f"a late word of an old attempt: {word} ({type(error).__name__})"
            else:
                yield ""
