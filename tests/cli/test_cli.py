"""The command: what it prints, and the exit code that a script may rely on."""

from __future__ import annotations

import http.client
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

import pytest
import trio
import yaml
from control.kit import in_thread, ready, serving_tree
from helpers.support import run_real
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.shop import APP, ENDLESS, ODD
from trio_supervisor import JournalFile, SupervisorSpec, lint, open_supervisor
from trio_supervisor.cli import _main, _parse, _table
from trio_supervisor.control import open_control

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parents[1]
ESCAPE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


class Answer:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def command(*argv: str, **environ: str) -> Answer:
    """Run the command in a process of its own, with pipes."""
    done = subprocess.run(
        [sys.executable, "-m", "trio_supervisor.cli", *argv],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent}", "PYTHONUTF8": "1", **environ},
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Answer(done.returncode, done.stdout, done.stderr)


def here(capsys: pytest.CaptureFixture[str], *argv: str) -> Answer:
    """Run the command in this process."""
    try:
        code = _main.run(list(argv))
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    return Answer(code, *capsys.readouterr())


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon that runs the shop; the value is its socket."""
    place = tmp_path_factory.mktemp("daemon")
    path = str(place / "s")
    process = subprocess.Popen(
        [sys.executable, "-m", "trio_supervisor.cli", "run", "cli.shop:APP", "--socket", path,
         "--journal", str(place / "journal")],
        env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent}"},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while command("wait", "feed", "--state", "backing_off", "--socket", path).code != 0:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield path
        done = command("shutdown", "--socket", path, "--reason", "tests are over")
        assert done.code == 0
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


# ---------------------------------------------------------------- looking


def test_tree(daemon: str) -> None:
    told = command("tree", "--socket", daemon)
    assert told.code == 0
    assert [line.split()[0] for line in told.out.splitlines()] == ["shop", "├─", "├─", "└─", "└─"]
    feed = told.out.splitlines()[2]
    assert "↻ backing_off" in feed
    assert "starts in" in feed
    assert "gone?[2J? away" in feed
    assert not ESCAPE.search(told.out)
    ascii_only = command("tree", "--socket", daemon, PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert ascii_only.out.isascii()
    assert "|- feed" in ascii_only.out


def test_tree_of_some(daemon: str) -> None:
    told = command("tree", "sessions", "--socket", daemon)
    assert told.out.splitlines()[0].startswith("shop/sessions")
    assert command("tree", "sessions/*", "--socket", daemon).out.startswith("shop/sessions/s-1")


@pytest.mark.parametrize(
    "argv",
    [
        ["tree"],
        ["tree", "store"],
        ["why"],
        ["why", "feed"],
        ["stacks"],
        ["ready"],
        ["live"],
        ["stop", "store", "--dry-run"],
        ["stop", "nobody"],
        ["wait", "feed", "--timeout", "0.01"],
        ["logs", "--limit", "1"],
        ["tree", "--socket", "/nonexistent/socket"],
        ["why", "--journal", "/nonexistent/journal"],
        ["check", "cli.shop:ODD"],
        ["check", "cli.shop:BROKEN"],
    ],
    ids=" ".join,
)
def test_with_json_all_that_is_printed_is_json(daemon: str, argv: list[str]) -> None:
    told = command(*argv, "--json", TRIO_SUPERVISOR_SOCKET=daemon, FORCE_COLOR="1")
    value = told.json
    assert ("error" in value) == bool(told.err)
    assert not ESCAPE.search(told.out)


def test_events_are_lines_of_json_that_begin_with_the_tree(daemon: str) -> None:
    told = command("events", "--json", "--socket", daemon)
    start, *events = map(json.loads, told.out.splitlines())
    assert start["sequence"] == 0
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    last = len(events)
    told = command(
        "events", "--json", "--no-snapshot", "--since", str(last - 2), "--socket", daemon
    )
    assert [json.loads(line)["sequence"] for line in told.out.splitlines()] == [last - 1, last]
    told = command("events", "feed", "--socket", daemon)
    assert "shop/feed #1 ChildExited kind=crashed" in told.out
    assert not ESCAPE.search(told.out)


def test_a_reader_that_has_seen_enough_is_no_error(daemon: str) -> None:
    script = f"{sys.executable} -m trio_supervisor.cli events --socket {daemon} | head -1; "
    script += "echo ${PIPESTATUS[0]}"
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent}"},
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def test_why_from_the_daemon_and_from_its_journal(daemon: str) -> None:
    live = command("why", "feed", "--socket", daemon).out.splitlines()
    assert live[0].startswith("shop/feed is down and backing off since ")
    assert live[1].startswith("  Attempt 1 crashed at ")
    assert not ESCAPE.search("".join(live))
    journal = str(Path(daemon).with_name("journal"))
    time.sleep(0.5)  # the journal is written a little later
    filed = command("why", "feed", "--journal", journal).out.splitlines()
    assert filed[1:3] == live[1:3]
    assert command("why", "--journal", journal).out.startswith("shop is running")
    assert command("why", "nobody", "--journal", journal).code == 4


def test_conditions_have_code_3(daemon: str) -> None:
    told = command("ready", "--socket", daemon)
    assert told.code == 3
    assert "shop/feed is backing_off: crashed" in told.out
    assert command("ready", "store", "--socket", daemon).code == 0
    assert command("live", "--socket", daemon).code == 0
    assert command("wait", "store", "--socket", daemon).code == 0
    assert command("wait", "feed", "--timeout", "0.05", "--socket", daemon).code == 124


# ---------------------------------------------------------------- steering


def test_commands(daemon: str) -> None:
    def told(*argv: str) -> Answer:
        return command(*argv, TRIO_SUPERVISOR_SOCKET=daemon)

    assert told("stop", "s-1", "--reason", "lunch").out == "shop/sessions/s-1  stopped\n"
    assert "stopped it at" in told("why", "s-1").out
    assert "lunch" in told("why", "s-1").out
    assert told("wait", "s-1", "--timeout", "5").code == 3
    assert told("stop", "s-1", "--dry-run").out == "would stop shop/sessions/s-1  stopped\n"
    assert told("start", "s-1").out == "shop/sessions/s-1  ready\n"
    assert told("restart", "sessions/*", "--no-wait").code == 0
    assert told("quarantine", "s-1").out == "shop/sessions/s-1  quarantined\n"
    assert told("start", "s-1").code == 0
    missing = told("stop", "sessoins")
    assert missing.code == 4
    assert "did you mean: shop/sessions" in missing.err


def test_no_daemon_has_code_5(tmp_path: Path) -> None:
    told = command("tree", XDG_RUNTIME_DIR=str(tmp_path), RUNTIME_DIRECTORY="")
    assert told.code == 5
    assert "no daemon of this user answers" in told.err
    assert told.out == ""


def test_wrong_usage_has_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert here(capsys).code == 2
    wrong = here(capsys, "tre")
    assert wrong.code == 2
    assert "did you mean 'tree'?" in wrong.err
    assert here(capsys, "tree", "--nonsense").code == 2
    assert here(capsys, "stop").code == 2
    assert here(capsys, "stop", "x", "--timeout", "soon").code == 2
    assert here(capsys, "completion", "tcsh").code == 2


def test_a_path_with_a_slash_is_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        odd = ready("a b*c?")
        spec = SupervisorSpec("app", [SupervisorSpec("n", [odd])])
        async with serving_tree(tmp_path, spec) as (_, server):
            await in_thread(lambda: _main.run(["restart", "app/n/a b*c?", "--socket", server.path]))
            assert capsys.readouterr().out == "app/n/a b*c?  ready\n"

    run_real(main)


# ---------------------------------------------------------------- the parser


def test_every_verb_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    whole = here(capsys, "--help")
    assert whole.code == 0
    for verb, known in _table.VERBS.items():
        assert f"  {verb} " in whole.out
        told = here(capsys, verb, "--help")
        assert told.code == 0
        assert f"example:\n  {known.example}\n" in told.out
        assert "124  timed out" in told.out
    assert here(capsys, "--version").out.startswith("trio-supervisor ")


def flags_of(verb: str) -> list[str]:
    return [flag for names, _ in _table.VERBS[verb].options for flag in names if flag[0] == "-"]


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[str, list[str]]:
    verb = draw(st.sampled_from(sorted(_table.VERBS)))
    words = ["a", "b/c", "5", "1.5s", "-1", "-", "--", "", "x y", "--odd", "--json=1", "bash"]
    flags = flags_of(verb)
    word = st.sampled_from(words) | (st.sampled_from(flags) if flags else st.nothing())
    equals = st.sampled_from(flags or ["--x"]).map(lambda flag: f"{flag}=3")
    return verb, draw(st.lists(word | equals, max_size=5))


@settings(max_examples=400)
@given(command_lines())
def test_what_is_read_quickly_is_what_argparse_reads(case: tuple[str, list[str]]) -> None:
    verb, argv = case
    quick = _parse.read_plain(verb, argv)
    if quick is not None:
        assert vars(_parse.parser_of(verb).parse_intermixed_args(argv)) == quick


def test_plain_command_lines_do_not_load_the_slow_parser(daemon: str) -> None:
    check = "import sys; before = set(sys.modules);"  # coverage has loaded some
    check += "from trio_supervisor.cli import _main; _main.run(sys.argv[1:]);"
    check += "new = set(sys.modules) - before;"
    check += "print(sorted({'argparse', 'json', 'trio', 'attrs', 'attr', 're'} & new))"
    done = subprocess.run(
        [sys.executable, "-c", check, "tree", "--socket", daemon],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent}"},
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


# ---------------------------------------------------------------- terminals


def on_terminal(argv: list[str], keys: list[tuple[float, bytes]], **environ: str) -> str:
    """Run the command on a terminal of 100 columns, press keys, and return all that it wrote."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update({"PYTHONPATH": f"{HERE}:{HERE.parent}", "PYTHONUTF8": "1"})
        os.environ.update({"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", **environ})
        os.execv(sys.executable, [sys.executable, "-m", "trio_supervisor.cli", *argv])
    written = b""
    pending = list(keys)
    due = time.monotonic() + (pending[0][0] if pending else 0)
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if pending and time.monotonic() >= due:
                os.write(fd, pending.pop(0)[1])
                due = time.monotonic() + (pending[0][0] if pending else 0)
            if select.select([fd], [], [], 0.05)[0]:
                piece = os.read(fd, 1 << 16)
                if not piece:
                    break
                written += piece
    except OSError:
        pass  # Linux's way to say that the other end is closed
    finally:
        os.close(fd)
        os.waitpid(pid, 0)
    return written.decode()


