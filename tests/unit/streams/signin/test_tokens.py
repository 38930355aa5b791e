"""Laws of bearer tokens: how they are written, where they come from, what is refused."""

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from streams.settings import Settings, WrongSetting
from streams.signin.readers import SignIn
from streams.signin.tokens import Reader, Tokens, parse_tokens

ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with one viewer's token."""
    path = tmp_path / "tokens"
    path.write_text(f"# who reads the pages\n\nviewer:{ONE}\n")
    return path


def test_a_line_has_role_perhaps_a_name_and_the_token() -> None:
    """A token may hold a colon."""
    tokens = parse_tokens(f"viewer:{ONE}\n operator/ada l.:{TWO}:x \n", "here")

    assert [reader for _, reader in tokens] == [Reader("viewer"), Reader("operator", "ada l.")]
    assert str(tokens[1][1]) == "operator/ada l."
    assert Tokens(Settings(web_tokens=f"operator:{TWO}:x")).reader(f"{TWO}:x") == Reader("operator")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line",
    [ONE, f"admin:{ONE}", f"Viewer:{ONE}", "viewer:", "viewer:short-secret", f"viewer:{ONE} x", "viewer:" + "é" * 32],
)
def test_a_line_that_is_no_token_is_named_and_not_shown(line: str) -> None:
    """The error names the place and the number of the line."""
    with pytest.raises(WrongSetting, match="REGULARS_WEB_TOKENS, line 2") as caught:
        parse_tokens(f"viewer:{TWO}\n{line}", "REGULARS_WEB_TOKENS")

    assert ONE not in str(caught.value)
    assert "short-secret" not in str(caught.value)


def test_tokens_are_kept_as_digests_and_printed_nowhere() -> None:
    """Neither a dump of the settings nor the tokens in memory show one."""
    settings = Settings(web_tokens=f"viewer:{ONE}")  # type: ignore[arg-type]

    assert ONE not in f"{settings!r} {settings} {settings.model_dump_json()} {vars(Tokens(settings))}"


def test_a_file_that_changes_is_read_again(file: Path) -> None:
    """A token that is taken out counts no more, without a restart."""
    tokens = Tokens(Settings(web_token_file=file))
    assert tokens.reader(ONE) == Reader("viewer")

    file.write_text(f"operator:{TWO}\n")
    os.utime(file, ns=(1, 1))

    assert tokens.reader(ONE) is None
    assert tokens.reader(TWO) == Reader("operator")


@pytest.mark.parametrize("content", ["", "# nobody\n", "viewer:short\n", None])
def test_a_file_that_becomes_wrong_changes_nothing_and_is_logged(file: Path, content: str | None) -> None:
    """A mistake at midnight locks nobody out, and lets nobody in."""
    tokens = Tokens(Settings(web_token_file=file))
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
        os.utime(file, ns=(1, 1))

    with capture_logs() as logs:
        assert tokens.reader(ONE) == Reader("viewer")
        assert tokens.reader(TWO) is None

    assert [line["log_level"] for line in logs] == ["error"]


@pytest.mark.parametrize("content", ["", "# nobody\n", "viewer:short\n", None])
def test_a_file_that_is_wrong_at_the_start_is_refused(file: Path, content: str | None) -> None:
    """With the file's name and the way out."""
    file.unlink() if content is None else file.write_text(content)

    with pytest.raises(WrongSetting, match=str(file)):
        Tokens(Settings(web_token_file=file))


@pytest.mark.parametrize("proxies", ["10.0.0.0/99", "shop.example", "10.0.0.1/16"])
def test_proxies_that_are_no_networks_are_refused(proxies: str) -> None:
    """With an example of what is right."""
    with pytest.raises(WrongSetting, match=r"REGULARS_WEB_TRUSTED_PROXIES.*10\.1\.0\.0/16"):
        SignIn(Settings(web_trusted_header="X-User", web_trusted_proxies=proxies))
