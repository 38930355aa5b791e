"""`regulars access` refuses to write a file that would miss something."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli import main


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGULARS_PSEUDONYM_KEY", raising=False)


@pytest.mark.parametrize("servers", ["127.0.0.1:1", "kafka.example:9092"])
def test_without_the_workers_secret_nothing_is_read_and_none_is_made(tmp_path: Path, servers: str) -> None:
    """A secret made now would lead to no label, and the file would look complete."""
    arguments = ["access", "anna", "--out", str(tmp_path / "out.json"), "--bootstrap-servers", servers]

    done = CliRunner().invoke(main, [*arguments, "--cache-dir", str(tmp_path / "cache")])

    assert done.exit_code == 1
    assert "REGULARS_PSEUDONYM_KEY_FILE" in done.output
    assert list(tmp_path.iterdir()) == []


def test_an_id_that_no_customer_can_have_is_wrong_use(tmp_path: Path) -> None:
    """As for `regulars erase`."""
    done = CliRunner().invoke(main, ["access", "a" * 129, "--out", str(tmp_path / "out.json")])

    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []
