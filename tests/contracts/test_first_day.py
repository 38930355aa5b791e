"""What a contributor and a release rely on: hooks, type information, changelog."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_hooks_call_the_tools_of_make_lint_and_fetch_nothing() -> None:
    """A hook that fetched its own version of a tool could disagree with CI."""
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    lint = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2].partition("\n\n")[0]
    in_lint = {line.split()[0].removeprefix("$(BIN)/") for line in lint.split("\n")[1:]}

    assert {repository["repo"] for repository in repositories} == {"local"}
    hooks = [hook for repository in repositories for hook in repository["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert all(hook["entry"].startswith(".venv/bin/") for hook in hooks)
    assert in_lint <= {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks}


@pytest.mark.parametrize("package", ["schemas", "models", "streams"])
def test_type_information_is_shipped(package: str) -> None:
    """A project that imports the wheel is checked against our types."""
    assert (ROOT / package / "py.typed").is_file()
    assert "py.typed" in PYPROJECT["tool"]["setuptools"]["package-data"][package]


def test_changelog_has_the_version_below_an_unreleased_part() -> None:
    """`make release` builds what the changelog speaks of."""
    sections = re.findall(r"^## \[([^\]]+)\]", CHANGELOG, flags=re.MULTILINE)

    assert sections[:2] == ["Unreleased", PYPROJECT["project"]["version"]]


def test_changelog_keeps_added_changed_and_fixed_apart() -> None:
    """Each released version names each kind of change once, in this order."""
    for part in re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[2:]:
        kinds = re.findall(r"^### (\w+)", part, flags=re.MULTILINE)
        assert kinds == [kind for kind in ("Added", "Changed", "Fixed", "Removed") if kind in kinds]
