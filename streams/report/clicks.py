"""Will a visit end with a purchase? The pipelines of `models.intent`, judged in one pass: each forecast before it learns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base
from sklearn.metrics import average_precision_score

from models.features import FloatArray
from models.intent import of_pages, of_summaries
from models.intent.features import PAGES, SECONDS
from models.learning.measures import auc, calibration_error, log_loss
from streams.report.challengers import aligned
from streams.sources.visits import Visit, VisitRows

DEPTHS: dict[str, int | None] = {"3": 3, "5": 5, "10": 10, "all": None}
"""Pages after which a visit is scored; None: when it has ended. A visit that ended before is scored at its end."""

HEADS = {name: "at its end" if depth is None else f"after {depth} pages" for name, depth in DEPTHS.items()}
HEADS |= {"with_page_value": "with page_value", "without_page_value": "without page_value"}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PurchaseQuality:
    """How good forecasts of a purchase were.

    Attributes:
        auroc: area under the ROC curve.
        auroc_error: its standard error (Hanley and McNeil, 1982).
        average_precision: area under the precision-recall curve, by steps.
        log_loss: mean, natural logarithm.
        ece: mean |mean forecast - share that bought| over ten bins of equal mass.
        base_rate: share of visits with a purchase.
        visits: how many.
    """

    auroc: float
    auroc_error: float
    average_precision: float
    log_loss: float
    ece: float
    base_rate: float
    visits: int


def judge_pages(
    visits: Sequence[Visit], progress: Progress = lambda what, done, of: None
) -> dict[str, PurchaseQuality]:
    """By depth: each visit is scored after so many pages, and learnt after it has ended; in the order given."""
    bought = np.array([visit.bought for visit in visits])
    found = {}
    for name, depth in DEPTHS.items():
        rows = [{PAGES: visit.pages[:depth], SECONDS: visit.seconds[:depth]} for visit in visits]
        what = "at the end of each visit" if depth is None else f"after {depth} pages"
        found[name] = quality(_in_one_pass(of_pages(), rows, bought, what, progress), bought)
    return found


def judge_summaries(
    visits: VisitRows, progress: Progress = lambda what, done, of: None, seed: int = 0
) -> dict[str, PurchaseQuality]:
    """With all columns (absent where the file has no page_value), and without page_value; in the order given."""
    without = [row | {"page_value": None} for row in visits.rows]
    found = {}
    if any(row["page_value"] is not None for row in visits.rows):
        found["with_page_value"] = quality(
            _in_one_pass(of_summaries(seed), visits.rows, visits.bought, "with page_value", progress), visits.bought
        )
    found["without_page_value"] = quality(
        _in_one_pass(of_summaries(seed), without, visits.bought, "without page_value", progress), visits.bought
    )
    return found


def _in_one_pass(
    model: base.Classifier,
    rows: Sequence[Mapping[str, Any]],
    bought: NDArray[np.bool_],
    what: str,
    progress: Progress,
) -> FloatArray:
    forecasts = np.zeros(len(rows))
    for index, (row, came) in enumerate(zip(rows, bought.tolist(), strict=True)):
        forecasts[index] = model.predict_proba_one(row)[True]
        model.learn_one(row, came)
        if index % 100 == 0:
            progress(what, index, len(rows))
    return forecasts


def quality(forecasts: FloatArray, bought: NDArray[np.bool_]) -> PurchaseQuality:
    """The measures of probabilities (n,) against outcomes (n,), of which both must occur."""
    truth = bought.astype(np.float64)
    area = auc(truth, forecasts)
    return PurchaseQuality(
        area,
        _area_error(area, int(bought.sum()), int((~bought).sum())),
        float(average_precision_score(bought, forecasts)),
        log_loss(truth, forecasts),
        calibration_error(truth, forecasts),
        float(bought.mean()),
        len(bought),
    )


def _area_error(area: float, positives: int, negatives: int) -> float:
    twice, both = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (positives - 1) * (twice - area**2) + (negatives - 1) * (both - area**2)
    return float(np.sqrt(variance / (positives * negatives)))


def table_of(found: Mapping[str, PurchaseQuality]) -> str:
    """Lines of text: a row per part of `found`."""
    rows: list[Sequence[str]] = [("", "AUROC", "s.e.", "AP", "log loss", "ECE")]
    for name, q in found.items():
        measures = (q.auroc, q.auroc_error, q.average_precision, q.log_loss, q.ece)
        rows.append((HEADS[name], *(f"{measure:.4f}" for measure in measures)))
    any_of = next(iter(found.values()))
    return "\n".join([f"{any_of.visits:,} visits, {any_of.base_rate:.1%} with a purchase; one pass", aligned(rows)])


def figures_of_pages(found: Mapping[str, PurchaseQuality]) -> dict[str, object]:
    """What `regulars evaluate clicks session_purchase --json` writes."""
    measures = ("auroc", "auroc_error", "average_precision", "log_loss", "ece")
    return {measure: {depth: getattr(q, measure) for depth, q in found.items()} for measure in measures}


def figures_of_summaries(found: Mapping[str, PurchaseQuality]) -> dict[str, object]:
    """What `regulars evaluate clicks online_shoppers --json` writes; null where the file has no page_value."""
    without = asdict(found["without_page_value"])
    with_all = asdict(found["with_page_value"]) if "with_page_value" in found else dict.fromkeys(without)
    return with_all | {"without_page_value": without}
