"""``unit manifest schema``: files for other programs, with numbers that follow from the tree."""

from __future__ import annotations

import json
import sys
from math import ceil, inf

from trio_supervisor._lazy import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from trio_supervisor import ChildSpec, SupervisorSpec

_MARGIN = 5
"""Seconds that a process needs beside its children's graces."""
_WATCHDOG = 30
"""Seconds of silence after which systemd ends the process."""
_LONGEST = 3600
"""Seconds that a manifest allows where the tree allows any time."""
_PROBE = 10
"""Seconds between two probes."""


def run(verb: str, args: Any) -> int:
    """Print the file."""
    if verb == "schema":
        from trio_supervisor._events.schema import FILE

        print(FILE.read_text(), end="")
        return 0
    from trio_supervisor import SpecError
    from trio_supervisor.cli._main import Failure
    from trio_supervisor.cli._run import load

    try:
        spec = load(args.spec)
    except SpecError as error:
        raise Failure(1, str(error), kind="bad_spec") from None
    if verb == "unit":
        print(unit(spec, args))
        return 0
    print(manifest(spec, args))
    for line in misfits(spec):
        print(f"trio-supervisor: {line}", file=sys.stderr)
    return 0


def misfits(spec: SupervisorSpec) -> Iterator[str]:
    """Say which times of the tree fit into no manifest: Kubernetes knows no time without end."""
    from trio_supervisor import lint
    from trio_supervisor._specs.numbers import start_seconds
    from trio_supervisor.cli._output import clean

    for each in lint(spec, stop_timeout=_LONGEST):
        if each.code == "stop-without-end":
            yield f"{clean(each.path)}: {clean(each.message)}"
    if start_seconds(spec) == inf:
        yield (
            f"{clean(spec.name)}: the first start may take for ever, but the container is restarted"
            f" after {_LONGEST:g}s: give each child a start_timeout and a restart_limit"
        )


def unit(spec: SupervisorSpec, args: Any) -> str:
    """Return a systemd unit for the tree."""
    from trio_supervisor._specs.numbers import start_seconds, stop_seconds
    from trio_supervisor.control.paths import file_name_of

    start, stop = start_seconds(spec), args.drain + stop_seconds(spec)
    name = file_name_of(spec.name).removesuffix(".sock")
    longest = _bound(stop, "shutdown_deadline is not set") + _drained(args)
    kept = _kept_sockets(spec)
    python = args.python or sys.executable
    version = args.systemd_version or _systemd_version()
    lines = [
        "[Unit]",
        f"Description={spec.name} (a trio_supervisor tree)",
        "StartLimitIntervalSec=300",
        "StartLimitBurst=5",
        "",
        "[Service]",
        "# Active once the first start of the tree is complete.",
        "Type=notify",
        f"# The first start takes up to {_bound(start, 'a child may try again for ever')}.",
        f"TimeoutStartSec={'infinity' if start == inf else ceil(start + _MARGIN)}",
        "# Sent while the event loop turns and no child is unresponsive.",
        f"WatchdogSec={_WATCHDOG}",
        f"ExecStart={python} -m trio_supervisor.cli {' '.join(_run_command(args))}",
        "# The tree restarts its children; the service is restarted only when the tree gave up.",
        "Restart=on-failure",
        "RestartSec=5",
    ]
    if version >= 254:
        lines += ["RestartSteps=5", "RestartMaxDelaySec=120"]
    lines += [
        "# A declaration that cannot work does not get better by trying again.",
        "RestartPreventExitStatus=2",
        f"# An orderly stop takes up to {longest}.",
        f"TimeoutStopSec={'infinity' if stop == inf else ceil(stop + _MARGIN)}",
        "# The main process stops its children in order; what they leave is killed at the end.",
        "KillMode=mixed",
        *(
            ["# Listening sockets outlive a restart.", f"FileDescriptorStoreMax={kept}"]
            if kept
            else []
        ),
        f"RuntimeDirectory={name}",
        "RuntimeDirectoryMode=0700",
        f"Environment=TRIO_SUPERVISOR_SOCKET=%t/{name}/{name}.sock",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines)


def _run_command(args: Any) -> list[str]:
    command = ["run", args.spec]
    if args.http is not None:
        command += ["--http", args.http]
    if args.drain:
        command += ["--drain", f"{args.drain:g}s"]
    return command


def _drained(args: Any) -> str:
    return f", {args.drain:g}s of them until load balancers know" if args.drain else ""


_FILES_PER_NAME = 4
"""Sockets that a name may stand for: a host name may have several addresses."""


