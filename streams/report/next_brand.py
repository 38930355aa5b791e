"""Which brand is bought next: is it among ten that were named the evening before?

Three ways to name ten: the brands that the customer is drawn to (`models.affinities`), those that the customer bought
before, the latest first, and those that all customers bought most often. Each case is a brand that a customer bought on a
day, and the names are as of the end of the day before.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.affinities import KINDS, WEIGHTS, Affinities
from streams.report.challengers import aligned
from streams.sources.brand_events import BrandEvents

NAMED = 10
BURN_IN_DAYS = 14
"""Purchases of the first two weeks are not judged: nothing could be known of them."""

AFFINITIES, BOUGHT_BEFORE, POPULAR = WAYS = ("affinities", "bought_before", "popular")

_PURCHASE = KINDS.index("purchase")
_DRAWS = 200

Progress = Callable[[str, int, int], None]


@dataclass
class CustomerBrands:
    """What is known of one customer: the sketch, and the latest `NAMED` brands bought, the latest last."""

    affinities: Affinities = field(default_factory=Affinities)
    bought: dict[int, None] = field(default_factory=dict)

    def take(self, kind: int, brand: int, day: int) -> None:
        """One event."""
        self.affinities = self.affinities.added(brand, WEIGHTS[KINDS[kind]], day)
        if kind == _PURCHASE:
            self.bought.pop(brand, None)
            self.bought[brand] = None
            if len(self.bought) > NAMED:
                del self.bought[next(iter(self.bought))]


@dataclass(frozen=True)
class NextBrandQuality:
    """Share of cases in which the brand was named.

    Attributes:
        rates: way -> share.
        errors: way -> its standard error, by bootstrap over customers.
        gain: affinities less the better of the other two, and its standard error from the same draws.
        cases: a brand that a customer bought on a day, each.
        customers: how many had a case.
    """

    rates: Mapping[str, float]
    errors: Mapping[str, float]
    gain: tuple[float, float]
    cases: int
    customers: int


def judge_next_brands(
    events: BrandEvents, progress: Progress = lambda what, done, of: None, seed: int = 0
) -> NextBrandQuality | None:
    """One pass over the events by day; None where nobody bought after the first `BURN_IN_DAYS` days."""
    known: dict[int, CustomerBrands] = {}
    sold: Counter[int] = Counter()
    tally: dict[int, list[int]] = {}
    first, days = int(events.days[0]), np.unique(events.days)
    for day in days.tolist():
        begin, end = np.searchsorted(events.days, [day, day + 1]).tolist()
        columns = (events.customers, events.kinds, events.brands)
        today = list(zip(*(column[begin:end].tolist() for column in columns), strict=True))
        popular = {brand for brand, _ in sold.most_common(NAMED)}
        if day - first >= BURN_IN_DAYS:
            for customer, brand in sorted({(customer, brand) for customer, kind, brand in today if kind == _PURCHASE}):
                counts = tally.setdefault(customer, [0] * (len(WAYS) + 1))
                of = known.get(customer, CustomerBrands())
                hits = (brand in of.affinities.top(NAMED), brand in of.bought, brand in popular)
                for place, hit in enumerate((*hits, True)):
                    counts[place] += hit
        for customer, kind, brand in today:
            known.setdefault(customer, CustomerBrands()).take(kind, brand, day)
            if kind == _PURCHASE:
                sold[brand] += 1
        progress("which brand is next", day - first, int(days[-1]) - first + 1)
    return _quality(np.array(list(tally.values()), np.float64), seed) if tally else None


def _quality(tally: np.ndarray, seed: int) -> NextBrandQuality:
    """Of hits by way, and cases, of each customer: (customers, ways + 1)."""
    rates = tally[:, :-1].sum(axis=0) / tally[:, -1].sum()
    rng = np.random.default_rng(seed)
    drawn = np.array([tally[rng.integers(len(tally), size=len(tally))].sum(axis=0) for _ in range(_DRAWS)])
    shares = drawn[:, :-1] / drawn[:, -1:]
    best = 1 + int(rates[1:].argmax())
    return NextBrandQuality(
        dict(zip(WAYS, rates.tolist(), strict=True)),
        dict(zip(WAYS, shares.std(axis=0, ddof=1).tolist(), strict=True)),
        (float(rates[0] - rates[best]), float((shares[:, 0] - shares[:, best]).std(ddof=1))),
        int(tally[:, -1].sum()),
        len(tally),
    )


def next_brand_table(quality: NextBrandQuality | None) -> str:
    """Lines of text: hit rates by way."""
    if quality is None:
        return f"next brand: nobody bought after the first {BURN_IN_DAYS} days"
    rows: list[Sequence[str]] = [(f"next brand among {NAMED}", "hit rate", "s.e.")]
    rows += [(way.replace("_", " "), f"{quality.rates[way]:.4f}", f"{quality.errors[way]:.4f}") for way in WAYS]
    rows.append(("affinities over the better", f"{quality.gain[0]:+.4f}", f"{quality.gain[1]:.4f}"))
    return "\n".join([aligned(rows), f"{quality.cases:,} brands bought by {quality.customers:,} customers"])


def next_brand_figures(quality: NextBrandQuality | None) -> dict[str, object]:
    """What `regulars evaluate clicks taobao2013 --json` writes of it; null where nothing could be judged."""
    if quality is None:
        return {f"next_brand_hit_rate_{NAMED}": None}
    return {
        f"next_brand_hit_rate_{NAMED}": dict(quality.rates),
        f"next_brand_hit_rate_{NAMED}_error": dict(quality.errors),
        "next_brand_gain": {"value": quality.gain[0], "se": quality.gain[1]},
        "next_brand_cases": quality.cases,
        "next_brand_customers": quality.customers,
    }
