"""Scores of a customer: four numbers from a row of features, many rows at once.

`PriorScorer` serves from the first event on, before anything is learned: closed forms of the customer-base literature
with published parameters. A learned scorer (`models.learning.scorer`) corrects it and starts out equal to it.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from models.features import COLUMN, EVERY, FloatArray, counted
from schemas.learning import SCORES

P_30, P_90, COUNT_90, SPEND_90 = range(len(SCORES))


class Scorer(Protocol):
    """Gives scores for features; a version names what it serves with."""

    @property
    def version(self) -> str:
        """Names the parameters; stands on every change."""
        ...

    def score(self, x: FloatArray) -> FloatArray:
        """(n, features) float64 -> (n, 4) float64 in the order of `schemas.learning.SCORES`.

        Probabilities in [0, 1]; expected purchases >= 0; expected spend >= 0 in units of the currency.
        """
        ...


def wanted(scorer: Scorer) -> tuple[int, ...]:
    """The columns of features that a scorer reads, ascending: its attribute `reads`, where it has one, else all.

    Only these need to be computed where nothing but scores is asked for.
    """
    own = vars(_class_of_score(scorer))
    reads: tuple[int, ...] = vars(scorer).get("reads", own.get("reads", EVERY))
    return reads


def score_some(scorer: Scorer, x: FloatArray, which: Collection[int]) -> FloatArray:
    """As `scorer.score`, where only the columns `which` of the scores are asked for: others may be anything.

    A scorer that can save work then has a method `score_some`.
    """
    if "score_some" in vars(_class_of_score(scorer)):
        some: FloatArray = scorer.score_some(x, which)  # type: ignore[attr-defined]
        return some
    return scorer.score(x)


def _class_of_score(scorer: Scorer) -> type:
    """What a class says of its scores doesn't hold for one that derives from it and scores in another way."""
    return next(each for each in type(scorer).__mro__ if "score" in vars(each))


class Population(NamedTuple):
    """How the customers of a shop differ: what the prior is made of. The defaults are those published for CDNOW."""

    r: float = 0.243
    alpha_days: float = 4.414 * 7
    a: float = 0.793
    b: float = 2.426
    mean_amount: float = 6.25 * 15.44 / (3.74 - 1.0)  # p g / (q - 1)


class Habits(NamedTuple):
    """Of each customer: the chance of still being one, and the rate's posterior Gamma(shape, span in days)."""

    alive: FloatArray
    shape: FloatArray
    span: FloatArray


PUBLISHED = Population()