def test_colour_is_for_terminals_that_want_it(daemon: str) -> None:
    coloured = on_terminal(["tree", "--socket", daemon], [])
    assert "\x1b[32m" in coloured
    assert "\x1b[2J" not in coloured
    assert "\x1b" not in on_terminal(["tree", "--socket", daemon], [], NO_COLOR="1")
    assert "\x1b" not in on_terminal(["tree", "--socket", daemon], [], TERM="dumb")


def test_watch_shows_the_tree_and_asks_before_it_acts(daemon: str) -> None:
    down, stop, yes, no, leave = b"\x1b[B", b"s", b"y", b"n", b"x"
    keys = [(2.0, down), (0.3, down), (0.3, down), (0.3, stop), (0.3, no), (0.3, stop), (0.3, yes),
            (1.0, leave)]  # fmt: skip
    told = on_terminal(["watch", "--interval", "0.2", "--socket", daemon], keys)
    assert "stop shop/sessions/s-1? y/n" in told
    assert "nothing was done" in told
    assert "stop shop/sessions/s-1: accepted" in told
    assert command("tree", "s-1", "--json", "--socket", daemon).json["children"][0]["state"] == (
        "stopped"
    )
    assert command("start", "s-1", "--socket", daemon).code == 0
    assert "\x07" not in told


