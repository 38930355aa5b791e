"""What is installed and deployed is whole: packages, entry point, names that are ours alone, compose file, image."""

import importlib.metadata
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import yaml

from streams.cli import COMMANDS
from streams.settings import Settings

ROOT = Path(__file__).parent.parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def test_no_other_distribution_ships_our_packages() -> None:
    """`streams`, `models` and `schemas` are plain names: nobody else's package may hide behind them."""
    owners = importlib.metadata.packages_distributions()

    for package in ("streams", "models", "schemas"):
        assert set(owners.get(package, [])) <= {"regulars"}


def test_every_package_is_listed() -> None:
    """A package that pyproject.toml doesn't name would be missing from the installed product."""
    found = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for top in ("schemas", "models", "streams")
        for init in (ROOT / top).rglob("__init__.py")
    }

    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == found


def test_every_folder_with_code_is_a_package() -> None:
    """A module in a folder without `__init__.py` would not be installed."""
    for top in ("schemas", "models", "streams"):
        for module in (ROOT / top).rglob("*.py"):
            assert (module.parent / "__init__.py").exists(), module


def test_the_pom_in_deploy_is_the_one_that_is_installed() -> None:
    """There is one list of Kafka's jars."""
    assert (ROOT / "deploy" / "pom.xml").samefile(ROOT / "streams" / "broker" / "pom.xml")


def test_the_data_plane_s_libraries_are_pinned_exactly() -> None:
    """The data plane leans on the inside of faust, mode and aiokafka."""
    pinned = {re.split(r"\[|==", name)[0] for name in PYPROJECT["project"]["dependencies"] if "==" in name}

    assert {"faust-streaming", "mode-streaming", "aiokafka"} <= pinned


def test_lock_holds_every_dependency_with_its_hash_and_no_address() -> None:
    """What is installed is what was checked, wherever it is fetched from."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")

    assert "://" not in lock
    for requirement in PYPROJECT["project"]["dependencies"]:
        name = re.split(r"[^A-Za-z0-9._-]", requirement)[0]
        assert f"\n{name}==" in lock, name


def _services() -> dict[str, Any]:
    services: dict[str, Any] = COMPOSE["services"]
    return services


def test_compose_runs_kafka_a_worker_and_the_trainer() -> None:
    """`docker compose up` is the product in small."""
    assert {"kafka", "worker", "trainer"} <= set(_services())


def test_compose_names_only_commands_and_settings_that_exist() -> None:
    """A typo in a command or a variable would show only on somebody else's machine."""
    for service in _services().values():
        if service["image"] != "regulars":
            continue
        assert service["command"][0] in COMMANDS
        for variable in service["environment"]:
            assert variable.removeprefix("REGULARS_").lower() in Settings.model_fields


def test_compose_refers_only_to_what_it_defines() -> None:
    """Dependencies, volumes and the Dockerfile are there."""
    for service in _services().values():
        assert set(service.get("depends_on", {})) <= set(_services())
        named = {volume.partition(":")[0] for volume in service.get("volumes", []) if volume[0] not in "./"}
        assert named <= set(COMPOSE["volumes"])
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_compose_kafka_takes_our_largest_record() -> None:
    """Dead letters of up to 4 MiB pass; topics are made by us, with our partition counts."""
    environment = _services()["kafka"]["environment"]

    assert int(environment["KAFKA_MESSAGE_MAX_BYTES"]) >= 4 * 1024 * 1024
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_image_copies_what_is_there_and_sets_what_exists() -> None:
    """Each COPY has its source and each REGULARS_ variable its setting."""
    lines = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()

    for words in (shlex.split(line) for line in lines if line.startswith("COPY") and "--from" not in line):
        for source in words[1:-1]:
            assert (ROOT / source).exists(), source
    for word in " ".join(lines).split():
        if word.startswith("REGULARS_"):
            assert word.partition("=")[0].removeprefix("REGULARS_").lower() in Settings.model_fields
