"""Laws of the deployment files against whoever broke into a container, or sits beside one in the network."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.settings import Settings
from streams.signin.pages import WORKER_PAGES, Content
from tests.support.manifests import objects_of

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = objects_of("base")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
IMAGE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
IMAGES = dict(
    line.split("=", 1)
    for line in (DEPLOY / "images.env").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)
WORKLOADS = [document for document in KUBERNETES if document["kind"] in ("StatefulSet", "Deployment", "Job")]
OURS = ("topics", "worker", "trainer")


def pod_of(workload: dict[str, Any]) -> dict[str, Any]:
    """The pod that a workload makes."""
    pod: dict[str, Any] = workload["spec"]["template"]["spec"]
    return pod


def label_of(workload: dict[str, Any]) -> str:
    """The label by which policies find a workload's pods."""
    label: str = workload["spec"]["template"]["metadata"]["labels"]["app"]
    return label


def policies_of(label: str) -> Iterator[dict[str, Any]]:
    """The network policies that hold for pods of this label."""
    for document in KUBERNETES:
        if document["kind"] == "NetworkPolicy":
            selector = document["spec"]["podSelector"]
            named = {selector.get("matchLabels", {}).get("app")}
            for expression in selector.get("matchExpressions", ()):
                assert (expression["key"], expression["operator"]) == ("app", "In")
                named |= set(expression["values"])
            if label in named:
                yield document["spec"]


@pytest.mark.parametrize("workload", WORKLOADS, ids=label_of)
def test_a_pod_satisfies_the_restricted_profile(workload: dict[str, Any]) -> None:
    """Kubernetes' own name for: no root, no privileges to gain, no capability, the default filter of system calls."""
    pod = pod_of(workload)
    context = pod["securityContext"]

    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["runAsGroup"] == 10001
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert {next(iter(volume.keys() - {"name"})) for volume in pod.get("volumes", [])} <= {"emptyDir", "secret"}
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not any("hostPort" in port for port in container.get("ports", []))


@pytest.mark.parametrize("workload", WORKLOADS, ids=label_of)
def test_a_pod_writes_only_where_it_must(workload: dict[str, Any]) -> None:
    """A read-only root, /tmp with a bound, and a worker's own volume; secrets are mounted to be read."""
    pod = pod_of(workload)
    bounded = {volume["name"] for volume in pod["volumes"] if "sizeLimit" in volume.get("emptyDir", {})}
    claimed = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
    for container in pod["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert "memory" in container["resources"]["limits"]
        for mount in container["volumeMounts"]:
            assert mount["name"] in bounded | claimed or mount["readOnly"] is True


@pytest.mark.parametrize("workload", WORKLOADS, ids=label_of)
def test_a_pod_has_no_token_of_the_cluster(workload: dict[str, Any]) -> None:
    """Nothing here asks Kubernetes for anything."""
    assert pod_of(workload)["automountServiceAccountToken"] is False


@pytest.mark.parametrize("workload", WORKLOADS, ids=label_of)
def test_a_pod_reaches_dns_and_kafka_and_nothing_else(workload: dict[str, Any]) -> None:
    """What it sends goes to named pods at named ports; without a rule for it nothing comes in either."""
    specs = list(policies_of(label_of(workload)))
    rules = [rule for spec in specs for rule in spec.get("egress", [])]

    assert {kind for spec in specs for kind in spec["policyTypes"]} == {"Ingress", "Egress"}
    assert {port["port"] for rule in rules for port in rule["ports"]} == {53, 9092}
    assert all(rule["to"] and rule["ports"] for rule in rules)


def test_who_reads_metrics_reaches_no_page_with_customers() -> None:
    """Pages of customers have a port of their own, and Prometheus's namespace is let in to the other alone."""
    worker = next(workload for workload in WORKLOADS if label_of(workload) == "regulars-worker")
    (container,) = pod_of(worker)["containers"]
    port = next(int(entry["value"]) for entry in container["env"] if entry["name"] == "REGULARS_WEB_CUSTOMER_PORT")
    rules = [rule for spec in policies_of("regulars-worker") for rule in spec.get("ingress", [])]

    to_customers = [rule for rule in rules if port in {each["port"] for each in rule["ports"]}]
    assert len(to_customers) == 1
    assert to_customers[0]["from"] == [{"podSelector": {"matchLabels": {"app": "regulars-proxy"}}}]
    assert all(rule["from"] and rule["ports"] for rule in rules)
    assert re.search(rf"^EXPOSE .*\b{port}\b", IMAGE, re.MULTILINE)
    assert any(page.content is Content.CUSTOMERS for page in WORKER_PAGES)


@pytest.mark.parametrize("workload", [w for w in WORKLOADS if w["kind"] != "Job"], ids=label_of)
def test_a_drain_of_nodes_takes_one_pod_at_a_time(workload: dict[str, Any]) -> None:
    """And is never held up for good, as one pod that must always be there would hold it."""
    (budget,) = (
        document["spec"]
        for document in KUBERNETES
        if document["kind"] == "PodDisruptionBudget" and document["spec"]["selector"] == workload["spec"]["selector"]
    )

    assert budget["maxUnavailable"] == 1


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_compose_is_held_the_same(name: str) -> None:
    """No root, no capabilities, nothing to gain, a read-only root with a bounded /tmp."""
    service = COMPOSE["services"][name]

    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] > 0
    assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert "privileged" not in service


