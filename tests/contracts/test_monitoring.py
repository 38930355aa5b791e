"""A real Prometheus reads the product's own pages: every query of the dashboard and every rule finds what it asks for."""

import json
import math
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml
from msgspec.structs import replace

from streams.health import CONTENT_TYPE
from streams.ops.lag import LagMonitor, PartitionLag
from streams.settings import Settings
from streams.training.pages import TrainerView
from streams.worker.metrics import Metrics
from streams.worker.status import Counts
from tests.contracts.test_golden import ACTION
from tests.unit.streams.worker.test_metrics import a_change

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((DEPLOY / "prometheus-rules.yml").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
ALERTS: dict[str, str] = {rule["alert"]: rule["expr"] for group in RULES["groups"] for rule in group["rules"]}
SELECTOR = re.compile(r"\b(?:regulars_\w+|process_\w+|up)\b(?:\{[^}]*\})?")
CUSTOMERS = {"shop": 5, "blue": 7}
PATIENCE_S = 60.0

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs prometheus (Debian package prometheus)"
)


class ShopPages:
    """The metrics pages of one shop's worker and trainer; whenever the worker's is read, more has happened."""

    def __init__(self, app_id: str, folder: Path) -> None:
        settings = Settings(app_id=app_id, data_dir=folder)
        monitor = LagMonitor(settings)
        row = PartitionLag("purchases", 3, 0, 10, 4, 6, 1.5, 0.0)
        monitor.lags = {(row.topic, row.partition): row}
        self._monitor, self._metrics, self._trainer = monitor, Metrics(monitor, settings), TrainerView(app_id)
        per_topic = {"purchases": 0}
        self._metrics.watch_counts(lambda: Counts(11, lost=per_topic, foreign=per_topic, set_aside=per_topic))
        self._metrics.watch_customers(lambda: CUSTOMERS[app_id])
        self._metrics.watch_ready(lambda: True)
        self._metrics.set_retention({"purchases": 86_400_000})
        self._metrics.watch_texts_waiting(lambda: 0)
        self._metrics.count_actions([ACTION, replace(ACTION, suppressed={"coupon-20": "consent"})])
        self._metrics.set_learner("p_purchase_30d", log_loss=0.4, auc=0.8)
        losses = {"served": 0.4, "bgnbd": 0.45}
        self._metrics.set_scoreboard({"p_purchase_30d": losses}, rollbacks=0, drifts={"p_purchase_30d": 0})
        self._trainer.state = "learning"
        self._trainer.answered(900)
        self._trainer.count_published(time.time())

    def worker(self) -> bytes:
        """What a worker's /metrics answers."""
        self._monitor.sampled_at = time.time()
        self._metrics.count_events("purchases", "applied", 7)
        self._metrics.count_events("purchases", "rejected", 0)
        self._metrics.count_changes([a_change()], consumed_at_s=10.0, delivered_at_s=10.004)
        self._metrics.count_texts(3, 96)
        return self._metrics.render()

    def trainer(self) -> bytes:
        """What a trainer's /metrics answers."""
        self._trainer.count_learnt(10, 800)
        return self._trainer.render()