def _kept_sockets(spec: SupervisorSpec) -> int:
    """Return for how many listening sockets the service manager needs room."""
    from trio_supervisor.daemon._listen import is_kept

    return _FILES_PER_NAME * sum(is_kept(child) for child in _children_of(spec))


def _children_of(spec: SupervisorSpec) -> Iterator[ChildSpec[Any]]:
    for child in spec.children:
        if child.supervisor is None:
            yield child
        else:
            yield from _children_of(child.supervisor)


def _bound(seconds: float, why: str) -> str:
    return f"any time: {why}" if seconds == inf else f"{seconds:g}s"


def _systemd_version() -> int:
    """The version of the installed systemd; 252 where there is none."""
    import subprocess

    try:
        found = subprocess.run(
            ["systemd-analyze", "--version"],  # noqa: S607 - the one that the operator would call
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        return int(found.stdout.split()[1])
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        return 252


def manifest(spec: SupervisorSpec, args: Any) -> str:
    """Return a Kubernetes Deployment for the tree."""
    from trio_supervisor._specs.numbers import start_seconds, stop_seconds
    from trio_supervisor.control.paths import file_name_of

    start, stop = start_seconds(spec), args.drain + stop_seconds(spec)
    name = file_name_of(spec.name).removesuffix(".sock").lower().replace("_", "-").strip("-")
    command = ["trio-supervisor", *_run_command(args)]
    port = _port_of(args.http)
    grace = _LONGEST if stop == inf else ceil(stop + _MARGIN)
    patience = _LONGEST if start == inf else max(start, 30.0)
    pod = {
        "terminationGracePeriodSeconds": grace,
        "containers": [
            {
                "name": name,
                "image": args.image,
                "command": command,
                "env": [{"name": "TRIO_SUPERVISOR_SOCKET", "value": f"/run/trio/{name}.sock"}],
                **({"ports": [{"name": "probes", "containerPort": port}]} if port else {}),
                "volumeMounts": [{"name": "run", "mountPath": "/run/trio"}],
                "startupProbe": _probe("startup", ceil(patience / _PROBE) + 1, port),
                "readinessProbe": _probe("ready", 1, port),
                "livenessProbe": _probe("live", 3, port),
                "resources": {"requests": {"cpu": "100m", "memory": f"{_mebibytes(spec)}Mi"}},
            }
        ],
        "volumes": [{"name": "run", "emptyDir": {"medium": "Memory"}}],
    }
    labels = {"app": name}
    whole = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    return "\n".join(_yaml(whole))


def _port_of(address: str | None) -> int:
    """Return the port at which the probes are asked; 0 if they are not asked over HTTP."""
    if address is None:
        return 0
    from trio_supervisor.http._listening import parse_address

    host, port = parse_address("manifest", "--http", address)
    if not port or host in _LOOPBACK:
        raise _unreachable(address)
    return port


_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _unreachable(address: str) -> Exception:
    from trio_supervisor.cli._main import Failure

    return Failure(
        1, f"--http {address}: a probe asks from outside of the pod; take such as 0.0.0.0:8024",
        kind="bad_request",
    )  # fmt: skip


_PLAIN_PROCESS, _PER_CHILD = 64, 16 / 1024
"""Mebibytes of a process with Trio and this library, and of a child with a small body."""


def _mebibytes(spec: SupervisorSpec) -> int:
    """Return what the tree needs at its largest, bodies that keep little in memory assumed."""
    pending, count = [spec], 0
    for each in pending:
        count += max(len(each.children), each.max_children or 0)
        pending.extend(child.supervisor for child in each.children if child.supervisor is not None)
    return ceil(_PLAIN_PROCESS + _PER_CHILD * count)


def _probe(verb: str, failures: int, port: int) -> dict[str, Any]:
    if port:
        how: dict[str, Any] = {"httpGet": {"path": f"/{verb}z", "port": port}}
    else:
        # There is no verb for the first start: what is ready now has been started.
        command = ["trio-supervisor", "ready" if verb == "startup" else verb]
        how = {"exec": {"command": command}}
    return {
        **how,
        "periodSeconds": _PROBE,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _yaml(value: Any, indent: str = "") -> Iterator[str]:
    """Plain data as YAML; texts are quoted as in JSON, which is YAML too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, (dict, list)) and inner and not _is_flat(inner):
                yield f"{indent}{key}:"
                yield from _yaml(inner, f"{indent}  ")
            else:
                yield f"{indent}{key}: {json.dumps(inner)}"
    else:
        for inner in value:
            first, *rest = _yaml(inner, f"{indent}  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest


def _is_flat(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
