"""Which brand is bought next, judged on small histories of which the answer is known."""

import numpy as np
import pytest

from models.affinities import KINDS
from streams.report.next_brand import BURN_IN_DAYS, NAMED, judge_next_brands, next_brand_figures, next_brand_table
from streams.sources.brand_events import BrandEvents

CLICK, PURCHASE = KINDS.index("click"), KINDS.index("purchase")
LATER = BURN_IN_DAYS

Event = tuple[int, int, int, int]


def _events(*events: Event) -> BrandEvents:
    """Of (day, customer, kind, brand)."""
    days, customers, kinds, brands = (np.array(column, np.int32) for column in zip(*sorted(events), strict=True))
    return BrandEvents(customers, brands, kinds, days, tuple(str(each) for each in range(int(customers.max()) + 1)))


def _rates(*events: Event) -> dict[str, float]:
    quality = judge_next_brands(_events(*events))
    assert quality is not None
    return dict(quality.rates)


def test_a_brand_clicked_yesterday_is_named_and_one_clicked_today_is_not() -> None:
    """The file has no time of day, so a click of the same day may come after the purchase."""
    start = (0, 1, CLICK, 99)
    yesterday, today = (LATER, 0, CLICK, 5), (LATER + 1, 0, CLICK, 5)
    purchase = (LATER + 1, 0, PURCHASE, 5)
    assert _rates(start, yesterday, purchase) == {"affinities": 1.0, "bought_before": 0.0, "popular": 0.0}
    assert _rates(start, today, purchase) == {"affinities": 0.0, "bought_before": 0.0, "popular": 0.0}


def test_what_was_bought_before_is_named_by_all_three() -> None:
    """By whom it was bought makes the difference between the customer's own and the popular."""
    own = _rates((0, 0, PURCHASE, 5), (LATER, 0, PURCHASE, 5))
    assert own == {"affinities": 1.0, "bought_before": 1.0, "popular": 1.0}
    of_another = _rates((0, 1, PURCHASE, 5), (LATER, 0, PURCHASE, 5))
    assert of_another == {"affinities": 0.0, "bought_before": 0.0, "popular": 1.0}


def test_each_way_names_ten_at_most() -> None:
    """Of eleven brands bought, the first one is not among the latest ten."""
    bought = [(day, 0, PURCHASE, day) for day in range(NAMED + 1)]
    assert _rates(*bought, (LATER, 0, PURCHASE, 0))["bought_before"] == 0.0
    assert _rates(*bought, (LATER, 0, PURCHASE, 1))["bought_before"] == 1.0


def test_several_items_of_a_brand_on_a_day_are_one_case() -> None:
    """And purchases of the first two weeks are none."""
    quality = judge_next_brands(
        _events((0, 0, PURCHASE, 5), *[(LATER, 0, PURCHASE, 5)] * 3, (LATER, 0, PURCHASE, 6), (LATER, 1, CLICK, 6))
    )
    assert quality is not None
    assert (quality.cases, quality.customers) == (2, 1)
    assert quality.rates["affinities"] == pytest.approx(0.5)
    assert "2 brands bought by 1 customers" in next_brand_table(quality)


def test_where_nobody_buys_later_there_is_no_rate() -> None:
    """Null in the figures, a sentence in the table."""
    quality = judge_next_brands(_events((0, 0, PURCHASE, 5), (LATER, 0, CLICK, 5)))
    assert quality is None
    assert next_brand_figures(quality) == {"next_brand_hit_rate_10": None}
    assert "nobody bought" in next_brand_table(quality)
