"""The hidden traits of a simulated customer: how often they buy, for how long, for how much, and how satisfied they are.

Purchases are BG/NBD (Fader, Hardie and Lee 2005, "Counting Your Customers the Easy Way"): while a customer is alive,
repeat purchases are Poisson with rate lambda ~ Gamma(r, alpha); after each of them the customer leaves for good with
probability p ~ Beta(a, b). Their equation (7) gives the expected repeat purchases in t: `expected_repeats`.

Amounts are Gamma-Gamma (Fader and Hardie 2013, "The Gamma-Gamma Model of Monetary Value"): amounts of a customer are
Gamma(shape, nu), nu ~ Gamma(q, gamma), so that the mean amount over customers is shape * gamma / (q - 1).

Satisfaction s ~ Normal(0, 1) is a customer's own and lasts. It multiplies lambda by exp(k s - k^2 / 2), which leaves
the mean at r / alpha, and shifts p on the logit scale by -d s. What a customer writes comes from s too, so texts say
something about the future that counts and amounts don't yet.
"""

import math
import random
from dataclasses import dataclass
from typing import NamedTuple

from schemas.times import DAY_S
from streams.sources.catalogue import CATEGORIES


@dataclass(frozen=True)
class Behaviour:
    """The parameters of all customers. Rates are per day, amounts in pounds.

    Attributes:
        r: shape of the Gamma of purchase rates; low means that few customers buy much.
        alpha_days: its rate: r / alpha_days repeat purchases per day on average (one in 50 days).
        a: with `b`, the Beta of the chance to leave after a purchase.
        b: a / (a + b) = 0.13 on average.
        shape: of a customer's amounts (CDNOW's, as are q and gamma: mean 35.22).
        q: shape of the Gamma over customers.
        gamma: its rate.
        rate_effect: k, of satisfaction on the purchase rate.
        leave_effect: d, of satisfaction on the chance to leave.
        prospects: share of customers who look around and never buy.
        browse_per_purchase: sessions without a purchase for each with one; 7 is a conversion of 12.5 %.
        browse_after_leaving: share of browsing that goes on after the last purchase.
        cart_share: of browsing sessions that fill a cart: with 7 a purchase, 70 % of carts are abandoned.
        review_share: of purchases that are reviewed.
    """

    r: float = 0.8
    alpha_days: float = 40.0
    a: float = 0.6
    b: float = 4.0
    shape: float = 6.25
    q: float = 3.74
    gamma: float = 15.44
    rate_effect: float = 0.35
    leave_effect: float = 0.9
    prospects: float = 0.2
    browse_per_purchase: float = 7.0
    browse_after_leaving: float = 0.1
    cart_share: float = 1 / 3
    review_share: float = 0.2


class SimulatedCustomer(NamedTuple):
    """One customer's hidden traits. Only the simulation and its tests may use them.

    Attributes:
        satisfaction: s, standard normal.
        rate: lambda, repeat purchases a second while alive; 0 for a prospect.
        leaves: p, the chance to leave after a repeat purchase.
        nu: rate of the Gamma of the amounts, in 1 / pounds.
        coupons: chance that a purchase uses a coupon.
        favourite: the category looked at most.
        arrived_s: first visit, epoch seconds.
    """

    customer_id: str
    satisfaction: float
    rate: float
    leaves: float
    nu: float
    coupons: float
    favourite: str
    arrived_s: float


def draw_customer(rng: random.Random, behaviour: Behaviour, number: int, arrived_s: float) -> SimulatedCustomer:
    """The `number`-th customer, from 1."""
    s = rng.gauss(0.0, 1.0)
    k = behaviour.rate_effect
    per_day = rng.gammavariate(behaviour.r, 1.0 / behaviour.alpha_days) * math.exp(k * s - k * k / 2.0)
    p = min(max(rng.betavariate(behaviour.a, behaviour.b), 1e-9), 1.0 - 1e-9)
    return SimulatedCustomer(
        customer_id=f"synthetic-{number:06d}",
        satisfaction=s,
        rate=0.0 if rng.random() < behaviour.prospects else per_day / DAY_S,
        leaves=logistic(math.log(p / (1.0 - p)) - behaviour.leave_effect * s),
        nu=rng.gammavariate(behaviour.q, 1.0 / behaviour.gamma),
        coupons=rng.betavariate(1.0, 4.0),
        favourite=rng.choice(CATEGORIES),
        arrived_s=arrived_s,
    )


def expected_repeats(customer: SimulatedCustomer, span_s: float) -> float:
    """Expected repeat purchases in the `span_s` after the first one: (1 - exp(-lambda p t)) / p.

    Fader, Hardie and Lee 2005, equation (7): E[X(t) | lambda, p] = 1/p - 1/p exp(-lambda p t).
    """
    return -math.expm1(-customer.rate * customer.leaves * span_s) / customer.leaves


def mean_amount(behaviour: Behaviour) -> float:
    """Mean amount over customers, in pounds: shape * gamma / (q - 1) (Fader and Hardie 2013).

    >>> round(mean_amount(Behaviour()), 2)
    35.22
    """
    return behaviour.shape * behaviour.gamma / (behaviour.q - 1.0)


def logistic(x: float) -> float:
    """1 / (1 + e^-x), without overflow.

    >>> logistic(0.0), logistic(-1000.0)
    (0.5, 0.0)
    """
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)
