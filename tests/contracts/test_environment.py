"""Variables of the whole repository: none is unknown."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from streams.cli import main
from streams.settings import COMMAND_VARIABLES, Settings, misspelt

ROOT = Path(__file__).parents[2]
TEXTS = [
    "Makefile",
    "README.md",
    "docker-compose.yml",
    *(f"{d}/**/*" for d in ("streams", "tests", "benchmarks", "docs", "deploy")),
]
# Named in tests and documents as what is wrong, or as any setting.
EXAMPLES = {"REGULARS_BOOTSTRAP_SERVER", "REGULARS_DATADIR", "REGULARS_SASL_PASSWORT", "REGULARS_PORT", "REGULARS_X_Y"}


def _commands(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            assert found is not None
            yield from _commands(found)


def test_variable_of_every_option_is_known() -> None:
    """No command refuses what another command's help names, and no variable is known that no option reads."""
    named = {str(option.envvar) for command in _commands(main) for option in command.params if option.envvar}

    assert len(named) > 30
    assert {name for name in named if misspelt({name: "1"})} == set()
    assert named - {f"REGULARS_{name.upper()}" for name in Settings.model_fields} == COMMAND_VARIABLES


def test_every_variable_that_the_repository_names_is_known() -> None:
    """Code, tests, benchmarks, documents and deployment set nothing that a command would refuse."""
    files = [file for pattern in TEXTS for file in ROOT.glob(pattern) if file.suffix not in (".pyc", ".safetensors")]
    found = {
        name
        for file in files
        if file.is_file()
        for name in re.findall(r"REGULARS_[A-Z0-9_]*[A-Z0-9](?![A-Z0-9_])", file.read_text(errors="replace"))
    }

    assert {f"REGULARS_{name.upper()}" for name in ("data_dir", "sasl_password")} <= found
    assert {name for name in found - EXAMPLES if misspelt({name: "1"})} == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REGULARS_SERVICE_HOST", "10.0.0.7"),
        ("REGULARS_WORKER_SERVICE_PORT_HTTP", "6066"),
        ("REGULARS_PORT", "tcp://10.0.0.7:6066"),
        ("REGULARS_WORKER_PORT_6066_TCP", "tcp://10.0.0.7:6066"),
        ("REGULARS_WORKER_PORT_6066_TCP_ADDR", "10.0.0.7"),
    ],
)
def test_what_kubernetes_says_of_a_service_is_no_mistake(name: str, value: str) -> None:
    """A service called regulars-worker puts variables into every container of its namespace."""
    assert misspelt({name: value}) is None


def test_password_is_shown_nowhere() -> None:
    """Neither the settings nor an error about them print it."""
    settings = Settings(security_protocol="SASL_SSL", sasl_username="shop", sasl_password="hush")  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="web_port") as caught:
        Settings(web_port=-1, sasl_password="hush")  # type: ignore[arg-type]

    assert "hush" not in f"{settings!r} {settings} {settings.model_dump_json()} {caught.value}"
