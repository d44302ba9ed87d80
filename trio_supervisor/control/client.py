"""Talk to a running tree over its control socket. Imports neither Trio nor attrs.

A client is synchronous: it is made for commands, probes and scripts. To ask the tree of the same
program, use `Supervisor`; to serve the socket, `open_control`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from trio_supervisor._lazy import TYPE_CHECKING, public
from trio_supervisor.control import paths
from trio_supervisor.control._messages import (
    EXIT_CODES,
    ProtocolError,
    parse_answer,
    request_line,
)

if TYPE_CHECKING:
    import socket
    from typing import Any
else:
    Any = object  # for tools that ask for type hints at run time
    try:  # `socket` turns constants into enumerations, which takes longer than to connect
        import _socket as socket
    except ImportError:
        import socket

_CHUNK = 1 << 16


@public
class ControlError(Exception):
    """A request that was not carried out.

    Attributes:
        code: What kind of trouble, such as ``"no_such_child"`` or ``"refused"``.
        message: One line for people.
        candidates: Names that may have been meant.
        exit_code: What ``trio-supervisor`` ends with because of it.
    """

    def __init__(self, code: str, message: str, candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.candidates = candidates
        self.exit_code: int = EXIT_CODES.get(code, 1)


@public
class DaemonUnreachable(ControlError):
    """There is no daemon at the other end, or it does not answer."""

    def __init__(self, message: str) -> None:
        super().__init__("unreachable", message)


@public
class ControlClient:
    """A connection to the control socket of a running tree.

    Args:
        path: The socket. Without it, ``$TRIO_SUPERVISOR_SOCKET``; without that, the only daemon of
            this user that answers.
        timeout: Seconds to wait for the connection and for each answer; `None` waits for ever. A
            request that has a ``timeout`` argument of its own is waited for as much longer.

    Raises:
        DaemonUnreachable: There is none, or there are several and none was named.

    Example::

        with ControlClient() as client:
            client.request("restart", names=["app/web"], reason="new certificate")
            for item in client.stream("events", follow=True):
                print(item)
    """

    def __init__(self, path: str | None = None, *, timeout: float | None = 30.0) -> None:
        self._timeout = timeout
        self._socket = _connect(path, timeout)
        self._rest = b""
        self._number = 0

    def __enter__(self) -> ControlClient:  # noqa: PYI034 - `Self` would take `typing`
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. What was asked for goes on in the daemon."""
        self._socket.close()

    def request(self, verb: str, /, **args: Any) -> Any:
        """Ask for one thing and return the answer's data.

        Args:
            verb: One of `trio_supervisor.control.protocol.VERBS`.
            **args: Its arguments; `None` leaves one out.

        Raises:
            ControlError: It was refused, or failed; nothing is known to have changed.
            DaemonUnreachable: The connection broke before the answer came.
        """
        answer: Any = None
        for kind, answer in self._talk(verb, args):
            if kind == "data":
                return answer
        raise DaemonUnreachable("the daemon closed the connection")

    def stream(self, verb: str, /, **args: Any) -> Iterator[Any]:
        """Yield the items of a stream as they come, until the daemon ends it.

        Raises:
            ControlError: As for `request`.
        """
        for kind, item in self._talk(verb, args, endless=True):
            if kind == "item":
                yield item

    def _talk(
        self, verb: str, args: dict[str, Any], *, endless: bool = False
    ) -> Iterator[tuple[str, Any]]:
        self._number += 1
        given = {name: value for name, value in args.items() if value is not None}
        patience = self._timeout
        if endless:
            patience = None
        elif patience is not None and isinstance(given.get("timeout"), (int, float)):
            patience += given["timeout"]
        elif "wait" in given or verb == "wait":
            patience = None if given.get("wait", True) else patience
        try:
            self._socket.settimeout(patience)
            self._socket.sendall(request_line(verb, given, self._number))
            while True:
                answer = parse_answer(self._line())
                if "item" in answer:
                    yield "item", answer["item"]
                elif answer.get("ok"):
                    yield "data", answer.get("data")
                    return
                else:
                    raise _error_of(answer)
        except TimeoutError:
            raise ControlError("timed_out", f"no answer within {patience:g}s") from None
        except OSError as error:
            raise DaemonUnreachable(f"the connection broke: {error.strerror or error}") from None
        except ProtocolError as error:
            raise ControlError(error.code, error.message) from None

    def _line(self) -> bytes:
        pieces = [self._rest]
        while b"\n" not in pieces[-1]:
            data = self._socket.recv(_CHUNK)
            if not data:
                raise DaemonUnreachable("the daemon closed the connection")
            pieces.append(data)
        line, _, self._rest = b"".join(pieces).partition(b"\n")
        return line


def _error_of(answer: dict[str, Any]) -> ControlError:
    told = answer.get("error")
    if not isinstance(told, dict):
        told = {}
    candidates = tuple(str(each) for each in told.get("candidates", ()))
    return ControlError(
        str(told.get("code", "failed")), str(told.get("message", "failed")), candidates
    )


def _connect(path: str | None, timeout: float | None) -> socket.socket:
    named = path or os.environ.get(paths.VARIABLE)
    if named:
        try:
            return _connect_to(named, timeout)
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
            raise DaemonUnreachable(f"no daemon answers at {named}: {why}") from None
    alive = []
    refused = ""
    for found in paths.sockets_of_user():
        try:
            alive.append((found, _connect_to(found, timeout)))
        except OSError as error:
            refused = f" ({found}: {error.strerror or error})"
    if len(alive) == 1:
        return alive[0][1]
    for _, connection in alive:
        connection.close()
    if alive:
        names = ", ".join(name for name, _ in alive)
        raise DaemonUnreachable(f"several daemons run: name one with --socket: {names}")
    where = paths.directory_of_sockets()
    raise DaemonUnreachable(f"no daemon of this user answers; looked in {where}{refused}")


def _connect_to(path: str, timeout: float | None) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection
