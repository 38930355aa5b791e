"""Alerts, dashboard and Kubernetes files name what the product has: metrics, settings, commands, pages, folders."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from streams.cli import COMMANDS
from streams.kafka.patience import PATIENCE_S
from streams.ops.lag import LagMonitor
from streams.settings import Settings
from streams.training.pages import TrainerView
from streams.worker.metrics import Metrics
from streams.worker.status import Counts
from tests.support.manifests import objects_of

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
RULE_TESTS = sorted(DEPLOY.glob("prometheus-rules*-test.yml"))
RULES = yaml.safe_load((DEPLOY / "prometheus-rules.yml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
KUBERNETES = objects_of("base")
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
IMAGE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}


def _registries() -> Iterator[CollectorRegistry]:
    metrics = Metrics(lag=LagMonitor(Settings()), settings=Settings())
    metrics.watch_customers(lambda: 0)
    metrics.watch_shadow(lambda: None)
    metrics.watch_ready(lambda: True)
    metrics.watch_texts_waiting(lambda: 0)
    metrics.watch_counts(Counts)
    yield metrics.registry
    yield TrainerView(Settings().app_id).registry


METRICS = {
    family.name + suffix
    for registry in _registries()
    for family in registry.collect()
    for suffix in SUFFIXES[family.type]
}
ALERTS: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


@pytest.mark.parametrize("expression", [*(alert["expr"] for alert in ALERTS), *QUERIES])
def test_every_metric_that_is_asked_for_exists(expression: str) -> None:
    """A name that no process exports would never alert, and a panel of it stay empty."""
    named = set(re.findall(r"\b(?:regulars|process)_\w+", expression))

    assert named <= METRICS
    assert named or "up{job=" in expression


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_says_what_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    """One line each, and a severity to route it by."""
    assert alert["labels"]["severity"] in ("critical", "warning")
    for name in ("summary", "action"):
        assert alert["annotations"][name].strip()
        assert "\n" not in alert["annotations"][name]
    for command in re.findall(r"`regulars ([a-z-]+)", alert["annotations"]["action"]):
        assert command in COMMANDS


def test_alerts_and_panels_have_names_of_their_own() -> None:
    """Two of one name would hide each other."""
    assert len({alert["alert"] for alert in ALERTS}) == len(ALERTS)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_has_a_section_of_the_runbook(alert: dict[str, Any]) -> None:
    """Its address is that of a heading in docs/operations.md."""
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^### (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)

    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_every_alert_has_a_unit_test_made_from_a_fault() -> None:
    """Without one, an expression that never fires would stay unnoticed."""
    text = "".join(path.read_text(encoding="utf-8") for path in RULE_TESTS)

    assert {alert["alert"] for alert in ALERTS} <= set(re.findall(r'alertname="(\w+)"', text))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian package prometheus)")
def test_alerts_fire_when_they_should_and_not_when_they_should_not() -> None:
    """Prometheus's own unit tests of the rules."""
    tested = subprocess.run(
        ["promtool", "test", "rules", *(path.name for path in RULE_TESTS)],
        cwd=DEPLOY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert tested.returncode == 0, tested.stdout + tested.stderr


def _pods() -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """Every workload with its pod and its container."""
    for document in KUBERNETES:
        if document["kind"] in ("StatefulSet", "Deployment", "Job"):
            pod = document["spec"]["template"]["spec"]
            for container in pod["containers"]:
                yield document, pod, container


def _kinds() -> dict[tuple[str, str], dict[str, Any]]:
    return {(document["kind"], document["metadata"]["name"]): document for document in KUBERNETES}


def test_kubernetes_runs_workers_and_one_trainer() -> None:
    """Workers keep name and store; a second trainer would only be a spare."""
    kinds = _kinds()

    assert kinds["StatefulSet", "regulars-worker"]["spec"]["volumeClaimTemplates"]
    assert kinds["Deployment", "regulars-trainer"]["spec"]["replicas"] == 1


def test_kubernetes_names_only_commands_settings_and_images_that_exist() -> None:
    """A typo would show only in somebody else's cluster."""
    image = COMPOSE["services"]["worker"]["image"]
    shared = _kinds()["ConfigMap", "regulars"]["data"]

    for _, pod, container in _pods():
        assert container["image"] == image
        assert container["args"][0] in COMMANDS
        assert [source["configMapRef"]["name"] for source in container["envFrom"]] == ["regulars"]
        for variable in [*shared, *(entry["name"] for entry in container.get("env", []))]:
            assert variable.removeprefix("REGULARS_").lower() in Settings.model_fields
        assert f"--uid {pod['securityContext']['runAsUser']} " in IMAGE
    Settings(**{name.removeprefix("REGULARS_").lower(): value for name, value in shared.items()})


def test_kubernetes_selectors_ports_and_volumes_fit_together() -> None:
    """What a service, a probe or a mount refers to is there."""
    kinds = _kinds()
    for name, ports in (("regulars-worker", [6066, 6068]), ("regulars-trainer", [6067])):
        service = kinds["Service", name]["spec"]
        workload = kinds.get(("StatefulSet", name)) or kinds["Deployment", name]
        container = workload["spec"]["template"]["spec"]["containers"][0]
        assert service["selector"] == workload["spec"]["selector"]["matchLabels"]
        assert service["selector"] == workload["spec"]["template"]["metadata"]["labels"]
        assert [p["port"] for p in service["ports"]] == [p["containerPort"] for p in container["ports"]] == ports
        for probe, path in (("livenessProbe", "/live"), ("readinessProbe", "/ready")):
            assert container[probe]["httpGet"] == {"path": path, "port": container["ports"][0]["name"]}
    worker = kinds["StatefulSet", "regulars-worker"]["spec"]
    container = worker["template"]["spec"]["containers"][0]
    assert [claim["metadata"]["name"] for claim in worker["volumeClaimTemplates"]] == ["data"]
    assert [mount["name"] for mount in container["volumeMounts"]] == ["data", "secrets", "tmp"]
    assert f"VOLUME {container['volumeMounts'][0]['mountPath']}\n" in IMAGE
    assert kinds["StatefulSet", "regulars-worker"]["spec"]["serviceName"] == "regulars-worker"


def test_a_start_and_a_stop_may_wait_for_kafka() -> None:
    """Probes and grace are longer than the patience; a kill in between would be of a worker that does what it should."""
    worker = _kinds()["StatefulSet", "regulars-worker"]["spec"]["template"]["spec"]["containers"][0]
    probe = worker["startupProbe"]

    assert probe["periodSeconds"] * probe["failureThreshold"] >= max(120, PATIENCE_S)
    for document, pod, _ in _pods():
        if document["kind"] != "Job":
            assert pod["terminationGracePeriodSeconds"] > PATIENCE_S
    for name in ("worker", "trainer"):
        assert int(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s")) > PATIENCE_S


def test_secrets_are_nobodys_default() -> None:
    """They come from a secret, or the shell; neither file has one."""
    pod = _kinds()["StatefulSet", "regulars-worker"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (mounted,) = (mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "secrets")
    values = {entry["name"]: entry.get("value") for entry in container["env"]}

    assert {"name": "secrets", "secret": {"secretName": "regulars", "defaultMode": 0o440}} in pod["volumes"]
    assert values["REGULARS_PSEUDONYM_KEY_FILE"] == f"{mounted}/pseudonym-key"
    assert values["REGULARS_WEB_TOKEN_FILE"] == f"{mounted}/web-tokens"
    for variable in ("REGULARS_PSEUDONYM_KEY", "REGULARS_WEB_TOKENS"):
        assert COMPOSE["services"]["worker"]["environment"][variable] is None


@pytest.mark.parametrize(("name", "setting"), [("worker", "web_port"), ("trainer", "trainer_web_port")])
def test_compose_asks_for_health_where_the_pages_are(name: str, setting: str) -> None:
    """With what the image has: Python, no curl."""
    service = COMPOSE["services"][name]
    port = int(service["environment"].get(f"REGULARS_{setting.upper()}", getattr(Settings(), setting)))

    program = service["healthcheck"]["test"]
    assert program[:3] == ["CMD", "python", "-c"]
    assert f"http://127.0.0.1:{port}/live" in program[3]
    compile(program[3], name, "exec")
    assert re.search(rf"^EXPOSE .*\b{port}\b", IMAGE, re.MULTILINE)