class PriorScorer:
    """BG/NBD for how often, Gamma-Gamma for how much; of a population, at first the one published for CDNOW.

    In the symbols of Fader, Hardie and Lee (2005), "Counting your customers" the easy way: x repeat purchases, t_x from
    the first to the last, T since the first. P(alive) = 1 / (1 + a / (b + x - 1) ((alpha + T) / (alpha + t_x))^(r + x))
    for x > 0, else 1. While alive, purchases are Poisson at a rate with posterior Gamma(r + x, alpha + T), so within h
    days E[n] = P(alive) h (r + x) / (alpha + T) and P(n > 0) = P(alive) (1 - ((alpha + T) / (alpha + T + h))^(r + x)).
    Dropout within the horizon is left out; the h days count as so many of an average season (`models.season`). Spend a
    purchase, Fader, Hardie and Bell (2005), Gamma-Gamma: E[M] is the population mean p g / (q - 1) and the customer's own
    mean, weighted q - 1 to p x.

    Three things of ours on top, each small and replaced by learning: what was put in carts or brought to the checkout in
    the last days counts as part of a purchase; who never bought is held to be a fifth as likely to buy; and a customer
    who writes contentedly (sentiment 1) buys e^.25 times as often, e^-.25 if angry.
    """

    version = "prior-1"
    #: The columns that `score` looks at.
    reads = tuple(
        sorted(
            COLUMN[name]
            for name in (
                "bought",
                "purchases",
                "recency_days",
                "customer_days",
                "known_days",
                "repeat_span_days",
                "monetary",
                "carts_14d",
                "checkouts_14d",
                "sentiment",
                "season_30d",
                "season_90d",
            )
        )
    )

    p, q = 6.25, 3.74
    cart, checkout = 0.05, 0.2
    prospect = 0.2
    contentment = 0.25

    def __init__(self, population: Population = PUBLISHED) -> None:
        self.population = population

    def habits(self, x: FloatArray) -> Habits:
        """The posterior of each row's customer; x: (n, features) float64."""
        population = self.population
        bought = x[:, COLUMN["bought"]]
        repeats = np.maximum(np.expm1(x[:, COLUMN["purchases"]]) - 1.0, 0.0)
        age = np.where(bought > 0, np.expm1(x[:, COLUMN["customer_days"]]), np.expm1(x[:, COLUMN["known_days"]]))
        t_x = np.expm1(x[:, COLUMN["repeat_span_days"]])
        intent = self.cart * np.expm1(x[:, COLUMN["carts_14d"]]) + self.checkout * np.expm1(
            x[:, COLUMN["checkouts_14d"]]
        )
        shape = population.r + repeats
        span = population.alpha_days + age
        odds = population.a / (population.b + np.maximum(repeats, 1.0) - 1.0)
        # (alpha + T) / (alpha + t_x) by T - t_x, the recency: labels keep T and t_x to half precision, days off, and
        # the power is large.
        since = np.expm1(x[:, COLUMN["recency_days"]])
        fading = np.minimum(shape * np.log1p(since / (population.alpha_days + t_x)), _LARGEST_EXPONENT)
        dead = np.where(repeats > 0.5, odds * np.exp(fading), 0.0)
        alive = np.where(bought > 0, 1.0, self.prospect) / (1.0 + dead)
        return Habits(alive, (shape + intent) * np.exp(self.contentment * x[:, COLUMN["sentiment"]]), span)

    def score(self, x: FloatArray) -> FloatArray:
        """See `Scorer.score`."""
        return self.score_some(x, range(len(SCORES)))

    def score_some(self, x: FloatArray, which: Collection[int]) -> FloatArray:
        """See `models.scores.score_some`; the two powers are half of the work."""
        alive, shape, span = self.habits(x)
        quarter = seasonal_days(x, 90)
        scores = np.empty((len(x), len(SCORES)))
        if P_30 in which:
            scores[:, P_30] = alive * (1.0 - (span / (span + seasonal_days(x, 30))) ** shape)
        if P_90 in which:
            scores[:, P_90] = alive * (1.0 - (span / (span + quarter)) ** shape)
        count = alive * quarter * shape / span
        own = self.p * np.expm1(x[:, COLUMN["purchases"]])
        shrunk = (self.q - 1.0) * self.population.mean_amount
        amount = (shrunk + own * np.expm1(x[:, COLUMN["monetary"]])) / (self.q - 1.0 + own)
        scores[:, COUNT_90] = count
        scores[:, SPEND_90] = count * amount
        return scores


def seasonal_days(x: FloatArray, horizon: int) -> FloatArray:
    """(n,): what the next 30 or 90 days count as, in days of an average season; x: (n, features)."""
    days: FloatArray = horizon * np.exp(x[:, COLUMN[f"season_{horizon}d"]])
    return days


class Counted:
    """A scorer's scores and, in the columns behind them, features as a person counts them."""

    def __init__(self, scorer: Scorer, features: Sequence[int]) -> None:
        """Args: features: columns of `models.features.FEATURES`."""
        self._scorer, self._features = scorer, features
        self.reads = tuple(sorted({*wanted(scorer), *features}))

    @property
    def version(self) -> str:
        """The scorer's."""
        return self._scorer.version

    def score(self, x: FloatArray) -> FloatArray:
        """(n, features) float64 -> (n, 4 + counted features) float64."""
        return np.concatenate([self._scorer.score(x), counted(x, self._features)], axis=1)

    def score_some(self, x: FloatArray, which: Collection[int]) -> FloatArray:
        """See `models.scores.score_some`."""
        return np.concatenate([score_some(self._scorer, x, which), counted(x, self._features)], axis=1)


# exp(700) is near the end of the float64 range; whoever is that unlikely to be a customer still isn't one.
_LARGEST_EXPONENT = 700.0
