"""One connection: requests in, responses out, with a time limit on everything a client does.

A client decides when it sends and when it reads, so every wait for a client has a deadline, every
buffer a size, and the whole connection is one task that a cancel ends at once: no wait is shielded.
"""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, final

import h11
import trio

from trio_supervisor._logging.safe import say
from trio_supervisor._text import short_repr
from trio_supervisor.http._exchange import HEADERS, Request, Response, parse_target, text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = logging.getLogger("trio_supervisor.http")

REQUEST_TIMEOUT: Final = 10.0
"""Seconds in which a client has to send a whole request, or its next one."""
SEND_TIMEOUT: Final = 10.0
"""Seconds in which a client has to take the next piece of a response."""
MOST_HEADER: Final = 16_384
_PIECE: Final = 65_536
_READ: Final = 4096
_LINGER: Final = 0.5
_BUG: Final = "an error in the server; its log has the traceback"
_MOST_LINGER: Final = 262_144


@final
class Connection:
    """One client. ``scope`` is what ends it from outside; ``since`` when its present phase began.

    Attributes:
        is_reading: Whether it waits for a request of the client.
        is_streaming: Whether it sends a stream that has no end of its own.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self.scope = trio.CancelScope()
        self.since = trio.current_time()
        self.is_reading = True
        self.is_streaming = False
        self._stream = stream
        self._has_body = False
        self._is_head = False
        self._protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEADER)

    async def serve(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        """Answer requests until the client or a limit ends the connection."""
        try:
            with self.scope:
                while await self._serve_one(answer):
                    self._protocol.start_next_cycle()
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.LocalProtocolError):
            pass  # the client has gone, in the middle of a response perhaps
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _serve_one(self, answer: Callable[[Request], Awaitable[Response]]) -> bool:
        """Answer one request; returns whether another one may follow."""
        self._turn_to(reading=True)
        received: h11.Request | None = None
        try:
            with trio.move_on_after(REQUEST_TIMEOUT) as scope:
                received = await self._receive()
            if scope.cancelled_caught or received is None:
                return False
            request, error = self._read(received)
        except h11.RemoteProtocolError as bad:
            error = text(bad.error_status_hint, f"bad request: {bad}")
            request = None
        self._turn_to(reading=False)
        if request is not None:
            error = None
        response = error if error is not None else await self._answer(request, answer)
        await self._send(response, close=error is not None)
        if error is not None:
            await self._linger()
        return self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE

    async def _linger(self) -> None:
        """Let the client read a refusal: closing with unread bytes would reset the connection."""
        await self._stream.send_eof()
        with trio.move_on_after(_LINGER):  # noqa: ASYNC912 - the range is not empty
            for _ in range(_MOST_LINGER // _READ):
                if not await self._stream.receive_some(_READ):
                    break

    def _turn_to(self, *, reading: bool) -> None:
        self.is_reading = reading
        self.since = trio.current_time()

    async def _receive(self) -> h11.Request | None:
        """Return the next request, or `None` if the client hangs up. A body is not read."""
        request: h11.Request | None = None
        await trio.lowlevel.checkpoint()  # the request may have come with the one before
        while True:  # noqa: ASYNC913 - each turn takes something of what has been received
            event = self._protocol.next_event()
            if event is h11.NEED_DATA:
                if self._protocol.they_are_waiting_for_100_continue:
                    self._has_body = True
                    return request
                self._protocol.receive_data(await self._stream.receive_some(_READ))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                self._has_body = True
                return request
            elif isinstance(event, h11.EndOfMessage):
                return request
            else:  # the connection is closed, or was paused by a request before this one
                return None

    def _read(self, received: h11.Request) -> tuple[Request | None, Response | None]:
        if self._has_body:
            return None, text(413, "a request with a body: this server takes none")
        self._is_head = received.method == b"HEAD"
        if received.method != b"GET":
            return None, text(405, "GET only", (("Allow", "GET"),))
        headers: dict[str, str] = {}
        for name, value in received.headers:
            headers.setdefault(name.decode("ascii").lower(), value.decode("latin-1"))
        try:
            path, query = parse_target(received.target.decode("ascii"))
        except ValueError as error:
            return None, text(400, f"bad request: {error}")
        return Request(path, query, headers), None

    async def _answer(
        self, request: Request | None, answer: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        assert request is not None
        try:
            return await answer(request)
        except Exception as error:
            say(
                _log,
                logging.ERROR,
                "GET %s failed",
                short_repr(request.path),
                exc_info=(type(error), error, error.__traceback__),
            )
            return text(500, _BUG)  # noqa: ASYNC910 - sending it is a checkpoint

    async def _send(self, response: Response, *, close: bool) -> None:
        body = response.body
        own = {name.lower() for name, _ in response.headers}
        headers = [("Content-Type", response.content_type)]
        headers += [pair for pair in HEADERS if pair[0].lower() not in own]
        headers += response.headers
        if isinstance(body, bytes):
            headers.append(("Content-Length", str(len(body))))
        if close:
            headers.append(("Connection", "close"))
        head = h11.Response(status_code=response.status, headers=headers)
        start = self._protocol.send(head) or b""
        if isinstance(body, bytes):
            if not self._is_head:
                start += self._protocol.send(h11.Data(data=body)) or b""
            start += self._protocol.send(h11.EndOfMessage()) or b""
            for begin in range(0, len(start), _PIECE):
                await self._write(start[begin : begin + _PIECE])
            return  # noqa: ASYNC910 - a response is never empty
        self.is_streaming = True
        async with aclosing(body):
            await self._write(start)
            async for piece in body:
                await self._write(self._protocol.send(h11.Data(data=piece)))
        await self._write(self._protocol.send(h11.EndOfMessage()))

    async def _write(self, data: bytes | None) -> None:
        """Send ``data``, or give the client up."""
        if not data:
            return  # noqa: ASYNC910 - the end of a response may take no bytes
        with trio.move_on_after(SEND_TIMEOUT) as scope:
            await self._stream.send_all(data)
        if scope.cancelled_caught:
            raise trio.BrokenResourceError("the client does not read")
