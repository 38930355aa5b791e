"""The kustomize base and its components: lists that are complete, objects of their schemas, names that meet."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from streams.settings import Settings
from tests.support.manifests import KUBERNETES, kustomization_of, objects_of

DEPLOY = KUBERNETES.parent
ROOT = DEPLOY.parent
FOLDERS = ("base", "monitoring", "autoscaling", "example")
OBJECTS = [each for folder in FOLDERS for each in objects_of(folder)]
BASE = {(each["kind"], each["metadata"]["name"]): each for each in objects_of("base")}
RULES: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus-rules.yml").read_text(encoding="utf-8"))
Schema = dict[str, Any]
TEXT: Schema = {"type": "string", "minLength": 1}
DURATION: Schema = {"type": "string", "pattern": r"^(\d+(ms|[smhdwy]))+$"}


def shape(properties: Schema, *required: str) -> Schema:
    """An object that has these properties, no others, and at least the required ones."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def list_of(items: Schema) -> Schema:
    """A list with at least one of them."""
    return {"type": "array", "items": items, "minItems": 1}


SELECTOR = shape({"matchLabels": {"type": "object", "additionalProperties": TEXT}}, "matchLabels")
# The parts of the types' own schemas that the files use: Kubernetes' API for the budget, and the definitions of
# prometheus-operator (monitoring.coreos.com_*.yaml) and KEDA (keda.sh_scaledobjects.yaml) for theirs.
SPECS: dict[tuple[str, str], Schema] = {
    ("policy/v1", "PodDisruptionBudget"): shape(
        {"maxUnavailable": {"type": "integer", "minimum": 1}, "selector": SELECTOR}, "maxUnavailable", "selector"
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): shape(
        {
            "selector": SELECTOR,
            "endpoints": list_of(shape({"port": TEXT, "path": TEXT, "interval": DURATION}, "port")),
        },
        "selector",
        "endpoints",
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): shape(
        {
            "groups": list_of(
                shape(
                    {
                        "name": TEXT,
                        "rules": list_of(
                            shape(
                                {
                                    "alert": TEXT,
                                    "expr": TEXT,
                                    "for": DURATION,
                                    "keep_firing_for": DURATION,
                                    "labels": {"type": "object", "additionalProperties": TEXT},
                                    "annotations": {"type": "object", "additionalProperties": TEXT},
                                },
                                "expr",
                            )
                        ),
                    },
                    "name",
                )
            )
        }
    ),
    ("keda.sh/v1alpha1", "ScaledObject"): shape(
        {
            "scaleTargetRef": shape({"apiVersion": TEXT, "kind": TEXT, "name": TEXT}, "name"),
            **{key: {"type": "integer"} for key in ("minReplicaCount", "maxReplicaCount", "pollingInterval")},
            "advanced": {"type": "object"},
            "triggers": list_of(
                shape(
                    {
                        "type": TEXT,
                        "metricType": {"enum": ["AverageValue", "Value", "Utilization"]},
                        "metadata": {"type": "object", "additionalProperties": TEXT},
                    },
                    "type",
                    "metadata",
                )
            ),
        },
        "scaleTargetRef",
        "triggers",
    ),
}


def name_of(each: dict[str, Any]) -> str:
    """Kind and name of an object."""
    return f"{each['kind']}/{each['metadata']['name']}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_kustomization_lists_every_file_beside_it_and_nothing_else(folder: str) -> None:
    """A file that is not listed is never applied, and nobody notices."""
    listed = kustomization_of(folder)
    files = {file.name for file in (KUBERNETES / folder).iterdir()} - {"kustomization.yaml"}

    assert {name for name in listed["resources"] if name.endswith(".yaml")} == files
    for other in [name for name in listed["resources"] if not name.endswith(".yaml")] + listed.get("components", []):
        assert (KUBERNETES / folder / other / "kustomization.yaml").is_file()


@pytest.mark.parametrize("each", OBJECTS, ids=name_of)
def test_an_object_has_type_and_a_name_of_its_own(each: dict[str, Any]) -> None:
    """Two of one kind and name would replace each other."""
    jsonschema.validate(
        each["metadata"]["name"], {"type": "string", "pattern": r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}
    )
    same = [other for other in OBJECTS if (other["apiVersion"], name_of(other)) == (each["apiVersion"], name_of(each))]

    assert len(same) == 1


@pytest.mark.parametrize("each", [each for each in OBJECTS if (each["apiVersion"], each["kind"]) in SPECS], ids=name_of)
def test_an_object_is_of_its_schema(each: dict[str, Any]) -> None:
    """The API server would refuse it, or drop the key that it does not know."""
    jsonschema.validate(each["spec"], SPECS[each["apiVersion"], each["kind"]])