def test_watch_without_a_terminal(daemon: str) -> None:
    assert command("watch", "--once", "--socket", daemon).out.startswith("shop ")
    told = command("watch", "--socket", daemon)
    assert told.code == 2
    assert "use watch --once" in told.err


# ---------------------------------------------------------------- declared trees


def test_check_shows_policies_and_warns() -> None:
    fine = command("check", "cli.shop:declare")
    assert fine.code == 0
    assert "  store  permanent, ready explicit, limit 10 in 2m, given up after 81s" in fine.out
    odd = command("check", "cli.shop:ODD", "--stop-timeout", "10")
    assert odd.code == 3
    codes = [each.split("[")[1].rstrip("]") for each in odd.out.splitlines() if "[" in each]
    assert sorted(codes) == sorted(
        [
            "stop-over-timeout",
            "grace-over-deadline",
            "grace-unheard",
            "heartbeat-never-sent",
            "limit-never-trips",
            "gives-up-soon",
            "hot-loop",
            "outer-limit-never-trips",
        ]
    )
    assert command("check", "cli.shop:BROKEN").code == 1
    assert command("check", "no.such.module:X").code == 1
    assert command("check", "cli.shop").code == 1


def test_lint_is_a_function() -> None:
    assert lint(APP) == ()
    found = {(each.path, each.code) for each in lint(ODD)}
    assert ("odd/deaf", "grace-unheard") in found
    assert not [each for each in found if each[0] in {"odd/fine", "odd/unknown"}]
    (endless,) = lint(ENDLESS, stop_timeout=90)
    assert endless.code == "stop-without-end"


