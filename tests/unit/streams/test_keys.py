"""Laws of the installation's secret and of the keys made of it."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from streams.commands.options import setting_option
from streams.commands.worker import command
from streams.keys import key_for, pseudonym_key, text_cache_key
from streams.settings import Settings, WrongSetting

SECRET = "0123456789abcdef" * 2


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGULARS_PSEUDONYM_KEY", raising=False)


def with_secret(secret: str = SECRET, **others: object) -> Settings:
    """Settings with this secret."""
    return Settings(pseudonym_key=secret, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize("secret", ["", "regulars", "a" * 31])
def test_a_secret_that_is_missing_or_short_is_refused_with_the_way_out(secret: str) -> None:
    """There is no default; the error shows how to make a secret and does not show the one that was given."""
    with pytest.raises(WrongSetting, match="openssl rand -hex 32") as caught:
        pseudonym_key(with_secret(secret, bootstrap_servers="kafka-1:9092"))

    assert not secret or secret not in str(caught.value).replace("pseudonym", "")


def test_a_worker_without_a_secret_does_not_start(tmp_path: Path) -> None:
    """Wrong use, in one line, before anything is asked of Kafka."""
    elsewhere = ["--bootstrap-servers", "kafka-1:9092"]
    ended = CliRunner().invoke(
        command, ["--data-dir", str(tmp_path / "data"), "--cache-dir", str(tmp_path), *elsewhere]
    )

    assert ended.exit_code == 2
    assert "REGULARS_PSEUDONYM_KEY_FILE" in ended.output
    assert not (tmp_path / "data").exists()


def test_workers_beside_their_broker_share_a_secret_that_nobody_else_has(tmp_path: Path) -> None:
    """All of them are on this machine: the first one makes it, at random, for its owner alone."""
    settings = Settings(bootstrap_servers="127.0.0.1:9092", cache_dir=tmp_path / "one")

    assert pseudonym_key(settings) == pseudonym_key(settings)
    assert (tmp_path / "one" / "pseudonym.key").stat().st_mode & 0o077 == 0
    assert pseudonym_key(settings) != pseudonym_key(settings.model_copy(update={"cache_dir": tmp_path / "two"}))
    (tmp_path / "file").touch()
    with pytest.raises(WrongSetting, match="openssl rand -hex 32"):
        pseudonym_key(settings.model_copy(update={"cache_dir": tmp_path / "file"}))


def test_the_secret_is_no_option() -> None:
    """Every process of a machine can see a command line."""
    with pytest.raises(ValueError, match="a variable, never an option"):
        setting_option("pseudonym_key")
    assert "--pseudonym-key " not in click.Context(command).get_help()


def test_the_secret_is_printed_nowhere() -> None:
    """The settings show it masked."""
    settings = with_secret()

    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert "**" in repr(settings)


def test_a_secret_in_a_file_is_the_same_secret(tmp_path: Path) -> None:
    """The line end does not count; a file and a variable at once are refused."""
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")

    assert pseudonym_key(Settings(pseudonym_key_file=file)) == pseudonym_key(with_secret())
    with pytest.raises(WrongSetting, match="both set"):
        pseudonym_key(with_secret(pseudonym_key_file=file))


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_file_that_holds_no_secret_is_named(content: bytes | None, tmp_path: Path) -> None:
    """Missing, empty or no text: the error names the file and the setting."""
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(WrongSetting, match=rf"{file}.*correct REGULARS_PSEUDONYM_KEY_FILE"):
        pseudonym_key(Settings(pseudonym_key_file=file))


def test_each_use_has_a_key_of_its_own() -> None:
    """Who knows one key knows nothing of another; another secret gives other keys."""
    keys = {pseudonym_key(with_secret()), key_for(with_secret(), "look-ups"), text_cache_key(with_secret())}
    others = {pseudonym_key(with_secret("b" * 32)), key_for(with_secret("b" * 32), "look-ups")}

    assert len(keys) == 3
    assert not keys & others


def test_a_command_without_the_secret_keeps_a_key_beside_the_text_cache(tmp_path: Path) -> None:
    """It is made once, at random, for its owner alone, so that a second run reads what the first one wrote."""
    settings = Settings(cache_dir=tmp_path / "cache")

    assert text_cache_key(settings) == text_cache_key(settings)
    assert (tmp_path / "cache" / "text-vectors.key").stat().st_mode & 0o077 == 0
    assert text_cache_key(settings) != text_cache_key(Settings(cache_dir=tmp_path / "other"))
