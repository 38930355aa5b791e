"""Laws of what the demo gives to its children."""

import pytest

from streams.demo.system import _environment
from streams.settings import Settings


def test_the_demo_makes_a_secret_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one each time; one that is set stays, and is read by the children themselves."""
    monkeypatch.delenv("REGULARS_PSEUDONYM_KEY", raising=False)
    first, second = (_environment(Settings())["REGULARS_PSEUDONYM_KEY"] for _ in range(2))

    assert len(first) == len(second) == 64
    assert first != second
    assert "REGULARS_PSEUDONYM_KEY" not in _environment(Settings(pseudonym_key="k" * 32))  # type: ignore[arg-type]


def test_no_secret_is_handed_on_as_it_is_printed() -> None:
    """A printed secret is a row of stars."""
    settings = Settings(pseudonym_key="k" * 32, sasl_password="hush", web_tokens="viewer:" + "t" * 32)  # type: ignore[arg-type]

    environment = _environment(settings)

    assert not any("*" in value for value in environment.values())
    assert environment["REGULARS_WEB_TOKENS"] == "viewer:" + "t" * 32
