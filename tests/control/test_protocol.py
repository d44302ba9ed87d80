"""The control protocol without I/O: whatever comes in, the answer is a request or a typed error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_supervisor.control import _messages
from trio_supervisor.control.protocol import (
    EXIT_CODES,
    MAX_LINE,
    VERBS,
    LineReader,
    ProtocolError,
    Request,
    answer_line,
    error_line,
    item_line,
    parse_answer,
    parse_request,
    request_line,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
words = st.sampled_from([*VERBS, "__class__", "os.system", "../tree", "tree\0", ""])
arguments = st.sampled_from(
    ["names", "reason", "wait", "timeout", "grace", "since", "follow", "__dict__", "_shell"]
)
requests = st.fixed_dictionaries(
    {"v": st.sampled_from([1, 1, 1, 2, True, "1"]), "verb": words | json_values},
    optional={
        "id": json_values,
        "args": st.dictionaries(arguments, json_values, max_size=3) | json_values,
    },
)


@given(st.binary(max_size=200) | requests.map(lambda each: json.dumps(each).encode()))
@example(b"[" * 60_000)
@example(b'{"v": 1, "verb": "tree", "args": {"names": ["' + b"x" * 5000 + b'"]}}')
def test_any_line_is_a_request_of_the_table_or_a_typed_error(line: bytes) -> None:
    try:
        request = parse_request(line)
    except ProtocolError as error:
        check_refusal(error)
        return
    assert isinstance(request, Request)
    verb = VERBS[request.verb]
    assert request.args.keys() <= verb.args.keys()
    for name, value in request.args.items():
        given_back = list(value) if isinstance(value, tuple) else value
        assert verb.args[name](given_back) == value


def check_refusal(error: ProtocolError) -> None:
    assert error.code in {"bad_request", "bad_version"}
    answer = parse_answer(error_line(error))
    assert answer["ok"] is False
    assert answer["id"] == error.request_id


good_args = {
    "names": st.lists(st.text(max_size=30), max_size=5),
    "states": st.lists(st.sampled_from(["ready", "done"]), min_size=1, max_size=2),
    "reason": st.text(max_size=50),
    "timeout": st.floats(0, 1e6),
    "grace": st.floats(0, 1e6),
    "since": st.integers(0, 2**40),
    "limit": st.integers(0, 2**40),
}


@given(st.data())
def test_what_the_client_writes_is_what_the_server_reads(data: st.DataObject) -> None:
    verb = data.draw(st.sampled_from(sorted(VERBS)))
    args = {name: data.draw(good_args.get(name, st.booleans())) for name in VERBS[verb].args}
    line = request_line(verb, args, 7)
    assert line.count(b"\n") == 1
    request = parse_request(line)
    assert (request.id, request.verb) == (7, verb)
    assert request.args == {
        name: tuple(value) if isinstance(value, list) else value for name, value in args.items()
    }


@given(json_values)
def test_answers_and_items_come_back(value: Any) -> None:
    assert parse_answer(answer_line(3, value)) == {"v": 1, "id": 3, "ok": True, "data": value}
    assert parse_answer(item_line("x", value)) == {"v": 1, "id": "x", "item": value}


@given(json_values)
def test_the_client_reads_and_writes_json_as_python_does(value: Any) -> None:
    assert _messages._scan is not None, "this Python has another scanner: the client is slow"
    assert json.loads(_messages.dumps(value)) == value
    assert _messages.loads(json.dumps(value).encode()) == value


@pytest.mark.parametrize("line", [b"", b"{", b"{} {}", b"nonsense", b"\xff", b'{"v": 1'])
def test_what_is_no_answer_is_said_to_be_none(line: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_answer(line)
    assert caught.value.code == "bad_version"


@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=8), st.data())
def test_lines_are_cut_the_same_however_the_bytes_come(
    lines: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader, found = LineReader(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += list(reader.feed(stream[begin:end]))
    assert found == [line for line in lines if line.strip()]
    assert not reader.is_inside_a_line


def test_a_line_may_be_as_long_as_the_limit_and_no_longer() -> None:
    reader = LineReader()
    assert list(reader.feed(b"x" * MAX_LINE + b"\n")) == [b"x" * MAX_LINE]
    with pytest.raises(ProtocolError, match="at most 65536 bytes"):
        list(reader.feed(b"x" * (MAX_LINE + 1) + b"\n"))


def test_a_gigabyte_without_a_line_end_is_not_kept() -> None:
    reader, megabyte = LineReader(), b"x" * (1 << 20)
    for _ in range(1024):
        with pytest.raises(ProtocolError):
            list(reader.feed(megabyte))
        assert not reader.is_inside_a_line


@pytest.mark.parametrize(
    ("verb", "args", "named"),
    [
        ("stop", {"names": "web"}, "names"),
        ("stop", {"names": ["web"] * 1001}, "names"),
        ("stop", {"reason": "x" * 5000}, "reason"),
        ("stop", {"timeout": -1}, "timeout"),
        ("stop", {"timeout": True}, "timeout"),
        ("stop", {"grace": 1e300}, "grace"),
        ("stop", {"wait": 1}, "wait"),
        ("events", {"since": -1}, "since"),
        ("events", {"since": 1.5}, "since"),
        ("wait", {"states": ["odd"]}, "states"),
        ("tree", {"reason": "x"}, "reason"),
    ],
)
def test_a_wrong_argument_is_named(verb: str, args: dict[str, Any], named: str) -> None:
    with pytest.raises(ProtocolError, match=named) as caught:
        parse_request(request_line(verb, args, "id"))
    assert (caught.value.code, caught.value.request_id) == ("bad_request", "id")


def test_an_unknown_version_is_said_to_be_one() -> None:
    with pytest.raises(ProtocolError, match="version 1 of the protocol, not 2") as caught:
        parse_request(b'{"v": 2, "id": 1, "verb": "tree"}')
    assert EXIT_CODES[caught.value.code] == 2
