"""Editing a policy's document as text: other exit margins, numbers in place of quantiles; every other character stays."""

import re
from collections.abc import Mapping, Sequence

from models.policy import parse_marked


def with_margins(document: str, margins: Mapping[int, float]) -> str:
    """`document` with other exit margins, by the index of the dimension."""
    _, marked = parse_marked(document)
    lines = document.splitlines(keepends=True)
    places = []
    for d, margin in margins.items():
        where = f"$.dimensions[{d}]"
        if marked.mark(where, "exit_margin") != marked.mark(where):
            places.append((marked.mark(f"{where}.exit_margin"), r"[^\s,}\]#]+", f"{margin:g}"))
            continue
        over = marked.mark(where, "over")
        # In braces the margin goes before the key `over`; elsewhere it gets its own line above that key.
        braces = marked.is_flow(where)
        places.append((over, "^", f"exit_margin: {margin:g}" + (", " if braces else "\n" + " " * (over.column - 1))))
    for mark, old, new in sorted(places, reverse=True):
        line, at = lines[mark.line - 1], mark.column - 1
        lines[mark.line - 1] = line[:at] + re.sub(old, new, line[at:], count=1)
    return "".join(lines)


def calibrated(document: str, numbers: Sequence[Sequence[float | None]]) -> str:
    """`document` with a `from` in place of each `from_quantile`.

    Args:
        document: a policy with quantiles.
        numbers: one per dimension and segment; None: that segment has no quantile. Rounded to hundredths.
    """
    _, marked = parse_marked(document)
    lines = document.splitlines(keepends=True)
    places = []
    for d, segments in enumerate(numbers):
        for s, number in enumerate(segments):
            if number is not None:
                where = f"$.dimensions[{d}].segments[{s}]"
                key, value = marked.mark(where, "from_quantile"), marked.mark(f"{where}.from_quantile")
                places.append((value, r"[^\s,}\]#]+", f"{number:.2f}"))
                places.append((key, r"['\"]?from_quantile['\"]?", "from"))
    for mark, old, new in sorted(places, reverse=True):  # from the end: an edit moves only what comes after it
        line, at = lines[mark.line - 1], mark.column - 1
        lines[mark.line - 1] = line[:at] + re.sub(old, new, line[at:], count=1)
    return "".join(lines)
