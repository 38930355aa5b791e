"""The command line as a whole: what it lists, what it imports, how it fails."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args, get_origin

import click
import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from streams.cli import COMMANDS, main
from streams.commands.options import Failure, setting_option, settings_from
from streams.settings import Settings


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"REGULARS_{name.upper()}", raising=False)


def _options(name: str) -> click.Command:
    @click.command()
    @setting_option(name)
    def command(**options: object) -> None:
        click.echo(repr(getattr(settings_from(**options), name)))

    return command


def test_help_imports_no_command_and_nothing_heavy() -> None:
    """`regulars --help` answers at once: it loads click and itself."""
    code = (
        "import sys; from streams.cli import main; main(['--help'], standalone_mode=False); "
        "print(*sorted(sys.modules), file=sys.stderr)"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    loaded = set(told.stderr.split())
    assert "broker" in told.stdout
    assert not loaded & {"torch", "faust", "aiokafka", "pydantic", "structlog", "rich", "numpy", "streams.settings"}
    assert not {name for name in loaded if name.startswith("streams.commands.")}


def test_worker_by_fausts_own_command_logs_as_ours_does(tmp_path: Path) -> None:
    """`faust -A streams.app worker` asks the module for its app: one JSON object per line, to stderr."""
    code = "from streams.app import app; import structlog; structlog.get_logger('any').warning('heard', partition=3)"
    where = {
        "REGULARS_DATA_DIR": str(tmp_path),
        "REGULARS_CACHE_DIR": str(tmp_path),
        "REGULARS_PSEUDONYM_KEY": "only-for-tests-only-for-tests-only-for-tests",
    }

    told = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | where,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert told.stdout == ""
    said = json.loads(told.stderr.splitlines()[-1])
    assert (said["event"], said["level"], said["partition"]) == ("heard", "warning", 3)


def test_logged_exception_shows_no_local_variable() -> None:
    """Frames on the way to a broker hold the password, those of a chunk what customers wrote."""
    code = (
        "from streams.logs import configure_logging; configure_logging()\n"
        "import structlog, logging\n"
        "def connect(password):\n    raise ValueError('refused')\n"
        "for log in (structlog.get_logger('any'), logging.getLogger('aiokafka')):\n"
        "    try:\n        connect('hu' + 'sh')\n"
        "    except ValueError:\n        log.exception('failed')\n"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert told.stderr.count("refused") >= 2
    assert "hush" not in told.stderr


def test_every_command_that_is_there_is_listed_and_no_other() -> None:
    """The list is the truth about this installation."""
    listed = main.list_commands(click.Context(main))

    assert listed == [name for name, (where, _) in COMMANDS.items() if find_spec(where.partition(":")[0])]


@pytest.mark.parametrize("name", main.list_commands(click.Context(main)))
def test_every_listed_command_explains_itself(name: str) -> None:
    """Each command answers `--help` under its own name."""
    answer = CliRunner().invoke(main, [name, "--help"])

    assert answer.exit_code == 0, answer.output
    assert f"Usage: main {name}" in answer.output


def test_unknown_command_is_wrong_use() -> None:
    """A typo is exit code 2."""
    assert CliRunner().invoke(main, ["brocker"]).exit_code == 2


def test_failure_is_exit_code_1_and_one_line() -> None:
    """A command that fails says why and the way out, on one line of stderr."""

    @click.command()
    def command() -> None:
        raise Failure("the broker is\n away", "start it")

    answer = CliRunner().invoke(command)

    assert answer.exit_code == 1
    assert answer.stderr == "Error: the broker is away; start it\n"


OPTIONS = [name for name, field in Settings.model_fields.items() if field.annotation is not SecretStr]


@pytest.mark.parametrize("name", OPTIONS)
def test_every_setting_makes_an_option_that_shows_its_variable(name: str) -> None:
    """`--help` shows option, meaning and variable of a setting."""
    answer = CliRunner().invoke(_options(name), ["--help"], terminal_width=300)

    assert f"--{name.replace('_', '-')}" in answer.output
    assert f"REGULARS_{name.upper()}" in answer.output
    assert (Settings.model_fields[name].description or "?").split(";")[0] in answer.output


@pytest.mark.parametrize("name", OPTIONS)
def test_option_wins_over_variable_and_variable_over_default(name: str) -> None:
    """The nearer a value was given, the more it counts."""
    annotation = Settings.model_fields[name].annotation
    near, far = get_args(annotation)[:2] if get_origin(annotation) is Literal else ("11", "12")
    command, option, variable = _options(name), f"--{name.replace('_', '-')}", f"REGULARS_{name.upper()}"

    default = CliRunner().invoke(command)
    from_variable = CliRunner().invoke(command, env={variable: far})
    from_option = CliRunner().invoke(command, [option, near], env={variable: far})

    assert far in from_variable.output
    assert near in from_option.output
    assert default.output.strip() == repr(getattr(Settings(), name))


def test_secret_is_never_an_option() -> None:
    """A command line is seen by every process of the machine."""
    with pytest.raises(ValueError, match="secret"):
        setting_option("sasl_password")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("REGULARS_BOOTSTRAP_SERVER", "REGULARS_BOOTSTRAP_SERVERS"),
        ("REGULARS_DATADIR", "REGULARS_DATA_DIR"),
        ("REGULARS_SASL_PASSWORT", "REGULARS_SASL_PASSWORD"),
    ],
)
def test_misspelt_variable_is_wrong_use_with_the_nearest_name(name: str, nearest: str) -> None:
    """Whoever sets a variable counts on it: no command runs without it. Its value isn't shown."""
    answer = CliRunner().invoke(main, ["topics", "check"], env={name: "hush"})

    assert answer.exit_code == 2
    assert f"{name} is no setting; did you mean {nearest}?" in answer.stderr
    assert "hush" not in answer.output


def test_users_settings_that_do_not_fit_together_are_wrong_use_and_show_no_secret() -> None:
    """SASL wants a user and one password; the message names the variables and shows no value."""
    for variables, said in (
        ({}, "wants REGULARS_SASL_USERNAME"),
        ({"REGULARS_SASL_USERNAME": "shop"}, "wants REGULARS_SASL_PASSWORD_FILE or REGULARS_SASL_PASSWORD"),
        (
            {"REGULARS_SASL_USERNAME": "s", "REGULARS_SASL_PASSWORD": "hush", "REGULARS_SASL_PASSWORD_FILE": "/f"},
            "not both",
        ),
    ):
        answer = CliRunner().invoke(main, ["lag"], env={"REGULARS_SECURITY_PROTOCOL": "SASL_SSL", **variables})

        assert answer.exit_code == 2
        assert said in answer.stderr
        assert "hush" not in answer.output


def test_value_out_of_bounds_is_wrong_use() -> None:
    """A setting's bound holds on the command line: exit code 2, naming option and variable."""
    answer = CliRunner().invoke(_options("partitions"), ["--partitions", "0"])

    assert answer.exit_code == 2
    assert "--partitions (REGULARS_PARTITIONS)" in answer.stderr
