"""Faust's own commands work on this app as on any other, without a broker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def faust(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Runs `faust -A streams.app ARGUMENTS` with `folder` for all files."""
    where = {"REGULARS_DATA_DIR": str(folder / "data"), "REGULARS_CACHE_DIR": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "faust", "-A", "streams.app", *arguments],
        cwd=ROOT,
        env={**os.environ, **where, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("agents", ("@customers", "clickstream, purchases, reviews", "Scores the customers of each poll.")),
        ("tables", ("states", "One state per customer")),
        ("models", ("name", "help")),
    ],
)
def test_fausts_own_tools_list_this_app(command: str, expected: tuple[str, ...], tmp_path: Path) -> None:
    """A Faust user sees the agent with its topics, and the table, each with a sentence of help."""
    listed = faust(tmp_path, command)

    assert listed.returncode == 0, listed.stderr
    assert all(text in listed.stdout for text in expected), listed.stdout


def test_fausts_own_tools_show_the_worker_command(tmp_path: Path) -> None:
    """`faust -A streams.app worker` is there; tests/integration/test_worker.py runs it."""
    shown = faust(tmp_path, "worker", "--help")

    assert shown.returncode == 0, shown.stderr
    assert "--web-port" in shown.stdout


@pytest.mark.parametrize(
    ("variable", "value", "code"), [("REGULARS_PARTITIONS", "many", 2), ("REGULARS_POLICY", "/nope.yaml", 1)]
)
def test_a_wrong_setting_ends_fausts_tools_in_one_line(variable: str, value: str, code: int, tmp_path: Path) -> None:
    """The line names the variable, and there is no traceback."""
    ended = faust(tmp_path, "agents", **{variable: value})

    assert ended.returncode == code
    assert ended.stderr.splitlines()[-1].startswith("Error: ")
    assert variable in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_an_import_of_the_app_makes_nothing() -> None:
    """Only whoever asks for `app` gets one: `regulars worker` hands over settings of its own."""
    code = "import sys, streams.app; sys.exit('app' in vars(streams.app))"

    imported = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "REGULARS_PARTITIONS": "many"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert imported.returncode == 0, imported.stderr
