"""Segments beside what came: the laws of the evaluation, on made-up forecasts."""

import json

import numpy as np
import pytest

from models.features import COLUMN, NAMES
from models.learning.backtest import Forecasts
from models.learning.lapsing import BG_NBD_GONE, OVERDUE, RECENCY, lapsing
from models.learning.scoreboard import SERVED
from models.policy import load
from schemas.times import DAY_S
from streams.report.churn import FORECAST, Costs, cheapest_threshold, judge_churn
from streams.report.evaluation import Rows
from streams.report.segment_evaluation import SegmentEvaluation
from streams.report.segment_tables import figures, tables
from streams.report.segments import Bootstrap, judge_dimension

MONTHS, CUSTOMERS = 4, 60
LIFECYCLE, VALUE = load(None).dimensions


def made(seed: int = 0) -> tuple[list[Forecasts], dict[str, Rows]]:
    """Four cut-offs of sixty buyers whose spend is what was expected of them, times luck."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"c{i:02}" for i in range(CUSTOMERS)])
    forecasts, spends = [], []
    for month in range(MONTHS):
        expected = rng.gamma(0.8, 120.0, CUSTOMERS)
        spend = expected * rng.gamma(2.0, 0.5, CUSTOMERS) * (rng.random(CUSTOMERS) < 0.6)
        scores = np.column_stack([np.full((CUSTOMERS, 3), 0.5), expected])
        days = rng.uniform(0, 200, CUSTOMERS)
        forecasts.append(
            Forecasts(
                month * 30 * DAY_S, list(ids), scores, scores, np.zeros((CUSTOMERS, 2)), {},
                segments={
                    "value": ["low" if each < 50 else "mid" if each < 250 else "high" for each in expected],
                    "lifecycle": ["active" if each < 30 else "at_risk" if each < 90 else "lapsed" for each in days],
                },
                numbers={"value": expected, "lifecycle": days},
                lapsing={RECENCY: days},
            )
        )  # fmt: skip
        spends.append(spend)
    at = np.repeat([each.as_of for each in forecasts], CUSTOMERS)
    spend = np.concatenate(spends)

    def rows(truth: np.ndarray, score: int) -> Rows:
        served = np.concatenate([each.scores[:, score] for each in forecasts])
        return Rows(at, np.tile(ids, MONTHS), truth, {SERVED: served}, np.zeros((len(truth), 2)))

    return forecasts, {
        "expected_spend_90d": rows(spend, 3),
        "p_purchase_90d": rows((spend > 0).astype(float), 1),
    }


def test_a_confusion_matrix_counts_each_row_once_where_it_was_called_and_where_it_came() -> None:
    """Its rows sum to who was called, its columns to who came; accuracy is its diagonal."""
    forecasts, by_score = made()
    found = judge_dimension(VALUE, forecasts, by_score, draws=20)
    confusion = np.array(found.confusion)
    spend = by_score["expected_spend_90d"].truth
    assert confusion.sum() == found.rows == MONTHS * CUSTOMERS
    assert confusion.sum(axis=0).tolist() == [
        (spend < 50).sum(),
        ((spend >= 50) & (spend < 250)).sum(),
        (spend >= 250).sum(),
    ]
    assert confusion.sum(axis=1).tolist() == [each.called for each in found.by_segment]
    assert found.accuracy.value == pytest.approx(np.trace(confusion) / confusion.sum())
    for place, each in enumerate(found.by_segment):
        assert each.precision.value == pytest.approx(confusion[place, place] / confusion[place].sum())
        assert each.recall.value == pytest.approx(confusion[place, place] / confusion[:, place].sum())


def test_silence_is_judged_by_purchases_that_did_not_come() -> None:
    """Who lapsed is right where nobody bought; the lowest segment has no bound and so no boundary."""
    forecasts, by_score = made()
    found = judge_dimension(LIFECYCLE, forecasts, by_score, draws=20)
    assert (found.outcome, found.came_segments) == ("no purchase", ("purchase", "no purchase"))
    assert [each.segment for each in found.boundaries] == ["active", "at_risk", "lapsed"]
    lapsed = found.boundaries[-1]
    silent = by_score["p_purchase_90d"].truth == 0
    called = np.concatenate([each.numbers["lifecycle"] for each in forecasts]) >= 90
    assert lapsed.precision.value == pytest.approx((silent & called).sum() / called.sum())


def test_a_threshold_has_not_seen_what_it_is_judged_by() -> None:
    """Whatever comes on the later cut-offs, the threshold of the earlier ones stays."""
    forecasts, by_score = made()
    before = judge_dimension(VALUE, forecasts, by_score, draws=5).boundaries[0].chosen["threshold"]
    rows = by_score["expected_spend_90d"]
    later = rows.as_of >= 2 * 30 * DAY_S
    turned = rows._replace(truth=np.where(later, 500.0 - np.minimum(rows.truth, 500.0), rows.truth))
    after = judge_dimension(VALUE, forecasts, by_score | {"expected_spend_90d": turned}, draws=5)
    assert after.boundaries[0].chosen["threshold"] == before


def test_intervals_hold_their_value_and_widen_with_fewer_customers() -> None:
    """A bootstrap over ten customers is less sure than one over a thousand."""
    rng = np.random.default_rng(0)
    widths = []
    for customers in (10, 1000):
        bought = (rng.random(customers) < 0.5).astype(float)
        interval = Bootstrap(np.arange(customers).astype(str)).interval(
            lambda w, bought=bought: float((w * bought).sum() / w.sum())
        )
        assert interval.low <= interval.value <= interval.high
        widths.append(interval.high - interval.low)
    assert widths[0] > 3 * widths[1]


def test_the_cheapest_threshold_costs_no_more_than_any_other() -> None:
    """Tried against every threshold there is, and against approaching nobody."""
    rng = np.random.default_rng(3)
    costs = Costs(missed=3.0, alarm=1.0)
    for _ in range(50):
        signal, lost = rng.integers(0, 6, 30).astype(float), rng.random(30) < rng.random()
        found = costs.of(signal >= cheapest_threshold(signal, lost, costs), lost)
        assert found == pytest.approx(min(costs.of(signal >= cut, lost) for cut in [*np.unique(signal), np.inf]))


def test_a_rhythm_is_known_of_everybody() -> None:
    """Who bought once takes the median gap of the others; twice as long as the own gap is once overdue."""
    x = np.zeros((3, len(NAMES)))
    x[:, COLUMN["bought"]] = 1.0
    x[:, COLUMN["purchases"]] = np.log1p([1.0, 3.0, 5.0])
    x[:, COLUMN["repeat_span_days"]] = np.log1p([0.0, 20.0, 80.0])
    x[:, COLUMN["recency_days"]] = np.log1p([15.0, 20.0, 20.0])
    found = lapsing(x, np.array([1.0, 0.5, 0.25]))
    assert found[OVERDUE] == pytest.approx([0.0, 1.0, 0.0])
    assert found[BG_NBD_GONE].tolist() == [0.0, 0.5, 0.75]
    assert found[RECENCY] == pytest.approx([15.0, 20.0, 20.0])


def test_figures_are_json_and_say_null_where_nothing_is_defined() -> None:
    """Where everybody bought, no curve is defined; the file stays readable for every parser."""
    forecasts, by_score = made()
    rows = by_score["p_purchase_90d"]
    all_bought = by_score | {"p_purchase_90d": rows._replace(truth=np.ones(len(rows.truth)))}
    found = SegmentEvaluation(
        "shop", "default-1", CUSTOMERS, (0.0, 30 * DAY_S),
        tuple(judge_dimension(each, forecasts, all_bought, draws=5) for each in (LIFECYCLE, VALUE)),
        judge_churn(forecasts, all_bought["p_purchase_90d"], draws=5),
    )  # fmt: skip
    plain = json.loads(json.dumps(figures(found), allow_nan=False))
    assert plain["dimensions"]["lifecycle"]["boundaries"]["lapsed"]["auc"]["value"] is None
    assert plain["dimensions"]["value"]["by_segment"]["high"]["precision"]["value"] > 0
    assert plain["churn"]["ways"][FORECAST]["roc"] == []
    assert "value, over expected_spend_90d" in tables(found)