def test_no_port_of_compose_is_open_to_the_network() -> None:
    """Only to the machine itself."""
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_kafka_of_compose_has_no_capabilities() -> None:
    """Its image has a user of its own, and writes to its root."""
    assert COMPOSE["services"]["kafka"]["cap_drop"] == ["ALL"]


def test_the_image_runs_as_nobody_in_particular_and_has_no_installer() -> None:
    """By number, so that Kubernetes can see that it is not root; neither pip nor uv is copied from the stage that builds."""
    build, run = IMAGE.split("\nFROM ", 2)[1:]

    assert re.search(r"^USER 10001:10001$", run, re.MULTILINE)
    assert "--without-pip /opt/regulars" in build
    assert "pip install" not in run
    assert "--require-hashes" in build
    for name in re.findall(r"REGULARS_(\w+)=", run):
        assert name.lower() in Settings.model_fields


def test_images_of_others_are_named_in_one_place() -> None:
    """`make pin` writes their digests there; what compose and the image name without it is the same tag."""
    defaults = dict(
        re.findall(r"\$\{(\w+_IMAGE):-([^}]+)\}", (ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    )
    (python,) = re.findall(r"^ARG PYTHON_IMAGE=(.+)$", IMAGE, re.MULTILINE)

    assert defaults == {name: image.partition("@")[0] for name, image in IMAGES.items()}
    assert python == defaults["PYTHON_IMAGE"]
    assert set(re.findall(r"^FROM (\S+)", IMAGE, re.MULTILINE)) == {"${PYTHON_IMAGE}"}


def test_pinning_writes_the_digest_beside_each_tag(tmp_path: Path) -> None:
    """Run with a docker that knows one digest; a second run keeps one digest beside the tag."""
    digest = "sha256:" + "ab" * 32
    for name in ("pin-images", "images.env"):
        (tmp_path / name).write_bytes((DEPLOY / name).read_bytes())
    (tmp_path / "docker").write_text(f"#!/bin/sh\necho {digest}\n", encoding="utf-8")
    for name in ("pin-images", "docker"):
        (tmp_path / name).chmod(0o755)

    for _ in range(2):
        subprocess.run(
            ["bash", str(tmp_path / "pin-images")],
            check=True,
            env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
            stdout=subprocess.DEVNULL,
        )

    pinned = (tmp_path / "images.env").read_text(encoding="utf-8")
    assert [line for line in pinned.splitlines() if not line.startswith("#")] == [
        f"{name}={image.partition('@')[0]}@{digest}" for name, image in IMAGES.items()
    ]
    assert pinned.startswith("#")
