"""Challengers beside the default model, for people: over all labels, and at a backtest's cut-offs."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from models.features import FloatArray
from models.learning.backtest import Forecasts, Sale
from models.learning.contest import Change, Row
from models.learning.measures import level, paired_difference
from models.learning.snapshots import DEFAULT
from schemas.learning import SCORES
from streams.report.evaluation import measures_of, rows_by_score

_DRAWS = 100


def told(change: Change, at: float) -> str:
    """One line for a change of what is served."""
    day = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
    if change.why != "evidence":
        return f"{day} {change.target}: {change.served} is served instead of {change.previous} ({change.why})"
    return (
        f"{day} {change.target}: {change.served} is served instead of {change.previous}, better beyond noise on"
        f" {change.labels:,} labels (loss {change.served_loss:.4f}, {change.previous_loss:.4f})"
    )


def standings(rows: Sequence[Row]) -> str:
    """A table: each contestant of each target, its loss, and how much that is beyond the default's on the same labels."""
    head = ("target", "contestant", "labels", "loss", "less default's", "s.e.", "")
    lines = [head]
    for row in rows:
        note = " ".join(word for word, holds in (("served", row.served), ("pinned", row.pinned)) if holds)
        difference = ("", "") if row.name == DEFAULT else (f"{row.difference:+.5f}", f"{row.error:.5f}")
        note = f"out: {row.failure}" if row.failure else note
        lines.append((row.target, row.name, f"{row.labels:,}", f"{row.loss:.4f}", *difference, note))
    return aligned(lines)


def comparison(rows: Sequence[Row], forecasts: Sequence[Forecasts], sales: Sequence[Sale], until: float) -> str:
    """Two tables: over all labels as they matured (`standings`), and over the customers of all cut-offs."""
    return "\n".join(
        (
            "over all labels, each forecast before it was learnt:",
            standings(rows),
            "",
            f"at the cut-offs, (s.e. of the difference to the default: bootstrap over customers, {_DRAWS} draws):",
            at_cutoffs(forecasts, sales, until),
        )
    )


def at_cutoffs(forecasts: Sequence[Forecasts], sales: Sequence[Sale], until: float) -> str:
    """A table: measures of each contestant over the rows of all cut-offs, with the difference to the default's."""
    lines: list[tuple[str, ...]] = [("target", "contestant", "measure", "value", "less default's", "s.e.")]
    by_target = _with_challengers(forecasts)
    for target, found in rows_by_score(by_target, sales, until).items():
        names = [name for of, name in forecasts[0].challengers if of == target]
        for name in names if len(names) > 1 else ():
            for measure, compute in measures_of(target).items():
                value = compute(found.truth, found.forecasts[name])
                cells: tuple[str, ...] = ("", "")
                if name != DEFAULT and compute is not level:
                    pair = found.forecasts[name], found.forecasts[DEFAULT]
                    gain, error = paired_difference(compute, found.truth, pair, found.customers, _DRAWS)
                    cells = (f"{gain:+.4f}", f"{error:.4f}")
                lines.append((target, name, measure, f"{value:.4f}", *cells))
    return aligned(lines)


def _with_challengers(forecasts: Sequence[Forecasts]) -> list[Forecasts]:
    """The forecasts with challengers in place of rivals, (n, 4) each; NaN for a target that one doesn't forecast."""
    return [each._replace(rivals=_by_name(each.challengers, len(each.customer_ids))) for each in forecasts]


def _by_name(challengers: Mapping[tuple[str, str], FloatArray], rows: int) -> dict[str, FloatArray]:
    found: dict[str, FloatArray] = {}
    for (target, name), forecast in challengers.items():
        found.setdefault(name, np.full((rows, len(SCORES)), np.nan))[:, SCORES.index(target)] = forecast
    return found


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as columns: the first two to the left, numbers to the right.

    >>> print(aligned([("a", "b", "c"), ("long", "x", "10")]))
    a     b   c
    long  x  10
    """
    widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(max(map(len, lines)))]
    return "\n".join(
        "  ".join(
            cell.ljust(widths[i]) if i < 2 or i == 6 else cell.rjust(widths[i]) for i, cell in enumerate(line)
        ).rstrip()
        for line in lines
    )
