"""The pages of the project are true to the tree: links, anchors, files, make targets and commands that they name exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(page.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "docs/decisions/*.md", "examples/**/*.md")
    for page in ROOT.glob(pattern)
)
# What a path in backticks may begin with to be a file of this tree.
TOPS = r"(?:schemas|models|streams|tests|benchmarks|deploy|examples|docs|\.ci|\.devcontainer)/"


def _text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def _prose(page: str) -> str:
    """A page without its blocks of code, in which nothing is a link."""
    return re.sub(r"^```.*?^```", "", _text(page), flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """Ids of headings as GitHub makes them, and those that the page sets itself."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


def _links(page: str) -> Iterator[tuple[str, str]]:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield path, anchor


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_its_heading(page: str) -> None:
    """Nobody follows a link of ours to nowhere."""
    for path, anchor in _links(page):
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {path}"
        if anchor:
            assert anchor in _anchors(target), f"{page}: {path}#{anchor}"


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    """A file that moves takes its mentions along; the changelog may speak of what is gone."""
    named = {path.rstrip(".:") for path in re.findall(rf"(?<![\w/.-]){TOPS}[\w./*-]*\w[\w*]*", _text(page))}

    missing = {path for path in named if not any(ROOT.glob(path)) and "NAME" not in path}

    assert missing == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_target_that_a_page_names_is_there(page: str) -> None:
    """`regulars X` is a command, `make X` a target."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    spans = re.findall(r"`([^`]+)`", _prose(page)) + re.findall(
        r"^```\w*\n(.*?)^```", _text(page), re.MULTILINE | re.DOTALL
    )
    lines = [line.strip() for span in spans for line in span.split("\n")]

    assert {m[1] for line in lines if (m := re.match(r"make ([a-z][a-z-]*)", line))} <= targets
    assert {m[1] for line in lines if (m := re.match(r"regulars ([a-z][a-z-]*)", line))} <= set(COMMANDS)


def test_every_page_of_docs_is_reached_from_the_readme() -> None:
    """A page that nothing links to is read by nobody."""
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        name = str(page.relative_to(ROOT))
        waiting += [(page.parent / path).resolve() for path, _ in _links(name) if path and not path.endswith("/")]

    pages = {ROOT / page for page in PAGES if not page.startswith(("docs/decisions/", "CHANGELOG", "examples/"))}
    assert pages <= reached
