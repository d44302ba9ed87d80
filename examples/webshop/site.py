"""The web application: plain Starlette, which knows nothing of supervision.

.. code-block:: text

    GET  /                      how many orders there are
    POST /orders/KEY?item=...   place an order; the same KEY again is the same order
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from .store import Store


def make_site(store: Store, pace: float) -> Starlette:
    """The application.

    Args:
        store: Where the orders are kept.
        pace: Seconds that a payment takes.
    """

    async def show(request: Request) -> PlainTextResponse:
        sums = await store.sums()
        return PlainTextResponse(f"{sums.placed} orders, {sums.shipped} of them shipped\n")

    async def order(request: Request) -> JSONResponse:
        await trio.sleep(pace)  # the payment
        item = request.query_params.get("item", "a surprise")
        number = await store.place(request.path_params["key"], item)
        return JSONResponse({"number": number, "item": item}, status_code=201)

    return Starlette(
        routes=[Route("/", show), Route("/orders/{key}", order, methods=["POST"])],
    )
