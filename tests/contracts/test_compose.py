"""The compose file without docker: keys of its schema, and files, addresses and thresholds that fit together."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MONITORING = ("prometheus", "alertmanager", "grafana")
PROMETHEUS = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))
ALERTMANAGER = yaml.safe_load((DEPLOY / "alertmanager.yml").read_text(encoding="utf-8"))
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
# The part of the Compose Specification's schema that the file uses: https://github.com/compose-spec/compose-spec
STRING: dict[str, Any] = {"type": "string"}
LISTS: dict[str, Any] = {"type": "array", "items": STRING, "uniqueItems": True}
SCALAR: dict[str, Any] = {"type": ["string", "number", "null"]}
SERVICE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **dict.fromkeys(("cap_drop", "command", "ports", "profiles", "security_opt", "tmpfs", "volumes"), LISTS),
        **dict.fromkeys(("image", "stop_grace_period", "user"), STRING),
        "build": {"type": "object", "required": ["context", "dockerfile"]},
        "depends_on": {"type": "object"},
        "environment": {"type": "object", "additionalProperties": SCALAR},
        "healthcheck": {"type": "object", "required": ["test"]},
        "pids_limit": {"type": "integer"},
        "read_only": {"type": "boolean"},
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
    },
    "required": ["image"],
}
# By which alert a panel's line is drawn.
LIMITS = {
    "Lag: age of the oldest waiting record": "RegularsLate",
    "From an event to its change acknowledged": "RegularsChangesSlow",
    "Texts that wait for the encoder": "RegularsTextsWait",
    "Trainer: labels that wait": "RegularsTrainerBehind",
    "Free disk": "RegularsDiskFills",
}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_only_keys_of_the_schema(name: str) -> None:
    """A misspelt key is refused by compose, at somebody else's start."""
    jsonschema.validate(SERVICES[name], SERVICE)


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_mounts_is_there(name: str) -> None:
    """A missing file would be made as a folder by docker, and the container read nothing."""
    for volume in SERVICES[name].get("volumes", ()):
        source, _, target = volume.partition(":")
        if source.startswith("."):
            assert (ROOT / source).is_file()
            assert target.endswith(":ro")
        elif target:
            assert source in COMPOSE["volumes"]


def test_the_profile_is_started_only_when_it_is_asked_for() -> None:
    """Kafka, worker and trainer start without it; the three of the profile start with it alone."""
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["monitoring"]} == set(MONITORING)
    assert all("profiles" not in SERVICES[name] for name in SERVICES if name not in MONITORING)


@pytest.mark.parametrize("name", MONITORING)
def test_a_container_of_the_profile_has_nothing_to_gain(name: str) -> None:
    """No capabilities, a read-only root; what it keeps is in a volume."""
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["read_only"] is True
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


def test_prometheus_asks_the_pages_where_they_are() -> None:
    """The services by name, at their ports; and Alertmanager likewise."""
    worker, trainer = (job["dns_sd_configs"][0] for job in PROMETHEUS["scrape_configs"])
    (alertmanager,) = PROMETHEUS["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    host, _, port = alertmanager.partition(":")

    assert (worker["names"], trainer["names"]) == (["worker"], ["trainer"])
    assert f"127.0.0.1::{worker['port']}" in SERVICES["worker"]["ports"]
    assert trainer["port"] == SERVICES["trainer"]["environment"]["REGULARS_TRAINER_WEB_PORT"]
    assert f"127.0.0.1:{port}:{port}" in SERVICES[host]["ports"]


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    """The data source's address is the service's, and the folder of the provider is where the dashboard is mounted."""
    (source,) = yaml.safe_load((DEPLOY / "grafana/datasource.yml").read_text(encoding="utf-8"))["datasources"]
    (provider,) = yaml.safe_load((DEPLOY / "grafana/dashboards.yml").read_text(encoding="utf-8"))["providers"]
    targets = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]

    assert source["url"] == "http://prometheus:9090"
    assert provider["options"]["path"] in {str(Path(target).parent) for target in targets}
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] in targets


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian package prometheus)")
def test_prometheus_takes_its_configuration() -> None:
    """Prometheus's own check, rules included."""
    checked = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"], cwd=DEPLOY, capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_alertmanager_names_alerts_and_receivers_that_exist() -> None:
    """A route to nobody, or an inhibition of an alert that is not there, holds nothing."""
    rules = yaml.safe_load((DEPLOY / "prometheus-rules.yml").read_text(encoding="utf-8"))
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    routes = [ALERTMANAGER["route"], *ALERTMANAGER["route"]["routes"]]

    assert {route["receiver"] for route in routes} == {receiver["name"] for receiver in ALERTMANAGER["receivers"]}
    for inhibition in ALERTMANAGER["inhibit_rules"]:
        named = " ".join(inhibition["source_matchers"] + inhibition["target_matchers"])
        assert set(re.findall(r"Regulars\w+", named)) <= alerts


@pytest.mark.parametrize("title", LIMITS)
def test_the_line_of_a_panel_is_the_limit_of_its_alert(title: str) -> None:
    """A panel that is green while its alert fires would say that all is well."""
    rules = yaml.safe_load((DEPLOY / "prometheus-rules.yml").read_text(encoding="utf-8"))
    alerts = {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    (panel,) = (panel for panel in DASHBOARD["panels"] if panel["title"] == title)
    limits = {float(number) for number in re.findall(r"[<>] ([\d.e]+)", alerts[LIMITS[title]])}

    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"] in limits
