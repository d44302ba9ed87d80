"""Shutdown reports: the outcome of each child in a stop, and how long each took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from trio_supervisor._errors import SpecError
from trio_supervisor._events.plain import SCHEMA, check_schema, record_from, to_plain
from trio_supervisor._lazy import public
from trio_supervisor._record import Record


@public
@final
class ChildShutdown(Record):
    """The outcome of one child at the end of its supervisor.

    Attributes:
        path: The child.
        attempt: Its last attempt; 0 if it never ran.
        outcome: How that attempt ended (`TaskExit.kind`, or ``"fatal"``) if it was alive when the
            stop began; else the child's state, such as ``"done"`` or ``"stopped"``.
        detail: One line about the exit.
        seconds: From the beginning of the supervisor's stop until it was gone; 0 if it rested.
        stack: Where its tasks hung, if it had to be called unresponsive.
        cut_off: Whether it was cancelled because its grace, or the shutdown deadline, was over. A
            child whose grace is 0 is cancelled in order, and is not cut off.
    """

    path: str
    attempt: int
    outcome: str
    detail: str = ""
    seconds: float = 0.0
    stack: tuple[str, ...] = ()
    cut_off: bool = False

    @property
    def unresponsive(self) -> bool:
        """Whether it was still there ``report_after`` seconds after its cancel."""
        return bool(self.stack)


@public
@final
class ShutdownReport(Record):
    """The outcome of a supervisor's stop, with every child, also of nested supervisors.

    Attributes:
        path: The supervisor.
        run: Its run, as in its events.
        cause: Why it ended: ``shutdown auto_shutdown cancelled fatal limit escalated start_failed
            broken``.
        reason: In words.
        seconds: From the beginning of the stop until no child was alive.
        children: In the order in which they ended; children that were at rest come first.
    """

    path: str
    run: int
    cause: str
    reason: str
    seconds: float
    children: tuple[ChildShutdown, ...]

    @property
    def unresponsive(self) -> tuple[ChildShutdown, ...]:
        """The children that ignored their cancel for longer than ``report_after``."""
        return tuple(child for child in self.children if child.unresponsive)

    @property
    def cut_off(self) -> tuple[ChildShutdown, ...]:
        """The children that were cancelled because their grace or the deadline was over."""
        return tuple(child for child in self.children if child.cut_off)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values with a ``schema``; `from_dict` reads them."""
        return {"schema": SCHEMA, **to_plain(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ShutdownReport:
        """Return the report that `to_dict` has turned into ``data``.

        Raises:
            SpecError: It has another schema version, or a field is missing or has the wrong type.
        """
        owner = "ShutdownReport.from_dict()"
        data = check_schema(data, owner)
        children = data.get("children")
        if not isinstance(children, list) or not all(isinstance(each, dict) for each in children):
            raise SpecError("children", children, "a list of JSON objects", owner=owner)
        entries = tuple([record_from(ChildShutdown, each, owner) for each in children])
        return record_from(cls, {**data, "children": entries}, owner)

    def child(self, path: str) -> ChildShutdown:
        """Return the entry of one child, by its path or its path below this supervisor.

        Raises:
            KeyError: There is none.
        """
        for child in self.children:
            if child.path in (path, f"{self.path}/{path}"):
                return child
        raise KeyError(path)

    def render(self) -> str:
        """Return the report as lines of text."""
        count, stuck = len(self.children), len(self.unresponsive)
        lines = [
            (
                f"{self.path} ended in {self.seconds:.2f}s: {self.cause}"
                f" ({count} children, {stuck} unresponsive) reason={self.reason!r}"
            )
        ]
        for child in self.children:
            line = f"  {child.path} {'cut off, ' if child.cut_off else ''}{child.outcome}"
            if child.seconds:
                line += f" after {child.seconds:.2f}s"
            detail = child.detail.removeprefix(child.outcome).removeprefix(": ")
            if detail:
                line += f" ({detail})"
            lines.append(line)
            lines.extend(f"    at {place}" for place in child.stack)
        return "\n".join(lines)
