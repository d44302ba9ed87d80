"""Every alert rule fires for recorded scrapes of a tree in which its fault happens, and not before.

`promtool`, which comes with Prometheus, evaluates the rules.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import trio
import yaml
from helpers.support import run_virtual

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    RestartLimit,
    SupervisorSpec,
    open_supervisor,
)
from trio_supervisor.observe import open_metrics

pytest.importorskip("prometheus_client", reason="the extra `metrics` is not installed")
from prometheus_client import CollectorRegistry, generate_latest  # optional

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool, of the distribution's package `prometheus`, is not installed",
)
STEP = 30
MINUTES = 12
FAULT_AT = 60
ROOM = resources.files("trio_supervisor.observe")


async def idle(child: ChildContext) -> None:
    await trio.sleep_forever()


async def stubborn(child: ChildContext) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(FAULT_AT + 600)


async def failing(child: ChildContext) -> None:
    await trio.sleep(FAULT_AT if child.attempt == 1 else 1)
    raise OSError("no route")


async def unready(child: ChildContext) -> None:
    child.ready()
    await trio.sleep(FAULT_AT)
    child.not_ready("no database")
    await trio.sleep_forever()


def child(body: Any = idle, **options: Any) -> ChildSpec[Any]:
    options.setdefault("backoff", BackoffPolicy.delays(10))
    return ChildSpec("feed", body, **options)


FAULTS: dict[str, ChildSpec[Any]] = {
    "ChildRestartLoop": child(failing, restart_limit=None),
    "ChildGaveUp": child(failing, restart_limit=RestartLimit(1, within=600), on_limit="quarantine"),
    "ChildQuarantined": child(
        failing, restart_limit=RestartLimit(1, within=600), on_limit="quarantine"
    ),
    "ChildUnresponsive": child(stubborn, max_runtime=FAULT_AT),
    "ChildNotReady": child(unready, readiness="explicit"),
    "EventLoopBlocked": child(),
}


def recorded(alert: str) -> dict[str, list[float]]:
    """Return the values of each series, a scrape every `STEP` seconds of virtual time."""
    series: dict[str, list[float]] = {}

    async def main() -> None:
        registry = CollectorRegistry()
        async with (
            open_supervisor(SupervisorSpec("app", [FAULTS[alert]])) as supervisor,
            open_metrics(supervisor, registry=registry) as metrics,
        ):
            for number in range(MINUTES * 60 // STEP):
                for line in generate_latest(registry).decode().splitlines():
                    if not line.startswith("#"):
                        name, _, value = line.rpartition(" ")
                        series.setdefault(name, []).append(float(value))
                if number * STEP == FAULT_AT and alert == "EventLoopBlocked":
                    metrics._reading.lag.observe(1.5)  # virtual time cannot bring it about
                await trio.sleep(STEP)

    run_virtual(main)
    return series


def written(value: float) -> str:
    return "NaN" if math.isnan(value) else "Inf" if value == math.inf else repr(value)


def labelled(name: str) -> str:
    """Return the series with the labels that Prometheus itself adds."""
    where = 'job="daemon", instance="here"'
    return name[:-1] + f", {where}}}" if name.endswith("}") else f"{name}{{{where}}}"


def firing(folder: Path, series: dict[str, list[float]], at: int) -> set[str]:
    """Return the alerts that fire ``at`` seconds after the first scrape, as promtool says."""
    rules = folder / "alerts.yml"
    rules.write_text((ROOM / "alerts.yml").read_text())
    test = {
        "rule_files": [str(rules)],
        "evaluation_interval": f"{STEP}s",
        "tests": [
            {
                "interval": f"{STEP}s",
                "input_series": [
                    {"series": labelled(name), "values": " ".join(map(written, values))}
                    for name, values in series.items()
                ],
                # No alert is expected, so that promtool lists each one that fires.
                "alert_rule_test": [
                    {"eval_time": f"{at}s", "alertname": name, "exp_alerts": []} for name in FAULTS
                ],
            }
        ],
    }
    file = folder / "test.yml"
    file.write_text(json.dumps(test))  # every JSON text is YAML
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 or "FAILED" in done.stdout + done.stderr, done.stderr
    pattern = r"alertname: (\w+), time: \S+,\s+exp:\[\],\s+got:\[\s*0:"
    return set(re.findall(pattern, done.stdout + done.stderr))


@needs_promtool
@pytest.mark.parametrize("alert", FAULTS)
def test_an_alert_fires_for_its_fault_and_not_before(alert: str, tmp_path: Path) -> None:
    series = recorded(alert)
    assert firing(tmp_path, series, FAULT_AT - STEP) == set()
    fired = set().union(*(firing(tmp_path, series, minute * 60) for minute in (2, 4, 8, 11)))
    assert alert in fired


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    board = json.loads((ROOM / "grafana.json").read_text())
    asked = set(re.findall(r"trio_supervisor_\w+", json.dumps(board["panels"])))
    offered = {name.partition("{")[0] for name in recorded("ChildRestartLoop")}
    assert asked
    assert asked <= offered


def test_every_rule_is_tried() -> None:
    rules = re.findall(r"alert: (\w+)", (ROOM / "alerts.yml").read_text())
    assert sorted(rules) == sorted(FAULTS)


def test_the_page_of_the_documentation_names_every_alert_and_every_metric() -> None:
    page = Path(__file__).parents[2] / "docs" / "guides" / "metrics.md"
    text = page.read_text()
    rows = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    alerts = {
        rule["alert"]
        for group in yaml.safe_load((ROOM / "alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    }
    registry = CollectorRegistry()
    registered: set[str] = set()

    async def main() -> None:
        async with (
            open_supervisor(SupervisorSpec("app")) as supervisor,
            open_metrics(supervisor, registry=registry) as metrics,
        ):
            for family in metrics.describe():
                total = "_total" if family.type == "counter" else ""
                registered.add(family.name.removeprefix("trio_supervisor_") + total)

    run_virtual(main)
    assert rows == alerts | registered