def _served(pages: dict[str, ShopPages]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, app_id, process = self.path.split("/")
            body = getattr(pages[app_id], process)()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: the test says what is wrong."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def _configuration(port: int) -> dict[str, Any]:
    """deploy/prometheus.yml with the test's targets, a second between scrapes, and nobody to send alerts to."""
    configuration: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    del configuration["alerting"]
    jobs = []
    for job in configuration["scrape_configs"]:
        del job["dns_sd_configs"]
        process = job["job_name"].removeprefix("regulars-")
        # An instance is an address; the pages of one address need names of their own.
        jobs += [
            {
                **job,
                "job_name": f"{job['job_name']}-{app_id}",
                "metrics_path": f"/{app_id}/{process}",
                "static_configs": [
                    {"targets": [f"127.0.0.1:{port}"], "labels": {"job": job["job_name"], "instance": app_id}}
                ],
            }
            for app_id in CUSTOMERS
        ]
    configuration["scrape_configs"] = jobs
    return configuration


class Prometheus:
    """Asks a running Prometheus."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its API."""
        with urlopen(f"{self._address}/api/v1/{path}?{urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def values(self, expression: str) -> list[float]:
        """The values of an instant query."""
        return [float(sample["value"][1]) for sample in self.get("query", query=expression)["result"]]

    def wait_for(self, expression: str, at_least: float) -> None:
        """Returns once the sum of a query is `at_least` so much."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                if sum(self.values(expression)) >= at_least:
                    return
            except (URLError, ConnectionError):
                pass  # it starts
            time.sleep(0.2)
        raise AssertionError(f"{expression} has not come to {at_least} within {PATIENCE_S:.0f} s")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has read four pages of each process, with the rules of deploy/."""
    folder = tmp_path_factory.mktemp("prometheus")
    server = _served({app_id: ShopPages(app_id, folder) for app_id in CUSTOMERS})
    (folder / "prometheus.yml").write_text(yaml.safe_dump(_configuration(server.server_port)), encoding="utf-8")
    shutil.copy(DEPLOY / "prometheus-rules.yml", folder)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    with (folder / "log").open("w") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
        try:
            asked = Prometheus(port)
            asked.wait_for("count_over_time(regulars_ready[1m]) >= 4", 2 * 4)
            asked.wait_for("count_over_time(regulars_trainer_learning[1m]) >= 4", 2 * 4)
            yield asked
        finally:
            process.terminate()
            process.wait(timeout=30)
            server.shutdown()
            server.server_close()


def _with_variables(expression: str, app_id: str = ".*") -> str:
    """As Grafana fills them in; `.*` is what it writes for All."""
    return expression.replace("$app_id", app_id).replace("$instance", ".*")


@pytest.mark.parametrize("expression", QUERIES)
def test_a_query_of_the_dashboard_finds_finite_figures(prometheus: Prometheus, expression: str) -> None:
    """For all shops, and for each alone: no panel is empty, none shows NaN."""
    for app_id in (".*", *CUSTOMERS):
        values = prometheus.values(_with_variables(expression, app_id))

        assert values
        assert all(math.isfinite(value) for value in values)


@pytest.mark.parametrize("expression", [query for query in QUERIES if "by (app_id" in query])
def test_two_shops_are_two_lines(prometheus: Prometheus, expression: str) -> None:
    """A query that named no shop would add one shop's figures to the other's."""
    found = prometheus.get("query", query=_with_variables(expression))["result"]

    assert {sample["metric"].get("app_id") for sample in found} == set(CUSTOMERS)


@pytest.mark.parametrize("app_id", CUSTOMERS)
def test_the_choice_of_a_shop_shows_that_shop_alone(prometheus: Prometheus, app_id: str) -> None:
    """The customers of one shop, not of all."""
    (query,) = {query for query in QUERIES if "regulars_customers" in query and "$instance" not in query}

    assert prometheus.values(_with_variables(query, app_id)) == [CUSTOMERS[app_id]]


def test_only_the_panel_that_asks_whether_a_worker_answers_names_no_shop() -> None:
    """`up` is Prometheus's own and has no app_id; every other query chooses the shop, and each of its sums is per shop."""
    queries = [query for query in QUERIES if "up{" not in query]

    assert [query for query in queries if 'app_id=~"$app_id"' not in query] == []
    assert {first for query in queries for first in re.findall(r"by \((\w+)", query)} == {"app_id"}
    assert len(QUERIES) - len(queries) == 1


@pytest.mark.parametrize("alert", ALERTS)
def test_every_series_that_a_rule_asks_for_is_there(prometheus: Prometheus, alert: str) -> None:
    """Names and labels alike: a rule over a label that nobody sets would never fire."""
    selectors = {found.group() for found in SELECTOR.finditer(re.sub(r"\b(?:by|on) \([^)]*\)", "", ALERTS[alert]))}

    assert selectors
    for selector in selectors:
        assert prometheus.values(selector), selector


def test_every_rule_is_evaluated_without_an_error_and_none_fires(prometheus: Prometheus) -> None:
    """Prometheus's own judgement of each rule, while all is well."""
    until = time.monotonic() + PATIENCE_S
    while True:
        rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        if all(rule["health"] != "unknown" for rule in rules) or time.monotonic() > until:
            break
        time.sleep(0.2)

    assert {rule["name"]: (rule["health"], rule.get("lastError", ""), rule["alerts"]) for rule in rules} == {
        alert: ("ok", "", []) for alert in ALERTS
    }
