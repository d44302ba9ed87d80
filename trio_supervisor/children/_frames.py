"""The language of `in_process`: what the two processes say to each other, and how it is packed.

A message is a tuple: its kind, then plain values. Objects of the user travel inside as bytes, so
that one which cannot be read does not take the message with it. Each message is sent as its length
in four bytes and its pickle.

| from the worker | |
|---|---|
| ``up()`` | the attempt begins |
| ``ready(value)``, ``not_ready(reason)`` | `ChildContext.ready`, `not_ready` |
| ``beat(detail)``, ``busy(seconds)``, ``extend(seconds)`` | heartbeats, silence, start |
| ``ask(number, name, wait)`` | `ChildContext.value`, `wait_value` |
| ``forget(number)`` | the task that waited for this answer was cancelled |
| ``exit(how, value, type, text, traceback)`` | the last one: how the attempt ended |

| to the worker | |
|---|---|
| ``stop(reason, seconds)``, ``cancel(reason)`` | the steps of a stop |
| ``answer(number, found, value)`` | to ``ask`` |
"""

from __future__ import annotations

import pickle
import sys
from contextlib import suppress
from typing import Any, Final, TypeAlias

from trio_supervisor._events.tracebacks import traceback_text
from trio_supervisor._text import error_line, text_of, type_path
from trio_supervisor.children._failures import RemoteError

Message: TypeAlias = tuple[Any, ...]

LENGTH: Final = 4


def pack(message: Message) -> bytes:
    """Return the bytes that carry ``message``."""
    body = pickle.dumps(message)
    return len(body).to_bytes(LENGTH, "big") + body


def unpack(buffer: bytearray) -> Message | None:
    """Take the first message out of ``buffer``; `None` if it has not arrived whole."""
    if len(buffer) < LENGTH:
        return None
    end = LENGTH + int.from_bytes(buffer[:LENGTH], "big")
    if len(buffer) < end:
        return None
    message: Message = pickle.loads(bytes(buffer[LENGTH:end]))  # noqa: S301 - from our own worker
    del buffer[:end]
    return message


def error_message(error: BaseException) -> Message:
    """Return the ``exit`` message of an attempt that ended with ``error``."""
    try:
        dumped = dumps(error)
        loads(dumped)  # some can only be written
        packed: bytes | None = dumped
    except Exception:
        packed = None
    return "exit", "error", packed, _type_name(error), text_of(error), traceback_text(error)


def error_of(message: Message, where: str) -> Exception:
    """Return the exception in an ``exit`` message, with the traceback of the worker as a note."""
    _, _, packed, type_name, text, trace = message
    error: object = None
    if packed is not None:
        try:
            error = unpickle(packed)
        except Exception:  # its module may exist in the worker only
            error = None
    if not isinstance(error, Exception):
        error = RemoteError(f"{type_name}: {text}", type_name=type_name)
    with suppress(BaseException):  # it may refuse notes
        BaseException.add_note(error, f"traceback in {where}:\n{trace.rstrip()}")
    return error


def _type_name(error: BaseException) -> str:
    """The module and the name of a type, also where it would be told without the module."""
    path = type_path(error)
    return path if "." in path else f"builtins.{path}"


def unpickle(data: bytes) -> Any:
    """Return the object that a worker has sent."""
    # What the main module of this program defines has this module in a worker.
    sys.modules.setdefault("__mp_main__", sys.modules["__main__"])
    return loads(data)


def dumps(value: object) -> bytes:
    """Return the pickle of an object of the user's.

    Raises:
        Exception: It has none. What the object itself raises outside of `Exception` is a
            `TypeError`: it ends no more than the child.
    """
    try:
        return pickle.dumps(value)
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise TypeError(f"pickling it raised {error_line(error)}") from error  # noqa: ASYNC104


def loads(data: bytes) -> Any:
    """Return the object of the user's that was pickled; raises like `dumps`."""
    try:
        return pickle.loads(data)  # noqa: S301 - from our own worker
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise TypeError(f"unpickling it raised {error_line(error)}") from error  # noqa: ASYNC104
