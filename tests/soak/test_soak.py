"""A short soak. The long one: ``make soak``."""

from __future__ import annotations

import os

from soak.search import search

SECONDS = float(os.environ.get("SOAK_SECONDS") or 10)


def test_nothing_is_found() -> None:
    account = search(SECONDS, seed=0)
    print(account)
    assert account.lifecycles > 10
    assert len(account.states) > 100
    assert not account.found, "\n\n".join(map(str, account.found))
