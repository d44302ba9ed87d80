"""Orders: a cashier, a catalogue that a web server reads, an exporter, and two leaders.

Planted bugs:

charged_twice    The cashier charges a customer, and notes that a moment later.
ready_too_early  The catalogue is ready before it is loaded.
lock_kept        The exporter locks the books, and unlocks them only if it gets to the end.
lease_too_short  The leader renews its lease just in time, if all clocks are exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    RestartLimit,
    SupervisorError,
    SupervisorSpec,
)

if TYPE_CHECKING:
    from trio_supervisor.testing import Pilot

LIVE = ("starting", "ready", "not_ready", "stopping")


class Shop:
    """What survives restarts."""

    def __init__(self) -> None:
        self.orders = {"tea": "new", "milk": "new", "bread": "new"}
        self.charged: list[str] = []
        self.missing: list[float] = []
        self.locked = False
        self.exports = 0
        self.owner = ""
        self.until = 0.0
        self.acting: set[str] = set()
        self.both = False


async def cashier(child: ChildContext, shop: Shop, bug: str) -> None:
    for order, state in shop.orders.items():
        if state == "paid":
            continue
        await trio.sleep(0.5)
        if bug == "charged_twice" or order not in shop.charged:
            await trio.sleep(0.3)  # asks the bank
            shop.charged.append(order)
        await trio.sleep(0.05)  # writes the order
        shop.orders[order] = "paid"
    await trio.sleep_forever()


async def catalogue(child: ChildContext, bug: str) -> None:
    table: dict[str, float] = {}
    if bug == "ready_too_early":
        child.ready(table)
    await trio.sleep(0.4)
    table["tea"] = 2.0
    if bug != "ready_too_early":
        child.ready(table)
    await trio.sleep_forever()


async def web(child: ChildContext, shop: Shop) -> None:
    while True:
        await trio.sleep(0.9)
        try:
            table = child.value("catalogue")
        except SupervisorError:  # it is restarting, and customers are told so
            continue
        if "tea" not in table:
            shop.missing.append(trio.current_time())


async def exporter(child: ChildContext, shop: Shop, bug: str) -> None:
    while True:
        await trio.sleep(1)
        if shop.locked:
            continue
        shop.locked = True
        try:
            await trio.sleep(1)
            shop.exports += 1
        finally:
            if bug != "lock_kept":
                shop.locked = False
        shop.locked = False


async def leader(child: ChildContext, shop: Shop, bug: str) -> None:
    lease, renewal = (5.5, 5.0) if bug == "lease_too_short" else (8.0, 4.0)
    me = f"{child.name}#{child.attempt}"
    try:
        while True:
            now = trio.current_time()
            if shop.owner == me or now > shop.until:
                shop.owner, shop.until = me, now + lease
                shop.acting.add(me)
                shop.both |= len(shop.acting) > 1
                await trio.sleep(renewal)
            else:
                shop.acting.discard(me)
                await trio.sleep(1)
    finally:
        shop.acting.discard(me)


def fresh(bug: str = "") -> tuple[SupervisorSpec, Shop]:
    """Return the program and its shop."""
    shop = Shop()
    options: dict[str, Any] = {"backoff": BackoffPolicy(0.1, maximum=2)}
    children = [
        ChildSpec("cashier", cashier, shop, bug, **options),
        ChildSpec("catalogue", catalogue, bug, readiness="explicit", **options),
        ChildSpec("web", web, shop, **options),
        ChildSpec("exporter", exporter, shop, bug, **options),
        ChildSpec("leader1", leader, shop, bug, **options),
        ChildSpec("leader2", leader, shop, bug, **options),
    ]
    limit = RestartLimit(50, within=60)
    return SupervisorSpec("shop", children, child_restart_limit=limit), shop


def no_order_is_charged_twice(tree: Pilot, shop: Shop) -> None:
    assert len(shop.charged) == len(set(shop.charged)), shop.charged


def the_catalogue_is_complete(tree: Pilot, shop: Shop) -> None:
    assert not shop.missing, shop.missing


def the_books_are_locked_only_while_they_are_exported(tree: Pilot, shop: Shop) -> None:
    exporting = tree.is_open and "exporter" in tree.paths() and tree.state("exporter") in LIVE
    assert exporting or not shop.locked


def there_is_one_leader(tree: Pilot, shop: Shop) -> None:
    assert not shop.both


INVARIANTS = (
    no_order_is_charged_twice,
    the_catalogue_is_complete,
    the_books_are_locked_only_while_they_are_exported,
    there_is_one_leader,
)