def test_every_kind_that_the_schemas_describe_is_there() -> None:
    """A budget, what to scrape, the alerts and the scaling."""
    assert set(SPECS) <= {(each["apiVersion"], each["kind"]) for each in OBJECTS}


def test_the_operators_rules_are_those_of_prometheus(tmp_path: Path) -> None:
    """`deploy/wrap-rules` writes what the tree has."""
    for name in ("prometheus-rules.yml", "wrap-rules"):
        shutil.copy(DEPLOY / name, tmp_path)
    written = tmp_path / "kubernetes" / "monitoring" / "prometheus-rule.yaml"
    written.parent.mkdir(parents=True)
    subprocess.run(["bash", str(tmp_path / "wrap-rules")], check=True)
    (rule,) = (each for each in OBJECTS if each["kind"] == "PrometheusRule")

    assert rule["spec"] == RULES
    assert written.read_bytes() == (KUBERNETES / "monitoring" / written.name).read_bytes(), "run deploy/wrap-rules"


def test_a_monitor_finds_its_service_and_names_the_job_that_rules_ask_for() -> None:
    """The operator names a job after the service."""
    monitors = [each for each in OBJECTS if each["kind"] == "ServiceMonitor"]
    asked = set(re.findall(r'job="([\w-]+)"', str(RULES)))

    for monitor in monitors:
        service = BASE["Service", monitor["metadata"]["name"]]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert asked <= {monitor["metadata"]["name"] for monitor in monitors}


def test_workers_are_scaled_on_seconds_before_the_alert_and_up_to_one_per_partition() -> None:
    """What is scaled is the base's workers; what is asked is this shop's lag."""
    (scaled,) = (each["spec"] for each in OBJECTS if each["kind"] == "ScaledObject")
    workers = BASE[scaled["scaleTargetRef"]["kind"], scaled["scaleTargetRef"]["name"]]
    asked = scaled["triggers"][0]["metadata"]
    (late,) = (rule["expr"] for group in RULES["groups"] for rule in group["rules"] if rule["alert"] == "RegularsLate")

    assert scaled["maxReplicaCount"] == int(BASE["ConfigMap", "regulars"]["data"]["REGULARS_PARTITIONS"])
    assert scaled["minReplicaCount"] == workers["spec"]["replicas"]
    assert f'regulars_lag_seconds{{app_id="{Settings().app_id}"}}' in asked["query"]
    assert float(asked["threshold"]) < float(late.rpartition(">")[2])
    assert asked["ignoreNullValues"] == "false", "a lag that is not known is no lag of 0"


def test_workers_are_spread_over_zones_and_nodes() -> None:
    """The constraint counts the workers themselves, and an unequal cluster still runs them."""
    pod = BASE["StatefulSet", "regulars-worker"]["spec"]["template"]
    spread = {each["topologyKey"]: each for each in pod["spec"]["topologySpreadConstraints"]}

    assert set(spread) == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    for constraint in spread.values():
        assert constraint["labelSelector"]["matchLabels"] == pod["metadata"]["labels"]
        assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"


def test_the_job_of_the_topics_can_be_applied_again() -> None:
    """It goes away after its end; tools that hold the cluster to the files replace it."""
    job = BASE["Job", "regulars-topics"]

    assert 0 < job["spec"]["ttlSecondsAfterFinished"] <= 600
    assert job["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/force"] == "enabled"
    assert job["metadata"]["annotations"]["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"


def test_the_example_names_an_image_that_the_base_runs_at_this_release() -> None:
    """`images:` replaces by name; another name would replace nothing."""
    (image,) = kustomization_of("example")["images"]
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pods = [each["spec"]["template"]["spec"] for each in BASE.values() if "template" in each.get("spec", {})]

    assert {container["image"] for pod in pods for container in pod["containers"]} == {image["name"]}
    assert f'version = "{image["newTag"]}"' in pyproject


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl, for kustomize")
def test_kustomize_builds_the_example() -> None:
    """As a user would: everything in one namespace, the registry's image, and no number of workers beside KEDA's."""
    built = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES / "example")], capture_output=True, text=True, check=True
    )
    objects = list(yaml.safe_load_all(built.stdout))
    (workers,) = (each for each in objects if each["kind"] == "StatefulSet")

    assert {name_of(each) for each in objects} == {name_of(each) for each in OBJECTS}
    assert {each["metadata"]["namespace"] for each in objects} == {"shop"}
    assert set(re.findall(r"^ +image: (.+)$", built.stdout, re.MULTILINE)) == {
        "registry.example.com/regulars:" + kustomization_of("example")["images"][0]["newTag"]
    }
    assert "replicas" not in workers["spec"]
