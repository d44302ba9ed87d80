"""A mailer: a pool of connections, a clerk who submits mails, two senders.

Planted bugs:

leak_on_cancel      The pool takes a connection and then checks it; an attempt that dies in the
                    check has lost the connection for all.
requeue_on_restart  The clerk, when it starts, puts back what is being sent; but it restarts alone,
                    and the senders are still sending.
two_step_claim      A sender looks for an open mail, and claims it one checkpoint later.
lost_wakeup         A sender that has found nothing waits for the next change one checkpoint later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    RestartLimit,
    SupervisorSpec,
    open_supervisor,
)

if TYPE_CHECKING:
    from trio_supervisor.testing import Pilot

MAILS = ((1.0, "ada"), (1.32, "bob"), (4.0, "cyd"), (9.0, "dan"))
SENDERS = ("sender1", "sender2")
LIVE = ("starting", "ready", "not_ready", "stopping")
PATIENCE = 2.5


class Pool:
    """Connections, each used by one sender at a time."""

    def __init__(self, size: int, bug: str) -> None:
        self.size = size
        self.free = list(range(size))
        self._bug = bug
        self._changed = trio.Event()

    async def take(self) -> int:
        """Take a connection that works."""
        while not self.free:
            await self._changed.wait()
        connection = self.free.pop()
        try:
            await trio.sleep(0.02)  # asks whether it is still open
        except BaseException:
            if self._bug != "leak_on_cancel":
                self.give_back(connection)
            raise
        return connection

    def give_back(self, connection: int) -> None:
        """Let others use it."""
        self.free.append(connection)
        self._changed.set()
        self._changed = trio.Event()


class Mailbox:
    """What survives restarts: the state of every mail, and what was sent."""

    def __init__(self) -> None:
        self.mails: dict[str, str] = {}
        self.opened_at: dict[str, float] = {}
        self.sent: list[str] = []
        self.changed = trio.Event()

    def open(self, mail: str) -> None:
        """Submit a mail, or put it back."""
        self.mails[mail] = "open"
        self.opened_at[mail] = trio.current_time()
        self.changed.set()
        self.changed = trio.Event()

    def next(self) -> str | None:
        """Return a mail that nobody has claimed."""
        return next((mail for mail, state in self.mails.items() if state == "open"), None)


async def pool(child: ChildContext, bug: str) -> None:
    child.ready(Pool(2, bug))
    await child.wait_stop_requested()


async def clerk(child: ChildContext, box: Mailbox, bug: str) -> None:
    if bug == "requeue_on_restart":
        for mail, state in box.mails.items():
            if state == "sending":
                box.open(mail)
    child.ready()
    for at, mail in MAILS:
        if mail not in box.mails:
            await trio.sleep_until(at)
            box.open(mail)
    await child.wait_stop_requested()


async def sender(child: ChildContext, box: Mailbox, bug: str) -> None:
    child.ready()
    while not child.stop_requested:
        mail = box.next()
        if mail is None:
            changed = box.changed
            if bug == "lost_wakeup":
                await trio.lowlevel.checkpoint()  # writes to the log that it is idle
                changed = box.changed
            await changed.wait()
            continue
        if bug == "two_step_claim":
            await trio.lowlevel.checkpoint()  # writes to the log what it is about to do
        box.mails[mail] = "sending"
        try:
            connections = child.value("pool")
            connection = await connections.take()
            try:
                await trio.sleep(0.3)
                box.sent.append(mail)
            finally:
                connections.give_back(connection)
        except BaseException:
            if mail in box.sent:
                box.mails[mail] = "sent"
            else:
                box.open(mail)
            raise
        box.mails[mail] = "sent"


def fresh(bug: str = "") -> tuple[SupervisorSpec, Mailbox]:
    """Return a mailer and its mailbox."""
    box = Mailbox()
    options: dict[str, Any] = {
        "readiness": "explicit",
        "grace": 1,
        "backoff": BackoffPolicy(0.1, maximum=2),
    }
    children = [
        ChildSpec("pool", pool, bug, **options),
        ChildSpec("clerk", clerk, box, bug, **options),
        *(ChildSpec(name, sender, box, bug, **options) for name in SENDERS),
    ]
    limit = RestartLimit(50, within=60)
    return SupervisorSpec("mailer", children, child_restart_limit=limit), box


def no_mail_is_sent_twice(tree: Pilot, box: Mailbox) -> None:
    assert len(box.sent) == len(set(box.sent)), box.sent


def _state(tree: Pilot, name: str) -> str:
    return tree.state(name) if name in tree.paths() else ""


def no_connection_is_lost(tree: Pilot, box: Mailbox) -> None:
    in_use = any(_state(tree, name) in LIVE for name in SENDERS)
    if tree.is_open and _state(tree, "pool") == "ready" and not in_use:
        connections = tree.supervisor.child("pool").value
        assert len(connections.free) == connections.size, connections.free


def no_mail_waits_for_an_idle_sender(tree: Pilot, box: Mailbox) -> None:
    if not tree.is_open:
        return
    for mail, state in box.mails.items():
        since = box.opened_at[mail]
        for name in SENDERS if state == "open" else ():
            if _state(tree, name) == "ready" and box.mails[mail] == "open":
                idle = tree.now - max(since, tree.child(name).since)
                assert idle < PATIENCE, f"{mail} waits for {idle:g} s while {name} is ready"


async def an_orderly_day(bug: str) -> None:
    """One sender is at work, and sends every mail."""
    spec, box = fresh(bug)
    async with open_supervisor(spec) as supervisor:
        await supervisor.stop_child("sender2")
        await trio.sleep(3)
        assert "open" not in box.mails.values(), box.mails


INVARIANTS = (no_mail_is_sent_twice, no_connection_is_lost, no_mail_waits_for_an_idle_sender)
