"""A real Prometheus with the shipped rules, unchanged, that reads the pages of one stack."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import yaml

from tests.faults.stage import ROOT

DEPLOY = ROOT / "deploy"
ANSWER_S = 5.0
HISTORY_S = 7 * 3600  # the rule of a silent feed looks back over six hours
STEP_S = 15


def write_configuration(folder: Path, targets: Mapping[str, Sequence[int]]) -> None:
    """`deploy/prometheus.yml` and its rules into `folder`; only where to find the pages is another.

    Args:
        folder: where Prometheus runs.
        targets: job -> ports on this machine.
    """
    configuration: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))
    del configuration["alerting"]  # nobody is to be woken
    for job in configuration["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in targets[job["job_name"]]]}]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration), "utf-8")
    for rules in configuration["rule_files"]:
        shutil.copy(DEPLOY / rules, folder)


def write_history(folder: Path, metric: str, labels: Mapping[str, str], until_s: float, end_s: float) -> None:
    """A counter that rose by one a second for hours until `until_s` (epoch seconds) and stood still from then to `end_s`."""
    named = ",".join(f'{name}="{value}"' for name, value in labels.items())
    begin = int(until_s - HISTORY_S)
    samples = (f"{metric}{{{named}}} {min(at, int(until_s)) - begin} {at}" for at in range(begin, int(end_s), STEP_S))
    text = "\n".join([f"# TYPE {metric.removesuffix('_total')} counter", *samples, "# EOF", ""])
    (folder / "history.txt").write_text(text, "utf-8")
    write = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(folder / "history.txt"), str(folder / "data")]
    subprocess.run(write, check=True, capture_output=True)


def command(folder: Path, port: int) -> list[str]:
    """How Prometheus starts on what `write_configuration` wrote."""
    options = {"config.file": folder / "prometheus.yml", "storage.tsdb.path": folder / "data"}
    return [
        "prometheus",
        *(f"--{name}={value}" for name, value in options.items()),
        f"--web.listen-address=127.0.0.1:{port}",
    ]


def alerts(port: int) -> dict[str, str]:
    """Alert -> `pending` or `firing`, as of Prometheus's last evaluation. Raises OSError while it does not answer."""
    with urlopen(f"http://127.0.0.1:{port}/api/v1/alerts", timeout=ANSWER_S) as answer:
        active = json.load(answer)["data"]["alerts"]
    states: dict[str, str] = {}
    for alert in sorted(active, key=lambda alert: alert["state"] == "firing"):
        states[alert["labels"]["alertname"]] = alert["state"]
    return states


def scrapes(port: int) -> float:
    """How often the scarcest target has been read. Raises OSError while Prometheus does not answer."""
    query = "min(count_over_time(up[10m]))"
    with urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={query}", timeout=ANSWER_S) as answer:
        result = json.load(answer)["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0
