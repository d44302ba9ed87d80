"""Log records as JSON, one object per line, for collectors such as Loki, Vector or Fluent Bit."""

from __future__ import annotations

import logging
from typing import Any

from trio_supervisor._errors import SpecError
from trio_supervisor._events.plain import at_of, to_plain
from trio_supervisor._lazy import public


@public
def json_formatter() -> logging.Formatter:
    """Return a formatter that writes each log record as one JSON object on one line.

    ``trio_supervisor.daemon.run(log_format="json")`` uses it. Give it to a handler of your own in a
    program that configures logging itself. Keys are ``at`` (ISO 8601 in UTC), ``level``,
    ``logger``, ``message``, ``exc_info`` (the traceback, if there is one), and the fields that the
    record carries; the guide to the log lists what the tree's log has. An endless number of
    seconds is ``null``.

    Raises:
        SpecError: python-json-logger is not installed (extra ``daemon``).

    Example::

        handler = logging.StreamHandler()
        handler.setFormatter(json_formatter())
        logging.basicConfig(handlers=[handler], level=logging.INFO)
    """
    try:
        from pythonjsonlogger.json import JsonFormatter  # noqa: PLC0415 - optional
    except ImportError:
        wanted = "text, or python-json-logger to be installed (extra `daemon`)"
        raise SpecError("log_format", "json", wanted, owner="json_formatter()") from None

    class Formatter(JsonFormatter):
        """Adds the time in our form, and leaves out what JSON cannot express."""

        def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
            return {name: to_plain(value) for name, value in log_data.items()}

        def add_fields(
            self,
            log_data: dict[str, Any],
            record: logging.LogRecord,
            message_dict: dict[str, Any],
        ) -> None:
            log_data["at"] = at_of(record.created)
            if record.exc_text:  # of the tree's log: trimmed of the frames of this library
                message_dict["exc_info"] = record.exc_text
            super().add_fields(log_data, record, message_dict)

    return Formatter(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
    )