def test_a_unit_is_what_systemd_accepts(tmp_path: Path) -> None:
    told = command("unit", "cli.shop:ODD", "--systemd-version", "252")
    assert told.code == 0
    assert "Type=notify\n" in told.out
    assert "TimeoutStopSec=13\n" in told.out
    assert "TimeoutStartSec=35\n" in told.out
    unit = tmp_path / "odd.service"
    unit.write_text(told.out)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert "RestartSteps=5" in command("unit", "cli.shop:ODD", "--systemd-version", "254").out
    assert "TimeoutStopSec=infinity" in command("unit", "cli.shop:ENDLESS").out


def test_a_manifest_has_the_numbers_of_the_tree() -> None:
    told = command("manifest", "cli.shop:ODD", "--image", "odd:1")
    pod = yaml.safe_load(told.out)["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 13
    (container,) = pod["containers"]
    assert container["command"] == ["trio-supervisor", "run", "cli.shop:ODD"]
    assert container["livenessProbe"]["exec"]["command"] == ["trio-supervisor", "live"]
    startup = container["startupProbe"]
    assert startup["failureThreshold"] * startup["periodSeconds"] >= 30


def test_a_manifest_says_which_times_fit_into_none() -> None:
    assert command("manifest", "cli.shop:ODD", "--image", "odd:1").err == ""
    told = command("manifest", "cli.shop:ENDLESS", "--image", "odd:1")
    assert told.code == 0
    pod = yaml.safe_load(told.out)["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 3600
    stop, start = told.err.splitlines()
    assert "endless: a stop may take for ever, but the process is killed after 3600s" in stop
    assert "endless: the first start may take for ever" in start
    probe = pod["containers"][0]["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 3600


def test_the_schema_is_the_one_that_is_shipped() -> None:
    schema = command("schema").json
    assert "ChildExited" in schema["$defs"]


def test_a_tree_that_is_run_shows_itself_over_http_while_it_drains(tmp_path: Path) -> None:
    pytest.importorskip("h11", reason="the extra `daemon` brings it")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = str(tmp_path / "s")
    process = subprocess.Popen(
        [sys.executable, "-m", "trio_supervisor.cli", "run", "cli.shop:APP", "--socket", path,
         "--http", f"127.0.0.1:{port}", "--drain", "1.5s"],
        env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent}"},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while command("live", "--socket", path).code != 0:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        answer = ""
        while "draining: SIGTERM" not in answer:
            assert time.monotonic() < deadline, answer
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
                connection.request("GET", "/readyz")
                answer = connection.getresponse().read().decode()
        told = command("ready", "--socket", path)  # an exec probe is told the same
        assert told.code == 3
        assert "draining: SIGTERM" in told.out + told.err
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


# ---------------------------------------------------------------- completion


def shell_environment(tmp_path: Path, **environ: str) -> dict[str, str]:
    """An environment in which the command is found, as if it were installed."""
    shim = tmp_path / "trio-supervisor"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m trio_supervisor.cli "$@"\n')
    shim.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent}", "PATH": path, **environ}


def complete(line: str, script: str, tmp_path: Path, **environ: str) -> list[str]:
    """What bash offers at the end of ``line``."""
    words = line.split(" ")
    ask = f"""{script}
COMP_WORDS=({" ".join(f"'{word}'" for word in words)}) COMP_CWORD={len(words) - 1}
_trio_supervisor
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "-c", ask],
        capture_output=True,
        text=True,
        env=shell_environment(tmp_path, **environ),
        check=True,
    )
    return done.stdout.split()


def test_bash_completes_verbs_options_and_children(daemon: str, tmp_path: Path) -> None:
    script = command("completion", "bash").out
    assert set(complete("trio-supervisor sto", script, tmp_path)) == {"stop"}
    assert complete("trio-supervisor stop --rea", script, tmp_path) == ["--reason"]
    children = complete(
        "trio-supervisor stop shop/s", script, tmp_path, TRIO_SUPERVISOR_SOCKET=daemon
    )
    assert children == ["shop/store", "shop/sessions", "shop/sessions/s-1"]
    assert complete("trio-supervisor completion z", script, tmp_path) == ["zsh"]
    nobody = {"XDG_RUNTIME_DIR": str(tmp_path), "RUNTIME_DIRECTORY": ""}
    assert complete("trio-supervisor stop shop/s", script, tmp_path, **nobody) == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_every_verb_is_in_the_scripts_of_other_shells(shell: str) -> None:
    script = command("completion", shell).out
    for verb in _table.VERBS:
        assert re.search(rf"\b{verb}\b", script)
    assert "trio-supervisor _names" in script


COMPLETED = [
    ("trio-supervisor sto", "stop"),
    ("trio-supervisor stop --rea", "--reason"),
    ("trio-supervisor stop shop/st", "shop/store"),
    ("trio-supervisor completion z", "zsh"),
]


@pytest.mark.skipif(which("fish") is None, reason="fish is not installed; .ci/tools brings it")
def test_fish_completes_verbs_options_and_children(daemon: str, tmp_path: Path) -> None:
    file = tmp_path / "completion.fish"
    file.write_text(command("completion", "fish").out)
    asked = "; ".join(f"complete -C '{line}'" for line, _ in COMPLETED)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {file}; {asked}"],
        capture_output=True,
        text=True,
        env=shell_environment(tmp_path, TRIO_SUPERVISOR_SOCKET=daemon, HOME=str(tmp_path)),
        check=True,
    )
    offered = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    assert offered == [word for _, word in COMPLETED]


@pytest.mark.skipif(which("zsh") is None, reason="zsh is not installed; .ci/tools brings it")
@pytest.mark.parametrize("autoloaded", [False, True])
def test_zsh_completes_verbs_options_and_children(
    daemon: str, tmp_path: Path, autoloaded: bool
) -> None:
    (tmp_path / "_trio_supervisor").write_text(command("completion", "zsh").out)
    load = f"source {tmp_path}/_trio_supervisor"
    if autoloaded:  # as a distribution would install the script
        load = ":"
    begin = f"fpath=({tmp_path} $fpath); autoload -Uz compinit; compinit -D -u; {load}"
    environment = shell_environment(tmp_path, TRIO_SUPERVISOR_SOCKET=daemon, TERM="dumb")
    ours, theirs = os.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    try:
        os.write(ours, f"{begin}; echo be''gun\n".encode())
        read_until(ours, "begun\r")
        for line, word in COMPLETED:
            os.write(ours, f"{line}\t".encode())
            read_until(ours, f"{line.rpartition(' ')[0]} {word} ")
            os.write(ours, b"\x15")  # Ctrl-U: an empty line again
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


def read_until(terminal: int, wanted: str) -> None:
    """Read from a terminal until it has shown ``wanted``; fail after ten seconds."""
    shown, end = "", time.monotonic() + 10
    while wanted not in shown:
        assert time.monotonic() < end, f"{wanted!r} does not come: {shown!r}"
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 4096).decode()


# ---------------------------------------------------------------- hostile input


def test_nothing_hostile_reaches_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b]0;title\x07\x1b[2J\r\nfake line\u202e\x9b31m"

    async def crash(child: Any) -> None:
        child.ready()
        await trio.sleep(0.01)
        raise RuntimeError(evil)

    async def main() -> None:
        spec = SupervisorSpec("app", [ready("feed", crash, restart_limit=None), ready("web")])
        path = tmp_path / "journal"
        async with (
            open_supervisor(spec, journal=JournalFile(path)) as supervisor,
            open_control(supervisor, str(tmp_path / "s")) as server,
        ):
            await supervisor.stop_child("web", reason=evil)
            await trio.sleep(0.3)
            for argv in (
                ["tree"],
                ["why", "feed", "web"],
                ["events"],
                ["stacks"],
                ["stop", "web", "--reason", evil],
                ["stop", evil],
            ):
                await in_thread(partial(_main.run, [*argv, "--socket", server.path]))
        _main.run(["why", "feed", "web", "--journal", str(path)])
        told = capsys.readouterr()
        for text in (told.out, told.err):
            shown = "".join(text.split("\n"))
            assert shown.isprintable(), repr([c for c in shown if not c.isprintable()])
            assert "\nfake line" not in text

    run_real(main)
