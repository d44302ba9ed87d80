"""The state diagram in docs/lifecycle.md, made from the table that the machine is held to.

``python -m brain.diagram`` (with ``tests`` on the path) prints the page.
"""

from __future__ import annotations

from trio_supervisor._brain.lifecycle import RULE, TRANSITIONS
from trio_supervisor._events.snapshot import ChildState

HEAD = """\
# The life of a child

<!-- Made from the tables in trio_supervisor/_brain/lifecycle.py by tests/brain/diagram.py. -->

A child is where its attempt is, and it should be where its *wish* says: up, or down for a reason.
After every signal the supervisor's machine applies one rule to each child that is affected: **move
it from where it is towards where it should be, as far as the ordering allows.** First start,
restart, group restart, quarantine, removal and shutdown are not procedures; they are different
wishes under this rule.

## The rule

| situation | what has to be true | what is done |
|---|---|---|
"""

SITUATIONS = {
    "RUNNING": "alive, and may go on",
    "MARKED": "alive, and has to end",
    "STOPPING": "alive, asked or cancelled (time moves it on: grace, cancel, unresponsive)",
    "BACKING_OFF": "down, should be up, backing off",
    "WAITING": "down, should be up",
    "AT_REST": "down, should be down",
    "REMOVED": "down, to be forgotten",
}

NOTES = """
*Its turn in the order*: outside a round always; inside, when those before it are settled and nobody
of the round is still leaving. *Its requirements*: each of them ready, or done by success. A round
is one coordinated change of several children: the first start, a group restart, a shutdown.

## The states

"""


def render() -> str:
    """The whole page."""
    rows = "".join(
        f"| {SITUATIONS[situation.name]} | {gate.value} | {step.value} |\n"
        for situation, (gate, step) in RULE.items()
    )
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> waiting"]
    for start, cause, end in sorted(TRANSITIONS):
        if end is ChildState.REMOVED:
            lines.append(f"    {start} --> [*]: removed")
        else:
            lines.append(f"    {start} --> {end}: {cause}")
    lines.append("```\n")
    return HEAD + rows + NOTES + "\n".join(lines)


if __name__ == "__main__":
    print(render(), end="")
