"""Generate docs/lifecycle.md from the tables of the machine.

``python -m brain.diagram`` (with ``tests`` on the path) prints the page.
"""

from __future__ import annotations

from trio_supervisor._brain.lifecycle import RULE, TRANSITIONS
from trio_supervisor._events.snapshot import ChildState

HEAD = """\
# The life of a child

<!-- Generated from the tables in trio_supervisor/_brain/lifecycle.py by tests/brain/diagram.py. -->

Each child has an actual state (is there a live attempt, and how far has its stop got) and a
*desired state*: up, or down for a stated reason. After every signal the supervisor applies one rule
to each child that is affected: **move the child from its actual state towards its desired state, as
far as the ordering allows.** First start, restart, group restart, quarantine, removal and shutdown
are not procedures. They are different desired states under this rule.

## The rule

| situation | what has to be true | what is done |
|---|---|---|
"""

SITUATIONS = {
    "RUNNING": "alive, not marked for stopping",
    "MARKED": "alive, marked for stopping",
    "STOPPING": "alive, stop requested or cancelled (deadlines: grace, cancel, unresponsive)",
    "BACKING_OFF": "not alive, desired state up, backing off",
    "WAITING": "not alive, desired state up",
    "AT_REST": "not alive, desired state down",
    "REMOVED": "not alive, to be forgotten",
}

NOTES = """
*Has its turn*: outside a round always; inside, when its predecessors have settled and no attempt of
the round is still being stopped. *Requirements are met*: each of them is ready, or done after
success. A round is one coordinated change of several children: the first start, a group restart, a
shutdown.

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
